//! Exceptions: `try_table`, `throw`, `throw_ref`, and calls inside of a `try_table`.
//!
//! A `try_table` is a block, and its clauses are a list while its body is translated. A call with clauses around
//! it ends its basic block: it goes on in a block of its own, or in the landing of one of those clauses. A
//! clause has one landing for all calls, which is filled where the body ends, when labels count from outside:
//! it reads the exception's fields and branches.
//!
//! Invariants: the clauses of a call stand in the order in which the interpreter looks at them, and none follows
//! one that catches all; a landing trusts nothing about the fuel; what it needs of the frame are variables
//! alone.

use cranelift_codegen::ir::{
    Block, BlockArg, ExceptionTableData, ExceptionTableItem, ExceptionTag, FuncRef, InstBuilder,
    SigRef, Value, types,
};
use cranelift_codegen::isa::CallConv;
use palisade_core::TrapCode;
use palisade_module::wasmparser::{Catch, Operator, TryTable};
use palisade_vm::gc::layout::StructLayout;
use palisade_vm::native::Builtin;

use super::{FuncKinds, Kind, Result, Translator, invalid};
use crate::error::CompileError;
use crate::mutation::Mutation;

/// The most clauses that a function's calls may have around them, all calls taken together, and values that its
/// clauses ask for: each is an edge or a load.
const MAX_EDGES: usize = 20_000;

/// What is called.
#[derive(Copy, Clone, Debug)]
pub(crate) enum CallTarget {
    /// A function that is known.
    Direct(FuncRef),
    /// An address.
    Indirect(Value),
}

/// A clause of a `try_table` whose body is being translated.
#[derive(Debug)]
struct Clause {
    /// The tag that it catches, in the module's index space; `None` if it catches all.
    tag: Option<u32>,
    /// Where it branches to, counted from outside of the `try_table`.
    label: u32,
    /// Whether the exception itself follows the tag's values.
    wants_ref: bool,
    /// Its landing, once a call leads there.
    landing: Option<Block>,
}

/// The clauses of a `try_table` whose body is being translated.
#[derive(Debug)]
pub(super) struct Handler {
    clauses: Vec<Clause>,
}

