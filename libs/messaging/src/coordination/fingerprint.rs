//! The digests that distinguish a retry from another submission under the same key.
//!
//! Each form has a version and is written out field by field: a renamed type or field must not change
//! it. APIs of two versions work side by side during an upgrade, so a claim carries its fingerprint in
//! every form that either of them reads.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    DetectionSettings, DrawingFormat, ModelName, Priority, Sha256Digest, Sha256Hasher, Tiling,
};

/// What a client submits under an idempotency key.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The file name that the client gave the picture.
    pub picture_name: &'a str,
    /// The digest of the picture's bytes.
    pub picture_sha256: Sha256Digest,
    /// The settings that the client asked for.
    pub settings: &'a DetectionSettings,
    /// The model, where the client said so.
    pub model: Option<&'a ModelName>,
    /// The priority that the client asked for.
    pub priority: Priority,
    /// The client's metadata, as JSON.
    pub metadata: Option<&'a str>,
    /// The format of the drawing, where the client asked for one.
    pub annotated: Option<DrawingFormat>,
    /// Where the end of the task is reported.
    pub callback_url: Option<&'a str>,
    /// How long the job may wait for a worker, where the client said so.
    pub deadline: Option<Duration>,
}

/// The newest version of the form that this program knows.
const NEWEST: u32 = 1;

/// A submission's fingerprints, by the version of their form.
pub(super) fn fingerprints(submission: &Submission<'_>) -> BTreeMap<u32, Sha256Digest> {
    [(NEWEST, version_1(submission))].into()
}

/// A line for each field, with the length of the only free text. A setting that is added to this form must be
/// written only where it differs from its default, so that the fingerprint of older claims stays valid.
fn version_1(submission: &Submission<'_>) -> Sha256Digest {
    let Submission {
        picture_name,
        picture_sha256,
        settings,
        model,
        priority,
        metadata,
        annotated,
        callback_url,
        deadline,
    } = submission;
    let DetectionSettings { confidence, iou, max_detections, class_agnostic, classes, tiling } =
        settings;
    let mut text = format!(
        "submission 1\n\
         picture_name {length} {picture_name}\n\
         picture_sha256 {picture_sha256}\n\
         confidence {confidence:08x}\n\
         iou {iou:08x}\n\
         max_detections {max_detections}\n",
        length = picture_name.len(),
        confidence = confidence.get().to_bits(),
        iou = iou.get().to_bits(),
        max_detections = max_detections.get(),
    );
    if let Some(deadline) = deadline {
        text.push_str(&format!("deadline_ns {}\n", deadline.as_nanos()));
    }
    if *class_agnostic {
        text.push_str("class_agnostic\n");
    }
    if !classes.is_all() {
        let classes = classes.to_string();
        text.push_str(&format!("classes {} {classes}\n", classes.len()));
    }
    if let Some(Tiling { tiles, overlap }) = tiling {
        text.push_str(&format!("tiles {tiles} {:08x}\n", overlap.get().to_bits()));
    }
    if let Some(model) = model {
        text.push_str(&format!("model {model}\n"));
    }
    if !priority.is_normal() {
        text.push_str(&format!("priority {priority}\n"));
    }
    if let Some(metadata) = metadata {
        text.push_str(&format!("metadata {} {metadata}\n", metadata.len()));
    }
    if let Some(format) = annotated {
        text.push_str(&format!("annotated {format}\n"));
    }
    if let Some(url) = callback_url {
        text.push_str(&format!("callback_url {} {url}\n", url.len()));
    }
    Sha256Digest::of(text)
}

