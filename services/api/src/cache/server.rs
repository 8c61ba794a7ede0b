//! The Redis server: `REDIS_URL` and `REDIS_CA_FILE`.

use std::fmt;

use redis::{Client, TlsCertificates};
use service::config::{
    Reader,
    address::{ADVICE, try_redact},
    secret::Secret,
};

/// The start of each certificate in a PEM file.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// A Redis server and how to connect to it.
#[derive(Clone)]
pub struct RedisServer {
    pub(super) client: Client,
    /// The address without credentials.
    pub(super) address: String,
}

impl RedisServer {
    /// Reads `REDIS_URL` and `REDIS_CA_FILE`. `reader` collects what is wrong with them, without passwords.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let ca_file = reader.file_bytes("REDIS_CA_FILE");
        let url: Secret = reader.read_optional("REDIS_URL")?;
        let Some(address) = try_redact(url.expose()) else {
            let problem = format!(
                "it is not a Redis address (not shown, since it may contain a password): expected \
                 redis://host:port; {ADVICE}"
            );
            reader.problem("REDIS_URL", problem);
            return None;
        };
        let client = match Client::open(url.expose()) {
            Ok(client) => client,
            Err(error) => {
                // The client's error does not quote the address.
                let problem = format!("'{address}' is not a Redis address: {error}");
                reader.problem("REDIS_URL", problem);
                return None;
            }
        };
        // Not set; or it cannot be read, which `reader` has recorded: then this server is never used.
        let Some((path, pem)) = ca_file else { return Some(Self { client, address }) };
        let client = if pem.windows(CERTIFICATE.len()).any(|text| text == CERTIFICATE) {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
            Client::build_with_tls(url.expose(), certificates).map_err(|error| error.to_string())
        } else {
            // The client would trust no server then.
            Err("it holds no certificate in PEM".to_owned())
        };
        match client {
            Ok(client) => Some(Self { client, address }),
            Err(error) => {
                let problem = format!("'{}' cannot be used: {error}", path.display());
                reader.problem("REDIS_CA_FILE", problem);
                None
            }
        }
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisServer({})", self.address)
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
