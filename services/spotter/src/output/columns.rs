//! Tables for people, whose columns are as wide as their cells.

use crate::{error::CliError, output};

/// Prints rows of cells, the first of which are headings, in columns.
pub(crate) fn print<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Result<(), CliError> {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        output::line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Replaces control characters: texts from elsewhere are untrusted and must not control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jbus\r\n猫.jpg"), "\u{fffd}[2Jbus\u{fffd}\u{fffd}猫.jpg");
    }
}
