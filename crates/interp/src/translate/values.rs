//! Values: fetching operands, keeping results, and putting values into their slots.

use palisade_core::TrapCode;
use palisade_module::wasmparser::{self, AbstractHeapType, HeapType, ValType};

use crate::code::{InterpModule, Ty};
use crate::operands::Operands;
use crate::ops::arith::{DestPair, Slots};
use crate::ops::control::{
    CONST, COPY, COPY_ACC, COPY_TO_ACC, COPY2, ConstOps, SMALL_CONST, SmallConstOps,
};
use crate::ops::refs;
use crate::translate::control::BlockTy;
use crate::translate::emit::At;
use crate::translate::stack::{Entry, Loc, Pending};
use crate::translate::{Copied, MAX_FRAME_CELLS, Made, Result, Stop, Translator, invalid};
use crate::val::Reg;

/// Where an instruction takes an operand from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Slot(u16),
    Acc,
    Imm(u64),
}

/// The interpreter's view of a type of a module.
pub(super) fn ty_in(module: &InterpModule, ty: ValType) -> Ty {
    match ty {
        ValType::I32 => Ty::I32,
        ValType::I64 => Ty::I64,
        ValType::F32 => Ty::F32,
        ValType::F64 => Ty::F64,
        ValType::V128 => Ty::V128,
        ValType::Ref(r) => heap_ty_in(module, r.heap_type()),
    }
}

fn heap_ty_in(module: &InterpModule, heap: HeapType) -> Ty {
    let func = match heap {
        HeapType::Abstract { ty, .. } => {
            matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc)
        }
        HeapType::Concrete(index) | HeapType::Exact(index) => {
            index.as_module_index().is_some_and(|index| module.is_func_type(index))
        }
    };
    if func { Ty::Func } else { Ty::Ref }
}

impl<'m> Translator<'m> {
    /// The interpreter's view of a type of the module.
    pub(super) fn ty(&self, ty: ValType) -> Ty {
        ty_in(self.module, ty)
    }

    /// The interpreter's view of a reference.
    pub(super) fn heap_ty(&self, heap: HeapType) -> Ty {
        heap_ty_in(self.module, heap)
    }

    pub(super) fn push(&mut self, ty: Ty, loc: Loc) -> Result<usize> {
        if ty == Ty::Ref {
            self.need_refs()?;
        }
        if self.stack.cells.max(self.stack.refs) > MAX_FRAME_CELLS {
            return Err(Stop::Trap(TrapCode::StackOverflow));
        }
        Ok(self.stack.push(ty, loc))
    }

    /// Pops a value. If it is pending, its producer's result stays in the accumulator alone.
    pub(super) fn pop(&mut self) -> Result<(Entry, Option<Pending>)> {
        let Some(entry) = self.stack.pop() else { return invalid() };
        let mut pending = None;
        if entry.loc == Loc::Acc
            && let Some(reg) = entry.ty.reg()
        {
            pending = self.stack.reg(reg).pending.take();
        }
        Ok((entry, pending))
    }

    /// Where a popped value can be taken from, without emitting anything.
    pub(super) fn source(&mut self, entry: Entry) -> Source {
        let slot = match entry.loc {
            Loc::Acc => return Source::Acc,
            Loc::Const(bits) => return Source::Imm(bits),
            Loc::Slot => entry.slot,
            Loc::Local(slot) => slot,
        };
        match entry.ty.reg() {
            Some(reg) if self.stack.reg(reg).holds == Some(slot) => Source::Acc,
            _ => Source::Slot(self.slot(slot)),
        }
    }

    /// Sees to it that a popped value is in a slot, its own one if it was nowhere.
    pub(super) fn in_slot(&mut self, entry: Entry, pending: Option<Pending>) -> u16 {
        match entry.loc {
            Loc::Slot => self.slot(entry.slot),
            Loc::Local(slot) => self.slot(slot),
            Loc::Const(bits) => {
                self.put_const_of(entry.ty, entry.slot, bits);
                self.slot(entry.slot)
            }
            Loc::Acc => {
                if let (Some(pending), Some(reg)) = (pending, entry.ty.reg()) {
                    self.store_result(pending, entry.slot);
                    self.stack.reg(reg).holds = Some(entry.slot);
                }
                self.slot(entry.slot)
            }
        }
    }

