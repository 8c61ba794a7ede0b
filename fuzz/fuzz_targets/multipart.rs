//! A request body to the code that takes uploads: an answer that is not the server's fault, and the same
//! wherever the body is torn.

#![no_main]

use api::fuzzing::{Upload, answers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(upload) = Upload::from_input(input) else { return };
    let torn = answers(&upload);
    for (status, text) in &torn {
        // 200 stands for a picture that would be queued.
        assert!(matches!(status, 200 | 400 | 413 | 415), "status {status}: {text}");
    }
    assert_eq!(torn, answers(&Upload { torn_at: upload.body.len(), ..upload }));
});
