//! Sorts the instances of series into stacks that can become volumes.
//!
//! Slices are ordered by their position along the normal, never by instance number. What
//! belongs to no stack is left out with the reason. Only headers are read here, so this is
//! cheap enough for asking again and again whether a series has holes. Of a multi-frame
//! instance only its own stack of one member is known here; [`crate::load_volumes`] looks
//! inside.

use dicom_dictionary_std::uids;

use crate::{
    geometry::{self, Plane, Point, cross, directions, dot, norm, sub},
    header::Header,
    own::is_own_result,
    split::split,
    uid::SeriesUid,
};

/// A step this much longer than the usual one lacks a slice.
const HOLE_FRACTION: f64 = 1.5;
/// Planes are parallel when unit vectors differ by less than this.
const PARALLEL: f64 = 1e-3;

/// The instances of one or several series, told apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stacks {
    pub stacks: Vec<Stack>,
    /// Multi-frame instances that do not say as a whole where in the patient they lie.
    pub unplaced: Vec<usize>,
    pub left_out: Vec<LeftOut>,
}

/// Parallel slices of one series, one for each place; or one image without a place (CR, DX, MG, a photograph).
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    pub series: SeriesUid,
    /// Indices into the headers, in the order along the normal. A multi-frame instance is
    /// one member whatever its number of frames.
    pub members: Vec<usize>,
    /// What tells it from the other stacks of its series, for example `echo time 4.92 ms`.
    pub split: Option<String>,
    /// Where slices are missing.
    pub holes: Vec<Hole>,
    /// The usual step between slices along the normal, mm.
    pub spacing: Option<f64>,
    pub plane: Plane,
}

impl Stack {
    /// How many slices it has, the frames of a multi-frame instance counted.
    pub fn slices(&self, headers: &[Header]) -> usize {
        self.members.iter().map(|member| headers[*member].number_of_frames.max(1) as usize).sum()
    }
}

/// A place in a stack where slices are missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hole {
    /// The member before it.
    pub after: usize,
    pub step_mm: f64,
    /// How many slices the step has room for.
    pub missing: usize,
}

/// An instance that is no part of any stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub index: usize,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it is no image")]
    NotAnImage,
    #[error("it is a result of this product")]
    OwnResult,
    #[error("it is a localizer")]
    Localizer,
    #[error("it is derived from other images")]
    Derived,
    #[error("it is a secondary capture")]
    Secondary,
    #[error("its plane has no valid orientation or spacing")]
    BadGeometry,
    /// The index of the instance that is used instead.
    #[error("it repeats another instance of the same place")]
    DuplicateOf(usize),
}

/// What to do with derived and secondary images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivedImages {
    LeaveOut,
    /// For a person who named the files.
    Keep,
}

/// The stacks of `headers`, without derived images.
pub fn stacks(headers: &[Header]) -> Stacks {
    stacks_with(headers, DerivedImages::LeaveOut)
}

/// Whether slices are missing inside a stack of `headers`.
///
/// No hole does not mean whole: the first half of a series has none either.
pub fn has_holes(headers: &[Header]) -> bool {
    stacks(headers).stacks.iter().any(|stack| !stack.holes.is_empty())
}

/// The stacks of `headers`, in the order in which their series and planes first appear.
pub fn stacks_with(headers: &[Header], derived: DerivedImages) -> Stacks {
    sort(headers, derived, Unit::Instance)
}

/// What one header stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Instance,
    /// A frame of an instance, whose UID all frames share.
    Frame,
}

pub(crate) fn sort(headers: &[Header], derived: DerivedImages, unit: Unit) -> Stacks {
    let mut found = Stacks::default();
    let mut bundles: Vec<Bundle> = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        if let Some(reason) = reason_to_leave_out(header, derived) {
            found.left_out.push(LeftOut { index, reason });
            continue;
        }
        let (Some(position), Some(orientation)) = (header.position, header.orientation) else {
            match unit {
                Unit::Instance if header.number_of_frames <= 1 => found.stand_alone(headers, index),
                Unit::Instance | Unit::Frame => found.unplaced.push(index),
            }
            continue;
        };
        let Some(plane) = Bundle::of(header, orientation) else {
            found.left_out.push(LeftOut { index, reason: Reason::BadGeometry });
            continue;
        };
        let slice = Slice { index, height: dot(position, plane.normal) };
        let parallel = bundles.iter_mut().find(|bundle| header.number_of_frames <= 1 && bundle.takes(&plane));
        match parallel {
            Some(bundle) => bundle.slices.push(slice),
            None => bundles.push(Bundle { slices: vec![slice], ..plane }),
        }
    }
    for bundle in bundles {
        bundle.stack_into(headers, unit, &mut found);
    }
    found.left_out.sort_by_key(|left_out| left_out.index);
    found
}

impl Stacks {
    /// An image without a place is a stack of its own; the same instance again is a duplicate.
    fn stand_alone(&mut self, headers: &[Header], index: usize) {
        let header = &headers[index];
        let known = self.stacks.iter().find(|stack| {
            stack.plane == Plane::Unplaced && headers[stack.members[0]].sop_instance == header.sop_instance
        });
        if let Some(known) = known {
            self.left_out.push(LeftOut { index, reason: Reason::DuplicateOf(known.members[0]) });
            return;
        }
        self.stacks.push(Stack {
            series: header.series.clone(),
            members: vec![index],
            split: None,
            holes: Vec::new(),
            spacing: None,
            plane: Plane::Unplaced,
        });
    }
}

