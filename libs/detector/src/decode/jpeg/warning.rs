//! What libjpeg-turbo warns of.

use std::fmt;

use turbojpeg::Error;

/// A warning of libjpeg-turbo, after which it decodes on. Everything else that it reports is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LibjpegWarning {
    /// About the header: no pixel depends on it, or [`super::repair`] repairs it.
    Header,
    /// Bytes where a marker should be, most often padding behind coded pixels.
    Extraneous {
        /// How many; a stuffed 0xFF 0x00 counts as two.
        count: usize,
        /// The marker behind them.
        marker: u8,
    },
    /// An undefined code in the coded pixels.
    BadCode,
    /// The coded pixels end early. The rest is filled in.
    EndsEarly,
    /// A restart marker is missing, or another one is in its place.
    Restart,
    /// The scans of a progressive JPEG are inconsistent.
    Progression,
}

impl LibjpegWarning {
    /// `None` for an error that is none of libjpeg's warnings.
    ///
    /// The binding passes only their text (`jerror.h` of libjpeg-turbo).
    pub(super) fn of(error: &Error) -> Option<Self> {
        let Error::TurboJpegError(text) = error else { return None };
        let contains = |part: &str| text.contains(part);
        if contains("unknown JFIF revision number")
            || contains("Unknown Adobe color transform code")
            || contains("bad ICC marker")
            || contains("Invalid SOS parameters for sequential JPEG")
        {
            return Some(Self::Header);
        }
        if contains("bad Huffman code") || contains("bad arithmetic code") {
            return Some(Self::BadCode);
        }
        if contains("premature end of data segment") || contains("Premature end of JPEG file") {
            return Some(Self::EndsEarly);
        }
        if contains("Inconsistent progression sequence") {
            return Some(Self::Progression);
        }
        if contains("found marker 0x") && contains("instead of RST") {
            return Some(Self::Restart);
        }
        extraneous(text)
    }
}

/// `Corrupt JPEG data: 7 extraneous bytes before marker 0xd9`
fn extraneous(text: &str) -> Option<LibjpegWarning> {
    let (before, marker) = text.split_once(" extraneous bytes before marker 0x")?;
    let count = before.rsplit(' ').next()?.parse().ok()?;
    let marker = u8::from_str_radix(marker.trim(), 16).ok()?;
    Some(LibjpegWarning::Extraneous { count, marker })
}

impl fmt::Display for LibjpegWarning {
    /// The damage to the picture, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Header => "the JPEG's header breaks the rules",
            Self::Extraneous { count, .. } => {
                return write!(
                    f,
                    "the JPEG's coded data holds {count} bytes that belong to no pixel: parts of the picture may be wrong"
                );
            }
            Self::BadCode => {
                "the JPEG's coded data is damaged (a code that does not exist): parts of the picture may be wrong"
            }
            Self::EndsEarly => {
                "the JPEG's coded data ends early: the missing part of the picture is filled in"
            }
            Self::Restart => {
                "the JPEG's restart markers are damaged: parts of the picture may be wrong"
            }
            Self::Progression => {
                "the JPEG's scans contradict one another: parts of the picture may be wrong"
            }
        };
        f.write_str(what)
    }
}
