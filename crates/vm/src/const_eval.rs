//! Evaluating constant expressions, at instantiation.
//!
//! A stack machine without recursion, whose stack is bounded by the length of the expression. The expressions
//! were validated with their module; what validation excludes is answered with an internal error here, not a
//! panic.

use palisade_module::{ConstExpr, ConstOp, ElementItems, GlobalIdx, ModuleInfo};

use crate::error::InstantiateError;
use crate::instance::Instance;
use crate::layout::{Cell, VmCtx, VmGlobalDef};

/// A value: one cell, or the two of a vector.
pub(crate) type Value = [Cell; 2];

/// The value of an expression, in an instance whose context is being filled: the globals that it
/// reads are there already.
pub(crate) fn evaluate(instance: &Instance, expr: &ConstExpr) -> Result<Value, InstantiateError> {
    if let [op] = &*expr.ops {
        return leaf(instance, op)?.ok_or(MALFORMED);
    }
    let mut stack: Vec<Value> = Vec::new();
    for op in &expr.ops {
        let value = match leaf(instance, op)? {
            Some(value) => value,
            None => {
                let right = stack.pop().ok_or(MALFORMED)?;
                apply(op, right, &mut stack)?
            }
        };
        stack.push(value);
    }
    match stack[..] {
        [value] => Ok(value),
        _ => Err(MALFORMED),
    }
}

const MALFORMED: InstantiateError =
    InstantiateError::Internal("a constant expression does not leave one value");

fn cell(value: Cell) -> Value {
    [value, 0]
}

/// The value of an operator without operands; `None` for the others.
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
        ConstOp::StructNew(_)
        | ConstOp::StructNewDefault(_)
        | ConstOp::ArrayNew(_)
        | ConstOp::ArrayNewDefault(_)
        | ConstOp::ArrayNewFixed(..) => return Err(InstantiateError::GcUnavailable),
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

/// The value of an operator whose last operand is `right`; the others are on the stack.
fn apply(op: &ConstOp, right: Value, stack: &mut Vec<Value>) -> Result<Value, InstantiateError> {
    let [right, _] = right;
    match op {
        ConstOp::RefI31 => return Ok(cell(u64::from((right as u32) << 1 | 1))),
        // Both families share the encoding of references.
        ConstOp::ExternConvertAny | ConstOp::AnyConvertExtern => return Ok(cell(right)),
        _ => {}
    }
    let [left, _] = stack.pop().ok_or(MALFORMED)?;
    let i32_op = |f: fn(u32, u32) -> u32| cell(u64::from(f(left as u32, right as u32)));
    Ok(match op {
        ConstOp::I32Add => i32_op(u32::wrapping_add),
        ConstOp::I32Sub => i32_op(u32::wrapping_sub),
        ConstOp::I32Mul => i32_op(u32::wrapping_mul),
        ConstOp::I64Add => cell(left.wrapping_add(right)),
        ConstOp::I64Sub => cell(left.wrapping_sub(right)),
        ConstOp::I64Mul => cell(left.wrapping_mul(right)),
        _ => return Err(MALFORMED),
    })
}

/// Whether any constant expression of a module allocates a structure or an array.
pub(crate) fn allocates(module: &ModuleInfo) -> bool {
    let expr_allocates = |expr: &ConstExpr| {
        expr.ops.iter().any(|op| {
            matches!(
                op,
                ConstOp::StructNew(_)
                    | ConstOp::StructNewDefault(_)
                    | ConstOp::ArrayNew(_)
                    | ConstOp::ArrayNewDefault(_)
                    | ConstOp::ArrayNewFixed(..)
            )
        })
    };
    let globals = module.globals.iter().filter_map(|global| global.init.as_ref());
    let tables = module.tables.iter().filter_map(|table| table.init.as_ref());
    let elements = module.elements.iter().filter_map(|segment| match &segment.items {
        ElementItems::Exprs(exprs) => Some(exprs.iter()),
        ElementItems::Funcs(_) => None,
    });
    globals.chain(tables).chain(elements.flatten()).any(expr_allocates)
}
