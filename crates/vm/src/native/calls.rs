//! The built-ins as their wrappers call them: on the host's stack, with plain numbers.
//!
//! They are called by the system's convention for C. Each unpacks its arguments (see [`Builtin`]) and calls what every engine calls. Nothing unwinds out of here: a
//! panic poisons the store and ends the guest. A trap, or an exception that the machine code outside does not
//! catch, is a status that ends the entry.

use palisade_core::{TrapCode, TypeId};
use palisade_module::TagIdx;

use super::builtins::{Builtin, HeapCode};
use super::{entry, unwind};
use crate::builtins as b;
use crate::builtins::gc;
use crate::gc::layout::FieldKind;
use crate::layout::{Cell, VmCtx, VmFuncRef, VmRef, VmStoreCtx};
use crate::panics;

/// What a built-in leaves in the two registers of results.
#[repr(C)]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct BuiltinRet {
    /// The result.
    pub(crate) value: u64,
    /// 0, the number of a trap code, [`RESUME`] or [`CONTINUE`].
    pub(crate) status: u64,
}

/// The status that goes on where the state says.
pub(crate) const RESUME: u64 = u64::MAX;
/// The status that ends the entry and asks whoever entered to call another function.
pub(crate) const CONTINUE: u64 = u64::MAX - 1;

/// A built-in whose type nobody knows.
type Untyped = unsafe extern "C" fn();

/// The built-ins by number, for the wrappers: all but the last three, which end without a status.
#[repr(transparent)]
pub(crate) struct Implementations([Untyped; Builtin::CallInterp as usize + 1]);

/// Code of the host panicked while a guest ran.
#[derive(Debug, thiserror::Error)]
#[error("a part of the runtime, or of its embedder, panicked: {0}")]
struct Panicked(String);

/// Runs a built-in, and says how machine code goes on.
///
/// # Safety
///
/// `ctx` is the context of a live store, on its own thread, whose machine code was left through a wrapper.
unsafe fn finish(ctx: *mut VmStoreCtx, work: impl FnOnce() -> Result<u64, TrapCode>) -> BuiltinRet {
    let outcome = panics::catch(|| {
        // SAFETY: the caller's word.
        work().or_else(|code| unsafe { thrown(ctx, code) })
    });
    match outcome {
        Ok(Ok(value)) => BuiltinRet { value, status: 0 },
        Ok(Err(Ended::Trap(code))) => BuiltinRet { value: 0, status: code as u64 },
        Ok(Err(Ended::Resume)) => BuiltinRet { value: 0, status: RESUME },
        Err(text) => {
            // SAFETY: the caller's word; whoever panicked holds nothing any more.
            let store = unsafe { &mut *(*ctx).store };
            store.poisoned = true;
            store.pending_error = Some(Box::new(Panicked(text)));
            BuiltinRet { value: 0, status: TrapCode::Internal as u64 }
        }
    }
}

/// How a built-in ends that does not return.
enum Ended {
    Trap(TrapCode),
    Resume,
}

/// What becomes of a failure: an exception may be caught by the machine code outside.
///
/// # Safety
///
/// As for [`finish`].
unsafe fn thrown(ctx: *mut VmStoreCtx, code: TrapCode) -> Result<u64, Ended> {
    // SAFETY: the caller's word.
    unsafe {
        if code != TrapCode::UncaughtException || (*ctx).pending_exn.is_null() {
            return Err(Ended::Trap(code));
        }
        match unwind::catch(ctx) {
            Ok(true) => Err(Ended::Resume),
            Ok(false) => Err(Ended::Trap(code)),
            Err(code) => {
                (*ctx).pending_exn = VmRef::NULL;
                Err(Ended::Trap(code))
            }
        }
    }
}

fn low(number: u64) -> u32 {
    number as u32
}

fn high(number: u64) -> u32 {
    (number >> 32) as u32
}

fn kind(number: u32) -> Result<FieldKind, TrapCode> {
    let kind = FieldKind::ALL.into_iter().find(|&kind| kind as u32 == number);
    kind.ok_or(TrapCode::Internal)
}

/// Whether a reference is of a target; an answer that means nothing ends the guest.
fn target(heap: u64, type_id: u64) -> Result<crate::gc::RefTarget, TrapCode> {
    HeapCode::unpack(heap, type_id).ok_or(TrapCode::Internal)
}

fn func(number: u64) -> *mut VmFuncRef {
    std::ptr::with_exposed_provenance_mut(number as usize)
}

fn of_func(func: *mut VmFuncRef) -> u64 {
    func.expose_provenance() as u64
}

