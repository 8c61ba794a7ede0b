//! The file of results: what earlier runs of the command have written, and the lines that this one appends.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use domain::{DetectionSettings, Sha256Digest, TaskId};

use super::line::{Outcome, ResultLine};
use crate::error::CliError;

/// The longest line. One with 1,000 objects has a hundredth of it.
const LONGEST_LINE: u64 = 32 << 20;

/// The file, locked against a second command.
#[derive(Debug)]
pub(super) struct ResultFile {
    path: PathBuf,
    file: File,
}

/// What is known of a picture from an earlier run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing, or only a failure that another run may not have: of this task, if there was one.
    Nothing { failed_task: Option<TaskId> },
    /// It has a line, with a result or without.
    Line { is_found: bool },
    /// The same content has a line at this offset, under another path.
    Elsewhere { offset: u64 },
}

/// What the file says of a content.
#[derive(Debug, Clone, Copy)]
enum Content {
    Ended { offset: u64, is_found: bool },
    Failed { task: Option<TaskId> },
}

/// An index of the lines: it has no results, only where they are.
#[derive(Debug, Default)]
pub(super) struct EarlierResults {
    contents: HashMap<Sha256Digest, Content>,
    /// The digests of path and content of those that have ended.
    places: HashSet<Sha256Digest>,
}

impl EarlierResults {
    fn add(&mut self, offset: u64, line: &ResultLine) {
        let Some(sha256) = line.sha256 else { return };
        if let Outcome::Failed { retryable: true, .. } = line.outcome {
            let failed = Content::Failed { task: line.task_id };
            let known = self.contents.entry(sha256).or_insert(failed);
            if let Content::Failed { .. } = known {
                *known = failed;
            }
            return;
        }
        self.contents.insert(sha256, Content::Ended { offset, is_found: line.outcome.is_found() });
        self.places.insert(place(&line.path, sha256));
    }

    pub(super) fn of(&self, path: &str, sha256: Sha256Digest) -> Known {
        match self.contents.get(&sha256) {
            None => Known::Nothing { failed_task: None },
            Some(Content::Failed { task }) => Known::Nothing { failed_task: *task },
            Some(Content::Ended { is_found, .. }) if self.places.contains(&place(path, sha256)) => {
                Known::Line { is_found: *is_found }
            }
            Some(Content::Ended { offset, .. }) => Known::Elsewhere { offset: *offset },
        }
    }
}

fn place(path: &str, sha256: Sha256Digest) -> Sha256Digest {
    // The digest has a fixed length: no other pair has the same text.
    Sha256Digest::of(format!("{sha256}{path}"))
}

impl ResultFile {
    /// Opens or creates the file and reads what it has. A last line that was cut off is removed.
    ///
    /// # Errors
    /// [`CliError::Usage`] for a file with other lines, or with results of other settings.
    pub(super) fn open(
        path: &Path,
        settings: &DetectionSettings,
    ) -> Result<(Self, EarlierResults), CliError> {
        let failed = |source| CliError::Write { path: path.to_owned(), source };
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(CliError::Usage(format!("--out {}: no regular file", path.display())));
        }
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let file = options.open(path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let path = path.display();
                CliError::Unavailable(format!("another command is writing to {path}"))
            }
            TryLockError::Error(source) => failed(source),
        })?;
        let mut this = Self { path: path.to_owned(), file };
        let earlier = this.read(settings)?;
        Ok((this, earlier))
    }

    fn read(&mut self, settings: &DetectionSettings) -> Result<EarlierResults, CliError> {
        let mut earlier = EarlierResults::default();
        let mut reader = BufReader::new(self.file.try_clone().map_err(|error| self.error(error))?);
        let (mut text, mut offset) = (Vec::new(), 0);
        for number in 1_u64.. {
            text.clear();
            let length = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut text);
            let length = length.map_err(|error| self.error(error))? as u64;
            if length == 0 {
                break;
            }
            let is_whole = text.ends_with(b"\n");
            match serde_json::from_slice::<ResultLine>(&text) {
                Ok(line) if line.settings != *settings => {
                    return Err(self.refused(number, "has a result of other settings"));
                }
                Ok(line) => {
                    earlier.add(offset, &line);
                    if !is_whole {
                        self.file.write_all(b"\n").map_err(|error| self.error(error))?;
                    }
                }
                Err(_) if !is_whole && ResultLine::may_begin_with(&text) => {
                    self.file.set_len(offset).map_err(|error| self.error(error))?;
                }
                Err(_) => return Err(self.refused(number, "is no result of `submit --folder`")),
            }
            offset += length;
        }
        Ok(earlier)
    }

    fn refused(&self, number: u64, what: &str) -> CliError {
        let path = self.path.display();
        CliError::Usage(format!("line {number} of {path} {what}: name another file with --out"))
    }

    fn error(&self, source: io::Error) -> CliError {
        CliError::Write { path: self.path.clone(), source }
    }

    /// Appends a line. If the process is killed meanwhile, a part of it may remain at the end.
    pub(super) fn append(&mut self, line: &ResultLine) -> Result<(), CliError> {
        let what = "a result";
        let mut text =
            serde_json::to_vec(line).map_err(|source| CliError::Json { what, source })?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|source| self.error(source))
    }
}

