//! Calls and returns.
//!
//! A frame is a span of cells: parameters, then [`HEADER_CELLS`] header cells (where to go on in the
//! caller, and the caller's frame), then locals and operands. The caller leaves the arguments
//! where its own operands end, and that is where the callee's frame begins; results replace them.
//! No call recurses on the host's stack.
//!
//! A call into another instance puts a *bridge* between the two frames: four cells that hold where to go
//! on, the caller's frame and context, and how many cells of results to move. The callee returns to
//! the bridge's code ([`Bridge`]), which restores the caller's context.
//!
//! Translated code is preceded by two words: a pointer to the function's [`Signature`], and the
//! size of its frame in bytes (see `code.rs`).

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use palisade_core::{TrapCode, TypeId};
use palisade_vm::builtins;
use palisade_vm::layout::{Cell, VmCtx, VmFuncRef, VmTableDef};

use crate::code::{Glue, InterpModule, Signature};
use crate::state::{Handler, Jump, Next, Op, State, cold_handler, handler, jump_to};
use crate::val::Val;

/// Cells between the parameters and the locals of a frame.
pub(crate) const HEADER_CELLS: u32 = 2;
/// Cells of a bridge between two instances.
pub(crate) const BRIDGE_CELLS: usize = 4;

/// Operands of a call whose callee's place in the context is known.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct CallOps {
    pub(crate) handler: u64,
    /// The slot of the first argument.
    pub(crate) base: u16,
    /// How many cells the arguments take.
    pub(crate) params: u16,
    /// Where the context holds the code address, or the pointer to an imported function.
    pub(crate) target: u32,
}

/// Operands of a call through a table or a reference.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct IndirectOps {
    pub(crate) handler: u64,
    /// The slot of the first argument.
    pub(crate) base: u16,
    /// How many cells the arguments take.
    pub(crate) params: u16,
    /// The slot of the index, or of the reference.
    pub(crate) index: u16,
    /// For tail calls: where the running function's header is.
    pub(crate) header: u16,
    /// Where the context holds the pointer to the table.
    pub(crate) table: u32,
    /// The canonical type that the callee must have.
    pub(crate) type_id: u32,
    /// Where the context's array of code addresses begins.
    pub(crate) code: u32,
    /// Whether the table is indexed by 64-bit numbers.
    pub(crate) table64: u32,
}

/// Operands of a tail call whose callee's place in the context is known.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct TailOps {
    pub(crate) handler: u64,
    /// The slot of the first argument.
    pub(crate) base: u16,
    /// How many cells the arguments take.
    pub(crate) params: u16,
    /// Where the running function's header is.
    pub(crate) header: u16,
    pub(crate) pad: u16,
    /// Where the context holds the code address, or the pointer to an imported function.
    pub(crate) target: u32,
    pub(crate) pad2: u32,
}

/// Operands of a return.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ReturnOps {
    pub(crate) handler: u64,
    /// Where the running function's header is.
    pub(crate) header: u16,
    /// The slot of the (first) result.
    pub(crate) a: u16,
    /// How many cells of results there are, when they are not one.
    pub(crate) count: u16,
    pub(crate) pad: u16,
}

/// Operands of a return of a constant.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ReturnImmOps {
    pub(crate) handler: u64,
    pub(crate) header: u16,
    pub(crate) pad: [u16; 3],
    pub(crate) value: u64,
}

/// The stack is used up, or another thread asked the guest to stop, or where it is.
struct StackFull;
impl Op for StackFull {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // Who interrupts writes the reason first, then the limit that brought us here.
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: the interrupts live as long as the store.
        let interrupts = unsafe { &*(*s.vm).interrupts };
        if interrupts.wants_sample() {
            // SAFETY: nothing was changed before the frame's end was compared: the call is made again.
            unsafe { super::control::sampled(s.ip, s.fp, s.vm) };
            return Next::Go(s);
        }
        Next::Jump(s, STACK_ENDS)
    }
}

