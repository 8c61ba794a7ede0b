//! What receiving a batch leaves to the route.

use super::Batches;
use crate::{
    tasks::submit::SubmitOptions,
    upload::{Given, UploadError},
};

/// How the route that receives a batch reads parameters, and names problems.
#[derive(Clone, Copy)]
pub(crate) struct RouteHooks {
    /// The options that these parameters mean; the error has the name of one that is wrong.
    pub(crate) options: fn(&Batches, Given) -> Result<SubmitOptions, WrongParameter>,
    /// The URI of a problem, and its text.
    pub(crate) problem: fn(UploadError) -> (&'static str, String),
}

/// The name of a parameter, and what is wrong with it.
pub(crate) type WrongParameter = (String, String);
