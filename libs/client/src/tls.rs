//! TLS: which certificates are trusted.

use std::sync::Arc;

use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::ClientError;

/// A configuration that trusts the system's certificates, or those that `SSL_CERT_FILE` names.
///
/// A system may have none: then only plain HTTP is possible, and each `https` URL fails with an unknown issuer.
pub(crate) fn config() -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::NotSent(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
