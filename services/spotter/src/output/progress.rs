//! How far a command is with its pictures.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// A bar on standard error, with the numbers and then `text`. Hidden where nobody looks, and for one picture.
pub(crate) fn progress_bar(pictures: usize, text: &str) -> ProgressBar {
    let target = if pictures > 1 { visible_where_seen() } else { ProgressDrawTarget::hidden() };
    styled(ProgressBar::with_draw_target(Some(pictures as u64), target), text)
}

/// The same for pictures that are not counted yet: its length is set later.
pub(crate) fn progress_bar_without_length(text: &str) -> ProgressBar {
    styled(ProgressBar::with_draw_target(None, visible_where_seen()), text)
}

fn visible_where_seen() -> ProgressDrawTarget {
    match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}

/// Also a command that fails leaves no bar behind.
fn styled(bar: ProgressBar, text: &str) -> ProgressBar {
    let bar = bar.with_finish(ProgressFinish::AndClear);
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}}/{{len}} {text}"));
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}
