//! [`Store`]: everything that lives while guests run, with the embedder's data beside it.
//!
//! A store is one allocation that never moves ([`StoreBox`]), owned through a raw pointer: host
//! functions reach it through the pointer that the virtual machine keeps, while whoever entered the
//! guest has a view of it further up the stack (see [`crate::context`]).

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use palisade_core::{TrapCode, TypeId};
use palisade_vm::builtins::LEAST_FUEL;
use palisade_vm::gc::HeapTypeInfo;
use palisade_vm::layout::{Cell, VmCtx, VmRef, VmStoreCtx};
use palisade_vm::native::{EngineHooks, NativeConfig};
use palisade_vm::sample::Activation;
use palisade_vm::sys::host_stack;
pub use palisade_vm::{Counting, GcStats, InterruptHandle, Ledger, Refusal, Resource, Unit};
use palisade_vm::{InstanceId, ResourceLimiter, StoreConfig, StoreInner, VmError};

use crate::defined_type::DefinedType;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::func::Func;
use crate::host::HostDef;
use crate::limits::DataLimiter;
use crate::module::Module;
use crate::resources::{LedgerLine, ResourceLimits};
use crate::sampling::GuestProfiler;
use crate::tier::{self, StoreTier};

/// The number of a store. No two stores of one process have the same.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreId(u64);

impl StoreId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// An error unless `owner` is this store.
    #[inline]
    pub(crate) fn check(self, owner: Self, what: &'static str) -> Result<()> {
        if self == owner { Ok(()) } else { Err(Self::wrong(self, owner, what)) }
    }

    #[cold]
    fn wrong(self, owner: Self, what: &'static str) -> Error {
        Error::new(ErrorKind::WrongStore { what, owner: owner.0, used: self.0 })
    }
}

/// The part of a store that does not depend on the type of the embedder's data.
///
/// Public only so that it can stand in the signatures of sealed traits; it has no public name.
pub struct StoreOpaque {
    pub(crate) id: StoreId,
    pub(crate) engine: Engine,
    /// Owned. A box inside, held by pointer because guests in progress hold it, too.
    vm: NonNull<StoreInner>,
    /// Inside of what `vm` points to.
    ctx: NonNull<VmStoreCtx>,
    /// The module of each instance, by its number.
    modules: Vec<Module>,
    /// Host functions that this store has already, by the address of their definition, which is
    /// kept alive so that the address stays its own.
    host_funcs: HashMap<usize, (Arc<HostDef>, Func)>,
    /// Types of the host whose objects may be in the heap.
    heap_types: HashMap<TypeId, DefinedType>,
    /// How many calls may nest.
    call_depth: Option<u64>,
    pub(crate) tier: StoreTier,
    /// What the fuel was set to last, and what had been used up until then.
    fuel_set: u64,
    fuel_before: u64,
    /// When the deadline was set, and how many nanoseconds it was away then.
    pub(crate) timeout: Option<(Instant, u64)>,
}

/// What an engine changes in the store's context, as it was before an entry.
pub(crate) struct Entry {
    stack_top: *mut Cell,
    ref_fp: *mut VmRef,
    depth_left: i64,
    exit: (*const u8, *mut Cell, *mut VmCtx),
    activation: *const Activation,
}

/// A whole store. Never moves.
#[repr(C)]
pub(crate) struct StoreBox<T> {
    pub(crate) opaque: StoreOpaque,
    pub(crate) data: T,
}

impl<T: 'static> StoreBox<T> {
    /// The store around the virtual machine's part of it.
    ///
    /// # Safety
    ///
    /// `vm` is the `StoreInner` of a live store whose data is a `T`.
    #[inline(always)]
    pub(crate) unsafe fn from_vm(vm: *mut StoreInner) -> NonNull<Self> {
        // SAFETY: `Store::try_new` puts the pointer there, and the caller vouches for `T`.
        unsafe { NonNull::new_unchecked((*vm).host_data.cast()) }
    }
}

