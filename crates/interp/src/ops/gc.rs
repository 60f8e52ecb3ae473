//! Making structures and arrays, and bulk work on arrays.
//!
//! An instruction that allocates says how many references of the window are in use (`live`, its own operands
//! included): a collection changes those, so that operands are read from their slots when the object is
//! there, and never before. Where no fuel is consumed, small structures take the next free place in the heap
//! if there is one; all else is work of the runtime, done in functions of scalars (see `slow.rs`).

use palisade_core::{TrapCode, TypeId};
use palisade_vm::builtins::gc;
use palisade_vm::gc::layout::{ELEMENTS, FieldKind, FieldLayout, ObjectLayout, StructLayout};
use palisade_vm::layout::{Cell, VmCtx, VmFuncRef, VmRef};

use crate::gc_type::GcType;
use crate::ops::call::trap_code;
use crate::ops::fields::object;
use crate::ops::refs::{get, set, window};
use crate::ops::slow::{note_exit, works};
use crate::state::{Handler, Next, Op, State, cold_handler, handler};

/// Operands of an instruction that makes a structure, or an array, from a run of cells and a run of references.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct NewOps {
    pub(crate) handler: u64,
    /// The slot of the result, in the window.
    pub(crate) d: u16,
    /// The slot of the first operand in the frame.
    pub(crate) cells: u16,
    /// The slot of the first operand in the window.
    pub(crate) refs: u16,
    pub(crate) live: u16,
    /// How many elements, for an array.
    pub(crate) count: u32,
    pub(crate) pad: u32,
    /// The type; it lives as long as the code.
    pub(crate) ty: *const GcType,
}

/// Operands of an instruction that makes a structure of few fields; one [`FieldInit`] for each follows.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct SmallNewOps {
    pub(crate) handler: u64,
    /// The slot of the result, in the window.
    pub(crate) d: u16,
    pub(crate) live: u16,
    pub(crate) count: u16,
    /// The size of the object.
    pub(crate) bytes: u16,
    pub(crate) ty: u32,
    pub(crate) pad: u32,
}

/// Where the first value of a field comes from.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct FieldInit {
    /// The slot of the frame or, for references, of the window.
    pub(crate) slot: u16,
    /// Where in the object.
    pub(crate) offset: u8,
    pub(crate) from: InitFrom,
    pub(crate) imm: i32,
}

/// What a field is set to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum InitFrom {
    /// The low byte of a cell.
    Cell8,
    /// The low two bytes of a cell.
    Cell16,
    /// The low half of a cell.
    Cell32,
    /// A cell.
    Cell64,
    /// Two cells.
    Cell128,
    /// A reference.
    Ref,
    /// A cell with a function.
    Func,
    /// The immediate, as so many bits. Null is 0.
    Imm8,
    Imm16,
    Imm32,
    Imm64,
}

impl InitFrom {
    /// From the slot of a value.
    pub(crate) fn slot(kind: FieldKind) -> Self {
        match kind {
            FieldKind::I8 => Self::Cell8,
            FieldKind::I16 => Self::Cell16,
            FieldKind::B4 => Self::Cell32,
            FieldKind::B8 => Self::Cell64,
            FieldKind::B16 => Self::Cell128,
            FieldKind::Ref => Self::Ref,
            FieldKind::Func => Self::Func,
        }
    }

    /// From an immediate; vectors are none.
    pub(crate) fn imm(kind: FieldKind) -> Self {
        match kind {
            FieldKind::I8 => Self::Imm8,
            FieldKind::I16 => Self::Imm16,
            FieldKind::B8 => Self::Imm64,
            _ => Self::Imm32,
        }
    }
}

/// Fields that [`SmallNewOps`] are used for. Their offsets fit a byte.
pub(crate) const SMALL: usize = 8;

const _: () = {
    assert!(size_of::<FieldInit>() == 8 && size_of::<SmallNewOps>() == 24);
    assert!(ELEMENTS as usize + SMALL * 16 <= u8::MAX as usize);
};

