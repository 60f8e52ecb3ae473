//! Atomic operators: loads, stores, read-modify-write, fences, waiting and notifying.
//!
//! All of them are sequentially consistent, on every kind of memory, shared or not. Narrow ones work on the
//! low bits of their operands, what a comparison expects included, and zero-extend what they found. An address
//! that is not aligned traps before one that is out of bounds. Waiting and notifying is the runtime's, with
//! all its checks.

use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Type, Value};
use palisade_module::wasmparser::{MemArg, Operator};
use palisade_vm::native::Builtin;

use super::bounds::memory_of;
use super::{Kind, Result, Translator};
use crate::mutation::Mutation;

/// An access: how wide it is, where, and what stands on the operand stack.
type Access<'m> = (Type, &'m MemArg, Kind);

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn atomic(&mut self, op: &Operator<'_>) -> Result<bool> {
        if let Some(access) = load(op) {
            return self.atomic_load(access);
        }
        if let Some((ty, memarg)) = store(op) {
            return self.atomic_store(ty, memarg);
        }
        if let Some((rmw, access)) = read_modify_write(op) {
            return self.atomic_rmw(rmw, access);
        }
        if let Some(access) = compare_exchange(op) {
            return self.atomic_compare_exchange(access);
        }
        match op {
            Operator::AtomicFence { .. } => {
                self.b.ins().fence();
                Ok(true)
            }
            Operator::MemoryAtomicNotify { memarg } => self.parking(Builtin::Notify, 1, memarg),
            Operator::MemoryAtomicWait32 { memarg } => self.parking(Builtin::Wait32, 2, memarg),
            Operator::MemoryAtomicWait64 { memarg } => self.parking(Builtin::Wait64, 2, memarg),
            _ => Ok(false),
        }
    }

    /// Pops an index and gives the address of an access.
    fn atomic_address(&mut self, ty: Type, memarg: &MemArg) -> Result<(MemFlagsData, Value)> {
        let index = self.pop()?;
        let address = self.aligned_address(index, memarg, ty.bytes())?;
        Ok((address.flags, address.base))
    }

    /// The low bits of an operand.
    fn low_bits(&mut self, ty: Type, value: Value) -> Value {
        let whole = self.b.func.dfg.value_type(value) == ty;
        if whole { value } else { self.b.ins().ireduce(ty, value) }
    }

    /// Pushes what was found in memory, zero-extended.
    fn push_found(&mut self, kind: Kind, found: Value) -> Result<bool> {
        let whole = self.b.func.dfg.value_type(found) == kind.ty();
        let value = match whole {
            true => found,
            false if self.mutated(Mutation::AtomicSignExtended) => {
                self.b.ins().sextend(kind.ty(), found)
            }
            false => self.b.ins().uextend(kind.ty(), found),
        };
        self.push(kind, value);
        Ok(true)
    }

    fn atomic_load(&mut self, (ty, memarg, kind): Access<'_>) -> Result<bool> {
        let (flags, at) = self.atomic_address(ty, memarg)?;
        let found = self.b.ins().atomic_load(ty, flags, at);
        self.push_found(kind, found)
    }

    fn atomic_store(&mut self, ty: Type, memarg: &MemArg) -> Result<bool> {
        let value = self.pop()?;
        let value = self.low_bits(ty, value);
        let (flags, at) = self.atomic_address(ty, memarg)?;
        self.b.ins().atomic_store(flags, value, at);
        Ok(true)
    }

    fn atomic_rmw(&mut self, op: AtomicRmwOp, (ty, memarg, kind): Access<'_>) -> Result<bool> {
        let value = self.pop()?;
        let value = self.low_bits(ty, value);
        let (flags, at) = self.atomic_address(ty, memarg)?;
        let found = self.b.ins().atomic_rmw(ty, flags, op, at, value);
        self.push_found(kind, found)
    }

    fn atomic_compare_exchange(&mut self, (ty, memarg, kind): Access<'_>) -> Result<bool> {
        let (expected, value) = self.pop2()?;
        let expected = self.low_bits(ty, expected);
        let value = self.low_bits(ty, value);
        let (flags, at) = self.atomic_address(ty, memarg)?;
        let found = self.b.ins().atomic_cas(flags, at, expected, value);
        self.push_found(kind, found)
    }

    /// Waiting and notifying: an index and `operands` more numbers are popped, an `i32` is pushed.
    fn parking(&mut self, builtin: Builtin, operands: usize, memarg: &MemArg) -> Result<bool> {
        let memory = memory_of(memarg)?;
        let operands = self.pop_many(operands)?;
        let index = self.pop()?;
        let mut args = vec![self.number(u64::from(memory)), index, self.number(memarg.offset)];
        args.extend(operands);
        let result = self.builtin_value(builtin, &args)?;
        let result = self.b.ins().ireduce(I32, result);
        self.push(Kind::I32, result);
        Ok(true)
    }
}

