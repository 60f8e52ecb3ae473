//! The vocabulary that every other crate of Palisade shares: value types, the meaning of numeric
//! operators as pure functions, trap codes, decoder limits and fuel costs.
//!
//! Nothing in here knows how a module is decoded or run. There is no `unsafe` code, no I/O and no
//! state, so that each function can be tested by itself and used by every engine alike.
#![forbid(unsafe_code)]

pub mod fuel;
pub mod limits;
pub mod num;
pub mod simd;
pub mod trap;
pub mod types;

pub use limits::{LimitKind, Limits};
pub use trap::TrapCode;
pub use types::{
    FuncType, GlobalType, HeapType, MemoryType, RefType, TableType, TypeId, ValClass, ValType,
};
