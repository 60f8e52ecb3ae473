//! [`Func`]: a function of a guest or of the host, and the one place where guests are entered.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use palisade_core as core;
use palisade_core::{TrapCode, TypeId};
use palisade_vm::layout::{Cell, VmFuncRef};

use crate::caller::Caller;
use crate::context::{AsContext, AsContextMut};
use crate::error::{Error, ErrorKind, Result};
use crate::func_type::{FuncType, core_of_id};
use crate::host::{HostDef, IntoFunc};
use crate::store::{StoreId, StoreOpaque};
use crate::tier::drive;
use crate::trap::{FrameInfo, WasmBacktrace};
use crate::typed::{TypedFunc, WasmParams, WasmResults};
use crate::val::{Val, cells_of, cells_of_all};

/// A function of a store. A handle: copying it copies no function.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Func {
    store: StoreId,
    /// Valid as long as the store lives, and only followed after `store` was compared.
    raw: NonNull<VmFuncRef>,
}

// SAFETY: the pointer is only followed with the store at hand, by whoever has the store.
unsafe impl Send for Func {}
// SAFETY: as above.
unsafe impl Sync for Func {}

impl Func {
    /// Makes a host function of a closure that takes and returns WebAssembly values, with or without
    /// a [`Caller`] in front. See [`IntoFunc`]. Its type is a [`FuncType::new`].
    ///
    /// # Errors
    ///
    /// The engine has no more room for types.
    pub fn wrap<T: 'static, Params, Results>(
        mut store: impl AsContextMut<Data = T>,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let def = func.into_def(store.engine())?;
        store.opaque_mut().host_func(&def.into_inner())
    }

    /// Makes a host function of a type that is only known while running. For an import whose type is open,
    /// has a supertype or belongs to a recursive group, give the import's own type.
    ///
    /// The closure gets its arguments, and a slice to put its results into; a result of the wrong
    /// type ends the guest with an error.
    ///
    /// # Errors
    ///
    /// The type belongs to another engine, or the engine has no more room for types.
    pub fn new<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let def = HostDef::dynamic(store.engine(), ty, func)?;
        store.opaque_mut().host_func(&def.into_inner())
    }

    /// # Safety
    ///
    /// `raw` is a function of the store `store`.
    pub(crate) unsafe fn from_raw(store: StoreId, raw: *mut VmFuncRef) -> Self {
        // SAFETY: the caller gives a pointer to a function, which is not null.
        Self { store, raw: unsafe { NonNull::new_unchecked(raw) } }
    }

    /// # Safety
    ///
    /// `raw` is null or a function of the store `store`.
    pub(crate) unsafe fn from_nullable(store: StoreId, raw: *mut VmFuncRef) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { store, raw })
    }

    pub(crate) fn raw(self) -> *mut VmFuncRef {
        self.raw.as_ptr()
    }

    #[inline]
    pub(crate) fn check(self, store: StoreId) -> Result<()> {
        store.check(self.store, "function")
    }

    pub(crate) fn canonical_type(self, store: &StoreOpaque) -> Result<TypeId> {
        self.check(store.id)?;
        // SAFETY: the function belongs to this store, which is alive.
        Ok(unsafe { (*self.raw.as_ptr()).type_id })
    }

    /// The type of the function.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<FuncType> {
        let store = store.as_context();
        let id = self.canonical_type(store.opaque())?;
        FuncType::of_id(store.engine(), id)
    }

    /// The function as one whose types the compiler knows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type) if its type is another, [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn typed<P: WasmParams, R: WasmResults>(
        &self,
        store: impl AsContext,
    ) -> Result<TypedFunc<P, R>> {
        TypedFunc::new(*self, &self.ty(store)?)
    }

    /// Calls the function. `results` must be as long as there are results; what stands in it before
    /// does not matter.
    ///
    /// # Errors
    ///
    /// The guest's trap or the host function's error; [`ErrorKind::Type`](crate::ErrorKind::Type) if the number or the types
    /// of `params` are wrong; [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore) if the function or an argument belongs to
    /// another store.
    pub fn call(
        &self,
        mut store: impl AsContextMut,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque();
        let id = self.canonical_type(opaque)?;
        let ty = core_of_id(&opaque.engine, id)?;
        check_counts(&ty, params.len(), results.len())?;
        let mut buffer = CellBuffer::new(cells_of_all(&ty.params).max(cells_of_all(&ty.results)));
        write_values(opaque, &ty.params, params, buffer.cells(), "argument")?;
        let raw_opaque = store.raw_opaque();
        // SAFETY: the function is of this store, the cells hold arguments of its type and have room
        // for its results, and the view is held exclusively by this call.
        unsafe { invoke(raw_opaque, self.raw(), buffer.cells().as_mut_ptr())? };
        // SAFETY: the call left results of the function's type.
        unsafe { read_values(store.opaque_mut(), &ty.results, buffer.cells(), results) }
    }
}

