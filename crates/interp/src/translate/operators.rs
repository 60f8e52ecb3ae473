//! Numeric operators, memory accesses, and what calls built-ins.

use palisade_module::wasmparser::{MemArg, MemArgTarget};
use palisade_module::{GlobalIdx, MemoryIdx, TableIdx};

use crate::code::Ty;
use crate::ops::arith::{
    ADD_MASK, BinIdx, FormIdx, MUL_ADD, MaskOps, SelectImm, SelectSlots, Slots, UnIdx, WithImm,
};
use crate::ops::control::{GLOBAL_GET, GLOBAL_SET, GlobalOps, SELECT, SelectOps};
use crate::ops::memory::{
    AddrIdx, FarKind, FarOps, LoadIdx, MemOps, MemOpsWide, SourceIdx, StoreIdx,
};
use crate::ops::refs;
use crate::ops::simd::lanes;
use crate::ops::slow::{SlowOps, WideOps};
use crate::state::Handler;
use crate::translate::stack::{Entry, Loc, Pending};
use crate::translate::values::Source;
use crate::translate::{Last, Result, Translator, invalid};

/// An index into memory 0, as a fast access takes it.
pub(super) struct Address {
    pub(super) form: AddrIdx,
    pub(super) a: u16,
    pub(super) b: u16,
    pub(super) shift: u16,
    pub(super) imm: i32,
    pub(super) offset: u32,
}

/// The memory that an access is to.
pub(super) fn memory_of(memarg: &MemArg) -> Result<MemoryIdx> {
    match memarg.target {
        MemArgTarget::Memory(index) => Ok(MemoryIdx(index)),
        MemArgTarget::Array(_) => invalid(),
    }
}

/// A product with a power of two is a shift, which addresses can take in.
fn cheaper(op: BinIdx, imm: u64) -> (BinIdx, u64) {
    match op {
        BinIdx::I32Mul if (imm as u32).is_power_of_two() => {
            (BinIdx::I32Shl, u64::from(imm.trailing_zeros()))
        }
        BinIdx::I64Mul if imm.is_power_of_two() => {
            (BinIdx::I64Shl, u64::from(imm.trailing_zeros()))
        }
        _ => (op, imm),
    }
}

/// The immediate of a store with a wide address, if it fits: sign-extended to as much as is stored.
fn short(kind: StoreIdx, bits: u64) -> Option<i16> {
    let value = if kind == StoreIdx::B64 { bits as i64 } else { i64::from(bits as i32) };
    i16::try_from(value).ok()
}

