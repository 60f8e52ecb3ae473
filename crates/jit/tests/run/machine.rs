//! A store with an instance whose functions are compiled, all but some. Those belong to another engine, which is a
//! closure of the test's, as is the host function that the module imports.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use palisade_core::types::ValClass;
use palisade_core::{Limits, TrapCode, TypeId, ValType};
use palisade_jit::{CompileModule, Compiler, Options, Stubs, link};
use palisade_module::wasmparser::WasmFeatures;
use palisade_module::{ExportIdx, FuncIdx, ModuleInfo, TypeRegistry};
use palisade_vm::layout::{Cell, HostFunc, VmCtx, VmFuncRef};
use palisade_vm::native::{
    CodeObject, CodeRegistry, EngineHooks, Entered, NativeConfig, TypeStubs, enter,
};
use palisade_vm::{ImportValue, InstanceId, StoreConfig, StoreInner, VmOffsets};

/// What the other engine, or the host, does with a call. It gets as many cells as there are for arguments and
/// results.
pub(crate) type Work = Rc<dyn Fn(&mut [Cell]) -> Result<(), TrapCode>>;

thread_local! {
    static OTHER: RefCell<Option<Work>> = const { RefCell::new(None) };
    static HOST: RefCell<Option<Work>> = const { RefCell::new(None) };
}

pub(crate) struct Machine {
    pub(crate) store: Box<StoreInner>,
    pub(crate) info: Arc<ModuleInfo>,
    pub(crate) types: Arc<TypeRegistry>,
    pub(crate) id: InstanceId,
    pub(crate) stubs: Arc<Stubs>,
    _code: Arc<CodeObject>,
}

fn cells_of(types: &TypeRegistry, list: &[ValType]) -> usize {
    let wide = |ty: &&ValType| ty.class(|id| types.is_func(id)) == ValClass::Wide;
    list.len() + list.iter().filter(wide).count()
}

/// The cells of the arguments and of the results of a type.
fn sizes(types: &TypeRegistry, id: TypeId) -> (usize, usize) {
    let ty = types.func_type(id).expect("a type of functions");
    (cells_of(types, &ty.params), cells_of(types, &ty.results))
}

