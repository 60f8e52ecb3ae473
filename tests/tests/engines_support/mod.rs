//! What `engines.rs` compares engines with.

pub mod by_hand;
pub mod ledgers;
pub mod machines;
pub mod mutants;
#[path = "observe.rs"]
pub mod observe;
pub mod shapes;
