//! Decodes bytes to pixels: no panic, no more pixels than allowed, and no pixels of an earlier picture.

#![no_main]

use detector::decode::{Picture, ReducedPicture, decode, decode_into, decode_reduced_into};
use domain::picture::{PictureLimits, inspect};
use libfuzzer_sys::fuzz_target;

const LIMITS: PictureLimits = PictureLimits { max_bytes: 1 << 20, max_pixels: 1_000_000 };

fuzz_target!(|file: &[u8]| {
    let Ok(picture) = decode(file, &LIMITS) else { return };
    let header = inspect(file, &LIMITS).expect("decode inspects first");
    let (width, height) = (picture.width(), picture.height());
    // EXIF may rotate the picture by 90°.
    let stored = (header.width, header.height);
    assert!((width, height) == stored || (height, width) == stored);
    let pixels = width as usize * height as usize;
    assert_eq!(picture.rgb().len(), 3 * pixels);

    // Decoded at reduced size, the picture also decodes, reports the same size, and has no more pixels.
    for scale in [0.1, 0.05, 0.01] {
        let mut reduced = ReducedPicture::default();
        decode_reduced_into(file, &LIMITS, |_, _| scale, &mut reduced).expect("it decoded before");
        assert_eq!((reduced.width(), reduced.height()), (width, height));
        assert!(reduced.pixels().rgb().len() <= picture.rgb().len());
    }

    // Decoded into the buffer of an earlier picture, it must not have any of its pixels. Only small pictures,
    // for speed.
    if pixels <= 1 << 16 {
        let mut reused =
            Picture::from_rgb(width, height, vec![0xA5; 3 * pixels]).expect("its size");
        decode_into(file, &LIMITS, &mut reused).expect("it decoded before");
        assert_eq!(reused, picture);
    }
});
