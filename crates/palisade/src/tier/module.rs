//! What of a module is machine code so far.
//!
//! Code is shared by all instances of the module, in all stores and threads, and goes with the module.
//! There are up to two versions of it, for instances whose memories have their full reservation and for others.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use palisade_core::TypeId;
use palisade_jit::{
    Bounds, CompileError, CompileModule, CompiledFunc, Compiler, Explained, StubAddresses, StubKey,
    link, link_loop,
};
use palisade_module::{ModuleInfo, TypeRegistry};
use palisade_vm::VmOffsets;
use palisade_vm::native::CodeObject;
use palisade_vm::native::code::FuncKind;

use super::Tier;
use super::stored::Unread;

/// The most types that the functions of a module may have, for it to get machine code: each takes some stubs, which
/// are made at once.
const MOST_STUBS: usize = 4_000;
/// The most parameters and results of all these types.
const MOST_STUB_VALUES: usize = 40_000;

/// The most loops of a function that it is entered at: each takes a translation of the whole function.
const MOST_LOOPS: usize = 8;

/// What stands in place of an address for a function that nobody has asked for.
const NEW: usize = 0;
/// The same for one that will not be compiled.
const REFUSED: usize = 1;
/// The same for one that somebody compiles, or is going to.
const ASKED: usize = 2;
/// The same for one whose code is stored, and not read yet.
const STORED: usize = 3;

/// The code of all functions goes into batches of about so many bytes. A call inside a batch is direct, one out of it goes by the
/// instance, which no program was seen to take longer for; what is stored is read by the batch, so that a start reads less the
/// smaller they are, by half from a mebibyte to this.
const BATCH_BYTES: usize = 32 << 10;

/// The machine code of a module.
pub(crate) struct NativeModule {
    pub(super) tier: Arc<Tier>,
    pub(super) info: Arc<ModuleInfo>,
    pub(super) offsets: Arc<VmOffsets>,
    pub(super) types: Arc<TypeRegistry>,
    pub(super) guarded: Version,
    pub(super) explicit: Version,
    /// The stubs of the types of all functions of the module.
    stubs: OnceLock<Option<HashMap<TypeId, StubAddresses>>>,
    /// Whether there was code before anything ran: then instances take it over at once.
    pub(super) stored: AtomicBool,
}

/// The code of a module for one form of bounds checks.
pub(super) struct Version {
    pub(super) bounds: Bounds,
    /// By defined function: its address, [`NEW`], [`REFUSED`] or [`ASKED`].
    entries: Box<[AtomicUsize]>,
    /// Whether all functions were compiled, or refused, at once.
    pub(super) whole: Mutex<bool>,
    /// Functions in the order in which they got code, and its bytes.
    pub(super) published: Mutex<Vec<(u32, u32)>>,
    /// Entries at loops, by function, then by the loop's offset.
    loops: Mutex<HashMap<u32, HashMap<u32, LoopCode>>>,
    /// Keeps the code.
    pub(super) objects: Mutex<Vec<Arc<CodeObject>>>,
    /// Whether a function was refused for want of memory, which another process may have.
    pub(super) short: AtomicBool,
    /// What is stored of it.
    pub(super) unread: OnceLock<Unread>,
}

/// What there is for a loop.
#[derive(Copy, Clone)]
pub(super) enum LoopCode {
    /// Somebody compiles it.
    Asked,
    /// It will not be compiled.
    Refused,
    /// It is stored, in the batch of this number, and not read yet.
    Stored(usize),
    /// Where it is entered, and through what; the bytes of the code.
    Ready { trampoline: usize, code: usize, bytes: u32 },
}

impl Version {
    fn new(bounds: Bounds, functions: usize) -> Self {
        Self {
            bounds,
            entries: (0..functions).map(|_| AtomicUsize::new(NEW)).collect(),
            whole: Mutex::default(),
            published: Mutex::default(),
            loops: Mutex::default(),
            objects: Mutex::default(),
            short: AtomicBool::new(false),
            unread: OnceLock::new(),
        }
    }

    fn state(&self, defined: u32) -> usize {
        self.entries.get(defined as usize).map_or(REFUSED, |entry| entry.load(Ordering::Acquire))
    }

    /// Sets the address of a function, or that it has none, unless it has one already.
    fn settle(&self, defined: u32, to: usize) -> bool {
        let Some(entry) = self.entries.get(defined as usize) else { return false };
        let open = |state| matches!(state, NEW | ASKED | STORED).then_some(to);
        entry.fetch_update(Ordering::Release, Ordering::Relaxed, open).is_ok()
    }

