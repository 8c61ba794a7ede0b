//! Finding the files that set-up put beside this program.

use std::path::{Path, PathBuf};

/// Looks for `relative` (such as `.cache/bin/nats-server`) in the working folder, in the folders
/// above it, and in the folders above this program, in that order.
///
/// So a program run from the project's root, from a folder inside it, or by its path finds the same
/// files, and one installed elsewhere finds none.
#[must_use]
pub fn find_upwards(relative: &Path) -> Option<PathBuf> {
    let working_folder = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let starts = [working_folder.as_deref(), program.as_deref()];
    starts
        .into_iter()
        .flatten()
        .flat_map(Path::ancestors)
        .map(|folder| folder.join(relative))
        .find(|candidate| candidate.exists())
}

/// Looks for a program by its name in the folders of `PATH`.
#[must_use]
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
