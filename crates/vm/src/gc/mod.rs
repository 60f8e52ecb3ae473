//! The heap of objects: structures, arrays, exceptions, and the host values that guests hold.
//!
//! One for each store, made with the first object. Objects are named by [`VmRef`]: offsets into a reservation of
//! its own (`space`). They are placed one behind the other (`alloc`), and move when those that can be reached
//! are copied to the other half (`collect`). What moves is found from roots; a reference that is none of them
//! is valid until the next allocation.

mod alloc;
mod collect;
pub mod display;
mod exception;
mod externs;
pub mod layout;
mod object;
pub mod roots;
mod space;

use std::collections::HashMap;
use std::sync::Arc;

use palisade_core::{HeapType, TypeId};
use palisade_module::TypeRegistry;

use crate::ids::TagId;
use crate::layout::{VmFuncRef, VmRef};
use crate::owned::Owned;
use crate::store::{StoreInner, Tag};
use display::Displays;
use externs::Externs;
pub use externs::HostValue;
use layout::{EXN, EXTERN, ObjectLayout, StructLayout};
use roots::Roots;
use space::Space;

/// What a value is tested for by casts (specification: `ref.test`, `ref.cast`, `br_on_cast`).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct RefTarget {
    /// Whether null passes.
    pub nullable: bool,
    /// What else does.
    pub heap: HeapType,
}

/// What the heap knows of a type whose objects it has seen.
#[derive(Debug)]
pub struct HeapTypeInfo {
    /// The supertypes from the root down to the type itself.
    pub display: Arc<[TypeId]>,
    /// How its objects look.
    pub layout: ObjectLayout,
}

/// What a heap has done, and how large it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct GcStats {
    /// How often it has collected.
    pub collections: u64,
    /// How many bytes of objects were copied in all collections.
    pub bytes_copied: u64,
    /// The bytes that objects take now, garbage among them.
    pub in_use: u64,
    /// The bytes that objects may take before the next collection. The ledger counts twice that.
    pub capacity: u64,
    /// The largest capacity so far.
    pub peak: u64,
}

/// The types of the objects that the heap has seen.
#[derive(Default)]
struct Types {
    by_id: Vec<Option<Arc<HeapTypeInfo>>>,
    /// Exceptions, by tag.
    by_tag: Vec<Option<Arc<StructLayout>>>,
}

impl Types {
    /// A type; `None` if it is no structure or array type.
    #[inline]
    fn get(&mut self, registry: &TypeRegistry, id: TypeId) -> Option<&HeapTypeInfo> {
        let at = id.0 as usize;
        if !matches!(self.by_id.get(at), Some(Some(_))) {
            self.add(registry, id)?;
        }
        self.by_id.get(at)?.as_deref()
    }

    #[cold]
    fn add(&mut self, registry: &TypeRegistry, id: TypeId) -> Option<()> {
        let at = id.0 as usize;
        let display = Arc::clone(&registry.get(id)?.display);
        let layout = ObjectLayout::of(registry, id)?;
        if at >= self.by_id.len() {
            self.by_id.resize_with(at + 1, || None);
        }
        *self.by_id.get_mut(at)? = Some(Arc::new(HeapTypeInfo { display, layout }));
        Some(())
    }

    /// The layout of the exceptions of a tag.
    fn of_exception(
        &mut self,
        registry: &TypeRegistry,
        tags: &[Owned<Tag>],
        tag: TagId,
    ) -> Option<Arc<StructLayout>> {
        let at = tag.index();
        if let Some(Some(layout)) = self.by_tag.get(at) {
            return Some(Arc::clone(layout));
        }
        // SAFETY: tags live as long as the store, and never change.
        let type_id = unsafe { (*tags.get(at)?.as_ptr()).type_id };
        let ty = registry.func_type(type_id)?;
        let layout = Arc::new(StructLayout::of_exception(registry, &ty.params));
        if at >= self.by_tag.len() {
            self.by_tag.resize_with(at + 1, || None);
        }
        *self.by_tag.get_mut(at)? = Some(Arc::clone(&layout));
        Some(layout)
    }
}

