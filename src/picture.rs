//! Pictures for a quick look: a grey slice with what was found drawn over it, as PNG.

use std::io::Write as _;

use anyhow::Context;
use flate2::{Compression, Crc, write::ZlibEncoder};
use ndarray::ArrayView2;

/// How much of a colour covers the grey below.
const COVER: f32 = 0.35;
const DISPLAYED_PERCENT: (f32, f32) = (1.0, 99.5);

/// Rows of red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// A slice between its first and its last percent of values.
    pub(crate) fn grey(slice: ArrayView2<'_, f32>) -> Self {
        let mut sorted: Vec<f32> = slice.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let at = |percent: f32| {
            let place = (sorted.len().saturating_sub(1) as f32 * percent / 100.0).round() as usize;
            sorted.get(place).copied().unwrap_or_default()
        };
        let (low, high) = (at(DISPLAYED_PERCENT.0), at(DISPLAYED_PERCENT.1));
        let span = (high - low).max(f32::MIN_POSITIVE);
        let shade = |value: &f32| [(255.0 * ((value - low) / span).clamp(0.0, 1.0)) as u8; 3];
        Self { width: slice.ncols(), pixels: slice.iter().map(shade).collect() }
    }

    /// Colours where `mask` holds: thinly inside, fully along its edge.
    pub(crate) fn mark(&mut self, mask: &dyn Fn(usize, usize) -> bool, color: [u8; 3]) {
        let (width, height) = (self.width, self.height());
        for (place, pixel) in self.pixels.iter_mut().enumerate() {
            let (row, column) = (place / width, place % width);
            if !mask(row, column) {
                continue;
            }
            let is_edge = row == 0
                || column == 0
                || row + 1 == height
                || column + 1 == width
                || !mask(row - 1, column)
                || !mask(row + 1, column)
                || !mask(row, column - 1)
                || !mask(row, column + 1);
            *pixel = mixed(*pixel, color, if is_edge { 1.0 } else { COVER });
        }
    }

    /// Warms the picture where `heat` (0 to 1) is high.
    pub(crate) fn warm(&mut self, heat: ArrayView2<'_, f32>) {
        for (pixel, heat) in self.pixels.iter_mut().zip(heat) {
            let heat = heat.clamp(0.0, 1.0);
            let color = [255, (255.0 * (1.0 - (2.0 * heat - 1.0).abs())) as u8, (255.0 * (1.0 - heat)) as u8];
            *pixel = mixed(*pixel, color, 0.6 * heat);
        }
    }

    /// Adds a line of text below the picture, so that it covers nothing.
    pub(crate) fn caption(&mut self, text: &str) {
        let needed = text.chars().count() * font::ADVANCE + 1;
        self.widen(needed);
        let scale = (self.width / needed).max(1);
        let mut line = vec![[0_u8; 3]; self.width * (font::HEIGHT + 2) * scale];
        for (place, pixel) in line.iter_mut().enumerate() {
            let (row, column) = (place / self.width / scale, place % self.width / scale);
            if row >= 1 && font::is_ink(text, row - 1, column) {
                *pixel = [255, 200, 0];
            }
        }
        self.pixels.extend(line);
    }

    fn widen(&mut self, width: usize) {
        if width <= self.width {
            return;
        }
        let rows: Vec<_> = self.pixels.chunks(self.width.max(1)).map(<[_]>::to_vec).collect();
        self.pixels = rows
            .into_iter()
            .flat_map(|mut row| {
                row.resize(width, [0; 3]);
                row
            })
            .collect();
        self.width = width;
    }

    fn height(&self) -> usize {
        self.pixels.len() / self.width.max(1)
    }

    /// PNG (ISO/IEC 15948): eight bits, RGB, one filter for all rows.
    pub(crate) fn png(&self) -> anyhow::Result<Vec<u8>> {
        const TRUE_COLOUR: u8 = 2;
        let side = |length: usize| u32::try_from(length).context("the picture is too large for PNG");
        let mut header = Vec::new();
        header.extend(side(self.width)?.to_be_bytes());
        header.extend(side(self.height())?.to_be_bytes());
        header.extend([8, TRUE_COLOUR, 0, 0, 0]);
        let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks(self.width.max(1)) {
            rows.write_all(&[0])
                .and_then(|()| rows.write_all(row.as_flattened()))
                .context("cannot compress")?;
        }
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut png, *b"IHDR", &header);
        chunk(&mut png, *b"IDAT", &rows.finish().context("cannot compress")?);
        chunk(&mut png, *b"IEND", &[]);
        Ok(png)
    }
}

