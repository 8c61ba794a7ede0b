//! Files of class names.

use std::path::Path;

use domain::LabelMap;
use service::files::read_text;

use crate::error::CliError;

/// Reads class names, one a line.
pub(super) fn read_labels(path: &Path) -> Result<LabelMap, CliError> {
    let text = read_text(path)
        .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))?;
    let labels = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(LabelMap::new(labels.map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_are_read_as_any_editor_saves_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}person\r\n\r\n bicycle \r\n").unwrap();
        let expected = LabelMap::new(vec!["person".to_owned(), "bicycle".to_owned()]);
        assert_eq!(read_labels(file.path()).unwrap(), expected);
        std::fs::write(file.path(), b"\xff\xfep\0").unwrap();
        let error = read_labels(file.path()).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
