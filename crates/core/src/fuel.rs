//! What each thing costs in fuel. The same numbers hold in every engine.
//!
//! Operators cost 1, structure (`block`, `loop`, `else`, `end`, `nop`, `drop`) nothing; entering a
//! function costs 1 and 1 for each 8 locals. Bulk work is charged before it starts.

/// Entering a function that declares `locals` locals beside its parameters.
pub const fn function_entry(locals: u64) -> u64 {
    1 + locals / 8
}

/// What a bulk operation on `bytes` bytes costs beside its operator, and what making an object of so many bytes
/// does. Collections are not charged for.
pub const fn bytes(bytes: u64) -> u64 {
    bytes.div_ceil(64)
}

/// What an object of so many bytes costs that a constant expression makes: instantiation pays for what is not in
/// proportion to the module.
pub const fn constant(bytes: u64) -> u64 {
    bytes / 64
}

/// What a bulk operation on `elements` table elements costs beside its operator.
pub const fn elements(elements: u64) -> u64 {
    elements.div_ceil(8)
}

/// What growing a memory by `pages` pages costs beside its operator.
pub const fn pages(pages: u64) -> u64 {
    pages
}

/// What any call of a WASI function costs.
pub const WASI_CALL: u64 = 50;

/// What waiting on a memory, or notifying those that wait, costs beside its operator.
pub const WAIT: u64 = 50;
