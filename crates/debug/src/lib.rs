//! Looking inside guests, without running anything: places in the source from DWARF, and core dumps.
//!
//! Everything that is read here was written by whoever wrote the guest. So nothing panics on account of it, and
//! each question has a budget of steps in proportion to the bytes that it is asked about: loops, huge counts and
//! tables that are referred to a thousand times end in "unknown". Texts come out as they are, cut to a length;
//! whoever shows one escapes it.
#![forbid(unsafe_code)]

mod abbrev;
pub mod coredump;
mod dwarf;
mod entries;
mod line;
mod lines;
mod sections;

pub use dwarf::{DebugInfo, MOST_INLINED, Place};
pub use lines::Lines;
pub use sections::{Mismatch, Parts};
