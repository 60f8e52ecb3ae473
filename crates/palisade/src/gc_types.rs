//! Types of structures and arrays: [`StructType`], [`ArrayType`], and what they are made of.
//!
//! They are canonical, as all defined types are: a type that the host makes is the type of a module that
//! has the same structure, supertypes and finality, if it stands by itself there (or in a group of its own).

use std::fmt;

use palisade_core::TypeId;
use palisade_module as module;
use palisade_module::{CompositeType, SubType};

use crate::defined_type::{DefinedType, Finality, define};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::types::{HeapType, Mutability, ValType, debug_is_display};

/// The most fields of a structure, as modules have it.
const MOST_FIELDS: usize = 10_000;

/// What a field of a structure, or an element of an array, holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// The low 8 bits of an `i32`.
    I8,
    /// The low 16 bits of an `i32`.
    I16,
    /// A value.
    ValType(ValType),
}

impl StorageType {
    /// The type of the values that are put there and come back: `i32` for the small integers.
    pub fn unpack(&self) -> &ValType {
        match self {
            Self::I8 | Self::I16 => &ValType::I32,
            Self::ValType(ty) => ty,
        }
    }

    /// The type, if it is that of a whole value.
    pub fn as_val_type(&self) -> Option<&ValType> {
        match self {
            Self::ValType(ty) => Some(ty),
            Self::I8 | Self::I16 => None,
        }
    }

    /// Whether whatever is held by this is of the other, too.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ValType(a), Self::ValType(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }

    fn to_core(&self, engine: &Engine) -> Result<module::StorageType> {
        Ok(match self {
            Self::I8 => module::StorageType::I8,
            Self::I16 => module::StorageType::I16,
            Self::ValType(ty) => module::StorageType::Val(ty.to_core(engine)?),
        })
    }

    fn from_core(engine: &Engine, ty: module::StorageType) -> Self {
        match ty {
            module::StorageType::I8 => Self::I8,
            module::StorageType::I16 => Self::I16,
            module::StorageType::Val(ty) => Self::ValType(ValType::from_core(engine, ty)),
        }
    }
}

impl From<ValType> for StorageType {
    fn from(ty: ValType) -> Self {
        Self::ValType(ty)
    }
}

/// The type of a field of a structure, or of the elements of an array.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FieldType {
    mutability: Mutability,
    element: StorageType,
}

impl FieldType {
    /// Makes the type of a field.
    pub fn new(mutability: Mutability, element: impl Into<StorageType>) -> Self {
        Self { mutability, element: element.into() }
    }

    /// Whether it can be set.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// What it holds.
    pub fn element_type(&self) -> &StorageType {
        &self.element
    }

    /// Whether a subtype may have this where its supertype has the other.
    pub fn matches(&self, other: &Self) -> bool {
        match (self.mutability, other.mutability) {
            // What can be set holds exactly what it says.
            (Mutability::Var, Mutability::Var) => self.element == other.element,
            (Mutability::Const, Mutability::Const) => self.element.matches(&other.element),
            _ => false,
        }
    }

    fn to_core(&self, engine: &Engine) -> Result<module::FieldType> {
        let mutable = self.mutability == Mutability::Var;
        Ok(module::FieldType { storage: self.element.to_core(engine)?, mutable })
    }

    pub(crate) fn from_core(engine: &Engine, ty: module::FieldType) -> Self {
        let mutability = if ty.mutable { Mutability::Var } else { Mutability::Const };
        Self { mutability, element: StorageType::from_core(engine, ty.storage) }
    }
}

/// The type of structures.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StructType(DefinedType);

/// The type of arrays.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArrayType(DefinedType);

