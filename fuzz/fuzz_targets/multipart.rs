//! A request body to the code that takes uploads: an answer that is not the server's fault.

#![no_main]

use api::fuzzing::{Upload, status_of};
use libfuzzer_sys::fuzz_target;

// The first byte chooses the headers, two more where the body is torn into two packets; the rest is the body.
fuzz_target!(|input: &[u8]| {
    let Some(([choice, low, high], body)) = input.split_first_chunk() else { return };
    let content_type = match choice & 0x07 {
        0 => None,
        1 => Some("multipart/form-data"),
        2 => Some("multipart/form-data; boundary="),
        3 => Some("application/x-www-form-urlencoded"),
        4 => Some("multipart/form-data; boundary=\"X\"; charset=\"\\\""),
        _ => Some("multipart/form-data; boundary=X"),
    };
    let content_length = match choice >> 3 & 0x07 {
        0 => Some(body.len() as u64),
        1 => Some(0),
        2 => Some(u64::MAX),
        _ => None,
    };
    let torn_at = usize::from(u16::from_le_bytes([*low, *high])).min(body.len());
    for status in status_of(&Upload { content_type, content_length, body, torn_at }) {
        // 200 stands for a picture that would be queued.
        assert!(matches!(status, 200 | 400 | 413 | 415), "status {status}");
    }
});