    /// Where a function's code is; `None` if it has none.
    pub(super) fn entry(&self, defined: u32) -> Option<*const u8> {
        let address = self.state(defined);
        (address > STORED).then(|| std::ptr::with_exposed_provenance(address))
    }

    /// Whether a function may still get code.
    pub(super) fn open(&self, defined: u32) -> bool {
        matches!(self.state(defined), NEW | ASKED)
    }

    /// Whether a function's code is stored, and not read yet.
    pub(super) fn is_stored(&self, defined: u32) -> bool {
        self.state(defined) == STORED
    }

    /// Changes what is known of a function from one thing to another, if it is the first.
    fn change(&self, defined: u32, from: usize, to: usize) {
        if let Some(entry) = self.entries.get(defined as usize) {
            let _ = entry.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether some of what was stored could not be used.
    pub(super) fn is_damaged(&self) -> bool {
        self.unread.get().is_some_and(Unread::is_damaged)
    }

    /// Notes that the code of a function is stored.
    pub(super) fn set_stored(&self, defined: u32) {
        self.change(defined, NEW, STORED);
    }

    /// Notes that what was stored of a function cannot be used: it may be compiled.
    pub(super) fn set_lost(&self, defined: u32) {
        self.change(defined, STORED, NEW);
    }

    /// Notes that a function that was asked for was not compiled, for no reason of its own: it may be asked for again.
    pub(super) fn forget_asked(&self, defined: u32) {
        self.change(defined, ASKED, NEW);
    }

    /// Notes that a function of which nothing else is known stays interpreted.
    pub(super) fn refuse_new(&self, defined: u32) {
        self.change(defined, NEW, REFUSED);
    }

    /// Asks for a function: true for whoever asks first, who has to see to it.
    pub(super) fn ask(&self, defined: u32) -> bool {
        let (order, ordering) = (Ordering::Relaxed, Ordering::Relaxed);
        self.entries
            .get(defined as usize)
            .is_some_and(|entry| entry.compare_exchange(NEW, ASKED, order, ordering).is_ok())
    }

    /// Notes that a function stays interpreted.
    pub(super) fn refuse(&self, defined: u32) {
        self.settle(defined, REFUSED);
    }

    pub(super) fn loops(&self) -> MutexGuard<'_, HashMap<u32, HashMap<u32, LoopCode>>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a loop: true for whoever asks first, who has to see to it. Not all loops of a function are to be
    /// had.
    pub(super) fn ask_loop(&self, defined: u32, offset: u32) -> bool {
        let mut loops = self.loops();
        let known = loops.entry(defined).or_default();
        if known.contains_key(&offset) || known.len() >= MOST_LOOPS {
            return false;
        }
        known.insert(offset, LoopCode::Asked);
        true
    }

    pub(super) fn set_loop(&self, defined: u32, offset: u32, code: LoopCode) {
        self.loops().entry(defined).or_default().insert(offset, code);
    }

    /// Forgets what there is for a loop: it may be asked for.
    pub(super) fn forget_loop(&self, defined: u32, offset: u32) {
        if let Some(loops) = self.loops().get_mut(&defined) {
            loops.remove(&offset);
        }
    }

    /// What there is for a loop.
    pub(super) fn loop_code(&self, defined: u32, offset: u32) -> Option<LoopCode> {
        self.loops().get(&defined)?.get(&offset).copied()
    }

    /// Makes new code known.
    pub(super) fn add(&self, object: Arc<CodeObject>, entries: &[(u32, u32)]) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let end = object.len() as u32;
        let next = entries.iter().skip(1).map(|&(_, offset)| offset).chain([end]);
        for (&(defined, offset), next) in entries.iter().zip(next) {
            // Of two threads that compiled a function the first one is believed.
            if self.settle(defined, object.at(offset).expose_provenance()) {
                published.push((defined, next.saturating_sub(offset)));
            }
        }
        self.keep(object);
    }

    /// Keeps code as long as the module.
    pub(super) fn keep(&self, object: Arc<CodeObject>) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).push(object);
    }
}

impl std::fmt::Debug for NativeModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeModule").field("functions", &self.guarded.entries.len()).finish()
    }
}

impl NativeModule {
    /// A function for people to look at, in the version for memories with their full reservation.
    pub(crate) fn explain(&self, defined: u32) -> Result<Explained, CompileError> {
        let module = CompileModule {
            info: &self.info,
            offsets: &self.offsets,
            types: &self.types,
            stop: None,
        };
        self.tier.compiler.explain(&module, defined)
    }

