//! [`Instance`]: a module brought to life in a store; and [`InstancePre`], one whose imports have been
//! looked up already.

use std::sync::Arc;

use palisade_vm::{ImportValue, InstanceId, InstantiateError, describe_extern_type};

use crate::context::{AsContext, AsContextMut, StoreContextMut};
use crate::error::{Error, ErrorKind, LinkError, Result};
use crate::externals::{Export, Extern};
use crate::func::{self, Func};
use crate::global::Global;
use crate::host::HostDef;
use crate::memory::Memory;
use crate::module::Module;
use crate::shared_memory::SharedMemory;
use crate::store::{StoreId, StoreOpaque, vm_error};
use crate::table::Table;
use crate::tag::Tag;
use crate::typed::{TypedFunc, WasmParams, WasmResults};

/// An instance of a module. A handle: copying it copies no instance.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Instance {
    store: StoreId,
    id: InstanceId,
}

impl Instance {
    /// Makes an instance, initialises it and runs its start function. `imports` are matched with the
    /// module's imports in order; a [`Linker`](crate::Linker) finds them by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Link`] if the imports do not match; [`ErrorKind::Limit`] if a limit or the
    /// system refuses memory or tables; the trap of a segment that does not fit or of the start
    /// function, with the instance left behind in the store as the specification demands;
    /// [`ErrorKind::WrongEngine`].
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Self> {
        let mut store = store.as_context_mut();
        let expected = &module.info().imports;
        if expected.len() != imports.len() {
            let (expected, found) = (expected.len(), imports.len());
            return Err(Error::new(ErrorKind::Link(LinkError::Count { expected, found })));
        }
        let opaque = store.opaque_mut();
        let mut values = Vec::with_capacity(imports.len());
        for (import, given) in expected.iter().zip(imports) {
            given.check(opaque).map_err(|_| {
                Error::new(ErrorKind::Link(LinkError::WrongStore {
                    module: import.module.to_string(),
                    name: import.name.to_string(),
                    what: given.kind(),
                }))
            })?;
            values.push(given.to_vm(opaque)?);
        }
        Self::with_values(store, module, &values)
    }

