//! Bodies of small functions in the place of calls to them.
//!
//! A call of a defined function that is small and calls nothing is translated as that function's body: a block with
//! the results, whose locals are variables of its own. Only speed changes. The same is charged for in the same order,
//! since the body brings the costs of its own blocks; a fault is said to be in the body, called from where the call
//! is, since instructions of the body have sources of their own kind ([`INLINED`]).
//!
//! Invariants: an inlined body calls nothing, throws nothing and has no loop, so that none has another in it, nothing
//! that looks at frames while code goes on (a search for a handler, a host function) ever meets one, and none lacks a
//! poll; a load before, in, or behind it never becomes part of an instruction on the other side of its borders,
//! which are those of basic blocks; where calls are counted, none is inlined, because a refused one belongs to its
//! caller; how much is inlined is in proportion to the body around, and limited.

use std::collections::HashSet;

use cranelift_codegen::ir::InstBuilder;
use palisade_module::wasmparser::{BinaryReader, FunctionBody, Operator};
use palisade_vm::native::code::{INLINED, Inlined};

use super::control::Construct;
use super::{FuncKinds, Kind, Result, Translator, fuel, invalid};
use crate::limits;
use crate::mutation::Mutation;

/// The most operators, and targets of `br_table`s, of a body that is inlined.
const OPERATORS: u64 = 40;

/// The most parameters and locals of a body that is inlined, each, and the most results.
const LOCALS: u64 = 8;

/// The most bytes of a body that is inlined, so that others need not be read to be refused.
const BYTES: usize = 512;

/// The most operators that are inlined into a function, and how many of them a function of no size may have. Each
/// byte of its own body allows for [`PER_BYTE`] more, so that what there is to compile grows by no more than that.
const INTO_FUNCTION: u64 = 2_000;
const INTO_SMALLEST: u64 = 60;
const PER_BYTE: u64 = 2;

/// What is known about inlined bodies while a function is translated.
#[derive(Debug)]
pub(super) struct Inlining {
    /// The call that the body stands for which is being translated.
    call: Option<u32>,
    /// The places in bodies that instructions may come from.
    places: Vec<Inlined>,
    /// Functions, by their index among the defined ones, that are not small.
    refused: HashSet<u32>,
    /// How many operators may still be inlined.
    left: u64,
}

impl Inlining {
    /// For a function whose body has so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let left = INTO_FUNCTION.min(INTO_SMALLEST + PER_BYTE * bytes as u64);
        Self { call: None, places: Vec::new(), refused: HashSet::new(), left }
    }

    /// Whether the operator at hand is one of an inlined body.
    pub(super) fn active(&self) -> bool {
        self.call.is_some()
    }

    /// What instructions are said to come from that stand for the operator at an offset: a `wrong` place is the call.
    pub(super) fn source(&mut self, func: u32, offset: u32, wrong: bool) -> u32 {
        let Some(call) = self.call else { return offset };
        if wrong {
            return call;
        }
        let place = Inlined { func, offset, call };
        if self.places.last() != Some(&place) {
            self.places.push(place);
        }
        INLINED + self.places.len() as u32 - 1
    }

    /// The places that sources refer to.
    pub(super) fn into_places(self) -> Vec<Inlined> {
        self.places
    }
}

/// A function that is to be inlined.
pub(super) struct Callee<'a> {
    defined: u32,
    /// Where its body begins in the module.
    start: u32,
    body: FunctionBody<'a>,
    kinds: FuncKinds,
    costs: Vec<u64>,
}