/// The same, where the call is not made again to take a sample.
struct StackEnds;
impl Op for StackEnds {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: the interrupts live as long as the store.
        let reason = unsafe { (*(*s.vm).interrupts).reason.load(Ordering::Relaxed) };
        let code = u8::try_from(reason).ok().and_then(TrapCode::from_u8);
        Next::Trap(s, code.unwrap_or(TrapCode::StackOverflow))
    }
}
pub(crate) const STACK_ENDS: Jump = cold_handler::<StackEnds>();
pub(crate) const STACK_FULL: Jump = cold_handler::<StackFull>();

/// Too many calls are nested.
struct TooDeep;
impl Op for TooDeep {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        Next::Trap(s, TrapCode::CallDepthExceeded)
    }
}
const TOO_DEEP: Jump = jump_to::<TooDeep>();

/// Whether a frame of `bytes` bytes from `fp` on fits the stack and nobody asked us to stop.
#[inline(always)]
pub(crate) unsafe fn fits(vm: *mut VmCtx, fp: *mut Cell, bytes: usize) -> bool {
    // SAFETY: the interrupts live as long as the store.
    unsafe {
        (fp as usize).wrapping_add(bytes) <= (*(*vm).interrupts).stack_limit.load(Ordering::Relaxed)
    }
}

/// Whether a frame that was found not to fit does so, and only a sample is asked for: it is taken at the next
/// opportunity.
#[cold]
#[inline(never)]
pub(crate) unsafe fn fits_but_for_sampling(vm: *mut VmCtx, fp: *mut Cell, bytes: usize) -> bool {
    // SAFETY: the interrupts live as long as the store, whose context is live.
    unsafe {
        (*(*vm).interrupts).wants_sample()
            && (fp as usize).saturating_add(bytes) <= (*(*vm).store).stack_end as usize
    }
}

/// The size of the frame of the function that `code` belongs to.
#[inline(always)]
pub(crate) unsafe fn frame_bytes(code: *const u8) -> usize {
    // SAFETY: every entry address is preceded by this word.
    unsafe { code.cast::<usize>().sub(1).read() }
}

/// Enters a function of the same instance.
#[inline(always)]
unsafe fn enter(mut s: State, code: *const u8, base: u16, params: u16, ret: *const u8) -> Next {
    // SAFETY: the caller's frame reaches to the end of the arguments, and the check covers the
    // whole frame of the callee before any of it is written.
    unsafe {
        let fp = s.fp.add(base as usize);
        if !fits(s.vm, fp, frame_bytes(code)) {
            return Next::Jump(s, STACK_FULL);
        }
        let store = (*s.vm).store;
        let depth = (*store).depth_left.wrapping_sub(1);
        if depth < 0 {
            return Next::Jump(s, TOO_DEEP);
        }
        (*store).depth_left = depth;
        let header = fp.add(params as usize);
        header.write(ret as u64);
        header.add(1).write(s.fp as u64);
        s.fp = fp;
        s.ip = code;
    }
    Next::Go(s)
}

struct Call;
impl Op for Call {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `CallOps`; the context holds a code address
        // there.
        unsafe {
            let o = s.operands::<CallOps>();
            let code = VmCtx::pointer::<u8>(s.vm, o.target);
            let ret = s.ip.add(size_of::<CallOps>());
            enter(s, code, o.base, o.params, ret)
        }
    }
}
/// A call of a function that the module defines.
pub(crate) static CALL: Handler = handler::<Call>();

struct CallImport;
impl Op for CallImport {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `CallOps`; the context holds an imported
        // function there.
        unsafe {
            let o = s.operands::<CallOps>();
            let func = VmCtx::pointer::<VmFuncRef>(s.vm, o.target);
            let ret = s.ip.add(size_of::<CallOps>());
            call_any(s, func, o.base, o.params, ret)
        }
    }
}
/// A call of an imported function.
pub(crate) static CALL_IMPORT: Handler = handler::<CallImport>();

