//! Tables. Elements are addresses of `VmFuncRef`s in tables of functions, `VmRef`s in all others.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use palisade_core::{TableType, TrapCode, ValType};
use palisade_module::TableIdx;
use palisade_module::wasmparser::Operator;
use palisade_vm::layout::VmTableDef;
use palisade_vm::native::Builtin;

use super::{Kind, Result, Translator};
use crate::error::CompileError;
use crate::mutation::Mutation;

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn tables(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::TableGet { table } => {
                let index = self.pop()?;
                let (place, kind) = self.table_element(table, index, TrapCode::TableOutOfBounds)?;
                let flags = self.table_flags();
                let value = self.b.ins().load(kind.ty(), flags, place, Offset32::new(0));
                self.push(kind, value);
            }
            Operator::TableSet { table } => {
                let (index, value) = self.pop2()?;
                let (place, _) = self.table_element(table, index, TrapCode::TableOutOfBounds)?;
                let flags = self.table_flags();
                self.b.ins().store(flags, value, place, Offset32::new(0));
            }
            Operator::TableSize { table } => {
                let wide = self.table_type(table)?.table64;
                let len = self.table_field(table, std::mem::offset_of!(VmTableDef, len));
                self.push_index(wide, len);
            }
            Operator::TableGrow { table } => {
                let wide = self.table_type(table)?.table64;
                let (init, delta) = self.pop2()?;
                let number = self.number(u64::from(table));
                let old = self.builtin_value(Builtin::TableGrow, &[number, init, delta])?;
                self.push_index(wide, old);
            }
            Operator::TableFill { table } => {
                let (index, value, len) = self.pop3()?;
                let number = self.number(u64::from(table));
                self.builtin(Builtin::TableFill, &[number, index, value, len]);
            }
            Operator::TableCopy { dst_table, src_table } => {
                let (to, from, len) = self.pop3()?;
                let tables = self.packed(dst_table, src_table);
                self.builtin(Builtin::TableCopy, &[tables, to, from, len]);
            }
            Operator::TableInit { elem_index, table } => {
                let (to, from, len) = self.pop3()?;
                let what = self.packed(table, elem_index);
                self.builtin(Builtin::TableInit, &[what, to, from, len]);
            }
            Operator::ElemDrop { elem_index } => {
                let elem = self.number(u64::from(elem_index));
                self.builtin(Builtin::ElemDrop, &[elem]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The type of a table.
    pub(crate) fn table_type(&self, table: u32) -> Result<TableType> {
        let table = self.env.info.tables.get(table as usize);
        table.map(|table| table.ty).ok_or(CompileError::Internal("an unknown table"))
    }

    /// How elements are accessed.
    pub(crate) fn table_flags(&self) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(self.table_region))
    }

    fn table_field(&mut self, table: u32, offset: usize) -> Value {
        let (index, mut at) = (TableIdx(table), 0);
        let def = match self.env.offsets.own_table(index) {
            Some(own) => {
                at = own as usize;
                self.vmctx
            }
            None => {
                let def = self.env.offsets.table(index);
                self.constant_field(types::I64, self.vmctx, def)
            }
        };
        let is_len = offset == std::mem::offset_of!(VmTableDef, len);
        if is_len && self.mutated(Mutation::TableLengthStale) {
            return self.constant_field(types::I64, def, (at + offset) as u32);
        }
        self.field(types::I64, def, at + offset)
    }

    /// Where an element stands, and what it is; `code` is the trap if there is none. The address is 0 while the
    /// processor speculates that there is one.
    pub(crate) fn table_element(
        &mut self,
        table: u32,
        index: Value,
        code: TrapCode,
    ) -> Result<(Value, Kind)> {
        let kind = self.env.kind(ValType::Ref(self.table_type(table)?.element));
        let index = self.zero_extend(index);
        let len = self.table_field(table, std::mem::offset_of!(VmTableDef, len));
        let beyond = if self.mutated(Mutation::TableOffByOne) {
            IntCC::UnsignedGreaterThan
        } else {
            IntCC::UnsignedGreaterThanOrEqual
        };
        let outside = self.b.ins().icmp(beyond, index, len);
        if !self.mutated(Mutation::TableUnchecked) {
            self.trap_if(outside, code);
        }
        let base = self.table_field(table, std::mem::offset_of!(VmTableDef, base));
        let size = if kind == Kind::Func { 3 } else { 2 };
        let offset = self.b.ins().ishl_imm_u(index, size);
        let place = self.b.ins().iadd(base, offset);
        let nowhere = self.number(0);
        // Always: what is read here is called.
        Ok((self.b.ins().select_spectre_guard(outside, nowhere, place), kind))
    }
}
