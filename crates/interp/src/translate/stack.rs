//! The operand stack at translation: where each value is, and what the accumulators hold.
//!
//! Every entry has a canonical slot of its own, in the value part or in the reference part of the
//! frame, whether or not the value is ever put there. Until somebody needs it there, a value may be in an
//! accumulator alone (*pending*: its producer can still be patched to store it), in a local, or a constant.

use crate::code::Ty;
use crate::state::Handler;
use crate::translate::emit::At;
use crate::val::Reg;

/// Where a value is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Loc {
    /// In its canonical slot.
    Slot,
    /// In the accumulator of its type, and nowhere else.
    Acc,
    /// In the slot of a local.
    Local(u32),
    /// A constant, as a cell.
    Const(u64),
}

/// A value on the operand stack.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) ty: Ty,
    pub(super) loc: Loc,
    /// The canonical slot: of the reference part for references, of the value part for all others.
    pub(super) slot: u32,
}

/// A value that is in an accumulator alone.
#[derive(Copy, Clone, Debug)]
pub(super) struct Pending {
    /// Its place on the operand stack.
    pub(super) entry: usize,
    /// The instruction that made it.
    pub(super) at: At,
    /// Where the next instruction began.
    pub(super) end: At,
    /// The form of that instruction that stores.
    pub(super) store: Handler,
    /// Whether the upper half of the accumulator is known to be zero.
    pub(super) zero_extended: bool,
}

/// What an accumulator holds.
#[derive(Copy, Clone, Default, Debug)]
pub(super) struct RegState {
    /// A slot that has the same value.
    pub(super) holds: Option<u32>,
    /// The value that is nowhere else.
    pub(super) pending: Option<Pending>,
}

/// The operand stack.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) entries: Vec<Entry>,
    /// The first free slot of the value part.
    pub(super) cells: u32,
    /// The first free slot of the reference part.
    pub(super) refs: u32,
    pub(super) max_cells: u32,
    pub(super) max_refs: u32,
    /// All entries below this one are in their canonical slots.
    pub(super) settled: usize,
    pub(super) regs: [RegState; 3],
    /// How many entries are in each local, by slot: value part, reference part.
    pub(super) uses: [Vec<u32>; 2],
}

impl Stack {
    pub(super) fn push(&mut self, ty: Ty, loc: Loc) -> usize {
        let slot = if ty == Ty::Ref { self.refs } else { self.cells };
        self.cells += ty.cells();
        self.refs += ty.refs();
        self.max_cells = self.max_cells.max(self.cells);
        self.max_refs = self.max_refs.max(self.refs);
        if let Loc::Local(local) = loc {
            *self.uses_of(ty, local) += 1;
        }
        if loc == Loc::Slot && self.settled == self.entries.len() {
            self.settled += 1;
        }
        self.entries.push(Entry { ty, loc, slot });
        self.entries.len() - 1
    }

    /// How many entries are in a local.
    pub(super) fn uses_of(&mut self, ty: Ty, slot: u32) -> &mut u32 {
        let uses = &mut self.uses[usize::from(ty == Ty::Ref)];
        let index = slot as usize;
        if index >= uses.len() {
            uses.resize(index + 1, 0);
        }
        &mut uses[index]
    }

    /// Takes the top entry off. `None` only if the function is not valid.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop()?;
        self.settled = self.settled.min(self.entries.len());
        self.cells -= entry.ty.cells();
        self.refs -= entry.ty.refs();
        if let Loc::Local(local) = entry.loc {
            *self.uses_of(entry.ty, local) -= 1;
        }
        Some(entry)
    }

    /// Notes that the entry at `index` is in its canonical slot now.
    pub(super) fn now_settled(&mut self, index: usize) {
        if let Some(&Entry { ty, loc: Loc::Local(local), .. }) = self.entries.get(index) {
            *self.uses_of(ty, local) -= 1;
        }
        if let Some(entry) = self.entries.get_mut(index) {
            entry.loc = Loc::Slot;
        }
        if self.settled == index {
            self.settled += 1;
        }
    }

    /// The state of the accumulator of a type, if it has one.
    pub(super) fn reg(&mut self, reg: Reg) -> &mut RegState {
        &mut self.regs[reg as usize]
    }

    /// Notes that a slot of the value part was written.
    pub(super) fn wrote(&mut self, slot: u32) {
        for reg in &mut self.regs {
            if reg.holds == Some(slot) {
                reg.holds = None;
            }
        }
    }

    /// Notes that the accumulators' contents are not known any more. Nothing may be pending.
    pub(super) fn forget(&mut self) {
        self.regs = [RegState::default(); 3];
    }

    /// Notes that many slots were written: no accumulator is known to hold the same as any.
    pub(super) fn forget_held(&mut self) {
        for reg in &mut self.regs {
            reg.holds = None;
        }
    }

    /// Makes room for `cells` cells and `refs` references above the current height.
    pub(super) fn reserve(&mut self, cells: u32, refs: u32) {
        self.max_cells = self.max_cells.max(self.cells + cells);
        self.max_refs = self.max_refs.max(self.refs + refs);
    }

    /// Cuts the stack down to a height.
    pub(super) fn truncate(&mut self, entries: usize) {
        while self.entries.len() > entries {
            self.pop();
        }
    }
}
