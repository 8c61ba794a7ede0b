//! TLS to a server with a certificate of the test's own.

use std::time::Duration;

use messaging::{ClientCertificate, Messaging, MessagingConfig, MessagingError, Role, TlsFiles};
use testkit::{Certificates, NatsServer};

fn trusting(certificates: &Certificates) -> TlsFiles {
    let (certificate, key) = certificates.client();
    TlsFiles { ca: Some(certificates.ca()), client: Some(ClientCertificate { certificate, key }) }
}

async fn connect(server: &NatsServer, tls: TlsFiles) -> Result<Messaging, MessagingError> {
    let mut config = MessagingConfig::new(server.url(), Role::Api);
    config.tls = tls;
    config.connect_timeout = Duration::from_secs(2);
    Messaging::connect(config).await
}

#[tokio::test]
async fn both_sides_show_certificates_that_the_other_trusts() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = NatsServer::builder().tls(&certificates).start();
    assert!(server.url().starts_with("tls://"));
    let messaging = connect(&server, trusting(&certificates)).await.unwrap();
    messaging.ensure().await.unwrap();

    let not_trusted = TlsFiles { ca: Some(others.ca()), ..trusting(&certificates) };
    let unknown = TlsFiles { client: trusting(&others).client, ..trusting(&certificates) };
    let nobody = TlsFiles { client: None, ..trusting(&certificates) };
    for tls in [not_trusted, unknown, nobody, TlsFiles::default()] {
        let error = connect(&server, tls.clone()).await.unwrap_err();
        assert!(matches!(error, MessagingError::Unreachable { .. }), "{tls:?}: {error}");
    }
}

#[tokio::test]
async fn who_names_a_certificate_to_trust_never_speaks_without_tls() {
    let certificates = Certificates::new();
    let plain = NatsServer::start();
    let error = connect(&plain, trusting(&certificates)).await.unwrap_err();
    assert!(matches!(error, MessagingError::Unreachable { .. }), "{error}");
    assert!(connect(&plain, TlsFiles::default()).await.is_ok());
}
