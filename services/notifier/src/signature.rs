//! Signatures of webhooks, as Standard Webhooks 1.0.0 says: HMAC-SHA256 of `{id}.{timestamp}.{body}`.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

const PREFIX: &str = "whsec_";
/// How long a secret may be, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets that webhooks are signed with. A receiver accepts a webhook whose signature by any of them it can verify,
/// so a new one can be added before the old one is removed.
#[derive(Clone, Default)]
pub struct Secrets(Vec<hmac::Key>);

/// Why a text is no list of secrets. The text is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is {PREFIX} and base64 of {} to {} bytes; several are separated by spaces or commas",
    LENGTHS.start(),
    LENGTHS.end()
)]
pub struct InvalidSecret;

impl FromStr for Secrets {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secrets = text.split([' ', ',']).filter(|secret| !secret.is_empty());
        let keys = secrets.map(|secret| {
            let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
            let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
            match LENGTHS.contains(&bytes.len()) {
                true => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
                false => Err(InvalidSecret),
            }
        });
        match keys.collect::<Result<Vec<_>, _>>()? {
            keys if keys.is_empty() => Err(InvalidSecret),
            keys => Ok(Self(keys)),
        }
    }
}

impl fmt::Debug for Secrets {
    /// Only how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Whether nothing can be signed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `webhook-signature`: a signature by each secret.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's reference libraries.
    #[test]
    fn the_reference_signature_is_made() {
        let secrets: Secrets = SECRET.parse().unwrap();
        let signature =
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let both: Secrets =
            format!("{SECRET}, whsec_{}", BASE64_STANDARD.encode([7; 32])).parse().unwrap();
        let signature = both.sign("id", 0, b"");
        assert_eq!(signature.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
        assert_eq!(format!("{both:?}"), "Secrets(2)");
    }

    #[test]
    fn other_texts_are_no_secrets() {
        let short = format!("whsec_{}", BASE64_STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", BASE64_STANDARD.encode([7; 65]));
        for text in ["", " ", "whsec_", "whsec_%", &SECRET[6..], &short, &long] {
            assert!(text.parse::<Secrets>().is_err(), "{text}");
        }
    }
}
