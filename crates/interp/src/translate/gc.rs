//! Operators on structures, arrays and small integers as references, tests and casts.
//!
//! What an instruction makes goes to its own slot of the window, unless the next operator sets a local to it. A
//! value that was cast stays where it was. What is true of a reference becomes part of the branch that
//! asks for it.

use palisade_core::{HeapType, TypeId};
use palisade_module::wasmparser::{self, Operator};
use palisade_vm::gc::RefTarget;
use palisade_vm::gc::layout::{FieldKind, FieldLayout, ObjectLayout, StructLayout};

use crate::code::Ty;
use crate::gc_type::GcType;
use crate::operands::Operands;
use crate::ops::arith::{DestPair, Slots};
use crate::ops::cast::{self, QuickIdx, RefOps};
use crate::ops::fields::{self, Access, FieldOps};
use crate::ops::gc::{self as ops, ArrayOps, FieldInit, InitFrom, NewOps, SMALL, SmallNewOps};
use crate::ops::memory::{LoadIdx, StoreIdx};
use crate::state::Handler;
use crate::translate::control::Cond;
use crate::translate::emit::At;
use crate::translate::stack::{Loc, RegState};
use crate::translate::values::Source;
use crate::translate::{Result, Translator, invalid};
use crate::val::Reg;

/// The newest instruction, if it found out something about references that a branch can ask for itself.
#[derive(Copy, Clone, Debug)]
pub(super) struct Asked {
    pub(super) at: At,
    end: At,
    question: Question,
}

/// What is asked about references.
#[derive(Copy, Clone, Debug)]
pub(super) enum Question {
    /// Whether a reference is null.
    Null(u16),
    /// Whether two are the same.
    Same(u16, u16),
    /// Whether one passes a test.
    Passes { a: u16, test: RefTest },
}

/// A test of a reference.
#[derive(Copy, Clone, Debug)]
pub(super) struct RefTest {
    ty: u32,
    target: RefTarget,
    /// `None` for functions.
    quick: Option<QuickIdx>,
}

impl RefTest {
    pub(super) fn operands(self, a: u16) -> RefOps {
        RefOps { handler: 0, first: 0, a, pad: 0, ty: self.ty, target: self.target }
    }

    /// The handlers of a branch, forward and backward.
    pub(super) fn branch(self, sense: bool) -> [Handler; 2] {
        match self.quick {
            Some(quick) => quick.branch(sense),
            None => cast::BRANCH_FUNC[usize::from(sense)],
        }
    }

    fn test(self) -> DestPair {
        self.quick.map_or(cast::TEST_FUNC, QuickIdx::test)
    }

    fn cast(self) -> Handler {
        self.quick.map_or(cast::CAST_FUNC, QuickIdx::cast)
    }
}

/// How a value of a type is read from where it is kept.
fn load_kind(kind: FieldKind, ty: Ty, signed: bool) -> LoadIdx {
    match (kind, ty) {
        (FieldKind::I8, _) if signed => LoadIdx::S8,
        (FieldKind::I8, _) => LoadIdx::U8,
        (FieldKind::I16, _) if signed => LoadIdx::S16,
        (FieldKind::I16, _) => LoadIdx::U16,
        (FieldKind::B8, Ty::F64) => LoadIdx::F64,
        (FieldKind::B8, _) => LoadIdx::U64,
        (_, Ty::F32) => LoadIdx::F32,
        _ => LoadIdx::U32,
    }
}

/// How a value of a type is written; `acc` says whether it is in its accumulator.
fn store_kind(kind: FieldKind, ty: Ty, acc: bool) -> StoreIdx {
    match (kind, ty) {
        (FieldKind::I8, _) => StoreIdx::B8,
        (FieldKind::I16, _) => StoreIdx::B16,
        (FieldKind::B8, Ty::F64) if acc => StoreIdx::F64,
        (FieldKind::B8, _) => StoreIdx::B64,
        (_, Ty::F32) if acc => StoreIdx::F32,
        _ => StoreIdx::B32,
    }
}

