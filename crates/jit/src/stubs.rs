//! The ways between machine code and everything else, one set for each shape of signature.
//!
//! Whoever is not machine code has arguments and results in *cells* (see [`palisade_vm::layout`]). A set has four
//! pieces of code: the trampolines through which functions, and loops, are entered, `fn(code, ctx, cells)` of the platform's
//! convention; and two that machine code calls as if they were the function, with its `VmFuncRef` or `HostFunc` as the
//! context, which spill the arguments into cells on their frame and leave machine code through a built-in.
//!
//! Invariants: stubs depend on nothing but the machine representation of parameters and results, so that
//! all stores, modules and types of an engine share them; references in cells are no roots, for nothing
//! lives across the call but what whoever is called has taken; stubs never go as long as [`Stubs`] lives.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Type, Value,
    types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use palisade_core::types::ValClass;
use palisade_core::{TypeId, ValType};
use palisade_module::TypeRegistry;
use palisade_vm::layout::{HostFunc, NativeState, VmCtx, VmFuncRef, VmStoreCtx};
use palisade_vm::native::code::{FuncKind, Tables};
use palisade_vm::native::{Builtin, CodeObject, CodeRegistry};

use crate::compiler::{CompiledFunc, Compiler, Workspace, on_enough_stack};
use crate::error::CompileError;
use crate::limits;
use crate::link::link_stubs;

/// A value as machine code passes it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Slot {
    /// 32-bit integers, and references that the collector knows.
    Word,
    /// 64-bit integers, and references to functions.
    Long,
    Single,
    Double,
    Vector,
}

impl Slot {
    fn ty(self) -> Type {
        match self {
            Self::Word => types::I32,
            Self::Long => types::I64,
            Self::Single => types::F32,
            Self::Double => types::F64,
            Self::Vector => types::I8X16,
        }
    }

    /// The bytes that it takes in a buffer of cells.
    fn bytes(self) -> u32 {
        if self == Self::Vector { 16 } else { 8 }
    }
}

/// The shape of a signature: what its stubs depend on. Many types have one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StubKey {
    params: Box<[Slot]>,
    results: Box<[Slot]>,
}

impl StubKey {
    /// The shape of a function type; `None` if the registry has no function type of that number.
    pub fn of(types: &TypeRegistry, id: TypeId) -> Option<Self> {
        let ty = types.func_type(id)?;
        let slots = |list: &[ValType]| list.iter().map(|&ty| slot(types, ty)).collect();
        Some(Self { params: slots(&ty.params), results: slots(&ty.results) })
    }

    /// The signature of native functions of this shape.
    fn native(&self) -> Signature {
        let mut signature = Signature::new(CallConv::Tail);
        signature.params.push(AbiParam::new(types::I64));
        signature.params.extend(self.params.iter().map(|slot| AbiParam::new(slot.ty())));
        signature.returns.extend(self.results.iter().map(|slot| AbiParam::new(slot.ty())));
        signature
    }

    /// The bytes of cells that hold the arguments, and afterwards the results.
    fn bytes(&self) -> u32 {
        let sum = |slots: &[Slot]| slots.iter().map(|slot| slot.bytes()).sum::<u32>();
        sum(&self.params).max(sum(&self.results))
    }
}

fn slot(types: &TypeRegistry, ty: ValType) -> Slot {
    match ty {
        ValType::I32 => Slot::Word,
        ValType::I64 => Slot::Long,
        ValType::F32 => Slot::Single,
        ValType::F64 => Slot::Double,
        ValType::V128 => Slot::Vector,
        ValType::Ref(_) => match ty.class(|id| types.is_func(id)) {
            ValClass::Ref => Slot::Word,
            ValClass::Cell | ValClass::Wide => Slot::Long,
        },
    }
}

/// Where the stubs of a shape are. Good as long as the [`Stubs`] that gave them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StubAddresses {
    enter: usize,
    enter_loop: usize,
    to_engine: usize,
    to_host: usize,
}

