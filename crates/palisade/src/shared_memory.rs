//! [`SharedMemory`]: a linear memory that guests of several stores use at once, on several threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::{Duration, Instant};

use palisade_vm::WaitResult;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::store::vm_error;
use crate::types::MemoryType;

/// A linear memory that belongs to no store, and that modules in any number of stores of one engine can import, on
/// any threads. A handle: cloning it clones no memory.
///
/// Whatever is in it can change at any time, by guests and by the host. Its bytes are therefore never
/// given out as a plain slice: they are copied ([`SharedMemory::read`], [`SharedMemory::write`]), or
/// accessed one by one as atomics ([`SharedMemory::data`]). What a guest passes by address has to be
/// copied once and checked in the copy.
///
/// Each store that has it counts its size against its own limits: what it had when it came to the
/// store, and what the store's own guests added.
///
/// ```
/// use palisade::{Engine, Instance, MemoryType, Module, SharedMemory, Store};
///
/// # fn main() -> palisade::Result<()> {
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module (import "" "" (memory 1 1 shared))
///          (func (export "add") (param i32) (result i32)
///            i32.const 0 local.get 0 i32.atomic.rmw.add))"#,
/// )?;
/// let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1))?;
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| {
///             let mut store = Store::new(&engine, ());
///             let imports = [memory.clone().into()];
///             let instance = Instance::new(&mut store, &module, &imports).expect("an instance");
///             let add = instance.get_typed_func::<i32, i32>(&mut store, "add").expect("a function");
///             for _ in 0..100 {
///                 add.call(&mut store, 1).expect("a number");
///             }
///         });
///     }
/// });
/// let mut sum = [0; 4];
/// memory.read(0, &mut sum)?;
/// assert_eq!(u32::from_le_bytes(sum), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    engine: Engine,
    vm: Arc<palisade_vm::SharedMemory>,
}

impl SharedMemory {
    /// Makes a memory of a type that is a shared one and has a maximum: see [`MemoryType::shared`].
    /// No limit of a store applies to its making.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`] for any other type; [`ErrorKind::Limit`] if the system refuses it; an
    /// error if the engine does not have [`Config::wasm_threads`](crate::Config::wasm_threads), or is
    /// [deterministic](crate::Config::deterministic).
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<Self> {
        if !engine.config().has_threads() {
            return Err(Error::msg(
                "a shared memory needs threads, which this engine has not: set \
                 `Config::wasm_threads`",
            ));
        }
        if engine.config().deterministic {
            return Err(Error::msg(
                "a deterministic engine has no shared memories: leave `Config::deterministic` off",
            ));
        }
        if !ty.is_shared() || ty.maximum().is_none() {
            return Err(Error::type_mismatch(format!(
                "expected the type of a shared memory with a maximum; found {ty}"
            )));
        }
        let plan = engine.config().memory_reservation();
        let vm = palisade_vm::SharedMemory::new(ty.to_core()?, &plan).map_err(vm_error)?;
        Ok(Self { engine: engine.clone(), vm })
    }

    pub(crate) fn from_vm(engine: &Engine, vm: Arc<palisade_vm::SharedMemory>) -> Self {
        Self { engine: engine.clone(), vm }
    }

    /// The virtual machine's memory, for a store of an engine.
    pub(crate) fn vm(&self, engine: &Engine) -> Result<&Arc<palisade_vm::SharedMemory>> {
        if self.engine.same(engine) { Ok(&self.vm) } else { Err(Error::wrong_engine("memory")) }
    }

    /// The engine that it was made with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether both are the same memory.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vm, &other.vm)
    }

    /// Its type, with its current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType::from_core(self.vm.ty())
    }

    /// Its size in pages. It never shrinks.
    pub fn size(&self) -> u64 {
        self.ty().minimum()
    }

    /// Its size in bytes.
    pub fn data_size(&self) -> usize {
        self.vm.len()
    }

    /// The bytes in a page.
    pub fn page_size(&self) -> u64 {
        self.ty().page_size()
    }

    /// The bytes that there are now. The memory may grow meanwhile, which these are no part of.
    pub fn data(&self) -> &[AtomicU8] {
        self.vm.data()
    }

    /// Copies bytes out of the memory. If others write there meanwhile, the copy can be a mixture.
    ///
    /// # Errors
    ///
    /// The range does not lie inside the memory: nothing is copied then.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let inside = self.vm.read(offset, buffer);
        if inside { Ok(()) } else { Err(self.outside(offset, buffer.len())) }
    }

    /// Copies bytes into the memory, in no particular order as others see it.
    ///
    /// # Errors
    ///
    /// The range does not lie inside the memory: nothing is copied then.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let inside = self.vm.write(offset, bytes);
        if inside { Ok(()) } else { Err(self.outside(offset, bytes.len())) }
    }

    fn outside(&self, offset: usize, len: usize) -> Error {
        let size = self.data_size();
        Error::msg(format!(
            "out of bounds memory access: {len} bytes at {offset:#x}, and the memory has {size:#x}"
        ))
    }

    /// Makes it larger, for everybody who has it, and returns how many pages it had. No limit of a
    /// store applies.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if its maximum or the system refuses.
    pub fn grow(&self, pages: u64) -> Result<u64> {
        self.vm.grow_pages(pages).map_err(vm_error)?.ok_or_else(|| {
            let ty = self.ty();
            let message = format!("a memory cannot grow by {pages} pages: it is {ty}");
            Error::new(ErrorKind::Limit(message))
        })
    }

    /// `memory.atomic.notify`: wakes up to `count` of those that wait at an address, and tells how
    /// many there were.
    ///
    /// # Errors
    ///
    /// The trap of an address that is not a multiple of 4, or that is out of bounds.
    pub fn atomic_notify(&self, address: u64, count: u32) -> Result<u32> {
        self.vm.notify(address, count).map_err(Error::trap)
    }

    /// `memory.atomic.wait32`: waits at an address until somebody notifies, unless there is something else
    /// than `expected`. The current thread sleeps; no deadline or interruption of a store ends that.
    /// Without a timeout it waits for ever.
    ///
    /// # Errors
    ///
    /// The trap of an address that is not a multiple of 4, or that is out of bounds.
    pub fn atomic_wait32(
        &self,
        address: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        self.vm.wait32(address, expected, until(timeout), None).map_err(Error::trap)
    }

    /// `memory.atomic.wait64`: as [`SharedMemory::atomic_wait32`], for 8 bytes.
    ///
    /// # Errors
    ///
    /// The trap of an address that is not a multiple of 8, or that is out of bounds.
    pub fn atomic_wait64(
        &self,
        address: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        self.vm.wait64(address, expected, until(timeout), None).map_err(Error::trap)
    }
}

/// When a timeout is over. What lies beyond all clocks never comes.
fn until(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("ty", &self.ty()).finish_non_exhaustive()
    }
}
