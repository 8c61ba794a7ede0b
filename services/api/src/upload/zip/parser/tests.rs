use std::{collections::BTreeMap, fs};

use serde_json::Value;

use super::*;

const LIMITS: ZipLimits = ZipLimits { max_entries: 100, max_bytes: 32 << 20 };

/// The entries of an archive that arrives in segments: name, content, and why there is none.
type Read = (Vec<(Vec<u8>, Vec<u8>, Option<EntryError>)>, Option<ZipError>);

fn read(archive: &[u8], segment: usize, limits: ZipLimits) -> Read {
    let (mut parser, mut segments) = (Parser::new(limits), archive.chunks(segment));
    let mut entries: Vec<(Vec<u8>, Vec<u8>, Option<EntryError>)> = Vec::new();
    loop {
        match parser.next() {
            Ok(Event::NeedsMore) => match segments.next() {
                Some(segment) => parser.feed(segment),
                None => parser.finish(),
            },
            Ok(Event::Entry(name)) => entries.push((name, Vec::new(), None)),
            Ok(Event::Content(bytes)) => entries.last_mut().unwrap().1.extend(bytes),
            Ok(Event::EntryEnd(end)) => entries.last_mut().unwrap().2 = end.err(),
            Ok(Event::End) => return (entries, None),
            Err(error) => return (entries, Some(error)),
        }
    }
}

fn archives() -> BTreeMap<String, Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zips");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let archives = files.filter(|path| path.extension().is_some_and(|end| end == "zip"));
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    };
    archives.map(read).collect()
}

#[test]
fn what_is_read_does_not_depend_on_the_segments() {
    let archives = archives();
    assert!(archives.len() > 25);
    for (name, archive) in archives {
        let whole = read(&archive, usize::MAX, LIMITS);
        let sizes: &[usize] = if archive.len() < 4096 { &[1, 2, 3, 7, 64] } else { &[1000] };
        for segment in sizes {
            assert_eq!(read(&archive, *segment, LIMITS), whole, "{name} in segments of {segment}");
        }
    }
}

#[test]
fn archives_of_all_programs_are_read() {
    let archives = archives();
    for name in ["infozip", "infozip-streamed", "infozip-streamed-stored", "seven", "bsdtar"] {
        let (entries, error) = read(&archives[&format!("{name}.zip")], usize::MAX, LIMITS);
        assert_eq!(error, None, "{name}");
        let files = entries.iter().filter(|(name, ..)| !name.ends_with(b"/"));
        let found: Vec<_> = files.map(|(_, content, error)| (content.len(), error)).collect();
        assert_eq!(found.len(), 3, "{name}");
        assert!(found.iter().all(|(length, error)| *length >= 35 && error.is_none()), "{name}");
    }
}

#[test]
fn the_limits_are_kept() {
    let archive = &archives()["python.zip"];
    let few = ZipLimits { max_entries: 1, ..LIMITS };
    let (entries, error) = read(archive, usize::MAX, few);
    assert_eq!((entries.len(), error), (1, Some(ZipError::TooManyEntries { max_entries: 1 })));
    let short = ZipLimits { max_bytes: 40, ..LIMITS };
    let (_, error) = read(archive, usize::MAX, short);
    assert_eq!(error, Some(ZipError::TooManyBytes { max_bytes: 40 }));
    let bomb = &archives()["bomb.zip"];
    let (_, error) = read(bomb, usize::MAX, ZipLimits { max_bytes: 1 << 20, ..LIMITS });
    assert_eq!(error, Some(ZipError::TooManyBytes { max_bytes: 1 << 20 }));
}

#[test]
fn what_is_passed_over_is_not_inflated() {
    let bomb = &archives()["bomb.zip"];
    let limits = ZipLimits { max_bytes: 1 << 20, ..LIMITS };
    let mut parser = Parser::new(limits);
    parser.feed(bomb);
    parser.finish();
    assert_eq!(parser.next(), Ok(Event::Entry(b"a.bin".to_vec())));
    assert!(matches!(parser.next(), Ok(Event::Content(_))));
    parser.discard();
    assert_eq!(parser.next(), Ok(Event::EntryEnd(Ok(()))));
    assert_eq!(parser.next(), Ok(Event::Entry(b"a.gif".to_vec())));
    assert!(parser.bytes < 1 << 20, "{}", parser.bytes);
    // Without a size in its header, it has to be.
    let streamed = &archives()["bomb-streamed.zip"];
    let mut parser = Parser::new(LIMITS);
    parser.feed(streamed);
    assert_eq!(parser.next(), Ok(Event::Entry(b"a.bin".to_vec())));
    parser.discard();
    assert_eq!(parser.next(), Err(ZipError::Bomb { number: 1 }));
    assert!(parser.bytes < 4 << 20, "{}", parser.bytes);
}

/// `expected.json` is about pictures; those that are not refused as such are entries here as well.
#[test]
fn each_error_of_an_archive_is_as_expected() {
    let expected = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zips/expected.json");
    let expected: Value = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
    let archives = archives();
    assert_eq!(expected.as_object().unwrap().len(), archives.len());
    for (name, archive) in archives {
        if name == "bomb-streamed.zip" {
            continue;
        }
        let (_, error) = read(&archive, usize::MAX, LIMITS);
        match expected[&name]["error"].as_str() {
            Some(words) => {
                let text = error.expect(&name).to_string();
                assert!(text.contains(words), "{name}: {text}");
            }
            None => assert_eq!(error, None, "{name}"),
        }
    }
}
