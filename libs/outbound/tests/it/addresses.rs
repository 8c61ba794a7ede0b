//! Which addresses of a name are connected to.

use std::collections::HashSet;

use outbound::RequestError;
use testkit::HttpServer;

use crate::names::{Names, body, client, ok, rules};

/// Names that lead to what only this machine or its network reaches.
#[tokio::test]
async fn names_of_refused_addresses_are_not_connected_to() {
    let trap = HttpServer::start(|_| Some(ok("secret")));
    let cases: [(&str, &[&str]); 24] = [
        ("loopback", &["127.0.0.1"]),
        ("loopback-of-another-number", &["127.0.0.53"]),
        ("loopback-v6", &["::1"]),
        ("unspecified", &["0.0.0.0"]),
        ("unspecified-v6", &["::"]),
        ("private-10", &["10.0.0.1"]),
        ("private-172", &["172.16.0.1"]),
        ("private-192", &["192.168.1.1"]),
        ("link-local", &["169.254.1.1"]),
        ("link-local-v6", &["fe80::1"]),
        ("metadata", &["169.254.169.254"]),
        ("metadata-v6", &["fd00:ec2::254"]),
        ("metadata-of-another-cloud", &["100.100.100.200"]),
        ("cgnat", &["100.64.0.1"]),
        ("multicast", &["224.0.0.1"]),
        ("broadcast", &["255.255.255.255"]),
        ("mapped", &["::ffff:127.0.0.1"]),
        ("mapped-public", &["::ffff:8.8.8.8"]),
        ("nat64", &["64:ff9b::127.0.0.1"]),
        ("6to4", &["2002:7f00:1::"]),
        ("teredo", &["2001:0:7f00:1::"]),
        ("mixed", &["8.8.8.8", "127.0.0.1"]),
        ("mixed-the-other-way-round", &["127.0.0.1", "8.8.8.8"]),
        ("no-address", &[]),
    ];
    let mut names = Names::default();
    for (name, addresses) in cases {
        names = names.answer(name, &[addresses]);
    }
    let client = client(rules(&[trap.port()], ""), &names);
    let mut texts = HashSet::new();
    for name in cases.iter().map(|(name, _)| *name).chain(["unknown"]) {
        let error = body(&client, &format!("http://{name}:{}/", trap.port())).await.unwrap_err();
        assert!(matches!(error, RequestError::Refused(_)), "{name}: {error}");
        texts.insert(error.to_string());
    }
    for literal in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"] {
        let error = body(&client, &format!("http://{literal}:{}/", trap.port())).await.unwrap_err();
        texts.insert(error.to_string());
    }
    assert_eq!(texts.len(), 1, "a client learns nothing from the words: {texts:?}");
    assert_eq!(trap.requests(), []);
}

#[tokio::test]
async fn an_answer_of_the_dns_that_changes_has_no_effect() {
    let server = HttpServer::start(|_| Some(ok("public")));
    let trap_address = format!("127.0.0.2:{}", server.port());
    let trap = HttpServer::start_at(&trap_address, |_| Some(ok("secret")));
    // The first address stands for a public one.
    let names = Names::default().answer("rebinding", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = client(rules(&[server.port()], "127.0.0.1"), &names);
    let url = format!("http://rebinding:{}/", server.port());
    assert_eq!(body(&client, &url).await.unwrap(), "public");
    assert_eq!(names.lookups(), ["rebinding."], "what was checked is what is connected to");
    let error = body(&client, &url).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused(_)), "{error}");
    assert_eq!((server.requests().len(), trap.requests().len()), (1, 0));
}

#[tokio::test]
async fn an_address_that_nothing_listens_at_is_followed_by_the_next() {
    let server = HttpServer::start(|_| Some(ok("found")));
    let names = Names::default().answer("two", &[&["127.0.0.9", "127.0.0.1"]]);
    let client = client(rules(&[server.port()], "127.0.0.0/8"), &names);
    let url = format!("http://two:{}/", server.port());
    assert_eq!(body(&client, &url).await.unwrap(), "found");
}

#[tokio::test]
async fn an_allowed_origin_is_reached_at_whatever_address() {
    let server = HttpServer::start(|_| Some(ok("found")));
    let names = Names::default().answer("store", &[&["127.0.0.1"]]);
    let origin = format!("http://store:{}", server.port());
    let client = client(rules(&[443], &origin), &names);
    assert_eq!(body(&client, &format!("{origin}/a.jpg")).await.unwrap(), "found");
    assert_eq!(names.lookups(), ["store"], "the name may be completed with a domain");
    let literal = format!("http://127.0.0.1:{}", server.port());
    assert!(body(&client, &literal).await.is_err());
}
