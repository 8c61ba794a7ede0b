//! Boxes and labels drawn into a picture, for people to look at.

mod canvas;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use domain::picture::PictureFormat;
use domain::{BoundingBox, DetectedObject};
use image::codecs::{png::PngEncoder, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::decode::Picture;
use canvas::{Canvas, Colour, Rectangle};

/// The colours of the classes, in turn; all stand out from a photograph.
const PALETTE: [Colour; 10] = [
    [0xFF, 0x45, 0x3A],
    [0x0A, 0x84, 0xFF],
    [0x30, 0xD1, 0x58],
    [0xFF, 0x9F, 0x0A],
    [0xBF, 0x5A, 0xF2],
    [0xFF, 0xD6, 0x0A],
    [0x64, 0xD2, 0xFF],
    [0xFF, 0x6F, 0xB5],
    [0xAC, 0x8E, 0x68],
    [0x5E, 0x5C, 0xE6],
];
const DARK_TEXT: Colour = [0x10, 0x10, 0x10];
const LIGHT_TEXT: Colour = [0xFF, 0xFF, 0xFF];

/// The thickness of a line and the height of a label, as parts of the picture's mean side.
const LINE_SHARE: f32 = 1.0 / 300.0;
const TEXT_SHARE: f32 = 1.0 / 42.0;
const MIN_LINE_PX: f32 = 2.0;
const MIN_TEXT_PX: f32 = 12.0;

const JPEG_QUALITY: i32 = 90;

/// Why an annotated picture was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Only JPEG, PNG and WebP are written.
    #[error("pictures are written as JPEG, PNG or WebP, not as {0:?}")]
    UnsupportedFormat(PictureFormat),
    /// libjpeg-turbo failed, most often for a side over 65500 pixels.
    #[error("the picture cannot be written as JPEG: {0}")]
    Jpeg(#[from] turbojpeg::Error),
    /// The encoder of PNG or WebP failed, most often for a side over 16383 pixels of a WebP.
    #[error("the picture cannot be written: {0}")]
    Encoder(#[from] image::ImageError),
}

/// Draws a box and a label such as "bus 0.87" for each object, in a colour for each class.
///
/// The object with the highest confidence is drawn last, above the others. Boxes are clipped at the picture's edges, and
/// labels are moved inside.
pub fn annotate(picture: &mut Picture, objects: &[DetectedObject]) {
    let style = Style::for_picture(picture);
    let mut canvas = Canvas::new(picture);
    let mut by_confidence: Vec<_> = objects.iter().collect();
    by_confidence
        .sort_by(|one, other| one.detection.confidence.total_cmp(&other.detection.confidence));
    // All boxes first, so that no line crosses a label.
    for object in &by_confidence {
        style.draw_box(&mut canvas, &object.detection.bbox, colour(object));
    }
    if let Ok(font) = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR) {
        for object in &by_confidence {
            style.draw_label(&mut canvas, &font, object);
        }
    }
}

/// Encodes a picture as JPEG (quality 90, full colour resolution), PNG or WebP (without loss).
///
/// # Errors
/// [`EncodeError`], for other formats and for sides that the format does not hold.
pub fn encode(picture: &Picture, format: PictureFormat) -> Result<Vec<u8>, EncodeError> {
    let mut file = Vec::new();
    match format {
        PictureFormat::Jpeg => return encode_jpeg(picture),
        PictureFormat::Png => write_with(PngEncoder::new(&mut file), picture)?,
        PictureFormat::WebP => write_with(WebPEncoder::new_lossless(&mut file), picture)?,
        other => return Err(EncodeError::UnsupportedFormat(other)),
    }
    Ok(file)
}

fn write_with(encoder: impl ImageEncoder, picture: &Picture) -> Result<(), EncodeError> {
    let (width, height) = (picture.width(), picture.height());
    Ok(encoder.write_image(picture.rgb(), width, height, ExtendedColorType::Rgb8)?)
}

fn encode_jpeg(picture: &Picture) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut compressor = Compressor::new()?;
    compressor.set_quality(JPEG_QUALITY)?;
    // Thin coloured lines and letters smear when colour is stored at half the resolution.
    compressor.set_subsamp(Subsamp::None)?;
    Ok(compressor.compress_to_vec(Image {
        pixels: picture.rgb(),
        width,
        pitch: width * 3,
        height,
        format: PixelFormat::RGB,
    })?)
}

