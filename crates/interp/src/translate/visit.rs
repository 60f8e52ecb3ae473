//! From operators to what translates them.

use palisade_core::TrapCode;
use palisade_module::wasmparser::Operator;
use palisade_module::{FuncIdx, MemoryIdx};

use crate::code::Ty;
use crate::ops::arith::{BinIdx as B, UnIdx as U};
use crate::ops::control::{TRAP, TrapOps};
use crate::ops::memory::{LoadIdx as L, StoreIdx as S};
use crate::ops::refs;
use crate::ops::slow::{self, SlowOps};
use crate::translate::calls::Callee;
use crate::translate::control::Cond;
use crate::translate::gc::Question;
use crate::translate::stack::Loc;
use crate::translate::values::Source;
use crate::translate::{Result, Stop, Translator, invalid};

impl Translator<'_> {
    /// Translates an operator that can be reached.
    pub(super) fn visit(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match op {
            O::Nop => Ok(()),
            O::Unreachable => {
                let code = TrapCode::Unreachable as u64;
                self.emit_marked(TRAP, TrapOps { handler: 0, code });
                self.stop();
                Ok(())
            }
            O::Block { blockty } => self.visit_block(*blockty),
            O::Loop { blockty } => self.visit_loop(*blockty),
            O::If { blockty } => self.visit_if(*blockty),
            O::Else => self.visit_else(),
            O::End => self.visit_end(),
            O::Br { relative_depth } => self.visit_br(*relative_depth),
            O::BrIf { relative_depth } => self.visit_br_if(*relative_depth),
            O::BrTable { targets } => self.visit_br_table(targets),
            O::Return => self.visit_return(),
            O::TryTable { try_table } => self.visit_try_table(try_table),
            O::Throw { tag_index } => self.visit_throw(*tag_index),
            O::ThrowRef => self.visit_throw_ref(),
            O::Drop => self.pop().map(|_| ()),
            O::Select | O::TypedSelect { .. } => self.select(),
            O::LocalGet { local_index } => self.local_get(*local_index),
            O::LocalSet { local_index } => self.local_set(*local_index),
            O::LocalTee { local_index } => self.local_tee(*local_index),
            O::GlobalGet { global_index } => self.global_get(*global_index),
            O::GlobalSet { global_index } => self.global_set(*global_index),
            O::I32Const { value } => self.constant(Ty::I32, u64::from(*value as u32)),
            O::I64Const { value } => self.constant(Ty::I64, *value as u64),
            O::F32Const { value } => self.constant(Ty::F32, u64::from(value.bits())),
            O::F64Const { value } => self.constant(Ty::F64, value.bits()),
            _ => self.visit_call(op),
        }
    }

    fn constant(&mut self, ty: Ty, bits: u64) -> Result<()> {
        self.push(ty, Loc::Const(bits)).map(|_| ())
    }

    fn visit_call(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let module = self.module;
        let of_func = |index: u32| {
            let id = module.info().funcs.get(index as usize);
            id.and_then(|&id| module.signature_of(id)).ok_or(Stop::Trap(TrapCode::Internal))
        };
        let of_type = |index: u32| module.signature_at(index).ok_or(Stop::Trap(TrapCode::Internal));
        match op {
            O::Call { function_index } => {
                let callee = Callee::Func(FuncIdx(*function_index));
                self.call(of_func(*function_index)?, callee)
            }
            O::ReturnCall { function_index } => {
                let callee = Callee::Func(FuncIdx(*function_index));
                self.tail_call(of_func(*function_index)?, callee)
            }
            O::CallIndirect { type_index, table_index } => {
                let index = if self.table64(*table_index)? {
                    Source::Slot(self.pop_slot()?)
                } else {
                    self.pop_int()?
                };
                let callee = Callee::Table { table: *table_index, type_index: *type_index, index };
                self.call(of_type(*type_index)?, callee)
            }
            O::ReturnCallIndirect { type_index, table_index } => {
                let index = Source::Slot(self.pop_slot()?);
                let callee = Callee::Table { table: *table_index, type_index: *type_index, index };
                self.tail_call(of_type(*type_index)?, callee)
            }
            O::CallRef { type_index } => {
                let func = self.pop_slot()?;
                self.call(of_type(*type_index)?, Callee::Ref(func))
            }
            O::ReturnCallRef { type_index } => {
                let func = self.pop_slot()?;
                self.tail_call(of_type(*type_index)?, Callee::Ref(func))
            }
            _ => self.visit_reference(op),
        }
    }

    fn visit_reference(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match op {
            O::RefNull { hty } => {
                let ty = self.heap_ty(*hty);
                if ty == Ty::Ref {
                    self.need_refs()?;
                }
                self.constant(ty, 0)
            }
            O::RefIsNull => {
                if self.peek_ty(0)? == Ty::Ref {
                    let a = self.pop_slot()?;
                    return self.ask(Question::Null(a));
                }
                self.eqz(B::I64Eq)
            }
            O::RefFunc { function_index } => {
                let operands = SlowOps { a: *function_index, ..SlowOps::default() };
                self.slow(slow::REF_FUNC, operands, Some(Ty::Func))
            }
            O::RefAsNonNull => {
                let ty = self.peek_ty(0)?;
                let a = u32::from(self.pop_slot()?);
                let handler = if ty == Ty::Ref { refs::NON_NULL } else { refs::NON_NULL_FUNC };
                let operands = self.slots(0, a, 0, 0);
                self.emit_marked(handler, operands);
                self.push_again(ty, a)
            }
            O::BrOnNull { relative_depth } => {
                let ty = self.peek_ty(0)?;
                let a = u32::from(self.pop_slot()?);
                let cond = self.null_cond(ty, a);
                self.branch_if(cond, true, *relative_depth)?;
                self.push_again(ty, a)
            }
            O::BrOnNonNull { relative_depth } => {
                let ty = self.peek_ty(0)?;
                let a = u32::from(self.pop_slot()?);
                let cond = self.null_cond(ty, a);
                self.push_again(ty, a)?;
                self.branch_if(cond, false, *relative_depth)?;
                self.pop()?;
                Ok(())
            }
            _ => self.visit_table(op),
        }
    }

    /// Pushes a value that was popped and is in a slot: its own one, or that of a local.
    pub(super) fn push_again(&mut self, ty: Ty, slot: u32) -> Result<()> {
        let own = if ty == Ty::Ref { self.stack.refs } else { self.stack.cells };
        let loc = if slot == own { Loc::Slot } else { Loc::Local(slot) };
        self.push(ty, loc).map(|_| ())
    }

    /// The condition that a reference in a slot is null.
    fn null_cond(&self, ty: Ty, slot: u32) -> Cond {
        let slot = self.slot(slot);
        if ty == Ty::Ref { Cond::Asked(Question::Null(slot)) } else { Cond::NullCell(slot) }
    }

    fn visit_table(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let flag = |wide: bool, bit: u32| u32::from(wide) << bit;
        let none = SlowOps::default();
        match *op {
            O::TableGet { table } => {
                let [x] = self.pop_slow()?;
                let wide = flag(self.table64(table)?, 0);
                let ty = self.table_ty(table)?;
                self.slow(slow::TABLE_GET, SlowOps { x, a: table, wide, ..none }, Some(ty))
            }
            O::TableSet { table } => {
                let [x, y] = self.pop_slow()?;
                let wide = flag(self.table64(table)?, 0);
                self.slow(slow::TABLE_SET, SlowOps { x, y, a: table, wide, ..none }, None)
            }
            O::TableSize { table } => {
                let a = self.table_offset(table);
                let ty = if self.table64(table)? { Ty::I64 } else { Ty::I32 };
                self.slow(slow::TABLE_SIZE, SlowOps { a, ..none }, Some(ty))
            }
            O::TableGrow { table } => {
                let [x, y] = self.pop_slow()?;
                let table64 = self.table64(table)?;
                let ty = if table64 { Ty::I64 } else { Ty::I32 };
                let wide = flag(table64, 1);
                self.slow(slow::TABLE_GROW, SlowOps { x, y, a: table, wide, ..none }, Some(ty))
            }
            O::TableFill { table } => {
                let [x, y, z] = self.pop_slow()?;
                let table64 = self.table64(table)?;
                let wide = flag(table64, 0) | flag(table64, 2);
                self.slow(slow::TABLE_FILL, SlowOps { x, y, z, a: table, wide, ..none }, None)
            }
            O::TableCopy { dst_table, src_table } => {
                let [x, y, z] = self.pop_slow()?;
                let (to, from) = (self.table64(dst_table)?, self.table64(src_table)?);
                let wide = flag(to, 0) | flag(from, 1) | flag(to && from, 2);
                let operands = SlowOps { x, y, z, a: dst_table, b: src_table, wide, ..none };
                self.slow(slow::TABLE_COPY, operands, None)
            }
            O::TableInit { elem_index, table } => {
                let [x, y, z] = self.pop_slow()?;
                let wide = flag(self.table64(table)?, 0);
                let operands = SlowOps { x, y, z, a: table, b: elem_index, wide, ..none };
                self.slow(slow::TABLE_INIT, operands, None)
            }
            O::ElemDrop { elem_index } => {
                self.slow(slow::ELEM_DROP, SlowOps { a: elem_index, ..none }, None)
            }
            _ => self.visit_memory(op),
        }
    }

    fn memory64(&self, memory: u32) -> Result<bool> {
        match self.module.info().memories.get(memory as usize) {
            Some(ty) => Ok(ty.memory64),
            None => invalid(),
        }
    }

    fn visit_memory(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let flag = |wide: bool, bit: u32| u32::from(wide) << bit;
        let none = SlowOps::default();
        match *op {
            O::MemorySize { mem } => {
                let a = self.module.offsets().memory(MemoryIdx(mem));
                let Some(ty) = self.module.info().memories.get(mem as usize) else {
                    return invalid();
                };
                let out = if ty.memory64 { Ty::I64 } else { Ty::I32 };
                let b = u32::from(ty.page_size_log2);
                self.slow(slow::MEMORY_SIZE, SlowOps { a, b, ..none }, Some(out))
            }
            O::MemoryGrow { mem } => {
                let [x] = self.pop_slow()?;
                let memory64 = self.memory64(mem)?;
                let out = if memory64 { Ty::I64 } else { Ty::I32 };
                let wide = flag(memory64, 0);
                self.slow(slow::MEMORY_GROW, SlowOps { x, a: mem, wide, ..none }, Some(out))
            }
            O::MemoryCopy { dst_mem, src_mem } => {
                let [x, y, z] = self.pop_slow()?;
                let (to, from) = (self.memory64(dst_mem)?, self.memory64(src_mem)?);
                let wide = flag(to, 0) | flag(from, 1) | flag(to && from, 2);
                let operands = SlowOps { x, y, z, a: dst_mem, b: src_mem, wide, ..none };
                self.slow(slow::MEMORY_COPY, operands, None)
            }
            O::MemoryFill { mem } => {
                let [x, y, z] = self.pop_slow()?;
                let memory64 = self.memory64(mem)?;
                let wide = flag(memory64, 0) | flag(memory64, 2);
                self.slow(slow::MEMORY_FILL, SlowOps { x, y, z, a: mem, wide, ..none }, None)
            }
            O::MemoryInit { data_index, mem } => {
                let [x, y, z] = self.pop_slow()?;
                let wide = flag(self.memory64(mem)?, 0);
                let operands = SlowOps { x, y, z, a: mem, b: data_index, wide, ..none };
                self.slow(slow::MEMORY_INIT, operands, None)
            }
            O::DataDrop { data_index } => {
                self.slow(slow::DATA_DROP, SlowOps { a: data_index, ..none }, None)
            }
            O::I32Load { ref memarg } => self.load(L::U32, memarg, Ty::I32),
            O::I64Load { ref memarg } => self.load(L::U64, memarg, Ty::I64),
            O::F32Load { ref memarg } => self.load(L::F32, memarg, Ty::F32),
            O::F64Load { ref memarg } => self.load(L::F64, memarg, Ty::F64),
            O::I32Load8S { ref memarg } => self.load(L::S8, memarg, Ty::I32),
            O::I32Load8U { ref memarg } => self.load(L::U8, memarg, Ty::I32),
            O::I32Load16S { ref memarg } => self.load(L::S16, memarg, Ty::I32),
            O::I32Load16U { ref memarg } => self.load(L::U16, memarg, Ty::I32),
            O::I64Load8S { ref memarg } => self.load(L::S8, memarg, Ty::I64),
            O::I64Load8U { ref memarg } => self.load(L::U8, memarg, Ty::I64),
            O::I64Load16S { ref memarg } => self.load(L::S16, memarg, Ty::I64),
            O::I64Load16U { ref memarg } => self.load(L::U16, memarg, Ty::I64),
            O::I64Load32S { ref memarg } => self.load(L::S32, memarg, Ty::I64),
            O::I64Load32U { ref memarg } => self.load(L::U32, memarg, Ty::I64),
            O::I32Store { ref memarg } | O::I64Store32 { ref memarg } => {
                self.store(S::B32, S::B32, memarg)
            }
            O::I64Store { ref memarg } => self.store(S::B64, S::B64, memarg),
            O::F32Store { ref memarg } => self.store(S::B32, S::F32, memarg),
            O::F64Store { ref memarg } => self.store(S::B64, S::F64, memarg),
            O::I32Store8 { ref memarg } | O::I64Store8 { ref memarg } => {
                self.store(S::B8, S::B8, memarg)
            }
            O::I32Store16 { ref memarg } | O::I64Store16 { ref memarg } => {
                self.store(S::B16, S::B16, memarg)
            }
            O::I64Add128 => self.wide::<4>(slow::ADD128),
            O::I64Sub128 => self.wide::<4>(slow::SUB128),
            O::I64MulWideS => self.wide::<2>(slow::MUL_WIDE_S),
            O::I64MulWideU => self.wide::<2>(slow::MUL_WIDE_U),
            _ => self.visit_compare(op),
        }
    }

    fn visit_compare(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let (op, swap) = match op {
            O::I32Eqz => return self.eqz(B::I32Eq),
            O::I64Eqz => return self.eqz(B::I64Eq),
            O::I32Eq => (B::I32Eq, false),
            O::I32Ne => (B::I32Ne, false),
            O::I32LtS => (B::I32LtS, false),
            O::I32LtU => (B::I32LtU, false),
            O::I32GtS => (B::I32LtS, true),
            O::I32GtU => (B::I32LtU, true),
            O::I32LeS => (B::I32LeS, false),
            O::I32LeU => (B::I32LeU, false),
            O::I32GeS => (B::I32LeS, true),
            O::I32GeU => (B::I32LeU, true),
            O::I64Eq => (B::I64Eq, false),
            O::I64Ne => (B::I64Ne, false),
            O::I64LtS => (B::I64LtS, false),
            O::I64LtU => (B::I64LtU, false),
            O::I64GtS => (B::I64LtS, true),
            O::I64GtU => (B::I64LtU, true),
            O::I64LeS => (B::I64LeS, false),
            O::I64LeU => (B::I64LeU, false),
            O::I64GeS => (B::I64LeS, true),
            O::I64GeU => (B::I64LeU, true),
            O::F32Eq => (B::F32Eq, false),
            O::F32Ne => (B::F32Ne, false),
            O::F32Lt => (B::F32Lt, false),
            O::F32Gt => (B::F32Lt, true),
            O::F32Le => (B::F32Le, false),
            O::F32Ge => (B::F32Le, true),
            O::F64Eq => (B::F64Eq, false),
            O::F64Ne => (B::F64Ne, false),
            O::F64Lt => (B::F64Lt, false),
            O::F64Gt => (B::F64Lt, true),
            O::F64Le => (B::F64Le, false),
            O::F64Ge => (B::F64Le, true),
            _ => return self.visit_binary(op),
        };
        self.binary(op, Ty::I32, swap)
    }

    fn visit_binary(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let (op, ty) = match op {
            O::I32Add => (B::I32Add, Ty::I32),
            O::I32Sub => (B::I32Sub, Ty::I32),
            O::I32Mul => (B::I32Mul, Ty::I32),
            O::I32DivS => (B::I32DivS, Ty::I32),
            O::I32DivU => (B::I32DivU, Ty::I32),
            O::I32RemS => (B::I32RemS, Ty::I32),
            O::I32RemU => (B::I32RemU, Ty::I32),
            O::I32And => (B::I32And, Ty::I32),
            O::I32Or => (B::I32Or, Ty::I32),
            O::I32Xor => (B::I32Xor, Ty::I32),
            O::I32Shl => (B::I32Shl, Ty::I32),
            O::I32ShrS => (B::I32ShrS, Ty::I32),
            O::I32ShrU => (B::I32ShrU, Ty::I32),
            O::I32Rotl => (B::I32Rotl, Ty::I32),
            O::I32Rotr => (B::I32Rotr, Ty::I32),
            O::I64Add => (B::I64Add, Ty::I64),
            O::I64Sub => (B::I64Sub, Ty::I64),
            O::I64Mul => (B::I64Mul, Ty::I64),
            O::I64DivS => (B::I64DivS, Ty::I64),
            O::I64DivU => (B::I64DivU, Ty::I64),
            O::I64RemS => (B::I64RemS, Ty::I64),
            O::I64RemU => (B::I64RemU, Ty::I64),
            O::I64And => (B::I64And, Ty::I64),
            O::I64Or => (B::I64Or, Ty::I64),
            O::I64Xor => (B::I64Xor, Ty::I64),
            O::I64Shl => (B::I64Shl, Ty::I64),
            O::I64ShrS => (B::I64ShrS, Ty::I64),
            O::I64ShrU => (B::I64ShrU, Ty::I64),
            O::I64Rotl => (B::I64Rotl, Ty::I64),
            O::I64Rotr => (B::I64Rotr, Ty::I64),
            O::F32Add => (B::F32Add, Ty::F32),
            O::F32Sub => (B::F32Sub, Ty::F32),
            O::F32Mul => (B::F32Mul, Ty::F32),
            O::F32Div => (B::F32Div, Ty::F32),
            O::F32Min => (B::F32Min, Ty::F32),
            O::F32Max => (B::F32Max, Ty::F32),
            O::F32Copysign => (B::F32Copysign, Ty::F32),
            O::F64Add => (B::F64Add, Ty::F64),
            O::F64Sub => (B::F64Sub, Ty::F64),
            O::F64Mul => (B::F64Mul, Ty::F64),
            O::F64Div => (B::F64Div, Ty::F64),
            O::F64Min => (B::F64Min, Ty::F64),
            O::F64Max => (B::F64Max, Ty::F64),
            O::F64Copysign => (B::F64Copysign, Ty::F64),
            _ => return self.visit_unary(op),
        };
        self.binary(op, ty, false)
    }

    fn visit_unary(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        let (op, ty) = match op {
            // The same bits: the upper half of a cell that holds an `i32` has no meaning.
            O::I32WrapI64 => return self.retype(Ty::I32),
            O::I32ReinterpretF32 => return self.reinterpret(U::I32ReinterpretF32, Ty::I32),
            O::I64ReinterpretF64 => return self.reinterpret(U::I64ReinterpretF64, Ty::I64),
            O::F32ReinterpretI32 => return self.reinterpret(U::F32ReinterpretI32, Ty::F32),
            O::F64ReinterpretI64 => return self.reinterpret(U::F64ReinterpretI64, Ty::F64),
            O::I32Clz => (U::I32Clz, Ty::I32),
            O::I32Ctz => (U::I32Ctz, Ty::I32),
            O::I32Popcnt => (U::I32Popcnt, Ty::I32),
            O::I32Extend8S => (U::I32Extend8S, Ty::I32),
            O::I32Extend16S => (U::I32Extend16S, Ty::I32),
            O::I64Clz => (U::I64Clz, Ty::I64),
            O::I64Ctz => (U::I64Ctz, Ty::I64),
            O::I64Popcnt => (U::I64Popcnt, Ty::I64),
            O::I64Extend8S => (U::I64Extend8S, Ty::I64),
            O::I64Extend16S => (U::I64Extend16S, Ty::I64),
            O::I64Extend32S => (U::I64Extend32S, Ty::I64),
            O::I64ExtendI32S => (U::I64ExtendI32S, Ty::I64),
            O::I64ExtendI32U => return self.extend_u(),
            O::F32Abs => (U::F32Abs, Ty::F32),
            O::F32Neg => (U::F32Neg, Ty::F32),
            O::F32Ceil => (U::F32Ceil, Ty::F32),
            O::F32Floor => (U::F32Floor, Ty::F32),
            O::F32Trunc => (U::F32Trunc, Ty::F32),
            O::F32Nearest => (U::F32Nearest, Ty::F32),
            O::F32Sqrt => (U::F32Sqrt, Ty::F32),
            O::F64Abs => (U::F64Abs, Ty::F64),
            O::F64Neg => (U::F64Neg, Ty::F64),
            O::F64Ceil => (U::F64Ceil, Ty::F64),
            O::F64Floor => (U::F64Floor, Ty::F64),
            O::F64Trunc => (U::F64Trunc, Ty::F64),
            O::F64Nearest => (U::F64Nearest, Ty::F64),
            O::F64Sqrt => (U::F64Sqrt, Ty::F64),
            O::I32TruncF32S => (U::I32TruncF32S, Ty::I32),
            O::I32TruncF32U => (U::I32TruncF32U, Ty::I32),
            O::I32TruncF64S => (U::I32TruncF64S, Ty::I32),
            O::I32TruncF64U => (U::I32TruncF64U, Ty::I32),
            O::I32TruncSatF32S => (U::I32TruncSatF32S, Ty::I32),
            O::I32TruncSatF32U => (U::I32TruncSatF32U, Ty::I32),
            O::I32TruncSatF64S => (U::I32TruncSatF64S, Ty::I32),
            O::I32TruncSatF64U => (U::I32TruncSatF64U, Ty::I32),
            O::I64TruncF32S => (U::I64TruncF32S, Ty::I64),
            O::I64TruncF32U => (U::I64TruncF32U, Ty::I64),
            O::I64TruncF64S => (U::I64TruncF64S, Ty::I64),
            O::I64TruncF64U => (U::I64TruncF64U, Ty::I64),
            O::I64TruncSatF32S => (U::I64TruncSatF32S, Ty::I64),
            O::I64TruncSatF32U => (U::I64TruncSatF32U, Ty::I64),
            O::I64TruncSatF64S => (U::I64TruncSatF64S, Ty::I64),
            O::I64TruncSatF64U => (U::I64TruncSatF64U, Ty::I64),
            O::F32ConvertI32S => (U::F32ConvertI32S, Ty::F32),
            O::F32ConvertI32U => (U::F32ConvertI32U, Ty::F32),
            O::F32ConvertI64S => (U::F32ConvertI64S, Ty::F32),
            O::F32ConvertI64U => (U::F32ConvertI64U, Ty::F32),
            O::F64ConvertI32S => (U::F64ConvertI32S, Ty::F64),
            O::F64ConvertI32U => (U::F64ConvertI32U, Ty::F64),
            O::F64ConvertI64S => (U::F64ConvertI64S, Ty::F64),
            O::F64ConvertI64U => (U::F64ConvertI64U, Ty::F64),
            O::F32DemoteF64 => (U::F32DemoteF64, Ty::F32),
            O::F64PromoteF32 => (U::F64PromoteF32, Ty::F64),
            _ => return self.visit_atomic(op),
        };
        self.unary(op, ty)
    }

    /// A reinterpretation: a move between accumulators, or nothing at all for a value in a slot.
    fn reinterpret(&mut self, op: U, to: Ty) -> Result<()> {
        match self.stack.entries.last() {
            Some(entry) if entry.loc == Loc::Acc => self.unary(op, to),
            _ => self.retype(to),
        }
    }
}
