//! Reads the headers by which a request presents an API key.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| api::fuzzing::credentials(input));
