//! What the host holds: references that a collection keeps alive, and changes when it moves their objects.
//!
//! There are two kinds. Those in scopes are pushed onto a stack and go when their scope is closed; a handle to one
//! is a position and a number that is given once in a store's life, so that a handle from a closed
//! scope is known as such, for ever. Owned ones live until their owner is dropped, which needs no store:
//! their numbers come back through a list that owners and store share.

use std::sync::{Arc, Mutex, PoisonError};

use crate::layout::VmRef;

/// A reference in a scope of the host.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct RootIndex {
    index: u32,
    generation: u64,
}

/// The beginning of a scope: what was there before it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use = "a scope that is never closed keeps all its references"]
pub struct ScopeMark(usize);

/// A reference that lives until this is dropped.
pub struct OwnedRoot {
    index: u32,
    dropped: Arc<Mutex<Vec<u32>>>,
}

impl Drop for OwnedRoot {
    fn drop(&mut self) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

impl std::fmt::Debug for OwnedRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnedRoot({})", self.index)
    }
}

/// The references that the host holds in one store.
#[derive(Debug, Default)]
pub struct Roots {
    scoped: Vec<(VmRef, u64)>,
    next_generation: u64,
    owned: Vec<VmRef>,
    free: Vec<u32>,
    dropped: Arc<Mutex<Vec<u32>>>,
}

impl Roots {
    /// Holds a reference until the innermost scope is closed. `None` when there are more than can be numbered.
    #[inline]
    pub fn push(&mut self, reference: VmRef) -> Option<RootIndex> {
        let index = u32::try_from(self.scoped.len()).ok()?;
        let generation = self.next_generation;
        self.next_generation += 1;
        self.scoped.push((reference, generation));
        Some(RootIndex { index, generation })
    }

    /// What is held; `None` once its scope is closed.
    #[inline]
    pub fn get(&self, root: RootIndex) -> Option<VmRef> {
        let &(reference, generation) = self.scoped.get(root.index as usize)?;
        (generation == root.generation).then_some(reference)
    }

    /// Opens a scope.
    #[inline]
    pub fn scope(&self) -> ScopeMark {
        ScopeMark(self.scoped.len())
    }

    /// Closes a scope, and those that were opened in it.
    #[inline]
    pub fn close(&mut self, mark: ScopeMark) {
        if self.scoped.len() > mark.0 {
            self.scoped.truncate(mark.0);
        }
    }

    /// How many references are held in scopes.
    pub fn len(&self) -> usize {
        self.scoped.len()
    }

    /// Whether none are held in scopes.
    pub fn is_empty(&self) -> bool {
        self.scoped.is_empty()
    }

    /// Holds a reference until its owner is dropped. `None` when there are more than can be numbered.
    pub fn own(&mut self, reference: VmRef) -> Option<OwnedRoot> {
        self.take_back();
        let index = match self.free.pop() {
            Some(index) => {
                *self.owned.get_mut(index as usize)? = reference;
                index
            }
            None => {
                let index = u32::try_from(self.owned.len()).ok()?;
                self.owned.push(reference);
                index
            }
        };
        Some(OwnedRoot { index, dropped: Arc::clone(&self.dropped) })
    }

    /// What an owner holds; `None` if it belongs to another store.
    pub fn get_owned(&self, root: &OwnedRoot) -> Option<VmRef> {
        if !Arc::ptr_eq(&root.dropped, &self.dropped) {
            return None;
        }
        self.owned.get(root.index as usize).copied()
    }

    /// How many owners there are that have not been dropped.
    pub fn owned_len(&mut self) -> usize {
        self.take_back();
        self.owned.len() - self.free.len()
    }

    /// Frees what dropped owners held.
    fn take_back(&mut self) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for index in dropped.drain(..) {
            if let Some(slot) = self.owned.get_mut(index as usize) {
                *slot = VmRef::NULL;
                self.free.push(index);
            }
        }
        // A burst of handles is not kept in memory for ever.
        if dropped.capacity() > 1024 {
            *dropped = Vec::new();
        }
    }

    /// Every reference that is held.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut VmRef> {
        self.take_back();
        self.scoped.iter_mut().map(|(reference, _)| reference).chain(&mut self.owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_go_with_their_scope_and_handles_know_it() {
        let mut roots = Roots::default();
        let outer = roots.push(VmRef(8)).expect("room");
        let scope = roots.scope();
        let inner = roots.push(VmRef(16)).expect("room");
        assert_eq!((roots.get(outer), roots.get(inner)), (Some(VmRef(8)), Some(VmRef(16))));
        roots.close(scope);
        assert_eq!((roots.get(outer), roots.get(inner)), (Some(VmRef(8)), None));
        // The same position, and not the same reference.
        let later = roots.push(VmRef(24)).expect("room");
        assert_eq!((roots.get(later), roots.get(inner)), (Some(VmRef(24)), None));
        assert_eq!(later.index, inner.index);
    }

    #[test]
    fn closing_an_outer_scope_closes_the_inner_ones() {
        let mut roots = Roots::default();
        let (outer, _) = (roots.scope(), roots.push(VmRef(8)));
        let (inner, _) = (roots.scope(), roots.push(VmRef(16)));
        roots.close(outer);
        assert!(roots.is_empty());
        roots.close(inner);
        assert_eq!(roots.len(), 0);
    }

    #[test]
    fn owned_references_outlive_scopes_and_their_places_are_used_again() {
        let mut roots = Roots::default();
        let scope = roots.scope();
        let a = roots.own(VmRef(8)).expect("room");
        let b = roots.own(VmRef(16)).expect("room");
        roots.close(scope);
        assert_eq!((roots.get_owned(&a), roots.get_owned(&b)), (Some(VmRef(8)), Some(VmRef(16))));
        drop(a);
        assert_eq!(roots.owned_len(), 1);
        assert_eq!(roots.each().filter(|r| !r.is_null()).count(), 1);
        let c = roots.own(VmRef(24)).expect("room");
        assert_eq!((c.index, roots.owned.len()), (0, 2));
        assert_eq!(Roots::default().get_owned(&c), None, "another store's");
        std::thread::spawn(move || drop((b, c))).join().expect("no store is needed");
        assert_eq!(roots.owned_len(), 0);
    }
}
