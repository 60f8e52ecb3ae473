//! What the crate wants of the operating system, each in one small file: address space
//! (`region`), the bounds of the host's stack ([`host_stack`]), files ([`mod@file`]), events to wait on (`event`), handlers of faults (`signals`)
//! and the stack that they run on (`alt_stack`).
//!
//! Nothing in here knows what a guest is. Everything that can fail returns the system's own error.

pub(crate) mod alt_stack;
pub(crate) mod event;
#[cfg(any(test, feature = "faults"))]
pub mod fault;
#[cfg(not(any(test, feature = "faults")))]
pub(crate) mod fault;
pub mod file;
pub mod host_stack;
pub mod large;
pub mod outside;
pub mod pieces;
pub(crate) mod region;
pub(crate) mod signals;
