//! Connections, and what all responses have in common.

mod browsers;
mod console;
mod cors;
mod early_answers;
mod expect_continue;
mod half_closed;
mod options;
mod other_clients;
mod slow_clients;
mod slow_results;
