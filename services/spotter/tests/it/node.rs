//! Node, and the packages of a folder, which tests of the console and of the TypeScript client need.

#![allow(clippy::print_stderr, reason = "a skipped test is reported")]

use std::{
    env,
    path::{Path, PathBuf},
};

/// The path of a program; `None` if it is not installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether Node and the packages of this folder are there; if not, says so.
pub(crate) fn has_packages(folder: &Path) -> bool {
    let is_there = program("node").is_some() && folder.join("node_modules").is_dir();
    if !is_there {
        eprintln!(
            "SKIPPED: Node or the packages in {} are missing: scripts/setup --tests",
            folder.display()
        );
    }
    is_there
}
