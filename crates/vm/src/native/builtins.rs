//! The functions that machine code calls instead of having the work inline.
//!
//! Each takes the context of the running instance and up to five 64-bit numbers, narrower ones
//! zero-extended, two indices in one number as `first | second << 32`, and gives one number or none. A
//! trap or an exception does not return.

use palisade_core::{HeapType, TypeId};

use crate::gc::RefTarget;

macro_rules! builtins {
    ($( $(#[$doc:meta])* $name:ident ( $($param:ident),* ) $(-> $result:ident)? ; )*) => {
        /// A function that machine code calls by its number.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "each is documented where it is declared")]
        pub enum Builtin { $( $(#[$doc])* $name, )* }

        impl Builtin {
            /// All of them, by number.
            pub const ALL: &'static [Builtin] = &[$(Builtin::$name,)*];

            /// How many numbers it takes beside the context.
            pub fn params(self) -> usize {
                match self { $( Builtin::$name => <[&str]>::len(&[$(stringify!($param)),*]), )* }
            }

            /// Whether it gives a number.
            pub fn returns(self) -> bool {
                match self { $( Builtin::$name => !<[&str]>::is_empty(&[$(stringify!($result))?]), )* }
            }
        }
    };
}

builtins! {
    /// By pages; the old size in pages, or -1.
    MemoryGrow(memory, delta) -> old;
    /// `memories` is the target, and the source in the upper half.
    MemoryCopy(memories, to, from, len);
    MemoryFill(memory, to, byte, len);
    /// The memory, and the data segment in the upper half.
    MemoryInit(memory_data, to, from, len);
    DataDrop(data);
    /// A reference to a function as its address, any other zero-extended.
    TableGrow(table, init, delta) -> old;
    TableFill(table, at, value, len);
    TableCopy(tables, to, from, len);
    /// The table, and the element segment in the upper half.
    TableInit(table_elem, to, from, len);
    ElemDrop(elem);
    RefFunc(func) -> func_ref;
    /// Whether the first canonical type is a subtype of the second.
    IsSubtype(sub, sup) -> yes;
    /// `memory.atomic.notify`.
    Notify(memory, index, offset, count) -> woken;
    /// `memory.atomic.wait32`.
    Wait32(memory, index, offset, expected, timeout) -> outcome;
    /// `memory.atomic.wait64`.
    Wait64(memory, index, offset, expected, timeout) -> outcome;
    /// A structure of a canonical type and of so many bytes, all zero but for the header.
    StructNew(type_id, bytes) -> object;
    /// An array of zeros. `kind` is a `FieldKind`.
    ArrayNew(type_id, kind, len) -> object;
    /// `kind` in the upper half of `type_id`; `from`, `len`.
    ArrayNewData(type_id_kind, data, from, len) -> object;
    ArrayNewElem(type_id_kind, elem, from, len) -> object;
    /// `kind` in the upper half of `array`; the data segment in the upper half of `to`.
    ArrayInitData(array_kind, to_data, from, len);
    ArrayInitElem(array_kind, to_elem, from, len);
    /// `kind` in the upper half of `array`; the value as it stands in one or two cells.
    ArrayFill(array_kind, to, low, high, len);
    /// `kind` in the upper half of `array`.
    ArrayCopy(array_kind, to, source, from, len);
    /// Whether a reference of the `any`, `extern` or `exn` family is of a target: `nullable` in bit 32, the
    /// heap type in the lower half as `HeapCode` says, the canonical type for concrete ones.
    RefIs(reference, heap, type_id) -> yes;
    /// The same for references to functions.
    FuncIs(reference, heap, type_id) -> yes;
    FuncNumber(func_ref) -> number;
    FuncOfNumber(number) -> func_ref;
    /// An exception of a tag (its index), of so many bytes.
    ExnNew(tag, bytes) -> object;
    /// Never returns.
    Throw(exception);
    /// Calls any function in another engine. For stubs alone: the first argument is the store's context. Never
    /// returns if the stub was called where machine code was entered: the call is made there.
    CallInterp(func_ref, cells);
    /// Moves up to [`PLAIN_BYTES`] bytes between two addresses of the host, whose ranges may overlap. Machine code has
    /// checked both, and they belong to memories that no other thread sees: nothing can fail, nobody looks at where
    /// machine code was left.
    MoveBytes(to, from, len);
    /// Sets up to [`PLAIN_BYTES`] bytes from an address of the host on, in the same way.
    FillBytes(to, byte, len);
    /// Calls a host function (a [`crate::layout::HostFunc`]) on behalf of [`crate::layout::NativeState::caller`]. For
    /// stubs alone: the first argument is the store's context.
    CallHost(host, cells);
}

/// The most bytes that are moved without a look at whether the guest is to stop.
pub const PLAIN_BYTES: u64 = crate::builtins::memory::STEP as u64;

/// A heap type as one number, for [`Builtin::RefIs`] and [`Builtin::FuncIs`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are those of `HeapType`")]
pub enum HeapCode {
    Func,
    NoFunc,
    Extern,
    NoExtern,
    Any,
    Eq,
    I31,
    Struct,
    Array,
    None,
    Exn,
    NoExn,
    /// The canonical type is given beside it.
    Concrete,
}

impl HeapCode {
    /// Where the flag stands that says that null passes.
    pub const NULLABLE: u64 = 1 << 32;

    const ALL: [(Self, HeapType); 12] = [
        (Self::Func, HeapType::Func),
        (Self::NoFunc, HeapType::NoFunc),
        (Self::Extern, HeapType::Extern),
        (Self::NoExtern, HeapType::NoExtern),
        (Self::Any, HeapType::Any),
        (Self::Eq, HeapType::Eq),
        (Self::I31, HeapType::I31),
        (Self::Struct, HeapType::Struct),
        (Self::Array, HeapType::Array),
        (Self::None, HeapType::None),
        (Self::Exn, HeapType::Exn),
        (Self::NoExn, HeapType::NoExn),
    ];

    /// The number of a heap type.
    pub fn of(heap: HeapType) -> Self {
        let found = Self::ALL.into_iter().find(|&(_, ty)| ty == heap);
        found.map_or(Self::Concrete, |(code, _)| code)
    }

    /// The `heap` argument of the two built-ins, but for the canonical type.
    pub fn pack(heap: HeapType, nullable: bool) -> u64 {
        Self::of(heap) as u64 | if nullable { Self::NULLABLE } else { 0 }
    }

    /// What a `heap` argument and a canonical type say; `None` if that is nothing.
    pub fn unpack(heap: u64, type_id: u64) -> Option<RefTarget> {
        let code = heap as u32;
        let heap_type = if code == Self::Concrete as u32 {
            HeapType::Concrete(TypeId(type_id as u32))
        } else {
            Self::ALL.into_iter().find(|&(known, _)| known as u32 == code)?.1
        };
        Some(RefTarget { nullable: heap & Self::NULLABLE != 0, heap: heap_type })
    }
}

/// The addresses of all built-ins, by number.
pub fn builtin_table() -> *const usize {
    use std::sync::OnceLock;
    static TABLE: OnceLock<[usize; Builtin::ALL.len()]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(super::arch::wrapper)).as_ptr()
}
