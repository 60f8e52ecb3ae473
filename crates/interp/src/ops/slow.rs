//! Operations that call a built-in of the runtime: growing, bulk work on memories and tables, and
//! everything about tables. Operands come from slots, wherever they are; references of the
//! reference stack are copied to cells before, and back after.
//!
//! The built-ins give results that are passed in memory. A handler that calls one itself would have a
//! local whose address escapes, and could not end in a sibling call any more: so each of these
//! operations does its work in a function of its own that takes and returns nothing but scalars.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use palisade_core::{TrapCode, num};
use palisade_vm::builtins;
use palisade_vm::layout::{Cell, VmCtx, VmMemoryDef, VmTableDef};

use crate::ops::call::trap_code;
use crate::state::{Handler, Next, Op, State, handler};

/// Operands of a slow operation.
#[derive(Copy, Clone, Default)]
#[repr(C)]
pub(crate) struct SlowOps {
    pub(crate) handler: u64,
    /// The slots of up to three operands.
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) z: u16,
    /// The slot of the result.
    pub(crate) d: u16,
    /// Indices, as each operation says.
    pub(crate) a: u32,
    pub(crate) b: u32,
    /// Which operands are 64 bits wide: bit 0 for `x`, 1 for `y`, 2 for `z`.
    pub(crate) wide: u32,
    pub(crate) pad: u32,
}

/// An operand that is an index or a length.
pub(crate) unsafe fn number(s: &State, slot: u16, wide: bool) -> u64 {
    // SAFETY: the slot belongs to the frame.
    let cell = unsafe { s.cell(slot) };
    if wide { cell } else { u64::from(cell as u32) }
}

/// Work that an operation does in a frame of its own.
pub(crate) trait Work {
    /// The operands, all of which are read from the state's instruction.
    type Ops;
    /// Whether memory 0 may have another place or length then.
    const RELOADS: bool;
    /// # Safety
    ///
    /// As for [`Op::exec`], but for accumulators and memory 0, which `s` does not have.
    unsafe fn attempt(s: State) -> Result<(), TrapCode>;
}

/// An operation that does such work, and traps or goes on.
pub(crate) struct Slow<W>(PhantomData<W>);

/// The work, in a frame of its own. Returns 0 or the number of a trap code.
#[inline(never)]
unsafe fn work<W: Work>(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> u64 {
    let s = State::without_accumulators(ip, fp, vm);
    // SAFETY: passed on to the caller.
    let done = unsafe {
        note_exit(&s);
        W::attempt(s)
    };
    match done {
        Ok(()) => 0,
        Err(code) => code as u64,
    }
}

impl<W: Work> Op for Slow<W> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: passed on to the caller.
        unsafe {
            let status = work::<W>(s.ip, s.fp, s.vm);
            if status != 0 {
                return Next::Trap(s, trap_code(status as u32));
            }
            if W::RELOADS {
                s.reload_memory();
            }
        }
        s.after::<W::Ops>()
    }
}

