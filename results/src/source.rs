//! The series that was analysed: headers of its instances, and its frames in the order of the volume.
//!
//! Texts that decide where a frame lies are kept as they stand in the source: results copy
//! them, so that no rounding moves an overlay. Pixel data is never read.

mod geometry;
mod read;

use std::{collections::HashMap, fmt};

use imaging::{FrameRef, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid};

use crate::{Reference, dataset::DataSet};

pub(crate) use geometry::numbers;
pub use geometry::{Measures, Plane};
pub use read::SourceError;

/// One source series, or the part of it that was analysed as one volume.
#[derive(Clone)]
pub struct Source {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) frame_of_reference: Option<Uid>,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    /// Data set of the first instance in volume order, for what all instances have in common.
    pub(crate) common: DataSet,
    instances: Vec<SourceInstance>,
    frames: Vec<SourceFrame>,
}

/// One instance of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInstance {
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
    pub instance_number: Option<i32>,
}

/// One slice of the volume.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFrame {
    /// Index in [`Source::instances`].
    pub instance: usize,
    /// Number from 1 in a multi-frame instance; none for a single-frame one.
    pub frame_number: Option<u32>,
    /// Where it lies; none for projection images.
    pub plane: Option<Plane>,
    pub measures: Measures,
}

impl Source {
    pub fn study(&self) -> &StudyUid {
        &self.study
    }

    pub fn series(&self) -> &SeriesUid {
        &self.series
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn columns(&self) -> u32 {
        self.columns
    }

    pub fn instances(&self) -> &[SourceInstance] {
        &self.instances
    }

    /// Frame `k` is slice `k` of a label map: sorted along the normal of the first frame,
    /// or by instance number when frames have no position.
    pub fn frames(&self) -> &[SourceFrame] {
        &self.frames
    }

    /// The frames in the order of a volume that was built from the series or a part of it.
    ///
    /// # Errors
    /// Names the first frame that the source does not have.
    pub fn arranged(mut self, order: &[FrameRef]) -> Result<Self, SourceError> {
        let by_reference: HashMap<(&str, u32), &SourceFrame> = self
            .frames
            .iter()
            .map(|frame| {
                let sop_instance = self.instance_of(frame).sop_instance.as_str();
                ((sop_instance, frame.frame_number.unwrap_or(1)), frame)
            })
            .collect();
        let frames = order
            .iter()
            .map(|wanted| {
                by_reference
                    .get(&(wanted.sop_instance.as_str(), wanted.frame_number.unwrap_or(1)))
                    .map(|frame| SourceFrame::clone(frame))
                    .ok_or_else(|| SourceError::NoSuchFrame(wanted.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if frames.is_empty() {
            return Err(SourceError::Empty);
        }
        self.frames = frames;
        Ok(self)
    }

    pub(crate) fn instance_of(&self, frame: &SourceFrame) -> &SourceInstance {
        &self.instances[frame.instance]
    }

    pub(crate) fn reference(&self, instance: &SourceInstance) -> Reference {
        Reference {
            study: self.study.clone(),
            series: self.series.clone(),
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
        }
    }

    /// Instances that hold at least one of the frames, in volume order.
    pub(crate) fn used_instances(&self) -> Vec<&SourceInstance> {
        let mut seen = vec![false; self.instances.len()];
        self.frames
            .iter()
            .filter(|frame| !std::mem::replace(&mut seen[frame.instance], true))
            .map(|frame| self.instance_of(frame))
            .collect()
    }

    /// Distance of neighbouring frames along the normal when it is the same everywhere.
    pub(crate) fn uniform_spacing(&self) -> Option<f64> {
        geometry::uniform_spacing(&self.frames)
    }
}

impl fmt::Debug for Source {
    /// Without the data set, which holds patient data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Source")
            .field("study", &self.study)
            .field("series", &self.series)
            .field("instances", &self.instances.len())
            .field("frames", &self.frames.len())
            .finish_non_exhaustive()
    }
}
