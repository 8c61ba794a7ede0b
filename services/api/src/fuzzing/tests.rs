//! Every seed is read, and so are inputs made from the seeds without a fuzzer.

use std::fs;

use super::*;

/// How many inputs are made from the seeds of a target. `MUTATIONS` sets another number, for a long run.
const MUTATIONS: u64 = 300;

/// The seeds of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Numbers that look random (splitmix64).
struct Numbers(u64);

impl Numbers {
    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(mixed >> 33).unwrap() % end.max(1)
    }
}

/// One of the seeds with a few changes: bytes, a length, a piece of another seed, an end that is missing.
fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len());
        match numbers.below(6) {
            0 => input.truncate(at),
            1 => {
                let other = &seeds[numbers.below(seeds.len())];
                let piece = &other[numbers.below(other.len())..];
                input.splice(at..at, piece.iter().copied().take(1 + numbers.below(64)));
            }
            2 => {
                let end = input.len().min(at + 1 + numbers.below(16));
                input.drain(at.min(end)..end);
            }
            3 => {
                let number = [0, 1, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff_u32][numbers.below(6)];
                let places = input.iter_mut().skip(at).take(4);
                places.zip(number.to_le_bytes()).for_each(|(place, byte)| *place = byte);
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = u8::try_from(numbers.below(256)).unwrap();
                }
            }
        }
    }
    input
}

