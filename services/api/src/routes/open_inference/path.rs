//! The name and the version of a model in a path.

use domain::ModelName;

use super::{
    error::{InferenceError, no_model, no_version},
    schema::VERSION,
};

/// The name of a model in a path.
///
/// # Errors
/// [`InferenceError`] if no model can have this name, or this version.
pub(super) fn parse_name(name: &str, version: &str) -> Result<ModelName, InferenceError> {
    if version != VERSION {
        return Err(no_version(version));
    }
    name.parse().map_err(|_| no_model(name))
}