    /// Where the code is that there is by now: function, whether it is entered at a loop, address, bytes.
    pub(crate) fn code(&self) -> Vec<(u32, bool, usize, u32)> {
        let mut all = Vec::new();
        for version in [&self.guarded, &self.explicit] {
            let objects = version.objects.lock().unwrap_or_else(PoisonError::into_inner);
            for object in objects.iter() {
                for func in &object.tables().funcs {
                    let (defined, at_loop) = match func.kind {
                        FuncKind::Defined(defined) => (defined, false),
                        FuncKind::Osr(defined) => (defined, true),
                        FuncKind::Stub => continue,
                    };
                    let address = object.at(func.range.start).addr();
                    all.push((defined, at_loop, address, func.range.len() as u32));
                }
            }
        }
        all
    }

    /// Nothing is compiled yet.
    pub(crate) fn new(
        tier: Arc<Tier>,
        info: Arc<ModuleInfo>,
        offsets: Arc<VmOffsets>,
        types: Arc<TypeRegistry>,
    ) -> Arc<Self> {
        let functions = info.bodies.len();
        Arc::new(Self {
            tier,
            info,
            offsets,
            types,
            guarded: Version::new(Bounds::Guard, functions),
            explicit: Version::new(Bounds::Explicit, functions),
            stubs: OnceLock::new(),
            stored: AtomicBool::new(false),
        })
    }

    /// The version for one form of bounds checks.
    pub(super) fn version(&self, bounds: Bounds) -> &Version {
        // An engine that was configured without reservations has the second alone.
        match (bounds, self.tier.compiler.options().bounds) {
            (Bounds::Guard, Bounds::Guard) => &self.guarded,
            _ => &self.explicit,
        }
    }

    /// What is compiled, for the compiler, until `stop` says that it is to end.
    pub(super) fn module<'a>(&'a self, stop: &'a (dyn Fn() -> bool + Sync)) -> CompileModule<'a> {
        let (info, offsets, types) = (&*self.info, &*self.offsets, &*self.types);
        CompileModule { info, offsets, types, stop: Some(stop) }
    }

    /// Whether the engine ends.
    pub(super) fn ending(&self) -> bool {
        self.tier.queue.ending()
    }

    /// The stubs of the types of all functions of the module, imported ones among them; nothing if they cannot be
    /// made, or are too many: then its instances, and those beside them, are interpreted.
    pub(super) fn stubs(&self) -> Option<&HashMap<TypeId, StubAddresses>> {
        let all = self.stubs.get_or_init(|| {
            let (ids, keys) = self.stub_keys()?;
            let made = self.tier.stubs.get_or_compile(&keys).ok()?;
            Some(ids.into_iter().zip(made).collect())
        });
        all.as_ref()
    }

    /// The types of all functions of the module, and the shapes of their stubs, unless they are too many.
    pub(super) fn stub_keys(&self) -> Option<(BTreeSet<TypeId>, Vec<StubKey>)> {
        let ids: BTreeSet<_> = self.info.funcs.iter().copied().collect();
        let mut values = 0;
        for &id in &ids {
            let ty = self.types.func_type(id)?;
            values += ty.params.len() + ty.results.len();
        }
        if ids.len() > MOST_STUBS || values > MOST_STUB_VALUES {
            return None;
        }
        let keys: Option<Vec<_>> = ids.iter().map(|&id| StubKey::of(&self.types, id)).collect();
        Some((ids, keys?))
    }

    /// The compiler of a version.
    pub(super) fn compiler(&self, version: &Version) -> Result<&Compiler, CompileError> {
        self.tier.compiler(version.bounds)
    }

    /// Compiles every function that has no code, on all processors, until `stop` says that it is to end.
    ///
    /// # Errors
    ///
    /// It was to end, or there is no room for the code. A function that cannot be compiled is no error.
    pub(crate) fn compile_all(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), CompileError> {
        let version = self.version(self.tier.compiler.options().bounds);
        self.stubs();
        self.compile_version(version, stop)
    }

