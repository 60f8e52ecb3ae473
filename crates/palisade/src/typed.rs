//! Calls whose types are known to the compiler: [`WasmTy`], and [`TypedFunc`] on top of it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use palisade_vm::layout::{Cell, VmFuncRef, VmRef};

use crate::context::AsContextMut;
use crate::error::{Error, Result};
use crate::func::{self, Func};
use crate::refs::{AnyRef, ExternRef};
use crate::store::StoreId;
use crate::types::{FuncType, HeapType, RefType, ValType};
use crate::val::V128;

/// The most values of one tuple, times the most cells of one value.
const MAX_CELLS: usize = 32;

/// A Rust type that is a WebAssembly type too.
///
/// # Safety
///
/// Implemented here for all types that there are. `CELLS`, `read` and `write` agree with
/// `valtype`.
pub unsafe trait WasmTy: Send + Sized {
    /// How many cells a value takes.
    #[doc(hidden)]
    const CELLS: usize;

    /// The type.
    fn valtype() -> ValType;

    /// Whether the value may be used in a store.
    #[doc(hidden)]
    fn check(&self, store: StoreId) -> Result<()>;

    /// # Safety
    ///
    /// The cells hold a value of this type of the store `store`.
    #[doc(hidden)]
    unsafe fn read(store: StoreId, cells: *const Cell) -> Self;

    /// # Safety
    ///
    /// The cells may be written to.
    #[doc(hidden)]
    unsafe fn write(self, cells: *mut Cell);
}

macro_rules! numbers {
    ($($ty:ty: $valtype:ident, $cell:ident => $read:expr, $value:ident => $write:expr;)*) => {$(
        // SAFETY: one cell, whose low bits are the number.
        unsafe impl WasmTy for $ty {
            const CELLS: usize = 1;

            fn valtype() -> ValType {
                ValType::$valtype
            }

            #[inline(always)]
            fn check(&self, _: StoreId) -> Result<()> {
                Ok(())
            }

            #[inline(always)]
            unsafe fn read(_: StoreId, cells: *const Cell) -> Self {
                // SAFETY: the caller gives one cell that holds a number of this type.
                let $cell = unsafe { cells.read() };
                $read
            }

            #[inline(always)]
            unsafe fn write(self, cells: *mut Cell) {
                let $value = self;
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write($write) }
            }
        }
    )*};
}

numbers! {
    i32: I32, cell => cell as i32, value => value as u32 as Cell;
    u32: I32, cell => cell as u32, value => value as Cell;
    i64: I64, cell => cell as i64, value => value as Cell;
    u64: I64, cell => cell, value => value;
    f32: F32, cell => f32::from_bits(cell as u32), value => value.to_bits() as Cell;
    f64: F64, cell => f64::from_bits(cell), value => value.to_bits();
}

// SAFETY: two cells, the low half first.
unsafe impl WasmTy for V128 {
    const CELLS: usize = 2;

    fn valtype() -> ValType {
        ValType::V128
    }

    fn check(&self, _: StoreId) -> Result<()> {
        Ok(())
    }

    unsafe fn read(_: StoreId, cells: *const Cell) -> Self {
        // SAFETY: the caller gives two cells that hold a vector.
        let (low, high) = unsafe { (cells.read(), cells.add(1).read()) };
        Self::from(u128::from(low) | u128::from(high) << 64)
    }

    unsafe fn write(self, cells: *mut Cell) {
        let bits = self.as_u128();
        // SAFETY: the caller gives two cells that may be written to.
        unsafe {
            cells.write(bits as Cell);
            cells.add(1).write((bits >> 64) as Cell);
        }
    }
}

// SAFETY: one cell, a pointer to a function of the store or null.
unsafe impl WasmTy for Option<Func> {
    const CELLS: usize = 1;

    fn valtype() -> ValType {
        ValType::FUNCREF
    }

    fn check(&self, store: StoreId) -> Result<()> {
        self.map_or(Ok(()), |func| func.check(store))
    }

    unsafe fn read(store: StoreId, cells: *const Cell) -> Self {
        // SAFETY: the caller gives one cell that holds a function of this store or null.
        unsafe { Func::from_nullable(store, cells.read() as usize as *mut VmFuncRef) }
    }

