//! API keys: who may use the API, what for, and how much. What is stored of a key, and the text that its holder sends.

mod rate;
mod scopes;
mod token;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use crate::Sha256Digest;

pub use self::{
    rate::{InvalidRate, Rate, RatePeriod},
    scopes::{InvalidScope, Scope, Scopes},
    token::{ApiKeyToken, PresentedKey},
};

/// The longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The id of a key: 12 hexadecimal digits. It is not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 6]);

/// The part of a key's id that is in the ids of its tasks.
pub type KeyTag = [u8; 2];

/// A text that is not the id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 12 hexadecimal digits, such as 3f9c02d17a5b")]
pub struct InvalidKeyId;

impl KeyId {
    /// How many digits an id has.
    pub const DIGITS: usize = 12;

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The tag that the ids of the key's tasks have.
    #[must_use]
    pub fn tag(&self) -> KeyTag {
        [self.0[0], self.0[1]]
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    /// Lower-case digits only, so that each id has one text.
    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != Self::DIGITS || !text.bytes().all(is_digit) {
            return Err(InvalidKeyId);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| InvalidKeyId)?;
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;

    fn try_from(text: String) -> Result<Self, InvalidKeyId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a key is for, in an operator's words: 1 to 64 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// A text that is not the name of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key has 1 to 64 characters, none of them a control character")]
pub struct InvalidKeyName;

impl KeyName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let text = text.trim();
        let fits = (1..=MAX_NAME_CHARS).contains(&text.chars().count());
        if !fits || text.chars().any(char::is_control) {
            return Err(InvalidKeyName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KeyName {
    type Error = InvalidKeyName;

    fn try_from(text: String) -> Result<Self, InvalidKeyName> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

/// A key as it is stored: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub name: KeyName,
    /// The digest of its secret. The secret has 256 random bits, so that a digest without salt and iterations is enough.
    pub secret_sha256: Sha256Digest,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How many requests it may send. `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many jobs of it may be in the queue at a time. `None`: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u32>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// From this moment on it is refused. `None`: never.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<OffsetDateTime>,
}

impl ApiKey {
    /// Whether this is the key that was presented. Takes as long for any two secrets.
    #[must_use]
    pub fn is_presented_by(&self, presented: &PresentedKey) -> bool {
        let same = self.secret_sha256.as_bytes().ct_eq(presented.secret_sha256.as_bytes());
        self.id == presented.id && bool::from(same)
    }

    /// Whether it has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (ApiKey, ApiKeyToken) {
        let token = ApiKeyToken::from_random([7; 38]);
        let key = ApiKey {
            id: token.id(),
            name: "door camera".parse().unwrap(),
            secret_sha256: token.secret_sha256(),
            scopes: Scopes::default(),
            rate: Some("10/s".parse().unwrap()),
            quota: Some(100),
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: Some(OffsetDateTime::UNIX_EPOCH + time::Duration::DAY),
        };
        (key, token)
    }

    #[test]
    fn a_key_is_presented_by_its_own_token_only() {
        let (key, token) = key();
        let presented = PresentedKey::parse(token.expose()).unwrap();
        assert!(key.is_presented_by(&presented));
        let mut random = [7; 38];
        random[37] = 8;
        let other = ApiKeyToken::from_random(random);
        assert_eq!(other.id(), key.id, "only the secret differs");
        assert!(!key.is_presented_by(&PresentedKey::parse(other.expose()).unwrap()));
    }

    #[test]
    fn a_key_survives_its_json_without_its_secret() {
        let (key, token) = key();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<ApiKey>(&json).unwrap(), key);
        let (_, secret) = token.expose().rsplit_once('_').unwrap();
        assert!(!json.contains(secret), "{json}");
        let least = ApiKey { rate: None, quota: None, expires_at: None, ..key };
        let json = serde_json::to_string(&least).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert_eq!(serde_json::from_str::<ApiKey>(&json).unwrap(), least);
    }

    #[test]
    fn a_key_is_refused_from_its_expiry_on() {
        let (key, _) = key();
        let expiry = key.expires_at.unwrap();
        assert!(!key.is_expired(expiry - time::Duration::NANOSECOND));
        assert!(key.is_expired(expiry));
        assert!(!ApiKey { expires_at: None, ..key }.is_expired(expiry));
    }

    #[test]
    fn an_id_has_one_text() {
        let id = KeyId::from_bytes([0x3f, 0x9c, 0x02, 0xd1, 0x7a, 0x5b]);
        assert_eq!(id.to_string(), "3f9c02d17a5b");
        assert_eq!("3f9c02d17a5b".parse(), Ok(id));
        for wrong in
            ["", "3f9c02d17a5", "3F9C02D17A5B", "3f9c02d17a5bc", "+f9c02d17a5b", "é9c02d17a5b"]
        {
            assert_eq!(wrong.parse::<KeyId>(), Err(InvalidKeyId), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_a_short_line() {
        assert_eq!(" café 猫 ".parse::<KeyName>().unwrap().as_str(), "café 猫");
        assert!("猫".repeat(64).parse::<KeyName>().is_ok());
        for wrong in ["", " ", "a\nb", "\u{7f}", &"x".repeat(65)] {
            assert_eq!(wrong.parse::<KeyName>(), Err(InvalidKeyName), "{wrong}");
        }
    }
}
