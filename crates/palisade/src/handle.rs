//! Handles to objects of the heap, which a collection moves: what is behind [`ExternRef`], [`AnyRef`] and their
//! like; [`RootScope`], which ends them; and [`OwnedRooted`], which does not end.
//!
//! A handle is the number of its store and of a root there, and a number that no other root of
//! the store ever has; there is no address in it. Roots are a stack: a scope closes with everything that was put there
//! since it was opened. Every call of a host function is such a scope. A handle from a closed scope is an error
//! ([`ErrorKind::Unrooted`]), never another object.
//!
//! A `VmRef` that is taken out of a handle is good until something may allocate: whoever needs it later takes it
//! out again.
//!
//! [`ExternRef`]: crate::ExternRef
//! [`AnyRef`]: crate::AnyRef

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use palisade_vm::gc::roots::{OwnedRoot, RootIndex, ScopeMark};
use palisade_vm::layout::VmRef;

use crate::context::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{StoreId, StoreOpaque};

/// What a handle holds.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Handle {
    /// An `i31`, which belongs to every store.
    Small(u32),
    /// A root of a store.
    Root(StoreId, RootIndex),
}

impl Handle {
    /// A handle to what a reference leads to: valid now, and not null.
    pub(crate) fn new(store: &mut StoreOpaque, raw: VmRef) -> Result<Self> {
        if raw.0 & 1 == 1 {
            return Ok(Self::Small(raw.0));
        }
        match store.vm_mut().heap.roots.push(raw) {
            Some(root) => Ok(Self::Root(store.id, root)),
            None => Err(too_many()),
        }
    }

    /// The reference; it is valid until something may allocate.
    pub(crate) fn raw(self, store: &StoreOpaque, what: &'static str) -> Result<VmRef> {
        match self {
            Self::Small(bits) => Ok(VmRef(bits)),
            Self::Root(owner, root) => {
                store.id.check(owner, what)?;
                match store.vm().heap.roots.get(root) {
                    Some(raw) => checked(raw),
                    None => Err(Error::new(ErrorKind::Unrooted { what })),
                }
            }
        }
    }
}

/// A collection that finds a reference of which there is no object makes it null. That must not have happened.
fn checked(raw: VmRef) -> Result<VmRef> {
    if raw.is_null() {
        return Err(Error::internal("a handle lost its object"));
    }
    Ok(raw)
}

fn too_many() -> Error {
    Error::new(ErrorKind::Limit("the host holds as many references as can be numbered".to_owned()))
}

pub(crate) mod sealed {
    use super::Handle;

    pub trait Sealed: Copy {
        /// What it is called in errors.
        #[doc(hidden)]
        const WHAT: &'static str;

        /// # Safety
        ///
        /// What the handle leads to is what this type stands for. (Whoever is generic over [`super::GcRef`] can call
        /// this, outside of this crate, too.)
        #[doc(hidden)]
        unsafe fn from_handle(handle: Handle) -> Self;

        #[doc(hidden)]
        fn handle(self) -> Handle;
    }
}

/// The handles: [`ExternRef`](crate::ExternRef), [`AnyRef`](crate::AnyRef), [`EqRef`](crate::EqRef),
/// [`StructRef`](crate::StructRef), [`ArrayRef`](crate::ArrayRef) and [`ExnRef`](crate::ExnRef).
///
/// One kind cannot be made into another without a look at the object, not even by whoever is generic over them:
///
/// ```compile_fail,E0133
/// use palisade::{ExnRef, GcRef, StructRef};
///
/// fn turn<A: GcRef, B: GcRef>(a: A) -> B {
///     B::from_handle(a.handle())
/// }
///
/// fn forge(structure: StructRef) -> ExnRef {
///     turn(structure)
/// }
/// ```
pub trait GcRef: sealed::Sealed + Send + Sync + 'static {}

