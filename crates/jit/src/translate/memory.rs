//! Linear memories: loads, stores, sizes, bulk operations. Where accesses go is decided in `bounds`.

use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use palisade_module::wasmparser::{MemArg, Operator};
use palisade_vm::native::Builtin;

use super::bounds::Address;
use super::bounds::ForStore;
use super::{Kind, Result, Translator};
use crate::mutation::Mutation;

/// A load or a store of an integer that is narrower than its operator's type.
#[derive(Copy, Clone, PartialEq)]
enum Narrow {
    Signed,
    Unsigned,
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn memory(&mut self, op: &Operator<'_>) -> Result<bool> {
        use Narrow::{Signed, Unsigned};
        use Operator as O;
        match op {
            O::I32Load { memarg } => self.load(memarg, Kind::I32)?,
            O::I64Load { memarg } => self.load(memarg, Kind::I64)?,
            O::F32Load { memarg } => self.load(memarg, Kind::F32)?,
            O::F64Load { memarg } => self.load(memarg, Kind::F64)?,
            O::I32Load8S { memarg } => self.narrow(memarg, Kind::I32, types::I8, Signed)?,
            O::I32Load8U { memarg } => self.narrow(memarg, Kind::I32, types::I8, Unsigned)?,
            O::I32Load16S { memarg } => self.narrow(memarg, Kind::I32, types::I16, Signed)?,
            O::I32Load16U { memarg } => self.narrow(memarg, Kind::I32, types::I16, Unsigned)?,
            O::I64Load8S { memarg } => self.narrow(memarg, Kind::I64, types::I8, Signed)?,
            O::I64Load8U { memarg } => self.narrow(memarg, Kind::I64, types::I8, Unsigned)?,
            O::I64Load16S { memarg } => self.narrow(memarg, Kind::I64, types::I16, Signed)?,
            O::I64Load16U { memarg } => self.narrow(memarg, Kind::I64, types::I16, Unsigned)?,
            O::I64Load32S { memarg } => self.narrow(memarg, Kind::I64, types::I32, Signed)?,
            O::I64Load32U { memarg } => self.narrow(memarg, Kind::I64, types::I32, Unsigned)?,
            O::I32Store { memarg } | O::F32Store { memarg } => self.store(memarg, 4)?,
            O::I64Store { memarg } | O::F64Store { memarg } => self.store(memarg, 8)?,
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => self.store(memarg, 1)?,
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => self.store(memarg, 2)?,
            O::I64Store32 { memarg } => self.store(memarg, 4)?,
            _ => return self.whole_memory(op),
        }
        Ok(true)
    }

    fn load(&mut self, memarg: &MemArg, kind: Kind) -> Result<()> {
        let index = self.pop()?;
        let address = self.address(index, memarg, kind.ty().bytes())?;
        let value = self.b.ins().load(kind.ty(), address.flags, address.base, address.offset);
        self.push(kind, value);
        Ok(())
    }

    /// As one operator: an extension beside the load would be an instruction of its own.
    fn narrow(&mut self, memarg: &MemArg, kind: Kind, ty: Type, how: Narrow) -> Result<()> {
        let index = self.pop()?;
        let Address { base, offset, flags } = self.address(index, memarg, ty.bytes())?;
        let wide = kind.ty();
        let widened = ty == types::I8 && self.mutated(Mutation::LoadWidened);
        let ty = if widened { types::I16 } else { ty };
        let swapped = how == Narrow::Unsigned && self.mutated(Mutation::LoadExtensionSwapped);
        let how = if swapped { Narrow::Signed } else { how };
        let ins = self.b.ins();
        let value = match (ty, how) {
            (types::I8, Narrow::Signed) => ins.sload8(wide, flags, base, offset),
            (types::I8, Narrow::Unsigned) => ins.uload8(wide, flags, base, offset),
            (types::I16, Narrow::Signed) => ins.sload16(wide, flags, base, offset),
            (types::I16, Narrow::Unsigned) => ins.uload16(wide, flags, base, offset),
            (_, Narrow::Signed) => ins.sload32(flags, base, offset),
            (_, Narrow::Unsigned) => ins.uload32(flags, base, offset),
        };
        self.push(kind, value);
        Ok(())
    }

    fn store(&mut self, memarg: &MemArg, size: u32) -> Result<()> {
        let (index, value) = self.pop2()?;
        let a = self.address(index, memarg, size)?;
        let flags = a.flags.for_store();
        let ty = self.b.func.dfg.value_type(value);
        if ty.bytes() == size {
            self.b.ins().store(flags, value, a.base, a.offset);
        } else {
            match size {
                2 if self.mutated(Mutation::StoreNarrowed) => {
                    self.b.ins().istore8(flags, value, a.base, a.offset)
                }
                1 => self.b.ins().istore8(flags, value, a.base, a.offset),
                2 => self.b.ins().istore16(flags, value, a.base, a.offset),
                _ => self.b.ins().istore32(flags, value, a.base, a.offset),
            };
        }
        Ok(())
    }

    /// Operators on memories as a whole.
    fn whole_memory(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::MemorySize { mem } => {
                let ty = self.memory_type(mem)?;
                let len = self.memory_len(mem)?;
                let pages = self.b.ins().ushr_imm_u(len, i64::from(ty.page_size_log2));
                self.push_index(ty.memory64, pages);
            }
            Operator::MemoryGrow { mem } => {
                let ty = self.memory_type(mem)?;
                let delta = self.pop()?;
                let memory = self.number(u64::from(mem));
                let old = self.builtin_value(Builtin::MemoryGrow, &[memory, delta])?;
                self.push_index(ty.memory64, old);
            }
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let (to, from, len) = self.pop3()?;
                self.copy([dst_mem, src_mem], [to, from, len])?;
            }
            Operator::MemoryFill { mem } => {
                let (to, byte, len) = self.pop3()?;
                self.fill(mem, [to, byte, len])?;
            }
            Operator::MemoryInit { data_index, mem } => {
                let (to, from, len) = self.pop3()?;
                let what = self.packed(mem, data_index);
                self.builtin(Builtin::MemoryInit, &[what, to, from, len]);
            }
            Operator::DataDrop { data_index } => {
                let data = self.number(u64::from(data_index));
                self.builtin(Builtin::DataDrop, &[data]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Pushes a number of 64 bits as what indices of a memory or a table are.
    pub(crate) fn push_index(&mut self, wide: bool, value: Value) {
        if wide {
            self.push(Kind::I64, value);
        } else {
            let value = self.b.ins().ireduce(types::I32, value);
            self.push(Kind::I32, value);
        }
    }
}
