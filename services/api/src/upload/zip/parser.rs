//! Splits an archive into its entries.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use flate2::Crc;
use memchr::memmem;

use super::{
    header::{self, Behind, FIXED_BYTES, Header, Method},
    inflater::Inflater,
};

/// An entry that is passed over and inflates to more than this times its size ends the archive.
const MAX_RATIO: u64 = 200;
/// How much of such an entry is inflated before its ratio counts.
const RATIO_GRACE: u64 = 1 << 20;

/// The limits of an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZipLimits {
    /// How many entries it may have, with folders and others that are no pictures.
    pub(crate) max_entries: u32,
    /// How many bytes its entries may have together, inflated.
    pub(crate) max_bytes: u64,
}

/// What archives have used of their limits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ZipUsage {
    entries: u32,
    bytes: u64,
}

/// Why an archive cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("it is no zip archive: it does not begin with an entry")]
    NotAnArchive,
    #[error(
        "the zip archive is damaged: there is neither an entry nor the archive's directory after {after} entries"
    )]
    Damaged { after: u32 },
    #[error("the zip archive ends early, after {after} entries: send all of it")]
    EndsEarly { after: u32 },
    #[error("the zip archive is encrypted as a whole")]
    Encrypted,
    #[error("the name of entry {number} of the zip archive is too long")]
    NameTooLong { number: u32 },
    #[error(
        "there are more than {max_entries} entries in the zip archive, or in all archives together"
    )]
    TooManyEntries { max_entries: u32 },
    #[error("the entries of the zip archive have more than {max_bytes} bytes together, inflated")]
    TooManyBytes { max_bytes: u64 },
    #[error(
        "entry {number} of the zip archive inflates to more than {MAX_RATIO} times its size, and is no picture"
    )]
    Bomb { number: u32 },
    #[error(
        "the zip archive cannot be read behind entry {number}, which {why}, and whose size is not known before its end: write \
         the archive to a file first, then send it"
    )]
    CannotPass { number: u32, why: EntryError },
}

/// Why an entry has no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("is encrypted")]
    Encrypted,
    #[error("is compressed by method {0}; only stored and deflated entries are read")]
    Method(u16),
    #[error("is a patch")]
    Patch,
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error("is damaged: its content does not match its checksum")]
    Checksum,
}

/// An event of the parser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The parser needs the next segment, or the end of the archive.
    NeedsMore,
    /// An entry with this name begins.
    Entry(Vec<u8>),
    /// Some of its content, never empty.
    Content(Bytes),
    /// The entry ends: its content is complete, or there is none.
    EntryEnd(Result<(), EntryError>),
    /// The archive is complete. The rest is to be ignored.
    End,
}

/// A parser of one archive.
pub(crate) struct Parser {
    limits: ZipLimits,
    input: BytesMut,
    is_last: bool,
    state: State,
    /// How many entries have begun.
    entries: u32,
    /// How many bytes all entries have so far, inflated, with those of earlier archives.
    bytes: u64,
    /// How many entries earlier archives have.
    earlier_entries: u32,
}

enum State {
    /// Before a signature.
    Between,
    Entry(Box<Entry>),
    End,
}

/// An entry that is being read.
struct Entry {
    header: Header,
    content: Content,
    /// How many bytes of the archive, and of content, have been read.
    compressed: u64,
    size: u64,
    crc: Crc,
    /// Whether its content is passed over.
    is_discarded: bool,
    /// What is wrong with it.
    error: Option<EntryError>,
}

/// How the rest of an entry is read.
enum Content {
    Stored,
    /// Without a size in the header: the end is where a digest and sizes are that match.
    StoredToSizes,
    Deflated(Inflater),
    /// Passed over without inflating.
    Raw,
    /// It is complete; the sizes behind it may follow.
    Complete,
}

impl Parser {
    pub(crate) fn new(limits: ZipLimits) -> Self {
        Self {
            limits,
            input: BytesMut::new(),
            is_last: false,
            state: State::Between,
            entries: 0,
            bytes: 0,
            earlier_entries: 0,
        }
    }

    /// A parser of one archive after others, which have the same limits together.
    pub(crate) fn after(limits: ZipLimits, earlier: ZipUsage) -> Self {
        let ZipUsage { entries, bytes } = earlier;
        Self { earlier_entries: entries, bytes, ..Self::new(limits) }
    }

    /// What this archive and earlier ones have used.
    pub(crate) fn usage(&self) -> ZipUsage {
        ZipUsage { entries: self.earlier_entries.saturating_add(self.entries), bytes: self.bytes }
    }

    /// Adds the next segment of the archive, after [`Event::NeedsMore`].
    pub(crate) fn feed(&mut self, segment: &[u8]) {
        self.input.extend_from_slice(segment);
    }

    /// Marks the end of the archive.
    pub(crate) fn finish(&mut self) {
        self.is_last = true;
    }