impl<'m> Translator<'m> {
    /// Translates an operator on objects and references.
    pub(super) fn visit_gc(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match *op {
            O::StructNew { struct_type_index } => self.struct_new(struct_type_index),
            O::StructNewDefault { struct_type_index } => {
                let (ty, layout) = self.struct_type(struct_type_index)?;
                let operands = self.array_ops(FieldKind::I8, ty.id, layout.size);
                self.make_ref(ops::STRUCT_NEW_DEFAULT, |d| ArrayOps { d, ..operands })
            }
            O::StructGet { struct_type_index, field_index }
            | O::StructGetU { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, false)
            }
            O::StructGetS { struct_type_index, field_index } => {
                self.struct_get(struct_type_index, field_index, true)
            }
            O::StructSet { struct_type_index, field_index } => {
                self.struct_set(struct_type_index, field_index)
            }
            O::ArrayGet { array_type_index } | O::ArrayGetU { array_type_index } => {
                self.array_get(array_type_index, false)
            }
            O::ArrayGetS { array_type_index } => self.array_get(array_type_index, true),
            O::ArraySet { array_type_index } => self.array_set(array_type_index),
            O::ArrayLen => self.give_number(fields::LEN),
            O::RefEq => {
                let b = self.pop_slot()?;
                let a = self.pop_slot()?;
                self.ask(Question::Same(a, b))
            }
            O::RefTestNonNull { hty } => self.ref_test(hty, false),
            O::RefTestNullable { hty } => self.ref_test(hty, true),
            O::RefCastNonNull { hty } => self.ref_cast(hty, false),
            O::RefCastNullable { hty } => self.ref_cast(hty, true),
            O::BrOnCast { relative_depth, to_ref_type, .. } => {
                self.br_on_cast(relative_depth, to_ref_type, true)
            }
            O::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                self.br_on_cast(relative_depth, to_ref_type, false)
            }
            // Both families share the encoding of references.
            O::AnyConvertExtern | O::ExternConvertAny => Ok(()),
            O::RefI31 => {
                let source = self.pop_int()?;
                let (acc, a) = match source {
                    Source::Slot(slot) => (0, slot),
                    _ => (1, 0),
                };
                self.make_ref_unmarked(cast::TO_I31[acc], |d| Slots {
                    handler: 0,
                    d,
                    a,
                    b: 0,
                    c: 0,
                })
            }
            O::I31GetS => self.give_number(cast::FROM_I31[1]),
            O::I31GetU => self.give_number(cast::FROM_I31[0]),
            _ => self.visit_array(op),
        }
    }

    /// Making arrays, and bulk work on them.
    fn visit_array(&mut self, op: &Operator<'_>) -> Result<()> {
        use Operator as O;
        match *op {
            O::ArrayNew { array_type_index } => {
                self.new_array::<2>(ops::ARRAY_NEW, array_type_index, 0)
            }
            O::ArrayNewDefault { array_type_index } => {
                self.new_array::<1>(ops::ARRAY_NEW_DEFAULT, array_type_index, 0)
            }
            O::ArrayNewFixed { array_type_index, array_size } => {
                let (ty, _) = self.array_type(array_type_index)?;
                self.new_many(ops::ARRAY_NEW_FIXED, ty, array_size)
            }
            O::ArrayNewData { array_type_index, array_data_index } => {
                self.new_array::<2>(ops::ARRAY_NEW_DATA, array_type_index, array_data_index)
            }
            O::ArrayNewElem { array_type_index, array_elem_index } => {
                self.new_array::<2>(ops::ARRAY_NEW_ELEM, array_type_index, array_elem_index)
            }
            O::ArrayFill { array_type_index } => {
                self.array_work::<4>(ops::ARRAY_FILL, array_type_index, 0)
            }
            O::ArrayCopy { array_type_index_dst, .. } => {
                self.array_work::<5>(ops::ARRAY_COPY, array_type_index_dst, 0)
            }
            O::ArrayInitData { array_type_index, array_data_index } => {
                self.array_work::<4>(ops::ARRAY_INIT_DATA, array_type_index, array_data_index)
            }
            O::ArrayInitElem { array_type_index, array_elem_index } => {
                self.array_work::<4>(ops::ARRAY_INIT_ELEM, array_type_index, array_elem_index)
            }
            // The module was refused if it has any other operator.
            _ => invalid(),
        }
    }

    fn struct_type(&self, index: u32) -> Result<(&'m GcType, &'m StructLayout)> {
        match self.module.gc_type(index) {
            Some(ty @ GcType { layout: ObjectLayout::Struct(layout), .. }) => Ok((ty, layout)),
            _ => invalid(),
        }
    }

    fn array_type(&self, index: u32) -> Result<(&'m GcType, FieldKind)> {
        match self.module.gc_type(index) {
            Some(ty @ GcType { layout: ObjectLayout::Array(kind), .. }) => Ok((ty, *kind)),
            _ => invalid(),
        }
    }

    /// What a field of a structure holds, where, and what it is on the operand stack.
    fn field(&self, index: u32, field: u32) -> Result<(FieldLayout, Ty)> {
        let (ty, layout) = self.struct_type(index)?;
        let field = field as usize;
        match (layout.fields.get(field), ty.fields.get(field)) {
            (Some(&layout), Some(&ty)) => Ok((layout, ty)),
            _ => invalid(),
        }
    }

    /// What elements of an array hold, and what they are on the operand stack.
    fn element(&self, index: u32) -> Result<(FieldKind, Ty)> {
        let (ty, kind) = self.array_type(index)?;
        match *ty.fields {
            [ty] => Ok((kind, ty)),
            _ => invalid(),
        }
    }

    /// Emits an instruction that makes a reference, after its operands were popped.
    fn make_ref<T: Operands>(
        &mut self,
        handler: Handler,
        operands: impl FnOnce(u16) -> T,
    ) -> Result<()> {
        self.emitter.mark(self.offset);
        self.make_ref_unmarked(handler, operands)
    }

    /// [`Self::make_ref`] for an instruction that cannot trap.
    pub(super) fn make_ref_unmarked<T: Operands>(
        &mut self,
        handler: Handler,
        operands: impl FnOnce(u16) -> T,
    ) -> Result<()> {
        let index = self.push(Ty::Ref, Loc::Slot)?;
        let d = self.entry_slot(index);
        let at = self.emit(handler, operands(d));
        self.note_made(at, Ty::Ref, d);
        Ok(())
    }

    /// A structure from its fields: few of them are taken from wherever they are, many are put side by side.
    fn struct_new(&mut self, index: u32) -> Result<()> {
        let (ty, layout) = self.struct_type(index)?;
        let live = self.slot(self.stack.refs);
        if layout.fields.len() > SMALL {
            return self.new_many(ops::STRUCT_NEW_MANY, ty, 0);
        }
        let mut inits = Vec::with_capacity(layout.fields.len());
        for field in layout.fields.iter().rev() {
            inits.push(self.field_init(*field)?);
        }
        let funcs = layout.fields.iter().any(|field| field.kind == FieldKind::Func);
        let slow = funcs || self.module.config().fuel;
        let handler = if slow { ops::STRUCT_NEW_SLOW } else { ops::STRUCT_NEW };
        let count = inits.len() as u16;
        let (bytes, ty) = (layout.size as u16, ty.id.0);
        self.emitter.mark(self.offset);
        let entry = self.push(Ty::Ref, Loc::Slot)?;
        let d = self.entry_slot(entry);
        let at = self.emit(handler, SmallNewOps { handler: 0, d, live, count, bytes, ty, pad: 0 });
        for init in inits.into_iter().rev() {
            self.emitter.push(init);
        }
        self.note_made(at, Ty::Ref, d);
        Ok(())
    }

    /// Pops the first value of a field.
    fn field_init(&mut self, field: FieldLayout) -> Result<FieldInit> {
        let FieldLayout { offset, kind } = field;
        let offset = offset as u8;
        let (entry, pending) = self.pop()?;
        if let Loc::Const(bits) = entry.loc
            && (kind != FieldKind::B8 || i64::from(bits as i32) as u64 == bits)
        {
            let from = InitFrom::imm(kind);
            return Ok(FieldInit { slot: 0, offset, from, imm: bits as i32 });
        }
        let slot = self.in_slot(entry, pending);
        Ok(FieldInit { slot, offset, from: InitFrom::slot(kind), imm: 0 })
    }

    /// A structure or an array from values that are put side by side.
    fn new_many(&mut self, handler: Handler, ty: &GcType, count: u32) -> Result<()> {
        let values = match &ty.layout {
            ObjectLayout::Struct(layout) => layout.fields.len(),
            ObjectLayout::Array(_) => count as usize,
        };
        let live = self.slot(self.stack.refs);
        let Some(first) = self.stack.entries.len().checked_sub(values) else { return invalid() };
        self.spill_all();
        self.settle_from(first)?;
        self.stack.truncate(first);
        let (cells, refs) = (self.slot(self.stack.cells), self.slot(self.stack.refs));
        let ty = std::ptr::from_ref(ty);
        self.make_ref(handler, |d| NewOps { handler: 0, d, cells, refs, live, count, pad: 0, ty })
    }

    fn array_ops(&self, kind: FieldKind, ty: TypeId, index: u32) -> ArrayOps {
        let live = self.slot(self.stack.refs);
        ArrayOps { handler: 0, d: 0, live, x: [0; 5], kind, pad: 0, ty: ty.0, index }
    }

    /// Pops the operands of work on arrays, the last one first, and sees to it that they are in slots.
    fn pop_operands<const N: usize>(&mut self) -> Result<[u16; 5]> {
        let mut slots = [0; 5];
        for place in slots.iter_mut().take(N).rev() {
            *place = self.pop_slot()?;
        }
        Ok(slots)
    }

    /// An array, by an instruction with `N` operands.
    fn new_array<const N: usize>(&mut self, handler: Handler, ty: u32, index: u32) -> Result<()> {
        let (ty, kind) = self.array_type(ty)?;
        let operands = self.array_ops(kind, ty.id, index);
        let x = self.pop_operands::<N>()?;
        self.make_ref(handler, |d| ArrayOps { d, x, ..operands })
    }

    /// Bulk work on arrays, with `N` operands.
    fn array_work<const N: usize>(&mut self, handler: Handler, ty: u32, index: u32) -> Result<()> {
        let (ty, kind) = self.array_type(ty)?;
        let operands = self.array_ops(kind, ty.id, index);
        let x = self.pop_operands::<N>()?;
        self.emit_marked(handler, ArrayOps { x, ..operands });
        Ok(())
    }

    fn struct_get(&mut self, index: u32, field: u32, signed: bool) -> Result<()> {
        let (FieldLayout { offset, kind }, ty) = self.field(index, field)?;
        let a = self.pop_slot()?;
        let operands = move |d| FieldOps { handler: 0, d, a, offset };
        self.get(&fields::FIELD, kind, ty, signed, operands)
    }

    fn array_get(&mut self, index: u32, signed: bool) -> Result<()> {
        let (kind, ty) = self.element(index)?;
        let (acc, b) = match self.pop_int()? {
            Source::Slot(slot) => (0, slot),
            _ => (1, 0),
        };
        let a = self.pop_slot()?;
        let operands = move |d| Slots { handler: 0, d, a, b, c: 0 };
        self.get(&fields::ELEMENT[acc], kind, ty, signed, operands)
    }

    /// Reads a field or an element, and pushes what was there.
    fn get<T: Operands>(
        &mut self,
        access: &Access,
        kind: FieldKind,
        ty: Ty,
        signed: bool,
        operands: impl FnOnce(u16) -> T,
    ) -> Result<()> {
        match kind {
            FieldKind::Ref => return self.make_ref(access.get_ref, operands),
            FieldKind::B16 => return self.make_vec_marked(access.get_vec, operands),
            _ => {}
        }
        let Some(reg) = ty.reg() else { return invalid() };
        self.spill(reg);
        self.emitter.mark(self.offset);
        if kind == FieldKind::Func {
            self.produce(access.get_func, operands(0), ty)?;
            return Ok(());
        }
        let load = load_kind(kind, ty, signed);
        self.produce(access.get(load), operands(0), ty)?;
        if matches!(load, LoadIdx::U8 | LoadIdx::U16 | LoadIdx::U32) {
            self.is_zero_extended();
        }
        Ok(())
    }

    fn struct_set(&mut self, index: u32, field: u32) -> Result<()> {
        let (FieldLayout { offset, kind }, ty) = self.field(index, field)?;
        let (handler, d) = self.pop_value(&fields::FIELD, kind, ty, false)?;
        let a = self.pop_slot()?;
        self.emit_marked(handler, FieldOps { handler: 0, d, a, offset });
        Ok(())
    }

    fn array_set(&mut self, index: u32) -> Result<()> {
        let (kind, ty) = self.element(index)?;
        // Only one of value and index can be in the accumulator of integers. If the index is nowhere else, that
        // is the one.
        let place = self.stack.entries.len().checked_sub(2);
        let Some(&index) = place.and_then(|at| self.stack.entries.get(at)) else {
            return invalid();
        };
        let int_value = ty.reg() == Some(Reg::Int);
        let acc = index.loc == Loc::Acc || !int_value && self.source(index) == Source::Acc;
        let access = &fields::ELEMENT[usize::from(acc)];
        let (handler, d) = self.pop_value(access, kind, ty, acc)?;
        let b = if acc {
            self.pop()?;
            0
        } else {
            self.pop_slot()?
        };
        let a = self.pop_slot()?;
        self.emit_marked(handler, Slots { handler: 0, d, a, b, c: 0 });
        Ok(())
    }

    /// Pops a value that is to be written. Returns what writes it, and its slot. `taken` says whether the accumulator
    /// of integers holds something else that the instruction needs.
    fn pop_value(
        &mut self,
        access: &Access,
        kind: FieldKind,
        ty: Ty,
        taken: bool,
    ) -> Result<(Handler, u16)> {
        let (entry, pending) = self.pop()?;
        let has_acc = match ty.reg() {
            None => false,
            Some(Reg::Int) => !taken && kind != FieldKind::Func,
            Some(_) => true,
        };
        let acc = has_acc && self.source(entry) == Source::Acc;
        let d = if acc { 0 } else { self.in_slot(entry, pending) };
        let handler = match kind {
            FieldKind::Ref => access.set_ref,
            FieldKind::B16 => access.set_vec,
            FieldKind::Func => access.set_func,
            _ => access.set(store_kind(kind, ty, acc), acc),
        };
        Ok((handler, d))
    }

    /// Emits an instruction on the reference on top of the stack that gives an `i32`, or traps.
    fn give_number(&mut self, handlers: DestPair) -> Result<()> {
        let a = self.pop_slot()?;
        self.spill(Reg::Int);
        self.emitter.mark(self.offset);
        self.produce(handlers, Slots { handler: 0, d: 0, a, b: 0, c: 0 }, Ty::I32)?;
        self.is_zero_extended();
        Ok(())
    }

    /// Emits a question whose references were popped; the answer is an `i32`.
    pub(super) fn ask(&mut self, question: Question) -> Result<()> {
        self.spill(Reg::Int);
        let slots = |a, b| Slots { handler: 0, d: 0, a, b, c: 0 };
        let at = match question {
            Question::Null(a) => self.produce(cast::IS_NULL, slots(a, 0), Ty::I32)?,
            Question::Same(a, b) => self.produce(cast::SAME, slots(a, b), Ty::I32)?,
            Question::Passes { a, test } => self.produce(test.test(), test.operands(a), Ty::I32)?,
        };
        self.is_zero_extended();
        self.asked = Some(Asked { at, end: self.emitter.here(), question });
        Ok(())
    }

    /// Takes the newest instruction back if it is a question, the one at `at`.
    pub(super) fn take_question(&mut self, at: At) -> Option<Question> {
        let here = self.emitter.here();
        let asked = self.asked.filter(|asked| asked.at == at && asked.end == here)?;
        self.emitter.truncate(asked.at);
        self.forget_newest();
        *self.stack.reg(Reg::Int) = RegState::default();
        Some(asked.question)
    }

    /// What a test asks for.
    fn asked_type(&self, heap: wasmparser::HeapType, nullable: bool) -> Result<RefTest> {
        let func = self.heap_ty(heap) == Ty::Func;
        let heap = self.heap_type(heap)?;
        let target = RefTarget { nullable, heap };
        let (ty, quick) = match heap {
            HeapType::Concrete(id) if self.module.is_final(id) => (id.0, QuickIdx::Final),
            HeapType::Concrete(id) => (id.0, QuickIdx::Type),
            HeapType::I31 => (0, QuickIdx::Number),
            HeapType::Eq => (0, QuickIdx::Comparable),
            HeapType::Any | HeapType::Extern | HeapType::Exn => (0, QuickIdx::Anything),
            HeapType::None | HeapType::NoExtern | HeapType::NoExn => (0, QuickIdx::Nothing),
            HeapType::Struct | HeapType::Array | HeapType::Func | HeapType::NoFunc => {
                (0, QuickIdx::Ask)
            }
        };
        Ok(RefTest { ty, target, quick: (!func).then_some(quick) })
    }

    /// A heap type of the module.
    fn heap_type(&self, heap: wasmparser::HeapType) -> Result<HeapType> {
        use wasmparser::HeapType as H;
        let found = match heap {
            H::Concrete(index) | H::Exact(index) => {
                let types = &self.module.info().types;
                let at = index.as_module_index().and_then(|index| types.get(index as usize));
                at.map(|&id| HeapType::Concrete(id))
            }
            H::Abstract { ty, .. } => palisade_module::abstract_heap_type(ty),
        };
        found.map_or_else(invalid, Ok)
    }

    fn ref_test(&mut self, heap: wasmparser::HeapType, nullable: bool) -> Result<()> {
        let test = self.asked_type(heap, nullable)?;
        let a = self.pop_slot()?;
        self.ask(Question::Passes { a, test })
    }

    fn ref_cast(&mut self, heap: wasmparser::HeapType, nullable: bool) -> Result<()> {
        let test = self.asked_type(heap, nullable)?;
        let ty = self.peek_ty(0)?;
        let a = self.pop_slot()?;
        self.emit_marked(test.cast(), test.operands(a));
        self.push_again(ty, u32::from(a))
    }

    fn br_on_cast(&mut self, depth: u32, to: wasmparser::RefType, sense: bool) -> Result<()> {
        let test = self.asked_type(to.heap_type(), to.is_nullable())?;
        let ty = self.peek_ty(0)?;
        let a = self.pop_slot()?;
        self.push_again(ty, u32::from(a))?;
        self.branch_if(Cond::Asked(Question::Passes { a, test }), sense, depth)
    }
}
