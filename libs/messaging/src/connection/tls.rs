//! TLS to the server: trusted certificates, and the client certificate.

use std::path::PathBuf;

use async_nats::ConnectOptions;
use service::config::Reader;

/// The PEM files for TLS. Without any, TLS is used only where the address says `tls://` or the server
/// requires it, and the system's certificates are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates to trust instead of the system's. With it, a connection without TLS is refused.
    pub ca: Option<PathBuf>,
    /// The client certificate, for servers that verify clients.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and its chain, up to one that the server trusts.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads `NATS_CA_FILE`, `NATS_CERTIFICATE_FILE` and `NATS_KEY_FILE`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let ca = reader.file("NATS_CA_FILE");
        let certificate = reader.file("NATS_CERTIFICATE_FILE");
        let key = reader.file("NATS_KEY_FILE");
        let missing = |there, absent| format!("is needed beside {there}, and {absent} is not set");
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (Some(_), None) => {
                reader.problem("NATS_KEY_FILE", missing("NATS_CERTIFICATE_FILE", "NATS_KEY_FILE"));
                None
            }
            (None, Some(_)) => {
                let problem = missing("NATS_KEY_FILE", "NATS_CERTIFICATE_FILE");
                reader.problem("NATS_CERTIFICATE_FILE", problem);
                None
            }
            (None, None) => None,
        };
        Self { ca, client }
    }

    pub(crate) fn apply(&self, mut options: ConnectOptions) -> ConnectOptions {
        if let Some(ca) = &self.ca {
            // A CA file means TLS: a man in the middle must not be able to downgrade the connection.
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some(ClientCertificate { certificate, key }) = &self.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        options
    }
}
