//! A streaming parser of zip archives (PKWARE's APPNOTE 6.3.10), for untrusted input.
//!
//! [`Parser`] does no I/O: its input are segments of the archive, its output are entries and their content. An archive is
//! read from its first byte to its last entry, by the headers before each entry: the directory at its end is not read, so
//! that nothing has to be kept until then. The output depends on the bytes only, never on how they are split.
//!
//! Content is stored or deflated, with or without sizes in the header. An entry of another kind is passed over if its
//! size is known.

mod header;
mod inflater;
mod names;
mod parser;

pub(crate) use names::{entry_name, is_ignored};
pub(crate) use parser::{EntryError, Event, Parser, ZipError, ZipLimits, ZipUsage};
