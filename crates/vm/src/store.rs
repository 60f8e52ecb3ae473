//! [`StoreInner`]: everything that the guests of one store share, and the only owner of all of it.
//!
//! A store is boxed and never moves, for its [`VmStoreCtx`] points back to it. Engines and host functions
//! hold it as `*mut StoreInner` while guests run, and make short-lived references from that; the type
//! is not `Unpin`, so that such a reference claims no more than it must.
//!
//! Objects are only ever added. They are dropped together with the store, so that whatever an
//! engine, a table or a handle refers to stays valid.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomPinned;
use std::sync::Arc;
use std::time::Instant;

use palisade_core::{RefType, TrapCode, TypeId, ValClass, ValType};
use palisade_module::{ExportIdx, FuncIdx, TagIdx, TypeRegistry};

use crate::deadline::{self, Armed};
use crate::error::{BoxError, VmError};
use crate::gc::Heap;
use crate::global::Global;
use crate::ids::{InstanceId, MemoryId, TagId};
use crate::import::ImportValue;
use crate::instance::Instance;
use crate::instantiate::PaidModules;
use crate::interrupt::InterruptHandle;
use crate::layout::{HostFunc, Interrupts, VmCtx, VmFuncRef, VmGlobalDef, VmMemoryDef, VmStoreCtx};
use crate::ledger::Ledger;
use crate::limiter::ResourceLimiter;
use crate::memory::Memory;
use crate::native::{Continuation, NativeConfig, NativeStore, POLL_BYTES, Trace};
use crate::owned::Owned;
use crate::stack::GuestStack;
use crate::sys::host_stack;
use crate::table::Table;

/// How address space is set aside for linear memories. Sizes in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryReservation {
    /// Below a 32-bit memory.
    pub before: u64,
    /// Past the 4 GiB of a 32-bit memory.
    pub after: u64,
    /// The largest maximum for which other memories get a place that they never move from.
    pub growable: u64,
}

impl Default for MemoryReservation {
    fn default() -> Self {
        Self { before: 2 << 30, after: 32 << 30, growable: 4 << 30 }
    }
}

/// What a store is made with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The size of the value stack.
    pub value_stack_bytes: usize,
    /// Whether guests pay for what they do.
    pub fuel_enabled: bool,
    /// How address space is set aside for linear memories.
    pub memory_reservation: MemoryReservation,
    /// Whether every allocation of an object collects first: a testing aid, which finds references that
    /// nobody told the collector of.
    pub gc_stress: bool,
    /// Whether a growth that every limit allows and the system has no room for ends the guest, instead of telling it.
    pub growth_must_succeed: bool,
    /// What machine code needs, if the store is to run any.
    pub native: Option<NativeConfig>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            value_stack_bytes: 1 << 20,
            fuel_enabled: false,
            memory_reservation: MemoryReservation::default(),
            gc_stress: false,
            growth_must_succeed: false,
            native: None,
        }
    }
}

/// What a [`VmCtx`] keeps as the identity of a tag.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) type_id: TypeId,
    /// Its own number.
    pub(crate) id: TagId,
    /// The instance that made it, and its index there; `None` for one of the host.
    pub(crate) origin: Option<(InstanceId, TagIdx)>,
}

/// A host function with the reference that leads to it.
pub(crate) struct HostEntry {
    pub(crate) reference: Owned<VmFuncRef>,
    /// Freed after the reference that points to it.
    pub(crate) _func: Owned<HostFunc>,
}

/// A store. See the module's documentation.
pub struct StoreInner {
    /// Disarmed before anything else goes.
    deadline: Option<Armed>,
    pub(crate) interrupt: InterruptHandle,
    pub(crate) instances: Vec<Owned<Instance>>,
    pub(crate) hosts: Vec<HostEntry>,
    /// Where this store's function references stand: start and end of each array of them.
    pub(crate) func_ranges: BTreeMap<usize, usize>,
    pub(crate) globals: Vec<Global>,
    /// The cells of those globals that no instance made.
    pub(crate) host_globals: Vec<Owned<VmGlobalDef>>,
    pub(crate) tables: Vec<Table>,
    pub(crate) memories: Vec<Memory>,
    /// Which of them are shared ones, by their address.
    pub(crate) shared_memories: BTreeMap<usize, MemoryId>,
    pub(crate) tags: Vec<Owned<Tag>>,
    pub(crate) empty_memory: Owned<VmMemoryDef>,
    ctx: Owned<VmStoreCtx>,
    pub(crate) stack: GuestStack,
    pub(crate) types: Arc<TypeRegistry>,
    pub(crate) config: StoreConfig,
    pub(crate) ledger: Ledger,
    pub(crate) paid_modules: PaidModules,
    pub(crate) limiter: Option<Box<dyn ResourceLimiter + Send>>,
    keep_alive: Vec<Box<dyn Any + Send + Sync>>,
    /// The objects of guests, and the host values that they hold.
    pub heap: Heap,
    /// The backtrace of the guest that is ending.
    pub trace: Trace,
    /// What is to be called in place of machine code that just ended (see [`crate::native::Entered::Continue`]).
    pub continuation: Continuation,
    pub(crate) native: NativeStore,
    /// Who is called when guests are asked where they are.
    pub sampler: Option<Box<dyn crate::sample::Sampler>>,
    /// The error of the host code that ended the guest with [`TrapCode::Internal`].
    pub pending_error: Option<BoxError>,
    /// Whether host code panicked while a guest of this store ran: its guests must not run again.
    pub poisoned: bool,
    /// The embedder's data, which host functions reach through the store. Never read in here.
    pub host_data: *mut (),
    _pinned: PhantomPinned,
}

