//! What a graph's output means: labels of a segmentation, classes of a classification.

use imaging::Code;

use super::{
    PackageError, codes,
    manifest::{Field, Section},
};

/// A label map has 8 bits; 0 is the background.
const LABEL_MAX: usize = 255;
const CLASS_MAX: usize = 9999;

/// What turns the graph's numbers into probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    None,
    Softmax,
    Sigmoid,
}

impl Activation {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, PackageError> {
        section.optional("activation").map_or(Ok(Self::None), |field| {
            field.choice(&[("none", Self::None), ("softmax", Self::Softmax), ("sigmoid", Self::Sigmoid)])
        })
    }
}

/// What turns probabilities into a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// The channel with the highest value; channel 0 is the background.
    Argmax,
    /// Channel `k` stands for label `k + 1`; the most probable one at or above the threshold.
    Threshold(f64),
}

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Color(pub [u8; 3]);

/// One structure that a segmentation finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub value: u8,
    pub name: String,
    /// Segmented Property Category (0062,0003).
    pub category: Code,
    /// Segmented Property Type (0062,000F).
    pub kind: Code,
    /// Anatomic Region (0008,2218).
    pub region: Option<Code>,
    pub color: Option<Color>,
    pub min_volume_ml: f64,
    pub largest_component: bool,
    pub fill_holes: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationOutput {
    pub tensor: String,
    pub activation: Activation,
    pub decision: Decision,
    pub labels: Vec<Label>,
    /// Axes (0 = x) whose flips are averaged over.
    pub flips: Vec<usize>,
}

impl SegmentationOutput {
    pub(super) fn read(root: &Section<'_>) -> Result<Self, PackageError> {
        let section = root.required("output", "a table with `tensor` and `[[output.label]]`")?.section()?;
        let output = Self {
            tensor: section.text("tensor", "the name of the graph's output")?.to_owned(),
            activation: Activation::read(&section)?,
            decision: decision(&section)?,
            labels: labels(&section)?,
            flips: flips(&section)?,
        };
        section.done()?;
        Ok(output)
    }

    /// The channels that the graph must have at least for these labels.
    pub fn channels_min(&self) -> usize {
        let highest = self.labels.iter().map(|label| usize::from(label.value)).max().unwrap_or(0);
        match self.decision {
            Decision::Argmax => highest + 1,
            Decision::Threshold(_) => highest,
        }
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Argmax,
    Threshold,
}

fn decision(section: &Section<'_>) -> Result<Decision, PackageError> {
    let rule = section.optional("decision").map_or(Ok(Rule::Argmax), |field| {
        field.choice(&[("argmax", Rule::Argmax), ("threshold", Rule::Threshold)])
    })?;
    match (rule, section.optional("threshold")) {
        (Rule::Argmax, None) => Ok(Decision::Argmax),
        (Rule::Argmax, Some(field)) => {
            Err(field.error("`output.threshold` needs `decision = \"threshold\"`"))
        }
        (Rule::Threshold, field) => {
            field.map_or(Ok(0.5), |field| probability(&field)).map(Decision::Threshold)
        }
    }
}

pub(super) fn probability(field: &Field<'_>) -> Result<f64, PackageError> {
    let number = field.number()?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err(field.error(format!("`{}` is {number}: expected 0 to 1", field.name())))
    }
}

fn flips(section: &Section<'_>) -> Result<Vec<usize>, PackageError> {
    let Some(field) = section.optional("test_time_flips") else { return Ok(Vec::new()) };
    let mut axes = Vec::new();
    for item in field.list()? {
        let axis = item.choice(&[("x", 0), ("y", 1), ("z", 2)])?;
        if axes.contains(&axis) {
            return Err(item.error(format!("`{}` is there twice", item.name())));
        }
        axes.push(axis);
    }
    Ok(axes)
}

fn labels(section: &Section<'_>) -> Result<Vec<Label>, PackageError> {
    let sections = section.sections("label")?;
    if sections.is_empty() {
        return Err(section.error("`[[output.label]]` is missing: expected one for each structure"));
    }
    let mut labels: Vec<Label> = Vec::new();
    for section in &sections {
        let label = label(section)?;
        if labels.iter().any(|other| other.value == label.value) {
            return Err(section.error(format!("two labels have the value {}", label.value)));
        }
        if labels.iter().any(|other| other.name == label.name) {
            return Err(section.error(format!("two labels are called \"{}\"", label.name)));
        }
        labels.push(label);
    }
    Ok(labels)
}