    /// Compiles every function of a version, unless that was done.
    pub(super) fn compile_version(
        &self,
        version: &Version,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), CompileError> {
        // Whoever comes second waits for the first.
        let mut whole = version.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if *whole {
            return Ok(());
        }
        let compiler = self.tier.compiler(version.bounds)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let began = Instant::now();
        // What is stored is read when it is needed.
        let functions = 0..self.info.bodies.len() as u32;
        let wanted: Vec<u32> = functions.filter(|&defined| version.open(defined)).collect();
        let done = compiler.compile_some(&self.module(stop), &wanted, threads, &|result| {
            self.tier.queue.count(result);
        });
        self.tier.queue.took(began);
        if stop() {
            return Err(CompileError::Stopped);
        }
        let mut compiled: Vec<(u32, CompiledFunc)> = Vec::with_capacity(done.len());
        for (&defined, result) in wanted.iter().zip(done) {
            match result {
                Ok(func) => compiled.push((defined, func)),
                Err(CompileError::Stopped) => return Err(CompileError::Stopped),
                Err(error) => {
                    if error.is_of_memory() {
                        version.short.store(true, Ordering::Relaxed);
                    }
                    version.refuse(defined);
                }
            }
        }
        for batch in batches(compiled) {
            self.publish(version, batch)?;
        }
        *whole = true;
        Ok(())
    }

    /// Makes functions that were compiled together known.
    pub(super) fn publish(
        &self,
        version: &Version,
        compiled: Vec<(u32, CompiledFunc)>,
    ) -> Result<(), CompileError> {
        if compiled.is_empty() {
            return Ok(());
        }
        let mut linked = link(self.info.clone(), self.offsets.clone(), compiled)?;
        linked.tables.counts_depth = self.tier.compiler.options().depth;
        let object = self.tier.registry.publish(&linked.code, linked.tables);
        let object = object.map_err(|error| CompileError::Codegen(error.to_string()))?;
        version.add(object, &linked.entries);
        Ok(())
    }

    /// Compiles a function to be entered at a loop.
    pub(super) fn compile_loop(
        &self,
        version: &Version,
        defined: u32,
        offset: u32,
        count: impl FnOnce(&Result<CompiledFunc, CompileError>),
    ) -> Result<LoopCode, CompileError> {
        let made =
            self.compiler(version)?.compile_loop(&self.module(&|| self.ending()), defined, offset);
        count(&made);
        let mut linked = link_loop(self.info.clone(), self.offsets.clone(), defined, &made?)?;
        linked.tables.counts_depth = self.tier.compiler.options().depth;
        let object = self.tier.registry.publish(&linked.code, linked.tables);
        let object = object.map_err(|error| CompileError::Codegen(error.to_string()))?;
        self.loop_ready(version, defined, object)
    }

    /// Keeps the code of a loop: what there is for it now.
    pub(super) fn loop_ready(
        &self,
        version: &Version,
        defined: u32,
        object: Arc<CodeObject>,
    ) -> Result<LoopCode, CompileError> {
        let id = self.info.funcs.get((self.info.imported_funcs + defined) as usize);
        let stubs = id.and_then(|id| self.stubs()?.get(id));
        let trampoline = stubs.ok_or(CompileError::Internal("a function without stubs"))?;
        let trampoline = trampoline.enter_loop().expose_provenance();
        let (code, bytes) = (object.start().expose_provenance(), object.len() as u32);
        version.keep(object);
        Ok(LoopCode::Ready { trampoline, code, bytes })
    }
}

/// Cuts the functions of a module into batches, neighbours together.
fn batches(compiled: Vec<(u32, CompiledFunc)>) -> Vec<Vec<(u32, CompiledFunc)>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for (defined, func) in compiled {
        bytes += func.code.len();
        batch.push((defined, func));
        if bytes >= BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    batches.push(batch);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_asked_for_once_and_settled_once() {
        let version = Version::new(Bounds::Guard, 3);
        assert!(version.open(0) && version.ask(0) && !version.ask(0));
        assert!(version.open(0), "what is being compiled may still get code");
        assert!(version.settle(0, 4096) && !version.settle(0, 8192));
        version.refuse(0);
        assert_eq!(version.entry(0).map(<*const u8>::addr), Some(4096));
        assert!(!version.ask(0) && !version.open(0));
        version.refuse(1);
        assert!(!version.ask(1) && !version.open(1) && !version.settle(1, 4096));
        assert_eq!((version.entry(1), version.entry(2), version.entry(3)), (None, None, None));
        assert!(version.open(2) && !version.open(3) && !version.ask(3));
    }

    #[test]
    fn x10_no_more_than_a_few_loops_of_a_function_are_compiled() {
        let version = Version::new(Bounds::Guard, 2);
        let asked = (0..100).filter(|&offset| version.ask_loop(0, offset)).count();
        assert_eq!(asked, MOST_LOOPS);
        assert!(!version.ask_loop(0, 0) && version.ask_loop(1, 0));
    }
}
