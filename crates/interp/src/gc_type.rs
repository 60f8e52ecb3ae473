//! Structure and array types as code needs them: made when a function that uses one is translated, and kept with
//! the module, where code may point to them.

use palisade_core::{TypeId, ValType};
use palisade_module::{CompositeType, StorageType, TypeRegistry};
use palisade_vm::gc::layout::ObjectLayout;

use crate::code::Ty;

/// A structure or array type of a module.
#[derive(Debug)]
pub(crate) struct GcType {
    /// The canonical type.
    pub(crate) id: TypeId,
    /// How its objects look.
    pub(crate) layout: ObjectLayout,
    /// What each field is on the operand stack; of an array, its element.
    pub(crate) fields: Box<[Ty]>,
}

impl GcType {
    /// `None` for a function type.
    pub(crate) fn new(types: &TypeRegistry, id: TypeId) -> Option<Self> {
        let layout = ObjectLayout::of(types, id)?;
        let ty = |storage: StorageType| match storage {
            StorageType::I8 | StorageType::I16 => Ty::of(ValType::I32, types),
            StorageType::Val(ty) => Ty::of(ty, types),
        };
        let fields: Box<[Ty]> = match &types.get(id)?.composite {
            CompositeType::Func(_) => return None,
            CompositeType::Struct(fields) => fields.iter().map(|field| ty(field.storage)).collect(),
            CompositeType::Array(field) => Box::new([ty(field.storage)]),
        };
        Some(Self { id, layout, fields })
    }
}
