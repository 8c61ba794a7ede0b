//! The OpenAPI document, and Swagger UI under `/docs`, as a page without inline scripts or styles.
//!
//! poem-openapi contains Swagger UI, but only as one page with inline script and style, which a strict
//! Content-Security-Policy does not allow. The page is split at startup, and its parts are served as files.

use bytes::Bytes;
use domain::Sha256Digest;
use poem::{
    Endpoint, IntoResponse, Response, Route,
    endpoint::make_sync,
    get,
    http::{HeaderValue, header},
    web::Html,
};

/// What the page may do: load its own files, send requests to its own server, and show the `data:` images of
/// its style. Inline scripts do not run.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The files have their hash in their URL, so they can be cached forever.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const START: &str = r"SwaggerUIBundle({
  dom_id: '#ui',
  url: '/openapi.json',
  filter: false,
  deepLinking: true,
});
";

/// The framework's page does not have the expected structure.
#[derive(Debug, thiserror::Error)]
#[error("the framework's page of Swagger UI has no {0}")]
pub struct DocsPageError(&'static str);

/// The route of the document with this text.
pub(crate) fn document(text: String) -> impl Endpoint<Output = Response> {
    let text = Bytes::from(text);
    make_sync(move |_| text.clone().with_content_type("application/json").into_response())
}

/// The routes of the page and its files, taken from the framework's page.
///
/// # Errors
/// [`DocsPageError`] if the structure is not the expected one, as a new version may have another.
pub(crate) fn endpoint(
    page: &str,
) -> Result<impl Endpoint<Output = Response> + use<>, DocsPageError> {
    let bundle = Asset::new("swagger-ui-bundle", "js", between(page, "<script", "</script>")?);
    let style = Asset::new("swagger-ui", "css", between(page, "<style", "</style>")?);
    let start = Asset::new("start", "js", START);
    let html = page_of(&bundle, &style, &start);
    let index = move |_| {
        Html(html.clone()).with_header(header::CONTENT_SECURITY_POLICY, POLICY).into_response()
    };
    let mut route = Route::new().at("/", get(make_sync(index)));
    for asset in [bundle, style, start] {
        route = route.at(format!("/{}", asset.name), get(make_sync(move |_| asset.answer())));
    }
    Ok(route)
}

fn page_of(bundle: &Asset, style: &Asset, start: &Asset) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>spotter: its API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/{}">
</head>
<body>
<div id="ui"></div>
<script src="/docs/{}"></script>
<script src="/docs/{}"></script>
</body>
</html>
"#,
        style.name, bundle.name, start.name
    )
}

/// The content of the first element from `open`, such as `<style`, to `close`.
fn between<'a>(page: &'a str, open: &'static str, close: &str) -> Result<&'a str, DocsPageError> {
    let inside = page.split_once(open).and_then(|(_, rest)| rest.split_once('>'));
    let inside = inside.and_then(|(_, rest)| rest.split_once(close)).map(|(inside, _)| inside);
    inside.filter(|text| !text.trim().is_empty()).ok_or(DocsPageError(open))
}

/// One file of the page.
#[derive(Clone)]
struct Asset {
    name: String,
    media_type: &'static str,
    bytes: Bytes,
}

impl Asset {
    fn new(stem: &str, extension: &str, text: &str) -> Self {
        let mut tag = Sha256Digest::of(text).to_string();
        tag.truncate(16);
        let media_type = match extension {
            "css" => "text/css; charset=utf-8",
            _ => "text/javascript; charset=utf-8",
        };
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Self { name: format!("{stem}.{tag}.{extension}"), media_type, bytes }
    }

    fn answer(&self) -> Response {
        let mut answer = self.bytes.clone().into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frameworks_page_has_the_expected_structure() {
        let page = crate::routes::openapi::service().swagger_ui_html();
        let bundle = between(&page, "<script", "</script>").unwrap();
        assert!(bundle.contains("SwaggerUIBundle") && bundle.len() > 1_000_000);
        assert!(between(&page, "<style", "</style>").unwrap().contains(".swagger-ui"));
    }

    #[test]
    fn a_page_without_a_script_is_an_error() {
        for page in ["", "<script", "<script></script>", "<script>x"] {
            assert!(between(page, "<script", "</script>").is_err(), "{page}");
        }
    }
}
