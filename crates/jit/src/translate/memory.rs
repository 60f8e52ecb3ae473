//! Operators of this family.

use palisade_module::wasmparser::Operator;

use super::{Result, Translator};

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn memory(&mut self, _op: &Operator<'_>) -> Result<bool> {
        Ok(false)
    }
}
