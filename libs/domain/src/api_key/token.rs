//! The text that the holder of a key sends: `spotter_<id>_<secret>`.

use std::fmt;

use super::KeyId;
use crate::Sha256Digest;

/// By which scanners for leaked secrets recognise a key.
const PREFIX: &str = "spotter_";

/// How many hexadecimal digits a secret has: 256 bits.
const SECRET_DIGITS: usize = 64;

/// A key with its secret, as it is shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyToken {
    id: KeyId,
    text: String,
}

impl ApiKeyToken {
    /// A key of these random bytes: 6 for its id, 32 for its secret.
    #[must_use]
    pub fn from_random(random: [u8; 38]) -> Self {
        let mut id = [0; 6];
        let (of_id, of_secret) = random.split_at(id.len());
        id.copy_from_slice(of_id);
        let id = KeyId::from_bytes(id);
        let mut text = format!("{PREFIX}{id}_");
        of_secret.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        Self { id, text }
    }

    /// The id of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The text, for the one place that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The digest of the secret, which is stored.
    #[must_use]
    pub fn secret_sha256(&self) -> Sha256Digest {
        Sha256Digest::of(&self.text[self.text.len() - SECRET_DIGITS..])
    }
}

/// Without the secret.
impl fmt::Debug for ApiKeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyToken({PREFIX}{}_***)", self.id)
    }
}

/// What a request presents: the id of a key, and the digest of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedKey {
    /// The id.
    pub id: KeyId,
    /// The digest of the secret.
    pub secret_sha256: Sha256Digest,
}

impl PresentedKey {
    /// Reads the text that [`ApiKeyToken::expose`] gives; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = id.parse().ok()?;
        let is_secret = secret.len() == SECRET_DIGITS
            && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_secret.then(|| Self { id, secret_sha256: Sha256Digest::of(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_text_is_a_key() {
        let token = ApiKeyToken::from_random(std::array::from_fn(|at| at as u8));
        let text = token.expose();
        assert!(text.starts_with("spotter_000102030405_060708"), "{text}");
        assert_eq!(text.len(), 8 + 12 + 1 + 64);
        let presented = PresentedKey::parse(text).unwrap();
        assert_eq!(presented.id, token.id());
        assert_eq!(presented.secret_sha256, token.secret_sha256());
        let wrong = [
            String::new(),
            text[..84].to_owned(),
            format!("{text}0"),
            format!(" {text}"),
            text.to_uppercase(),
            text.replacen('_', "-", 1),
            text.replace("060708", "06070g"),
            text.replace("060708", "06070é"),
            "spotter__".to_owned(),
            "spotter_".repeat(1000),
        ];
        for wrong in wrong {
            assert_eq!(PresentedKey::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = ApiKeyToken::from_random([0xab; 38]);
        assert_eq!(format!("{token:?}"), "ApiKeyToken(spotter_abababababab_***)");
    }
}
