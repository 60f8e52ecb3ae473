//! Making, growing and reaching the objects of a store: memories, tables, globals, tags, host functions.
//!
//! Every memory and table, and every growth of one, is counted by the ledger and agreed to by the
//! limiter before it happens, and is given back to the ledger when it fails after all. An id that the store does
//! not know is an error or `None`.

use std::cell::UnsafeCell;
use std::sync::Arc;

use palisade_core::{GlobalType, MemoryType, TableType, TypeId};
use palisade_module::TagIdx;

use crate::error::VmError;
use crate::global::Global;
use crate::ids::{GlobalId, InstanceId, MemoryId, RefBits, TableId, TagId};
use crate::layout::{Cell, HostFunc, VmFuncRef, VmGlobalDef, VmMemoryDef, VmTableDef};
use crate::ledger::{LedgerMark, Resource};
use crate::memory::{Memory, SharedMemory, Sizes};
use crate::owned::Owned;
use crate::store::{HostEntry, StoreInner, Tag};
use crate::table::Table;

impl StoreInner {
    // ---- making objects ----

    /// Makes a memory of its minimum size, after ledger and limiter agreed.
    pub fn alloc_memory(&mut self, ty: MemoryType) -> Result<MemoryId, VmError> {
        let sizes = Sizes::of(&ty)?;
        let mark = self.ledger.mark();
        self.charge_new(Resource::Memories, Resource::MemoryBytes, sizes.minimum as u64)?;
        let made = self.allow_memory(0, sizes.minimum, Some(sizes.maximum)).and_then(|()| {
            Memory::new(ty, &self.config.memory_reservation).or_else(|e| self.memory_failed(e))
        });
        self.keep_memory(made, mark)
    }

    /// Adds a memory that other stores hold, too, unless it is here already. Its current size is counted
    /// here; what is added later is counted by the store whose guest adds it.
    pub fn attach_shared_memory(&mut self, shared: Arc<SharedMemory>) -> Result<MemoryId, VmError> {
        if let Some(id) = self.shared_memories.get(&(Arc::as_ptr(&shared) as usize)) {
            return Ok(*id);
        }
        let bytes = shared.len();
        let mark = self.ledger.mark();
        self.charge_new(Resource::Memories, Resource::MemoryBytes, bytes as u64)?;
        let shared = Memory::Shared(shared);
        let made = self.allow_memory(0, bytes, Some(shared.maximum())).map(|()| shared);
        self.keep_memory(made, mark)
    }

    fn keep_memory(
        &mut self,
        made: Result<Memory, VmError>,
        mark: LedgerMark,
    ) -> Result<MemoryId, VmError> {
        let id = MemoryId::next(self.memories.len());
        match made.and_then(|m| Ok((m, id.ok_or_else(|| too_many("memories"))?))) {
            Ok((memory, id)) => {
                if let Memory::Shared(shared) = &memory {
                    self.shared_memories.insert(Arc::as_ptr(shared) as usize, id);
                }
                self.memories.push(memory);
                self.update_ranges();
                Ok(id)
            }
            Err(error) => {
                self.ledger.roll_back(mark);
                Err(error)
            }
        }
    }

    /// Makes a table of its minimum size, all `init`, after ledger and limiter agreed.
    ///
    /// # Safety
    ///
    /// `init` is a reference of the element type, null only if that is nullable, and belongs to
    /// this store.
    pub unsafe fn alloc_table(&mut self, ty: TableType, init: RefBits) -> Result<TableId, VmError> {
        let mark = self.ledger.mark();
        self.charge_new(Resource::Tables, Resource::TableElements, ty.minimum)?;
        let funcs = self.is_func_ref(ty.element);
        let made = self.allow_table(0, ty.minimum, Some(Table::maximum_of(&ty))).and_then(|()| {
            let interrupts = Arc::clone(self.interrupts());
            // SAFETY: passed on to the caller.
            let table = unsafe { Table::new(ty, funcs, init, || interrupts.poll()) };
            table.or_else(|e| self.table_failed(e))
        });
        let id = TableId::next(self.tables.len());
        match made.and_then(|t| Ok((t, id.ok_or_else(|| too_many("tables"))?))) {
            Ok((table, id)) => {
                self.tables.push(table);
                Ok(id)
            }
            Err(error) => {
                self.ledger.roll_back(mark);
                Err(error)
            }
        }
    }

