//! Reads a body for a batch: each picture is complete or refused, and so may be the batch, never by a 5xx.

#![no_main]

use api::fuzzing::{Upload, batch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(upload) = Upload::from_input(input) else { return };
    let (pictures, status) = batch(&upload);
    assert!(pictures <= 8, "{pictures} pictures");
    assert!(matches!(status, 200 | 400 | 403 | 408 | 413 | 415), "status {status}");
});
