//! The names of entries, which nobody may use as paths as they are.

use crate::upload::{multipart::without_controls, rules::MAX_FILE_NAME_CHARS};

/// The name of the picture in an entry: its path without what leads out of a folder, and without control characters.
pub(crate) fn entry_name(raw: &[u8]) -> String {
    let text = without_controls(&String::from_utf8_lossy(raw)).replace('\\', "/");
    let is_kept = |part: &&str| !matches!(part.trim(), "" | "." | "..") && !part.ends_with(':');
    let parts: Vec<_> = text.split('/').filter(is_kept).collect();
    let path = parts.join("/");
    // The end of a long path has the name of the file.
    let skipped = path.chars().count().saturating_sub(MAX_FILE_NAME_CHARS);
    path.chars().skip(skipped).collect()
}

/// Whether an entry is no picture of its client: a folder, or what systems add to archives.
pub(crate) fn is_ignored(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw).replace('\\', "/");
    let is_of_system = |part: &str| {
        part == "__MACOSX"
            || part.starts_with("._")
            || part.eq_ignore_ascii_case("Thumbs.db")
            || part.eq_ignore_ascii_case("desktop.ini")
            || part == ".DS_Store"
    };
    text.ends_with('/') || text.split('/').any(is_of_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere() {
        let cases: [(&[u8], &str); 9] = [
            (b"bus.jpg", "bus.jpg"),
            (b"a/b/bus.jpg", "a/b/bus.jpg"),
            (b"../../etc/passwd", "etc/passwd"),
            (b"/etc/./passwd", "etc/passwd"),
            (b"C:\\Windows\\..\\win.ini", "Windows/win.ini"),
            (b"\\\\server\\share\\a.png", "server/share/a.png"),
            ("caf\u{e9}/\u{732b}.png".as_bytes(), "caf\u{e9}/\u{732b}.png"),
            (b"a\x00b\x1b[2J\n.png", "a\u{FFFD}b\u{FFFD}[2J\u{FFFD}.png"),
            (b"caf\x82.png", "caf\u{FFFD}.png"),
        ];
        for (raw, expected) in cases {
            assert_eq!(entry_name(raw), expected, "{raw:?}");
        }
        let long = entry_name(format!("{}/{}.png", "d".repeat(300), "f".repeat(200)).as_bytes());
        assert_eq!(long.chars().count(), MAX_FILE_NAME_CHARS);
        assert!(long.ends_with("f.png"), "{long}");
    }

    #[test]
    fn what_systems_add_is_ignored() {
        for raw in [
            "a/",
            "a\\",
            "__MACOSX/._bus.jpg",
            "x/__MACOSX/a",
            "x/._a.jpg",
            ".DS_Store",
            "THUMBS.DB",
        ] {
            assert!(is_ignored(raw.as_bytes()), "{raw}");
        }
        for raw in ["a", "MACOSX.jpg", ".hidden.jpg", "a_.jpg"] {
            assert!(!is_ignored(raw.as_bytes()), "{raw}");
        }
    }
}