impl Translator<'_> {
    /// An operator with two operands, with the operands as they stand or swapped.
    pub(super) fn binary(&mut self, op: BinIdx, out: Ty, swap: bool) -> Result<()> {
        let (mut y, mut y_pending) = self.pop()?;
        let (mut x, mut x_pending) = self.pop()?;
        if swap {
            std::mem::swap(&mut x, &mut y);
            std::mem::swap(&mut x_pending, &mut y_pending);
        }
        if op.commutes() && matches!(x.loc, Loc::Const(_)) {
            std::mem::swap(&mut x, &mut y);
            std::mem::swap(&mut x_pending, &mut y_pending);
        }
        let mut a = self.source(x);
        let mut b = self.source(y);
        if let (Source::Imm(bits), Source::Imm(_)) = (a, b) {
            self.put_const(x.slot, bits);
            a = Source::Slot(self.slot(x.slot));
        }
        if a == Source::Acc && b == Source::Acc {
            // One of them has a slot as well: only one value can be nowhere else.
            if y.loc == Loc::Acc {
                a = Source::Slot(self.in_slot(x, x_pending));
            } else {
                b = Source::Slot(self.in_slot(y, y_pending));
            }
        }
        if matches!(op, BinIdx::I32Add | BinIdx::I64Add)
            && self.mul_add(op, out, (a, x_pending), (b, y_pending))?
        {
            return Ok(());
        }
        let (form, a, b, imm) = match (a, b) {
            (Source::Slot(a), Source::Slot(b)) => (FormIdx::SS, a, b, 0),
            (Source::Slot(a), Source::Acc) => (FormIdx::SA, a, 0, 0),
            (Source::Acc, Source::Slot(b)) => (FormIdx::AS, 0, b, 0),
            (Source::Slot(a), Source::Imm(imm)) => (FormIdx::SI, a, 0, imm),
            (Source::Imm(imm), Source::Slot(a)) => (FormIdx::IS, a, 0, imm),
            (Source::Acc, Source::Imm(imm)) => (FormIdx::AI, 0, 0, imm),
            (Source::Imm(imm), Source::Acc) => (FormIdx::IA, 0, 0, imm),
            _ => return invalid(),
        };
        let (op, imm) = match form {
            FormIdx::SI | FormIdx::AI => cheaper(op, imm),
            _ => (op, imm),
        };
        if op == BinIdx::I32And
            && form == FormIdx::AI
            && let (Some(pending), Some(last)) = (x_pending, self.last[0])
            && last.at == pending.at
            && self.add_mask(last, imm as u32)?
        {
            return Ok(());
        }
        self.emit_binary(op, form, a, b, imm, out)
    }

    /// Takes back a product that a slot is added to, and emits both as one.
    fn mul_add(
        &mut self,
        op: BinIdx,
        out: Ty,
        x: (Source, Option<Pending>),
        y: (Source, Option<Pending>),
    ) -> Result<bool> {
        let (pending, c) = match (x, y) {
            ((Source::Acc, Some(pending)), (Source::Slot(c), _))
            | ((Source::Slot(c), _), (Source::Acc, Some(pending))) => (pending, c),
            _ => return Ok(false),
        };
        let mul = if op == BinIdx::I64Add { BinIdx::I64Mul } else { BinIdx::I32Mul };
        let Some(last) = self.last[0].filter(|last| last.at == pending.at && last.op == mul) else {
            return Ok(false);
        };
        if last.stored.is_some() || last.end != self.emitter.here() {
            return Ok(false);
        }
        let (acc, a, b) = match last.form {
            FormIdx::SS => (false, last.a, last.b),
            FormIdx::AS => (true, 0, last.b),
            FormIdx::SA => (true, 0, last.a),
            _ => return Ok(false),
        };
        self.take_back(last);
        let handlers = MUL_ADD[usize::from(op == BinIdx::I64Add)][usize::from(acc)];
        self.produce(handlers, Slots { handler: 0, d: 0, a, b, c }, out)?;
        if out == Ty::I32 {
            self.is_zero_extended();
        }
        Ok(true)
    }

    /// Takes back an addition whose sum is masked, and emits both as one.
    fn add_mask(&mut self, last: Last, mask: u32) -> Result<bool> {
        if last.op != BinIdx::I32Add || last.stored.is_some() || last.end != self.emitter.here() {
            return Ok(false);
        }
        let (acc, immediate, a, b) = match last.form {
            FormIdx::SS => (false, false, last.a, last.b),
            FormIdx::AS => (true, false, 0, last.b),
            FormIdx::SA => (true, false, 0, last.a),
            FormIdx::SI => (false, true, last.a, 0),
            FormIdx::AI => (true, true, 0, 0),
            FormIdx::IS | FormIdx::IA => return Ok(false),
        };
        self.take_back(last);
        let add = last.imm as u32;
        let handlers = ADD_MASK[usize::from(acc)][usize::from(immediate)];
        self.produce(handlers, MaskOps { handler: 0, d: 0, a, b, pad: 0, add, mask }, Ty::I32)?;
        self.is_zero_extended();
        Ok(true)
    }

    /// Emits an instruction with two operands that can be taken back.
    fn emit_binary(
        &mut self,
        op: BinIdx,
        form: FormIdx,
        a: u16,
        b: u16,
        imm: u64,
        out: Ty,
    ) -> Result<()> {
        self.spill(op.out_reg());
        let held = self.stack.reg(op.out_reg()).holds;
        // If the newest instruction made the operand in the accumulator, and this one is taken
        // back, that one may be taken back, too.
        let before = self.last[0].filter(|last| last.end == self.emitter.here());
        let before2 =
            before.and(self.last[1]).filter(|last| Some(last.end) == before.map(|b| b.at));
        self.emitter.mark(self.offset);
        let handlers = op.handlers(form);
        let at = match form {
            FormIdx::SS | FormIdx::SA | FormIdx::AS => {
                self.produce(handlers, Slots { handler: 0, d: 0, a, b, c: 0 }, out)?
            }
            _ if op.wide() => self.produce(handlers, WithImm { handler: 0, d: 0, a, imm }, out)?,
            _ => {
                let imm = imm as u32;
                self.produce(handlers, WithImm { handler: 0, d: 0, a, imm }, out)?
            }
        };
        if out == Ty::I32 {
            self.is_zero_extended();
        }
        let end = self.emitter.here();
        self.last =
            [Some(Last { at, end, op, form, a, b, imm, stored: None, held }), before, before2];
        Ok(())
    }

    pub(super) fn unary(&mut self, op: UnIdx, out: Ty) -> Result<()> {
        let (entry, _) = self.pop()?;
        let (acc, a) = match self.source(entry) {
            Source::Acc => (true, 0),
            Source::Slot(a) => (false, a),
            Source::Imm(bits) => {
                self.put_const(entry.slot, bits);
                (false, self.slot(entry.slot))
            }
        };
        self.spill(op.out_reg());
        self.emitter.mark(self.offset);
        self.produce(op.handlers(acc), Slots { handler: 0, d: 0, a, b: 0, c: 0 }, out)?;
        if out == Ty::I32 {
            self.is_zero_extended();
        }
        Ok(())
    }

    /// `i32.eqz` and `i64.eqz`: a comparison right before is turned round instead.
    pub(super) fn eqz(&mut self, op: BinIdx) -> Result<()> {
        if let Some(entry) = self.stack.entries.last()
            && entry.loc == Loc::Acc
            && op == BinIdx::I32Eq
            && let Some(last) = self.last[0]
            && last.end == self.emitter.here()
            && last.op.is_comparison()
            && last.stored.is_none()
            && let Some((negated, swap)) = last.op.negated()
        {
            self.pop()?;
            self.take_back(last);
            let (mut form, mut a, mut b) = (last.form, last.a, last.b);
            if swap {
                if matches!(form, FormIdx::SS | FormIdx::SA | FormIdx::AS) {
                    (a, b) = (b, a);
                }
                form = form.swapped();
            }
            return self.emit_binary(negated, form, a, b, last.imm, Ty::I32);
        }
        let ty = if op == BinIdx::I32Eq { Ty::I32 } else { Ty::I64 };
        self.push(ty, Loc::Const(0))?;
        self.binary(op, Ty::I32, false)
    }

    /// `i64.extend_i32_u`: nothing, if the accumulator holds the number zero-extended already.
    pub(super) fn extend_u(&mut self) -> Result<()> {
        let pending = self.stack.reg(crate::val::Reg::Int).pending;
        let top = self.stack.entries.len().checked_sub(1);
        match pending {
            Some(pending) if pending.zero_extended && Some(pending.entry) == top => {
                self.retype(Ty::I64)
            }
            _ => self.unary(UnIdx::I64ExtendI32U, Ty::I64),
        }
    }

    /// An operator that only gives the same bits another type.
    pub(super) fn retype(&mut self, to: Ty) -> Result<()> {
        let Some(entry) = self.stack.entries.last().copied() else { return invalid() };
        if entry.loc == Loc::Acc {
            let Some(reg) = entry.ty.reg() else { return invalid() };
            if to.reg() != Some(reg) {
                self.spill(reg);
            }
        }
        if let Some(entry) = self.stack.entries.last_mut() {
            entry.ty = to;
            if let (Loc::Const(bits), Ty::I32) = (entry.loc, to) {
                entry.loc = Loc::Const(u64::from(bits as u32));
            }
        }
        Ok(())
    }

    /// Whether fast accesses may be used for a memory.
    pub(super) fn is_near(&self, memarg: &MemArg) -> Result<bool> {
        let memory = memory_of(memarg)?;
        match self.module.info().memories.get(memory.index()) {
            Some(ty) => Ok(memory.0 == 0
                && !ty.memory64
                && !ty.shared
                && u32::try_from(memarg.offset).is_ok()),
            None => invalid(),
        }
    }

    /// The operands of an access that is not fast.
    pub(super) fn far(&self, memarg: &MemArg, d: u16, a: u16) -> Result<(FarOps, FarKind)> {
        let index = memory_of(memarg)?;
        let memory = self.module.offsets().memory(index);
        let Some(ty) = self.module.info().memories.get(index.index()) else { return invalid() };
        let kind = FarKind { memory64: ty.memory64, shared: ty.shared };
        Ok((FarOps { handler: 0, d, a, memory, offset: memarg.offset }, kind))
    }

    /// Makes a popped index into the operands of a fast access. Additions and a shift right before
    /// it become part of it; they wrap at 32 bits as they would by themselves.
    pub(super) fn address(
        &mut self,
        entry: Entry,
        pending: Option<Pending>,
        offset: u64,
    ) -> Address {
        let simple = |form, a| Address { form, a, b: 0, shift: 0, imm: 0, offset: offset as u32 };
        if let (Some(last), Some(pending)) = (self.last[0], pending)
            && last.at == pending.at
        {
            return self.sum(offset as u32);
        }
        match self.source(entry) {
            Source::Acc => simple(AddrIdx::InAcc, 0),
            Source::Slot(slot) => simple(AddrIdx::InSlot, slot),
            Source::Imm(bits) => {
                let at = u64::from(bits as u32) + offset;
                match u32::try_from(at) {
                    Ok(offset) => Address { offset, ..simple(AddrIdx::Fixed, 0) },
                    Err(_) => {
                        self.put_const(entry.slot, bits);
                        simple(AddrIdx::InSlot, self.slot(entry.slot))
                    }
                }
            }
        }
    }

    /// The accumulator as an index, with the newest instructions taken back that made it out of
    /// sums and a shift: `a + (b << shift) + imm`.
    fn sum(&mut self, offset: u32) -> Address {
        let (mut base, mut part, mut shift, mut imm) = (None, Source::Acc, 0, 0u32);
        while let Some(last) = self.last[0]
            && last.stored.is_none()
            && last.end == self.emitter.here()
        {
            let number = last.imm as u32;
            match (last.op, last.form) {
                (BinIdx::I32Add, FormIdx::AI) => imm = imm.wrapping_add(number),
                (BinIdx::I32Sub, FormIdx::AI) => imm = imm.wrapping_sub(number),
                (BinIdx::I32Add, FormIdx::SI) => {
                    imm = imm.wrapping_add(number);
                    part = Source::Slot(last.a);
                }
                (BinIdx::I32Sub, FormIdx::SI) => {
                    imm = imm.wrapping_sub(number);
                    part = Source::Slot(last.a);
                }
                (BinIdx::I32Add, FormIdx::SA) if base.is_none() => base = Some(last.a),
                (BinIdx::I32Add, FormIdx::AS) if base.is_none() => base = Some(last.b),
                (BinIdx::I32Add, FormIdx::SS) if base.is_none() => {
                    base = Some(last.a);
                    part = Source::Slot(last.b);
                }
                (BinIdx::I32Shl, FormIdx::AI) => shift = (number & 31) as u16,
                (BinIdx::I32Shl, FormIdx::SI) => {
                    shift = (number & 31) as u16;
                    part = Source::Slot(last.a);
                }
                _ => break,
            }
            self.take_back(last);
            // Below a shift nothing can be added any more.
            if part != Source::Acc || last.op == BinIdx::I32Shl {
                break;
            }
        }
        let form = match (base, part, shift, imm) {
            (None, Source::Acc, 0, 0) => AddrIdx::InAcc,
            (None, _, 0, 0) => AddrIdx::InSlot,
            (None, Source::Acc, 0, _) => AddrIdx::AccImm,
            (None, _, 0, _) => AddrIdx::SlotImm,
            (None, Source::Acc, _, _) => AddrIdx::ScaledAcc,
            (None, _, _, _) => AddrIdx::Scaled,
            (Some(_), Source::Acc, 0, 0) => AddrIdx::SumAcc,
            (Some(_), _, 0, 0) => AddrIdx::Sum,
            (Some(_), Source::Acc, _, _) => AddrIdx::SumScaledAcc,
            (Some(_), _, _, _) => AddrIdx::SumScaled,
        };
        let part = if let Source::Slot(slot) = part { slot } else { 0 };
        let (a, b) = if form == AddrIdx::InSlot { (part, 0) } else { (base.unwrap_or(0), part) };
        Address { form, a, b, shift, imm: imm as i32, offset }
    }

    pub(super) fn load(&mut self, kind: LoadIdx, memarg: &MemArg, out: Ty) -> Result<()> {
        let (entry, pending) = self.pop()?;
        let Some(reg) = out.reg() else { return invalid() };
        if !self.is_near(memarg)? {
            let a = self.in_slot(entry, pending);
            self.spill(reg);
            self.emitter.mark(self.offset);
            let (operands, far) = self.far(memarg, 0, a)?;
            self.produce(kind.far(far), operands, out)?;
            return Ok(());
        }
        let Address { form, a, b, shift, imm, offset } =
            self.address(entry, pending, memarg.offset);
        self.spill(reg);
        self.emitter.mark(self.offset);
        let handlers = kind.handlers(form);
        if form.wide() {
            let operands = MemOpsWide { handler: 0, d: 0, a, offset, b, shift, imm };
            self.produce(handlers, operands, out)?;
        } else {
            self.produce(handlers, MemOps { handler: 0, d: 0, a, offset }, out)?;
        }
        if matches!(kind, LoadIdx::U8 | LoadIdx::U16 | LoadIdx::U32) {
            self.is_zero_extended();
        }
        Ok(())
    }

    /// A store; `in_acc` is its kind when the value comes from the accumulator of its type.
    pub(super) fn store(
        &mut self,
        kind: StoreIdx,
        in_acc: StoreIdx,
        memarg: &MemArg,
    ) -> Result<()> {
        let (value, value_pending) = self.pop()?;
        let (entry, pending) = self.pop()?;
        if !self.is_near(memarg)? {
            let d = self.in_slot(value, value_pending);
            let a = self.in_slot(entry, pending);
            let (operands, far) = self.far(memarg, d, a)?;
            self.emit_marked(kind.far(far), operands);
            return Ok(());
        }
        let mut source = self.source(value);
        // Immediates of stores have 32 bits.
        if let Source::Imm(bits) = source {
            let fits = kind != StoreIdx::B64 || i64::from(bits as i32) as u64 == bits;
            if !fits {
                self.put_const(value.slot, bits);
                source = Source::Slot(self.slot(value.slot));
            }
        }
        let same = entry.ty.reg() == value.ty.reg();
        let mut address = if source == Source::Acc && same && entry.loc == Loc::Acc {
            // The index is nowhere but in the accumulator, so the value has a slot.
            source = Source::Slot(self.in_slot(value, value_pending));
            self.address(entry, pending, memarg.offset)
        } else {
            self.address(entry, pending, memarg.offset)
        };
        if source == Source::Acc && same && address.form == AddrIdx::InAcc {
            // Both are there, being the same: the index has a slot as well.
            address.form = AddrIdx::InSlot;
            address.a = self.in_slot(entry, None);
        }
        let (form, a) = (address.form, address.a);
        if let Source::Imm(bits) = source
            && form.wide()
            && short(kind, bits).is_none()
        {
            // The value's own slot may hold an operand of what has just been taken back: at most
            // three of them stand from the index's slot on.
            let free = value.slot + 4;
            self.stack.max_cells = self.stack.max_cells.max(free + 1);
            self.put_const(free, bits);
            source = Source::Slot(self.slot(free));
        }
        let (kind, from, d, imm) = match source {
            Source::Slot(d) => (kind, SourceIdx::Slot, d, address.imm),
            Source::Acc => (in_acc, SourceIdx::Acc, 0, address.imm),
            Source::Imm(bits) if form.wide() => {
                let d = short(kind, bits).unwrap_or_default();
                (kind, SourceIdx::Imm, d as u16, address.imm)
            }
            Source::Imm(bits) => (kind, SourceIdx::Imm, 0, bits as i32),
        };
        let Address { b, shift, offset, .. } = address;
        let handler = kind.handler(form, from);
        if form.wide() || from == SourceIdx::Imm {
            let operands = MemOpsWide { handler: 0, d, a, offset, b, shift, imm };
            self.emit_marked(handler, operands);
        } else {
            self.emit_marked(handler, MemOps { handler: 0, d, a, offset });
        }
        Ok(())
    }

    pub(super) fn select(&mut self) -> Result<()> {
        if let Ok(Ty::Ref | Ty::V128) = self.peek_ty(1) {
        } else if let Some(cond) = self.fused_select_cond()? {
            return self.select_on(cond);
        }
        let cond = self.pop_int()?;
        let ty = self.peek_ty(0)?;
        if ty == Ty::V128 {
            return self.select_vec(cond);
        }
        let (y, y_pending) = self.pop()?;
        let (x, x_pending) = self.pop()?;
        if ty == Ty::Ref {
            let cond = match cond {
                Source::Slot(slot) => slot,
                _ => {
                    // The condition is put where nothing else is.
                    let scratch = self.stack.cells + 2;
                    self.stack.reserve(3, 0);
                    self.stack.wrote(scratch);
                    let operands = self.slots(scratch, 0, 0, 0);
                    self.emit(crate::ops::control::COPY_ACC[0], operands);
                    self.slot(scratch)
                }
            };
            let (a, b) = (self.in_slot(x, None), self.in_slot(y, None));
            let index = self.push(ty, Loc::Slot)?;
            let d = self.entry_slot(index);
            self.emit(refs::SELECT, SelectOps { handler: 0, d, cond, a, b });
            return Ok(());
        }
        let a = self.in_slot(x, x_pending);
        let b = self.in_slot(y, y_pending);
        self.spill(crate::val::Reg::Int);
        let (acc, cond) = match cond {
            Source::Slot(slot) => (false, slot),
            _ => (true, 0),
        };
        let handlers = SELECT[usize::from(acc)];
        let operands = SelectOps { handler: 0, d: 0, cond, a, b };
        if ty.reg() == Some(crate::val::Reg::Int) {
            self.produce(handlers, operands, ty)?;
            return Ok(());
        }
        let index = self.push(ty, Loc::Slot)?;
        let d = self.entry_slot(index);
        self.stack.wrote(u32::from(d));
        self.emit(handlers[1], SelectOps { d, ..operands });
        self.stack.reg(crate::val::Reg::Int).holds = Some(u32::from(d));
        Ok(())
    }

    /// Takes back the integer comparison that made the condition on top of the stack, if one did.
    fn fused_select_cond(&mut self) -> Result<Option<Last>> {
        let fresh = self.last[0].filter(|last| {
            last.stored.is_none()
                && last.end == self.emitter.here()
                && last.op.select(last.form).is_some()
        });
        let pending = self.stack.reg(crate::val::Reg::Int).pending;
        let top = self.stack.entries.len().checked_sub(1);
        match (fresh, pending) {
            (Some(last), Some(pending)) if last.at == pending.at && Some(pending.entry) == top => {
                self.pop()?;
                self.take_back(last);
                Ok(Some(last))
            }
            _ => Ok(None),
        }
    }

    /// A selection on a comparison that was taken back.
    fn select_on(&mut self, on: Last) -> Result<()> {
        let ty = self.peek_ty(0)?;
        let (y, y_pending) = self.pop()?;
        let (x, x_pending) = self.pop()?;
        let x = self.in_slot(x, x_pending);
        let y = self.in_slot(y, y_pending);
        let Some(handlers) = on.op.select(on.form) else { return invalid() };
        self.spill(crate::val::Reg::Int);
        let int = ty.reg() == Some(crate::val::Reg::Int);
        let (a, b, pad) = (on.a, on.b, 0);
        let d = if int { 0 } else { self.slot(self.stack.cells) };
        macro_rules! put {
            ($operands:expr) => {
                if int {
                    self.produce(handlers, $operands, ty)?;
                } else {
                    self.push(ty, Loc::Slot)?;
                    self.stack.wrote(u32::from(d));
                    self.emit(handlers[1], $operands);
                    self.stack.reg(crate::val::Reg::Int).holds = Some(u32::from(d));
                }
            };
        }
        match on.form {
            FormIdx::SS | FormIdx::SA | FormIdx::AS => {
                let compare = Slots { handler: 0, d, a, b, c: 0 };
                put!(SelectSlots { compare, x, y, pad })
            }
            _ if on.op.wide() => {
                let compare = WithImm { handler: 0, d, a, imm: on.imm };
                put!(SelectImm { compare, x, y, pad })
            }
            _ => {
                let compare = WithImm { handler: 0, d, a, imm: on.imm as u32 };
                put!(SelectImm { compare, x, y, pad })
            }
        }
        Ok(())
    }

    pub(super) fn entry_slot(&self, index: usize) -> u16 {
        self.slot(self.stack.entries.get(index).map_or(0, |entry| entry.slot))
    }

    pub(super) fn global_get(&mut self, index: u32) -> Result<()> {
        let ty = self.global_ty(index)?;
        let global = self.module.offsets().global(GlobalIdx(index));
        let operands = GlobalOps { handler: 0, d: 0, pad: 0, global };
        match ty.reg() {
            Some(reg) => {
                self.spill(reg);
                self.produce(GLOBAL_GET[reg as usize], operands, ty)?;
            }
            None if ty == Ty::Ref => {
                self.make_ref_unmarked(refs::GLOBAL_GET, |d| GlobalOps { d, ..operands })?;
            }
            None => return self.vec_global_get(operands),
        }
        Ok(())
    }

    pub(super) fn global_set(&mut self, index: u32) -> Result<()> {
        let ty = self.global_ty(index)?;
        let global = self.module.offsets().global(GlobalIdx(index));
        let (entry, pending) = self.pop()?;
        let mut operands = GlobalOps { handler: 0, d: 0, pad: 0, global };
        match ty.reg() {
            Some(reg) => {
                let handler = match self.source(entry) {
                    Source::Acc => GLOBAL_SET[reg as usize],
                    _ => {
                        operands.d = self.in_slot(entry, pending);
                        GLOBAL_SET[3]
                    }
                };
                self.emit(handler, operands);
            }
            None if ty == Ty::Ref => {
                operands.d = self.in_slot(entry, None);
                self.emit(refs::GLOBAL_SET, operands);
            }
            None => {
                operands.d = self.in_slot(entry, None);
                self.emit(lanes::GLOBAL_SET, operands);
            }
        }
        Ok(())
    }

    fn global_ty(&self, index: u32) -> Result<Ty> {
        match self.module.info().globals.get(index as usize) {
            Some(global) => Ok(self.module.ty_of(global.ty.content)),
            None => invalid(),
        }
    }

    /// The kind of reference that a table holds.
    pub(super) fn table_ty(&self, table: u32) -> Result<Ty> {
        match self.module.info().tables.get(table as usize) {
            Some(table) => Ok(self.module.ty_of(palisade_core::ValType::Ref(table.ty.element))),
            None => invalid(),
        }
    }

    /// Pops the operands of a slow operation, the last one first; references are copied to cells
    /// above everything.
    pub(super) fn pop_slow<const N: usize>(&mut self) -> Result<[u16; N]> {
        let scratch = self.stack.cells;
        let mut slots = [0; N];
        for (i, place) in slots.iter_mut().enumerate().rev() {
            let (entry, pending) = self.pop()?;
            let slot = self.in_slot(entry, pending);
            *place = slot;
            if entry.ty == Ty::Ref {
                let cell = scratch + i as u32;
                self.stack.max_cells = self.stack.max_cells.max(cell + 1);
                self.stack.wrote(cell);
                let operands = self.slots(cell, u32::from(slot), 0, 0);
                self.emit(refs::TO_CELL, operands);
                *place = self.slot(cell);
            }
        }
        Ok(slots)
    }

    /// Emits a slow operation; its result, if it has one, goes to a slot.
    pub(super) fn slow(
        &mut self,
        handler: Handler,
        mut operands: SlowOps,
        out: Option<Ty>,
    ) -> Result<()> {
        let Some(ty) = out else {
            self.emit_marked(handler, operands);
            return Ok(());
        };
        if ty == Ty::Ref {
            let cell = self.stack.cells;
            self.stack.reserve(1, 0);
            operands.d = self.slot(cell);
            self.stack.wrote(cell);
            self.emit_marked(handler, operands);
            let index = self.push(ty, Loc::Slot)?;
            let operands =
                Slots { handler: 0, d: self.entry_slot(index), a: operands.d, b: 0, c: 0 };
            self.emit(refs::FROM_CELL, operands);
            return Ok(());
        }
        let index = self.push(ty, Loc::Slot)?;
        operands.d = self.entry_slot(index);
        self.stack.wrote(u32::from(operands.d));
        self.emit_marked(handler, operands);
        Ok(())
    }

    /// An operation of wide arithmetic with `N` operands.
    pub(super) fn wide<const N: usize>(&mut self, handler: Handler) -> Result<()> {
        let slots = self.pop_slow::<N>()?;
        let mut a = [0; 4];
        for (to, from) in a.iter_mut().zip(slots) {
            *to = from;
        }
        let low = self.push(Ty::I64, Loc::Slot)?;
        let high = self.push(Ty::I64, Loc::Slot)?;
        let (low, high) = (self.entry_slot(low), self.entry_slot(high));
        self.stack.wrote(u32::from(low));
        self.stack.wrote(u32::from(high));
        self.emit(handler, WideOps { handler: 0, a, low, high, pad: 0 });
        Ok(())
    }

    /// Where the context holds the pointer to a table's definition.
    pub(super) fn table_offset(&self, table: u32) -> u32 {
        self.module.offsets().table(TableIdx(table))
    }
}
