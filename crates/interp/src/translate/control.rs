//! Blocks, branches and returns.

use palisade_module::wasmparser::{BlockType, BrTable, Operator};

use crate::code::{Signature, Ty};
use crate::ops::arith::{BinIdx, BranchImm, BranchSlots, CountOps, FormIdx};
use crate::ops::call::{RETURN_IMM, RETURN_SPAN, RETURN0, RETURN1, ReturnImmOps, ReturnOps};
use crate::ops::cast::{BRANCH_NULL, BRANCH_SAME, RefBranchOps};
use crate::ops::control::{
    BR, BR_TABLE, BR_TEST, BranchOps, COPY_ACC, COPY_BR_TEST, COPY_SPAN, CopyBranchOps, TableOps,
};
use crate::ops::refs as ref_ops;
use crate::translate::emit::{At, Fixup};
use crate::translate::gc::Question;
use crate::translate::stack::{Loc, RegState, Stack};
use crate::translate::values::Source;
use crate::translate::{Copied, Last, Result, Translator, invalid};
use crate::val::Reg;

/// Where a branch offset stands in an instruction.
pub(super) const OFFSET_FIELD: u32 = 8;

/// What a control frame is.
#[derive(Copy, Clone, Debug)]
pub(super) enum Kind {
    Function,
    Block,
    Loop(At),
    /// With the branch that is taken when the condition does not hold.
    If(Fixup),
    Else,
    /// The body of a `try_table` with clauses.
    Try,
    /// In code that cannot be reached.
    Dead,
}

/// The parameters and results of a block.
#[derive(Copy, Clone, Debug)]
pub(super) enum BlockTy<'m> {
    /// No parameters, and one result or none.
    Plain(Option<Ty>),
    /// Those of a function type.
    Func(&'m Signature),
    /// The results of the function, whose parameters are locals.
    Function(&'m [Ty]),
}

impl<'m> BlockTy<'m> {
    fn params(self) -> &'m [Ty] {
        match self {
            Self::Func(signature) => &signature.params,
            Self::Plain(_) | Self::Function(_) => &[],
        }
    }

    fn results(self) -> &'m [Ty] {
        match self {
            Self::Plain(None) => &[],
            Self::Plain(Some(ty)) => ty.alone(),
            Self::Func(signature) => &signature.results,
            Self::Function(results) => results,
        }
    }
}

/// A control frame of the function.
pub(super) struct Frame<'m> {
    pub(super) kind: Kind,
    ty: BlockTy<'m>,
    /// Heights of the stack below the block's parameters.
    pub(super) entries: usize,
    pub(super) cells: u32,
    pub(super) refs: u32,
    /// Cells and references that a branch to this frame takes along.
    pub(super) label: (u32, u32),
    /// Branches to the block's end.
    fixups: Vec<Fixup>,
    /// The first instruction of a loop, if that is a branch out of it.
    head: Option<Head>,
}

/// From how many values on a branch moves them with one instruction, so that code stays in
/// proportion to the function's size.
const MANY: usize = 6;

/// Cells and references of values.
fn sizes(types: &[Ty]) -> (u32, u32) {
    (types.iter().map(|ty| ty.cells()).sum(), types.iter().map(|ty| ty.refs()).sum())
}

impl<'m> Frame<'m> {
    pub(super) fn function(stack: &Stack, results: &'m [Ty]) -> Self {
        Self {
            kind: Kind::Function,
            ty: BlockTy::Function(results),
            entries: 0,
            cells: stack.cells,
            refs: stack.refs,
            label: sizes(results),
            fixups: Vec::new(),
            head: None,
        }
    }

    /// What a branch to this frame takes along.
    fn label_types(&self) -> &'m [Ty] {
        if matches!(self.kind, Kind::Loop(_)) { self.ty.params() } else { self.ty.results() }
    }
}

/// A branch on a comparison that a loop begins with.
#[derive(Copy, Clone, Debug)]
struct Head {
    /// What holds as long as the loop is not left.
    stays: Compare,
    /// Where the next instruction begins.
    end: At,
}

