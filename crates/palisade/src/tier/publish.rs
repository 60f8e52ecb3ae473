//! How an instance takes over machine code: on its store's own thread, by changing addresses in its context.
//!
//! In a store, either nobody or everybody can be entered by machine code: from the moment at which the first
//! function of a store is taken over, every function of it, of the host or not, has an entry for machine code,
//! its own or a stub. So no address that machine code finds is null.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use palisade_interp::LoopEntry;
use palisade_jit::{Bounds, GUARDED_REACH};
use palisade_vm::layout::{VmCtx, VmFuncRef};
use palisade_vm::native::TypeStubs;
use palisade_vm::{InstanceId, Resource};

use super::Tier;
use super::module::{LoopCode, NativeModule, Version};
use super::queue::Job;
use crate::error::{Error, Result};
use crate::module::Module;
use crate::store::StoreOpaque;

/// What a store keeps about machine code.
#[derive(Debug, Default)]
pub(crate) struct StoreTier {
    /// Whether every function has an entry for machine code.
    active: bool,
    /// Whether something in the store cannot be entered by machine code, so that nothing becomes machine code.
    refused: bool,
    /// For each instance how many of its module's functions it has taken over, in their order.
    taken: Vec<usize>,
    /// For each instance how many it has paid for.
    paid: Vec<usize>,
    /// The loops, by their offset in the instance's module, whose code was paid for.
    loops: HashSet<(InstanceId, u32)>,
}

/// Whether guests of a store may run as machine code: not if their calls are to be counted, and code does not count
/// them.
fn may_run_native(store: &StoreOpaque) -> bool {
    match store.engine.tier() {
        Some(tier) => {
            let counts = tier.compiler.options().depth || store.call_depth_limit().is_none();
            counts && !store.tier.refused
        }
        None => false,
    }
}

/// Lets every function of a store be entered by machine code, whatever it is. Whether that could be done.
fn activate(store: &mut StoreOpaque) -> bool {
    if store.tier.active {
        return true;
    }
    let Some(tier) = store.engine.tier().cloned() else { return false };
    if !may_run_native(store) || !can_activate(store, &tier) {
        return false;
    }
    store.tier.active = true;
    for index in 0..store.vm().instance_count() {
        let id = InstanceId(index as u32);
        if let Some(module) = store.module_of(id).cloned() {
            let _ = prepare(store, id, &module);
        }
    }
    for func in store.vm().host_funcs() {
        let _ = prepare_host(store, &tier, func);
    }
    true
}

/// Whether there are stubs for all functions of a store: without them it stays interpreted.
fn can_activate(store: &StoreOpaque, tier: &Tier) -> bool {
    let modules = (0..store.vm().instance_count()).map(|i| store.module_of(InstanceId(i as u32)));
    let mut modules = modules.flatten();
    // SAFETY: functions of the store.
    let mut hosts = store.vm().host_funcs().into_iter().map(|func| unsafe { (*func).type_id });
    modules.all(|module| module.native().is_some_and(|native| native.stubs().is_some()))
        && hosts.all(|ty| tier.stubs.of_type(store.engine.types(), ty).is_ok())
}

/// Somebody found no stub for a type, in a store whose machine code may come across it.
fn no_stub() -> Error {
    Error::msg("the engine has no more room for the entries of types of functions")
}

/// Lets a host function be called by machine code.
fn prepare_host(store: &mut StoreOpaque, tier: &Tier, func: *mut VmFuncRef) -> Result<()> {
    // SAFETY: a function of the store.
    let ty = unsafe { (*func).type_id };
    let stubs = tier.stubs.of_type(store.engine.types(), ty).map_err(|_| no_stub())?;
    // SAFETY: the stub is one of the function's type, and the engine's, which the store keeps.
    unsafe { store.vm_mut().set_host_stub(func, stubs.to_host()) };
    Ok(())
}

/// Takes a new host function into account.
///
/// # Errors
///
/// Machine code could not call it: then nobody may have it.
pub(crate) fn host_made(store: &mut StoreOpaque, func: *mut VmFuncRef) -> Result<()> {
    match store.engine.tier().cloned() {
        Some(tier) if store.tier.active => {
            let prepared = prepare_host(store, &tier, func);
            prepared.or_else(|error| refuse(store, error))
        }
        _ => Ok(()),
    }
}