impl StubAddresses {
    /// The trampoline: what [`palisade_vm::native`] enters machine code with.
    pub fn enter(self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.enter)
    }

    /// The trampoline for functions that are entered at a loop: the cells are their buffer.
    pub fn enter_loop(self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.enter_loop)
    }

    /// What stands for a function of Wasm that has no machine code.
    pub fn to_engine(self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.to_engine)
    }

    /// What stands for a host function.
    pub fn to_host(self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.to_host)
    }
}

/// All stubs of an engine, each made when it is first asked for.
#[derive(Debug)]
pub struct Stubs {
    compiler: Arc<Compiler>,
    registry: Arc<CodeRegistry>,
    made: Mutex<Made>,
}

#[derive(Default, Debug)]
struct Made {
    known: HashMap<StubKey, StubAddresses>,
    /// Keeps the code.
    objects: Vec<Arc<CodeObject>>,
    bytes: u64,
}

impl Stubs {
    /// None are made yet. Code goes to this registry.
    pub fn new(compiler: Arc<Compiler>, registry: Arc<CodeRegistry>) -> Self {
        Self { compiler, registry, made: Mutex::default() }
    }

    /// The stubs of these shapes, in their order. Those that are new are made together.
    ///
    /// # Errors
    ///
    /// The engine has too many stubs already, or there is no room for code; a bug otherwise.
    pub fn get_or_compile(&self, keys: &[StubKey]) -> Result<Vec<StubAddresses>, CompileError> {
        let found = self.known(keys);
        if let Some(all) = found {
            return Ok(all);
        }
        let fresh: Vec<&StubKey> = {
            let made = self.made();
            let mut seen = std::collections::HashSet::new();
            keys.iter().filter(|key| !made.known.contains_key(*key) && seen.insert(*key)).collect()
        };
        let code = on_enough_stack(|| self.generate(&fresh))??;
        self.publish(&fresh, &code)?;
        self.known(keys).ok_or(CompileError::Internal("lost stubs"))
    }

    /// The code of the stubs of these shapes and its tables, for files: [`Stubs::adopt`] takes it.
    ///
    /// # Errors
    ///
    /// As [`Stubs::get_or_compile`].
    pub fn image(&self, keys: &[StubKey]) -> Result<(Vec<u8>, Tables), CompileError> {
        let keys: Vec<&StubKey> = keys.iter().collect();
        let code = on_enough_stack(|| self.generate(&keys))??;
        link_stubs(&code).map(|(code, tables, _)| (code, tables))
    }

    /// Takes the stubs of these shapes over from [`Stubs::image`] of the same shapes in the same order. Shapes that are
    /// known stay as they are.
    ///
    /// # Errors
    ///
    /// These are not four stubs for each shape, there are too many, or there is no room for them.
    pub fn adopt(&self, keys: &[StubKey], code: &[u8], tables: Tables) -> Result<(), CompileError> {
        if self.known(keys).is_some() {
            return Ok(());
        }
        let stubs = || tables.funcs.iter().filter(|func| func.kind == FuncKind::Stub);
        if stubs().count() != keys.len() * 4 || tables.funcs.len() != keys.len() * 4 {
            return Err(CompileError::Internal("stubs of other shapes"));
        }
        let starts: Vec<u32> = stubs().map(|stub| stub.range.start).collect();
        self.add(&keys.iter().collect::<Vec<_>>(), code, tables, &starts)
    }

    /// The code of stubs, four for each shape.
    fn generate(&self, keys: &[&StubKey]) -> Result<Vec<CompiledFunc>, CompileError> {
        let mut workspace = Workspace::new();
        let mut bytes = self.made().bytes;
        let mut code = Vec::with_capacity(keys.len() * 4);
        for key in keys {
            for stub in [enter, enter_loop, to_engine, to_host] {
                let made = self.stub(&mut workspace, key, stub)?;
                bytes += made.code.len() as u64;
                limits::check("bytes of stubs", limits::STUB_BYTES, bytes)?;
                code.push(made);
            }
        }
        Ok(code)
    }

