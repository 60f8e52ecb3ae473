//! References that guests hold: [`Ref`], and the host's handles [`ExternRef`], [`AnyRef`] and
//! [`ExnRef`].
//!
//! A handle is the number of its store and the reference's own 32 bits; there is no address in it.

use std::any::Any;

use palisade_core as core;
use palisade_core::HeapType;
use palisade_vm::layout::{Cell, VmFuncRef, VmRef};

use crate::context::{AsContext, AsContextMut, StoreContext};
use crate::error::{Error, Result};
use crate::func::Func;
use crate::store::{StoreId, StoreOpaque};

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

/// A value of the host that guests may pass around but not look into.
///
/// It lives as long as its store.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ExternRef {
    store: StoreId,
    raw: VmRef,
}

/// A value of the `any` family: a 31-bit integer, or an internalised host value.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct AnyRef {
    /// `None` for an integer, which belongs to every store.
    store: Option<StoreId>,
    raw: VmRef,
}

/// An exception.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ExnRef {
    store: StoreId,
    raw: VmRef,
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
    /// Gives a value to the store and returns the reference to it.
    pub fn new(
        mut store: impl AsContextMut,
        value: impl Any + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let raw = opaque.vm_mut().extern_new(Box::new(value)).map_err(Error::trap)?;
        Ok(Self { store: opaque.id, raw })
    }

    /// The value, for `downcast_ref`. `None` if the reference belongs to another store, or if a
    /// guest made it of a value of its own.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Option<&'a (dyn Any + Send + Sync)> {
        let opaque = store.into().opaque();
        if opaque.id != self.store {
            return None;
        }
        opaque.vm().extern_get(self.raw)
    }

    pub(crate) fn from_raw(store: StoreId, raw: VmRef) -> Self {
        Self { store, raw }
    }

    pub(crate) fn raw(self) -> VmRef {
        self.raw
    }

    pub(crate) fn check(self, store: StoreId) -> Result<()> {
        store.check(self.store, "host reference")
    }
}

impl AnyRef {
    /// The 31 low bits of a number.
    pub fn from_i31(value: u32) -> Self {
        Self { store: None, raw: VmRef((value << 1) | 1) }
    }

    /// The number, sign-extended, if it is one.
    pub fn as_i31(&self) -> Option<i32> {
        self.is_i31().then_some(self.raw.0 as i32 >> 1)
    }

    /// The number, zero-extended, if it is one.
    pub fn as_u31(&self) -> Option<u32> {
        self.is_i31().then_some(self.raw.0 >> 1)
    }

    /// A host value as a value of the `any` family (what `any.convert_extern` does).
    pub fn from_extern(value: ExternRef) -> Self {
        Self::from_raw(value.store, value.raw)
    }

    /// The value as a host reference of a store (what `extern.convert_any` does).
    pub fn to_extern(&self, store: impl AsContext) -> Result<ExternRef> {
        let id = store.as_context().opaque().id;
        self.check(id)?;
        Ok(ExternRef { store: id, raw: self.raw })
    }

    fn is_i31(&self) -> bool {
        self.raw.0 & 1 == 1
    }

    pub(crate) fn from_raw(store: StoreId, raw: VmRef) -> Self {
        Self { store: (raw.0 & 1 == 0).then_some(store), raw }
    }

    pub(crate) fn raw(self) -> VmRef {
        self.raw
    }

    pub(crate) fn check(self, store: StoreId) -> Result<()> {
        match self.store {
            Some(owner) => store.check(owner, "reference"),
            None => Ok(()),
        }
    }
}

impl ExnRef {
    pub(crate) fn from_raw(store: StoreId, raw: VmRef) -> Self {
        Self { store, raw }
    }

    pub(crate) fn check(self, store: StoreId) -> Result<()> {
        store.check(self.store, "exception")
    }
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

    fn family(&self) -> Family {
        match self {
            Self::Func(_) => Family::Func,
            Self::Extern(_) => Family::Extern,
            Self::Any(_) => Family::Any,
            Self::Exn(_) => Family::Exn,
        }
    }

    /// Whether this is a value of `ty` in this store; an error if it belongs to another store.
    pub(crate) fn is_of(&self, store: &StoreOpaque, ty: core::RefType) -> Result<bool> {
        if self.family() != Family::of(store, ty.heap) {
            return Ok(false);
        }
        let types = store.engine.types();
        Ok(match self {
            Self::Func(Some(func)) => {
                let heap = HeapType::Concrete(func.canonical_type(store)?);
                types.is_heap_subtype(heap, ty.heap)
            }
            Self::Extern(Some(value)) => {
                value.check(store.id)?;
                ty.heap == HeapType::Extern
            }
            Self::Any(Some(value)) => {
                value.check(store.id)?;
                let heap = if value.is_i31() { HeapType::I31 } else { HeapType::Any };
                types.is_heap_subtype(heap, ty.heap)
            }
            Self::Exn(Some(value)) => {
                value.check(store.id)?;
                ty.heap == HeapType::Exn
            }
            _ => ty.nullable,
        })
    }

    /// The reference as a cell. [`Ref::is_of`] comes first.
    pub(crate) fn to_cell(self) -> Cell {
        match self {
            Self::Func(Some(func)) => func.raw() as usize as Cell,
            Self::Extern(Some(ExternRef { raw, .. }))
            | Self::Any(Some(AnyRef { raw, .. }))
            | Self::Exn(Some(ExnRef { raw, .. })) => raw.0.into(),
            _ => 0,
        }
    }

    /// The reference that stands in a cell.
    ///
    /// # Safety
    ///
    /// The cell holds a reference of type `ty` of this store.
    pub(crate) unsafe fn from_cell(store: &StoreOpaque, ty: core::RefType, cell: Cell) -> Self {
        let raw = VmRef(cell as u32);
        let some = (!raw.is_null()).then_some(raw);
        match Family::of(store, ty.heap) {
            // SAFETY: a cell of a function type holds null or a function of this store.
            Family::Func => Self::Func(unsafe {
                Func::from_nullable(store.id, cell as usize as *mut VmFuncRef)
            }),
            Family::Extern => Self::Extern(some.map(|raw| ExternRef::from_raw(store.id, raw))),
            Family::Any => Self::Any(some.map(|raw| AnyRef::from_raw(store.id, raw))),
            Family::Exn => Self::Exn(some.map(|raw| ExnRef::from_raw(store.id, raw))),
        }
    }
}

impl From<Func> for Ref {
    fn from(func: Func) -> Self {
        Self::Func(Some(func))
    }
}

impl From<ExternRef> for Ref {
    fn from(value: ExternRef) -> Self {
        Self::Extern(Some(value))
    }
}

impl From<AnyRef> for Ref {
    fn from(value: AnyRef) -> Self {
        Self::Any(Some(value))
    }
}