/// The form before there were versions: the `Debug` output of the types of that time, spelled out so that it
/// never changes. What those types did not have is left out.
pub(super) fn unversioned(submission: &Submission<'_>) -> Sha256Digest {
    let Submission { picture_name, picture_sha256, settings, deadline, .. } = submission;
    let DetectionSettings { confidence, iou, max_detections, .. } = settings;
    let text = format!(
        "{picture_name}\n\
         DetectionSettings {{ confidence: Confidence({confidence:?}), iou: IouThreshold({iou:?}), \
         max_detections: MaxDetections({max_detections}) }}\n\
         {deadline:?}\n",
        confidence = confidence.get(),
        iou = iou.get(),
        max_detections = max_detections.get(),
    );
    let mut hasher = Sha256Hasher::new();
    hasher.update(text);
    hasher.update(picture_sha256.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn submission(settings: &DetectionSettings) -> Submission<'_> {
        Submission {
            picture_name: "bus.jpg",
            picture_sha256: [7; 32].into(),
            settings,
            model: None,
            priority: Priority::Normal,
            metadata: None,
            annotated: None,
            callback_url: None,
            deadline: None,
        }
    }

    fn other_settings() -> DetectionSettings {
        DetectionSettings {
            confidence: 0.5.try_into().unwrap(),
            iou: 1.0.try_into().unwrap(),
            max_detections: 7.try_into().unwrap(),
            ..DetectionSettings::default()
        }
    }

    fn tiling(tiles: &str, overlap: f32) -> Option<Tiling> {
        Some(Tiling { tiles: tiles.parse().unwrap(), overlap: overlap.try_into().unwrap() })
    }

    fn another(settings: &DetectionSettings) -> Submission<'_> {
        Submission {
            picture_name: "café\n猫.jpg",
            picture_sha256: [9; 32].into(),
            deadline: Some(Duration::from_secs(90)),
            ..submission(settings)
        }
    }

    /// The stored forms. A change of one of them would answer honest retries with 422 during an upgrade: add a
    /// version instead.
    #[test]
    fn the_forms_stay_what_they_are() {
        let (usual, other) = (DetectionSettings::default(), other_settings());
        let (submission, another) = (submission(&usual), another(&other));
        let golden = [
            (
                version_1(&submission),
                "c9c7a099dbf1b809ac043e0e1c1471c8b42117bd9902260afd041ad269fecead",
            ),
            (
                version_1(&another),
                "701cceece3b60dddf640b54e76210a5d5422833c2e2a43ea7b7ea9caea8b38d7",
            ),
            (
                unversioned(&submission),
                "ea0ff78ba9949f9327053942c2c654917befccc622c4a58d5c46f9a344dc2be2",
            ),
            (
                unversioned(&another),
                "3dbc617592200c32da675111e5c77d41e2565564702bc49f715a5f8ce6b08c1c",
            ),
        ];
        let found = golden.map(|(digest, _)| digest.to_string());
        assert_eq!(found, golden.map(|(_, expected)| expected.to_owned()));
    }

    #[test]
    fn every_field_makes_another_fingerprint() {
        let (settings, other_settings) = (DetectionSettings::default(), other_settings());
        let (one, other) = (submission(&settings), another(&other_settings));
        let model = "other".parse().unwrap();
        let of_settings = [
            DetectionSettings { confidence: other_settings.confidence, ..settings.clone() },
            DetectionSettings { iou: other_settings.iou, ..settings.clone() },
            DetectionSettings { max_detections: other_settings.max_detections, ..settings.clone() },
            DetectionSettings { class_agnostic: true, ..settings.clone() },
            DetectionSettings { tiling: tiling("auto", 0.2), ..settings.clone() },
            DetectionSettings { tiling: tiling("2x2", 0.2), ..settings.clone() },
            DetectionSettings { tiling: tiling("2x2", 0.3), ..settings.clone() },
            DetectionSettings { classes: "0".parse().unwrap(), ..settings.clone() },
            DetectionSettings { classes: "person".parse().unwrap(), ..settings.clone() },
        ];
        let mut submissions = vec![
            one,
            Submission { picture_name: "bus.jpg\n", ..one },
            Submission { picture_name: "", ..one },
            Submission { picture_sha256: other.picture_sha256, ..one },
            Submission { deadline: Some(Duration::ZERO), ..one },
            Submission { deadline: other.deadline, ..one },
            Submission { model: Some(&model), ..one },
            Submission { priority: Priority::Low, ..one },
            Submission { metadata: Some("{}"), ..one },
            Submission { annotated: Some(DrawingFormat::Jpeg), ..one },
            Submission { annotated: Some(DrawingFormat::Png), ..one },
            Submission { callback_url: Some("https://example.com/"), ..one },
        ];
        submissions.extend(of_settings.iter().map(|settings| Submission { settings, ..one }));
        let distinct: HashSet<_> = submissions.iter().map(version_1).collect();
        assert_eq!(distinct.len(), submissions.len());
    }
}
