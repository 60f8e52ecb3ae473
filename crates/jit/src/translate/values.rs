//! Constants, locals, globals, selections, and what is asked of references without looking at objects.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64, Offset32};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::Variable;
use palisade_core::TrapCode;
use palisade_module::wasmparser::Operator;
use palisade_module::{FuncIdx, GlobalIdx};
use palisade_vm::layout::VmFuncRef;
use palisade_vm::native::Builtin;

use super::{Kind, Operand, Result, Translator, invalid};
use crate::mutation::Mutation;

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn values(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match *op {
            O::I32Const { value } => {
                // The upper half of the constant's immediate has to be zero.
                let value = self.b.ins().iconst(types::I32, i64::from(value as u32));
                self.push(Kind::I32, value);
            }
            O::I64Const { value } => {
                let value = self.b.ins().iconst(types::I64, value);
                self.push(Kind::I64, value);
            }
            O::F32Const { value } => {
                let value = self.b.ins().f32const(Ieee32::with_bits(value.bits()));
                self.push(Kind::F32, value);
            }
            O::F64Const { value } => {
                let value = self.b.ins().f64const(Ieee64::with_bits(value.bits()));
                self.push(Kind::F64, value);
            }
            O::LocalGet { local_index } => {
                let (variable, kind) = self.local(local_index)?;
                let value = self.b.use_var(variable);
                self.push(kind, value);
            }
            O::LocalSet { local_index } => {
                let (variable, _) = self.local(local_index)?;
                let value = self.pop()?;
                self.b.def_var(variable, value);
            }
            O::LocalTee { local_index } => {
                let (variable, _) = self.local(local_index)?;
                let operand = self.pop_operand()?;
                self.b.def_var(variable, operand.value);
                self.stack.push(operand);
            }
            O::GlobalGet { global_index } => self.global_get(global_index)?,
            O::GlobalSet { global_index } => self.global_set(global_index)?,
            O::Drop => {
                self.pop()?;
            }
            O::Select | O::TypedSelect { .. } => {
                let condition = self.pop()?;
                let second = self.pop_operand()?;
                let first = self.pop()?;
                let value = if self.mutated(Mutation::SelectSwapped) {
                    self.b.ins().select(condition, second.value, first)
                } else {
                    self.b.ins().select(condition, first, second.value)
                };
                self.push(second.kind, value);
            }
            O::RefNull { hty } => {
                let kind = self.heap_kind(hty);
                let null = self.zero(kind);
                self.push(kind, null);
            }
            O::RefIsNull => {
                let reference = self.pop()?;
                let null = self.b.ins().icmp_imm_s(IntCC::Equal, reference, 0);
                let null = self.b.ins().uextend(types::I32, null);
                self.push(Kind::I32, null);
            }
            O::RefAsNonNull => {
                let Operand { value, kind } = self.pop_operand()?;
                self.locate();
                self.trap_if_null(value, TrapCode::NullReference);
                self.stack.push(Operand { value, kind });
            }
            O::RefFunc { function_index } => self.ref_func(function_index)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn local(&self, index: u32) -> Result<(Variable, Kind)> {
        match self.locals.get(index as usize) {
            Some(&local) => Ok(local),
            None => invalid("an unknown local"),
        }
    }

    /// Where a global stands, so many bytes from an address; what it holds, and how it is read. A module's own stand in
    /// the context.
    fn global(&mut self, index: u32) -> Result<((Value, i32), Kind, MemFlagsData)> {
        let Some(global) = self.env.info.globals.get(index as usize) else {
            return invalid("an unknown global");
        };
        let kind = self.env.kind(global.ty.content);
        // A reference that a collection moves changes in a constant global, too.
        let fixed =
            (!global.ty.mutable || self.mutated(Mutation::GlobalStale)) && kind != Kind::Ref;
        let flags = MemFlagsData::trusted().with_alias_region(Some(self.global_region));
        let flags = if fixed { flags.with_readonly().with_can_move() } else { flags };
        if let Some(own) = self.env.offsets.own_global(GlobalIdx(index)) {
            return Ok(((self.vmctx, own as i32), kind, flags));
        }
        let offset = self.env.offsets.global(GlobalIdx(index));
        Ok(((self.constant_field(types::I64, self.vmctx, offset), 0), kind, flags))
    }

    fn global_get(&mut self, index: u32) -> Result<()> {
        let ((def, at), kind, flags) = self.global(index)?;
        let value = self.b.ins().load(kind.ty(), flags, def, Offset32::new(at));
        self.push(kind, value);
        Ok(())
    }

    fn global_set(&mut self, index: u32) -> Result<()> {
        let value = self.pop()?;
        let ((def, at), _, flags) = self.global(index)?;
        self.b.ins().store(flags, value, def, Offset32::new(at));
        Ok(())
    }

    /// The reference of a function, which the built-in makes when it is first asked for.
    fn ref_func(&mut self, index: u32) -> Result<()> {
        let info = self.env.info;
        if index < info.imported_funcs {
            let offset = self.env.offsets.imported_func(FuncIdx(index));
            let reference = self.constant_field(types::I64, self.vmctx, offset);
            self.push(Kind::Func, reference);
            return Ok(());
        }
        let place = i64::from(self.env.offsets.func_ref(FuncIdx(index)));
        let place = self.b.ins().iadd_imm_s(self.vmctx, place);
        let made = self.field(types::I64, place, std::mem::offset_of!(VmFuncRef, vmctx));
        let (make, done) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(make);
        self.b.ins().brif(made, done, &[], make, &[]);
        self.b.seal_block(make);
        self.b.switch_to_block(make);
        let func = self.number(u64::from(index));
        self.builtin(Builtin::RefFunc, &[func]);
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        self.push(Kind::Func, place);
        Ok(())
    }
}
