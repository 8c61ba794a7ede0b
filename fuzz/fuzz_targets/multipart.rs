//! Passes a request body to the upload code: the response is never a 5xx, and does not depend on how the body
//! is split.

#![no_main]

use api::fuzzing::{Upload, answers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(upload) = Upload::from_input(input) else { return };
    let split = answers(&upload);
    for (status, text) in &split {
        // 200: the picture would be queued.
        assert!(matches!(status, 200 | 400 | 403 | 413 | 415), "status {status}: {text}");
    }
    assert_eq!(split, answers(&Upload { split_at: upload.body.len(), ..upload }));
});
