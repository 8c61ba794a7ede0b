//! Real pictures, most of them small enough for a debug build to run many per second.

use std::fs;

use detector::{
    annotate::encode,
    decode::{Picture, decode},
};
use domain::picture::{PictureFormat, PictureLimits};
use testkit::picture;

/// A picture to send.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// How often it is sent, in proportion to the others.
    pub(crate) weight: u32,
}

/// What a picture does to the worker that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poison {
    Abort,
    Hang,
    EatMemory,
}

impl Poison {
    pub(crate) const ALL: [Self; 3] = [Self::Abort, Self::Hang, Self::EatMemory];

    /// The failpoint that makes workers fail on these pictures; see `service::lifecycle::failpoints`.
    pub(crate) fn failpoint(self) -> String {
        let action = match self {
            Self::Abort => "crash",
            Self::Hang => "hang",
            Self::EatMemory => "eat-memory",
        };
        format!("worker-detect={action}({})", self.comment())
    }

    fn comment(self) -> &'static str {
        match self {
            Self::Abort => "this picture aborts",
            Self::Hang => "this picture hangs",
            Self::EatMemory => "this picture eats memory",
        }
    }
}

/// The pictures of the load. Strips are cheap: letterboxed, they have a twentieth of a square picture's pixels.
pub(crate) fn uploads() -> Vec<Upload> {
    let coffee = read("coffee.png");
    vec![
        Upload { weight: 12, ..strip() },
        Upload { name: "ribbon.jpg", bytes: shrunk(&coffee, 256, 12), weight: 12 },
        Upload { name: "cup.jpg", bytes: shrunk(&coffee, 120, 80), weight: 2 },
        bus(),
    ]
}

/// The most expensive one.
pub(crate) fn bus() -> Upload {
    Upload { name: "bus.jpg", bytes: fs::read(picture("bus.jpg")).unwrap(), weight: 1 }
}

/// The cheapest one.
pub(crate) fn strip() -> Upload {
    Upload { name: "strip.jpg", bytes: shrunk(&read("chelsea.png"), 320, 16), weight: 1 }
}

/// A good picture with a comment on which its worker fails.
pub(crate) fn poisoned(poison: Poison) -> Upload {
    const START_OF_IMAGE: usize = 2;
    let comment = poison.comment().as_bytes();
    let length = u16::try_from(comment.len() + 2).expect("a comment is short").to_be_bytes();
    let segment = [&[0xff, 0xfe], length.as_slice(), comment].concat();
    let mut upload = Upload { name: "poison.jpg", ..strip() };
    upload.bytes.splice(START_OF_IMAGE..START_OF_IMAGE, segment);
    upload
}

fn read(name: &str) -> Picture {
    let bytes = fs::read(picture(name)).unwrap();
    decode(&bytes, &PictureLimits::default()).expect("a committed picture decodes")
}

/// The picture at another size, as JPEG, by nearest neighbour.
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
