//! What the parameters of a submission mean.

use serde_json::Value;

use super::parameters::Parameters;
use crate::{
    routes::rejection::Rejection,
    tasks::{Tasks, submit::SubmitOptions},
};

/// The options that parameters mean, from the query and the body.
///
/// # Errors
/// [`Rejection::Parameter`].
pub(in crate::routes) fn submit_options(
    given: impl IntoIterator<Item = (&'static str, Value)>,
    tasks: &Tasks,
) -> Result<SubmitOptions, Rejection> {
    let mut parameters = Parameters::parse(given)?;
    Ok(SubmitOptions {
        settings: parameters.settings(),
        deadline: parameters.deadline(tasks.result_ttl)?,
        annotated: parameters.annotated(),
        callback_url: parameters.callback_url(tasks.callback_rules.as_ref())?,
        model: parameters.model,
        priority: parameters.priority.unwrap_or_default(),
        metadata: parameters.metadata,
        idempotency_key: None,
        no_cache: false,
        submitter: None,
    })
}
