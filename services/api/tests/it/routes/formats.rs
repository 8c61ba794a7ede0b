//! The result of a task in the formats of other tools.

use domain::TaskId;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json as value};

use crate::app::{TestApp, bus_bytes, form, json};

async fn get(app: &TestApp, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let mut request = app.client.get(app.url(path));
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.send().await.unwrap()
}

/// Media type and text of an answer that succeeds.
async fn body(answer: Response) -> (String, String) {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::VARY], "Accept");
    let media_type = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    (media_type, answer.text().await.unwrap())
}

const CSV: &str = "image,width,height,class_id,label,confidence,x1,y1,x2,y2\r\n\
                   bus.jpg,810,1080,5,bus,0.87345,22.875,231.25,805.5,756.75\r\n";
const YOLO: &str = "5 0.511343 0.457407 0.966204 0.486574\n";

#[tokio::test]
async fn a_result_is_available_in_the_formats_of_other_tools() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let path = format!("/v1/tasks/{id}");
    let (json_type, text) = body(get(&app, &path, &[]).await).await;
    assert_eq!(json_type, "application/json; charset=utf-8");
    assert!(text.contains("\"state\":\"SUCCESS\""), "{text}");
    let cases = [
        ("csv", "text/csv", "text/csv; charset=utf-8", CSV),
        ("yolo", "text/plain", "text/plain; charset=utf-8", YOLO),
        (
            "yolo-conf",
            "",
            "text/plain; charset=utf-8",
            "5 0.511343 0.457407 0.966204 0.486574 0.87345\n",
        ),
        ("voc", "application/xml", "application/xml; charset=utf-8", "<xmin>24</xmin>"),
        (
            "coco",
            "application/json;profile=coco",
            "application/json; profile=coco",
            r#""bbox":[22.875,231.25,782.625,525.5]"#,
        ),
        ("native", "application/json", "application/json; charset=utf-8", &text),
    ];
    let mut tags = Vec::new();
    for (format, accept, media_type, part) in cases {
        // The parameter wins over the header.
        let path = format!("{path}?format={format}");
        let answer = get(&app, &path, &[(header::ACCEPT, "image/png")]).await;
        let tag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
        let chosen = body(answer).await;
        assert_eq!(chosen.0, media_type);
        assert!(chosen.1.contains(part), "{format}: {}", chosen.1);
        if !accept.is_empty() {
            let accepted = [(header::ACCEPT, accept)];
            let negotiated = get(&app, &path[..path.find('?').unwrap()], &accepted);
            assert_eq!(body(negotiated.await).await, chosen);
        }
        let again = get(&app, &path, &[(header::IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{format}");
        assert_eq!(again.headers()[header::VARY], "Accept");
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), cases.len(), "each format has its own tag");
}

#[tokio::test]
async fn a_format_that_there_is_not_is_an_error_that_lists_those_there_are() {
    let app = TestApp::start().await;
    let path = format!("/v1/tasks/{}", TaskId::generate());
    let answer = get(&app, &path, &[(header::ACCEPT, "image/png, text/html;q=0.5")]).await;
    assert_eq!(answer.headers()[header::VARY], "Accept");
    let (status, problem) = json(answer).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(problem["type"], "urn:problem-type:spotter:not-acceptable");
    let detail = problem["detail"].as_str().unwrap();
    for media_type in
        ["application/json; profile=coco", "text/csv", "text/plain", "application/xml"]
    {
        assert!(detail.contains(media_type), "{detail}");
    }
    for wrong in ["format=xml", "format=", "format=CSV", "format=csv&format=voc"] {
        let (status, problem) = json(get(&app, &format!("{path}?{wrong}"), &[]).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(problem["errors"][0]["parameter"], "format", "{problem}");
    }
    let (_, problem) = app.get(&format!("{path}?format=xml")).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("native, coco, csv, yolo, yolo-conf, voc"), "{detail}");
}

#[tokio::test]
async fn a_task_without_a_result_is_no_file() {
    let app = TestApp::start().await;
    let (queued, failed) = (app.start_task().await, app.start_task().await);
    app.fail(failed, "no picture").await;
    let cases = [
        (queued, "task-unfinished", "QUEUED", "?wait=30"),
        (failed, "task-without-result", "FAILURE", "FAILURE"),
    ];
    for (id, kind, state, words) in cases {
        for (query, accept) in [("?format=csv", "*/*"), ("", "text/csv")] {
            let path = format!("/v1/tasks/{id}{query}");
            let answer = get(&app, &path, &[(header::ACCEPT, accept)]).await;
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
            let (status, problem) = json(answer).await;
            assert_eq!(status, StatusCode::CONFLICT, "{problem}");
            assert_eq!(problem["type"], format!("urn:problem-type:spotter:{kind}"));
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
            assert_eq!(problem["task"]["state"], state);
            assert_eq!(problem["task"]["task_id"], id.to_string());
        }
        let (status, task) = app.get(&format!("/v1/tasks/{id}?format=native")).await;
        assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some(state)));
    }
    let (status, problem) = app.get(&format!("/v1/tasks/{}?format=csv", TaskId::generate())).await;
    assert_eq!((status, &problem["status"]), (StatusCode::NOT_FOUND, &value!(404)));
}

#[tokio::test]
async fn a_script_that_waits_for_a_file_gets_it_at_the_end() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let path = format!("/v1/tasks/{id}?format=yolo&wait=30");
    let (answer, _) = tokio::join!(get(&app, &path, &[]), app.succeed(id));
    assert_eq!(body(answer).await.1, YOLO);
}

#[tokio::test]
async fn a_hostile_file_name_stays_text() {
    let app = TestApp::start().await;
    let name = "=cmd|'/C calc'!A0</filename><x>&\",.jpg";
    let (_, task) = json(app.post("/v1/tasks", form(name, bus_bytes())).await).await;
    assert_eq!(task["picture_name"], name);
    let id: TaskId = task["task_id"].as_str().unwrap().parse().unwrap();
    app.succeed(id).await;
    let text = async |format: &str| {
        body(get(&app, &format!("/v1/tasks/{id}?format={format}"), &[]).await).await.1
    };
    let cell = "\"'=cmd|'/C calc'!A0</filename><x>&\"\",.jpg\",810";
    assert!(text("csv").await.contains(&format!("\r\n{cell}")));
    let element = "<filename>=cmd|&apos;/C calc&apos;!A0&lt;/filename&gt;&lt;x&gt;&amp;&quot;,.jpg</filename>";
    assert!(text("voc").await.contains(element));
    let coco: Value = serde_json::from_str(&text("coco").await).unwrap();
    assert_eq!(coco["images"][0]["file_name"], name);
}
