//! Reads the body of an inference request, JSON and contents behind it: whole pictures, or an error that is the client's.

#![no_main]

use api::fuzzing::{inference, inference_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((upload, json_length)) = inference_from(input) else { return };
    let (pictures, status) = inference(&upload, json_length);
    assert!(pictures <= 32, "{pictures} pictures");
    assert!(matches!(status, 200 | 400 | 408 | 413 | 415), "status {status}");
});
