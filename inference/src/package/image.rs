//! How a graph wants its image: axes, spacing, channels.

use super::{
    AppliesTo, Intensity, PackageError,
    manifest::{Field, Section},
};

/// More channels than any protocol has.
const CHANNELS_MAX: usize = 64;
/// A side of a slice that a graph may ask for.
const SIZE_MAX: usize = 8192;

/// An anatomical axis of the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Right to left: LPS x.
    Transverse,
    /// Anterior to posterior: LPS y.
    Sagittal,
    /// Inferior to superior: LPS z.
    Longitudinal,
}

impl Axis {
    /// Its place in LPS coordinates.
    pub fn index(self) -> usize {
        match self {
            Self::Transverse => 0,
            Self::Sagittal => 1,
            Self::Longitudinal => 2,
        }
    }
}

/// Where an index grows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direction {
    pub axis: Axis,
    /// Along the LPS axis (to L, P or S), not against it.
    pub is_lps: bool,
}

impl Direction {
    fn from_letter(letter: char) -> Option<Self> {
        let (axis, is_lps) = match letter {
            'L' => (Axis::Transverse, true),
            'R' => (Axis::Transverse, false),
            'P' => (Axis::Sagittal, true),
            'A' => (Axis::Sagittal, false),
            'S' => (Axis::Longitudinal, true),
            'I' => (Axis::Longitudinal, false),
            _ => return None,
        };
        Some(Self { axis, is_lps })
    }
}

/// The order of axes in which a graph was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// As the series was acquired: column, row, slice.
    Acquired,
    /// The directions of the first, second and third index.
    Anatomical([Direction; 3]),
}

impl Orientation {
    fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let text = field.text()?;
        if text == "acquired" {
            return Ok(Self::Acquired);
        }
        let directions: Option<Vec<Direction>> = text.chars().map(Direction::from_letter).collect();
        let three: Option<[Direction; 3]> = directions.and_then(|found| found.try_into().ok());
        let distinct = |three: &[Direction; 3]| {
            let axes = three.map(|direction| direction.axis);
            axes[0] != axes[1] && axes[1] != axes[2] && axes[0] != axes[2]
        };
        three.filter(distinct).map(Self::Anatomical).ok_or_else(|| {
            field.error(format!(
                "`{}` is \"{text}\": expected \"acquired\", or three letters, one each of L/R, P/A and S/I",
                field.name()
            ))
        })
    }
}

/// The order of the spatial axes in the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorAxes {
    /// Slice, row, column.
    Zyx,
    /// Column, row, slice.
    Xyz,
}

/// What the graph sees at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A volume or a window of it.
    Volume,
    /// One slice, with `neighbours` on either side as further channels.
    Slices { neighbours: usize, size: Option<[usize; 2]> },
}

/// One series that goes into the graph.
#[derive(Debug, Clone)]
pub struct Channel {
    pub name: String,
    /// What tells this channel's series from the others'.
    pub applies_to: AppliesTo,
    pub intensity: Vec<Intensity>,
}

#[derive(Debug, Clone)]
pub struct ImageInput {
    pub tensor: String,
    pub layout: Layout,
    pub orientation: Orientation,
    /// x, y, z in the order of `orientation`; none: as acquired.
    pub spacing_mm: Option<[f64; 3]>,
    pub tensor_axes: TensorAxes,
    pub channels: Vec<Channel>,
    /// The channels are red, green and blue of one series of colour images.
    pub is_colour: bool,
}

impl ImageInput {
    /// The channels that are series of their own.
    pub fn series(&self) -> &[Channel] {
        if self.is_colour { &self.channels[..1] } else { &self.channels }
    }

    pub(super) fn read(root: &Section<'_>) -> Result<Self, PackageError> {
        let section = root.required("input", "a table with `tensor` and `[[input.channel]]`")?.section()?;
        let input = Self {
            tensor: section.text("tensor", "the name of the graph's input")?.to_owned(),
            layout: layout(&section)?,
            orientation: section
                .optional("orientation")
                .map_or(Ok(Orientation::Acquired), |field| Orientation::read(&field))?,
            spacing_mm: section.optional("spacing_mm").map(|field| field.three(positive)).transpose()?,
            tensor_axes: section.optional("tensor_axes").map_or(Ok(TensorAxes::Zyx), |field| {
                field.choice(&[("zyx", TensorAxes::Zyx), ("xyz", TensorAxes::Xyz)])
            })?,
            channels: channels(&section)?,
            is_colour: section.boolean_or("colour", false)?,
        };
        if input.is_colour {
            input.check_colour(&section)?;
        }
        section.done()?;
        Ok(input)
    }
}

impl ImageInput {
    fn check_colour(&self, section: &Section<'_>) -> Result<(), PackageError> {
        if self.layout == Layout::Volume {
            return Err(section.error("`input.colour` is for `dimensions = 2` only".to_owned()));
        }
        let (count, others) = (self.channels.len(), self.channels.iter().skip(1));
        if count != 3 || others.into_iter().any(|channel| channel.applies_to != AppliesTo::default()) {
            return Err(section.error(
                "with `input.colour` expected three `[[input.channel]]`, for red, green and blue; \
                 `applies_to` stands in the first"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

fn layout(section: &Section<'_>) -> Result<Layout, PackageError> {
    let field = section.required("dimensions", "2 or 3")?;
    let neighbours = section.optional("neighbours");
    let size = section.optional("size");
    match field.whole()? {
        3 => match neighbours.or(size) {
            Some(field) => Err(field.error(format!("`{}` is for `dimensions = 2` only", field.name()))),
            None => Ok(Layout::Volume),
        },
        2 => Ok(Layout::Slices {
            neighbours: neighbours.map_or(Ok(0), |field| field.count(0..8))?,
            size: size.map(|field| two_sides(&field)).transpose()?,
        }),
        other => Err(field.error(format!("`{}` is {other}: expected 2 or 3", field.name()))),
    }
}

/// Rows and columns of `size = [x, y]`.
fn two_sides(field: &Field<'_>) -> Result<[usize; 2], PackageError> {
    let sides =
        field.list()?.iter().map(|item| item.count(1..SIZE_MAX + 1)).collect::<Result<Vec<_>, _>>()?;
    match sides.as_slice() {
        [x, y] => Ok([*y, *x]),
        _ => Err(field.error(format!(
            "`{}` has {} entries: expected 2, for x and y",
            field.name(),
            sides.len()
        ))),
    }
}

fn positive(field: &Field<'_>) -> Result<f64, PackageError> {
    let number = field.number()?;
    if number > 0.0 {
        Ok(number)
    } else {
        Err(field.error(format!("`{}` is {number}: expected more than 0", field.name())))
    }
}

fn channels(section: &Section<'_>) -> Result<Vec<Channel>, PackageError> {
    let sections = section.sections("channel")?;
    if sections.is_empty() {
        return Err(
            section.error("`[[input.channel]]` is missing: expected one for each series that goes in")
        );
    }
    if sections.len() > CHANNELS_MAX {
        return Err(section.error(format!("there are {} channels: at most {CHANNELS_MAX}", sections.len())));
    }
    let mut channels: Vec<Channel> = Vec::new();
    for section in &sections {
        let channel = Channel {
            name: section.text("name", "a name such as \"T1ce\"")?.to_owned(),
            applies_to: AppliesTo::read_optional(section)?,
            intensity: Intensity::read_all(section)?,
        };
        section.done()?;
        if channels.iter().any(|other| other.name == channel.name) {
            return Err(section.error(format!("two channels are called \"{}\"", channel.name)));
        }
        channels.push(channel);
    }
    Ok(channels)
}
