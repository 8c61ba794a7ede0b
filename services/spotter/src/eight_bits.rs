//! The default model in 8 bits: where it would be faster than in floats, and how it is installed.

use std::{arch, path::Path};

use domain::ModelName;

/// The name under which `make quantize` installs the default model in 8 bits.
const QUANTIZED: &str = "yolov8n-int8";

/// How fast a CPU multiplies 8-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EightBits {
    /// It has an instruction for sums of 8-bit products: VNNI, or the dot product of aarch64.
    Fast,
    /// It has none, so that 8 bits gain little.
    Slow,
}

impl EightBits {
    pub(crate) fn on_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        let fast = arch::is_x86_feature_detected!("avx512vnni")
            || arch::is_x86_feature_detected!("avxvnni");
        #[cfg(target_arch = "aarch64")]
        let fast = arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let fast = false;
        if fast { Self::Fast } else { Self::Slow }
    }
}

/// A line for users of the default model whose CPU would run it faster in 8 bits.
///
/// `None` where the 8-bit model is installed, or would not be faster.
pub(crate) fn hint(models_dir: &Path, cpu: EightBits) -> Option<String> {
    let model = ModelName::default();
    let is_installed = |name: &str| models_dir.join(name).is_dir();
    let is_better =
        cpu == EightBits::Fast && is_installed(model.as_str()) && !is_installed(QUANTIZED);
    is_better.then(|| {
        format!(
            "this CPU runs {model} much faster in 8 bits, with slightly lower accuracy: `make quantize` installs \
             {QUANTIZED}, and MODEL={QUANTIZED} selects it"
        )
    })
}

/// The other form of the default model: in 8 bits for the one in floats, and the reverse.
pub(crate) fn counterpart(model: &ModelName) -> Option<ModelName> {
    let quantized = QUANTIZED.parse().ok()?;
    if *model == ModelName::default() {
        Some(quantized)
    } else {
        (*model == quantized).then(ModelName::default)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_quantized_model_is_named_where_it_is_faster_and_not_installed() {
        let models = tempfile::tempdir().unwrap();
        let install = |name: &str| fs::create_dir(models.path().join(name)).unwrap();
        assert_eq!(hint(models.path(), EightBits::Fast), None, "no model to replace");
        install("yolov8n");
        assert_eq!(hint(models.path(), EightBits::Slow), None, "it would not be faster");
        let line = hint(models.path(), EightBits::Fast).unwrap();
        assert!(line.contains("make quantize") && line.contains("MODEL=yolov8n-int8"), "{line}");
        install("yolov8n-int8");
        assert_eq!(hint(models.path(), EightBits::Fast), None, "it is installed");
    }

    #[test]
    fn the_default_model_and_its_quantized_form_are_counterparts() {
        let name = |text: &str| text.parse::<ModelName>().unwrap();
        assert_eq!(counterpart(&name("yolov8n")), Some(name("yolov8n-int8")));
        assert_eq!(counterpart(&name("yolov8n-int8")), Some(name("yolov8n")));
        assert_eq!(counterpart(&name("mine")), None);
    }
}
