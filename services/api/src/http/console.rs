//! The console: the page at `/` for browsers, and its files under `/assets`.
//!
//! Vite builds it from `services/console` into the files that are embedded here. They have fixed names there; the API
//! serves them under names with their digests, so that browsers can keep them forever.

use std::io;

use domain::Sha256Digest;
use poem::{
    Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route,
    endpoint::make_sync,
    get,
    http::{HeaderValue, Method, header},
};

use super::{accept::Accept, embedded_file::EmbeddedFile};

/// What the page may do: load its own files, send requests to its own server, and show pictures that it has in memory.
/// Nothing inline runs, and no text becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The page names files that change with each build: browsers ask for it each time, by its `ETag`.
const REVALIDATED: &str = "no-cache";

const PAGE: &str = include_str!("../../../console/dist/index.html");

/// Name, media type and content of the page's files, each of which the page refers to once.
const FILES: [(&str, &str, &str); 3] = [
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../console/dist/assets/console.js"),
    ),
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("../../../console/dist/assets/console.css"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("../../../console/dist/assets/icon.svg")),
];

/// The built console cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The page does not refer to one of its files.
    #[error("the console's page does not refer to {0}")]
    FileNotUsed(&'static str),
    /// A file cannot be compressed.
    #[error("the console's files cannot be compressed: {0}")]
    Compression(#[from] io::Error),
}

/// The page and its files.
pub(crate) struct Console {
    page: EmbeddedFile,
    /// By their names with digests.
    files: Vec<(String, EmbeddedFile)>,
}

impl Console {
    /// # Errors
    /// [`ConsoleError`], if the build of the console and this file do not match.
    pub(crate) fn new() -> Result<Self, ConsoleError> {
        let mut page = PAGE.to_owned();
        let mut files = Vec::new();
        for (name, media_type, content) in FILES {
            let served = name_with_digest(name, content);
            let reference = format!("/assets/{name}");
            if page.matches(&reference).count() != 1 {
                return Err(ConsoleError::FileNotUsed(name));
            }
            page = page.replace(&reference, &format!("/assets/{served}"));
            files.push((served, EmbeddedFile::new(media_type, IMMUTABLE, content)?));
        }
        let page = EmbeddedFile::new("text/html; charset=utf-8", REVALIDATED, page)?;
        Ok(Self { page, files })
    }

    /// The routes of the files.
    pub(crate) fn files(&self) -> impl Endpoint<Output = Response> + use<> {
        self.files.iter().cloned().fold(Route::new(), |route, (name, file)| {
            let answer = move |request: Request| file.answer(request.headers());
            route.at(format!("/{name}"), get(make_sync(answer)))
        })
    }

    /// The routes of `service`, with the page instead of the answer to `GET /` for clients that prefer HTML.
    pub(crate) fn in_front_of<S>(&self, service: S) -> impl Endpoint<Output = Response> + use<S>
    where
        S: IntoEndpoint<Endpoint: 'static>,
    {
        let page = self.page.clone();
        service.into_endpoint().around(move |service, request| {
            let page = prefers_page(&request).then(|| page.answer(request.headers()));
            let is_root = request.uri().path() == "/";
            async move {
                let mut answer = match page {
                    Some(page) => {
                        page.with_header(header::CONTENT_SECURITY_POLICY, POLICY).into_response()
                    }
                    None => service.call(request).await?.into_response(),
                };
                if is_root {
                    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
                }
                Ok(answer)
            }
        })
    }
}

/// Whether the answer is the page. Programs that accept anything get JSON.
fn prefers_page(request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let offers = [(false, "application/json"), (true, "text/html")];
    is_read
        && request.uri().path() == "/"
        && Accept::of(request.headers()).prefer(&offers) == Some(true)
}

/// `console.js` as `console.0123456789abcdef.js`.
fn name_with_digest(name: &str, content: &str) -> String {
    let digest = Sha256Digest::of(content).to_string();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{stem}.{}.{extension}", &digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_refers_to_each_file_by_its_digest() {
        let console = Console::new().unwrap();
        assert_eq!(console.files.len(), FILES.len());
    }

    #[test]
    fn browsers_get_the_page_and_programs_json() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("*/*", false),
            ("application/json, text/html", false),
            ("application/json, text/plain, */*", false),
            ("text/html;q=0", false),
        ] {
            let request = |method, path: &'static str| {
                Request::builder().method(method).uri_str(path).header("accept", accept).finish()
            };
            assert_eq!(prefers_page(&request(Method::GET, "/")), expected, "{accept}");
            assert_eq!(prefers_page(&request(Method::HEAD, "/")), expected, "{accept}");
            assert!(!prefers_page(&request(Method::POST, "/")), "{accept}");
            assert!(!prefers_page(&request(Method::GET, "/v1/tasks")), "{accept}");
        }
        assert!(!prefers_page(&Request::builder().uri_str("/").finish()));
    }
}
