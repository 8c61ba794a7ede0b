use super::*;

const NO_LIMITS: PictureLimits = PictureLimits { max_bytes: u64::MAX, max_pixels: u64::MAX };

fn one_of_each() -> Vec<(PictureFormat, Vec<u8>)> {
    vec![
        (PictureFormat::Jpeg, samples::jpeg(31, 17)),
        (PictureFormat::Png, samples::png(31, 17)),
        (PictureFormat::WebP, samples::webp_lossy(31, 17)),
        (PictureFormat::WebP, samples::webp_lossless(31, 17)),
        (PictureFormat::WebP, samples::webp_extended(31, 17)),
        (PictureFormat::Bmp, samples::bmp(31, 17)),
        (PictureFormat::Bmp, samples::bmp(31, -17)),
        (PictureFormat::Gif, samples::gif(31, 17)),
    ]
}

#[test]
fn format_and_size_of_each() {
    for (format, file) in one_of_each() {
        let expected = PictureHeader { format, width: 31, height: 17 };
        assert_eq!(inspect(&file, &NO_LIMITS), Ok(expected));
        assert_eq!(inspect_header(&file, &NO_LIMITS), Ok(Some(expected)));
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (format, file) in one_of_each() {
        for len in 0..file.len() {
            let got = inspect(&file[..len], &NO_LIMITS);
            let expected = match len {
                0 => PictureError::Empty,
                _ if PictureFormat::of_signature(&file[..len]).is_err() => {
                    PictureError::Unrecognised
                }
                // Between two chunks, behind the pixels: all that is missing is the end mark.
                _ if format == PictureFormat::Png && len + 12 == file.len() => {
                    assert!(got.is_ok(), "{got:?}");
                    continue;
                }
                _ => PictureError::Truncated { format },
            };
            assert_eq!(got, Err(expected), "{format:?} cut to {len} of {} bytes", file.len());
        }
    }
}

#[test]
fn a_prefix_needs_more_bytes_until_it_has_the_size() {
    for (format, file) in one_of_each() {
        let answers: Vec<_> = (0..=file.len())
            .map(|len| inspect_header(&file[..len], &NO_LIMITS).expect("a good prefix is no error"))
            .collect();
        let told = answers.iter().position(Option::is_some).expect("the whole file tells its size");
        assert!(answers[told..].iter().all(|answer| *answer == answers[told]), "{format:?}");
        assert!(told < 40, "{format:?} needs {told} bytes");
    }
}

#[test]
fn bytes_behind_the_end_do_no_harm() {
    for (format, mut file) in one_of_each() {
        file.extend(b"\xFF\xD8 a second picture, as some telephones append");
        assert!(inspect(&file, &NO_LIMITS).is_ok(), "{format:?}");
    }
}

#[test]
fn a_thumbnails_end_marker_is_not_the_pictures() {
    let mut file = samples::jpeg(8, 8);
    file.truncate(file.len() - 2);
    let truncated = PictureError::Truncated { format: PictureFormat::Jpeg };
    assert_eq!(inspect(&file, &NO_LIMITS), Err(truncated));
}

#[test]
fn limits_hold() {
    let limits = PictureLimits { max_bytes: 1000, max_pixels: 64 * 64 };
    let bomb = samples::png(i32::MAX as u32, i32::MAX as u32);
    let cases = [
        (samples::png(64, 64), None),
        (
            samples::png(65, 64),
            Some(PictureError::TooManyPixels { width: 65, height: 64, max_pixels: 4096 }),
        ),
        (
            bomb,
            Some(PictureError::TooManyPixels {
                width: i32::MAX as u32,
                height: i32::MAX as u32,
                max_pixels: 4096,
            }),
        ),
        (samples::bmp(20, 20), Some(PictureError::TooManyBytes { max_bytes: 1000 })),
    ];
    for (file, expected) in cases {
        assert_eq!(inspect(&file, &limits).err(), expected);
        assert_eq!(inspect_header(&file, &limits).err(), expected, "the header is enough");
    }
}

#[test]
fn damaged_headers() {
    let changed = |mut file: Vec<u8>, at: usize, byte: u8| {
        file[at] = byte;
        file
    };
    let cases = [
        ("no width", samples::jpeg(0, 5)),
        ("no height", samples::png(5, 0)),
        ("no screen", samples::gif(0, 0)),
        ("a side over 31 bits", samples::png(1 << 31, 1)),
        ("no IHDR", changed(samples::png(5, 5), 12, b'X')),
        ("a segment of length 1", changed(changed(samples::jpeg(5, 5), 3, 0xDB), 5, 1)),
        ("an unknown chunk", changed(samples::webp_lossy(5, 5), 15, b'?')),
        ("no start code", changed(samples::webp_lossy(5, 5), 23, 0)),
        ("no signature", changed(samples::webp_lossless(5, 5), 20, 0)),
        ("a negative width", samples::bmp(-5, 5)),
        ("an unknown header", changed(samples::bmp(5, 5), 14, 13)),
        ("an unknown compression", changed(samples::bmp(5, 5), 30, 9)),
        ("no frame", changed(samples::gif(5, 5), 19, 0x3B)),
    ];
    for (what, file) in cases {
        let got = inspect(&file, &NO_LIMITS);
        assert!(matches!(got, Err(PictureError::Damaged { .. })), "{what}: {got:?}");
    }
}

#[test]
fn scans_are_counted() {
    let file = samples::jpeg(8, 8);
    let end = file.len() - 2;
    // The last scan is 17 bytes long, and there are two.
    let scan = file[end - 17..end].to_vec();
    let with_scans = |scans: usize| {
        let mut file = file.clone();
        file.splice(end..end, scan.repeat(scans - 2));
        inspect(&file, &NO_LIMITS)
    };
    assert!(with_scans(jpeg::MAX_SCANS).is_ok());
    let too_many = with_scans(jpeg::MAX_SCANS + 1);
    assert!(matches!(too_many, Err(PictureError::Damaged { .. })), "{too_many:?}");
}

#[test]
fn bytes_of_no_known_format() {
    for bytes in [&b"hello"[..], b"<svg/>", b"RIFF\0\0\0\0WAVE", b"\0\0", b"GIF88a", b"%PDF-1.7"] {
        assert_eq!(inspect(bytes, &NO_LIMITS), Err(PictureError::Unrecognised));
        assert_eq!(inspect_header(bytes, &NO_LIMITS), Err(PictureError::Unrecognised));
    }
    assert_eq!(inspect(b"", &NO_LIMITS), Err(PictureError::Empty));
    assert_eq!(inspect_header(b"", &NO_LIMITS), Ok(None));
}

#[test]
fn no_single_byte_makes_it_panic() {
    for (_, file) in one_of_each() {
        for at in 0..file.len().min(100) {
            for byte in 0..=u8::MAX {
                let mut changed = file.clone();
                changed[at] = byte;
                let _ = inspect(&changed, &NO_LIMITS);
                for format in [PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::WebP] {
                    let _ = orientation(&changed, format);
                }
            }
        }
    }
}

/// A TIFF structure whose only entry is this orientation, as a SHORT.
fn tiff(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([orientation, 0, 0, 0]);
    tiff.extend([0; 4]);
    tiff
}

fn exif_segment(name: &[u8], tiff: &[u8]) -> Vec<u8> {
    let len = (2 + name.len() + tiff.len()) as u16;
    [&[0xFF, 0xE1][..], &len.to_be_bytes(), name, tiff].concat()
}

/// As `cv2.imread` finds it.
#[test]
fn exif_of_a_jpeg_is_any_of_that_name_before_the_pixels() {
    let with = |segments: &[Vec<u8>]| {
        let mut file = samples::jpeg(8, 8);
        file.splice(2..2, segments.concat());
        orientation(&file, PictureFormat::Jpeg).get()
    };
    let exif = |orientation: u8| exif_segment(b"Exif\0\0", &tiff(orientation));
    let xmp = exif_segment(b"http://ns.adobe.com/xap/1.0/\0", b"<x:xmpmeta/>");
    let other = exif_segment(b"hello!world", b"");
    let jfif = vec![0xFF, 0xE0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
    assert_eq!(with(&[exif(6)]), 6);
    assert_eq!(with(&[jfif, xmp.clone(), other, exif(6)]), 6);
    assert_eq!(with(&[exif(6), xmp]), 6);
    assert_eq!(with(&[exif_segment(b"Exif\0\0", b""), exif(6)]), 6);
    assert_eq!(with(&[exif_segment(b"Exif\0\0", b"II"), exif(6)]), 6);
    assert_eq!(with(&[exif(6), exif(3)]), 6);
    assert_eq!(with(&[exif(9), exif(3)]), 1);
    for name in [&b"Exif\0\x01"[..], b"exif\0\0", b"abcdef"] {
        assert_eq!(with(&[exif_segment(name, &tiff(6))]), 1);
    }
    let mut behind = samples::jpeg(8, 8);
    let end = behind.len() - 2;
    behind.splice(end..end, exif(6));
    assert_eq!(orientation(&behind, PictureFormat::Jpeg).get(), 1);
    assert_eq!(orientation(b"", PictureFormat::Jpeg), ExifOrientation::UPRIGHT);
}

#[test]
fn exif_of_a_png_is_anywhere_and_has_its_checksum() {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let plain = png::Chunk { name: *name, data: 8..8 + data.len() };
        let len = (data.len() as u32).to_be_bytes();
        plain.intact(&[&len[..], name, data].concat())
    };
    let file = samples::png(8, 8);
    let with = |at: usize, chunk: &[u8]| {
        let mut file = file.clone();
        file.splice(at..at, chunk.iter().copied());
        orientation(&file, PictureFormat::Png).get()
    };
    let (before_pixels, behind_pixels) = (33, file.len() - 12);
    let good = chunk(b"eXIf", &tiff(6));
    assert_eq!(good[good.len() - 4..], [0xB7, 0x48, 0x11, 0x29]);
    assert_eq!(with(before_pixels, &good), 6);
    assert_eq!(with(behind_pixels, &good), 6);
    assert_eq!(with(before_pixels, &[good.clone(), chunk(b"eXIf", &tiff(3))].concat()), 6);
    assert_eq!(with(before_pixels, &chunk(b"eXIf", &[b"Exif\0\0", &tiff(6)[..]].concat())), 1);
    let mut damaged = good;
    *damaged.last_mut().expect("a checksum") ^= 1;
    assert_eq!(with(before_pixels, &damaged), 1);
}

#[test]
fn exif_of_a_webp_is_no_longer_than_its_file() {
    let with_exif = |claimed: u32, name: &[u8]| {
        let mut file = samples::webp_extended(8, 8);
        file[20] = 0x08;
        file.extend(b"ODD.\x03\0\0\0abc\0EXIF");
        file.extend(claimed.to_le_bytes());
        file.extend(name);
        file.extend(tiff(6));
        let riff_len = file.len() as u32 - 8;
        file[4..8].copy_from_slice(&riff_len.to_le_bytes());
        file
    };
    let read = |file: &[u8]| orientation(file, PictureFormat::WebP).get();
    assert_eq!(read(&with_exif(26, b"")), 6);
    assert_eq!(read(&with_exif(32, b"Exif\0\0")), 6);
    for claimed in [27, u32::MAX - 1, u32::MAX] {
        assert_eq!(read(&with_exif(claimed, b"")), 1, "{claimed}");
    }
    let mut file = with_exif(26, b"");
    for len in 0..file.len() {
        assert_eq!(read(&file[..len]), 1, "cut to {len}");
    }
    // The extended header has to say that there is EXIF.
    file[20] = 0;
    assert_eq!(read(&file), 1);
    assert_eq!(read(&samples::webp_lossy(8, 8)), 1);
}

#[test]
fn extensions_name_their_formats() {
    for extension in PictureFormat::EXTENSIONS {
        assert!(PictureFormat::from_extension(extension).is_some(), "{extension}");
    }
    let cases = [
        ("JPG", Some(PictureFormat::Jpeg)),
        ("Jpeg", Some(PictureFormat::Jpeg)),
        ("WEBP", Some(PictureFormat::WebP)),
        ("tiff", None),
        (".png", None),
        ("", None),
    ];
    for (extension, expected) in cases {
        assert_eq!(PictureFormat::from_extension(extension), expected, "{extension}");
    }
}
