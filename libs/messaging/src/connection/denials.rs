//! What the server says when credentials do not permit something.
//!
//! It drops the message and tells so beside the answers, on the connection: whoever waits for an
//! answer waits in vain. So what is denied is noted here, and those who ask something that their
//! role may not be allowed to ask listen to both.

use tokio::sync::broadcast;

/// How many denials a slow listener may be behind.
const REMEMBERED: usize = 64;

/// Passes on which subjects the server has denied. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Denials {
    subjects: broadcast::Sender<String>,
}

impl Denials {
    pub(crate) fn new() -> Self {
        Self { subjects: broadcast::channel(REMEMBERED).0 }
    }

    /// Takes in what the server says, if it is a denial.
    pub(crate) fn note(&self, said: &str) {
        if let Some(subject) = denied_subject(said) {
            // Nobody may be listening; the log has it.
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