/// Something cannot be entered by machine code: from now on all guests of the store are interpreted. If machine code
/// is running, it could come across it: then it is an error.
fn refuse(store: &mut StoreOpaque, error: Error) -> Result<()> {
    if !store.ctx().native.segment.is_null() {
        return Err(error);
    }
    store.tier.refused = true;
    interpret_all(store);
    store.tier.active = false;
    Ok(())
}

/// Lets every function of a store be interpreted.
fn interpret_all(store: &mut StoreOpaque) {
    for index in 0..store.vm().instance_count() {
        let id = InstanceId(index as u32);
        let Some(module) = store.module_of(id).cloned() else { continue };
        // All that machine code could come across have had stubs since the store was activated.
        let _ = prepare(store, id, &module);
        if let Some(taken) = store.tier.taken.get_mut(id.index()) {
            *taken = 0;
        }
        let Some(instance) = store.vm().instance(id) else { continue };
        for defined in 0..module.info().bodies.len() as u32 {
            // SAFETY: the address is the interpreter's for this function, which the instance keeps.
            unsafe { instance.set_code(defined, module.code().code_entry(defined)) };
        }
    }
}

/// Takes a new limit on nested calls into account: where code does not count them, and they are to be counted, guests
/// are interpreted from the next call on that the host or the interpreter makes; where they no longer are, machine
/// code runs again.
pub(crate) fn depth_changed(store: &mut StoreOpaque) {
    let Some(tier) = store.engine.tier().cloned() else { return };
    let may = may_run_native(store);
    if may && !tier.tiers() && !store.tier.active {
        activate(store);
    }
    if !store.tier.active {
        return;
    }
    if !may {
        return interpret_all(store);
    }
    if !tier.tiers() {
        for index in 0..store.vm().instance_count() {
            let id = InstanceId(index as u32);
            if let Some(module) = store.module_of(id).cloned() {
                take_over(store, id, &module);
            }
        }
    }
}

/// Takes a new instance into account.
///
/// # Errors
///
/// Machine code could not call its functions: then nobody may have it.
pub(crate) fn instance_made(
    store: &mut StoreOpaque,
    id: InstanceId,
    module: &Module,
) -> Result<()> {
    forget_start(store, id, module);
    // There is code for it from the start, or there was before it ran.
    let ready = store.engine.tier().is_some_and(|tier| !tier.tiers())
        || module.native().is_some_and(|native| native.stored());
    if ready && !store.tier.active {
        activate(store);
    } else if store.tier.active {
        prepare(store, id, module).or_else(|error| refuse(store, error))?;
    }
    if ready && store.tier.active && may_run_native(store) {
        take_over(store, id, module);
    }
    Ok(())
}

/// What the start function called was translated, before anybody could look for its stored code: now somebody looks again.
fn forget_start(store: &StoreOpaque, id: InstanceId, module: &Module) {
    if module.info().start.is_none() || !module.native().is_some_and(|native| native.stored()) {
        return;
    }
    let Some(instance) = store.vm().instance(id) else { return };
    for defined in 0..module.info().bodies.len() as u32 {
        // SAFETY: the address is the interpreter's for this function, which the instance keeps.
        unsafe { instance.set_code(defined, module.code().code_entry(defined)) };
    }
}

/// Gives every function of an instance an entry for machine code.
fn prepare(store: &mut StoreOpaque, id: InstanceId, module: &Module) -> Result<()> {
    let all = module.native().and_then(|native| native.stubs()).ok_or_else(no_stub)?;
    let none = TypeStubs { to_engine: std::ptr::null(), trampoline: std::ptr::null() };
    let stubs = |ty| {
        let known = all.get(&ty);
        known.map_or(none, |s| TypeStubs { to_engine: s.to_engine(), trampoline: s.enter() })
    };
    let Some(instance) = store.vm().instance(id) else { return Ok(()) };
    // SAFETY: the stubs are the engine's, which the store keeps, and those of the types that the module's
    // functions have.
    unsafe { instance.activate_native(&stubs) };
    Ok(())
}

