//! A connection to a checked address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};
use url::Host;

use crate::{Target, UrlRules, error::RequestError, resolver::Resolver, tls::Tls};

/// How many addresses of a host are tried.
const MOST_TRIED: usize = 4;

const NO_CONNECTION: RequestError = RequestError::Unreachable("its server cannot be connected to");
const NO_TLS: RequestError = RequestError::Unreachable(
    "its server has no TLS, or no certificate that is trusted for this name",
);

/// A connection, with TLS or without.
#[derive(Debug)]
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to one of the addresses of `target`, all of which are checked before. This is the only place that resolves
/// a name, and it connects to nothing else than what it has checked.
pub(crate) async fn connect(
    target: &Target,
    rules: &UrlRules,
    resolver: &dyn Resolver,
    tls: &Tls,
    connect_timeout: Duration,
) -> Result<Connection, RequestError> {
    let addresses = match target.host() {
        Host::Ipv4(address) => vec![IpAddr::V4(*address)],
        Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        Host::Domain(name) => {
            let found = resolver.addresses(&target.name_to_resolve(name)).await;
            found.unwrap_or_default()
        }
    };
    rules.check_addresses(target, &addresses)?;
    // An address that nothing answers at must leave time for the next.
    let stream = first_that_answers(&addresses, target.port(), connect_timeout / 2).await;
    let stream = stream.ok_or(NO_CONNECTION)?;
    if !target.is_https() {
        return Ok(Connection::Plain(stream));
    }
    let name = match target.host() {
        Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(name.to_owned()).map_err(|_| NO_TLS)?
        }
    };
    let connector = tls.connector().await.map_err(|_| NO_TLS)?;
    let stream = connector.connect(name, stream).await.map_err(|_| NO_TLS)?;
    Ok(Connection::Tls(Box::new(stream)))
}

async fn first_that_answers(
    addresses: &[IpAddr],
    port: u16,
    patience: Duration,
) -> Option<TcpStream> {
    for address in addresses.iter().take(MOST_TRIED) {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        if let Ok(Ok(stream)) = timeout(patience, connecting).await {
            return Some(stream);
        }
    }
    None
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
