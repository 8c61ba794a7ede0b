//! Lists of tasks.

use domain::TaskId;
use messaging::{RunStart, Snapshot};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, json};

fn with_query(query: Query<'_>) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs = query.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    format!("/v1/tasks?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Names and values of parameters.
type Query<'a> = &'a [(&'a str, &'a str)];

/// Submits bus.jpg with these parameters.
async fn submit(app: &TestApp, query: Query<'_>) -> TaskId {
    let request = app.client.post(app.url(&with_query(query)));
    let request = request.header("Content-Type", "image/jpeg").body(bus_bytes());
    let (status, task) = json(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    task["task_id"].as_str().unwrap().parse().unwrap()
}

async fn submit_many(app: &TestApp, count: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(submit(app, &[]).await);
    }
    ids
}

async fn request(app: &TestApp, query: Query<'_>) -> Response {
    app.client.get(app.url(&with_query(query))).send().await.unwrap()
}

async fn page(app: &TestApp, query: Query<'_>) -> Value {
    let (status, page) = json(request(app, query).await).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page
}

fn ids(page: &Value) -> Vec<TaskId> {
    let tasks = page["tasks"].as_array().unwrap().iter();
    tasks.map(|task| task["task_id"].as_str().unwrap().parse().unwrap()).collect()
}

/// All ids of a list, and how many pages it had.
async fn all(app: &TestApp, query: Query<'_>) -> (Vec<TaskId>, usize) {
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = page(app, &query).await;
        found.extend(ids(&page));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return (found, pages),
        }
    }
}

fn newest_first(ids: &[TaskId]) -> Vec<TaskId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}