fn load<'m>(op: &'m Operator<'_>) -> Option<Access<'m>> {
    use Operator as O;
    Some(match op {
        O::I32AtomicLoad { memarg } => (I32, memarg, Kind::I32),
        O::I32AtomicLoad8U { memarg } => (I8, memarg, Kind::I32),
        O::I32AtomicLoad16U { memarg } => (I16, memarg, Kind::I32),
        O::I64AtomicLoad { memarg } => (I64, memarg, Kind::I64),
        O::I64AtomicLoad8U { memarg } => (I8, memarg, Kind::I64),
        O::I64AtomicLoad16U { memarg } => (I16, memarg, Kind::I64),
        O::I64AtomicLoad32U { memarg } => (I32, memarg, Kind::I64),
        _ => return None,
    })
}

fn store<'m>(op: &'m Operator<'_>) -> Option<(Type, &'m MemArg)> {
    use Operator as O;
    Some(match op {
        O::I32AtomicStore8 { memarg } | O::I64AtomicStore8 { memarg } => (I8, memarg),
        O::I32AtomicStore16 { memarg } | O::I64AtomicStore16 { memarg } => (I16, memarg),
        O::I32AtomicStore { memarg } | O::I64AtomicStore32 { memarg } => (I32, memarg),
        O::I64AtomicStore { memarg } => (I64, memarg),
        _ => return None,
    })
}

