//! The operations, by family. Each is a type that implements [`crate::state::Op`].

pub(crate) mod arith;
pub(crate) mod atomic;
pub(crate) mod call;
pub(crate) mod cast;
pub(crate) mod control;
pub(crate) mod exceptions;
pub(crate) mod fields;
pub(crate) mod gc;
pub(crate) mod memory;
pub(crate) mod native;
pub(crate) mod refs;
pub(crate) mod simd;
pub(crate) mod slow;
pub(crate) mod stub;