/// How many operators a body has, if there are few and none is of a kind that has to stay where it is.
fn small(body: &FunctionBody<'_>) -> Result<Option<u64>> {
    let mut reader = body.get_operators_reader()?;
    let mut found = 0;
    while !reader.eof() {
        let op = reader.read()?;
        found += match &op {
            Operator::BrTable { targets } => 1 + u64::from(targets.len()),
            _ => 1,
        };
        let fixed = matches!(
            op,
            Operator::Loop { .. }
                | Operator::TryTable { .. }
                | Operator::Throw { .. }
                | Operator::ThrowRef
        );
        if found > OPERATORS || fixed || fuel::calls(&op) {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

impl<'a> Translator<'a, '_> {
    /// The function that a call calls, if its body is to stand here.
    pub(super) fn inlinable(&mut self, index: u32) -> Result<Option<Callee<'a>>> {
        let options = self.env.options;
        let Some(defined) = index.checked_sub(self.env.info.imported_funcs) else {
            return Ok(None);
        };
        let known = self.inlining.left == 0 || self.inlining.refused.contains(&defined);
        if !options.inline || options.depth || self.inlining.active() || known {
            return Ok(None);
        }
        let Some((callee, size)) = self.judge(defined)? else {
            self.inlining.refused.insert(defined);
            return Ok(None);
        };
        let Some(left) = self.inlining.left.checked_sub(size) else { return Ok(None) };
        // What is compiled by itself is hardly to be refused for what is inlined.
        let func = &self.b.func.dfg;
        if func.num_values() as u64 > limits::VALUES / 2
            || func.num_blocks() as u64 > limits::BLOCKS / 2
            || func.num_insts() as u64 > limits::INSTRUCTIONS / 2
        {
            return Ok(None);
        }
        self.inlining.left = left;
        Ok(Some(callee))
    }

    /// A function with its size, if it is small and keeps no references that the collector moves.
    fn judge(&self, defined: u32) -> Result<Option<(Callee<'a>, u64)>> {
        let info = self.env.info;
        let Some(range) = info.bodies.get(defined as usize).map(|body| body.range.clone()) else {
            return invalid("an unknown function");
        };
        if range.len() > BYTES || range.end >= INLINED as usize {
            return Ok(None);
        }
        let Some(bytes) = info.bytes.get(range.clone()) else { return invalid("an unknown body") };
        let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));
        let Some(&type_id) = info.funcs.get((info.imported_funcs + defined) as usize) else {
            return invalid("a function without a type");
        };
        let kinds = FuncKinds::of(&self.env, type_id)?;
        let most = LOCALS as usize;
        let mut fits = kinds.params.len() <= most && kinds.results.len() <= most;
        fits &= kinds.params.iter().chain(&kinds.results).all(|&kind| kind != Kind::Ref);
        let mut locals = 0;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals += u64::from(count);
            fits &= self.wasm_kind(ty) != Kind::Ref;
        }
        if !fits || locals > LOCALS {
            return Ok(None);
        }
        let Some(size) = small(&body)? else { return Ok(None) };
        let (_, fuel::Costs { costs, .. }) = fuel::costs(&body)?;
        Ok(Some((Callee { defined, start: range.start as u32, body, kinds, costs }, size)))
    }

    /// Translates a body in the place of the call at hand. It gets blocks of its own, and the code behind it, too.
    pub(super) fn inline(&mut self, callee: Callee<'a>) -> Result<()> {
        let Callee { defined, start, body, kinds, mut costs } = callee;
        let mut arguments = self.pop_many(kinds.params.len())?;
        if self.mutated(Mutation::InlinedFree) {
            costs.fill(0);
        }
        if let [first, second, ..] = kinds.params[..]
            && first == second
            && self.mutated(Mutation::InlinedArgumentsSwapped)
        {
            arguments.swap(0, 1);
        }
        let (first, next) = (self.b.create_block(), self.b.create_block());
        for &kind in &kinds.results {
            self.block_param(next, kind);
        }
        self.b.ins().jump(first, &[]);
        self.b.seal_block(first);
        self.b.switch_to_block(first);
        // What belongs to the caller.
        let call = self.offset;
        let outer = (self.defined, self.body_start);
        let frames = std::mem::take(&mut self.frames);
        let locals = std::mem::take(&mut self.locals);
        let ref_locals = self.ref_locals;
        let outer_costs = std::mem::replace(&mut self.costs, costs.into_iter());
        (self.defined, self.body_start, self.offset) = (defined, start, start);
        self.inlining.call = Some(call);
        for (&kind, value) in kinds.params.iter().zip(arguments) {
            let local = self.declare(kind);
            self.b.def_var(local, value);
        }
        self.declared_locals(&body)?;
        // Its parameters are locals: what is on the operand stack is all below it.
        let kinds = FuncKinds { params: Vec::new(), results: kinds.results };
        self.push_frame(Construct::Block, kinds, next, false, None)?;
        self.locate();
        self.operators(&body)?;
        self.inlining.call = None;
        (self.defined, self.body_start) = outer;
        (self.frames, self.locals, self.costs) = (frames, locals, outer_costs);
        self.ref_locals = ref_locals;
        self.offset = call;
        self.locate();
        Ok(())
    }
}

#[cfg(test)]
#[path = "inline_tests.rs"]
mod tests;
