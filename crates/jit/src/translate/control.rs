//! Structure: blocks, loops, branches, returns.
//!
//! A label is a block of the intermediate form whose parameters are the values that it takes. The
//! continuation of a construct exists from its beginning; it is only filled if something leads to it.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, Inst, InstBuilder, JumpTableData, Value};
use cranelift_frontend::FunctionBuilder;
use palisade_core::TrapCode;
use palisade_module::wasmparser::{BlockType, BrTable, Operator};

use super::{FuncKinds, Kind, Operand, Result, Translator, invalid};
use crate::error::CompileError;
use crate::limits;
use crate::mutation::Mutation;

/// The most targets of a `br_table` that are compiled.
const MAX_TABLE_TARGETS: u64 = 65_520;

/// What a construct is.
#[derive(Debug)]
pub(crate) enum Construct {
    /// The function itself, an inlined body, a `block`, or a `try_table`.
    Block,
    /// Branches go to its header.
    Loop(Block),
    /// The other arm, as long as it has not begun.
    If(Option<OtherArm>),
}

/// The arm of an `if` that is taken when the condition is zero, before it begins.
#[derive(Debug)]
pub(crate) enum OtherArm {
    /// There may be none: the branch goes behind the construct, with the parameters as results. Should an `else` come,
    /// it is made to go there.
    Perhaps(Inst),
    /// There is one, for parameters and results differ: where it begins, and with which values.
    Certain(Block, Vec<Operand>),
}

/// A construct that has not ended.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) construct: Construct,
    /// How high the operand stack is below its parameters.
    height: usize,
    params: Vec<Kind>,
    results: Vec<Kind>,
    /// Where it goes on.
    next: Block,
    /// Whether anything leads there.
    next_reached: bool,
    /// Whether the construct itself was reached.
    reached: bool,
    /// Whether it is on the way to the loop at which the function is entered.
    on_the_way: bool,
    /// How many handlers were there outside, if it is a `try_table`.
    pub(crate) outer_handlers: Option<usize>,
}