unsafe fn other(
    store: *mut StoreInner,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<(), TrapCode> {
    // SAFETY: the function is the store's, and the cells suffice for its type.
    unsafe {
        let (params, results) = sizes((*store).types(), (*func).type_id);
        let work = OTHER.with_borrow(|work| work.clone()).expect("another engine");
        work(std::slice::from_raw_parts_mut(cells, params.max(results)))
    }
}

unsafe extern "C" fn host(
    func: *const HostFunc,
    store: *mut StoreInner,
    caller: *mut VmCtx,
    cells: *mut Cell,
) -> u32 {
    // SAFETY: the cells suffice for the function's type.
    unsafe {
        let body = || {
            assert!(!caller.is_null());
            let count = (*func).param_cells.max((*func).result_cells) as usize;
            let work = HOST.with_borrow(|work| work.clone()).expect("a host");
            let done = work(std::slice::from_raw_parts_mut(cells, count));
            done.map_or_else(|code| code as u32, |()| 0)
        };
        palisade_vm::contain_panics(store, Into::into, body)
    }
}

/// Says what the other engine does on this thread.
pub(crate) fn set_other(work: impl Fn(&mut [Cell]) -> Result<(), TrapCode> + 'static) {
    OTHER.set(Some(Rc::new(work)));
}

/// Says what the host does on this thread.
pub(crate) fn set_host(work: impl Fn(&mut [Cell]) -> Result<(), TrapCode> + 'static) {
    HOST.set(Some(Rc::new(work)));
}

impl Machine {
    pub(crate) fn new(wat: &str) -> Self {
        Self::with(wat, &Options { paranoid: true, ..Options::default() }, &[])
    }

    /// All functions that the module defines are compiled but for these.
    pub(crate) fn without(wat: &str, missing: &[u32]) -> Self {
        // A body in the place of a call would not go to the other engine.
        let options = Options { paranoid: true, inline: false, ..Options::default() };
        Self::with(wat, &options, missing)
    }

    pub(crate) fn with(wat: &str, options: &Options, missing: &[u32]) -> Self {
        let registry = CodeRegistry::new().expect("address space");
        let compiler = Arc::new(Compiler::new(options.clone()).expect("a compiler"));
        let stubs = Arc::new(Stubs::new(Arc::clone(&compiler), Arc::clone(&registry)));
        let native =
            NativeConfig { registry: Arc::clone(&registry), hooks: EngineHooks { call: other } };
        let types = TypeRegistry::new();
        let config = StoreConfig {
            native: Some(native),
            fuel_enabled: options.fuel,
            ..StoreConfig::default()
        };
        let mut store = StoreInner::new(Arc::clone(&types), config).expect("a store");
        let (limits, features) = (Limits::default(), WasmFeatures::all());
        let info = ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &types, None);
        let info = Arc::new(info.unwrap_or_else(|error| panic!("{error}\n{wat}")));
        let offsets = Arc::new(VmOffsets::new(&info).expect("an ordinary size"));
        let mut imports = Vec::new();
        for &type_id in &info.funcs[..info.imported_funcs as usize] {
            let (params, results) = sizes(&types, type_id);
            let func = store.alloc_host_func(HostFunc {
                code: host,
                param_cells: params as u32,
                result_cells: results as u32,
                type_id,
                has_refs: false,
                store: std::ptr::null_mut(),
                data: Box::new(()),
            });
            let stub = stubs.of_type(&types, type_id).expect("stubs").to_host();
            // SAFETY: the function was just made; stubs stay as long as the machine.
            unsafe { store.set_host_stub(func, stub) };
            imports.push(ImportValue::Func(func));
        }
        // SAFETY: the offsets and types are the module's; the other engine has no code.
        let id = unsafe {
            let (info, offsets) = (Arc::clone(&info), Arc::clone(&offsets));
            store
                .allocate_instance(info, offsets, &imports, Arc::new(()), &mut |_| std::ptr::null())
        };
        let id = id.expect("an instance");
        let module = CompileModule { info: &info, offsets: &offsets, types: &types, stop: None };
        let funcs = (0..).zip(compiler.compile_all(&module, 2));
        let funcs = funcs.filter(|(defined, _)| !missing.contains(defined));
        let funcs = funcs.map(|(defined, func)| {
            (defined, func.unwrap_or_else(|error| panic!("function {defined}: {error}")))
        });
        let linked = link(Arc::clone(&info), offsets, funcs.collect()).expect("a batch");
        let code = registry.publish(&linked.code, linked.tables).expect("room");
        let instance = store.instance(id).expect("the instance");
        // SAFETY: the stubs are those of the types, the code that of the functions; the machine keeps both.
        unsafe {
            let stub_for = |id| {
                let stubs = stubs.of_type(&types, id).expect("stubs");
                TypeStubs { to_engine: stubs.to_engine(), trampoline: stubs.enter() }
            };
            instance.activate_native(&stub_for);
            for &(defined, at) in &linked.entries {
                instance.publish_native(defined, code.at(at));
            }
        }
        store.initialize_instance(id).expect("the segments fit");
        store.update_host_stack_limit();
        Self { store, info, types, id, stubs, _code: code }
    }

    /// Calls an exported function as the engine does. All cells of the results.
    pub(crate) fn call(&mut self, name: &str, args: &[Cell]) -> Result<Vec<Cell>, TrapCode> {
        let export = self.info.exports.iter().find(|export| &*export.name == name);
        let Some(ExportIdx::Func(FuncIdx(index))) = export.map(|export| export.index) else {
            panic!("no function {name}")
        };
        let type_id = self.info.funcs[index as usize];
        let (params, results) = sizes(&self.types, type_id);
        assert_eq!(params, args.len(), "{name}");
        let mut cells = args.to_vec();
        cells.resize(params.max(results), 0);
        let func = self.store.func_ref(self.id, FuncIdx(index));
        let trampoline = self.stubs.of_type(&self.types, type_id).expect("stubs").enter();
        let store: *mut StoreInner = &mut *self.store;
        // SAFETY: the function is the store's and of that type; everything is published.
        let entered = unsafe {
            let native = (*func).native;
            enter(store, trampoline, native.code, native.ctx, cells.as_mut_ptr())?
        };
        if entered == Entered::Continue {
            let mut next = self.store.continuation.cells.clone();
            let func = self.store.continuation.func;
            // SAFETY: the runtime kept the function and its arguments.
            unsafe { other(store, func, next.as_mut_ptr())? };
            cells = next;
        }
        cells.truncate(results);
        Ok(cells)
    }
}
