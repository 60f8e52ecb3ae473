//! Making an instance: its own memories, tables, globals and tags, and the context that engines read.
//!
//! Until all of it is there, nothing outside can see any of it, so that a failure takes everything
//! back: objects, numbers, and what the ledger counted. Running active segments comes after
//! (see `init`), and what they did stays.

use std::any::Any;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use palisade_core::ValType;
use palisade_module::{
    ConstExpr, ElementItems, FuncIdx, GlobalIdx, MemoryIdx, ModuleInfo, TableIdx, TagIdx,
};

use crate::const_eval::{self, allocates};
use crate::error::{InstantiateError, VmError};
use crate::gc::roots::RootIndex;
use crate::global::Global;
use crate::ids::{GlobalId, InstanceId, MemoryId, RefBits, TableId, TagId};
use crate::import::{ImportValue, check_import};
use crate::instance::{ElementValues, Instance, SegmentSet, SegmentValues};
use crate::layout::{VMCTX_MAGIC, VmCtx, VmFuncRef, VmOffsets, VmRef};
use crate::ledger::{LedgerMark, Resource};
use crate::owned::{Block, Owned};
use crate::store::StoreInner;

/// An id that was made or checked just before.
const UNKNOWN: InstantiateError = InstantiateError::Internal("an object of the store is gone");

/// What is kept for a module, whoever runs it: its bytes, what is known of each of its parts, a place in the tables of
/// each engine for each function, and what the heap keeps of each of its types.
fn module_bytes(module: &ModuleInfo) -> u64 {
    let parts = [
        (module.funcs.len(), 96),
        (module.types.len(), 160),
        (module.imports.len() + module.exports.len() + module.tags.len(), 96),
        (module.elements.len() + module.globals.len(), 96),
    ];
    let parts: u64 = parts.into_iter().map(|(count, bytes)| count as u64 * bytes).sum();
    (module.bytes.len() as u64).saturating_add(parts)
}

/// Modules that a store has paid for, in order, by their addresses, which are theirs alone as long as the store's
/// instances keep them.
#[derive(Default)]
pub(crate) struct PaidModules {
    order: Vec<usize>,
    known: HashSet<usize>,
}

impl PaidModules {
    fn len(&self) -> usize {
        self.order.len()
    }

    /// Adds one; `false` if it was there.
    fn insert(&mut self, module: usize) -> bool {
        let new = self.known.insert(module);
        if new {
            self.order.push(module);
        }
        new
    }

    fn truncate(&mut self, len: usize) {
        for module in self.order.drain(len.min(self.order.len())..) {
            self.known.remove(&module);
        }
    }
}

/// How much of everything a store held, to come back to.
struct Mark {
    ledger: LedgerMark,
    /// What the heap counted for; it stays as it is.
    heap: u64,
    /// The functions that objects refer to.
    funcs: usize,
    memories: usize,
    tables: usize,
    globals: usize,
    tags: usize,
    modules: usize,
}

/// The imports of a module, by kind.
#[derive(Default)]
struct Imports {
    funcs: Vec<*mut VmFuncRef>,
    tables: Vec<TableId>,
    memories: Vec<MemoryId>,
    globals: Vec<GlobalId>,
    tags: Vec<TagId>,
}

impl StoreInner {
    /// Makes an instance of a module: allocates its own memories, tables, globals and tags,
    /// evaluates their constant expressions, and fills its context. Segments are not copied yet, and
    /// the start function has not run. On failure nothing is left.
    ///
    /// `imports` are checked against the module's. `code` gives the code address of each function that the
    /// module defines.
    ///
    /// # Safety
    ///
    /// `offsets` are those of `module`; the module's types come from the store's registry;
    /// the addresses that `code` gives are valid for the engine that runs this store's guests,
    /// with `engine_data`, as long as `engine_data` lives.
    pub unsafe fn allocate_instance(
        &mut self,
        module: Arc<ModuleInfo>,
        offsets: Arc<VmOffsets>,
        imports: &[ImportValue],
        engine_data: Arc<dyn Any + Send + Sync>,
        code: &mut dyn FnMut(u32) -> *const u8,
    ) -> Result<InstanceId, InstantiateError> {
        let imports = self.sort_imports(&module, imports)?;
        let mark = self.mark();
        let made = self.build(module, offsets, imports, engine_data, code);
        if made.is_err() {
            self.roll_back(mark);
        }
        made
    }

    fn mark(&self) -> Mark {
        Mark {
            ledger: self.ledger.mark(),
            heap: self.heap.charged(),
            funcs: self.heap.func_count(),
            memories: self.memories.len(),
            tables: self.tables.len(),
            globals: self.globals.len(),
            tags: self.tags.len(),
            modules: self.paid_modules.len(),
        }
    }

