//! Odd, damaged and hostile pictures sent through the whole system: each ends as the table says,
//! never as a 5xx and never as a wait without end.
//!
//! The pictures and the table are made by `scripts/make-nasty-pictures`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use client::{FoundObject, State, Task};
use detector::decode::{Picture, decode_into};
use domain::{BoundingBox, TaskId, picture::PictureLimits};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::workspace_root;

use crate::harness::{System, WAIT};

const ROUTES: [&str; 2] = ["/start_task", "/v1/tasks"];
/// Far longer than an honest picture of the largest size takes on a busy machine.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// From the first upload to the last result, for all pictures and both routes.
const LONGEST_IN_ALL: Duration = Duration::from_secs(540);

/// What must become of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Detected,
    Refused(StatusCode),
    Failed,
}

struct Row {
    file: String,
    sent_as: String,
    zeros_behind: usize,
    expected: Expected,
    /// By the versioned route, where that is something else.
    expected_by_v1: Option<Expected>,
    /// Width and height of the result.
    size: Option<[u64; 2]>,
    /// The mean of red, green and blue that its pixels have.
    mean: Option<[f64; 3]>,
    /// A file of the same pixels.
    same_pixels_as: Option<String>,
    /// Whether the task says that something is wrong with the pixels.
    warns: bool,
    same_objects_as: Option<String>,
}

impl Row {
    fn of(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let file = text("file").expect("each row names a file");
        let expected = |expected: &str| match expected {
            "detected" => Expected::Detected,
            "refused:400" => Expected::Refused(StatusCode::BAD_REQUEST),
            "refused:413" => Expected::Refused(StatusCode::PAYLOAD_TOO_LARGE),
            "failed" => Expected::Failed,
            other => panic!("{other:?} is nothing that can become of a picture"),
        };
        let size = row["size"].as_array().map(|size| [0, 1].map(|at| size[at].as_u64().unwrap()));
        Self {
            sent_as: text("sent_as").unwrap_or_else(|| file.clone()),
            zeros_behind: row["zeros_behind"].as_u64().unwrap_or(0) as usize,
            expected: expected(&text("expect").expect("each row says what to expect")),
            expected_by_v1: text("expect_by_v1").as_deref().map(expected),
            size,
            mean: row["mean"].as_array().map(|mean| [0, 1, 2].map(|at| mean[at].as_f64().unwrap())),
            same_pixels_as: text("same_pixels_as"),
            warns: row["warns"].as_bool().unwrap_or(false),
            same_objects_as: text("same_objects_as"),
            file,
        }
    }

    fn expected_by(&self, route: &str) -> Expected {
        match self.expected_by_v1 {
            Some(expected) if route.starts_with("/v1/") => expected,
            _ => self.expected,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = fs::read(folder().join(&self.file)).unwrap();
        bytes.resize(bytes.len() + self.zeros_behind, 0);
        bytes
    }
}

fn folder() -> PathBuf {
    workspace_root().join("services/spotter/tests/nasty")
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(Row::of).collect()
}

#[test]
fn every_nasty_picture_has_its_row() {
    let mut named: Vec<String> = table().into_iter().map(|row| row.file).collect();
    named.push("expected.json".to_owned());
    named.sort();
    let files = fs::read_dir(folder()).unwrap();
    let mut found: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, named);
    assert!(named.len() > 60);
}

/// What `detect` sees of them, without the rest of the system: the size, the colours and the warnings of the table.
#[test]
fn every_nasty_picture_that_is_detected_has_its_pixels() {
    let limits = PictureLimits::default();
    let mut decoded: BTreeMap<String, Picture> = BTreeMap::new();
    let mut complaints = Vec::new();
    for row in table() {
        if row.expected != Expected::Detected
            || (row.mean.is_none() && row.same_pixels_as.is_none())
        {
            continue;
        }
        let mut picture = Picture::default();
        match decode_into(&row.bytes(), &limits, &mut picture) {
            Ok(warnings) if warnings.is_empty() == row.warns => {
                complaints.push(format!("{}: warns of {warnings:?}", row.file));
            }
            Ok(_) => {}
            Err(error) => complaints.push(format!("{}: {error}", row.file)),
        }
        complaints.extend(check_pixels(&row, &picture, &decoded));
        decoded.insert(row.file, picture);
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    assert!(decoded.len() > 150);
}

fn check_pixels(
    row: &Row,
    picture: &Picture,
    decoded: &BTreeMap<String, Picture>,
) -> Option<String> {
    let size = [picture.width(), picture.height()].map(u64::from);
    if row.size.is_some_and(|expected| expected != size) {
        return Some(format!("{}: is of {size:?}, expected {:?}", row.file, row.size));
    }
    if let Some(other) = &row.same_pixels_as {
        let is_same = decoded.get(other).is_some_and(|other| other == picture);
        return (!is_same).then(|| format!("{}: has other pixels than {other}", row.file));
    }
    let (mean, expected) = (mean(picture), row.mean?);
    // Two decoders round lossy WebP differently.
    let is_close = mean.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1.0);
    (!is_close).then(|| format!("{}: is {mean:?} in the mean, expected {expected:?}", row.file))
}

fn mean(picture: &Picture) -> [f64; 3] {
    let pixels = picture.rgb().as_chunks::<3>().0;
    let mut sums = [0_u64; 3];
    for pixel in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*value);
        }
    }
    sums.map(|sum| sum as f64 / pixels.len().max(1) as f64)
}

