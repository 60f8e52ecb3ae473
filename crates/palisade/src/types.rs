//! Types as the embedder sees them: [`ValType`], [`FuncType`], [`MemoryType`], ….
//!
//! They differ from the ones inside in one thing: a type that a module defines is a
//! [`DefinedType`], which knows its engine. Numbers of types of different engines therefore never
//! meet; [`ValType::to_core`] and its like are the only doors, and they check.

use std::fmt;

use palisade_core as core;
use palisade_core::TypeId;
use palisade_module as module;

use crate::defined_type::DefinedType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::func_type::FuncType;

/// Types are shown to programmers as they are to everybody.
macro_rules! debug_is_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

pub(crate) use debug_is_display;

debug_is_display!(ValType, RefType, HeapType, GlobalType, TableType, MemoryType, TagType);

/// The type of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
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

/// The type of a reference.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RefType {
    nullable: bool,
    heap: HeapType,
}

/// What a reference refers to.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    /// Every structure.
    Struct,
    /// Every array.
    Array,
    /// The bottom of the `any` family.
    None,
    /// Every exception.
    Exn,
    /// The bottom of the `exn` family.
    NoExn,
    /// A type that a module defines.
    Concrete(DefinedType),
}

impl ValType {
    /// `(ref null func)`.
    pub const FUNCREF: Self = Self::Ref(RefType::FUNCREF);
    /// `(ref null extern)`.
    pub const EXTERNREF: Self = Self::Ref(RefType::EXTERNREF);
    /// `(ref null any)`.
    pub const ANYREF: Self = Self::Ref(RefType::ANYREF);

    /// Whether this is one of the four number types.
    pub fn is_num(&self) -> bool {
        matches!(self, Self::I32 | Self::I64 | Self::F32 | Self::F64)
    }

    /// Whether this is a reference type.
    pub fn is_ref(&self) -> bool {
        matches!(self, Self::Ref(_))
    }

    /// The reference type that it is, if it is one.
    pub fn as_ref(&self) -> Option<&RefType> {
        match self {
            Self::Ref(ty) => Some(ty),
            _ => None,
        }
    }

    /// Whether every value of this type is a value of the other. Types of different engines never
    /// match.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ref(a), Self::Ref(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::ValType> {
        Ok(match self {
            Self::I32 => core::ValType::I32,
            Self::I64 => core::ValType::I64,
            Self::F32 => core::ValType::F32,
            Self::F64 => core::ValType::F64,
            Self::V128 => core::ValType::V128,
            Self::Ref(ty) => core::ValType::Ref(ty.to_core(engine)?),
        })
    }

    pub(crate) fn from_core(engine: &Engine, ty: core::ValType) -> Self {
        match ty {
            core::ValType::I32 => Self::I32,
            core::ValType::I64 => Self::I64,
            core::ValType::F32 => Self::F32,
            core::ValType::F64 => Self::F64,
            core::ValType::V128 => Self::V128,
            core::ValType::Ref(ty) => Self::Ref(RefType::from_core(engine, ty)),
        }
    }
}

impl RefType {
    /// `(ref null func)`.
    pub const FUNCREF: Self = Self { nullable: true, heap: HeapType::Func };
    /// `(ref null extern)`.
    pub const EXTERNREF: Self = Self { nullable: true, heap: HeapType::Extern };
    /// `(ref null any)`.
    pub const ANYREF: Self = Self { nullable: true, heap: HeapType::Any };

    /// Makes a reference type.
    pub fn new(nullable: bool, heap: HeapType) -> Self {
        Self { nullable, heap }
    }

    /// Whether null is among its values.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What it refers to.
    pub fn heap_type(&self) -> &HeapType {
        &self.heap
    }

    /// Whether every value of this type is a value of the other.
    pub fn matches(&self, other: &Self) -> bool {
        if self.nullable && !other.nullable {
            return false;
        }
        self.heap.matches(&other.heap)
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::RefType> {
        Ok(core::RefType { nullable: self.nullable, heap: self.heap.to_core(engine)? })
    }

    pub(crate) fn from_core(engine: &Engine, ty: core::RefType) -> Self {
        Self { nullable: ty.nullable, heap: HeapType::from_core(engine, ty.heap) }
    }
}

macro_rules! plain_heap_types {
    ($($name:ident),*) => {
        fn heap_to_core(ty: &HeapType) -> Option<core::HeapType> {
            match ty {
                $(HeapType::$name => Some(core::HeapType::$name),)*
                HeapType::Concrete(_) => None,
            }
        }

        fn heap_from_core(ty: core::HeapType) -> std::result::Result<HeapType, TypeId> {
            match ty {
                $(core::HeapType::$name => Ok(HeapType::$name),)*
                core::HeapType::Concrete(id) => Err(id),
            }
        }
    };
}

plain_heap_types!(Func, NoFunc, Extern, NoExtern, Any, Eq, I31, Struct, Array, None, Exn, NoExn);

impl HeapType {
    /// Whether this is the other type or one of its subtypes.
    pub fn matches(&self, other: &Self) -> bool {
        let engine = match (self, other) {
            (Self::Concrete(a), Self::Concrete(b)) => return a.is_subtype_of(b),
            (Self::Concrete(a), _) => a.engine(),
            (_, Self::Concrete(b)) => b.engine(),
            (a, b) if a == b => return true,
            (a, b) => return plain_heap_matches(a, b),
        };
        match (self.to_core(engine), other.to_core(engine)) {
            (Ok(a), Ok(b)) => engine.types().is_heap_subtype(a, b),
            _ => false,
        }
    }

