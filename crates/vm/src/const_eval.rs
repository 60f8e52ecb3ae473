//! Evaluating constant expressions, at instantiation.
//!
//! A stack machine without recursion, whose stack is bounded by the length of the expression. The expressions
//! were validated with their module; what validation excludes is answered with an internal error here, not a
//! panic. References on the stack are roots of the heap while an expression is evaluated, because its
//! next operator may allocate. Objects are paid for by each whole 64 bytes: a few bytes of an expression can ask
//! for gigabytes. What is smaller is bounded by the size of the module, as all else that instantiation does.

use palisade_core::{TrapCode, TypeId, ValClass, fuel};
use palisade_module::{ConstExpr, ConstOp, GlobalIdx};

use crate::error::InstantiateError;
use crate::gc::HeapTypeInfo;
use crate::gc::layout::{FieldKind, LARGEST_OBJECT, ObjectLayout, StructLayout, array_bytes};
use crate::gc::roots::RootIndex;
use crate::instance::Instance;
use crate::layout::{Cell, VmCtx, VmGlobalDef, VmRef};
use crate::store::StoreInner;

/// A value: one cell, or the two of a vector.
pub(crate) type Value = [Cell; 2];

/// A value on the stack of an evaluation.
#[derive(Copy, Clone)]
enum Operand {
    Plain(Value),
    /// A reference of the `any`, `extern` or `exn` family.
    Root(RootIndex),
}

/// The value of an expression, in an instance whose context is being filled: the globals that it
/// reads are there already. A reference is valid until the next allocation.
pub(crate) fn evaluate(
    store: &mut StoreInner,
    instance: &Instance,
    expr: &ConstExpr,
) -> Result<Value, InstantiateError> {
    if let [op] = &*expr.ops
        && let Some(value) = leaf(instance, op)?
    {
        return Ok(value);
    }
    let scope = store.heap.roots.scope();
    let value = Evaluation { store, instance, stack: Vec::new() }.run(expr);
    store.heap.roots.close(scope);
    value
}

/// The value of an expression of one operator that makes nothing, as those are that were not evaluated ahead
/// for an element segment, or of an offset.
pub(crate) fn evaluate_again(
    store: &mut StoreInner,
    instance: &Instance,
    expr: &ConstExpr,
) -> Result<Value, InstantiateError> {
    if expr.ops.iter().any(allocates) {
        return Err(InstantiateError::Internal("an object would be made a second time"));
    }
    evaluate(store, instance, expr)
}

/// Whether an operator makes an object.
pub(crate) fn allocates(op: &ConstOp) -> bool {
    matches!(
        op,
        ConstOp::StructNew(_)
            | ConstOp::StructNewDefault(_)
            | ConstOp::ArrayNew(_)
            | ConstOp::ArrayNewDefault(_)
            | ConstOp::ArrayNewFixed(..)
    )
}

const MALFORMED: InstantiateError =
    InstantiateError::Internal("a constant expression does not leave one value");
const NO_LAYOUT: InstantiateError =
    InstantiateError::Internal("a constant makes an object of a type that has none");

fn cell(value: Cell) -> Value {
    [value, 0]
}

/// The value of an operator without operands; `None` for the others, and for those that allocate.
fn leaf(instance: &Instance, op: &ConstOp) -> Result<Option<Value>, InstantiateError> {
    Ok(Some(match *op {
        ConstOp::I32(value) => cell(u64::from(value as u32)),
        ConstOp::I64(value) => cell(value as u64),
        ConstOp::F32(bits) => cell(u64::from(bits)),
        ConstOp::F64(bits) => cell(bits),
        ConstOp::V128(bits) => [bits as u64, (bits >> 64) as u64],
        ConstOp::RefNull(_) => cell(0),
        ConstOp::RefFunc(func) => {
            let reference = instance.func_ref(func);
            if reference.is_null() {
                return Err(InstantiateError::Internal("a constant names an unknown function"));
            }
            cell(reference.expose_provenance() as u64)
        }
        ConstOp::GlobalGet(global) => global_get(instance, global)?,
        _ => return Ok(None),
    }))
}

