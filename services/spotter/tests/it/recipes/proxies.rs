//! nginx and Caddy in front, with TLS.

use std::{fs, io::Write, thread};

use serde_json::Value;
use testkit::{Certificates, Process, free_port, workspace_root};

use super::{
    nginx::Nginx,
    page::{PROXIES, blocks, file},
    shell::{Shell, program},
};
use crate::harness::{System, TIMEOUT, WAIT};

/// The name in the page and in the files.
const SHOWN: &str = "https://spotter.example.com";

/// The longest wait of the API, in seconds.
const LONGEST_WAIT: u32 = 60;

/// No further ports: neither for the administration, nor for HTTP/1.1 without TLS, nor for HTTP/3, whose port
/// [`free_port`] reserves.
const CADDY_OPTIONS: &str = "{
\tadmin off
\tauto_https disable_redirects
\tdefault_bind 127.0.0.1
\tservers {
\t\tprotocols h1 h2
\t}
}
";

/// A bitmap of about 20 MB.
fn large_bitmap() -> Vec<u8> {
    const SIDE: u32 = 2640;
    let (headers, pixels) = (54, SIDE * SIDE * 3);
    let mut file = b"BM".to_vec();
    for field in [headers + pixels, 0, headers, 40, SIDE, SIDE, 24 << 16 | 1, 0, pixels, 0, 0, 0, 0]
    {
        file.extend(field.to_le_bytes());
    }
    file.resize(file.len() + pixels as usize, 127);
    file
}

