//! The smallest files of every format, made by hand.

/// A JPEG's skeleton: a thumbnail with an end marker of its own in APP1, the frame header, a scan with a stuffed
/// 0xFF and a restart marker, a second scan, the end. No decoder would take its pixels.
pub(super) fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8];
    file.extend([0xFF, 0xE1, 0, 12]);
    file.extend(b"Exif\0\0");
    file.extend([0xFF, 0xD8, 0xFF, 0xD9]);
    // A fill byte before the marker is allowed.
    file.extend([0xFF, 0xFF, 0xC2, 0, 11, 8]);
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file.extend([1, 1, 0x11, 0]);
    for _ in 0..2 {
        file.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
        file.extend([0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56]);
    }
    file.extend([0xFF, 0xD9]);
    file
}

/// A PNG with one empty IDAT; its checksums are 0.
pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1A\n".to_vec();
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    for (name, data) in [(b"IHDR", header.as_slice()), (b"IDAT", &[7; 5]), (b"IEND", &[])] {
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(name);
        file.extend(data);
        file.extend([0; 4]);
    }
    file
}

/// A RIFF file with one chunk.
fn riff(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend((payload.len() as u32 + 12).to_le_bytes());
    file.extend(b"WEBP");
    file.extend(name);
    file.extend((payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file
}

pub(super) fn webp_lossy(width: u16, height: u16) -> Vec<u8> {
    let mut payload = vec![0x10, 0, 0, 0x9D, 0x01, 0x2A];
    // The two top bits are a hint for the screen and no part of the size.
    payload.extend((width | 0x4000).to_le_bytes());
    payload.extend((height | 0x8000).to_le_bytes());
    payload.extend([9; 8]);
    riff(b"VP8 ", &payload)
}

pub(super) fn webp_lossless(width: u32, height: u32) -> Vec<u8> {
    let mut payload = vec![0x2F];
    payload.extend(((width - 1) | ((height - 1) << 14)).to_le_bytes());
    payload.extend([9; 9]);
    riff(b"VP8L", &payload)
}

pub(super) fn webp_extended(width: u32, height: u32) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend(&(width - 1).to_le_bytes()[..3]);
    payload.extend(&(height - 1).to_le_bytes()[..3]);
    riff(b"VP8X", &payload)
}

/// A 24-bit bitmap; a negative height stands for rows from the top down.
pub(super) fn bmp(width: i32, height: i32) -> Vec<u8> {
    let row_len = (width.unsigned_abs() as usize * 3).div_ceil(4) * 4;
    let pixels = vec![5; row_len * height.unsigned_abs() as usize];
    let mut file = b"BM".to_vec();
    file.extend((54 + pixels.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend(54_u32.to_le_bytes());
    file.extend(40_u32.to_le_bytes());
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    file.extend(pixels);
    file
}

/// A GIF with a colour table, an extension and one frame, then what follows in longer ones.
pub(super) fn gif(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([0x80, 0, 0]);
    file.extend([0; 6]);
    file.extend([0x21, 0xF9, 4, 0, 0, 0, 0, 0]);
    file.extend([0x2C, 0, 0, 0, 0]);
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([0, 2, 2, 0x4C, 0x01, 0]);
    file
}
