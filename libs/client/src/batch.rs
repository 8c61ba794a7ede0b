//! Batches: many pictures in one request.

mod follow;
mod form;
mod results;
mod submit;
mod view;

pub use self::{
    form::PictureFile,
    results::{BatchResults, ItemResult},
    submit::{BatchNotReceived, BatchSubmission},
    view::{Batch, BatchLinks, BatchState, RefusedItem},
};
