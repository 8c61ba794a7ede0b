//! Values that must not be printed: passwords, tokens, addresses with a login.

use std::{convert::Infallible, fmt, str::FromStr};

/// A secret text. `Debug` does not print it, `Display` is not implemented, and every use of the text itself is
/// visible in the code as [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to hand to a server. Neither a log nor an error may hold it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret: Secret = "s3cret".parse().unwrap();
        assert_eq!(secret.expose(), "s3cret");
        let printed = format!("{secret:?} {:#?}", Some(&secret));
        assert!(!printed.contains("s3cret"), "{printed}");
    }
}