    fn roll_back(&mut self, mark: Mark) {
        self.ledger.roll_back(mark.ledger);
        self.ledger.recount(Resource::MemoryBytes, mark.heap, self.heap.charged());
        self.memories.truncate(mark.memories);
        self.update_ranges();
        self.shared_memories.retain(|_, id| id.index() < mark.memories);
        self.tables.truncate(mark.tables);
        self.globals.truncate(mark.globals);
        self.tags.truncate(mark.tags);
        self.paid_modules.truncate(mark.modules);
        // What constant expressions made is garbage now; its types may go with the module, and its functions
        // have gone with the instance.
        self.heap.forget_types();
        self.show_displays();
        self.heap.forget_funcs(mark.funcs);
    }

    /// Checks the imports and sorts them by kind.
    fn sort_imports(
        &self,
        module: &ModuleInfo,
        given: &[ImportValue],
    ) -> Result<Imports, InstantiateError> {
        let (expected, found) = (module.imports.len(), given.len());
        if expected != found {
            return Err(InstantiateError::ImportCount { expected, found });
        }
        let mut imports = Imports::default();
        for (index, (import, value)) in module.imports.iter().zip(given).enumerate() {
            check_import(self, &import.ty, value)
                .map_err(|mismatch| InstantiateError::Import { index, mismatch })?;
            match *value {
                ImportValue::Func(func) => imports.funcs.push(func),
                ImportValue::Table(table) => imports.tables.push(table),
                ImportValue::Memory(memory) => imports.memories.push(memory),
                ImportValue::Global(global) => imports.globals.push(global),
                ImportValue::Tag(tag) => imports.tags.push(tag),
            }
        }
        let counts = [
            (imports.funcs.len(), module.imported_funcs),
            (imports.tables.len(), module.imported_tables),
            (imports.memories.len(), module.imported_memories),
            (imports.globals.len(), module.imported_globals),
            (imports.tags.len(), module.imported_tags),
        ];
        if counts.iter().any(|&(found, expected)| found != expected as usize) {
            return Err(InstantiateError::Internal("the module's imports do not add up"));
        }
        Ok(imports)
    }

    fn build(
        &mut self,
        module: Arc<ModuleInfo>,
        offsets: Arc<VmOffsets>,
        imports: Imports,
        engine_data: Arc<dyn Any + Send + Sync>,
        code: &mut dyn FnMut(u32) -> *const u8,
    ) -> Result<InstanceId, InstantiateError> {
        let index = self.charge_instance(&module, &offsets)?;
        let memories = self.make_memories(&module, imports.memories)?;
        let tags = self.make_tags(&module, index, imports.tags)?;
        let context = Block::zeroed(offsets.size as usize, 16).ok_or(VmError::TooLarge {
            what: "the context of an instance",
            asked: u64::from(offsets.size),
            unit: "bytes",
        })?;
        let mut instance = Instance {
            index,
            dropped_data: SegmentSet::new(module.data.len()),
            dropped_elements: SegmentSet::new(module.elements.len()),
            module,
            offsets,
            engine_data,
            memories,
            tables: Box::default(),
            globals: Box::default(),
            tags,
            element_values: Box::default(),
            context,
            exports_by_name: OnceLock::new(),
        };
        self.fill_context(&instance, &imports.funcs, code)?;
        instance.globals = self.make_globals(&instance, imports.globals)?;
        instance.tables = self.make_tables(&instance, imports.tables)?;
        instance.element_values = self.evaluate_elements(&instance)?;
        self.publish(instance);
        Ok(index)
    }

    /// Counts the instance and what the host keeps for it.
    fn charge_instance(
        &mut self,
        module: &ModuleInfo,
        offsets: &VmOffsets,
    ) -> Result<InstanceId, InstantiateError> {
        let index = InstanceId::next(self.instances.len());
        let index = index.ok_or(InstantiateError::Internal("instance numbers have run out"))?;
        let own_globals = module.globals.len() as u64;
        let mut bytes =
            u64::from(offsets.size) + own_globals * 32 + module.elements.len() as u64 * 16;
        // What instances share is paid for by the first.
        if self.paid_modules.insert(std::ptr::from_ref(module).addr()) {
            bytes = bytes.saturating_add(module_bytes(module));
        }
        let in_use = self.ledger.in_use(Resource::Instances);
        self.ledger.charge(Resource::Instances, 1).map_err(VmError::from)?;
        self.ledger.charge(Resource::HostBytes, bytes).map_err(VmError::from)?;
        self.ask_count("instances", in_use + 1, in_use, |limiter| limiter.instances())?;
        Ok(index)
    }

