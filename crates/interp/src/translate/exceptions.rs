//! `try_table`, `throw` and `throw_ref`.
//!
//! A `try_table` is a block whose code range is noted with its clauses. Nothing is emitted where it
//! begins. Where it ends there is a *landing pad* for each label that its clauses name: a branch to it (or a
//! return), which the block's own end jumps over. Values are delivered to where the label expects them
//! before the pad is entered, so it moves none.
//!
//! What makes that right: all entries below the block are in their canonical slots when it is entered, and
//! stay there; locals are always in theirs; and a pad, like every label, assumes nothing of the
//! accumulators. A body that neither calls nor throws is a plain block.

use std::collections::BTreeMap;

use palisade_module::wasmparser::{Catch, TryTable};

use crate::handlers::{Clause, Edges, NONE, Scope, Site};
use crate::ops::exceptions::{THROW, THROW_REF, ThrowOps};
use crate::translate::control::{Frame, Kind, OFFSET_FIELD};
use crate::translate::emit::{At, Fixup};
use crate::translate::stack::Loc;
use crate::translate::{Result, Translator, invalid};

/// A `try_table` whose end has not been reached.
pub(super) struct Try {
    /// Its place among the scopes of the function.
    scope: u32,
    catches: Vec<Catch>,
    /// The edges of scopes before it.
    edges: Edges,
    /// Whether anything in it may throw.
    throws: bool,
}

/// A landing pad.
#[derive(Copy, Clone)]
struct Pad {
    at: At,
    /// Where values are delivered to.
    cell: u32,
    reference: u32,
}

impl<'m> Translator<'m> {
    pub(super) fn visit_try_table(&mut self, table: &TryTable) -> Result<()> {
        if table.catches.is_empty() {
            return self.visit_block(table.ty);
        }
        self.settle_all()?;
        // Instructions of the body must not become part of older ones, which stand outside.
        self.forget_newest();
        let parent = self.tries.last().map_or(NONE, |outer| outer.scope);
        let scope = self.handlers.scopes.len() as u32;
        let edges = self.handlers.edges();
        self.handlers.scopes.push(Scope { parent, clauses: (0, 0) });
        self.handlers.edge(self.emitter.here(), scope);
        let catches = table.catches.to_vec();
        self.tries.push(Try { scope, catches, edges, throws: false });
        self.push_frame(Kind::Try, table.ty)
    }

    /// Notes that the instruction at hand may throw.
    pub(super) fn may_throw(&mut self) {
        if let Some(innermost) = self.tries.last_mut() {
            innermost.throws = true;
        }
    }

    /// Notes a call that unwinding has to know about: one that has just been emitted, at `start`.
    pub(super) fn note_site(&mut self, start: At, pushed: u32, tail: bool) {
        if pushed > 0 || tail {
            let end = self.emitter.here();
            self.handlers.sites.push(Site { start, end, pushed, tail });
        }
    }

    /// The end of the body of the `try_table` whose frame is the innermost one: emits the pads. What is
    /// left is the end of a block.
    pub(super) fn end_try(&mut self) -> Result<()> {
        let Some(inner) = self.tries.pop() else { return invalid() };
        let index = self.frames.len().saturating_sub(1);
        if let Some(frame) = self.frames.get_mut(index) {
            frame.kind = Kind::Block;
        }
        if !inner.throws {
            // Its last instructions may yet become part of what follows.
            self.handlers.forget_edges(inner.edges);
            return Ok(());
        }
        let outer = self.tries.last().map_or(NONE, |outer| outer.scope);
        self.handlers.edge(self.emitter.here(), outer);
        self.may_throw();
        if self.reachable {
            self.move_to(index, true)?;
            let at = self.emit_br(false);
            self.lead(index, Fixup { at, field: OFFSET_FIELD });
        }
        self.drop_pending();
        self.bind();
        // Labels of clauses are counted from outside.
        let Some(frame) = self.frames.pop() else { return invalid() };
        self.stack.truncate(frame.entries);
        let clauses = self.clauses(&inner.catches)?;
        self.bind();
        self.frames.push(frame);
        self.reachable = false;
        match self.handlers.scopes.get_mut(inner.scope as usize) {
            Some(scope) => scope.clauses = clauses,
            None => return invalid(),
        }
        Ok(())
    }

    /// Makes clauses and emits their pads. Returns which ones they are.
    fn clauses(&mut self, catches: &[Catch]) -> Result<(u32, u32)> {
        let first = self.handlers.clauses.len() as u32;
        let mut pads: BTreeMap<u32, Pad> = BTreeMap::new();
        for catch in catches {
            let (tag, label, wants_ref) = match *catch {
                Catch::One { tag, label } => (tag, label, false),
                Catch::OneRef { tag, label } => (tag, label, true),
                Catch::All { label } => (NONE, label, false),
                Catch::AllRef { label } => (NONE, label, true),
            };
            let pad = match pads.get(&label) {
                Some(&pad) => pad,
                None => {
                    let pad = self.pad(label)?;
                    pads.insert(label, pad);
                    pad
                }
            };
            let (cell, reference) = (self.slot(pad.cell), self.slot(pad.reference));
            self.handlers.clauses.push(Clause { tag, wants_ref, cell, reference, pad: pad.at });
        }
        Ok((first, self.handlers.clauses.len() as u32))
    }

    /// Emits the pad of a label.
    fn pad(&mut self, label: u32) -> Result<Pad> {
        let index = self.depth(label)?;
        self.bind();
        let at = self.emitter.here();
        let Some(&Frame { kind, cells, refs, label, .. }) = self.frames.get(index) else {
            return invalid();
        };
        if matches!(kind, Kind::Function) {
            let (entries, cell, reference) =
                (self.stack.entries.len(), self.stack.cells, self.stack.refs);
            for &ty in &self.signature.results {
                self.push(ty, Loc::Slot)?;
            }
            self.emit_return(true)?;
            self.stack.truncate(entries);
            return Ok(Pad { at, cell, reference });
        }
        if label.1 > 0 {
            self.need_refs()?;
        }
        self.stack.max_cells = self.stack.max_cells.max(cells + label.0);
        self.stack.max_refs = self.stack.max_refs.max(refs + label.1);
        let branch = self.emit_br(self.is_loop(index));
        self.lead(index, Fixup { at: branch, field: OFFSET_FIELD });
        Ok(Pad { at, cell: cells, reference: refs })
    }

    pub(super) fn visit_throw(&mut self, tag: u32) -> Result<()> {
        let module = self.module;
        let Some(&id) = module.info().tags.get(tag as usize) else { return invalid() };
        let Some(signature) = module.signature_of(id) else { return invalid() };
        let Some(first) = self.stack.entries.len().checked_sub(signature.params.len()) else {
            return invalid();
        };
        self.spill_all();
        self.settle_from(first)?;
        let live = self.stack.refs;
        self.stack.truncate(first);
        let (base, refs) = (self.slot(self.stack.cells), self.slot(self.stack.refs));
        self.emit_marked(THROW, ThrowOps { handler: 0, tag, base, refs, live, pad: 0 });
        self.may_throw();
        self.stop();
        Ok(())
    }

    pub(super) fn visit_throw_ref(&mut self) -> Result<()> {
        let exn = self.pop_slot()?;
        self.spill_all();
        let operands = self.slots(0, u32::from(exn), 0, 0);
        self.emit_marked(THROW_REF, operands);
        self.may_throw();
        self.stop();
        Ok(())
    }
}
