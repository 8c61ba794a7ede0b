//! Redirects: each target takes the same checks.

use outbound::RequestError;
use testkit::HttpServer;

use crate::names::{Names, body, client, get, ok, redirect, rules};

#[tokio::test]
async fn a_redirect_does_not_lead_to_what_is_refused() {
    let trap = HttpServer::start(|_| Some(ok("secret")));
    let port = trap.port();
    let targets = [
        format!("http://127.0.0.2:{port}/"),
        format!("//127.0.0.2:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://2130706434:{port}/"),
        format!("http://inside:{port}/"),
        format!("http://metadata:{port}/latest/meta-data/"),
        format!("http://bob:s3cret@outside:{port}/"),
        "http://outside:22/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
        "gopher://outside:70/".to_owned(),
        "http://[::1".to_owned(),
    ];
    let names = Names::default()
        .answer("outside", &[&["127.0.0.1"]])
        .answer("inside", &[&["127.0.0.2"]])
        .answer("metadata", &[&["169.254.169.254"]]);
    for target in targets {
        let location = target.clone();
        let server = HttpServer::start(move |_| Some(redirect(302, &location)));
        let client = client(rules(&[server.port(), port], "127.0.0.1"), &names);
        let error = body(&client, &format!("http://outside:{}/", server.port())).await.unwrap_err();
        let is_refused = matches!(
            error,
            RequestError::Refused(_) | RequestError::Redirect(_) | RequestError::NoLocation
        );
        assert!(is_refused, "{target}: {error}");
        assert_eq!(server.requests().len(), 1, "{target}");
    }
    assert_eq!(trap.requests(), []);
}

/// The same name has another address by the time of the redirect.
#[tokio::test]
async fn a_name_is_checked_again_for_each_redirect() {
    let server = HttpServer::start(|_| Some(redirect(307, "/again")));
    let trap_address = format!("127.0.0.2:{}", server.port());
    let trap = HttpServer::start_at(&trap_address, |_| Some(ok("secret")));
    let names = Names::default().answer("rebinding", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = client(rules(&[server.port()], "127.0.0.1"), &names);
    let error = body(&client, &format!("http://rebinding:{}/", server.port())).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused(_)), "{error}");
    assert_eq!((server.requests().len(), trap.requests().len()), (1, 0));
}

#[tokio::test]
async fn few_redirects_are_followed() {
    let server = HttpServer::start(|request| {
        Some(match request.path().trim_start_matches('/').parse::<u32>() {
            Ok(0) => ok("the end"),
            Ok(left) => redirect(301, &format!("{}?left", left - 1)),
            Err(_) if request.path() == "/0?left" => ok("the end"),
            Err(_) if request.path() == "/nowhere" => b"HTTP/1.1 302 Found\r\n\r\n".to_vec(),
            Err(_) => {
                let path = request.path();
                let left: u32 = path[1..path.len() - "?left".len()].parse().unwrap();
                redirect(308, &format!("/{}?left", left - 1))
            }
        })
    });
    let names = Names::default();
    let client = client(rules(&[server.port()], "127.0.0.1"), &names);
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port());
    for path in ["0", "1", "3"] {
        let answer = get(&client, &url(path)).await.unwrap();
        assert!(answer.url().path() == "/0", "{path}: {}", answer.url());
    }
    let error = get(&client, &url("4")).await.unwrap_err();
    assert_eq!(error, RequestError::TooManyRedirects(3));
    assert_eq!(get(&client, &url("nowhere")).await.unwrap_err(), RequestError::NoLocation);
}
