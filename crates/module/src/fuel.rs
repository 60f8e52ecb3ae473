//! The fuel analysis that all engines share: what each operator costs, and where basic blocks end.
//!
//! A block is charged for as a whole when it is entered. The first begins at the function's entry
//! and holds [`palisade_core::fuel::function_entry`] too; each other one begins right after an operator for which
//! [`ends_block`] says so. An operator belongs to the block that it ends. Bulk work is not in here:
//! the built-in operations charge for it.

use palisade_core::fuel::function_entry;
use wasmparser::Operator;

/// What an operator costs by itself.
pub fn cost(op: &Operator<'_>) -> u64 {
    match op {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End
        | Operator::Nop
        | Operator::Drop => 0,
        _ => 1,
    }
}

/// Whether a basic block ends with this operator, so that another begins after it: branches,
/// calls, and everything that a branch may lead to the end of.
pub fn ends_block(op: &Operator<'_>) -> bool {
    matches!(
        op,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
    )
}

/// Adds up the costs of a function's blocks, operator by operator.
///
/// ```
/// # use palisade_module::{fuel::BlockCosts, wasmparser::Operator};
/// let mut costs = BlockCosts::new(16);
/// assert_eq!(costs.next(&Operator::I32Const { value: 1 }), None);
/// // The entry costs 3, the two operators 1 each.
/// assert_eq!(costs.next(&Operator::Call { function_index: 0 }), Some(5));
/// assert_eq!(costs.next(&Operator::End), Some(0));
/// ```
#[derive(Clone, Debug)]
pub struct BlockCosts {
    current: u64,
}

impl BlockCosts {
    /// Starts at the entry of a function that declares `locals` locals beside its parameters.
    pub fn new(locals: u64) -> Self {
        Self { current: function_entry(locals) }
    }

    /// Takes the next operator. If a block ends with it, gives what that block costs; the next
    /// operator is then the first of another.
    #[inline]
    pub fn next(&mut self, op: &Operator<'_>) -> Option<u64> {
        self.current += cost(op);
        ends_block(op).then(|| std::mem::take(&mut self.current))
    }

    /// What the block that is being read costs so far.
    pub fn so_far(&self) -> u64 {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::BlockType;

    #[test]
    fn structure_is_free_and_operators_cost_one() {
        let empty = BlockType::Empty;
        for op in [
            Operator::Block { blockty: empty },
            Operator::Loop { blockty: empty },
            Operator::Else,
            Operator::End,
            Operator::Nop,
            Operator::Drop,
        ] {
            assert_eq!(cost(&op), 0, "{op:?}");
        }
        for op in [Operator::If { blockty: empty }, Operator::I32Add, Operator::Return] {
            assert_eq!(cost(&op), 1, "{op:?}");
        }
    }

    #[test]
    fn a_loop_is_charged_at_each_turn() {
        // loop; local.get 0; br_if 0; nop; end; end
        let mut costs = BlockCosts::new(0);
        let mut take = |op| costs.next(&op);
        assert_eq!(take(Operator::Loop { blockty: BlockType::Empty }), Some(1));
        assert_eq!(take(Operator::LocalGet { local_index: 0 }), None);
        assert_eq!(take(Operator::BrIf { relative_depth: 0 }), Some(2));
        assert_eq!(take(Operator::Nop), None);
        assert_eq!(take(Operator::End), Some(0));
        assert_eq!(take(Operator::End), Some(0));
    }
}