    fn make_memories(
        &mut self,
        module: &ModuleInfo,
        mut ids: Vec<MemoryId>,
    ) -> Result<Box<[MemoryId]>, InstantiateError> {
        for ty in module.memories.iter().skip(module.imported_memories as usize) {
            ids.push(self.alloc_memory(*ty)?);
        }
        Ok(ids.into())
    }

    fn make_tags(
        &mut self,
        module: &ModuleInfo,
        instance: InstanceId,
        mut ids: Vec<TagId>,
    ) -> Result<Box<[TagId]>, InstantiateError> {
        for (index, &ty) in (0..).zip(&module.tags).skip(module.imported_tags as usize) {
            ids.push(self.push_tag(ty, Some((instance, TagIdx(index))))?);
        }
        Ok(ids.into())
    }

    /// Makes the globals in order, each pointed to from the context before the next is evaluated.
    fn make_globals(
        &mut self,
        instance: &Instance,
        mut ids: Vec<GlobalId>,
    ) -> Result<Box<[GlobalId]>, InstantiateError> {
        let module = &*instance.module;
        let imported = ids.len();
        for (position, id) in ids.iter().enumerate() {
            let def = self.global_def(*id).ok_or(UNKNOWN)?;
            set_pointer(instance, instance.offsets.global(GlobalIdx(position as u32)), def);
        }
        for (position, global) in module.globals.iter().enumerate().skip(imported) {
            let value = match &global.init {
                Some(init) => const_eval::evaluate(self, instance, init)?,
                None => return Err(InstantiateError::Internal("a global has no initial value")),
            };
            let id = GlobalId::next(self.globals.len())
                .ok_or(InstantiateError::Internal("global numbers have run out"))?;
            let refs = self.is_heap_ref(global.ty.content);
            let index = GlobalIdx(position as u32);
            let def = own_place(instance, instance.offsets.own_global(index))?.as_ptr();
            let made = Global { ty: global.ty, refs, def };
            // SAFETY: the module is valid, so that the value is of the global's type.
            unsafe { made.set(value) };
            self.globals.push(made);
            ids.push(id);
            set_pointer(instance, instance.offsets.global(index), made.def);
        }
        Ok(ids.into())
    }

    fn make_tables(
        &mut self,
        instance: &Instance,
        mut ids: Vec<TableId>,
    ) -> Result<Box<[TableId]>, InstantiateError> {
        for table in instance.module.tables.iter().skip(ids.len()) {
            let init = match &table.init {
                Some(init) => const_eval::evaluate(self, instance, init)?[0],
                None => 0,
            };
            // SAFETY: the module is valid, so that the value is of the element type (null only where
            // that is nullable), and it was made in this store.
            ids.push(unsafe { self.alloc_table(table.ty, init)? });
        }
        for (position, id) in ids.iter().enumerate() {
            let index = TableIdx(position as u32);
            if position >= instance.module.imported_tables as usize {
                let place = own_place(instance, instance.offsets.own_table(index))?;
                let table = self.tables.get_mut(id.index()).ok_or(UNKNOWN)?;
                // SAFETY: the place is this table's own; the instance stays as long as the store, or both go
                // before anyone asks. The table was made just before, so that nobody knows where it stood.
                unsafe { table.place(place) };
            }
            let def = self.table_def(*id).ok_or(UNKNOWN)?;
            set_pointer(instance, instance.offsets.table(index), def);
        }
        Ok(ids.into())
    }

    /// Fills the header and everything but globals, tables, and function references.
    fn fill_context(
        &mut self,
        instance: &Instance,
        funcs: &[*mut VmFuncRef],
        code: &mut dyn FnMut(u32) -> *const u8,
    ) -> Result<(), InstantiateError> {
        let (module, offsets) = (&*instance.module, &*instance.offsets);
        let bodies = u32::try_from(module.bodies.len());
        let bodies = bodies.map_err(|_| InstantiateError::Internal("too many functions"))?;
        for defined in 0..bodies {
            set_pointer(instance, offsets.code(defined), code(defined).cast_mut());
        }
        for (position, &func) in funcs.iter().enumerate() {
            set_pointer(instance, offsets.imported_func(FuncIdx(position as u32)), func);
        }
        for (position, id) in instance.memories.iter().enumerate() {
            let index = MemoryIdx(position as u32);
            if position >= module.imported_memories as usize {
                let place = own_place(instance, offsets.own_memory(index))?;
                let memory = self.memories.get_mut(id.index()).ok_or(UNKNOWN)?;
                // SAFETY: the place is this memory's own; the instance stays as long as the store, or both go
                // before anyone asks. The memory was made just before, so that nobody knows where it stood.
                unsafe { memory.place(place) };
            }
            let def = self.memory_def(*id).ok_or(UNKNOWN)?;
            set_pointer(instance, offsets.memory(index), def);
        }
        for (position, id) in instance.tags.iter().enumerate() {
            let identity = self.tag_identity(*id).ok_or(UNKNOWN)?;
            set_pointer(instance, offsets.tag(TagIdx(position as u32)), identity);
        }
        let own = instance.memories.first().and_then(|id| self.memory_def(*id));
        let header = VmCtx {
            magic: VMCTX_MAGIC,
            instance_index: instance.index.0,
            store: self.ctx_ptr(),
            interrupts: Arc::as_ptr(self.interrupts()),
            memory0: own.unwrap_or(self.empty_memory.as_ptr()),
            instance: std::ptr::null_mut(),
            builtins: crate::native::builtin_table(),
            poll: self.interrupt.poll_region(),
        };
        // SAFETY: the block has the size that the offsets say, so that the header and `types.len()` type
        // ids at their offset lie within; nobody else has the block.
        unsafe {
            let vmctx = instance.vmctx();
            vmctx.write(header);
            let type_ids = vmctx.byte_add(offsets.type_ids as usize).cast();
            std::ptr::copy_nonoverlapping(module.types.as_ptr(), type_ids, module.types.len());
        }
        Ok(())
    }