fn colour(object: &DetectedObject) -> Colour {
    PALETTE[object.detection.class_id.0 as usize % PALETTE.len()]
}

/// Black or white, whichever stands out from `background` (luma as in ITU-R BT.601).
fn text_colour([red, green, blue]: Colour) -> Colour {
    let luma = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if luma > 140 * 1000 { DARK_TEXT } else { LIGHT_TEXT }
}

/// Line and text sizes for a picture's size.
struct Style {
    line_px: i64,
    text_px: f32,
}

impl Style {
    fn for_picture(picture: &Picture) -> Self {
        let mean_side = (picture.width() as f32 + picture.height() as f32) / 2.0;
        Self {
            line_px: (mean_side * LINE_SHARE).max(MIN_LINE_PX).round() as i64,
            text_px: (mean_side * TEXT_SHARE).max(MIN_TEXT_PX).round(),
        }
    }

    fn draw_box(&self, canvas: &mut Canvas<'_>, bbox: &BoundingBox, colour: Colour) {
        let outer = outline(bbox);
        let Rectangle { left, top, right, bottom } = outer;
        // A box thinner than two lines is filled.
        let line = self.line_px.min(right.saturating_sub(left)).min(bottom.saturating_sub(top));
        for bar in [
            Rectangle { bottom: top + line, ..outer },
            Rectangle { top: bottom - line, ..outer },
            Rectangle { right: left + line, ..outer },
            Rectangle { left: right - line, ..outer },
        ] {
            canvas.fill(bar, colour);
        }
    }

    /// The label on a tag that sits on the box's upper edge, or below it where there is no room.
    fn draw_label(&self, canvas: &mut Canvas<'_>, font: &FontRef<'_>, object: &DetectedObject) {
        let text = format!("{} {:.2}", object.label, object.detection.confidence);
        let scaled = font.as_scaled(PxScale::from(self.text_px));
        let text_width: f32 = text.chars().map(|c| scaled.h_advance(scaled.glyph_id(c))).sum();
        let margin = (self.text_px / 5.0).ceil();
        let width = (text_width + 2.0 * margin).ceil() as i64;
        let height = (scaled.height() + margin).ceil() as i64;

        let bbox = outline(&object.detection.bbox);
        // A box at the edge keeps its tag in the picture; a tag wider than the picture starts at its left.
        let left = bbox.left.min(canvas.width() - width).max(0);
        let above = bbox.top - height;
        let top = if above >= 0 { above } else { bbox.top.max(0) };
        let top = top.min(canvas.height() - height).max(0);

        let background = colour(object);
        canvas.fill(Rectangle { left, top, right: left + width, bottom: top + height }, background);
        let mut x = left as f32 + margin;
        let baseline = top as f32 + margin / 2.0 + scaled.ascent();
        for character in text.chars() {
            let mut glyph = scaled.scaled_glyph(character);
            x += scaled.h_advance(glyph.id);
            glyph.position = point(x - scaled.h_advance(glyph.id), baseline);
            if let Some(shape) = font.outline_glyph(glyph) {
                let bounds = shape.px_bounds();
                let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
                shape.draw(|dx, dy, coverage| {
                    let place = (left + i64::from(dx), top + i64::from(dy));
                    canvas.blend(place, text_colour(background), coverage);
                });
            }
        }
    }
}

/// The box in whole pixels. Casts of floats saturate, and the bound keeps later sums from overflowing.
fn outline(bbox: &BoundingBox) -> Rectangle {
    const FAR: f32 = 1e9;
    let whole = |side: f32| side.clamp(-FAR, FAR).round() as i64;
    Rectangle {
        left: whole(bbox.x1),
        top: whole(bbox.y1),
        right: whole(bbox.x2),
        bottom: whole(bbox.y2),
    }
}
