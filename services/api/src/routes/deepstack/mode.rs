//! `DEEPSTACK_API`: whether the routes of DeepStack and CodeProject.AI are served, and how they report errors.

use std::str::FromStr;

/// Whether these routes are served, and how they report errors, in which the two servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeepStackMode {
    /// `deepstack`: errors have statuses of their own.
    #[default]
    DeepStack,
    /// `codeproject`: errors have the status 200; the body says that it is one.
    CodeProject,
    /// `off`: they are not served.
    Off,
}

/// A text that is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected deepstack, codeproject or off")]
pub struct InvalidDeepStackMode;

impl FromStr for DeepStackMode {
    type Err = InvalidDeepStackMode;

    fn from_str(text: &str) -> Result<Self, InvalidDeepStackMode> {
        match text.to_ascii_lowercase().as_str() {
            "deepstack" => Ok(Self::DeepStack),
            "codeproject" => Ok(Self::CodeProject),
            "off" => Ok(Self::Off),
            _ => Err(InvalidDeepStackMode),
        }
    }
}

impl DeepStackMode {
    /// What a request to one of these routes is told where they are turned off.
    pub(crate) const OFF: &str =
        "the routes of DeepStack and CodeProject.AI are turned off here (DEEPSTACK_API=off)";

    /// Whether `path` is one of these routes, and they are turned off.
    pub(crate) fn turns_off(self, path: &str) -> bool {
        let own = ["/v1/vision/", "/v1/status/", "/v1/server/status/"];
        self == Self::Off && own.iter().any(|own| path.starts_with(own))
    }
}