    /// Pops a value and sees to it that it is in a slot.
    pub(super) fn pop_slot(&mut self) -> Result<u16> {
        let (entry, pending) = self.pop()?;
        Ok(self.in_slot(entry, pending))
    }

    /// Pops an integer that may also be in the accumulator; constants are put into a slot.
    pub(super) fn pop_int(&mut self) -> Result<Source> {
        let (entry, _) = self.pop()?;
        Ok(match self.source(entry) {
            Source::Imm(bits) => {
                self.put_const(entry.slot, bits);
                Source::Slot(self.slot(entry.slot))
            }
            other => other,
        })
    }

    /// Patches the producer of a value to store it to a slot as well.
    pub(super) fn store_result(&mut self, pending: Pending, slot: u32) {
        let short = self.slot(slot);
        self.set_handler(pending.at, pending.store);
        self.emitter.patch(pending.at, 8, short);
        self.stack.wrote(slot);
        if self.asked.is_some_and(|asked| asked.at == pending.at) {
            self.asked = None;
        }
        for last in self.last.iter_mut().flatten() {
            if last.at == pending.at {
                last.stored = Some(short);
            }
            // Written before `last`, so that its accumulator does not hold the same any more if it is
            // taken back.
            if last.held == Some(slot) {
                last.held = None;
            }
        }
    }

    /// Puts a pending value into its slot, before its accumulator is overwritten.
    pub(super) fn spill(&mut self, reg: Reg) {
        if let Some(pending) = self.stack.reg(reg).pending.take() {
            let Some(slot) = self.stack.entries.get(pending.entry).map(|e| e.slot) else { return };
            self.store_result(pending, slot);
            self.stack.now_settled(pending.entry);
            self.stack.reg(reg).holds = Some(slot);
        }
    }

    pub(super) fn spill_all(&mut self) {
        for reg in [Reg::Int, Reg::F32, Reg::F64] {
            self.spill(reg);
        }
    }

    /// Emits an instruction whose result goes to the accumulator of a type, and pushes it. What
    /// was pending there must have been spilled.
    pub(super) fn produce<T: Operands>(
        &mut self,
        handlers: DestPair,
        operands: T,
        ty: Ty,
    ) -> Result<At> {
        let Some(reg) = ty.reg() else { return invalid() };
        let at = self.emit(handlers[0], operands);
        let end = self.emitter.here();
        let entry = self.push(ty, Loc::Acc)?;
        let store = handlers[1];
        let state = self.stack.reg(reg);
        state.holds = None;
        state.pending = Some(Pending { entry, at, end, store, zero_extended: false });
        Ok(at)
    }

    /// Notes that the result that was pushed last is zero-extended in the accumulator.
    pub(super) fn is_zero_extended(&mut self) {
        if let Some(pending) = &mut self.stack.reg(Reg::Int).pending {
            pending.zero_extended = true;
        }
    }

    /// Emits a constant to a slot.
    pub(super) fn put_const(&mut self, slot: u32, bits: u64) {
        self.stack.wrote(slot);
        let d = self.slot(slot);
        if let Ok(value) = u32::try_from(bits) {
            self.emit(SMALL_CONST, SmallConstOps { handler: 0, d, pad: 0, value });
        } else {
            self.emit(CONST, ConstOps { handler: 0, value: bits, d, pad: [0; 3] });
        }
    }

    /// Emits a constant of a type to a slot. The only one of references is null.
    pub(super) fn put_const_of(&mut self, ty: Ty, slot: u32, bits: u64) {
        if ty == Ty::Ref {
            let operands = self.slots(slot, 0, 0, 0);
            self.emit(refs::NULL, operands);
        } else {
            self.put_const(slot, bits);
        }
    }

