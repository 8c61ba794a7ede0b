//! Getting a connection, and letting it go.

use std::time::Duration;

use domain::ModelName;
use messaging::{Messaging, MessagingConfig, MessagingError, Role};
use testkit::NatsServer;

use crate::fixture::{Fixture, TIMEOUT, job, picture};

#[tokio::test]
async fn an_unreachable_server_is_reported_with_its_address() {
    let mut server = NatsServer::start();
    server.kill();
    let mut config = MessagingConfig::new(server.url().parse().unwrap(), Role::Api);
    config.connect_timeout = Duration::from_millis(600);
    let error = Messaging::connect(config).await.unwrap_err();
    assert!(!error.is_configuration());
    let MessagingError::Unreachable { address, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*address, server.url());
}

#[tokio::test]
async fn a_server_that_comes_up_late_is_waited_for() {
    let mut server = NatsServer::start();
    server.kill();
    let config = MessagingConfig::new(server.url().parse().unwrap(), Role::Api);
    let connecting = tokio::spawn(Messaging::connect(config));
    server.restart();
    assert!(connecting.await.unwrap().unwrap().is_connected());
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let server = NatsServer::builder()
        .config("authorization { user: bob, password: \"p@ss:word\" }")
        .start();
    let with_login = |login: &str| server.url().replace("://", &format!("://{login}@"));
    let config = MessagingConfig::new(with_login("bob:p%40ss%3Aword").parse().unwrap(), Role::Api);
    assert!(!format!("{config:?}").contains("p%40ss"));
    let messaging = Messaging::connect(config).await.unwrap();
    messaging.provision([ModelName::default()]).await.unwrap();
    assert!(!format!("{messaging:?} {}", messaging.address()).contains("p%40ss"));
    for wrong in [with_login("bob:secret"), server.url()] {
        let error = Messaging::connect(MessagingConfig::new(wrong.parse().unwrap(), Role::Api))
            .await
            .unwrap_err();
        assert!(matches!(error, MessagingError::LoginRefused { .. }), "{error:?}");
        assert!(error.is_configuration());
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn closing_ends_the_connection() {
    let fixture = Fixture::start().await;
    let other = fixture.messaging.clone();
    tokio::time::timeout(TIMEOUT, fixture.messaging.close()).await.unwrap();
    assert!(other.queue().submit(&job(), picture()).await.is_err());
}
