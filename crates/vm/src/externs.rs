//! The host values that guests hold by `externref`.
//!
//! A guest sees a number, never an address; the number is looked up here each time it comes back.
//! Values live as long as the store. Numbers are even and not 0, so that they are neither null nor an
//! `i31` ([`crate::VmRef`]).

use std::any::Any;

use crate::layout::VmRef;

/// A value of the host.
pub type HostValue = Box<dyn Any + Send + Sync>;

/// The host values of one store.
#[derive(Default)]
pub struct ExternTable {
    values: Vec<HostValue>,
}

impl ExternTable {
    /// How many values can be held: as many as there are references.
    pub const CAPACITY: usize = (u32::MAX >> 1) as usize - 1;

    /// Keeps a value and makes a reference to it; gives it back when there are no more numbers.
    pub fn insert(&mut self, value: HostValue) -> Result<VmRef, HostValue> {
        if self.values.len() >= Self::CAPACITY {
            return Err(value);
        }
        self.values.push(value);
        // At most CAPACITY, so that the shifted number fits.
        Ok(VmRef((self.values.len() as u32) << 1))
    }

    /// The value of a reference; `None` for null, for an `i31` and for unknown numbers.
    pub fn get(&self, reference: VmRef) -> Option<&(dyn Any + Send + Sync)> {
        Some(&**self.values.get(Self::position(reference)?)?)
    }

    /// The value of a reference, to be changed.
    pub fn get_mut(&mut self, reference: VmRef) -> Option<&mut (dyn Any + Send + Sync)> {
        Some(&mut **self.values.get_mut(Self::position(reference)?)?)
    }

    /// How many values are held.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none are held.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn position(reference: VmRef) -> Option<usize> {
        if reference.0 & 1 == 1 {
            return None;
        }
        ((reference.0 >> 1) as usize).checked_sub(1)
    }
}

impl std::fmt::Debug for ExternTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExternTable({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_nothing_else_does() {
        let mut table = ExternTable::default();
        let a = table.insert(Box::new(1u8)).expect("room");
        let b = table.insert(Box::new("two")).expect("room");
        assert_eq!((a, b), (VmRef(2), VmRef(4)));
        assert_eq!(table.get(a).and_then(|v| v.downcast_ref::<u8>()), Some(&1));
        assert_eq!(table.get(b).and_then(|v| v.downcast_ref::<&str>()), Some(&"two"));
        for wrong in [VmRef::NULL, VmRef(1), VmRef(3), VmRef(6), VmRef(u32::MAX), VmRef(!1)] {
            assert!(table.get(wrong).is_none(), "{wrong:?}");
            assert!(table.get_mut(wrong).is_none(), "{wrong:?}");
        }
    }
}
