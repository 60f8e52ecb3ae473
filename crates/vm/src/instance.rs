//! Instances: what a module became when it was given its imports.
//!
//! An [`Instance`] is the part that the runtime reads: which of the store's objects are its own index
//! spaces, and which segments are gone. What engines read on their fast paths is its
//! [`VmCtx`], which it owns. Neither moves while the store lives.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use palisade_module::{
    DataIdx, DataSegment, ElemIdx, ElementSegment, FuncIdx, MemoryIdx, ModuleInfo, TableIdx,
};

use crate::ids::{GlobalId, InstanceId, MemoryId, RefBits, TableId, TagId};
use crate::layout::{VmCtx, VmFuncRef, VmOffsets};
use crate::owned::Block;

/// A module with its imports, in a store.
pub struct Instance {
    /// Its number in the store.
    pub index: InstanceId,
    /// The module.
    pub module: Arc<ModuleInfo>,
    /// Where things stand in the context.
    pub offsets: Arc<VmOffsets>,
    /// What the engine wants to find here.
    pub engine_data: Arc<dyn Any + Send + Sync>,
    /// Its memories, imported ones first.
    pub memories: Box<[MemoryId]>,
    /// Its tables, imported ones first.
    pub tables: Box<[TableId]>,
    /// Its globals, imported ones first.
    pub globals: Box<[GlobalId]>,
    /// Its tags, imported ones first.
    pub tags: Box<[TagId]>,
    /// Which data segments are gone.
    pub dropped_data: SegmentSet,
    /// Which element segments are gone.
    pub dropped_elements: SegmentSet,
    /// The elements of those segments whose expressions are evaluated once only.
    pub(crate) element_values: ElementValues,
    pub(crate) context: Block,
    /// Export positions in the order of their names, made when somebody first asks.
    pub(crate) exports_by_name: OnceLock<Box<[u32]>>,
}

impl Instance {
    /// Its context.
    pub fn vmctx(&self) -> *mut VmCtx {
        self.context.as_ptr().cast()
    }

    /// The position of an export among the module's exports.
    pub fn export_position(&self, name: &str) -> Option<usize> {
        let exports = &self.module.exports;
        let order = self.exports_by_name.get_or_init(|| {
            let count = u32::try_from(exports.len()).unwrap_or(u32::MAX);
            let mut order: Box<[u32]> = (0..count).collect();
            order
                .sort_unstable_by(|&a, &b| exports[a as usize].name.cmp(&exports[b as usize].name));
            order
        });
        let found = order.binary_search_by(|&at| {
            exports.get(at as usize).map_or("", |export| &*export.name).cmp(name)
        });
        Some(*order.get(found.ok()?)? as usize)
    }

    /// The id of a memory.
    pub fn memory(&self, memory: MemoryIdx) -> Option<MemoryId> {
        self.memories.get(memory.index()).copied()
    }

    /// The id of a table.
    pub fn table(&self, table: TableIdx) -> Option<TableId> {
        self.tables.get(table.index()).copied()
    }

    /// A data segment; `None` once it has been dropped.
    pub(crate) fn data(&self, data: DataIdx) -> Option<&DataSegment> {
        let segment = self.module.data.get(data.index())?;
        (!self.dropped_data.contains(data.0)).then_some(segment)
    }

    /// An element segment; `None` once it has been dropped.
    pub(crate) fn elements(&self, elem: ElemIdx) -> Option<&ElementSegment> {
        let segment = self.module.elements.get(elem.index())?;
        (!self.dropped_elements.contains(elem.0)).then_some(segment)
    }

    /// The reference of a function, made on first use; null if there is no such function.
    pub fn func_ref(&self, func: FuncIdx) -> *mut VmFuncRef {
        let module = &*self.module;
        let Some(&type_id) = module.funcs.get(func.index()) else { return std::ptr::null_mut() };
        let vmctx = self.vmctx();
        let Some(defined_index) = func.0.checked_sub(module.imported_funcs) else {
            // SAFETY: the context is initialised, and this is one of its imported functions.
            return unsafe { VmCtx::pointer(vmctx, self.offsets.imported_func(func)) };
        };
        let at = self.offsets.func_ref(func) as usize;
        // SAFETY: the array of function references has room for each function of the module, and
        // only the store's own thread touches it.
        unsafe {
            let reference = vmctx.byte_add(at).cast::<VmFuncRef>();
            if (*reference).vmctx.is_null() {
                let host = std::ptr::null();
                let native = self.native_entry(defined_index);
                let trampoline = std::ptr::null();
                let made = VmFuncRef { type_id, defined_index, vmctx, host, native, trampoline };
                reference.write(made);
            }
            reference
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("index", &self.index)
            .field("memories", &self.memories)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

/// The values of each element segment, where they were evaluated ahead.
pub(crate) type ElementValues = Box<[Option<SegmentValues>]>;

/// The values of an element segment.
#[derive(Debug)]
pub(crate) struct SegmentValues {
    /// Whether a collection may have to change them.
    pub(crate) refs: bool,
    pub(crate) values: Box<[RefBits]>,
}

/// A set of segment numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSet {
    words: Box<[u64]>,
}

impl SegmentSet {
    /// The empty set, with room for `count` segments.
    pub fn new(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)].into() }
    }

    /// Whether a segment is in the set.
    pub fn contains(&self, segment: u32) -> bool {
        self.words.get(segment as usize / 64).is_some_and(|w| w >> (segment % 64) & 1 == 1)
    }

    /// Puts a segment into the set.
    pub fn insert(&mut self, segment: u32) {
        if let Some(word) = self.words.get_mut(segment as usize / 64) {
            *word |= 1 << (segment % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SegmentSet;

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut set = SegmentSet::new(130);
        for segment in [0, 63, 64, 129] {
            assert!(!set.contains(segment));
            set.insert(segment);
            assert!(set.contains(segment));
        }
        for segment in [1, 62, 65, 128, 1000, u32::MAX] {
            assert!(!set.contains(segment));
        }
        set.insert(u32::MAX);
        assert!(!set.contains(u32::MAX));
    }
}
