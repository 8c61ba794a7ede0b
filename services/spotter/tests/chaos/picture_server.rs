//! Where the pictures of batches are fetched from that are lists of URLs.

use testkit::{HttpRequest, HttpServer, http_answer};

use crate::load::pictures::{Upload, uploads};

/// A server of the load's pictures, by their names behind a number: `/3-bus.jpg`.
pub(crate) struct PictureServer {
    server: HttpServer,
    pub(crate) uploads: Vec<Upload>,
}

impl PictureServer {
    pub(crate) fn start() -> Self {
        let uploads = uploads();
        let served = uploads.clone();
        let server = HttpServer::start(move |request| Some(answer(&served, request)));
        Self { server, uploads }
    }

    pub(crate) fn origin(&self) -> String {
        self.server.origin()
    }
}

fn answer(uploads: &[Upload], request: &HttpRequest) -> Vec<u8> {
    let name = request.path().split_once('-').map_or("", |(_, name)| name);
    let found = uploads.iter().find(|upload| upload.name == name);
    match found {
        Some(upload) => http_answer("200 OK", "content-type: image/jpeg\r\n", &upload.bytes),
        None => http_answer("200 OK", "content-type: text/plain\r\n", b"no picture"),
    }
}
