//! The embedding interface of Palisade: load a WebAssembly module that nobody has read, give it
//! exactly what it may use, run it, and stay in charge of it.
//!
//! The shapes are those that users of other runtimes know: an [`Engine`] made from a [`Config`]
//! compiles [`Module`]s; a [`Store`] holds everything that lives while guests run; a [`Linker`]
//! names what guests may import; an [`Instance`] is a module brought to life in a store.
//!
//! ```
//! use palisade::{Engine, Linker, Module, Store};
//!
//! # fn main() -> palisade::Result<()> {
//! let engine = Engine::default();
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!          (import "host" "double" (func $double (param i32) (result i32)))
//!          (func (export "run") (param i32) (result i32)
//!            local.get 0 call $double i32.const 1 i32.add))"#,
//! )?;
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "double", |x: i32| x * 2)?;
//! let mut store = Store::new(&engine, ());
//! let instance = linker.instantiate(&mut store, &module)?;
//! let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
//! assert_eq!(run.call(&mut store, 20)?, 41);
//! # Ok(())
//! # }
//! ```
//!
//! Three rules hold everywhere:
//!
//! - Every handle ([`Func`], [`Memory`], …; not [`SharedMemory`]) belongs to one store and knows which. Used with another
//!   store it gives an error ([`ErrorKind::WrongStore`]), or, from the few functions that have no
//!   error to give, an empty answer; never a panic, never another store's data. A type or module of
//!   another engine gives [`ErrorKind::WrongEngine`].
//! - A host function that panics ends the guest that called it with [`ErrorKind::HostPanic`]. Its
//!   store is poisoned: no guest code runs in it again. The process and other stores go on.
//! - `unsafe` code stands only where a cell of the virtual machine is read or written; each place
//!   says why it is sound.

mod arrayref;
mod artefact;
mod caller;
mod config;
mod context;
mod coredump;
mod defined_type;
mod engine;
mod error;
mod exception;
mod externals;
mod func;
mod func_type;
mod gc_types;
mod global;
mod handle;
mod host;
mod instance;
mod limits;
mod linker;
mod memory;
mod module;
mod native_tools;
mod refs;
mod resources;
mod sampling;
mod shared_memory;
mod store;
mod structref;
mod table;
mod tag;
mod tier;
mod trap;
mod typed;
mod types;
mod val;

pub use arrayref::{ArrayRef, ArrayRefPre};
pub use artefact::{
    ARTEFACT_MAGIC, ArtefactError, HashedModule, Key, PublicKey, Seal, SecretKey, Trust,
};
pub use caller::Caller;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub use config::Mutation;
pub use config::{Config, DETERMINISTIC_CALL_DEPTH};
pub use context::{AsContext, AsContextMut, StoreContext, StoreContextMut};
pub use coredump::{MOST_CORE_DUMP_BYTES, WasmCoreDump};
pub use defined_type::{DefinedType, Finality};
pub use engine::Engine;
pub use error::{Error, ErrorKind, LinkError, Result};
pub use exception::Exception;
pub use externals::{Export, Extern};
pub use func::Func;
pub use func_type::FuncType;
pub use gc_types::{ArrayType, FieldType, StorageType, StructType};
pub use global::Global;
pub use handle::{GcRef, OwnedRooted, RootScope};
pub use host::{IntoFunc, WasmRet};
pub use instance::{Instance, InstancePre};
pub use limits::{ResourceLimiter, StoreLimits, StoreLimitsBuilder, VmError};
pub use linker::Linker;
pub use memory::Memory;
pub use module::{Explanation, ExportType, ImportType, Module, NativeCode};
pub use native_tools::JitDump;
pub use palisade_core::limits::LimitTooHigh;
pub use palisade_core::{LimitKind, Limits, TrapCode};
pub use palisade_interp::{Bytecode, Dispatch, Instruction};
pub use palisade_module::error::escape_name;
pub use palisade_module::{DecodeError, DecodeErrorKind};
pub use palisade_vm::WaitResult;
pub use palisade_vm::native::FrameValue;
pub use refs::{AnyRef, EqRef, ExnRef, ExternRef, I31, Ref};
pub use resources::{LedgerLine, ResourceLimits};
pub use sampling::{GuestProfile, GuestProfiler};
pub use shared_memory::SharedMemory;
pub use store::{Counting, GcStats, InterruptHandle, Ledger, Refusal, Resource, Store, Unit};
pub use structref::{StructRef, StructRefPre};
pub use table::Table;
pub use tag::Tag;
pub use tier::{CompileStats, StoredStats, Strategy, Tuning, is_compiling};
pub use trap::{FrameInfo, FrameSymbol, Trap, WasmBacktrace};
pub use typed::{TypedFunc, WasmParams, WasmResults, WasmTy};
pub use types::{
    ExternType, GlobalType, HeapType, MemoryType, Mutability, RefType, TableType, TagType, ValType,
};
pub use val::{V128, Val};

/// Requests to the system that fail when a test wants them to.
#[cfg(feature = "faults")]
#[doc(hidden)]
pub use palisade_vm::sys::fault as faults;

#[cfg(test)]
mod tests {
    use super::*;

    fn send<T: Send>() {}
    fn sync<T: Sync>() {}

    #[test]
    fn what_may_move_between_threads_does() {
        send::<Store<Vec<u8>>>();
        send::<StoreContextMut<'_, Vec<u8>>>();
        // Neither holds any data of a store.
        send::<Linker<std::rc::Rc<()>>>();
        sync::<Linker<std::rc::Rc<()>>>();
        sync::<InstancePre<std::rc::Rc<()>>>();
        for check in [send::<Module>, sync::<Module>, send::<Engine>, sync::<Engine>] {
            check();
        }
        for check in [send::<Error>, sync::<Error>, send::<Func>, sync::<Func>, sync::<Extern>] {
            check();
        }
        send::<SharedMemory>();
        sync::<SharedMemory>();
        send::<InterruptHandle>();
        sync::<InterruptHandle>();
    }
}