/// Operands of the other instructions that make objects, and of bulk work on arrays.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ArrayOps {
    pub(crate) handler: u64,
    /// The slot of the result, in the window.
    pub(crate) d: u16,
    pub(crate) live: u16,
    /// The slots of up to five operands: references in the window, all others in the frame.
    pub(crate) x: [u16; 5],
    pub(crate) kind: FieldKind,
    pub(crate) pad: u8,
    pub(crate) ty: u32,
    /// A segment, or the size of a structure.
    pub(crate) index: u32,
}

/// Writes a value to a field or an element of the object at `object`, as long as that is not a function.
#[inline(always)]
unsafe fn init(fp: *mut Cell, window: *mut VmRef, object: *mut u8, field: FieldInit) {
    // SAFETY: the slot belongs to the part of the frame that such a value stands in, and the object has
    // room for it.
    unsafe {
        let at = object.add(field.offset as usize);
        let cell = fp.add(field.slot as usize);
        match field.from {
            InitFrom::Cell8 => at.write(cell.read() as u8),
            InitFrom::Cell16 => at.cast::<u16>().write(cell.read() as u16),
            InitFrom::Cell32 => at.cast::<u32>().write(cell.read() as u32),
            InitFrom::Cell64 => at.cast::<u64>().write(cell.read()),
            InitFrom::Cell128 => at.cast::<[u64; 2]>().write(cell.cast::<[u64; 2]>().read()),
            InitFrom::Ref => at.cast::<VmRef>().write(window.add(field.slot as usize).read()),
            InitFrom::Func => {}
            InitFrom::Imm8 => at.write(field.imm as u8),
            InitFrom::Imm16 => at.cast::<u16>().write(field.imm as u16),
            InitFrom::Imm32 => at.cast::<i32>().write(field.imm),
            InitFrom::Imm64 => at.cast::<i64>().write(i64::from(field.imm)),
        }
    }
}

/// [`init`] for every kind.
unsafe fn init_any(s: &State, object: *mut u8, field: FieldInit) -> Result<(), TrapCode> {
    // SAFETY: as for `init`; a cell with a function holds a reference to one, or null.
    unsafe {
        if field.from == InitFrom::Func {
            let number = gc::func_number(s.vm, s.cell(field.slot) as *mut VmFuncRef)?;
            object.add(field.offset as usize).cast::<u32>().write(number);
        } else {
            init(s.fp, window(s), object, field);
        }
    }
    Ok(())
}

/// A value in a slot, for the field of a kind at the very start of what is written to.
fn at_start(kind: FieldKind, slot: u16) -> FieldInit {
    FieldInit { slot, offset: 0, from: InitFrom::slot(kind), imm: 0 }
}

/// Sets all fields of an object from a run of cells and a run of references.
pub(super) unsafe fn init_fields(
    s: &State,
    made: VmRef,
    layout: &StructLayout,
    mut cell: u16,
    mut reference: u16,
) -> Result<(), TrapCode> {
    // SAFETY: the object has this layout, and values of its fields' types stand in the slots.
    unsafe {
        let object = object(s, made);
        for &FieldLayout { offset, kind } in &layout.fields {
            let next = if kind == FieldKind::Ref { &mut reference } else { &mut cell };
            init_any(s, object.add(offset as usize), at_start(kind, *next))?;
            *next += if kind == FieldKind::B16 { 2 } else { 1 };
        }
    }
    Ok(())
}

/// A structure of few fields, none of them a function, in the next free place.
struct StructNew;
impl Op for StructNew {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `SmallNewOps`; between `heap_next` and `heap_end` there is
        // room for objects, and the fields lie inside of this one.
        unsafe {
            let o = s.operands::<SmallNewOps>();
            let store = (*s.vm).store;
            let at = (*store).heap_next;
            let end = at + o.bytes as usize;
            if end > (*store).heap_end {
                return Next::Jump(s, const { cold_handler::<StructNewSlow>() });
            }
            (*store).heap_next = end;
            let object = (*store).heap_base.add(at);
            object.cast::<[u32; 2]>().write([o.ty, 0]);
            let window = window(&s);
            let mut field = s.ip.add(size_of::<SmallNewOps>()).cast::<FieldInit>();
            let end = field.add(o.count as usize);
            while field < end {
                init(s.fp, window, object, field.read());
                field = field.add(1);
            }
            window.add(o.d as usize).write(VmRef(at as u32));
            s.ip = end.cast();
        }
        Next::Go(s)
    }
}
/// A structure of few fields, none of them a function, where no fuel is consumed: [`SmallNewOps`].
pub(crate) static STRUCT_NEW: Handler = handler::<StructNew>();

