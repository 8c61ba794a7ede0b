//! Security headers, and the page of Swagger UI.

use reqwest::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap},
};

use crate::app::{TestApp, bus_form};

async fn get(app: &TestApp, path: &str) -> Response {
    app.client.get(app.url(path)).send().await.unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let app = TestApp::start().await;
    let mut answers = vec![app.post("/start_task", bus_form()).await];
    for path in
        ["/", "/docs", "/openapi.json", "/metrics", "/health/ready", "/nowhere", "/v1/tasks/x"]
    {
        answers.push(get(&app, path).await);
    }
    answers.push(get(&app, "/start_task").await);
    for answer in answers {
        let (url, headers) = (answer.url().path(), answer.headers());
        assert_eq!(header(headers, "x-content-type-options"), "nosniff", "{url}");
        assert_eq!(header(headers, "x-frame-options"), "DENY", "{url}");
        assert_eq!(header(headers, "referrer-policy"), "no-referrer", "{url}");
        assert_eq!(header(headers, "cross-origin-resource-policy"), "same-origin", "{url}");
        assert_eq!(header(headers, "cross-origin-opener-policy"), "same-origin", "{url}");
        assert_eq!(header(headers, "cache-control"), "no-store", "{url}");
        let policy = header(headers, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{url}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{url}: {policy}");
        assert!(!policy.contains("unsafe"), "{url}: {policy}");
    }
}

/// The URLs in `page` after `attribute`, such as ` src="`.
fn addresses<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_docs_page_has_nothing_inline_and_its_files_are_there() {
    let app = TestApp::start().await;
    let page = get(&app, "/docs").await;
    assert_eq!(page.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(
        policy.contains("script-src 'self';") && policy.contains("style-src 'self';"),
        "{policy}"
    );
    let page = page.text().await.unwrap();
    let scripts = addresses(&page, "<script src=\"");
    assert_eq!(page.matches("<script").count(), scripts.len(), "an inline script: {page}");
    for inline in ["<style", " style=", " onload=", " onclick=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}: {page}");
    }
    let styles = addresses(&page, "<link rel=\"stylesheet\" href=\"");
    assert_eq!((scripts.len(), styles.len()), (2, 1), "{page}");
    let expected = [("text/javascript", scripts), ("text/css", styles)];
    for (media_type, paths) in expected {
        for path in paths {
            let file = get(&app, path).await;
            assert_eq!(file.status(), StatusCode::OK, "{path}");
            assert!(header(file.headers(), "content-type").starts_with(media_type), "{path}");
            assert!(header(file.headers(), CACHE_CONTROL.as_str()).contains("immutable"), "{path}");
            assert!(!file.bytes().await.unwrap().is_empty(), "{path}");
        }
    }
}