/// Everything that lives while guests run: instances, memories, tables, globals, host functions;
/// with data of the embedder's own type beside it. What is made in a store is freed with it, all at
/// once.
///
/// Stores share nothing but the engine's types and the code of modules. A store may move between
/// threads (if `T` may), and is used by one at a time.
pub struct Store<T: 'static> {
    raw: NonNull<StoreBox<T>>,
    _owned: PhantomData<StoreBox<T>>,
}

// SAFETY: a store owns all that it points to. What is inside is `Send`: the virtual machine's part by
// its own account, closures of host functions by their bounds, the data by this bound.
unsafe impl<T: Send> Send for Store<T> {}

impl<T: 'static> Store<T> {
    /// Makes a store.
    ///
    /// # Panics
    ///
    /// If the system has no address space left for the guests' stack. [`Store::try_new`] gives an
    /// error instead.
    pub fn new(engine: &Engine, data: T) -> Self {
        match Self::try_new(engine, data) {
            Ok(store) => store,
            Err(error) => panic!("cannot make a store: {error}"),
        }
    }

    /// Makes a store.
    ///
    /// # Errors
    ///
    /// The system has no address space left for the guests' stack.
    pub fn try_new(engine: &Engine, data: T) -> Result<Self> {
        let opaque = StoreOpaque::new(engine)?;
        let vm = opaque.vm_ptr().as_ptr();
        let raw = NonNull::from(Box::leak(Box::new(StoreBox { opaque, data })));
        // SAFETY: the virtual machine's part is owned by the new store and nobody uses it yet.
        unsafe { (*vm).host_data = raw.as_ptr().cast() };
        Ok(Self { raw, _owned: PhantomData })
    }

    pub(crate) fn raw(&self) -> NonNull<StoreBox<T>> {
        self.raw
    }

    pub(crate) fn opaque(&self) -> &StoreOpaque {
        // SAFETY: the store is alive and borrowed.
        unsafe { &(*self.raw.as_ptr()).opaque }
    }

    fn opaque_mut(&mut self) -> &mut StoreOpaque {
        // SAFETY: the store is alive and exclusively borrowed.
        unsafe { &mut (*self.raw.as_ptr()).opaque }
    }

    /// The engine that it was made with.
    pub fn engine(&self) -> &Engine {
        &self.opaque().engine
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        // SAFETY: the store is alive and borrowed.
        unsafe { &(*self.raw.as_ptr()).data }
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: the store is alive and exclusively borrowed.
        unsafe { &mut (*self.raw.as_ptr()).data }
    }

    /// Ends the store and returns the embedder's data.
    pub fn into_data(self) -> T {
        let raw = self.raw;
        std::mem::forget(self);
        // SAFETY: the store was made by leaking this box, and is not used again.
        let store = unsafe { Box::from_raw(raw.as_ptr()) };
        let StoreBox { opaque, data } = *store;
        drop(opaque);
        data
    }

    /// Sets how much fuel there is.
    ///
    /// # Errors
    ///
    /// The engine does not meter fuel: see [`Config::consume_fuel`](crate::Config::consume_fuel).
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.opaque_mut().set_fuel(fuel)
    }

    /// What is left of the fuel.
    ///
    /// # Errors
    ///
    /// The engine does not meter fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.opaque().get_fuel()
    }

    /// How much fuel was used since the store was made; `None` if the engine does not meter fuel.
    pub fn fuel_consumed(&self) -> Option<u64> {
        self.opaque().fuel_consumed()
    }

    /// Sets who is asked before any memory or table is made or grows.
    ///
    /// The closure finds the limiter in the store's data.
    pub fn limiter(
        &mut self,
        find: impl (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        let limiter = DataLimiter::new(self.raw, Box::new(find));
        self.opaque_mut().vm_mut().set_limiter(Some(Box::new(limiter)));
    }

    /// Sets how many calls may nest; `None` for as many as fit the stack.
    ///
    /// Machine code counts calls only if [`Config::call_depth`](crate::Config::call_depth) was set. Otherwise a store with
    /// a limit is interpreted; machine code that is already running, if a host function sets the limit, goes on, and
    /// what it calls without the host's help is not counted.
    pub fn set_call_depth_limit(&mut self, depth: Option<u64>) {
        self.opaque_mut().set_call_depth(depth);
    }

    /// Sets when guests must have ended: [`TrapCode::DeadlineExceeded`] ends whatever runs then,
    /// host functions that wait included. `None` takes the deadline away.
    ///
    /// # Errors
    ///
    /// The system has no room for the timer's thread.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<()> {
        self.opaque_mut().set_deadline(deadline)
    }

    /// As [`Store::set_deadline`], counted from now.
    ///
    /// # Errors
    ///
    /// The system has no room for the timer's thread.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.opaque_mut().set_timeout(timeout)
    }

    /// Lets a profiler find out where this store's guests spend their time, from now on, under a name. `None` takes it away. A
    /// store has one profiler at most; one of before keeps what it has found.
    pub fn set_profiler(&mut self, profiler: Option<(&GuestProfiler, &str)>) {
        let store = self.opaque_mut();
        store.vm_mut().sampler = None;
        if let Some((profiler, name)) = profiler {
            profiler.attach(store, name);
        }
    }

    /// When guests must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.opaque().deadline()
    }

    /// A handle that ends the store's guests from any thread. The request stays until
    /// [`InterruptHandle::clear`].
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.opaque().interrupt_handle()
    }

    /// Sets every limit of the store's ledger at once, the deadline and the fuel included, from now on.
    ///
    /// # Errors
    ///
    /// The engine does not meter fuel or has a larger stack: make it with
    /// [`Config::limit_resources`](crate::Config::limit_resources). Or the system has no room for the timer's thread.
    pub fn set_limits(&mut self, limits: &ResourceLimits) -> Result<()> {
        limits.apply(self.opaque_mut())
    }

    /// All that the ledger says, in the order of [`Resource::ALL`]: what is in use, what was, and what may be.
    pub fn ledger(&self) -> Vec<LedgerLine> {
        Resource::ALL.iter().map(|what| self.opaque().ledger_line(*what)).collect()
    }

    /// Whether backtraces from now on keep the values of locals, where they are known: for core dumps. They are read when a
    /// guest ends in a trap; nothing else costs anything.
    pub fn keep_values(&mut self, keep: bool) {
        self.opaque_mut().vm_mut().trace.keep_values(keep);
    }

    /// Sets how much of something all guests of the store may hold together; `None` for no limit. Fuel, time, stack
    /// and the depth of calls have setters of their own, and [`Store::set_limits`].
    pub fn set_resource_limit(&mut self, what: Resource, limit: Option<u64>) {
        self.opaque_mut().vm_mut().ledger().set_limit(what, limit);
    }

    /// How much of something all guests of the store may hold together.
    pub fn resource_limit(&self, what: Resource) -> Option<u64> {
        self.opaque().vm().ledger_ref().limit(what)
    }

    /// How much of something all guests of the store hold now.
    pub fn resource_use(&self, what: Resource) -> u64 {
        self.opaque().vm().ledger_ref().in_use(what)
    }

    /// The most of something that all guests of the store ever held.
    pub fn resource_peak(&self, what: Resource) -> u64 {
        self.opaque().vm().ledger_ref().peak(what)
    }

    /// The last thing that a limit of the ledger refused: says why a guest's `memory.grow` failed.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.opaque().vm().ledger_ref().refusal().copied()
    }

    /// Calls `hook` with every charge that a limit of the ledger refuses from now on, in place of an earlier hook. It is
    /// called while a guest runs, and must not panic.
    pub fn on_refusal(&mut self, hook: impl Fn(&Refusal) + Send + Sync + 'static) {
        self.opaque_mut().vm_mut().ledger().watch(hook);
    }

    /// Collects: frees the objects of guests that nobody can reach any more, and drops the host values of
    /// which that is true. Stores collect by themselves when their heap is full; this is for those who know a
    /// good moment, or wait for a value to be dropped.
    ///
    /// # Errors
    ///
    /// Dropping a host value panicked. The store is poisoned.
    pub fn gc(&mut self) -> Result<()> {
        self.opaque_mut().gc()
    }

    /// What the heap of objects has done so far, and how large it is.
    pub fn gc_stats(&self) -> GcStats {
        self.opaque().vm().gc_stats()
    }

    /// Whether a host function panicked in this store: its guests cannot run any more.
    pub fn is_poisoned(&self) -> bool {
        self.opaque().vm().poisoned
    }
}