fn read_modify_write<'m>(op: &'m Operator<'_>) -> Option<(AtomicRmwOp, Access<'m>)> {
    use {AtomicRmwOp as R, Operator as O};
    let (rmw, ty, memarg, kind) = match op {
        O::I32AtomicRmwAdd { memarg } => (R::Add, I32, memarg, Kind::I32),
        O::I32AtomicRmw8AddU { memarg } => (R::Add, I8, memarg, Kind::I32),
        O::I32AtomicRmw16AddU { memarg } => (R::Add, I16, memarg, Kind::I32),
        O::I64AtomicRmwAdd { memarg } => (R::Add, I64, memarg, Kind::I64),
        O::I64AtomicRmw8AddU { memarg } => (R::Add, I8, memarg, Kind::I64),
        O::I64AtomicRmw16AddU { memarg } => (R::Add, I16, memarg, Kind::I64),
        O::I64AtomicRmw32AddU { memarg } => (R::Add, I32, memarg, Kind::I64),
        O::I32AtomicRmwSub { memarg } => (R::Sub, I32, memarg, Kind::I32),
        O::I32AtomicRmw8SubU { memarg } => (R::Sub, I8, memarg, Kind::I32),
        O::I32AtomicRmw16SubU { memarg } => (R::Sub, I16, memarg, Kind::I32),
        O::I64AtomicRmwSub { memarg } => (R::Sub, I64, memarg, Kind::I64),
        O::I64AtomicRmw8SubU { memarg } => (R::Sub, I8, memarg, Kind::I64),
        O::I64AtomicRmw16SubU { memarg } => (R::Sub, I16, memarg, Kind::I64),
        O::I64AtomicRmw32SubU { memarg } => (R::Sub, I32, memarg, Kind::I64),
        O::I32AtomicRmwAnd { memarg } => (R::And, I32, memarg, Kind::I32),
        O::I32AtomicRmw8AndU { memarg } => (R::And, I8, memarg, Kind::I32),
        O::I32AtomicRmw16AndU { memarg } => (R::And, I16, memarg, Kind::I32),
        O::I64AtomicRmwAnd { memarg } => (R::And, I64, memarg, Kind::I64),
        O::I64AtomicRmw8AndU { memarg } => (R::And, I8, memarg, Kind::I64),
        O::I64AtomicRmw16AndU { memarg } => (R::And, I16, memarg, Kind::I64),
        O::I64AtomicRmw32AndU { memarg } => (R::And, I32, memarg, Kind::I64),
        O::I32AtomicRmwOr { memarg } => (R::Or, I32, memarg, Kind::I32),
        O::I32AtomicRmw8OrU { memarg } => (R::Or, I8, memarg, Kind::I32),
        O::I32AtomicRmw16OrU { memarg } => (R::Or, I16, memarg, Kind::I32),
        O::I64AtomicRmwOr { memarg } => (R::Or, I64, memarg, Kind::I64),
        O::I64AtomicRmw8OrU { memarg } => (R::Or, I8, memarg, Kind::I64),
        O::I64AtomicRmw16OrU { memarg } => (R::Or, I16, memarg, Kind::I64),
        O::I64AtomicRmw32OrU { memarg } => (R::Or, I32, memarg, Kind::I64),
        O::I32AtomicRmwXor { memarg } => (R::Xor, I32, memarg, Kind::I32),
        O::I32AtomicRmw8XorU { memarg } => (R::Xor, I8, memarg, Kind::I32),
        O::I32AtomicRmw16XorU { memarg } => (R::Xor, I16, memarg, Kind::I32),
        O::I64AtomicRmwXor { memarg } => (R::Xor, I64, memarg, Kind::I64),
        O::I64AtomicRmw8XorU { memarg } => (R::Xor, I8, memarg, Kind::I64),
        O::I64AtomicRmw16XorU { memarg } => (R::Xor, I16, memarg, Kind::I64),
        O::I64AtomicRmw32XorU { memarg } => (R::Xor, I32, memarg, Kind::I64),
        O::I32AtomicRmwXchg { memarg } => (R::Xchg, I32, memarg, Kind::I32),
        O::I32AtomicRmw8XchgU { memarg } => (R::Xchg, I8, memarg, Kind::I32),
        O::I32AtomicRmw16XchgU { memarg } => (R::Xchg, I16, memarg, Kind::I32),
        O::I64AtomicRmwXchg { memarg } => (R::Xchg, I64, memarg, Kind::I64),
        O::I64AtomicRmw8XchgU { memarg } => (R::Xchg, I8, memarg, Kind::I64),
        O::I64AtomicRmw16XchgU { memarg } => (R::Xchg, I16, memarg, Kind::I64),
        O::I64AtomicRmw32XchgU { memarg } => (R::Xchg, I32, memarg, Kind::I64),
        _ => return None,
    };
    Some((rmw, (ty, memarg, kind)))
}

fn compare_exchange<'m>(op: &'m Operator<'_>) -> Option<Access<'m>> {
    use Operator as O;
    Some(match op {
        O::I32AtomicRmwCmpxchg { memarg } => (I32, memarg, Kind::I32),
        O::I32AtomicRmw8CmpxchgU { memarg } => (I8, memarg, Kind::I32),
        O::I32AtomicRmw16CmpxchgU { memarg } => (I16, memarg, Kind::I32),
        O::I64AtomicRmwCmpxchg { memarg } => (I64, memarg, Kind::I64),
        O::I64AtomicRmw8CmpxchgU { memarg } => (I8, memarg, Kind::I64),
        O::I64AtomicRmw16CmpxchgU { memarg } => (I16, memarg, Kind::I64),
        O::I64AtomicRmw32CmpxchgU { memarg } => (I32, memarg, Kind::I64),
        _ => return None,
    })
}
