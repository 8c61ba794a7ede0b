//! nginx with one of the sites of docs/recipes/.

use std::{fs, net::TcpStream};

use tempfile::TempDir;
use testkit::{Process, eventually};

use super::shell::program;
use crate::harness::TIMEOUT;

pub(super) struct Nginx {
    _process: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Serves `site`, which listens on `port`. Without nginx, the test says that it is skipped.
    pub(super) async fn start(site: &str, port: u16) -> Option<Self> {
        let program = program("nginx")?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("site.conf"), site).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", path.display()))
            .concat();
        // One process, which is this test's.
        let main = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}include {0}/site.conf;\n}}\n",
            path.display()
        );
        fs::write(path.join("nginx.conf"), main).unwrap();
        let nginx = Process::builder(program).arg("-p").arg(path).arg("-c");
        let process = nginx.arg(path.join("nginx.conf")).start();
        eventually(TIMEOUT, async || TcpStream::connect(("127.0.0.1", port)).ok()).await;
        Some(Self { _process: process, _folder: folder })
    }
}
