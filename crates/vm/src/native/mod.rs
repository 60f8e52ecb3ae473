//! Machine code while it runs: its stacks, how it is entered and left, what a fault in it means, and how its
//! frames are read. What translates to machine code stands in a crate of its own and only fills in tables.
//!
//! Invariants:
//!
//! - Machine code runs on the store's machine stack, host code on the host's, never the other way round. The only ways from
//!   one to the other are [`enter`], the wrappers around built-ins, and a fault that is known to be the guest's.
//! - A *segment* is one entry: frames between a trampoline and where machine code was left. Segments of a store nest,
//!   inner ones below outer ones on the same stack. A segment ends as a whole; nothing of the host stands inside
//!   of one.
//! - A fault is the guest's only if the thread runs this store's machine code, the instruction is known to be able to
//!   fault, and the address is one that it may fault at. Everything else goes to whoever was there before us.

mod activate;
pub mod builtins;
mod calls;
pub mod code;
#[cfg(target_arch = "x86_64")]
mod debugger;
mod entry;
mod ranges;
mod registry;
mod stack;
mod trace;
mod traps;
mod unwind;
mod walk;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64/mod.rs"]
mod arch;
#[cfg(not(target_arch = "x86_64"))]
#[path = "unsupported.rs"]
mod arch;

pub use activate::TypeStubs;
pub use builtins::{Builtin, HeapCode, PLAIN_BYTES, builtin_table};
#[cfg(target_arch = "x86_64")]
pub use debugger::NativeDebug;
pub use entry::{Continuation, EngineHooks, Entered, NativeConfig, Segment, enter};
pub use registry::{CodeListener, CodeObject, CodeRegistry, Draft};
pub use trace::{FrameValue, FrameValues, Trace, TraceFrame};

pub(crate) use entry::NativeStore;
pub(crate) use walk::{each_root, each_segment};

/// The length of the region that machine code reads from to find out whether it is to stop.
pub const POLL_BYTES: u32 = 64 << 10;

/// The trap code, beyond those of [`palisade_core::TrapCode`], of loads from the poll region.
pub const POLL: u8 = 200;

/// Whether machine code can run on this processor.
pub const SUPPORTED: bool = cfg!(target_arch = "x86_64");
