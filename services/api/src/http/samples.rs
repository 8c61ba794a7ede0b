//! The sample pictures, for the console: those of a fixed list that are in the installation.

use std::path::{Path, PathBuf};

use poem::{
    Endpoint, IntoResponse, Response, Route,
    endpoint::make_sync,
    error::NotFoundError,
    get,
    http::{HeaderValue, header},
    web::Json,
};
use serde_json::json;
use service::files::find_upwards;

/// Where set-up puts them. An installation without this folder, such as a container, has none.
const FOLDER: &str = "test_images";

/// The names and media types of those that there may be. No part of a path comes from a client.
const PICTURES: [(&str, &str); 5] = [
    ("bus.jpg", "image/jpeg"),
    ("zidane.jpg", "image/jpeg"),
    ("astronaut.png", "image/png"),
    ("chelsea.png", "image/png"),
    ("coffee.png", "image/png"),
];

const CACHED_FOR_AN_HOUR: &str = "public, max-age=3600";

/// A picture that was there at startup.
#[derive(Clone)]
struct SamplePicture {
    name: &'static str,
    media_type: &'static str,
    path: PathBuf,
}

/// The sample pictures of this installation.
pub(crate) struct SamplePictures(Vec<SamplePicture>);

impl SamplePictures {
    /// Those that are there now.
    pub(crate) fn installed() -> Self {
        let folder = find_upwards(Path::new(FOLDER)).unwrap_or_default();
        let all = PICTURES.into_iter().map(|(name, media_type)| {
            let path = folder.join(name);
            SamplePicture { name, media_type, path }
        });
        Self(all.filter(|picture| picture.path.is_file()).collect())
    }

    /// The routes of the list and of each picture.
    pub(crate) fn endpoint(self) -> impl Endpoint<Output = Response> {
        let names: Vec<_> = self.0.iter().map(|picture| picture.name).collect();
        let list = json!({ "samples": names });
        let list = make_sync(move |_| Json(list.clone()).into_response());
        self.0.into_iter().fold(Route::new().at("/", get(list)), |route, picture| {
            let path = format!("/{}", picture.name);
            let answer = poem::endpoint::make(move |_| picture.clone().answer());
            route.at(path, get(answer))
        })
    }
}

impl SamplePicture {
    async fn answer(self) -> poem::Result<Response> {
        let bytes = tokio::fs::read(&self.path).await.map_err(|error| {
            tracing::warn!(picture = self.name, %error, "cannot read a sample picture");
            NotFoundError
        })?;
        let mut answer = bytes.into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHED_FOR_AN_HOUR));
        Ok(answer)
    }
}
