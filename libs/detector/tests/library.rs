//! Loading ONNX Runtime's library. A process loads one and keeps it, so this has a process of its own
//! and only one test.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::{fs, path::Path};

use detector::{OnnxRuntime, OnnxRuntimeError};

/// The library that set-up fetched.
fn fetched() -> std::path::PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/lib/libonnxruntime.so");
    assert!(library.exists(), "{} is missing: run `make setup` first", library.display());
    library
}

/// An unrelated shared library, where there is one.
fn foreign() -> Option<&'static Path> {
    let candidates = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6"];
    candidates.into_iter().map(Path::new).find(|path| path.exists())
}

#[test]
fn only_the_right_library_is_loaded_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.so");
    fs::write(&text, "no library").unwrap();
    let absent = dir.path().join("absent.so");
    assert!(matches!(OnnxRuntime::load(&absent), Err(OnnxRuntimeError::Missing { .. })));
    assert!(matches!(OnnxRuntime::load(&text), Err(OnnxRuntimeError::Unusable { .. })));
    match foreign() {
        Some(library) => {
            assert!(matches!(OnnxRuntime::load(library), Err(OnnxRuntimeError::Unusable { .. })));
        }
        None => eprintln!("SKIPPED: no libm where Debian keeps it"),
    }
    // A failure does not prevent loading the right one, which may be loaded again but not replaced.
    let runtime = OnnxRuntime::load(&fetched()).unwrap();
    assert_eq!(OnnxRuntime::load(runtime.library()).unwrap().library(), runtime.library());
    let copy = dir.path().join("copy.so");
    fs::copy(fetched(), &copy).unwrap();
    assert!(matches!(OnnxRuntime::load(&copy), Err(OnnxRuntimeError::AnotherLoaded { .. })));
}