/// The handlers around the operator at hand.
#[derive(Default, Debug)]
pub(super) struct Handlers {
    /// The outermost one first.
    open: Vec<Handler>,
    /// How many edges lead to landings, and how many values are read there, so far.
    edges: usize,
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn exceptions(&mut self, op: &Operator<'_>) -> Result<bool> {
        match op {
            Operator::TryTable { try_table } => self.try_table(try_table)?,
            Operator::Throw { tag_index } => self.throw(*tag_index)?,
            Operator::ThrowRef => {
                let exception = self.pop()?;
                self.trap_if_null(exception, TrapCode::NullExceptionReference);
                self.throw_exception(exception)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A call of a function in the convention of compiled ones, from within whatever `try_table`s there are.
    /// Continues behind it, where what is left of the fuel is known, with the results; references among them
    /// become known to the collector when they are pushed.
    pub(crate) fn emit_call(
        &mut self,
        signature: SigRef,
        callee: CallTarget,
        args: &[Value],
    ) -> Result<Vec<Value>> {
        let handlers = self.exception_items()?;
        self.count_roots();
        if handlers.is_empty() {
            let call = match callee {
                CallTarget::Direct(function) => self.b.ins().call(function, args),
                CallTarget::Indirect(address) => {
                    self.b.ins().call_indirect(signature, address, args)
                }
            };
            let results = self.b.inst_results(call).to_vec();
            if !self.mutated(Mutation::FuelStale) {
                self.reload_fuel();
            }
            return Ok(results);
        }
        let returns = self.b.func.dfg.signatures.get(signature).map(|known| &known.returns);
        let Some(returns) = returns else { return invalid("an unknown signature") };
        let returns: Vec<_> = returns.iter().map(|result| result.value_type).collect();
        let after = self.b.create_block();
        let mut results = Vec::with_capacity(returns.len());
        let mut passed = Vec::with_capacity(returns.len());
        for (number, ty) in returns.into_iter().enumerate() {
            results.push(self.b.append_block_param(after, ty));
            passed.push(BlockArg::TryCallRet(number as u32));
        }
        let after_call = self.b.func.dfg.block_call(after, &passed);
        let table = ExceptionTableData::new(signature, after_call, handlers);
        let table = self.b.func.dfg.exception_tables.push(table);
        match callee {
            CallTarget::Direct(function) => self.b.ins().try_call(function, args, table),
            CallTarget::Indirect(address) => self.b.ins().try_call_indirect(address, args, table),
        };
        self.b.seal_block(after);
        self.b.switch_to_block(after);
        if !self.mutated(Mutation::FuelStale) {
            self.reload_fuel();
        }
        Ok(results)
    }

    /// What an exception meets that leaves a call here: the context, then the clauses from the innermost
    /// `try_table` outwards. Nothing if there is no clause.
    fn exception_items(&mut self) -> Result<Vec<ExceptionTableItem>> {
        let mut items = Vec::new();
        let reversed = self.mutated(Mutation::HandlersReversed);
        let mutated = self.mutated(Mutation::TagIgnored);
        let mut open: Vec<_> = self.handlers.open.iter_mut().rev().collect();
        if reversed {
            open.reverse();
        }
        'search: for handler in open {
            for clause in &mut handler.clauses {
                if items.is_empty() {
                    items.push(ExceptionTableItem::Context(self.vmctx));
                }
                let landing = *clause.landing.get_or_insert_with(|| {
                    let block = self.b.create_block();
                    self.b.append_block_param(block, types::I64);
                    self.b.set_cold_block(block);
                    block
                });
                let call = self.b.func.dfg.block_call(landing, &[BlockArg::TryCallExn(0)]);
                let tag = clause.tag.filter(|_| !mutated);
                let Some(tag) = tag else {
                    items.push(ExceptionTableItem::Default(call));
                    break 'search;
                };
                items.push(ExceptionTableItem::Tag(ExceptionTag::from_u32(tag), call));
            }
        }
        self.count_edges(items.len())?;
        Ok(items)
    }

    /// Counts edges to landings, or values that landings read.
    fn count_edges(&mut self, more: usize) -> Result<()> {
        self.handlers.edges += more;
        let (limit, found) = (MAX_EDGES as u64, self.handlers.edges as u64);
        if found > limit {
            let what = "clauses around the calls of a function, and what they catch";
            return Err(CompileError::Limit { what, limit, found });
        }
        Ok(())
    }

    fn try_table(&mut self, table: &TryTable) -> Result<()> {
        let clause = |catch: &Catch| {
            let (tag, label, wants_ref) = match *catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            Clause { tag, label, wants_ref, landing: None }
        };
        let mut clauses: Vec<Clause> = table.catches.iter().map(clause).collect();
        if self.mutated(Mutation::ClausesReversed) {
            clauses.reverse();
        }
        self.begin(table.ty, Some(self.handlers.open.len()))?;
        self.handlers.open.push(Handler { clauses });
        Ok(())
    }

    /// The end of a `try_table`, whose frame is gone already: so many handlers were there outside of it. Fills
    /// the landings, for which nothing but what leads there is missing; the block at hand is filled.
    pub(super) fn end_try(&mut self, outer: usize) -> Result<()> {
        while self.handlers.open.len() > outer {
            let Some(handler) = self.handlers.open.pop() else { return Ok(()) };
            for clause in &handler.clauses {
                if let Some(block) = clause.landing {
                    self.land(clause, block)?;
                }
            }
        }
        Ok(())
    }

    /// Fills the landing of a clause.
    fn land(&mut self, clause: &Clause, block: Block) -> Result<()> {
        self.b.seal_block(block);
        self.b.switch_to_block(block);
        let Some(&payload) = self.b.block_params(block).first() else {
            return invalid("a landing without an exception");
        };
        if !self.mutated(Mutation::LandingFuelStale) {
            self.reload_fuel();
        }
        let exception = self.b.ins().ireduce(types::I32, payload);
        self.note(exception, Kind::Ref);
        let mut values = Vec::new();
        if let Some(tag) = clause.tag {
            let (kinds, layout) = self.exception(tag)?;
            self.count_edges(kinds.len())?;
            for (&kind, &field) in kinds.iter().zip(&layout.fields) {
                let object = self.object(exception);
                values.push(self.load_field(object, field.offset, field.kind, kind, false)?);
            }
        }
        if self.mutated(Mutation::ExceptionFieldsReversed)
            && values.iter().all(|&value| self.b.func.dfg.value_type(value) == types::I32)
        {
            values.reverse();
        }
        if clause.wants_ref {
            values.push(exception);
        }
        if self.is_return(clause.label) {
            self.leave();
            self.b.ins().return_(&values);
            return Ok(());
        }
        let (target, count) = self.label(clause.label)?;
        if count != values.len() {
            return invalid("a clause that does not fit its label");
        }
        let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
        self.b.ins().jump(target, &args);
        Ok(())
    }

    /// The kinds of a tag's parameters, and how its exceptions look.
    fn exception(&self, tag: u32) -> Result<(Vec<Kind>, StructLayout)> {
        let Some(&id) = self.env.info.tags.get(tag as usize) else {
            return invalid("an unknown tag");
        };
        let Some(ty) = self.env.types.func_type(id) else { return invalid("a tag's type") };
        let layout = StructLayout::of_exception(self.env.types, &ty.params);
        Ok((FuncKinds::of(&self.env, id)?.params, layout))
    }

    fn throw(&mut self, tag: u32) -> Result<()> {
        let (kinds, layout) = self.exception(tag)?;
        let values = self.pop_many(kinds.len())?;
        let tag = self.number(u64::from(tag));
        let bytes = self.number(u64::from(layout.size));
        let exception = self.builtin_ref(Builtin::ExnNew, &[tag, bytes])?;
        for (value, &field) in values.into_iter().zip(&layout.fields) {
            let value = self.as_stored(value, field.kind)?;
            let object = self.object(exception);
            self.store_field(object, field.offset, field.kind, value);
        }
        self.throw_exception(exception)
    }

    /// Leaves with an exception, which is not null.
    fn throw_exception(&mut self, exception: Value) -> Result<()> {
        let address = self.builtin_address(Builtin::Throw);
        let throw = Builtin::Throw;
        let signature = self.builtin_signature(throw.params(), throw.returns(), CallConv::Tail);
        let exception = self.zero_extend(exception);
        self.emit_call(signature, CallTarget::Indirect(address), &[self.vmctx, exception])?;
        // It does not come back.
        self.trap(TrapCode::Internal);
        Ok(())
    }
}
