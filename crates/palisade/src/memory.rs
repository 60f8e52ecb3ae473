//! [`Memory`]: a linear memory of a store.

use palisade_vm::MemoryId;

use crate::context::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{StoreId, StoreOpaque, vm_error};
use crate::types::MemoryType;

/// A linear memory. A handle: copying it copies no memory.
///
/// Growing a memory needs the store exclusively, so that a slice that [`Memory::data`] gave cannot
/// be in use then.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Memory {
    store: StoreId,
    id: MemoryId,
}

impl Memory {
    /// Makes a memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if a limit or the system refuses it; [`ErrorKind::Type`] for a type that
    /// no memory can have, and for shared ones: see [`SharedMemory`](crate::SharedMemory).
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Self> {
        let mut store = store.as_context_mut();
        if ty.is_shared() {
            return Err(Error::type_mismatch(format!(
                "a memory that threads share belongs to no store: make {ty} with \
                 `SharedMemory::new`"
            )));
        }
        let ty = ty.to_core()?;
        let opaque = store.opaque_mut();
        let id = opaque.vm_mut().alloc_memory(ty).map_err(vm_error)?;
        Ok(Self { store: opaque.id, id })
    }

    pub(crate) fn from_id(store: StoreId, id: MemoryId) -> Self {
        Self { store, id }
    }

    pub(crate) fn id(self, store: &StoreOpaque) -> Result<MemoryId> {
        store.id.check(self.store, "memory")?;
        Ok(self.id)
    }

    /// Its type, with its current size as the minimum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn ty(&self, store: impl AsContext) -> Result<MemoryType> {
        let store = store.as_context();
        let id = self.id(store.opaque())?;
        let ty = store.opaque().vm().memory_type(id).ok_or_else(unknown)?;
        Ok(MemoryType::from_core(ty))
    }

    /// Its bytes. Empty if the memory belongs to another store.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let opaque = store.into().opaque();
        match self.id(opaque) {
            Ok(id) => opaque.vm().memory_data(id),
            Err(_) => &[],
        }
    }

    /// Its bytes. Empty if the memory belongs to another store.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> &'a mut [u8] {
        self.data_and_store_mut(store).0
    }

    /// Its bytes and the embedder's data at once. The bytes are empty if the memory belongs to
    /// another store.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let (opaque, data) = store.into().split();
        let bytes = match self.id(opaque) {
            Ok(id) => opaque.vm_mut().memory_data_mut(id),
            Err(_) => &mut [],
        };
        (bytes, data)
    }

    /// Copies bytes out of the memory.
    ///
    /// # Errors
    ///
    /// The range does not lie inside the memory: nothing is copied then. [`ErrorKind::WrongStore`].
    pub fn read(&self, store: impl AsContext, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let store = store.as_context();
        self.id(store.opaque())?;
        let data = self.data(store);
        let range = range(data.len(), offset, buffer.len())?;
        buffer.copy_from_slice(&data[range]);
        Ok(())
    }

    /// Copies bytes into the memory.
    ///
    /// # Errors
    ///
    /// The range does not lie inside the memory: nothing is copied then. [`ErrorKind::WrongStore`].
    pub fn write(&self, mut store: impl AsContextMut, offset: usize, bytes: &[u8]) -> Result<()> {
        let store = store.as_context_mut();
        self.id(store.opaque())?;
        let data = self.data_mut(store);
        let range = range(data.len(), offset, bytes.len())?;
        data[range].copy_from_slice(bytes);
        Ok(())
    }

    /// Its size in bytes; 0 if it belongs to another store.
    pub fn data_size(&self, store: impl AsContext) -> usize {
        let store = store.as_context();
        let Ok(ty) = self.ty(store) else { return 0 };
        ty.minimum().checked_mul(ty.page_size()).and_then(|b| usize::try_from(b).ok()).unwrap_or(0)
    }

    /// Its size in pages; 0 if it belongs to another store.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.ty(store).map_or(0, |ty| ty.minimum())
    }

    /// Makes it larger and returns how many pages it had.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if its maximum, a limit or the system refuses; [`ErrorKind::WrongStore`].
    pub fn grow(&self, mut store: impl AsContextMut, pages: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let id = self.id(store.opaque())?;
        let vm = store.opaque_mut().vm_mut();
        vm.ledger().take_refusal();
        match vm.memory_grow(id, pages).map_err(vm_error)? {
            Some(before) => Ok(before),
            None => {
                let why = match vm.ledger().refusal() {
                    Some(refusal) => refusal.to_string(),
                    None => "its maximum, the store's limiter or the system refused".to_owned(),
                };
                let message = format!("a memory cannot grow by {pages} pages: {why}");
                Err(Error::new(ErrorKind::Limit(message)))
            }
        }
    }
}

/// The range of `len` bytes from `offset` on, if it lies inside `size` bytes.
fn range(size: usize, offset: usize, len: usize) -> Result<std::ops::Range<usize>> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(offset..end),
        _ => Err(Error::msg(format!(
            "out of bounds memory access: {len} bytes at {offset:#x}, and the memory has {size:#x}"
        ))),
    }
}

fn unknown() -> Error {
    Error::internal("a store does not know its own memory")
}
