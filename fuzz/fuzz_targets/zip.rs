//! Reads a zip archive: it never panics, and what is read does not depend on how it is split.

#![no_main]

use api::fuzzing::entries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([low, high], archive)) = input.split_first_chunk() else { return };
    let split_at = usize::from(u16::from_le_bytes([*low, *high])).min(archive.len());
    assert_eq!(entries(archive, split_at), entries(archive, archive.len()));
});