struct CallIndirect<const ACC: bool>;
impl<const ACC: bool> Op for CallIndirect<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `IndirectOps` for a 32-bit table of functions;
        // the element is read inside the table's bounds and points to a live function.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let index = if ACC { s.acc as u32 } else { s.cell(o.index) as u32 };
            let def = VmCtx::pointer::<VmTableDef>(s.vm, o.table);
            if index as usize >= (*def).len {
                return Next::Trap(s, TrapCode::UndefinedElement);
            }
            let func = (*def).base.cast::<*mut VmFuncRef>().add(index as usize).read();
            if func.is_null() {
                return Next::Trap(s, TrapCode::UninitializedElement);
            }
            if (*func).type_id.0 != o.type_id || (*func).vmctx != s.vm {
                return Next::Jump(s, const { jump_to::<CallIndirectSlow<ACC>>() });
            }
            let code = VmCtx::pointer::<u8>(s.vm, o.code + (*func).defined_index * 8);
            let ret = s.ip.add(size_of::<IndirectOps>());
            enter(s, code, o.base, o.params, ret)
        }
    }
}
/// A call through a 32-bit table: index in a slot, in the accumulator.
pub(crate) static CALL_INDIRECT: [Handler; 2] =
    [handler::<CallIndirect<false>>(), handler::<CallIndirect<true>>()];

/// The callee of an indirect call, checked in every way: a pointer, or the number of a trap code.
///
/// In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn table_callee(ip: *const u8, vm: *mut VmCtx, index: Cell) -> usize {
    // SAFETY: as for `CallIndirect`.
    unsafe {
        let o = ip.cast::<IndirectOps>().read();
        let index = if o.table64 != 0 { index } else { u64::from(index as u32) };
        let def = VmCtx::pointer::<VmTableDef>(vm, o.table);
        if index >= (*def).len as u64 {
            return TrapCode::UndefinedElement as usize;
        }
        let func = (*def).base.cast::<*mut VmFuncRef>().add(index as usize).read();
        if func.is_null() {
            return TrapCode::UninitializedElement as usize;
        }
        let expected = TypeId(o.type_id);
        if (*func).type_id != expected && !builtins::is_subtype(vm, (*func).type_id, expected) {
            return TrapCode::IndirectCallTypeMismatch as usize;
        }
        func as usize
    }
}

/// What [`table_callee`] and the translation of a stub return is a pointer if it is more than this.
pub(crate) const LAST_CODE: usize = u8::MAX as usize;

struct CallIndirectSlow<const ACC: bool>;
impl<const ACC: bool> Op for CallIndirectSlow<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `CallIndirect`.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let func = table_callee(s.ip, s.vm, if ACC { s.acc } else { s.cell(o.index) });
            if func <= LAST_CODE {
                return Next::Trap(s, trap_code(func as u32));
            }
            let ret = s.ip.add(size_of::<IndirectOps>());
            call_any(s, func as *mut VmFuncRef, o.base, o.params, ret)
        }
    }
}
/// A call through any table, index in a slot.
pub(crate) static CALL_INDIRECT_ANY: Handler = handler::<CallIndirectSlow<false>>();

struct CallRef;
impl Op for CallRef {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `IndirectOps`; the slot holds a reference to a
        // function, whose type validation has checked.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let func = s.cell(o.index) as *mut VmFuncRef;
            if func.is_null() {
                return Next::Trap(s, TrapCode::NullFunctionReference);
            }
            if (*func).vmctx != s.vm {
                return Next::Jump(s, const { jump_to::<CallRefSlow>() });
            }
            let code = VmCtx::pointer::<u8>(s.vm, o.code + (*func).defined_index * 8);
            let ret = s.ip.add(size_of::<IndirectOps>());
            enter(s, code, o.base, o.params, ret)
        }
    }
}
/// A call of a reference.
pub(crate) static CALL_REF: Handler = handler::<CallRef>();

