//! Objects of the heap: structures, arrays, small integers as references, tests and casts.
//!
//! A reference is the offset of an object in the heap's reservation of 4 GiB, so that whatever it is, the object's
//! header lies inside. Objects move: an address is computed where it is used, and never kept over anything
//! that may collect. Making objects, and bulk work, are charged for as in `palisade_vm::builtins::gc`.

mod alloc;
mod arrays;
mod casts;
mod objects;
mod structs;

use std::collections::HashMap;
use std::rc::Rc;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AliasRegion, InstBuilder, types};
use palisade_core::TrapCode;
use palisade_module::wasmparser::Operator;
use palisade_module::{CompositeType, StorageType};
use palisade_vm::gc::layout::{FieldKind, FieldLayout, ObjectLayout};

use super::{Kind, Result, Translator, invalid};
use crate::error::CompileError;
use crate::mutation::Mutation;

/// The most references that may stand on the operand stack where objects are made, all those places taken
/// together: each is an entry of a stack map.
const MAX_MAPPED: u64 = 2_000_000;

/// What objects of a type look like, and what their fields are on the operand stack.
#[derive(Debug)]
struct ObjectType {
    layout: ObjectLayout,
    kinds: Vec<Kind>,
}

/// What is kept about objects while a function is translated.
#[derive(Debug)]
pub(super) struct Objects {
    /// What objects have in common with nothing else.
    region: AliasRegion,
    /// By type index.
    types: HashMap<u32, Rc<ObjectType>>,
    /// References on the operand stack where objects were made.
    mapped: u64,
}

impl Objects {
    /// Nothing is known yet.
    pub(super) fn new(region: AliasRegion) -> Self {
        Self { region, types: HashMap::new(), mapped: 0 }
    }
}

impl Translator<'_, '_> {
    /// Translates an operator of this family.
    pub(super) fn gc(&mut self, op: &Operator<'_>) -> Result<bool> {
        match op {
            Operator::RefEq => {
                let (first, second) = self.pop2()?;
                let same = self.b.ins().icmp(IntCC::Equal, first, second);
                let same = self.b.ins().uextend(types::I32, same);
                self.push(Kind::I32, same);
            }
            // Both families share the encoding of references.
            Operator::AnyConvertExtern | Operator::ExternConvertAny => {}
            Operator::RefI31 => {
                let number = self.pop()?;
                let shifted = self.b.ins().ishl_imm_u(number, 1);
                let reference = self.b.ins().bor_imm_s(shifted, 1);
                self.push(Kind::Ref, reference);
            }
            Operator::I31GetS | Operator::I31GetU => {
                let reference = self.pop()?;
                self.trap_if_null(reference, TrapCode::NullI31Reference);
                let signed = matches!(op, Operator::I31GetS);
                let number = if signed && !self.mutated(Mutation::SmallIntegerUnsigned) {
                    self.b.ins().sshr_imm_u(reference, 1)
                } else {
                    self.b.ins().ushr_imm_u(reference, 1)
                };
                self.push(Kind::I32, number);
            }
            _ => return Ok(self.structs(op)? || self.arrays(op)? || self.casts(op)?),
        }
        Ok(true)
    }

    /// What objects of a type look like.
    fn object_type(&mut self, type_index: u32) -> Result<Rc<ObjectType>> {
        if let Some(known) = self.objects.types.get(&type_index) {
            return Ok(Rc::clone(known));
        }
        let id = self.env.type_id(type_index)?;
        let (Some(ty), Some(layout)) =
            (self.env.types.get(id), ObjectLayout::of(self.env.types, id))
        else {
            return invalid("a type without objects");
        };
        let fields = match &ty.composite {
            CompositeType::Func(_) => &[],
            CompositeType::Struct(fields) => &fields[..],
            CompositeType::Array(field) => std::slice::from_ref(field),
        };
        let kind = |storage| match storage {
            StorageType::I8 | StorageType::I16 => Kind::I32,
            StorageType::Val(ty) => self.env.kind(ty),
        };
        let kinds = fields.iter().map(|field| kind(field.storage)).collect();
        let made = Rc::new(ObjectType { layout, kinds });
        self.objects.types.insert(type_index, Rc::clone(&made));
        Ok(made)
    }

    /// Counts the references that a collection here may change.
    fn count_mapped(&mut self) -> Result<()> {
        let found = self.stack.iter().filter(|operand| operand.kind == Kind::Ref).count();
        self.objects.mapped += found as u64;
        let (limit, found) = (MAX_MAPPED, self.objects.mapped);
        if found > limit {
            let what = "references on the operand stack where objects are made";
            return Err(CompileError::Limit { what, limit, found });
        }
        Ok(())
    }
}

impl ObjectType {
    /// The size of a structure.
    fn struct_size(&self) -> Result<u32> {
        match &self.layout {
            ObjectLayout::Struct(layout) => Ok(layout.size),
            ObjectLayout::Array(_) => invalid("an array for a structure"),
        }
    }

    /// A field of a structure, and what it is on the operand stack.
    fn field(&self, index: usize) -> Result<(FieldLayout, Kind)> {
        match (&self.layout, self.kinds.get(index)) {
            (ObjectLayout::Struct(layout), Some(&kind)) => match layout.fields.get(index) {
                Some(&field) => Ok((field, kind)),
                None => invalid("an unknown field"),
            },
            _ => invalid("an unknown field"),
        }
    }

    /// What elements of an array hold, and what they are on the operand stack.
    fn element(&self) -> Result<(FieldKind, Kind)> {
        match (&self.layout, &self.kinds[..]) {
            (ObjectLayout::Array(element), &[kind]) => Ok((*element, kind)),
            _ => invalid("a structure for an array"),
        }
    }
}
