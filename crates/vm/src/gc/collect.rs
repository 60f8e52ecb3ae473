//! The collection: everything that is reachable is copied to the other half of the heap, in the order in which
//! it is found, and every reference to it is changed.
//!
//! What was copied and not yet looked into stands between two offsets of the other half, so that no
//! stack is needed, however long a list is. Roots are exact: the reference stack up to the references that are
//! in use, frames of machine code, globals, tables, evaluated element segments, what the host holds, and an exception under way. The
//! rest of the reference stack is set to null, so that no slot ever holds a reference of before.
//!
//! Nothing is believed: a reference that leads to no object of the half that is left, or an object that
//! does not fit it, becomes null, and the store is not used any more.

use palisade_core::TypeId;
use palisade_module::TypeRegistry;

use super::Types;
use super::externs::{Externs, HostValue};
use super::layout::{
    ALIGN, EXN, EXTERN, FieldKind, MOVED, ObjectLayout, StructLayout, array_bytes,
};
use crate::ids::TagId;
use crate::layout::{Cell, VmRef};
use crate::native;
use crate::owned::Owned;
use crate::store::{StoreInner, Tag};

/// What a collection found.
pub(super) struct Collected {
    /// Host values that nobody can reach any more, to be dropped now that the heap is whole again.
    pub(super) dead: Vec<HostValue>,
    /// How many bytes of roots were looked at.
    pub(super) root_bytes: u64,
    /// Whether a reference led nowhere. It is null now.
    pub(super) corrupt: bool,
}

/// A collection under way.
struct Collector<'a> {
    base: *mut u8,
    /// The half that is left.
    from: std::ops::Range<u64>,
    /// Where the next object is copied to, and how far that can go.
    next: u64,
    end: u64,
    types: &'a mut Types,
    registry: &'a TypeRegistry,
    tags: &'a [Owned<Tag>],
    externs: &'a mut Externs,
    /// The structure type that was looked up last: many objects in a row are of one. [`MOVED`] if there is none.
    last: (u32, *const StructLayout),
    corrupt: bool,
}

