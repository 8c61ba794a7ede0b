//! Jobs from their publication to their settlement.

mod models;
mod pictures;
mod priorities;
mod publish;
mod pull;
mod settle;
