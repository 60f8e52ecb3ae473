//! Where machine code lives: [`CodeRegistry`], one for each engine.
//!
//! One reservation of address space; every batch of code takes whole pages of it. Pages are made writable, filled,
//! made executable, and never changed again until they are given back: no page is ever writable and executable at
//! once. What is not code on them is a breakpoint.
//!
//! A table with one word for each page leads from any address to the batch that stands there, without a lock, in a
//! signal handler, too. An entry is set after the code is complete, and taken away before its pages are.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::code::{CallSite, FuncRange, INLINED, Inlined, StackMap, Tables};
use crate::sys::large::prefer_large_pages;
use crate::sys::region::{Region, page_size};

/// How much address space a registry asks for, and how little it is content with.
const MOST: usize = 2 << 30;
const LEAST: usize = 16 << 20;

/// What fills pages up: `int3`.
const FILLER: u8 = 0xCC;

/// Who is told of code as it comes and goes: for debuggers and profilers outside of this process. Called by whichever
/// thread publishes code or drops it; must not panic, and must not publish or drop code itself.
pub trait CodeListener: Send + Sync {
    /// Code has become executable. Nobody runs it before this returns.
    fn published(&self, code: &CodeObject);

    /// Nobody runs the code any more; its pages are given back when this returns.
    fn removed(&self, code: &CodeObject);
}

/// All machine code of an engine.
pub struct CodeRegistry {
    listeners: Vec<Arc<dyn CodeListener>>,
    space: Region,
    /// `[AtomicPtr<CodeObject>; pages]`
    pages: Region,
    /// Free runs of pages: first page, how many. No two of them touch.
    free: Mutex<BTreeMap<usize, usize>>,
}

/// A batch of machine code, with its tables. The code goes when this is dropped.
#[derive(Debug)]
pub struct CodeObject {
    start: *const u8,
    len: usize,
    tables: Tables,
    first_page: usize,
    pages: usize,
    registry: Arc<CodeRegistry>,
}

// SAFETY: the address is that of code that nobody changes, which this owns; the tables are plain data.
unsafe impl Send for CodeObject {}
// SAFETY: as above.
unsafe impl Sync for CodeObject {}

impl std::fmt::Debug for CodeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeRegistry")
            .field("base", &self.space.base())
            .field("len", &self.space.len())
            .finish_non_exhaustive()
    }
}

