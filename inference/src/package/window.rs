//! The sliding window of a volume model.

use super::{
    ImageInput, Layout, PackageError,
    manifest::{Field, Section},
};

const ROI_MAX: usize = 1024;

/// How overlapping windows are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blend {
    Gaussian,
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// x, y, z.
    pub roi: [usize; 3],
    /// The part of a window that the next one covers again.
    pub overlap: f64,
    pub blend: Blend,
    /// Windows without a voxel above this value (before intensity steps) are not run.
    pub skip_at: Option<f64>,
}

impl Window {
    pub(super) fn read(root: &Section<'_>, input: &ImageInput) -> Result<Option<Self>, PackageError> {
        match (input.layout, root.optional("window")) {
            (Layout::Volume, None) => {
                Err(root.error("`[window]` is missing: a segmentation with `dimensions = 3` needs `roi`"))
            }
            (Layout::Slices { .. }, Some(field)) => {
                Err(field.error("`[window]` is for `dimensions = 3` only: slices are run whole"))
            }
            (Layout::Slices { .. }, None) => Ok(None),
            (Layout::Volume, Some(field)) => Self::read_table(&field.section()?).map(Some),
        }
    }

    fn read_table(section: &Section<'_>) -> Result<Self, PackageError> {
        let roi =
            section.required("roi", "three numbers of voxels")?.three(|item| item.count(1..ROI_MAX + 1))?;
        let overlap = section.optional("overlap").map_or(Ok(0.25), |field| fraction(&field))?;
        let blend = section.optional("blend").map_or(Ok(Blend::Gaussian), |field| {
            field.choice(&[("gaussian", Blend::Gaussian), ("constant", Blend::Constant)])
        })?;
        let skip_empty = section.boolean_or("skip_empty", false)?;
        let empty_at = section.number_or("empty_at", 0.0)?;
        section.done()?;
        Ok(Self { roi, overlap, blend, skip_at: skip_empty.then_some(empty_at) })
    }
}

fn fraction(field: &Field<'_>) -> Result<f64, PackageError> {
    let number = field.number()?;
    if (0.0..=0.9).contains(&number) {
        Ok(number)
    } else {
        Err(field.error(format!("`{}` is {number}: expected 0 to 0.9", field.name())))
    }
}