    /// Makes a global.
    ///
    /// # Safety
    ///
    /// The cells hold a value of the type, and references in it belong to this store.
    pub unsafe fn alloc_global(
        &mut self,
        ty: GlobalType,
        cells: [Cell; 2],
    ) -> Result<GlobalId, VmError> {
        let id = GlobalId::next(self.globals.len()).ok_or_else(|| too_many("globals"))?;
        let place = Owned::new(VmGlobalDef { cells: UnsafeCell::new([0; 2]) });
        let global = Global { ty, refs: self.is_heap_ref(ty.content), def: place.as_ptr() };
        // SAFETY: passed on to the caller.
        unsafe { global.set(cells) };
        self.host_globals.push(place);
        self.globals.push(global);
        Ok(id)
    }

    /// Makes a tag of the host.
    pub fn alloc_tag(&mut self, type_id: TypeId) -> Result<TagId, VmError> {
        self.push_tag(type_id, None)
    }

    /// Makes a tag, of the host or of an instance that is being made.
    pub(crate) fn push_tag(
        &mut self,
        type_id: TypeId,
        origin: Option<(InstanceId, TagIdx)>,
    ) -> Result<TagId, VmError> {
        let id = TagId::next(self.tags.len()).ok_or_else(|| too_many("tags"))?;
        self.tags.push(Owned::new(Tag { type_id, id, origin }));
        Ok(id)
    }

    /// Makes a host function and the reference that leads to it, which lives as long as the store.
    /// What its `code` needs is the embedder's to get right (see [`crate::HostCode`]); the registered type must be kept
    /// alive, in its `data` or by [`StoreInner::keep_alive`].
    pub fn alloc_host_func(&mut self, mut func: HostFunc) -> *mut VmFuncRef {
        let type_id = func.type_id;
        func.store = self.ctx_ptr();
        let func = Owned::new(func);
        let reference = Owned::new(VmFuncRef {
            type_id,
            defined_index: VmFuncRef::HOST,
            vmctx: std::ptr::null_mut(),
            host: func.as_ptr(),
            native: crate::layout::NativeEntry::NONE,
            trampoline: std::ptr::null(),
        });
        let at = reference.as_ptr();
        self.func_ranges.insert(at as usize, at as usize + size_of::<VmFuncRef>());
        self.hosts.push(HostEntry { reference, _func: func });
        debug_assert!(self.hosts.last().is_some_and(|h| h.reference.as_ptr() == at));
        at
    }

    /// Whether this is a function reference of this store that has been made.
    pub fn owns_func_ref(&self, reference: *const VmFuncRef) -> bool {
        let at = reference as usize;
        let Some((&start, &end)) = self.func_ranges.range(..=at).next_back() else { return false };
        if at >= end || !(at - start).is_multiple_of(size_of::<VmFuncRef>()) {
            return false;
        }
        // SAFETY: the address is that of an element of an array of references of this store, which
        // are zeroed until they are made; it is read through a pointer that was exposed.
        unsafe {
            let reference = std::ptr::with_exposed_provenance::<VmFuncRef>(at);
            !(*reference).vmctx.is_null() || !(*reference).host.is_null()
        }
    }

    // ---- counting and asking ----

    /// Charges for one more memory or table, and its size.
    fn charge_new(&mut self, kind: Resource, size: Resource, amount: u64) -> Result<(), VmError> {
        let mark = self.ledger.mark();
        let in_use = self.ledger.in_use(kind);
        let counted = self.ledger.charge(kind, 1).and_then(|()| self.ledger.charge(size, amount));
        let agreed = counted.map_err(VmError::from).and_then(|()| {
            self.ask_count(kind.name(), in_use + 1, in_use, |limiter| match kind {
                Resource::Memories => limiter.memories(),
                _ => limiter.tables(),
            })
        });
        if agreed.is_err() {
            self.ledger.roll_back(mark);
        }
        agreed
    }

