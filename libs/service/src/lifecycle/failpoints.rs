//! Places in the code at which a test may make this process fail.
//!
//! With the feature `failpoints`, which only tests turn on, the variable `FAILPOINTS` says what
//! happens where. Without it, as in every build that people run, reaching such a place is nothing
//! at all.

#[cfg(feature = "failpoints")]
mod armed;

/// Passes the place called `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &'static str) {}

/// Passes the place called `name` with `bytes` in hand.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach_with(_name: &'static str, _bytes: &[u8]) {}

/// Passes the place called `name`, unless `FAILPOINTS` says otherwise.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) {
    armed::reach(name, &[]);
}

/// Passes the place called `name` with `bytes` in hand, unless `FAILPOINTS` says otherwise.
#[cfg(feature = "failpoints")]
pub fn reach_with(name: &'static str, bytes: &[u8]) {
    armed::reach(name, bytes);
}