/// The built-in with a number of arguments beside the context.
macro_rules! implementation {
    ($work:expr, $a:ident) => {{
        unsafe extern "C" fn call(vm: *mut VmCtx, $a: u64) -> BuiltinRet {
            // SAFETY: machine code passes its own context and what the built-in wants; its wrapper has left it.
            unsafe { finish((*vm).store, || $work(vm, $a)) }
        }
        // SAFETY: both are addresses of functions; the wrappers call with the arguments that machine code gives.
        unsafe { std::mem::transmute::<unsafe extern "C" fn(*mut VmCtx, u64) -> BuiltinRet, Untyped>(call) }
    }};
    ($work:expr, $a:ident, $b:ident) => {{
        unsafe extern "C" fn call(vm: *mut VmCtx, $a: u64, $b: u64) -> BuiltinRet {
            // SAFETY: as above.
            unsafe { finish((*vm).store, || $work(vm, $a, $b)) }
        }
        // SAFETY: as above.
        unsafe { std::mem::transmute::<unsafe extern "C" fn(*mut VmCtx, u64, u64) -> BuiltinRet, Untyped>(call) }
    }};
    ($work:expr, $a:ident, $b:ident, $c:ident) => {{
        unsafe extern "C" fn call(vm: *mut VmCtx, $a: u64, $b: u64, $c: u64) -> BuiltinRet {
            // SAFETY: as above.
            unsafe { finish((*vm).store, || $work(vm, $a, $b, $c)) }
        }
        // SAFETY: as above.
        unsafe { std::mem::transmute::<unsafe extern "C" fn(*mut VmCtx, u64, u64, u64) -> BuiltinRet, Untyped>(call) }
    }};
    ($work:expr, $a:ident, $b:ident, $c:ident, $d:ident) => {{
        unsafe extern "C" fn call(vm: *mut VmCtx, $a: u64, $b: u64, $c: u64, $d: u64) -> BuiltinRet {
            // SAFETY: as above.
            unsafe { finish((*vm).store, || $work(vm, $a, $b, $c, $d)) }
        }
        // SAFETY: as above.
        unsafe { std::mem::transmute::<unsafe extern "C" fn(*mut VmCtx, u64, u64, u64, u64) -> BuiltinRet, Untyped>(call) }
    }};
    ($work:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {{
        unsafe extern "C" fn call(vm: *mut VmCtx, $a: u64, $b: u64, $c: u64, $d: u64, $e: u64) -> BuiltinRet {
            // SAFETY: as above.
            unsafe { finish((*vm).store, || $work(vm, $a, $b, $c, $d, $e)) }
        }
        // SAFETY: as above.
        unsafe { std::mem::transmute::<unsafe extern "C" fn(*mut VmCtx, u64, u64, u64, u64, u64) -> BuiltinRet, Untyped>(call) }
    }};
}

/// One implementation for each built-in, in order.
macro_rules! implementations {
    ($($name:ident($vm:ident, $($param:ident),*) => $work:expr;)*) => {
        /// See [`Implementations`].
        pub(crate) static IMPLEMENTATIONS: Implementations = Implementations([$(
            implementation!(
                {
                    unsafe fn work($vm: *mut VmCtx, $($param: u64),*) -> Result<u64, TrapCode> {
                        // SAFETY: as each built-in says; machine code is translated from valid Wasm. Nothing
                        // refers into the store: its machine code has been left.
                        #[allow(unused_unsafe, reason = "some need none")]
                        unsafe { $work }
                    }
                    work
                },
                $($param),*
            ),)*
            // SAFETY: both are addresses of functions.
            unsafe { std::mem::transmute::<StubCall, Untyped>(entry::call_interp) },
        ]);

        // The order is that of the declaration.
        const _: () = {
            let mut next = 0;
            $(
                assert!(Builtin::$name as usize == next);
                next += 1;
            )*
            assert!(Builtin::CallInterp as usize == next);
            assert!(Builtin::MoveBytes as usize == next + 1 && Builtin::FillBytes as usize == next + 2);
            assert!(Builtin::CallHost as usize == next + 3 && Builtin::ALL.len() == next + 4);
        };
    };
}

/// What stubs call.
type StubCall = unsafe extern "C" fn(*mut VmStoreCtx, *mut VmFuncRef, *mut Cell) -> BuiltinRet;

/// Runs what a stub called.
///
/// # Safety
///
/// As for [`finish`].
pub(crate) unsafe fn finish_stub(
    ctx: *mut VmStoreCtx,
    work: impl FnOnce() -> Result<u64, TrapCode>,
) -> BuiltinRet {
    // SAFETY: passed on.
    unsafe { finish(ctx, work) }
}

implementations! {
    MemoryGrow(vm, memory, delta) => b::memory_grow(vm, low(memory), delta);
    MemoryCopy(vm, memories, to, from, len) =>
        b::memory_copy(vm, low(memories), high(memories), to, from, len).map(|()| 0);
    MemoryFill(vm, memory, to, byte, len) =>
        b::memory_fill(vm, low(memory), to, byte as u8, len).map(|()| 0);
    MemoryInit(vm, memory_data, to, from, len) =>
        b::memory_init(vm, low(memory_data), high(memory_data), to, from, len).map(|()| 0);
    DataDrop(vm, data) => { b::data_drop(vm, low(data)); Ok(0) };
    TableGrow(vm, table, init, delta) => b::table_grow(vm, low(table), init, delta);
    TableFill(vm, table, at, value, len) => b::table_fill(vm, low(table), at, value, len).map(|()| 0);
    TableCopy(vm, tables, to, from, len) =>
        b::table_copy(vm, low(tables), high(tables), to, from, len).map(|()| 0);
    TableInit(vm, table_elem, to, from, len) =>
        b::table_init(vm, low(table_elem), high(table_elem), to, from, len).map(|()| 0);
    ElemDrop(vm, elem) => { b::elem_drop(vm, low(elem)); Ok(0) };
    RefFunc(vm, index) => {
        let reference = b::ref_func(vm, low(index));
        if reference.is_null() { Err(TrapCode::Internal) } else { Ok(of_func(reference)) }
    };
    IsSubtype(vm, sub, sup) => Ok(b::is_subtype(vm, TypeId(low(sub)), TypeId(low(sup))).into());
    Notify(vm, memory, index, offset, count) =>
        b::memory_atomic_notify(vm, low(memory), index, offset, low(count));
    Wait32(vm, memory, index, offset, expected, timeout) =>
        b::memory_atomic_wait(vm, low(memory), false, index, offset, expected, timeout as i64);
    Wait64(vm, memory, index, offset, expected, timeout) =>
        b::memory_atomic_wait(vm, low(memory), true, index, offset, expected, timeout as i64);
    StructNew(vm, type_id, bytes) =>
        gc::struct_new(vm, TypeId(low(type_id)), low(bytes), 0).map(|object| object.0.into());
    ArrayNew(vm, type_id, elements, len) =>
        gc::array_new(vm, TypeId(low(type_id)), kind(low(elements))?, low(len), 0)
            .map(|object| object.0.into());
    ArrayNewData(vm, ty, data, from, len) => {
        let (ty, kind) = (TypeId(low(ty)), kind(high(ty))?);
        gc::array_new_data(vm, ty, kind, low(data), low(from), low(len), 0)
            .map(|object| object.0.into())
    };
    ArrayNewElem(vm, ty, elem, from, len) => {
        let (ty, kind) = (TypeId(low(ty)), kind(high(ty))?);
        gc::array_new_elem(vm, ty, kind, low(elem), low(from), low(len), 0)
            .map(|object| object.0.into())
    };
    ArrayInitData(vm, array, to, from, len) => {
        let (object, kind) = (VmRef(low(array)), kind(high(array))?);
        gc::array_init_data(vm, object, kind, high(to), low(to), low(from), low(len)).map(|()| 0)
    };
    ArrayInitElem(vm, array, to, from, len) => {
        let (object, kind) = (VmRef(low(array)), kind(high(array))?);
        gc::array_init_elem(vm, object, kind, high(to), low(to), low(from), low(len)).map(|()| 0)
    };
    ArrayFill(vm, array, to, first, second, len) => {
        let (object, kind) = (VmRef(low(array)), kind(high(array))?);
        gc::array_fill(vm, object, kind, low(to), [first, second], low(len)).map(|()| 0)
    };
    ArrayCopy(vm, array, to, source, from, len) => {
        let (object, kind) = (VmRef(low(array)), kind(high(array))?);
        gc::array_copy(vm, kind, object, low(to), VmRef(low(source)), low(from), low(len)).map(|()| 0)
    };
    RefIs(vm, reference, heap, type_id) =>
        Ok(gc::ref_is(vm, VmRef(low(reference)), target(heap, type_id)?).into());
    FuncIs(vm, reference, heap, type_id) =>
        Ok(gc::func_is(vm, func(reference), target(heap, type_id)?).into());
    FuncNumber(vm, reference) => gc::func_number(vm, func(reference)).map(u64::from);
    FuncOfNumber(vm, number) => Ok(of_func(gc::func_of_number(vm, low(number))));
    ExnNew(vm, tag, bytes) => {
        let offset = (&(*(*vm).instance)).offsets.tag(TagIdx(low(tag)));
        let identity = VmCtx::pointer::<()>(vm, offset);
        gc::exn_new(vm, identity, low(bytes), 0).map(|object| object.0.into())
    };
    Throw(vm, exception) => {
        let exception = VmRef(low(exception));
        if exception.is_null() {
            return Err(TrapCode::NullExceptionReference);
        }
        (*(*vm).store).pending_exn = exception;
        Err(TrapCode::UncaughtException)
    };
}
