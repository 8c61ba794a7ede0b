//! TLS: which certificates are trusted.

use std::{io, sync::Arc};

use tokio::sync::OnceCell;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    },
};

/// Certificates to trust beside the system's.
#[derive(Debug, Clone, Default)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Parses certificates.
    ///
    /// # Errors
    /// A text if there is none, or one cannot be parsed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(Self(certificates)),
            Ok(_) => Err("the file has no certificates (PEM) in it"),
            Err(_) => Err("the file has a certificate (PEM) in it that cannot be parsed"),
        }
    }
}

/// The configuration of TLS. The system's certificates are read at the first connection.
pub(crate) struct Tls {
    roots: Roots,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Self {
        Self { roots, connector: OnceCell::new() }
    }

    pub(crate) async fn connector(&self) -> io::Result<&TlsConnector> {
        self.connector
            .get_or_try_init(|| async {
                let roots = self.roots.clone();
                tokio::task::spawn_blocking(move || connector(roots))
                    .await
                    .map_err(io::Error::other)?
            })
            .await
    }
}

fn connector(Roots(own): Roots) -> io::Result<TlsConnector> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "cannot read a certificate of this system");
    }
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(system.certs.into_iter().chain(own));
    if added == 0 {
        tracing::warn!("this system has no certificates to trust: no URL with https can be read");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
