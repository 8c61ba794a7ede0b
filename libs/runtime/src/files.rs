//! Finding the files that set-up put beside this program, and the room on disks.

use std::{
    io,
    path::{Path, PathBuf},
};

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

/// How many bytes this user may still write to the disk that `path` is on.
///
/// # Errors
/// If the operating system does not say.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A number of bytes for people: `512.0 MiB`, `3.33 GiB`.
#[must_use]
pub fn shown_size(bytes: u64) -> String {
    const MIB: f64 = (1_u64 << 20) as f64;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        let sizes = [0, 512 << 20, 1 << 30, 3_579_139_413].map(shown_size);
        assert_eq!(sizes, ["0.0 MiB", "512.0 MiB", "1.00 GiB", "3.33 GiB"]);
    }

    #[test]
    fn a_disk_has_a_size_and_a_path_that_is_not_there_has_none() {
        assert!(free_bytes(Path::new("/")).is_ok());
        assert!(free_bytes(Path::new("/nowhere/at.all")).is_err());
    }
}
