//! A comparison for people.

use super::summary::{ModelSummary, Summary};
use crate::{
    error::CliError,
    output::{
        self,
        columns::{self, printable},
    },
};

/// How many classes, and how many confusions, are shown.
const MOST_ROWS: usize = 20;

pub(super) fn print(summary: &Summary) -> Result<(), CliError> {
    let Summary { a, b, pictures, equal_pictures, matched, disputed, .. } = summary;
    output::line(format_args!(
        "{pictures} picture{}, {equal_pictures} of them without a disputed object",
        if *pictures == 1 { "" } else { "s" }
    ))?;
    output::line(format_args!(
        "{matched} objects found by both ({:.1} %), {disputed} disputed",
        100.0 * summary.agreement
    ))?;
    output::line(format_args!(
        "of those found by both: mean overlap (IoU) {:.3}, mean difference of scores {:.3}\n",
        summary.mean_iou, summary.mean_score_difference
    ))?;
    columns::print(&[
        headings(["", "MODEL", "VERSION", "ONLY", "MEDIAN ms", "P95 ms"]),
        row("A", a),
        row("B", b),
    ])?;
    print_classes(summary)?;
    print_confusions(summary)?;
    print_most_different(summary)
}

fn headings<const COLUMNS: usize>(names: [&str; COLUMNS]) -> [String; COLUMNS] {
    names.map(str::to_owned)
}

fn row(name: &str, model: &ModelSummary) -> [String; 6] {
    let digest = model.version.digest.to_string();
    [
        name.to_owned(),
        model.version.model.to_string(),
        digest.chars().take(12).collect(),
        model.only.to_string(),
        format!("{:.1}", model.median_ms),
        format!("{:.1}", model.p95_ms),
    ]
}

fn print_classes(summary: &Summary) -> Result<(), CliError> {
    let rows = summary.classes.iter().take(MOST_ROWS).map(|class| {
        let counts = class.counts;
        let counts = [counts.matched, counts.only_a, counts.only_b].map(|count| count.to_string());
        let [matched, only_a, only_b] = counts;
        [printable(&class.class), matched, only_a, only_b]
    });
    print_section(headings(["CLASS", "BOTH", "ONLY A", "ONLY B"]), rows, summary.classes.len())
}

fn print_confusions(summary: &Summary) -> Result<(), CliError> {
    let rows = summary.confusions.iter().take(MOST_ROWS).map(|confusion| {
        [printable(&confusion.a), printable(&confusion.b), confusion.count.to_string()]
    });
    print_section(headings(["CLASS BY A", "CLASS BY B", "OBJECTS"]), rows, summary.confusions.len())
}

fn print_most_different(summary: &Summary) -> Result<(), CliError> {
    let rows = summary
        .most_different
        .iter()
        .map(|picture| [picture.disputed.to_string(), printable(&picture.picture)]);
    let count = summary.most_different.len();
    print_section(headings(["DISPUTED", "MOST DIFFERENT PICTURES"]), rows, count)
}

/// A table below the others, if it has rows. `count` is how many there are with those that are not shown.
fn print_section<const COLUMNS: usize>(
    headings: [String; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
    count: usize,
) -> Result<(), CliError> {
    if count == 0 {
        return Ok(());
    }
    output::line("")?;
    let rows: Vec<_> = std::iter::once(headings).chain(rows).collect();
    columns::print(&rows)?;
    match (count + 1).saturating_sub(rows.len()) {
        0 => Ok(()),
        more => output::line(format_args!("… and {more} more; --json prints all")),
    }
}
