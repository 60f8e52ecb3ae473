//! The heap of objects: structures, arrays, exceptions, and the host values that guests hold.
//!
//! One for each store, made with the first object. Objects are named by [`VmRef`]: offsets into a reservation of
//! its own.

pub mod layout;
mod object;
pub mod roots;

use std::collections::HashMap;
use std::sync::Arc;

use palisade_core::{HeapType, TrapCode, TypeId};
use palisade_module::TypeRegistry;

use crate::layout::{VmFuncRef, VmRef};
use crate::store::StoreInner;
use crate::sys::region::Region;
use layout::{EXN, EXTERN, ObjectLayout};
use roots::Roots;

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

/// The heap of a store.
#[derive(Default)]
pub struct Heap {
    region: Option<Region>,
    /// Functions that objects refer to, by number (from 1).
    funcs: Vec<*mut VmFuncRef>,
    func_numbers: HashMap<usize, u32>,
    /// By type id, made when first asked for.
    types: Vec<Option<Arc<HeapTypeInfo>>>,
    /// What the host holds.
    pub roots: Roots,
}

impl Heap {
    /// What the heap knows of a type; `None` if it is no structure or array type.
    pub fn type_info(&mut self, types: &TypeRegistry, id: TypeId) -> Option<Arc<HeapTypeInfo>> {
        let at = id.0 as usize;
        if at >= self.types.len() {
            types.get(id)?;
            self.types.resize_with(at + 1, || None);
        }
        if self.types[at].is_none() {
            let display = Arc::clone(&types.get(id)?.display);
            let layout = ObjectLayout::of(types, id)?;
            self.types[at] = Some(Arc::new(HeapTypeInfo { display, layout }));
        }
        self.types[at].clone()
    }

    /// Forgets all types: an id may come to name another one when those that had it are gone.
    pub(crate) fn forget_types(&mut self) {
        self.types.clear();
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
    /// Makes an object of `bytes` bytes, header and all (a multiple of 8), zero but for its two words.
    /// The references above the windows that are in use now are those from `ref_fp` on, `live` of them.
    ///
    /// May collect: every [`VmRef`] that is not in a frame below that, a global, a table, an object or a root is
    /// invalid afterwards.
    pub fn gc_alloc(
        &mut self,
        word0: u32,
        word1: u32,
        bytes: u64,
        _live: u32,
    ) -> Result<VmRef, TrapCode> {
        const LIMIT: usize = 1 << 30;
        let ctx = self.ctx_ptr();
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe {
            if self.heap.region.is_none() {
                let region = Region::reserve(LIMIT).map_err(|_| TrapCode::HeapExhausted)?;
                region.open(0, LIMIT).map_err(|_| TrapCode::HeapExhausted)?;
                (*ctx).heap_base = region.base();
                (*ctx).heap_next = 8;
                (*ctx).heap_end = LIMIT;
                self.heap.region = Some(region);
            }
            let at = (*ctx).heap_next;
            if bytes > ((*ctx).heap_end - at) as u64 {
                return Err(TrapCode::HeapExhausted);
            }
            (*ctx).heap_next = at + bytes as usize;
            let object = (*ctx).heap_base.add(at);
            object.cast::<u32>().write(word0);
            object.cast::<u32>().add(1).write(word1);
            Ok(VmRef(at as u32))
        }
    }

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
        let types = Arc::clone(&self.types);
        let Some(info) = self.heap.type_info(&types, TypeId(word)) else { return false };
        match target.heap {
            H::Eq => true,
            H::Struct => matches!(info.layout, ObjectLayout::Struct(_)),
            H::Array => matches!(info.layout, ObjectLayout::Array(_)),
            H::Concrete(id) => info.display.contains(&id),
            _ => false,
        }
    }
}