fn global_get(instance: &Instance, global: GlobalIdx) -> Result<Value, InstantiateError> {
    let unknown = InstantiateError::Internal("a constant reads a global that is not there yet");
    if global.index() >= instance.module.globals.len() {
        return Err(unknown);
    }
    // SAFETY: the context has a pointer for each global of the module, null until the global is
    // there, and the store that is being changed owns what it points to.
    unsafe {
        let at = instance.offsets.global(global);
        let def = VmCtx::pointer::<VmGlobalDef>(instance.vmctx(), at);
        if def.is_null() { Err(unknown) } else { Ok((*def).cells.get().read()) }
    }
}

struct Evaluation<'a> {
    store: &'a mut StoreInner,
    instance: &'a Instance,
    stack: Vec<Operand>,
}

impl Evaluation<'_> {
    fn run(&mut self, expr: &ConstExpr) -> Result<Value, InstantiateError> {
        for op in &expr.ops {
            let operand = match leaf(self.instance, op)? {
                Some(value) if self.is_root(op) => self.root(VmRef(value[0] as u32))?,
                Some(value) => Operand::Plain(value),
                None => self.apply(op)?,
            };
            self.stack.push(operand);
        }
        match self.stack[..] {
            [operand] => self.value(operand),
            _ => Err(MALFORMED),
        }
    }

    /// Whether an operator without operands gives a reference that a collection may have to change.
    fn is_root(&self, op: &ConstOp) -> bool {
        let ConstOp::GlobalGet(global) = op else { return false };
        let Some(global) = self.instance.module.globals.get(global.index()) else { return false };
        global.ty.content.class(|id| self.store.types.is_func(id)) == ValClass::Ref
    }

    fn root(&mut self, reference: VmRef) -> Result<Operand, InstantiateError> {
        let root = self.store.heap.roots.push(reference);
        root.map(Operand::Root).ok_or(InstantiateError::Internal("too many references are held"))
    }

    /// A value as it is now.
    fn value(&self, operand: Operand) -> Result<Value, InstantiateError> {
        match operand {
            Operand::Plain(value) => Ok(value),
            Operand::Root(root) => {
                let reference = self.store.heap.roots.get(root).ok_or(MALFORMED)?;
                Ok(cell(reference.0.into()))
            }
        }
    }

    fn pop(&mut self) -> Result<Value, InstantiateError> {
        let operand = self.stack.pop().ok_or(MALFORMED)?;
        self.value(operand)
    }

    /// The value of an operator with operands, which are on the stack.
    fn apply(&mut self, op: &ConstOp) -> Result<Operand, InstantiateError> {
        match *op {
            ConstOp::RefI31 => {
                let [value, _] = self.pop()?;
                return Ok(Operand::Plain(cell(u64::from((value as u32) << 1 | 1))));
            }
            // Both families share the encoding of references.
            ConstOp::ExternConvertAny | ConstOp::AnyConvertExtern => {
                return self.stack.pop().ok_or(MALFORMED);
            }
            ConstOp::StructNew(ty) => return self.struct_new(ty, true),
            ConstOp::StructNewDefault(ty) => return self.struct_new(ty, false),
            ConstOp::ArrayNew(ty) => {
                let [len, _] = self.pop()?;
                let init = self.stack.pop().ok_or(MALFORMED)?;
                return self.array_new(ty, len as u32, Some(init));
            }
            ConstOp::ArrayNewDefault(ty) => {
                let [len, _] = self.pop()?;
                return self.array_new(ty, len as u32, None);
            }
            ConstOp::ArrayNewFixed(ty, len) => return self.array_new_fixed(ty, len),
            _ => {}
        }
        let [right, _] = self.pop()?;
        let [left, _] = self.pop()?;
        let i32_op = |f: fn(u32, u32) -> u32| cell(u64::from(f(left as u32, right as u32)));
        Ok(Operand::Plain(match op {
            ConstOp::I32Add => i32_op(u32::wrapping_add),
            ConstOp::I32Sub => i32_op(u32::wrapping_sub),
            ConstOp::I32Mul => i32_op(u32::wrapping_mul),
            ConstOp::I64Add => cell(left.wrapping_add(right)),
            ConstOp::I64Sub => cell(left.wrapping_sub(right)),
            ConstOp::I64Mul => cell(left.wrapping_mul(right)),
            _ => return Err(MALFORMED),
        }))
    }

    /// The last `count` operands, taken from the stack. They are roots still, until the expression ends.
    fn take(&mut self, count: usize) -> Result<Vec<Operand>, InstantiateError> {
        let start = self.stack.len().checked_sub(count).ok_or(MALFORMED)?;
        Ok(self.stack.split_off(start))
    }

    /// Charges for an object, and makes it.
    ///
    /// # Safety
    ///
    /// The second word and the size are those of an object of the type, which the module keeps registered.
    unsafe fn alloc(
        &mut self,
        ty: TypeId,
        word1: u32,
        bytes: u64,
    ) -> Result<VmRef, InstantiateError> {
        if bytes > LARGEST_OBJECT {
            return Err(TrapCode::AllocationTooLarge.into());
        }
        self.store.pay(fuel::constant(bytes))?;
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.store.gc_alloc(ty.0, word1, bytes, 0)? })
    }

    fn struct_new(&mut self, ty: TypeId, with_fields: bool) -> Result<Operand, InstantiateError> {
        let types = self.store.types.clone();
        let info = self.store.heap.type_info(&types, ty).ok_or(NO_LAYOUT)?;
        let ObjectLayout::Struct(StructLayout { fields, size, .. }) = &info.layout else {
            return Err(NO_LAYOUT);
        };
        let operands = if with_fields { self.take(fields.len())? } else { Vec::new() };
        // SAFETY: the layout is that of the type, which the module keeps registered.
        let object = unsafe { self.alloc(ty, 0, u64::from(*size))? };
        for (operand, field) in operands.into_iter().zip(fields) {
            let value = self.value(operand)?;
            // SAFETY: the object was just made, with this layout, and the module is valid, so that the
            // value is of the field's type.
            unsafe { self.store.gc_write(object, u64::from(field.offset), field.kind, value)? };
        }
        self.root(object)
    }

    fn element_kind(&mut self, ty: TypeId) -> Result<FieldKind, InstantiateError> {
        let types = self.store.types.clone();
        match self.store.heap.type_info(&types, ty).as_deref() {
            Some(HeapTypeInfo { layout: ObjectLayout::Array(kind), .. }) => Ok(*kind),
            _ => Err(NO_LAYOUT),
        }
    }

    fn array_new(
        &mut self,
        ty: TypeId,
        len: u32,
        init: Option<Operand>,
    ) -> Result<Operand, InstantiateError> {
        let kind = self.element_kind(ty)?;
        // SAFETY: elements of the type are of that kind; the module keeps it registered.
        let array = unsafe { self.alloc(ty, len, array_bytes(kind, len))? };
        if let Some(init) = init {
            let value = self.value(init)?;
            // SAFETY: the array was just made, and the module is valid, so that the value is an element.
            unsafe { self.store.gc_fill(array, kind, 0, value, len)? };
        }
        self.root(array)
    }

    fn array_new_fixed(&mut self, ty: TypeId, len: u32) -> Result<Operand, InstantiateError> {
        let kind = self.element_kind(ty)?;
        let operands = self.take(len as usize)?;
        // SAFETY: elements of the type are of that kind; the module keeps it registered.
        let array = unsafe { self.alloc(ty, len, array_bytes(kind, len))? };
        for (position, operand) in (0u32..).zip(operands) {
            let value = self.value(operand)?;
            // SAFETY: as above, and there are `len` operands.
            unsafe { self.store.gc_fill(array, kind, position, value, 1)? };
        }
        self.root(array)
    }
}
