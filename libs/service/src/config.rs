//! Settings read from environment variables. All bad values are reported together.
//!
//! Each service has one struct of settings and fills it through a [`Reader`] from a [`Source`]: the process
//! environment in production, a map in a test.

pub mod address;
pub mod host;
pub mod secret;

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use crate::config::{address::may_hold_a_secret, secret::Secret};

/// The longest duration that can be set: ten years. A larger number of seconds is a typing error, and could
/// overflow when it is added to a timestamp.
pub const LONGEST_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// The error for an unusable value that may contain a secret.
const NOT_REPEATED: &str =
    "the value cannot be used; it is not shown, since it may contain a password";

/// Where settings come from.
pub trait Source {
    /// The value of variable `name`, or `None` if it is not set. Empty means not set.
    fn get(&self, name: &str) -> Option<String>;

    /// Whether variable `name` is set to a value that is not UTF-8. [`Source::get`] returns `None` then, and
    /// the variable must not count as not set.
    fn is_not_utf8(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Source for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| is_set(value))
    }

    fn is_not_utf8(&self, name: &str) -> bool {
        std::env::var_os(name).is_some_and(|value| value.to_str().is_none())
    }
}

impl<S: std::hash::BuildHasher> Source for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).filter(|value| is_set(value)).cloned()
    }
}

/// Whether a variable of this value counts as set: `NAME=` in an env file means "not set".
#[must_use]
pub fn is_set(value: &str) -> bool {
    !value.trim().is_empty()
}

/// One variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The variable's name.
    pub name: &'static str,
    /// What is wrong with its value, and what is expected.
    pub problem: String,
}

/// All settings that are wrong, so that they can be corrected together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<BadSetting>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} bad setting{}:", if count == 1 { "" } else { "s" })?;
        for BadSetting { name, problem } in &self.0 {
            write!(f, "\n  {name}: {problem}")?;
        }
        Ok(())
    }
}

/// Reads settings one by one and collects what is wrong with them.
pub struct Reader<'a> {
    source: &'a dyn Source,
    problems: Vec<BadSetting>,
}

impl<'a> Reader<'a> {
    /// A reader of `source`.
    #[must_use]
    pub fn new(source: &'a dyn Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    /// The variable's value, or `default` if it is unset, empty, or wrong, which is recorded.
    pub fn read<T>(&mut self, name: &'static str, default: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read_optional(name).unwrap_or(default)
    }

    /// The variable's value, or `None` if it is unset, empty, or wrong, which is recorded.
    pub fn read_optional<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if self.source.is_not_utf8(name) {
            self.problem(name, "its value is not UTF-8".to_owned());
            return None;
        }
        let text = self.source.get(name).filter(|text| is_set(text))?;
        match text.trim().parse() {
            Ok(value) => Some(value),
            // The error may repeat the value, too.
            Err(_) if may_hold_a_secret(&text) => {
                self.problem(name, NOT_REPEATED.to_owned());
                None
            }
            Err(error) => {
                self.problem(name, format!("'{text}' cannot be used: {error}"));
                None
            }
        }
    }

    /// As [`Reader::read_optional`], for a value that may hold a secret: what is wrong with it is reported without
    /// the value. The error of `T` must not quote it either.
    pub fn read_secret<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text: Secret = self.read_optional(name)?;
        match text.expose().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, error.to_string());
                None
            }
        }
    }

    /// The path of a file. It is opened here, so that a file that cannot be read is reported together with
    /// all other bad settings.
    pub fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.read_optional(name)?;
        if let Err(problem) = open(&path) {
            self.problem(name, problem);
        }
        Some(path)
    }

    /// The path of a file and its content, or `None` if the variable is unset, or if the file cannot be read,
    /// which is recorded.
    pub fn file_bytes(&mut self, name: &'static str) -> Option<(PathBuf, Vec<u8>)> {
        let path: PathBuf = self.read_optional(name)?;
        let content = open(&path).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|error| cannot_be_read(&path, &error))?;
            Ok(bytes)
        });
        match content {
            Ok(bytes) => Some((path, bytes)),
            Err(problem) => {
                self.problem(name, problem);
                None
            }
        }
    }

    /// A duration given as a whole number of seconds, from 1 second to ten years.
    pub fn seconds(&mut self, name: &'static str, default: u64) -> Duration {
        Duration::from_secs(self.within(name, 1, LONGEST_SECONDS, default))
    }

    /// A duration given as a whole number of milliseconds, from 1 millisecond to ten years.
    pub fn milliseconds(&mut self, name: &'static str, default: u64) -> Duration {
        Duration::from_millis(self.within(name, 1, LONGEST_SECONDS * 1000, default))
    }

    /// A number of at least `least`.
    pub fn at_least<T>(&mut self, name: &'static str, least: T, default: T) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
        T::Err: fmt::Display,
    {
        let value = self.read(name, default);
        if value < least {
            self.problem(name, format!("{value} is too small, the minimum is {least}"));
        }
        value
    }

    /// A number from `least` to `most`, both included; `default` if the value is outside.
    pub fn within<T>(&mut self, name: &'static str, least: T, most: T, default: T) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
        T::Err: fmt::Display,
    {
        let value = self.read(name, default);
        if value >= least && value <= most {
            return value;
        }
        self.problem(name, format!("{value} is not within {least} to {most}"));
        default
    }

    /// `on` or `off`, or `true` or `false`.
    pub fn switch(&mut self, name: &'static str, default: bool) -> bool {
        match self.read_optional::<String>(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("on" | "true") => true,
            Some("off" | "false") => false,
            Some(_) => {
                self.problem(name, "expected on or off".to_owned());
                default
            }
        }
    }

    /// Records that the value of `name` cannot be used. A problem that quotes a key or credentials is
    /// replaced: the variable holds the content of a file in place of its path.
    pub fn problem(&mut self, name: &'static str, mut problem: String) {
        if problem.contains("-----BEGIN") {
            problem =
                "it contains a key or credentials, which are not shown: set the path of a file"
                    .to_owned();
        }
        self.problems.push(BadSetting { name, problem });
    }

    /// Whether a problem of this variable was recorded.
    #[must_use]
    pub fn has_problem(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.name == name)
    }

    /// `config`, if all settings are right.
    ///
    /// # Errors
    /// [`ConfigError`] with all bad settings.
    pub fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError(self.problems)) }
    }
}

