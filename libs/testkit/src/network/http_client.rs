//! A client for the requests of tests.

use std::{sync::Arc, time::Duration};

use reqwest::header::HeaderMap;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// A client of plain HTTP. `reqwest` itself wants a configuration of TLS all the same; here it trusts nobody.
///
/// # Panics
/// If the system has no resources for a client.
#[must_use]
pub fn http_client(timeout: Duration) -> reqwest::Client {
    http_client_with(timeout, HeaderMap::new())
}

/// The same with headers that all its requests have.
///
/// # Panics
/// As [`http_client`].
#[must_use]
pub fn http_client_with(timeout: Duration, headers: HeaderMap) -> reqwest::Client {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(timeout);
    http.default_headers(headers).build().expect("a client can be made")
}
