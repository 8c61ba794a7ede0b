//! `multipart/form-data` (RFC 7578) as clients write it, read while it arrives.
//!
//! [`Parser`] does no I/O: it takes segments of the body in and gives parts and their content out. What it
//! gives out depends on the bytes alone and never on where they are cut into segments. Content is not copied,
//! and no more of the body is kept than could be the beginning of a delimiter, or the header of one part.

mod boundary;
mod parameters;
mod parser;
mod part;
mod text;

pub(crate) use boundary::{BoundaryError, boundary_of};
pub(crate) use parser::{Event, FormError, Parser};
pub(crate) use part::PartHead;
pub(crate) use text::shown;