    /// The stubs of a function type.
    ///
    /// # Errors
    ///
    /// As [`Stubs::get_or_compile`]; the type is none of functions.
    pub fn of_type(&self, types: &TypeRegistry, id: TypeId) -> Result<StubAddresses, CompileError> {
        let key = StubKey::of(types, id).ok_or(CompileError::Internal("a type of functions"))?;
        let found = self.get_or_compile(std::slice::from_ref(&key))?;
        found.first().copied().ok_or(CompileError::Internal("a lost stub"))
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        // Nothing that is done under the lock leaves it half done.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, keys: &[StubKey]) -> Option<Vec<StubAddresses>> {
        let made = self.made();
        keys.iter().map(|key| made.known.get(key).copied()).collect()
    }

    fn stub(
        &self,
        workspace: &mut Workspace,
        key: &StubKey,
        build: fn(&mut FunctionBuilder<'_>, &StubKey),
    ) -> Result<CompiledFunc, CompileError> {
        self.compiler.guarded(workspace, |workspace| {
            workspace.context.clear();
            let func = &mut workspace.context.func;
            let mut b = FunctionBuilder::new(func, &mut workspace.builder);
            build(&mut b, key);
            b.seal_all_blocks();
            b.finalize(self.compiler.isa()?.frontend_config());
            self.compiler.generate(&mut workspace.context, 0)
        })
    }

    /// Makes stubs known. What another thread made meanwhile stays.
    fn publish(&self, keys: &[&StubKey], code: &[CompiledFunc]) -> Result<(), CompileError> {
        let (code, tables, starts) = link_stubs(code)?;
        self.add(keys, &code, tables, &starts)
    }

    fn add(
        &self,
        keys: &[&StubKey],
        code: &[u8],
        tables: Tables,
        starts: &[u32],
    ) -> Result<(), CompileError> {
        let mut made = self.made();
        limits::check("bytes of stubs", limits::STUB_BYTES, made.bytes + code.len() as u64)?;
        let object = self.registry.publish(code, tables);
        let object =
            object.map_err(|error| CompileError::Host(format!("no room for code: {error}")))?;
        let address = |at: u32| object.at(at).expose_provenance();
        for (key, starts) in keys.iter().zip(starts.chunks_exact(4)) {
            if let &[enter, enter_loop, to_engine, to_host] = starts {
                made.known.entry((*key).clone()).or_insert(StubAddresses {
                    enter: address(enter),
                    enter_loop: address(enter_loop),
                    to_engine: address(to_engine),
                    to_host: address(to_host),
                });
            }
        }
        made.bytes += code.len() as u64;
        made.objects.push(object);
        Ok(())
    }
}

/// Cells have the alignment of numbers alone.
fn cell_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Reads values from cells, one after the other.
fn load_cells(b: &mut FunctionBuilder<'_>, cells: Value, slots: &[Slot]) -> Vec<Value> {
    let mut at = 0;
    let mut values = Vec::with_capacity(slots.len());
    for slot in slots {
        values.push(b.ins().load(slot.ty(), cell_flags(), cells, Offset32::new(at)));
        at += slot.bytes() as i32;
    }
    values
}

/// Writes values to cells, one after the other. Whole cells, so that nothing of the stack is seen in them.
fn store_cells(b: &mut FunctionBuilder<'_>, cells: Value, slots: &[Slot], values: &[Value]) {
    let mut at = 0;
    for (slot, &value) in slots.iter().zip(values) {
        let value = match slot {
            Slot::Word => b.ins().uextend(types::I64, value),
            Slot::Single => {
                let bits = b.ins().bitcast(types::I32, MemFlagsData::new(), value);
                b.ins().uextend(types::I64, bits)
            }
            Slot::Long | Slot::Double | Slot::Vector => value,
        };
        b.ins().store(cell_flags(), value, cells, Offset32::new(at));
        at += slot.bytes() as i32;
    }
}

fn load(b: &mut FunctionBuilder<'_>, base: Value, offset: usize) -> Value {
    b.ins().load(types::I64, MemFlagsData::trusted(), base, Offset32::new(offset as i32))
}

/// Begins the only block of a stub; its arguments.
fn begin(b: &mut FunctionBuilder<'_>, signature: Signature) -> Vec<Value> {
    b.func.signature = signature;
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.block_params(entry).to_vec()
}

/// `fn(code, ctx, cells)`, called on the guest's stack: calls the code.
fn enter(b: &mut FunctionBuilder<'_>, key: &StubKey) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    let args = begin(b, signature);
    let &[code, ctx, cells] = args.as_slice() else { return };
    let mut args = vec![ctx];
    args.extend(load_cells(b, cells, &key.params));
    let callee = b.import_signature(key.native());
    let call = b.ins().call_indirect(callee, code, &args);
    let results = b.inst_results(call).to_vec();
    store_cells(b, cells, &key.results, &results);
    b.ins().return_(&[]);
}

/// The same for a function that is entered at a loop: it takes the buffer as it is.
fn enter_loop(b: &mut FunctionBuilder<'_>, key: &StubKey) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    let args = begin(b, signature);
    let &[code, ctx, cells] = args.as_slice() else { return };
    let mut callee = Signature::new(CallConv::Tail);
    callee.params.extend([AbiParam::new(types::I64); 2]);
    callee.returns = key.native().returns;
    let callee = b.import_signature(callee);
    let call = b.ins().call_indirect(callee, code, &[ctx, cells]);
    let results = b.inst_results(call).to_vec();
    store_cells(b, cells, &key.results, &results);
    b.ins().return_(&[]);
}

/// Stands for a function of Wasm that machine code cannot be called for.
fn to_engine(b: &mut FunctionBuilder<'_>, key: &StubKey) {
    leave(b, key, Builtin::CallInterp, |b, func_ref| {
        let vmctx = load(b, func_ref, offset_of!(VmFuncRef, vmctx));
        let table = load(b, vmctx, offset_of!(VmCtx, builtins));
        (load(b, vmctx, offset_of!(VmCtx, store)), table)
    });
}

/// Stands for a host function.
fn to_host(b: &mut FunctionBuilder<'_>, key: &StubKey) {
    leave(b, key, Builtin::CallHost, |b, host| {
        let store = load(b, host, offset_of!(HostFunc, store));
        let builtins = offset_of!(VmStoreCtx, native) + offset_of!(NativeState, builtins);
        let table = load(b, store, builtins);
        (store, table)
    });
}

/// Calls a built-in with the store, the stub's own context and the cells. `find` gives the store's context and the table
/// of built-ins.
fn leave(
    b: &mut FunctionBuilder<'_>,
    key: &StubKey,
    builtin: Builtin,
    find: fn(&mut FunctionBuilder<'_>, Value) -> (Value, Value),
) {
    let args = begin(b, key.native());
    let Some((&ctx, params)) = args.split_first() else { return };
    // At the size of a vector, and never empty, so that the address means something.
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, key.bytes().max(16), 4);
    let slot = b.create_sized_stack_slot(slot);
    let cells = b.ins().stack_addr(types::I64, slot, 0);
    store_cells(b, cells, &key.params, params);
    let (store, table) = find(b, ctx);
    let code = load(b, table, builtin as usize * size_of::<usize>());
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    let signature = b.import_signature(signature);
    b.ins().call_indirect(signature, code, &[store, ctx, cells]);
    let results = load_cells(b, cells, &key.results);
    b.ins().return_(&results);
}

#[cfg(test)]
mod tests {
    use palisade_core::limits::Limits;
    use palisade_module::{ModuleInfo, default_features};

