//! [`StructRef`]: structures of the heap, made and looked into by the host.

use std::sync::Arc;

use palisade_core as core;
use palisade_core::TypeId;
use palisade_module::{CompositeType, FieldType, StorageType, SubType};
use palisade_vm::gc::HeapTypeInfo;
use palisade_vm::gc::layout::{FieldLayout, ObjectLayout};
use palisade_vm::layout::{Cell, VmRef};

use crate::context::{AsContext, AsContextMut, StoreContextMut};
use crate::defined_type::DefinedType;
use crate::error::{Error, Result};
use crate::gc_types::StructType;
use crate::handle::handles;
use crate::store::{StoreId, StoreOpaque};
use crate::val::Val;

handles! {
    /// A structure.
    ///
    /// ```
    /// use palisade::{
    ///     FieldType, Mutability, Store, StructRef, StructRefPre, StructType, Val, ValType,
    /// };
    ///
    /// # fn main() -> palisade::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let number = FieldType::new(Mutability::Var, ValType::I32);
    /// let next = FieldType::new(Mutability::Var, ValType::ANYREF);
    /// let pair = StructType::new(store.engine(), [number, next])?;
    /// let pre = StructRefPre::new(&mut store, pair)?;
    /// let last = StructRef::new(&mut store, &pre, &[Val::I32(2), Val::AnyRef(None)])?;
    /// let first = StructRef::new(&mut store, &pre, &[Val::I32(1), last.into()])?;
    /// first.set_field(&mut store, 0, Val::I32(7))?;
    /// assert_eq!(first.field(&mut store, 0)?.i32(), Some(7));
    /// let Val::AnyRef(Some(next)) = first.field(&mut store, 1)? else { panic!("not null") };
    /// assert_eq!(next.unwrap_struct(&store)?.field(&mut store, 0)?.i32(), Some(2));
    /// # Ok(())
    /// # }
    /// ```
    StructRef: "structure";
}

/// A structure type, made ready for structures to be made of it in a store.
#[derive(Clone, Debug)]
pub struct StructRefPre {
    store: StoreId,
    ty: StructType,
    id: TypeId,
    fields: Box<[FieldType]>,
    info: Arc<HeapTypeInfo>,
}

impl StructRefPre {
    /// Makes a type ready. The store keeps it from then on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn new(mut store: impl AsContextMut, ty: StructType) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let id = ty.id_for(&opaque.engine)?;
        let info = opaque.heap_type(ty.as_defined())?;
        let fields = fields_of(ty.as_defined().sub_type().as_deref())?.into();
        Ok(Self { store: opaque.id, ty, id, fields, info })
    }

    /// The type.
    pub fn ty(&self) -> &StructType {
        &self.ty
    }
}

/// The types of the fields of a structure.
fn fields_of(ty: Option<&SubType>) -> Result<&[FieldType]> {
    match ty.map(|ty| &ty.composite) {
        Some(CompositeType::Struct(fields)) => Ok(fields),
        _ => Err(Error::internal("a structure without fields")),
    }
}

/// Where the fields of a structure stand.
fn layouts(info: &HeapTypeInfo) -> Result<(&[FieldLayout], u32)> {
    match &info.layout {
        ObjectLayout::Struct(layout) => Ok((&layout.fields, layout.size)),
        ObjectLayout::Array(_) => Err(Error::internal("a structure that is an array")),
    }
}

