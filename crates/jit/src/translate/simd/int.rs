//! Operators on integer lanes.
//!
//! Shifts take their count modulo the width of a lane, sums and products wrap unless their names say that
//! they saturate.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use palisade_module::wasmparser::Operator;

use super::super::{Kind, Result, Translator};
use super::Ins;
use crate::mutation::Mutation;

impl Translator<'_, '_> {
    pub(super) fn simd_int_arithmetic(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I8x16Neg => self.lanes1(I8X16, |i, x| i.ineg(x)),
            O::I16x8Neg => self.lanes1(I16X8, |i, x| i.ineg(x)),
            O::I32x4Neg => self.lanes1(I32X4, |i, x| i.ineg(x)),
            O::I64x2Neg => self.lanes1(I64X2, |i, x| i.ineg(x)),
            O::I8x16Abs => self.lanes1(I8X16, |i, x| i.iabs(x)),
            O::I16x8Abs => self.lanes1(I16X8, |i, x| i.iabs(x)),
            O::I32x4Abs => self.lanes1(I32X4, |i, x| i.iabs(x)),
            O::I64x2Abs => self.lanes1(I64X2, |i, x| i.iabs(x)),
            O::I8x16Popcnt => self.lanes1(I8X16, |i, x| i.popcnt(x)),
            O::I8x16Add => self.lanes2(I8X16, |i, x, y| i.iadd(x, y)),
            O::I16x8Add => self.lanes2(I16X8, |i, x, y| i.iadd(x, y)),
            O::I32x4Add => self.lanes2(I32X4, |i, x, y| i.iadd(x, y)),
            O::I64x2Add => self.lanes2(I64X2, |i, x, y| i.iadd(x, y)),
            O::I8x16Sub => self.lanes2(I8X16, |i, x, y| i.isub(x, y)),
            O::I16x8Sub => self.lanes2(I16X8, |i, x, y| i.isub(x, y)),
            O::I32x4Sub => self.lanes2(I32X4, |i, x, y| i.isub(x, y)),
            O::I64x2Sub => self.lanes2(I64X2, |i, x, y| i.isub(x, y)),
            O::I16x8Mul => self.lanes2(I16X8, |i, x, y| i.imul(x, y)),
            O::I32x4Mul => self.lanes2(I32X4, |i, x, y| i.imul(x, y)),
            O::I64x2Mul => self.lanes2(I64X2, |i, x, y| i.imul(x, y)),
            O::I8x16AddSatS => self.lanes2(I8X16, |i, x, y| i.sadd_sat(x, y)),
            O::I16x8AddSatS => self.lanes2(I16X8, |i, x, y| i.sadd_sat(x, y)),
            O::I8x16AddSatU => self.lanes2(I8X16, |i, x, y| i.uadd_sat(x, y)),
            O::I16x8AddSatU => self.lanes2(I16X8, |i, x, y| i.uadd_sat(x, y)),
            O::I8x16SubSatS => self.lanes2(I8X16, |i, x, y| i.ssub_sat(x, y)),
            O::I16x8SubSatS => self.lanes2(I16X8, |i, x, y| i.ssub_sat(x, y)),
            O::I8x16SubSatU => self.lanes2(I8X16, |i, x, y| i.usub_sat(x, y)),
            O::I16x8SubSatU => self.lanes2(I16X8, |i, x, y| i.usub_sat(x, y)),
            O::I8x16AvgrU => self.lanes2(I8X16, |i, x, y| i.avg_round(x, y)),
            O::I16x8AvgrU => self.lanes2(I16X8, |i, x, y| i.avg_round(x, y)),
            _ => Ok(false),
        }
    }

    pub(super) fn simd_int_minmax(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I8x16MinS => self.lanes2(I8X16, |i, x, y| i.smin(x, y)),
            O::I16x8MinS => self.lanes2(I16X8, |i, x, y| i.smin(x, y)),
            O::I32x4MinS => self.lanes2(I32X4, |i, x, y| i.smin(x, y)),
            O::I8x16MinU => self.lanes2(I8X16, |i, x, y| i.umin(x, y)),
            O::I16x8MinU => self.lanes2(I16X8, |i, x, y| i.umin(x, y)),
            O::I32x4MinU => self.lanes2(I32X4, |i, x, y| i.umin(x, y)),
            O::I8x16MaxS => self.lanes2(I8X16, |i, x, y| i.smax(x, y)),
            O::I16x8MaxS => self.lanes2(I16X8, |i, x, y| i.smax(x, y)),
            O::I32x4MaxS => self.lanes2(I32X4, |i, x, y| i.smax(x, y)),
            O::I8x16MaxU => self.lanes2(I8X16, |i, x, y| i.umax(x, y)),
            O::I16x8MaxU => self.lanes2(I16X8, |i, x, y| i.umax(x, y)),
            O::I32x4MaxU => self.lanes2(I32X4, |i, x, y| i.umax(x, y)),
            _ => Ok(false),
        }
    }

    pub(super) fn simd_int_comparison(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        let (ty, condition) = match op {
            O::I8x16Eq => (I8X16, IntCC::Equal),
            O::I8x16Ne => (I8X16, IntCC::NotEqual),
            O::I8x16LtS => (I8X16, IntCC::SignedLessThan),
            O::I8x16LtU => (I8X16, IntCC::UnsignedLessThan),
            O::I8x16GtS => (I8X16, IntCC::SignedGreaterThan),
            O::I8x16GtU => (I8X16, IntCC::UnsignedGreaterThan),
            O::I8x16LeS => (I8X16, IntCC::SignedLessThanOrEqual),
            O::I8x16LeU => (I8X16, IntCC::UnsignedLessThanOrEqual),
            O::I8x16GeS => (I8X16, IntCC::SignedGreaterThanOrEqual),
            O::I8x16GeU => (I8X16, IntCC::UnsignedGreaterThanOrEqual),
            O::I16x8Eq => (I16X8, IntCC::Equal),
            O::I16x8Ne => (I16X8, IntCC::NotEqual),
            O::I16x8LtS => (I16X8, IntCC::SignedLessThan),
            O::I16x8LtU => (I16X8, IntCC::UnsignedLessThan),
            O::I16x8GtS => (I16X8, IntCC::SignedGreaterThan),
            O::I16x8GtU => (I16X8, IntCC::UnsignedGreaterThan),
            O::I16x8LeS => (I16X8, IntCC::SignedLessThanOrEqual),
            O::I16x8LeU => (I16X8, IntCC::UnsignedLessThanOrEqual),
            O::I16x8GeS => (I16X8, IntCC::SignedGreaterThanOrEqual),
            O::I16x8GeU => (I16X8, IntCC::UnsignedGreaterThanOrEqual),
            O::I32x4Eq => (I32X4, IntCC::Equal),
            O::I32x4Ne => (I32X4, IntCC::NotEqual),
            O::I32x4LtS => (I32X4, IntCC::SignedLessThan),
            O::I32x4LtU => (I32X4, IntCC::UnsignedLessThan),
            O::I32x4GtS => (I32X4, IntCC::SignedGreaterThan),
            O::I32x4GtU => (I32X4, IntCC::UnsignedGreaterThan),
            O::I32x4LeS => (I32X4, IntCC::SignedLessThanOrEqual),
            O::I32x4LeU => (I32X4, IntCC::UnsignedLessThanOrEqual),
            O::I32x4GeS => (I32X4, IntCC::SignedGreaterThanOrEqual),
            O::I32x4GeU => (I32X4, IntCC::UnsignedGreaterThanOrEqual),
            O::I64x2Eq => (I64X2, IntCC::Equal),
            O::I64x2Ne => (I64X2, IntCC::NotEqual),
            O::I64x2LtS => (I64X2, IntCC::SignedLessThan),
            O::I64x2GtS => (I64X2, IntCC::SignedGreaterThan),
            O::I64x2LeS => (I64X2, IntCC::SignedLessThanOrEqual),
            O::I64x2GeS => (I64X2, IntCC::SignedGreaterThanOrEqual),
            _ => return Ok(false),
        };
        self.lanes2(ty, |i, x, y| i.icmp(condition, x, y))
    }

    pub(super) fn simd_int_shift(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I8x16Shl => self.shift(I8X16, |i, x, count| i.ishl(x, count)),
            O::I16x8Shl => self.shift(I16X8, |i, x, count| i.ishl(x, count)),
            O::I32x4Shl => self.shift(I32X4, |i, x, count| i.ishl(x, count)),
            O::I64x2Shl => self.shift(I64X2, |i, x, count| i.ishl(x, count)),
            O::I8x16ShrS => self.shift(I8X16, |i, x, count| i.sshr(x, count)),
            O::I16x8ShrS => self.shift(I16X8, |i, x, count| i.sshr(x, count)),
            O::I32x4ShrS => self.shift(I32X4, |i, x, count| i.sshr(x, count)),
            O::I64x2ShrS => self.shift(I64X2, |i, x, count| i.sshr(x, count)),
            O::I8x16ShrU => self.shift(I8X16, |i, x, count| i.ushr(x, count)),
            O::I16x8ShrU => self.shift(I16X8, |i, x, count| i.ushr(x, count)),
            O::I32x4ShrU => self.shift(I32X4, |i, x, count| i.ushr(x, count)),
            O::I64x2ShrU => self.shift(I64X2, |i, x, count| i.ushr(x, count)),
            _ => Ok(false),
        }
    }

    fn shift(
        &mut self,
        ty: Type,
        make: impl FnOnce(Ins<'_, '_>, Value, Value) -> Value,
    ) -> Result<bool> {
        let mut count = self.pop()?;
        if self.mutated(Mutation::VectorShiftMaskWrong) {
            count = self.b.ins().band_imm_u(count, 7);
        }
        let x = self.pop_lanes(ty)?;
        let result = make(self.b.ins(), x, count);
        self.push_lanes(result)
    }

    pub(super) fn simd_int_test(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::V128AnyTrue => {
                let x = self.pop()?;
                let holds = self.b.ins().vany_true(x);
                self.push_bool(holds);
                Ok(true)
            }
            O::I8x16AllTrue => self.all_true(I8X16),
            O::I16x8AllTrue => self.all_true(I16X8),
            O::I32x4AllTrue => self.all_true(I32X4),
            O::I64x2AllTrue => self.all_true(I64X2),
            O::I8x16Bitmask => self.bitmask(I8X16),
            O::I16x8Bitmask => self.bitmask(I16X8),
            O::I32x4Bitmask => self.bitmask(I32X4),
            O::I64x2Bitmask => self.bitmask(I64X2),
            _ => Ok(false),
        }
    }

    fn all_true(&mut self, ty: Type) -> Result<bool> {
        let x = self.pop_lanes(ty)?;
        let holds = self.b.ins().vall_true(x);
        self.push_bool(holds);
        Ok(true)
    }

    fn bitmask(&mut self, ty: Type) -> Result<bool> {
        let x = self.pop_lanes(ty)?;
        let bits = self.b.ins().vhigh_bits(types::I32, x);
        self.push(Kind::I32, bits);
        Ok(true)
    }

    /// Products of lanes, beyond those that are as wide as the lanes.
    pub(super) fn simd_int_product(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I16x8Q15MulrSatS | O::I16x8RelaxedQ15mulrS => {
                self.lanes2(I16X8, |i, x, y| i.sqmul_round_sat(x, y))
            }
            O::I16x8ExtMulLowI8x16S => self.ext_mul(I8X16, |i, x| i.swiden_low(x)),
            O::I16x8ExtMulHighI8x16S => self.ext_mul(I8X16, |i, x| i.swiden_high(x)),
            O::I16x8ExtMulLowI8x16U => self.ext_mul(I8X16, |i, x| i.uwiden_low(x)),
            O::I16x8ExtMulHighI8x16U => self.ext_mul(I8X16, |i, x| i.uwiden_high(x)),
            O::I32x4ExtMulLowI16x8S => self.ext_mul(I16X8, |i, x| i.swiden_low(x)),
            O::I32x4ExtMulHighI16x8S => self.ext_mul(I16X8, |i, x| i.swiden_high(x)),
            O::I32x4ExtMulLowI16x8U => self.ext_mul(I16X8, |i, x| i.uwiden_low(x)),
            O::I32x4ExtMulHighI16x8U => self.ext_mul(I16X8, |i, x| i.uwiden_high(x)),
            O::I64x2ExtMulLowI32x4S => self.ext_mul(I32X4, |i, x| i.swiden_low(x)),
            O::I64x2ExtMulHighI32x4S => self.ext_mul(I32X4, |i, x| i.swiden_high(x)),
            O::I64x2ExtMulLowI32x4U => self.ext_mul(I32X4, |i, x| i.uwiden_low(x)),
            O::I64x2ExtMulHighI32x4U => self.ext_mul(I32X4, |i, x| i.uwiden_high(x)),
            O::I32x4DotI16x8S => {
                let (x, y) = self.pop_lanes2(I16X8)?;
                let sums = self.dot(x, y);
                self.push_lanes(sums)
            }
            O::I16x8RelaxedDotI8x16I7x16S => {
                let (x, y) = self.pop_lanes2(I8X16)?;
                let sums = self.dot(x, y);
                self.push_lanes(sums)
            }
            O::I32x4RelaxedDotI8x16I7x16AddS => {
                let c = self.pop_lanes(I32X4)?;
                let (x, y) = self.pop_lanes2(I8X16)?;
                let sums = self.dot(x, y);
                let low = self.b.ins().swiden_low(sums);
                let high = self.b.ins().swiden_high(sums);
                let pairs = self.b.ins().iadd_pairwise(low, high);
                let result = self.b.ins().iadd(pairs, c);
                self.push_lanes(result)
            }
            _ => Ok(false),
        }
    }

    /// Products, as wide as they can be, of the lanes of one half of each vector.
    fn ext_mul(&mut self, ty: Type, widen: impl Fn(Ins<'_, '_>, Value) -> Value) -> Result<bool> {
        let (x, y) = self.pop_lanes2(ty)?;
        let x = widen(self.b.ins(), x);
        let y = widen(self.b.ins(), y);
        let result = self.b.ins().imul(x, y);
        self.push_lanes(result)
    }

    /// Sums of the products of each two neighbouring lanes, all signed, in lanes of twice the width; they wrap.
    fn dot(&mut self, x: Value, y: Value) -> Value {
        let (x_low, y_low) = (self.b.ins().swiden_low(x), self.b.ins().swiden_low(y));
        let low = self.b.ins().imul(x_low, y_low);
        let (x_high, y_high) = (self.b.ins().swiden_high(x), self.b.ins().swiden_high(y));
        let high = self.b.ins().imul(x_high, y_high);
        self.b.ins().iadd_pairwise(low, high)
    }
}
