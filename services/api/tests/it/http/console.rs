//! The console as a browser loads it, and the sample pictures.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
    },
};

use crate::app::{TestApp, bus_bytes, json};

/// What Chromium sends for a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";

/// The size of everything that a browser loads, compressed.
const MOST_BYTES: usize = 150_000;

fn page(app: &TestApp) -> RequestBuilder {
    app.client.get(app.url("/")).header(ACCEPT, BROWSER)
}

fn vary(answer: &Response) -> Vec<&HeaderValue> {
    answer.headers().get_all(VARY).iter().collect()
}

/// The page's files, as it refers to them.
fn references(page: &str) -> Vec<&str> {
    page.split('"').filter(|text| text.starts_with("/assets/")).collect()
}

#[tokio::test]
async fn browsers_get_the_page_and_programs_the_description() {
    let app = TestApp::start().await;
    let answer = page(&app).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-cache");
    assert_eq!(vary(&answer), ["accept-encoding", "accept"]);
    for accept in ["*/*", "application/json", "application/json, text/plain, */*"] {
        let answer = app.client.get(app.url("/")).header(ACCEPT, accept).send().await.unwrap();
        assert_eq!(vary(&answer), ["accept"], "{accept}");
        let (status, body) = json(answer).await;
        assert_eq!((status, &body["api_version"]), (StatusCode::OK, &"1.0".into()), "{accept}");
    }
    let head = app.client.request(Method::HEAD, app.url("/")).header(ACCEPT, BROWSER);
    let head = head.send().await.unwrap();
    assert_eq!(head.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(head.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0"), "{head:?}");
    assert!(head.bytes().await.unwrap().is_empty());
    let put = app.client.put(app.url("/")).header(ACCEPT, BROWSER).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let app = TestApp::start().await;
    let answer = page(&app).send().await.unwrap();
    let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    for rule in [
        "default-src 'none';",
        "script-src 'self';",
        "style-src 'self';",
        "connect-src 'self';",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.unwrap();
    for inline in ["<style", " style=", " onload=", "javascript:", "http:", "https:", "//"] {
        assert!(!page.contains(inline), "{inline}: {page}");
    }
    assert_eq!(page.matches("<script").count(), page.matches("></script>").count(), "{page}");
}

#[tokio::test]
async fn files_are_compressed_small_and_kept_for_ever() {
    let app = TestApp::start().await;
    let page = page(&app).send().await.unwrap().text().await.unwrap();
    let files = references(&page);
    assert_eq!(files.len(), 3, "{page}");
    let mut bytes = 0;
    for path in files.into_iter().chain(["/"]) {
        let request = || app.client.get(app.url(path)).header(ACCEPT, BROWSER);
        let plain = request().send().await.unwrap();
        assert_eq!(plain.status(), StatusCode::OK, "{path}");
        assert!(!plain.headers().contains_key(CONTENT_ENCODING), "{path}");
        let is_immutable = plain.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable");
        assert_eq!(is_immutable, path != "/", "{path}");
        let plain = plain.bytes().await.unwrap();

        let compressed = request().header(ACCEPT_ENCODING, "gzip, br").send().await.unwrap();
        assert_eq!(compressed.headers()[CONTENT_ENCODING], "gzip", "{path}");
        let tag = compressed.headers()[ETAG].clone();
        let compressed = compressed.bytes().await.unwrap();
        let mut inflated = Vec::new();
        GzDecoder::new(&*compressed).read_to_end(&mut inflated).unwrap();
        assert!(plain == inflated, "{path}: the compressed content is another one");
        bytes += compressed.len();

        let again = request().header(IF_NONE_MATCH, tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert!(again.bytes().await.unwrap().is_empty(), "{path}");
    }
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}

#[tokio::test]
async fn the_page_and_the_samples_need_no_key() {
    let app = TestApp::start_with(&[("AUTH", "keys")]).await;
    let html = page(&app).send().await.unwrap().text().await.unwrap();
    for path in references(&html).into_iter().chain(["/samples", "/samples/bus.jpg"]) {
        let answer = app.client.get(app.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_installed_samples_are_listed_and_served() {
    let app = TestApp::start().await;
    let (_, list) = app.get("/samples").await;
    assert_eq!(list["samples"][0], "bus.jpg", "{list}");
    let picture = app.client.get(app.url("/samples/bus.jpg")).send().await.unwrap();
    assert_eq!(picture.headers()[CONTENT_TYPE], "image/jpeg");
    assert!(picture.bytes().await.unwrap() == bus_bytes(), "another picture");
    for path in ["/samples/README.md", "/samples/..%2fCargo.toml", "/samples/%2e%2e/Cargo.toml"] {
        let answer = app.client.get(app.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