/// Operations that leave memory 0 where it is.
macro_rules! works {
    ($( $(#[$doc:meta])* $name:ident, $constant:ident, $ops:ty, |$s:ident, $o:ident| $body:block )*) => {$(
        struct $name;
        impl $crate::ops::slow::Work for $name {
            type Ops = $ops;
            const RELOADS: bool = false;
            unsafe fn attempt($s: State) -> Result<(), TrapCode> {
                // SAFETY: the instruction was emitted with these operands, whose slots belong to the
                // frame and to the window, and whose types, segments and memories are those of the
                // instance's module.
                unsafe {
                    let $o = $s.operands::<$ops>();
                    $body
                }
            }
        }
        $(#[$doc])*
        pub(crate) static $constant: Handler = handler::<$crate::ops::slow::Slow<$name>>();
    )*};
}
pub(crate) use works;

macro_rules! slow_ops {
    ($( $(#[$doc:meta])* $name:ident, $constant:ident,
        |$s:ident, $o:ident, $x:ident, $y:ident, $z:ident| $body:expr; )*) => {$(
        struct $name;
        impl Work for $name {
            type Ops = SlowOps;
            const RELOADS: bool = true;
            unsafe fn attempt($s: State) -> Result<(), TrapCode> {
                // SAFETY: the instruction was emitted with `SlowOps`, whose slots belong to the
                // frame and whose indices are those of the instance's module.
                unsafe {
                    let $o = $s.operands::<SlowOps>();
                    let $x = number(&$s, $o.x, $o.wide & 1 != 0);
                    let $y = number(&$s, $o.y, $o.wide & 2 != 0);
                    let $z = number(&$s, $o.z, $o.wide & 4 != 0);
                    let _ = ($x, $y, $z);
                    let result: Result<Option<u64>, TrapCode> = $body;
                    if let Some(value) = result? {
                        $s.set_cell($o.d, value);
                    }
                }
                Ok(())
            }
        }
        $(#[$doc])*
        pub(crate) static $constant: Handler = handler::<Slow<$name>>();
    )*};
}

/// A limiter of the embedder may look where the guest is.
pub(crate) unsafe fn note_exit(s: &State) {
    // SAFETY: the store's context outlives the instance's.
    unsafe {
        let store = (*s.vm).store;
        (*store).exit_ip = s.ip;
        (*store).exit_fp = s.fp;
        (*store).exit_vmctx = s.vm;
    }
}

slow_ops! {
    /// `memory.size`: `a` is where the context holds the definition, `b` the logarithm of the
    /// page size.
    MemorySize, MEMORY_SIZE, |s, o, x, y, z| {
        let def = VmCtx::pointer::<VmMemoryDef>(s.vm, o.a);
        Ok(Some(((*def).len.load(Ordering::Acquire) as u64) >> o.b))
    };
    /// `memory.grow`: of memory `a`, by `x` pages.
    MemoryGrow, MEMORY_GROW, |s, o, x, y, z| builtins::memory_grow(s.vm, o.a, x).map(Some);
    /// `memory.copy`: to memory `a` at `x`, from memory `b` at `y`, `z` bytes.
    MemoryCopy, MEMORY_COPY, |s, o, x, y, z|
        builtins::memory_copy(s.vm, o.a, o.b, x, y, z).map(|()| None);
    /// `memory.fill`: memory `a` at `x`, with the low byte of `y`, `z` bytes.
    MemoryFill, MEMORY_FILL, |s, o, x, y, z|
        builtins::memory_fill(s.vm, o.a, x, y as u8, z).map(|()| None);
    /// `memory.init`: memory `a` at `x`, from segment `b` at `y`, `z` bytes.
    MemoryInit, MEMORY_INIT, |s, o, x, y, z|
        builtins::memory_init(s.vm, o.a, o.b, x, y, z).map(|()| None);
    /// `data.drop`: segment `a`.
    DataDrop, DATA_DROP, |s, o, x, y, z| {
        builtins::data_drop(s.vm, o.a);
        Ok(None)
    };
    /// `table.get`: of table `a` at `x`.
    TableGet, TABLE_GET, |s, o, x, y, z| builtins::table_get(s.vm, o.a, x).map(Some);
    /// `table.set`: of table `a` at `x`, to the reference in `y`.
    TableSet, TABLE_SET, |s, o, x, y, z|
        builtins::table_set(s.vm, o.a, x, s.cell(o.y)).map(|()| None);
    /// `table.size`: `a` is where the context holds the definition.
    TableSize, TABLE_SIZE, |s, o, x, y, z| {
        Ok(Some((*VmCtx::pointer::<VmTableDef>(s.vm, o.a)).len as u64))
    };
    /// `table.grow`: table `a`, by `y` elements that are the reference in `x`.
    TableGrow, TABLE_GROW, |s, o, x, y, z|
        builtins::table_grow(s.vm, o.a, s.cell(o.x), y).map(Some);
    /// `table.fill`: table `a` at `x`, with the reference in `y`, `z` elements.
    TableFill, TABLE_FILL, |s, o, x, y, z|
        builtins::table_fill(s.vm, o.a, x, s.cell(o.y), z).map(|()| None);
    /// `table.copy`: to table `a` at `x`, from table `b` at `y`, `z` elements.
    TableCopy, TABLE_COPY, |s, o, x, y, z|
        builtins::table_copy(s.vm, o.a, o.b, x, y, z).map(|()| None);
    /// `table.init`: table `a` at `x`, from segment `b` at `y`, `z` elements.
    TableInit, TABLE_INIT, |s, o, x, y, z|
        builtins::table_init(s.vm, o.a, o.b, x, y, z).map(|()| None);
    /// `elem.drop`: segment `a`.
    ElemDrop, ELEM_DROP, |s, o, x, y, z| {
        builtins::elem_drop(s.vm, o.a);
        Ok(None)
    };
    /// `ref.func`: function `a`.
    RefFunc, REF_FUNC, |s, o, x, y, z| {
        Ok(Some(builtins::ref_func(s.vm, o.a) as u64))
    };
}

/// Operands of a wide-arithmetic operation: all in slots, two results.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct WideOps {
    pub(crate) handler: u64,
    pub(crate) a: [u16; 4],
    pub(crate) low: u16,
    pub(crate) high: u16,
    pub(crate) pad: u32,
}

macro_rules! wide_ops {
    ($( $name:ident, $constant:ident, |$a:ident| $value:expr; )*) => {$(
        struct $name;
        impl Op for $name {
            #[inline(always)]
            unsafe fn exec(s: State) -> Next {
                // SAFETY: the instruction was emitted with `WideOps`, whose slots belong to the
                // frame.
                unsafe {
                    let o = s.operands::<WideOps>();
                    let $a = o.a.map(|slot| s.cell(slot) as i64);
                    let (low, high) = $value;
                    s.set_cell(o.low, low as u64);
                    s.set_cell(o.high, high as u64);
                }
                s.after::<WideOps>()
            }
        }
        pub(crate) static $constant: Handler = handler::<$name>();
    )*};
}

wide_ops! {
    Add128, ADD128, |a| num::i64_add128(a[0], a[1], a[2], a[3]);
    Sub128, SUB128, |a| num::i64_sub128(a[0], a[1], a[2], a[3]);
    MulWideS, MUL_WIDE_S, |a| num::i64_mul_wide_s(a[0], a[1]);
    MulWideU, MUL_WIDE_U, |a| num::i64_mul_wide_u(a[0] as u64, a[1] as u64);
}