    /// `values` are objects of the store.
    pub(crate) fn with_values<T: 'static>(
        mut store: StoreContextMut<'_, T>,
        module: &Module,
        values: &[ImportValue],
    ) -> Result<Self> {
        let this = Self::allocate(store.opaque_mut(), module, values)?;
        if let Err(code) = store.opaque_mut().vm_mut().initialize_instance(this.id) {
            let pending = store.opaque_mut().vm_mut().pending_error.take();
            return Err(pending.map_or_else(|| Error::trap(code), Error::from_pending));
        }
        if let Some(start) = module.info().start {
            let func = store.opaque().vm().func_ref(this.id, start);
            if func.is_null() {
                return Err(Error::internal("an instance lacks its start function"));
            }
            let mut no_cells = [0];
            // SAFETY: the function is of this store and takes and returns nothing; the view is held
            // exclusively by this call.
            unsafe { func::invoke(store.raw_opaque(), func, no_cells.as_mut_ptr())? };
        }
        Ok(this)
    }

    fn allocate(store: &mut StoreOpaque, module: &Module, values: &[ImportValue]) -> Result<Self> {
        if !module.engine().same(&store.engine) {
            return Err(Error::wrong_engine("module"));
        }
        if store.vm().poisoned {
            return Err(Error::new(ErrorKind::Poisoned));
        }
        let code = module.code();
        // SAFETY: the offsets were computed from this module; its types come from the registry of the
        // engine that both share; the code entries are those of the interpreter, which runs all
        // guests, and live as long as the engine data that is given here.
        let id = unsafe {
            store.vm_mut().allocate_instance(
                module.info().clone(),
                module.offsets().clone(),
                values,
                code.clone(),
                &mut |defined| code.code_entry(defined),
            )
        }
        .map_err(|error| match store.vm_mut().pending_error.take() {
            Some(pending) => Error::from_pending(pending),
            None => instantiate_error(module, error),
        })?;
        store.add_module(id, module)?;
        Ok(Self { store: store.id, id })
    }

    pub(crate) fn from_id(store: &StoreOpaque, id: InstanceId) -> Self {
        Self { store: store.id, id }
    }

    fn id(self, store: &StoreOpaque) -> Result<InstanceId> {
        store.id.check(self.store, "instance")?;
        Ok(self.id)
    }

    /// The module that it was made of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn module(&self, store: impl AsContext) -> Result<Module> {
        let store = store.as_context();
        let id = self.id(store.opaque())?;
        store
            .opaque()
            .module_of(id)
            .cloned()
            .ok_or_else(|| Error::internal("a store does not know the module of an instance"))
    }

    /// Its exports, in order. Empty if the instance belongs to another store.
    pub fn exports(&self, store: impl AsContext) -> std::vec::IntoIter<Export> {
        let store = store.as_context();
        let opaque = store.opaque();
        let mut exports = Vec::new();
        if let (Ok(id), Some(module)) = (self.id(opaque), opaque.module_of(self.id)) {
            for export in &module.info().exports {
                if let Some(value) = opaque.vm().export_at(id, export.index) {
                    let value = Extern::from_vm(opaque, value);
                    exports.push(Export::new(export.name.to_string(), value));
                }
            }
        }
        exports.into_iter()
    }

    /// An export; `None` if there is none of this name, or if the instance belongs to another
    /// store.
    pub fn get_export(&self, store: impl AsContext, name: &str) -> Option<Extern> {
        let store = store.as_context();
        let opaque = store.opaque();
        let id = self.id(opaque).ok()?;
        Some(Extern::from_vm(opaque, opaque.vm().export(id, name)?))
    }

    /// An exported function.
    pub fn get_func(&self, store: impl AsContext, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// An exported function whose types the compiler knows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such function, [`ErrorKind::Type`] if it has another
    /// type; [`ErrorKind::WrongStore`].
    pub fn get_typed_func<P: WasmParams, R: WasmResults>(
        &self,
        store: impl AsContext,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let store = store.as_context();
        self.id(store.opaque())?;
        let shown = palisade_module::error::escape_name(name);
        match self.get_export(store, name) {
            Some(Extern::Func(func)) => {
                func.typed(store).map_err(|error| error.context(format_args!("export `{shown}`")))
            }
            Some(other) => Err(Error::type_mismatch(format!(
                "export `{shown}`: expected a function, found a {}",
                other.kind()
            ))),
            None => Err(Error::not_found(format!(
                "expected a function exported as `{shown}`, found no export of that name"
            ))),
        }
    }

    /// An exported memory. `None` for one that is shared between threads, too: see
    /// [`Instance::get_shared_memory`].
    pub fn get_memory(&self, store: impl AsContext, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// An exported memory that is shared between threads.
    pub fn get_shared_memory(&self, store: impl AsContext, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// An exported table.
    pub fn get_table(&self, store: impl AsContext, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// An exported global.
    pub fn get_global(&self, store: impl AsContext, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// An exported tag.
    pub fn get_tag(&self, store: impl AsContext, name: &str) -> Option<Tag> {
        self.get_export(store, name)?.into_tag()
    }
}

fn instantiate_error(module: &Module, error: InstantiateError) -> Error {
    match error {
        InstantiateError::Import { index, mismatch } => {
            let import = module.info().imports.get(index);
            Error::new(ErrorKind::Link(LinkError::Mismatch {
                module: import.map_or_else(String::new, |import| import.module.to_string()),
                name: import.map_or_else(String::new, |import| import.name.to_string()),
                expected: mismatch.expected,
                found: mismatch.found,
            }))
        }
        InstantiateError::Vm(error) => vm_error(error),
        InstantiateError::ImportCount { expected, found } => {
            Error::new(ErrorKind::Link(LinkError::Count { expected, found }))
        }
        InstantiateError::Trap(code) => Error::trap(code),
        error => Error::internal(error.to_string()),
    }
}

/// What a [`Linker`](crate::Linker) found for one import.
#[derive(Clone)]
pub(crate) enum Definition {
    /// An object of a store.
    Extern(Extern),
    /// A host function, for any store with the linker's type of data.
    Host(Arc<HostDef>),
}

impl Definition {
    pub(crate) fn value(&self, store: &mut StoreOpaque) -> Result<Extern> {
        match self {
            Self::Extern(value) => {
                value.check(store)?;
                Ok(value.clone())
            }
            Self::Host(def) => Ok(Extern::Func(store.host_func(def)?)),
        }
    }
}

/// A module whose imports have been looked up: makes many instances without looking again.
pub struct InstancePre<T: 'static> {
    module: Module,
    definitions: Arc<[Definition]>,
    _data: std::marker::PhantomData<fn(T)>,
}

impl<T: 'static> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        Self {
            module: self.module.clone(),
            definitions: self.definitions.clone(),
            _data: std::marker::PhantomData,
        }
    }
}

impl<T: 'static> InstancePre<T> {
    pub(crate) fn new(module: &Module, definitions: Vec<Definition>) -> Self {
        Self {
            module: module.clone(),
            definitions: definitions.into(),
            _data: std::marker::PhantomData,
        }
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Makes an instance. See [`Instance::new`].
    ///
    /// # Errors
    ///
    /// As [`Instance::new`].
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        if !self.module.engine().same(&opaque.engine) {
            return Err(Error::wrong_engine("module"));
        }
        let mut values = Vec::with_capacity(self.definitions.len());
        for definition in &*self.definitions {
            values.push(definition.value(opaque)?);
        }
        Instance::new(store, &self.module, &values)
    }
}

impl<T: 'static> std::fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstancePre").field("module", &self.module).finish_non_exhaustive()
    }
}

/// The type of an import in words, as messages show it.
pub(crate) fn describe_import(module: &Module, import: &palisade_module::Import) -> String {
    describe_extern_type(module.engine().types(), &import.ty)
}
