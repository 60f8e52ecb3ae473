//! What an embedder can decide about growth: [`ResourceLimiter`] and the ready-made
//! [`StoreLimits`].
//!
//! The store's own ledger ([`Store::set_resource_limit`](crate::Store::set_resource_limit)) sums
//! over everything in the store and needs no code; a limiter is asked besides, and sees each growth.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

pub use palisade_vm::{ResourceLimiter, VmError};

use crate::store::StoreBox;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Ceilings for each memory and table by itself, and for how many there are.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    memory_size: Option<usize>,
    table_elements: Option<usize>,
    instances: usize,
    tables: usize,
    memories: usize,
    trap_on_grow_failure: bool,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            memory_size: None,
            table_elements: None,
            instances: 10_000,
            tables: 10_000,
            memories: 10_000,
            trap_on_grow_failure: false,
        }
    }
}

/// Makes [`StoreLimits`].
#[derive(Clone, Debug, Default)]
pub struct StoreLimitsBuilder {
    limits: StoreLimits,
}

impl StoreLimitsBuilder {
    /// Nothing but the defaults: 10,000 instances, tables and memories.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes that each memory may have.
    pub fn memory_size(mut self, bytes: usize) -> Self {
        self.limits.memory_size = Some(bytes);
        self
    }

    /// The most elements that each table may have.
    pub fn table_elements(mut self, elements: usize) -> Self {
        self.limits.table_elements = Some(elements);
        self
    }

    /// The most instances.
    pub fn instances(mut self, count: usize) -> Self {
        self.limits.instances = count;
        self
    }

    /// The most tables.
    pub fn tables(mut self, count: usize) -> Self {
        self.limits.tables = count;
        self
    }

    /// The most memories.
    pub fn memories(mut self, count: usize) -> Self {
        self.limits.memories = count;
        self
    }

    /// Whether a growth that is refused ends the guest, instead of telling it.
    pub fn trap_on_grow_failure(mut self, trap: bool) -> Self {
        self.limits.trap_on_grow_failure = trap;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.limits
    }
}

/// A growth that [`StoreLimits`] refuse under `trap_on_grow_failure`.
#[derive(Debug, thiserror::Error)]
#[error("forcing a trap: growing a {what} to {desired} {unit} is over the limit of {limit}")]
struct GrowthRefused {
    what: &'static str,
    unit: &'static str,
    desired: usize,
    limit: usize,
}

impl StoreLimits {
    fn judge(
        &self,
        limit: Option<usize>,
        desired: usize,
        what: &'static str,
        unit: &'static str,
    ) -> Result<bool, BoxError> {
        match limit {
            Some(limit) if desired > limit && self.trap_on_grow_failure => {
                Err(Box::new(GrowthRefused { what, unit, desired, limit }))
            }
            Some(limit) => Ok(desired <= limit),
            None => Ok(true),
        }
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.judge(self.memory_size, desired, "memory", "bytes")
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.judge(self.table_elements, desired, "table", "elements")
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// What finds the limiter in a store's data.
type Find<T> = dyn (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync;

/// A limiter in the embedder's data, in the form in which the virtual machine asks it.
pub(crate) struct DataLimiter<T: 'static> {
    store: NonNull<StoreBox<T>>,
    /// Locked for no other reason than that some questions come with a shared reference.
    find: Mutex<Box<Find<T>>>,
    _data: PhantomData<T>,
}

// SAFETY: the limiter lives in the store that it points to and moves between threads with it; it
// is asked by the store's own thread alone.
unsafe impl<T: 'static> Send for DataLimiter<T> {}
// SAFETY: as above.
unsafe impl<T: 'static> Sync for DataLimiter<T> {}

impl<T: 'static> DataLimiter<T> {
    /// `store` is the store that the limiter will be put into.
    pub(crate) fn new(store: NonNull<StoreBox<T>>, find: Box<Find<T>>) -> Self {
        Self { store, find: Mutex::new(find), _data: PhantomData }
    }

    fn ask<R>(&self, question: impl FnOnce(&mut dyn ResourceLimiter) -> R) -> R {
        let mut find = self.find.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the store is alive, since the limiter lives in it. It asks while a guest or a
        // growth by the host is going on, and whoever started that holds the store exclusively, so
        // that nobody else has a reference to the data.
        let data = unsafe { &mut (*self.store.as_ptr()).data };
        question(find(data))
    }
}

impl<T: 'static> ResourceLimiter for DataLimiter<T> {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.ask(|limiter| limiter.memory_growing(current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: &VmError) -> Result<(), BoxError> {
        self.ask(|limiter| limiter.memory_grow_failed(error))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.ask(|limiter| limiter.table_growing(current, desired, maximum))
    }

    fn table_grow_failed(&mut self, error: &VmError) -> Result<(), BoxError> {
        self.ask(|limiter| limiter.table_grow_failed(error))
    }

    fn instances(&self) -> usize {
        self.ask(|limiter| limiter.instances())
    }

    fn tables(&self) -> usize {
        self.ask(|limiter| limiter.tables())
    }

    fn memories(&self) -> usize {
        self.ask(|limiter| limiter.memories())
    }
}
