//! Pictures with the detected objects drawn in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The file format of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrawingFormat {
    /// JPEG, of quality 90.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, without loss.
    WebP,
}

impl DrawingFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::WebP];

    /// The name by which a client chooses the format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

impl fmt::Display for DrawingFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no [`DrawingFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format '{0}' of drawings: expected jpeg, png or webp")]
pub struct InvalidDrawingFormat(pub String);

impl FromStr for DrawingFormat {
    type Err = InvalidDrawingFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let name = if lower == "jpg" { "jpeg" } else { lower.as_str() };
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| InvalidDrawingFormat(text.to_owned()))
    }
}

/// A stored drawing of a task. The task's record names it, so that a reader never gets that of another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawing {
    /// Distinguishes it from drawings of other runs of the same job.
    pub id: u32,
    /// Its file format.
    pub format: DrawingFormat,
    /// Its length.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_one_name_in_texts_and_in_json() {
        for format in DrawingFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        assert_eq!("JPG".parse(), Ok(DrawingFormat::Jpeg));
        assert_eq!("gif".parse::<DrawingFormat>(), Err(InvalidDrawingFormat("gif".to_owned())));
    }
}