    fn allow_memory(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<(), VmError> {
        if self.ask_limiter(true, |l| l.memory_growing(current, desired, maximum))? {
            return Ok(());
        }
        let (asked, in_use) = (desired as u64, current as u64);
        Err(VmError::LimiterRefused { what: "bytes of memory", asked, in_use })
    }

    fn allow_table(
        &mut self,
        current: u64,
        desired: u64,
        maximum: Option<u64>,
    ) -> Result<(), VmError> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (now, then, most) = (size(current), size(desired), maximum.map(size));
        if self.ask_limiter(true, |l| l.table_growing(now, then, most))? {
            return Ok(());
        }
        Err(VmError::LimiterRefused { what: "table elements", asked: desired, in_use: current })
    }

    /// Tells the limiter that an allowed memory could not be had.
    fn memory_failed<R>(&mut self, error: VmError) -> Result<R, VmError> {
        self.ask_limiter((), |limiter| limiter.memory_grow_failed(&error))?;
        Err(error)
    }

    /// Tells the limiter that an allowed table could not be had.
    fn table_failed<R>(&mut self, error: VmError) -> Result<R, VmError> {
        self.ask_limiter((), |limiter| limiter.table_grow_failed(&error))?;
        Err(error)
    }

    // ---- memories ----

    /// Makes a memory `delta` pages larger and tells how many pages it had; `None` if that is more
    /// than its maximum, or the ledger, the limiter or the system refused.
    pub fn memory_grow(&mut self, id: MemoryId, delta: u64) -> Result<Option<u64>, VmError> {
        self.memory_grow_with(id, delta, |_| Ok(()))
    }

    /// As [`StoreInner::memory_grow`]; `pay` is called once it is known that the type and the ledger
    /// allow the growth, and before anything is done.
    pub(crate) fn memory_grow_with(
        &mut self,
        id: MemoryId,
        delta: u64,
        pay: impl FnOnce(&mut Self) -> Result<(), VmError>,
    ) -> Result<Option<u64>, VmError> {
        let mut pay = Some(pay);
        loop {
            let memory = self.memories.get(id.index()).ok_or_else(foreign("the memory"))?;
            let log2 = memory.declared().page_size_log2;
            let (old, maximum) = (memory.len(), memory.maximum());
            if delta == 0 {
                return Ok(Some(old as u64 >> log2));
            }
            let bytes = delta.checked_mul(1 << log2).and_then(|b| usize::try_from(b).ok());
            let Some(bytes) = bytes.filter(|&b| old.checked_add(b).is_some_and(|n| n <= maximum))
            else {
                return Ok(None);
            };
            if self.ledger.check(Resource::MemoryBytes, bytes as u64).is_err() {
                return Ok(None);
            }
            if let Some(pay) = pay.take() {
                pay(self)?;
            }
            match self.allow_memory(old, old + bytes, Some(maximum)) {
                Err(VmError::LimiterRefused { .. }) => return Ok(None),
                agreed => agreed?,
            }
            match self.memory_extend(id, old, bytes)? {
                Extended::Done => return Ok(Some(old as u64 >> log2)),
                Extended::Refused => return Ok(None),
                Extended::Overtaken => {}
            }
        }
    }

    /// The growth itself, from a length that everybody agreed to.
    fn memory_extend(
        &mut self,
        id: MemoryId,
        old: usize,
        bytes: usize,
    ) -> Result<Extended, VmError> {
        let mark = self.ledger.mark();
        if self.ledger.charge(Resource::MemoryBytes, bytes as u64).is_err() {
            return Ok(Extended::Refused);
        }
        let memory = self.memories.get_mut(id.index()).ok_or_else(foreign("the memory"))?;
        // The length is read again under the lock of a shared memory, which others may have grown.
        match memory.grow(bytes, |before, _| Ok(before == old)) {
            Ok(Some(_)) => Ok(Extended::Done),
            Ok(None) => {
                self.ledger.roll_back(mark);
                Ok(Extended::Overtaken)
            }
            Err(error) => {
                self.ledger.roll_back(mark);
                self.ask_limiter((), |limiter| limiter.memory_grow_failed(&error))?;
                if self.config.growth_must_succeed {
                    return Err(error);
                }
                Ok(Extended::Refused)
            }
        }
    }

