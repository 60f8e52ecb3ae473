//! [`ArrayRef`]: arrays of the heap, made and looked into by the host.

use palisade_core::{TrapCode, TypeId};
use palisade_module::{CompositeType, FieldType};
use palisade_vm::gc::layout::{ELEMENTS, FieldKind, ObjectLayout, array_bytes};
use palisade_vm::layout::{Cell, VmRef};

use crate::context::{AsContext, AsContextMut, StoreContextMut};
use crate::defined_type::DefinedType;
use crate::error::{Error, Result};
use crate::gc_types::ArrayType;
use crate::handle::handles;
use crate::store::{StoreId, StoreOpaque};
use crate::val::Val;

handles! {
    /// An array.
    ///
    /// ```
    /// use palisade::{
    ///     ArrayRef, ArrayRefPre, ArrayType, FieldType, Mutability, StorageType, Store, Val,
    /// };
    ///
    /// # fn main() -> palisade::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let bytes = FieldType::new(Mutability::Var, StorageType::I8);
    /// let bytes = ArrayType::new(store.engine(), bytes)?;
    /// let pre = ArrayRefPre::new(&mut store, bytes)?;
    /// let array = ArrayRef::new(&mut store, &pre, &Val::I32(0x1ff), 1000)?;
    /// array.set(&mut store, 999, Val::I32(7))?;
    /// assert_eq!(array.len(&store)?, 1000);
    /// assert_eq!(array.elems(&mut store)?.filter_map(|x| x.i32()).sum::<i32>(), 999 * 255 + 7);
    /// # Ok(())
    /// # }
    /// ```
    ArrayRef: "array";
}

/// An array type, made ready for arrays to be made of it in a store.
#[derive(Clone, Debug)]
pub struct ArrayRefPre {
    store: StoreId,
    ty: ArrayType,
    id: TypeId,
    field: FieldType,
    kind: FieldKind,
}

impl ArrayRefPre {
    /// Makes a type ready. The store keeps it from then on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn new(mut store: impl AsContextMut, ty: ArrayType) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let id = ty.id_for(&opaque.engine)?;
        let info = opaque.heap_type(ty.as_defined())?;
        let kind = kind(&info.layout)?;
        let field = field_of(opaque, id)?;
        Ok(Self { store: opaque.id, ty, id, field, kind })
    }

    /// The type.
    pub fn ty(&self) -> &ArrayType {
        &self.ty
    }
}

/// The type of the elements of an array type.
fn field_of(store: &StoreOpaque, id: TypeId) -> Result<FieldType> {
    match store.engine.types().get(id).as_deref().map(|ty| &ty.composite) {
        Some(CompositeType::Array(field)) => Ok(*field),
        _ => Err(Error::internal("an array without elements")),
    }
}

fn kind(layout: &ObjectLayout) -> Result<FieldKind> {
    match layout {
        ObjectLayout::Array(kind) => Ok(*kind),
        ObjectLayout::Struct(_) => Err(Error::internal("an array that is a structure")),
    }
}

