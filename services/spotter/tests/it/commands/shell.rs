//! `spotter completions` and `spotter man`.

use std::{fs, process::Command};

use testkit::workspace_root;

use crate::harness::{Ended, spotter};

/// Every command and subcommand, as the help of each lists them.
fn commands(path: &[String]) -> Vec<Vec<String>> {
    let help = Ended::of(spotter(path).arg("--help"));
    assert_eq!(help.code, Some(0), "{help:?}");
    let listed = help.stdout.iter().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        // A name is indented by two; the lines that its text is wrapped into, by more.
        let name = line.strip_prefix("  ")?.split_whitespace().next()?;
        (line.as_bytes()[2] != b' ' && name != "help").then(|| name.to_owned())
    });
    let mut all = vec![path.to_vec()];
    all.extend(names.flat_map(|name| commands(&[path, &[name]].concat())));
    all
}

#[test]
fn every_command_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_eq!(Ended::of(spotter(["man"]).arg(&pages)).code, Some(0));
    let commands = commands(&[]);
    for known in ["submit", "tasks", "cancel", "man"] {
        assert!(commands.contains(&vec![known.to_owned()]), "{known}: {commands:?}");
    }
    assert!(commands.contains(&vec!["model".to_owned(), "add".to_owned()]), "{commands:?}");
    for command in &commands {
        let name = [&["spotter".to_owned()], &command[..]].concat().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    assert_eq!(fs::read_dir(&pages).unwrap().count(), commands.len());
    let document = fs::read_to_string(workspace_root().join("docs/commands.md")).unwrap();
    let listed: String = document.lines().filter(|line| line.starts_with("| `")).collect();
    for name in commands.iter().filter_map(|command| command.first()) {
        let is_listed = [format!("`spotter {name}`"), format!(", `{name}`")]
            .iter()
            .any(|form| listed.contains(form));
        assert!(is_listed, "docs/commands.md lacks {name}");
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("spotter.bash");
    let printed = Ended::of(spotter(["completions", "bash"]));
    assert_eq!(printed.code, Some(0), "{printed:?}");
    fs::write(&script, printed.stdout.join("\n")).unwrap();
    let cases = [
        (&["spotter", "sub"][..], "submit"),
        (&["spotter", "submit", "--fol"], "--folder"),
        (&["spotter", "model", "co"], "compare"),
        (&["spotter", "tasks", "--state", "q"], "queued"),
    ];
    for (words, expected) in cases {
        let line = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _spotter spotter {} {}; echo ${{COMPREPLY[@]}}",
            script.display(),
            words.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
    }
}

#[test]
fn every_shell_of_the_help_has_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let printed = Ended::of(spotter(["completions", shell]));
        assert!(printed.stdout.iter().any(|line| line.contains("submit")), "{printed:?}");
    }
}
