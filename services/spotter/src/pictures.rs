//! Reading the pictures that are named on the command line.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use domain::picture::PictureLimits;
use walkdir::{DirEntry, WalkDir};

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
            for picture in pictures_in(path) {
                let read = |error| format!("{} cannot be read: {error}", path.display());
                files.push(picture.map_err(read)?);
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The pictures in a folder and in those below it, in the order of their names, each once it is asked for. Links to files
/// are followed; links to folders, which may lead back, are not. An error is that of a folder below, and not the last item.
pub(crate) fn pictures_in(
    folder: &Path,
) -> impl Iterator<Item = Result<PathBuf, walkdir::Error>> + use<> {
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter();
    entries.filter_map(|entry| match entry {
        Ok(entry) => is_picture(&entry).then(|| Ok(entry.into_path())),
        Err(error) => Some(Err(error)),
    })
}

fn is_picture(entry: &DirEntry) -> bool {
    let extension = entry.path().extension().and_then(|extension| extension.to_str());
    let is_named_so =
        |known: &str| extension.is_some_and(|found| found.eq_ignore_ascii_case(known));
    EXTENSIONS.into_iter().any(is_named_so) && may_be_read(entry)
}

/// To open a pipe would wait for whoever writes to it. A link that leads nowhere is reported when it is read.
fn may_be_read(entry: &DirEntry) -> bool {
    let kind = entry.file_type();
    match kind.is_symlink() {
        true => entry.path().metadata().map_or(true, |target| target.is_file()),
        false => kind.is_file(),
    }
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
    use std::{fs, process::Command};

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
        // A link to a folder, one to a picture, one that leads nowhere, and a pipe.
        for (name, target) in
            [("x.jpg", path("b")), ("y.jpg", path("a.png")), ("z.jpg", path("absent"))]
        {
            std::os::unix::fs::symlink(target, path(name)).unwrap();
        }
        assert!(Command::new("mkfifo").arg(path("pipe.jpg")).status().unwrap().success());
        let found: Vec<_> = pictures_in(folder.path()).map(Result::unwrap).collect();
        assert_eq!(found, ["a.png", "b/d.webp", "c.JPG", "y.jpg", "z.jpg"].map(path));
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
