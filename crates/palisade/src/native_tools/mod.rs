//! What tools for native code are told of machine code: [`JitDump`] for `perf`, and what debuggers read.
//!
//! Invariant: nothing here changes what runs, and a file that cannot be written costs what it would have told,
//! nothing else.

mod jitdump;
mod names;

pub use jitdump::JitDump;