impl CodeRegistry {
    /// Reserves address space: as much as can be had.
    ///
    /// # Errors
    ///
    /// There is hardly any address space left, or no machine code for this processor.
    pub fn new() -> io::Result<Arc<Self>> {
        if !super::SUPPORTED {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Self::with_space(MOST, Vec::new())
    }

    /// The same; these are told of all its code.
    ///
    /// # Errors
    ///
    /// As [`CodeRegistry::new`].
    pub fn with_listeners(listeners: Vec<Arc<dyn CodeListener>>) -> io::Result<Arc<Self>> {
        if !super::SUPPORTED {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Self::with_space(MOST, listeners)
    }

    /// The same with at most so much address space: smaller only where the system has less.
    pub(crate) fn with_space(
        most: usize,
        listeners: Vec<Arc<dyn CodeListener>>,
    ) -> io::Result<Arc<Self>> {
        let mut bytes = most;
        let space = loop {
            match Region::reserve(bytes) {
                Ok(space) => break space,
                Err(error) if bytes / 2 < LEAST => return Err(error),
                Err(_) => bytes /= 2,
            }
        };
        let count = space.len() / page_size();
        // Zero pages, which take memory only where code is.
        let pages = Region::zeroed(count * size_of::<AtomicPtr<CodeObject>>())?;
        let free = Mutex::new(BTreeMap::from([(0, count)]));
        Ok(Arc::new(Self { listeners, space, pages, free }))
    }

    fn entries(&self) -> &[AtomicPtr<CodeObject>] {
        let count = self.space.len() / page_size();
        // SAFETY: the table has that many words, zero (null) at first, which are only ever accessed as atomic
        // pointers.
        unsafe { std::slice::from_raw_parts(self.pages.base().cast(), count) }
    }

    fn free(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first run of free pages that is long enough, less what is taken from it.
    fn take(&self, count: usize) -> Option<usize> {
        let mut free = self.free();
        let (&first, &length) = free.iter().find(|(_, length)| **length >= count)?;
        free.remove(&first);
        if length > count {
            free.insert(first + count, length - count);
        }
        Some(first)
    }

    /// Puts pages back, and joins them with their neighbours.
    fn put(&self, mut first: usize, mut count: usize) {
        let mut free = self.free();
        if let Some(after) = free.remove(&(first + count)) {
            count += after;
        }
        let before = free.range(..first).next_back().map(|(&at, &length)| (at, length));
        if let Some((at, length)) = before.filter(|(at, length)| at + length == first) {
            free.remove(&at);
            (first, count) = (at, count + length);
        }
        free.insert(first, count);
    }

    /// Copies code to executable pages and makes it known.
    ///
    /// # Errors
    ///
    /// There is no room, or the system gives no executable memory.
    pub fn publish(self: &Arc<Self>, code: &[u8], tables: Tables) -> io::Result<Arc<CodeObject>> {
        let mut draft = self.draft(code.len())?;
        draft.bytes().copy_from_slice(code);
        draft.publish(tables)
    }

    /// Pages for so many bytes of code, to be written and not executable yet.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn draft(self: &Arc<Self>, len: usize) -> io::Result<Draft> {
        let pages = len.max(1).div_ceil(page_size());
        let full = || io::Error::from(io::ErrorKind::OutOfMemory);
        let first_page = self.take(pages).ok_or_else(full)?;
        // From here on they go back when the draft goes.
        let draft = Draft { registry: Arc::clone(self), first_page, pages, len };
        let (from, to) = draft.span();
        self.space.open(from, to)?;
        let at = self.space.base().wrapping_add(from).cast::<MaybeUninit<u8>>();
        // SAFETY: the pages are open, and the draft's alone.
        prefer_large_pages(unsafe { std::slice::from_raw_parts_mut(at, to - from) });
        Ok(draft)
    }

    /// Closes pages and takes them back. Pages that cannot be closed are not used again.
    fn give_back(&self, first_page: usize, pages: usize) {
        let page = page_size();
        if self.space.close(first_page * page, (first_page + pages) * page).is_ok() {
            self.put(first_page, pages);
        }
    }

    /// The batch that `pc` lies in. Takes no lock and allocates nothing.
    ///
    /// # Safety
    ///
    /// If there is code at `pc`, then somebody keeps it alive as long as the result is used: because it runs,
    /// say, or stands in a frame of a stack.
    #[inline]
    pub unsafe fn lookup<'a>(&self, pc: usize) -> Option<&'a CodeObject> {
        let offset = pc.wrapping_sub(self.space.base() as usize);
        if offset >= self.space.len() {
            return None;
        }
        let entry = self.entries().get(offset / page_size())?;
        // SAFETY: entries are null or lead to objects that were published and not dropped; that this one
        // is not dropped meanwhile is the caller's word.
        let object = unsafe { entry.load(Ordering::Acquire).as_ref() }?;
        (pc - object.start as usize <= object.len).then_some(object)
    }

    /// How many pages are in use.
    #[cfg(test)]
    pub(crate) fn pages_in_use(&self) -> usize {
        self.space.len() / page_size() - self.free().values().sum::<usize>()
    }
}

impl Drop for CodeObject {
    fn drop(&mut self) {
        let registry = &*self.registry;
        for listener in &registry.listeners {
            listener.removed(self);
        }
        for entry in &registry.entries()[self.first_page..self.first_page + self.pages] {
            entry.store(std::ptr::null_mut(), Ordering::Release);
        }
        registry.give_back(self.first_page, self.pages);
    }
}

/// Pages that code is written to, before anybody knows them or could run what is there.
#[derive(Debug)]
pub struct Draft {
    registry: Arc<CodeRegistry>,
    first_page: usize,
    /// None any more once they are a [`CodeObject`]'s.
    pages: usize,
    len: usize,
}

impl Draft {
    /// Its pages, as offsets in the registry's space.
    fn span(&self) -> (usize, usize) {
        let page = page_size();
        (self.first_page * page, (self.first_page + self.pages) * page)
    }

    /// Where the code goes. At first it is zero.
    pub fn bytes(&mut self) -> &mut [u8] {
        let (from, _) = self.span();
        // SAFETY: the pages were opened for writing when this was made, are zero at first, belong to nobody else, and have
        // room for so many bytes.
        unsafe { std::slice::from_raw_parts_mut(self.registry.space.base().add(from), self.len) }
    }

    /// Makes the pages executable, and the code known.
    ///
    /// # Errors
    ///
    /// The system gives no executable memory.
    pub fn publish(mut self, tables: Tables) -> io::Result<Arc<CodeObject>> {
        let (from, to) = self.span();
        let registry = Arc::clone(&self.registry);
        // SAFETY: as in `bytes`; from the end of the code to that of its last page.
        unsafe {
            let at = registry.space.base().add(from);
            std::ptr::write_bytes(at.add(self.len), FILLER, to - from - self.len);
        }
        registry.space.make_executable(from, to)?;
        let (first_page, len) = (self.first_page, self.len);
        // The pages are the object's now.
        let pages = std::mem::take(&mut self.pages);
        let start = registry.space.base().wrapping_add(from).cast_const();
        let object = Arc::new(CodeObject { start, len, tables, first_page, pages, registry });
        let registry = &object.registry;
        for entry in &registry.entries()[first_page..first_page + pages] {
            entry.store(Arc::as_ptr(&object).cast_mut(), Ordering::Release);
        }
        for listener in &registry.listeners {
            listener.published(&object);
        }
        Ok(object)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.pages > 0 {
            self.registry.give_back(self.first_page, self.pages);
        }
    }
}

impl CodeObject {
    /// The functions, stubs and trampolines, in order.
    pub fn funcs(&self) -> &[FuncRange] {
        &self.tables.funcs
    }

    /// Where in the module a function's code comes from: offsets in the code, in order, each with an offset in the module
    /// that holds up to the next. What was inlined comes from where it was written.
    pub fn sources<'a>(&'a self, func: &FuncRange) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let range = func.range.clone();
        let from = self.tables.srclocs.partition_point(|&(at, _)| at < range.start);
        let rows = self.tables.srclocs.get(from..).unwrap_or_default();
        rows.iter()
            .take_while(move |&&(at, _)| at < range.end)
            .map(|&(at, source)| (at, self.inlined(source).map_or(source, |place| place.offset)))
    }

