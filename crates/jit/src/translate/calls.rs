//! Calls and tail calls.
//!
//! A function that is compiled together with its caller is called directly. All others are entered through a
//! pair of address and context, which the runtime changes when a function gets machine code: until then it
//! leads to a stub of the function's signature. Small functions become part of their callers (see `inline`).

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, InstBuilder, SigRef, UserExternalName, Value, types,
};
use palisade_core::{TrapCode, TypeId};
use palisade_module::FuncIdx;
use palisade_module::wasmparser::Operator;
use palisade_vm::layout::{NativeEntry, NativeState, VmFuncRef, VmStoreCtx};
use palisade_vm::native::Builtin;

use super::exceptions::CallTarget;
use super::{FuncKinds, Result, Translator, invalid};
use crate::mutation::Mutation;

/// Who is called.
struct Callee {
    target: CallTarget,
    /// What it gets as its context.
    ctx: Value,
    type_id: TypeId,
    signature: SigRef,
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn calls(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::Call { function_index } => match self.inlinable(function_index)? {
                Some(callee) => self.inline(callee)?,
                None => {
                    let callee = self.named(function_index)?;
                    self.call(callee)?;
                }
            },
            Operator::ReturnCall { function_index } => {
                let callee = self.named(function_index)?;
                self.tail_call(callee)?;
            }
            Operator::CallIndirect { type_index, table_index } => {
                let callee = self.in_table(type_index, table_index)?;
                self.call(callee)?;
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let callee = self.in_table(type_index, table_index)?;
                self.tail_call(callee)?;
            }
            Operator::CallRef { type_index } => {
                let callee = self.referenced(type_index)?;
                self.call(callee)?;
            }
            Operator::ReturnCallRef { type_index } => {
                let callee = self.referenced(type_index)?;
                self.tail_call(callee)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call(&mut self, callee: Callee) -> Result<()> {
        let kinds = FuncKinds::of(&self.env, callee.type_id)?;
        let mut args = vec![callee.ctx];
        args.extend(self.pop_many(kinds.params.len())?);
        let results = self.emit_call(callee.signature, callee.target, &args)?;
        if !self.mutated(Mutation::FuelStale) {
            self.reload_fuel();
        }
        for (&kind, value) in kinds.results.iter().zip(results) {
            self.push(kind, value);
        }
        Ok(())
    }

    fn tail_call(&mut self, callee: Callee) -> Result<()> {
        let kinds = FuncKinds::of(&self.env, callee.type_id)?;
        let mut args = vec![callee.ctx];
        args.extend(self.pop_many(kinds.params.len())?);
        // The frame that goes was counted, and the one that comes counts itself.
        if !self.mutated(Mutation::TailCallUncounted) {
            self.leave();
        }
        match callee.target {
            CallTarget::Direct(func) => self.b.ins().return_call(func, &args),
            CallTarget::Indirect(code) => {
                self.b.ins().return_call_indirect(callee.signature, code, &args)
            }
        };
        self.reachable = false;
        Ok(())
    }

    /// The function with an index.
    fn named(&mut self, index: u32) -> Result<Callee> {
        let info = self.env.info;
        let Some(&type_id) = info.funcs.get(index as usize) else {
            return invalid("an unknown function");
        };
        let signature = self.sig_ref(type_id)?;
        let Some(defined) = index.checked_sub(info.imported_funcs) else {
            let reference = self.env.offsets.imported_func(FuncIdx(index));
            let reference = self.constant_field(types::I64, self.vmctx, reference);
            self.note_caller();
            let (code, mut ctx) = self.entry_of(reference);
            if self.mutated(Mutation::ContextWrong) {
                ctx = self.vmctx;
            }
            return Ok(Callee { target: CallTarget::Indirect(code), ctx, type_id, signature });
        };
        if (self.env.in_batch)(defined) {
            let target = CallTarget::Direct(self.func_ref(defined, signature));
            return Ok(Callee { target, ctx: self.vmctx, type_id, signature });
        }
        let pair = self.env.offsets.native(defined) as usize;
        let code = std::mem::offset_of!(NativeEntry, code);
        let code = self.field(types::I64, self.vmctx, pair + code);
        let ctx = self.field(types::I64, self.vmctx, pair + std::mem::offset_of!(NativeEntry, ctx));
        Ok(Callee { target: CallTarget::Indirect(code), ctx, type_id, signature })
    }

    /// A function of the same batch.
    fn func_ref(&mut self, defined: u32, signature: SigRef) -> FuncRef {
        if let Some(&known) = self.direct.get(&defined) {
            return known;
        }
        let name = UserExternalName::new(0, defined);
        let name = self.b.func.declare_imported_user_function(name);
        let made = self.b.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        self.direct.insert(defined, made);
        made
    }

    /// The element of a table that the uppermost operand names, if it has the type.
    fn in_table(&mut self, type_index: u32, table: u32) -> Result<Callee> {
        let type_id = self.env.type_id(type_index)?;
        let signature = self.sig_ref(type_id)?;
        let index = self.pop()?;
        let (place, _) = self.table_element(table, index, TrapCode::UndefinedElement)?;
        let flags = self.table_flags();
        let reference = self.b.ins().load(types::I64, flags, place, Offset32::new(0));
        self.trap_unless(reference, TrapCode::UninitializedElement);
        self.check_type(reference, type_index, type_id);
        self.note_caller();
        let (code, ctx) = self.entry_of(reference);
        Ok(Callee { target: CallTarget::Indirect(code), ctx, type_id, signature })
    }

    /// Ends the guest unless a function is of a type.
    fn check_type(&mut self, reference: Value, type_index: u32, type_id: TypeId) {
        if self.mutated(Mutation::CallTypeUnchecked) {
            return;
        }
        let found = self.field(types::I32, reference, std::mem::offset_of!(VmFuncRef, type_id));
        let expected = self.canonical_type(type_index);
        let same = self.b.ins().icmp(IntCC::Equal, found, expected);
        let is_final = self.env.types.get(type_id).is_some_and(|ty| ty.is_final);
        if is_final || self.mutated(Mutation::CallSubtypeRefused) {
            return self.trap_unless(same, TrapCode::IndirectCallTypeMismatch);
        }
        let (other, done) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(other);
        self.b.ins().brif(same, done, &[], other, &[]);
        self.b.seal_block(other);
        self.b.switch_to_block(other);
        if let Some(subtype) = self.builtin(Builtin::IsSubtype, &[found, expected]) {
            self.trap_unless(subtype, TrapCode::IndirectCallTypeMismatch);
        }
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }

    /// The function that the uppermost operand refers to. Validation has checked its type.
    fn referenced(&mut self, type_index: u32) -> Result<Callee> {
        let type_id = self.env.type_id(type_index)?;
        let signature = self.sig_ref(type_id)?;
        let reference = self.pop()?;
        self.trap_if_null(reference, TrapCode::NullFunctionReference);
        self.note_caller();
        let (code, ctx) = self.entry_of(reference);
        Ok(Callee { target: CallTarget::Indirect(code), ctx, type_id, signature })
    }

    /// How a function is entered, now.
    fn entry_of(&mut self, reference: Value) -> (Value, Value) {
        let native = std::mem::offset_of!(VmFuncRef, native);
        let code = native + std::mem::offset_of!(NativeEntry, code);
        let code = self.field(types::I64, reference, code);
        let ctx = native + std::mem::offset_of!(NativeEntry, ctx);
        (code, self.field(types::I64, reference, ctx))
    }

    /// Notes who calls, for a host function may want to know.
    fn note_caller(&mut self) {
        if self.mutated(Mutation::CallerForgotten) {
            return;
        }
        let store = self.store_ctx();
        let native = std::mem::offset_of!(VmStoreCtx, native);
        let caller = native + std::mem::offset_of!(NativeState, caller);
        self.set_field(store, caller, self.vmctx);
    }
}
