//! What the crate wants of the operating system, each in one small file: address space
//! (`region`), the bounds of the host's stack ([`host_stack`]), events to wait on (`event`).
//!
//! Nothing in here knows what a guest is. Everything that can fail returns the system's own error.

pub(crate) mod event;
pub mod host_stack;
pub(crate) mod region;