struct CallRefSlow;
impl Op for CallRefSlow {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `CallRef`, which found the reference not null.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let func = s.cell(o.index) as *mut VmFuncRef;
            let ret = s.ip.add(size_of::<IndirectOps>());
            call_any(s, func, o.base, o.params, ret)
        }
    }
}

/// Calls a function of the host or of any instance.
#[inline(always)]
unsafe fn call_any(
    mut s: State,
    func: *mut VmFuncRef,
    base: u16,
    params: u16,
    ret: *const u8,
) -> Next {
    // SAFETY: `func` is live; the arguments stand at `base`, inside the frame.
    unsafe {
        if !(*func).host.is_null() {
            let cells = s.fp.add(base as usize);
            let status = call_host(s.vm, s.ip, s.fp, func, cells);
            if status != 0 {
                return Next::Trap(s, trap_code(status));
            }
            s.reload_memory();
            set_accumulators(&mut s, cells.read());
            s.ip = ret;
            return Next::Go(s);
        }
        if (*func).vmctx == s.vm {
            let code = code_of(func);
            return enter(s, code, base, params, ret);
        }
        let at = s.fp.add(base as usize);
        let code = code_of(func);
        let room = frame_bytes(code) + (BRIDGE_CELLS + params as usize + 2) * 8;
        if !fits(s.vm, at, room) {
            return Next::Jump(s, STACK_FULL);
        }
        let store = (*s.vm).store;
        if (*store).depth_left <= 0 {
            return Next::Jump(s, TOO_DEEP);
        }
        (*store).depth_left -= 1;
        let results = (*signature_of(code)).result_cells;
        let glue = glue(s.vm);
        let fp = bridge(at, params as usize, ret, s.fp, s.vm, results);
        let header = fp.add(params as usize);
        header.write(glue.bridge_code() as u64);
        header.add(1).write(at as u64);
        s.vm = (*func).vmctx;
        s.reload_memory();
        s.fp = fp;
        s.ip = code;
    }
    Next::Go(s)
}

/// Sets all accumulators to the meaning of one cell.
#[inline(always)]
pub(crate) fn set_accumulators(s: &mut State, cell: Cell) {
    s.acc = cell;
    s.f32a = f32::from_cell(cell);
    s.f64a = f64::from_cell(cell);
}

/// Makes a bridge at `at`, where the arguments stand; returns the frame behind it, with them.
unsafe fn bridge(
    at: *mut Cell,
    params: usize,
    ret: *const u8,
    fp: *mut Cell,
    vm: *mut VmCtx,
    results: u32,
) -> *mut Cell {
    // SAFETY: the caller checked that the bridge and the arguments behind it fit the stack.
    unsafe {
        let frame = at.add(BRIDGE_CELLS);
        std::ptr::copy(at, frame, params);
        at.write(ret as u64);
        at.add(1).write(fp as u64);
        at.add(2).write(vm as u64);
        at.add(3).write(u64::from(results));
        frame
    }
}

/// Where the callee of a call between instances returns to.
struct Bridge;
impl Op for Bridge {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the callee's header named the bridge as the caller's frame, so `fp` points to
        // the four cells that `bridge` wrote; results stand behind them.
        unsafe {
            let at = s.fp;
            let (ret, fp, vm) = (at.read(), at.add(1).read(), at.add(2).read());
            let results = at.add(3).read() as usize;
            std::ptr::copy(at.add(BRIDGE_CELLS), at, results);
            s.ip = ret as *const u8;
            s.fp = fp as *mut Cell;
            s.vm = vm as *mut VmCtx;
            s.reload_memory();
        }
        Next::Go(s)
    }
}
pub(crate) static BRIDGE: Handler = handler::<Bridge>();