impl ArrayRef {
    /// Makes an array of `len` elements that are all `elem`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if the value has another type;
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore) or
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted) for what `pre` and the value belong to;
    /// [`ErrorKind::Trap`](crate::ErrorKind::Trap) if the heap is full.
    pub fn new(
        mut store: impl AsContextMut,
        pre: &ArrayRefPre,
        elem: &Val,
        len: u32,
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        // Checked before anything is allocated, and taken out of its handle after that.
        pre.check(opaque, *elem, None)?;
        let raw = pre.alloc(opaque, len)?;
        let cells = pre.check(opaque, *elem, None)?;
        // SAFETY: the array was just made, nothing was allocated since, and the value is an element.
        let filled = unsafe { opaque.vm_mut().gc_fill(raw, pre.kind, 0, cells, len) };
        filled.map_err(|code| opaque.heap_error(code))?;
        Self::from_raw(opaque, raw)
    }

    /// Makes an array of these elements.
    ///
    /// # Errors
    ///
    /// As [`ArrayRef::new`].
    pub fn new_fixed(
        mut store: impl AsContextMut,
        pre: &ArrayRefPre,
        elems: &[Val],
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let too_long = |_| Error::trap(TrapCode::AllocationTooLarge);
        let len = u32::try_from(elems.len()).map_err(too_long)?;
        for (i, elem) in (0..).zip(elems) {
            pre.check(opaque, *elem, Some(i))?;
        }
        let raw = pre.alloc(opaque, len)?;
        for (i, elem) in (0..).zip(elems) {
            let cells = pre.check(opaque, *elem, Some(i))?;
            // SAFETY: the array was just made, nothing was allocated since, and the value is an element.
            let filled = unsafe { opaque.vm_mut().gc_fill(raw, pre.kind, i, cells, 1) };
            filled.map_err(|code| opaque.heap_error(code))?;
        }
        Self::from_raw(opaque, raw)
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<ArrayType> {
        let store = store.as_context();
        let opaque = store.opaque();
        let id = type_id(opaque, self.raw(opaque)?)?;
        let ty = DefinedType::new(&opaque.engine, id).array_type();
        ty.ok_or_else(|| Error::internal("an array of no array type"))
    }

    /// Whether it is of a type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn matches_ty(&self, store: impl AsContext, ty: &ArrayType) -> Result<bool> {
        Ok(self.ty(store)?.matches(ty))
    }

    /// How many elements it has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn len(&self, store: impl AsContext) -> Result<u32> {
        let store = store.as_context();
        let opaque = store.opaque();
        let raw = self.raw(opaque)?;
        // SAFETY: the handle leads to an array, whose second word is its length.
        let [_, len] = unsafe { opaque.vm().gc_header(raw) };
        Ok(len)
    }

    /// Whether it has no elements.
    ///
    /// # Errors
    ///
    /// As [`ArrayRef::len`].
    pub fn is_empty(&self, store: impl AsContext) -> Result<bool> {
        Ok(self.len(store)? == 0)
    }

    /// An element. Small integers are zero-extended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such element;
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn get(&self, mut store: impl AsContextMut, index: u32) -> Result<Val> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let (raw, ty, kind) = self.place(opaque, index)?;
        let offset = u64::from(ELEMENTS) + (u64::from(index) << kind.log2());
        // SAFETY: the array has such an element.
        let cells = unsafe { opaque.vm().gc_read(raw, offset, kind) };
        // SAFETY: an element holds a value of its type, valid now.
        unsafe { Val::from_storage(opaque, ty.storage, cells) }
    }

    /// Sets an element. Of a number that is too large for it, the low bits are kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such element;
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if elements cannot be set, or the value has another type;
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn set(&self, mut store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let (raw, ty, kind) = self.place(opaque, index)?;
        if !ty.mutable {
            return Err(Error::type_mismatch("the elements of this array cannot be set"));
        }
        let cells = value.to_storage(opaque, ty.storage, || format!("element {index}"))?;
        // SAFETY: the array has such an element, and the value is of its type.
        let filled = unsafe { opaque.vm_mut().gc_fill(raw, kind, index, cells, 1) };
        filled.map_err(|code| opaque.heap_error(code))
    }

    /// All elements, in order. Each is read when the iterator comes to it, and a reference among them is a handle
    /// of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn elems<'a, T: 'static>(
        self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<impl ExactSizeIterator<Item = Val>> {
        let store = store.into();
        let len = self.len(&store)?;
        Ok(Elems { store, array: self, at: 0, len })
    }

    /// The object, the type of its elements, and how they stand there.
    fn place(self, store: &mut StoreOpaque, index: u32) -> Result<(VmRef, FieldType, FieldKind)> {
        let raw = self.raw(store)?;
        // SAFETY: the handle leads to an array, whose second word is its length.
        let [_, len] = unsafe { store.vm().gc_header(raw) };
        if index >= len {
            let message = format!("the array has {len} elements, and none at {index}");
            return Err(Error::not_found(message));
        }
        let id = type_id(store, raw)?;
        let info = store.heap_type_of(id)?;
        Ok((raw, field_of(store, id)?, kind(&info.layout)?))
    }
}

impl ArrayRefPre {
    /// A value as an element.
    fn check(&self, store: &StoreOpaque, value: Val, index: Option<u32>) -> Result<[Cell; 2]> {
        store.id.check(self.store, "prepared array type")?;
        value.to_storage(store, self.field.storage, || match index {
            Some(index) => format!("element {index}"),
            None => "the element".to_owned(),
        })
    }

    fn alloc(&self, store: &mut StoreOpaque, len: u32) -> Result<VmRef> {
        store.id.check(self.store, "prepared array type")?;
        let bytes = array_bytes(self.kind, len);
        // SAFETY: the size is that of such an array, and the store keeps the type.
        let made = unsafe { store.vm_mut().gc_alloc(self.id.0, len, bytes, 0) };
        made.map_err(|code| store.heap_error(code))
    }
}

/// The number of the type of an array: valid now.
fn type_id(store: &StoreOpaque, raw: VmRef) -> Result<TypeId> {
    // SAFETY: handles lead to objects of their store.
    let id = unsafe { store.vm().gc_type(raw) };
    id.ok_or_else(|| Error::internal("an array without a type"))
}

/// See [`ArrayRef::elems`].
struct Elems<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    array: ArrayRef,
    at: u32,
    len: u32,
}

impl<T: 'static> Iterator for Elems<'_, T> {
    type Item = Val;

    fn next(&mut self) -> Option<Val> {
        if self.at >= self.len {
            return None;
        }
        // The store is not used by anybody else meanwhile, so that the handle is good.
        let value = self.array.get(&mut self.store, self.at).ok()?;
        self.at += 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.at) as usize;
        (left, Some(left))
    }
}

impl<T: 'static> ExactSizeIterator for Elems<'_, T> {}
