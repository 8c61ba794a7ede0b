//! `proto/onnx.rs` is generated from `proto/onnx.proto` and committed: its generators would be a part of every
//! user's build.

use std::{fs, path::Path};

#[test]
fn the_committed_types_are_those_of_the_specification() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile(["onnx.proto"], [&proto]).unwrap();
    let generated = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .out_dir(generated.path())
        // Weights stay slices of the file that was read instead of being copied field by field.
        .bytes(["."])
        // The specification's comments are no Rust documentation: rustdoc would run them as tests.
        .disable_comments(["."])
        .compile_fds(descriptors)
        .unwrap();

    let generated = fs::read_to_string(generated.path().join("onnx.rs")).unwrap();
    let committed = proto.join("onnx.rs");
    if fs::read_to_string(&committed).is_ok_and(|committed| committed == generated) {
        return;
    }
    fs::write(&committed, generated).unwrap();
    panic!("proto/onnx.rs was out of date; this test has written it again, to be committed");
}