    unsafe fn write(self, cells: *mut Cell) {
        let raw = self.map_or(0, |func| func.raw() as usize as Cell);
        // SAFETY: the caller gives one cell that may be written to.
        unsafe { cells.write(raw) }
    }
}

// SAFETY: as for `Option<Func>`, without null.
unsafe impl WasmTy for Func {
    const CELLS: usize = 1;

    fn valtype() -> ValType {
        ValType::Ref(RefType::new(false, HeapType::Func))
    }

    fn check(&self, store: StoreId) -> Result<()> {
        (*self).check(store)
    }

    unsafe fn read(store: StoreId, cells: *const Cell) -> Self {
        // SAFETY: the caller gives one cell that holds a function of this store.
        unsafe { Func::from_raw(store, cells.read() as usize as *mut VmFuncRef) }
    }

    unsafe fn write(self, cells: *mut Cell) {
        // SAFETY: the caller gives one cell that may be written to.
        unsafe { WasmTy::write(Some(self), cells) }
    }
}

macro_rules! references {
    ($($ty:ident: $heap:ident;)*) => {$(
        // SAFETY: one cell, whose low 32 bits are the reference or null.
        unsafe impl WasmTy for Option<$ty> {
            const CELLS: usize = 1;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(true, HeapType::$heap))
            }

            fn check(&self, store: StoreId) -> Result<()> {
                self.map_or(Ok(()), |value| value.check(store))
            }

            unsafe fn read(store: StoreId, cells: *const Cell) -> Self {
                // SAFETY: the caller gives one cell that holds a reference of this family.
                let raw = VmRef(unsafe { cells.read() } as u32);
                (!raw.is_null()).then(|| $ty::from_raw(store, raw))
            }

            unsafe fn write(self, cells: *mut Cell) {
                let raw = self.map_or(VmRef::NULL, $ty::raw);
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write(raw.0.into()) }
            }
        }

        // SAFETY: one cell, whose low 32 bits are the reference.
        unsafe impl WasmTy for $ty {
            const CELLS: usize = 1;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(false, HeapType::$heap))
            }

            fn check(&self, store: StoreId) -> Result<()> {
                (*self).check(store)
            }

            unsafe fn read(store: StoreId, cells: *const Cell) -> Self {
                // SAFETY: the caller gives one cell that holds a reference of this family.
                $ty::from_raw(store, VmRef(unsafe { cells.read() } as u32))
            }

            unsafe fn write(self, cells: *mut Cell) {
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write(self.raw().0.into()) }
            }
        }
    )*};
}

references! {
    ExternRef: Extern;
    AnyRef: Any;
}

/// A list of parameters: a [`WasmTy`], or a tuple of up to 16 of them.
///
/// # Safety
///
/// Implemented here for all types that there are. `read` and `write` touch the cells of `types`,
/// which are at most 32.
pub unsafe trait WasmParams: Send + Sized {
    /// The types, in order.
    fn types() -> Vec<ValType>;

    /// Whether the values may be used in a store.
    #[doc(hidden)]
    fn check(&self, store: StoreId) -> Result<()>;

    /// # Safety
    ///
    /// The cells hold values of these types of the store `store`.
    #[doc(hidden)]
    unsafe fn read(store: StoreId, cells: *const Cell) -> Self;

    /// # Safety
    ///
    /// The cells may be written to.
    #[doc(hidden)]
    unsafe fn write(self, cells: *mut Cell);
}

/// A list of results: a [`WasmTy`], or a tuple of up to 16 of them.
///
/// # Safety
///
/// As [`WasmParams`].
pub unsafe trait WasmResults: WasmParams {}

// SAFETY: nothing is added.
unsafe impl<P: WasmParams> WasmResults for P {}

// SAFETY: one value, of at most two cells.
unsafe impl<A: WasmTy> WasmParams for A {
    fn types() -> Vec<ValType> {
        vec![A::valtype()]
    }

    #[inline(always)]
    fn check(&self, store: StoreId) -> Result<()> {
        WasmTy::check(self, store)
    }