    use super::*;
    use crate::options::Options;

    fn stubs() -> Stubs {
        let compiler = Compiler::new(Options { paranoid: true, ..Options::default() }).unwrap();
        Stubs::new(Arc::new(compiler), CodeRegistry::new().unwrap())
    }

    fn types(text: &str) -> (Arc<TypeRegistry>, ModuleInfo) {
        let types = TypeRegistry::new();
        let (bytes, limits) = (text.as_bytes().to_vec(), Limits::default());
        let info = ModuleInfo::decode(bytes, &limits, default_features(), &types, None).unwrap();
        (types, info)
    }

    #[test]
    fn types_of_one_shape_share_their_stubs() {
        let (types, info) = types(
            "(module (type (func (param i32 i64))) (type (func (param externref funcref)))
                (type (func (param i64 i32))) (type (func (result i32 i64))) (type (struct)))",
        );
        let stubs = stubs();
        let of = |at: usize| stubs.of_type(&types, info.types[at]);
        assert_eq!(of(0), of(1));
        assert_eq!(of(0), of(0));
        assert_ne!(of(0), of(2));
        assert_ne!(of(0), of(3));
        assert!(of(4).is_err());
        assert_eq!(stubs.made().objects.len(), 3);
    }

    #[test]
    fn many_are_made_together_and_each_once() {
        let (types, info) = types(
            "(module (type (func (param i32))) (type (func (param i64))) (type (func (param i32 i32))))",
        );
        let stubs = stubs();
        let key = |at: usize| StubKey::of(&types, info.types[at]).unwrap();
        let all = stubs.get_or_compile(&[key(0), key(1), key(0), key(2)]).unwrap();
        assert_eq!(all[0], all[2]);
        assert_eq!(stubs.made().objects.len(), 1);
        // Four for each of three shapes.
        assert_eq!(stubs.made().objects[0].tables().funcs.len(), 12);
        assert_eq!(stubs.get_or_compile(&[key(2), key(1)]).unwrap(), [all[3], all[1]]);
        assert_eq!(stubs.made().objects.len(), 1);
    }