    pub(super) fn slots(&self, d: u32, a: u32, b: u32, c: u32) -> Slots {
        Slots { handler: 0, d: self.slot(d), a: self.slot(a), b: self.slot(b), c: self.slot(c) }
    }

    /// Emits a copy between slots of the part of the frame that a type belongs to.
    pub(super) fn copy(&mut self, ty: Ty, to: u32, from: u32) -> Result<()> {
        let operands = self.slots(to, from, 0, 0);
        match ty {
            Ty::Ref => {
                self.emit(refs::COPY, operands);
            }
            Ty::V128 => self.copy_vec(to, from),
            _ => {
                self.stack.wrote(to);
                let held = ty.reg().filter(|&reg| self.stack.reg(reg).holds == Some(from));
                match held {
                    Some(reg) => self.emit(COPY_ACC[reg as usize], operands),
                    None => {
                        let at = self.emit(COPY, operands);
                        let end = self.emitter.here();
                        self.copied = Some(Copied { at, end, to: operands.d, from: operands.a });
                        at
                    }
                };
            }
        }
        Ok(())
    }

    /// Puts the entries from `first` on into their canonical slots.
    pub(super) fn settle_from(&mut self, first: usize) -> Result<()> {
        let mut waiting: Option<(u32, u32)> = None;
        for index in first.max(self.stack.settled)..self.stack.entries.len() {
            let Some(&entry) = self.stack.entries.get(index) else { return invalid() };
            match entry.loc {
                Loc::Slot => {}
                Loc::Acc => {
                    if let Some(reg) = entry.ty.reg() {
                        self.spill(reg);
                    }
                }
                Loc::Const(bits) => self.put_const_of(entry.ty, entry.slot, bits),
                Loc::Local(from) if matches!(entry.ty, Ty::Ref | Ty::V128) => {
                    self.copy(entry.ty, entry.slot, from)?;
                }
                // Two copies of locals make one instruction.
                Loc::Local(from) => match waiting.take() {
                    None => waiting = Some((entry.slot, from)),
                    Some((to, other)) => {
                        self.stack.wrote(to);
                        self.stack.wrote(entry.slot);
                        let operands = self.slots(to, other, entry.slot, from);
                        self.emit(COPY2, operands);
                    }
                },
            }
            if entry.loc != Loc::Slot {
                self.stack.now_settled(index);
            }
        }
        if let Some((to, from)) = waiting {
            self.copy(Ty::I64, to, from)?;
        }
        Ok(())
    }

    /// Puts every entry into its canonical slot, and lets nothing be pending.
    pub(super) fn settle_all(&mut self) -> Result<()> {
        self.settle_from(self.stack.settled)?;
        self.spill_all();
        Ok(())
    }

    /// Before a local is overwritten that entries are in: they get their own copies, before the
    /// instruction that makes the new value if that is the newest one, so that it can still store to
    /// the local. (It cannot read what the copies write: those slots belong to entries below its
    /// operands.) Returns where that instruction is then.
    fn preserve_local(&mut self, pending: Option<Pending>) -> Result<Option<Pending>> {
        let newest = pending.filter(|pending| pending.end == self.emitter.here());
        let taken = newest.map(|pending| self.emitter.take(pending.at));
        // Settling all of them keeps the work linear in what was pushed.
        self.settle_from(self.stack.settled)?;
        let (Some(pending), Some(taken)) = (newest, taken) else { return Ok(pending) };
        let at = self.emitter.put_back(taken);
        self.forget_newest();
        Ok(Some(Pending { at, end: self.emitter.here(), ..pending }))
    }

    pub(super) fn local_get(&mut self, index: u32) -> Result<()> {
        let Some(local) = self.locals.get(index as usize) else { return invalid() };
        let (ty, slot) = (local.ty, local.slot);
        self.push(ty, Loc::Local(slot))?;
        Ok(())
    }