    /// The values of those element segments that have an expression which makes an object, for that happens
    /// once, or which has more than one operator, for that costs more than copying the value.
    fn evaluate_elements(
        &mut self,
        instance: &Instance,
    ) -> Result<ElementValues, InstantiateError> {
        let scope = self.heap.roots.scope();
        let values = self.evaluate_segments(instance);
        self.heap.roots.close(scope);
        values
    }

    fn evaluate_segments(
        &mut self,
        instance: &Instance,
    ) -> Result<ElementValues, InstantiateError> {
        let ahead = |expr: &ConstExpr| expr.ops.len() != 1 || expr.ops.iter().any(allocates);
        let mut segments = Vec::new();
        for segment in &instance.module.elements {
            segments.push(match &segment.items {
                ElementItems::Exprs(exprs) if exprs.iter().any(ahead) => {
                    let refs = self.is_heap_ref(ValType::Ref(segment.ty));
                    let mut values = Vec::with_capacity(exprs.len());
                    for expr in exprs {
                        let [value, _] = const_eval::evaluate(self, instance, expr)?;
                        // Later expressions may move what earlier ones made.
                        let root = refs.then(|| self.heap.roots.push(VmRef(value as u32)));
                        values.push((value, root.flatten()));
                    }
                    Some((refs, values))
                }
                _ => None,
            });
        }
        // Nothing moves from here on.
        let current = |(value, root): (RefBits, Option<RootIndex>)| match root {
            Some(root) => self.heap.roots.get(root).map_or(0, |reference| reference.0.into()),
            None => value,
        };
        let finish = |(refs, values): (bool, Vec<_>)| SegmentValues {
            refs,
            values: values.into_iter().map(current).collect(),
        };
        Ok(segments.into_iter().map(|segment| segment.map(finish)).collect())
    }

    /// Gives the instance its final place and makes it known.
    fn publish(&mut self, instance: Instance) {
        let vmctx = instance.vmctx();
        let start = vmctx as usize + instance.offsets.func_refs as usize;
        let count = instance.module.funcs.len();
        if count > 0 {
            self.func_ranges.insert(start, start + count * size_of::<VmFuncRef>());
        }
        let instance = Owned::new(instance);
        // SAFETY: the context belongs to the instance, and no guest runs in it yet.
        unsafe { (*vmctx).instance = instance.as_ptr() };
        self.instances.push(instance);
    }
}

/// The place of a definition in the context of an instance.
fn own_place<T>(instance: &Instance, offset: Option<u32>) -> Result<NonNull<T>, InstantiateError> {
    let offset = offset.ok_or(InstantiateError::Internal("an import has no place"))? as usize;
    debug_assert!(offset + size_of::<T>() <= instance.context.len());
    // SAFETY: the offset comes from the module's offsets and an index within the module, so that it lies in the
    // context.
    let place = unsafe { instance.vmctx().byte_add(offset) };
    NonNull::new(place.cast()).ok_or(UNKNOWN)
}

/// Writes one pointer of an array in the context.
fn set_pointer<T>(instance: &Instance, offset: u32, pointer: *mut T) {
    debug_assert!(offset as usize + size_of::<*mut T>() <= instance.context.len());
    // SAFETY: the offset comes from the module's offsets and an index within the module, so that it
    // lies in the context, which nobody else has yet.
    unsafe { instance.vmctx().byte_add(offset as usize).cast::<*mut T>().write(pointer) };
}
