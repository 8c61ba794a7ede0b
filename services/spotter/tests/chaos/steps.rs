//! The steps of a job at which a failpoint can crash a process.

/// A place in the code of the worker or the API; see `service::lifecycle::failpoints`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    WorkerReceived,
    WorkerBeforeStore,
    /// Between a terminal record and its webhook.
    WorkerBeforeAnnounce,
    WorkerBeforeAck,
    WorkerAfterAck,
    ApiBeforePublish,
    ApiBeforePubAck,
    ApiBeforeRecord,
    ApiBeforeAnswer,
    /// Between the stored end of a batch and its webhook.
    ApiBeforeReport,
}

impl Step {
    /// Those of a worker.
    pub(crate) const OF_A_WORKER: [Self; 5] = [
        Self::WorkerReceived,
        Self::WorkerBeforeStore,
        Self::WorkerBeforeAnnounce,
        Self::WorkerBeforeAck,
        Self::WorkerAfterAck,
    ];

    /// Those of an API.
    pub(crate) const OF_AN_API: [Self; 4] = [
        Self::ApiBeforePublish,
        Self::ApiBeforePubAck,
        Self::ApiBeforeRecord,
        Self::ApiBeforeAnswer,
    ];

    /// That of the API that ends batches.
    pub(crate) const OF_BATCHES: [Self; 1] = [Self::ApiBeforeReport];

    pub(crate) fn is_of_a_worker(self) -> bool {
        Self::OF_A_WORKER.contains(&self)
    }

    /// The failpoint: its name, its action, and the pass at which it acts.
    pub(crate) fn failpoint(self) -> String {
        let what = match self {
            Self::WorkerReceived => "worker-received=crash",
            Self::WorkerBeforeStore => "worker-before-store=crash",
            Self::WorkerBeforeAnnounce => "before-announce=crash",
            Self::WorkerBeforeAck => "worker-before-ack=crash",
            Self::WorkerAfterAck => "worker-after-ack=crash",
            Self::ApiBeforePublish => "api-before-publish=crash",
            Self::ApiBeforePubAck => "api-before-puback=crash-soon",
            Self::ApiBeforeRecord => "api-before-record=crash",
            Self::ApiBeforeAnswer => "api-before-answer=crash",
            // A batch ends much less often than a picture.
            Self::ApiBeforeReport => return "api-before-report=crash@2".to_owned(),
        };
        // Not at every pass, or no job would ever get beyond it.
        format!("{what}@7")
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WorkerReceived => "crash: received",
            Self::WorkerBeforeStore => "crash: before store",
            Self::WorkerBeforeAnnounce => "crash: before webhook",
            Self::WorkerBeforeAck => "crash: before ack",
            Self::WorkerAfterAck => "crash: after ack",
            Self::ApiBeforePublish => "crash: before publish",
            Self::ApiBeforePubAck => "crash: before PubAck",
            Self::ApiBeforeRecord => "crash: before record",
            Self::ApiBeforeAnswer => "crash: before 202",
            Self::ApiBeforeReport => "crash: batch's end",
        }
    }
}
