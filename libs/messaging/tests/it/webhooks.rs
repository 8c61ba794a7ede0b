//! Webhooks: published by whoever stores a terminal record, and delivered until they are settled.

use std::time::Duration;

use domain::{CallbackUrl, Job, TaskRecord, TaskState};
use messaging::{Ended, Messaging, WebhookDelivery};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::fixture::{A_WHILE, Fixture, TIMEOUT, failure, job, success};

/// The webhooks that a notifier gets; it ends with this value.
pub(crate) struct Taking {
    due: mpsc::Receiver<WebhookDelivery>,
    task: JoinHandle<()>,
}

impl Taking {
    pub(crate) fn start(messaging: &Messaging) -> Self {
        let deliveries = messaging.webhooks().deliveries();
        let (sender, due) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            loop {
                deliveries.take(8, &sender).await;
            }
        });
        Self { due, task }
    }

    pub(crate) async fn next(&mut self) -> WebhookDelivery {
        timeout(TIMEOUT, self.due.recv()).await.expect("a webhook is due").expect("it is taking")
    }

    async fn nothing_is_due(&mut self) {
        let delivery = timeout(A_WHILE, self.due.recv()).await;
        assert!(delivery.is_err(), "a webhook that nobody published");
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A job whose client wants to be called.
pub(crate) fn with_callback() -> Job {
    Job { callback_url: Some(CallbackUrl::new("https://example.com/hook".to_owned())), ..job() }
}

#[tokio::test]
async fn a_terminal_record_is_announced_once() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    let mut taking = Taking::start(&fixture.messaging);
    tasks.finish(&success(&job())).await.unwrap();
    let ended = success(&with_callback());
    tasks.finish(&ended).await.unwrap();
    // As the worker does that finds the record with a job.
    tasks.announce(&ended).await.unwrap();
    let delivery = taking.next().await;
    assert_eq!((&delivery.ended, delivery.attempt), (&ended.into(), 1));
    delivery.delivered().await.unwrap();
    let cached = success(&with_callback());
    assert!(tasks.create_terminal(&cached).await.unwrap());
    let delivery = taking.next().await;
    assert_eq!(delivery.ended, cached.into(), "and no webhook of the task without a URL");
    delivery.delivered().await.unwrap();
    taking.nothing_is_due().await;
    assert_eq!(fixture.server.stream("WEBHOOKS").unwrap().messages, 0);
}

/// A try may take longer than `ack_wait`. If the notifier ends meanwhile, another one gets the webhook soon.
#[tokio::test]
async fn a_webhook_belongs_to_its_notifier_until_that_ends() {
    const SHORT_ACK_WAIT: Duration = Duration::from_secs(3);
    let fixture = Fixture::configured(|config| config.ack_wait = SHORT_ACK_WAIT).await;
    let ended = success(&with_callback());
    fixture.messaging.tasks().finish(&ended).await.unwrap();
    let busy = Taking::start(&fixture.messaging).next().await;
    let mut other = Taking::start(&fixture.messaging);
    let delivery = timeout(2 * SHORT_ACK_WAIT, other.due.recv()).await;
    assert!(delivery.is_err(), "another notifier got it");
    drop(busy);
    let again = other.next().await;
    assert_eq!((&again.ended, again.deliveries), (&ended.into(), 2));
}

#[tokio::test]
async fn a_webhook_is_tried_again_when_it_is_due() {
    let fixture = Fixture::start().await;
    let mut taking = Taking::start(&fixture.messaging);
    let ended = failure(&with_callback());
    fixture.messaging.tasks().finish(&ended).await.unwrap();
    taking.next().await.postpone(Duration::ZERO).await.unwrap();
    let postponed = taking.next().await;
    assert_eq!((postponed.attempt, postponed.deliveries), (1, 2), "it was not tried");
    postponed.retry(Duration::ZERO).await.unwrap();
    let second = taking.next().await;
    assert_eq!((&second.ended, second.attempt), (&ended.into(), 2));
    second.retry(Duration::from_secs(3600)).await.unwrap();
    taking.nothing_is_due().await;
    assert_eq!(fixture.server.stream("WEBHOOKS").unwrap().messages, 1);
}

#[tokio::test]
async fn a_webhook_that_is_given_up_can_be_replayed() {
    let fixture = Fixture::start().await;
    let mut taking = Taking::start(&fixture.messaging);
    let ended = success(&with_callback());
    fixture.messaging.tasks().finish(&ended).await.unwrap();
    taking.next().await.give_up("its server answered\r\nwith status 410").await.unwrap();
    let dead = fixture.messaging.dead_webhooks();
    let listed = dead.list_after(0).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].ended, listed[0].attempts), (&ended.clone().into(), 1));
    assert_eq!(listed[0].reason, "its server answeredwith status 410");
    assert_eq!(dead.get(ended.job.task_id).await.unwrap().as_ref(), Some(&listed[0]));
    assert_eq!(dead.get(job().task_id).await.unwrap(), None);
    dead.replay(&listed[0]).await.unwrap();
    assert_eq!(dead.list_after(0).await.unwrap(), []);
    let again = taking.next().await;
    assert_eq!((&again.ended, again.attempt), (&ended.into(), 1));
}

/// A reconciler that ends between the webhook of a lost job and its record: the webhook waits, and reports what was
/// stored.
#[tokio::test]
async fn a_lost_job_is_reported_once_its_record_is_stored() {
    let fixture = Fixture::start().await;
    let mut taking = Taking::start(&fixture.messaging);
    let overdue = Job {
        deadline: Some(time::OffsetDateTime::now_utc() - time::Duration::MINUTE),
        ..with_callback()
    };
    let tasks = fixture.messaging.tasks();
    tasks.create_queued(&TaskRecord::queued(overdue.clone())).await.unwrap();
    fixture.messaging.reconciler().round().await.unwrap();
    let delivery = taking.next().await;
    assert_eq!(delivery.ended.id(), overdue.task_id);
    let Ended::Task(reported) = &delivery.ended else { panic!("no task: {:?}", delivery.ended) };
    assert!(matches!(reported.state, TaskState::Expired { .. }));
    assert_eq!(tasks.get(overdue.task_id).await.unwrap().as_ref(), Some(&**reported));
}

/// Of an API or a worker of another version, or of nobody.
#[tokio::test]
async fn what_is_no_webhook_is_deleted() {
    let fixture = Fixture::start().await;
    let mut taking = Taking::start(&fixture.messaging);
    let raw = fixture.raw().await;
    raw.publish("webhooks.x", "no record".into()).await.unwrap().await.unwrap();
    fixture.messaging.tasks().finish(&success(&with_callback())).await.unwrap();
    taking.next().await.delivered().await.unwrap();
    let emptied = async || {
        let left = fixture.server.stream("WEBHOOKS").unwrap().messages;
        (left == 0).then_some(())
    };
    testkit::eventually(TIMEOUT, emptied).await;
}
