//! WASI preview 1 for Palisade: the 46 functions, deny by default.
//!
//! This crate knows no WebAssembly engine. An embedder builds a [`WasiCtx`] that holds what the guest is granted,
//! implements [`WasiHost`] for the length of a call (the guest's memory, the ledger, the means to stop), and calls
//! [`call`] with a [`WasiFunc`] and its arguments. Names, signatures, capabilities and costs are in [`FUNCTIONS`].
//!
//! What holds everywhere:
//!
//! - Files are reached only beneath preopened directories, resolved by the kernel; there is no fallback.
//! - Only regular files and directories open, and opening never waits.
//! - Rights are fixed when a descriptor is made and only shrink.
//! - Every wait ends at the deadline or when the guest is to be stopped.
//! - Nothing that the guest passes makes this crate panic or allocate without bound.
//!
//! ```
//! use palisade_wasi::{Caps, GuestMemory, Halt, Ledger, WasiCtx, WasiFunc, WasiHost, call};
//!
//! struct Host(Vec<u8>, Ledger);
//! impl WasiHost for Host {
//!     fn memory(&mut self) -> Option<&mut dyn GuestMemory> {
//!         Some(&mut self.0)
//!     }
//!     fn charge_fuel(&mut self, _units: u64) -> Result<(), Halt> {
//!         Ok(())
//!     }
//!     fn ledger(&mut self) -> &mut Ledger {
//!         &mut self.1
//!     }
//! }
//!
//! let mut ctx = WasiCtx::builder().arg("program").build()?;
//! let mut host = Host(vec![0; 64], Ledger::default());
//! assert_eq!(call(&mut ctx, &mut host, WasiFunc::ArgsSizesGet, &[0, 4]), Ok(0));
//! assert_eq!(host.0[..8], [1, 0, 0, 0, 8, 0, 0, 0]);
//! assert_eq!(call(&mut ctx, &mut host, WasiFunc::ProcExit, &[3]), Err(Halt::Exit(3)));
//! # Ok::<(), palisade_wasi::BuildError>(())
//! ```
#![forbid(unsafe_code)]

mod audit;
mod builder;
mod calls;
mod caps;
mod ctx;
mod descriptor;
mod deterministic;
mod errno;
mod host;
mod linker;
mod memory;
mod path;
mod readdir;
mod stream;
mod sys;
mod table;
mod terminal;
mod types;

pub use audit::{AuditEvent, AuditHook, Denial};
pub use builder::{BuildError, Preopen, WasiCtxBuilder};
pub use caps::Caps;
pub use ctx::{GrantedDirectory, Overlap, WasiCtx};
pub use errno::Errno;
pub use host::{Halt, WasiHost};
pub use linker::{Ledger, Refusal, Resource, Wasi, add_to_linker};
pub use memory::GuestMemory;
pub use stream::{OutputBuffer, Stdio};
pub use table::{
    CALL_FUEL, CapRule, FUNCTIONS, FunctionInfo, MODULE, ValType, WasiFunc, call, render_markdown,
};
pub use types::{FdFlags, FileType, Rights};
