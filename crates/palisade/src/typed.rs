//! Calls whose types are known to the compiler: [`WasmTy`], and [`TypedFunc`] on top of it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use palisade_vm::layout::{Cell, VmFuncRef, VmRef};

use crate::arrayref::ArrayRef;
use crate::context::AsContextMut;
use crate::error::{Error, Result};
use crate::func::{self, Func};
use crate::func_type::FuncType;
use crate::handle::{self, GcRef, Handle};
use crate::refs::{AnyRef, EqRef, ExnRef, ExternRef, I31};
use crate::store::StoreOpaque;
use crate::structref::StructRef;
use crate::types::{HeapType, RefType, ValType};
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

    /// # Safety
    ///
    /// The cells hold a value of this type of the store, valid now.
    #[doc(hidden)]
    unsafe fn read(store: &mut StoreOpaque, cells: *const Cell) -> Result<Self>;

    /// Writes the value, if it is one of the store. A reference is valid until something may allocate.
    ///
    /// # Safety
    ///
    /// The cells may be written to.
    #[doc(hidden)]
    unsafe fn write(self, store: &StoreOpaque, cells: *mut Cell) -> Result<()>;
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
            unsafe fn read(_: &mut StoreOpaque, cells: *const Cell) -> Result<Self> {
                // SAFETY: the caller gives one cell that holds a number of this type.
                let $cell = unsafe { cells.read() };
                Ok($read)
            }

            #[inline(always)]
            unsafe fn write(self, _: &StoreOpaque, cells: *mut Cell) -> Result<()> {
                let $value = self;
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write($write) };
                Ok(())
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

    unsafe fn read(_: &mut StoreOpaque, cells: *const Cell) -> Result<Self> {
        // SAFETY: the caller gives two cells that hold a vector.
        let (low, high) = unsafe { (cells.read(), cells.add(1).read()) };
        Ok(Self::from(u128::from(low) | u128::from(high) << 64))
    }

    unsafe fn write(self, _: &StoreOpaque, cells: *mut Cell) -> Result<()> {
        let bits = self.as_u128();
        // SAFETY: the caller gives two cells that may be written to.
        unsafe {
            cells.write(bits as Cell);
            cells.add(1).write((bits >> 64) as Cell);
        }
        Ok(())
    }
}

/// The type of references, with and without null, that a Rust type is.
macro_rules! references {
    ($($ty:ident: $heap:ident, $read:expr, $write:expr;)*) => {$(
        // SAFETY: one cell, with what stands there for a reference of this type or null.
        unsafe impl WasmTy for Option<$ty> {
            const CELLS: usize = 1;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(true, HeapType::$heap))
            }

            unsafe fn read(store: &mut StoreOpaque, cells: *const Cell) -> Result<Self> {
                // SAFETY: the caller gives one cell that holds a reference of this type or null.
                let cell = unsafe { cells.read() };
                $read(store, cell)
            }

            unsafe fn write(self, store: &StoreOpaque, cells: *mut Cell) -> Result<()> {
                let cell = match self {
                    Some(value) => $write(store, value)?,
                    None => 0,
                };
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write(cell) };
                Ok(())
            }
        }

        // SAFETY: as above, without null.
        unsafe impl WasmTy for $ty {
            const CELLS: usize = 1;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(false, HeapType::$heap))
            }

            unsafe fn read(store: &mut StoreOpaque, cells: *const Cell) -> Result<Self> {
                // SAFETY: as above, with one that is not null.
                let value = unsafe { <Option<Self> as WasmTy>::read(store, cells)? };
                value.ok_or_else(|| Error::internal("null, where no null can be"))
            }

            unsafe fn write(self, store: &StoreOpaque, cells: *mut Cell) -> Result<()> {
                let cell = $write(store, self)?;
                // SAFETY: the caller gives one cell that may be written to.
                unsafe { cells.write(cell) };
                Ok(())
            }
        }
    )*};
}