    pub(super) fn local_set(&mut self, index: u32) -> Result<()> {
        let Some(local) = self.locals.get(index as usize) else { return invalid() };
        let (ty, to) = (local.ty, local.slot);
        let (entry, mut pending) = self.pop()?;
        if entry.loc == Loc::Local(to) {
            return Ok(());
        }
        let preserved = *self.stack.uses_of(ty, to) > 0;
        if preserved {
            pending = self.preserve_local(pending)?;
        }
        match entry.loc {
            Loc::Slot if !preserved && self.redirect(ty, entry.slot, to) => {}
            Loc::Const(bits) => self.put_const_of(ty, to, bits),
            Loc::Slot => self.copy_to_local(ty, to, entry.slot)?,
            Loc::Local(from) => self.copy_to_local(ty, to, from)?,
            Loc::Acc => {
                let Some(reg) = ty.reg() else { return invalid() };
                match pending {
                    // Nothing can have read the local between the producer and here.
                    Some(pending) if pending.end == self.emitter.here() => {
                        self.store_result(pending, to);
                    }
                    _ => {
                        self.stack.wrote(to);
                        let operands = self.slots(to, 0, 0, 0);
                        self.emit(COPY_ACC[reg as usize], operands);
                    }
                }
                self.stack.reg(reg).holds = Some(to);
            }
        }
        Ok(())
    }

    /// Notes that the instruction at `at`, the newest one, makes the reference or the vector on top of the stack,
    /// in slot `d`.
    pub(super) fn note_made(&mut self, at: At, ty: Ty, d: u16) {
        let end = self.emitter.here();
        self.made = Some(Made { at, end, ty, slot: u32::from(d), product: None });
    }

    /// Lets the newest instruction put the value in `from` into a local instead, if it made it.
    fn redirect(&mut self, ty: Ty, from: u32, local: u32) -> bool {
        let here = self.emitter.here();
        let made = self.made.filter(|made| made.end == here && (made.ty, made.slot) == (ty, from));
        let Some(made) = made else { return false };
        let short = self.slot(local);
        self.emitter.patch(made.at, 8, short);
        if ty == Ty::V128 {
            self.stack.wrote_vec(local);
        }
        self.made = None;
        true
    }

    /// Copies a value to a local, and to the accumulator if that has nothing of use: what was set is
    /// likely to be used soon.
    fn copy_to_local(&mut self, ty: Ty, to: u32, from: u32) -> Result<()> {
        let int = *self.stack.reg(Reg::Int);
        if ty.reg() != Some(Reg::Int) || int.holds.is_some() || int.pending.is_some() {
            return self.copy(ty, to, from);
        }
        self.stack.wrote(to);
        let operands = self.slots(to, from, 0, 0);
        self.emit(COPY_TO_ACC, operands);
        self.stack.reg(Reg::Int).holds = Some(to);
        Ok(())
    }

    pub(super) fn local_tee(&mut self, index: u32) -> Result<()> {
        self.local_set(index)?;
        self.local_get(index)
    }

    /// The type of a `select` operand, from the value itself.
    pub(super) fn peek_ty(&self, below: usize) -> Result<Ty> {
        let entries = &self.stack.entries;
        match entries.len().checked_sub(below + 1).and_then(|i| entries.get(i)) {
            Some(entry) => Ok(entry.ty),
            None => invalid(),
        }
    }

    /// The parameters and results of a block.
    pub(super) fn block_type(&self, ty: wasmparser::BlockType) -> Result<BlockTy<'m>> {
        Ok(match ty {
            wasmparser::BlockType::Empty => BlockTy::Plain(None),
            wasmparser::BlockType::Type(ty) => BlockTy::Plain(Some(self.ty(ty))),
            wasmparser::BlockType::FuncType(index) => match self.module.signature_at(index) {
                Some(signature) => BlockTy::Func(signature),
                None => return invalid(),
            },
        })
    }
}
