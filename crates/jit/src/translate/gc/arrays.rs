//! Arrays.
//!
//! The address of an element is the heap's base and an offset that is computed in 32 bits. An array lies in the
//! heap with all its elements, so that the offset of one that it has does not wrap; were a length
//! ever wrong, the access would still lie in the heap's reservation.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    BlockArg, Endianness, InstBuilder, InstructionData, MemFlagsData, Opcode, Value, ValueDef,
    types,
};
use palisade_core::TrapCode;
use palisade_module::wasmparser::Operator;
use palisade_vm::gc::layout::{ELEMENTS, FieldKind};
use palisade_vm::native::Builtin;

use crate::mutation::Mutation;
use crate::translate::{Kind, Result, Translator};

/// Up to this length, arrays are filled inline: longer ones are worth a call.
const MOST_FILLED: i64 = 32;

impl Translator<'_, '_> {
    /// Translates an operator on arrays.
    pub(super) fn arrays(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::ArrayNew { array_type_index } => self.array_new(array_type_index)?,
            Operator::ArrayNewDefault { array_type_index } => {
                let (element, _) = self.object_type(array_type_index)?.element()?;
                let len = self.pop()?;
                let made = self.new_array(array_type_index, element, len)?;
                self.push(Kind::Ref, made);
            }
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                self.array_new_fixed(array_type_index, array_size)?;
            }
            Operator::ArrayNewData { array_type_index, array_data_index } => {
                self.array_new_from(Builtin::ArrayNewData, array_type_index, array_data_index)?;
            }
            Operator::ArrayNewElem { array_type_index, array_elem_index } => {
                self.array_new_from(Builtin::ArrayNewElem, array_type_index, array_elem_index)?;
            }
            Operator::ArrayGet { array_type_index } | Operator::ArrayGetU { array_type_index } => {
                self.array_get(array_type_index, false)?;
            }
            Operator::ArrayGetS { array_type_index } => self.array_get(array_type_index, true)?,
            Operator::ArraySet { array_type_index } => self.array_set(array_type_index)?,
            Operator::ArrayLen => {
                let array = self.pop()?;
                let len = self.array_len(array);
                self.push(Kind::I32, len);
            }
            Operator::ArrayFill { array_type_index } => self.array_fill(array_type_index)?,
            Operator::ArrayCopy { array_type_index_dst, .. } => {
                let (source, from, len) = self.pop3()?;
                let (array, to) = self.pop2()?;
                let (element, _) = self.object_type(array_type_index_dst)?.element()?;
                let array = self.beside(array, element as u32);
                self.builtin(Builtin::ArrayCopy, &[array, to, source, from, len]);
            }
            Operator::ArrayInitData { array_type_index, array_data_index } => {
                self.array_init(Builtin::ArrayInitData, array_type_index, array_data_index)?;
            }
            Operator::ArrayInitElem { array_type_index, array_elem_index } => {
                self.array_init(Builtin::ArrayInitElem, array_type_index, array_elem_index)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The number that a value is known to be.
    pub(super) fn known_number(&self, value: Value) -> Option<i64> {
        let dfg = &self.b.func.dfg;
        let ValueDef::Result(made, 0) = dfg.value_def(dfg.resolve_aliases(value)) else {
            return None;
        };
        match dfg.insts[made] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    /// Two 32-bit numbers in one, the second known.
    fn beside(&mut self, low: Value, high: u32) -> Value {
        let low = self.zero_extend(low);
        if high == 0 {
            return low;
        }
        let high = self.number(u64::from(high) << 32);
        self.b.ins().bor(low, high)
    }

    /// The length of an array that may be null.
    fn array_len(&mut self, array: Value) -> Value {
        self.trap_if_null(array, TrapCode::NullArrayReference);
        let object = self.object(array);
        self.load_word(types::I32, object, 4)
    }

    /// Sees to it that an array is there and has an element.
    fn check_element(&mut self, array: Value, index: Value) {
        let len = self.array_len(array);
        self.settle(index);
        let beyond = if self.mutated(Mutation::ArrayOffByOne) {
            IntCC::UnsignedGreaterThan
        } else {
            IntCC::UnsignedGreaterThanOrEqual
        };
        let outside = self.b.ins().icmp(beyond, index, len);
        self.trap_if(outside, TrapCode::ArrayOutOfBounds);
    }

    /// The address of an element, less [`ELEMENTS`], until the next call.
    fn element(&mut self, array: Value, index: Value, element: FieldKind) -> Value {
        let offset = self.b.ins().ishl_imm_u(index, i64::from(element.log2()));
        let offset = self.b.ins().iadd(array, offset);
        self.object(offset)
    }

    fn array_get(&mut self, type_index: u32, signed: bool) -> Result<()> {
        let (element, kind) = self.object_type(type_index)?.element()?;
        let (array, index) = self.pop2()?;
        self.check_element(array, index);
        let at = self.element(array, index, element);
        let value = self.load_field(at, ELEMENTS, element, kind, signed)?;
        self.push(kind, value);
        Ok(())
    }

    fn array_set(&mut self, type_index: u32) -> Result<()> {
        let (element, _) = self.object_type(type_index)?.element()?;
        let (array, index, value) = self.pop3()?;
        self.check_element(array, index);
        let value = self.as_stored(value, element)?;
        let at = self.element(array, index, element);
        self.store_field(at, ELEMENTS, element, value);
        Ok(())
    }

    fn array_new(&mut self, type_index: u32) -> Result<()> {
        let (element, kind) = self.object_type(type_index)?.element()?;
        // The value is still on the stack while the array is made: it is counted.
        let len = self.pop()?;
        let made = self.new_array(type_index, element, len)?;
        let value = self.pop()?;
        if self.known_number(value) != Some(0) {
            self.fill_new(made, element, kind, value, len)?;
        }
        self.push(Kind::Ref, made);
        Ok(())
    }

    /// Fills an array that was just made and paid for.
    fn fill_new(
        &mut self,
        array: Value,
        element: FieldKind,
        kind: Kind,
        value: Value,
        len: Value,
    ) -> Result<()> {
        let number = self.as_stored(value, element)?;
        let [inline, body, done] = [(); 3].map(|()| self.b.create_block());
        let index = self.b.append_block_param(inline, types::I32);
        let zero = self.b.ins().iconst(types::I32, 0);
        if self.env.options.fuel {
            // The built-in would charge again.
            self.b.ins().jump(inline, &[BlockArg::Value(zero)]);
        } else {
            let other = self.b.create_block();
            let long = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, len, MOST_FILLED);
            self.b.ins().brif(long, other, &[], inline, &[BlockArg::Value(zero)]);
            self.b.seal_block(other);
            self.b.switch_to_block(other);
            self.fill_array(array, element, kind, zero, value, len);
            self.b.ins().jump(done, &[]);
        }

        self.b.switch_to_block(inline);
        if self.env.options.fuel {
            self.poll(true);
        }
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, index, len);
        self.b.ins().brif(more, body, &[], done, &[]);
        self.b.seal_block(body);
        self.b.seal_block(done);
        self.b.switch_to_block(body);
        let at = self.element(array, index, element);
        self.store_field(at, ELEMENTS, element, number);
        let next = self.b.ins().iadd_imm_s(index, 1);
        self.b.ins().jump(inline, &[BlockArg::Value(next)]);
        self.b.seal_block(inline);
        self.b.switch_to_block(done);
        Ok(())
    }