impl<T: 'static> Drop for Store<T> {
    fn drop(&mut self) {
        // SAFETY: the store was made by leaking this box, and is not used again.
        drop(unsafe { Box::from_raw(self.raw.as_ptr()) });
    }
}

impl<T: 'static + Default> Default for Store<T> {
    fn default() -> Self {
        Self::new(&Engine::default(), T::default())
    }
}

impl<T: 'static + fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("id", &self.opaque().id.0)
            .field("instances", &self.opaque().modules.len())
            .field("data", self.data())
            .finish_non_exhaustive()
    }
}

impl StoreOpaque {
    fn new(engine: &Engine) -> Result<Self> {
        let config = engine.config();
        let vm = StoreInner::new(
            engine.types().clone(),
            StoreConfig {
                value_stack_bytes: config.max_wasm_stack,
                fuel_enabled: config.consume_fuel,
                memory_reservation: config.memory_reservation(),
                gc_stress: config.gc_stress,
                growth_must_succeed: config.deterministic,
                native: engine.tier().map(|tier| NativeConfig {
                    registry: tier.registry.clone(),
                    hooks: EngineHooks { call: tier::drive },
                }),
            },
        )
        .map_err(vm_error)?;
        let mut vm = NonNull::from(Box::leak(vm));
        // SAFETY: just made, and owned. Asking for the context makes it point back to where the
        // store is now.
        let ctx = unsafe { NonNull::new_unchecked(vm.as_mut().ctx()) };
        let mut this = Self {
            id: StoreId::next(),
            engine: engine.clone(),
            vm,
            ctx,
            modules: Vec::new(),
            host_funcs: HashMap::new(),
            heap_types: HashMap::new(),
            call_depth: None,
            tier: StoreTier::default(),
            fuel_set: 0,
            fuel_before: 0,
            timeout: None,
        };
        this.set_call_depth(config.depth());
        Ok(this)
    }

