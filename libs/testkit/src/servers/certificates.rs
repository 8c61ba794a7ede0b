//! Certificates for servers on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The names in a server's certificate.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate authority, and a server's and a client's certificate signed by it. PEM files that are removed with
/// this value.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Creates new certificates.
    ///
    /// # Panics
    /// If they cannot be created or written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("testkit-certificates-")
            .tempdir()
            .expect("a temporary folder can be made");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose issuer has its own name.
        authority.distinguished_name.push(DnType::CommonName, "testkit's authority");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = authority.self_signed(&key).expect("it can sign itself");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("the folder is writable");
        let issuer = Issuer::new(authority, key);
        let certificates = Self { folder };
        certificates.issue(&issuer, "server");
        certificates.issue(&issuer, "client");
        certificates
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A server's certificate, for `localhost` and `127.0.0.1`, and its key.
    #[must_use]
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.path("server.pem"), self.path("server.key"))
    }

    /// A client's certificate and its key.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.path("client.pem"), self.path("client.key"))
    }

    fn issue(&self, issuer: &Issuer<'_, KeyPair>, name: &str) {
        let params = CertificateParams::new(NAMES.map(str::to_owned)).expect("these are names");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, issuer).expect("the authority signs");
        let write = |path: &Path, text: String| fs::write(path, text).expect("it is writable");
        write(&self.path(&format!("{name}.pem")), certificate.pem());
        write(&self.path(&format!("{name}.key")), key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