/// What all handles have in common.
macro_rules! handles {
    ($( $(#[$doc:meta])* $name:ident: $what:literal; )*) => {$(
        $(#[$doc])*
        ///
        /// A handle that lives as long as the [`RootScope`](crate::RootScope), or the call of a host function, in which
        /// it was made; [`OwnedRooted`](crate::OwnedRooted) lives longer.
        #[derive(Copy, Clone, Debug)]
        pub struct $name(pub(crate) $crate::handle::Handle);

        impl $crate::handle::sealed::Sealed for $name {
            const WHAT: &'static str = $what;

            unsafe fn from_handle(handle: $crate::handle::Handle) -> Self {
                Self(handle)
            }

            fn handle(self) -> $crate::handle::Handle {
                self.0
            }
        }

        impl $crate::handle::GcRef for $name {}

        impl $name {
            /// A handle to the same object that does not end with a scope.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn to_owned_rooted(
                &self,
                store: impl $crate::AsContextMut,
            ) -> $crate::Result<$crate::OwnedRooted<Self>> {
                $crate::OwnedRooted::new(store, *self)
            }

            /// Whether two handles lead to the same object, or are the same number.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Unrooted`](crate::ErrorKind::Unrooted),
            /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
            pub fn ref_eq(
                store: impl $crate::AsContext,
                a: &Self,
                b: &impl $crate::GcRef,
            ) -> $crate::Result<bool> {
                $crate::handle::ref_eq(store.as_context().opaque(), *a, *b)
            }

            /// A handle to what a reference leads to: valid now, and not null.
            #[allow(dead_code, reason = "not every kind is made everywhere")]
            pub(crate) fn from_raw(
                store: &mut $crate::store::StoreOpaque,
                raw: palisade_vm::layout::VmRef,
            ) -> $crate::Result<Self> {
                Ok(Self($crate::handle::Handle::new(store, raw)?))
            }

            /// The reference; it is valid until something may allocate.
            pub(crate) fn raw(
                self,
                store: &$crate::store::StoreOpaque,
            ) -> $crate::Result<palisade_vm::layout::VmRef> {
                $crate::handle::raw(store, self)
            }
        }
    )*};
}

pub(crate) use handles;

pub(crate) fn ref_eq(store: &StoreOpaque, a: impl GcRef, b: impl GcRef) -> Result<bool> {
    Ok(raw(store, a)? == raw(store, b)?)
}

/// The reference of a handle; it is valid until something may allocate.
pub(crate) fn raw<R: GcRef>(store: &StoreOpaque, reference: R) -> Result<VmRef> {
    reference.handle().raw(store, R::WHAT)
}

/// A part of a program in which handles live: those that are made while it is there end with it, and what only
/// they lead to can be collected.
///
/// Use it in place of the store. It closes when it is dropped. Handles that are made outside of any scope and of any
/// host function live as long as their store.
///
/// ```
/// use palisade::{AsContextMut, ErrorKind, ExternRef, RootScope, Store};
///
/// # fn main() -> palisade::Result<()> {
/// let mut store = Store::<()>::default();
/// let (lost, kept) = {
///     let mut scope = RootScope::new(&mut store);
///     let lost = ExternRef::new(&mut scope, "lost")?;
///     let kept = ExternRef::new(&mut scope, "kept")?;
///     (lost, palisade::OwnedRooted::new(&mut scope, kept)?)
/// };
/// let error = lost.data(&store).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::Unrooted { .. }));
/// let kept = kept.to_rooted(&mut store)?;
/// assert_eq!(kept.data(&store)?.and_then(|data| data.downcast_ref()), Some(&"kept"));
/// # Ok(())
/// # }
/// ```
pub struct RootScope<C: AsContextMut> {
    store: C,
    mark: ScopeMark,
}

impl<C: AsContextMut> RootScope<C> {
    /// Opens a scope.
    pub fn new(store: C) -> Self {
        let mark = store.as_context().opaque().vm().heap.roots.scope();
        Self { store, mark }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        self.store.as_context_mut().opaque_mut().vm_mut().heap.roots.close(self.mark);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, Self::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data> {
        self.store.as_context_mut()
    }
}

impl<C: AsContextMut> fmt::Debug for RootScope<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootScope").finish_non_exhaustive()
    }
}

/// A handle that keeps its object alive until it is dropped, wherever and on whatever thread that is.
///
/// It is not used itself: [`OwnedRooted::to_rooted`] gives a handle for the scope that is open.
pub struct OwnedRooted<R> {
    inner: Owned,
    reference: PhantomData<fn() -> R>,
}

#[derive(Clone, Debug)]
enum Owned {
    Small(u32),
    Root(StoreId, Arc<OwnedRoot>),
}

impl<R> Clone for OwnedRooted<R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), reference: PhantomData }
    }
}

impl<R> fmt::Debug for OwnedRooted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedRooted").field(&self.inner).finish()
    }
}

impl<R: GcRef> OwnedRooted<R> {
    /// Keeps what a handle leads to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unrooted`], [`ErrorKind::WrongStore`]; [`ErrorKind::Limit`] if there are as many as can
    /// be numbered.
    pub fn new(mut store: impl AsContextMut, reference: R) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let raw = raw(opaque, reference)?;
        Self::from_raw(opaque, raw)
    }

    /// Keeps what a reference leads to: valid now, and not null.
    pub(crate) fn from_raw(store: &mut StoreOpaque, raw: VmRef) -> Result<Self> {
        let inner = if raw.0 & 1 == 1 {
            Owned::Small(raw.0)
        } else {
            let root = store.vm_mut().heap.roots.own(raw).ok_or_else(too_many)?;
            Owned::Root(store.id, Arc::new(root))
        };
        Ok(Self { inner, reference: PhantomData })
    }

    /// A handle to the same object, for the scope that is open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`]; [`ErrorKind::Limit`] if there are as many handles as can be numbered.
    pub fn to_rooted(&self, mut store: impl AsContextMut) -> Result<R> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let raw = self.raw(opaque)?;
        let handle = Handle::new(opaque, raw)?;
        // SAFETY: it was made from an `R`.
        Ok(unsafe { R::from_handle(handle) })
    }

    /// The reference; it is valid until something may allocate.
    pub(crate) fn raw(&self, store: &StoreOpaque) -> Result<VmRef> {
        match &self.inner {
            Owned::Small(bits) => Ok(VmRef(*bits)),
            Owned::Root(owner, root) => {
                store.id.check(*owner, R::WHAT)?;
                let raw = store.vm().heap.roots.get_owned(root);
                raw.map_or_else(|| Err(Error::internal("an owned root of no store")), checked)
            }
        }
    }
}