    /// The type that a module or the host defined, if it is one.
    pub fn as_concrete(&self) -> Option<&DefinedType> {
        match self {
            Self::Concrete(ty) => Some(ty),
            _ => None,
        }
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::HeapType> {
        match (heap_to_core(self), self) {
            (Some(plain), _) => Ok(plain),
            (None, Self::Concrete(ty)) => Ok(core::HeapType::Concrete(ty.id_for(engine)?)),
            (None, _) => Err(Error::internal("a heap type without a form inside")),
        }
    }

    pub(crate) fn from_core(engine: &Engine, ty: core::HeapType) -> Self {
        match heap_from_core(ty) {
            Ok(plain) => plain,
            Err(id) => Self::Concrete(DefinedType::new(engine, id)),
        }
    }
}

/// Subtyping of heap types that no module defines (specification: matching heap types).
fn plain_heap_matches(a: &HeapType, b: &HeapType) -> bool {
    use HeapType::*;
    match (a, b) {
        (a, b) if a == b => true,
        (NoFunc, Func) | (NoExtern, Extern) | (NoExn, Exn) => true,
        (Eq | I31 | Struct | Array | None, Any) => true,
        (I31 | Struct | Array | None, Eq) => true,
        (None, I31 | Struct | Array) => true,
        _ => false,
    }
}

/// Whether a global can be set.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Mutability {
    /// It cannot.
    Const,
    /// It can.
    Var,
}

/// The type of a global.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GlobalType {
    content: ValType,
    mutability: Mutability,
}

impl GlobalType {
    /// Makes the type of a global.
    pub fn new(content: ValType, mutability: Mutability) -> Self {
        Self { content, mutability }
    }

    /// What it holds.
    pub fn content(&self) -> &ValType {
        &self.content
    }

    /// Whether it can be set.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::GlobalType> {
        Ok(core::GlobalType {
            content: self.content.to_core(engine)?,
            mutable: self.mutability == Mutability::Var,
        })
    }

    pub(crate) fn from_core(engine: &Engine, ty: core::GlobalType) -> Self {
        Self {
            content: ValType::from_core(engine, ty.content),
            mutability: if ty.mutable { Mutability::Var } else { Mutability::Const },
        }
    }
}

/// The type of a table.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TableType {
    element: RefType,
    table64: bool,
    minimum: u64,
    maximum: Option<u64>,
}

impl TableType {
    /// The type of a table that is indexed by 32-bit numbers.
    pub fn new(element: RefType, minimum: u32, maximum: Option<u32>) -> Self {
        Self { element, table64: false, minimum: minimum.into(), maximum: maximum.map(u64::from) }
    }

    /// The type of a table that is indexed by 64-bit numbers.
    pub fn new64(element: RefType, minimum: u64, maximum: Option<u64>) -> Self {
        Self { element, table64: true, minimum, maximum }
    }

    /// What it holds.
    pub fn element(&self) -> &RefType {
        &self.element
    }

    /// Whether it is indexed by 64-bit numbers.
    pub fn is_64(&self) -> bool {
        self.table64
    }

    /// Elements at start.
    pub fn minimum(&self) -> u64 {
        self.minimum
    }

    /// The most elements that it may have.
    pub fn maximum(&self) -> Option<u64> {
        self.maximum
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::TableType> {
        check_limits("table", self.minimum, self.maximum)?;
        Ok(core::TableType {
            element: self.element.to_core(engine)?,
            table64: self.table64,
            minimum: self.minimum,
            maximum: self.maximum,
        })
    }

    pub(crate) fn from_core(engine: &Engine, ty: core::TableType) -> Self {
        Self {
            element: RefType::from_core(engine, ty.element),
            table64: ty.table64,
            minimum: ty.minimum,
            maximum: ty.maximum,
        }
    }
}

/// The type of a linear memory. Sizes are in pages, of 64 KiB unless said otherwise.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MemoryType {
    ty: core::MemoryType,
}

impl MemoryType {
    /// The type of a memory that is addressed by 32-bit numbers.
    pub fn new(minimum: u32, maximum: Option<u32>) -> Self {
        Self::make(false, minimum.into(), maximum.map(u64::from))
    }

    /// The type of a memory that is addressed by 64-bit numbers.
    pub fn new64(minimum: u64, maximum: Option<u64>) -> Self {
        Self::make(true, minimum, maximum)
    }

    /// The type of a memory that threads may share.
    pub fn shared(minimum: u32, maximum: u32) -> Self {
        let mut this = Self::new(minimum, Some(maximum));
        this.ty.shared = true;
        this
    }