impl Collector<'_> {
    fn word(&self, at: u64) -> *mut u32 {
        self.base.wrapping_add(at as usize).cast()
    }

    /// The size of an object with this header; `None` if there is no such object.
    #[inline]
    fn size(&mut self, word0: u32, word1: u32) -> Option<u64> {
        if word0 == self.last.0 && word0 != MOVED {
            // SAFETY: types are forgotten between collections alone, so that what is known of one stays where it is.
            return Some(u64::from(unsafe { (*self.last.1).size }));
        }
        match word0 {
            EXTERN => Some(u64::from(ALIGN)),
            EXN => {
                let layout = self.types.of_exception(self.registry, self.tags, TagId(word1))?;
                Some(u64::from(layout.size))
            }
            MOVED => None,
            id => match &self.types.get(self.registry, TypeId(id))?.layout {
                ObjectLayout::Struct(layout) => {
                    self.last = (id, layout);
                    Some(u64::from(layout.size))
                }
                ObjectLayout::Array(kind) => Some(array_bytes(*kind, word1)),
            },
        }
    }

    /// Where the object of a reference is now; moves it if nobody has.
    #[inline(always)]
    fn forward(&mut self, reference: VmRef) -> VmRef {
        if reference.is_null() || reference.0 & 1 == 1 { reference } else { self.moved(reference) }
    }

    fn moved(&mut self, reference: VmRef) -> VmRef {
        let at = u64::from(reference.0);
        if !at.is_multiple_of(u64::from(ALIGN))
            || at < self.from.start
            || at + u64::from(ALIGN) > self.from.end
        {
            return self.nowhere();
        }
        let object = self.word(at);
        // SAFETY: 8 aligned bytes of the open half that is left.
        let (word0, word1) = unsafe { (object.read(), object.add(1).read()) };
        if word0 == MOVED {
            return VmRef(word1);
        }
        match self.size(word0, word1) {
            Some(size) if size <= self.from.end - at && size <= self.end - self.next => {
                let to = self.next;
                self.next += size;
                // SAFETY: so many bytes are left on both sides, as just checked, and the halves do not
                // overlap; the header is there still.
                unsafe {
                    let target = self.word(to);
                    if size == 16 {
                        target.cast::<[u64; 2]>().write(object.cast::<[u64; 2]>().read());
                    } else {
                        std::ptr::copy_nonoverlapping(
                            object.cast::<u64>(),
                            target.cast::<u64>(),
                            (size / 8) as usize,
                        );
                    }
                    object.write(MOVED);
                    object.add(1).write(to as u32);
                }
                VmRef(to as u32)
            }
            _ => self.nowhere(),
        }
    }

    #[cold]
    fn nowhere(&mut self) -> VmRef {
        self.corrupt = true;
        VmRef::NULL
    }

    /// Changes references that stand in a row.
    ///
    /// # Safety
    ///
    /// `count` references may be read and written from `at` on.
    unsafe fn row(&mut self, at: *mut VmRef, count: usize) {
        for index in 0..count {
            // SAFETY: the caller's word.
            unsafe {
                let slot = at.add(index);
                slot.write(self.forward(slot.read()));
            }
        }
    }

    /// Changes the reference in a cell.
    fn cell(&mut self, cell: Cell) -> Cell {
        self.forward(VmRef(cell as u32)).0.into()
    }

    /// Looks into everything that was copied since `at`.
    fn scan(&mut self, mut at: u64) {
        while at < self.next {
            let object = self.word(at);
            // SAFETY: a whole object was copied to here, with its header.
            let (word0, word1) = unsafe { (object.read(), object.add(1).read()) };
            at += match word0 {
                EXTERN => {
                    self.externs.mark(word1);
                    u64::from(ALIGN)
                }
                EXN => self.scan_exception(at, TagId(word1)),
                id => self.scan_object(at, TypeId(id), word1),
            };
        }
    }

    /// Looks into a structure or an array; its size.
    #[inline]
    fn scan_object(&mut self, at: u64, id: TypeId, len: u32) -> u64 {
        if id.0 == self.last.0 {
            // SAFETY: as in `size`; the object was copied whole, with all its fields.
            return unsafe { self.scan_struct(at, self.last.1) };
        }
        // Found when it was copied.
        let Some(info) = self.types.get(self.registry, id).map(std::ptr::from_ref) else {
            return self.lost();
        };
        // SAFETY: types are forgotten between collections alone, so that what is known of this one stays
        // where it is; the object was copied whole, with all its fields or elements.
        unsafe {
            match &(*info).layout {
                ObjectLayout::Struct(layout) => self.scan_struct(at, layout),
                ObjectLayout::Array(kind) => {
                    if *kind == FieldKind::Ref {
                        self.row(self.word(at).add(2).cast(), len as usize);
                    }
                    array_bytes(*kind, len)
                }
            }
        }
    }

    /// Looks into a structure; its size.
    ///
    /// # Safety
    ///
    /// A whole object of this layout stands there; the layout stays where it is.
    #[inline(always)]
    unsafe fn scan_struct(&mut self, at: u64, layout: *const StructLayout) -> u64 {
        // SAFETY: the caller's word.
        unsafe {
            for &offset in &(*layout).refs {
                self.row(self.word(at + u64::from(offset)).cast(), 1);
            }
            u64::from((*layout).size)
        }
    }

    fn scan_exception(&mut self, at: u64, tag: TagId) -> u64 {
        let Some(layout) = self.types.of_exception(self.registry, self.tags, tag) else {
            return self.lost();
        };
        for &offset in &layout.refs {
            // SAFETY: the exception was copied whole.
            unsafe { self.row(self.word(at + u64::from(offset)).cast(), 1) };
        }
        u64::from(layout.size)
    }

    /// An object that was measured when it was copied cannot be measured again: nothing behind it can be
    /// found.
    #[cold]
    fn lost(&mut self) -> u64 {
        self.corrupt = true;
        u64::MAX - u64::from(u32::MAX)
    }
}

