//! [`Tag`]: the kind of an exception.

use palisade_vm::TagId;

use crate::context::{AsContext, AsContextMut};
use crate::error::{Error, Result};
use crate::func_type::FuncType;
use crate::store::{StoreId, StoreOpaque, vm_error};
use crate::types::TagType;

/// A tag. A handle; two tags are the same only if they were made at once.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    store: StoreId,
    id: TagId,
}

impl Tag {
    /// Makes a tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if the type has results;
    /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn new(mut store: impl AsContextMut, ty: &TagType) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        if !ty.func_type().results().is_empty() {
            return Err(Error::type_mismatch(format!(
                "the type of a tag has no results; found {ty}"
            )));
        }
        let (type_id, registered) = ty.func_type().register(&opaque.engine)?;
        opaque.keep_alive(registered);
        let id = opaque.vm_mut().alloc_tag(type_id).map_err(vm_error)?;
        Ok(Self { store: opaque.id, id })
    }

    pub(crate) fn from_id(store: StoreId, id: TagId) -> Self {
        Self { store, id }
    }

    pub(crate) fn id(self, store: &StoreOpaque) -> Result<TagId> {
        store.id.check(self.store, "tag")?;
        Ok(self.id)
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<TagType> {
        let store = store.as_context();
        let id = self.id(store.opaque())?;
        let ty = store
            .opaque()
            .vm()
            .tag_type(id)
            .ok_or_else(|| Error::internal("a store does not know its own tag"))?;
        Ok(TagType::new(FuncType::of_id(store.engine(), ty)?))
    }
}