    /// Passes over the rest of this entry: no more of its content is returned. Without inflating it, where its size is
    /// known.
    pub(crate) fn discard(&mut self) {
        if let State::Entry(entry) = &mut self.state {
            entry.is_discarded = true;
            if entry.header.compressed.is_some() && !matches!(entry.content, Content::Complete) {
                entry.content = Content::Raw;
            }
        }
    }

    /// The next event. Never [`Event::NeedsMore`] after [`Self::finish`].
    ///
    /// # Errors
    /// [`ZipError`]. The parser must not be used after it.
    pub(crate) fn next(&mut self) -> Result<Event, ZipError> {
        let event = match &mut self.state {
            State::Between => self.between()?,
            State::Entry(_) => self.entry()?,
            State::End => return Ok(Event::End),
        };
        match event {
            Event::NeedsMore if self.is_last => Err(ZipError::EndsEarly { after: self.entries }),
            event => Ok(event),
        }
    }

    fn between(&mut self) -> Result<Event, ZipError> {
        let Some(signature) = self.input.first_chunk::<4>() else { return Ok(Event::NeedsMore) };
        match *signature {
            header::ENTRY => self.begin(),
            header::DIRECTORY | header::END | header::ZIP64_END => {
                self.state = State::End;
                Ok(Event::End)
            }
            header::SIZES | header::ONE_FILE if self.entries == 0 => {
                self.input.advance(4);
                self.between()
            }
            header::EXTRA_DATA => Err(ZipError::Encrypted),
            _ if self.entries == 0 => Err(ZipError::NotAnArchive),
            _ => Err(ZipError::Damaged { after: self.entries }),
        }
    }

    fn begin(&mut self) -> Result<Event, ZipError> {
        let Some(fixed) = self.input.first_chunk::<FIXED_BYTES>() else {
            return Ok(Event::NeedsMore);
        };
        let number = self.entries + 1;
        let length = header::length(fixed).ok_or(ZipError::NameTooLong { number })?;
        if self.input.len() < length {
            return Ok(Event::NeedsMore);
        }
        if self.earlier_entries.saturating_add(number) > self.limits.max_entries {
            return Err(ZipError::TooManyEntries { max_entries: self.limits.max_entries });
        }
        let header = Header::parse(&self.input.split_to(length));
        self.entries = number;
        let name = header.name.clone();
        self.state = State::Entry(Box::new(Entry::new(header, number)?));
        Ok(Event::Entry(name))
    }

    fn entry(&mut self) -> Result<Event, ZipError> {
        loop {
            let State::Entry(entry) = &mut self.state else { return Ok(Event::End) };
            if matches!(entry.content, Content::Complete) {
                return self.complete();
            }
            let number = self.entries;
            let Some(content) = entry.step(&mut self.input, number)? else {
                return Ok(Event::NeedsMore);
            };
            self.bytes = self.bytes.saturating_add(content.len() as u64);
            let max_bytes = self.limits.max_bytes;
            if self.bytes > max_bytes {
                return Err(ZipError::TooManyBytes { max_bytes });
            }
            if !content.is_empty() && !entry.is_discarded {
                return Ok(Event::Content(content));
            }
        }
    }

    /// Reads the sizes behind the entry, and ends it.
    fn complete(&mut self) -> Result<Event, ZipError> {
        let State::Entry(entry) = &mut self.state else { return Ok(Event::End) };
        let mut crc = entry.header.crc;
        if entry.header.has_sizes_behind {
            if self.input.len() < Behind::LONGEST && !self.is_last {
                return Ok(Event::NeedsMore);
            }
            let behind = &self.input[..self.input.len().min(Behind::LONGEST)];
            match Behind::parse(behind, entry.compressed, entry.size) {
                Some(found) => {
                    self.input.advance(found.length);
                    crc = Some(found.crc);
                }
                // Some writers leave it out behind a folder.
                None if entry.compressed == 0 => {}
                None if entry.error.is_none() && !entry.is_discarded => {
                    entry.error = Some(EntryError::Damaged("its sizes do not match".to_owned()));
                }
                None => {}
            }
        }
        let is_checked = entry.error.is_none() && !entry.is_discarded;
        if is_checked && crc.is_some_and(|crc| crc != entry.crc.sum()) {
            entry.error = Some(EntryError::Checksum);
        }
        if is_checked && entry.header.size.is_some_and(|size| size != entry.size) {
            entry.error = Some(EntryError::Damaged("its size does not match".to_owned()));
        }
        let end = entry.error.take().map_or(Ok(()), Err);
        self.state = State::Between;
        Ok(Event::EntryEnd(end))
    }
}

