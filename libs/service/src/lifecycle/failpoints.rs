//! Failpoints: places in the code at which a test can make this process fail.
//!
//! With the feature `failpoints`, which only tests enable, the variable `FAILPOINTS` defines what happens
//! where. Without it, as in every release, a failpoint compiles to nothing.

#[cfg(feature = "failpoints")]
mod armed;

/// Passes the failpoint `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &'static str) {}

/// Passes the failpoint `name`, which handles `bytes`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach_with(_name: &'static str, _bytes: &[u8]) {}

/// Passes the failpoint `name`, unless `FAILPOINTS` says otherwise.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) {
    armed::reach(name, &[]);
}

/// Passes the failpoint `name`, which handles `bytes`, unless `FAILPOINTS` says otherwise.
#[cfg(feature = "failpoints")]
pub fn reach_with(name: &'static str, bytes: &[u8]) {
    armed::reach(name, bytes);
}
