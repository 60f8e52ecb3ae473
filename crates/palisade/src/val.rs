//! [`Val`]: a value of any type, for calls whose types are only known while running.

use palisade_core as core;
use palisade_core::HeapType;
use palisade_vm::layout::Cell;

use crate::arrayref::ArrayRef;
use crate::context::AsContext;
use crate::error::{Error, Result};
use crate::func::Func;
use crate::refs::{AnyRef, EqRef, ExnRef, ExternRef, I31, Ref};
use crate::store::StoreOpaque;
use crate::structref::StructRef;
use crate::types::{RefType, ValType};

/// A vector of 128 bits.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct V128([u64; 2]);

impl V128 {
    /// The vector as a number, lane 0 in the low bits.
    pub fn as_u128(self) -> u128 {
        let [low, high] = self.0;
        u128::from(low) | u128::from(high) << 64
    }
}

impl From<u128> for V128 {
    fn from(bits: u128) -> Self {
        Self([bits as u64, (bits >> 64) as u64])
    }
}

impl From<V128> for u128 {
    fn from(vector: V128) -> Self {
        vector.as_u128()
    }
}

/// A value. Floats are kept as their bits, so that no NaN changes on the way.
#[derive(Copy, Clone, Debug)]
#[non_exhaustive]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector.
    V128(V128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// A host value, or null.
    ExternRef(Option<ExternRef>),
    /// A value of the `any` family, or null.
    AnyRef(Option<AnyRef>),
    /// An exception, or null.
    ExnRef(Option<ExnRef>),
}

macro_rules! accessors {
    ($( $get:ident, $unwrap:ident: $ty:ty = $pattern:pat => $value:expr, $what:literal; )*) => {$(
        #[doc = concat!("The value, if it is ", $what, ".")]
        pub fn $get(&self) -> Option<$ty> {
            match *self {
                $pattern => Some($value),
                _ => None,
            }
        }

        #[doc = concat!("The value, which must be ", $what, "; an error names what it is instead.")]
        pub fn $unwrap(&self) -> Result<$ty> {
            self.$get().ok_or_else(|| {
                Error::type_mismatch(format!("expected {}, found {}", $what, self.kind()))
            })
        }
    )*};
}

impl Val {
    accessors! {
        i32, try_i32: i32 = Self::I32(x) => x, "an i32";
        i64, try_i64: i64 = Self::I64(x) => x, "an i64";
        f32, try_f32: f32 = Self::F32(x) => f32::from_bits(x), "an f32";
        f64, try_f64: f64 = Self::F64(x) => f64::from_bits(x), "an f64";
        v128, try_v128: V128 = Self::V128(x) => x, "a v128";
    }

    /// The reference, if it is one.
    pub fn as_ref(&self) -> Option<Ref> {
        Some(match *self {
            Self::FuncRef(x) => Ref::Func(x),
            Self::ExternRef(x) => Ref::Extern(x),
            Self::AnyRef(x) => Ref::Any(x),
            Self::ExnRef(x) => Ref::Exn(x),
            _ => return None,
        })
    }

