//! Loads and stores of vectors, of their lanes, and of what is made into vectors.

use cranelift_codegen::ir::types::{I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use palisade_module::wasmparser::{MemArg, Operator};

use super::super::{Result, Translator};
use super::Ins;

impl Translator<'_, '_> {
    pub(in crate::translate) fn simd_memory(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Operator as O;
        match op {
            O::V128Load { memarg } => {
                let value = self.load_scalar(I8X16, memarg)?;
                self.push_lanes(value)
            }
            O::V128Store { memarg } => {
                let value = self.pop()?;
                self.store_scalar(value, memarg)
            }
            O::V128Load8x8S { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.sload8x8(f, p, o))
            }
            O::V128Load8x8U { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.uload8x8(f, p, o))
            }
            O::V128Load16x4S { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.sload16x4(f, p, o))
            }
            O::V128Load16x4U { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.uload16x4(f, p, o))
            }
            O::V128Load32x2S { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.sload32x2(f, p, o))
            }
            O::V128Load32x2U { memarg } => {
                self.load_extended(memarg, |i, f, p, o| i.uload32x2(f, p, o))
            }
            O::V128Load8Splat { memarg } => self.load_splat(I8X16, memarg),
            O::V128Load16Splat { memarg } => self.load_splat(I16X8, memarg),
            O::V128Load32Splat { memarg } => self.load_splat(I32X4, memarg),
            O::V128Load64Splat { memarg } => self.load_splat(I64X2, memarg),
            O::V128Load32Zero { memarg } => self.load_zero(I32X4, memarg),
            O::V128Load64Zero { memarg } => self.load_zero(I64X2, memarg),
            O::V128Load8Lane { memarg, lane } => self.load_lane(I8X16, memarg, *lane),
            O::V128Load16Lane { memarg, lane } => self.load_lane(I16X8, memarg, *lane),
            O::V128Load32Lane { memarg, lane } => self.load_lane(I32X4, memarg, *lane),
            O::V128Load64Lane { memarg, lane } => self.load_lane(I64X2, memarg, *lane),
            O::V128Store8Lane { memarg, lane } => self.store_lane(I8X16, memarg, *lane),
            O::V128Store16Lane { memarg, lane } => self.store_lane(I16X8, memarg, *lane),
            O::V128Store32Lane { memarg, lane } => self.store_lane(I32X4, memarg, *lane),
            O::V128Store64Lane { memarg, lane } => self.store_lane(I64X2, memarg, *lane),
            _ => Ok(false),
        }
    }

    /// Pops an index and loads from there.
    fn load_scalar(&mut self, ty: Type, memarg: &MemArg) -> Result<Value> {
        let index = self.pop()?;
        let address = self.address(index, memarg, ty.bytes())?;
        Ok(self.b.ins().load(ty, address.flags, address.base, address.offset))
    }

    /// Pops an index and stores there.
    fn store_scalar(&mut self, value: Value, memarg: &MemArg) -> Result<bool> {
        let size = self.b.func.dfg.value_type(value).bytes();
        let index = self.pop()?;
        let address = self.address(index, memarg, size)?;
        self.b.ins().store(address.flags, value, address.base, address.offset);
        Ok(true)
    }

    /// Eight bytes whose lanes become twice as wide.
    fn load_extended(
        &mut self,
        memarg: &MemArg,
        load: impl FnOnce(Ins<'_, '_>, MemFlagsData, Value, i32) -> Value,
    ) -> Result<bool> {
        let index = self.pop()?;
        let address = self.address(index, memarg, 8)?;
        let value = load(self.b.ins(), address.flags, address.base, address.offset);
        self.push_lanes(value)
    }

    fn load_splat(&mut self, ty: Type, memarg: &MemArg) -> Result<bool> {
        let lane = self.load_scalar(ty.lane_type(), memarg)?;
        let value = self.b.ins().splat(ty, lane);
        self.push_lanes(value)
    }

    /// The lowest lane, and zero in all others.
    fn load_zero(&mut self, ty: Type, memarg: &MemArg) -> Result<bool> {
        let lane = self.load_scalar(ty.lane_type(), memarg)?;
        let value = self.b.ins().scalar_to_vector(ty, lane);
        self.push_lanes(value)
    }

    fn load_lane(&mut self, ty: Type, memarg: &MemArg, lane: u8) -> Result<bool> {
        let vector = self.pop_lanes(ty)?;
        let value = self.load_scalar(ty.lane_type(), memarg)?;
        let result = self.b.ins().insertlane(vector, value, lane);
        self.push_lanes(result)
    }

    fn store_lane(&mut self, ty: Type, memarg: &MemArg, lane: u8) -> Result<bool> {
        let vector = self.pop_lanes(ty)?;
        let value = self.b.ins().extractlane(vector, lane);
        self.store_scalar(value, memarg)
    }
}
