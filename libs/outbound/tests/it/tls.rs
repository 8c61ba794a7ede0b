//! Servers with TLS.

use std::{fs, sync::Arc};

use outbound::{Client, RequestError, Roots};
use testkit::Certificates;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinHandle};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::names::{LIMITS, Names, body, ok, read_head, rules};

/// A server with the certificate of `localhost`; its port.
async fn tls_server(certificates: &Certificates) -> (u16, JoinHandle<()>) {
    let (certificate, key) = certificates.server();
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                read_head(&mut connection).await;
                let _ = connection.write_all(&ok("found")).await;
                let _ = connection.shutdown().await;
            });
        }
    });
    (port, accepting)
}

/// A server that answers whatever it gets in plain text; its port.
async fn server_without_tls() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    (port, answering)
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_for_the_name() {
    let certificates = Certificates::new();
    let (port, accepting) = tls_server(&certificates).await;
    let (plain, answering) = server_without_tls().await;
    let names = Names::default()
        .answer("localhost", &[&["127.0.0.1"]])
        .answer("another", &[&["127.0.0.1"]]);
    let roots = Roots::from_pem(&fs::read(certificates.ca()).unwrap()).unwrap();
    let client = |roots| {
        let rules = rules(&[port, plain], "127.0.0.1");
        Client::with_resolver(rules, LIMITS, roots, names.clone())
    };
    let trusting = client(roots);
    for host in ["localhost", "localhost.", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/");
        assert_eq!(body(&trusting, &url).await.as_deref(), Ok("found"), "{host}");
    }
    let no_tls = |error: RequestError| match error {
        RequestError::Unreachable(text) => assert!(text.contains("TLS"), "{text}"),
        other => panic!("{other}"),
    };
    no_tls(body(&trusting, &format!("https://another:{port}/")).await.unwrap_err());
    no_tls(body(&trusting, &format!("https://localhost:{plain}/")).await.unwrap_err());
    let stranger = client(Roots::default());
    no_tls(body(&stranger, &format!("https://localhost:{port}/")).await.unwrap_err());
    assert!(Roots::from_pem(b"no certificate").is_err());
    accepting.abort();
    answering.abort();
}
