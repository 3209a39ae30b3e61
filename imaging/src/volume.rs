//! A stack of slices as one array in patient coordinates.
//!
//! The grid is that of the source frames, one slice for each, where they were acquired: a
//! label map on it maps back to the frames one to one. Values are modality units (Hounsfield
//! for CT) after the rescale of each frame; MONOCHROME1 concerns display and changes nothing
//! here, but for an image without a place, which is as it is shown. Padding of a CT takes the lowest measured value, because scanners put it far below
//! air; other modalities keep theirs. Missing slices do not stop loading: they are reported.

use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    decode::{OpenError, PixelFile},
    geometry::{GeometryError, Grid, Plane, Point},
    head::HeadError,
    header::Header,
    image::{self, Image},
    pixel::PixelError,
    series::{DerivedImages, Hole, LeftOut, Stack, Unit, sort},
    uid::{SeriesUid, SopClassUid, SopInstanceUid, Uid},
};

/// The most voxels of one volume; 4 GiB as f32.
pub const VOXELS_MAX: usize = 1 << 30;

/// The frame that a slice of a volume came from: results refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrameRef {
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
    /// Counted from 1 as in DICOM; `None` for an instance that is no multi-frame.
    pub frame_number: Option<u32>,
}

/// Voxels in modality units, one slice for each source frame.
#[derive(Clone)]
pub struct Volume {
    pub grid: Grid,
    /// [slice, row, column]
    pub voxels: Array3<f32>,
    /// One for each slice, in the order of the slices; empty when the volume was resampled.
    pub frames: Vec<FrameRef>,
    /// The header of the first slice: what the whole stack shares.
    pub header: Header,
    /// What tells the stack from others of its series, for example `echo time 4.92 ms`.
    pub split: Option<String>,
    /// Where slices are missing; `after` counts slices of this volume.
    pub holes: Vec<Hole>,
    /// Inputs that are no part of it, as indices into what was given.
    pub left_out: Vec<LeftOut>,
}

/// Why instances make no volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("none of the {} instances is a slice of a volume{}", .0.len(), first_reason(.0))]
    NoStack(Vec<LeftOut>),
    #[error("the instances make {0} volumes, not one: {1}")]
    SeveralStacks(usize, String),
    #[error("cannot read instance {sop}")]
    Head {
        sop: SopInstanceUid,
        #[source]
        source: HeadError,
    },
    #[error("cannot decode frame {frame} of instance {sop} (transfer syntax {syntax}): {source}")]
    Pixels { sop: SopInstanceUid, frame: u32, syntax: Uid, source: PixelError },
    #[error("instance {sop} has no frame with a position and an orientation")]
    NoFrames { sop: SopInstanceUid },
    #[error("instance {sop} has {found:?} columns and rows, the others {expected:?}")]
    Matrix { sop: SopInstanceUid, found: [usize; 2], expected: [usize; 2] },
    #[error("series {series} has no usable geometry")]
    Geometry {
        series: SeriesUid,
        #[source]
        source: GeometryError,
    },
    #[error("instance {sop} is a grey image, the model takes colour")]
    NotColour { sop: SopInstanceUid },
    #[error("instance {sop} does not say how many rows and columns it has")]
    NoSize { sop: SopInstanceUid },
    #[error("a volume of {0} voxels is larger than {VOXELS_MAX}")]
    TooLarge(u128),
    #[error("the stack cannot be resampled: {0}")]
    NotResampled(String),
}

fn first_reason(left_out: &[LeftOut]) -> String {
    left_out.first().map_or(String::new(), |left_out| format!(": {}", left_out.reason))
}

/// The one volume that `sources` make.
///
/// # Errors
/// When they make none or several, or something cannot be read; it is named.
pub fn load_volume(sources: &[(Header, PathBuf)]) -> Result<Volume, VolumeError> {
    let plans = plan(sources)?;
    match plans.as_slice() {
        [one] => one.load(),
        several => Err(several_stacks(several)),
    }
}

/// All volumes that `sources` make: one for each series, plane, echo, time point …
///
/// # Errors
/// When they make none, or something cannot be read; it is named.
pub fn load_volumes(sources: &[(Header, PathBuf)]) -> Result<Vec<Volume>, VolumeError> {
    plan(sources)?.iter().map(Plan::load).collect()
}

