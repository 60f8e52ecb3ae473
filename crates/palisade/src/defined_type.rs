//! [`DefinedType`]: a type that a module or the host defines, which knows its engine.

use std::fmt;
use std::sync::Arc;

use palisade_core::{LimitKind, TypeId};
use palisade_module as module;
use palisade_module::{CompositeType, RegisteredTypes, RegistryError, SubType};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::func_type::FuncType;
use crate::gc_types::{ArrayType, StructType};
use crate::types::debug_is_display;

/// A type that a module defines, canonical within its engine: equal exactly if it is the same type
/// of the same engine.
#[derive(Clone)]
pub struct DefinedType {
    engine: Engine,
    id: TypeId,
    /// Keeps the number from being given to another type.
    _registered: Option<Arc<RegisteredTypes>>,
}

impl PartialEq for DefinedType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.engine.same(&other.engine)
    }
}

impl Eq for DefinedType {}

impl std::hash::Hash for DefinedType {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl DefinedType {
    /// The type of an id that is alive.
    pub(crate) fn new(engine: &Engine, id: TypeId) -> Self {
        let _registered = engine.types().hold(id).map(Arc::new);
        Self { engine: engine.clone(), id, _registered }
    }

    /// A type that was just registered.
    pub(crate) fn registered(
        engine: &Engine,
        id: TypeId,
        registered: Arc<RegisteredTypes>,
    ) -> Self {
        Self { engine: engine.clone(), id, _registered: Some(registered) }
    }

    /// The engine that it belongs to.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The function type that it is, if it is one.
    pub fn func_type(&self) -> Option<FuncType> {
        FuncType::of_id(&self.engine, self.id).ok()
    }

    /// The structure type that it is, if it is one.
    pub fn struct_type(&self) -> Option<StructType> {
        StructType::of_defined(self.clone())
    }

    /// The array type that it is, if it is one.
    pub fn array_type(&self) -> Option<ArrayType> {
        ArrayType::of_defined(self.clone())
    }

    /// Whether it may have subtypes.
    pub(crate) fn finality(&self) -> Finality {
        match self.sub_type() {
            Some(ty) if !ty.is_final => Finality::NonFinal,
            _ => Finality::Final,
        }
    }

    /// The supertype that it names.
    pub(crate) fn supertype(&self) -> Option<Self> {
        Some(Self::new(&self.engine, self.sub_type()?.supertype?))
    }

    /// Whether it is this type or one of its subtypes.
    pub fn is_subtype_of(&self, other: &Self) -> bool {
        self.engine.same(&other.engine) && self.engine.types().is_subtype(self.id, other.id)
    }

    pub(crate) fn sub_type(&self) -> Option<Arc<SubType>> {
        self.engine.types().get(self.id)
    }

    pub(crate) fn id_for(&self, engine: &Engine) -> Result<TypeId> {
        if self.engine.same(engine) { Ok(self.id) } else { Err(Error::wrong_engine("type")) }
    }

    /// Its id, which is alive as long as what is returned beside it.
    pub(crate) fn hold(&self, engine: &Engine) -> Result<(TypeId, RegisteredTypes)> {
        let id = self.id_for(engine)?;
        let held = engine.types().hold(id).ok_or_else(not_alive)?;
        Ok((id, held))
    }
}

impl fmt::Display for DefinedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ty) = self.engine.types().get(self.id) else { return f.write_str("type") };
        match &ty.composite {
            CompositeType::Func(func) => write!(f, "(func {func})"),
            CompositeType::Struct(fields) => {
                f.write_str("(struct")?;
                // Without the types that it mentions: they may mention this one.
                for field in fields.iter().take(SHOWN_FIELDS) {
                    f.write_str(" ")?;
                    show_field(f, *field)?;
                }
                f.write_str(if fields.len() > SHOWN_FIELDS { " …)" } else { ")" })
            }
            CompositeType::Array(field) => {
                f.write_str("(array ")?;
                show_field(f, *field)?;
                f.write_str(")")
            }
        }
    }
}

/// How many fields of a structure are shown.
const SHOWN_FIELDS: usize = 8;

fn show_field(f: &mut fmt::Formatter<'_>, field: module::FieldType) -> fmt::Result {
    let (open, close) = if field.mutable { ("(mut ", ")") } else { ("", "") };
    f.write_str(open)?;
    match field.storage {
        module::StorageType::I8 => f.write_str("i8")?,
        module::StorageType::I16 => f.write_str("i16")?,
        module::StorageType::Val(ty) => write!(f, "{ty}")?,
    }
    f.write_str(close)
}

/// Whether a type may have subtypes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Finality {
    /// It may not.
    Final,
    /// It may.
    NonFinal,
}

/// Registers a type that matches its supertype.
pub(crate) fn define(
    engine: &Engine,
    finality: Finality,
    supertype: Option<&DefinedType>,
    composite: CompositeType,
) -> Result<DefinedType> {
    let mut id = None;
    if let Some(above) = supertype {
        id = Some(above.id_for(engine)?);
        let ty = above.sub_type().ok_or_else(not_alive)?;
        if ty.is_final {
            return Err(final_error(above));
        }
        let most = engine.config().limits.get(LimitKind::SubtypeDepth);
        if ty.display.len() as u64 > most {
            let message = format!("a type has at most {most} supertypes above it");
            return Err(Error::type_mismatch(message));
        }
    }
    let (id, registered) = engine
        .types()
        .register(finality == Finality::Final, id, composite)
        .map_err(cannot_register)?;
    Ok(DefinedType::registered(engine, id, Arc::new(registered)))
}

fn not_alive() -> Error {
    Error::internal("a type that is not alive")
}

pub(crate) fn final_error(above: impl fmt::Display) -> Error {
    Error::type_mismatch(format!("{above} is final: it has no subtypes"))
}

pub(crate) fn cannot_register(error: RegistryError) -> Error {
    Error::msg(format!("cannot register a type: {error}"))
}

debug_is_display!(DefinedType);
