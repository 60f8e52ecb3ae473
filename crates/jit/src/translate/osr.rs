//! Entering a function at the head of a loop, with the state of a frame that another engine began.
//!
//! The function has two parameters then: the context, and a buffer with the locals and the operand stack at that
//! head, in order, each in one cell (vectors in two). It begins at the outermost loop around the one that is
//! meant and goes inwards from header to header, each of which looks whether it is still on the way: so every loop
//! keeps its one entry, and the optimiser takes it for a loop.
//!
//! Values on the operand stack below a construct on the way are variables, since they come either from the code
//! before the construct or from the buffer. The constructs on the way are found before translation ([`path`]).
//!
//! Invariants: nothing but locals, such variables and the parameters of the loop's own header reaches
//! code behind the entry; what is charged for, counted or polled in a turn of a loop happens behind its dispatch.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, InstBuilder, MemFlagsData, Signature, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::Variable;
use palisade_module::wasmparser::{FunctionBody, Operator};

use super::{FuncKinds, Kind, Operand, Result, Translator, invalid};
use crate::mutation::Mutation;

/// The constructs around a loop, and itself, as the offsets of the operators that begin them, the outermost first,
/// and whether each is a loop.
pub(super) fn path(body: &FunctionBody<'_>, offset: u32) -> Result<Vec<(u32, bool)>> {
    let mut open = Vec::new();
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (op, at) = reader.read_with_offset()?;
        let at = at as u32;
        match op {
            Operator::Loop { .. } => {
                open.push((at, true));
                if at == offset {
                    return Ok(open);
                }
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push((at, false));
            }
            Operator::End => {
                open.pop();
            }
            _ => {}
        }
    }
    invalid("no loop where one is to be entered")
}

/// How the function is entered, while it is translated.
pub(super) struct Entry {
    /// The buffer.
    cells: Value,
    /// What is on the way to the loop, and not begun yet.
    path: std::vec::IntoIter<(u32, bool)>,
    next: Option<(u32, bool)>,
    /// 1 until the loop is reached.
    resuming: Variable,
    /// Where code on the way from the last header to the next is to be put.
    way: Block,
    /// The variables of the values below constructs on the way.
    below: Vec<Variable>,
    /// Bytes of the buffer before the operand stack.
    stack_at: u32,
}

/// The signature of a function that is entered at a loop.
pub(super) fn signature(kinds: &FuncKinds) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(types::I64); 2]);
    signature.returns.extend(kinds.results.iter().map(|kind| AbiParam::new(kind.ty())));
    signature
}

impl Translator<'_, '_> {
    /// Loads the locals, and goes on where no code leads that comes before the loops on the way.
    pub(super) fn enter_at(&mut self, cells: Value, path: Vec<(u32, bool)>) {
        let mut at = 0;
        for (variable, kind) in self.locals.clone() {
            let mut value = self.load_cell(cells, at, kind);
            let last = self.locals.last().is_some_and(|&(last, _)| last == variable);
            if last && self.mutated(Mutation::LoopEntryLocalLost) {
                value = self.zero(kind);
            }
            self.b.def_var(variable, value);
            at += kind.cells() * 8;
        }
        let resuming = self.b.declare_var(types::I8);
        let one = self.b.ins().iconst(types::I8, 1);
        self.b.def_var(resuming, one);
        let way = self.b.create_block();
        self.b.ins().jump(way, &[]);
        let mut path = path.into_iter();
        let next = path.next();
        self.osr =
            Some(Entry { cells, path, next, resuming, way, below: Vec::new(), stack_at: at });
        let unreached = self.b.create_block();
        self.b.seal_block(unreached);
        self.b.switch_to_block(unreached);
    }

    fn load_cell(&mut self, cells: Value, at: u32, kind: Kind) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        let value = self.b.ins().load(kind.ty(), flags, cells, Offset32::new(at as i32));
        self.note(value, kind);
        value
    }

    /// A construct begins whose parameters are the `params` uppermost values: if it is on the way, the values below
    /// become variables. Whether it is.
    pub(super) fn on_the_way(&mut self, params: usize) -> bool {
        let Some(entry) = &mut self.osr else { return false };
        if entry.next.is_none_or(|(offset, _)| offset != self.offset) {
            return false;
        }
        let known = entry.below.len();
        let height = self.stack.len().saturating_sub(params);
        for at in known..height {
            let Some(&Operand { value, kind }) = self.stack.get(at) else { break };
            let variable = self.variable(kind);
            self.b.def_var(variable, value);
            if let Some(entry) = &mut self.osr {
                entry.below.push(variable);
            }
        }
        if let Some(entry) = &mut self.osr
            && entry.next.is_some_and(|(_, is_loop)| !is_loop)
        {
            entry.next = entry.path.next();
        }
        true
    }

    /// The values below a construct that was on the way, where code leads that may not have come from before it.
    pub(super) fn reload_below(&mut self, height: usize) {
        let Some(entry) = &self.osr else { return };
        let below: Vec<_> = entry.below.iter().copied().take(height).collect();
        for (at, variable) in below.into_iter().enumerate() {
            let value = self.b.use_var(variable);
            if let Some(operand) = self.stack.get_mut(at) {
                operand.value = value;
            }
        }
    }

    /// Before the header of a loop on the way is begun, whose `params` uppermost values are its parameters: leads
    /// there from the loop before it, or from the entry.
    pub(super) fn lead_to(&mut self, header: Block, params: usize) {
        let height = self.stack.len().saturating_sub(params);
        let Some(entry) = &mut self.osr else { return };
        entry.next = entry.path.next();
        let (cells, way, resuming) = (entry.cells, entry.way, entry.resuming);
        let last = entry.next.is_none();
        let below = entry.below.clone();
        let mut at = entry.stack_at;
        self.b.switch_to_block(way);
        let kinds: Vec<Kind> = self.stack.iter().map(|operand| operand.kind).collect();
        let mut args = Vec::with_capacity(params);
        for (position, &kind) in kinds.iter().enumerate() {
            let mut value = self.load_cell(cells, at, kind);
            if self.mutated(Mutation::LoopEntryValueLost) {
                value = self.zero(kind);
            }
            at += kind.cells() * 8;
            match below.get(position).filter(|_| position < height) {
                Some(&variable) => self.b.def_var(variable, value),
                None => args.push(BlockArg::Value(value)),
            }
        }
        if last {
            let zero = self.b.ins().iconst(types::I8, 0);
            self.b.def_var(resuming, zero);
        }
        self.b.ins().jump(header, &args);
        self.b.seal_block(way);
    }

    /// At the header of a loop on the way: on to the next, if the one that is meant was not reached.
    pub(super) fn dispatch(&mut self, params: usize) {
        let height = self.stack.len().saturating_sub(params);
        self.reload_below(height);
        let Some(entry) = &self.osr else { return };
        if entry.next.is_none() {
            return;
        }
        let resuming = entry.resuming;
        let (way, turn) = (self.b.create_block(), self.b.create_block());
        let still = self.b.use_var(resuming);
        let still = self.b.ins().icmp_imm_s(IntCC::NotEqual, still, 0);
        self.b.ins().brif(still, way, &[], turn, &[]);
        self.b.seal_block(turn);
        self.b.switch_to_block(turn);
        if let Some(entry) = &mut self.osr {
            entry.way = way;
        }
    }
}
