//! The host values that guests hold.
//!
//! A guest holds an object of the heap, and in the object stands a number: the value's place in the table here.
//! The table keeps nothing alive. A value whose object a collection did not find is taken out, and dropped
//! when the collection is over; its drop code is the host's, which may panic.

use std::any::Any;

use palisade_core::TrapCode;

use super::layout::{ALIGN, EXTERN};
use crate::layout::VmRef;
use crate::ledger::Resource;
use crate::panics;
use crate::store::StoreInner;

/// A value of the host.
pub type HostValue = Box<dyn Any + Send + Sync>;

/// What a place in the table takes, as the ledger counts it.
const PLACE_BYTES: u64 = 32;
/// The number in an object that has no value yet.
const NO_VALUE: u32 = u32::MAX;

struct Place {
    value: Option<HostValue>,
    /// Whether the collection under way has found the object.
    found: bool,
}

/// The host values of a store, by number.
#[derive(Default)]
pub(super) struct Externs {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Externs {
    /// A collection has found an object with this number.
    pub(super) fn mark(&mut self, number: u32) {
        if let Some(place) = self.places.get_mut(number as usize) {
            place.found = true;
        }
    }

    /// Takes out what no collection found since the last time, and tells how many places there were.
    pub(super) fn sweep(&mut self) -> (Vec<HostValue>, usize) {
        let mut dead = Vec::new();
        for (number, place) in (0u32..).zip(&mut self.places) {
            if !std::mem::take(&mut place.found)
                && let Some(value) = place.value.take()
            {
                dead.push(value);
                self.free.push(number);
            }
        }
        (dead, self.places.len())
    }

    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// Each value is dropped by itself: how many there are is up to the guest, and a second panic while the first one
/// unwinds would end the process. The store is gone, so that there is nobody to tell.
impl Drop for Externs {
    fn drop(&mut self) {
        for value in self.places.drain(..).filter_map(|place| place.value) {
            let _ = panics::catch(|| drop(value));
        }
    }
}

/// A panic of a host value's drop code, as an error.
#[derive(Debug, thiserror::Error)]
#[error("dropping a host value panicked: {0}")]
struct DropPanicked(String);

impl StoreInner {
    /// Gives a value of the host to the heap, and makes the reference to it. The value is dropped at the latest
    /// with the store, and otherwise after a collection that found no reference to it any more.
    ///
    /// May collect: every [`VmRef`] that is no root is invalid afterwards.
    pub fn extern_new(&mut self, value: HostValue) -> Result<VmRef, TrapCode> {
        if self.heap.externs.free.is_empty()
            && !self.ledger.has_room(Resource::HostBytes, PLACE_BYTES)
        {
            self.gc()?;
        }
        // SAFETY: an object without a value yet, which is no more than its header.
        let object = unsafe { self.gc_alloc(EXTERN, NO_VALUE, u64::from(ALIGN), 0)? };
        let number = match self.heap.externs.free.pop() {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.heap.externs.places.len()).ok();
                let number = number.filter(|&n| n != NO_VALUE).ok_or(TrapCode::HeapExhausted)?;
                let counted = self.ledger.charge(Resource::HostBytes, PLACE_BYTES);
                counted.map_err(|_| TrapCode::LimitExceeded)?;
                self.heap.externs.places.push(Place { value: None, found: false });
                number
            }
        };
        let place = self.heap.externs.places.get_mut(number as usize).ok_or(TrapCode::Internal)?;
        place.value = Some(value);
        // SAFETY: the object was just made, and nothing was allocated since.
        unsafe { self.gc_object(object).cast::<u32>().add(1).write(number) };
        Ok(object)
    }

    /// The host value of a reference; `None` for everything else that a reference can be.
    pub fn extern_get(&self, reference: VmRef) -> Option<&(dyn Any + Send + Sync)> {
        let place = self.heap.externs.places.get(self.extern_number(reference)? as usize)?;
        Some(&**place.value.as_ref()?)
    }

    /// The host value of a reference, to be changed.
    pub fn extern_get_mut(&mut self, reference: VmRef) -> Option<&mut (dyn Any + Send + Sync)> {
        let number = self.extern_number(reference)?;
        let place = self.heap.externs.places.get_mut(number as usize)?;
        Some(&mut **place.value.as_mut()?)
    }

    /// How many host values there are.
    pub fn extern_count(&self) -> usize {
        self.heap.externs.len()
    }

    fn extern_number(&self, reference: VmRef) -> Option<u32> {
        if !self.gc_holds(reference) {
            return None;
        }
        // SAFETY: the reference lies among the objects, of which the least has 8 bytes.
        let [word, number] = unsafe { self.gc_header(reference) };
        (word == EXTERN).then_some(number)
    }

    /// Drops host values. The first panic is the error that is pending, and poisons the store.
    pub(super) fn drop_values(&mut self, values: Vec<HostValue>) -> Result<(), TrapCode> {
        let mut result = Ok(());
        for value in values {
            let Err(text) = panics::catch(|| drop(value)) else { continue };
            self.poisoned = true;
            result = Err(TrapCode::Internal);
            if self.pending_error.is_none() {
                self.pending_error = Some(Box::new(DropPanicked(text)));
            }
        }
        result
    }
}