fn check_counts(ty: &core::FuncType, params: usize, results: usize) -> Result<()> {
    if params != ty.params.len() {
        return Err(Error::type_mismatch(format!(
            "expected {} arguments, found {params}",
            ty.params.len()
        )));
    }
    if results != ty.results.len() {
        return Err(Error::type_mismatch(format!(
            "the function returns {} values, but there is room for {results}",
            ty.results.len()
        )));
    }
    Ok(())
}

/// Cells for the arguments and results of one call, without an allocation for few of them.
pub(crate) struct CellBuffer {
    few: [Cell; Self::FEW],
    many: Vec<Cell>,
}

impl CellBuffer {
    const FEW: usize = 16;

    pub(crate) fn new(cells: usize) -> Self {
        // At most 1,000 parameters and results: validation sees to it.
        let many = if cells > Self::FEW { vec![0; cells] } else { Vec::new() };
        Self { few: [0; Self::FEW], many }
    }

    pub(crate) fn cells(&mut self) -> &mut [Cell] {
        if self.many.is_empty() { &mut self.few } else { &mut self.many }
    }
}

/// Checks values against their types and writes them as cells. As many values as types; enough
/// cells.
pub(crate) fn write_values(
    store: &StoreOpaque,
    types: &[core::ValType],
    values: &[Val],
    mut cells: &mut [Cell],
    what: &str,
) -> Result<()> {
    for (i, (&ty, &value)) in types.iter().zip(values).enumerate() {
        let both = value.to_cells(store, ty, || format!("{what} {i}"))?;
        let taken = cells_of(ty);
        match cells.split_at_mut_checked(taken) {
            Some((here, rest)) => {
                here.copy_from_slice(&both[..taken]);
                cells = rest;
            }
            None => return Err(Error::internal("too few cells for a call")),
        }
    }
    Ok(())
}

/// Reads values from cells.
///
/// # Safety
///
/// The cells hold values of these types of this store, valid now.
pub(crate) unsafe fn read_values(
    store: &mut StoreOpaque,
    types: &[core::ValType],
    cells: &[Cell],
    values: &mut [Val],
) -> Result<()> {
    let mut at = 0;
    for (&ty, value) in types.iter().zip(values) {
        let here = cells.get(at..at + cells_of(ty));
        let here = here.ok_or_else(|| Error::internal("too few cells for a call"))?;
        // SAFETY: the caller vouches for the cells; there are as many as the type takes.
        *value = unsafe { Val::from_cells(store, ty, here.as_ptr())? };
        at += cells_of(ty);
    }
    Ok(())
}

/// Calls any function: every entry into a guest goes through here.
///
/// # Safety
///
/// `store` points to a live store that the caller may use exclusively, and no Rust reference into
/// it is alive. `func` is a function of that store. `cells` holds arguments of the function's type,
/// which belong to the store, and has room for its results.
pub(crate) unsafe fn invoke(
    store: NonNull<StoreOpaque>,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<()> {
    let store = store.as_ptr();
    // SAFETY: the store is alive, and the reference is gone before the guest is entered.
    let entry = unsafe { (*store).begin_entry()? };
    // SAFETY: as above.
    let vm = unsafe { (*store).vm_ptr() };
    // SAFETY: the caller's contract is that of `call`.
    let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { drive(vm.as_ptr(), func, cells) }));
    match outcome {
        Ok(Ok(())) => Ok(()),
        // SAFETY: the guest has been left; nobody else uses the store.
        Ok(Err(code)) => Err(trap_error(unsafe { &mut *store }, code)),
        Err(payload) => {
            // SAFETY: as above.
            unsafe { (*store).abandon_entry(entry) };
            Err(Error::internal(panic_message(payload)))
        }
    }
}

/// Makes an error of what an engine reports.
#[cold]
fn trap_error(store: &mut StoreOpaque, code: TrapCode) -> Error {
    let exception = store.take_exception();
    let pending = store.vm_mut().pending_error.take();
    let (frames, omitted) = store.vm_mut().trace.take();
    let mut error = match (code, pending, exception) {
        (TrapCode::UncaughtException, _, Some(error)) => error,
        (TrapCode::Internal, Some(error), _) => Error::from_pending(error),
        (TrapCode::Internal, None, _) => Error::internal("an engine gave no reason"),
        (code, ..) => Error::trap(code),
    };
    error.add_refusal(match error.kind() {
        ErrorKind::Trap(code) => store.refusal_of(*code),
        _ => None,
    });
    let frames = frames
        .into_iter()
        .map(|frame| FrameInfo::new(frame.module, frame.func, frame.offset, frame.values));
    error.extend_backtrace(WasmBacktrace::new(frames.collect(), omitted));
    error
}

/// The message of a panic. A payload whose destructor panics, too, does no harm.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    };
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(thrown);
    }
    text
}
