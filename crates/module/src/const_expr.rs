//! Constant expressions as data: decoded once, evaluated at instantiation by the runtime.

use palisade_core::{HeapType, TypeId};

use crate::info::{FuncIdx, GlobalIdx};

/// A constant expression: the operators in order, without the final `end`. Evaluation is that of
/// a stack machine and leaves exactly one value.
#[derive(Clone, PartialEq, Debug)]
pub struct ConstExpr {
    /// The operators.
    pub ops: Box<[ConstOp]>,
}

/// An operator that may stand in a constant expression (specification: constant expressions).
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum ConstOp {
    /// `i32.const`
    I32(i32),
    /// `i64.const`
    I64(i64),
    /// `f32.const`, its bits
    F32(u32),
    /// `f64.const`, its bits
    F64(u64),
    /// `v128.const`
    V128(u128),
    /// `global.get`
    GlobalGet(GlobalIdx),
    /// `ref.null`
    RefNull(HeapType),
    /// `ref.func`
    RefFunc(FuncIdx),
    /// `ref.i31`
    RefI31,
    /// `i32.add`
    I32Add,
    /// `i32.sub`
    I32Sub,
    /// `i32.mul`
    I32Mul,
    /// `i64.add`
    I64Add,
    /// `i64.sub`
    I64Sub,
    /// `i64.mul`
    I64Mul,
    /// `struct.new`
    StructNew(TypeId),
    /// `struct.new_default`
    StructNewDefault(TypeId),
    /// `array.new`
    ArrayNew(TypeId),
    /// `array.new_default`
    ArrayNewDefault(TypeId),
    /// `array.new_fixed` with its length
    ArrayNewFixed(TypeId, u32),
    /// `extern.convert_any`
    ExternConvertAny,
    /// `any.convert_extern`
    AnyConvertExtern,
}