    fn make(memory64: bool, minimum: u64, maximum: Option<u64>) -> Self {
        Self {
            ty: core::MemoryType { memory64, shared: false, minimum, maximum, page_size_log2: 16 },
        }
    }

    /// Whether it is addressed by 64-bit numbers.
    pub fn is_64(&self) -> bool {
        self.ty.memory64
    }

    /// Whether threads may share it.
    pub fn is_shared(&self) -> bool {
        self.ty.shared
    }

    /// Pages at start.
    pub fn minimum(&self) -> u64 {
        self.ty.minimum
    }

    /// The most pages that it may have.
    pub fn maximum(&self) -> Option<u64> {
        self.ty.maximum
    }

    /// Bytes in a page.
    pub fn page_size(&self) -> u64 {
        self.ty.page_size()
    }

    pub(crate) fn to_core(&self) -> Result<core::MemoryType> {
        check_limits("memory", self.ty.minimum, self.ty.maximum)?;
        let most = self.ty.absolute_max_pages();
        if self.ty.minimum > most || self.ty.maximum.is_some_and(|max| max > most) {
            return Err(Error::type_mismatch(format!(
                "a memory of this kind has at most {most} pages; found {self}"
            )));
        }
        Ok(self.ty)
    }

    pub(crate) fn from_core(ty: core::MemoryType) -> Self {
        Self { ty }
    }
}

fn check_limits(what: &str, minimum: u64, maximum: Option<u64>) -> Result<()> {
    match maximum {
        Some(maximum) if minimum > maximum => Err(Error::type_mismatch(format!(
            "the minimum of a {what}, {minimum}, is above its maximum, {maximum}"
        ))),
        _ => Ok(()),
    }
}

/// The type of an exception's tag: a function type without results.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TagType {
    func: FuncType,
}

impl TagType {
    /// Makes the type of a tag. Its function type must have no results.
    pub fn new(func: FuncType) -> Self {
        Self { func }
    }

    /// The function type whose parameters an exception carries.
    pub fn func_type(&self) -> &FuncType {
        &self.func
    }
}

/// The type of anything that can be imported or exported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// A tag.
    Tag(TagType),
}

impl ExternType {
    pub(crate) fn from_core(engine: &Engine, ty: module::ExternType) -> Self {
        // A validated module names function types where they belong, so the default stands for
        // nothing that there is.
        let func = |id| FuncType::of_id(engine, id).unwrap_or_else(|_| FuncType::new([], []));
        match ty {
            module::ExternType::Func(id) => Self::Func(func(id)),
            module::ExternType::Table(ty) => Self::Table(TableType::from_core(engine, ty)),
            module::ExternType::Memory(ty) => Self::Memory(MemoryType::from_core(ty)),
            module::ExternType::Global(ty) => Self::Global(GlobalType::from_core(engine, ty)),
            module::ExternType::Tag(id) => Self::Tag(TagType::new(func(id))),
        }
    }

    /// The function type, if it is one.
    pub fn func(&self) -> Option<&FuncType> {
        match self {
            Self::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The memory type, if it is one.
    pub fn memory(&self) -> Option<&MemoryType> {
        match self {
            Self::Memory(ty) => Some(ty),
            _ => None,
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Ref(ty) => return ty.fmt(f),
        })
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match heap_to_core(&self.heap) {
            Some(heap) => core::RefType { nullable: self.nullable, heap }.fmt(f),
            None => write!(f, "(ref {}{})", if self.nullable { "null " } else { "" }, self.heap),
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (heap_to_core(self), self) {
            (Some(plain), _) => plain.fmt(f),
            (None, Self::Concrete(ty)) => ty.fmt(f),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for GlobalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutability {
            Mutability::Const => self.content.fmt(f),
            Mutability::Var => write!(f, "(mut {})", self.content),
        }
    }
}

fn sizes(f: &mut fmt::Formatter<'_>, is_64: bool, min: u64, max: Option<u64>) -> fmt::Result {
    write!(f, "{}{min}", if is_64 { "i64 " } else { "" })?;
    match max {
        Some(max) => write!(f, "..={max}"),
        None => f.write_str(".."),
    }
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sizes(f, self.table64, self.minimum, self.maximum)?;
        write!(f, " elements of {}", self.element)
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sizes(f, self.ty.memory64, self.ty.minimum, self.ty.maximum)?;
        f.write_str(" pages")?;
        if self.ty.page_size_log2 != 16 {
            write!(f, " of {} bytes", self.ty.page_size())?;
        }
        f.write_str(if self.ty.shared { ", shared" } else { "" })
    }
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "func {ty}"),
            Self::Table(ty) => write!(f, "table {ty}"),
            Self::Memory(ty) => write!(f, "memory {ty}"),
            Self::Global(ty) => write!(f, "global {ty}"),
            Self::Tag(ty) => write!(f, "tag {}", ty.func),
        }
    }
}

impl fmt::Display for TagType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.func.fmt(f)
    }
}
