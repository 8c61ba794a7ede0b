//! TLS to a server with a certificate of the test's own.

use std::time::Duration;

use domain::ModelName;
use messaging::{ClientCertificate, Messaging, MessagingConfig, MessagingError, Role, TlsFiles};
use testkit::{Certificates, NatsServer};

fn trusting(certificates: &Certificates) -> TlsFiles {
    let (certificate, key) = certificates.client();
    TlsFiles { ca: Some(certificates.ca()), client: Some(ClientCertificate { certificate, key }) }
}

async fn connect(server: &NatsServer, tls: TlsFiles) -> Result<Messaging, MessagingError> {
    let config =
        MessagingConfig { tls, ..MessagingConfig::new(server.url().parse().unwrap(), Role::Api) };
    Messaging::connect(config).await
}

/// Why there is no connection, after a short timeout.
async fn refusal(server: &NatsServer, tls: TlsFiles) -> MessagingError {
    let connect_timeout = Duration::from_secs(1);
    let config = MessagingConfig::new(server.url().parse().unwrap(), Role::Api);
    Messaging::connect(MessagingConfig { tls, connect_timeout, ..config }).await.unwrap_err()
}

#[tokio::test]
async fn both_sides_show_certificates_that_the_other_trusts() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = NatsServer::builder().tls(&certificates).start();
    assert!(server.url().starts_with("tls://"));
    let messaging = connect(&server, trusting(&certificates)).await.unwrap();
    messaging.provision([ModelName::default()]).await.unwrap();

    let not_trusted = TlsFiles { ca: Some(others.ca()), ..trusting(&certificates) };
    let unknown = TlsFiles { client: trusting(&others).client, ..trusting(&certificates) };
    let anonymous = TlsFiles { client: None, ..trusting(&certificates) };
    for tls in [not_trusted, unknown, anonymous, TlsFiles::default()] {
        let error = refusal(&server, tls.clone()).await;
        assert!(matches!(error, MessagingError::Unreachable { .. }), "{tls:?}: {error}");
    }
}

#[tokio::test]
async fn who_names_a_certificate_to_trust_never_speaks_without_tls() {
    let certificates = Certificates::new();
    let plain = NatsServer::start();
    let error = refusal(&plain, trusting(&certificates)).await;
    assert!(matches!(error, MessagingError::Unreachable { .. }), "{error}");
    assert!(connect(&plain, TlsFiles::default()).await.is_ok());
}
