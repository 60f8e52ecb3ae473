//! [`Table`]: a table of a store.

use palisade_core as core;
use palisade_vm::TableId;
use palisade_vm::layout::Cell;

use crate::context::{AsContext, AsContextMut};
use crate::error::{Error, ErrorKind, Result};
use crate::refs::Ref;
use crate::store::{StoreId, StoreOpaque, vm_error};
use crate::types::{RefType, TableType};

/// A table. A handle: copying it copies no table.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Table {
    store: StoreId,
    id: TableId,
}

impl Table {
    /// Makes a table whose elements are all `init`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`] if `init` has another type than the elements; [`ErrorKind::Limit`] if a
    /// limit or the system refuses; [`ErrorKind::WrongStore`], [`ErrorKind::WrongEngine`].
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Ref) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = ty.to_core(&opaque.engine)?;
        let init = element(opaque, ty.element, init)?;
        keep_type(opaque, ty.element);
        // SAFETY: `init` was just compared with the element type.
        let id = unsafe { opaque.vm_mut().alloc_table(ty, init) }.map_err(vm_error)?;
        Ok(Self { store: opaque.id, id })
    }

    pub(crate) fn from_id(store: StoreId, id: TableId) -> Self {
        Self { store, id }
    }

    pub(crate) fn id(self, store: &StoreOpaque) -> Result<TableId> {
        store.id.check(self.store, "table")?;
        Ok(self.id)
    }

    fn core_ty(self, store: &StoreOpaque) -> Result<core::TableType> {
        let id = self.id(store)?;
        store
            .vm()
            .table_type(id)
            .ok_or_else(|| Error::internal("a store does not know its own table"))
    }

    /// Its type, with its current size as the minimum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn ty(&self, store: impl AsContext) -> Result<TableType> {
        let store = store.as_context();
        let ty = self.core_ty(store.opaque())?;
        Ok(TableType::from_core(store.engine(), ty))
    }

    /// How many elements it has; 0 if it belongs to another store.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.core_ty(store.as_context().opaque()).map_or(0, |ty| ty.minimum)
    }

    /// An element; `None` past the end, or if the table belongs to another store.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Ref> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = self.core_ty(opaque).ok()?;
        let bits = opaque.vm().table_get(self.id, index)?;
        // SAFETY: a table holds references of its element type of its own store.
        unsafe { Ref::from_cell(opaque, ty.element, bits) }.ok()
    }

    /// Sets an element.
    ///
    /// # Errors
    ///
    /// There is no such element; [`ErrorKind::Type`] if the value has another type;
    /// [`ErrorKind::WrongStore`].
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Ref) -> Result<()> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = self.core_ty(opaque)?;
        let bits = element(opaque, ty.element, value)?;
        // SAFETY: the value was just compared with the element type.
        if unsafe { opaque.vm_mut().table_set(self.id, index, bits) } {
            return Ok(());
        }
        Err(Error::msg(format!(
            "out of bounds table access: element {index}, and the table has {}",
            ty.minimum
        )))
    }

    /// Makes it larger, with `init` as the new elements, and returns how many it had.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if its maximum, a limit or the system refuses; [`ErrorKind::Type`] if
    /// `init` has another type; [`ErrorKind::WrongStore`].
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Ref) -> Result<u64> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = self.core_ty(opaque)?;
        let init = element(opaque, ty.element, init)?;
        let vm = opaque.vm_mut();
        vm.ledger().take_refusal();
        // SAFETY: `init` was just compared with the element type.
        match unsafe { vm.table_grow(self.id, delta, init) }.map_err(vm_error)? {
            Some(before) => Ok(before),
            None => {
                let why = match vm.ledger().refusal() {
                    Some(refusal) => refusal.to_string(),
                    None => "its maximum, the store's limiter or the system refused".to_owned(),
                };
                let message = format!("a table cannot grow by {delta} elements: {why}");
                Err(Error::new(ErrorKind::Limit(message)))
            }
        }
    }
}

/// The value as bits, if it is of the element type.
fn element(store: &StoreOpaque, ty: core::RefType, value: Ref) -> Result<Cell> {
    if let Some(cell) = value.to_cell(store, ty)? {
        return Ok(cell);
    }
    let expected = RefType::from_core(&store.engine, ty);
    Err(Error::type_mismatch(format!(
        "expected an element of type {expected}, found {}",
        crate::Val::from(value).kind()
    )))
}

/// Keeps the type that a host-made object mentions alive as long as the store.
pub(crate) fn keep_type(store: &mut StoreOpaque, ty: core::RefType) {
    if let core::HeapType::Concrete(_) = ty.heap {
        let kept = RefType::from_core(&store.engine, ty);
        store.keep_alive(kept);
    }
}
