//! From a source grid to the tensor that a graph wants, and back.

pub(crate) mod intensity;
pub(crate) mod placement;
pub(crate) mod rank;
pub(crate) mod resample;
