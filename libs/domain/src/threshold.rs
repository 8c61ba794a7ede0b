//! Thresholds: numbers that are checked to be between 0 and 1.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A value that is not a number from 0 to 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} must be a number from 0 to 1, got '{got}'")]
pub struct OutOfUnitRange {
    /// The quantity, such as `confidence`.
    pub what: &'static str,
    /// The value.
    pub got: String,
}

macro_rules! unit_range {
    ($(#[$doc:meta])* $name:ident, $what:literal, default $default:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f32", into = "f32")]
        pub struct $name(f32);

        impl $name {
            /// The threshold 0, which everything above 0 passes.
            pub const ZERO: Self = Self(0.0);

            #[doc = concat!("Checks that `value` can be a ", $what, " threshold.")]
            ///
            /// # Errors
            /// [`OutOfUnitRange`] unless `0 <= value <= 1`; NaN is refused.
            pub fn new(value: f32) -> Result<Self, OutOfUnitRange> {
                if (0.0..=1.0).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfUnitRange { what: $what, got: value.to_string() })
                }
            }

            /// The number itself, from 0 to 1.
            #[must_use]
            pub fn get(self) -> f32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<f32> for $name {
            type Error = OutOfUnitRange;

            fn try_from(value: f32) -> Result<Self, Self::Error> {
                Self::new(value)
            }
        }

        impl From<$name> for f32 {
            fn from(value: $name) -> f32 {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = OutOfUnitRange;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let value: f32 = text
                    .parse()
                    .map_err(|_| OutOfUnitRange { what: $what, got: text.to_owned() })?;
                Self::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit_range! {
    /// The least class score a detection must have to be reported. Default 0.25, the reference's.
    ConfidenceThreshold, "confidence", default 0.25
}

unit_range! {
    /// The intersection over union above which the weaker of two boxes of one class is dropped.
    /// Default 0.7, the reference's.
    IouThreshold, "iou", default 0.7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unit_range_is_accepted() {
        for good in ["0", "0.25", "1", "1e-3"] {
            assert!(good.parse::<ConfidenceThreshold>().is_ok(), "{good}");
        }
        for bad in ["-0.1", "1.01", "NaN", "inf", "", "high"] {
            let error = bad.parse::<ConfidenceThreshold>().unwrap_err();
            assert_eq!(error.what, "confidence", "{bad}");
        }
    }

    #[test]
    fn a_bad_number_in_json_is_refused() {
        assert!(serde_json::from_str::<IouThreshold>("0.7").is_ok());
        let error = serde_json::from_str::<IouThreshold>("7").unwrap_err();
        assert!(error.to_string().contains("iou must be a number from 0 to 1"), "{error}");
    }
}
