//! From the parser's types and constant expressions to ours.
//!
//! Everything that comes in has been validated, so what cannot be converted is only what belongs to
//! a proposal outside [`crate::supported_features`]; that is an error, never a panic.

use palisade_core::{
    FuncType, GlobalType, HeapType, MemoryType, RefType, TableType, TypeId, ValType,
};
use wasmparser::{AbstractHeapType, CompositeInnerType, Operator, UnpackedIndex};

use crate::const_expr::{ConstExpr, ConstOp};
use crate::error::DecodeError;
use crate::info::{FuncIdx, GlobalIdx};
use crate::types::{CompositeType, FieldType, Member, StorageType, in_group};

/// Finds the type of a type index.
pub(crate) trait Resolve {
    fn type_id(&self, index: u32) -> Option<TypeId>;
}

/// All types of a module are known.
impl Resolve for &[TypeId] {
    fn type_id(&self, index: u32) -> Option<TypeId> {
        self.get(index as usize).copied()
    }
}

/// The types before a group are known, those of the group are named by their place in it.
pub(crate) struct InGroup<'a> {
    pub(crate) before: &'a [TypeId],
    pub(crate) len: usize,
}

impl Resolve for InGroup<'_> {
    fn type_id(&self, index: u32) -> Option<TypeId> {
        let index = index as usize;
        match index.checked_sub(self.before.len()) {
            None => self.before.get(index).copied(),
            Some(place) if place < self.len => Some(in_group(place as u32)),
            Some(_) => None,
        }
    }
}

fn unsupported(offset: u64, what: &str) -> DecodeError {
    DecodeError::invalid(offset, format!("{what}: this proposal is not enabled"))
}

/// Converts things that stand at an offset, for the sake of messages.
#[derive(Copy, Clone)]
pub(crate) struct Converter<R> {
    pub(crate) types: R,
    pub(crate) offset: u64,
}

impl<R: Resolve> Converter<R> {
    pub(crate) fn type_id(&self, index: u32) -> Result<TypeId, DecodeError> {
        self.types
            .type_id(index)
            .ok_or_else(|| DecodeError::invalid(self.offset, format!("unknown type {index}")))
    }

    fn index(&self, index: UnpackedIndex) -> Result<TypeId, DecodeError> {
        match index.as_module_index() {
            Some(index) => self.type_id(index),
            None => Err(unsupported(self.offset, "a type index of an unknown kind")),
        }
    }

    pub(crate) fn heap(&self, ty: wasmparser::HeapType) -> Result<HeapType, DecodeError> {
        let ty = match ty {
            wasmparser::HeapType::Concrete(index) => {
                return Ok(HeapType::Concrete(self.index(index)?));
            }
            wasmparser::HeapType::Abstract { shared: false, ty } => ty,
            _ => return Err(unsupported(self.offset, "a shared or exact reference type")),
        };
        abstract_heap_type(ty).ok_or_else(|| unsupported(self.offset, "a continuation reference"))
    }

    pub(crate) fn reference(&self, ty: wasmparser::RefType) -> Result<RefType, DecodeError> {
        Ok(RefType { nullable: ty.is_nullable(), heap: self.heap(ty.heap_type())? })
    }

    pub(crate) fn value(&self, ty: wasmparser::ValType) -> Result<ValType, DecodeError> {
        Ok(match ty {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(ty) => ValType::Ref(self.reference(ty)?),
        })
    }

    fn field(&self, ty: &wasmparser::FieldType) -> Result<FieldType, DecodeError> {
        let storage = match ty.element_type {
            wasmparser::StorageType::I8 => StorageType::I8,
            wasmparser::StorageType::I16 => StorageType::I16,
            wasmparser::StorageType::Val(ty) => StorageType::Val(self.value(ty)?),
        };
        Ok(FieldType { storage, mutable: ty.mutable })
    }

    pub(crate) fn member(&self, ty: &wasmparser::SubType) -> Result<Member, DecodeError> {
        let values = |types: &[wasmparser::ValType]| {
            types.iter().map(|ty| self.value(*ty)).collect::<Result<Box<[_]>, _>>()
        };
        let inner = &ty.composite_type;
        if inner.shared || inner.descriptor_idx.is_some() || inner.describes_idx.is_some() {
            return Err(unsupported(self.offset, "a shared type or a descriptor"));
        }
        let composite = match &inner.inner {
            CompositeInnerType::Func(ty) => CompositeType::Func(
                FuncType { params: values(ty.params())?, results: values(ty.results())? }.into(),
            ),
            CompositeInnerType::Struct(ty) => CompositeType::Struct(
                ty.fields.iter().map(|field| self.field(field)).collect::<Result<_, _>>()?,
            ),
            CompositeInnerType::Array(ty) => CompositeType::Array(self.field(&ty.0)?),
            CompositeInnerType::Cont(_) => {
                return Err(unsupported(self.offset, "a continuation type"));
            }
        };
        let supertype = match ty.supertype_idxs.first() {
            Some(index) => Some(self.index(index.unpack())?),
            None => None,
        };
        Ok(Member { is_final: ty.is_final, supertype, composite })
    }