/// The address at which a function of Wasm is entered.
pub(crate) unsafe fn code_of(func: *const VmFuncRef) -> *const u8 {
    // SAFETY: `func` is a function of a live instance, whose offsets say where its code stands.
    unsafe {
        let vm = (*func).vmctx;
        let offset = (*(*vm).instance).offsets.code((*func).defined_index);
        VmCtx::pointer::<u8>(vm, offset)
    }
}

/// The signature of the function that `code` belongs to.
pub(crate) unsafe fn signature_of(code: *const u8) -> *const Signature {
    // SAFETY: every entry address is preceded by two words, the first of which is this pointer.
    unsafe { code.cast::<*const Signature>().sub(2).read() }
}

/// The glue code for the dispatcher of an instance.
unsafe fn glue(vm: *mut VmCtx) -> &'static Glue {
    // SAFETY: the context belongs to a live instance.
    let module = unsafe { InterpModule::of(vm) };
    Glue::get(module.is_some_and(|m| m.tail_calls()))
}

/// Calls a host function; its arguments stand at `cells` and its results replace them.
#[inline(never)]
unsafe fn call_host(
    vm: *mut VmCtx,
    ip: *const u8,
    fp: *mut Cell,
    func: *const VmFuncRef,
    cells: *mut Cell,
) -> u32 {
    // SAFETY: `func` is a live host function. The value stack past its arguments and results is
    // free for what the host may call in turn.
    unsafe {
        let host = (*func).host;
        let store = (*vm).store;
        (*store).exit_ip = ip;
        (*store).exit_fp = fp;
        (*store).exit_vmctx = vm;
        let room = (*host).param_cells.max((*host).result_cells) as usize;
        if cells.add(room) > (*store).stack_end {
            return TrapCode::StackOverflow as u32;
        }
        (*store).stack_top = cells.add(room);
        if (*host).has_refs {
            return call_host_with_refs(vm, func, cells);
        }
        ((*host).code)(host, (*store).store, vm, cells)
    }
}

/// [`call_host`] for signatures with references that stand in the reference stack.
unsafe fn call_host_with_refs(vm: *mut VmCtx, func: *const VmFuncRef, cells: *mut Cell) -> u32 {
    // SAFETY: the caller's reference window begins at `ref_fp` and holds the arguments.
    unsafe {
        let host = (*func).host;
        let store = (*vm).store;
        let Some(signature) = InterpModule::of(vm).and_then(|m| m.signature((*func).type_id))
        else {
            return TrapCode::Internal as u32;
        };
        let mut buffer = vec![0; (*host).param_cells.max((*host).result_cells) as usize];
        let window = (*store).ref_fp;
        if window.add(signature.ref_params.max(signature.ref_results) as usize) > (*store).ref_limit
        {
            return TrapCode::StackOverflow as u32;
        }
        signature.gather(&signature.params, cells, window, &mut buffer);
        // What the host calls in turn must leave the arguments' references alone.
        (*store).ref_fp = window.add(signature.ref_params as usize);
        let status = ((*host).code)(host, (*store).store, vm, buffer.as_mut_ptr());
        (*store).ref_fp = window;
        if status == 0 {
            signature.scatter(&signature.results, &buffer, cells, window);
        }
        status
    }
}

pub(crate) fn trap_code(status: u32) -> TrapCode {
    u8::try_from(status).ok().and_then(TrapCode::from_u8).unwrap_or(TrapCode::Internal)
}

struct Return0;
impl Op for Return0 {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `ReturnOps`.
        unsafe {
            let header = s.fp.add(s.operands::<ReturnOps>().header as usize);
            leave_frame(s, header.read(), header.add(1).read())
        }
    }
}
/// A return without results.
pub(crate) static RETURN0: Handler = handler::<Return0>();

