//! What clients of CodeProject.AI ask before they send pictures.

use poem_openapi::{Object, types::Example};

/// The server's status, and its version.
#[derive(Object)]
#[oai(rename = "VisionServerStatus", example)]
pub(super) struct ServerStatus {
    /// Always true.
    success: bool,
    /// Always 200.
    code: u16,
    /// The version in words.
    message: String,
    version: ServerVersion,
    /// Always false: this server does not look for new versions.
    #[oai(rename = "updateAvailable")]
    update_available: bool,
}

/// A version.
#[derive(Object)]
struct ServerVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl ServerStatus {
    /// That of this process.
    pub(super) fn now() -> Self {
        Self::of(service::VERSION)
    }

    fn of(version: &str) -> Self {
        let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        Self {
            success: true,
            code: 200,
            message: format!("spotter {version}"),
            version: ServerVersion { major: number(), minor: number(), patch: number() },
            update_available: false,
        }
    }
}

impl Example for ServerStatus {
    fn example() -> Self {
        Self::of("1.2.3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_three_numbers() {
        for (text, expected) in
            [("0.1.0", [0, 1, 0]), ("12.3.4-rc.1", [12, 3, 4]), ("2", [2, 0, 0])]
        {
            let ServerVersion { major, minor, patch } = ServerStatus::of(text).version;
            assert_eq!([major, minor, patch], expected, "{text}");
        }
    }
}
