//! The memory of an API that receives a large batch, as a process of its own.

use std::io;

use bytes::Bytes;
use flate2::Crc;
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Body, StatusCode};
use serde_json::{Value, json};
use testkit::{NatsServer, Process};

use crate::app::{TEST_TIMEOUT, bus_bytes};

/// How many pictures the archive has: 274 MB.
const PICTURES: u64 = 2000;
/// How much more memory the API may take for it.
const MOST_KIB: u64 = 64 * 1024;

/// A stored entry as a program writes it to a pipe, with its sizes behind it.
fn entry(number: u64, content: &[u8]) -> Bytes {
    let (mut crc, size) = (Crc::new(), u32::try_from(content.len()).unwrap().to_le_bytes());
    crc.update(content);
    let name = format!("{number}.jpg");
    let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let header = [
        &b"PK\x03\x04\x14\0\x08\0\0\0\0\0\x21\0"[..],
        &[0; 12],
        &name_length,
        &[0; 2],
        name.as_bytes(),
    ];
    let behind = [&b"PK\x07\x08"[..], &crc.sum().to_le_bytes(), &size, &size];
    [header.concat(), content.to_vec(), behind.concat()].concat().into()
}

fn archive() -> impl Stream<Item = io::Result<Bytes>> {
    let bus = bus_bytes();
    let entries = stream::iter(0..PICTURES).map(move |number| Ok(entry(number, &bus)));
    let end = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    entries.chain(stream::iter([Ok(end.into())]))
}

#[tokio::test]
async fn an_archive_of_2000_pictures_is_never_in_memory() {
    let nats = NatsServer::start();
    let api = Process::builder(env!("CARGO_BIN_EXE_spotter-api"))
        .env("PORT", "0")
        .env("NATS_URL", nats.url())
        .env("LOG_FORMAT", "json")
        .start();
    let line = api.wait_for_line(|line| line.text.contains("API listening"), TEST_TIMEOUT);
    let base = format!("http://{}", line.json().unwrap()["address"].as_str().unwrap());
    let submit = async |path: &str, media_type: &str, body: Body| {
        let client = testkit::http_client(TEST_TIMEOUT);
        let request = client.post(format!("{base}{path}")).header("content-type", media_type);
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body
    };
    // Whatever one picture needs, it has by now.
    submit("/v1/tasks", "image/jpeg", bus_bytes().into()).await;
    let before = api.peak_kib();
    let batch = submit("/v1/batches", "application/zip", Body::wrap_stream(archive())).await;
    let after = api.peak_kib();
    eprintln!("peak memory of the API: {before} KiB before the batch, {after} KiB after it");
    assert_eq!(
        (&batch["received"], &batch["counts"]["pending"]),
        (&json!(PICTURES), &json!(PICTURES))
    );
    assert_eq!(nats.stream("JOBS").unwrap().messages, PICTURES + 1);
    assert!(after - before < MOST_KIB, "{before} KiB before, {after} KiB after");
}
