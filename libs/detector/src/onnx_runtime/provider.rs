//! Execution providers: the code that runs a model's operators.

use std::{fmt, str::FromStr};

/// Which code runs the operators of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExecutionProvider {
    /// ONNX Runtime's own code for CPUs, which every library has.
    #[default]
    Cpu,
    /// Intel's OpenVINO, on CPUs.
    OpenVino,
    /// NVIDIA's CUDA and cuDNN.
    Cuda,
    /// NVIDIA's TensorRT; operators that it lacks run on CUDA.
    TensorRt,
}

/// The name of no execution provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it must be one of cpu, openvino, cuda, tensorrt")]
pub struct UnknownProvider;

impl FromStr for ExecutionProvider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|provider| provider.name() == text).ok_or(UnknownProvider)
    }
}

impl fmt::Display for ExecutionProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionProvider {
    /// Every provider, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::OpenVino, Self::Cuda, Self::TensorRt];

    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }

    /// Its name in texts.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::OpenVino => "OpenVINO",
            Self::Cuda => "CUDA",
            Self::TensorRt => "TensorRT",
        }
    }

    /// Whether models run on a GPU, where batches pay off and CPU cores do not matter.
    #[must_use]
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }

    /// What a machine must have beside ONNX Runtime's library, for error messages.
    #[must_use]
    pub fn needs(self) -> &'static str {
        match self {
            Self::Cpu => "nothing",
            Self::OpenVino => "OpenVINO's own libraries beside ONNX Runtime's",
            Self::Cuda => {
                "an NVIDIA GPU with its driver, and CUDA 13 and cuDNN 9 on the loader's path (LD_LIBRARY_PATH)"
            }
            Self::TensorRt => {
                "an NVIDIA GPU with its driver, and CUDA 13, cuDNN 9 and TensorRT 10 on the loader's path \
                 (LD_LIBRARY_PATH)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_read_by_its_name_and_no_other() {
        for provider in ExecutionProvider::ALL {
            assert_eq!(provider.to_string().parse(), Ok(provider));
            let named = UnknownProvider.to_string().contains(provider.name());
            assert!(named, "the error names {provider}");
        }
        for other in ["CUDA", "gpu", ""] {
            assert_eq!(other.parse::<ExecutionProvider>(), Err(UnknownProvider));
        }
    }
}
