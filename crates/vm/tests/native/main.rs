//! Machine code written by hand, in a store without a translator: entering, leaving, faults, exceptions, frames.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod code;
#[path = "../common/mod.rs"]
mod common;
mod machine;
mod nest;
mod run;
mod signals;