/// Goes on in the caller.
#[inline(always)]
unsafe fn leave_frame(mut s: State, ret: u64, fp: u64) -> Next {
    // SAFETY: the two words come from the running function's header.
    unsafe {
        (*(*s.vm).store).depth_left += 1;
    }
    s.ip = ret as *const u8;
    s.fp = fp as *mut Cell;
    Next::Go(s)
}

/// A return of one value, from a slot or the accumulator of its type.
struct Return1<V, const ACC: bool>(PhantomData<V>);
impl<V: Val, const ACC: bool> Op for Return1<V, ACC> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `ReturnOps`; the header is read before the
        // result may overwrite it.
        unsafe {
            let o = s.operands::<ReturnOps>();
            let value = if ACC { V::get(&s) } else { V::from_cell(s.cell(o.a)) };
            let header = s.fp.add(o.header as usize);
            let (ret, fp) = (header.read(), header.add(1).read());
            s.fp.write(value.to_cell());
            V::set(&mut s, value);
            leave_frame(s, ret, fp)
        }
    }
}
/// By accumulator, then by whether the value is in it.
pub(crate) static RETURN1: [[Handler; 2]; 3] = [
    [handler::<Return1<u64, false>>(), handler::<Return1<u64, true>>()],
    [handler::<Return1<f32, false>>(), handler::<Return1<f32, true>>()],
    [handler::<Return1<f64, false>>(), handler::<Return1<f64, true>>()],
];

/// A return of one constant.
struct ReturnImm<V>(PhantomData<V>);
impl<V: Val> Op for ReturnImm<V> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `ReturnImmOps`; the header is read before the
        // result may overwrite it.
        unsafe {
            let o = s.operands::<ReturnImmOps>();
            let header = s.fp.add(o.header as usize);
            let (ret, fp) = (header.read(), header.add(1).read());
            s.fp.write(o.value);
            V::set(&mut s, V::from_cell(o.value));
            leave_frame(s, ret, fp)
        }
    }
}
/// By accumulator.
pub(crate) static RETURN_IMM: [Handler; 3] =
    [handler::<ReturnImm<u64>>(), handler::<ReturnImm<f32>>(), handler::<ReturnImm<f64>>()];

/// A return of any number of cells that stand side by side.
struct ReturnSpan;
impl Op for ReturnSpan {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `ReturnOps`; the header is read before the
        // results may overwrite it, and the caller's frame has room for them.
        unsafe {
            let o = s.operands::<ReturnOps>();
            let header = s.fp.add(o.header as usize);
            let (ret, fp) = (header.read(), header.add(1).read());
            std::ptr::copy(s.fp.add(o.a as usize), s.fp, o.count as usize);
            leave_frame(s, ret, fp)
        }
    }
}
pub(crate) static RETURN_SPAN: Handler = handler::<ReturnSpan>();

/// Replaces the running frame by one for `code`, with `params` cells of arguments from `base` on.
#[inline(always)]
unsafe fn replace(mut s: State, code: *const u8, base: u16, params: u16, header: u16) -> Next {
    // SAFETY: the check covers the callee's frame, which holds its arguments and header.
    unsafe {
        if !fits(s.vm, s.fp, frame_bytes(code).max((params as usize + 2) * 8)) {
            return Next::Jump(s, STACK_FULL);
        }
        let old = s.fp.add(header as usize);
        let (ret, fp) = (old.read(), old.add(1).read());
        std::ptr::copy(s.fp.add(base as usize), s.fp, params as usize);
        let new = s.fp.add(params as usize);
        new.write(ret);
        new.add(1).write(fp);
        s.ip = code;
    }
    Next::Go(s)
}

struct TailCall;
impl Op for TailCall {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `TailOps`; the context holds a code address
        // there.
        unsafe {
            let o = s.operands::<TailOps>();
            let code = VmCtx::pointer::<u8>(s.vm, o.target);
            replace(s, code, o.base, o.params, o.header)
        }
    }
}
/// A tail call of a function that the module defines.
pub(crate) static TAIL_CALL: Handler = handler::<TailCall>();