    fn array_new_fixed(&mut self, type_index: u32, count: u32) -> Result<()> {
        let (element, _) = self.object_type(type_index)?.element()?;
        // The elements are still on the stack while the array is made: they are counted.
        let len = self.b.ins().iconst(types::I32, i64::from(count));
        let made = self.new_array(type_index, element, len)?;
        for (index, value) in self.pop_many(count as usize)?.into_iter().enumerate() {
            if self.known_number(value) == Some(0) {
                continue;
            }
            let value = self.as_stored(value, element)?;
            let object = self.object(made);
            let offset = ELEMENTS + ((index as u32) << element.log2());
            self.store_field(object, offset, element, value);
        }
        self.push(Kind::Ref, made);
        Ok(())
    }

    fn array_new_from(&mut self, builtin: Builtin, type_index: u32, segment: u32) -> Result<()> {
        self.count_mapped()?;
        let (element, _) = self.object_type(type_index)?.element()?;
        let (from, len) = self.pop2()?;
        let ty = self.canonical_type(type_index);
        let ty = self.beside(ty, element as u32);
        let segment = self.number(u64::from(segment));
        let made = self.builtin_ref(builtin, &[ty, segment, from, len])?;
        self.push(Kind::Ref, made);
        Ok(())
    }

    fn array_init(&mut self, builtin: Builtin, type_index: u32, segment: u32) -> Result<()> {
        let (element, _) = self.object_type(type_index)?.element()?;
        let (to, from, len) = self.pop3()?;
        let array = self.pop()?;
        let array = self.beside(array, element as u32);
        let to = self.beside(to, segment);
        self.builtin(builtin, &[array, to, from, len]);
        Ok(())
    }

    fn array_fill(&mut self, type_index: u32) -> Result<()> {
        let (element, kind) = self.object_type(type_index)?.element()?;
        let (to, value, len) = self.pop3()?;
        let array = self.pop()?;
        self.fill_array(array, element, kind, to, value, len);
        Ok(())
    }

    fn fill_array(
        &mut self,
        array: Value,
        element: FieldKind,
        kind: Kind,
        to: Value,
        value: Value,
        len: Value,
    ) {
        let array = self.beside(array, element as u32);
        let [low, high] = self.in_cells(value, element, kind);
        self.builtin(Builtin::ArrayFill, &[array, to, low, high, len]);
    }

    /// A value as it stands in cells, with nothing in the bits that mean nothing.
    fn in_cells(&mut self, value: Value, element: FieldKind, kind: Kind) -> [Value; 2] {
        let flags = MemFlagsData::new();
        let low = match (element, kind) {
            (FieldKind::I8, _) => self.b.ins().band_imm_u(value, 0xFF),
            (FieldKind::I16, _) => self.b.ins().band_imm_u(value, 0xFFFF),
            (_, Kind::F32) => self.b.ins().bitcast(types::I32, flags, value),
            (_, Kind::F64) => self.b.ins().bitcast(types::I64, flags, value),
            (_, Kind::V128) => {
                let flags = flags.with_endianness(Endianness::Little);
                let lanes = self.b.ins().bitcast(types::I64X2, flags, value);
                return [0, 1].map(|lane| self.b.ins().extractlane(lanes, lane));
            }
            _ => value,
        };
        [low, self.number(0)]
    }
}
