//! Who may use the API: API keys, what they may be used for, and how often.
//!
//! [`Guard`] decides about a request by its header, before its body is read. A route gets the [`Caller`], and passes on
//! whose tasks that may see. A route is closed unless [`is_open`] says otherwise.

pub(crate) mod allowance;
pub(crate) mod guard;
pub(crate) mod key_ring;

mod caller;
mod credentials;
mod limiter;
mod mode;
pub(crate) mod refusal;

#[cfg(any(fuzzing, test))]
pub(crate) use self::credentials::presented;
pub use self::mode::AuthMode;
pub(crate) use self::{caller::Caller, guard::is_open, key_ring::KeyRing, limiter::Overrun};
