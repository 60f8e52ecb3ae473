//! References that guests hold: [`Ref`], and the host's handles [`ExternRef`], [`AnyRef`], [`EqRef`] and
//! [`ExnRef`]. (Structures: `structref.rs`, arrays: `arrayref.rs`, what a handle is: `handle.rs`.)

use std::any::Any;

use palisade_core as core;
use palisade_core::HeapType;
use palisade_vm::layout::{Cell, VmFuncRef, VmRef};

use crate::arrayref::ArrayRef;
use crate::context::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::error::{Error, Result};
use crate::func::Func;
use crate::handle::{Handle, handles};
use crate::store::StoreOpaque;
use crate::structref::StructRef;

/// A reference, or the null of one of the four families.
#[derive(Copy, Clone, Debug)]
#[non_exhaustive]
pub enum Ref {
    /// To a function.
    Func(Option<Func>),
    /// To a host value.
    Extern(Option<ExternRef>),
    /// To a value of a guest.
    Any(Option<AnyRef>),
    /// To an exception.
    Exn(Option<ExnRef>),
}

handles! {
    /// A value of the host that guests may pass around but not look into; or a value of the `any` family as such.
    ExternRef: "host reference";
    /// A value of the `any` family: a structure, an array, a 31-bit integer, or a host value as one.
    AnyRef: "reference";
    /// A value that can be compared by identity: a structure, an array or a 31-bit integer.
    EqRef: "reference";
    /// An exception.
    ExnRef: "exception";
}

/// An integer of 31 bits, as `i31ref` holds it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct I31(u32);

impl I31 {
    const BITS: u32 = 0x7fff_ffff;

    /// A number below 2³¹.
    pub fn new_u32(value: u32) -> Option<Self> {
        (value <= Self::BITS).then_some(Self(value))
    }

    /// A number from -2³⁰ up to below 2³⁰.
    pub fn new_i32(value: i32) -> Option<Self> {
        let this = Self::wrapping_i32(value);
        (this.get_i32() == value).then_some(this)
    }

    /// The low 31 bits of a number.
    pub fn wrapping_u32(value: u32) -> Self {
        Self(value & Self::BITS)
    }

    /// The low 31 bits of a number.
    pub fn wrapping_i32(value: i32) -> Self {
        Self::wrapping_u32(value as u32)
    }

    /// The number, zero-extended (`i31.get_u`).
    pub fn get_u32(self) -> u32 {
        self.0
    }

    /// The number, sign-extended (`i31.get_s`).
    pub fn get_i32(self) -> i32 {
        (self.0 << 1) as i32 >> 1
    }

    pub(crate) fn of_bits(bits: u32) -> Self {
        Self(bits >> 1)
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0 << 1 | 1
    }

    fn handle(self) -> Handle {
        Handle::Small(self.to_bits())
    }
}

impl std::fmt::Debug for I31 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "I31({})", self.0)
    }
}

/// The four families of references, which share no value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    Func,
    Extern,
    Any,
    Exn,
}

impl Family {
    pub(crate) fn of(store: &StoreOpaque, heap: HeapType) -> Self {
        match heap {
            HeapType::Func | HeapType::NoFunc => Self::Func,
            HeapType::Extern | HeapType::NoExtern => Self::Extern,
            HeapType::Exn | HeapType::NoExn => Self::Exn,
            HeapType::Concrete(id) if store.engine.types().is_func(id) => Self::Func,
            _ => Self::Any,
        }
    }
}

impl ExternRef {
    /// Gives a value to the store and returns a reference to it. The value is dropped when nobody can reach it
    /// any more and the store collects, and with the store at the latest.
    ///
    /// # Errors
    ///
    /// The store's limits have no room for it.
    pub fn new(
        mut store: impl AsContextMut,
        value: impl Any + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let made = opaque.vm_mut().extern_new(Box::new(value));
        let raw = made.map_err(|code| opaque.heap_error(code))?;
        Self::from_raw(opaque, raw)
    }

    /// The value, for `downcast_ref`. `None` if a guest made the reference of a value of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        let opaque = store.into().opaque();
        let raw = self.raw(opaque)?;
        Ok(opaque.vm().extern_get(raw))
    }

    /// As [`ExternRef::data`], to change it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<Option<&'a mut (dyn Any + Send + Sync)>> {
        let (opaque, _) = store.into().split();
        let raw = self.raw(opaque)?;
        Ok(opaque.vm_mut().extern_get_mut(raw))
    }

    /// A value of the `any` family as one of the host's (what `extern.convert_any` does).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn convert_any(store: impl AsContext, value: AnyRef) -> Result<Self> {
        value.raw(store.as_context().opaque())?;
        Ok(Self(value.0))
    }
}

