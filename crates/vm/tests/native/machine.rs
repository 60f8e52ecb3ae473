//! A store with the blob published in it, and an instance whose import is the host's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_core::TrapCode;
use palisade_vm::layout::{Cell, HostFunc, VmCtx, VmFuncRef};
use palisade_vm::native::{
    CodeObject, CodeRegistry, EngineHooks, Entered, NativeConfig, TypeStubs, enter,
};
use palisade_vm::{ImportValue, InstanceId, StoreConfig, StoreInner, VmOffsets};

use crate::code::{self, Func};
use crate::common::World;

/// What the host function of a machine does with its argument.
pub(crate) type Work =
    Box<dyn Fn(*mut StoreInner, *mut VmCtx, u64) -> Result<u64, TrapCode> + Send + Sync>;

pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) id: InstanceId,
    pub(crate) vm: *mut VmCtx,
    pub(crate) object: Arc<CodeObject>,
}

/// What the "other engine" was called with last.
pub(crate) static OTHER: AtomicU64 = AtomicU64::new(0);

/// The other engine: adds one.
unsafe fn other(_: *mut StoreInner, _: *mut VmFuncRef, cells: *mut Cell) -> Result<(), TrapCode> {
    // SAFETY: one argument, one result.
    unsafe {
        OTHER.store(*cells, Ordering::Relaxed);
        match *cells {
            13 => Err(TrapCode::CastFailure),
            n => {
                *cells = n + 1;
                Ok(())
            }
        }
    }
}

unsafe extern "C" fn host(
    func: *const HostFunc,
    store: *mut StoreInner,
    caller: *mut VmCtx,
    cells: *mut Cell,
) -> u32 {
    // SAFETY: the data is what `Machine::with` put there; one argument, one result.
    unsafe {
        let body = || {
            let work = (*func).data.downcast_ref::<Work>().expect("a closure");
            match work(store, caller, *cells) {
                Ok(value) => {
                    *cells = value;
                    0
                }
                Err(code) => code as u32,
            }
        };
        palisade_vm::contain_panics(store, Into::into, body)
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(StoreConfig::default(), Box::new(|_, _, n| Ok(n)))
    }

    pub(crate) fn with(config: StoreConfig, work: Work) -> Self {
        Self::with_module(config, work, code::MODULE)
    }

    /// The same with a module whose contexts look alike.
    pub(crate) fn with_module(config: StoreConfig, work: Work, module: &str) -> Self {
        let registry = CodeRegistry::new().expect("address space");
        let hooks = EngineHooks { call: other };
        let native = Some(NativeConfig { registry: registry.clone(), hooks });
        let mut world = World::with(StoreConfig { native, ..config });
        let module = world.module(module);
        let offsets = Arc::new(VmOffsets::new(&module).expect("an ordinary size"));
        let type_id = module.types[1];
        let import = world.store.alloc_host_func(HostFunc {
            code: host,
            param_cells: 1,
            result_cells: 1,
            type_id,
            has_refs: false,
            store: std::ptr::null_mut(),
            data: Box::new(work),
        });
        let id = world
            .allocate_module(module.clone(), &[ImportValue::Func(import)])
            .expect("an instance");
        let tables = code::tables(&module, &offsets);
        let object = registry.publish(code::bytes(), tables).expect("room");
        let vm = world.store.vmctx(id);
        world.store.update_host_stack_limit();
        let machine = Self { world, id, vm, object };
        // SAFETY: the stubs are in the registry as long as the machine; the functions are the store's.
        unsafe {
            (*import).native.code = machine.at(Func::Host);
            (*import).native.ctx = (*import).host.cast_mut().cast();
            let trampoline = machine.at(Func::Trampoline);
            let stubs = TypeStubs { to_engine: machine.at(Func::Interp), trampoline };
            machine.world.store.instance(id).expect("it").activate_native(&|_| stubs);
        }
        machine
    }

    pub(crate) fn at(&self, func: Func) -> *const u8 {
        self.object.at(func.start())
    }

    pub(crate) fn enter(&mut self, func: Func, argument: u64) -> Result<u64, TrapCode> {
        let entered = self.enter_with(func, self.vm.cast(), argument);
        entered.map(|(entered, value)| {
            assert_eq!(entered, Entered::Done);
            value
        })
    }

    pub(crate) fn enter_with(
        &mut self,
        func: Func,
        callee: *mut u8,
        argument: u64,
    ) -> Result<(Entered, u64), TrapCode> {
        let store: *mut StoreInner = &mut *self.world.store;
        // SAFETY: the store is ours, and the code is that of the blob.
        unsafe { enter_raw(store, &self.object, func, callee, argument) }
    }
}

/// Enters a function of the blob, perhaps from within a host function.
pub(crate) unsafe fn enter_raw(
    store: *mut StoreInner,
    object: &CodeObject,
    func: Func,
    callee: *mut u8,
    argument: u64,
) -> Result<(Entered, u64), TrapCode> {
    let mut cells = [argument];
    // SAFETY: the caller's word.
    let entered = unsafe {
        enter(
            store,
            object.at(Func::Trampoline.start()),
            object.at(func.start()),
            callee,
            cells.as_mut_ptr(),
        )?
    };
    Ok((entered, cells[0]))
}
