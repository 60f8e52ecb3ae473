//! What lives while a guest runs: stores, instances, linear memories, tables, globals, guest
//! stacks, interruption and the ledger of what a guest takes.
//!
//! This crate knows validated modules as data ([`palisade_module::ModuleInfo`]), and it knows
//! neither the binary format nor any engine. Engines read the layout in [`layout`], inline the fast paths
//! and call [`builtins`] for the rest.
//!
//! Invariants that everything else leans on:
//!
//! - What a [`VmCtx`] points to (definitions, contexts, function references) never moves and lives as
//!   long as its store. It is reached through raw pointers alone; no reference to it outlives the
//!   function that made it.
//! - A store belongs to one thread at a time. Other threads touch [`Interrupts`] and shared memories,
//!   through atomics, and nothing else.
//! - Memory that a guest sees for the first time is zero.
//! - Nothing grows before the [`ledger`] and the embedder's [`limiter`] have agreed.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("Palisade runs on 64-bit little-endian Linux");

pub mod builtins;
pub mod error;
pub mod gc;
pub mod ids;
pub mod import;
pub mod instance;
pub mod interrupt;
pub mod layout;
pub mod ledger;
pub mod limiter;
pub mod memory;
pub mod native;
pub mod racy;
pub mod sample;
pub mod store;
pub mod sys;

mod const_eval;
mod deadline;
mod global;
mod init;
mod instantiate;
mod objects;
mod owned;
mod panics;
mod parking;
mod stack;
mod table;
mod watcher;

pub use error::{BoxError, InstantiateError, VmError};
pub use gc::{GcStats, HostValue, RefTarget};
pub use ids::{GlobalId, InstanceId, MemoryId, RefBits, TableId, TagId};
pub use import::{ImportMismatch, ImportValue, check_import, describe_extern_type};
pub use instance::Instance;
pub use interrupt::InterruptHandle;
pub use layout::{
    Cell, HostCode, HostFunc, Interrupts, VMCTX_MAGIC, VmCtx, VmFuncRef, VmGlobalDef, VmMemoryDef,
    VmOffsets, VmRef, VmStoreCtx, VmTableDef,
};
pub use ledger::{Counting, Ledger, Refusal, Resource, Unit};
pub use limiter::ResourceLimiter;
pub use memory::SharedMemory;
pub use panics::contain_panics;
pub use parking::WaitResult;
pub use store::{MemoryReservation, StoreConfig, StoreInner};
