//! What tools for native code are told of machine code: [`JitDump`] for `perf`, and what debuggers read.
//!
//! Invariant: nothing here changes what runs, and a file that cannot be written costs what it would have told,
//! nothing else.

mod jitdump;
mod names;

use std::sync::Arc;

use palisade_vm::native::CodeListener;

pub use jitdump::JitDump;

/// Who tells native debuggers, if there is machine code on this processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn debugger() -> Option<Arc<dyn CodeListener>> {
    Some(Arc::new(palisade_vm::native::NativeDebug::new(names::name)))
}

/// Nobody: there is no machine code on this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn debugger() -> Option<Arc<dyn CodeListener>> {
    None
}