    #[inline(always)]
    unsafe fn read(store: StoreId, cells: *const Cell) -> Self {
        // SAFETY: the same contract.
        unsafe { <A as WasmTy>::read(store, cells) }
    }

    #[inline(always)]
    unsafe fn write(self, cells: *mut Cell) {
        // SAFETY: the same contract.
        unsafe { WasmTy::write(self, cells) }
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        // SAFETY: the values one after the other; at most 16 of at most two cells each.
        unsafe impl<$($name: WasmTy),*> WasmParams for ($($name,)*) {
            fn types() -> Vec<ValType> {
                vec![$($name::valtype()),*]
            }

            #[inline(always)]
            #[allow(non_snake_case, reason = "the type parameters name the values too")]
            fn check(&self, _store: StoreId) -> Result<()> {
                let ($($name,)*) = self;
                $(WasmTy::check($name, _store)?;)*
                Ok(())
            }

            #[inline(always)]
            #[allow(unused, clippy::unused_unit, reason = "for the empty tuple")]
            unsafe fn read(store: StoreId, mut cells: *const Cell) -> Self {
                // SAFETY: the caller gives cells for all values.
                unsafe {
                    ($({
                        let value = <$name as WasmTy>::read(store, cells);
                        cells = cells.add($name::CELLS);
                        value
                    },)*)
                }
            }

            #[inline(always)]
            #[allow(non_snake_case, unused, reason = "as above, and for the empty tuple")]
            unsafe fn write(self, mut cells: *mut Cell) {
                let ($($name,)*) = self;
                // SAFETY: the caller gives cells for all values.
                unsafe {
                    $(
                        WasmTy::write($name, cells);
                        cells = cells.add($name::CELLS);
                    )*
                }
            }
        }
    };
}

/// Calls a macro with no name, one name, … 16 names.
macro_rules! for_each_arity {
    ($mac:ident) => {
        for_each_arity!(@ $mac [] A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
    };
    (@ $mac:ident [$($done:ident)*]) => { $mac!($($done)*); };
    (@ $mac:ident [$($done:ident)*] $next:ident $($rest:ident)*) => {
        $mac!($($done)*);
        for_each_arity!(@ $mac [$($done)* $next] $($rest)*);
    };
}

pub(crate) use for_each_arity;

for_each_arity!(tuples);

/// A function whose types were compared with `P` and `R` once, so that calls need no more checks.
pub struct TypedFunc<P, R> {
    func: Func,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> std::fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}

impl<P: WasmParams, R: WasmResults> TypedFunc<P, R> {
    /// Compares the types.
    pub(crate) fn new(func: Func, ty: &FuncType) -> Result<Self> {
        let all = |found: &[ValType], expected: &[ValType]| {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| found.matches(expected))
        };
        if all(&P::types(), ty.params()) && all(ty.results(), &R::types()) {
            Ok(Self { func, types: PhantomData })
        } else {
            let expected = FuncType::new(P::types(), R::types());
            Err(Error::type_mismatch(format!(
                "expected a function of type {expected}, found one of type {ty}"
            )))
        }
    }

    /// The function without its types.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Calls the function.
    ///
    /// # Errors
    ///
    /// The guest's trap or the host function's error; [`ErrorKind::WrongStore`] if the function or
    /// an argument belongs to another store.
    ///
    /// [`ErrorKind::WrongStore`]: crate::ErrorKind::WrongStore
    pub fn call(&self, mut store: impl AsContextMut, params: P) -> Result<R> {
        let store = store.as_context_mut();
        let id = store.opaque().id;
        self.func.check(id)?;
        params.check(id)?;
        let opaque = store.raw_opaque();
        let mut cells = [const { MaybeUninit::<Cell>::uninit() }; MAX_CELLS];
        let cells = cells.as_mut_ptr().cast::<Cell>();
        // SAFETY: parameters and results have at most `MAX_CELLS` cells each. The function is of
        // this store, its types were compared when `self` was made, and the view is held exclusively
        // by this call.
        unsafe {
            params.write(cells);
            func::invoke(opaque, self.func.raw(), cells)?;
            Ok(R::read(id, cells))
        }
    }
}
