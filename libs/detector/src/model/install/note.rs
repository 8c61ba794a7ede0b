//! Reports of an installation.

use std::fmt;

use crate::onnx::cut::CannotCut;

/// A report for the user who installs a model.
#[derive(Debug, Clone, PartialEq)]
pub enum InstallNote {
    /// The head was cut off.
    HeadCut {
        /// The largest difference in a score, from 0 to 1, between the whole model and the cut one.
        score_difference: f32,
        /// The largest difference in a box's side, in pixels.
        box_difference: f32,
    },
    /// The plain head was kept.
    HeadKept(CannotCut),
    /// Other input sizes do not work: every picture is padded to one size.
    SizeFixed {
        /// The error at another size.
        detail: String,
    },
    /// Weights in other files were moved into the installed one.
    WeightsEmbedded {
        /// These files, relative to the model's folder.
        files: Vec<String>,
        /// The bytes of the weights.
        bytes: u64,
    },
    /// A fixed batch was made dynamic.
    BatchMadeDynamic(
        /// The size of the fixed batch.
        u64,
    ),
    /// The model needs a fixed batch: each run costs as much as that many pictures.
    BatchKept {
        /// The size of the batch.
        batch: u64,
        /// Why it cannot be dynamic.
        detail: String,
    },
    /// Masks of objects are left out: the file is a model for segments.
    MasksLeftOut,
    /// The file does not name its classes, which are as many as COCO's, and COCO's names were used.
    LabelsAssumed,
    /// The file names only some of its classes; the others have their number as name.
    ClassesWithoutName(
        /// The number of classes without a name.
        usize,
    ),
    /// The file does not state the licence of its weights.
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
                write!(f, "{bytes} bytes of weights read from ")?;
                match &files[..] {
                    [first, _, _, _, ..] => {
                        write!(f, "{first} and {} other files", files.len() - 1)
                    }
                    few => f.write_str(&few.join(", ")),
                }
            }
            Self::BatchMadeDynamic(batch) => {
                write!(f, "the fixed batch of {batch} pictures was made dynamic")
            }
            Self::BatchKept { batch, detail } => write!(
                f,
                "the batch is fixed at {batch}, so a single picture costs as much as {batch}; export it with \
                 batch=1 ({detail})"
            ),
            Self::MasksLeftOut => {
                f.write_str("a model for segments: its boxes are served, its masks are left out")
            }
            Self::LabelsAssumed => {
                f.write_str("the file does not name its classes; they are taken for COCO's")
            }
            Self::ClassesWithoutName(1) => {
                f.write_str("1 class has no name in the file; its number is used")
            }
            Self::ClassesWithoutName(classes) => {
                write!(f, "{classes} classes have no name in the file; their numbers are used")
            }
            Self::LicenseUnknown => {
                f.write_str("the file does not state the licence of its weights")
            }
        }
    }
}
