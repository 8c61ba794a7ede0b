//! The connection of a command to the queue.

use std::time::Duration;

use messaging::{Messaging, MessagingConfig, Role};
use service::config::{ProcessEnvironment, Reader, Source};

use crate::{cli::NatsOptions, error::CliError};

/// How long a connection to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The environment, with `NATS_URL` replaced by the option's value.
struct WithUrl<'a>(&'a str);

impl Source for WithUrl<'_> {
    fn get(&self, name: &str) -> Option<String> {
        if name == "NATS_URL" { Some(self.0.to_owned()) } else { ProcessEnvironment.get(name) }
    }

    fn is_not_utf8(&self, name: &str) -> bool {
        name != "NATS_URL" && ProcessEnvironment.is_not_utf8(name)
    }
}

/// Connects to the queue as an operator.
pub(crate) async fn connect(server: &NatsOptions) -> Result<Messaging, CliError> {
    let source = WithUrl(&server.nats_url);
    let mut reader = Reader::new(&source);
    let config = MessagingConfig::read(&mut reader, Role::Cli);
    let config = reader.finish(config)?;
    Ok(Messaging::connect(MessagingConfig { connect_timeout: CONNECT_TIMEOUT, ..config }).await?)
}
