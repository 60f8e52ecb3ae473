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

/// Parameters and declared locals. Every one that is live costs a parameter at each loop and each join, so that
/// the product of both is what counts; real functions with more than a few thousand exist, in which few are live.
pub const LOCALS: u64 = 20_000;

/// Values of the intermediate form. Looked at while a function is translated, too: joins make values that no
/// operator stands for. The register allocator has an own limit of two millions, its lists grow before.
pub const VALUES: u64 = 1_500_000;

/// Basic blocks. The analyses of dominance and of liveness walk them repeatedly.
pub const BLOCKS: u64 = 250_000;

/// Instructions of the intermediate form.
pub const INSTRUCTIONS: u64 = 1_000_000;

/// Loops, and one for the entry: each has its own word of the poll region, since two polls of one address would be
/// one to the optimiser.
pub const LOOPS: u64 = palisade_vm::native::POLL_BYTES as u64 / 4;

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
    check("instructions", INSTRUCTIONS, func.dfg.num_insts() as u64)
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
