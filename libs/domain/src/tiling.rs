//! How a large picture is cut into overlapping tiles, each of which is run besides the whole.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most tiles of a picture: a request must not take a worker for minutes.
const MAX_TILES: u32 = 64;

/// The longest side of a tile that [`Tiles::Auto`] chooses, in pixels of the picture. `docs/small-objects.md` has the
/// measurement.
const AUTO_SIDE: u32 = 800;

/// How a picture is cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tiling {
    /// Into how many.
    pub tiles: Tiles,
    /// How much neighbours have in common.
    #[serde(default)]
    pub overlap: TileOverlap,
}

impl Tiling {
    /// The columns and rows of tiles of a picture of `width` × `height` pixels.
    #[must_use]
    pub fn grid(&self, width: u32, height: u32) -> TileGrid {
        match self.tiles {
            Tiles::Auto => TileGrid::for_size(width, height, self.overlap),
            Tiles::Grid(grid) => grid,
        }
    }

    /// The tiles of a picture of `width` × `height` pixels, row by row. None where there is a single one: it would be
    /// the whole picture.
    #[must_use]
    pub fn tiles(&self, width: u32, height: u32) -> Vec<Tile> {
        let grid = self.grid(width, height);
        if grid.count() == 1 {
            return Vec::new();
        }
        let columns = spans(width, grid.columns, self.overlap);
        let rows = spans(height, grid.rows, self.overlap);
        let tile =
            |&(y, height): &(u32, u32), &(x, width): &(u32, u32)| Tile { x, y, width, height };
        rows.iter().flat_map(|row| columns.iter().map(move |column| tile(row, column))).collect()
    }

    /// How often the model runs for a picture of this size: once for each tile, and once for the whole.
    #[must_use]
    pub fn runs(&self, width: u32, height: u32) -> u32 {
        match self.grid(width, height).count() {
            1 => 1,
            tiles => tiles + 1,
        }
    }
}

/// Start and length of each of `count` parts of a side, which overlap by `overlap` of their length.
fn spans(side: u32, count: u32, overlap: TileOverlap) -> Vec<(u32, u32)> {
    let parts = f64::from(count);
    let length = f64::from(side) / (parts - (parts - 1.0) * f64::from(overlap.get()));
    // No part is empty, nor reaches beyond the side.
    let length = (length.ceil() as u32).clamp(1, side.max(1));
    let last = side.saturating_sub(length);
    let start = |place: u32| match count {
        1 => 0,
        _ => (f64::from(last) * f64::from(place) / (parts - 1.0)).round() as u32,
    };
    (0..count).map(|place| (start(place), length)).collect()
}

/// A part of a picture, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

/// Into how many tiles a picture is cut: `auto`, or columns and rows as in `3x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tiles {
    /// As many as its size asks for.
    Auto,
    /// So many columns and rows.
    Grid(TileGrid),
}

/// Columns and rows of tiles, at most 64 of them. As text: `3x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileGrid {
    columns: u32,
    rows: u32,
}

/// A text that is not a number of tiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTiles {
    /// It is something else.
    #[error("tiles must be auto, or columns and rows as in 3x2, got '{0}'")]
    Unreadable(String),
    /// There are too many.
    #[error("tiles must be at most {MAX_TILES}, got {0} × {1}")]
    TooMany(u32, u32),
}

impl TileGrid {
    /// A grid of so many columns and rows.
    ///
    /// # Errors
    /// [`InvalidTiles::TooMany`]; [`InvalidTiles::Unreadable`] for none.
    pub fn new(columns: u32, rows: u32) -> Result<Self, InvalidTiles> {
        match columns.checked_mul(rows) {
            Some(0) => Err(InvalidTiles::Unreadable(format!("{columns}x{rows}"))),
            Some(1..=MAX_TILES) => Ok(Self { columns, rows }),
            _ => Err(InvalidTiles::TooMany(columns, rows)),
        }
    }

    /// The fewest columns and rows with tiles of at most [`AUTO_SIDE`], or the most tiles there may be.
    fn for_size(width: u32, height: u32, overlap: TileOverlap) -> Self {
        let step = f64::from(AUTO_SIDE) * f64::from(1.0 - overlap.get());
        let parts = |side: u32| {
            let beyond_first = f64::from(side.saturating_sub(AUTO_SIDE));
            1 + (beyond_first / step).ceil() as u32
        };
        let (mut columns, mut rows) = (parts(width), parts(height));
        while columns.saturating_mul(rows) > MAX_TILES {
            *(if columns > rows { &mut columns } else { &mut rows }) -= 1;
        }
        Self { columns, rows }
    }

    /// The number of tiles.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.columns * self.rows
    }
}

impl fmt::Display for TileGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.columns, self.rows)
    }
}

/// `x`, `X`, `×` or `*` stands between the two numbers.
impl FromStr for TileGrid {
    type Err = InvalidTiles;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || InvalidTiles::Unreadable(text.chars().take(64).collect());
        let (columns, rows) = text.split_once(['x', 'X', '×', '*']).ok_or_else(unreadable)?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| unreadable());
        Self::new(number(columns)?, number(rows)?)
    }
}

impl FromStr for Tiles {
    type Err = InvalidTiles;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("auto") {
            Ok(Self::Auto)
        } else {
            text.parse().map(Self::Grid)
        }
    }
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Grid(grid) => grid.fmt(f),
        }
    }
}

impl TryFrom<String> for Tiles {
    type Error = InvalidTiles;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Tiles> for String {
    fn from(tiles: Tiles) -> Self {
        tiles.to_string()
    }
}

/// The share of a tile's side that it has in common with its neighbour, from 0 to 0.5. Default 0.2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct TileOverlap(f32);

impl TileOverlap {
    /// The largest: beyond a half, a tile would overlap the one after the next.
    pub const MAX: f32 = 0.5;