/// The line at this offset.
pub(super) fn line_at(path: &Path, offset: u64) -> io::Result<ResultLine> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut text = Vec::new();
    BufReader::new(file).take(LONGEST_LINE).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(path: &str, sha256: u8, outcome: Outcome) -> ResultLine {
        ResultLine {
            path: path.to_owned(),
            sha256: Some([sha256; 32].into()),
            task_id: Some(TaskId::generate()),
            state: "SUCCESS".to_owned(),
            outcome,
            settings: DetectionSettings::default(),
        }
    }

    fn found() -> Outcome {
        let (model, objects, warnings) = ("yolov8n".to_owned(), Vec::new(), Vec::new());
        Outcome::Found { model, width: 1, height: 1, objects, warnings }
    }

    fn open(path: &Path) -> Result<(ResultFile, EarlierResults), CliError> {
        ResultFile::open(path, &DetectionSettings::default())
    }

    #[test]
    fn what_has_ended_is_known_by_content_and_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.ndjson");
        let lines = [
            line("a.jpg", 1, found()),
            line("b.jpg", 2, Outcome::retryable("lost")),
            line("c.jpg", 3, Outcome::permanent("no picture")),
            line("d.jpg", 4, Outcome::retryable("expired")),
            line("d.jpg", 4, Outcome::retryable("lost")),
        ];
        let (mut file, earlier) = open(&path).unwrap();
        assert_eq!(earlier.of("a.jpg", [1; 32].into()), Known::Nothing { failed_task: None });
        lines.iter().for_each(|line| file.append(line).unwrap());
        drop(file);
        let (_file, earlier) = open(&path).unwrap();
        let of = |path: &str, content: u8| earlier.of(path, [content; 32].into());
        assert_eq!(of("a.jpg", 1), Known::Line { is_found: true });
        assert_eq!(of("c.jpg", 3), Known::Line { is_found: false });
        assert_eq!(of("b.jpg", 2), Known::Nothing { failed_task: lines[1].task_id });
        assert_eq!(of("d.jpg", 4), Known::Nothing { failed_task: lines[4].task_id });
        // The file was changed, and the content is in another one.
        assert_eq!(of("a.jpg", 9), Known::Nothing { failed_task: None });
        let Known::Elsewhere { offset } = of("other.jpg", 3) else { panic!("{earlier:?}") };
        assert_eq!(line_at(&path, offset).unwrap(), lines[2]);
    }

    #[test]
    fn a_line_that_was_cut_off_is_removed_and_a_whole_one_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.ndjson");
        let (mut file, _) = open(&path).unwrap();
        file.append(&line("a.jpg", 1, found())).unwrap();
        file.append(&line("b.jpg", 2, found())).unwrap();
        drop(file);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in first..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut file, earlier) = open(&path).unwrap();
            assert_eq!(earlier.contents.len(), if length == whole.len() - 1 { 2 } else { 1 });
            file.append(&line("c.jpg", 3, found())).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                assert!(serde_json::from_str::<ResultLine>(line).is_ok(), "{length}: {text}");
            }
        }
    }

    #[test]
    fn a_file_with_anything_else_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["no newline", "a line\n", "{\"path\":\"a\"}\n", "\0\0\0"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(open(&path), Err(CliError::Usage(_))), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(matches!(open(folder.path()), Err(CliError::Usage(_))));
        assert!(matches!(open(Path::new("/dev/zero")), Err(CliError::Usage(_))));
    }

    #[test]
    fn results_of_other_settings_are_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.ndjson");
        let (mut file, _) = open(&path).unwrap();
        file.append(&line("a.jpg", 1, found())).unwrap();
        assert!(matches!(open(&path), Err(CliError::Unavailable(_))), "it is locked");
        drop(file);
        let confidence = "0.5".parse().unwrap();
        let settings = DetectionSettings { confidence, ..DetectionSettings::default() };
        let refused = ResultFile::open(&path, &settings).unwrap_err().to_string();
        assert!(
            refused.starts_with("line 1 of ") && refused.contains("other settings"),
            "{refused}"
        );
        assert!(open(&path).is_ok());
    }
}
