//! Uploads: a picture in a multipart form, as the whole body, or in JSON, checked while it arrives.

pub(crate) mod cache_control;
pub(crate) mod multipart;

mod arriving;
mod body_kind;
mod error;
mod form;
mod json_body;
mod limited_body;
mod picture_form;
mod plain_body;
mod rules;

pub(crate) use body_kind::Bodies;
pub(crate) use error::UploadError;
pub(crate) use picture_form::{PictureForm, SubmissionRoute, UploadedPicture};
pub(crate) use rules::{FileNames, UploadRules};