/// The heap of a store.
#[derive(Default)]
pub struct Heap {
    space: Option<Space>,
    stats: GcStats,
    /// How many collections in a row have found the heap too large.
    too_large: u32,
    /// Functions that objects refer to, by number (from 1).
    funcs: Vec<*mut VmFuncRef>,
    func_numbers: HashMap<usize, u32>,
    types: Types,
    displays: Displays,
    /// What the host holds.
    pub roots: Roots,
    externs: Externs,
}

impl Heap {
    /// What the heap knows of a type; `None` if it is no structure or array type.
    pub fn type_info(&mut self, types: &TypeRegistry, id: TypeId) -> Option<Arc<HeapTypeInfo>> {
        self.types.get(types, id)?;
        self.types.by_id.get(id.0 as usize)?.clone()
    }

    /// Forgets all types: an id may come to name another one when those that had it are gone.
    pub(crate) fn forget_types(&mut self) {
        self.types = Types::default();
        self.displays = Displays::default();
    }

    /// How many functions objects refer to.
    pub(crate) fn func_count(&self) -> usize {
        self.funcs.len()
    }

    /// Forgets all functions but the first `count`: no object that can be reached refers to the others.
    pub(crate) fn forget_funcs(&mut self, count: usize) {
        for func in self.funcs.drain(count.min(self.funcs.len())..) {
            self.func_numbers.remove(&(func as usize));
        }
    }

    /// What the ledger counts for the heap.
    pub(crate) fn charged(&self) -> u64 {
        2 * self.space.as_ref().map_or(0, Space::capacity)
    }

    /// The number by which objects refer to a function; 0 for null. `None` when there are no more numbers.
    pub fn func_number(&mut self, func: *mut VmFuncRef) -> Option<u32> {
        if func.is_null() {
            return Some(0);
        }
        if let Some(&number) = self.func_numbers.get(&(func as usize)) {
            return Some(number);
        }
        let number = u32::try_from(self.funcs.len() + 1).ok()?;
        self.funcs.push(func);
        self.func_numbers.insert(func as usize, number);
        Some(number)
    }

    /// The function of a number; null for 0 and for numbers that were never given.
    pub fn func_of_number(&self, number: u32) -> *mut VmFuncRef {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.funcs.get(at)).copied().unwrap_or(std::ptr::null_mut())
    }
}

impl StoreInner {
    /// Whether a reference of the `any`, `extern` or `exn` family is of a type of the same family.
    pub fn gc_is(&mut self, reference: VmRef, target: RefTarget) -> bool {
        use HeapType as H;
        if reference.is_null() {
            return target.nullable;
        }
        if matches!(target.heap, H::None | H::NoExtern | H::NoExn | H::NoFunc) {
            return false;
        }
        if matches!(target.heap, H::Any | H::Extern | H::Exn) {
            return true;
        }
        if reference.0 & 1 == 1 {
            return matches!(target.heap, H::I31 | H::Eq);
        }
        // SAFETY: a reference that is neither null nor a number leads to an object.
        let [word, _] = unsafe { self.gc_header(reference) };
        if word == EXTERN || word == EXN {
            return false;
        }
        let ty = TypeId(word);
        let heap = &mut self.heap;
        let Some(info) = heap.types.get(&self.types, ty) else { return false };
        let passes = match target.heap {
            H::Eq => true,
            H::Struct => matches!(info.layout, ObjectLayout::Struct(_)),
            H::Array => matches!(info.layout, ObjectLayout::Array(_)),
            H::Concrete(id) => info.display.contains(&id),
            _ => false,
        };
        if !heap.displays.settled(ty) {
            heap.displays.fill(ty, info);
            self.show_displays();
        }
        passes
    }

    /// Tells machine code where the rows of types are.
    pub(crate) fn show_displays(&mut self) {
        let (rows, count) = self.heap.displays.rows();
        let ctx = self.ctx_ptr();
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe { ((*ctx).displays, (*ctx).displays_len) = (rows, count) };
    }
}

#[cfg(test)]
mod gc_tests;
