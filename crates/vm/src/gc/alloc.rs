//! Making objects, and room for them: when to collect, how much the heap may grow, and when it is full.
//!
//! A heap that is full collects, and only then grows, to about twice what is in use. Both halves count in the
//! store's ledger. What the ledger, the embedder's limiter or the system do not give is the heap's limit. A
//! heap at its limit of which a collection frees less than a quarter is exhausted, for it would soon do
//! nothing but collect.

use std::sync::Arc;

use palisade_core::{TrapCode, TypeId};

use super::layout::{ALIGN, LARGEST_OBJECT, SPACE_BYTES};
use super::space::Space;
use super::{GcStats, HeapTypeInfo};
use crate::builtins::growth_trap;
use crate::error::VmError;
use crate::layout::VmRef;
use crate::ledger::Resource;
use crate::store::StoreInner;

/// The least that a heap grows to, where it may.
const LEAST: u64 = 1 << 20;
/// How much larger a heap becomes than what is in use: by the square root of 10, so that ten times the objects
/// take two steps more, and at most about ten times the copying, wherever the steps lie.
const GROWTH: (u64, u64) = (19, 6);
/// So many collections in a row find a heap too large before it becomes smaller: a program that begins anew has little in
/// use for a moment.
const PATIENCE: u32 = 8;
/// Room beside an object that did not fit, for the next ones of its kind.
const MOST_BESIDE: u64 = 16 << 20;

/// The error of a store whose heap is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error(
    "a reference of the heap leads to no object; this is a bug of the runtime, please report it"
)]
struct CorruptHeap;

impl StoreInner {
    /// Makes an object of `bytes` bytes, header and all (a multiple of 8), zero but for its two words.
    /// Of the references from `ref_fp` on, the first `live` are in use.
    ///
    /// May collect: every [`VmRef`] that is not in a frame below that, a global, a table, an object or a root is
    /// invalid afterwards.
    ///
    /// # Safety
    ///
    /// The words are the header of an object of that size ([`super::layout`]), whose fields may be zero until
    /// they are written; its type stays registered as long as the store lives.
    #[inline]
    pub unsafe fn gc_alloc(
        &mut self,
        word0: u32,
        word1: u32,
        bytes: u64,
        live: u32,
    ) -> Result<VmRef, TrapCode> {
        let ctx = self.ctx_ptr();
        // SAFETY: the context is owned by the store, on its own thread; the object lies within the half
        // that is open, behind the last one.
        unsafe {
            let room = (*ctx).heap_end.saturating_sub((*ctx).heap_next);
            if bytes > room as u64 {
                self.make_room(bytes, live)?;
            }
            let at = (*ctx).heap_next;
            (*ctx).heap_next = at + bytes as usize;
            (*ctx).heap_base.add(at).cast::<[u32; 2]>().write([word0, word1]);
            Ok(VmRef(at as u32))
        }
    }

    /// Collects everything that cannot be reached, from the host's side: no reference above `ref_fp` is in use.
    /// An error if dropping a host value panicked.
    pub fn gc(&mut self) -> Result<(), TrapCode> {
        let Some(root_bytes) = self.collect_and_drop(0)? else { return Ok(()) };
        let wanted = self.wanted_capacity(0, root_bytes);
        // Whoever asks for a collection wants what it gives.
        self.shrink(wanted, true);
        self.set_end(0);
        Ok(())
    }

    /// What the heap has done, and how large it is.
    pub fn gc_stats(&self) -> GcStats {
        let space = self.heap.space.as_ref();
        let capacity = space.map_or(0, Space::capacity);
        GcStats { capacity, in_use: self.heap_used(), ..self.heap.stats }
    }

    /// What is known of a type whose objects may be made; `None` if it is no structure or array type.
    pub fn gc_type_info(&mut self, ty: TypeId) -> Option<Arc<HeapTypeInfo>> {
        let types = Arc::clone(&self.types);
        self.heap.type_info(&types, ty)
    }

    /// Whether a reference lies among the objects.
    pub fn gc_holds(&self, reference: VmRef) -> bool {
        let Some(space) = &self.heap.space else { return false };
        let at = u64::from(reference.0);
        at.is_multiple_of(u64::from(ALIGN)) && (space.start()..self.heap_next()).contains(&at)
    }

    /// The bytes that objects take.
    fn heap_used(&self) -> u64 {
        let next = self.heap_next();
        self.heap.space.as_ref().map_or(0, |space| next.saturating_sub(space.start()))
    }

