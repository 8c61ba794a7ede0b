//! Parses the texts by which a client says where it was in the events of a task and in a list.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| api::fuzzing::places(text));