#[tokio::test]
async fn every_nasty_picture_ends_as_it_should() {
    let system = System::start();
    let _worker = system.worker();
    let start = Instant::now();
    let mut complaints = Vec::new();
    let mut sent = Vec::new();
    for row in table() {
        let bytes = row.bytes();
        for route in ROUTES {
            match submit(&system, route, &row, bytes.clone()).await {
                Ok(Some(id)) => sent.push((row.file.clone(), route, id)),
                Ok(None) => {}
                Err(complaint) => complaints.push(format!("{} {route}: {complaint}", row.file)),
            }
        }
    }
    let rows: BTreeMap<String, Row> =
        table().into_iter().map(|row| (row.file.clone(), row)).collect();
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    for (file, route, id) in sent {
        let Some(task) = wait(&system, id, start).await else {
            complaints.push(format!("{file} {route}: not finished after {:?}", start.elapsed()));
            continue;
        };
        let (row, result) = (&rows[&file], system.result(id).await);
        if let Err(complaint) = check_task(row, row.expected_by(route), &task, &result) {
            complaints.push(format!("{file} {route}: {complaint}"));
        }
        tasks.insert(file, task);
    }
    for row in rows.values() {
        let Some(other) = &row.same_objects_as else { continue };
        let pair = (tasks.get(&row.file), tasks.get(other));
        let (Some(task), Some(other)) = pair else { continue };
        if let Err(complaint) = check_same_objects(task, other) {
            complaints.push(format!("{}: {complaint}", row.file));
        }
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    eprintln!("{} pictures by {} routes in {:.1?}", rows.len(), ROUTES.len(), start.elapsed());
}

/// The id of the task; `None` for a picture that was refused, as it should be.
async fn submit(
    system: &System,
    route: &str,
    row: &Row,
    bytes: Vec<u8>,
) -> Result<Option<TaskId>, String> {
    let form = Form::new().part("file", Part::bytes(bytes).file_name(row.sent_as.clone()));
    let start = Instant::now();
    let request = system.http.post(format!("{}{route}", system.base)).multipart(form);
    let answer = request.send().await.map_err(|error| format!("no answer: {error}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|error| format!("{status}, no JSON: {error}"))?;
    if start.elapsed() > LONGEST_ANSWER {
        return Err(format!("answered {status} only after {:?}", start.elapsed()));
    }
    let expected = match row.expected_by(route) {
        Expected::Refused(status) => status,
        Expected::Detected | Expected::Failed => StatusCode::ACCEPTED,
    };
    if status != expected {
        return Err(format!("answered {status} {body}, expected {expected}"));
    }
    match row.expected_by(route) {
        Expected::Refused(_) if body["error"].is_string() => Ok(None),
        Expected::Refused(_) => Err(format!("refused without a word: {body}")),
        _ => {
            let id = body["task_id"].as_str().and_then(|id| id.parse().ok());
            id.map(Some).ok_or_else(|| format!("no id: {body}"))
        }
    }
}

/// The task once it has ended, unless all the time there is has run out.
async fn wait(system: &System, id: TaskId, start: Instant) -> Option<Task> {
    while start.elapsed() < LONGEST_IN_ALL {
        let task = system.v1.task(id, WAIT).await.expect("the task is known");
        if task.is_terminal() {
            return Some(task);
        }
    }
    None
}

fn check_task(row: &Row, expected: Expected, task: &Task, result: &Value) -> Result<(), String> {
    let Task { state, failure, warnings, .. } = task;
    if result["status"] != state.to_string() {
        return Err(format!("{state} for /v1, and {} for the original route", result["status"]));
    }
    match (expected, state) {
        (Expected::Detected, State::Success) => {
            let size = [task.width, task.height].map(u64::from);
            match row.size {
                Some(expected) if size != expected => {
                    Err(format!("detected at {size:?}, expected {expected:?}"))
                }
                _ if warnings.is_empty() == row.warns => {
                    let expected = if row.warns { "a warning" } else { "none" };
                    Err(format!("warns of {warnings:?}, expected {expected}"))
                }
                _ => Ok(()),
            }
        }
        (Expected::Failed, State::Failure) => match failure {
            Some(failure) if failure.reason == "undecodable_picture" => Ok(()),
            _ => Err(format!("failed for another reason: {failure:?}")),
        },
        (expected, _) => Err(format!("{state} {failure:?}, expected {expected:?}")),
    }
}

/// The same objects, within a pixel: the pictures are coded anew after each turn.
fn check_same_objects(task: &Task, other: &Task) -> Result<(), String> {
    let (found, expected) = (&task.objects, &other.objects);
    let is_same = |(a, b): (&FoundObject, &FoundObject)| {
        let sides = |object: &FoundObject| {
            let BoundingBox { x1, y1, x2, y2 } = object.bbox;
            [x1, y1, x2, y2]
        };
        a.label == b.label
            && (a.confidence - b.confidence).abs() <= 0.05
            && sides(a).iter().zip(sides(b)).all(|(a, b)| (a - b).abs() <= 1.0)
    };
    if !expected.is_empty()
        && found.len() == expected.len()
        && found.iter().zip(expected).all(is_same)
    {
        return Ok(());
    }
    Err(format!("found {found:?}, expected {expected:?}"))
}
