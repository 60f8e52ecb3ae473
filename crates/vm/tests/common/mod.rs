//! A store without an engine: modules are instantiated and the built-ins are called directly, as an
//! engine would.
#![allow(dead_code)]

pub(crate) mod heap;

use std::sync::Arc;

use palisade_core::{Limits, TrapCode};
use palisade_module::{ModuleInfo, TypeRegistry, wasmparser::WasmFeatures};
use palisade_vm::{
    ImportValue, InstanceId, InstantiateError, MemoryId, StoreConfig, StoreInner, TableId, VmCtx,
    VmOffsets,
};

pub(crate) const PAGE: usize = 65536;

pub(crate) struct World {
    pub(crate) types: Arc<TypeRegistry>,
    pub(crate) store: Box<StoreInner>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(StoreConfig::default())
    }

    pub(crate) fn with(config: StoreConfig) -> Self {
        let types = TypeRegistry::new();
        let store = StoreInner::new(types.clone(), config).expect("a store");
        Self { types, store }
    }

    pub(crate) fn with_fuel(fuel: i64) -> Self {
        let mut world = Self::with(StoreConfig { fuel_enabled: true, ..StoreConfig::default() });
        world.set_fuel(fuel);
        world
    }

    pub(crate) fn set_fuel(&mut self, fuel: i64) {
        // SAFETY: no guest runs.
        unsafe { (*self.store.ctx()).fuel = fuel };
    }

    pub(crate) fn fuel(&mut self) -> i64 {
        // SAFETY: no guest runs.
        unsafe { (*self.store.ctx()).fuel }
    }

    pub(crate) fn module(&self, wat: &str) -> Arc<ModuleInfo> {
        let (limits, features) = (Limits::default(), WasmFeatures::all());
        let module =
            ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &self.types, None);
        Arc::new(module.unwrap_or_else(|error| panic!("{error}\n{wat}")))
    }

    /// Allocates an instance, and does not run its segments.
    pub(crate) fn allocate(
        &mut self,
        wat: &str,
        imports: &[ImportValue],
    ) -> Result<InstanceId, InstantiateError> {
        let module = self.module(wat);
        self.allocate_module(module, imports)
    }

    pub(crate) fn allocate_module(
        &mut self,
        module: Arc<ModuleInfo>,
        imports: &[ImportValue],
    ) -> Result<InstanceId, InstantiateError> {
        let offsets = Arc::new(VmOffsets::new(&module).expect("a context of ordinary size"));
        // SAFETY: the offsets and types are the module's, and no engine ever runs this code.
        unsafe {
            self.store.allocate_instance(module, offsets, imports, Arc::new(()), &mut |_| {
                std::ptr::null()
            })
        }
    }

    /// Allocates an instance and runs its segments.
    pub(crate) fn instance(&mut self, wat: &str) -> Guest {
        self.instance_with(wat, &[])
    }

    pub(crate) fn instance_with(&mut self, wat: &str, imports: &[ImportValue]) -> Guest {
        let id = self.allocate(wat, imports).unwrap_or_else(|error| panic!("{error}\n{wat}"));
        self.store.initialize_instance(id).expect("the segments fit");
        self.guest(id)
    }

    pub(crate) fn guest(&self, id: InstanceId) -> Guest {
        Guest { id, vm: self.store.vmctx(id) }
    }

    pub(crate) fn memory(&self, guest: Guest, index: usize) -> MemoryId {
        self.store.instance(guest.id).expect("an instance").memories[index]
    }

    pub(crate) fn table(&self, guest: Guest, index: usize) -> TableId {
        self.store.instance(guest.id).expect("an instance").tables[index]
    }

    pub(crate) fn bytes(&self, guest: Guest) -> &[u8] {
        self.store.memory_data(self.memory(guest, 0))
    }

    pub(crate) fn bytes_mut(&mut self, guest: Guest) -> &mut [u8] {
        let id = self.memory(guest, 0);
        self.store.memory_data_mut(id)
    }
}

/// An instance, with the built-ins on its memory 0 and table 0.
#[derive(Copy, Clone)]
pub(crate) struct Guest {
    pub(crate) id: InstanceId,
    pub(crate) vm: *mut VmCtx,
}

macro_rules! builtins {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $result:ty = $builtin:path, ($($pass:expr),*);)*) => {
        impl Guest {$(
            pub(crate) fn $name(self, $($arg: $ty),*) -> $result {
                // SAFETY: the tests keep the store alive and hold no reference into it meanwhile.
                unsafe { $builtin(self.vm, $($pass),*) }
            }
        )*}
    };
}

use palisade_vm::builtins as b;

builtins! {
    memory_grow(delta: u64) -> Result<u64, TrapCode> = b::memory_grow, (0, delta);
    memory_copy(dst: u64, src: u64, len: u64) -> Result<(), TrapCode> = b::memory_copy, (0, 0, dst, src, len);
    memory_fill(dst: u64, value: u8, len: u64) -> Result<(), TrapCode> = b::memory_fill, (0, dst, value, len);
    memory_init(data: u32, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> = b::memory_init, (0, data, dst, src, len);
    data_drop(data: u32) -> () = b::data_drop, (data);
    table_get(index: u64) -> Result<u64, TrapCode> = b::table_get, (0, index);
    table_set(index: u64, value: u64) -> Result<(), TrapCode> = b::table_set, (0, index, value);
    table_size() -> Result<u64, TrapCode> = b::table_size, (0);
    table_grow(init: u64, delta: u64) -> Result<u64, TrapCode> = b::table_grow, (0, init, delta);
    table_fill(dst: u64, value: u64, len: u64) -> Result<(), TrapCode> = b::table_fill, (0, dst, value, len);
    table_copy(dst: u64, src: u64, len: u64) -> Result<(), TrapCode> = b::table_copy, (0, 0, dst, src, len);
    table_init(elem: u32, dst: u64, src: u64, len: u64) -> Result<(), TrapCode> = b::table_init, (0, elem, dst, src, len);
    elem_drop(elem: u32) -> () = b::elem_drop, (elem);
    ref_func(func: u32) -> *mut palisade_vm::VmFuncRef = b::ref_func, (func);
}
