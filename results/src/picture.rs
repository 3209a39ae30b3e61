//! RGB pictures with letters, for what people read in a viewer that knows nothing of segmentations and reports.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::Rgb888,
    prelude::RgbColor,
    primitives::{Primitive, PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};

/// One frame of interleaved RGB that is drawn on.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    pixels: &'a mut [u8],
    columns: usize,
}

/// Letters of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letters(&'static MonoFont<'static>);

impl Letters {
    pub(crate) const LARGE: Self = Self(&fonts::FONT_10X20);
    pub(crate) const MIDDLE: Self = Self(&fonts::FONT_8X13);
    const BY_SIZE: [Self; 6] = [
        Self::LARGE,
        Self(&fonts::FONT_9X15),
        Self::MIDDLE,
        Self(&fonts::FONT_6X10),
        Self(&fonts::FONT_5X8),
        Self(&fonts::FONT_4X6),
    ];

    /// The largest letters in which `text` fits into one line, else the smallest that there are.
    fn fitting(text: &str, columns: usize) -> Self {
        let fits = |letters: &Self| text.chars().count() <= letters.per_line(columns);
        let [.., smallest] = Self::BY_SIZE;
        Self::BY_SIZE.into_iter().find(fits).unwrap_or(smallest)
    }

    pub(crate) fn per_line(self, columns: usize) -> usize {
        (columns / self.0.character_size.width as usize).max(1)
    }

    pub(crate) fn height(self) -> usize {
        self.0.character_size.height as usize
    }
}

impl<'a> Picture<'a> {
    /// `pixels` are whole rows of `columns` pixels.
    pub(crate) fn new(pixels: &'a mut [u8], columns: usize) -> Self {
        Self { pixels, columns }
    }

    fn rows(&self) -> usize {
        self.pixels.len() / (3 * self.columns.max(1))
    }

    pub(crate) fn fill(
        &mut self,
        (row, column): (usize, usize),
        (rows, columns): (usize, usize),
        rgb: [u8; 3],
    ) {
        let area = Rectangle::new(point(row, column), Size::new(columns as u32, rows as u32));
        drawn(area.into_styled(PrimitiveStyle::with_fill(color(rgb))).draw(self));
    }

    /// One line with its upper left corner at `(row, column)`; letters that the font lacks become "?".
    pub(crate) fn write(
        &mut self,
        (row, column): (usize, usize),
        text: &str,
        letters: Letters,
        rgb: [u8; 3],
    ) {
        let style = MonoTextStyle::new(letters.0, color(rgb));
        drawn(Text::with_baseline(text, point(row, column), style, Baseline::Top).draw(self).map(|_| ()));
    }

    /// A black band over the lowest rows with a text in the largest letters that fit.
    pub(crate) fn caption(&mut self, text: &str) {
        let letters = Letters::fitting(text, self.columns);
        let lines = wrapped(text, letters.per_line(self.columns));
        let band = (lines.len() * letters.height() + 2).min(self.rows());
        let top = self.rows() - band;
        self.fill((top, 0), (band, self.columns), [0, 0, 0]);
        for (index, line) in lines.iter().enumerate() {
            let width = line.chars().count() * (self.columns / letters.per_line(self.columns)).max(1);
            let column = self.columns.saturating_sub(width.min(self.columns)) / 2;
            self.write((top + 1 + index * letters.height(), column), line, letters, [255, 255, 255]);
        }
    }
}

fn point(row: usize, column: usize) -> Point {
    let small = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    Point::new(small(column), small(row))
}

fn color([red, green, blue]: [u8; 3]) -> Rgb888 {
    Rgb888::new(red, green, blue)
}

fn drawn(result: Result<(), Infallible>) {
    match result {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

impl OriginDimensions for Picture<'_> {
    fn size(&self) -> Size {
        Size::new(self.columns as u32, self.rows() as u32)
    }
}

impl DrawTarget for Picture<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let (Ok(column), Ok(row)) = (usize::try_from(at.x), usize::try_from(at.y)) else { continue };
            if column < self.columns && row < self.rows() {
                let start = 3 * (row * self.columns + column);
                self.pixels[start..start + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

/// Lines of at most `width` characters, broken between words where that is possible.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width.max(1)) {
            let piece: String = piece.iter().collect();
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("not for clinical use", 12), ["not for", "clinical use"]);
        assert_eq!(wrapped("DEMONSTRATION ok", 8), ["DEMONSTR", "ATION ok"]);
        assert_eq!(wrapped("", 8), Vec::<String>::new());
    }

    #[test]
    fn a_caption_covers_the_lowest_rows_only_and_is_white_on_black() {
        let (rows, columns) = (64, 200);
        let mut pixels = vec![90; 3 * rows * columns];
        Picture::new(&mut pixels, columns).caption("NOT FOR CLINICAL USE");
        let lines: Vec<&[u8]> = pixels.chunks(3 * columns).collect();
        assert!(lines[..40].iter().all(|line| line.iter().all(|&part| part == 90)));
        assert!(lines[63].iter().all(|&part| part == 0));
        let white = pixels.iter().filter(|&&part| part == 255).count();
        assert!(white > 300, "{white} parts are lit");
    }

    #[test]
    fn what_does_not_fit_is_cut_at_the_edge() {
        for (rows, columns) in [(1, 1), (5, 3), (3, 700)] {
            let mut pixels = vec![0; 3 * rows * columns];
            Picture::new(&mut pixels, columns).caption(crate::DEMONSTRATION_NOTICE);
        }
    }
}
