//! How objects of the heap look: headers, and where fields stand.
//!
//! An object begins with two 32-bit words. The first says what it is: the canonical type of a structure
//! or an array, or one of the marks below. The second belongs to the kind:
//!
//! | object | first word | second word | then |
//! |---|---|---|---|
//! | structure | [`TypeId`] | the first field, if it has at most 4 bytes | fields |
//! | array | [`TypeId`] | number of elements | elements, from byte 8 |
//! | host value | [`EXTERN`] | number in the table of host values | |
//! | exception | [`EXN`] | number of its tag in the store | the tag's parameters as fields, from byte 8 |
//! | moved | [`MOVED`] | where it went | |
//!
//! Fields stand in the order of their declaration, each at the next multiple of its size (of 8 for
//! vectors), so that a subtype begins with the fields of its supertypes where those have them.
//! References are 4 bytes: a [`crate::VmRef`], or for functions a number that the store gave. Objects
//! take a multiple of 8 bytes. No native pointer is ever in one.

use palisade_core::{HeapType, RefType, TypeId, ValType};
use palisade_module::{CompositeType, FieldType, StorageType, TypeRegistry};

/// The first word of a host value. Type ids are below.
pub const EXTERN: u32 = 0xFFFF_FFFD;
/// The first word of an exception.
pub const EXN: u32 = 0xFFFF_FFFE;
/// The first word of an object that a collection moved.
pub const MOVED: u32 = 0xFFFF_FFFF;

/// Where the fields of a structure may begin.
pub const STRUCT_FIELDS: u32 = 4;
/// Where the elements of an array, and the fields of an exception, begin.
pub const ELEMENTS: u32 = 8;
/// What the size of every object is a multiple of.
pub const ALIGN: u32 = 8;

/// The bytes that references can name: the whole heap, both halves.
pub const HEAP_BYTES: u64 = 1 << 32;
/// The bytes in each of the halves. Objects stand in one at a time.
pub const SPACE_BYTES: u64 = HEAP_BYTES / 2;
/// The size of the largest object that fits any heap.
pub const LARGEST_OBJECT: u64 = SPACE_BYTES - ALIGN as u64;

/// What stands in a field.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FieldKind {
    /// One byte of an `i32`.
    I8,
    /// Two bytes of an `i32`.
    I16,
    /// An `i32` or `f32`.
    B4,
    /// An `i64` or `f64`.
    B8,
    /// A vector.
    B16,
    /// A [`crate::VmRef`].
    Ref,
    /// A function, as the store's number for it; 0 for null.
    Func,
}

impl FieldKind {
    /// All of them, by number.
    pub const ALL: [Self; 7] =
        [Self::I8, Self::I16, Self::B4, Self::B8, Self::B16, Self::Ref, Self::Func];

    /// What a field of a type holds.
    pub fn of(types: &TypeRegistry, storage: StorageType) -> Self {
        let ty = match storage {
            StorageType::I8 => return Self::I8,
            StorageType::I16 => return Self::I16,
            StorageType::Val(ty) => ty,
        };
        match ty {
            ValType::I32 | ValType::F32 => Self::B4,
            ValType::I64 | ValType::F64 => Self::B8,
            ValType::V128 => Self::B16,
            ValType::Ref(RefType { heap: HeapType::Func | HeapType::NoFunc, .. }) => Self::Func,
            ValType::Ref(RefType { heap: HeapType::Concrete(id), .. }) if types.is_func(id) => {
                Self::Func
            }
            ValType::Ref(_) => Self::Ref,
        }
    }

    /// Its size in bytes.
    pub fn size(self) -> u32 {
        1 << self.log2()
    }

    /// The logarithm of its size.
    pub fn log2(self) -> u32 {
        match self {
            Self::I8 => 0,
            Self::I16 => 1,
            Self::B4 | Self::Ref | Self::Func => 2,
            Self::B8 => 3,
            Self::B16 => 4,
        }
    }
}

/// A field of a structure or of an exception.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FieldLayout {
    /// Bytes from the start of the object.
    pub offset: u32,
    /// What stands there.
    pub kind: FieldKind,
}

/// The layout of a structure or of an exception.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StructLayout {
    /// The fields, in order.
    pub fields: Box<[FieldLayout]>,
    /// Offsets of those that are [`FieldKind::Ref`].
    pub refs: Box<[u32]>,
    /// The size of an object, header and all.
    pub size: u32,
}

impl StructLayout {
    /// The layout of fields that may begin at `start`.
    fn new(kinds: impl Iterator<Item = FieldKind>, start: u32) -> Self {
        let mut at = start;
        let fields: Box<[FieldLayout]> = kinds
            .map(|kind| {
                let offset = at.next_multiple_of(kind.size().min(ALIGN));
                at = offset + kind.size();
                FieldLayout { offset, kind }
            })
            .collect();
        let refs = fields.iter().filter(|f| f.kind == FieldKind::Ref).map(|f| f.offset).collect();
        Self { fields, refs, size: at.max(ELEMENTS).next_multiple_of(ALIGN) }
    }

    /// The layout of a structure type with these fields.
    pub fn of_struct(types: &TypeRegistry, fields: &[FieldType]) -> Self {
        Self::new(fields.iter().map(|f| FieldKind::of(types, f.storage)), STRUCT_FIELDS)
    }

    /// The layout of an exception whose tag has these parameters.
    pub fn of_exception(types: &TypeRegistry, params: &[ValType]) -> Self {
        Self::new(params.iter().map(|&t| FieldKind::of(types, StorageType::Val(t))), ELEMENTS)
    }
}

/// The layout of the objects of a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectLayout {
    /// Structures.
    Struct(StructLayout),
    /// Arrays of such elements.
    Array(FieldKind),
}

impl ObjectLayout {
    /// The layout of a type; `None` for function types and ids that nobody keeps alive.
    pub fn of(types: &TypeRegistry, id: TypeId) -> Option<Self> {
        match &types.get(id)?.composite {
            CompositeType::Func(_) => None,
            CompositeType::Struct(fields) => {
                Some(Self::Struct(StructLayout::of_struct(types, fields)))
            }
            CompositeType::Array(field) => Some(Self::Array(FieldKind::of(types, field.storage))),
        }
    }
}

/// The size in bytes of an array of `len` elements, header and all. Cannot overflow.
pub fn array_bytes(kind: FieldKind, len: u32) -> u64 {
    (u64::from(ELEMENTS) + (u64::from(len) << kind.log2())).next_multiple_of(u64::from(ALIGN))
}
