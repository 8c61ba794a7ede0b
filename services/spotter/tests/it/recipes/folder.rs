//! A folder whose pictures are run every night.

use std::fs;

use serde_json::Value;
use testkit::picture;

use super::{
    page::{FOLDER, blocks, file},
    shell::{Shell, program},
};
use crate::harness::System;

/// A shell for which /srv/pictures has two pictures.
fn shell(system: &System) -> Shell {
    let shell = Shell::new(&system.base);
    let (pictures, results) = (shell.path("pictures"), shell.path("results"));
    let spotter = shell.path("bin/spotter");
    for folder in [&pictures, &results] {
        fs::create_dir(folder).unwrap();
    }
    for name in ["bus.jpg", "zidane.jpg"] {
        fs::copy(picture(name), format!("{pictures}/{name}")).unwrap();
    }
    shell
        .showing("/srv/pictures", &pictures)
        .showing("/var/lib/spotter-folder", &results)
        .showing("/usr/local/bin/spotter", &spotter)
}

fn results(shell: &Shell) -> Vec<Value> {
    let text = fs::read_to_string(shell.path("results/results.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_night_runs_what_is_new() {
    let system = System::start();
    let _worker = system.worker();
    let shell = shell(&system);
    let [submit, count, tables] = blocks(FOLDER, "bash");
    shell.run(&submit);
    assert_eq!(results(&shell).len(), 2);

    let [crontab] = blocks(FOLDER, "cron");
    let fields: Vec<&str> = crontab.trim().splitn(6, ' ').collect();
    assert_eq!(fields[..5], ["30", "2", "*", "*", "*"]);
    fs::write(shell.path("pictures/damaged.jpg"), "no picture").unwrap();
    assert_eq!(shell.ended(fields[5]).code, Some(1), "one picture has no result");
    assert_eq!(results(&shell).len(), 3);

    let unit = file("spotter-folder.service", &[]);
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    fs::copy(picture("coffee.png"), shell.path("pictures/coffee.png")).unwrap();
    assert_eq!(shell.ended(command).code, Some(1));
    let results = results(&shell);
    let paths: Vec<_> = results.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert_eq!(paths[2..], ["damaged.jpg", "coffee.png"]);

    if program("jq").is_some() {
        let [counted] = blocks(FOLDER, "text");
        assert_eq!(shell.run(&count), counted.trim_end());
        the_results_can_be_read(&shell, &submit, &tables);
    }
}

fn the_results_can_be_read(shell: &Shell, submit: &str, tables: &str) {
    let mut commands = tables.lines();
    let table = shell.run(commands.next().unwrap());
    assert!(table.contains("\"bus.jpg\",\"bus\",0.873"), "{table}");
    assert_eq!(table.lines().count(), 11, "six of the bus, three of zidane, two of the coffee");
    let failed = shell.run(commands.next().unwrap());
    assert!(failed.starts_with("damaged.jpg: ") && failed.len() > 30, "{failed}");

    // A path with another content has another line; the newest one counts.
    fs::copy(picture("coffee.png"), shell.path("pictures/damaged.jpg")).unwrap();
    shell.run(submit);
    let newest = shell.run(commands.next().unwrap());
    assert_eq!((results(shell).len(), newest.lines().count()), (5, 4));
    assert!(!newest.contains("REFUSED"), "{newest}");
    assert_eq!(commands.next(), None);
}

#[test]
fn systemd_accepts_the_units() {
    let Some(systemd_analyze) = program("systemd-analyze") else { return };
    let shell = Shell::new("");
    let spotter = shell.path("bin/spotter");
    let service = file("spotter-folder.service", &[("/usr/local/bin/spotter", &spotter)]);
    fs::write(shell.path("spotter-folder.service"), service).unwrap();
    fs::write(shell.path("spotter-folder.timer"), file("spotter-folder.timer", &[])).unwrap();
    let verify = format!("{} verify spotter-folder.*", systemd_analyze.display());
    let ended = shell.ended(&verify);
    assert_eq!((ended.code, &*ended.stderr.join("\n")), (Some(0), ""), "{ended:?}");
}
