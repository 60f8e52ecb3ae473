//! Atomic operators.

use palisade_module::wasmparser::{MemArg, Operator};

use crate::code::Ty;
use crate::ops::atomic::{
    AccessIdx as A, AtomicOps, FENCE, FenceOps, NOTIFY, WAIT32, WAIT64, store,
};
use crate::state::Handler;
use crate::translate::operators::memory_of;
use crate::translate::stack::Loc;
use crate::translate::{Result, Translator, invalid};
use crate::val::Reg;

impl Translator<'_> {
    /// Widths are logarithms of bytes.
    pub(super) fn visit_atomic(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match op {
            O::AtomicFence { .. } => {
                self.emit(FENCE, FenceOps { handler: 0 });
                Ok(())
            }
            O::MemoryAtomicNotify { memarg } => self.atomic_parking::<2>(NOTIFY, memarg),
            O::MemoryAtomicWait32 { memarg } => self.atomic_parking::<3>(WAIT32, memarg),
            O::MemoryAtomicWait64 { memarg } => self.atomic_parking::<3>(WAIT64, memarg),
            O::I32AtomicLoad { memarg } => self.atomic::<1>(A::Load, 2, memarg, Ty::I32),
            O::I32AtomicLoad8U { memarg } => self.atomic::<1>(A::Load, 0, memarg, Ty::I32),
            O::I32AtomicLoad16U { memarg } => self.atomic::<1>(A::Load, 1, memarg, Ty::I32),
            O::I64AtomicLoad { memarg } => self.atomic::<1>(A::Load, 3, memarg, Ty::I64),
            O::I64AtomicLoad8U { memarg } => self.atomic::<1>(A::Load, 0, memarg, Ty::I64),
            O::I64AtomicLoad16U { memarg } => self.atomic::<1>(A::Load, 1, memarg, Ty::I64),
            O::I64AtomicLoad32U { memarg } => self.atomic::<1>(A::Load, 2, memarg, Ty::I64),
            O::I32AtomicStore { memarg } => self.atomic_store(2, memarg),
            O::I32AtomicStore8 { memarg } => self.atomic_store(0, memarg),
            O::I32AtomicStore16 { memarg } => self.atomic_store(1, memarg),
            O::I64AtomicStore { memarg } => self.atomic_store(3, memarg),
            O::I64AtomicStore8 { memarg } => self.atomic_store(0, memarg),
            O::I64AtomicStore16 { memarg } => self.atomic_store(1, memarg),
            O::I64AtomicStore32 { memarg } => self.atomic_store(2, memarg),
            _ => self.visit_atomic_rmw(op),
        }
    }

    fn visit_atomic_rmw(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let (kind, width, memarg, ty) = match op {
            O::I32AtomicRmwAdd { memarg } => (A::Add, 2, memarg, Ty::I32),
            O::I32AtomicRmw8AddU { memarg } => (A::Add, 0, memarg, Ty::I32),
            O::I32AtomicRmw16AddU { memarg } => (A::Add, 1, memarg, Ty::I32),
            O::I64AtomicRmwAdd { memarg } => (A::Add, 3, memarg, Ty::I64),
            O::I64AtomicRmw8AddU { memarg } => (A::Add, 0, memarg, Ty::I64),
            O::I64AtomicRmw16AddU { memarg } => (A::Add, 1, memarg, Ty::I64),
            O::I64AtomicRmw32AddU { memarg } => (A::Add, 2, memarg, Ty::I64),
            O::I32AtomicRmwSub { memarg } => (A::Sub, 2, memarg, Ty::I32),
            O::I32AtomicRmw8SubU { memarg } => (A::Sub, 0, memarg, Ty::I32),
            O::I32AtomicRmw16SubU { memarg } => (A::Sub, 1, memarg, Ty::I32),
            O::I64AtomicRmwSub { memarg } => (A::Sub, 3, memarg, Ty::I64),
            O::I64AtomicRmw8SubU { memarg } => (A::Sub, 0, memarg, Ty::I64),
            O::I64AtomicRmw16SubU { memarg } => (A::Sub, 1, memarg, Ty::I64),
            O::I64AtomicRmw32SubU { memarg } => (A::Sub, 2, memarg, Ty::I64),
            O::I32AtomicRmwAnd { memarg } => (A::And, 2, memarg, Ty::I32),
            O::I32AtomicRmw8AndU { memarg } => (A::And, 0, memarg, Ty::I32),
            O::I32AtomicRmw16AndU { memarg } => (A::And, 1, memarg, Ty::I32),
            O::I64AtomicRmwAnd { memarg } => (A::And, 3, memarg, Ty::I64),
            O::I64AtomicRmw8AndU { memarg } => (A::And, 0, memarg, Ty::I64),
            O::I64AtomicRmw16AndU { memarg } => (A::And, 1, memarg, Ty::I64),
            O::I64AtomicRmw32AndU { memarg } => (A::And, 2, memarg, Ty::I64),
            O::I32AtomicRmwOr { memarg } => (A::Or, 2, memarg, Ty::I32),
            O::I32AtomicRmw8OrU { memarg } => (A::Or, 0, memarg, Ty::I32),
            O::I32AtomicRmw16OrU { memarg } => (A::Or, 1, memarg, Ty::I32),
            O::I64AtomicRmwOr { memarg } => (A::Or, 3, memarg, Ty::I64),
            O::I64AtomicRmw8OrU { memarg } => (A::Or, 0, memarg, Ty::I64),
            O::I64AtomicRmw16OrU { memarg } => (A::Or, 1, memarg, Ty::I64),
            O::I64AtomicRmw32OrU { memarg } => (A::Or, 2, memarg, Ty::I64),
            O::I32AtomicRmwXor { memarg } => (A::Xor, 2, memarg, Ty::I32),
            O::I32AtomicRmw8XorU { memarg } => (A::Xor, 0, memarg, Ty::I32),
            O::I32AtomicRmw16XorU { memarg } => (A::Xor, 1, memarg, Ty::I32),
            O::I64AtomicRmwXor { memarg } => (A::Xor, 3, memarg, Ty::I64),
            O::I64AtomicRmw8XorU { memarg } => (A::Xor, 0, memarg, Ty::I64),
            O::I64AtomicRmw16XorU { memarg } => (A::Xor, 1, memarg, Ty::I64),
            O::I64AtomicRmw32XorU { memarg } => (A::Xor, 2, memarg, Ty::I64),
            O::I32AtomicRmwXchg { memarg } => (A::Xchg, 2, memarg, Ty::I32),
            O::I32AtomicRmw8XchgU { memarg } => (A::Xchg, 0, memarg, Ty::I32),
            O::I32AtomicRmw16XchgU { memarg } => (A::Xchg, 1, memarg, Ty::I32),
            O::I64AtomicRmwXchg { memarg } => (A::Xchg, 3, memarg, Ty::I64),
            O::I64AtomicRmw8XchgU { memarg } => (A::Xchg, 0, memarg, Ty::I64),
            O::I64AtomicRmw16XchgU { memarg } => (A::Xchg, 1, memarg, Ty::I64),
            O::I64AtomicRmw32XchgU { memarg } => (A::Xchg, 2, memarg, Ty::I64),
            _ => return self.visit_atomic_cmpxchg(op),
        };
        self.atomic::<2>(kind, width, memarg, ty)
    }

    fn visit_atomic_cmpxchg(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let (width, memarg, ty) = match op {
            O::I32AtomicRmwCmpxchg { memarg } => (2, memarg, Ty::I32),
            O::I32AtomicRmw8CmpxchgU { memarg } => (0, memarg, Ty::I32),
            O::I32AtomicRmw16CmpxchgU { memarg } => (1, memarg, Ty::I32),
            O::I64AtomicRmwCmpxchg { memarg } => (3, memarg, Ty::I64),
            O::I64AtomicRmw8CmpxchgU { memarg } => (0, memarg, Ty::I64),
            O::I64AtomicRmw16CmpxchgU { memarg } => (1, memarg, Ty::I64),
            O::I64AtomicRmw32CmpxchgU { memarg } => (2, memarg, Ty::I64),
            _ => return self.visit_vector(op),
        };
        self.atomic::<3>(A::Cmpxchg, width, memarg, ty)
    }

    /// The operands of an atomic operation that takes `N` values, all from slots, and whether its
    /// memory is a 64-bit one.
    fn atomic_operands<const N: usize>(&mut self, memarg: &MemArg) -> Result<(AtomicOps, bool)> {
        let slots = self.pop_slow::<N>()?;
        let slot = |i: usize| slots.get(i).copied().unwrap_or(0);
        let index = memory_of(memarg)?;
        let Some(ty) = self.module.info().memories.get(index.index()) else { return invalid() };
        let memory = self.module.offsets().memory(index);
        let (a, x, y, wide) = (slot(0), slot(1), slot(2), u32::from(ty.memory64));
        let offset = memarg.offset;
        Ok((AtomicOps { handler: 0, d: 0, a, x, y, memory, wide, offset }, ty.memory64))
    }

    /// An operation with a result.
    fn atomic<const N: usize>(
        &mut self,
        kind: A,
        width: u8,
        memarg: &MemArg,
        ty: Ty,
    ) -> Result<()> {
        let (operands, memory64) = self.atomic_operands::<N>(memarg)?;
        self.spill(Reg::Int);
        self.emitter.mark(self.offset);
        self.produce(kind.handlers(width, memory64), operands, ty)?;
        Ok(())
    }

    fn atomic_store(&mut self, width: u8, memarg: &MemArg) -> Result<()> {
        let (operands, memory64) = self.atomic_operands::<2>(memarg)?;
        self.emit_marked(store(width, memory64), operands);
        Ok(())
    }

    /// Waiting and notifying, which name the memory by its number and have their result in a slot.
    fn atomic_parking<const N: usize>(&mut self, handler: Handler, memarg: &MemArg) -> Result<()> {
        let (mut operands, _) = self.atomic_operands::<N>(memarg)?;
        operands.memory = memory_of(memarg)?.0;
        let index = self.push(Ty::I32, Loc::Slot)?;
        operands.d = self.entry_slot(index);
        self.stack.wrote(u32::from(operands.d));
        self.emit_marked(handler, operands);
        Ok(())
    }
}