macro_rules! kinds {
    ($( $is:ident, $cast:ident, $unwrap:ident: $result:ident, $heap:ident, $what:literal; )*) => {$(
        #[doc = concat!("Whether it is ", $what, ".")]
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
        /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
        pub fn $is(&self, store: impl AsContext) -> Result<bool> {
            let store = store.as_context();
            let opaque = store.opaque();
            let heap = opaque.any_type(self.raw(opaque)?);
            Ok(opaque.engine.types().is_heap_subtype(heap, HeapType::$heap))
        }

        #[doc = concat!("The value, if it is ", $what, ".")]
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
        /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
        pub fn $cast(&self, store: impl AsContext) -> Result<Option<$result>> {
            Ok(self.$is(store)?.then_some($result(self.0)))
        }

        #[doc = concat!("The value, which must be ", $what, ".")]
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Type`](crate::ErrorKind::Type) if it is something else,
        /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
        /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
        pub fn $unwrap(&self, store: impl AsContext) -> Result<$result> {
            let store = store.as_context();
            match self.$cast(store)? {
                Some(value) => Ok(value),
                None => Err(Error::type_mismatch(format!(
                    "expected {}, found a value of type {}",
                    $what,
                    self.ty(store)?
                ))),
            }
        }
    )*};
}

/// What [`AnyRef`] and [`EqRef`] have in common.
macro_rules! any_refs {
    ($($name:ident)*) => {$(
        impl $name {
            /// A 31-bit integer. It belongs to no store, and does not end with a scope.
            pub fn from_i31(value: I31) -> Self {
                Self(value.handle())
            }

            /// The most specific type of the value.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn ty(&self, store: impl AsContext) -> Result<crate::HeapType> {
                let store = store.as_context();
                let opaque = store.opaque();
                let heap = opaque.any_type(self.raw(opaque)?);
                Ok(crate::HeapType::from_core(&opaque.engine, heap))
            }

            /// Whether the value is of a type.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore), and
            /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine) if the type is of another engine.
            pub fn matches_ty(&self, store: impl AsContext, ty: &crate::HeapType) -> Result<bool> {
                let store = store.as_context();
                let opaque = store.opaque();
                let heap = opaque.any_type(self.raw(opaque)?);
                Ok(opaque.engine.types().is_heap_subtype(heap, ty.to_core(&opaque.engine)?))
            }

            /// Whether it is a 31-bit integer.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn is_i31(&self, store: impl AsContext) -> Result<bool> {
                Ok(self.as_i31(store)?.is_some())
            }

            /// The number, if it is a 31-bit integer.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn as_i31(&self, store: impl AsContext) -> Result<Option<I31>> {
                let raw = self.raw(store.as_context().opaque())?;
                Ok((raw.0 & 1 == 1).then(|| I31::of_bits(raw.0)))
            }

            /// The number, which the value must be.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Type`](crate::ErrorKind::Type) if it is something else,
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn unwrap_i31(&self, store: impl AsContext) -> Result<I31> {
                let store = store.as_context();
                match self.as_i31(store)? {
                    Some(value) => Ok(value),
                    None => Err(Error::type_mismatch(format!(
                        "expected a 31-bit integer, found a value of type {}",
                        self.ty(store)?
                    ))),
                }
            }

            kinds! {
                is_struct, as_struct, unwrap_struct: StructRef, Struct, "a structure";
                is_array, as_array, unwrap_array: ArrayRef, Array, "an array";
            }
        }

        impl From<I31> for $name {
            fn from(value: I31) -> Self {
                Self::from_i31(value)
            }
        }
    )*};
}

any_refs!(AnyRef EqRef);

impl AnyRef {
    kinds! {
        is_eqref, as_eqref, unwrap_eqref: EqRef, Eq, "a structure, an array or an integer";
    }

    /// A host value as a value of the `any` family (what `any.convert_extern` does).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn convert_extern(store: impl AsContext, value: ExternRef) -> Result<Self> {
        value.raw(store.as_context().opaque())?;
        Ok(Self(value.0))
    }
}

macro_rules! upcasts {
    ($($from:ident => $to:ident, $name:ident;)*) => {$(
        impl $from {
            #[doc = concat!("The same value as an [`", stringify!($to), "`].")]
            pub fn $name(self) -> $to {
                $to(self.0)
            }
        }

        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                value.$name()
            }
        }
    )*};
}

