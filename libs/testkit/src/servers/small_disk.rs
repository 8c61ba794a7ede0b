//! A file system of a few megabytes, to be filled up.

use std::{fs, io, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    START_TIMEOUT,
    files::workspace_root,
    process::{Process, ProcessBuilder},
};

/// A tmpfs that only the holder's mount namespace knows. It ends with the holder, so nothing stays
/// mounted even when a test is killed.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Process,
    folder: TempDir,
}

impl SmallDisk {
    /// A disk with room for this many bytes, or `None` where this user may not mount one.
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

    /// Fills what is free with a file of zeros.
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

    /// Removes what [`SmallDisk::fill`] wrote.
    ///
    /// # Panics
    /// If it cannot be removed.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    /// A program that can see the disk, to be started in the project's root.
    #[must_use]
    pub fn process(&self, program: &str) -> ProcessBuilder {
        let mut words = self.prefix();
        let nsenter = words.remove(0);
        // Without this it would start in the root of the file system.
        words.insert(0, format!("--wd={}", workspace_root().display()));
        Process::builder(nsenter).args(words).arg(program)
    }

    /// Where the disk is, for programs started inside its namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What comes before a program's name to start it where the disk can be seen.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        vec!["nsenter".to_owned(), namespace, "--".to_owned()]
    }

    fn ballast(&self) -> PathBuf {
        // The way into another process's namespace.
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.folder.path().strip_prefix("/").unwrap_or(self.folder.path());
        root.join(inside).join("ballast")
    }
}
