//! Host functions: how a Rust closure becomes something that a guest can call.
//!
//! [`IntoFunc`] makes one function of machine code for each closure type (`HostCode` of the virtual
//! machine's layout), which reads its arguments from cells, calls the closure and writes its results
//! back: nothing is allocated, locked or looked up on the way. Panics stop here.

use std::any::Any;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use palisade_core as core;
use palisade_core::{TrapCode, TypeId};
use palisade_module::RegisteredTypes;
use palisade_vm::layout::{Cell, HostCode, HostFunc, VmCtx};
use palisade_vm::{StoreInner, contain_panics};

use crate::caller::Caller;
use crate::context::StoreContextMut;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::func::{read_values, write_values};
use crate::func_type::{FuncType, core_of_id};
use crate::store::StoreBox;
use crate::typed::{WasmParams, WasmResults, WasmTy, for_each_arity};
use crate::types::ValType;
use crate::val::{Val, cells_of_all};

/// A host function that belongs to no store yet. Made for stores whose data is one certain `T`,
/// which [`Linker`](crate::Linker) and [`Func`](crate::Func) see to.
pub(crate) struct HostDef {
    pub(crate) engine: Engine,
    type_id: TypeId,
    registered: RegisteredTypes,
    param_cells: u32,
    result_cells: u32,
    has_refs: bool,
    code: HostCode,
    /// What `code` expects to find: the closure.
    closure: Arc<dyn Any + Send + Sync>,
}

/// A [`HostDef`] that remembers the type of data that it was made for: what [`IntoFunc`] gives, so
/// that no implementation of it can pass a function off as one for other stores.
pub struct TypedDef<T> {
    def: HostDef,
    _data: PhantomData<fn(T)>,
}

impl<T: 'static> TypedDef<T> {
    fn new(def: HostDef) -> Self {
        Self { def, _data: PhantomData }
    }

    /// The definition, to be used with stores whose data is a `T`.
    pub(crate) fn into_inner(self) -> Arc<HostDef> {
        Arc::new(self.def)
    }
}

/// What a [`HostFunc`] holds as its data.
struct Closure {
    /// First, so that the fast path finds it with one addition.
    closure: Arc<dyn Any + Send + Sync>,
    _registered: RegisteredTypes,
}

impl HostDef {
    fn new(
        engine: &Engine,
        ty: &FuncType,
        code: HostCode,
        closure: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        let (type_id, registered) = ty.register(engine)?;
        let inner = core_of_id(engine, type_id)?;
        let is_ref = |ty: &core::ValType| {
            ty.class(|id| engine.types().is_func(id)) == core::types::ValClass::Ref
        };
        let has_refs = inner.params.iter().chain(&inner.results).any(is_ref);
        let param_cells = cells_of_all(&inner.params) as u32;
        let result_cells = cells_of_all(&inner.results) as u32;
        Ok(Self {
            engine: engine.clone(),
            type_id,
            registered,
            param_cells,
            result_cells,
            has_refs,
            code,
            closure,
        })
    }

    /// A host function whose types are only known while running.
    pub(crate) fn dynamic<T: 'static>(
        engine: &Engine,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<TypedDef<T>> {
        // A type without a null or zero has nothing to begin with: a wrong value that is refused if
        // it stays.
        let unset = |ty: &ValType| Val::default_for(ty).unwrap_or(Val::FuncRef(None));
        let closure: Arc<Dynamic<T>> = Arc::new(Dynamic {
            ty: ty.to_core(engine)?,
            unset: ty.results().iter().map(unset).collect(),
            func: Box::new(func),
        });
        Self::new(engine, &ty, dynamic_code::<T>, closure).map(TypedDef::new)
    }

    /// The function in the form in which a store keeps it.
    pub(crate) fn host_func(&self) -> HostFunc {
        HostFunc {
            code: self.code,
            param_cells: self.param_cells,
            result_cells: self.result_cells,
            type_id: self.type_id,
            has_refs: self.has_refs,
            store: std::ptr::null_mut(),
            data: Box::new(Closure {
                closure: self.closure.clone(),
                _registered: self.registered.clone(),
            }),
        }
    }
}

