//! How a classification shows where it looked.

use super::{PackageError, manifest::Section};

/// What weighs the feature maps of a Grad-CAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CamWeights {
    /// A graph output (1, classes, channels, …): the derivatives of the scores by the features.
    Gradients(String),
    /// A graph output (classes, channels): the last layer after global average pooling.
    HeadWeights(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Explain {
    GradCam { features: String, weights: CamWeights },
    Occlusion { patch: usize, stride: usize, fill: f32 },
}

#[derive(Clone, Copy)]
enum Kind {
    GradCam,
    Occlusion,
}

impl Explain {
    pub(super) fn read(root: &Section<'_>) -> Result<Option<Self>, PackageError> {
        let Some(section) = root.section("explain")? else { return Ok(None) };
        let kind = section
            .required("kind", "\"grad-cam\" or \"occlusion\"")?
            .choice(&[("grad-cam", Kind::GradCam), ("occlusion", Kind::Occlusion)])?;
        let explain = match kind {
            Kind::GradCam => grad_cam(&section)?,
            Kind::Occlusion => Self::Occlusion {
                patch: section.required("patch", "pixels")?.count(1..4097)?,
                stride: section.required("stride", "pixels")?.count(1..4097)?,
                fill: section.number_or("fill", 0.0)? as f32,
            },
        };
        section.done()?;
        Ok(Some(explain))
    }
}

fn grad_cam(section: &Section<'_>) -> Result<Explain, PackageError> {
    let features = section.text("features", "the graph output with the feature maps")?.to_owned();
    let weights = match (section.optional_text("gradients")?, section.optional_text("head_weights")?) {
        (Some(name), None) => CamWeights::Gradients(name.to_owned()),
        (None, Some(name)) => CamWeights::HeadWeights(name.to_owned()),
        (None, None) => {
            return Err(section.error("`explain` of kind \"grad-cam\" needs `gradients` or `head_weights`"));
        }
        (Some(_), Some(_)) => {
            return Err(section.error("`explain` has `gradients` and `head_weights`: expected one of them"));
        }
    };
    Ok(Explain::GradCam { features, weights })
}
