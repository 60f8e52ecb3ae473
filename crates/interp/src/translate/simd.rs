//! Operators on vectors.
//!
//! A vector on the operand stack is always in a slot: its own, or that of a local. What an
//! instruction makes goes to its own slot, unless the next operator sets a local to it.

use palisade_core::simd::{self as meaning, V128};
use palisade_module::wasmparser::{MemArg, Operator};

use crate::code::Ty;
use crate::operands::Operands;
use crate::ops::arith::{DestPair, Slots};
use crate::ops::control::{GlobalOps, SelectOps};
use crate::ops::memory::{FarOps, MemOps, MemOpsWide};
use crate::ops::simd as ops;
use crate::ops::simd::lanes::{self, ShuffleOps, VecConstOps};
use crate::ops::simd::memory::{self, Far, LaneOps, LanePlace, VecLoadIdx as L};
use crate::state::{Handler, VecHandler};
use crate::translate::emit::At;
use crate::translate::operators::Address;
use crate::translate::stack::{Loc, Stack};
use crate::translate::values::Source;
use crate::translate::{Result, Translator, invalid};
use crate::val::Reg;

impl Stack {
    /// Notes that a vector was written to two slots of the value part.
    pub(super) fn wrote_vec(&mut self, slot: u32) {
        self.wrote(slot);
        self.wrote(slot + 1);
    }
}