/// Makes a structure of few fields. Returns 0 or the number of a trap code.
#[inline(never)]
unsafe fn struct_new(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> u64 {
    // SAFETY: the instruction was emitted with `SmallNewOps`; the fields lie inside of the object.
    unsafe {
        let s = State::without_accumulators(ip, fp, vm);
        note_exit(&s);
        let o = s.operands::<SmallNewOps>();
        let made = gc::struct_new(vm, TypeId(o.ty), u32::from(o.bytes), u32::from(o.live));
        let made = match made {
            Ok(made) => made,
            Err(code) => return code as u64,
        };
        let object = object(&s, made);
        for i in 0..o.count as usize {
            let field = ip.add(size_of::<SmallNewOps>()).cast::<FieldInit>().add(i).read();
            if let Err(code) = init_any(&s, object, field) {
                return code as u64;
            }
        }
        set(&s, o.d, made);
        0
    }
}

struct StructNewSlow;
impl Op for StructNewSlow {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: as in `struct_new`.
        unsafe {
            let count = s.operands::<SmallNewOps>().count as usize;
            let status = struct_new(s.ip, s.fp, s.vm);
            if status != 0 {
                return Next::Trap(s, trap_code(status as u32));
            }
            s.ip = s.ip.add(size_of::<SmallNewOps>() + count * size_of::<FieldInit>());
        }
        Next::Go(s)
    }
}
/// A structure of few fields: [`SmallNewOps`].
pub(crate) static STRUCT_NEW_SLOW: Handler = handler::<StructNewSlow>();

/// An operand that is a number.
unsafe fn number(s: &State, slot: u16) -> u32 {
    // SAFETY: the slot belongs to the frame.
    unsafe { s.cell(slot) as u32 }
}

/// A value as the runtime takes it, with nothing in the bits that mean nothing.
unsafe fn value(s: &State, kind: FieldKind, slot: u16) -> [Cell; 2] {
    // SAFETY: the slot belongs to the part of the frame that such a value stands in.
    unsafe {
        match kind {
            FieldKind::Ref => [u64::from(get(s, slot).0), 0],
            FieldKind::I8 => [s.cell(slot) & 0xFF, 0],
            FieldKind::I16 => [s.cell(slot) & 0xFFFF, 0],
            FieldKind::B4 => [u64::from(s.cell(slot) as u32), 0],
            FieldKind::B8 | FieldKind::Func => [s.cell(slot), 0],
            FieldKind::B16 => [s.cell(slot), s.cell(slot + 1)],
        }
    }
}