    pub(crate) fn table(&self, ty: &wasmparser::TableType) -> Result<TableType, DecodeError> {
        Ok(TableType {
            element: self.reference(ty.element_type)?,
            table64: ty.table64,
            minimum: ty.initial,
            maximum: ty.maximum,
        })
    }

    pub(crate) fn memory(&self, ty: &wasmparser::MemoryType) -> Result<MemoryType, DecodeError> {
        let page_size_log2 = u8::try_from(ty.page_size_log2())
            .map_err(|_| DecodeError::invalid(self.offset, "invalid custom page size"))?;
        Ok(MemoryType {
            memory64: ty.memory64,
            shared: ty.shared,
            minimum: ty.initial,
            maximum: ty.maximum,
            page_size_log2,
        })
    }

    pub(crate) fn global(&self, ty: &wasmparser::GlobalType) -> Result<GlobalType, DecodeError> {
        Ok(GlobalType { content: self.value(ty.content_type)?, mutable: ty.mutable })
    }

    pub(crate) fn const_expr(
        &self,
        expr: &wasmparser::ConstExpr<'_>,
    ) -> Result<ConstExpr, DecodeError> {
        // Nearly all have one operator, and modules may have tens of thousands of them.
        let mut ops = Vec::with_capacity(1);
        let mut depth_zero_end = false;
        for op in expr.get_operators_reader() {
            let op = op.map_err(|e| {
                DecodeError::from_parser(crate::error::DecodeErrorKind::Malformed, &e)
            })?;
            if matches!(op, Operator::End) {
                depth_zero_end = true;
                break;
            }
            ops.push(self.const_op(&op)?);
        }
        if !depth_zero_end {
            return Err(DecodeError::malformed(self.offset, "constant expression without an end"));
        }
        Ok(ConstExpr { ops: ops.into() })
    }

    fn const_op(&self, op: &Operator<'_>) -> Result<ConstOp, DecodeError> {
        Ok(match *op {
            Operator::I32Const { value } => ConstOp::I32(value),
            Operator::I64Const { value } => ConstOp::I64(value),
            Operator::F32Const { value } => ConstOp::F32(value.bits()),
            Operator::F64Const { value } => ConstOp::F64(value.bits()),
            Operator::V128Const { value } => ConstOp::V128(u128::from_le_bytes(*value.bytes())),
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(GlobalIdx(global_index)),
            Operator::RefNull { hty } => ConstOp::RefNull(self.heap(hty)?),
            Operator::RefFunc { function_index } => ConstOp::RefFunc(FuncIdx(function_index)),
            Operator::RefI31 => ConstOp::RefI31,
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::StructNew { struct_type_index } => {
                ConstOp::StructNew(self.type_id(struct_type_index)?)
            }
            Operator::StructNewDefault { struct_type_index } => {
                ConstOp::StructNewDefault(self.type_id(struct_type_index)?)
            }
            Operator::ArrayNew { array_type_index } => {
                ConstOp::ArrayNew(self.type_id(array_type_index)?)
            }
            Operator::ArrayNewDefault { array_type_index } => {
                ConstOp::ArrayNewDefault(self.type_id(array_type_index)?)
            }
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                ConstOp::ArrayNewFixed(self.type_id(array_type_index)?, array_size)
            }
            Operator::ExternConvertAny => ConstOp::ExternConvertAny,
            Operator::AnyConvertExtern => ConstOp::AnyConvertExtern,
            _ => return Err(unsupported(self.offset, "an operator in a constant expression")),
        })
    }
}

/// A heap type that is built in; `None` for those of proposals that are not finished.
pub fn abstract_heap_type(ty: AbstractHeapType) -> Option<HeapType> {
    use AbstractHeapType as A;
    Some(match ty {
        A::Func => HeapType::Func,
        A::NoFunc => HeapType::NoFunc,
        A::Extern => HeapType::Extern,
        A::NoExtern => HeapType::NoExtern,
        A::Any => HeapType::Any,
        A::Eq => HeapType::Eq,
        A::I31 => HeapType::I31,
        A::Struct => HeapType::Struct,
        A::Array => HeapType::Array,
        A::None => HeapType::None,
        A::Exn => HeapType::Exn,
        A::NoExn => HeapType::NoExn,
        A::Cont | A::NoCont => return None,
    })
}