impl Entry {
    fn new(header: Header, number: u32) -> Result<Self, ZipError> {
        let error = match header.method {
            _ if header.is_encrypted => Some(EntryError::Encrypted),
            _ if header.is_patch => Some(EntryError::Patch),
            Method::Other(method) => Some(EntryError::Method(method)),
            Method::Stored | Method::Deflated => None,
        };
        if let (Some(why), None) = (&error, header.compressed) {
            return Err(ZipError::CannotPass { number, why: why.clone() });
        }
        let is_folder = header.name.ends_with(b"/");
        let content = match (&error, header.method, header.compressed) {
            (Some(_), ..) => Content::Raw,
            // Streaming writers may have no sizes behind it either.
            (None, Method::Stored, None) if is_folder => Content::Complete,
            (None, Method::Stored, None) => Content::StoredToSizes,
            (None, Method::Deflated, _) => Content::Deflated(Inflater::new()),
            (None, ..) => Content::Stored,
        };
        let (compressed, size, crc) = (0, 0, Crc::new());
        Ok(Self { header, content, compressed, size, crc, is_discarded: false, error })
    }

    /// The next content, which may be empty; `None` if more input is needed.
    fn step(&mut self, input: &mut BytesMut, number: u32) -> Result<Option<Bytes>, ZipError> {
        let left = self.header.compressed.map(|all| all - self.compressed);
        let available = left.map_or(input.len(), |left| {
            input.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        let content = match &mut self.content {
            Content::Complete => return Ok(Some(Bytes::new())),
            Content::Stored | Content::Raw if left == Some(0) => {
                self.content = Content::Complete;
                return Ok(Some(Bytes::new()));
            }
            Content::Stored if available > 0 => self.take(input, available),
            Content::Raw if available > 0 => {
                self.compressed += available as u64;
                input.advance(available);
                return Ok(Some(Bytes::new()));
            }
            Content::Stored | Content::Raw => return Ok(None),
            Content::StoredToSizes => match self.before_sizes(input) {
                Some(0) => {
                    self.content = Content::Complete;
                    return Ok(Some(Bytes::new()));
                }
                Some(content) => self.take(input, content),
                None => return Ok(None),
            },
            Content::Deflated(inflater) => match inflater.step(&input[..available]) {
                Ok(step) => {
                    let is_stuck = step.taken == 0 && step.content.is_empty();
                    if is_stuck && !step.is_complete {
                        return self.lacks_input(left == Some(available as u64));
                    }
                    self.compressed += step.taken as u64;
                    input.advance(step.taken);
                    if step.is_complete {
                        self.deflated_to_its_end();
                    }
                    self.size += step.content.len() as u64;
                    self.crc.update(&step.content);
                    self.check_ratio(number)?;
                    return Ok(Some(step.content));
                }
                Err(error) => {
                    self.fail(EntryError::Damaged(error), number)?;
                    return Ok(Some(Bytes::new()));
                }
            },
        };
        self.size += content.len() as u64;
        self.crc.update(&content);
        Ok(Some(content))
    }

    fn take(&mut self, input: &mut BytesMut, bytes: usize) -> Bytes {
        self.compressed += bytes as u64;
        input.split_to(bytes).freeze()
    }

    /// Deflated content that needs more than there is.
    fn lacks_input(&mut self, is_all: bool) -> Result<Option<Bytes>, ZipError> {
        if !is_all {
            return Ok(None);
        }
        // Its size is known, so the next entry is found.
        self.error = Some(EntryError::Damaged("its content ends early".to_owned()));
        self.content = Content::Raw;
        Ok(Some(Bytes::new()))
    }

    fn deflated_to_its_end(&mut self) {
        let is_all = self.header.compressed.is_none_or(|all| all == self.compressed);
        if !is_all {
            self.error = Some(EntryError::Damaged("its content is longer than it says".to_owned()));
        }
        self.content = if is_all { Content::Complete } else { Content::Raw };
    }

    fn fail(&mut self, error: EntryError, number: u32) -> Result<(), ZipError> {
        if self.header.compressed.is_none() {
            return Err(ZipError::CannotPass { number, why: error });
        }
        self.error = Some(error);
        self.content = Content::Raw;
        Ok(())
    }

    fn check_ratio(&self, number: u32) -> Result<(), ZipError> {
        let most = self.compressed.saturating_mul(MAX_RATIO).max(RATIO_GRACE);
        if self.is_discarded && self.size > most {
            return Err(ZipError::Bomb { number });
        }
        Ok(())
    }

    /// How many bytes of content are before the next possible start of sizes; 0: the content is complete. `None` if more
    /// input is needed.
    fn before_sizes(&self, input: &[u8]) -> Option<usize> {
        let Some(found) = memmem::find(input, &header::SIZES) else {
            // The last bytes may be the start of a signature.
            let content = input.len().saturating_sub(header::SIZES.len() - 1);
            return (content > 0).then_some(content);
        };
        if found > 0 {
            return Some(found);
        }
        if input.len() < Behind::LONGEST {
            return None;
        }
        let behind = Behind::parse(&input[..Behind::LONGEST], self.size, self.size);
        let is_end = behind.is_some_and(|behind| behind.crc == self.crc.sum());
        // Otherwise these bytes are content.
        Some(if is_end { 0 } else { header::SIZES.len() })
    }
}
