//! What stands in objects: headers, fields, elements.
//!
//! An access carries the trap code of an internal error: the heap's reservation is only in part accessible, and a
//! reference that leads elsewhere, which no guest can make, must not end the process.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Type, Value, types};
use palisade_core::TrapCode;
use palisade_vm::gc::layout::FieldKind;
use palisade_vm::layout::VmStoreCtx;
use palisade_vm::native::Builtin;

use crate::error::CompileError;
use crate::translate::{Kind, Result, Translator, trap_code};

impl Translator<'_, '_> {
    /// How objects are accessed. Vectors are only aligned to 8 bytes.
    fn object_flags(&self) -> MemFlagsData {
        MemFlagsData::new()
            .with_trap_code(Some(trap_code(TrapCode::Internal)))
            .with_alias_region(Some(self.objects.region))
    }

    /// The address of the object of a reference, which is neither null nor a number. It is an address until the
    /// next call.
    pub(crate) fn object(&mut self, reference: Value) -> Value {
        let store = self.store_ctx();
        let base = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, heap_base));
        let offset = self.zero_extend(reference);
        self.b.ins().iadd(base, offset)
    }

    /// Calls a built-in that gives a reference, which the collector knows of from then on.
    pub(crate) fn builtin_ref(&mut self, builtin: Builtin, args: &[Value]) -> Result<Value> {
        let value = self.builtin_value(builtin, args)?;
        let reference = self.b.ins().ireduce(types::I32, value);
        self.note(reference, Kind::Ref);
        Ok(reference)
    }

    /// Reads from an object: `object` is its address.
    pub(crate) fn load_word(&mut self, ty: Type, object: Value, offset: u32) -> Value {
        let flags = self.object_flags();
        self.b.ins().load(ty, flags, object, Offset32::new(offset as i32))
    }

    /// Reads a field or an element for the operand stack. `base` is an address, of the object or within.
    pub(crate) fn load_field(
        &mut self,
        base: Value,
        offset: u32,
        field: FieldKind,
        kind: Kind,
        signed: bool,
    ) -> Result<Value> {
        let at = Offset32::new(offset as i32);
        let flags = self.object_flags();
        let value = match (field, signed) {
            (FieldKind::I8, true) => self.b.ins().sload8(types::I32, flags, base, at),
            (FieldKind::I8, false) => self.b.ins().uload8(types::I32, flags, base, at),
            (FieldKind::I16, true) => self.b.ins().sload16(types::I32, flags, base, at),
            (FieldKind::I16, false) => self.b.ins().uload16(types::I32, flags, base, at),
            (FieldKind::Func, _) => {
                let number = self.b.ins().load(types::I32, flags, base, at);
                return self.func_of_number(number);
            }
            _ => self.b.ins().load(kind.ty(), flags, base, at),
        };
        self.note(value, kind);
        Ok(value)
    }

    /// A value as it stands in an object: a function by its number. May call, but does not collect.
    pub(crate) fn as_stored(&mut self, value: Value, field: FieldKind) -> Result<Value> {
        if field == FieldKind::Func { self.func_number(value) } else { Ok(value) }
    }

    /// Writes what [`Translator::as_stored`] gave.
    pub(crate) fn store_field(&mut self, base: Value, offset: u32, field: FieldKind, value: Value) {
        let at = Offset32::new(offset as i32);
        let flags = self.object_flags();
        match field {
            FieldKind::I8 => self.b.ins().istore8(flags, value, base, at),
            FieldKind::I16 => self.b.ins().istore16(flags, value, base, at),
            _ => self.b.ins().store(flags, value, base, at),
        };
    }

    /// The number by which objects refer to a function.
    fn func_number(&mut self, func: Value) -> Result<Value> {
        let number = self.unless_null(func, types::I64, |this| {
            this.builtin_value(Builtin::FuncNumber, &[func])
        })?;
        Ok(self.b.ins().ireduce(types::I32, number))
    }

    /// The function of a number that stands in an object.
    fn func_of_number(&mut self, number: Value) -> Result<Value> {
        self.unless_null(number, types::I64, |this| {
            this.builtin_value(Builtin::FuncOfNumber, &[number])
        })
    }

    /// 0 if a value is 0, otherwise what `then` makes of it.
    pub(crate) fn unless_null(
        &mut self,
        value: Value,
        ty: Type,
        then: impl FnOnce(&mut Self) -> Result<Value>,
    ) -> Result<Value> {
        let (other, done) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, ty);
        let there = self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0);
        let zero = self.b.ins().iconst(ty, 0);
        self.b.ins().brif(there, other, &[], done, &[BlockArg::Value(zero)]);
        self.b.seal_block(other);
        self.b.switch_to_block(other);
        let made = then(self)?;
        if self.b.func.dfg.value_type(made) != ty {
            return Err(CompileError::Internal("a value of another type"));
        }
        self.b.ins().jump(done, &[BlockArg::Value(made)]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        Ok(result)
    }
}
