//! The parameters in the query of a submission.

use serde_json::Value;

use crate::routes::v1::task::PriorityName;

/// The parameters in the query of a submission, as the framework has read them.
#[derive(Debug, Default)]
pub(crate) struct OfQuery {
    pub(crate) model: Option<String>,
    pub(crate) confidence: Option<f32>,
    pub(crate) iou: Option<f32>,
    pub(crate) max_detections: Option<u16>,
    pub(crate) classes: Option<Vec<String>>,
    pub(crate) class_agnostic: Option<bool>,
    pub(crate) tiles: Option<String>,
    pub(crate) overlap: Option<f32>,
    pub(crate) priority: Option<PriorityName>,
    pub(crate) deadline: Option<u64>,
    pub(crate) metadata: Option<String>,
    pub(crate) annotated: Option<String>,
    pub(crate) callback_url: Option<String>,
}

impl OfQuery {
    /// Name and value of each that is given.
    pub(crate) fn given(self) -> impl Iterator<Item = (&'static str, Value)> {
        let given = [
            ("model", self.model.map(Value::from)),
            ("confidence", self.confidence.map(Value::from)),
            ("iou", self.iou.map(Value::from)),
            ("max_detections", self.max_detections.map(Value::from)),
            ("class_agnostic", self.class_agnostic.map(Value::from)),
            ("tiles", self.tiles.map(Value::from)),
            ("overlap", self.overlap.map(Value::from)),
            ("priority", self.priority.map(|priority| priority.name().into())),
            ("deadline", self.deadline.map(Value::from)),
            ("metadata", self.metadata.map(Value::from)),
            ("annotated", self.annotated.map(Value::from)),
            ("callback_url", self.callback_url.map(Value::from)),
        ];
        let classes = self.classes.into_iter().flatten().map(|class| ("classes", class.into()));
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(classes)
    }
}