/// Red, green and blue of the one stack of colour images that `sources` make, each as a volume.
///
/// # Errors
/// As [`load_volume`], and when an image is grey.
pub fn load_colour(sources: &[(Header, PathBuf)]) -> Result<[Volume; 3], VolumeError> {
    let plans = plan(sources)?;
    match plans.as_slice() {
        [one] => one.load_colour(),
        several => Err(several_stacks(several)),
    }
}

fn several_stacks(plans: &[Plan<'_>]) -> VolumeError {
    let name = |plan: &Plan<'_>| match &plan.split {
        Some(split) => split.clone(),
        None => format!("{} slices of series {}", plan.slices.len(), plan.slices[0].header.series),
    };
    VolumeError::SeveralStacks(plans.len(), plans.iter().map(name).collect::<Vec<_>>().join("; "))
}

/// A volume before its pixels are read.
struct Plan<'a> {
    slices: Vec<PlannedSlice<'a>>,
    split: Option<String>,
    holes: Vec<Hole>,
    left_out: Vec<LeftOut>,
}

struct PlannedSlice<'a> {
    header: Header,
    path: &'a Path,
    /// Counted from 0; `None` for an instance that is no multi-frame.
    frame: Option<u32>,
}

fn plan(sources: &[(Header, PathBuf)]) -> Result<Vec<Plan<'_>>, VolumeError> {
    let headers: Vec<Header> = sources.iter().map(|(header, _)| header.clone()).collect();
    let sorted = sort(&headers, DerivedImages::Keep, Unit::Instance);
    let mut plans = Vec::new();
    for stack in sorted.stacks {
        match stack.members.as_slice() {
            [only] if headers[*only].number_of_frames > 1 => {
                plans.extend(plan_multi_frame(&headers[*only], &sources[*only].1)?);
            }
            _ => plans.push(plan_classic(sources, stack)),
        }
    }
    // A multi-frame instance says per frame where it lies; its header may say nothing.
    for index in sorted.unplaced.iter().filter(|index| headers[**index].number_of_frames > 1) {
        plans.extend(plan_multi_frame(&headers[*index], &sources[*index].1)?);
    }
    let Some(first) = plans.first_mut() else { return Err(VolumeError::NoStack(sorted.left_out)) };
    first.left_out = sorted.left_out;
    Ok(plans)
}

fn plan_classic(sources: &[(Header, PathBuf)], stack: Stack) -> Plan<'_> {
    let slice = |member: &usize| {
        let (header, path) = &sources[*member];
        PlannedSlice { header: header.clone(), path, frame: None }
    };
    let slices = stack.members.iter().map(slice).collect();
    Plan { slices, split: stack.split, holes: stack.holes, left_out: Vec::new() }
}

/// Each frame is sorted like an instance of its own.
fn plan_multi_frame<'a>(header: &Header, path: &'a Path) -> Result<Vec<Plan<'a>>, VolumeError> {
    let file = open(header, path)?;
    let frames: Vec<Header> = file
        .frames
        .iter()
        .enumerate()
        .take(file.format.frames as usize)
        .map(|(number, facts)| {
            let mut frame = header.clone();
            frame.number_of_frames = 1;
            frame.instance_number = i32::try_from(number).ok();
            frame.position = facts.position.or(header.position);
            frame.orientation = facts.orientation.or(header.orientation);
            frame.pixel_spacing = facts.pixel_spacing.or(header.pixel_spacing);
            frame.slice_thickness = facts.slice_thickness.or(header.slice_thickness);
            frame.echo_time = facts.echo_time.or(header.echo_time);
            frame.diffusion_b_value = facts.diffusion_b_value;
            frame.temporal_position = facts.temporal_position;
            frame.image_type.clone_from(&facts.frame_type);
            frame
        })
        .collect();
    let sorted = sort(&frames, DerivedImages::Keep, Unit::Frame);
    if sorted.stacks.is_empty() {
        return Err(VolumeError::NoFrames { sop: header.sop_instance.clone() });
    }
    let plan = |stack: Stack| {
        let slice = |member: &usize| PlannedSlice {
            header: frames[*member].clone(),
            path,
            frame: u32::try_from(*member).ok(),
        };
        let slices = stack.members.iter().map(slice).collect();
        Plan { slices, split: stack.split, holes: stack.holes, left_out: Vec::new() }
    };
    Ok(sorted.stacks.into_iter().map(plan).collect())
}