impl Translator<'_> {
    /// Translates an operator on vectors.
    pub(super) fn visit_vector(&mut self, op: &Operator<'_>) -> Result<()> {
        if let Some(handler) = ops::binary(op) {
            let b = self.pop_slot()?;
            let a = self.pop_slot()?;
            if matches!(op, Operator::F32x4Add | Operator::F64x2Add)
                && let Some((handler, x, y, c)) = self.product(a, b)
            {
                return self.make_vec(handler, |d| Slots { handler: 0, d, a: x, b: y, c });
            }
            self.make_vec(handler, |d| Slots { handler: 0, d, a, b, c: 0 })?;
            if let Some(made) = &mut self.made {
                made.product = ops::product_sum(op).map(|handler| (handler, a, b));
            }
            return Ok(());
        }
        if let Some(handler) = ops::unary(op) {
            let a = self.pop_slot()?;
            return self.make_vec(handler, |d| Slots { handler: 0, d, a, b: 0, c: 0 });
        }
        if let Some(handlers) = ops::shift(op) {
            return self.shift(handlers);
        }
        if let Some(handler) = ops::ternary(op) {
            let c = self.pop_slot()?;
            let b = self.pop_slot()?;
            let a = self.pop_slot()?;
            return self.make_vec(handler, |d| Slots { handler: 0, d, a, b, c });
        }
        if let Some(handlers) = ops::tests(op).or_else(|| ops::bitmasks(op)) {
            return self.give_scalar(handlers.map(VecHandler::pick), 0, Ty::I32);
        }
        self.visit_lane(op)
    }

    /// Operators on single lanes, constants and shuffles.
    fn visit_lane(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match *op {
            O::V128Const { value } => self.vec_const(V128(*value.bytes())),
            O::I8x16Shuffle { lanes } => self.shuffle(lanes),
            O::I8x16Splat => self.splat(0),
            O::I16x8Splat => self.splat(1),
            O::I32x4Splat | O::F32x4Splat => self.splat(2),
            O::I64x2Splat | O::F64x2Splat => self.splat(3),
            O::I8x16ReplaceLane { lane } => self.replace(0, lane),
            O::I16x8ReplaceLane { lane } => self.replace(1, lane),
            O::I32x4ReplaceLane { lane } | O::F32x4ReplaceLane { lane } => self.replace(2, lane),
            O::I64x2ReplaceLane { lane } | O::F64x2ReplaceLane { lane } => self.replace(3, lane),
            O::I8x16ExtractLaneS { lane } => self.extract(lanes::EXTRACT_S8, lane, 1, Ty::I32),
            O::I8x16ExtractLaneU { lane } => self.extract(lanes::EXTRACT_U8, lane, 1, Ty::I32),
            O::I16x8ExtractLaneS { lane } => self.extract(lanes::EXTRACT_S16, lane, 2, Ty::I32),
            O::I16x8ExtractLaneU { lane } => self.extract(lanes::EXTRACT_U16, lane, 2, Ty::I32),
            O::I32x4ExtractLane { lane } => self.extract(lanes::EXTRACT_32, lane, 4, Ty::I32),
            O::I64x2ExtractLane { lane } => self.extract(lanes::EXTRACT_64, lane, 8, Ty::I64),
            O::F32x4ExtractLane { lane } => self.extract(lanes::EXTRACT_F32, lane, 4, Ty::F32),
            O::F64x2ExtractLane { lane } => self.extract(lanes::EXTRACT_F64, lane, 8, Ty::F64),
            _ => self.visit_vector_access(op),
        }
    }

    fn visit_vector_access(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match op {
            O::V128Load { memarg } => self.load_vec(L::Full, memarg),
            O::V128Load8x8S { memarg } => self.load_vec(L::S8x8, memarg),
            O::V128Load8x8U { memarg } => self.load_vec(L::U8x8, memarg),
            O::V128Load16x4S { memarg } => self.load_vec(L::S16x4, memarg),
            O::V128Load16x4U { memarg } => self.load_vec(L::U16x4, memarg),
            O::V128Load32x2S { memarg } => self.load_vec(L::S32x2, memarg),
            O::V128Load32x2U { memarg } => self.load_vec(L::U32x2, memarg),
            O::V128Load8Splat { memarg } => self.load_vec(L::Splat8, memarg),
            O::V128Load16Splat { memarg } => self.load_vec(L::Splat16, memarg),
            O::V128Load32Splat { memarg } => self.load_vec(L::Splat32, memarg),
            O::V128Load64Splat { memarg } => self.load_vec(L::Splat64, memarg),
            O::V128Load32Zero { memarg } => self.load_vec(L::Zero32, memarg),
            O::V128Load64Zero { memarg } => self.load_vec(L::Zero64, memarg),
            O::V128Store { memarg } => self.store_vec(memarg),
            O::V128Load8Lane { memarg, lane } => self.load_lane(0, memarg, *lane),
            O::V128Load16Lane { memarg, lane } => self.load_lane(1, memarg, *lane),
            O::V128Load32Lane { memarg, lane } => self.load_lane(2, memarg, *lane),
            O::V128Load64Lane { memarg, lane } => self.load_lane(3, memarg, *lane),
            O::V128Store8Lane { memarg, lane } => self.store_lane(0, memarg, *lane),
            O::V128Store16Lane { memarg, lane } => self.store_lane(1, memarg, *lane),
            O::V128Store32Lane { memarg, lane } => self.store_lane(2, memarg, *lane),
            O::V128Store64Lane { memarg, lane } => self.store_lane(3, memarg, *lane),
            _ => self.visit_gc(op),
        }
    }

    /// Pushes a vector that the next instruction makes, and says to which slot.
    fn push_vec(&mut self) -> Result<u16> {
        let index = self.push(Ty::V128, Loc::Slot)?;
        let d = self.entry_slot(index);
        self.stack.wrote_vec(u32::from(d));
        Ok(d)
    }

    /// Emits an instruction that makes a vector; what it works on was popped before.
    pub(super) fn make_vec(
        &mut self,
        handler: VecHandler,
        operands: impl FnOnce(u16) -> Slots,
    ) -> Result<()> {
        self.emit_vec(handler.pick(), operands)
    }

    fn emit_vec<T: Operands>(
        &mut self,
        handler: Handler,
        operands: impl FnOnce(u16) -> T,
    ) -> Result<()> {
        let d = self.push_vec()?;
        let at = self.emit(handler, operands(d));
        self.note_made(at, Ty::V128, d);
        Ok(())
    }

    /// Emits an instruction that makes a vector, or traps.
    pub(super) fn make_vec_marked<T: Operands>(
        &mut self,
        handler: Handler,
        operands: impl FnOnce(u16) -> T,
    ) -> Result<()> {
        self.emitter.mark(self.offset);
        self.emit_vec(handler, operands)
    }

    /// Takes back the newest instruction if it made one of two summands as a product: both are rounded,
    /// so that the result is the same. Returns the operation for all of it, the factors, and the other summand.
    fn product(&mut self, a: u16, b: u16) -> Option<(VecHandler, u16, u16, u16)> {
        let made = self.made.filter(|made| made.end == self.emitter.here())?;
        let (handler, x, y) = made.product?;
        let slot = made.slot as u16;
        let other = match (a == slot, b == slot) {
            (true, false) => b,
            (false, true) => a,
            _ => return None,
        };
        self.emitter.truncate(made.at);
        self.made = None;
        Some((handler, x, y, other))
    }

    /// Emits an instruction on the vector on top of the stack that gives a scalar.
    fn give_scalar(&mut self, handlers: DestPair, b: u16, ty: Ty) -> Result<()> {
        let a = self.pop_slot()?;
        let Some(reg) = ty.reg() else { return invalid() };
        self.spill(reg);
        self.produce(handlers, Slots { handler: 0, d: 0, a, b, c: 0 }, ty)?;
        Ok(())
    }

    fn extract(&mut self, handlers: DestPair, lane: u8, size: u16, ty: Ty) -> Result<()> {
        self.give_scalar(handlers, u16::from(lane) * size, ty)
    }

    fn vec_const(&mut self, value: V128) -> Result<()> {
        self.emit_vec(lanes::CONST, |d| VecConstOps { handler: 0, d, pad: [0; 3], value })
    }

    /// A shift, by a count on top of the stack.
    fn shift(&mut self, handlers: [VecHandler; 3]) -> Result<()> {
        let (entry, _) = self.pop()?;
        let (form, b) = match self.source(entry) {
            Source::Slot(slot) => (0, slot),
            Source::Acc => (1, 0),
            // More than the low six bits never count.
            Source::Imm(count) => (2, (count & 63) as u16),
        };
        let a = self.pop_slot()?;
        self.make_vec(handlers[form], |d| Slots { handler: 0, d, a, b, c: 0 })
    }

    fn shuffle(&mut self, lanes: [u8; 16]) -> Result<()> {
        let b = self.pop_slot()?;
        let a = self.pop_slot()?;
        let of_a = lanes.iter().all(|&lane| lane < 16);
        let of_b = lanes.iter().all(|&lane| lane >= 16);
        if a == b || of_a || of_b {
            let a = if of_b { b } else { a };
            let lanes = lanes.map(|lane| lane & 15);
            return self.emit_vec(lanes::PERMUTE.pick(), |d| {
                let slots = Slots { handler: 0, d, a, b: 0, c: 0 };
                ShuffleOps { slots, lanes }
            });
        }
        self.emit_vec(lanes::SHUFFLE.pick(), |d| ShuffleOps {
            slots: Slots { handler: 0, d, a, b, c: 0 },
            lanes,
        })
    }

    /// All lanes alike; `size` is the logarithm of their size in bytes.
    fn splat(&mut self, size: usize) -> Result<()> {
        let (acc, a) = match self.pop_lane()? {
            Source::Acc => (1, 0),
            Source::Slot(slot) => (0, slot),
            Source::Imm(bits) => {
                return self.vec_const(match size {
                    0 => meaning::i8x16_splat(bits as i8),
                    1 => meaning::i16x8_splat(bits as i16),
                    2 => meaning::i32x4_splat(bits as i32),
                    _ => meaning::i64x2_splat(bits as i64),
                });
            }
        };
        let Some(handlers) = lanes::SPLAT.get(size) else { return invalid() };
        self.make_vec(handlers[acc], |d| Slots { handler: 0, d, a, b: 0, c: 0 })
    }

    /// Pops a scalar that goes to a lane: from the integers' accumulator, a slot, or an immediate.
    fn pop_lane(&mut self) -> Result<Source> {
        let (entry, pending) = self.pop()?;
        Ok(match self.source(entry) {
            Source::Acc if entry.ty.reg() != Some(Reg::Int) => {
                Source::Slot(self.in_slot(entry, pending))
            }
            other => other,
        })
    }

    /// One lane replaced; `size` is the logarithm of its size in bytes.
    fn replace(&mut self, size: usize, lane: u8) -> Result<()> {
        let (entry, pending) = self.pop()?;
        let (acc, b) = match self.source(entry) {
            Source::Acc if entry.ty.reg() == Some(Reg::Int) => (1, 0),
            _ => (0, self.in_slot(entry, pending)),
        };
        let a = self.pop_slot()?;
        let Some(handlers) = lanes::REPLACE.get(size).and_then(|row| row.get(lane as usize)) else {
            return invalid();
        };
        self.make_vec(handlers[acc], |d| Slots { handler: 0, d, a, b, c: 0 })
    }

    fn load_vec(&mut self, kind: L, memarg: &MemArg) -> Result<()> {
        let (entry, pending) = self.pop()?;
        if !self.is_near(memarg)? {
            let a = self.in_slot(entry, pending);
            let (operands, far) = self.far(memarg, 0, a)?;
            return self.make_vec_marked(kind.far(far.memory64), |d| FarOps { d, ..operands });
        }
        let Address { form, a, b, shift, imm, offset } =
            self.address(entry, pending, memarg.offset);
        let handler = kind.handler(form);
        if form.wide() {
            let operands = |d| MemOpsWide { handler: 0, d, a, offset, b, shift, imm };
            self.make_vec_marked(handler, operands)
        } else {
            self.make_vec_marked(handler, |d| MemOps { handler: 0, d, a, offset })
        }
    }

    fn store_vec(&mut self, memarg: &MemArg) -> Result<()> {
        let d = self.pop_slot()?;
        let (entry, pending) = self.pop()?;
        if !self.is_near(memarg)? {
            let a = self.in_slot(entry, pending);
            let (operands, far) = self.far(memarg, d, a)?;
            self.emit_marked(memory::FAR_STORE[usize::from(far.memory64)], operands);
            return Ok(());
        }
        let Address { form, a, b, shift, imm, offset } =
            self.address(entry, pending, memarg.offset);
        let handler = memory::store(form);
        if form.wide() {
            self.emit_marked(handler, MemOpsWide { handler: 0, d, a, offset, b, shift, imm });
        } else {
            self.emit_marked(handler, MemOps { handler: 0, d, a, offset });
        }
        Ok(())
    }

    /// Emits an access to one lane, whose index was popped into slot `a`.
    fn access_lane(
        &mut self,
        handlers: &[Handler; 3],
        memarg: &MemArg,
        (d, a): (u16, u16),
        place: LanePlace,
    ) -> Result<At> {
        if self.is_near(memarg)? {
            let access = MemOps { handler: 0, d, a, offset: memarg.offset as u32 };
            return Ok(self.emit_marked(handlers[0], LaneOps { access, place }));
        }
        let (operands, far) = self.far(memarg, d, a)?;
        Ok(if far.memory64 {
            self.emit_marked(handlers[2], LaneOps { access: Far::<true>(operands), place })
        } else {
            self.emit_marked(handlers[1], LaneOps { access: Far::<false>(operands), place })
        })
    }

    fn load_lane(&mut self, size: usize, memarg: &MemArg, lane: u8) -> Result<()> {
        let Some(handlers) = memory::LOAD_LANE.get(size) else { return invalid() };
        let vector = self.pop_slot()?;
        let a = self.pop_slot()?;
        let d = self.push_vec()?;
        let place = LanePlace { vector, byte: u16::from(lane) << size, pad: 0 };
        let at = self.access_lane(handlers, memarg, (d, a), place)?;
        self.note_made(at, Ty::V128, d);
        Ok(())
    }

    fn store_lane(&mut self, size: usize, memarg: &MemArg, lane: u8) -> Result<()> {
        let Some(handlers) = memory::STORE_LANE.get(size) else { return invalid() };
        let vector = self.pop_slot()?;
        let a = self.pop_slot()?;
        let place = LanePlace { vector, byte: u16::from(lane) << size, pad: 0 };
        self.access_lane(handlers, memarg, (0, a), place)?;
        Ok(())
    }

    /// Emits a read of a global.
    pub(super) fn vec_global_get(&mut self, operands: GlobalOps) -> Result<()> {
        self.emit_vec(lanes::GLOBAL_GET, |d| GlobalOps { d, ..operands })
    }

    /// A selection between two vectors, which are in slots, by a condition that was popped.
    pub(super) fn select_vec(&mut self, cond: Source) -> Result<()> {
        let b = self.pop_slot()?;
        let a = self.pop_slot()?;
        let (acc, cond) = match cond {
            Source::Slot(slot) => (0, slot),
            _ => (1, 0),
        };
        self.emit_vec(lanes::SELECT[acc], |d| SelectOps { handler: 0, d, cond, a, b })
    }

    /// Emits a copy of a vector between slots.
    pub(super) fn copy_vec(&mut self, to: u32, from: u32) {
        self.stack.wrote_vec(to);
        let operands = self.slots(to, from, 0, 0);
        self.emit(lanes::COPY, operands);
    }
}
