//! Conversions between lanes of different kinds and widths.

use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use palisade_module::wasmparser::Operator;

use super::super::{Result, Translator};
use super::Ins;

impl Translator<'_, '_> {
    /// Integer lanes of half or twice the width.
    pub(super) fn simd_widen(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I16x8ExtendLowI8x16S => self.lanes1(I8X16, |i, x| i.swiden_low(x)),
            O::I16x8ExtendHighI8x16S => self.lanes1(I8X16, |i, x| i.swiden_high(x)),
            O::I16x8ExtendLowI8x16U => self.lanes1(I8X16, |i, x| i.uwiden_low(x)),
            O::I16x8ExtendHighI8x16U => self.lanes1(I8X16, |i, x| i.uwiden_high(x)),
            O::I32x4ExtendLowI16x8S => self.lanes1(I16X8, |i, x| i.swiden_low(x)),
            O::I32x4ExtendHighI16x8S => self.lanes1(I16X8, |i, x| i.swiden_high(x)),
            O::I32x4ExtendLowI16x8U => self.lanes1(I16X8, |i, x| i.uwiden_low(x)),
            O::I32x4ExtendHighI16x8U => self.lanes1(I16X8, |i, x| i.uwiden_high(x)),
            O::I64x2ExtendLowI32x4S => self.lanes1(I32X4, |i, x| i.swiden_low(x)),
            O::I64x2ExtendHighI32x4S => self.lanes1(I32X4, |i, x| i.swiden_high(x)),
            O::I64x2ExtendLowI32x4U => self.lanes1(I32X4, |i, x| i.uwiden_low(x)),
            O::I64x2ExtendHighI32x4U => self.lanes1(I32X4, |i, x| i.uwiden_high(x)),
            O::I16x8ExtAddPairwiseI8x16S => self.ext_add(I8X16, true),
            O::I16x8ExtAddPairwiseI8x16U => self.ext_add(I8X16, false),
            O::I32x4ExtAddPairwiseI16x8S => self.ext_add(I16X8, true),
            O::I32x4ExtAddPairwiseI16x8U => self.ext_add(I16X8, false),
            // The lanes that are narrowed are signed; the names speak of those that come out.
            O::I8x16NarrowI16x8S => self.lanes2(I16X8, |i, x, y| i.snarrow(x, y)),
            O::I8x16NarrowI16x8U => self.lanes2(I16X8, |i, x, y| i.unarrow(x, y)),
            O::I16x8NarrowI32x4S => self.lanes2(I32X4, |i, x, y| i.snarrow(x, y)),
            O::I16x8NarrowI32x4U => self.lanes2(I32X4, |i, x, y| i.unarrow(x, y)),
            _ => Ok(false),
        }
    }

    /// Sums of each two neighbouring lanes, in lanes of twice the width.
    fn ext_add(&mut self, ty: Type, signed: bool) -> Result<bool> {
        let x = self.pop_lanes(ty)?;
        let (low, high) = if signed {
            (self.b.ins().swiden_low(x), self.b.ins().swiden_high(x))
        } else {
            (self.b.ins().uwiden_low(x), self.b.ins().uwiden_high(x))
        };
        let sums = self.b.ins().iadd_pairwise(low, high);
        self.push_lanes(sums)
    }

    /// Between integers and floats, and between floats.
    pub(super) fn simd_convert(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::I32x4TruncSatF32x4S | O::I32x4RelaxedTruncF32x4S => {
                self.lanes1(F32X4, |i, x| i.fcvt_to_sint_sat(I32X4, x))
            }
            O::I32x4TruncSatF32x4U | O::I32x4RelaxedTruncF32x4U => {
                self.lanes1(F32X4, |i, x| i.fcvt_to_uint_sat(I32X4, x))
            }
            O::I32x4TruncSatF64x2SZero | O::I32x4RelaxedTruncF64x2SZero => self
                .trunc_zero(|i, x| i.fcvt_to_sint_sat(I64X2, x), |i, x, zero| i.snarrow(x, zero)),
            O::I32x4TruncSatF64x2UZero | O::I32x4RelaxedTruncF64x2UZero => self
                .trunc_zero(|i, x| i.fcvt_to_uint_sat(I64X2, x), |i, x, zero| i.uunarrow(x, zero)),
            O::F32x4ConvertI32x4S => self.lanes1(I32X4, |i, x| i.fcvt_from_sint(F32X4, x)),
            O::F32x4ConvertI32x4U => self.lanes1(I32X4, |i, x| i.fcvt_from_uint(F32X4, x)),
            O::F64x2ConvertLowI32x4S => {
                let x = self.pop_lanes(I32X4)?;
                let wide = self.b.ins().swiden_low(x);
                let result = self.b.ins().fcvt_from_sint(F64X2, wide);
                self.push_lanes(result)
            }
            O::F64x2ConvertLowI32x4U => {
                let x = self.pop_lanes(I32X4)?;
                let wide = self.b.ins().uwiden_low(x);
                let result = self.b.ins().fcvt_from_uint(F64X2, wide);
                self.push_lanes(result)
            }
            O::F32x4DemoteF64x2Zero => self.lanes1(F64X2, |i, x| i.fvdemote(x)),
            O::F64x2PromoteLowF32x4 => self.lanes1(F32X4, |i, x| i.fvpromote_low(x)),
            _ => Ok(false),
        }
    }

    /// Two floats to the two low lanes, the others zero: to 64 bits, then to 32, saturating each time.
    /// On x86-64 the code generator knows these two steps, with a constant zero, as one thing only.
    fn trunc_zero(
        &mut self,
        truncate: impl FnOnce(Ins<'_, '_>, Value) -> Value,
        narrow: impl FnOnce(Ins<'_, '_>, Value, Value) -> Value,
    ) -> Result<bool> {
        let x = self.pop_lanes(F64X2)?;
        let wide = truncate(self.b.ins(), x);
        let zero = self.vector_constant(I64X2, [0; 16]);
        let result = narrow(self.b.ins(), wide, zero);
        self.push_lanes(result)
    }
}
