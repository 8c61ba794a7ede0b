//! Streams, buckets and the permissions of each role.

mod permissions;
mod streams;
mod upgrade;
