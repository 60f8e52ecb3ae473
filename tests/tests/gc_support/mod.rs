//! Random programs that let references wait where a collection may forget them.

pub mod ast;
pub mod generate;
pub mod judge;
pub mod programs;
