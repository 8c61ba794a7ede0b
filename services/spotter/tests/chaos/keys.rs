//! API keys, which tests make as an operator would.

use domain::{ApiKey, ApiKeyToken};
use messaging::{ApiKeys, CreateKeyError, Messaging, MessagingConfig, MessagingError, Role};
use time::OffsetDateTime;

/// Wide enough for any load. It is counted all the same.
const RATE: &str = "10000/s";
const QUOTA: &str = "100000";

/// Makes keys, and revokes them.
pub(crate) struct KeyMaker(ApiKeys);

impl KeyMaker {
    /// With the servers at this address.
    pub(crate) async fn connect(url: &str) -> Result<Self, MessagingError> {
        let config = MessagingConfig::new(url.parse().expect("an address"), Role::Cli);
        Ok(Self(Messaging::connect(config).await?.api_keys()))
    }

    /// A new key, which may submit and read.
    pub(crate) async fn create(&self, name: &str) -> Result<ApiKeyToken, CreateKeyError> {
        let token = ApiKeys::new_token();
        let key = ApiKey {
            id: token.id(),
            name: name.parse().expect("it is a name"),
            secret_sha256: token.secret_sha256(),
            scopes: Default::default(),
            rate: Some(RATE.parse().expect("it is a rate")),
            quota: Some(QUOTA.parse().expect("it is a quota")),
            created_at: OffsetDateTime::now_utc(),
            expires_at: None,
        };
        self.0.create(&key).await?;
        Ok(token)
    }

    /// Returns when it is stored that there is no such key.
    pub(crate) async fn revoke(&self, token: &ApiKeyToken) -> Result<(), MessagingError> {
        self.0.revoke(token.id()).await.map(drop)
    }
}
