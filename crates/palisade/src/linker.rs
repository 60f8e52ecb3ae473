//! [`Linker`]: what guests may import, by name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use palisade_module::error::escape_name;

use crate::caller::Caller;
use crate::context::{AsContext, AsContextMut};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, LinkError, Result};
use crate::externals::Extern;
use crate::func::Func;
use crate::func_type::FuncType;
use crate::host::{HostDef, IntoFunc};
use crate::instance::{Definition, Instance, InstancePre, describe_import};
use crate::module::Module;
use crate::types::ExternType;
use crate::val::Val;

/// Names, and what guests get when they import them.
///
/// Host functions in a linker belong to no store: one linker serves many stores with data of type
/// `T`. Objects defined by [`Linker::define`] belong to theirs.
pub struct Linker<T: 'static> {
    engine: Engine,
    definitions: HashMap<Box<str>, HashMap<Box<str>, Definition>>,
    allow_shadowing: bool,
    _data: PhantomData<fn(T)>,
}

impl<T: 'static> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            definitions: self.definitions.clone(),
            allow_shadowing: self.allow_shadowing,
            _data: PhantomData,
        }
    }
}

impl<T: 'static> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.definitions.values().map(HashMap::len).sum();
        f.debug_struct("Linker").field("definitions", &count).finish_non_exhaustive()
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without definitions.
    pub fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            definitions: HashMap::new(),
            allow_shadowing: false,
            _data: PhantomData,
        }
    }

    /// The engine that it was made with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a name may be defined again, which replaces what it meant. Off by default.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.allow_shadowing = allow;
        self
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> Result<&mut Self> {
        if !self.definitions.contains_key(module) {
            self.definitions.insert(module.into(), HashMap::new());
        }
        let names = self.definitions.entry(module.into()).or_default();
        match names.entry(name.into()) {
            Entry::Occupied(_) if !self.allow_shadowing => {
                return Err(Error::new(ErrorKind::Link(LinkError::Duplicate {
                    module: module.to_owned(),
                    name: name.to_owned(),
                })));
            }
            Entry::Occupied(mut entry) => {
                entry.insert(definition);
            }
            Entry::Vacant(entry) => {
                entry.insert(definition);
            }
        }
        Ok(self)
    }

    fn find(&self, module: &str, name: &str) -> Option<&Definition> {
        self.definitions.get(module)?.get(name)
    }

    /// Defines an object of a store, or a shared memory, which all stores of the engine can use.
    ///
    /// # Errors
    ///
    /// The name is defined already; [`ErrorKind::WrongStore`], [`ErrorKind::WrongEngine`].
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        let item = item.into();
        let store = store.as_context();
        if !store.engine().same(&self.engine) {
            return Err(Error::wrong_engine("store"));
        }
        item.check(store.opaque())?;
        self.insert(module, name, Definition::Extern(item))
    }

    /// Defines a host function, from a closure that takes and returns WebAssembly values, with or
    /// without a [`Caller`] in front. See [`IntoFunc`].
    ///
    /// # Errors
    ///
    /// The name is defined already.
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Result<&mut Self> {
        let def = func.into_def(&self.engine)?;
        self.insert(module, name, Definition::Host(def.into_inner()))
    }

    /// Defines a host function of a type that is only known while running. See [`Func::new`].
    ///
    /// # Errors
    ///
    /// The name is defined already; [`ErrorKind::WrongEngine`].
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let def = HostDef::dynamic(&self.engine, ty, func)?;
        self.insert(module, name, Definition::Host(def.into_inner()))
    }

    /// Defines all exports of an instance under a first name.
    ///
    /// # Errors
    ///
    /// A name is defined already; [`ErrorKind::WrongStore`].
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        let store = store.as_context_mut();
        instance.module(&store)?;
        for export in instance.exports(&store) {
            let name = export.name().to_owned();
            self.define(&store, module, &name, export.into_extern())?;
        }
        Ok(self)
    }

    /// Instantiates a module and defines its exports under a first name.
    ///
    /// A module that exports `_start` is a *command*: each call of one of its functions gets a fresh
    /// instance. All others are *reactors*: there is one instance, whose `_initialize` is called
    /// first if there is one.
    ///
    /// # Errors
    ///
    /// A name is defined already; everything that [`Linker::instantiate`] can say.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self> {
        let mut store = store.as_context_mut();
        if matches!(module.get_export("_start"), Some(ExternType::Func(_))) {
            return self.command(module_name, module);
        }
        let instance = self.instantiate(&mut store, module)?;
        if let Some(initialize) = instance.get_func(&store, "_initialize") {
            initialize.typed::<(), ()>(&store)?.call(&mut store, ())?;
        }
        self.instance(store, module_name, instance)
    }

    fn command(&mut self, module_name: &str, module: &Module) -> Result<&mut Self> {
        let pre = self.instantiate_pre(module)?;
        for export in module.exports() {
            let ExternType::Func(ty) = export.ty() else { continue };
            let (pre, name) = (pre.clone(), export.name().to_owned());
            self.func_new(module_name, export.name(), ty.clone(), move |mut caller, args, out| {
                let instance = pre.instantiate(&mut caller)?;
                let func = instance
                    .get_func(&caller, &name)
                    .ok_or_else(|| Error::internal("a command lost an export"))?;
                func.call(&mut caller, args, out)
            })?;
        }
        // What `get_default` looks for.
        if self.find(module_name, "").is_none()
            && let Some(start) = self.find(module_name, "_start").cloned()
        {
            self.insert(module_name, "", start)?;
        }
        Ok(self)
    }

    /// Gives a definition a second name.
    ///
    /// # Errors
    ///
    /// The first name is not defined, or the second one is.
    pub fn alias(
        &mut self,
        module: &str,
        name: &str,
        as_module: &str,
        as_name: &str,
    ) -> Result<&mut Self> {
        let definition = self.find(module, name).cloned().ok_or_else(|| {
            Error::not_found(format!(
                "cannot make an alias of `{}::{}`: it has not been defined",
                escape_name(module),
                escape_name(name)
            ))
        })?;
        self.insert(as_module, as_name, definition)
    }

    /// Gives all definitions under a first name a second one.
    ///
    /// # Errors
    ///
    /// Nothing is defined under the first name, or one of the new names is defined already.
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<&mut Self> {
        let Some(names) = self.definitions.get(module).cloned() else {
            return Err(Error::not_found(format!(
                "cannot make an alias of `{}`: nothing is defined under that name",
                escape_name(module)
            )));
        };
        for (name, definition) in names {
            self.insert(as_module, &name, definition)?;
        }
        Ok(self)
    }

    /// Defines each function that a module imports and that is not defined yet, as one that ends the
    /// guest with an error that names it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongEngine`].
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            let ExternType::Func(ty) = import.ty() else { continue };
            if self.find(import.module(), import.name()).is_some() {
                continue;
            }
            let error = LinkError::Missing {
                module: import.module().to_owned(),
                name: import.name().to_owned(),
                expected: format!("function {ty}"),
            };
            self.func_new(import.module(), import.name(), ty.clone(), move |_, _, _| {
                Err(Error::new(ErrorKind::Link(error.clone())))
            })?;
        }
        Ok(())
    }

    /// Looks up the imports of a module, to instantiate it many times.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Link`], naming the first import that is not defined; [`ErrorKind::WrongEngine`].
    pub fn instantiate_pre(&self, module: &Module) -> Result<InstancePre<T>> {
        if !module.engine().same(&self.engine) {
            return Err(Error::wrong_engine("module"));
        }
        let mut found = Vec::with_capacity(module.info().imports.len());
        for import in &module.info().imports {
            match self.find(&import.module, &import.name) {
                Some(definition) => found.push(definition.clone()),
                None => {
                    return Err(Error::new(ErrorKind::Link(LinkError::Missing {
                        module: import.module.to_string(),
                        name: import.name.to_string(),
                        expected: describe_import(module, import),
                    })));
                }
            }
        }
        Ok(InstancePre::new(module, found))
    }

    /// Looks up the imports of a module and instantiates it. See [`Instance::new`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Link`], naming the import that is not defined or has another type; everything
    /// that [`Instance::new`] can say.
    pub fn instantiate(
        &self,
        store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        self.instantiate_pre(module)?.instantiate(store)
    }

    /// What a name means in a store; `None` if it is not defined, or belongs to another store.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: &str,
    ) -> Option<Extern> {
        let mut store = store.as_context_mut();
        self.find(module, name)?.value(store.opaque_mut()).ok()
    }

    /// All names with what they mean in a store, in no particular order. What belongs to another
    /// store is left out.
    pub fn iter(&self, mut store: impl AsContextMut<Data = T>) -> Vec<(String, String, Extern)> {
        let mut store = store.as_context_mut();
        let mut all = Vec::new();
        for (module, names) in &self.definitions {
            for (name, definition) in names {
                if let Ok(value) = definition.value(store.opaque_mut()) {
                    all.push((module.to_string(), name.to_string(), value));
                }
            }
        }
        all
    }

    /// The function to run for a first name: the one with an empty second name, or `_start`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is neither.
    pub fn get_default(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        for name in ["", "_start"] {
            if let Some(Extern::Func(func)) = self.get(&mut store, module, name) {
                return Ok(func);
            }
        }
        Err(Error::not_found(format!(
            "nothing under the name `{}` can be run: it has neither a default function nor `_start`",
            escape_name(module)
        )))
    }
}
