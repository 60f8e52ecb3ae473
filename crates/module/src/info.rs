//! What a module is made of, after decoding: plain data that engines and the runtime read.
//!
//! Types are canonical: `types[i]` is the [`TypeId`] that the engine's registry gave to type
//! index `i`. All other indices are those of the module's own index spaces, imports first.

use std::ops::Range;

use palisade_core::{GlobalType, MemoryType, RefType, TableType, TypeId};

use crate::bytes::ModuleBytes;
use crate::const_expr::ConstExpr;
use crate::debug::Source;
use crate::hints::BranchHints;
use crate::names::Names;
use crate::types::RegisteredTypes;

macro_rules! indices {
    ($( $(#[$doc:meta])* $name:ident; )*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The index as a position in a slice.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

indices! {
    /// An index into a module's functions, imported ones first.
    FuncIdx;
    /// An index into a module's tables, imported ones first.
    TableIdx;
    /// An index into a module's memories, imported ones first.
    MemoryIdx;
    /// An index into a module's globals, imported ones first.
    GlobalIdx;
    /// An index into a module's tags, imported ones first.
    TagIdx;
    /// An index into a module's element segments.
    ElemIdx;
    /// An index into a module's data segments.
    DataIdx;
}

/// A validated module, described.
#[derive(Debug)]
pub struct ModuleInfo {
    /// The binary module. All ranges below are offsets into it.
    pub bytes: ModuleBytes,
    /// The canonical type of each type index.
    pub types: Vec<TypeId>,
    /// Keeps the types of this module alive in the registry.
    pub registered: RegisteredTypes,
    /// Imports, in order.
    pub imports: Vec<Import>,
    /// Exports, in order. Names are unique.
    pub exports: Vec<Export>,
    /// The type of each function, imported ones first.
    pub funcs: Vec<TypeId>,
    /// How many of `funcs` are imported.
    pub imported_funcs: u32,
    /// The bodies of the functions that are not imported, in order.
    pub bodies: Vec<FuncBody>,
    /// Tables, imported ones first.
    pub tables: Vec<Table>,
    /// How many of `tables` are imported.
    pub imported_tables: u32,
    /// Memories, imported ones first.
    pub memories: Vec<MemoryType>,
    /// How many of `memories` are imported.
    pub imported_memories: u32,
    /// Globals, imported ones first.
    pub globals: Vec<Global>,
    /// How many of `globals` are imported.
    pub imported_globals: u32,
    /// The (function) type of each tag, imported ones first.
    pub tags: Vec<TypeId>,
    /// How many of `tags` are imported.
    pub imported_tags: u32,
    /// The start function.
    pub start: Option<FuncIdx>,
    /// Element segments.
    pub elements: Vec<ElementSegment>,
    /// Data segments.
    pub data: Vec<DataSegment>,
    /// For each function whether `ref.func`, an element segment, a global or an export mentions it.
    pub escaping: Vec<bool>,
    /// Custom sections: name and where the payload stands; the first 100,000 of them.
    pub custom_sections: Vec<(Box<str>, Range<usize>)>,
    /// The name section, decoded on first use.
    pub names: Names,
    /// Branch hints, decoded on first use.
    pub branch_hints: BranchHints,
    /// Debug information, read on first use.
    pub source: Source,
}

/// An import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The first of its two names.
    pub module: Box<str>,
    /// The second of its two names.
    pub name: Box<str>,
    /// What has to be given.
    pub ty: ExternType,
}

/// The type of something that can be imported or exported.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ExternType {
    /// A function of this canonical type.
    Func(TypeId),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// A tag of this canonical function type.
    Tag(TypeId),
}

/// An export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub index: ExportIdx,
}

/// What an export names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ExportIdx {
    /// A function.
    Func(FuncIdx),
    /// A table.
    Table(TableIdx),
    /// A memory.
    Memory(MemoryIdx),
    /// A global.
    Global(GlobalIdx),
    /// A tag.
    Tag(TagIdx),
}

/// Where the body of a function stands: local declarations and code, without the size before it.
#[derive(Clone, Debug)]
pub struct FuncBody {
    /// Offsets into the module's bytes.
    pub range: Range<usize>,
}

/// A table, its type and what its elements are at first.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its type.
    pub ty: TableType,
    /// The initial value of every element; null where there is none.
    pub init: Option<ConstExpr>,
}

/// A global; `init` is absent for imported ones.
#[derive(Clone, Debug)]
pub struct Global {
    /// Its type.
    pub ty: GlobalType,
    /// Its initial value.
    pub init: Option<ConstExpr>,
}

/// An element segment.
#[derive(Clone, Debug)]
pub struct ElementSegment {
    /// The type of its elements.
    pub ty: RefType,
    /// Its elements.
    pub items: ElementItems,
    /// What happens to it at instantiation.
    pub mode: SegmentMode<TableIdx>,
}

/// The elements of an element segment.
#[derive(Clone, Debug)]
pub enum ElementItems {
    /// References to functions.
    Funcs(Box<[FuncIdx]>),
    /// Constant expressions.
    Exprs(Box<[ConstExpr]>),
}

impl ElementItems {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Funcs(f) => f.len(),
            Self::Exprs(e) => e.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data segment.
#[derive(Clone, Debug)]
pub struct DataSegment {
    /// Where its bytes stand in the module's bytes.
    pub range: Range<usize>,
    /// What happens to it at instantiation.
    pub mode: SegmentMode<MemoryIdx>,
}

/// What happens to a segment at instantiation.
#[derive(Clone, Debug)]
pub enum SegmentMode<I> {
    /// It is kept for `table.init` or `memory.init`.
    Passive,
    /// It is copied to this table or memory at this offset, then dropped.
    Active {
        /// The table or memory.
        target: I,
        /// The offset.
        offset: ConstExpr,
    },
    /// It only declares functions for `ref.func`, and is dropped.
    Declared,
}
