//! Value types, reference types and the types of the things that modules import and export.
//!
//! Concrete heap types are named by a [`TypeId`], which a type registry (one for each engine)
//! assigns after canonicalisation: two types are equal exactly when their ids are equal. Ids of
//! different engines must never meet; the embedding layer checks that.

use std::fmt;

/// A canonical type, as assigned by the type registry of one engine.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct TypeId(pub u32);

/// The type of a value (specification: value types).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit IEEE 754 number.
    F32,
    /// 64-bit IEEE 754 number.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference.
    Ref(RefType),
}

/// How an engine keeps a value of a type.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum ValClass {
    /// One 8-byte cell of the value part of a frame: numbers and function references.
    Cell,
    /// Two consecutive cells of the value part: vectors.
    Wide,
    /// One 4-byte cell of the reference part: references of the `any`, `extern` and `exn`
    /// families, which the collector must find.
    Ref,
}

impl ValType {
    /// The nullable `funcref`.
    pub const FUNCREF: Self = Self::Ref(RefType::FUNCREF);
    /// The nullable `externref`.
    pub const EXTERNREF: Self = Self::Ref(RefType::EXTERNREF);

    /// How an engine keeps a value of this type.
    ///
    /// A concrete heap type needs to know whether it names a function type, so the caller passes
    /// a function that answers that.
    pub fn class(self, is_func: impl FnOnce(TypeId) -> bool) -> ValClass {
        match self {
            Self::I32 | Self::I64 | Self::F32 | Self::F64 => ValClass::Cell,
            Self::V128 => ValClass::Wide,
            Self::Ref(r) => match r.heap {
                HeapType::Func | HeapType::NoFunc => ValClass::Cell,
                HeapType::Concrete(id) if is_func(id) => ValClass::Cell,
                _ => ValClass::Ref,
            },
        }
    }

    /// Whether this is a reference type.
    pub fn is_ref(self) -> bool {
        matches!(self, Self::Ref(_))
    }

    /// Whether a local of this type starts with a value (everything but non-nullable references).
    pub fn is_defaultable(self) -> bool {
        !matches!(self, Self::Ref(RefType { nullable: false, .. }))
    }
}

/// A reference type (specification: reference types).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct RefType {
    /// Whether null is among its values.
    pub nullable: bool,
    /// What it refers to.
    pub heap: HeapType,
}

impl RefType {
    /// `(ref null func)`.
    pub const FUNCREF: Self = Self { nullable: true, heap: HeapType::Func };
    /// `(ref null extern)`.
    pub const EXTERNREF: Self = Self { nullable: true, heap: HeapType::Extern };
}

/// A heap type (specification: heap types).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum HeapType {
    /// Every function.
    Func,
    /// No function: the bottom of the function family.
    NoFunc,
    /// Every host value.
    Extern,
    /// The bottom of the `extern` family.
    NoExtern,
    /// Every internal value.
    Any,
    /// Values that can be compared by `ref.eq`.
    Eq,
    /// 31-bit integers.
    I31,
    /// Every struct.
    Struct,
    /// Every array.
    Array,
    /// The bottom of the `any` family.
    None,
    /// Every exception.
    Exn,
    /// The bottom of the `exn` family.
    NoExn,
    /// A defined type.
    Concrete(TypeId),
}

/// A function type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FuncType {
    /// Parameter types, in order.
    pub params: Box<[ValType]>,
    /// Result types, in order.
    pub results: Box<[ValType]>,
}

impl FuncType {
    /// Makes a function type of parameter and result types.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Self {
        Self { params: params.into_iter().collect(), results: results.into_iter().collect() }
    }
}

/// The type of a global.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct GlobalType {
    /// What it holds.
    pub content: ValType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// The type of a table.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TableType {
    /// What it holds.
    pub element: RefType,
    /// Whether it is indexed by 64-bit numbers.
    pub table64: bool,
    /// Elements at start.
    pub minimum: u64,
    /// The most elements that it may have.
    pub maximum: Option<u64>,
}

/// The type of a linear memory.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemoryType {
    /// Whether it is addressed by 64-bit numbers.
    pub memory64: bool,
    /// Whether threads may share it.
    pub shared: bool,
    /// Pages at start.
    pub minimum: u64,
    /// The most pages that it may have.
    pub maximum: Option<u64>,
    /// The logarithm of the page size: 16 unless the custom-page-sizes proposal says 0.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// Bytes in a page.
    pub fn page_size(&self) -> u64 {
        1 << self.page_size_log2
    }

    /// The most pages that the index type allows, whatever the module says: all addresses of a
    /// 32-bit memory; for 64-bit memories, what fits 2^48 bytes.
    pub fn absolute_max_pages(&self) -> u64 {
        let bits = if self.memory64 { 48 } else { 32 };
        1 << (bits - u32::from(self.page_size_log2))
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::V128 => f.write_str("v128"),
            Self::Ref(r) => r.fmt(f),
        }
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nullable && !matches!(self.heap, HeapType::Concrete(_)) {
            return f.write_str(match self.heap {
                HeapType::NoFunc => "nullfuncref",
                HeapType::NoExtern => "nullexternref",
                HeapType::None => "nullref",
                HeapType::NoExn => "nullexnref",
                heap => return write!(f, "{heap}ref"),
            });
        }
        write!(f, "(ref {}{})", if self.nullable { "null " } else { "" }, self.heap)
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Func => "func",
            Self::NoFunc => "nofunc",
            Self::Extern => "extern",
            Self::NoExtern => "noextern",
            Self::Any => "any",
            Self::Eq => "eq",
            Self::I31 => "i31",
            Self::Struct => "struct",
            Self::Array => "array",
            Self::None => "none",
            Self::Exn => "exn",
            Self::NoExn => "noexn",
            Self::Concrete(id) => return write!(f, "type {}", id.0),
        })
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("[")?;
            for (i, ty) in types.iter().enumerate() {
                write!(f, "{}{ty}", if i > 0 { " " } else { "" })?;
            }
            f.write_str("]")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}
