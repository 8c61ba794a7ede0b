//! Uploads: a picture in a multipart form, checked while it arrives.

pub(crate) mod cache_control;
pub(crate) mod multipart;

mod arriving;
mod error;
mod form;
mod limited_body;
mod picture_form;
mod rules;

pub(crate) use error::UploadError;
pub(crate) use picture_form::{PictureForm, SubmissionRoute, UploadedPicture};
pub(crate) use rules::{FileNames, UploadRules};
