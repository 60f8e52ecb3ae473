//! Exceptions.

use palisade_module::wasmparser::Operator;

use super::{Result, Translator};

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn exceptions(&mut self, _op: &Operator<'_>) -> Result<bool> {
        Ok(false)
    }

    /// The end of a `try_table`: so many handlers were there outside of it.
    pub(super) fn end_try(&mut self, _outer: usize) {}
}
