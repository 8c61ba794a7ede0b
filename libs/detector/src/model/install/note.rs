//! What an installation reports beside the installed model.

use std::fmt;

use crate::onnx::cut::CannotCut;

/// Something to tell whoever installs a model.
#[derive(Debug, Clone, PartialEq)]
pub enum InstallNote {
    /// The head was cut off.
    HeadCut {
        /// The largest difference in a score, from 0 to 1, between the whole model and the cut one.
        score_difference: f32,
        /// The largest difference in a box's side, in pixels.
        box_difference: f32,
    },
    /// The head stays as it is.
    HeadKept(CannotCut),
    /// Other input sizes do not work, so every picture is padded to one size.
    SizeFixed {
        /// What went wrong at another size.
        detail: String,
    },
    /// The weights were in other files, and are in the installed one now.
    WeightsEmbedded {
        /// These files, relative to the model's folder.
        files: Vec<String>,
        /// The bytes of the weights.
        bytes: u64,
    },
    /// The model was exported for several pictures at a time, and takes any number now.
    BatchFreed(
        /// How many it took.
        u64,
    ),
    /// The model takes several pictures at a time and no fewer: each run costs as much as that many.
    BatchKept {
        /// How many it takes.
        batch: u64,
        /// Why it cannot take fewer.
        detail: String,
    },
    /// The file has no names for its 80 classes, and COCO's were taken.
    LabelsAssumed,
    /// The file has names for some of its classes only; the others are called by their number.
    ClassesWithoutName(
        /// The classes without a name.
        usize,
    ),
    /// The file does not say under which terms its weights are.
    LicenseUnknown,
}

impl fmt::Display for InstallNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadCut { score_difference, box_difference } => write!(
                f,
                "head cut off; scores differ from the whole model's by at most \
                 {score_difference:.6}, boxes by {box_difference:.5} px"
            ),
            Self::HeadKept(reason) => write!(f, "plain head kept: {reason}"),
            Self::SizeFixed { detail } => {
                write!(
                    f,
                    "input size fixed, other sizes do not run: {detail}; export it with dynamic=True"
                )
            }
            Self::WeightsEmbedded { files, bytes } => {
                write!(f, "{bytes} bytes of weights taken in from ")?;
                match &files[..] {
                    [first, _, _, _, ..] => {
                        write!(f, "{first} and {} other files", files.len() - 1)
                    }
                    few => f.write_str(&few.join(", ")),
                }
            }
            Self::BatchFreed(batch) => {
                write!(f, "exported for {batch} pictures at a time, takes any number of them now")
            }
            Self::BatchKept { batch, detail } => write!(
                f,
                "takes {batch} pictures at a time and no fewer, so a lone one costs as much as {batch}; export \
                 it with batch=1 ({detail})"
            ),
            Self::LabelsAssumed => {
                f.write_str("the file does not name its 80 classes; they are taken for COCO's")
            }
            Self::ClassesWithoutName(1) => {
                f.write_str("1 class has no name in the file and is called by its number")
            }
            Self::ClassesWithoutName(classes) => {
                write!(
                    f,
                    "{classes} classes have no name in the file and are called by their numbers"
                )
            }
            Self::LicenseUnknown => {
                f.write_str("the file does not say under which licence its weights are")
            }
        }
    }
}