// SAFETY: all raw pointers lead to allocations that the store owns, apart from `host_data`, which is
// not read here and whose owner must be `Send` to be sent along; everything owned is `Send`
// (engine data, host functions' data, host values, limiter by their bounds). Nothing is bound to
// a thread: the bounds of the host's stack are taken anew at each entry.
unsafe impl Send for StoreInner {}

impl std::fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreInner")
            .field("instances", &self.instances.len())
            .field("memories", &self.memories.len())
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl StoreInner {
    /// Makes an empty store. It must stay in its box.
    pub fn new(types: Arc<TypeRegistry>, config: StoreConfig) -> Result<Box<Self>, VmError> {
        let stack = GuestStack::new(config.value_stack_bytes)?;
        let stack_end = stack.values_end() as usize;
        let interrupt = match config.native {
            Some(_) => InterruptHandle::with_polls(stack_end)
                .map_err(VmError::system("a poll region", POLL_BYTES.into()))?,
            None => InterruptHandle::new(stack_end),
        };
        let ctx = Owned::new(VmStoreCtx {
            fuel: 0,
            depth_left: i64::MAX,
            ref_fp: stack.refs(),
            ref_limit: stack.refs_end(),
            ref_high: stack.refs(),
            heap_base: std::ptr::NonNull::<u64>::dangling().as_ptr().cast(),
            heap_next: 0,
            heap_end: 0,
            displays: std::ptr::NonNull::dangling().as_ptr(),
            displays_len: 0,
            pending_exn: crate::layout::VmRef::NULL,
            stack_top: stack.values(),
            stack_end: stack.values_end(),
            exit_ip: std::ptr::null(),
            exit_fp: std::ptr::null_mut(),
            exit_vmctx: std::ptr::null_mut(),
            activation: std::ptr::null(),
            host_stack_limit: 0,
            store: std::ptr::null_mut(),
            native: crate::layout::NativeState {
                builtins: crate::native::builtin_table(),
                ..crate::layout::NativeState::NEW
            },
        });
        let empty_memory = Owned::new(VmMemoryDef {
            base: std::ptr::NonNull::<u64>::dangling().as_ptr().cast(),
            len: std::sync::atomic::AtomicUsize::new(0),
        });
        let mut store = Box::new(Self {
            deadline: None,
            interrupt,
            instances: Vec::new(),
            hosts: Vec::new(),
            func_ranges: BTreeMap::new(),
            globals: Vec::new(),
            host_globals: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
            shared_memories: BTreeMap::new(),
            tags: Vec::new(),
            empty_memory,
            ctx,
            stack,
            types,
            config,
            ledger: Ledger::default(),
            paid_modules: PaidModules::default(),
            limiter: None,
            keep_alive: Vec::new(),
            heap: Heap::default(),
            trace: Trace::default(),
            continuation: Continuation::NONE,
            native: NativeStore::default(),
            sampler: None,
            pending_error: None,
            poisoned: false,
            host_data: std::ptr::null_mut(),
            _pinned: PhantomPinned,
        });
        let this: *mut Self = &mut *store;
        // SAFETY: the context is owned by the store and nobody reads it yet.
        unsafe { (*store.ctx.as_ptr()).store = this };
        store.init_native();
        Ok(store)
    }

    /// What engines share; valid as long as the store. Refreshes the pointer back to the store.
    pub fn ctx(&mut self) -> *mut VmStoreCtx {
        let ctx = self.ctx.as_ptr();
        let this: *mut Self = self;
        // SAFETY: the context is owned by the store; engines read the field on this thread.
        unsafe { (*ctx).store = this };
        ctx
    }

    /// The same as [`StoreInner::ctx`], for reading.
    pub(crate) fn ctx_ptr(&self) -> *mut VmStoreCtx {
        self.ctx.as_ptr()
    }

    /// Sets the limit on the host's stack for the current thread; to be called at every entry
    /// from the host, nested ones included.
    pub fn update_host_stack_limit(&mut self) {
        let ctx = self.ctx.as_ptr();
        // SAFETY: the context is owned by the store, which is held exclusively.
        unsafe { (*ctx).host_stack_limit = host_stack::limit((*ctx).host_stack_limit) };
    }

    /// The types of the engine.
    pub fn types(&self) -> &Arc<TypeRegistry> {
        &self.types
    }

    /// What the store was made with.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// What other threads write to.
    pub fn interrupts(&self) -> &Arc<Interrupts> {
        self.interrupt.interrupts()
    }

    /// A handle to stop guests with.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.interrupt.clone()
    }

    /// Sets the instant at which guests are ended with [`TrapCode::DeadlineExceeded`], or takes it
    /// away. A deadline that has fired already is forgotten; other interruptions stay. Fails, with no
    /// deadline set, if the system cannot start the timer's thread.
    pub fn set_deadline(&mut self, at: Option<Instant>) -> Result<(), VmError> {
        self.deadline = None;
        self.interrupt.clear_if(|code| code == TrapCode::DeadlineExceeded as u32);
        if let Some(at) = at {
            let failed = VmError::system("the timer's thread", 0);
            self.deadline = Some(deadline::arm(at, &self.interrupt).map_err(failed)?);
        }
        Ok(())
    }

    /// The instant at which guests are ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.as_ref().map(Armed::at)
    }

    /// What is in use, and what may be.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// What is in use, and what may be, for reading.
    pub fn ledger_ref(&self) -> &Ledger {
        &self.ledger
    }

    /// Sets who is asked before anything grows.
    pub fn set_limiter(&mut self, limiter: Option<Box<dyn ResourceLimiter + Send>>) {
        self.limiter = limiter;
    }

    /// Keeps something (registered types, say) as long as the store lives.
    pub fn keep_alive(&mut self, what: Box<dyn Any + Send + Sync>) {
        self.keep_alive.push(what);
    }

    /// Whether references of this type are function references.
    pub fn is_func_ref(&self, ty: RefType) -> bool {
        ValType::Ref(ty).class(|id| self.types.is_func(id)) == ValClass::Cell
    }

    /// Whether values of this type are references that a collection may have to change.
    pub fn is_heap_ref(&self, ty: ValType) -> bool {
        ty.class(|id| self.types.is_func(id)) == ValClass::Ref
    }

    // ---- instances ----

    /// An instance.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        // SAFETY: instances live as long as the store, which is borrowed; what changes in them does
        // so through the store or a running guest of it.
        self.instances.get(id.index()).map(|instance| unsafe { &*instance.as_ptr() })
    }

    /// How many instances there are.
    pub fn instance_count(&self) -> usize {
        self.instances.len()
    }

    /// The context of an instance; null if there is no such instance.
    pub fn vmctx(&self, id: InstanceId) -> *mut VmCtx {
        self.instance(id).map_or(std::ptr::null_mut(), Instance::vmctx)
    }

    /// The reference of a function of an instance; null if there is no such function.
    pub fn func_ref(&self, id: InstanceId, func: FuncIdx) -> *mut VmFuncRef {
        self.instance(id).map_or(std::ptr::null_mut(), |instance| instance.func_ref(func))
    }

    /// What an instance exports under a name.
    pub fn export(&self, id: InstanceId, name: &str) -> Option<ImportValue> {
        let instance = self.instance(id)?;
        let position = instance.export_position(name)?;
        self.export_at(id, instance.module.exports.get(position)?.index)
    }

    /// What an instance has in one of its index spaces.
    pub fn export_at(&self, id: InstanceId, index: ExportIdx) -> Option<ImportValue> {
        let instance = self.instance(id)?;
        Some(match index {
            ExportIdx::Func(func) => {
                let reference = instance.func_ref(func);
                if reference.is_null() {
                    return None;
                }
                ImportValue::Func(reference)
            }
            ExportIdx::Table(table) => ImportValue::Table(instance.table(table)?),
            ExportIdx::Memory(memory) => ImportValue::Memory(instance.memory(memory)?),
            ExportIdx::Global(global) => {
                ImportValue::Global(*instance.globals.get(global.index())?)
            }
            ExportIdx::Tag(tag) => ImportValue::Tag(*instance.tags.get(tag.index())?),
        })
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
