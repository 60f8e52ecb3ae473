//! Operators on floating-point lanes.
//!
//! `abs`, `neg`, `pmin` and `pmax` keep every bit of what they choose.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32X4, F64X2};
use cranelift_codegen::ir::{InstBuilder, Type};
use palisade_module::wasmparser::Operator;

use super::super::{Result, Translator};

impl Translator<'_, '_> {
    pub(super) fn simd_float(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::F32x4Ceil => self.lanes1(F32X4, |i, x| i.ceil(x)),
            O::F32x4Floor => self.lanes1(F32X4, |i, x| i.floor(x)),
            O::F32x4Trunc => self.lanes1(F32X4, |i, x| i.trunc(x)),
            O::F32x4Nearest => self.lanes1(F32X4, |i, x| i.nearest(x)),
            O::F32x4Abs => self.lanes1(F32X4, |i, x| i.fabs(x)),
            O::F32x4Neg => self.lanes1(F32X4, |i, x| i.fneg(x)),
            O::F32x4Sqrt => self.lanes1(F32X4, |i, x| i.sqrt(x)),
            O::F32x4Add => self.lanes2(F32X4, |i, x, y| i.fadd(x, y)),
            O::F32x4Sub => self.lanes2(F32X4, |i, x, y| i.fsub(x, y)),
            O::F32x4Mul => self.lanes2(F32X4, |i, x, y| i.fmul(x, y)),
            O::F32x4Div => self.lanes2(F32X4, |i, x, y| i.fdiv(x, y)),
            O::F32x4Min | O::F32x4RelaxedMin => self.lanes2(F32X4, |i, x, y| i.fmin(x, y)),
            O::F32x4Max | O::F32x4RelaxedMax => self.lanes2(F32X4, |i, x, y| i.fmax(x, y)),
            O::F32x4PMin => self.pseudo_min(F32X4),
            O::F32x4PMax => self.pseudo_max(F32X4),
            O::F64x2Ceil => self.lanes1(F64X2, |i, x| i.ceil(x)),
            O::F64x2Floor => self.lanes1(F64X2, |i, x| i.floor(x)),
            O::F64x2Trunc => self.lanes1(F64X2, |i, x| i.trunc(x)),
            O::F64x2Nearest => self.lanes1(F64X2, |i, x| i.nearest(x)),
            O::F64x2Abs => self.lanes1(F64X2, |i, x| i.fabs(x)),
            O::F64x2Neg => self.lanes1(F64X2, |i, x| i.fneg(x)),
            O::F64x2Sqrt => self.lanes1(F64X2, |i, x| i.sqrt(x)),
            O::F64x2Add => self.lanes2(F64X2, |i, x, y| i.fadd(x, y)),
            O::F64x2Sub => self.lanes2(F64X2, |i, x, y| i.fsub(x, y)),
            O::F64x2Mul => self.lanes2(F64X2, |i, x, y| i.fmul(x, y)),
            O::F64x2Div => self.lanes2(F64X2, |i, x, y| i.fdiv(x, y)),
            O::F64x2Min | O::F64x2RelaxedMin => self.lanes2(F64X2, |i, x, y| i.fmin(x, y)),
            O::F64x2Max | O::F64x2RelaxedMax => self.lanes2(F64X2, |i, x, y| i.fmax(x, y)),
            O::F64x2PMin => self.pseudo_min(F64X2),
            O::F64x2PMax => self.pseudo_max(F64X2),
            _ => Ok(false),
        }
    }

    /// `y` where it is less than `x`, else `x`.
    fn pseudo_min(&mut self, ty: Type) -> Result<bool> {
        let (x, y) = self.pop_lanes2(ty)?;
        let less = self.b.ins().fcmp(FloatCC::LessThan, y, x);
        let less = self.view(less, ty);
        let result = self.b.ins().bitselect(less, y, x);
        self.push_lanes(result)
    }

    /// `y` where `x` is less than it, else `x`.
    fn pseudo_max(&mut self, ty: Type) -> Result<bool> {
        let (x, y) = self.pop_lanes2(ty)?;
        let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
        let less = self.view(less, ty);
        let result = self.b.ins().bitselect(less, y, x);
        self.push_lanes(result)
    }

    pub(super) fn simd_float_comparison(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        let (ty, condition) = match op {
            O::F32x4Eq => (F32X4, FloatCC::Equal),
            O::F32x4Ne => (F32X4, FloatCC::NotEqual),
            O::F32x4Lt => (F32X4, FloatCC::LessThan),
            O::F32x4Gt => (F32X4, FloatCC::GreaterThan),
            O::F32x4Le => (F32X4, FloatCC::LessThanOrEqual),
            O::F32x4Ge => (F32X4, FloatCC::GreaterThanOrEqual),
            O::F64x2Eq => (F64X2, FloatCC::Equal),
            O::F64x2Ne => (F64X2, FloatCC::NotEqual),
            O::F64x2Lt => (F64X2, FloatCC::LessThan),
            O::F64x2Gt => (F64X2, FloatCC::GreaterThan),
            O::F64x2Le => (F64X2, FloatCC::LessThanOrEqual),
            O::F64x2Ge => (F64X2, FloatCC::GreaterThanOrEqual),
            _ => return Ok(false),
        };
        self.lanes2(ty, |i, x, y| i.fcmp(condition, x, y))
    }

    /// Products and sums, each rounded.
    pub(super) fn simd_relaxed_float(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        let (ty, negate) = match op {
            O::F32x4RelaxedMadd => (F32X4, false),
            O::F32x4RelaxedNmadd => (F32X4, true),
            O::F64x2RelaxedMadd => (F64X2, false),
            O::F64x2RelaxedNmadd => (F64X2, true),
            _ => return Ok(false),
        };
        let z = self.pop_lanes(ty)?;
        let (mut x, y) = self.pop_lanes2(ty)?;
        if negate {
            x = self.b.ins().fneg(x);
        }
        let product = self.b.ins().fmul(x, y);
        let result = self.b.ins().fadd(product, z);
        self.push_lanes(result)
    }
}