/// A closure that can become a host function.
///
/// Implemented for closures of up to 16 parameters that are each a [`WasmTy`], optionally with a
/// [`Caller`] in front, and that return a [`WasmRet`]. `Params` and `Results` only keep the
/// implementations apart.
pub trait IntoFunc<T: 'static, Params, Results>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_def(self, engine: &Engine) -> Result<TypedDef<T>>;
}

/// What the closure of a host function may return: nothing, a [`WasmTy`], a tuple of up to 16 of
/// them, or a [`Result`] of any of these.
pub trait WasmRet {
    /// The results without the error.
    #[doc(hidden)]
    type Results: WasmResults;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Results>;
}

impl<R: WasmResults> WasmRet for R {
    type Results = R;

    #[inline(always)]
    fn into_result(self) -> Result<R> {
        Ok(self)
    }
}

impl<R: WasmResults> WasmRet for Result<R> {
    type Results = R;

    #[inline(always)]
    fn into_result(self) -> Result<R> {
        self
    }
}

macro_rules! into_func {
    ($($name:ident)*) => {
        impl<T, F, R, $($name),*> IntoFunc<T, ($($name,)*), R> for F
        where
            T: 'static,
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
            $($name: WasmTy,)*
        {
            #[allow(non_snake_case, reason = "the type parameters name the values too")]
            fn into_def(self, engine: &Engine) -> Result<TypedDef<T>> {
                let with_caller = move |_: Caller<'_, T>, $($name: $name),*| self($($name),*);
                IntoFunc::<T, (Caller<'_, T>, $($name,)*), R>::into_def(with_caller, engine)
            }
        }

        impl<T, F, R, $($name),*> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for F
        where
            T: 'static,
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            R: WasmRet,
            $($name: WasmTy,)*
        {
            fn into_def(self, engine: &Engine) -> Result<TypedDef<T>> {
                /// # Safety
                ///
                /// As [`HostCode`] demands; the data of the host function is a [`Closure`] of an
                /// `F`, and the store's data is a `T`.
                #[allow(non_snake_case, unused, reason = "names of values; the empty list")]
                unsafe extern "C" fn code<T, F, R, $($name),*>(
                    host: *const HostFunc,
                    store: *mut StoreInner,
                    caller: *mut VmCtx,
                    cells: *mut Cell,
                ) -> u32
                where
                    T: 'static,
                    F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                    R: WasmRet,
                    $($name: WasmTy,)*
                {
                    // SAFETY: the caller keeps this function's contract, which includes those of the
                    // functions called; the cells hold arguments of the types that this function
                    // was registered with.
                    unsafe {
                        let func: &F = closure_of(host);
                        enter::<T, R::Results>(store, caller, cells, |mut caller| {
                            let opaque = caller.store_mut().opaque_mut();
                            let ($($name,)*) = <($($name,)*) as WasmParams>::read(opaque, cells)?;
                            func(caller, $($name),*).into_result()
                        })
                    }
                }

                let ty = FuncType::new(
                    <($($name,)*) as WasmParams>::types(),
                    <R::Results as WasmParams>::types(),
                );
                HostDef::new(engine, &ty, code::<T, F, R, $($name),*>, Arc::new(self))
                    .map(TypedDef::new)
            }
        }
    };
}

for_each_arity!(into_func);

/// The closure of a host function.
///
/// # Safety
///
/// `host` points to a live host function whose data is a [`Closure`] of an `F`.
#[inline(always)]
unsafe fn closure_of<'a, F>(host: *const HostFunc) -> &'a F {
    // SAFETY: the caller vouches for the types that the two `dyn Any` hide, and the host function
    // lives as long as its store.
    unsafe {
        let data: *const (dyn Any + Send + Sync) = &*(*host).data;
        let closure: *const (dyn Any + Send + Sync) =
            Arc::as_ptr(&(*data.cast::<Closure>()).closure);
        &*closure.cast::<F>()
    }
}

/// Runs the body of a host function, writes its results, and turns errors and panics into the
/// number that [`HostCode`] returns.
///
/// # Safety
///
/// As [`HostCode`] demands; the store's data is a `T`, and results of type `R` are what the host
/// function was registered with.
#[inline(always)]
unsafe fn enter<T: 'static, R: WasmResults>(
    store: *mut StoreInner,
    caller: *mut VmCtx,
    cells: *mut Cell,
    body: impl FnOnce(Caller<'_, T>) -> Result<R>,
) -> u32 {
    // SAFETY: the store keeps a pointer to the `StoreBox` around it, and the caller vouches for
    // its `T`. Whoever entered the guest holds the store exclusively and sleeps.
    let (raw, context) = unsafe {
        let raw: NonNull<StoreBox<T>> = StoreBox::from_vm(store);
        (raw, StoreContextMut::from_raw(raw))
    };
    // SAFETY: as above; the reference is gone before the closure can have another.
    let scope = unsafe { (*store).heap.roots.scope() };
    let body = || {
        let outcome = body(Caller::new(context, caller));
        // SAFETY: the closure has returned, and its view of the store is gone.
        let opaque = unsafe { &mut (*raw.as_ptr()).opaque };
        let written = match outcome {
            // SAFETY: as above.
            Ok(_) if unsafe { (*store).poisoned } => Err(Error::new(ErrorKind::Poisoned)),
            // SAFETY: the cells have room for the results.
            Ok(results) => unsafe { results.write(opaque, cells) },
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => 0,
            Err(error) => opaque.fail(error),
        }
    };
    // SAFETY: the store is ours again when the body has ended, and what the host function held ends with it.
    unsafe {
        let status = contain_panics(store, told, body);
        (*store).heap.roots.close(scope);
        status
    }
}

/// The error that a panic of a host function is.
fn told(message: String) -> Box<dyn std::error::Error + Send + Sync> {
    Error::new(ErrorKind::HostPanic(message)).into_pending()
}

impl crate::store::StoreOpaque {
    /// Leaves an error for whoever entered the guest, and gives the number to return.
    #[cold]
    fn fail(&mut self, error: Error) -> u32 {
        if let Some(code) = error.bare_trap() {
            return code as u32;
        }
        let code = self.raise(&error).unwrap_or(TrapCode::Internal as u32);
        self.vm_mut().pending_error = Some(error.into_pending());
        code
    }
}

/// Up to this many arguments and results of a host function whose types are only known while running
/// need no allocation.
const FEW: usize = 12;

/// The signature of a host function whose types are only known while running.
type DynamicFunc<T> = dyn Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync;

/// A host function whose types are only known while running.
struct Dynamic<T: 'static> {
    ty: core::FuncType,
    /// What stands in the results before the closure sets them.
    unset: Box<[Val]>,
    func: Box<DynamicFunc<T>>,
}

