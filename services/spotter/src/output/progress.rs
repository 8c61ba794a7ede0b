//! How far a command is with its pictures.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, with the numbers and then `text`. Hidden where nobody looks, and for one picture.
pub(crate) fn progress_bar(pictures: usize, text: &str) -> ProgressBar {
    let target = if pictures > 1 && std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(pictures as u64), target);
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}}/{{len}} {text}"));
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}
