//! How much of a function is compiled at most. What is beyond stays interpreted.
//!
//! Each limit keeps the time and the memory of the code generator in proportion to what a hostile module may
//! make it do; none is near what compilers of real languages produce. All stand here, so that what a
//! compilation can cost is read in one place.

use cranelift_codegen::ir::Function;

use crate::error::CompileError;

/// The bytes of a body. The code generator takes up to a kilobyte for each, and its passes are a little more than
/// linear; generated interpreters and parsers of real programs have bodies of up to half of this.
pub const BODY_BYTES: u64 = 1 << 20;

/// Parameters and declared locals. The allocator of registers takes time with the square of how many values live
/// at once: a few seconds for all of these.
pub const LOCALS: u64 = 10_000;

/// The height of the operand stack, for the same reason. Compilers of languages stay below a hundred.
pub const OPERANDS: u64 = 5_000;

/// Values of the intermediate form. Looked at while a function is translated, too: joins make values that no
/// operator stands for.
pub const VALUES: u64 = 600_000;

/// Parameters of blocks, as joins make them: time goes with their square, and 40,000 take seconds. The largest
/// functions of real programs have a tenth of it.
pub const BLOCK_PARAMS: u64 = 40_000;

/// Basic blocks. Time goes with their square, and 60,000 take five seconds; the largest functions of real programs
/// have a few thousand.
pub const BLOCKS: u64 = 50_000;

/// Instructions of the intermediate form.
pub const INSTRUCTIONS: u64 = 500_000;

/// Entries of the lists of arguments, of branches above all: a branch of two bytes may have a thousand. Four bytes
/// each.
pub const ARGUMENTS: u64 = 1 << 22;

/// Loops, and one for the entry: each has its own word of the poll region, since two polls of one address would be
/// one to the optimiser.
pub const LOOPS: u64 = palisade_vm::native::POLL_BYTES as u64 / 4;

/// References that frames hold across calls, summed over the calls: what the tables for the collector are made of, which
/// grow with the product of the two. A dozen bytes each, in several copies.
pub const ROOTS: u64 = 2_000_000;

/// What compiling a body may take at its peak, at most, in bytes: what is charged for it before it begins.
pub fn memory(body_bytes: u64) -> u64 {
    (1 << 20) + body_bytes.saturating_mul(1 << 10)
}

/// The machine code of one function: far above what the instructions allowed take.
pub const CODE_BYTES: u64 = 32 << 20;

/// The machine code of a batch: so that calls inside it reach, and that offsets fit 32 bits with room.
pub const BATCH_BYTES: u64 = 1 << 30;

/// The stubs of an engine, which stay as long as it does: so that one who registers signatures without end is
/// told no, and does not use up the room for code.
pub const STUB_BYTES: u64 = 256 << 20;

/// Says no where there is too much of something.
pub(crate) fn check(what: &'static str, limit: u64, found: u64) -> Result<(), CompileError> {
    if found <= limit { Ok(()) } else { Err(CompileError::Limit { what, limit, found }) }
}

/// Whether the intermediate form, as far as it was made, is within limits.
pub(crate) fn intermediate(func: &Function) -> Result<(), CompileError> {
    check("values", VALUES, func.dfg.num_values() as u64)?;
    check("basic blocks", BLOCKS, func.dfg.num_blocks() as u64)?;
    check("instructions", INSTRUCTIONS, func.dfg.num_insts() as u64)?;
    check("arguments", ARGUMENTS, func.dfg.value_lists.capacity() as u64)
}

/// The same for all of it, with what is too slow to be counted again and again.
pub(crate) fn translated(func: &Function) -> Result<(), CompileError> {
    intermediate(func)?;
    let params = func.layout.blocks().map(|block| func.dfg.num_block_params(block) as u64);
    check("parameters of blocks", BLOCK_PARAMS, params.sum())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::CompileError;

    #[test]
    fn a_limit_is_reached_and_not_passed() {
        assert_eq!(check("things", 7, 7), Ok(()));
        let error = check("things", 7, 8);
        assert_eq!(error, Err(CompileError::Limit { what: "things", limit: 7, found: 8 }));
    }
}
