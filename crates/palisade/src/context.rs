//! How functions of this crate take a store: [`AsContext`], [`AsContextMut`], and the two views
//! that they give.
//!
//! A view is a raw pointer with a borrow's lifetime. It is no Rust reference, because guests call
//! hosts that call guests: the innermost host function reaches the store through the pointer that
//! the store keeps of itself, while outer views of the same store sleep further up the stack. Real
//! references are made for the length of one access and never held across a call into a guest.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::Result;
use crate::store::{Store, StoreBox, StoreOpaque};

/// A shared view of a [`Store`].
pub struct StoreContext<'a, T: 'static> {
    raw: NonNull<StoreBox<T>>,
    borrow: PhantomData<&'a StoreBox<T>>,
}

/// An exclusive view of a [`Store`].
pub struct StoreContextMut<'a, T: 'static> {
    raw: NonNull<StoreBox<T>>,
    borrow: PhantomData<&'a mut StoreBox<T>>,
}

// SAFETY: the view stands for `&mut StoreBox<T>`, and a store may be sent where its data may.
unsafe impl<T: Send> Send for StoreContextMut<'_, T> {}

/// Anything that gives a shared view of a store.
pub trait AsContext {
    /// The data in the store.
    type Data: 'static;

    /// The view.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// Anything that gives an exclusive view of a store.
pub trait AsContextMut: AsContext {
    /// The view.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T: 'static> Clone for StoreContext<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for StoreContext<'_, T> {}

impl<'a, T: 'static> StoreContext<'a, T> {
    /// # Safety
    ///
    /// `raw` points to a live store that nobody changes for `'a`.
    pub(crate) unsafe fn from_raw(raw: NonNull<StoreBox<T>>) -> Self {
        Self { raw, borrow: PhantomData }
    }

    /// The embedder's data in the store.
    pub fn data(&self) -> &'a T {
        // SAFETY: the view borrows the store for 'a.
        unsafe { &(*self.raw.as_ptr()).data }
    }

    /// The engine of the store.
    pub fn engine(&self) -> &'a Engine {
        &self.opaque().engine
    }

    /// What is left of the fuel; an error if the engine does not meter fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.opaque().get_fuel()
    }

    pub(crate) fn opaque(&self) -> &'a StoreOpaque {
        // SAFETY: the view borrows the store for 'a.
        unsafe { &(*self.raw.as_ptr()).opaque }
    }
}

impl<'a, T: 'static> StoreContextMut<'a, T> {
    /// # Safety
    ///
    /// `raw` points to a live store that nobody else uses for `'a`, other than through this view.
    pub(crate) unsafe fn from_raw(raw: NonNull<StoreBox<T>>) -> Self {
        Self { raw, borrow: PhantomData }
    }

    /// The embedder's data in the store.
    pub fn data(&self) -> &T {
        // SAFETY: the view borrows the store, and `self` is borrowed for as long as the result.
        unsafe { &(*self.raw.as_ptr()).data }
    }

    /// The embedder's data in the store.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: the view borrows the store exclusively, and `self` is so borrowed for as long
        // as the result.
        unsafe { &mut (*self.raw.as_ptr()).data }
    }

    /// The engine of the store.
    pub fn engine(&self) -> &Engine {
        &self.opaque().engine
    }

    /// What is left of the fuel; an error if the engine does not meter fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.opaque().get_fuel()
    }

    /// Sets what is left of the fuel; an error if the engine does not meter fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.opaque_mut().set_fuel(fuel)
    }

    /// Collects: see [`Store::gc`].
    ///
    /// # Errors
    ///
    /// Dropping a host value panicked. The store is poisoned.
    pub fn gc(&mut self) -> Result<()> {
        self.opaque_mut().gc()
    }

    pub(crate) fn raw(&self) -> NonNull<StoreBox<T>> {
        self.raw
    }

    pub(crate) fn raw_opaque(&self) -> NonNull<StoreOpaque> {
        // SAFETY: the pointer is in bounds: it points to a live store.
        unsafe { NonNull::new_unchecked(&raw mut (*self.raw.as_ptr()).opaque) }
    }

    pub(crate) fn opaque(&self) -> &StoreOpaque {
        // SAFETY: as for `data`.
        unsafe { &(*self.raw.as_ptr()).opaque }
    }

    pub(crate) fn opaque_mut(&mut self) -> &mut StoreOpaque {
        // SAFETY: as for `data_mut`.
        unsafe { &mut (*self.raw.as_ptr()).opaque }
    }

    /// The two halves of the store at once, for as long as the view lives.
    pub(crate) fn split(self) -> (&'a mut StoreOpaque, &'a mut T) {
        // SAFETY: the view borrows the store exclusively for 'a and is consumed; the two fields
        // are disjoint.
        unsafe {
            let store = self.raw.as_ptr();
            (&mut (*store).opaque, &mut (*store).data)
        }
    }
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        // SAFETY: the store lives and is borrowed for as long as the view.
        unsafe { StoreContext::from_raw(self.raw()) }
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        // SAFETY: the store lives and is exclusively borrowed for as long as the view.
        unsafe { StoreContextMut::from_raw(self.raw()) }
    }
}

impl<T: 'static> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        *self
    }
}

impl<T: 'static> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        // SAFETY: the view borrows the store, and `self` is borrowed for as long as the result.
        unsafe { StoreContext::from_raw(self.raw) }
    }
}

impl<T: 'static> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        // SAFETY: the view borrows the store exclusively, and so is `self` for as long as the
        // result.
        unsafe { StoreContextMut::from_raw(self.raw) }
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store().as_context()
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store_mut().as_context_mut()
    }
}

impl<C: AsContext + ?Sized> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContext + ?Sized> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContextMut + ?Sized> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        (**self).as_context_mut()
    }
}

impl<'a, T: 'static, C: AsContext<Data = T>> From<&'a C> for StoreContext<'a, T> {
    fn from(context: &'a C) -> Self {
        context.as_context()
    }
}

impl<'a, T: 'static, C: AsContext<Data = T>> From<&'a mut C> for StoreContext<'a, T> {
    fn from(context: &'a mut C) -> Self {
        let context: &'a C = context;
        context.as_context()
    }
}

impl<'a, T: 'static, C: AsContextMut<Data = T>> From<&'a mut C> for StoreContextMut<'a, T> {
    fn from(context: &'a mut C) -> Self {
        context.as_context_mut()
    }
}
