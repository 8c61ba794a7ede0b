//! The parameters of a submission, in the query of its request.

use std::time::Duration;

use domain::{DetectionSettings, Priority, Tiling};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The query with its question mark; empty where everything is left to the API.
pub(crate) fn query(
    settings: Option<&DetectionSettings>,
    priority: Priority,
    deadline: Option<Duration>,
) -> String {
    let mut parameters = settings.map(of_settings).unwrap_or_default();
    if !priority.is_normal() {
        parameters.push(format!("priority={priority}"));
    }
    if let Some(deadline) = deadline {
        parameters.push(format!("deadline={}", deadline.as_secs()));
    }
    if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
}

fn of_settings(settings: &DetectionSettings) -> Vec<String> {
    let DetectionSettings { confidence, iou, max_detections, class_agnostic, classes, tiling } =
        settings;
    let mut parameters = vec![
        format!("confidence={confidence}"),
        format!("iou={iou}"),
        format!("max_detections={}", max_detections.get()),
    ];
    if *class_agnostic {
        parameters.push("class_agnostic=true".to_owned());
    }
    if !classes.is_all() {
        let classes = utf8_percent_encode(&classes.to_string(), NON_ALPHANUMERIC).to_string();
        parameters.push(format!("classes={classes}"));
    }
    if let Some(Tiling { tiles, overlap }) = tiling {
        parameters.push(format!("tiles={tiles}"));
        parameters.push(format!("overlap={}", overlap.get()));
    }
    parameters
}
