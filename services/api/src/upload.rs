//! Uploads: a picture in a multipart form, as the whole body, in JSON, or at a URL, checked while it arrives; tensors.

pub(crate) mod cache_control;
pub(crate) mod multipart;
pub(crate) mod zip;

mod arriving;
mod batch;
mod body_kind;
mod error;
mod fetch;
mod fetcher;
mod form;
mod image_form;
mod incoming_body;
mod json_body;
mod limited_body;
mod pace;
mod picture_form;
mod plain_body;
mod rules;
mod sent_picture;
mod slots;
mod tensor_body;
mod unread_body;
mod uploaded;
mod value_budget;

pub use batch::BatchLimits;
pub(crate) use batch::{Arrived, ArrivedPicture, BatchUpload, Given, Pictures};
pub(crate) use body_kind::Bodies;
pub(crate) use error::{UploadError, json_error};
pub use fetcher::FetchConfig;
pub(crate) use fetcher::PictureFetcher;
pub(crate) use image_form::{ImageField, ImageFormUpload};
pub(crate) use json_body::decode as decode_base64;
pub(crate) use picture_form::{PictureForm, SubmissionRoute};
#[cfg(any(fuzzing, test))]
pub(crate) use picture_form::{Submitted, SubmittedPicture};
pub(crate) use rules::{FileNames, UploadRules};
pub(crate) use sent_picture::SentPicture;
pub(crate) use slots::place_for_answer;
pub(crate) use tensor_body::{JSON_LENGTH, TensorBody};
pub(crate) use unread_body::{BodyPictures, UnreadBody, UnreadKind, parse};
pub(crate) use uploaded::{UploadSlot, UploadedPicture};
