//! docs/recipes.md and the files of docs/recipes/, as the tests run them.

use std::fs;

use testkit::workspace_root;

/// The sections whose commands a test of this folder runs.
pub(super) const FOLDER: &str = "A folder every night";
pub(super) const CAMERA: &str = "A camera";
pub(super) const WEBHOOKS: &str = "Webhooks into a database";
pub(super) const NOTEBOOK: &str = "A notebook";
pub(super) const PROXIES: &str = "Behind nginx, Caddy or Traefik";
pub(super) const OBJECT_STORE: &str = "Events of S3 and MinIO";
pub(super) const FLASK: &str = "Moving over from the Flask application";
pub(super) const OTHER_SERVERS: &str = "Moving over from other servers";

/// What the page says before a block whose commands no test runs.
const MARK: &str = "not run by a test";

/// A fenced block of the page.
struct Block {
    section: String,
    language: String,
    is_marked: bool,
    text: String,
}

fn read() -> String {
    fs::read_to_string(workspace_root().join("docs/recipes.md")).unwrap()
}

fn all_blocks() -> Vec<Block> {
    let (mut blocks, mut section) = (Vec::new(), String::new());
    // The last paragraph before a block.
    let mut paragraph = String::new();
    let mut was_blank = false;
    let mut open: Option<Block> = None;
    for line in read().lines() {
        if let Some(block) = &mut open {
            if line == "```" {
                blocks.extend(open.take());
                paragraph.clear();
            } else {
                block.text += line;
                block.text += "\n";
            }
        } else if let Some(language) = line.strip_prefix("```") {
            let is_marked = paragraph.to_lowercase().contains(MARK);
            let (section, language) = (section.clone(), language.to_owned());
            open = Some(Block { section, language, is_marked, text: String::new() });
        } else {
            if let Some(heading) = line.strip_prefix("## ") {
                section = heading.to_owned();
            }
            if was_blank {
                paragraph.clear();
            }
            was_blank = line.is_empty();
            if !was_blank {
                paragraph = format!("{paragraph} {line}");
            }
        }
    }
    blocks
}

/// The blocks of a section in this language, without those that the page marks. The test knows how many there are, so
/// none is left out when the page gets another one.
pub(super) fn blocks<const COUNT: usize>(section: &str, language: &str) -> [String; COUNT] {
    let is_wanted = |block: &Block| {
        (&*block.section, &*block.language) == (section, language) && !block.is_marked
    };
    let found: Vec<_> =
        all_blocks().into_iter().filter(is_wanted).map(|block| block.text).collect();
    found
        .try_into()
        .unwrap_or_else(|found| panic!("{COUNT} blocks are run, and there are {found:#?}"))
}

/// A file of docs/recipes/ with the test's addresses and paths in place of those that it shows.
pub(super) fn file(name: &str, shown_and_actual: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(workspace_root().join("docs/recipes").join(name)).unwrap();
    for (shown, actual) in shown_and_actual {
        assert!(text.contains(shown), "{name} has no {shown}");
        text = text.replace(shown, actual);
    }
    text
}

#[test]
fn each_command_is_run_or_marked() {
    let run = [FOLDER, CAMERA, WEBHOOKS, NOTEBOOK, PROXIES, OBJECT_STORE, FLASK, OTHER_SERVERS];
    for block in all_blocks().iter().filter(|block| block.language == "bash") {
        let is_run = run.contains(&&*block.section);
        assert!(is_run || block.is_marked, "who runs {}?", block.text);
    }
}

#[test]
fn the_page_names_each_file_and_shows_what_is_in_it() {
    let page = read();
    let mut lines = Vec::new();
    for file in fs::read_dir(workspace_root().join("docs/recipes")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(page.contains(&format!("](recipes/{name})")), "the page does not link {name}");
        lines.extend(fs::read_to_string(&path).unwrap().lines().map(|line| line.trim().to_owned()));
    }
    let shown =
        all_blocks().into_iter().filter(|block| ["python", "nginx"].contains(&&*block.language));
    for line in shown.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(lines.iter().any(|found| found == line.trim()), "no file has the line {line}");
    }
}
