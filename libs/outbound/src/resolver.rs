//! Names to addresses.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Lookups at one time. A lookup that nobody waits for any more keeps its thread until the system's resolver gives up,
/// so a name whose server does not answer could otherwise take up all threads.
const MOST_LOOKUPS: usize = 32;

/// Resolves names.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `name`, which ends with a dot if it must not be completed with a domain.
    ///
    /// # Errors
    /// [`io::Error`], also where there is no such name.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}