/// The code of every [`Dynamic`].
///
/// # Safety
///
/// As [`HostCode`] demands; the data of the host function is a [`Closure`] of a `Dynamic<T>`, and
/// the store's data is a `T`.
unsafe extern "C" fn dynamic_code<T: 'static>(
    host: *const HostFunc,
    store: *mut StoreInner,
    caller: *mut VmCtx,
    cells: *mut Cell,
) -> u32 {
    // SAFETY: the caller keeps the contract; the cells have room for what the host function says.
    unsafe {
        let dynamic: &Dynamic<T> = closure_of(host);
        let count = (*host).param_cells.max((*host).result_cells) as usize;
        let cells = if count == 0 { &mut [] } else { std::slice::from_raw_parts_mut(cells, count) };
        enter::<T, ()>(store, caller, std::ptr::null_mut(), |caller| dynamic.call(caller, cells))
    }
}

impl<T: 'static> Dynamic<T> {
    /// # Safety
    ///
    /// The cells hold arguments of this function's type of the caller's store, and have room for
    /// its results.
    unsafe fn call(&self, mut caller: Caller<'_, T>, cells: &mut [Cell]) -> Result<()> {
        let count = self.ty.params.len() + self.ty.results.len();
        let (mut few, mut many);
        let values: &mut [Val] = if count <= FEW {
            few = [Val::I32(0); FEW];
            &mut few[..count]
        } else {
            many = vec![Val::I32(0); count];
            &mut many
        };
        let (params, results) = values.split_at_mut(self.ty.params.len());
        // SAFETY: the caller vouches for the cells.
        unsafe { read_values(caller.store_mut().opaque_mut(), &self.ty.params, cells, params)? };
        results.copy_from_slice(&self.unset);
        let store = caller.store_mut().raw();
        (self.func)(caller, params, results)?;
        // SAFETY: the closure's view of the store is gone, and the store lives on.
        let opaque = unsafe { &(*store.as_ptr()).opaque };
        write_values(opaque, &self.ty.results, results, cells, "result of a host function:")
    }
}
