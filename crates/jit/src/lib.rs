//! The compiled tier: from the validated bytes of a function to machine code, by Cranelift.
//!
//! What goes in is a module's description; what comes out is code and the tables that the runtime reads
//! ([`palisade_vm::native`]). This crate runs nothing: entering and leaving machine code, faults, stacks and
//! exceptions belong to the runtime.
//!
//! Invariants: code holds no absolute address and no number that an engine gave to a type; every loop and
//! every function that calls has its poll; every instruction that may fault is recorded; all address
//! arithmetic on linear memories stands in `translate/bounds.rs`.

#![forbid(unsafe_code)]

pub mod limits;

mod compiler;
mod cpu;
mod error;
mod explain;
mod link;
mod mutation;
mod options;
mod stubs;
mod translate;

#[cfg(test)]
mod corpus_tests;

pub use compiler::{CompileModule, CompiledFunc, Compiler, Relocation, is_compiling};
pub use error::CompileError;
pub use explain::Explained;
pub use link::{Linked, link, link_loop};
#[doc(hidden)]
pub use mutation::Mutation;
pub use options::{Bounds, Options};
pub use stubs::{StubAddresses, StubKey, Stubs};
pub use translate::bounds::GUARDED_REACH;