/// Runs `target` on inputs made from its seeds. They are the same in each run.
fn run_mutated(target: &str, run: impl Fn(&[u8])) {
    let seeds = seeds(target);
    let rounds = std::env::var("MUTATIONS").map_or(MUTATIONS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let input = mutated(&seeds, &mut Numbers(round));
        let reading = std::panic::AssertUnwindSafe(|| run(&input));
        if let Err(panic) = std::panic::catch_unwind(reading) {
            eprintln!("{target}: round {round}: {input:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn archives_made_from_the_seeds_are_read() {
    run_mutated("zip", |input| {
        let Some(([low, high], archive)) = input.split_first_chunk() else { return };
        let split_at = usize::from(u16::from_le_bytes([*low, *high])).min(archive.len());
        assert_eq!(entries(archive, split_at), entries(archive, archive.len()));
    });
}

#[test]
fn batches_made_from_the_seeds_are_read() {
    run_mutated("batch", |input| {
        let Some(upload) = Upload::from_input(input) else { return };
        let (pictures, status) = batch(&upload);
        assert!(pictures <= 8, "{pictures} pictures");
        assert!(matches!(status, 200 | 400 | 403 | 408 | 413 | 415), "status {status}");
    });
}

#[test]
fn credentials_made_from_the_seeds_are_read() {
    run_mutated("credentials", credentials);
}

#[test]
fn forms_made_from_the_seeds_are_read() {
    run_mutated("multipart", |input| {
        let Some(upload) = Upload::from_input(input) else { return };
        let split = answers(&upload);
        for (status, text) in &split {
            assert!(matches!(status, 200 | 400 | 403 | 413 | 415), "status {status}: {text}");
        }
        assert_eq!(split, answers(&Upload { split_at: upload.body.len(), ..upload }));
    });
}

#[test]
fn inference_requests_made_from_the_seeds_are_read() {
    run_mutated("inference", |input| {
        let Some((upload, json_length)) = inference_from(input) else { return };
        let (pictures, status) = inference(&upload, json_length);
        assert!(pictures <= 32, "{pictures} pictures");
        assert!(matches!(status, 200 | 400 | 413 | 415), "status {status}");
    });
}

#[test]
fn images_made_from_the_seeds_are_read() {
    run_mutated("images", |input| {
        let Some(upload) = Upload::from_input(input) else { return };
        let split = images(&upload);
        assert!(split.0 <= 32, "{} pictures", split.0);
        assert!(matches!(split.1, 200 | 400 | 413 | 415), "status {}", split.1);
        assert_eq!(split, images(&Upload { split_at: upload.body.len(), ..upload }));
    });
}

#[test]
fn the_seeds_of_images_are_read() {
    let read = |input: &Vec<u8>| images(&Upload::from_input(input).unwrap());
    let pictures: usize = seeds("images").iter().map(|input| read(input).0).sum();
    assert!(pictures > 5, "only {pictures} pictures");
}

#[test]
fn the_seeds_of_inference_requests_are_read() {
    let mut pictures = 0;
    for input in seeds("inference") {
        let (upload, json_length) = inference_from(&input).unwrap();
        let whole = inference(&Upload { split_at: upload.body.len(), ..upload }, json_length);
        pictures += whole.0;
        for split_at in (0..upload.body.len()).step_by(1 + upload.body.len() / 100) {
            assert_eq!(inference(&Upload { split_at, ..upload }, json_length), whole);
        }
    }
    assert!(pictures > 5, "only {pictures} pictures");
}

#[test]
fn places_made_from_the_seeds_are_read() {
    run_mutated("places", |input| places(&String::from_utf8_lossy(input)));
}

#[test]
fn every_header_chooses_a_format_or_none() {
    let cases: [(&[u8], _); 4] = [
        (b"text/csv", Some("text/csv")),
        (b"image/png", None),
        (b"\xff;;q=,\"", Some("application/json")),
        (b"a\nb", Some("application/json")),
    ];
    for (accept, expected) in cases {
        assert_eq!(accepted(accept), expected, "{accept:?}");
    }
}

#[test]
fn the_seeds_of_credentials_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/credentials");
    let seeds: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(seeds.len() > 5);
    seeds.into_iter().for_each(|seed| credentials(&fs::read(seed.unwrap().path()).unwrap()));
}

#[test]
fn the_seeds_of_places_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/places");
    let seeds: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(seeds.len() > 5);
    seeds.into_iter().for_each(|seed| places(&fs::read_to_string(seed.unwrap().path()).unwrap()));
}

#[test]
fn the_seeds_of_batches_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let mut pictures = 0;
    for seed in fs::read_dir(format!("{folder}/batch")).unwrap() {
        let input = fs::read(seed.unwrap().path()).unwrap();
        let upload = Upload::from_input(&input).unwrap();
        let whole = batch(&Upload { split_at: upload.body.len(), ..upload });
        pictures += whole.0;
        for split_at in (0..upload.body.len()).step_by(1 + upload.body.len() / 100) {
            assert_eq!(batch(&Upload { split_at, ..upload }), whole);
        }
    }
    assert!(pictures > 10, "only {pictures} pictures");
    for seed in fs::read_dir(format!("{folder}/zip")).unwrap() {
        let input = fs::read(seed.unwrap().path()).unwrap();
        let (_, archive) = input.split_first_chunk::<2>().unwrap();
        let whole = entries(archive, archive.len());
        for split_at in (0..archive.len()).step_by(1 + archive.len() / 100) {
            assert_eq!(entries(archive, split_at), whole);
        }
    }
}

#[test]
fn the_responses_to_the_seeds_do_not_depend_on_the_split() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/multipart");
    let mut accepted = 0;
    for seed in fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        let input = fs::read(&path).unwrap();
        let upload = Upload::from_input(&input).unwrap();
        let whole = answers(&Upload { split_at: upload.body.len(), ..upload });
        for (status, text) in &whole {
            assert!(matches!(status, 200 | 400 | 403 | 413 | 415), "{path:?}: {status} {text}");
            accepted += usize::from(*status == 200);
        }
        // Every byte of short bodies, some of long ones.
        for split_at in (0..upload.body.len()).step_by(1 + upload.body.len() / 500) {
            let split = answers(&Upload { split_at, ..upload });
            assert_eq!(split, whole, "{path:?} split at {split_at}");
        }
    }
    assert!(accepted > 20, "only {accepted} of them are pictures");
}
