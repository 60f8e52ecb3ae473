//! Machine code while it runs: its stacks, how it is entered and left, what a fault in it means, and how its
//! frames are read. What translates to machine code stands in a crate of its own and only fills in tables.

pub mod builtins;
pub mod code;

pub use builtins::{Builtin, builtin_table};

/// The length of the region that machine code reads from to find out whether it is to stop.
pub const POLL_BYTES: u32 = 64 << 10;

/// The trap code, beyond those of [`palisade_core::TrapCode`], of loads from the poll region.
pub const POLL: u8 = 200;

/// One entry into machine code, on the host's stack, as long as it lasts.
#[repr(C)]
#[derive(Debug)]
pub struct Segment {
    /// The entry outside of this one.
    pub previous: *mut Segment,
}
