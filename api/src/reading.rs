//! Images in a request, an answer in its response: classification while somebody waits.
//!
//! The files lie in a folder of their own for as long as the request lasts (`temporary`); nothing
//! of them is kept. The model runs as somebody who waits does: a
//! segmentation that computes lets it pass between two windows.

mod archive;
mod classify;
mod form;
mod png;

pub(crate) use archive::unpack;
pub(crate) use classify::{Reading, Readings};
pub(crate) use form::Form;
