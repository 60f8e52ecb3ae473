//! Operators on vectors, relaxed ones included: what `palisade_core::simd` says.
//!
//! On the operand stack every vector is of type [`types::I8X16`]; an operator looks at its operands as the
//! lanes that it works on, the lowest lane being the lowest bytes. The relaxed operators have the one meaning
//! that `palisade_core::simd::relaxed` gives them on all machines: most are another operator, and a product
//! and a sum are never fused, so that no instruction in here needs more than SSE4.2.
//!
//! Invariant: no instruction in here becomes a call of a library function on the processors that we compile
//! for (shuffles need SSSE3, rounding SSE4.1).

mod convert;
mod float;
mod int;
mod memory;

use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use palisade_module::wasmparser::Operator;

use super::{Kind, Result, Translator};
use crate::mutation::Mutation;

/// What makes instructions.
type Ins<'s, 'f> = FuncInstBuilder<'s, 'f>;

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn simd(&mut self, op: &Operator<'_>) -> Result<bool> {
        Ok(self.simd_bits(op)?
            || self.simd_lanes(op)?
            || self.simd_splat(op)?
            || self.simd_int_arithmetic(op)?
            || self.simd_int_minmax(op)?
            || self.simd_int_comparison(op)?
            || self.simd_int_shift(op)?
            || self.simd_int_test(op)?
            || self.simd_int_product(op)?
            || self.simd_float(op)?
            || self.simd_float_comparison(op)?
            || self.simd_relaxed_float(op)?
            || self.simd_widen(op)?
            || self.simd_convert(op)?)
    }

    // ---- operands ----

    /// The same bits, as lanes of another kind.
    fn view(&mut self, value: Value, ty: Type) -> Value {
        if self.b.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, value)
    }

    /// Pops a vector, as lanes of a kind.
    fn pop_lanes(&mut self, ty: Type) -> Result<Value> {
        let value = self.pop()?;
        Ok(self.view(value, ty))
    }

    /// Pops two vectors, the lower one first.
    fn pop_lanes2(&mut self, ty: Type) -> Result<(Value, Value)> {
        let y = self.pop_lanes(ty)?;
        Ok((self.pop_lanes(ty)?, y))
    }

    /// Pushes a vector of whatever lanes.
    fn push_lanes(&mut self, value: Value) -> Result<bool> {
        let value = self.view(value, I8X16);
        self.push(Kind::V128, value);
        Ok(true)
    }

    /// An operator on one vector.
    fn lanes1(&mut self, ty: Type, make: impl FnOnce(Ins<'_, '_>, Value) -> Value) -> Result<bool> {
        let x = self.pop_lanes(ty)?;
        let result = make(self.b.ins(), x);
        self.push_lanes(result)
    }

    /// An operator on two vectors.
    fn lanes2(
        &mut self,
        ty: Type,
        make: impl FnOnce(Ins<'_, '_>, Value, Value) -> Value,
    ) -> Result<bool> {
        let (x, y) = self.pop_lanes2(ty)?;
        let result = make(self.b.ins(), x, y);
        self.push_lanes(result)
    }

    /// A vector whose bits are known.
    fn vector_constant(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let constant = self.b.func.dfg.constants.insert(bytes.to_vec().into());
        self.b.ins().vconst(ty, constant)
    }

    // ---- what does not look at lanes, or moves them whole ----

    fn simd_bits(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::V128Const { value } => {
                let value = self.vector_constant(I8X16, *value.bytes());
                self.push_lanes(value)
            }
            O::V128Not => self.lanes1(I8X16, |i, x| i.bnot(x)),
            O::V128And => self.lanes2(I8X16, |i, x, y| i.band(x, y)),
            O::V128AndNot => self.lanes2(I8X16, |i, x, y| i.band_not(x, y)),
            O::V128Or => self.lanes2(I8X16, |i, x, y| i.bor(x, y)),
            O::V128Xor => self.lanes2(I8X16, |i, x, y| i.bxor(x, y)),
            O::V128Bitselect
            | O::I8x16RelaxedLaneselect
            | O::I16x8RelaxedLaneselect
            | O::I32x4RelaxedLaneselect
            | O::I64x2RelaxedLaneselect => {
                let (x, y, mask) = self.pop3()?;
                let result = self.b.ins().bitselect(mask, x, y);
                self.push_lanes(result)
            }
            O::I8x16Shuffle { lanes } => {
                let (x, y) = self.pop2()?;
                let mask = self.b.func.dfg.immediates.push(lanes.to_vec().into());
                let result = self.b.ins().shuffle(x, y, mask);
                self.push_lanes(result)
            }
            O::I8x16Swizzle | O::I8x16RelaxedSwizzle => {
                self.lanes2(I8X16, |i, x, y| i.swizzle(x, y))
            }
            _ => Ok(false),
        }
    }

    fn simd_lanes(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match *op {
            O::I8x16ExtractLaneS { lane } => {
                self.extract(I8X16, lane, Kind::I32, |i, x| i.sextend(types::I32, x))
            }
            O::I8x16ExtractLaneU { lane } => {
                self.extract(I8X16, lane, Kind::I32, |i, x| i.uextend(types::I32, x))
            }
            O::I16x8ExtractLaneS { lane } => {
                self.extract(I16X8, lane, Kind::I32, |i, x| i.sextend(types::I32, x))
            }
            O::I16x8ExtractLaneU { lane } => {
                self.extract(I16X8, lane, Kind::I32, |i, x| i.uextend(types::I32, x))
            }
            O::I32x4ExtractLane { lane } => self.extract_whole(I32X4, lane, Kind::I32),
            O::I64x2ExtractLane { lane } => self.extract_whole(I64X2, lane, Kind::I64),
            O::F32x4ExtractLane { lane } => self.extract_whole(F32X4, lane, Kind::F32),
            O::F64x2ExtractLane { lane } => self.extract_whole(F64X2, lane, Kind::F64),
            O::I8x16ReplaceLane { lane } => self.replace(I8X16, lane),
            O::I16x8ReplaceLane { lane } => self.replace(I16X8, lane),
            O::I32x4ReplaceLane { lane } => self.replace(I32X4, lane),
            O::I64x2ReplaceLane { lane } => self.replace(I64X2, lane),
            O::F32x4ReplaceLane { lane } => self.replace(F32X4, lane),
            O::F64x2ReplaceLane { lane } => self.replace(F64X2, lane),
            _ => Ok(false),
        }
    }

    /// Pushes a lane that is as wide as what is pushed.
    fn extract_whole(&mut self, ty: Type, lane: u8, kind: Kind) -> Result<bool> {
        let vector = self.pop_lanes(ty)?;
        let lane = lane ^ u8::from(self.mutated(Mutation::LaneWrong));
        let value = self.b.ins().extractlane(vector, lane);
        self.push(kind, value);
        Ok(true)
    }

    /// Pushes a lane that has to be extended.
    fn extract(
        &mut self,
        ty: Type,
        lane: u8,
        kind: Kind,
        extend: impl FnOnce(Ins<'_, '_>, Value) -> Value,
    ) -> Result<bool> {
        let vector = self.pop_lanes(ty)?;
        let lane = lane ^ u8::from(self.mutated(Mutation::LaneWrong));
        let value = self.b.ins().extractlane(vector, lane);
        let value = extend(self.b.ins(), value);
        self.push(kind, value);
        Ok(true)
    }

    fn replace(&mut self, ty: Type, lane: u8) -> Result<bool> {
        let value = self.pop_lane(ty)?;
        let vector = self.pop_lanes(ty)?;
        let lane = lane ^ u8::from(self.mutated(Mutation::ReplacedLaneWrong));
        let result = self.b.ins().insertlane(vector, value, lane);
        self.push_lanes(result)
    }

    /// Pops a scalar as a lane: of an `i32`, a narrow lane takes the low bits.
    fn pop_lane(&mut self, ty: Type) -> Result<Value> {
        let value = self.pop()?;
        let lane = ty.lane_type();
        let narrow = lane.is_int() && lane.bits() < 32;
        Ok(if narrow { self.b.ins().ireduce(lane, value) } else { value })
    }

    fn simd_splat(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        let ty = match op {
            O::I8x16Splat => I8X16,
            O::I16x8Splat => I16X8,
            O::I32x4Splat => I32X4,
            O::I64x2Splat => I64X2,
            O::F32x4Splat => F32X4,
            O::F64x2Splat => F64X2,
            _ => return Ok(false),
        };
        let value = self.pop_lane(ty)?;
        let result = self.b.ins().splat(ty, value);
        self.push_lanes(result)
    }
}
