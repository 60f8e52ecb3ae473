//! Exceptions.

use palisade_module::wasmparser::Operator;

use cranelift_codegen::ir::{FuncRef, InstBuilder, SigRef, Value};

use super::{Result, Translator};

/// What a call enters.
#[derive(Copy, Clone, Debug)]
pub(crate) enum CallTarget {
    /// A function of the same batch.
    Direct(FuncRef),
    /// An address.
    Indirect(Value),
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn exceptions(&mut self, _op: &Operator<'_>) -> Result<bool> {
        Ok(false)
    }

    pub(crate) fn emit_call(
        &mut self,
        signature: SigRef,
        target: CallTarget,
        args: &[Value],
    ) -> Result<Vec<Value>> {
        let call = match target {
            CallTarget::Direct(func) => self.b.ins().call(func, args),
            CallTarget::Indirect(code) => self.b.ins().call_indirect(signature, code, args),
        };
        Ok(self.b.inst_results(call).to_vec())
    }

    /// The end of a `try_table`: so many handlers were there outside of it.
    pub(super) fn end_try(&mut self, _outer: usize) {}
}
