//! Calls of every kind: arguments go to where the callee's frame begins, results are found there.

use palisade_module::{FuncIdx, TableIdx};

use crate::code::Signature;
use crate::ops::call::{
    CALL, CALL_IMPORT, CALL_INDIRECT, CALL_INDIRECT_ANY, CALL_REF, CallOps, HEADER_CELLS,
    IndirectOps, TAIL_CALL, TAIL_CALL_IMPORT, TAIL_CALL_INDIRECT, TAIL_CALL_REF, TailOps,
};
use crate::ops::refs as ref_ops;
use crate::translate::stack::Loc;
use crate::translate::values::Source;
use crate::translate::{Result, Translator, invalid};

/// What is called.
#[derive(Copy, Clone, Debug)]
pub(super) enum Callee {
    Func(FuncIdx),
    Table { table: u32, type_index: u32, index: Source },
    Ref(u16),
}

impl Translator<'_> {
    /// Puts arguments into place and takes them off the stack. Returns where they begin: in the
    /// value part and in the reference part.
    fn arguments(&mut self, signature: &Signature) -> Result<(u32, u32)> {
        if signature.ref_params + signature.ref_results > 0 {
            self.need_refs()?;
        }
        let Some(first) = self.stack.entries.len().checked_sub(signature.params.len()) else {
            return invalid();
        };
        self.spill_all();
        self.settle_from(first)?;
        self.stack.truncate(first);
        // The callee's header is written before its own frame is known to fit.
        let cells = (signature.param_cells + HEADER_CELLS).max(signature.result_cells);
        self.stack.reserve(cells, signature.ref_params.max(signature.ref_results));
        Ok((self.stack.cells, self.stack.refs))
    }

    /// A call of any kind.
    pub(super) fn call(&mut self, signature: &Signature, callee: Callee) -> Result<()> {
        let (base, refs_base) = self.arguments(signature)?;
        let params = signature.param_cells as u16;
        let push = self.with_refs && refs_base > 0;
        let window = self.slots(0, refs_base, 0, 0);
        if push {
            self.emit(ref_ops::PUSH, window);
        }
        let base16 = self.slot(base);
        let at = self.emitter.here();
        match callee {
            Callee::Func(func) => {
                let (import, target) = self.target(func);
                let handler = if import { CALL_IMPORT } else { CALL };
                self.emit_marked(handler, CallOps { handler: 0, base: base16, params, target });
            }
            Callee::Table { table, type_index, index } => {
                let (fast, mut operands) = self.indirect(table, type_index, base16, params)?;
                let handler = match index {
                    Source::Slot(slot) => {
                        operands.index = slot;
                        if fast { CALL_INDIRECT[0] } else { CALL_INDIRECT_ANY }
                    }
                    _ => CALL_INDIRECT[1],
                };
                self.emit_marked(handler, operands);
            }
            Callee::Ref(index) => {
                let operands = self.ref_operands(index, base16, params);
                self.emit_marked(CALL_REF, operands);
            }
        }
        self.note_site(at, if push { refs_base } else { 0 }, false);
        self.may_throw();
        if push {
            self.emit(ref_ops::POP, window);
        }
        self.stack.forget();
        for &ty in &signature.results {
            self.push(ty, Loc::Slot)?;
        }
        if let [ty] = *signature.results
            && let Some(reg) = ty.reg()
        {
            self.stack.reg(reg).holds = Some(base);
        }
        Ok(())
    }

    /// A tail call of any kind.
    pub(super) fn tail_call(&mut self, signature: &Signature, callee: Callee) -> Result<()> {
        let (base, refs_base) = self.arguments(signature)?;
        let params = signature.param_cells as u16;
        let header = self.signature.param_cells as u16;
        if signature.ref_params > 0 && refs_base > 0 {
            let operands = self.slots(0, refs_base, signature.ref_params, 0);
            self.emit(ref_ops::COPY_SPAN, operands);
        }
        let base = self.slot(base);
        let at = self.emitter.here();
        let mut replaced = false;
        match callee {
            Callee::Func(func) => {
                let (import, target) = self.target(func);
                let handler = if import { TAIL_CALL_IMPORT } else { TAIL_CALL };
                let operands =
                    TailOps { handler: 0, base, params, header, pad: 0, target, pad2: 0 };
                self.emit_marked(handler, operands);
                // The frame is replaced before anything else happens.
                replaced = !import;
            }
            Callee::Table { table, type_index, index } => {
                let (_, mut operands) = self.indirect(table, type_index, base, params)?;
                let Source::Slot(slot) = index else { return invalid() };
                operands.index = slot;
                operands.header = header;
                self.emit_marked(TAIL_CALL_INDIRECT, operands);
            }
            Callee::Ref(index) => {
                let mut operands = self.ref_operands(index, base, params);
                operands.header = header;
                self.emit_marked(TAIL_CALL_REF, operands);
            }
        }
        self.note_site(at, 0, !replaced);
        self.stop();
        Ok(())
    }

    /// Whether a function is imported, and where the context holds what is needed to call it.
    fn target(&self, func: FuncIdx) -> (bool, u32) {
        let offsets = self.module.offsets();
        match func.0.checked_sub(self.module.info().imported_funcs) {
            Some(defined) => (false, offsets.code(defined)),
            None => (true, offsets.imported_func(func)),
        }
    }

    /// The operands of a call through a table, and whether the fast form can be used.
    fn indirect(
        &self,
        table: u32,
        type_index: u32,
        base: u16,
        params: u16,
    ) -> Result<(bool, IndirectOps)> {
        let info = self.module.info();
        let types = (info.tables.get(table as usize), info.types.get(type_index as usize));
        let (Some(ty), Some(type_id)) = types else { return invalid() };
        let offsets = self.module.offsets();
        let operands = IndirectOps {
            handler: 0,
            base,
            params,
            index: 0,
            header: 0,
            table: offsets.table(TableIdx(table)),
            type_id: type_id.0,
            code: offsets.code(0),
            table64: u32::from(ty.ty.table64),
        };
        Ok((!ty.ty.table64, operands))
    }

    fn ref_operands(&self, index: u16, base: u16, params: u16) -> IndirectOps {
        IndirectOps {
            handler: 0,
            base,
            params,
            index,
            header: 0,
            table: 0,
            type_id: 0,
            code: self.module.offsets().code(0),
            table64: 0,
        }
    }

    /// Whether a table is indexed by 64-bit numbers.
    pub(super) fn table64(&self, table: u32) -> Result<bool> {
        match self.module.info().tables.get(table as usize) {
            Some(table) => Ok(table.ty.table64),
            None => invalid(),
        }
    }
}
