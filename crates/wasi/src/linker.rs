//! Preview 1 as imports: the table's functions in a [`Linker`].
//!
//! The context of a guest lives in its store, in a [`Wasi`]. For the length of a call it is taken out, so that
//! the call can hold it and the store at the same time; a function of this crate never calls the guest back,
//! so nobody can miss it. This is the only file of the crate that knows the engine.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use palisade::{
    Caller, Error, ErrorKind, Extern, FuncType, InterruptHandle, Linker, Memory, SharedMemory,
    TrapCode, Val,
};
pub use palisade::{Ledger, Refusal, Resource};

use crate::{
    Errno, FUNCTIONS, FunctionInfo, GuestMemory, Halt, MODULE, ValType, WasiCtx, WasiHost, call,
};

/// A guest's context, as its store holds it.
pub struct Wasi {
    /// `None` only during a call, and after one that panicked.
    ctx: Option<Box<WasiCtx>>,
}

impl Wasi {
    /// Puts a context into the form that a store holds.
    #[must_use]
    pub fn new(ctx: WasiCtx) -> Wasi {
        Wasi { ctx: Some(Box::new(ctx)) }
    }

    /// The context. `None` if a call of it panicked, after which the store runs nothing anyway.
    #[must_use]
    pub fn ctx(&self) -> Option<&WasiCtx> {
        self.ctx.as_deref()
    }
}

/// Defines every function of preview 1, under its one module name, for guests whose store holds a [`Wasi`] where
/// `get` says.
///
/// # Errors
///
/// If a function of that name is defined already.
///
/// ```
/// use palisade::{Engine, Linker, Module, Store};
/// use palisade_wasi::{Halt, Wasi, WasiCtx};
///
/// # fn main() -> palisade::Result<()> {
/// let engine = Engine::default();
/// let mut linker: Linker<Wasi> = Linker::new(&engine);
/// palisade_wasi::add_to_linker(&mut linker, |wasi| wasi)?;
/// let module = Module::new(
///     &engine,
///     r#"(module
///          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
///          (memory (export "memory") 1)
///          (func (export "_start") (call $exit (i32.const 7))))"#,
/// )?;
/// let mut store = Store::new(&engine, Wasi::new(WasiCtx::builder().build()?));
/// let instance = linker.instantiate(&mut store, &module)?;
/// let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
/// let end = start.call(&mut store, ()).expect_err("proc_exit does not return");
/// assert_eq!(end.downcast_ref::<Halt>(), Some(&Halt::Exit(7)));
/// # Ok(())
/// # }
/// ```
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> &mut Wasi,
) -> Result<(), Error> {
    for info in FUNCTIONS {
        let ty = FuncType::new(info.params.iter().map(val_type), info.results.iter().map(val_type));
        linker.func_new(MODULE, info.name, ty, move |caller, params, results| {
            invoke(caller, get, info, params, results)
        })?;
    }
    Ok(())
}

fn val_type(ty: &ValType) -> palisade::ValType {
    match ty {
        ValType::I32 => palisade::ValType::I32,
        ValType::I64 => palisade::ValType::I64,
    }
}

fn invoke<T: 'static>(
    mut caller: Caller<'_, T>,
    get: fn(&mut T) -> &mut Wasi,
    info: &FunctionInfo,
    params: &[Val],
    results: &mut [Val],
) -> Result<(), Error> {
    // The most parameters that a function of preview 1 has is 9.
    let mut cells = [0u64; 16];
    for (cell, param) in cells.iter_mut().zip(params) {
        *cell = match *param {
            // The upper half of a cell that holds an i32 means nothing.
            Val::I32(x) => u64::from(x as u32),
            Val::I64(x) => x as u64,
            _ => return Err(internal("a parameter is neither i32 nor i64")),
        };
    }
    let Some(args) = cells.get(..params.len()) else {
        return Err(internal("more parameters than any function has"));
    };
    let Some(mut ctx) = get(caller.data_mut()).ctx.take() else {
        return Err(internal("the context is in use or lost"));
    };
    let memory = match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Some(Exported::Own(memory)),
        Some(Extern::SharedMemory(memory)) => Some(Exported::Shared(memory)),
        _ => None,
    };
    let interrupt = caller.interrupt_handle();
    let mut host = Host { caller: &mut caller, memory, interrupt };
    let answer = call(&mut ctx, &mut host, info.func, args);
    get(caller.data_mut()).ctx = Some(ctx);
    let errno = answer.map_err(error)?;
    if let Some(result) = results.first_mut() {
        *result = Val::I32(errno);
    }
    Ok(())
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal(format!("WASI: {what}")))
}

