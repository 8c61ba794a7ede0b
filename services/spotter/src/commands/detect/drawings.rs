//! Pictures with boxes and labels drawn in: where they are written, and how.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use detector::{annotate, decode};
use domain::{
    DetectedObject,
    picture::{PictureFormat, PictureLimits},
};

use crate::error::CliError;

/// The path of the drawing of each of `pictures`: in `folder`, which is created, under the picture's own
/// name. If two would have the same name, the second gets a number.
///
/// # Errors
/// [`CliError::Usage`] if a drawing would overwrite one of `pictures`.
pub(super) fn plan(folder: &Path, pictures: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    fs::create_dir_all(folder)
        .map_err(|source| CliError::Write { path: folder.to_owned(), source })?;
    let originals: HashSet<FileId> = pictures.iter().filter_map(|path| file_id(path)).collect();
    let mut taken = HashSet::new();
    let mut drawings = Vec::new();
    for picture in pictures {
        let name = free_name(drawn_name(picture), &taken);
        let drawing = folder.join(&name);
        if file_id(&drawing).is_some_and(|id| originals.contains(&id)) {
            return Err(CliError::Usage(format!(
                "{} is one of the input pictures and would be overwritten; give --save \
                 another folder",
                drawing.display()
            )));
        }
        taken.insert(name);
        drawings.push(drawing);
    }
    Ok(drawings)
}

/// Device and inode: the same for every path and link that leads to one file.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// `bus.jpg` stays `bus.jpg`. A format that is only read, such as GIF, is written as PNG.
fn drawn_name(picture: &Path) -> PathBuf {
    let name = PathBuf::from(picture.file_name().unwrap_or_default());
    match drawn_format(&name) {
        Some(_) => name,
        None => name.with_extension("png"),
    }
}

/// `bus.jpg`, or the first of `bus-2.jpg`, `bus-3.jpg`, … that is not taken.
fn free_name(name: PathBuf, taken: &HashSet<PathBuf>) -> PathBuf {
    if !taken.contains(&name) {
        return name;
    }
    let numbered = |number: usize| {
        let mut numbered = name.file_stem().unwrap_or_default().to_owned();
        numbered.push(format!("-{number}"));
        if let Some(extension) = name.extension() {
            numbered.push(".");
            numbered.push(extension);
        }
        PathBuf::from(numbered)
    };
    let free = (2_usize..).map(numbered).find(|name| !taken.contains(name));
    free.unwrap_or(name)
}

fn drawn_format(name: &Path) -> Option<PictureFormat> {
    let format = PictureFormat::from_extension(name.extension()?.to_str()?)?;
    matches!(format, PictureFormat::Jpeg | PictureFormat::Png).then_some(format)
}

/// Writes the picture with the objects drawn in.
pub(super) fn draw(
    bytes: &[u8],
    objects: &[DetectedObject],
    drawing: &Path,
) -> Result<(), CliError> {
    let unwritable = |source| CliError::Write { path: drawing.to_owned(), source };
    let mut picture = decode::decode(bytes, &PictureLimits::default())
        .map_err(|error| unwritable(io::Error::other(error)))?;
    annotate::annotate(&mut picture, objects);
    let format = drawn_format(drawing).unwrap_or(PictureFormat::Png);
    let encoded =
        annotate::encode(&picture, format).map_err(|error| unwritable(io::Error::other(error)))?;
    fs::write(drawing, encoded).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_drawing_overwrites_another() {
        let folder = tempfile::tempdir().unwrap();
        let pictures =
            ["a/bus.jpg", "b/bus.jpg", "x.gif", "x.png", "bus-2.jpg", "bus.jpg", "plain"];
        let planned = plan(folder.path(), &pictures.map(PathBuf::from)).unwrap();
        let expected =
            ["bus.jpg", "bus-2.jpg", "x.png", "x-2.png", "bus-2-2.jpg", "bus-3.jpg", "plain.png"];
        assert_eq!(planned, expected.map(|name| folder.path().join(name)));
    }

    #[test]
    fn no_drawing_overwrites_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        let picture = inside.join("bus.jpg");
        fs::write(&picture, "bytes").unwrap();
        std::os::unix::fs::symlink(&inside, folder.path().join("way")).unwrap();
        std::os::unix::fs::symlink(&picture, outside.join("bus.jpg")).unwrap();
        for save in [inside.clone(), inside.join("../in"), folder.path().join("way"), outside] {
            let planned = plan(&save, std::slice::from_ref(&picture));
            assert!(matches!(planned, Err(CliError::Usage(_))), "{}", save.display());
        }
        // A drawing of an earlier run may be overwritten.
        let drawn = folder.path().join("drawn");
        fs::create_dir(&drawn).unwrap();
        fs::write(drawn.join("bus.jpg"), "an earlier drawing").unwrap();
        assert!(plan(&drawn, &[picture]).is_ok());
    }
}
