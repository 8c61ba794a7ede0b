//! The paths of the files that tests need.

use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
///
/// # Panics
/// If the workspace has been moved since the tests were built.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace lies where it was built")
}

/// `path` itself, if it exists.
///
/// # Panics
/// If it does not, with the command that fetches it.
pub fn require(path: impl Into<PathBuf>) -> PathBuf {
    let path = path.into();
    assert!(path.exists(), "{} is missing: run `make setup` first", path.display());
    path
}

/// A picture of `test_images/`, such as `bus.jpg`.
///
/// # Panics
/// If it does not exist, with the command that fetches it.
#[must_use]
pub fn picture(name: &str) -> PathBuf {
    require(workspace_root().join("test_images").join(name))
}

/// The path of a server's program: in the folder of `make setup`, otherwise in `PATH`.
///
/// # Panics
/// If it is in neither.
pub(crate) fn server_program(name: &str) -> PathBuf {
    let fetched = workspace_root().join(".cache/bin").join(name);
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates =
        std::iter::once(fetched).chain(std::env::split_paths(&in_path).map(|dir| dir.join(name)));
    candidates.find(|candidate| candidate.is_file()).unwrap_or_else(|| {
        panic!("{name} is neither in .cache/bin nor in PATH: run `make setup` first")
    })
}