fn label(section: &Section<'_>) -> Result<Label, PackageError> {
    let coded = "a code: [\"code\", \"scheme\", \"meaning\"]";
    let value = section.required("value", "a number from 1 to 255")?.count(1..LABEL_MAX + 1)?;
    let min_volume = section.number_or("min_volume_ml", 0.0)?;
    if min_volume < 0.0 {
        return Err(section.error(format!("`min_volume_ml` is {min_volume}: expected 0 or more")));
    }
    let label = Label {
        value: u8::try_from(value).expect("counted up to 255"),
        name: name(section)?,
        category: codes::read(&section.required("category", coded)?)?,
        kind: codes::read(&section.required("type", coded)?)?,
        region: section.optional("region").map(|field| codes::read(&field)).transpose()?,
        color: section.optional("color").map(|field| color(&field)).transpose()?,
        min_volume_ml: min_volume,
        largest_component: section.boolean_or("largest_component", false)?,
        fill_holes: section.boolean_or("fill_holes", false)?,
    };
    section.done()?;
    Ok(label)
}

/// Segment Label (0062,0005) and the like are LO: at most 64 characters.
fn name(section: &Section<'_>) -> Result<String, PackageError> {
    let field = section.required("name", "a name for people")?;
    let text = field.text()?;
    if text.is_empty() || text.chars().count() > 64 || text.contains('\\') {
        return Err(field
            .error(format!("`{}` has no use: expected 1 to 64 characters without backslash", field.name())));
    }
    Ok(text.to_owned())
}

fn color(field: &Field<'_>) -> Result<Color, PackageError> {
    let text = field.text()?;
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map_or_else(
        || Err(field.error(format!("`{}` is \"{text}\": expected \"#rrggbb\"", field.name()))),
        |rgb| {
            let [_, red, green, blue] = rgb.to_be_bytes();
            Ok(Color([red, green, blue]))
        },
    )
}

/// How slices' probabilities become the series'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesRule {
    Mean,
    Max,
    MostConfident,
    Vote,
    Middle,
}

/// One answer that a classification can give.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub value: usize,
    pub name: String,
    pub code: Code,
    /// Nothing found.
    pub normal: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationOutput {
    pub tensor: String,
    pub activation: Activation,
    pub series_rule: SeriesRule,
    pub classes: Vec<Class>,
    pub flips: Vec<usize>,
}

impl ClassificationOutput {
    pub(super) fn read(root: &Section<'_>) -> Result<Self, PackageError> {
        let section = root.required("output", "a table with `tensor` and `[[output.class]]`")?.section()?;
        let series_rule = section.optional("series_rule").map_or(Ok(SeriesRule::Mean), |field| {
            field.choice(&[
                ("mean", SeriesRule::Mean),
                ("max", SeriesRule::Max),
                ("most-confident", SeriesRule::MostConfident),
                ("vote", SeriesRule::Vote),
                ("middle", SeriesRule::Middle),
            ])
        })?;
        let output = Self {
            tensor: section.text("tensor", "the name of the graph's output")?.to_owned(),
            activation: Activation::read(&section)?,
            series_rule,
            classes: classes(&section)?,
            flips: flips(&section)?,
        };
        section.done()?;
        Ok(output)
    }
}

/// The classes, which must be 0, 1, 2 … in this order.
fn classes(section: &Section<'_>) -> Result<Vec<Class>, PackageError> {
    let sections = section.sections("class")?;
    if sections.len() < 2 {
        return Err(
            section.error(format!("there are {} `[[output.class]]`: expected at least two", sections.len()))
        );
    }
    let mut classes = Vec::new();
    for section in &sections {
        let field = section.required("value", "the class index")?;
        let class = Class {
            value: field.count(0..CLASS_MAX + 1)?,
            name: name(section)?,
            code: codes::read(&section.required("code", "a code: [\"code\", \"scheme\", \"meaning\"]")?)?,
            normal: section.boolean_or("normal", false)?,
        };
        section.done()?;
        if class.value != classes.len() {
            return Err(field.error(format!(
                "`{}` is {}: expected {}",
                field.name(),
                class.value,
                classes.len()
            )));
        }
        classes.push(class);
    }
    Ok(classes)
}
