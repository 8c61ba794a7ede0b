//! A small file system that tests can fill.

use std::{fs, io, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    START_TIMEOUT,
    files::workspace_root,
    process::{Process, ProcessBuilder},
};

/// A tmpfs in the mount namespace of a holder process. It is unmounted when the holder ends, even if the test is
/// killed.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Process,
    folder: TempDir,
}

impl SmallDisk {
    /// A disk of this many bytes; `None` if this user may not mount one.
    ///
    /// # Panics
    /// If mounting is allowed and fails all the same.
    #[must_use]
    pub fn mount(bytes: u64) -> Option<Self> {
        let allowed = Command::new("unshare").args(["--mount", "true"]).output();
        if !allowed.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("testkit-disk-")
            .tempdir()
            .expect("a temporary folder can be made");
        let script =
            r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec sleep 86400"#;
        let holder = Process::builder("unshare")
            .args(["--mount", "sh", "-c", script, "sh", &bytes.to_string()])
            .arg(folder.path())
            .start();
        holder.wait_for_line(|line| line.text == "mounted", START_TIMEOUT);
        Some(Self { holder, folder })
    }

    /// Fills the free space with a file of zeros.
    ///
    /// # Panics
    /// If the disk cannot be written at all.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).expect("the disk can be written");
        match io::copy(&mut io::repeat(0), &mut ballast) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            other => panic!("the disk does not fill up: {other:?}"),
        }
    }

    /// Removes the file of [`SmallDisk::fill`].
    ///
    /// # Panics
    /// If it cannot be removed.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    /// A process in the disk's mount namespace, with the project's root as its working directory.
    #[must_use]
    pub fn process(&self, program: &str) -> ProcessBuilder {
        let mut words = self.prefix();
        let nsenter = words.remove(0);
        // The default is the root of the file system.
        words.insert(0, format!("--wd={}", workspace_root().display()));
        Process::builder(nsenter).args(words).arg(program)
    }

    /// The disk's mount point, for processes in its namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The words before a program's name that start it in the disk's mount namespace.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        vec!["nsenter".to_owned(), namespace, "--".to_owned()]
    }

    fn ballast(&self) -> PathBuf {
        // The root of another process's namespace.
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.folder.path().strip_prefix("/").unwrap_or(self.folder.path());
        root.join(inside).join("ballast")
    }
}
