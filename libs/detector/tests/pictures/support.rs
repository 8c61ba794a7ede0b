//! Golden data, and how it is compared.

use std::path::{Path, PathBuf};

use detector::annotate::encode;
use detector::decode::Picture;
use domain::Sha256Digest;
use domain::picture::{PictureFormat, PictureLimits};

pub(crate) const LIMITS: PictureLimits =
    PictureLimits { max_bytes: 20 * 1024 * 1024, max_pixels: 64_000_000 };

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A sample picture from the repository's `test_images`.
pub(crate) fn test_image(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_images").join(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", path.display()))
}

/// The golden files' names, without what is expected of them.
pub(crate) fn golden_pictures() -> Vec<(String, Vec<u8>)> {
    let folder = golden("files");
    let mut pictures: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/golden/files is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| !path.to_string_lossy().ends_with(".expected.png"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, read(&path))
        })
        .collect();
    pictures.sort();
    assert!(!pictures.is_empty());
    pictures
}

/// The words of each line of a golden text file, comments left out.
pub(crate) fn golden_lines(name: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(read(&golden(name))).expect("golden text is UTF-8");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256Digest::of(bytes).to_string()
}

/// The picture of `make_golden.py`'s `synthetic`.
pub(crate) fn synthetic(width: u32, height: u32) -> Picture {
    let mut rgb = Vec::new();
    for y in 0..u64::from(height) {
        for x in 0..u64::from(width) {
            for c in 0..3 {
                let value = x * 73 + y * 151 + c * 199 + (x * y) % 251 * 7 + ((x * x + y * y) >> 3);
                rgb.push(value as u8);
            }
        }
    }
    Picture::from_rgb(width, height, rgb).expect("three bytes a pixel")
}

/// A TIFF structure with one entry: tag 0x0112, a short, once.
pub(crate) fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0\x2A\0\0\0\x08\0\x01".to_vec();
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    tiff.extend([0; 4]);
    tiff
}

/// `stored` in a file that says to turn it.
pub(crate) fn jpeg(stored: &Picture, orientation: u8) -> Vec<u8> {
    let mut file = encode(stored, PictureFormat::Jpeg).expect("a small picture");
    let mut segment = b"Exif\0\0".to_vec();
    segment.extend(exif(orientation));
    let len = u16::try_from(segment.len() + 2).expect("a short segment").to_be_bytes();
    let header = [0xFF, 0xE1, len[0], len[1]];
    file.splice(2..2, header.into_iter().chain(segment));
    file
}