fn mixed(below: [u8; 3], above: [u8; 3], share: f32) -> [u8; 3] {
    [0, 1, 2].map(|idx| (f32::from(below[idx]) * (1.0 - share) + f32::from(above[idx]) * share) as u8)
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(content);
    png.extend((content.len() as u32).to_be_bytes());
    png.extend(kind);
    png.extend(content);
    png.extend(crc.sum().to_be_bytes());
}

/// Capital letters of three by five points.
mod font {
    pub(super) const HEIGHT: usize = 5;
    pub(super) const ADVANCE: usize = 4;

    /// Five rows of three bits, top first; nothing for what has no letter.
    fn rows(letter: char) -> [u8; HEIGHT] {
        match letter {
            'A' => [2, 5, 7, 5, 5],
            'C' => [3, 4, 4, 4, 3],
            'D' => [6, 5, 5, 5, 6],
            'E' => [7, 4, 6, 4, 7],
            'F' => [7, 4, 6, 4, 4],
            'I' => [7, 2, 2, 2, 7],
            'L' => [4, 4, 4, 4, 7],
            'M' => [5, 7, 7, 5, 5],
            'N' => [6, 5, 5, 5, 5],
            'O' => [2, 5, 5, 5, 2],
            'R' => [6, 5, 6, 5, 5],
            'S' => [3, 4, 2, 1, 6],
            'T' => [7, 2, 2, 2, 2],
            'U' => [5, 5, 5, 5, 7],
            ',' => [0, 0, 0, 2, 4],
            _ => [0; HEIGHT],
        }
    }

    pub(super) fn is_ink(text: &str, row: usize, column: usize) -> bool {
        let letter = text.chars().nth(column / ADVANCE);
        let bits = letter.and_then(|letter| rows(letter).get(row).copied()).unwrap_or_default();
        bits & (4 >> (column % ADVANCE)) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use ndarray::Array2;

    use super::*;

    fn pixels(png: &[u8]) -> Vec<u8> {
        let begin = png.windows(4).position(|kind| kind == b"IDAT").unwrap();
        let length = u32::from_be_bytes(png[begin - 4..begin].try_into().unwrap()) as usize;
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&png[begin + 4..begin + 4 + length]).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_png_holds_rows_with_the_mark_on_its_edge() {
        let slice = Array2::from_shape_fn((5, 6), |(row, _)| row as f32);
        let mut picture = Picture::grey(slice.view());
        picture.mark(&|row, column| (1..4).contains(&row) && (1..4).contains(&column), [255, 0, 0]);
        let png = picture.png().unwrap();
        assert_eq!(&png[16..24], [0, 0, 0, 6, 0, 0, 0, 5]);
        let bytes = pixels(&png);
        assert_eq!(bytes.len(), 5 * (1 + 6 * 3));
        let pixel = |row: usize, column: usize| &bytes[row * 19 + 1 + column * 3..][..3];
        assert_eq!(pixel(0, 0), [0, 0, 0]);
        assert_eq!(pixel(1, 1), [255, 0, 0]);
        assert_eq!(pixel(2, 2), [171, 82, 82]);
        assert_eq!(pixel(4, 5), [255, 255, 255]);
    }

    #[test]
    fn a_caption_stands_below_and_never_on_the_picture() {
        let slice = Array2::<f32>::zeros((4, 4));
        let mut picture = Picture::grey(slice.view());
        let text = "DEMONSTRATION, NOT FOR CLINICAL USE";
        picture.caption(text);
        assert_eq!((picture.width, picture.height()), (text.len() * 4 + 1, 4 + 7));
        let ink = picture.pixels.iter().position(|pixel| *pixel != [0; 3]).unwrap();
        assert_eq!(ink / picture.width, 5);
        // Every letter has a shape: each fourth column begins a letter, and only blanks have no ink.
        for (place, letter) in text.chars().enumerate().filter(|(_, letter)| *letter != ' ') {
            let has_ink = (0..5).any(|row| (0..3).any(|column| font::is_ink(text, row, place * 4 + column)));
            assert!(has_ink, "{letter}");
        }
    }
}
