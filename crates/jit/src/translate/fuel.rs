//! Fuel and call depth: what is charged where.
//!
//! Both stand in the store's context. What is left of the fuel is also kept in a variable, so that a charge is
//! a subtraction and a store and no load; the store happens at every charge, so that whoever looks at the
//! context (a built-in, a host function, a signal handler, the embedder after a trap) sees what the
//! interpreter would show. Whatever may charge elsewhere is followed by [`Translator::reload_fuel`].

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use palisade_core::TrapCode;
use palisade_module::fuel::{BlockCosts, ends_block};
use palisade_module::wasmparser::{FunctionBody, Operator};
use palisade_vm::layout::VmStoreCtx;

use super::{Result, Translator, invalid};
use crate::mutation::Mutation;

/// What there is to know of a body before it is translated.
pub(super) struct Costs {
    /// What each basic block costs, in order.
    pub(super) costs: Vec<u64>,
    /// Whether it calls anything.
    pub(super) calls: bool,
    /// The offsets of the loops in which something is called, in order.
    pub(super) calling_loops: Vec<u32>,
}

/// Reads a body once: how many locals it declares, what its blocks cost, whether it calls.
pub(super) fn costs(body: &FunctionBody<'_>) -> Result<(u64, Costs)> {
    let mut declared = 0;
    for group in body.get_locals_reader()? {
        declared += u64::from(group?.0);
    }
    let mut blocks = BlockCosts::new(declared);
    let mut found = Costs { costs: Vec::new(), calls: false, calling_loops: Vec::new() };
    // The constructs around the operator: where each begins, if it is a loop, and whether something is called in it.
    let mut open: Vec<(Option<u32>, bool)> = Vec::new();
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        match op {
            Operator::Loop { .. } => open.push((Some(offset as u32), false)),
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push((None, false));
            }
            Operator::End => {
                if let Some((start, true)) = open.pop() {
                    found.calling_loops.extend(start);
                    open.iter_mut().last().into_iter().for_each(|outer| outer.1 = true);
                }
            }
            _ if calls(&op) => {
                found.calls = true;
                open.iter_mut().last().into_iter().for_each(|inner| inner.1 = true);
            }
            _ => {}
        }
        found.costs.extend(blocks.next(&op));
        debug_assert!(!ends_block(&op) || blocks.so_far() == 0);
    }
    found.calling_loops.sort_unstable();
    Ok((declared, found))
}

/// Whether an operator calls a function: whether recursion can go through it.
pub(super) fn calls(op: &Operator<'_>) -> bool {
    matches!(
        op,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
    )
}

impl Translator<'_, '_> {
    /// What happens when a function is entered: the poll, the count of calls.
    pub(super) fn enter(&mut self, calls: bool) -> Result<()> {
        if calls && !self.mutated(Mutation::EntryPollDropped) {
            self.poll(false);
        }
        if self.env.options.depth {
            let left = self.change_depth(-1);
            let over = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
            if !self.mutated(Mutation::DepthUncounted) {
                self.trap_if(over, TrapCode::CallDepthExceeded);
            }
        }
        if self.env.options.fuel {
            self.fuel = Some(self.b.declare_var(types::I64));
            self.reload_fuel();
        }
        Ok(())
    }

    /// What happens when a function is left.
    pub(super) fn leave(&mut self) {
        if self.env.options.depth && !self.mutated(Mutation::ReturnUncounted) {
            self.change_depth(1);
        }
    }

    fn change_depth(&mut self, by: i64) -> cranelift_codegen::ir::Value {
        let store = self.store_ctx();
        let offset = std::mem::offset_of!(VmStoreCtx, depth_left);
        let left = self.field(types::I64, store, offset);
        let left = self.b.ins().iadd_imm_s(left, by);
        self.set_field(store, offset, left);
        left
    }

    /// Charges for the basic block that begins here.
    pub(super) fn charge(&mut self) -> Result<()> {
        if !self.env.options.fuel {
            return Ok(());
        }
        let Some(cost) = self.costs.next() else {
            return if self.frames.is_empty() { Ok(()) } else { invalid("a block without a cost") };
        };
        let free = self.mutated(Mutation::BlockFree) && self.costs.len() % 3 == 2;
        if self.reachable && cost > 0 && !free {
            self.charge_units(cost);
        }
        Ok(())
    }

    /// Charges for a known amount of work.
    pub(crate) fn charge_units(&mut self, units: u64) {
        if self.fuel.is_some() {
            let units = self.number(units);
            self.charge_value(units);
        }
    }

    /// Charges for an amount of work that is below 2^63.
    pub(crate) fn charge_value(&mut self, units: Value) {
        if let Some(fuel) = self.fuel {
            let left = self.b.use_var(fuel);
            let left = self.b.ins().isub(left, units);
            self.b.def_var(fuel, left);
            let store = self.store_ctx();
            self.set_field(store, std::mem::offset_of!(VmStoreCtx, fuel), left);
            let over = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
            self.trap_if(over, TrapCode::OutOfFuel);
        }
    }

    /// Finds out what others left of the fuel.
    pub(crate) fn reload_fuel(&mut self) {
        if let Some(fuel) = self.fuel {
            let store = self.store_ctx();
            let left = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, fuel));
            self.b.def_var(fuel, left);
        }
    }
}