macro_rules! defined {
    ($($name:ident)*) => {$(
        impl $name {
            /// The engine that it belongs to.
            pub fn engine(&self) -> &Engine {
                self.0.engine()
            }

            /// Whether it may have subtypes.
            pub fn finality(&self) -> Finality {
                self.0.finality()
            }

            /// The supertype that it names.
            pub fn supertype(&self) -> Option<Self> {
                self.0.supertype().map(Self)
            }

            /// Whether it is the other type or one of its subtypes.
            pub fn matches(&self, other: &Self) -> bool {
                self.0.is_subtype_of(&other.0)
            }

            /// The type as one of the types that modules define.
            pub fn as_defined(&self) -> &DefinedType {
                &self.0
            }

            pub(crate) fn id_for(&self, engine: &Engine) -> Result<TypeId> {
                self.0.id_for(engine)
            }
        }

        impl From<$name> for HeapType {
            fn from(ty: $name) -> Self {
                Self::Concrete(ty.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

defined!(StructType ArrayType);

impl StructType {
    /// A final type without a supertype.
    ///
    /// # Errors
    ///
    /// As [`StructType::with_finality_and_supertype`].
    pub fn new(engine: &Engine, fields: impl IntoIterator<Item = FieldType>) -> Result<Self> {
        Self::with_finality_and_supertype(engine, Finality::Final, None, fields)
    }

    /// A type with these fields.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type): more than 10,000 fields, or the supertype is final, has too
    /// many supertypes itself, or does not begin with fields that these match.
    /// [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&Self>,
        fields: impl IntoIterator<Item = FieldType>,
    ) -> Result<Self> {
        let fields: Vec<FieldType> = fields.into_iter().take(MOST_FIELDS + 1).collect();
        if fields.len() > MOST_FIELDS {
            let message = format!("a structure has at most {MOST_FIELDS} fields");
            return Err(Error::type_mismatch(message));
        }
        if let Some(above) = supertype {
            above.id_for(engine)?;
            let theirs = above.fields();
            if theirs.len() > fields.len() {
                let (found, least) = (fields.len(), theirs.len());
                return Err(Error::type_mismatch(format!(
                    "a subtype of {above} has at least {least} fields; found {found}"
                )));
            }
            for (i, (ours, theirs)) in fields.iter().zip(theirs).enumerate() {
                check_field(above, ours, &theirs, &format!("field {i}"))?;
            }
        }
        let core: Result<_> = fields.iter().map(|field| field.to_core(engine)).collect();
        define(engine, finality, supertype.map(|ty| &ty.0), CompositeType::Struct(core?)).map(Self)
    }

    /// The type of a field.
    pub fn field(&self, index: usize) -> Option<FieldType> {
        let ty = self.0.sub_type()?;
        Some(FieldType::from_core(self.engine(), *fields_of(&ty).get(index)?))
    }

    /// The types of the fields, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = FieldType> + use<> {
        let engine = self.engine().clone();
        let fields = self.0.sub_type().map(|ty| fields_of(&ty).to_vec()).unwrap_or_default();
        fields.into_iter().map(move |field| FieldType::from_core(&engine, field))
    }

    pub(crate) fn of_defined(ty: DefinedType) -> Option<Self> {
        let is = matches!(ty.sub_type()?.composite, CompositeType::Struct(_));
        is.then_some(Self(ty))
    }
}

fn fields_of(ty: &SubType) -> &[module::FieldType] {
    match &ty.composite {
        CompositeType::Struct(fields) => fields,
        CompositeType::Array(_) | CompositeType::Func(_) => &[],
    }
}

impl ArrayType {
    /// A final type without a supertype.
    ///
    /// # Errors
    ///
    /// As [`ArrayType::with_finality_and_supertype`].
    pub fn new(engine: &Engine, field: FieldType) -> Result<Self> {
        Self::with_finality_and_supertype(engine, Finality::Final, None, field)
    }

    /// A type with such elements.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type): the supertype is final, has too many supertypes itself,
    /// or has elements that these do not match. [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&Self>,
        field: FieldType,
    ) -> Result<Self> {
        if let Some(above) = supertype {
            above.id_for(engine)?;
            check_field(above, &field, &above.field_type(), "the element")?;
        }
        let composite = CompositeType::Array(field.to_core(engine)?);
        define(engine, finality, supertype.map(|ty| &ty.0), composite).map(Self)
    }

    /// The type of the elements.
    pub fn field_type(&self) -> FieldType {
        match self.0.sub_type().as_deref() {
            Some(SubType { composite: CompositeType::Array(field), .. }) => {
                FieldType::from_core(self.engine(), *field)
            }
            // The type is one of arrays for as long as it lives.
            _ => FieldType::new(Mutability::Const, StorageType::I8),
        }
    }

    /// What an element holds.
    pub fn element_type(&self) -> StorageType {
        self.field_type().element
    }

    /// Whether elements can be set.
    pub fn mutability(&self) -> Mutability {
        self.field_type().mutability
    }

    pub(crate) fn of_defined(ty: DefinedType) -> Option<Self> {
        let is = matches!(ty.sub_type()?.composite, CompositeType::Array(_));
        is.then_some(Self(ty))
    }
}

fn check_field(
    above: &impl fmt::Display,
    ours: &FieldType,
    theirs: &FieldType,
    what: &str,
) -> Result<()> {
    if ours.matches(theirs) {
        return Ok(());
    }
    Err(Error::type_mismatch(format!(
        "{what} of a subtype of {above}: {ours} does not match {theirs}"
    )))
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::ValType(ty) => ty.fmt(f),
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutability {
            Mutability::Const => self.element.fmt(f),
            Mutability::Var => write!(f, "(mut {})", self.element),
        }
    }
}

debug_is_display!(StorageType, FieldType, StructType, ArrayType);
