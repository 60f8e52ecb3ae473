//! [`Global`]: a global of a store.

use palisade_core as core;
use palisade_vm::GlobalId;

use crate::context::{AsContext, AsContextMut};
use crate::error::{Error, Result};
use crate::store::{StoreId, StoreOpaque, vm_error};
use crate::table::keep_type;
use crate::types::GlobalType;
use crate::val::Val;

/// A global. A handle: copying it copies no global.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Global {
    store: StoreId,
    id: GlobalId,
}

impl Global {
    /// Makes a global.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if the value has another type;
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore),
    /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = ty.to_core(&opaque.engine)?;
        let cells = value.to_cells(opaque, ty.content, || "value of a global".to_owned())?;
        if let core::ValType::Ref(ty) = ty.content {
            keep_type(opaque, ty);
        }
        // SAFETY: the value was just compared with the type.
        let id = unsafe { opaque.vm_mut().alloc_global(ty, cells) }.map_err(vm_error)?;
        Ok(Self { store: opaque.id, id })
    }

    pub(crate) fn from_id(store: StoreId, id: GlobalId) -> Self {
        Self { store, id }
    }

    pub(crate) fn id(self, store: &StoreOpaque) -> Result<GlobalId> {
        store.id.check(self.store, "global")?;
        Ok(self.id)
    }

    fn core_ty(self, store: &StoreOpaque) -> Result<core::GlobalType> {
        let id = self.id(store)?;
        store.vm().global_type(id).ok_or_else(unknown)
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<GlobalType> {
        let store = store.as_context();
        let ty = self.core_ty(store.opaque())?;
        Ok(GlobalType::from_core(store.engine(), ty))
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn get(&self, mut store: impl AsContextMut) -> Result<Val> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = self.core_ty(opaque)?;
        let cells = opaque.vm().global_get(self.id).ok_or_else(unknown)?;
        // SAFETY: a global holds a value of its type of its own store.
        unsafe { Val::from_cells(opaque, ty.content, cells.as_ptr()) }
    }

    /// Sets its value.
    ///
    /// # Errors
    ///
    /// It cannot be set, or the value has another type:
    /// [`ErrorKind::Type`](crate::ErrorKind::Type);
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let ty = self.core_ty(opaque)?;
        if !ty.mutable {
            return Err(Error::type_mismatch("the global is immutable: it cannot be set"));
        }
        let cells = value.to_cells(opaque, ty.content, || "value of a global".to_owned())?;
        // SAFETY: the value was just compared with the type, and the global is mutable.
        if unsafe { opaque.vm_mut().global_set(self.id, cells) } { Ok(()) } else { Err(unknown()) }
    }
}

fn unknown() -> Error {
    Error::internal("a store does not know its own global")
}
