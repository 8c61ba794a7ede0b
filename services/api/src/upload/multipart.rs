//! A streaming parser of `multipart/form-data` (RFC 7578), tolerant of what clients send.
//!
//! [`Parser`] does no I/O: its input are segments of the body, its output are parts and their content. The
//! output depends on the bytes only, never on how they are split into segments. Content is not copied, and
//! the parser buffers only a possible start of a delimiter, or the header of one part.

mod boundary;
mod parameters;
mod parser;
mod part;
mod text;

pub(crate) use boundary::{BoundaryError, boundary_of};
pub(crate) use parser::{Event, FormError, Parser};
pub(crate) use part::{PartHead, file_name_in};
pub(crate) use text::{printable, without_controls};
