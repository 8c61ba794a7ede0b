//! Permission denials by the server.
//!
//! The server drops a message that is not permitted and reports that as an error of the connection: the
//! request never gets an answer. So denials are broadcast here, and a request that the role may not be
//! permitted waits for its answer and for a denial.

use tokio::sync::broadcast;

/// How many denials a slow receiver may be behind.
const REMEMBERED: usize = 64;

/// Broadcasts the subjects that the server denies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Denials {
    subjects: broadcast::Sender<String>,
}

impl Denials {
    pub(crate) fn new() -> Self {
        Self { subjects: broadcast::channel(REMEMBERED).0 }
    }

    /// Broadcasts a server error, if it is a denial.
    pub(crate) fn note(&self, said: &str) {
        if let Some(subject) = denied_subject(said) {
            // Fails without receivers; the denial is in the log.
            let _ = self.subjects.send(subject.to_owned());
        }
    }

    /// Completes when publishing to `subject` is denied from now on.
    pub(crate) fn of(&self, subject: String) -> impl Future<Output = ()> + use<> {
        let mut denied = self.subjects.subscribe();
        async move {
            loop {
                match denied.recv().await {
                    Ok(one) if one == subject => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }
}

/// The subject in `permissions violation for publish to "jobs.a.b"`.
fn denied_subject(said: &str) -> Option<&str> {
    const DENIAL: &str = "permissions violation for publish to ";
    let (start, subject) = said.split_at_checked(DENIAL.len())?;
    let is_denial = start.eq_ignore_ascii_case(DENIAL);
    is_denial.then(|| subject.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_its_subject() {
        let cases = [
            (r#"Permissions Violation for Publish to "jobs.a.b""#, Some("jobs.a.b")),
            (r#"permissions violation for publish to "$JS.API.INFO""#, Some("$JS.API.INFO")),
            (r#"Permissions Violation for Subscription to "_INBOX_api.>""#, None),
            ("Maximum Payload Violation", None),
            ("", None),
        ];
        for (said, expected) in cases {
            assert_eq!(denied_subject(said), expected, "{said}");
        }
    }
}