    /// Sees to it that an object of `bytes` bytes can be placed.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, bytes: u64, live: u32) -> Result<(), TrapCode> {
        if bytes > LARGEST_OBJECT {
            return Err(TrapCode::AllocationTooLarge);
        }
        self.interrupts().poll()?;
        if self.move_window(bytes) {
            return Ok(());
        }
        let root_bytes = if self.heap.space.is_none() {
            self.make_heap()?;
            0
        } else {
            self.collect_and_drop(live)?.unwrap_or(0)
        };
        let wanted = self.wanted_capacity(bytes, root_bytes);
        let used = self.heap_used();
        let needed = u64::from(ALIGN) + used + bytes;
        self.grow(wanted, needed)?;
        self.shrink(wanted, false);
        self.set_end(bytes);
        let capacity = self.heap.space.as_ref().map_or(0, Space::capacity);
        let crowded = capacity < wanted && (capacity - used.min(capacity)) < capacity / 4;
        if capacity < needed || crowded {
            // So that the ledger knows what was missing.
            let _ = self.ledger.check(Resource::MemoryBytes, 2 * wanted.saturating_sub(capacity));
            return Err(TrapCode::HeapExhausted);
        }
        Ok(())
    }

    fn make_heap(&mut self) -> Result<(), TrapCode> {
        let space = Space::reserve().map_err(|_| TrapCode::HeapExhausted)?;
        let ctx = self.ctx_ptr();
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe {
            (*ctx).heap_base = space.base();
            (*ctx).heap_next = space.start() as usize;
            (*ctx).heap_end = 0;
        }
        let (start, end) = space.reservation();
        self.set_heap_range(start, end);
        self.heap.space = Some(space);
        Ok(())
    }

    /// Lets an object of `bytes` bytes be placed without a collection, if the heap is not full.
    fn move_window(&mut self, bytes: u64) -> bool {
        let next = self.heap_next();
        let Some(space) = &self.heap.space else { return false };
        let fits = next.saturating_add(bytes) <= space.end() && !self.config.gc_stress;
        if fits {
            self.set_end(bytes);
        }
        fits
    }

    /// Makes room for an object of so many bytes zero, as far as there is some, and tells engines how far they may
    /// place objects: nowhere, if every allocation is to collect.
    fn set_end(&mut self, bytes: u64) {
        let next = self.heap_next();
        let end = self.heap.space.as_mut().map_or(0, |space| space.window(next, bytes));
        let ctx = self.ctx_ptr();
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe { (*ctx).heap_end = if self.config.gc_stress { 0 } else { end as usize } };
    }

    fn heap_next(&self) -> u64 {
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe { (*self.ctx_ptr()).heap_next as u64 }
    }

    /// Collects, then drops the host values that are gone. How many bytes of roots there were.
    fn collect_and_drop(&mut self, live: u32) -> Result<Option<u64>, TrapCode> {
        let Some(collected) = self.collect(live) else { return Ok(None) };
        self.set_end(0);
        let dropped = self.drop_values(collected.dead);
        if collected.corrupt {
            self.poisoned = true;
            self.pending_error = Some(Box::new(CorruptHeap));
            return Err(TrapCode::Internal);
        }
        dropped.map(|()| Some(collected.root_bytes))
    }

    /// The capacity at which the heap should collect next, with `bytes` about to be added: the work that
    /// a collection does, on objects and roots, is to be worth it. May be more than there can be.
    fn wanted_capacity(&self, bytes: u64, root_bytes: u64) -> u64 {
        let used = self.heap_used() + u64::from(ALIGN);
        let beside = bytes.min(MOST_BESIDE);
        let (by, of) = GROWTH;
        (used * by / of).max(used + bytes + beside).max(used + root_bytes / 2).max(LEAST)
    }

    /// Grows to `wanted`, or as far as everybody agrees and `needed` makes sense.
    fn grow(&mut self, wanted: u64, needed: u64) -> Result<(), TrapCode> {
        let capacity = self.heap.space.as_ref().map_or(0, Space::capacity);
        let in_use = self.ledger.in_use(Resource::MemoryBytes);
        let left = match self.ledger.limit(Resource::MemoryBytes) {
            Some(limit) => limit.saturating_sub(in_use),
            None => u64::MAX,
        };
        let reach = Space::round_down(capacity.saturating_add(left / 2));
        let (wanted, needed) = (Space::round_up(wanted).min(reach), Space::round_up(needed));
        if wanted > capacity && wanted >= needed && self.grow_to(wanted)? {
            return Ok(());
        }
        if needed > capacity && needed < wanted {
            self.grow_to(needed)?;
        }
        Ok(())
    }

    /// Grows to a capacity that the ledger allows, if the limiter and the system do.
    fn grow_to(&mut self, capacity: u64) -> Result<bool, TrapCode> {
        let Some(space) = &self.heap.space else { return Ok(false) };
        let old = space.capacity();
        let (now, then) = ((2 * old) as usize, (2 * capacity) as usize);
        let most = (2 * SPACE_BYTES) as usize;
        let agreed = self.ask_limiter(true, |l| l.memory_growing(now, then, Some(most)));
        if !agreed.map_err(|error| growth_trap(self, error))? {
            return Ok(false);
        }
        let more = 2 * (capacity - old);
        if self.ledger.charge(Resource::MemoryBytes, more).is_err() {
            return Ok(false);
        }
        let Some(space) = &mut self.heap.space else { return Ok(false) };
        match space.set_capacity(capacity) {
            Ok(()) => {
                self.heap.stats.peak = self.heap.stats.peak.max(capacity);
                Ok(true)
            }
            Err(source) => {
                self.ledger.release(Resource::MemoryBytes, more);
                let error = VmError::system("the heap of objects", 2 * capacity)(source);
                let told = self.ask_limiter((), |limiter| limiter.memory_grow_failed(&error));
                told.map_err(|error| growth_trap(self, error))?;
                Ok(false)
            }
        }
    }

    /// Gives back what a heap has too much of, if that is much.
    fn shrink(&mut self, wanted: u64, at_once: bool) {
        let Some(space) = &mut self.heap.space else { return };
        let (wanted, old) = (Space::round_up(wanted), space.capacity());
        if wanted > old / 4 {
            self.heap.too_large = 0;
            return;
        }
        self.heap.too_large += 1;
        if self.heap.too_large < PATIENCE && !at_once {
            return;
        }
        self.heap.too_large = 0;
        // In steps, unless somebody asks. Less takes nothing from the system, so that it cannot fail.
        let new = if at_once { wanted } else { wanted.max(Space::round_up(old / 2)) };
        if space.set_capacity(new).is_ok() {
            self.ledger.release(Resource::MemoryBytes, 2 * (old - new));
        }
    }
}
