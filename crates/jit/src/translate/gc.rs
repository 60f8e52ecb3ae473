//! Objects of the heap: structures, arrays, small integers as references, tests and casts.
//!
//! A reference is the offset of an object in the heap's reservation of 4 GiB, so that whatever it is, the object's
//! header lies inside. Objects move: an address is computed where it is used, and never kept over anything
//! that may collect. Making objects, and bulk work, are charged for as in `palisade_vm::builtins::gc`.

mod objects;

use palisade_module::wasmparser::Operator;

use super::{Result, Translator};

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn gc(&mut self, _op: &Operator<'_>) -> Result<bool> {
        Ok(false)
    }
}