impl Volume {
    /// The plane of its slices; none for an image that does not say where in the patient it lies.
    pub fn plane(&self) -> Plane {
        if self.header.is_unplaced() { Plane::Unplaced } else { self.grid.plane() }
    }
}

impl Plan<'_> {
    fn load(&self) -> Result<Volume, VolumeError> {
        let grid = self.grid()?;
        let voxels = self.voxels(&grid)?;
        Ok(self.volume(grid, voxels))
    }

    fn load_colour(&self) -> Result<[Volume; 3], VolumeError> {
        let grid = self.grid()?;
        let mut planes = [(); 3].map(|()| Array3::zeros((grid.slices(), grid.rows(), grid.columns())));
        for (number, slice) in self.slices.iter().enumerate() {
            let file = open(&slice.header, slice.path)?;
            slice.check_matrix(&file, &grid)?;
            let shown =
                image::read(&file, slice.frame.unwrap_or(0)).map_err(|error| slice.pixel_error(error))?;
            let Image::Colour { values, .. } = shown else {
                return Err(VolumeError::NotColour { sop: slice.header.sop_instance.clone() });
            };
            for (component, plane) in planes.iter_mut().enumerate() {
                plane.index_axis_mut(Axis(0), number).assign(&values.index_axis(Axis(2), component));
            }
        }
        Ok(planes.map(|voxels| self.volume(grid.clone(), voxels)))
    }

    fn volume(&self, grid: Grid, voxels: Array3<f32>) -> Volume {
        let mut header = self.slices[0].header.clone();
        header.number_of_frames = 1;
        Volume {
            frames: self.slices.iter().map(PlannedSlice::reference).collect(),
            grid,
            voxels,
            header,
            split: self.split.clone(),
            holes: self.holes.clone(),
            left_out: self.left_out.clone(),
        }
    }

    fn grid(&self) -> Result<Grid, VolumeError> {
        let first = &self.slices[0].header;
        let size = |edge: Option<u32>| edge.unwrap_or(0) as usize;
        let positions: Vec<Point> = self.slices.iter().filter_map(|slice| slice.header.position).collect();
        let thickness = first.spacing_between_slices.or(first.slice_thickness).unwrap_or(1.0);
        let mut orientation = first.orientation.unwrap_or_default();
        let mut spacing = first.pixel_spacing.unwrap_or_default();
        let mut positions = positions;
        if first.is_unplaced() {
            // Its own plane stands in for the patient: columns grow along x, rows along y.
            orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
            spacing = first.pixel_spacing.unwrap_or([1.0, 1.0]);
            positions = vec![[0.0; 3]];
        }
        let grid = Grid::from_slices(
            [size(first.columns), size(first.rows)],
            orientation,
            spacing,
            positions,
            thickness,
        )
        .map_err(|source| VolumeError::Geometry { series: first.series.clone(), source })?;
        if grid.dims.contains(&0) {
            return Err(VolumeError::NoSize { sop: first.sop_instance.clone() });
        }
        check_size(grid.dims)?;
        Ok(grid)
    }

    /// Slices are read and decoded in parallel, each straight into its place.
    fn voxels(&self, grid: &Grid) -> Result<Array3<f32>, VolumeError> {
        let first = &self.slices[0];
        let shared = match first.frame {
            Some(_) => Some(open(&first.header, first.path)?),
            None => None,
        };
        if let Some(file) = &shared {
            first.check_matrix(file, grid)?;
        }
        let shape = (grid.slices(), grid.rows(), grid.columns());
        let mut voxels = Array3::<f32>::zeros(shape);
        let slice_voxels = grid.rows() * grid.columns();
        let places = voxels.as_slice_mut().expect("a new array is contiguous").par_chunks_mut(slice_voxels);
        let padded: Vec<Padded> = places
            .zip(&self.slices)
            .map(|(place, slice)| slice.read(shared.as_ref(), grid, place))
            .collect::<Result<_, _>>()?;
        if first.header.modality == "CT" {
            fill_padding(&mut voxels, &padded);
        }
        Ok(voxels)
    }
}