/// How a guest's end reaches the embedder: a trap or a limit where it is one, otherwise the [`Halt`] itself.
fn error(halt: Halt) -> Error {
    match halt {
        Halt::OutOfFuel => Error::from(TrapCode::OutOfFuel),
        Halt::Deadline => Error::from(TrapCode::DeadlineExceeded),
        Halt::Interrupted => Error::from(TrapCode::Interrupted),
        Halt::Limit(refusal) => Error::refused(refusal),
        Halt::Internal(what) => internal(what),
        Halt::Exit(_) => Error::from(halt),
    }
}

/// The memory that the calling instance exports.
enum Exported {
    Own(Memory),
    /// Other threads may access it, so that everything is copied.
    Shared(SharedMemory),
}

/// The store and the calling instance, as a call sees them.
struct Host<'a, 'b, T: 'static> {
    caller: &'a mut Caller<'b, T>,
    memory: Option<Exported>,
    interrupt: InterruptHandle,
}

impl<T: 'static> WasiHost for Host<'_, '_, T> {
    fn memory(&mut self) -> Option<&mut dyn GuestMemory> {
        self.memory.is_some().then_some(self as &mut dyn GuestMemory)
    }

    fn charge_fuel(&mut self, units: u64) -> Result<(), Halt> {
        self.caller.charge_fuel(units).map_err(|_| Halt::OutOfFuel)
    }

    fn ledger(&mut self) -> &mut Ledger {
        self.caller.ledger()
    }

    fn deadline(&self) -> Option<Instant> {
        self.caller.deadline()
    }

    fn interrupt_fd(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.event_fd().ok()
    }

    fn interrupted(&self) -> Option<Halt> {
        self.caller.interrupted().map(|code| match code {
            TrapCode::DeadlineExceeded => Halt::Deadline,
            TrapCode::OutOfFuel => Halt::OutOfFuel,
            _ => Halt::Interrupted,
        })
    }
}

impl<T: 'static> GuestMemory for Host<'_, '_, T> {
    fn len(&self) -> u64 {
        match &self.memory {
            Some(Exported::Shared(memory)) => memory.data_size() as u64,
            _ => self.bytes().len() as u64,
        }
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        match &self.memory {
            Some(Exported::Shared(_)) if buf.is_empty() => Ok(()),
            Some(Exported::Shared(memory)) => {
                let at = usize::try_from(addr).map_err(|_| Errno::FAULT)?;
                memory.read(at, buf).map_err(|_| Errno::FAULT)
            }
            _ => self.bytes().read(addr, buf),
        }
    }

    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        match &self.memory {
            Some(Exported::Shared(_)) if data.is_empty() => Ok(()),
            Some(Exported::Shared(memory)) => {
                let at = usize::try_from(addr).map_err(|_| Errno::FAULT)?;
                memory.write(at, data).map_err(|_| Errno::FAULT)
            }
            _ => self.bytes_mut().write(addr, data),
        }
    }

    fn slice(&self, addr: u64, len: u64) -> Option<Result<&[u8], Errno>> {
        match &self.memory {
            Some(Exported::Shared(_)) => None,
            _ => self.bytes().slice(addr, len),
        }
    }

    fn slice_mut(&mut self, addr: u64, len: u64) -> Option<Result<&mut [u8], Errno>> {
        match &self.memory {
            Some(Exported::Shared(_)) => None,
            _ => self.bytes_mut().slice_mut(addr, len),
        }
    }
}

impl<T: 'static> Host<'_, '_, T> {
    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Some(Exported::Own(memory)) => memory.data(&*self.caller),
            _ => &[],
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &self.memory {
            Some(Exported::Own(memory)) => memory.data_mut(&mut *self.caller),
            _ => &mut [],
        }
    }
}
