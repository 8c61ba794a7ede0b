//! Real pictures, most of them small enough for a debug build to run many in a second.

use std::fs;

use detector::{
    annotate::encode,
    decode::{Picture, decode},
};
use domain::picture::{PictureFormat, PictureLimits};
use testkit::picture;

/// A picture to send.
pub(crate) struct Upload {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// How often it is sent, in proportion to the others.
    pub(crate) weight: u32,
}

/// Strips are cheap: letterboxed, they have a twentieth of a square picture's pixels.
pub(crate) fn uploads() -> Vec<Upload> {
    let chelsea = read("chelsea.png");
    let coffee = read("coffee.png");
    vec![
        Upload { name: "strip.jpg", bytes: shrunk(&chelsea, 320, 16), weight: 12 },
        Upload { name: "ribbon.jpg", bytes: shrunk(&coffee, 256, 12), weight: 12 },
        Upload { name: "cup.jpg", bytes: shrunk(&coffee, 120, 80), weight: 2 },
        Upload { name: "bus.jpg", bytes: fs::read(picture("bus.jpg")).unwrap(), weight: 1 },
    ]
}

fn read(name: &str) -> Picture {
    let bytes = fs::read(picture(name)).unwrap();
    decode(&bytes, &PictureLimits::default()).expect("a committed picture decodes")
}

/// The picture at another size, as JPEG; the nearest pixel is good enough here.
fn shrunk(source: &Picture, width: u32, height: u32) -> Vec<u8> {
    let rgb = source.rgb();
    let pixel = |x: u32, y: u32| {
        let (x, y) = (x * source.width() / width, y * source.height() / height);
        let at = 3 * (y * source.width() + x) as usize;
        [rgb[at], rgb[at + 1], rgb[at + 2]]
    };
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let picture = Picture::from_rgb(width, height, pixels).expect("the sizes agree");
    encode(&picture, PictureFormat::Jpeg).expect("JPEG can be written")
}