    #[test]
    fn threads_agree_on_addresses() {
        let (types, info) = types("(module (type (func (param i32 v128) (result f64))))");
        let stubs = stubs();
        let key = StubKey::of(&types, info.types[0]).unwrap();
        let get = || stubs.get_or_compile(std::slice::from_ref(&key)).unwrap();
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(get)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|one| *one == found[0]));
        assert_eq!(get(), found[0]);
    }

    #[test]
    fn there_is_an_end_to_stubs() {
        let (types, info) = types("(module (type (func)) (type (func (param i32))))");
        let stubs = stubs();
        stubs.of_type(&types, info.types[0]).unwrap();
        stubs.made().bytes = limits::STUB_BYTES;
        let error = stubs.of_type(&types, info.types[1]).unwrap_err();
        assert!(matches!(error, CompileError::Limit { what: "bytes of stubs", .. }), "{error}");
        assert!(stubs.of_type(&types, info.types[0]).is_ok());
        // For stubs from a file there is none either, and that is no damage of the file.
        let keys = [StubKey::of(&types, info.types[1]).unwrap()];
        let (code, tables) = self::stubs().image(&keys).unwrap();
        let error = stubs.adopt(&keys, &code, tables.clone()).unwrap_err();
        assert!(matches!(error, CompileError::Limit { what: "bytes of stubs", .. }), "{error}");
        let fresh = self::stubs();
        assert_eq!(fresh.adopt(&keys, &code, tables.clone()), Ok(()));
        let two = [keys[0].clone(), StubKey::of(&types, info.types[0]).unwrap()];
        let error = fresh.adopt(&two, &code, tables).unwrap_err();
        assert!(matches!(error, CompileError::Internal(_)), "{error}");
    }
}
