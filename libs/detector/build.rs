//! Generates the ONNX message types from `proto/onnx.proto`; needs no `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/onnx.proto");
    let descriptors = protox::compile(["onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        // Weights stay slices of the file that was read instead of being copied field by field.
        .bytes(["."])
        // The specification's comments are no Rust documentation: rustdoc would run them as tests.
        .disable_comments(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