impl StructRef {
    /// Makes a structure, with a value for each field.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if the number or the types of the values are wrong;
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore) or
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted) for what `pre` and the values belong to;
    /// [`ErrorKind::Trap`](crate::ErrorKind::Trap) if the heap is full.
    pub fn new(mut store: impl AsContextMut, pre: &StructRefPre, fields: &[Val]) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        opaque.id.check(pre.store, "prepared structure type")?;
        if fields.len() != pre.fields.len() {
            return Err(Error::type_mismatch(format!(
                "a structure of type {} has {} fields; found {} values",
                pre.ty,
                pre.fields.len(),
                fields.len()
            )));
        }
        let what = |i: usize| move || format!("field {i}");
        // Everything is checked before anything is allocated, and taken out of its handle after that.
        for (i, (ty, value)) in pre.fields.iter().zip(fields).enumerate() {
            value.to_storage(opaque, ty.storage, what(i))?;
        }
        let (layouts, size) = layouts(&pre.info)?;
        // SAFETY: the size is that of the type's objects, and the store keeps the type.
        let made = unsafe { opaque.vm_mut().gc_alloc(pre.id.0, 0, size.into(), 0) };
        let raw = made.map_err(|code| opaque.heap_error(code))?;
        for (i, ((ty, value), layout)) in pre.fields.iter().zip(fields).zip(layouts).enumerate() {
            let cells = value.to_storage(opaque, ty.storage, what(i))?;
            // SAFETY: the structure was just made, nothing was allocated since, and the value is of the
            // field's type.
            let written =
                unsafe { opaque.vm_mut().gc_write(raw, layout.offset.into(), layout.kind, cells) };
            written.map_err(|code| opaque.heap_error(code))?;
        }
        Self::from_raw(opaque, raw)
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<StructType> {
        let store = store.as_context();
        let opaque = store.opaque();
        let id = type_id(opaque, self.raw(opaque)?)?;
        let ty = DefinedType::new(&opaque.engine, id).struct_type();
        ty.ok_or_else(|| Error::internal("a structure of no structure type"))
    }

    /// Whether it is of a type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn matches_ty(&self, store: impl AsContext, ty: &StructType) -> Result<bool> {
        Ok(self.ty(store)?.matches(ty))
    }

    /// How many fields it has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn field_count(&self, store: impl AsContext) -> Result<usize> {
        let store = store.as_context();
        let opaque = store.opaque();
        let id = type_id(opaque, self.raw(opaque)?)?;
        Ok(fields_of(opaque.engine.types().get(id).as_deref())?.len())
    }

    /// A field. Small integers are zero-extended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such field;
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn field(&self, mut store: impl AsContextMut, index: usize) -> Result<Val> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let (raw, ty, layout) = self.place(opaque, index)?;
        // SAFETY: the structure has such a field there.
        let cells = unsafe { opaque.vm().gc_read(raw, layout.offset.into(), layout.kind) };
        // SAFETY: a field holds a value of its type, valid now.
        unsafe { Val::from_storage(opaque, ty.storage, cells) }
    }

    /// All fields, in order. Each is read when the iterator comes to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn fields<'a, T: 'static>(
        self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<impl ExactSizeIterator<Item = Val>> {
        let store = store.into();
        let len = self.field_count(&store)?;
        Ok(Fields { store, structure: self, at: 0, len })
    }

    /// Sets a field. Of a number that is too large for it, the low bits are kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such field;
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if it cannot be set, or the value has another type;
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn set_field(&self, mut store: impl AsContextMut, index: usize, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let (raw, ty, layout) = self.place(opaque, index)?;
        if !ty.mutable {
            return Err(Error::type_mismatch(format!("field {index} cannot be set")));
        }
        let cells = value.to_storage(opaque, ty.storage, || format!("field {index}"))?;
        // SAFETY: the structure has such a field there, and the value is of its type.
        let written =
            unsafe { opaque.vm_mut().gc_write(raw, layout.offset.into(), layout.kind, cells) };
        written.map_err(|code| opaque.heap_error(code))
    }

    /// Where a field stands, and its type.
    fn place(
        self,
        store: &mut StoreOpaque,
        index: usize,
    ) -> Result<(VmRef, FieldType, FieldLayout)> {
        let raw = self.raw(store)?;
        let id = type_id(store, raw)?;
        let ty = store.engine.types().get(id);
        let fields = fields_of(ty.as_deref())?;
        let info = store.heap_type_of(id)?;
        match (fields.get(index), layouts(&info)?.0.get(index)) {
            (Some(field), Some(layout)) => Ok((raw, *field, *layout)),
            _ => {
                let count = fields.len();
                let message = format!("the structure has {count} fields, and none at {index}");
                Err(Error::not_found(message))
            }
        }
    }
}

/// The number of the type of a structure: valid now.
fn type_id(store: &StoreOpaque, raw: VmRef) -> Result<TypeId> {
    // SAFETY: handles lead to objects of their store.
    let id = unsafe { store.vm().gc_type(raw) };
    id.ok_or_else(|| Error::internal("a structure without a type"))
}

/// See [`StructRef::fields`].
struct Fields<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    structure: StructRef,
    at: usize,
    len: usize,
}

impl<T: 'static> Iterator for Fields<'_, T> {
    type Item = Val;

    fn next(&mut self) -> Option<Val> {
        if self.at >= self.len {
            return None;
        }
        // The store is not used by anybody else meanwhile, so that the handle is good.
        let value = self.structure.field(&mut self.store, self.at).ok()?;
        self.at += 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.at;
        (left, Some(left))
    }
}

impl<T: 'static> ExactSizeIterator for Fields<'_, T> {}

/// The type of the values that a field holds.
fn unpack(ty: StorageType) -> core::ValType {
    match ty {
        StorageType::I8 | StorageType::I16 => core::ValType::I32,
        StorageType::Val(ty) => ty,
    }
}

impl Val {
    /// As [`Val::to_cells`], for what a field holds.
    pub(crate) fn to_storage(
        self,
        store: &StoreOpaque,
        ty: StorageType,
        what: impl FnOnce() -> String,
    ) -> Result<[Cell; 2]> {
        self.to_cells(store, unpack(ty), what)
    }

    /// The value that a field holds.
    ///
    /// # Safety
    ///
    /// The cells are those of a value of this type of this store, valid now.
    pub(crate) unsafe fn from_storage(
        store: &mut StoreOpaque,
        ty: StorageType,
        cells: [Cell; 2],
    ) -> Result<Self> {
        // SAFETY: passed on to the caller.
        unsafe { Self::from_cells(store, unpack(ty), cells.as_ptr()) }
    }
}