async fn revoke(app: &TestApp, id: TaskId) {
    let answer = app.client.delete(app.url(&format!("/v1/tasks/{id}"))).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn tasks_are_listed_newest_first_and_without_objects() {
    let app = TestApp::start().await;
    assert_eq!(page(&app, &[]).await, json!({ "tasks": [] }));
    let submitted = submit_many(&app, 3).await;
    app.succeed(submitted[1]).await;
    let list = page(&app, &[]).await;
    assert_eq!(ids(&list), newest_first(&submitted));
    assert!(list["next"].is_null(), "{list}");
    let states = [0, 1, 2].map(|index| list["tasks"][index]["state"].as_str().unwrap());
    assert_eq!(states, ["QUEUED", "SUCCESS", "QUEUED"]);
    assert_eq!(list["tasks"][1]["object_count"], 1);
    assert!(list["tasks"][1]["objects"].is_null(), "{list}");
    let (_, mut alone) = app.get(&format!("/v1/tasks/{}", submitted[0])).await;
    // Only a task alone says how many jobs are before it.
    alone.as_object_mut().unwrap().remove("max_jobs_ahead");
    assert_eq!(list["tasks"][2], alone, "a task without objects is otherwise the same as alone");
    assert_eq!(app.metric("spotter_task_index_tasks", "").await, Some(1));
}

#[tokio::test]
async fn a_list_has_what_was_accepted_before_it() {
    let app = TestApp::start().await;
    page(&app, &[]).await;
    for _ in 0..10 {
        let id = submit(&app, &[]).await;
        assert_eq!(ids(&page(&app, &[("limit", "1")]).await), [id]);
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_leave_out_tasks_while_others_come_in_and_change() {
    let app = TestApp::start().await;
    let submitted = submit_many(&app, 23).await;
    let tasks = app.worker_side().await.tasks();
    let (mut found, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut query = vec![("limit", "5")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = page(&app, &query).await;
        found.extend(ids(&page));
        pages += 1;
        // One that was listed, one that was not, and one that comes in.
        let (listed, unlisted) = (found[found.len() - 1], submitted[23 - 4 * pages]);
        revoke(&app, listed).await;
        let job = tasks.find(unlisted).await.unwrap().unwrap().job;
        let lease = std::time::Duration::from_secs(60);
        tasks.begin(RunStart::now(&job, 1), Snapshot::unread(), lease).await.unwrap();
        submit(&app, &[("metadata", "{\"late\":true}")]).await;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((found, pages), (newest_first(&submitted), 5));
}

#[tokio::test]
async fn links_lead_from_page_to_page() {
    let app = TestApp::start().await;
    let submitted = submit_many(&app, 3).await;
    let (mut path, mut found) = (Some("/v1/tasks?limit=2&state=QUEUED".to_owned()), Vec::new());
    while let Some(next) = path {
        let answer = app.client.get(app.url(&next)).send().await.unwrap();
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        path = link.map(|link| {
            let target = link.strip_suffix(">; rel=\"next\"").unwrap();
            target.strip_prefix('<').unwrap().to_owned()
        });
        found.extend(ids(&json(answer).await.1));
    }
    assert_eq!(found, newest_first(&submitted));
}

#[tokio::test]
async fn filters_choose_tasks_by_all_that_they_name() {
    let app = TestApp::start().await;
    app.install("other").await;
    let door = submit(&app, &[("metadata", "{\"camera\":\"door\",\"n\":1}")]).await;
    let gate = submit(&app, &[("metadata", "{\"camera\":\"gate\"}"), ("model", "other")]).await;
    let plain = submit(&app, &[]).await;
    let failed = submit(&app, &[]).await;
    app.fail(failed, "no picture").await;
    let tasks = app.worker_side().await.tasks();
    let job = tasks.find(gate).await.unwrap().unwrap().job;
    let lease = std::time::Duration::from_secs(60);
    tasks.begin(RunStart::now(&job, 1), Snapshot::unread(), lease).await.unwrap();
    let time = |id: TaskId| {
        let format = &time::format_description::well_known::Rfc3339;
        id.created_at().unwrap().format(format).unwrap()
    };
    let (at_gate, at_failed) = (time(gate), time(failed));
    let cases: [(Query<'_>, &[TaskId]); 15] = [
        (&[("state", "QUEUED")], &[door, plain]),
        (&[("state", "STARTED")], &[gate]),
        (&[("state", "FAILURE"), ("state", "STARTED")], &[gate, failed]),
        (&[("state", "REVOKED")], &[]),
        (&[("model", "other")], &[gate]),
        (&[("model", "unheard-of")], &[]),
        (&[("metadata", "camera")], &[door, gate]),
        (&[("metadata", "camera=door")], &[door]),
        (&[("metadata", "n=1")], &[door]),
        (&[("metadata", "camera=door"), ("metadata", "n=2")], &[]),
        (&[("metadata", "camera"), ("state", "QUEUED")], &[door]),
        (&[("submitted_after", &at_failed)], &[failed]),
        (&[("submitted_before", &at_gate)], &[door]),
        (&[("submitted_after", &at_gate), ("submitted_before", &at_failed)], &[gate, plain]),
        (&[("submitted_after", "2020-01-01T00:00:00+02:00"), ("state", "FAILURE")], &[failed]),
    ];
    for (query, expected) in cases {
        let mut paged = query.to_vec();
        paged.push(("limit", "1"));
        for query in [query, &paged] {
            assert_eq!(all(&app, query).await.0, newest_first(expected), "{query:?}");
        }
    }
}

#[tokio::test]
async fn two_apis_have_the_same_list() {
    let one = TestApp::start().await;
    let other = TestApp::start_with(&[("NATS_URL", &one.nats.url())]).await;
    let mut submitted = submit_many(&one, 3).await;
    submitted.extend(submit_many(&other, 3).await);
    let both = async || {
        let (first, second) = (page(&one, &[]).await, page(&other, &[]).await);
        (first == second).then_some(first)
    };
    // Jobs that only the queue has are asked for every quarter of a second.
    let list = eventually(TEST_TIMEOUT, both).await;
    assert_eq!(ids(&list), newest_first(&submitted));
    revoke(&one, submitted[4]).await;
    let list = page(&other, &[("state", "REVOKED")]).await;
    assert_eq!(ids(&list), [submitted[4]], "records are current at once");
    assert_eq!(page(&one, &[("state", "REVOKED")]).await, list);
}

#[tokio::test]
async fn tasks_that_have_expired_are_not_listed() {
    let app = TestApp::start_with(&[("RESULT_TTL_SECONDS", "2")]).await;
    let id = submit(&app, &[]).await;
    revoke(&app, id).await;
    eventually(TEST_TIMEOUT, async || ids(&page(&app, &[]).await).is_empty().then_some(())).await;
}

#[tokio::test]
async fn parameters_that_cannot_be_used_are_named() {
    let app = TestApp::start().await;
    let submitted = submit_many(&app, 2).await;
    let list = page(&app, &[("limit", "1"), ("state", "QUEUED")]).await;
    let cursor = list["next"].as_str().unwrap();
    let long = "x".repeat(1025);
    let (late, early) = ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
    let cases: [(Query<'_>, &str); 17] = [
        (&[("cursor", cursor)], "cursor"),
        (&[("cursor", cursor), ("state", "STARTED")], "cursor"),
        (&[("cursor", "")], "cursor"),
        (&[("cursor", &submitted[0].to_string())], "cursor"),
        (&[("cursor", "AAAA")], "cursor"),
        (&[("limit", "0")], "limit"),
        (&[("limit", "101")], "limit"),
        (&[("limit", "-1")], "limit"),
        (&[("limit", "1"), ("limit", "2")], "limit"),
        (&[("state", "DONE")], "state"),
        (&[("state", "queued")], "state"),
        (&[("model", "a/b")], "model"),
        (&[("metadata", "=door")], "metadata"),
        (&[("metadata", &long)], "metadata"),
        (&[("submitted_after", "yesterday")], "submitted_after"),
        (&[("submitted_after", late), ("submitted_before", early)], "submitted_before"),
        (&[("sort", "oldest")], "sort"),
    ];
    for (query, name) in cases {
        let (status, problem) = json(request(&app, query).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query:?}: {problem}");
        assert_eq!(problem["type"], "urn:problem-type:spotter:invalid-parameter");
        assert_eq!(problem["errors"][0]["parameter"], name, "{query:?}: {problem}");
    }
    let many = [("metadata", "a"); 9];
    let (_, problem) = json(request(&app, &many).await).await;
    assert_eq!(problem["errors"][0]["parameter"], "metadata");
    let same = page(&app, &[("cursor", cursor), ("state", "QUEUED"), ("limit", "7")]).await;
    assert_eq!(ids(&same), [submitted[0]], "another limit is the same list");
}

#[tokio::test]
async fn lists_can_be_turned_off_and_read_nothing_unless_they_are_asked_for() {
    let app = TestApp::start_with(&[("MAX_LISTED_TASKS", "0")]).await;
    let (status, problem) = json(request(&app, &[]).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(problem["type"], "urn:problem-type:spotter:lists-off");
    let app = TestApp::start_with(&[("MAX_LISTED_TASKS", "2")]).await;
    let submitted = submit_many(&app, 3).await;
    for id in &submitted {
        app.succeed(*id).await;
    }
    assert_eq!(app.metric("spotter_task_index_records_read", "").await, Some(0));
    assert_eq!(ids(&page(&app, &[]).await), newest_first(&submitted[1..]), "the newest are kept");
    assert_eq!(app.metric("spotter_task_index_records_read", "").await, Some(3));
}
