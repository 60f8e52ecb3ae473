//! Scalar numeric operators: what `palisade_core::num` says, as instructions of the intermediate form.
//!
//! Most operators are one instruction whose meaning is that of WebAssembly: shifts and rotations take their
//! count modulo the width, minima and maxima order the zeros and give NaN for NaN, conversions that trap tell
//! NaN from what does not fit, and a remainder by -1 is zero. Traps of divisions and conversions carry
//! Cranelift's own codes.
//!
//! Invariant: no instruction in here becomes a call of a library function on the processors that we compile
//! for (rounding needs SSE4.1).

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use palisade_module::wasmparser::Operator;

use super::{Kind, Operand, Result, Translator};
use crate::mutation::Mutation;

/// What makes instructions.
type Ins<'s, 'f> = FuncInstBuilder<'s, 'f>;

/// Whether an operator of this family can trap.
pub(super) fn may_trap(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::I32DivS
            | O::I32DivU
            | O::I32RemS
            | O::I32RemU
            | O::I64DivS
            | O::I64DivU
            | O::I64RemS
            | O::I64RemU
            | O::I32TruncF32S
            | O::I32TruncF32U
            | O::I32TruncF64S
            | O::I32TruncF64U
            | O::I64TruncF32S
            | O::I64TruncF32U
            | O::I64TruncF64S
            | O::I64TruncF64U
    )
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn numeric(&mut self, op: &Operator<'_>) -> Result<bool> {
        Ok(self.mutant(op)?
            || self.integer(op)?
            || self.comparison(op)?
            || self.float(op)?
            || self.conversion(op)?
            || self.truncation(op)?
            || self.wide(op)?)
    }

    /// What a test wants to be wrong.
    fn mutant(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Mutation as M;
        use Operator as O;
        match op {
            O::I32LtS | O::I64LtS if self.mutated(M::ComparisonWrong) => {
                self.compare(IntCC::SignedLessThanOrEqual)
            }
            O::I32LtS | O::I64LtS if self.mutated(M::ComparisonUnsigned) => {
                self.compare(IntCC::UnsignedLessThan)
            }
            O::F32Ne | O::F64Ne if self.mutated(M::NansEqual) => {
                self.compare_floats(FloatCC::OrderedNotEqual)
            }
            O::I64Shl if self.mutated(M::ShiftMaskWrong) => {
                let (x, y) = self.pop2()?;
                let count = self.b.ins().band_imm_u(y, 31);
                let result = self.b.ins().ishl(x, count);
                self.push(Kind::I64, result);
                Ok(true)
            }
            O::I32ShrS | O::I64ShrS if self.mutated(M::ShiftLogical) => {
                self.same2(|i, x, y| i.ushr(x, y))
            }
            O::I32DivS | O::I64DivS if self.mutated(M::DivisionUnsigned) => {
                self.same2(|i, x, y| i.udiv(x, y))
            }
            O::I32RemS | O::I64RemS if self.mutated(M::RemainderUnsigned) => {
                self.same2(|i, x, y| i.urem(x, y))
            }
            O::I32Rotl | O::I64Rotl if self.mutated(M::RotationReversed) => {
                self.same2(|i, x, y| i.rotr(x, y))
            }
            O::I64ExtendI32U if self.mutated(M::ExtensionSigned) => {
                self.convert(Kind::I64, |i, to, x| i.sextend(to, x))
            }
            O::I32TruncSatF32U | O::I32TruncSatF64U if self.mutated(M::SaturationSigned) => {
                self.convert(Kind::I32, |i, to, x| i.fcvt_to_sint_sat(to, x))
            }
            O::F32Min | O::F64Min if self.mutated(M::MinimumWithoutNan) => {
                let y = self.pop()?;
                let Operand { value: x, kind } = self.pop_operand()?;
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                let result = self.b.ins().select(less, x, y);
                self.push(kind, result);
                Ok(true)
            }
            O::I64Add128 if self.mutated(M::CarryLost) => {
                let (y_low, y_high) = self.pop2()?;
                let (x_low, x_high) = self.pop2()?;
                let low = self.b.ins().iadd(x_low, y_low);
                let high = self.b.ins().iadd(x_high, y_high);
                self.push(Kind::I64, low);
                self.push(Kind::I64, high);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// An operator on a value that gives one of the same kind.
    fn same1(&mut self, make: impl FnOnce(Ins<'_, '_>, Value) -> Value) -> Result<bool> {
        let Operand { value, kind } = self.pop_operand()?;
        let result = make(self.b.ins(), value);
        self.push(kind, result);
        Ok(true)
    }

    /// An operator on two values of a kind that gives one of the same kind.
    fn same2(&mut self, make: impl FnOnce(Ins<'_, '_>, Value, Value) -> Value) -> Result<bool> {
        let y = self.pop()?;
        let Operand { value: x, kind } = self.pop_operand()?;
        let result = make(self.b.ins(), x, y);
        self.push(kind, result);
        Ok(true)
    }

    /// An operator on a value that gives one of another kind.
    fn convert(
        &mut self,
        to: Kind,
        make: impl FnOnce(Ins<'_, '_>, Type, Value) -> Value,
    ) -> Result<bool> {
        let value = self.pop()?;
        let result = make(self.b.ins(), to.ty(), value);
        self.push(to, result);
        Ok(true)
    }

    fn integer(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I32Clz | O::I64Clz => self.same1(|i, x| i.clz(x)),
            O::I32Ctz | O::I64Ctz => self.same1(|i, x| i.ctz(x)),
            O::I32Popcnt | O::I64Popcnt => self.same1(|i, x| i.popcnt(x)),
            O::I32Add | O::I64Add => self.same2(|i, x, y| i.iadd(x, y)),
            O::I32Sub | O::I64Sub => self.same2(|i, x, y| i.isub(x, y)),
            O::I32Mul | O::I64Mul => self.same2(|i, x, y| i.imul(x, y)),
            O::I32DivS | O::I64DivS => self.same2(|i, x, y| i.sdiv(x, y)),
            O::I32DivU | O::I64DivU => self.same2(|i, x, y| i.udiv(x, y)),
            O::I32RemS | O::I64RemS => self.same2(|i, x, y| i.srem(x, y)),
            O::I32RemU | O::I64RemU => self.same2(|i, x, y| i.urem(x, y)),
            O::I32And | O::I64And => self.same2(|i, x, y| i.band(x, y)),
            O::I32Or | O::I64Or => self.same2(|i, x, y| i.bor(x, y)),
            O::I32Xor | O::I64Xor => self.same2(|i, x, y| i.bxor(x, y)),
            O::I32Shl | O::I64Shl => self.same2(|i, x, y| i.ishl(x, y)),
            O::I32ShrS | O::I64ShrS => self.same2(|i, x, y| i.sshr(x, y)),
            O::I32ShrU | O::I64ShrU => self.same2(|i, x, y| i.ushr(x, y)),
            O::I32Rotl | O::I64Rotl => self.same2(|i, x, y| i.rotl(x, y)),
            O::I32Rotr | O::I64Rotr => self.same2(|i, x, y| i.rotr(x, y)),
            O::I32Extend8S => self.sign_extend(types::I8, Kind::I32),
            O::I32Extend16S => self.sign_extend(types::I16, Kind::I32),
            O::I64Extend8S => self.sign_extend(types::I8, Kind::I64),
            O::I64Extend16S => self.sign_extend(types::I16, Kind::I64),
            O::I64Extend32S => self.sign_extend(types::I32, Kind::I64),
            _ => Ok(false),
        }
    }

    /// Makes the low bits of a number, as many as `from` has, into all of it.
    fn sign_extend(&mut self, from: Type, kind: Kind) -> Result<bool> {
        let value = self.pop()?;
        let low = self.b.ins().ireduce(from, value);
        let result = self.b.ins().sextend(kind.ty(), low);
        self.push(kind, result);
        Ok(true)
    }

    fn comparison(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I32Eqz | O::I64Eqz => {
                let value = self.pop()?;
                let zero = self.b.ins().icmp_imm_s(IntCC::Equal, value, 0);
                self.push_bool(zero);
                Ok(true)
            }
            O::I32Eq | O::I64Eq => self.compare(IntCC::Equal),
            O::I32Ne | O::I64Ne => self.compare(IntCC::NotEqual),
            O::I32LtS | O::I64LtS => self.compare(IntCC::SignedLessThan),
            O::I32LtU | O::I64LtU => self.compare(IntCC::UnsignedLessThan),
            O::I32GtS | O::I64GtS => self.compare(IntCC::SignedGreaterThan),
            O::I32GtU | O::I64GtU => self.compare(IntCC::UnsignedGreaterThan),
            O::I32LeS | O::I64LeS => self.compare(IntCC::SignedLessThanOrEqual),
            O::I32LeU | O::I64LeU => self.compare(IntCC::UnsignedLessThanOrEqual),
            O::I32GeS | O::I64GeS => self.compare(IntCC::SignedGreaterThanOrEqual),
            O::I32GeU | O::I64GeU => self.compare(IntCC::UnsignedGreaterThanOrEqual),
            O::F32Eq | O::F64Eq => self.compare_floats(FloatCC::Equal),
            O::F32Ne | O::F64Ne => self.compare_floats(FloatCC::NotEqual),
            O::F32Lt | O::F64Lt => self.compare_floats(FloatCC::LessThan),
            O::F32Gt | O::F64Gt => self.compare_floats(FloatCC::GreaterThan),
            O::F32Le | O::F64Le => self.compare_floats(FloatCC::LessThanOrEqual),
            O::F32Ge | O::F64Ge => self.compare_floats(FloatCC::GreaterThanOrEqual),
            _ => Ok(false),
        }
    }

    fn compare(&mut self, condition: IntCC) -> Result<bool> {
        let (x, y) = self.pop2()?;
        let holds = self.b.ins().icmp(condition, x, y);
        self.push_bool(holds);
        Ok(true)
    }

    fn compare_floats(&mut self, condition: FloatCC) -> Result<bool> {
        let (x, y) = self.pop2()?;
        let holds = self.b.ins().fcmp(condition, x, y);
        self.push_bool(holds);
        Ok(true)
    }

    /// Pushes the outcome of a test, which has 8 bits, as an `i32`.
    pub(super) fn push_bool(&mut self, holds: Value) {
        let result = self.b.ins().uextend(types::I32, holds);
        self.push(Kind::I32, result);
    }

    fn float(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::F32Abs | O::F64Abs => self.same1(|i, x| i.fabs(x)),
            O::F32Neg | O::F64Neg => self.same1(|i, x| i.fneg(x)),
            O::F32Ceil | O::F64Ceil => self.same1(|i, x| i.ceil(x)),
            O::F32Floor | O::F64Floor => self.same1(|i, x| i.floor(x)),
            O::F32Trunc | O::F64Trunc => self.same1(|i, x| i.trunc(x)),
            O::F32Nearest | O::F64Nearest => self.same1(|i, x| i.nearest(x)),
            O::F32Sqrt | O::F64Sqrt => self.same1(|i, x| i.sqrt(x)),
            O::F32Add | O::F64Add => self.same2(|i, x, y| i.fadd(x, y)),
            O::F32Sub | O::F64Sub => self.same2(|i, x, y| i.fsub(x, y)),
            O::F32Mul | O::F64Mul => self.same2(|i, x, y| i.fmul(x, y)),
            O::F32Div | O::F64Div => self.same2(|i, x, y| i.fdiv(x, y)),
            O::F32Min | O::F64Min => self.same2(|i, x, y| i.fmin(x, y)),
            O::F32Max | O::F64Max => self.same2(|i, x, y| i.fmax(x, y)),
            O::F32Copysign | O::F64Copysign => self.same2(|i, x, y| i.fcopysign(x, y)),
            _ => Ok(false),
        }
    }

    fn conversion(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I32WrapI64 => self.convert(Kind::I32, |i, to, x| i.ireduce(to, x)),
            O::I64ExtendI32S => self.convert(Kind::I64, |i, to, x| i.sextend(to, x)),
            O::I64ExtendI32U => self.convert(Kind::I64, |i, to, x| i.uextend(to, x)),
            O::F32ConvertI32S | O::F32ConvertI64S => {
                self.convert(Kind::F32, |i, to, x| i.fcvt_from_sint(to, x))
            }
            O::F32ConvertI32U | O::F32ConvertI64U => {
                self.convert(Kind::F32, |i, to, x| i.fcvt_from_uint(to, x))
            }
            O::F64ConvertI32S | O::F64ConvertI64S => {
                self.convert(Kind::F64, |i, to, x| i.fcvt_from_sint(to, x))
            }
            O::F64ConvertI32U | O::F64ConvertI64U => {
                self.convert(Kind::F64, |i, to, x| i.fcvt_from_uint(to, x))
            }
            O::F32DemoteF64 => self.convert(Kind::F32, |i, to, x| i.fdemote(to, x)),
            O::F64PromoteF32 => self.convert(Kind::F64, |i, to, x| i.fpromote(to, x)),
            O::I32ReinterpretF32 => self.reinterpret(Kind::I32),
            O::I64ReinterpretF64 => self.reinterpret(Kind::I64),
            O::F32ReinterpretI32 => self.reinterpret(Kind::F32),
            O::F64ReinterpretI64 => self.reinterpret(Kind::F64),
            _ => Ok(false),
        }
    }

    fn reinterpret(&mut self, to: Kind) -> Result<bool> {
        self.convert(to, |i, to, x| i.bitcast(to, MemFlagsData::new(), x))
    }

    fn truncation(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I32TruncF32S | O::I32TruncF64S => {
                self.convert(Kind::I32, |i, to, x| i.fcvt_to_sint(to, x))
            }
            O::I32TruncF32U | O::I32TruncF64U => {
                self.convert(Kind::I32, |i, to, x| i.fcvt_to_uint(to, x))
            }
            O::I64TruncF32S | O::I64TruncF64S => {
                self.convert(Kind::I64, |i, to, x| i.fcvt_to_sint(to, x))
            }
            O::I64TruncF32U | O::I64TruncF64U => {
                self.convert(Kind::I64, |i, to, x| i.fcvt_to_uint(to, x))
            }
            O::I32TruncSatF32S | O::I32TruncSatF64S => {
                self.convert(Kind::I32, |i, to, x| i.fcvt_to_sint_sat(to, x))
            }
            O::I32TruncSatF32U | O::I32TruncSatF64U => {
                self.convert(Kind::I32, |i, to, x| i.fcvt_to_uint_sat(to, x))
            }
            O::I64TruncSatF32S | O::I64TruncSatF64S => {
                self.convert(Kind::I64, |i, to, x| i.fcvt_to_sint_sat(to, x))
            }
            O::I64TruncSatF32U | O::I64TruncSatF64U => {
                self.convert(Kind::I64, |i, to, x| i.fcvt_to_uint_sat(to, x))
            }
            _ => Ok(false),
        }
    }

    fn wide(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I64Add128 => self.wide4(|i, x, y| i.iadd(x, y)),
            O::I64Sub128 => self.wide4(|i, x, y| i.isub(x, y)),
            O::I64MulWideS => self.mul_wide(|i, x| i.sextend(types::I128, x)),
            O::I64MulWideU => self.mul_wide(|i, x| i.uextend(types::I128, x)),
            _ => Ok(false),
        }
    }

    /// An operator on two numbers of 128 bits, low halves first.
    fn wide4(&mut self, make: impl FnOnce(Ins<'_, '_>, Value, Value) -> Value) -> Result<bool> {
        let (y_low, y_high) = self.pop2()?;
        let (x_low, x_high) = self.pop2()?;
        let x = self.b.ins().iconcat(x_low, x_high);
        let y = self.b.ins().iconcat(y_low, y_high);
        let result = make(self.b.ins(), x, y);
        self.push_wide(result);
        Ok(true)
    }

    /// The whole product of two numbers, which `extend` makes into ones of 128 bits. The code generator
    /// knows products of extended numbers: they are one multiplication.
    fn mul_wide(&mut self, extend: impl Fn(Ins<'_, '_>, Value) -> Value) -> Result<bool> {
        let (x, y) = self.pop2()?;
        let x = extend(self.b.ins(), x);
        let y = extend(self.b.ins(), y);
        let product = self.b.ins().imul(x, y);
        self.push_wide(product);
        Ok(true)
    }

    fn push_wide(&mut self, value: Value) {
        let (low, high) = self.b.ins().isplit(value);
        self.push(Kind::I64, low);
        self.push(Kind::I64, high);
    }
}

#[cfg(test)]
#[path = "operator_tests.rs"]
mod tests;
