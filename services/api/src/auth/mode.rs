//! `AUTH`: whether requests need a key.

use std::str::FromStr;

use service::config::{Reader, host::Host};

/// Whether requests need a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// `off`: everybody who can reach the API may use it.
    Off,
    /// `keys`: requests need an API key.
    Keys,
}

/// A text that is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected keys or off")]
pub struct InvalidAuthMode;

impl FromStr for AuthMode {
    type Err = InvalidAuthMode;

    fn from_str(text: &str) -> Result<Self, InvalidAuthMode> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "keys" => Ok(Self::Keys),
            _ => Err(InvalidAuthMode),
        }
    }
}

impl AuthMode {
    /// Reads `AUTH`. It must be set where other machines can reach `host`.
    pub(crate) fn read(reader: &mut Reader<'_>, host: &Host) -> Self {
        let mode = reader.read_optional("AUTH");
        if mode.is_none() && !host.is_loopback() && !reader.has_problem("AUTH") {
            reader.problem(
                "AUTH",
                format!(
                    "it is not set, and other machines may reach HOST {host}: set AUTH=keys to require API keys \
                     (docs/api-keys.md), or AUTH=off to serve everybody who can reach it"
                ),
            );
        }
        mode.unwrap_or(Self::Off)
    }
}