works! {
    /// A structure of any number of fields, from a run of cells and a run of references.
    StructNewMany, STRUCT_NEW_MANY, NewOps, |s, o| {
        let ty = &*o.ty;
        let ObjectLayout::Struct(layout) = &ty.layout else { return Err(TrapCode::Internal) };
        let made = gc::struct_new(s.vm, ty.id, layout.size, u32::from(o.live))?;
        init_fields(&s, made, layout, o.cells, o.refs)?;
        set(&s, o.d, made);
        Ok(())
    }
    /// A structure of `index` bytes whose fields are all zero.
    StructNewDefault, STRUCT_NEW_DEFAULT, ArrayOps, |s, o| {
        let made = gc::struct_new(s.vm, TypeId(o.ty), o.index, u32::from(o.live))?;
        set(&s, o.d, made);
        Ok(())
    }
    /// An array from a run of cells, or of references.
    ArrayNewFixed, ARRAY_NEW_FIXED, NewOps, |s, o| {
        let ty = &*o.ty;
        let ObjectLayout::Array(kind) = ty.layout else { return Err(TrapCode::Internal) };
        let made = gc::array_new(s.vm, ty.id, kind, o.count, u32::from(o.live))?;
        let (mut slot, step) = match kind {
            FieldKind::Ref => (o.refs, 1),
            FieldKind::B16 => (o.cells, 2),
            _ => (o.cells, 1),
        };
        let mut at = object(&s, made).add(ELEMENTS as usize);
        for _ in 0..o.count {
            init_any(&s, at, at_start(kind, slot))?;
            at = at.add(kind.size() as usize);
            slot += step;
        }
        set(&s, o.d, made);
        Ok(())
    }
    /// An array of `x[1]` elements that are `x[0]`.
    ArrayNew, ARRAY_NEW, ArrayOps, |s, o| {
        let len = number(&s, o.x[1]);
        let made = gc::array_new(s.vm, TypeId(o.ty), o.kind, len, u32::from(o.live))?;
        let value = value(&s, o.kind, o.x[0]);
        if value != [0; 2] {
            (*(*(*s.vm).store).store).gc_fill(made, o.kind, 0, value, len)?;
        }
        set(&s, o.d, made);
        Ok(())
    }
    /// An array of `x[0]` elements that are zero.
    ArrayNewDefault, ARRAY_NEW_DEFAULT, ArrayOps, |s, o| {
        let len = number(&s, o.x[0]);
        let made = gc::array_new(s.vm, TypeId(o.ty), o.kind, len, u32::from(o.live))?;
        set(&s, o.d, made);
        Ok(())
    }
    /// An array of `x[1]` elements from data segment `index`, from byte `x[0]` on.
    ArrayNewData, ARRAY_NEW_DATA, ArrayOps, |s, o| {
        let (from, len) = (number(&s, o.x[0]), number(&s, o.x[1]));
        let (ty, live) = (TypeId(o.ty), u32::from(o.live));
        let made = gc::array_new_data(s.vm, ty, o.kind, o.index, from, len, live)?;
        set(&s, o.d, made);
        Ok(())
    }
    /// An array of `x[1]` elements from element segment `index`, from element `x[0]` on.
    ArrayNewElem, ARRAY_NEW_ELEM, ArrayOps, |s, o| {
        let (from, len) = (number(&s, o.x[0]), number(&s, o.x[1]));
        let (ty, live) = (TypeId(o.ty), u32::from(o.live));
        let made = gc::array_new_elem(s.vm, ty, o.kind, o.index, from, len, live)?;
        set(&s, o.d, made);
        Ok(())
    }
    /// Elements of array `x[0]` from `x[1]` on to value `x[2]`, `x[3]` of them.
    ArrayFill, ARRAY_FILL, ArrayOps, |s, o| {
        let (to, len) = (number(&s, o.x[1]), number(&s, o.x[3]));
        let value = value(&s, o.kind, o.x[2]);
        gc::array_fill(s.vm, get(&s, o.x[0]), o.kind, to, value, len)
    }
    /// To array `x[0]` from `x[1]` on, from array `x[2]` from `x[3]` on, `x[4]` elements.
    ArrayCopy, ARRAY_COPY, ArrayOps, |s, o| {
        let (to, from, len) = (number(&s, o.x[1]), number(&s, o.x[3]), number(&s, o.x[4]));
        gc::array_copy(s.vm, o.kind, get(&s, o.x[0]), to, get(&s, o.x[2]), from, len)
    }
    /// To array `x[0]` from `x[1]` on, from data segment `index` from byte `x[2]` on, `x[3]` elements.
    ArrayInitData, ARRAY_INIT_DATA, ArrayOps, |s, o| {
        let (to, from, len) = (number(&s, o.x[1]), number(&s, o.x[2]), number(&s, o.x[3]));
        gc::array_init_data(s.vm, get(&s, o.x[0]), o.kind, o.index, to, from, len)
    }
    /// To array `x[0]` from `x[1]` on, from element segment `index` from `x[2]` on, `x[3]` elements.
    ArrayInitElem, ARRAY_INIT_ELEM, ArrayOps, |s, o| {
        let (to, from, len) = (number(&s, o.x[1]), number(&s, o.x[2]), number(&s, o.x[3]));
        gc::array_init_elem(s.vm, get(&s, o.x[0]), o.kind, o.index, to, from, len)
    }
}