/// A handle to the reference in a cell, in whose low bits it stands.
fn read_handle<R: GcRef>(store: &mut StoreOpaque, cell: Cell) -> Result<Option<R>> {
    let raw = VmRef(cell as u32);
    if raw.is_null() {
        return Ok(None);
    }
    let handle = Handle::new(store, raw)?;
    // SAFETY: whoever reads a cell as a reference vouches for its type.
    Ok(Some(unsafe { R::from_handle(handle) }))
}

/// The reference of a handle as a cell.
fn write_handle<R: GcRef>(store: &StoreOpaque, value: R) -> Result<Cell> {
    Ok(handle::raw(store, value)?.0.into())
}

fn read_func(store: &mut StoreOpaque, cell: Cell) -> Result<Option<Func>> {
    // SAFETY: whoever reads a cell as a function vouches for one of this store, or null.
    Ok(unsafe { Func::from_nullable(store.id, cell as usize as *mut VmFuncRef) })
}

fn write_func(store: &StoreOpaque, func: Func) -> Result<Cell> {
    func.check(store.id)?;
    Ok(func.raw() as usize as Cell)
}

fn read_i31(_: &mut StoreOpaque, cell: Cell) -> Result<Option<I31>> {
    Ok((cell & 1 == 1).then(|| I31::of_bits(cell as u32)))
}

fn write_i31(_: &StoreOpaque, value: I31) -> Result<Cell> {
    Ok(value.to_bits().into())
}

references! {
    Func: Func, read_func, write_func;
    ExternRef: Extern, read_handle, write_handle;
    AnyRef: Any, read_handle, write_handle;
    EqRef: Eq, read_handle, write_handle;
    StructRef: Struct, read_handle, write_handle;
    ArrayRef: Array, read_handle, write_handle;
    ExnRef: Exn, read_handle, write_handle;
    I31: I31, read_i31, write_i31;
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

    /// # Safety
    ///
    /// The cells hold values of these types of the store, valid now.
    #[doc(hidden)]
    unsafe fn read(store: &mut StoreOpaque, cells: *const Cell) -> Result<Self>;

    /// Writes the values, if they are of the store. References are valid until something may allocate.
    ///
    /// # Safety
    ///
    /// The cells may be written to.
    #[doc(hidden)]
    unsafe fn write(self, store: &StoreOpaque, cells: *mut Cell) -> Result<()>;
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
    unsafe fn read(store: &mut StoreOpaque, cells: *const Cell) -> Result<Self> {
        // SAFETY: the same contract.
        unsafe { <A as WasmTy>::read(store, cells) }
    }

    #[inline(always)]
    unsafe fn write(self, store: &StoreOpaque, cells: *mut Cell) -> Result<()> {
        // SAFETY: the same contract.
        unsafe { WasmTy::write(self, store, cells) }
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
            #[allow(unused, clippy::unused_unit, reason = "for the empty tuple")]
            unsafe fn read(store: &mut StoreOpaque, mut cells: *const Cell) -> Result<Self> {
                // SAFETY: the caller gives cells for all values.
                unsafe {
                    Ok(($({
                        let value = <$name as WasmTy>::read(store, cells)?;
                        cells = cells.add($name::CELLS);
                        value
                    },)*))
                }
            }

            #[inline(always)]
            #[allow(non_snake_case, unused, reason = "the types name the values; the empty tuple")]
            unsafe fn write(self, store: &StoreOpaque, mut cells: *mut Cell) -> Result<()> {
                let ($($name,)*) = self;
                // SAFETY: the caller gives cells for all values.
                unsafe {
                    $(
                        WasmTy::write($name, store, cells)?;
                        cells = cells.add($name::CELLS);
                    )*
                }
                Ok(())
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
        let mut store = store.as_context_mut();
        self.func.check(store.opaque().id)?;
        let mut cells = [const { MaybeUninit::<Cell>::uninit() }; MAX_CELLS];
        let cells = cells.as_mut_ptr().cast::<Cell>();
        // SAFETY: parameters and results have at most `MAX_CELLS` cells each. The function is of
        // this store, its types were compared when `self` was made, and the view is held exclusively
        // by this call.
        unsafe {
            params.write(store.opaque(), cells)?;
            func::invoke(store.raw_opaque(), self.func.raw(), cells)?;
            R::read(store.opaque_mut(), cells)
        }
    }
}
