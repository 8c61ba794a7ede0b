//! The files of a batch, and the key by which it is known.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use client::PictureFile;
use domain::{DetectionSettings, Priority, Sha256Digest, Sha256Hasher};

use crate::error::CliError;

/// How much of a file is read at a time.
const BLOCK: usize = 1 << 20;

/// The files of the command line, in order.
pub(super) struct BatchFiles {
    /// Those that can be sent, and the others with the reason.
    pub(super) files: Vec<Result<PictureFile, (PathBuf, String)>>,
    /// The digest of their names and contents.
    digest: Sha256Digest,
}

impl BatchFiles {
    /// Reads each file once. So the key of the batch follows from the pictures, and one that cannot be read is known
    /// before anything is sent.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let mut all = Sha256Hasher::new();
        let files = paths.iter().map(|path| {
            let file = File::open(path).and_then(|file| digest(&file));
            let (digest, bytes) = file.map_err(|error| (path.clone(), error.to_string()))?;
            let name = name_of(path);
            all.update(name.len().to_be_bytes());
            all.update(&name);
            all.update(digest.as_bytes());
            Ok(PictureFile { path: path.clone(), name, bytes })
        });
        let files = files.collect();
        Self { files, digest: all.finish() }
    }

    /// Those that can be sent.
    pub(super) fn sendable(&self) -> Vec<PictureFile> {
        self.files.iter().flatten().cloned().collect()
    }

    /// The key of a batch of these files with these parameters: the same command has the same one.
    pub(super) fn key(
        &self,
        settings: &DetectionSettings,
        priority: Priority,
    ) -> Result<String, CliError> {
        let what = "the settings of a batch";
        let settings = serde_json::to_vec(&(settings, priority))
            .map_err(|source| CliError::Json { what, source })?;
        let mut all = Sha256Hasher::new();
        all.update(self.digest.as_bytes());
        all.update(settings);
        Ok(all.finish().to_string())
    }
}

/// The name that is sent, which is the one that the API answers with.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|character| if character.is_control() { '_' } else { character }).collect()
}

/// The digest of a file and its size in bytes. Only a file can be read a second time.
fn digest(mut file: &File) -> io::Result<(Sha256Digest, u64)> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file, as --batch needs"));
    }
    let (mut hasher, mut bytes, mut block) = (Sha256Hasher::new(), 0, vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok((hasher.finish(), bytes)),
            read => {
                hasher.update(block.get(..read).unwrap_or_default());
                bytes += read as u64;
            }
        }
    }
}

/// The path of each picture that was sent. The files of an archive are named as in it.
pub(super) fn path_of<'a>(sent: &'a [PictureFile], index: u16, name: &'a str) -> &'a Path {
    let sent = sent.get(usize::from(index)).filter(|file| name.is_empty() || file.name == name);
    sent.map_or(Path::new(name), |file| &file.path)
}

#[cfg(test)]
mod tests {
    use std::{fs, slice};

    use super::*;

    #[test]
    fn the_key_follows_from_names_contents_order_and_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let (first, second) = (path("a.jpg", "one"), path("b.jpg", "two"));
        let settings = DetectionSettings::default();
        let key =
            |paths: &[PathBuf], priority| BatchFiles::read(paths).key(&settings, priority).unwrap();
        let both = [first.clone(), second.clone()];
        let known = key(&both, Priority::Normal);
        assert_eq!(key(&both, Priority::Normal), known);
        let others = [
            key(&both, Priority::High),
            key(&[second, first.clone()], Priority::Normal),
            key(slice::from_ref(&first), Priority::Normal),
            {
                path("b.jpg", "other");
                key(&both, Priority::Normal)
            },
        ];
        assert!(others.iter().all(|other| *other != known), "{others:?}");
        let folder_and_absent = [folder.path().to_owned(), folder.path().join("absent"), first];
        let read = BatchFiles::read(&folder_and_absent);
        assert_eq!(read.sendable().len(), 1);
        assert!(read.files[0].is_err() && read.files[1].is_err());
    }

    #[test]
    fn a_picture_of_an_archive_has_its_name_there() {
        let sent = [PictureFile { path: "some/a.zip".into(), name: "a.zip".to_owned(), bytes: 1 }];
        assert_eq!(path_of(&sent, 0, "a.zip"), Path::new("some/a.zip"));
        assert_eq!(path_of(&sent, 0, ""), Path::new("some/a.zip"));
        assert_eq!(path_of(&sent, 0, "in/b.jpg"), Path::new("in/b.jpg"));
        assert_eq!(path_of(&sent, 7, "in/c.jpg"), Path::new("in/c.jpg"));
    }
}
