//! Jobs from their publication to their settlement.

mod pictures;
mod publish;
mod pull;
mod settle;
