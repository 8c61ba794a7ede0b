//! The header of a picture's prefix must not contradict the whole file.

#![no_main]

use domain::picture::{
    PictureError, PictureFormat, PictureLimits, inspect, inspect_header, orientation,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: PictureLimits = PictureLimits { max_bytes: 1 << 20, max_pixels: 1_000_000 };

/// Every length up to the longest fixed header, then growing steps.
fn prefix_lengths(len: usize) -> impl Iterator<Item = usize> {
    let longer = std::iter::successors(Some(80_usize), |at| Some(at + at / 4));
    (0..80).chain(longer).take_while(move |at| *at < len)
}

fuzz_target!(|file: &[u8]| {
    let whole = inspect(file, &LIMITS);
    let header = inspect_header(file, &LIMITS);
    match (&whole, &header) {
        (Ok(whole), Ok(Some(header))) => {
            assert_eq!(whole, header);
            assert!(u64::from(whole.width) * u64::from(whole.height) <= LIMITS.max_pixels);
            assert!(whole.width > 0 && whole.height > 0);
        }
        (Ok(_), _) => panic!("the whole file is valid and its header is not: {header:?}"),
        (Err(whole), Err(header)) => assert!(whole == header || file.is_empty()),
        (Err(PictureError::TooManyPixels { .. } | PictureError::TooManyBytes { .. }), Ok(_)) => {
            panic!("only the whole file passes a limit: {whole:?}")
        }
        (Err(_), Ok(_)) => {}
    }
    for len in prefix_lengths(file.len()) {
        match inspect_header(&file[..len], &LIMITS) {
            // An upload that is rejected at its first bytes would be rejected after its last.
            Err(error) => {
                assert!(whole.is_err(), "{len} bytes of a valid file are rejected: {error}");
                assert!(!matches!(error, PictureError::Empty | PictureError::Truncated { .. }));
            }
            Ok(Some(early)) => {
                assert_eq!(header, Ok(Some(early)), "{len} bytes have another header")
            }
            Ok(None) => {}
        }
    }
    for format in [PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::WebP] {
        assert!((1..=8).contains(&orientation(file, format).get()));
    }
});