impl Control {
    /// The outermost construct: a branch to it returns.
    pub(super) fn function(b: &mut FunctionBuilder<'_>, results: &[Kind]) -> Self {
        let next = b.create_block();
        Self {
            construct: Construct::Block,
            height: 0,
            params: Vec::new(),
            results: results.to_vec(),
            next,
            next_reached: false,
            reached: true,
            on_the_way: false,
            outer_handlers: None,
        }
    }
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn control(&mut self, op: &Operator<'_>) -> Result<bool> {
        match op {
            Operator::Nop => {}
            Operator::Unreachable => {
                self.locate();
                // A block with nothing but a trap would become part of the branch that leads there.
                self.b.ins().sequence_point();
                if self.mutated(Mutation::TrapPlaceWrong) {
                    let place = cranelift_codegen::ir::SourceLoc::new(self.offset - 1);
                    self.b.set_srcloc(place);
                }
                self.trap(TrapCode::Unreachable);
            }
            Operator::Block { blockty } => {
                self.begin(*blockty, None)?;
            }
            Operator::Loop { blockty } => self.begin_loop(*blockty)?,
            Operator::If { blockty } => self.begin_if(*blockty)?,
            Operator::Else => self.begin_else()?,
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => self.branch(*relative_depth)?,
            Operator::BrIf { relative_depth } => {
                let condition = self.pop()?;
                self.branch_if(condition, *relative_depth)?;
            }
            Operator::BrTable { targets } => self.branch_table(targets)?,
            Operator::BrOnNull { relative_depth } => {
                let reference = self.pop_operand()?;
                let null = self.b.ins().icmp_imm_s(IntCC::Equal, reference.value, 0);
                self.branch_if(null, *relative_depth)?;
                self.stack.push(reference);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let reference = self.pop_operand()?;
                let there = self.b.ins().icmp_imm_s(IntCC::NotEqual, reference.value, 0);
                self.stack.push(reference);
                self.branch_if(there, *relative_depth)?;
                self.pop()?;
            }
            Operator::Return => {
                let Some(depth) = self.frames.len().checked_sub(1) else {
                    return invalid("a return from nothing");
                };
                self.branch(depth as u32)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is done with an operator that cannot be reached: only structure is followed.
    pub(super) fn unreachable_operator(&mut self, op: &Operator<'_>) -> Result<()> {
        match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                let next = self.b.create_block();
                self.frames.push(Control {
                    construct: Construct::Block,
                    height: self.stack.len(),
                    params: Vec::new(),
                    results: Vec::new(),
                    next,
                    next_reached: false,
                    reached: false,
                    on_the_way: false,
                    outer_handlers: None,
                });
            }
            Operator::Else if self.frames.last().is_some_and(|frame| frame.reached) => {
                self.begin_else()?;
            }
            Operator::End => self.end()?,
            _ => {}
        }
        Ok(())
    }

    /// The kinds of a construct's parameters and results.
    fn block_kinds(&self, ty: BlockType) -> Result<FuncKinds> {
        Ok(match ty {
            BlockType::Empty => FuncKinds { params: Vec::new(), results: Vec::new() },
            BlockType::Type(ty) => {
                FuncKinds { params: Vec::new(), results: vec![self.wasm_kind(ty)] }
            }
            BlockType::FuncType(index) => FuncKinds::of(&self.env, self.env.type_id(index)?)?,
        })
    }

    /// Begins a construct whose label is its end. With handlers, it is a `try_table`, and so many are outside.
    pub(crate) fn begin(&mut self, ty: BlockType, outer_handlers: Option<usize>) -> Result<()> {
        let kinds = self.block_kinds(ty)?;
        let way = self.on_the_way(kinds.params.len());
        let next = self.b.create_block();
        for &kind in &kinds.results {
            self.block_param(next, kind);
        }
        self.push_frame(Construct::Block, kinds, next, way, outer_handlers)
    }

    /// Begins a construct that is entered by falling into it.
    pub(super) fn push_frame(
        &mut self,
        construct: Construct,
        kinds: FuncKinds,
        next: Block,
        on_the_way: bool,
        outer_handlers: Option<usize>,
    ) -> Result<()> {
        let Some(height) = self.stack.len().checked_sub(kinds.params.len()) else {
            return invalid("an empty operand stack");
        };
        let FuncKinds { params, results } = kinds;
        self.frames.push(Control {
            construct,
            height,
            params,
            results,
            next,
            next_reached: false,
            reached: true,
            on_the_way,
            outer_handlers,
        });
        Ok(())
    }

    fn begin_loop(&mut self, ty: BlockType) -> Result<()> {
        let kinds = self.block_kinds(ty)?;
        let next = self.b.create_block();
        for &kind in &kinds.results {
            self.block_param(next, kind);
        }
        let way = self.on_the_way(kinds.params.len());
        let header = self.b.create_block();
        let args = self.args(kinds.params.len())?;
        self.b.ins().jump(header, &args);
        if way {
            self.lead_to(header, kinds.params.len());
        }
        self.b.switch_to_block(header);
        let start = self.stack.len() - kinds.params.len();
        self.stack.truncate(start);
        for &kind in &kinds.params {
            let value = self.block_param(header, kind);
            self.stack.push(Operand { value, kind });
        }
        if way {
            self.dispatch(kinds.params.len());
        }
        self.push_frame(Construct::Loop(header), kinds, next, way, None)?;
        self.locate();
        if !self.mutated(Mutation::LoopPollDropped) {
            self.poll(self.calling_loops.binary_search(&self.offset).is_err());
        }
        Ok(())
    }

    fn begin_if(&mut self, ty: BlockType) -> Result<()> {
        let condition = self.pop()?;
        let kinds = self.block_kinds(ty)?;
        let way = self.on_the_way(kinds.params.len());
        let next = self.b.create_block();
        for &kind in &kinds.results {
            self.block_param(next, kind);
        }
        let then = self.b.create_block();
        let arm = if kinds.params == kinds.results {
            let args = self.args(kinds.params.len())?;
            OtherArm::Perhaps(self.b.ins().brif(condition, then, &[], next, &args))
        } else {
            let otherwise = self.b.create_block();
            let start = self.stack.len().saturating_sub(kinds.params.len());
            let saved = self.stack.get(start..).unwrap_or_default().to_vec();
            self.b.ins().brif(condition, then, &[], otherwise, &[]);
            self.b.seal_block(otherwise);
            OtherArm::Certain(otherwise, saved)
        };
        self.b.seal_block(then);
        self.b.switch_to_block(then);
        self.push_frame(Construct::If(Some(arm)), kinds, next, way, None)
    }

    fn begin_else(&mut self) -> Result<()> {
        if self.reachable {
            self.jump_to_next()?;
        }
        let Some(frame) = self.frames.last_mut() else { return invalid("`else` of nothing") };
        let Construct::If(arm) = &mut frame.construct else { return invalid("`else` of no `if`") };
        let Some(arm) = arm.take() else { return invalid("a second `else`") };
        let (height, on_the_way, next) = (frame.height, frame.on_the_way, frame.next);
        let params = frame.params.clone();
        let (block, saved) = match arm {
            OtherArm::Certain(block, saved) => (block, saved),
            OtherArm::Perhaps(branch) => {
                let block = self.b.create_block();
                self.b.change_jump_destination(branch, next, block);
                let param = |kind: Kind| Operand { value: self.block_param(block, kind), kind };
                let saved = params.into_iter().map(param).collect();
                self.b.seal_block(block);
                (block, saved)
            }
        };
        self.stack.truncate(height);
        self.b.switch_to_block(block);
        if on_the_way {
            self.reload_below(height);
        }
        self.stack.extend(saved);
        self.reachable = true;
        Ok(())
    }

    /// Goes on behind the innermost construct, with its results.
    fn jump_to_next(&mut self) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return invalid("the end of nothing") };
        frame.next_reached = true;
        let (next, count) = (frame.next, frame.results.len());
        let args = self.args(count)?;
        self.b.ins().jump(next, &args);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.is_return(0) {
            return self.end_function();
        }
        if self.reachable {
            self.jump_to_next()?;
        }
        let Some(mut frame) = self.frames.pop() else { return invalid("the end of nothing") };
        if let Some(outer) = frame.outer_handlers {
            self.end_try(outer)?;
        }
        match &frame.construct {
            // There was no other arm: the branch stays as it is.
            Construct::If(Some(OtherArm::Perhaps(_))) => frame.next_reached = true,
            Construct::If(Some(OtherArm::Certain(..))) => return invalid("an `if` without an arm"),
            _ => {}
        }
        self.stack.truncate(frame.height);
        self.reachable = frame.next_reached;
        self.b.seal_block(frame.next);
        if let Construct::Loop(header) = frame.construct {
            self.b.seal_block(header);
        }
        if frame.next_reached {
            self.b.switch_to_block(frame.next);
            if frame.on_the_way {
                self.reload_below(frame.height);
            }
            let values = self.b.block_params(frame.next).to_vec();
            let operands = values.into_iter().zip(&frame.results);
            self.stack.extend(operands.map(|(value, &kind)| Operand { value, kind }));
        }
        Ok(())
    }

    /// The function's own end: a return.
    fn end_function(&mut self) -> Result<()> {
        if self.reachable {
            let values = self.top(self.results.len())?;
            self.return_values(&values);
        }
        self.frames.pop();
        self.reachable = false;
        Ok(())
    }

    /// The uppermost values, the lowest one first. They stay.
    fn top(&self, count: usize) -> Result<Vec<Value>> {
        let Some(start) = self.stack.len().checked_sub(count) else {
            return invalid("an empty operand stack");
        };
        Ok(self.stack.iter().skip(start).map(|operand| operand.value).collect())
    }

    /// The uppermost values as arguments of a jump. They stay.
    fn args(&self, count: usize) -> Result<Vec<BlockArg>> {
        Ok(self.top(count)?.into_iter().map(BlockArg::Value).collect())
    }

    fn return_values(&mut self, values: &[Value]) {
        self.leave();
        self.b.ins().return_(values);
        self.reachable = false;
    }

    /// The block that a branch goes to, and how many values it takes. Not for the function's own label.
    pub(crate) fn label(&mut self, depth: u32) -> Result<(Block, usize)> {
        let at = self.frames.len().checked_sub(depth as usize + 1);
        let Some(frame) = at.and_then(|at| self.frames.get_mut(at)) else {
            return invalid("a branch to nothing");
        };
        if let Construct::Loop(header) = frame.construct {
            return Ok((header, frame.params.len()));
        }
        frame.next_reached = true;
        Ok((frame.next, frame.results.len()))
    }

    /// Whether a label is that of the function. That of an inlined body is one like any other.
    pub(crate) fn is_return(&self, depth: u32) -> bool {
        depth as usize + 1 == self.frames.len() && !self.inlining.active()
    }

    fn branch(&mut self, depth: u32) -> Result<()> {
        if self.is_return(depth) {
            let values = self.top(self.results.len())?;
            self.return_values(&values);
            return Ok(());
        }
        let (block, count) = self.label(depth)?;
        let args = self.args(count)?;
        self.b.ins().jump(block, &args);
        self.reachable = false;
        Ok(())
    }

    /// Branches if `condition` is not zero, with the uppermost values, which stay.
    pub(crate) fn branch_if(&mut self, condition: Value, depth: u32) -> Result<()> {
        let hint = self.env.info.branch_hint(
            palisade_module::FuncIdx(self.env.info.imported_funcs + self.defined),
            self.offset - self.body_start,
        );
        let (target, args) = if self.is_return(depth) {
            (self.b.create_block(), Vec::new())
        } else {
            let (block, count) = self.label(depth)?;
            (block, self.args(count)?)
        };
        let after = self.b.create_block();
        if hint == Some(true) {
            self.b.set_cold_block(after);
        }
        self.b.ins().brif(condition, target, &args, after, &[]);
        self.b.seal_block(after);
        if self.is_return(depth) {
            self.b.seal_block(target);
            self.b.switch_to_block(target);
            if hint == Some(false) {
                self.b.set_cold_block(target);
            }
            let values = self.top(self.results.len())?;
            self.return_values(&values);
            self.reachable = true;
        }
        self.b.switch_to_block(after);
        Ok(())
    }

    fn branch_table(&mut self, targets: &BrTable<'_>) -> Result<()> {
        let found = u64::from(targets.len());
        if found > MAX_TABLE_TARGETS {
            let what = "targets of a `br_table`";
            return Err(CompileError::Limit { what, limit: MAX_TABLE_TARGETS, found });
        }
        let index = self.pop()?;
        // All targets take as many values as the default one.
        let arity = match self.is_return(targets.default()) {
            true => 0,
            false => self.label(targets.default())?.1 as u64,
        };
        limits::check("arguments of a `br_table`", limits::ARGUMENTS, found * arity)?;
        let mut to_return = None;
        let mut entries = Vec::with_capacity(targets.len() as usize);
        for depth in targets.targets() {
            let depth = depth?;
            entries.push(self.table_target(depth, &mut to_return)?);
        }
        let default = self.table_target(targets.default(), &mut to_return)?;
        let calls: Vec<_> = std::iter::once(default)
            .chain(entries)
            .map(|(block, args)| self.b.func.dfg.block_call(block, &args))
            .collect();
        let mut calls = calls;
        if self.mutated(Mutation::BranchTableOff) {
            calls.rotate_right(1);
        }
        let [default, entries @ ..] = &calls[..] else { return invalid("an empty `br_table`") };
        let table = self.b.create_jump_table(JumpTableData::new(*default, entries));
        self.b.ins().br_table(index, table);
        if let Some(block) = to_return {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            let values = self.top(self.results.len())?;
            self.return_values(&values);
        }
        self.reachable = false;
        Ok(())
    }

    fn table_target(
        &mut self,
        depth: u32,
        to_return: &mut Option<Block>,
    ) -> Result<(Block, Vec<BlockArg>)> {
        if self.is_return(depth) {
            let block = *to_return.get_or_insert_with(|| self.b.create_block());
            return Ok((block, Vec::new()));
        }
        let (block, count) = self.label(depth)?;
        Ok((block, self.args(count)?))
    }
}