/// Opens a file. `Err` says why it cannot be read.
fn open(path: &Path) -> Result<File, String> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((found, file)) if found.is_file() => Ok(file),
        Ok(_) => Err(format!("{} is not a file", shown(path))),
        Err(error) => Err(cannot_be_read(path, &error)),
    }
}

fn cannot_be_read(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", shown(path))
}

/// The path in quotes; not if it is an address in place of a path, which may contain a password.
fn shown(path: &Path) -> String {
    if path.to_string_lossy().contains("://") {
        "(not shown)".to_owned()
    } else {
        format!("'{}'", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_bad_settings_are_reported_at_once() {
        let source = source(&[("PORT", "http"), ("TTL", "0"), ("WORKERS", " 2 "), ("HOST", "")]);
        let mut reader = Reader::new(&source);
        assert_eq!(reader.read("WORKERS", 1_u32), 2);
        assert_eq!(reader.read("HOST", "localhost".to_owned()), "localhost");
        let _: u16 = reader.read("PORT", 5000);
        let _ = reader.seconds("TTL", 60);
        let ConfigError(problems) = reader.finish(()).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
        assert_eq!(names, ["PORT", "TTL"]);
    }

    #[test]
    fn a_number_out_of_its_range_is_a_bad_setting() {
        let max = u64::MAX.to_string();
        let cases = [
            ("0", false),
            ("1", true),
            ("315360000", true),
            ("315360001", false),
            (max.as_str(), false),
            ("-1", false),
        ];
        for (value, usable) in cases {
            let source = source(&[("TTL", value)]);
            let mut reader = Reader::new(&source);
            let ttl = reader.seconds("TTL", 60);
            let expected = if usable { value.parse().unwrap() } else { 60 };
            assert_eq!(ttl, Duration::from_secs(expected), "{value}");
            assert_eq!(reader.finish(()).is_ok(), usable, "{value}");
        }
        let source = source(&[("DELAY", max.as_str()), ("SCORE", "NaN"), ("SHARE", "0.5")]);
        let mut reader = Reader::new(&source);
        let _ = reader.milliseconds("DELAY", 100);
        let _ = reader.within("SCORE", 0.0, 1.0, 0.25);
        assert_eq!(reader.within("SHARE", 0.0, 1.0, 0.25), 0.5);
        let ConfigError(problems) = reader.finish(()).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
        assert_eq!(names, ["DELAY", "SCORE"]);
    }

    #[test]
    fn a_key_in_place_of_its_path_is_not_repeated() {
        let source = source(&[("FILE", "-----BEGIN USER NKEY SEED-----\ns3cret")]);
        let mut reader = Reader::new(&source);
        let _: u16 = reader.read("FILE", 0);
        let error = reader.finish(()).unwrap_err().to_string();
        assert!(error.contains("FILE") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_secret_is_not_repeated_whatever_is_wrong_with_it() {
        let source = source(&[("PIN", "s3cret"), ("OTHER", "17")]);
        let mut reader = Reader::new(&source);
        assert_eq!(reader.read_secret::<u16>("PIN"), None);
        assert_eq!(reader.read_secret::<u16>("OTHER"), Some(17));
        let error = reader.finish(()).unwrap_err().to_string();
        assert!(error.contains("PIN: invalid digit") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn the_content_of_a_file_is_read_or_its_failure_recorded() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut pairs = vec![
            ("FOLDER", env!("CARGO_MANIFEST_DIR")),
            ("HERE", here),
            ("NOWHERE", "/nowhere/at.all"),
        ];
        let mut bad = vec!["FOLDER", "NOWHERE"];
        if cfg!(target_os = "linux") {
            // It can be opened, but not read.
            pairs.push(("UNREADABLE", "/proc/self/mem"));
            bad.push("UNREADABLE");
        }
        let source = source(&pairs);
        let mut reader = Reader::new(&source);
        let (path, bytes) = reader.file_bytes("HERE").unwrap();
        assert_eq!((path.as_path(), bytes), (Path::new(here), std::fs::read(here).unwrap()));
        for name in &bad {
            assert_eq!(reader.file_bytes(name), None, "{name}");
        }
        assert_eq!(reader.file_bytes("UNSET"), None);
        let ConfigError(problems) = reader.finish(()).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
        assert_eq!(names, bad);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let source = source(&[("EMPTY", ""), ("BLANK", " \t"), ("SET", "x")]);
        let values = ["EMPTY", "BLANK", "SET"].map(|name| Source::get(&source, name));
        assert_eq!(values, [None, None, Some("x".to_owned())]);
    }

    #[test]
    fn a_value_that_is_not_utf8_does_not_count_as_unset() {
        struct Latin1;

        impl Source for Latin1 {
            fn get(&self, _: &str) -> Option<String> {
                None
            }

            fn is_not_utf8(&self, name: &str) -> bool {
                name == "HOST"
            }
        }

        let mut reader = Reader::new(&Latin1);
        assert_eq!(reader.read("PORT", 5000), 5000);
        let _ = reader.read("HOST", "127.0.0.1".to_owned());
        let ConfigError(problems) = reader.finish(()).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].name, "HOST");
    }
}