    /// The bytes of a memory; none if it is shared with other threads, or not of this store.
    pub fn memory_data(&self, id: MemoryId) -> &[u8] {
        self.memories.get(id.index()).map_or(&[], Memory::data)
    }

    /// The bytes of a memory, to be changed; none if it is shared, or not of this store.
    pub fn memory_data_mut(&mut self, id: MemoryId) -> &mut [u8] {
        self.memories.get_mut(id.index()).map_or(&mut [], Memory::data_mut)
    }

    /// The current size of a memory in bytes.
    pub fn memory_len(&self, id: MemoryId) -> Option<usize> {
        self.memories.get(id.index()).map(Memory::len)
    }

    /// The current size of a memory in pages.
    pub fn memory_size(&self, id: MemoryId) -> Option<u64> {
        self.memory_type(id).map(|ty| ty.minimum)
    }

    /// The type of a memory, with its current size as the minimum.
    pub fn memory_type(&self, id: MemoryId) -> Option<MemoryType> {
        self.memories.get(id.index()).map(Memory::ty)
    }

    /// The memory as one that other stores can attach, if it is shared.
    pub fn shared_memory(&self, id: MemoryId) -> Option<&Arc<SharedMemory>> {
        match self.memories.get(id.index())? {
            Memory::Shared(shared) => Some(shared),
            Memory::Own { .. } => None,
        }
    }

    /// What engines see of a memory.
    pub fn memory_def(&self, id: MemoryId) -> Option<*mut VmMemoryDef> {
        self.memories.get(id.index()).map(Memory::def)
    }

    // ---- tables ----

    /// Makes a table `delta` elements larger, all `init`, and tells how many it had; `None` if that is
    /// more than its maximum, or the ledger, the limiter or the system refused.
    ///
    /// # Safety
    ///
    /// As [`StoreInner::alloc_table`].
    pub unsafe fn table_grow(
        &mut self,
        id: TableId,
        delta: u64,
        init: RefBits,
    ) -> Result<Option<u64>, VmError> {
        // SAFETY: passed on to the caller.
        unsafe { self.table_grow_with(id, delta, init, |_| Ok(())) }
    }

