//! What Redis holds, and what happens without it.

mod responses;
mod results;