impl StoreInner {
    /// Moves all that can be reached to the other half of the heap. `live` references from `ref_fp` on are
    /// in use. `None` if there is no heap.
    pub(super) fn collect(&mut self, live: u32) -> Option<Collected> {
        let ctx = self.ctx_ptr();
        let refs = self.stack.refs();
        // Only what can be written is borrowed: instances and tables are reached through their pointers.
        let Self { heap, globals, tables, instances, tags, types, .. } = self;
        let space = heap.space.as_mut()?;
        let (start, end) = space.other();
        // SAFETY: the context is owned by the store, on its own thread.
        let used = unsafe { (*ctx).heap_next } as u64;
        let mut collector = Collector {
            base: space.base(),
            from: space.start()..used,
            next: start,
            end,
            types: &mut heap.types,
            registry: types,
            tags,
            externs: &mut heap.externs,
            last: (MOVED, std::ptr::null()),
            corrupt: false,
        };
        let mut root_bytes = 0;
        let mut roots = |count: usize, size: usize| root_bytes += count as u64 * size as u64;

        // SAFETY: the stack of references is readable and writable from its start to its end, and
        // `ref_fp` and `ref_high` lie in it.
        unsafe {
            let window = (*ctx).ref_fp.wrapping_add(live as usize).min((*ctx).ref_limit);
            let count = (window as usize).saturating_sub(refs as usize) / size_of::<VmRef>();
            collector.row(refs, count);
            roots(count, size_of::<VmRef>());
            let high = (*ctx).ref_high.min((*ctx).ref_limit);
            let stale = (high as usize).saturating_sub(window as usize) / size_of::<VmRef>();
            std::ptr::write_bytes(window, 0, stale);
            (*ctx).pending_exn = collector.forward((*ctx).pending_exn);
        }
        // SAFETY: a collection is host code: all machine code of this store has been left through wrappers. Its
        // slots are read and written one by one.
        let count =
            unsafe { native::each_root(ctx, |slot| slot.write(collector.forward(slot.read()))) };
        roots(count, size_of::<VmRef>());
        for global in globals.iter().filter(|global| global.refs) {
            let [value, rest] = global.get();
            // SAFETY: the value is the one that was there, or where its object is now.
            unsafe { global.set([collector.cell(value), rest]) };
        }
        roots(globals.len(), size_of::<[Cell; 2]>());
        for table in tables.iter() {
            if let Some((base, count)) = table.refs() {
                // SAFETY: a table holds so many references there.
                unsafe { collector.row(base, count) };
                roots(count, size_of::<VmRef>());
            }
        }
        for instance in instances.iter() {
            // SAFETY: instances live as long as the store, and nobody refers to this part of one while
            // something is allocated.
            let values = unsafe { &mut (*instance.as_ptr()).element_values };
            for segment in values.iter_mut().flatten().filter(|segment| segment.refs) {
                for value in &mut segment.values {
                    *value = collector.cell(*value);
                }
                roots(segment.values.len(), size_of::<Cell>());
            }
        }
        for root in heap.roots.each() {
            *root = collector.forward(*root);
            roots(1, size_of::<VmRef>());
        }
        collector.scan(start);

        let Collector { next, corrupt, .. } = collector;
        let (dead, looked_at) = heap.externs.sweep();
        roots(looked_at, 32);
        space.flip(next);
        heap.stats.collections += 1;
        heap.stats.bytes_copied += next - start;
        // SAFETY: as above.
        unsafe { (*ctx).heap_next = next as usize };
        Some(Collected { dead, root_bytes, corrupt })
    }
}
