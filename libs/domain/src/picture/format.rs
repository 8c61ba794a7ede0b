//! The picture formats, and how the first bytes of a file show which one it has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The supported picture formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureFormat {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy or lossless.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// GIF, of which the first frame counts.
    Gif,
}

/// The signatures of the formats; `None` stands for any byte.
const SIGNATURES: [(PictureFormat, &[Option<u8>]); 6] = [
    (PictureFormat::Jpeg, &signature(b"\xFF\xD8\xFF")),
    (PictureFormat::Png, &signature(b"\x89PNG\r\n\x1A\n")),
    (PictureFormat::WebP, &WEBP_SIGNATURE),
    (PictureFormat::Bmp, &signature(b"BM")),
    (PictureFormat::Gif, &signature(b"GIF87a")),
    (PictureFormat::Gif, &signature(b"GIF89a")),
];

/// `RIFF`, four bytes of length, `WEBP`.
const WEBP_SIGNATURE: [Option<u8>; 12] = {
    let mut bytes = signature(b"RIFF....WEBP");
    let mut at = 4;
    while at < 8 {
        bytes[at] = None;
        at += 1;
    }
    bytes
};

const fn signature<const N: usize>(bytes: &[u8; N]) -> [Option<u8>; N] {
    let mut signature = [None; N];
    let mut at = 0;
    while at < N {
        signature[at] = Some(bytes[at]);
        at += 1;
    }
    signature
}

impl fmt::Display for PictureFormat {
    /// The usual spelling: `JPEG`, `WebP`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
        })
    }
}

impl PictureFormat {
    /// The file name extensions of all formats, in lower case and without a dot.
    pub const EXTENSIONS: &[&str] = &["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

    /// The format that files of this extension have: `"JPG"` → [`PictureFormat::Jpeg`].
    ///
    /// The extension comes without its dot, in any mix of upper and lower case.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "webp" => Some(Self::WebP),
            "bmp" => Some(Self::Bmp),
            "gif" => Some(Self::Gif),
            _ => None,
        }
    }

    /// The format that the first bytes of a file show.
    pub(super) fn of_signature(bytes: &[u8]) -> Result<Self, SignatureError> {
        let agrees = |signature: &[Option<u8>]| {
            signature.iter().zip(bytes).all(|(want, got)| want.is_none_or(|want| want == *got))
        };
        let mut candidates =
            SIGNATURES.iter().filter(|(_, signature)| agrees(signature)).peekable();
        match candidates.peek() {
            None => Err(SignatureError::Unknown),
            Some((format, signature)) if bytes.len() >= signature.len() => Ok(*format),
            Some(_) => Err(SignatureError::TooShort),
        }
    }
}

/// Why no format could be named.
pub(super) enum SignatureError {
    /// No format starts like this.
    Unknown,
    /// The bytes are the beginning of a signature.
    TooShort,
}
