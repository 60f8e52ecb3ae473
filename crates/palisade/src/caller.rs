//! [`Caller`]: what a host function sees of the guest that called it.

use std::sync::Arc;
use std::time::Instant;

use palisade_core::TrapCode;
use palisade_module::ModuleInfo;
use palisade_vm::InstanceId;
use palisade_vm::layout::VmCtx;

use crate::context::StoreContextMut;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::externals::Extern;
use crate::instance::Instance;
use crate::memory::Memory;
use crate::store::{InterruptHandle, Ledger, Resource, vm_error};

/// The store that a host function was called in, and the instance that called it.
///
/// A host function may call guests again through it, and through nothing else.
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    /// The context of the calling instance; null if the host itself called.
    vmctx: *mut VmCtx,
}

impl<'a, T: 'static> Caller<'a, T> {
    /// `vmctx` is null or belongs to a live instance of the store.
    pub(crate) fn new(store: StoreContextMut<'a, T>, vmctx: *mut VmCtx) -> Self {
        Self { store, vmctx }
    }

    pub(crate) fn store(&self) -> &StoreContextMut<'a, T> {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut StoreContextMut<'a, T> {
        &mut self.store
    }

    fn instance_id(&self) -> Option<InstanceId> {
        if self.vmctx.is_null() {
            return None;
        }
        // SAFETY: a context that is not null belongs to a live instance of this store, and its
        // number never changes.
        Some(InstanceId(unsafe { (*self.vmctx).instance_index }))
    }

    /// The embedder's data in the store.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The embedder's data in the store.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine of the store.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// The instance that called; `None` if the host itself called.
    pub fn instance(&self) -> Option<Instance> {
        Some(Instance::from_id(self.store.opaque(), self.instance_id()?))
    }

    /// An export of the instance that called. Works for what any guest could reach by itself: its
    /// memory, to begin with.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        let id = self.instance_id()?;
        Instance::from_id(self.store.opaque(), id).get_export(&mut self.store, name)
    }

    /// The memory that the instance that called exports under a name, if that is no shared one.
    pub fn get_memory(&mut self, name: &str) -> Option<Memory> {
        self.get_export(name)?.into_memory()
    }

    /// The module of the instance that called.
    pub(crate) fn module_info(&self) -> Option<Arc<ModuleInfo>> {
        let id = self.instance_id()?;
        self.store.opaque().module_of(id).map(|module| module.info().clone())
    }

    /// The name that the calling instance's module gives itself; not escaped.
    pub fn module_name(&self) -> Option<String> {
        Some(self.module_info()?.module_name()?.to_owned())
    }

    /// What is left of the fuel; an error if the engine does not meter fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.store.get_fuel()
    }

    /// Sets what is left of the fuel; an error if the engine does not meter fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.store.set_fuel(fuel)
    }

    /// Collects: see [`Store::gc`](crate::Store::gc).
    ///
    /// # Errors
    ///
    /// Dropping a host value panicked. The store is poisoned.
    pub fn gc(&mut self) -> Result<()> {
        self.store.gc()
    }

    /// Takes fuel for work that is about to be done for the guest. Free if the engine does not meter
    /// fuel. When there is not enough, all of it is taken and the error is the trap
    /// [`TrapCode::OutOfFuel`]: give it back from the host function, and do not do the work.
    pub fn charge_fuel(&mut self, units: u64) -> Result<()> {
        if self.store.opaque_mut().charge_fuel(units) {
            Ok(())
        } else {
            Err(Error::from(TrapCode::OutOfFuel))
        }
    }

    /// Counts `amount` more of something against the store's limit on it, before it is used.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit): the limit does not allow it, and nothing was
    /// counted.
    pub fn charge_resource(&mut self, what: Resource, amount: u64) -> Result<()> {
        let ledger = self.store.opaque_mut().vm_mut().ledger();
        ledger.charge(what, amount).map_err(|refusal| vm_error(refusal.into()))
    }

    /// Gives back what [`Caller::charge_resource`] counted.
    pub fn release_resource(&mut self, what: Resource, amount: u64) {
        self.store.opaque_mut().vm_mut().ledger().release(what, amount);
    }

    /// The store's ledger, for host functions that count what they do for the guest.
    pub fn ledger(&mut self) -> &mut Ledger {
        self.store.opaque_mut().vm_mut().ledger()
    }

    /// How much of something may be in use.
    pub fn resource_limit(&self, what: Resource) -> Option<u64> {
        self.store.opaque().vm().ledger_ref().limit(what)
    }

    /// How much of something is in use.
    pub fn resource_use(&self, what: Resource) -> u64 {
        self.store.opaque().vm().ledger_ref().in_use(what)
    }

    /// When the guest must have ended. Work that may block has to end by itself then.
    pub fn deadline(&self) -> Option<Instant> {
        self.store.opaque().deadline()
    }

    /// Why the guest is to be ended, if somebody asked for that. Long work should look here from
    /// time to time.
    pub fn interrupted(&self) -> Option<TrapCode> {
        self.store.opaque().interrupted()
    }

    /// A handle that ends the guest from another thread, and that blocking work can wait on.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.store.opaque().interrupt_handle()
    }
}
