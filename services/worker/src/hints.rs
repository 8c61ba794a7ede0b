//! Errors of the libraries with hints for operators. The libraries themselves know neither commands nor
//! variables.

use detector::{ExecutionProvider, ModelError, OnnxRuntimeError};
use messaging::MessagingError;

/// The command that fetches ONNX Runtime with `provider`.
fn setup_command(provider: ExecutionProvider) -> &'static str {
    match provider {
        ExecutionProvider::Cpu => "make setup",
        ExecutionProvider::OpenVino => "scripts/setup --provider openvino",
        ExecutionProvider::Cuda | ExecutionProvider::TensorRt => "scripts/setup --provider cuda",
    }
}

/// `error` with the command or variable that resolves it.
#[must_use]
pub fn onnx_runtime(error: &OnnxRuntimeError) -> String {
    match error {
        OnnxRuntimeError::Missing { provider, .. } => format!(
            "{error}; `{}` fetches it, or name another file by ORT_DYLIB_PATH",
            setup_command(*provider)
        ),
        OnnxRuntimeError::NoProvider { provider, .. } => format!(
            "{error}; `{}` fetches a library that has, or name one of your own by ORT_DYLIB_PATH",
            setup_command(*provider)
        ),
        _ => error.to_string(),
    }
}

/// `error` with the command that resolves it.
#[must_use]
pub fn model(error: &ModelError) -> String {
    match error {
        ModelError::NotInstalled { .. } => {
            format!("{error}; install one with `spotter model add FILE.onnx`")
        }
        ModelError::Manifest { .. } => format!("{error}; install the model again"),
        _ => error.to_string(),
    }
}

/// Why the queue cannot be used, and what to do about it.
#[must_use]
pub fn messaging(error: &MessagingError) -> String {
    match error {
        MessagingError::MustBeProvisioned { .. } => {
            format!("{error}: run the set-up first (`spotter setup`)")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_fetches_it() {
        for (provider, command) in [
            (ExecutionProvider::Cpu, "`make setup`"),
            (ExecutionProvider::OpenVino, "`scripts/setup --provider openvino`"),
            (ExecutionProvider::TensorRt, "`scripts/setup --provider cuda`"),
        ] {
            let path = "/lib/onnxruntime.so".into();
            let missing = onnx_runtime(&OnnxRuntimeError::Missing { path, provider });
            let path = "/lib/onnxruntime.so".into();
            let lacking = onnx_runtime(&OnnxRuntimeError::NoProvider { path, provider });
            for text in [missing, lacking] {
                assert!(text.contains(command) && text.contains("ORT_DYLIB_PATH"), "{text}");
            }
        }
        let absent = ModelError::NotInstalled { dir: "models/x".into(), missing: "model.toml" };
        assert!(model(&absent).ends_with("install one with `spotter model add FILE.onnx`"));
    }
}
