//! The consumers: those of the lanes, the one of the webhooks, and those of the shadow jobs.

use async_nats::jetstream::{
    consumer::{self, FromConsumer, pull},
    context::ConsumerInfoErrorKind,
    stream::{ConsumerError, ConsumerErrorKind},
};
use domain::ModelName;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    lanes::{Lane, SHARED_CONSUMERS},
    names::{self, JOBS_STREAM, SHADOW_JOBS_STREAM, WEBHOOK_CONSUMER, WEBHOOK_STREAM},
    outcome::{ProvisionOutcome, Provisioned, if_changeable, missing, refused},
    streams::{shadow_consumer, webhook_consumer, worker_consumer},
};
use crate::{Messaging, MessagingError, connection::refusal::Refusal, error::Cause};

/// How often a lane's consumer is created while an older process recreates the shared one.
const ATTEMPTS: u32 = 10;

/// How many consumers are looked up at a time.
const CONCURRENT_LOOKUPS: usize = 16;

/// The lanes that have a consumer, and its state. The names come from the server that knows them all; where a
/// consumer's leader does not answer, this is an error and not a lane less.
pub(crate) async fn list(
    messaging: &Messaging,
    what: &'static str,
) -> Result<Vec<(Lane, consumer::Info)>, MessagingError> {
    let jobs = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let mut names = messaging.within(what, jobs).await?.consumer_names();
    let mut lanes = Vec::new();
    while let Some(name) = messaging.within_timeout(what, names.next()).await? {
        let name = name.map_err(|error| MessagingError::failed(what, error))?;
        lanes.extend(Lane::of_consumer(&name));
    }
    let infos = stream::iter(lanes).map(|lane| async move {
        let info = find(messaging, what, &lane).await?;
        Ok(info.map(|info| (lane, info)))
    });
    // One that has been deleted since is left out.
    let found = infos.buffered(CONCURRENT_LOOKUPS).try_collect::<Vec<_>>().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The state of the lane's consumer; `None` if there is none.
pub(crate) async fn find(
    messaging: &Messaging,
    what: &'static str,
    lane: &Lane,
) -> Result<Option<consumer::Info>, MessagingError> {
    let jobs = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let jobs = messaging.within(what, jobs).await?;
    match messaging.within_timeout(what, jobs.consumer_info(lane.consumer())).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

/// Creates the consumer of a lane, or updates its settings.
///
/// The server refuses it beside a consumer that has some of the same subjects, as those of older versions have. They
/// are deleted, and the jobs that they have delivered are delivered again. A worker of an older version may create
/// one again at that moment, so there are several attempts.
pub(crate) async fn ensure_lane(
    messaging: &Messaging,
    lane: &Lane,
) -> Result<Provisioned, MessagingError> {
    let name = lane.consumer();
    let mut attempt = 1;
    loop {
        let wanted = worker_consumer(messaging.config(), lane);
        match ensure(messaging, JOBS_STREAM, &name, wanted).await {
            Err(error) if attempt < ATTEMPTS && overlaps(&error) => {
                delete_shared_consumers(messaging).await?;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Creates the consumer of the webhooks, or updates its settings.
pub(super) async fn ensure_webhooks(messaging: &Messaging) -> Result<Provisioned, MessagingError> {
    let wanted = webhook_consumer(messaging.config());
    ensure(messaging, WEBHOOK_STREAM, WEBHOOK_CONSUMER, wanted).await
}

/// Creates the consumer of the shadow jobs for a model, or updates its settings.
pub(super) async fn ensure_shadow(
    messaging: &Messaging,
    model: &ModelName,
) -> Result<Provisioned, MessagingError> {
    let wanted = shadow_consumer(messaging.config(), model);
    ensure(messaging, SHADOW_JOBS_STREAM, &names::shadow_consumer(model), wanted).await
}

fn overlaps(error: &MessagingError) -> bool {
    let MessagingError::Provision { cause, .. } = error else { return false };
    Refusal::in_chain(cause.as_ref()) == Some(Refusal::FiltersOverlap)
}

async fn delete_shared_consumers(messaging: &Messaging) -> Result<(), MessagingError> {
    for name in SHARED_CONSUMERS {
        if delete(messaging, name).await? {
            tracing::info!(
                consumer = name,
                "deleted the consumer of an older version, which delivered the jobs of all models"
            );
        }
    }
    Ok(())
}

/// Deletes a consumer of the jobs; returns whether there was one. Jobs that it has delivered and that are not settled
/// are in the stream still.
pub(crate) async fn delete(messaging: &Messaging, name: &str) -> Result<bool, MessagingError> {
    let what = "delete a consumer";
    let jobs = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let jobs = messaging.within(what, jobs).await?;
    let subject = format!("$JS.API.CONSUMER.DELETE.{JOBS_STREAM}.{name}");
    match messaging.if_permitted(what, subject, jobs.delete_consumer(name)).await? {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(api) if Refusal::of(&api) == Refusal::NoConsumer => {
                Ok(false)
            }
            _ => Err(MessagingError::failed(what, error)),
        },
    }
}

async fn ensure(
    messaging: &Messaging,
    stream: &str,
    name: &str,
    wanted: pull::Config,
) -> Result<Provisioned, MessagingError> {
    let outcome = ensure_settings(messaging, stream, name, wanted).await?;
    Ok(Provisioned { what: format!("consumer {name}"), outcome })
}

/// Creates the consumer, or updates the settings that this project manages.
async fn ensure_settings(
    messaging: &Messaging,
    stream_name: &str,
    name: &str,
    wanted: pull::Config,
) -> Result<ProvisionOutcome, MessagingError> {
    let refused = |cause: Cause| {
        refused(messaging.config(), format!("consumer {name} of {stream_name}"), cause)
    };
    let jetstream = messaging.jetstream();
    let what = &format!("consumer {name}");
    let info = format!("$JS.API.CONSUMER.INFO.{stream_name}.{name}");
    // The client library appends the filter, if there is one.
    let filter = Some(&wanted.filter_subject).filter(|filter| !filter.is_empty());
    let filter = filter.map(|filter| format!(".{filter}")).unwrap_or_default();
    let create = format!("$JS.API.CONSUMER.CREATE.{stream_name}.{name}{filter}");
    let stream = jetstream.get_stream_no_info(stream_name);
    let stream = messaging.within("look up the consumer", stream).await?;
    let look = stream.consumer_info(name);
    let found = messaging.if_permitted("look up the consumer", info, look).await?;
    let config = match found {
        Ok(info) => match pull::Config::try_from_consumer_config(info.config) {
            Ok(present) if with_our_settings(present.clone(), &wanted) == present => {
                return Ok(ProvisionOutcome::Unchanged);
            }
            Ok(present) => Some(with_our_settings(present, &wanted)),
            // A push consumer cannot be changed into a pull consumer; the server refuses it.
            Err(_) => Some(wanted.clone()),
        },
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => None,
        Err(error) => return Err(refused(error.into())),
    };
    let is_there = config.is_some();
    let write = jetstream.create_consumer_on_stream(config.unwrap_or(wanted), stream_name);
    let written = messaging.if_permitted("provision the consumer", create, write).await;
    let (written, outcome): (Result<_, ConsumerError>, _) = if is_there {
        let Some(outcome) = if_changeable(what, written)? else {
            return Ok(ProvisionOutcome::Differs);
        };
        (outcome, ProvisionOutcome::Updated)
    } else {
        (written.map_err(|denied| missing(what, denied))?, ProvisionOutcome::Created)
    };
    written.map(|_| outcome).map_err(|error| match error.kind() {
        ConsumerErrorKind::JetStream(api) => refused(Box::new(api)),
        _ => refused(error.into()),
    })
}

fn with_our_settings(present: pull::Config, wanted: &pull::Config) -> pull::Config {
    pull::Config {
        description: wanted.description.clone(),
        filter_subject: wanted.filter_subject.clone(),
        ack_policy: wanted.ack_policy,
        ack_wait: wanted.ack_wait,
        max_deliver: wanted.max_deliver,
        max_ack_pending: wanted.max_ack_pending,
        max_waiting: wanted.max_waiting,
        ..present
    }
}