struct TailCallImport;
impl Op for TailCallImport {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `TailOps`; the context holds an imported
        // function there.
        unsafe {
            let o = s.operands::<TailOps>();
            let func = VmCtx::pointer::<VmFuncRef>(s.vm, o.target);
            tail_call_any(s, func, o.base, o.params, o.header)
        }
    }
}
/// A tail call of an imported function.
pub(crate) static TAIL_CALL_IMPORT: Handler = handler::<TailCallImport>();

struct TailCallIndirect;
impl Op for TailCallIndirect {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `CallIndirect`.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let func = table_callee(s.ip, s.vm, s.cell(o.index));
            if func <= LAST_CODE {
                return Next::Trap(s, trap_code(func as u32));
            }
            tail_call_any(s, func as *mut VmFuncRef, o.base, o.params, o.header)
        }
    }
}
/// A tail call through any table, index in a slot.
pub(crate) static TAIL_CALL_INDIRECT: Handler = handler::<TailCallIndirect>();

struct TailCallRef;
impl Op for TailCallRef {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `CallRef`.
        unsafe {
            let o = s.operands::<IndirectOps>();
            let func = s.cell(o.index) as *mut VmFuncRef;
            if func.is_null() {
                return Next::Trap(s, TrapCode::NullFunctionReference);
            }
            tail_call_any(s, func, o.base, o.params, o.header)
        }
    }
}
/// A tail call of a reference.
pub(crate) static TAIL_CALL_REF: Handler = handler::<TailCallRef>();

/// Tail-calls a function of the host or of any instance.
#[inline(always)]
unsafe fn tail_call_any(
    mut s: State,
    func: *mut VmFuncRef,
    base: u16,
    params: u16,
    header: u16,
) -> Next {
    // SAFETY: `func` is live; the arguments stand at `base`, inside the frame.
    unsafe {
        if !(*func).host.is_null() {
            let cells = s.fp.add(base as usize);
            let status = call_host(s.vm, s.ip, s.fp, func, cells);
            if status != 0 {
                return Next::Trap(s, trap_code(status));
            }
            s.reload_memory();
            set_accumulators(&mut s, cells.read());
            let header = s.fp.add(header as usize);
            let (ret, fp) = (header.read(), header.add(1).read());
            std::ptr::copy(cells, s.fp, (*(*func).host).result_cells as usize);
            return leave_frame(s, ret, fp);
        }
        let code = code_of(func);
        if (*func).vmctx == s.vm {
            return replace(s, code, base, params, header);
        }
        // Into another instance. A frame that returns to the host or to a bridge can be replaced as it
        // is, since neither cares which instance returns; all others get a bridge first, so that
        // a chain of tail calls between instances stays bounded.
        let glue = glue(s.vm);
        let old = s.fp.add(header as usize);
        let (ret, fp) = (old.read(), old.add(1).read());
        let bridged = ret == glue.bridge_code() as u64 || ret == glue.halt_code() as u64;
        let extra = if bridged { 0 } else { BRIDGE_CELLS };
        if !fits(s.vm, s.fp, frame_bytes(code) + (extra + params as usize + 2) * 8) {
            return Next::Jump(s, STACK_FULL);
        }
        std::ptr::copy(s.fp.add(base as usize), s.fp, params as usize);
        let (new, ret, fp) = if bridged {
            (s.fp, ret, fp)
        } else {
            let results = (*signature_of(code)).result_cells;
            let new =
                bridge(s.fp, params as usize, ret as *const u8, fp as *mut Cell, s.vm, results);
            (new, glue.bridge_code() as u64, s.fp as u64)
        };
        let header = new.add(params as usize);
        header.write(ret);
        header.add(1).write(fp);
        s.vm = (*func).vmctx;
        s.reload_memory();
        s.fp = new;
        s.ip = code;
    }
    Next::Go(s)
}
