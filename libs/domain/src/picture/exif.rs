//! The orientation in a picture's EXIF block.
//!
//! A block is a TIFF structure (TIFF 6.0, section 2) whose first directory has an entry of tag 0x0112. It is read as
//! OpenCV reads it (`exif.cpp`), so that boxes are those of `cv2.imread`'s picture: see `docs/pictures.md`.

use super::fields::{Fields, Flaw, Parsed};

/// How the stored pixels lie, as EXIF numbers it: 1 is upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExifOrientation(u8);

impl ExifOrientation {
    /// The picture is shown as it is stored.
    pub const UPRIGHT: Self = Self(1);

    /// The number of the EXIF specification, from 1 to 8.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// The orientation of that number; [`ExifOrientation::UPRIGHT`] for one that does not exist.
    fn of(number: u16) -> Self {
        match u8::try_from(number) {
            Ok(number @ 1..=8) => Self(number),
            _ => Self::UPRIGHT,
        }
    }

    /// The orientation of the first of `blocks` that has one.
    pub(super) fn of_first<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Self {
        blocks.into_iter().find_map(orientation).map_or(Self::UPRIGHT, Self::of)
    }
}

const ENTRY_LEN: usize = 12;
const ORIENTATION: u16 = 0x0112;

/// Integers in the order of bytes that the block is written in.
#[derive(Clone, Copy)]
struct Tiff<'a> {
    fields: Fields<'a>,
    is_big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn of(block: &'a [u8]) -> Option<Self> {
        let is_big_endian = match block.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let tiff = Self { fields: Fields(block), is_big_endian };
        (tiff.u16(2) == Ok(42)).then_some(tiff)
    }

    fn u16(self, at: usize) -> Parsed<u16> {
        if self.is_big_endian { self.fields.u16_be(at) } else { self.fields.u16_le(at) }
    }

    fn u32(self, at: usize) -> Parsed<u32> {
        if self.is_big_endian { self.fields.u32_be(at) } else { self.fields.u32_le(at) }
    }

    /// That the `len` bytes the entry at `at` points to are within the block.
    fn check_pointed(self, at: usize, len: u64) -> Parsed<()> {
        let end = u64::from(self.u32(at + 8)?).saturating_add(len);
        if end > self.fields.0.len() as u64 { Err(Flaw::Short) } else { Ok(()) }
    }

    /// What OpenCV reads of the entry at `at`, which may be cut short by the block's end.
    fn check_entry(self, at: usize) -> Parsed<()> {
        match self.u16(at)? {
            // Texts: description, maker, model, software, date, copyright. One of 4 bytes stands in the entry itself.
            0x010E | 0x010F | 0x0110 | 0x0131 | 0x0132 | 0x8298 => match self.u32(at + 4)? {
                0..=4 => Ok(()),
                len => self.check_pointed(at, u64::from(len)),
            },
            // Fractions of 8 bytes: resolutions, white point, chromaticities, coefficients, black and white.
            0x011A | 0x011B => self.check_pointed(at, 8),
            0x013E => self.check_pointed(at, 2 * 8),
            0x0211 => self.check_pointed(at, 3 * 8),
            0x013F | 0x0214 => self.check_pointed(at, 6 * 8),
            // Small integers.
            0x0128 | 0x0213 => self.u16(at + 8).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// The orientation's number, which may be any; `None` where the block has none.
///
/// OpenCV takes the first two bytes of the value whatever type and count the entry claims, and stops reading the
/// directory at the first entry that points outside the block.
fn orientation(block: &[u8]) -> Option<u16> {
    let tiff = Tiff::of(block)?;
    let directory = usize::try_from(tiff.u32(4).ok()?).ok()?;
    let entries = tiff.u16(directory).ok()?;
    let mut at = directory.checked_add(2)?;
    for _ in 0..entries {
        if tiff.u16(at).ok()? == ORIENTATION {
            return tiff.u16(at.checked_add(8)?).ok();
        }
        tiff.check_entry(at).ok()?;
        at = at.checked_add(ENTRY_LEN)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these entries: tag, type, count and the four bytes of the value, as they are stored.
    fn block(is_big_endian: bool, entries: &[(u16, u16, u32, [u8; 4])]) -> Vec<u8> {
        let short =
            |value: u16| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let long =
            |value: u32| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut block = if is_big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        block.extend(short(42));
        block.extend(long(8));
        block.extend(short(entries.len() as u16));
        for (tag, kind, count, value) in entries {
            block.extend(short(*tag));
            block.extend(short(*kind));
            block.extend(long(*count));
            block.extend(value);
        }
        block.extend([0; 4]);
        block
    }

    fn read(block: &[u8]) -> u8 {
        ExifOrientation::of_first([block]).get()
    }

    /// What `cv2.imread` of OpenCV 4.14 and 5.0 does with a JPEG that has this block.
    #[test]
    fn two_bytes_are_read_whatever_type_they_have() {
        // BYTE, ASCII, SHORT, LONG, SBYTE, UNDEFINED, SSHORT, SLONG, IFD, RATIONAL, none and none.
        for kind in [1, 2, 3, 4, 6, 7, 8, 9, 13, 5, 0, 99] {
            for count in [0, 1, 2, 3, 1000] {
                assert_eq!(
                    read(&block(false, &[(0x0112, kind, count, [6, 0, 0, 0])])),
                    6,
                    "{kind}"
                );
                assert_eq!(read(&block(true, &[(0x0112, kind, count, [0, 6, 0, 0])])), 6, "{kind}");
                // A LONG and a BYTE of the other order have something else in these two bytes.
                for value in [[0, 0, 0, 6], [6, 0, 0, 0]] {
                    assert_eq!(read(&block(true, &[(0x0112, kind, count, value)])), 1, "{kind}");
                }
            }
        }
        assert_eq!(read(&block(false, &[(0x0112, 3, 1, [6, 0, 0xFF, 0xFF])])), 6);
    }

    #[test]
    fn what_does_not_exist_is_upright() {
        for (low, high) in [(0, 0), (9, 0), (255, 0), (255, 255), (6, 1), (0, 6)] {
            assert_eq!(read(&block(false, &[(0x0112, 3, 1, [low, high, 0, 0])])), 1);
        }
        assert_eq!(read(b""), 1);
        let good = block(false, &[(0x0112, 3, 1, [6, 0, 0, 0])]);
        for (at, byte) in [(0, b'M'), (2, 43), (2, 0), (4, 255), (7, 255), (8, 0)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(read(&bad), 1, "byte {at}");
        }
        for len in 0..good.len() {
            // The last six bytes, of which the value needs none, may be missing.
            assert_eq!(read(&good[..len]), if len >= good.len() - 6 { 6 } else { 1 }, "{len}");
        }
    }

    #[test]
    fn the_first_of_several_counts() {
        let six = (0x0112, 3, 1, [6, 0, 0, 0]);
        let three = (0x0112, 3, 1, [3, 0, 0, 0]);
        let nine = (0x0112, 3, 1, [9, 0, 0, 0]);
        assert_eq!(read(&block(false, &[six, three])), 6);
        assert_eq!(read(&block(false, &[nine, three])), 1);
        let (none, three) = (block(false, &[]), block(false, &[three]));
        let of_first = |blocks: [&[u8]; 2]| ExifOrientation::of_first(blocks).get();
        assert_eq!(of_first([&none, &three]), 3);
        assert_eq!(of_first([b"rubbish", &three]), 3);
        assert_eq!(of_first([&block(false, &[nine]), &three]), 1);
    }

    #[test]
    fn an_entry_that_points_outside_ends_the_directory() {
        let six = (0x0112, 3, 1, [6, 0, 0, 0]);
        let outside = [0x60, 0xEA, 0, 0];
        for tag in [0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0131, 0x013E, 0x013F, 0x0211, 0x8298]
        {
            assert_eq!(read(&block(false, &[(tag, 2, 100, outside), six])), 1, "{tag:#x}");
            assert_eq!(read(&block(false, &[six, (tag, 2, 100, outside)])), 6, "{tag:#x}");
        }
        for tag in [0x0100, 0x0128, 0x013B, 0x0213, 0x8769, 0xFFFF] {
            assert_eq!(read(&block(false, &[(tag, 2, 100, outside), six])), 6, "{tag:#x}");
        }
        // A text of four bytes is not pointed to, and one that ends with the block is within it.
        assert_eq!(read(&block(false, &[(0x010F, 2, 4, outside), six])), 6);
        assert_eq!(read(&block(false, &[(0x010F, 2, 38, [0; 4]), six])), 6);
        assert_eq!(read(&block(false, &[(0x010F, 2, 39, [0; 4]), six])), 1);
        assert_eq!(read(&block(false, &[(0x011A, 5, 1, [30, 0, 0, 0]), six])), 6);
        assert_eq!(read(&block(false, &[(0x011A, 5, 1, [31, 0, 0, 0]), six])), 1);
        assert_eq!(read(&block(false, &[(0x010F, 2, u32::MAX, [255; 4]), six])), 1);
    }
}