/// Which version of its module's code an instance can run.
fn bounds(store: &StoreOpaque, id: InstanceId) -> Bounds {
    if store.vm().memories_reach(id, GUARDED_REACH) { Bounds::Guard } else { Bounds::Explicit }
}

/// Lets an instance run what of its module has machine code by now.
fn take_over(store: &mut StoreOpaque, id: InstanceId, module: &Module) {
    let Some(native) = module.native() else { return };
    let version = native.version(bounds(store, id));
    if !native.tier.tiers() {
        // The version for memories without a reservation is made when it is needed first.
        let interrupts = store.vm().interrupts().clone();
        let stop = || interrupts.pending().is_some();
        if native.compile_version(version, &stop).is_err() {
            return;
        }
    }
    let published = version.published.lock().unwrap_or_else(PoisonError::into_inner);
    let at = id.index();
    if store.tier.taken.len() <= at {
        store.tier.taken.resize(at + 1, 0);
        store.tier.paid.resize(at + 1, 0);
    }
    let from = store.tier.taken[at];
    for &(defined, bytes) in published.iter().skip(from) {
        let Some(code) = version.entry(defined) else { continue };
        // Who cannot pay for code is interpreted.
        let paid = store.tier.taken[at] < store.tier.paid[at];
        if !paid && !pay(store, bytes) {
            return;
        }
        store.tier.taken[at] += 1;
        store.tier.paid[at] = store.tier.paid[at].max(store.tier.taken[at]);
        let Some(instance) = store.vm().instance(id) else { continue };
        // SAFETY: the code is the function's, and the module, which the instance keeps, keeps it.
        unsafe {
            let trampoline = instance.publish_native(defined, code);
            let stub = module.code().native_stub(defined, trampoline, code);
            if !stub.is_null() {
                instance.set_code(defined, stub);
            }
        }
    }
}

/// The store that a context belongs to.
///
/// # Safety
///
/// The context is live, and nobody holds its store.
unsafe fn store_of<'a>(vm: *mut VmCtx) -> &'a mut StoreOpaque {
    // SAFETY: the store around the virtual machine's part begins with what does not depend on its data.
    unsafe { &mut *(*(*(*vm).store).store).host_data.cast::<StoreOpaque>() }
}

/// The instance of a context and its module, if its store may run machine code.
unsafe fn found<'a>(vm: *mut VmCtx) -> Option<(&'a mut StoreOpaque, InstanceId, Module)> {
    // SAFETY: passed on to the caller.
    let (store, id) = unsafe { (store_of(vm), InstanceId((*vm).instance_index)) };
    if !may_run_native(store) {
        return None;
    }
    // A start function runs before the instance is known here: it is interpreted.
    let module = store.module_of(id)?.clone();
    Some((store, id, module))
}

/// A function is hot: it gets machine code, now or later. See [`palisade_interp::TierConfig::entered`].
///
/// # Safety
///
/// The context is live, and nobody holds its store.
pub(super) unsafe fn entered(vm: *mut VmCtx, defined: u32) {
    // SAFETY: passed on to the caller.
    let Some((store, id, module)) = (unsafe { found(vm) }) else { return };
    let Some(native) = module.native() else { return };
    let version = native.version(bounds(store, id));
    read(store, native, version, defined);
    if version.open(defined) && has_room(store, native, defined) && version.ask(defined) {
        ask(native, Job::function(native, version.bounds, defined));
    }
    if version.entry(defined).is_some() && activate(store) {
        take_over(store, id, &module);
    }
}

/// Reads the stored code of a function, if that was not done and the store can pay for it.
fn read(store: &mut StoreOpaque, native: &Arc<NativeModule>, version: &Version, defined: u32) {
    if version.is_stored(defined)
        && native.stubs().is_some()
        && let Some(batch) = version.unread.get().and_then(|unread| unread.batch_of(defined))
    {
        native.read_batch(version, batch, &mut |bytes| can_pay(store, bytes));
    }
}

