//! Reads JSON as Roboflow's client sends it: whole pictures and settings, or an error that is the client's.

#![no_main]

use api::fuzzing::{Upload, images};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(upload) = Upload::from_input(input) else { return };
    let split = images(&upload);
    assert!(split.0 <= 32, "{} pictures", split.0);
    assert!(matches!(split.1, 200 | 400 | 408 | 413 | 415), "status {}", split.1);
    assert_eq!(split, images(&Upload { split_at: upload.body.len(), ..upload }));
});
