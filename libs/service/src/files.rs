//! Finds the files that the set-up has installed, reads text files, and measures free disk space.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Maximum size of a text file, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The content of a text file, as any editor may have saved it: UTF-8, with or without a byte order mark,
/// which is removed, and with the line endings of any system, which become `\n`.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for other encodings and for more than 1 MiB; or the error of the operating
/// system.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    text_of(&bytes).map_err(|found| io::Error::new(io::ErrorKind::InvalidData, found))
}

/// `Err` says what the bytes are instead of UTF-8.
fn text_of(bytes: &[u8]) -> Result<String, String> {
    const MARK: char = '\u{feff}';
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(format!("it has more than {MAX_TEXT_BYTES} bytes"));
    }
    let has_mark = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| bytes.starts_with(mark));
    if has_mark || bytes.contains(&0) {
        return Err(
            "it is UTF-16, as Windows calls Unicode, or no text: save it as UTF-8".to_owned()
        );
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8: save it as UTF-8")
    })?;
    // In concatenated files, any line may begin with a mark.
    let text = text.replace("\r\n", "\n").replace(&format!("\n{MARK}"), "\n");
    Ok(text.strip_prefix(MARK).map_or(text.clone(), str::to_owned))
}

/// Searches for `relative` (such as `.cache/bin/nats-server`) in the working directory, its parents, and the
/// parents of this program's file, in that order.
///
/// A program that is run from the project's root, from a subdirectory, or by its path finds the same files;
/// one that is installed elsewhere finds none.
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

/// Searches for a program by its name in the directories of `PATH`.
#[must_use]
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// How many bytes this user can still write to the disk of `path`.
///
/// # Errors
/// The error of the operating system.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A number of bytes for people: `512.0 MiB`, `3.33 GiB`.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    const MIB: f64 = (1_u64 << 20) as f64;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        let sizes = [0, 512 << 20, 1 << 30, 3_579_139_413].map(human_size);
        assert_eq!(sizes, ["0.0 MiB", "512.0 MiB", "1.00 GiB", "3.33 GiB"]);
    }

    #[test]
    fn a_disk_has_a_size_and_a_path_that_is_not_there_has_none() {
        assert!(free_bytes(Path::new("/")).is_ok());
        assert!(free_bytes(Path::new("/nowhere/at.all")).is_err());
    }

    #[test]
    fn text_is_read_as_any_editor_saves_it() {
        let read = ["a\nb\n", "a\r\nb\r\n", "\u{feff}a\nb\n", "\u{feff}a\r\n\u{feff}b\r\n"];
        for text in read {
            assert_eq!(text_of(text.as_bytes()).as_deref(), Ok("a\nb\n"), "{text:?}");
        }
        // Elsewhere in a line it is part of the text.
        assert_eq!(text_of("a\u{feff}b".as_bytes()).as_deref(), Ok("a\u{feff}b"));
        assert_eq!(text_of(b"").as_deref(), Ok(""));
        let long = vec![b'a'; MAX_TEXT_BYTES as usize + 1];
        let refused: [(&[u8], &str); 5] = [
            (b"\xff\xfea\0", "UTF-16"),
            (b"\xfe\xff\0a", "UTF-16"),
            (b"a\0b\0", "UTF-16"),
            (b"a\nb\n\xfc\n", "line 3"),
            (&long, "1048576 bytes"),
        ];
        for (bytes, found) in refused {
            assert!(text_of(bytes).unwrap_err().contains(found), "{found}");
        }
        // The file is endless.
        assert!(read_text(Path::new("/dev/zero")).is_err());
    }
}