    /// The share.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

/// A number that is not an overlap.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("overlap must be a number from 0 to {max}, got '{0}'", max = TileOverlap::MAX)]
pub struct InvalidTileOverlap(String);

impl Default for TileOverlap {
    fn default() -> Self {
        Self(0.2)
    }
}

impl TryFrom<f32> for TileOverlap {
    type Error = InvalidTileOverlap;

    fn try_from(value: f32) -> Result<Self, Self::Error> {
        if (0.0..=Self::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(InvalidTileOverlap(value.to_string()))
        }
    }
}

impl From<TileOverlap> for f32 {
    fn from(overlap: TileOverlap) -> Self {
        overlap.0
    }
}

impl FromStr for TileOverlap {
    type Err = InvalidTileOverlap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value: f32 =
            text.parse().map_err(|_| InvalidTileOverlap(text.chars().take(64).collect()))?;
        Self::try_from(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(tiles: &str, overlap: f32) -> Tiling {
        Tiling { tiles: tiles.parse().unwrap(), overlap: overlap.try_into().unwrap() }
    }

    #[test]
    fn a_number_of_tiles_is_read_as_people_write_it() {
        for (text, expected) in [
            ("auto", "auto"),
            (" Auto", "auto"),
            ("3x2", "3x2"),
            ("3 X 2", "3x2"),
            ("8×8", "8x8"),
            ("64*1", "64x1"),
        ] {
            assert_eq!(text.parse::<Tiles>().unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "3", "3x", "x2", "0x2", "2x0", "-1x2", "1.5x2", "3x2x1", "many"] {
            let error = bad.parse::<Tiles>().unwrap_err().to_string();
            assert!(error.starts_with("tiles must be auto, or columns and rows"), "{bad}: {error}");
        }
        for many in ["65x1", "9x8", "4294967295x4294967295"] {
            let error = many.parse::<Tiles>().unwrap_err().to_string();
            assert!(error.starts_with("tiles must be at most 64"), "{many}: {error}");
        }
    }

    #[test]
    fn an_overlap_is_at_most_a_half() {
        for good in ["0", "0.25", "0.5"] {
            assert!(good.parse::<TileOverlap>().is_ok(), "{good}");
        }
        for bad in ["-0.1", "0.51", "NaN", "inf", "", "half"] {
            let error = bad.parse::<TileOverlap>().unwrap_err().to_string();
            assert!(error.starts_with("overlap must be a number from 0 to 0.5, got"), "{error}");
        }
    }

    #[test]
    fn tiles_cover_every_pixel_and_no_other() {
        for (width, height) in [(1, 1), (3, 2), (7, 1000), (640, 480), (3840, 2160), (20_000, 3000)]
        {
            for tiles in ["auto", "1x1", "1x7", "3x2", "8x8", "64x1"] {
                for overlap in [0.0, 0.2, 0.5] {
                    let tiling = tiling(tiles, overlap);
                    let found = tiling.tiles(width, height);
                    let count = tiling.grid(width, height).count();
                    let expected = if count == 1 { 0 } else { count };
                    assert_eq!(found.len(), expected as usize);
                    let what = format!("{width}×{height}, {tiles}, {overlap}");
                    assert!(covers(found.iter().map(|tile| (tile.x, tile.width)), width), "{what}");
                    assert!(
                        covers(found.iter().map(|tile| (tile.y, tile.height)), height),
                        "{what}"
                    );
                }
            }
        }
    }

    /// Whether spans reach from 0 to `side`, without a gap, or there are none.
    fn covers(spans: impl Iterator<Item = (u32, u32)>, side: u32) -> bool {
        let mut spans: Vec<_> = spans.collect();
        spans.sort_unstable();
        let mut end = 0;
        for &(start, length) in &spans {
            if start > end || length == 0 || start + length > side {
                return false;
            }
            end = end.max(start + length);
        }
        spans.is_empty() || end == side
    }

    #[test]
    fn neighbours_overlap_by_their_share() {
        let tiles = tiling("4x1", 0.25).tiles(1300, 100);
        let spans: Vec<_> = tiles.iter().map(|tile| (tile.x, tile.width)).collect();
        assert_eq!(spans, [(0, 400), (300, 400), (600, 400), (900, 400)]);
    }

    #[test]
    fn the_number_of_tiles_follows_the_size() {
        let auto = tiling("auto", 0.2);
        for (width, height, expected, runs) in [
            (640, 480, "1x1", 1),
            (AUTO_SIDE, AUTO_SIDE, "1x1", 1),
            (AUTO_SIDE + 1, 100, "2x1", 3),
            (1920, 1080, "3x2", 7),
            (3840, 2160, "6x4", 25),
            (2160, 3840, "4x6", 25),
            (u32::MAX, u32::MAX, "8x8", 65),
            (u32::MAX, 1, "64x1", 65),
        ] {
            let grid = auto.grid(width, height);
            assert_eq!((grid.to_string().as_str(), auto.runs(width, height)), (expected, runs));
            for tile in auto.tiles(width.min(40_000), height) {
                assert!(tile.width <= AUTO_SIDE || grid.count() == MAX_TILES || width > 40_000);
            }
        }
    }

    #[test]
    fn settings_survive_their_json() {
        for tiling in [tiling("auto", 0.2), tiling("3x2", 0.0)] {
            let json = serde_json::to_string(&tiling).unwrap();
            assert_eq!(serde_json::from_str::<Tiling>(&json).unwrap(), tiling, "{json}");
        }
        assert!(serde_json::from_str::<Tiling>(r#"{"tiles":"9x9"}"#).is_err());
    }
}
