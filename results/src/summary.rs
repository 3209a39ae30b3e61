//! A summary page: what was found, as a picture for viewers that show neither segmentations nor reports.
//!
//! A Secondary Capture (PS3.3 §A.8.1) in the study of its source. The page names no patient: who it
//! belongs to is said by the data set alone, so that a picture that is copied out of it names nobody.

use dicom_core::{PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use time::OffsetDateTime;

use crate::{
    Classification, DEMONSTRATION_NOTICE, EncodeError, Encoded, Finding, IntendedUse, Measurement,
    Production, Quantity, Role, SegmentFinding, Source, color,
    context::{self, Place, announced, local_time},
    dataset::{DataSet, Elements, integer, truncated},
    picture::{Letters, Picture, wrapped},
    segmentation::append_pixel_data,
    validate,
};

/// What a summary page is made of.
#[derive(Debug, Clone, Copy)]
pub struct SummaryInput<'a> {
    pub production: &'a Production,
    pub source: &'a Source,
    /// At least one.
    pub findings: &'a [Finding],
}

const COLUMNS: usize = 800;
const ROWS_MIN: usize = 400;
const MARGIN: usize = 24;
const INDENT: usize = 32;

const WHITE: [u8; 3] = [255, 255, 255];
const GREY: [u8; 3] = [170, 170, 170];
const WARNING: [u8; 3] = [200, 30, 30];
const BAR: [u8; 3] = [70, 130, 200];

/// Writes the summary page of one job.
///
/// # Errors
/// When there is no finding, or the written object breaks a rule.
pub fn summary(input: &SummaryInput<'_>) -> Result<Encoded, EncodeError> {
    if input.findings.is_empty() {
        return Err(EncodeError::NoFinding);
    }
    let lines = lines(input);
    let height = 2 * MARGIN + lines.iter().map(Line::height).sum::<usize>();
    let rows = u16::try_from(height.max(ROWS_MIN)).map_err(|_| EncodeError::TooLarge(height as u64))?;
    let place = Place {
        role: Role::Summary,
        sop_class: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        modality: "OT",
        part: "",
        title: "summary",
    };
    let mut dataset = context::begin(input.production, input.source, place);
    image(&mut dataset, input.production, rows);
    context::laterality(&mut dataset, input.source);
    let mut encoded = Encoded::begin(Role::Summary, &dataset, uids::EXPLICIT_VR_LITTLE_ENDIAN)?;
    let length = 3 * COLUMNS * usize::from(rows);
    append_pixel_data(&mut encoded.bytes, VR::OB, length as u64, |bytes| {
        let start = bytes.len();
        bytes.resize(start + length, 0);
        draw(&mut Picture::new(&mut bytes[start..], COLUMNS), &lines);
        Ok(())
    })?;
    validate(&encoded.bytes, Some(input.source)).map_err(EncodeError::Invalid)?;
    Ok(encoded)
}

/// General Image, SC Equipment and Image Pixel Modules (§C.7.6.1, §C.8.6.1).
fn image(dataset: &mut DataSet, production: &Production, rows: u16) {
    let description = announced(production, &format!("Summary of {}", production.algorithm.name));
    dataset.set_all(tags::IMAGE_TYPE, ["DERIVED", "SECONDARY"]);
    dataset.set(tags::CONVERSION_TYPE, "SYN");
    dataset.set(tags::PATIENT_ORIENTATION, "");
    dataset.set(tags::DERIVATION_DESCRIPTION, truncated(&description, 1024));
    // in the sense of the attribute: nothing that identifies the patient
    dataset.set(tags::BURNED_IN_ANNOTATION, "NO");
    dataset.set(tags::LOSSY_IMAGE_COMPRESSION, "00");
    dataset.set_number(tags::SAMPLES_PER_PIXEL, dicom_value!(U16, 3));
    dataset.set(tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    dataset.set_number(tags::PLANAR_CONFIGURATION, dicom_value!(U16, 0));
    dataset.set_number(tags::ROWS, PrimitiveValue::from(rows));
    dataset.set_number(tags::COLUMNS, PrimitiveValue::from(COLUMNS as u16));
    dataset.set_number(tags::BITS_ALLOCATED, dicom_value!(U16, 8));
    dataset.set_number(tags::BITS_STORED, dicom_value!(U16, 8));
    dataset.set_number(tags::HIGH_BIT, dicom_value!(U16, 7));
    dataset.set_number(tags::PIXEL_REPRESENTATION, dicom_value!(U16, 0));
}

/// One line of the page.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    text: String,
    size: LineSize,
    color: [u8; 3],
    before: Before,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineSize {
    Heading,
    Text,
}

/// What stands in front of a line or behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// The colour of a segment.
    Swatch([u8; 3]),
    /// A probability, from 0 to 1.
    Bar(f64),
    /// The whole line lies on a colour.
    Band([u8; 3]),
}