    #[inline(always)]
    pub(crate) fn vm_ptr(&self) -> NonNull<StoreInner> {
        self.vm
    }

    #[inline(always)]
    pub(crate) fn vm(&self) -> &StoreInner {
        // SAFETY: owned, alive, and borrowed for as long as `self`.
        unsafe { self.vm.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn vm_mut(&mut self) -> &mut StoreInner {
        // SAFETY: owned, alive, and exclusively borrowed for as long as `self`.
        unsafe { self.vm.as_mut() }
    }

    pub(crate) fn ctx(&mut self) -> &mut VmStoreCtx {
        // SAFETY: the context lives as long as the store and is touched by its thread alone.
        unsafe { self.ctx.as_mut() }
    }

    fn metered(&self) -> Result<()> {
        if self.engine.config().consume_fuel {
            return Ok(());
        }
        Err(Error::msg("fuel is not metered by this engine: set `Config::consume_fuel`"))
    }

    pub(crate) fn get_fuel(&self) -> Result<u64> {
        self.metered()?;
        // SAFETY: the context lives as long as the store; no reference to it is alive.
        let fuel = unsafe { (*self.ctx.as_ptr()).fuel };
        Ok(u64::try_from(fuel).unwrap_or(0))
    }

    pub(crate) fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        let left = self.get_fuel()?;
        // What does not fit is more than any guest can use.
        let fuel = fuel.min(i64::MAX as u64);
        self.fuel_before = self.fuel_before.saturating_add(self.fuel_set - left);
        self.fuel_set = fuel;
        self.ctx().fuel = fuel as i64;
        Ok(())
    }

    /// Takes fuel; `false`, with all of it taken, if there is not enough.
    pub(crate) fn charge_fuel(&mut self, units: u64) -> bool {
        let Ok(left) = self.get_fuel() else { return true };
        match left.checked_sub(units) {
            Some(rest) => {
                // At most what was there before, which fits.
                self.ctx().fuel = rest as i64;
                true
            }
            None => {
                // Below zero by what was missing, as engines leave it; but not so far that what they take from it
                // before they look could wrap.
                let missing = (units - left).min(LEAST_FUEL.unsigned_abs());
                self.ctx().fuel = -(missing as i64);
                false
            }
        }
    }

    pub(crate) fn fuel_consumed(&self) -> Option<u64> {
        Some(self.fuel_before.saturating_add(self.fuel_set - self.get_fuel().ok()?))
    }

    /// All the fuel that there was so far, if it is metered.
    pub(crate) fn fuel_limit(&self) -> Option<u64> {
        self.metered().ok()?;
        // What a caller sets to stand for no limit is none.
        Some(self.fuel_before.saturating_add(self.fuel_set)).filter(|fuel| *fuel < i64::MAX as u64)
    }

    /// How much fuel was missing for what was refused last, at least 1.
    pub(crate) fn fuel_missing(&mut self) -> u64 {
        self.ctx().fuel.min(-1).unsigned_abs()
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<()> {
        let now = Instant::now();
        self.timeout = deadline.map(|at| {
            let away = at.saturating_duration_since(now).as_nanos();
            (now, u64::try_from(away).unwrap_or(u64::MAX))
        });
        self.vm_mut().set_deadline(deadline).map_err(vm_error)
    }

    pub(crate) fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<()> {
        // What lies beyond all clocks never comes.
        self.set_deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))?;
        if let (Some((_, away)), Some(timeout)) = (&mut self.timeout, timeout) {
            *away = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Nanoseconds since the deadline was set.
    pub(crate) fn time_used(&self) -> Option<u64> {
        let (since, _) = self.timeout?;
        Some(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What comes before every entry into a guest: may it be entered at all, here and now?
    #[inline]
    pub(crate) fn begin_entry(&mut self) -> Result<Entry> {
        if self.vm().poisoned {
            return Err(Error::new(ErrorKind::Poisoned));
        }
        self.vm_mut().update_host_stack_limit();
        let ctx = self.ctx();
        // The engine checks this, too, but host functions are called without one.
        if host_stack::position() < ctx.host_stack_limit {
            return Err(Error::trap(TrapCode::StackOverflow));
        }
        Ok(Entry {
            stack_top: ctx.stack_top,
            ref_fp: ctx.ref_fp,
            depth_left: ctx.depth_left,
            exit: (ctx.exit_ip, ctx.exit_fp, ctx.exit_vmctx),
            activation: ctx.activation,
        })
    }

    /// After a panic that went through an engine: nothing runs in this store any more, and what
    /// engines further out find is what they left.
    #[cold]
    pub(crate) fn abandon_entry(&mut self, entry: Entry) {
        let ctx = self.ctx();
        ctx.stack_top = entry.stack_top;
        ctx.ref_fp = entry.ref_fp;
        ctx.depth_left = entry.depth_left;
        (ctx.exit_ip, ctx.exit_fp, ctx.exit_vmctx) = entry.exit;
        ctx.activation = entry.activation;
        self.vm_mut().trace.clear();
        self.vm_mut().poisoned = true;
    }

    /// While calls are nested, the new limit counts them.
    pub(crate) fn set_call_depth(&mut self, depth: Option<u64>) {
        let number = |depth: Option<u64>| {
            depth.map_or(i64::MAX, |depth| i64::try_from(depth).unwrap_or(i64::MAX))
        };
        let before = number(self.call_depth);
        let ctx = self.ctx();
        let nested = before.saturating_sub(ctx.depth_left);
        ctx.depth_left = number(depth).saturating_sub(nested);
        self.call_depth = depth;
        tier::depth_changed(self);
    }

    pub(crate) fn call_depth_limit(&self) -> Option<u64> {
        self.call_depth
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.vm().deadline()
    }

    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        self.vm().interrupt_handle()
    }

    pub(crate) fn interrupted(&self) -> Option<TrapCode> {
        self.vm().interrupts().pending()
    }

    /// The module of an instance.
    pub(crate) fn module_of(&self, instance: InstanceId) -> Option<&Module> {
        self.modules.get(instance.index())
    }

    /// Remembers the module of a new instance. Instances are numbered in order.
    pub(crate) fn add_module(&mut self, instance: InstanceId, module: &Module) -> Result<()> {
        if instance.index() != self.modules.len() {
            return Err(Error::internal("instances of a store are not numbered in order"));
        }
        self.modules.push(module.clone());
        tier::instance_made(self, instance, module)
    }

    /// A host function in this store. The same definition gives the same function again, so that
    /// instantiating from one linker many times does not fill the store.
    pub(crate) fn host_func(&mut self, def: &Arc<HostDef>) -> Result<Func> {
        if !def.engine.same(&self.engine) {
            return Err(Error::wrong_engine("host function"));
        }
        let key = Arc::as_ptr(def) as usize;
        if let Some((_, func)) = self.host_funcs.get(&key) {
            return Ok(*func);
        }
        let raw = self.vm_mut().alloc_host_func(def.host_func());
        tier::host_made(self, raw)?;
        // SAFETY: just made in this store.
        let func = unsafe { Func::from_raw(self.id, raw) };
        self.host_funcs.insert(key, (def.clone(), func));
        Ok(func)
    }

    /// What the heap knows of a type whose objects the host is going to make. The type is kept from now on.
    pub(crate) fn heap_type(&mut self, ty: &DefinedType) -> Result<Arc<HeapTypeInfo>> {
        let id = ty.id_for(&self.engine)?;
        self.heap_types.entry(id).or_insert_with(|| ty.clone());
        self.heap_type_of(id)
    }

    /// What the heap knows of a type that something in the store keeps.
    pub(crate) fn heap_type_of(&mut self, id: TypeId) -> Result<Arc<HeapTypeInfo>> {
        let info = self.vm_mut().gc_type_info(id);
        info.ok_or_else(|| Error::internal("objects of a type that has none"))
    }

    /// Why the heap refused something.
    #[cold]
    pub(crate) fn heap_error(&mut self, code: TrapCode) -> Error {
        match (code, self.vm_mut().pending_error.take()) {
            (TrapCode::Internal, Some(error)) => Error::from_pending(error),
            (TrapCode::Internal, None) => Error::internal("the heap gave no reason"),
            (code, _) => {
                let mut error = Error::trap(code);
                error.add_refusal(self.refusal_of(code));
                error
            }
        }
    }

    pub(crate) fn gc(&mut self) -> Result<()> {
        self.vm_mut().gc().map_err(|code| self.heap_error(code))
    }

    /// Keeps something as long as the store lives.
    pub(crate) fn keep_alive(&mut self, what: impl Any + Send + Sync) {
        self.vm_mut().keep_alive(Box::new(what));
    }
}

impl Drop for StoreOpaque {
    fn drop(&mut self) {
        // SAFETY: made by leaking this box; nobody uses it any more.
        drop(unsafe { Box::from_raw(self.vm.as_ptr()) });
    }
}

/// What the virtual machine says, in this crate's words.
pub(crate) fn vm_error(error: VmError) -> Error {
    match error {
        VmError::Stopped(code) => Error::trap(code),
        VmError::Limiter(error) => Error::from_pending(error),
        VmError::Limit(refusal) => Error::refused(refusal),
        VmError::Foreign { .. } => Error::internal(error.to_string()),
        error => Error::new(ErrorKind::Limit(error.to_string())),
    }
}