    /// As [`StoreInner::table_grow`]; `pay` is called once it is known that the type and the ledger
    /// allow the growth, and before anything is done.
    ///
    /// # Safety
    ///
    /// As [`StoreInner::alloc_table`].
    pub(crate) unsafe fn table_grow_with(
        &mut self,
        id: TableId,
        delta: u64,
        init: RefBits,
        pay: impl FnOnce(&mut Self) -> Result<(), VmError>,
    ) -> Result<Option<u64>, VmError> {
        let table = self.tables.get(id.index()).ok_or_else(foreign("the table"))?;
        let (old, maximum) = (table.len() as u64, Table::maximum_of(table.declared()));
        if delta == 0 {
            return Ok(Some(old));
        }
        let Some(new) = old.checked_add(delta).filter(|&n| n <= maximum) else { return Ok(None) };
        let Ok(more) = usize::try_from(delta) else { return Ok(None) };
        if self.ledger.check(Resource::TableElements, delta).is_err() {
            return Ok(None);
        }
        pay(self)?;
        match self.allow_table(old, new, Some(maximum)) {
            Err(VmError::LimiterRefused { .. }) => return Ok(None),
            agreed => agreed?,
        }
        let mark = self.ledger.mark();
        if self.ledger.charge(Resource::TableElements, delta).is_err() {
            return Ok(None);
        }
        let interrupts = Arc::clone(self.interrupts());
        let table = self.tables.get_mut(id.index()).ok_or_else(foreign("the table"))?;
        // SAFETY: passed on to the caller.
        match unsafe { table.extend(more, init, || interrupts.poll()) } {
            Ok(()) => Ok(Some(old)),
            Err(error) => {
                self.ledger.roll_back(mark);
                self.ask_limiter((), |limiter| limiter.table_grow_failed(&error))?;
                match error {
                    VmError::Stopped(_) => Err(error),
                    _ if self.config.growth_must_succeed => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// An element of a table; `None` past its end.
    pub fn table_get(&self, id: TableId, index: u64) -> Option<RefBits> {
        self.tables.get(id.index())?.get(index)
    }

    /// Sets an element of a table; `false` past its end.
    ///
    /// # Safety
    ///
    /// As [`StoreInner::alloc_table`].
    pub unsafe fn table_set(&mut self, id: TableId, index: u64, value: RefBits) -> bool {
        match self.tables.get_mut(id.index()) {
            // SAFETY: passed on to the caller.
            Some(table) => unsafe { table.set(index, value) },
            None => false,
        }
    }

    /// The current size of a table.
    pub fn table_size(&self, id: TableId) -> Option<u64> {
        self.tables.get(id.index()).map(|table| table.len() as u64)
    }

    /// The type of a table, with its current size as the minimum.
    pub fn table_type(&self, id: TableId) -> Option<TableType> {
        self.tables.get(id.index()).map(Table::ty)
    }

    /// What engines see of a table.
    pub fn table_def(&self, id: TableId) -> Option<*mut VmTableDef> {
        self.tables.get(id.index()).map(Table::def)
    }

    /// Whether a table's elements are function references.
    pub fn table_holds_funcs(&self, id: TableId) -> Option<bool> {
        self.tables.get(id.index()).map(Table::funcs)
    }

    // ---- globals and tags ----

    /// The value of a global.
    pub fn global_get(&self, id: GlobalId) -> Option<[Cell; 2]> {
        self.globals.get(id.index()).map(Global::get)
    }

    /// Sets the value of a global; `false` if there is no such global.
    ///
    /// # Safety
    ///
    /// The cells hold a value of the global's type, references in it belong to this store, and the
    /// global is mutable.
    pub unsafe fn global_set(&mut self, id: GlobalId, cells: [Cell; 2]) -> bool {
        match self.globals.get(id.index()) {
            Some(global) => {
                // SAFETY: passed on to the caller.
                unsafe { global.set(cells) };
                true
            }
            None => false,
        }
    }

    /// The type of a global.
    pub fn global_type(&self, id: GlobalId) -> Option<GlobalType> {
        self.globals.get(id.index()).map(|global| global.ty)
    }

    /// What engines see of a global.
    pub fn global_def(&self, id: GlobalId) -> Option<*mut VmGlobalDef> {
        self.globals.get(id.index()).map(|global| global.def)
    }

    /// The type of a tag.
    pub fn tag_type(&self, id: TagId) -> Option<TypeId> {
        // SAFETY: a tag lives as long as the store, and never changes.
        self.tags.get(id.index()).map(|tag| unsafe { (*tag.as_ptr()).type_id })
    }

    /// The instance that made a tag, and its index there; `None` for one of the host.
    pub fn tag_origin(&self, id: TagId) -> Option<(InstanceId, TagIdx)> {
        // SAFETY: as in `tag_type`.
        self.tags.get(id.index()).and_then(|tag| unsafe { (*tag.as_ptr()).origin })
    }

    /// The identity of a tag, as contexts hold it.
    pub fn tag_identity(&self, id: TagId) -> Option<*mut ()> {
        self.tags.get(id.index()).map(|tag| tag.as_ptr().cast())
    }
}

/// How the growth of a memory went.
enum Extended {
    Done,
    /// The ledger or the system has no room.
    Refused,
    /// Another thread made the shared memory larger meanwhile: what was agreed to is not what
    /// would happen.
    Overtaken,
}

fn too_many(what: &'static str) -> VmError {
    VmError::TooLarge { what, asked: u64::from(u32::MAX) + 1, unit: "objects" }
}

fn foreign(what: &'static str) -> impl FnOnce() -> VmError {
    move || VmError::Foreign { what }
}