    /// The zero or null of a type; `None` if it has neither.
    pub fn default_for(ty: &ValType) -> Option<Self> {
        Some(match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::V128 => Self::V128(V128::default()),
            ValType::Ref(ty) if !ty.is_nullable() => return None,
            ValType::Ref(ty) if ty.heap_type().matches(&crate::HeapType::Func) => {
                Self::FuncRef(None)
            }
            ValType::Ref(ty) if ty.heap_type().matches(&crate::HeapType::Extern) => {
                Self::ExternRef(None)
            }
            ValType::Ref(ty) if ty.heap_type().matches(&crate::HeapType::Exn) => Self::ExnRef(None),
            ValType::Ref(_) => Self::AnyRef(None),
        })
    }

    /// The most specific type of the value; an error if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<ValType> {
        let store = store.as_context();
        let opaque = store.opaque();
        let reference = |nullable, heap| ValType::Ref(RefType::new(nullable, heap));
        Ok(match *self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(None) => reference(true, crate::HeapType::NoFunc),
            Self::FuncRef(Some(func)) => {
                let heap = HeapType::Concrete(func.canonical_type(opaque)?);
                reference(false, crate::HeapType::from_core(&opaque.engine, heap))
            }
            Self::ExternRef(None) => reference(true, crate::HeapType::NoExtern),
            Self::ExternRef(Some(value)) => {
                value.raw(opaque)?;
                reference(false, crate::HeapType::Extern)
            }
            Self::AnyRef(None) => reference(true, crate::HeapType::None),
            Self::AnyRef(Some(value)) => {
                let heap = opaque.any_type(value.raw(opaque)?);
                reference(false, crate::HeapType::from_core(&opaque.engine, heap))
            }
            Self::ExnRef(None) => reference(true, crate::HeapType::NoExn),
            Self::ExnRef(Some(value)) => {
                value.raw(opaque)?;
                reference(false, crate::HeapType::Exn)
            }
        })
    }

    /// What kind of value it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::I32(_) => "i32",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::V128(_) => "v128",
            Self::FuncRef(None) => "a null function reference",
            Self::FuncRef(Some(_)) => "a function reference",
            Self::ExternRef(None) => "a null host reference",
            Self::ExternRef(Some(_)) => "a host reference",
            Self::AnyRef(None) => "a null reference",
            Self::AnyRef(Some(_)) => "a reference",
            Self::ExnRef(None) => "a null exception reference",
            Self::ExnRef(Some(_)) => "an exception reference",
        }
    }

    /// Checks that this is a value of `ty` in this store, and returns it as cells; the second one
    /// counts for vectors alone. A reference is valid until something may allocate. `what` says in an error which value it was.
    pub(crate) fn to_cells(
        self,
        store: &StoreOpaque,
        ty: core::ValType,
        what: impl FnOnce() -> String,
    ) -> Result<[Cell; 2]> {
        use core::ValType as T;
        match (self, ty) {
            (Self::I32(x), T::I32) => return Ok([x as u32 as Cell, 0]),
            (Self::I64(x), T::I64) => return Ok([x as Cell, 0]),
            (Self::F32(x), T::F32) => return Ok([x.into(), 0]),
            (Self::F64(x), T::F64) => return Ok([x, 0]),
            (Self::V128(x), T::V128) => return Ok(x.0),
            (value, T::Ref(ty)) => {
                if let Some(reference) = value.as_ref()
                    && let Some(cell) = reference.to_cell(store, ty)?
                {
                    return Ok([cell, 0]);
                }
            }
            _ => {}
        }
        let expected = ValType::from_core(&store.engine, ty);
        Err(Error::type_mismatch(format!("{}: expected {expected}, found {}", what(), self.kind())))
    }

    /// The value that stands at the start of `cells`.
    ///
    /// # Safety
    ///
    /// The cells hold a value of type `ty` of this store, valid now; there are two of them for a vector, at
    /// least one for all others.
    pub(crate) unsafe fn from_cells(
        store: &mut StoreOpaque,
        ty: core::ValType,
        cells: *const Cell,
    ) -> Result<Self> {
        use core::ValType as T;
        // SAFETY: the caller vouches for the cells and their type.
        unsafe {
            let low = cells.read();
            Ok(match ty {
                T::I32 => Self::I32(low as i32),
                T::I64 => Self::I64(low as i64),
                T::F32 => Self::F32(low as u32),
                T::F64 => Self::F64(low),
                T::V128 => Self::V128(V128([low, cells.add(1).read()])),
                T::Ref(ty) => Ref::from_cell(store, ty, low)?.into(),
            })
        }
    }
}

/// How many cells a value takes.
pub(crate) fn cells_of(ty: core::ValType) -> usize {
    if ty == core::ValType::V128 { 2 } else { 1 }
}

/// How many cells values take together.
pub(crate) fn cells_of_all(types: &[core::ValType]) -> usize {
    types.iter().map(|&ty| cells_of(ty)).sum()
}

macro_rules! from {
    ($($ty:ty: $value:ident => $val:expr;)*) => {$(
        impl From<$ty> for Val {
            fn from($value: $ty) -> Self {
                $val
            }
        }
    )*};
}

from! {
    i32: x => Self::I32(x);
    u32: x => Self::I32(x as i32);
    i64: x => Self::I64(x);
    u64: x => Self::I64(x as i64);
    f32: x => Self::F32(x.to_bits());
    f64: x => Self::F64(x.to_bits());
    V128: x => Self::V128(x);
    Func: x => Self::FuncRef(Some(x));
    Option<Func>: x => Self::FuncRef(x);
    ExternRef: x => Self::ExternRef(Some(x));
    Option<ExternRef>: x => Self::ExternRef(x);
    AnyRef: x => Self::AnyRef(Some(x));
    Option<AnyRef>: x => Self::AnyRef(x);
    ExnRef: x => Self::ExnRef(Some(x));
    Option<ExnRef>: x => Self::ExnRef(x);
    EqRef: x => Self::AnyRef(Some(x.into()));
    Option<EqRef>: x => Self::AnyRef(x.map(Into::into));
    StructRef: x => Self::AnyRef(Some(x.into()));
    Option<StructRef>: x => Self::AnyRef(x.map(Into::into));
    ArrayRef: x => Self::AnyRef(Some(x.into()));
    Option<ArrayRef>: x => Self::AnyRef(x.map(Into::into));
    I31: x => Self::AnyRef(Some(x.into()));
    Option<I31>: x => Self::AnyRef(x.map(Into::into));
}

impl From<Ref> for Val {
    fn from(reference: Ref) -> Self {
        match reference {
            Ref::Func(x) => Self::FuncRef(x),
            Ref::Extern(x) => Self::ExternRef(x),
            Ref::Any(x) => Self::AnyRef(x),
            Ref::Exn(x) => Self::ExnRef(x),
        }
    }
}
