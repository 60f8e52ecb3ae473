//! Structures.

use palisade_core::TrapCode;
use palisade_module::wasmparser::Operator;

use crate::translate::{Kind, Result, Translator};

impl Translator<'_, '_> {
    /// Translates an operator on structures.
    pub(super) fn structs(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::StructNew { struct_type_index } => self.struct_new(struct_type_index)?,
            Operator::StructNewDefault { struct_type_index } => {
                let size = self.object_type(struct_type_index)?.struct_size()?;
                let made = self.new_struct(struct_type_index, size)?;
                self.push(Kind::Ref, made);
            }
            Operator::StructGet { struct_type_index, field_index }
            | Operator::StructGetU { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, false)?;
            }
            Operator::StructGetS { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, true)?;
            }
            Operator::StructSet { struct_type_index, field_index } => {
                self.struct_set(struct_type_index, field_index)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn struct_new(&mut self, type_index: u32) -> Result<()> {
        let ty = self.object_type(type_index)?;
        let size = ty.struct_size()?;
        let count = ty.kinds.len();
        // The operands are still on the stack while the object is made: they are counted.
        let made = self.new_struct(type_index, size)?;
        for (index, value) in self.pop_many(count)?.into_iter().enumerate() {
            let (field, _) = ty.field(index)?;
            if self.known_number(value) == Some(0) {
                continue;
            }
            let value = self.as_stored(value, field.kind)?;
            let object = self.object(made);
            self.store_field(object, field.offset, field.kind, value);
        }
        self.push(Kind::Ref, made);
        Ok(())
    }

    fn struct_get(&mut self, type_index: u32, field: u32, signed: bool) -> Result<()> {
        let (field, kind) = self.object_type(type_index)?.field(field as usize)?;
        let reference = self.pop()?;
        self.trap_if_null(reference, TrapCode::NullStructReference);
        let object = self.object(reference);
        let value = self.load_field(object, field.offset, field.kind, kind, signed)?;
        self.push(kind, value);
        Ok(())
    }

    fn struct_set(&mut self, type_index: u32, field: u32) -> Result<()> {
        let (field, _) = self.object_type(type_index)?.field(field as usize)?;
        let (reference, value) = self.pop2()?;
        self.trap_if_null(reference, TrapCode::NullStructReference);
        let value = self.as_stored(value, field.kind)?;
        let object = self.object(reference);
        self.store_field(object, field.offset, field.kind, value);
        Ok(())
    }
}
