//! `spotter key`, and commands that use a key.

use serde_json::Value;
use testkit::{Process, eventually, picture};

use crate::harness::{Ended, System, TIMEOUT, spotter};

struct Guarded {
    system: System,
    _worker: Process,
}

impl Guarded {
    /// A system that requires keys.
    fn start() -> Self {
        let system = System::start_with(&[("AUTH", "keys")]);
        let worker = system.worker();
        Self { system, _worker: worker }
    }

    fn key(&self, args: &[&str]) -> Ended {
        let url = self.system.nats.url();
        Ended::of(spotter(["key"]).args(args).args(["--nats-url", &url]))
    }

    fn submit(&self, key: Option<&str>) -> Ended {
        let mut submit = spotter(["submit", "--json", "--api", &self.system.base]);
        if let Some(key) = key {
            submit = submit.env("SPOTTER_API_KEY", key);
        }
        Ended::of(submit.arg(picture("bus.jpg")))
    }

    fn listed(&self) -> Vec<Value> {
        let ended = self.key(&["list", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_key_is_created_used_and_revoked() {
    let guarded = Guarded::start();
    assert_eq!(guarded.listed(), Vec::<Value>::new());
    let created = guarded.key(&[
        "create",
        "--name",
        "door camera",
        "--rate",
        "100/s",
        "--quota",
        "7",
        "--expires",
        "1d",
    ]);
    assert_eq!((created.code, created.stdout.len()), (Some(0), 1), "{created:?}");
    let key = created.stdout[0].clone();
    let id = &key[8..20];
    let (_, secret) = key.rsplit_once('_').unwrap();
    assert!(created.stderr.iter().all(|line| !line.contains(secret)), "{created:?}");
    let listed = guarded.listed();
    assert_eq!(listed.len(), 1);
    for (member, expected) in [
        ("id", Value::from(id)),
        ("name", "door camera".into()),
        ("scopes", Value::from(vec!["submit", "read"])),
        ("rate", "100/s".into()),
        ("quota", 7.into()),
        ("expired", false.into()),
    ] {
        assert_eq!(listed[0][member], expected, "{listed:?}");
    }
    let table = guarded.key(&["list"]);
    assert!(
        table.stdout[1].starts_with(id) && table.stdout[1].ends_with("door camera"),
        "{table:?}"
    );
    for shown in [table.stdout.join(""), listed[0].to_string()] {
        assert!(!shown.contains(secret), "{shown}");
    }

    let submitted = eventually(TIMEOUT, async || {
        let submitted = guarded.submit(Some(&key));
        (submitted.code == Some(0)).then_some(submitted)
    })
    .await;
    assert!(submitted.stdout[0].contains("\"objects\""), "{submitted:?}");
    let without = guarded.submit(None);
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.stdout[0].contains("needs a key"), "{without:?}");

    let revoked = guarded.key(&["revoke", id]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    eventually(TIMEOUT, async || (guarded.submit(Some(&key)).code == Some(1)).then_some(())).await;
    assert_eq!(guarded.listed(), Vec::<Value>::new());
    let again = guarded.key(&["revoke", id]);
    assert_eq!(again.code, Some(1), "{again:?}");
}

#[test]
fn what_no_key_can_have_is_a_usage_error() {
    let wrong: [&[&str]; 8] = [
        &["create"],
        &["create", "--name", ""],
        &["create", "--name", "a", "--scope", "write"],
        &["create", "--name", "a", "--rate", "10"],
        &["create", "--name", "a", "--quota", "0"],
        &["create", "--name", "a", "--expires", "soon"],
        &["revoke"],
        &["revoke", "3F9C02D17A5B"],
    ];
    for args in wrong {
        let ended = Ended::of(spotter(["key"]).args(args));
        assert_eq!(ended.code, Some(64), "{args:?}: {ended:?}");
    }
    let key = Ended::of(spotter(["submit", "--api-key", "a\nb", "x.jpg"]));
    assert_eq!(key.code, Some(64), "{key:?}");
}
