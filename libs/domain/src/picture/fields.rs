//! Numbers at given places of a file that may end anywhere.

/// Why a parser stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The bytes end before the field.
    Short,
    /// The bytes violate the format.
    Damaged(&'static str),
}

pub(super) type Parsed<T> = Result<T, Flaw>;

/// The bytes of a file, read by position and length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// `len` bytes from `at` on, or [`Flaw::Short`]; no sum of the two overflows.
    pub(super) fn slice(self, at: usize, len: usize) -> Parsed<&'a [u8]> {
        let end = at.checked_add(len).ok_or(Flaw::Short)?;
        self.0.get(at..end).ok_or(Flaw::Short)
    }

    fn array<const N: usize>(self, at: usize) -> Parsed<[u8; N]> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Flaw::Short)
    }

    pub(super) fn u8(self, at: usize) -> Parsed<u8> {
        self.0.get(at).copied().ok_or(Flaw::Short)
    }

    pub(super) fn u16_le(self, at: usize) -> Parsed<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u16_be(self, at: usize) -> Parsed<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    /// Three bytes, least significant first.
    pub(super) fn u24_le(self, at: usize) -> Parsed<u32> {
        self.array(at)
            .map(|[low, middle, high]: [u8; 3]| u32::from_le_bytes([low, middle, high, 0]))
    }

    pub(super) fn u32_le(self, at: usize) -> Parsed<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u32_be(self, at: usize) -> Parsed<u32> {
        self.array(at).map(u32::from_be_bytes)
    }
}

/// `at + len`, or [`Flaw::Short`] where no file could be that long.
pub(super) fn after(at: usize, len: u32) -> Parsed<usize> {
    usize::try_from(len).ok().and_then(|len| at.checked_add(len)).ok_or(Flaw::Short)
}

/// A picture's sides in pixels, as its header claims them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}