upcasts! {
    EqRef => AnyRef, to_anyref;
    StructRef => AnyRef, to_anyref;
    StructRef => EqRef, to_eqref;
    ArrayRef => AnyRef, to_anyref;
    ArrayRef => EqRef, to_eqref;
}

impl Ref {
    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Func(None) | Self::Extern(None) | Self::Any(None) | Self::Exn(None))
    }

    /// The function, if it is one.
    pub fn as_func(&self) -> Option<&Func> {
        match self {
            Self::Func(func) => func.as_ref(),
            _ => None,
        }
    }

    /// The host value, if it is one.
    pub fn as_extern(&self) -> Option<&ExternRef> {
        match self {
            Self::Extern(value) => value.as_ref(),
            _ => None,
        }
    }

    /// The value of the `any` family, if it is one.
    pub fn as_any(&self) -> Option<&AnyRef> {
        match self {
            Self::Any(value) => value.as_ref(),
            _ => None,
        }
    }

    /// The exception, if it is one.
    pub fn as_exn(&self) -> Option<&ExnRef> {
        match self {
            Self::Exn(value) => value.as_ref(),
            _ => None,
        }
    }

    fn family(&self) -> Family {
        match self {
            Self::Func(_) => Family::Func,
            Self::Extern(_) => Family::Extern,
            Self::Any(_) => Family::Any,
            Self::Exn(_) => Family::Exn,
        }
    }

    /// The reference as a cell, if it is a value of `ty` in this store; an error if it is one of another store, or
    /// its handle has ended. The cell is valid until something may allocate.
    pub(crate) fn to_cell(self, store: &StoreOpaque, ty: core::RefType) -> Result<Option<Cell>> {
        if self.family() != Family::of(store, ty.heap) {
            return Ok(None);
        }
        let types = store.engine.types();
        let (cell, is) = match self {
            Self::Func(Some(func)) => {
                let heap = HeapType::Concrete(func.canonical_type(store)?);
                (func.raw() as usize as Cell, types.is_heap_subtype(heap, ty.heap))
            }
            Self::Extern(Some(value)) => (value.raw(store)?.0.into(), ty.heap == HeapType::Extern),
            Self::Any(Some(value)) => {
                let raw = value.raw(store)?;
                (raw.0.into(), types.is_heap_subtype(store.any_type(raw), ty.heap))
            }
            Self::Exn(Some(value)) => (value.raw(store)?.0.into(), ty.heap == HeapType::Exn),
            _ => (0, ty.nullable),
        };
        Ok(is.then_some(cell))
    }

    /// The reference that stands in a cell.
    ///
    /// # Safety
    ///
    /// The cell holds a reference of type `ty` of this store, valid now.
    pub(crate) unsafe fn from_cell(
        store: &mut StoreOpaque,
        ty: core::RefType,
        cell: Cell,
    ) -> Result<Self> {
        let raw = VmRef(cell as u32);
        let handle = |store: &mut StoreOpaque| {
            if raw.is_null() { Ok(None) } else { Handle::new(store, raw).map(Some) }
        };
        Ok(match Family::of(store, ty.heap) {
            // SAFETY: a cell of a function type holds null or a function of this store.
            Family::Func => Self::Func(unsafe {
                Func::from_nullable(store.id, cell as usize as *mut VmFuncRef)
            }),
            Family::Extern => Self::Extern(handle(store)?.map(ExternRef)),
            Family::Any => Self::Any(handle(store)?.map(AnyRef)),
            Family::Exn => Self::Exn(handle(store)?.map(ExnRef)),
        })
    }
}

impl StoreOpaque {
    /// The most specific type of a value of the `any` family: valid now.
    pub(crate) fn any_type(&self, raw: VmRef) -> HeapType {
        if raw.is_null() {
            return HeapType::None;
        }
        if raw.0 & 1 == 1 {
            return HeapType::I31;
        }
        // SAFETY: handles and cells of this store lead to its objects, and this one is valid now.
        unsafe { self.vm().gc_type(raw) }.map_or(HeapType::Any, HeapType::Concrete)
    }
}

macro_rules! into_ref {
    ($($name:ident => $variant:ident;)*) => {$(
        impl From<$name> for Ref {
            fn from(value: $name) -> Self {
                Self::$variant(Some(value.into()))
            }
        }

        impl From<Option<$name>> for Ref {
            fn from(value: Option<$name>) -> Self {
                Self::$variant(value.map(Into::into))
            }
        }
    )*};
}

into_ref! {
    Func => Func;
    ExternRef => Extern;
    AnyRef => Any;
    EqRef => Any;
    StructRef => Any;
    ArrayRef => Any;
    I31 => Any;
    ExnRef => Exn;
}
