//! [`FuncType`]: parameters and results, and the place among other types where that says more.

use std::fmt;
use std::sync::Arc;

use palisade_core as core;
use palisade_core::TypeId;
use palisade_module::{CompositeType, RegisteredTypes};

use crate::defined_type::{DefinedType, Finality, cannot_register, define, final_error};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::types::{ValType, debug_is_display};

/// The type of a function. Equal types of one engine are the same type.
///
/// [`FuncType::new`] makes a type by itself, as `(type (func …))` is: final, without a supertype, in no
/// recursive group. A type that comes from a module or a store ([`ImportType::ty`](crate::ImportType::ty),
/// [`Func::ty`](crate::Func::ty), …) stays the type that it is, whatever that is: a host function
/// for an import of any type is made of the import's own type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FuncType {
    params: Box<[ValType]>,
    results: Box<[ValType]>,
    /// The type, if it is not the one that [`FuncType::new`] makes of the same parameters and results.
    defined: Option<DefinedType>,
}

impl FuncType {
    /// A final type without a supertype.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Self {
        let (params, results) = (params.into_iter().collect(), results.into_iter().collect());
        Self { params, results, defined: None }
    }

    /// A type with a place among other types.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`](crate::ErrorKind::Type): more than 1000 parameters or results, or the supertype is
    /// final, has too many supertypes itself, or has parameters that do not match these or results that these do
    /// not match. [`ErrorKind::WrongEngine`](crate::ErrorKind::WrongEngine).
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&Self>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Result<Self> {
        let new = Self::new(params.into_iter().take(MOST + 1), results.into_iter().take(MOST + 1));
        let core = new.to_core(engine)?;
        let mut above = None;
        if let Some(supertype) = supertype {
            let defined = supertype.defined.as_ref().ok_or_else(|| final_error(supertype))?;
            defined.id_for(engine)?;
            if !all_match(&supertype.params, &new.params)
                || !all_match(&new.results, &supertype.results)
            {
                return Err(Error::type_mismatch(format!("{new} is no subtype of {supertype}")));
            }
            above = Some(defined);
        }
        let composite = CompositeType::Func(Arc::new(core));
        Self::of_id(engine, define(engine, finality, above, composite)?.id_for(engine)?)
    }

    /// The types of the parameters, in order.
    pub fn params(&self) -> &[ValType] {
        &self.params
    }

    /// The types of the results, in order.
    pub fn results(&self) -> &[ValType] {
        &self.results
    }

    /// Whether it may have subtypes.
    pub fn finality(&self) -> Finality {
        self.defined.as_ref().map_or(Finality::Final, DefinedType::finality)
    }

    /// The supertype that it names.
    pub fn supertype(&self) -> Option<Self> {
        self.defined.as_ref()?.supertype()?.func_type()
    }

    /// Whether it is the other type or one of its subtypes.
    pub fn matches(&self, other: &Self) -> bool {
        match (&self.defined, &other.defined) {
            (Some(a), Some(b)) => a.is_subtype_of(b),
            // One of them has neither subtypes nor a supertype.
            _ => self == other,
        }
    }

    /// At most [`MOST`] parameters and results, as modules have it.
    fn check_counts(&self) -> Result<()> {
        for (what, count) in [("parameters", self.params.len()), ("results", self.results.len())] {
            if count > MOST {
                return Err(Error::type_mismatch(format!(
                    "a function has at most {MOST} {what}, found {count}"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn to_core(&self, engine: &Engine) -> Result<core::FuncType> {
        self.check_counts()?;
        let list = |types: &[ValType]| -> Result<Box<[core::ValType]>> {
            types.iter().map(|ty| ty.to_core(engine)).collect()
        };
        Ok(core::FuncType { params: list(&self.params)?, results: list(&self.results)? })
    }

    /// The type in an engine, where it lives as long as what is returned beside it.
    pub(crate) fn register(&self, engine: &Engine) -> Result<(TypeId, RegisteredTypes)> {
        match &self.defined {
            Some(ty) => ty.hold(engine),
            None => engine.types().register_func(self.to_core(engine)?).map_err(cannot_register),
        }
    }

    /// The type of an id that is alive.
    pub(crate) fn of_id(engine: &Engine, id: TypeId) -> Result<Self> {
        let ty = core_of_id(engine, id)?;
        let list = |types: &[core::ValType]| {
            types.iter().map(|&ty| ValType::from_core(engine, ty)).collect()
        };
        let defined = (!engine.types().is_plain_func(id)).then(|| DefinedType::new(engine, id));
        Ok(Self { params: list(&ty.params), results: list(&ty.results), defined })
    }
}

/// The most parameters of a function, and results.
const MOST: usize = 1000;

/// The form inside of a function type that is alive.
pub(crate) fn core_of_id(engine: &Engine, id: TypeId) -> Result<Arc<core::FuncType>> {
    let ty = engine.types().func_type(id);
    ty.ok_or_else(|| Error::internal("a function whose type is no function type"))
}

fn all_match(types: &[ValType], others: &[ValType]) -> bool {
    types.len() == others.len() && types.iter().zip(others).all(|(ty, other)| ty.matches(other))
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

debug_is_display!(FuncType);
