//! The files of a batch, and the key by which it is known.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use client::PictureFile;
use domain::{DetectionSettings, Priority, Sha256Digest, Sha256Hasher};

use crate::error::CliError;

/// How much of a file is read at a time.
const BLOCK: usize = 1 << 20;

/// How an archive begins, which the API takes for the pictures in it.
const ARCHIVES: [&[u8; 4]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK00"];

/// The files of the command line, in order.
pub(super) struct BatchFiles {
    /// Those that can be sent, and the others with the reason.
    pub(super) files: Vec<Result<PictureFile, (PathBuf, String)>>,
    /// The paths of those before the first archive, by their indices in the batch. How many pictures an archive has is not
    /// known, so that no index tells a file behind it.
    paths: Vec<PathBuf>,
    /// The digest of their names and contents.
    digest: Sha256Digest,
}

impl BatchFiles {
    /// Reads each file once. So the key of the batch follows from the pictures, and one that cannot be read is known
    /// before anything is sent.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let (mut all, mut known, mut is_behind_archive) = (Sha256Hasher::new(), Vec::new(), false);
        let files = paths.iter().map(|path| {
            let content = Content::read(path).map_err(|error| (path.clone(), error.to_string()))?;
            is_behind_archive |= content.is_archive;
            if !is_behind_archive {
                known.push(path.clone());
            }
            let name = name_of(path);
            all.update(name.len().to_be_bytes());
            all.update(&name);
            all.update(content.digest.as_bytes());
            Ok(PictureFile { path: path.clone(), name, bytes: content.bytes })
        });
        let files = files.collect();
        Self { files, paths: known, digest: all.finish() }
    }

    /// Those that can be sent.
    pub(super) fn sendable(&self) -> Vec<PictureFile> {
        self.files.iter().flatten().cloned().collect()
    }

    /// The path of the file that a picture of the batch is; of one in an archive or behind one, its name.
    pub(super) fn path_of<'a>(&'a self, index: u16, name: &'a str) -> &'a Path {
        self.paths.get(usize::from(index)).map_or(Path::new(name), PathBuf::as_path)
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

/// What is known of a file that has been read.
struct Content {
    digest: Sha256Digest,
    bytes: u64,
    is_archive: bool,
}

impl Content {
    fn read(path: &Path) -> io::Result<Self> {
        // Only a file can be read a second time. To open a pipe would wait for whoever writes to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file, as --batch needs"));
        }
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        file.by_ref().take(4).read_to_end(&mut start)?;
        let is_archive = ARCHIVES.iter().any(|archive| start == **archive);
        let (mut hasher, mut bytes, mut block) =
            (Sha256Hasher::new(), start.len() as u64, vec![0; BLOCK]);
        hasher.update(start);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(Self { digest: hasher.finish(), bytes, is_archive }),
                read => {
                    hasher.update(block.get(..read).unwrap_or_default());
                    bytes += read as u64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, slice};

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
    fn an_index_tells_the_file_before_the_first_archive_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        let (a, b) = (path("photos/a.jpg", b"one"), path("photos/b.jpg", b"two"));
        for start in ARCHIVES {
            let archive = path("more.zip", &[&start[..], b"x.jpg and b.jpg"].concat());
            let read = BatchFiles::read(&[archive.clone(), b.clone()]);
            for (index, name) in [(0, "x.jpg"), (1, "b.jpg"), (2, "b.jpg")] {
                assert_eq!(read.path_of(index, name), Path::new(name), "{index}");
            }
            let read = BatchFiles::read(&[folder.path().join("absent"), a.clone(), archive]);
            assert_eq!(read.path_of(0, ""), a);
            assert_eq!(read.path_of(1, "in/a.jpg"), Path::new("in/a.jpg"));
        }
        let no_archive = path("PK.jpg", b"PK");
        let read = BatchFiles::read(&[no_archive.clone(), b.clone()]);
        assert_eq!([read.path_of(0, "PK.jpg"), read.path_of(1, "b.jpg")], [no_archive, b]);
    }

    #[test]
    fn a_pipe_is_refused_without_a_wait_for_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let read = BatchFiles::read(slice::from_ref(&pipe));
        assert!(matches!(&read.files[..], [Err((_, why))] if why.contains("regular file")));
    }
}