/// A function is entered that an instance has no code of yet. Whether it has now: see
/// [`palisade_interp::NativeConfig::first`].
///
/// # Safety
///
/// The context is live, and nobody holds its store.
pub(super) unsafe fn first(vm: *mut VmCtx, defined: u32) -> bool {
    // SAFETY: passed on to the caller.
    let Some((store, id, module)) = (unsafe { found(vm) }) else { return false };
    let Some(native) = module.native().filter(|native| native.stored()) else { return false };
    let version = native.version(bounds(store, id));
    read(store, native, version, defined);
    // Where everything is compiled beforehand, what was damaged is compiled now.
    if !native.tier.tiers()
        && version.is_damaged()
        && version.open(defined)
        && has_room(store, native, defined)
        && version.ask(defined)
    {
        let interrupts = store.vm().interrupts().clone();
        let stop = || interrupts.pending().is_some();
        Job::function(native, version.bounds, defined).run(&native.tier.queue, &stop);
    }
    if version.entry(defined).is_none() || !activate(store) {
        return false;
    }
    take_over(store, id, &module);
    let instance = store.vm().instance(id);
    instance.is_some_and(|instance| instance.native_entry(defined).ctx == vm.cast())
}

/// A loop of a function is hot. See [`palisade_interp::TierConfig::looped`].
///
/// # Safety
///
/// The context is live, and nobody holds its store.
pub(super) unsafe fn looped(vm: *mut VmCtx, defined: u32, offset: u32) -> Option<LoopEntry> {
    // SAFETY: passed on to the caller.
    let (store, id, module) = unsafe { found(vm)? };
    let native = module.native()?;
    let version = native.version(bounds(store, id));
    read(store, native, version, defined);
    if let Some(LoopCode::Stored(batch)) = version.loop_code(defined, offset) {
        native.read_batch(version, batch, &mut |bytes| can_pay(store, bytes));
    }
    if version.loop_code(defined, offset).is_none() && !has_room(store, native, defined) {
        return None;
    }
    // Both are wanted: the loop now, the function for the next calls. The frame that goes on as machine code stands
    // at what leads to the function's.
    if version.ask(defined) {
        ask(native, Job::function(native, version.bounds, defined));
    }
    if version.ask_loop(defined, offset) {
        ask(native, Job::at_loop(native, version.bounds, defined, offset));
    }
    let ready = version.entry(defined).and_then(|_| version.loop_code(defined, offset));
    let Some(LoopCode::Ready { trampoline, code, bytes }) = ready else { return None };
    if !activate(store) || !pay_for_loop(store, id, offset, bytes) {
        return None;
    }
    take_over(store, id, &module);
    let address = std::ptr::with_exposed_provenance;
    Some(LoopEntry { trampoline: address(trampoline), code: address(code) })
}

/// Whether an instance can pay for the code of a loop, or has.
fn pay_for_loop(store: &mut StoreOpaque, id: InstanceId, offset: u32, bytes: u32) -> bool {
    if store.tier.loops.contains(&(id, offset)) {
        return true;
    }
    pay(store, bytes) && store.tier.loops.insert((id, offset))
}

/// Whether a store could pay for machine code.
fn can_pay(store: &mut StoreOpaque, bytes: u32) -> bool {
    store.vm_mut().ledger().has_room(Resource::HostBytes, bytes.into())
}

/// Whether a store can pay for machine code, and does. If not, nothing was refused that the guest asked for: it goes on
/// without.
fn pay(store: &mut StoreOpaque, bytes: u32) -> bool {
    let ledger = store.vm_mut().ledger();
    let bytes = u64::from(bytes);
    ledger.has_room(Resource::HostBytes, bytes) && ledger.charge(Resource::HostBytes, bytes).is_ok()
}

/// Whether the store can pay for what compiling a function takes at its peak. It has it back when that is done: what
/// stays is the code, which is paid for by whoever takes it over.
fn has_room(store: &mut StoreOpaque, native: &NativeModule, defined: u32) -> bool {
    let body = native.info.bodies.get(defined as usize).map_or(0, |body| body.range.len());
    let peak = palisade_jit::limits::memory(body as u64);
    let ledger = store.vm_mut().ledger();
    // No refusal of the guest's: it goes on without machine code.
    if !ledger.has_room(Resource::HostBytes, peak) {
        return false;
    }
    ledger.note_peak(Resource::HostBytes, peak);
    true
}

fn ask(native: &Arc<NativeModule>, job: Job) {
    if native.tier.tuning.wait {
        job.run(&native.tier.queue, &|| false);
    } else {
        native.tier.queue.push(job, native.tier.tuning.batch);
    }
}