    /// The first byte of the code.
    pub fn start(&self) -> *const u8 {
        self.start
    }

    /// The code itself.
    pub fn code(&self) -> &[u8] {
        // SAFETY: the bytes were written before this existed, nobody writes to them as long as it does, and executable
        // pages are readable.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// How many bytes of code there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no code.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The address of an offset.
    pub fn at(&self, offset: u32) -> *const u8 {
        self.start.wrapping_add(offset as usize)
    }

    /// The offset of an address inside, or of the first one behind.
    pub fn offset_of(&self, pc: usize) -> Option<u32> {
        let offset = pc.checked_sub(self.start as usize).filter(|&offset| offset <= self.len)?;
        u32::try_from(offset).ok()
    }

    /// The function that the instruction at an offset belongs to.
    pub fn func_at(&self, offset: u32) -> Option<&FuncRange> {
        let funcs = &self.tables.funcs;
        let after = funcs.partition_point(|func| func.range.start <= offset);
        funcs.get(after.checked_sub(1)?).filter(|func| offset < func.range.end)
    }

    /// The number of the trap that the instruction at an offset may raise.
    pub fn trap_at(&self, offset: u32) -> Option<u8> {
        let traps = &self.tables.traps;
        let at = traps.binary_search_by_key(&offset, |&(at, _)| at).ok()?;
        traps.get(at).map(|&(_, code)| code)
    }

    /// Where in the module the instruction at an offset, of a function, comes from; or what [`CodeObject::inlined`]
    /// tells more about.
    pub fn source_at(&self, offset: u32, func: &FuncRange) -> u32 {
        let locations = &self.tables.srclocs;
        let after = locations.partition_point(|&(at, _)| at <= offset);
        let found = after.checked_sub(1).and_then(|at| locations.get(at));
        found.filter(|&&(at, _)| at >= func.range.start).map_or(func.body, |&(_, source)| source)
    }

    /// The place that a source means, if it is one in an inlined body.
    pub fn inlined(&self, source: u32) -> Option<&Inlined> {
        self.tables.inlined.get(source.checked_sub(INLINED)? as usize)
    }

    /// The call that returns to an offset.
    pub fn call_at(&self, ret: u32) -> Option<&CallSite> {
        let calls = &self.tables.calls;
        calls.binary_search_by_key(&ret, |call| call.ret).ok().and_then(|at| calls.get(at))
    }

    /// The references of a frame whose call returns to an offset, if it has any.
    pub fn map_at(&self, ret: u32) -> Option<&StackMap> {
        let maps = &self.tables.maps;
        maps.binary_search_by_key(&ret, |map| map.ret).ok().and_then(|at| maps.get(at))
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