/// A comparison that was taken back.
#[derive(Copy, Clone, Debug)]
pub(super) struct Compare {
    op: BinIdx,
    form: FormIdx,
    a: u16,
    b: u16,
    imm: u64,
}

impl Compare {
    /// What holds exactly when this does not.
    fn negated(self) -> Option<Self> {
        let (op, swap) = self.op.negated()?;
        if !swap {
            return Some(Self { op, ..self });
        }
        let immediate = matches!(self.form, FormIdx::SI | FormIdx::IS | FormIdx::AI | FormIdx::IA);
        let (a, b) = if immediate { (self.a, self.b) } else { (self.b, self.a) };
        Some(Self { op, form: self.form.swapped(), a, b, imm: self.imm })
    }
}

/// A condition that a branch is about to test.
#[derive(Copy, Clone, Debug)]
pub(super) enum Cond {
    Compare(Compare),
    Value(Source),
    /// Whether the function reference in a cell, a 64-bit number, is null.
    NullCell(u16),
    /// What is asked about references.
    Asked(Question),
}

impl Translator<'_> {
    pub(super) fn depth(&self, relative: u32) -> Result<usize> {
        match self.frames.len().checked_sub(relative as usize + 1) {
            Some(index) => Ok(index),
            None => invalid(),
        }
    }

    /// An operator that cannot be reached: only the structure counts.
    pub(super) fn unreachable_operator(&mut self, op: &Operator<'_>) -> Result<()> {
        match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                self.frames.push(Frame {
                    kind: Kind::Dead,
                    ty: BlockTy::Plain(None),
                    entries: 0,
                    cells: 0,
                    refs: 0,
                    label: (0, 0),
                    fixups: Vec::new(),
                    head: None,
                });
                Ok(())
            }
            Operator::Else => self.visit_else(),
            Operator::End => self.visit_end(),
            _ => Ok(()),
        }
    }

    pub(super) fn push_frame(&mut self, kind: Kind, ty: BlockType) -> Result<()> {
        let ty = self.block_type(ty)?;
        let params = ty.params();
        let Some(entries) = self.stack.entries.len().checked_sub(params.len()) else {
            return invalid();
        };
        let (cells, refs) = sizes(params);
        let label = sizes(if matches!(kind, Kind::Loop(_)) { params } else { ty.results() });
        self.frames.push(Frame {
            kind,
            ty,
            entries,
            cells: self.stack.cells - cells,
            refs: self.stack.refs - refs,
            label,
            fixups: Vec::new(),
            head: None,
        });
        Ok(())
    }

    pub(super) fn visit_block(&mut self, ty: BlockType) -> Result<()> {
        self.settle_all()?;
        self.push_frame(Kind::Block, ty)
    }

    pub(super) fn visit_loop(&mut self, ty: BlockType) -> Result<()> {
        self.settle_all()?;
        self.bind();
        let at = self.emitter.here();
        // A loop that is interrupted stands here, or at what its body notes.
        self.emitter.mark(self.offset);
        self.count_loop();
        self.push_frame(Kind::Loop(at), ty)
    }

    pub(super) fn visit_if(&mut self, ty: BlockType) -> Result<()> {
        let cond = self.take_cond()?;
        self.settle_all()?;
        let fixup = self.branch_on(cond, false, false)?;
        self.note_head(cond, false, fixup.at);
        self.push_frame(Kind::If(fixup), ty)
    }

    /// A label stands here: nothing is known of the accumulators, and nothing can be taken back.
    pub(super) fn bind(&mut self) {
        self.stack.forget();
        self.forget_newest();
    }

    pub(super) fn visit_else(&mut self) -> Result<()> {
        let Some(index) = self.frames.len().checked_sub(1) else { return invalid() };
        let Some(&Frame { kind: Kind::If(fixup), entries, .. }) = self.frames.last() else {
            return Ok(());
        };
        if self.reachable {
            self.move_to(index, true)?;
            let at = self.emit_br(false);
            self.lead(index, Fixup { at, field: OFFSET_FIELD });
        }
        let here = self.emitter.here();
        self.emitter.resolve(fixup, here);
        self.drop_pending();
        self.bind();
        self.stack.truncate(entries);
        let Some(frame) = self.frames.last_mut() else { return invalid() };
        frame.kind = Kind::Else;
        for &ty in frame.ty.params() {
            self.push(ty, Loc::Slot)?;
        }
        self.reachable = true;
        Ok(())
    }

    pub(super) fn visit_end(&mut self) -> Result<()> {
        if matches!(self.frames.last(), Some(Frame { kind: Kind::Try, .. })) {
            self.end_try()?;
        }
        let Some(frame) = self.frames.last() else { return invalid() };
        let index = self.frames.len() - 1;
        let labelled = !frame.fixups.is_empty() || matches!(frame.kind, Kind::If(_));
        match frame.kind {
            Kind::Dead => {
                self.frames.pop();
                return Ok(());
            }
            Kind::Function => {
                if self.reachable {
                    self.emit_return(true)?;
                }
                self.frames.pop();
                return Ok(());
            }
            _ => {}
        }
        if self.reachable && !labelled {
            // Nobody branches here: values stay where they are.
            self.frames.pop();
            return Ok(());
        }
        if self.reachable {
            self.move_to(index, true)?;
        }
        let Some(frame) = self.frames.pop() else { return invalid() };
        let here = self.emitter.here();
        if let Kind::If(fixup) = frame.kind {
            self.emitter.resolve(fixup, here);
        }
        for fixup in &frame.fixups {
            self.emitter.resolve(*fixup, here);
        }
        self.drop_pending();
        self.bind();
        self.stack.truncate(frame.entries);
        if labelled {
            for &ty in frame.ty.results() {
                self.push(ty, Loc::Slot)?;
            }
            self.reachable = true;
        }
        Ok(())
    }

    /// What is pending is about to be cut off the stack.
    pub(super) fn drop_pending(&mut self) {
        for reg in &mut self.stack.regs {
            reg.pending = None;
        }
    }

    /// Lets a branch lead to a frame's label.
    pub(super) fn lead(&mut self, index: usize, fixup: Fixup) {
        if let Some(frame) = self.frames.get_mut(index) {
            match frame.kind {
                Kind::Loop(target) => self.emitter.resolve(fixup, target),
                _ => frame.fixups.push(fixup),
            }
        }
    }

    pub(super) fn emit_br(&mut self, back: bool) -> At {
        self.emit(BR[usize::from(back)], BranchOps { handler: 0, offset: 0, a: 0, pad: 0 })
    }

    /// Moves the values that a branch to a frame takes along to where its label expects them.
    ///
    /// With `last_use`, the code goes on nowhere else, so that a value in an accumulator can be
    /// put into place by the instruction that makes it.
    pub(super) fn move_to(&mut self, index: usize, last_use: bool) -> Result<()> {
        let Some(frame) = self.frames.get(index) else { return invalid() };
        if frame.label_types().len() >= MANY {
            return self.move_many(index, last_use);
        }
        let types = frame.label_types();
        let (mut cell, mut reference) = (frame.cells, frame.refs);
        let Some(first) = self.stack.entries.len().checked_sub(types.len()) else {
            return invalid();
        };
        for i in 0..types.len() {
            let Some(&entry) = self.stack.entries.get(first + i) else { return invalid() };
            let to = if entry.ty == Ty::Ref { reference } else { cell };
            cell += entry.ty.cells();
            reference += entry.ty.refs();
            match entry.loc {
                Loc::Slot if entry.slot == to => {}
                Loc::Slot => self.copy(entry.ty, to, entry.slot)?,
                Loc::Local(from) => self.copy(entry.ty, to, from)?,
                Loc::Const(bits) => self.put_const_of(entry.ty, to, bits),
                Loc::Acc => {
                    let Some(reg) = entry.ty.reg() else { return invalid() };
                    let here = self.emitter.here();
                    match self.stack.reg(reg).pending {
                        // The producer may store to a slot that is not the value's own only if
                        // nothing stands behind it that may read what was there.
                        Some(pending)
                            if last_use
                                && types.len() == 1
                                && (to == entry.slot || pending.end == here) =>
                        {
                            self.store_result(pending, to);
                        }
                        _ => {
                            self.stack.wrote(to);
                            let operands = self.slots(to, 0, 0, 0);
                            self.emit(COPY_ACC[reg as usize], operands);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// [`Self::move_to`] for many values. Unless `last_use`, they have been settled already.
    fn move_many(&mut self, index: usize, last_use: bool) -> Result<()> {
        let arity = self.label_arity(index);
        if last_use {
            self.settle_from(self.stack.entries.len().saturating_sub(arity))?;
        }
        let Some(frame) = self.frames.get(index) else { return invalid() };
        let ((cells, refs), to_cell, to_ref) = (frame.label, frame.cells, frame.refs);
        let (from_cell, from_ref) = (self.stack.cells - cells, self.stack.refs - refs);
        if cells > 0 && from_cell != to_cell {
            self.stack.forget_held();
            let operands = self.slots(to_cell, from_cell, cells, 0);
            self.emit(COPY_SPAN, operands);
        }
        if refs > 0 && from_ref != to_ref {
            let operands = self.slots(to_ref, from_ref, refs, 0);
            self.emit(ref_ops::COPY_SPAN, operands);
        }
        Ok(())
    }

    /// Whether the values that a branch takes along are in place as soon as they are settled.
    fn in_place(&self, index: usize) -> Result<bool> {
        let Some(frame) = self.frames.get(index) else { return invalid() };
        let (cells, refs) = frame.label;
        Ok((cells == 0 || self.stack.cells - cells == frame.cells)
            && (refs == 0 || self.stack.refs - refs == frame.refs))
    }

    fn is_function(&self, index: usize) -> bool {
        matches!(self.frames.get(index), Some(Frame { kind: Kind::Function, .. }))
    }

    pub(super) fn is_loop(&self, index: usize) -> bool {
        matches!(self.frames.get(index), Some(Frame { kind: Kind::Loop(_), .. }))
    }

    fn label_arity(&self, index: usize) -> usize {
        self.frames.get(index).map_or(0, |frame| frame.label_types().len())
    }

    pub(super) fn visit_br(&mut self, relative: u32) -> Result<()> {
        let index = self.depth(relative)?;
        if self.is_function(index) {
            return self.visit_return();
        }
        self.move_to(index, true)?;
        self.skip_head(index)?;
        let at = self.emit_br(self.is_loop(index));
        self.lead(index, Fixup { at, field: OFFSET_FIELD });
        self.stop();
        Ok(())
    }

    /// Before a branch back to a loop that begins with a test: makes that test here, and goes on behind the
    /// loop's own if it is not over, which saves a jump in each round. (What is tested stands in slots, testing
    /// it changes nothing, and nothing is assumed of the accumulators behind it.)
    fn skip_head(&mut self, index: usize) -> Result<()> {
        let Some(head) = self.frames.get(index).and_then(|frame| frame.head) else {
            return Ok(());
        };
        let Compare { op, mut form, mut a, mut b, imm } = head.stays;
        let held = self.stack.reg(Reg::Int).holds.map(|slot| self.slot(slot));
        if held.is_some() && op.count(false, false).is_some() {
            match form {
                FormIdx::SS if held == Some(a) => (form, a) = (FormIdx::AS, 0),
                FormIdx::SS if held == Some(b) => (form, a, b) = (FormIdx::SA, a, 0),
                FormIdx::SI if held == Some(a) => (form, a) = (FormIdx::AI, 0),
                FormIdx::IS if held == Some(a) => (form, a) = (FormIdx::IA, 0),
                _ => {}
            }
        }
        let fixup = self.branch_on(Cond::Compare(Compare { op, form, a, b, imm }), true, true)?;
        self.emitter.resolve(fixup, head.end);
        Ok(())
    }

    /// Notes that a loop begins with the branch on `cond` at `at`, which leaves it if the condition is `sense`.
    fn note_head(&mut self, cond: Cond, sense: bool, at: At) {
        let end = self.emitter.here();
        let Cond::Compare(compare) = cond else { return };
        let stays = if sense { compare.negated() } else { Some(compare) };
        if let (Some(frame), Some(stays)) = (self.frames.last_mut(), stays)
            && matches!(frame.kind, Kind::Loop(start) if start == at)
        {
            frame.head = Some(Head { stays, end });
        }
    }

    /// What follows cannot be reached.
    pub(super) fn stop(&mut self) {
        self.reachable = false;
        self.forget_newest();
    }

    pub(super) fn visit_br_if(&mut self, relative: u32) -> Result<()> {
        let cond = self.take_cond()?;
        self.branch_if(cond, true, relative)
    }

    /// Branches to a label if a condition holds (or does not, if `sense` is false).
    pub(super) fn branch_if(&mut self, cond: Cond, sense: bool, relative: u32) -> Result<()> {
        let index = self.depth(relative)?;
        let arity = self.label_arity(index);
        let top = self.stack.entries.len().saturating_sub(arity);
        let returns = self.is_function(index);
        let spans = self.signature.spans();
        let early = if returns { spans } else { arity >= MANY || self.in_place(index)? };
        if arity > 0 && early {
            self.settle_from(top)?;
        }
        if !returns && (arity == 0 || self.in_place(index)?) {
            let back = self.is_loop(index);
            let fixup = self.branch_on(cond, sense, back)?;
            if !back {
                self.note_head(cond, sense, fixup.at);
            }
            self.lead(index, fixup);
            return Ok(());
        }
        let around = self.branch_on(cond, !sense, false)?;
        if returns {
            self.emit_return(false)?;
        } else {
            self.move_to(index, false)?;
            let at = self.emit_br(self.is_loop(index));
            self.lead(index, Fixup { at, field: OFFSET_FIELD });
        }
        let here = self.emitter.here();
        self.emitter.resolve(around, here);
        self.forget_newest();
        Ok(())
    }

    pub(super) fn visit_br_table(&mut self, table: &BrTable<'_>) -> Result<()> {
        let index = self.pop_int()?;
        let mut targets = Vec::with_capacity(table.len() as usize + 1);
        for target in table.targets() {
            targets.push(target?);
        }
        targets.push(table.default());
        let arity = self.label_arity(self.depth(table.default())?);
        self.settle_from(self.stack.entries.len().saturating_sub(arity))?;
        let (acc, a) = match index {
            Source::Slot(slot) => (false, slot),
            _ => (true, 0),
        };
        let count = targets.len() as u32;
        let operands = TableOps { handler: 0, count, a, pad: 0 };
        let at = self.emit(BR_TABLE[usize::from(acc)], operands);
        for _ in 0..targets.len().div_ceil(2) {
            self.emitter.push_word(0);
        }
        let mut detours: std::collections::BTreeMap<u32, Vec<Fixup>> = Default::default();
        for (i, &relative) in targets.iter().enumerate() {
            let target = self.depth(relative)?;
            let fixup = Fixup { at, field: size_of::<TableOps>() as u32 + 4 * i as u32 };
            if self.is_function(target) || (arity > 0 && !self.in_place(target)?) {
                detours.entry(relative).or_default().push(fixup);
            } else {
                self.lead(target, fixup);
            }
        }
        for (relative, fixups) in detours {
            let here = self.emitter.here();
            for fixup in fixups {
                self.emitter.resolve(fixup, here);
            }
            let target = self.depth(relative)?;
            self.stack.forget();
            if self.is_function(target) {
                self.emit_return(false)?;
            } else {
                self.move_to(target, false)?;
                let at = self.emit_br(self.is_loop(target));
                self.lead(target, Fixup { at, field: OFFSET_FIELD });
            }
        }
        self.stop();
        Ok(())
    }

    /// Takes back the newest instruction, which must be `last`.
    ///
    /// Its own accumulator is as it was before; the others stay as they are: values in them may have
    /// been spilled since, by a patch of older instructions, which must not be forgotten.
    pub(super) fn take_back(&mut self, last: Last) {
        self.emitter.truncate(last.at);
        *self.stack.reg(last.op.out_reg()) = RegState { holds: last.held, pending: None };
        self.last = [self.last[1], self.last[2], None];
    }

    /// Pops a condition; a comparison that made it is taken back.
    pub(super) fn take_cond(&mut self) -> Result<Cond> {
        let (entry, pending) = self.pop()?;
        if entry.loc == Loc::Acc
            && let (Some(last), Some(pending)) = (self.last[0], pending)
            && last.at == pending.at
            && last.op.is_comparison()
            && last.stored.is_none()
        {
            self.take_back(last);
            let Last { op, form, a, b, imm, .. } = last;
            return Ok(Cond::Compare(Compare { op, form, a, b, imm }));
        }
        if entry.loc == Loc::Acc
            && let Some(pending) = pending
            && let Some(question) = self.take_question(pending.at)
        {
            return Ok(Cond::Asked(question));
        }
        Ok(Cond::Value(match self.source(entry) {
            Source::Imm(bits) => {
                self.put_const(entry.slot, bits);
                Source::Slot(self.slot(entry.slot))
            }
            other => other,
        }))
    }

    /// Emits a branch on a condition, whose target is not known yet.
    fn branch_on(&mut self, cond: Cond, sense: bool, back: bool) -> Result<Fixup> {
        let back = usize::from(back);
        let at = match cond {
            Cond::Value(source) => {
                let (acc, a) = match source {
                    Source::Slot(slot) => (false, slot),
                    _ => (true, 0),
                };
                let copied = self.copied.filter(|copied| copied.end == self.emitter.here());
                if let (false, Some(Copied { at, to, from, .. })) = (acc, copied) {
                    self.emitter.truncate(at);
                    let handler = COPY_BR_TEST[usize::from(sense)][back];
                    let operands =
                        CopyBranchOps { handler: 0, offset: 0, a, to, from, pad: [0; 3] };
                    let at = self.emit(handler, operands);
                    return Ok(Fixup { at, field: OFFSET_FIELD });
                }
                let handler = BR_TEST[usize::from(acc)][usize::from(sense)][back];
                self.emit(handler, BranchOps { handler: 0, offset: 0, a, pad: 0 })
            }
            Cond::NullCell(a) => {
                let op = if sense { BinIdx::I64Eq } else { BinIdx::I64Ne };
                let Some(handlers) = op.branch(FormIdx::SI) else { return invalid() };
                self.emit(handlers[back], BranchImm { handler: 0, offset: 0, a, pad: 0, imm: 0u64 })
            }
            Cond::Asked(question) => {
                let of = |a, b| RefBranchOps { handler: 0, offset: 0, a, b };
                let sense = usize::from(sense);
                match question {
                    Question::Null(a) => self.emit(BRANCH_NULL[sense][back], of(a, 0)),
                    Question::Same(a, b) => self.emit(BRANCH_SAME[sense][back], of(a, b)),
                    Question::Passes { a, test } => {
                        self.emit(test.branch(sense == 1)[back], test.operands(a))
                    }
                }
            }
            Cond::Compare(compare) => {
                let Compare { op, form, a, b, imm } = compare;
                if sense
                    && back == 1
                    && let Some(at) = self.count(op, form, a, b, imm)
                {
                    return Ok(Fixup { at, field: OFFSET_FIELD });
                }
                let compare = if sense { Some(compare) } else { compare.negated() };
                let Some(Compare { op, form, a, b, imm }) = compare else { return invalid() };
                let Some(handlers) = op.branch(form) else { return invalid() };
                let handler = handlers[back];
                match form {
                    FormIdx::SS | FormIdx::SA | FormIdx::AS => {
                        self.emit(handler, BranchSlots { handler: 0, offset: 0, a, b })
                    }
                    _ if op.wide() => {
                        self.emit(handler, BranchImm { handler: 0, offset: 0, a, pad: 0, imm })
                    }
                    _ => {
                        let imm = imm as u32;
                        self.emit(handler, BranchImm { handler: 0, offset: 0, a, pad: 0, imm })
                    }
                }
            }
        };
        Ok(Fixup { at, field: OFFSET_FIELD })
    }

    /// Emits the end of a counting loop, if the newest instruction adds an immediate to a slot and
    /// stores the sum, which the comparison takes from the accumulator.
    fn count(&mut self, op: BinIdx, form: FormIdx, a: u16, b: u16, imm: u64) -> Option<At> {
        let last = self.last[0].filter(|last| last.end == self.emitter.here())?;
        let d = last.stored?;
        let wide = op.wide();
        let add = if wide { BinIdx::I64Add } else { BinIdx::I32Add };
        if last.op != add || last.form != FormIdx::SI {
            return None;
        }
        let (is_imm, left, b) = match form {
            FormIdx::AS => (false, false, b),
            FormIdx::SA => (false, true, a),
            FormIdx::AI => (true, false, 0),
            FormIdx::IA => (true, true, 0),
            _ => return None,
        };
        let handler = op.count(is_imm, left)?;
        let short = |bits: u64| {
            let bits = if wide { bits as i64 } else { i64::from(bits as i32) };
            i32::try_from(bits).ok()
        };
        let (add, imm) = (short(last.imm)?, short(imm)?);
        self.take_back(last);
        self.stack.wrote(u32::from(d));
        let operands = CountOps { handler: 0, offset: 0, d, a: last.a, add, imm, b, pad: [0; 3] };
        let at = self.emit(handler, operands);
        self.stack.reg(Reg::Int).holds = Some(u32::from(d));
        Some(at)
    }

    pub(super) fn visit_return(&mut self) -> Result<()> {
        self.emit_return(true)?;
        self.stop();
        Ok(())
    }

    /// Emits a return of the values on top of the stack. Unless `last_use`, several of them have
    /// been settled already, and the stack is left as it is.
    pub(super) fn emit_return(&mut self, last_use: bool) -> Result<()> {
        let signature = self.signature;
        let header = signature.param_cells as u16;
        let operands = |a: u32, count: u32| ReturnOps {
            handler: 0,
            header,
            a: a as u16,
            count: count as u16,
            pad: 0,
        };
        let count = signature.results.len();
        let Some(first) = self.stack.entries.len().checked_sub(count) else { return invalid() };
        match *signature.results {
            [] => {
                self.emit(RETURN0, operands(0, 0));
                return Ok(());
            }
            [ty] if ty != Ty::V128 => {
                let Some(&entry) = self.stack.entries.get(first) else { return invalid() };
                let Some(reg) = ty.reg() else {
                    match entry.loc {
                        Loc::Const(bits) => self.put_const_of(ty, 0, bits),
                        Loc::Local(0) => {}
                        Loc::Local(from) => self.copy(ty, 0, from)?,
                        _ if entry.slot == 0 => {}
                        _ => self.copy(ty, 0, entry.slot)?,
                    }
                    self.emit(RETURN0, operands(0, 0));
                    return Ok(());
                };
                match self.source(entry) {
                    Source::Acc => self.emit(RETURN1[reg as usize][1], operands(0, 0)),
                    Source::Slot(slot) => {
                        self.emit(RETURN1[reg as usize][0], operands(u32::from(slot), 0))
                    }
                    Source::Imm(value) => {
                        let operands = ReturnImmOps { handler: 0, header, pad: [0; 3], value };
                        self.emit(RETURN_IMM[reg as usize], operands)
                    }
                };
                return Ok(());
            }
            _ => {}
        }
        if last_use {
            self.settle_from(first)?;
        }
        let of = |refs: bool| {
            let entries = self.stack.entries.get(first..).unwrap_or_default();
            entries.iter().find(|e| (e.ty == Ty::Ref) == refs).map_or(0, |e| e.slot)
        };
        let (cell, reference) = (of(false), of(true));
        if signature.ref_results > 0 && reference != 0 {
            let operands = self.slots(0, reference, signature.ref_results, 0);
            self.emit(ref_ops::COPY_SPAN, operands);
        }
        if signature.result_cells > 0 {
            self.emit(RETURN_SPAN, operands(cell, signature.result_cells));
        } else {
            self.emit(RETURN0, operands(0, 0));
        }
        Ok(())
    }
}
