//! Jobs from their publication to their settlement.

mod cancel;
mod models;
mod pictures;
mod position;
mod priorities;
mod publish;
mod pull;
mod settle;
