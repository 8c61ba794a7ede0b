//! The digests that distinguish a retry from another submission under the same key.
//!
//! Each form has a version and is written out field by field: a renamed type or field must not change
//! it. APIs of two versions work side by side during an upgrade, so a claim carries its fingerprint in
//! every form that either of them reads.

use std::{collections::BTreeMap, time::Duration};

use domain::{DetectionSettings, Sha256Digest, Sha256Hasher};

/// What a client submits under an idempotency key.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The file name that the client gave the picture.
    pub picture_name: &'a str,
    /// The digest of the picture's bytes.
    pub picture_sha256: Sha256Digest,
    /// The settings that the client asked for.
    pub settings: DetectionSettings,
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
    let Submission { picture_name, picture_sha256, settings, deadline } = submission;
    let DetectionSettings { confidence, iou, max_detections } = settings;
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
    Sha256Digest::of(text)
}

/// The form before there were versions: the `Debug` output of the types of that time, spelled out so that it
/// never changes.
pub(super) fn unversioned(submission: &Submission<'_>) -> Sha256Digest {
    let Submission { picture_name, picture_sha256, settings, deadline } = submission;
    let DetectionSettings { confidence, iou, max_detections } = settings;
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

    fn submission() -> Submission<'static> {
        Submission {
            picture_name: "bus.jpg",
            picture_sha256: [7; 32].into(),
            settings: DetectionSettings::default(),
            deadline: None,
        }
    }

    fn another() -> Submission<'static> {
        Submission {
            picture_name: "café\n猫.jpg",
            picture_sha256: [9; 32].into(),
            settings: DetectionSettings {
                confidence: 0.5.try_into().unwrap(),
                iou: 1.0.try_into().unwrap(),
                max_detections: 7.try_into().unwrap(),
            },
            deadline: Some(Duration::from_secs(90)),
        }
    }

    /// The stored forms. A change of one of them would answer honest retries with 422 during an upgrade: add a
    /// version instead.
    #[test]
    fn the_forms_stay_what_they_are() {
        let golden = [
            (
                version_1(&submission()),
                "c9c7a099dbf1b809ac043e0e1c1471c8b42117bd9902260afd041ad269fecead",
            ),
            (
                version_1(&another()),
                "701cceece3b60dddf640b54e76210a5d5422833c2e2a43ea7b7ea9caea8b38d7",
            ),
            (
                unversioned(&submission()),
                "ea0ff78ba9949f9327053942c2c654917befccc622c4a58d5c46f9a344dc2be2",
            ),
            (
                unversioned(&another()),
                "3dbc617592200c32da675111e5c77d41e2565564702bc49f715a5f8ce6b08c1c",
            ),
        ];
        let found = golden.map(|(digest, _)| digest.to_string());
        assert_eq!(found, golden.map(|(_, expected)| expected.to_owned()));
    }

    #[test]
    fn every_field_makes_another_fingerprint() {
        let (one, other) = (submission(), another());
        let settings = one.settings;
        let submissions = [
            one,
            Submission { picture_name: "bus.jpg\n", ..one },
            Submission { picture_name: "", ..one },
            Submission { picture_sha256: other.picture_sha256, ..one },
            Submission { deadline: Some(Duration::ZERO), ..one },
            Submission { deadline: other.deadline, ..one },
            Submission {
                settings: DetectionSettings { confidence: other.settings.confidence, ..settings },
                ..one
            },
            Submission {
                settings: DetectionSettings { iou: other.settings.iou, ..settings },
                ..one
            },
            Submission {
                settings: DetectionSettings {
                    max_detections: other.settings.max_detections,
                    ..settings
                },
                ..one
            },
        ];
        let distinct: HashSet<_> = submissions.iter().map(version_1).collect();
        assert_eq!(distinct.len(), submissions.len());
    }
}