impl Line {
    fn heading(text: impl Into<String>) -> Self {
        Self { text: text.into(), size: LineSize::Heading, color: WHITE, before: Before::Nothing }
    }

    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), size: LineSize::Text, color: GREY, before: Before::Nothing }
    }

    fn letters(&self) -> Letters {
        match self.size {
            LineSize::Heading => Letters::LARGE,
            LineSize::Text => Letters::MIDDLE,
        }
    }

    fn height(&self) -> usize {
        self.letters().height() + 8
    }
}

fn draw(picture: &mut Picture<'_>, lines: &[Line]) {
    let mut row = MARGIN;
    for line in lines {
        let height = line.letters().height();
        match line.before {
            Before::Nothing => {}
            Before::Swatch(color) => picture.fill((row, MARGIN), (height, height), color),
            Before::Bar(part) => {
                let width = (part.clamp(0.0, 1.0) * (COLUMNS / 3) as f64) as usize;
                picture.fill((row, COLUMNS / 2), (height, width), BAR);
            }
            Before::Band(color) => picture.fill((row - 4, 0), (line.height(), COLUMNS), color),
        }
        picture.write((row, MARGIN + INDENT), &line.text, line.letters(), line.color);
        row += line.height();
    }
}

fn lines(input: &SummaryInput<'_>) -> Vec<Line> {
    let mut lines = head(input);
    for (index, finding) in input.findings.iter().enumerate() {
        lines.push(Line::text(""));
        match finding {
            Finding::Segment(found) => segment(found, index, &mut lines),
            Finding::Absent(segment) => lines.push(Line::heading(format!("{}: not found", segment.label))),
            Finding::Classification(found) => classification(found, &mut lines),
            Finding::NotAnalysed { reason } => {
                lines.push(Line::heading("Not analysed"));
                lines.extend(paragraph(reason));
            }
        }
    }
    lines
}

fn head(input: &SummaryInput<'_>) -> Vec<Line> {
    let Production { algorithm, written_at, intended_use, .. } = input.production;
    let mut lines = vec![
        Line::heading(format!("{} {}", algorithm.name, algorithm.version)),
        Line::text(format!(
            "Automatic analysis of {}; not verified by a doctor when it was written",
            minute(local_time(*written_at, &input.source.common))
        )),
    ];
    if let Some(number) = integer::<i32>(&input.source.common, tags::SERIES_NUMBER) {
        lines.push(Line::text(format!("Series {number}, {} images", input.source.frames().len())));
    }
    if *intended_use == IntendedUse::Demonstration {
        let notice = Line::heading(DEMONSTRATION_NOTICE);
        lines.push(Line { before: Before::Band(WARNING), ..notice });
    }
    lines
}

fn minute(at: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute()
    )
}

fn segment(found: &SegmentFinding, index: usize, lines: &mut Vec<Line>) {
    let color = found.segment.color.unwrap_or_else(|| color::of_position(index));
    lines.push(Line { before: Before::Swatch(color), ..Line::heading(&found.segment.label) });
    let values: Vec<String> = found.measurements.iter().map(measurement).collect();
    lines.extend(paragraph(&values.join(",  ")));
}

fn measurement(Measurement { quantity, value }: &Measurement) -> String {
    match quantity {
        Quantity::Volume => format!("volume {value:.1} ml"),
        Quantity::LongestDiameter => format!("longest diameter {value:.1} mm"),
        Quantity::PerpendicularDiameter => format!("across it {value:.1} mm"),
        Quantity::Mean => format!("mean {value:.1}"),
        Quantity::StandardDeviation => format!("standard deviation {value:.1}"),
        Quantity::Minimum => format!("minimum {value:.1}"),
        Quantity::Maximum => format!("maximum {value:.1}"),
        Quantity::Other { name, unit } => format!("{} {value:.1} {}", name.meaning, unit.value),
    }
}

fn classification(found: &Classification, lines: &mut Vec<Line>) {
    let answer = found.classes.get(found.chosen).map_or("", |class| class.class.meaning.as_str());
    lines.push(Line::heading(answer));
    for class in &found.classes {
        let text = format!("{} {:.3}", class.class.meaning, class.probability);
        lines.push(Line { before: Before::Bar(class.probability), ..Line::text(text) });
    }
}

fn paragraph(text: &str) -> impl Iterator<Item = Line> {
    let width = Letters::MIDDLE.per_line(COLUMNS - 2 * MARGIN - INDENT);
    wrapped(text, width).into_iter().map(Line::text)
}
