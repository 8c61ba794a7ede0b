//! Checks of docker-compose.yml without an engine; `make test-compose` runs it.

use std::{collections::BTreeSet, fs, process::Command};

use testkit::workspace_root;

fn read(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

/// The variables that the file takes from the environment: `${NAME}`, `${NAME:-default}`.
fn variables(compose: &str) -> BTreeSet<&str> {
    compose.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect()
}

#[test]
fn every_variable_is_documented() {
    let compose = read("docker-compose.yml");
    let documented = read(".env.example") + &read("docs/configuration.md");
    let words: BTreeSet<&str> =
        documented.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    let untold: Vec<&str> = variables(&compose)
        .into_iter()
        .filter(|name| *name != "VARIABLE" && !words.contains(name))
        .collect();
    assert!(untold.is_empty(), "neither .env.example nor docs/configuration.md names {untold:?}");
}

#[test]
fn every_source_of_the_build_is_sent_to_the_builder() {
    let sent = read(".dockerignore");
    let dockerfile = read("deploy/Dockerfile");
    let copied = dockerfile
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from="))
        .flat_map(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            words[..words.len() - 1].to_vec()
        })
        .filter(|word| !word.starts_with("--"));
    for path in copied {
        assert!(workspace_root().join(path).exists(), "{path} is copied and does not exist");
        assert!(sent.lines().any(|line| line == format!("!{path}")), "{path} is not sent");
    }
}

#[test]
fn docker_compose_accepts_it() {
    let docker = |arguments: &[&str]| {
        Command::new("docker").args(arguments).current_dir(workspace_root()).output()
    };
    if !docker(&["compose", "version"]).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no `docker compose` here to read docker-compose.yml with");
        return;
    }
    for profile in ["", "observability", "cluster", "tools"] {
        let arguments =
            ["compose", "--env-file", "/dev/null", "--profile", profile, "config", "--quiet"];
        let output = docker(&arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "profile {profile:?}: {said}");
    }
}
