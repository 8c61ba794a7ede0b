//! Reading the pictures that are named on the command line.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use domain::picture::PictureLimits;

/// The extensions of the files that are taken from a folder.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];

/// The files, and in place of each folder the pictures in it and in the folders below, in the order of their names.
///
/// # Errors
/// Which folder cannot be read, and why.
pub(crate) fn with_those_in_folders(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let added = add_folder(path, &mut files);
            added.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Not those behind links: they may lead back.
        if entry.file_type()?.is_dir() {
            add_folder(&path, files)?;
        } else if is_picture(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// Reads a picture from a file or a pipe, up to the size limit: the length of a pipe is unknown beforehand.
pub(crate) fn read_picture(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, String> {
    let most = limits.max_bytes;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(|error| error.to_string())?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(format!("it is larger than the {most} bytes allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_pictures_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b")).unwrap();
        std::os::unix::fs::symlink(folder.path(), path("link")).unwrap();
        for name in ["c.JPG", "a.png", "notes.txt", "b/d.webp"] {
            fs::write(path(name), "").unwrap();
        }
        let named = [folder.path().to_owned(), path("notes.txt"), path("absent")];
        let found = with_those_in_folders(&named).unwrap();
        let expected = ["a.png", "b/d.webp", "c.JPG", "notes.txt", "absent"].map(path);
        assert_eq!(found, expected);
    }

    #[test]
    fn reading_stops_at_the_size_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        std::fs::write(&path, [7; 100]).unwrap();
        let read = |path: &Path, max_bytes| {
            read_picture(path, &PictureLimits { max_bytes, ..PictureLimits::default() })
        };
        assert_eq!(read(&path, 100), Ok(vec![7; 100]));
        assert!(read(&path, 99).is_err());
        // Its size is reported as 0, and reading it never ends.
        assert!(read(Path::new("/dev/zero"), 1 << 20).is_err());
        assert!(read(&folder.path().join("absent"), 100).is_err());
    }
}