/// Refuses what would not fit a volume, before there is memory for it.
pub(crate) fn check_size(dims: [usize; 3]) -> Result<(), VolumeError> {
    let voxels = dims.iter().fold(1_u128, |voxels, edge| voxels.saturating_mul(*edge as u128));
    if voxels > VOXELS_MAX as u128 { Err(VolumeError::TooLarge(voxels)) } else { Ok(()) }
}

/// The values of a slice that mean nothing, and the lowest that means something.
#[derive(Clone, Copy)]
struct Padded {
    range: Option<(f32, f32)>,
    lowest: f32,
}

impl PlannedSlice<'_> {
    fn reference(&self) -> FrameRef {
        FrameRef {
            sop_class: self.header.sop_class.clone(),
            sop_instance: self.header.sop_instance.clone(),
            frame_number: self.frame.map(|frame| frame + 1),
        }
    }

    fn read(
        &self,
        shared: Option<&PixelFile>,
        grid: &Grid,
        place: &mut [f32],
    ) -> Result<Padded, VolumeError> {
        let own;
        let file = match shared {
            Some(file) => file,
            None => {
                own = open(&self.header, self.path)?;
                self.check_matrix(&own, grid)?;
                &own
            }
        };
        let frame = self.frame.unwrap_or(0);
        let read = if self.header.is_unplaced() {
            image::read_shown(file, frame, place)
        } else {
            file.read_grey(frame, place)
        };
        read.map_err(|source| self.pixel_error(source))?;
        let range = file.padding.map(|(low, high)| {
            let rescale = file.rescale(frame);
            let (low, high) = (rescale.apply(low), rescale.apply(high));
            (low.min(high), low.max(high))
        });
        let lowest = match range {
            Some((low, high)) => lowest_outside(place, low, high),
            None => f32::INFINITY,
        };
        Ok(Padded { range, lowest })
    }

    fn check_matrix(&self, file: &PixelFile, grid: &Grid) -> Result<(), VolumeError> {
        let (found, expected) = ([file.format.columns, file.format.rows], [grid.columns(), grid.rows()]);
        if found == expected {
            return Ok(());
        }
        Err(VolumeError::Matrix { sop: self.header.sop_instance.clone(), found, expected })
    }

    fn pixel_error(&self, source: PixelError) -> VolumeError {
        VolumeError::Pixels {
            sop: self.header.sop_instance.clone(),
            frame: self.frame.unwrap_or(0) + 1,
            syntax: self.header.transfer_syntax.clone(),
            source,
        }
    }
}

fn open(header: &Header, path: &Path) -> Result<PixelFile, VolumeError> {
    let sop = header.sop_instance.clone();
    PixelFile::open(path).map_err(|error| match error {
        OpenError::Head(source) => VolumeError::Head { sop, source },
        OpenError::Pixels(source) => {
            VolumeError::Pixels { sop, frame: 1, syntax: header.transfer_syntax.clone(), source }
        }
    })
}

/// In lanes of their own, so that the compiler makes vectors of them.
fn lowest_outside(values: &[f32], low: f32, high: f32) -> f32 {
    let measured = |value: f32| if value < low || value > high { value } else { f32::INFINITY };
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [f32::INFINITY; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let value = measured(*value);
            *lane = if value < *lane { value } else { *lane };
        }
    }
    rest.iter().map(|value| measured(*value)).chain(lanes).fold(f32::INFINITY, f32::min)
}

fn fill_padding(voxels: &mut Array3<f32>, padded: &[Padded]) {
    let lowest = padded.iter().map(|slice| slice.lowest).fold(f32::INFINITY, f32::min);
    if !lowest.is_finite() {
        return;
    }
    let slice_voxels = (voxels.len() / padded.len()).max(1);
    let slices = voxels.as_slice_mut().expect("a new array is contiguous").par_chunks_mut(slice_voxels);
    slices.zip(padded).for_each(|(slice, padded)| {
        let Some((low, high)) = padded.range else { return };
        for value in slice.iter_mut().filter(|value| (low..=high).contains(*value)) {
            *value = lowest;
        }
    });
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Volume").field("dims", &self.grid.dims).finish_non_exhaustive()
    }
}