/// A shell for which [`SHOWN`] is the proxy at `base`.
fn shell(system: &System, base: &str, certificates: &Certificates) -> Shell {
    let authority = certificates.ca();
    let shell = Shell::new(&system.base).showing(SHOWN, base);
    shell.with("CURL_CA_BUNDLE", authority.to_str().unwrap())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What clients see of the API through the proxy at `base`.
fn assert_clients_are_served(system: &System, base: &str, certificates: &Certificates) {
    let worker = system.worker();
    let shell = shell(system, base, certificates);
    let [commands] = blocks(PROXIES, "bash");
    let answers = shell.run(&commands);
    assert!(answers.contains("\"state\":\"SUCCESS\"") && answers.contains("yolov8n"), "{answers}");
    let index = json(&shell.run(&format!("curl {SHOWN}")));
    assert_eq!(index["documentation"]["openapi"], format!("{base}/openapi.json"));
    for path in ["/metrics", "/health/ready", "/health/live"] {
        let hidden = shell.ended(&format!("curl -o /dev/null -w '%{{http_code}}' {SHOWN}{path}"));
        assert_eq!(hidden.stdout, ["404"], "{path}: {hidden:?}");
    }

    let bitmap = large_bitmap();
    assert!((20_000_000..20_971_520).contains(&bitmap.len()));
    fs::write(shell.path("large.bmp"), bitmap).unwrap();
    let submit =
        |options: &str, name: &str| format!("curl {options} -F file=@{name} {SHOWN}/v1/tasks");
    let large = json(&shell.run(&submit("-H 'Prefer: wait=60'", "large.bmp")));
    assert_eq!((&large["state"], &large["width"]), (&"SUCCESS".into(), &2640.into()));
    // More than a picture may have, and no more than a batch.
    let batch = json(&shell.run(&format!(
        "curl -F file=@large.bmp -F file=@test_images/bus.jpg -F file=@large.bmp {SHOWN}/v1/batches"
    )));
    assert_eq!(batch["received"], 3, "{batch}");
    fs::write(shell.path("too large.bmp"), vec![0; 23_000_000]).unwrap();
    let refused = json(&shell.ended(&submit("", "'too large.bmp'")).stdout.concat());
    assert_eq!(refused["type"], "urn:problem-type:spotter:too-large", "{refused}");

    assert_refused_early(&shell);

    // Nobody runs this task, so its stream stays open, and no end makes the proxy let go of what it holds back. A proxy
    // that holds back may pass on what comes with the header: so this waits for the comment after a silence. nginx holds
    // back over HTTP/1.1 only.
    drop(worker);
    let waiting = json(&shell.run(&submit("-H 'Cache-Control: no-cache'", "test_images/bus.jpg")));
    let events = waiting["links"]["events"].as_str().unwrap();
    let stream = shell.start(&format!("exec curl -N --http1.1 {SHOWN}{events}"));
    stream.wait_for_line(|line| line.text.starts_with("event: "), WAIT);
    stream.wait_for_line(|line| line.text.starts_with(':'), TIMEOUT);
}

/// An upload that has become too large is refused, although it does not end.
fn assert_refused_early(shell: &Shell) {
    shell.run("mkfifo endless");
    let command =
        format!("exec curl -N -X POST -H 'Content-Type: image/bmp' -T . {SHOWN}/v1/tasks");
    let upload = shell.start(&format!("{command} < endless"));
    let mut endless = fs::OpenOptions::new().write(true).open(shell.path("endless")).unwrap();
    let writer = thread::spawn(move || {
        // It fails once curl has its answer and reads no more.
        let _ = endless.write_all(&vec![0; 23_000_000]);
        endless
    });
    upload.wait_for_line(|line| line.text.contains("urn:problem-type:spotter:"), WAIT);
    drop(upload);
    drop(writer.join());
}

#[tokio::test]
async fn nginx_passes_uploads_and_events_on() {
    let system = System::start();
    let certificates = Certificates::new();
    let (certificate, key) = certificates.server();
    let port = free_port();
    let listen = format!("listen 127.0.0.1:{port} ssl");
    let replaced = [
        ("listen 443 ssl", &*listen),
        ("127.0.0.1:5000", system.base.trim_start_matches("http://")),
        ("/etc/ssl/spotter/fullchain.pem", certificate.to_str().unwrap()),
        ("/etc/ssl/spotter/privkey.pem", key.to_str().unwrap()),
    ];
    let site = file("nginx.conf", &replaced);
    let Some(_nginx) = Nginx::start(&site, port).await else { return };
    assert_clients_are_served(&system, &format!("https://localhost:{port}"), &certificates);
}

#[tokio::test]
async fn caddy_passes_uploads_and_events_on() {
    let Some(program) = program("caddy") else { return };
    let system = System::start();
    let certificates = Certificates::new();
    let (certificate, key) = certificates.server();
    let base = format!("https://localhost:{}", free_port());
    let block = format!("{base} {{\n\ttls {} {}\n", certificate.display(), key.display());
    let api = system.base.trim_start_matches("http://");
    let site = file("Caddyfile", &[("spotter.example.com {\n", &block), ("127.0.0.1:5000", api)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Caddyfile");
    fs::write(&path, format!("{CADDY_OPTIONS}{site}")).unwrap();
    let caddy = Process::builder(program)
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(path)
        .env("XDG_CONFIG_HOME", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .start();
    caddy.wait_for_line(|line| line.text.contains("serving initial configuration"), TIMEOUT);
    assert_clients_are_served(&system, &base, &certificates);
}

/// Waiting for them would take a minute, so the files are read.
#[test]
fn proxies_wait_longer_than_the_api() {
    let prefer = workspace_root().join("services/api/src/routes/v1/prefer.rs");
    let longest = format!("LONGEST_WAIT: Duration = Duration::from_secs({LONGEST_WAIT});");
    assert!(fs::read_to_string(prefer).unwrap().contains(&longest), "{longest}");
    for name in ["nginx.conf", "moving.nginx.conf"] {
        let site = file(name, &[]);
        for setting in ["client_body_timeout", "proxy_read_timeout", "proxy_send_timeout"] {
            let words = site.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let seconds = words
                .filter(|words| words.first() == Some(&setting))
                .find_map(|words| words.get(1)?.strip_suffix("s;")?.parse::<u32>().ok());
            assert!(
                seconds.is_some_and(|seconds| seconds >= LONGEST_WAIT + 5),
                "{name}: {setting}"
            );
        }
    }
}
