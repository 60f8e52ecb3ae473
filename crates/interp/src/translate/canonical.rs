//! Canonical NaNs: behind each operator that may make a NaN, one instruction that makes it the canonical one.
//!
//! Which operators these are is what the deterministic profile of the specification says: all arithmetic, rounding,
//! `min` and `max`, promotion and demotion, on scalars and on lanes. Those that only move bits (`abs`, `neg`,
//! `copysign`, `pmin`, `pmax`, reinterpretations, loads) keep whatever NaN they are given, and conversions from
//! integers make none. The compiler does the same at the same operators, so that engines agree to the bit.

use palisade_module::wasmparser::Operator;

use crate::code::Ty;
use crate::ops::arith::{Slots, UnIdx};
use crate::ops::simd::CANONICAL;
use crate::translate::{Result, Translator};

/// What an operator makes that may be NaN.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Makes {
    F32,
    F64,
    F32x4,
    F64x2,
}

fn makes(op: &Operator<'_>) -> Option<Makes> {
    use Operator as O;
    Some(match op {
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32Sqrt => Makes::F32,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => Makes::F32,
        O::F32DemoteF64 => Makes::F32,
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64Sqrt => Makes::F64,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => Makes::F64,
        O::F64PromoteF32 => Makes::F64,
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => Makes::F32x4,
        O::F32x4Sqrt | O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div => Makes::F32x4,
        O::F32x4Min | O::F32x4Max | O::F32x4RelaxedMin | O::F32x4RelaxedMax => Makes::F32x4,
        O::F32x4RelaxedMadd | O::F32x4RelaxedNmadd | O::F32x4DemoteF64x2Zero => Makes::F32x4,
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => Makes::F64x2,
        O::F64x2Sqrt | O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div => Makes::F64x2,
        O::F64x2Min | O::F64x2Max | O::F64x2RelaxedMin | O::F64x2RelaxedMax => Makes::F64x2,
        O::F64x2RelaxedMadd | O::F64x2RelaxedNmadd | O::F64x2PromoteLowF32x4 => Makes::F64x2,
        _ => return None,
    })
}

impl Translator<'_> {
    /// Makes the NaN that the operator just translated may have made the canonical one.
    pub(super) fn canonical(&mut self, op: &Operator<'_>) -> Result<()> {
        let handler = match makes(op) {
            None => return Ok(()),
            Some(Makes::F32) => return self.unary(UnIdx::F32Canonical, Ty::F32),
            Some(Makes::F64) => return self.unary(UnIdx::F64Canonical, Ty::F64),
            Some(Makes::F32x4) => CANONICAL[0],
            Some(Makes::F64x2) => CANONICAL[1],
        };
        let a = self.pop_slot()?;
        self.make_vec(handler, |d| Slots { handler: 0, d, a, b: 0, c: 0 })
    }
}