fn reason_to_leave_out(header: &Header, derived: DerivedImages) -> Option<Reason> {
    let image_type = |value: usize| header.image_type.get(value).map_or("", String::as_str);
    let is_localizer = header.image_type.iter().any(|value| value == "LOCALIZER" || value == "SCOUT");
    if is_own_result(header) {
        return Some(Reason::OwnResult);
    }
    if !header.is_image()
        || matches!(header.modality.as_str(), "SEG" | "RTDOSE" | "RTSTRUCT" | "PR" | "KO" | "SR")
    {
        return Some(Reason::NotAnImage);
    }
    if is_localizer {
        return Some(Reason::Localizer);
    }
    match derived {
        DerivedImages::Keep => None,
        DerivedImages::LeaveOut if image_type(0) == "DERIVED" => Some(Reason::Derived),
        DerivedImages::LeaveOut if image_type(1) == "SECONDARY" => Some(Reason::Secondary),
        // Dose sheets and screen shots often say nothing of their type.
        DerivedImages::LeaveOut if header.is_unplaced() && is_secondary_capture(header) => {
            Some(Reason::Secondary)
        }
        DerivedImages::LeaveOut => None,
    }
}

/// PS3.4 §B.5: Secondary Capture and its multi-frame kin.
fn is_secondary_capture(header: &Header) -> bool {
    let class = header.sop_class.as_str();
    class == uids::SECONDARY_CAPTURE_IMAGE_STORAGE
        || class.strip_prefix(uids::SECONDARY_CAPTURE_IMAGE_STORAGE).is_some_and(|rest| rest.starts_with('.'))
}

/// One slice on its way into a stack: `height` is its position along the normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Slice {
    pub(crate) index: usize,
    pub(crate) height: f64,
}

/// Slices that share series, frame of reference, matrix, spacing and orientation.
struct Bundle {
    series: SeriesUid,
    frame_of_reference: Option<String>,
    matrix: (Option<u32>, Option<u32>),
    pixel_spacing: [f64; 2],
    directions: (Point, Point),
    normal: Point,
    is_multi_frame: bool,
    slices: Vec<Slice>,
}

impl Bundle {
    fn of(header: &Header, orientation: [f64; 6]) -> Option<Self> {
        let directions = directions(orientation)?;
        let pixel_spacing = header.pixel_spacing.filter(|spacing| spacing.iter().all(|mm| *mm > 0.0))?;
        Some(Self {
            series: header.series.clone(),
            frame_of_reference: header.frame_of_reference.as_ref().map(ToString::to_string),
            matrix: (header.rows, header.columns),
            pixel_spacing,
            normal: cross(directions.0, directions.1),
            directions,
            is_multi_frame: header.number_of_frames > 1,
            slices: Vec::new(),
        })
    }

    fn takes(&self, other: &Self) -> bool {
        let near = |a: Point, b: Point| norm(sub(a, b)) < PARALLEL;
        let same_spacing = || {
            let pairs = self.pixel_spacing.iter().zip(other.pixel_spacing);
            pairs.into_iter().all(|(a, b)| (a - b).abs() < PARALLEL * a)
        };
        !self.is_multi_frame
            && self.series == other.series
            && self.frame_of_reference == other.frame_of_reference
            && self.matrix == other.matrix
            && near(self.directions.0, other.directions.0)
            && near(self.directions.1, other.directions.1)
            && same_spacing()
    }

    fn stack_into(self, headers: &[Header], unit: Unit, found: &mut Stacks) {
        let plane = geometry::plane(self.normal);
        if self.is_multi_frame {
            let index = self.slices[0].index;
            found.stacks.push(Stack {
                series: self.series,
                members: vec![index],
                split: None,
                holes: Vec::new(),
                spacing: headers[index].spacing_between_slices.or(headers[index].slice_thickness),
                plane,
            });
            return;
        }
        let split = split(headers, self.slices, unit);
        found.left_out.extend(split.duplicates);
        for (slices, name) in split.parts {
            let heights: Vec<f64> = slices.iter().map(|slice| slice.height).collect();
            let members: Vec<usize> = slices.iter().map(|slice| slice.index).collect();
            let numbers: Vec<_> = members.iter().map(|member| headers[*member].instance_number).collect();
            found.stacks.push(Stack {
                series: self.series.clone(),
                members,
                split: name,
                holes: holes(&heights, &numbers),
                spacing: usual_step(&heights),
                plane,
            });
        }
    }
}

/// The median distance between neighbours; `None` for a single slice.
pub(crate) fn usual_step(heights: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied()
}

/// Where a step is longer than the steps around it, unless the instance numbers show that
/// nothing is missing there: some series are acquired unevenly.
pub(crate) fn holes(heights: &[f64], numbers: &[Option<i32>]) -> Vec<Hole> {
    let steps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let consecutive = |after: usize| match (numbers[after], numbers[after + 1]) {
        (Some(before), Some(behind)) => before.abs_diff(behind) == 1,
        _ => false,
    };
    (0..steps.len())
        .filter_map(|after| {
            let usual = usual_around(&steps, after)?;
            let step_mm = steps[after];
            let is_hole = step_mm > HOLE_FRACTION * usual && !consecutive(after);
            let missing = ((step_mm / usual).round() as usize).saturating_sub(1).max(1);
            is_hole.then_some(Hole { after, step_mm, missing })
        })
        .collect()
}

/// The step that the neighbourhood of `at` leads one to expect: the larger of the medians on
/// either side, because a series may change its spacing on the way.
fn usual_around(steps: &[f64], at: usize) -> Option<f64> {
    const REACH: usize = 3;
    let median = |part: &[f64]| {
        let mut sorted = part.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    };
    let before = median(&steps[at.saturating_sub(REACH)..at]);
    let behind = median(&steps[at + 1..(at + 1 + REACH).min(steps.len())]);
    match (before, behind) {
        (Some(before), Some(behind)) => Some(before.max(behind)),
        (one, other) => one.or(other),
    }
}
