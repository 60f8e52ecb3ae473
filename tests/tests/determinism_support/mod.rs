//! What the tests of deterministic runs are made of: programs full of NaNs, and real ones.

pub mod nans;
pub mod programs;
