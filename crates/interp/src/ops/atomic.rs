//! Atomic operators: loads, stores, read-modify-write, fences, waiting and notifying.
//!
//! All of them are sequentially consistent, on every kind of memory; which memory is shared makes no
//! difference here but for waiting. A narrow access zero-extends, and what an `i32` leaves in the upper half
//! of its cell has no meaning, so that the operators of both types are one for each width. An address
//! that is not aligned traps before one that is out of bounds. Operands are in slots.

use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

use palisade_core::TrapCode;
use palisade_vm::builtins;
use palisade_vm::layout::{VmCtx, VmMemoryDef};

use crate::ops::arith::{D, Dest, DestPair, R, put};
use crate::ops::slow::{number, works};
use crate::state::{Handler, Next, Op, State, handler};

/// Operands of an atomic operation.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct AtomicOps {
    pub(crate) handler: u64,
    /// The destination.
    pub(crate) d: u16,
    /// The index.
    pub(crate) a: u16,
    /// The operand; what a comparison expects.
    pub(crate) x: u16,
    /// What a comparison puts in its place; the timeout of a wait.
    pub(crate) y: u16,
    /// Where the context holds the pointer to the memory's definition; for waiting and notifying, the
    /// number of the memory.
    pub(crate) memory: u32,
    /// Whether the index has 64 bits, for waiting and notifying.
    pub(crate) wide: u32,
    pub(crate) offset: u64,
}

/// The host address of an access, or the trap that it is.
#[inline(always)]
unsafe fn address<const M64: bool>(
    s: &State,
    o: AtomicOps,
    size: usize,
) -> Result<*mut u8, TrapCode> {
    // SAFETY: the slot belongs to the frame, and the context holds a live definition there.
    unsafe {
        let index = if M64 { s.cell(o.a) } else { u64::from(s.cell(o.a) as u32) };
        // A sum that wraps is aligned or not as the true one is.
        let at = index.wrapping_add(o.offset);
        if !at.is_multiple_of(size as u64) {
            return Err(TrapCode::UnalignedAtomic);
        }
        let def = VmCtx::pointer::<VmMemoryDef>(s.vm, o.memory);
        let len = (*def).len.load(Acquire) as u64;
        // Aligned, so that adding the size can only wrap to 0; `at >= len` covers that.
        if at < index || at >= len || len - at < size as u64 {
            return Err(TrapCode::MemoryOutOfBounds);
        }
        Ok((*def).base.add(at as usize))
    }
}

/// A load or a read-modify-write of one width.
trait Access {
    const SIZE: usize;
    unsafe fn access(at: *mut u8, s: &State, o: AtomicOps) -> u64;
}

macro_rules! accesses {
    ($( $name:ident, |$cell:ident, $x:ident, $y:ident| $body:expr; )*) => {
        /// The kinds of accesses that have a result.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub(crate) enum AccessIdx { $($name,)* }

        mod access {
            use super::*;
            $(
                pub(super) struct $name<I>(PhantomData<I>);
                accesses!(@width $name, u8, AtomicU8, |$cell, $x, $y| $body);
                accesses!(@width $name, u16, AtomicU16, |$cell, $x, $y| $body);
                accesses!(@width $name, u32, AtomicU32, |$cell, $x, $y| $body);
                accesses!(@width $name, u64, AtomicU64, |$cell, $x, $y| $body);
            )*
        }

        /// By kind, by logarithm of the width in bytes, by whether the index has 64 bits.
        static ACCESSES: &[[[DestPair; 2]; 4]] = &[$([
            row::<access::$name<u8>>(),
            row::<access::$name<u16>>(),
            row::<access::$name<u32>>(),
            row::<access::$name<u64>>(),
        ],)*];
    };
    (@width $name:ident, $ty:ident, $atomic:ident, |$cell:ident, $x:ident, $y:ident| $body:expr)
        => {
        impl Access for $name<$ty> {
            const SIZE: usize = size_of::<$ty>();
            #[inline(always)]
            unsafe fn access(at: *mut u8, s: &State, o: AtomicOps) -> u64 {
                // SAFETY: the caller checked that an aligned value lies at `at` inside a memory; the
                // slots belong to the frame (slot 0, where the operator has no such operand).
                unsafe {
                    let ($x, $y) = (s.cell(o.x) as $ty, s.cell(o.y) as $ty);
                    let _ = ($x, $y);
                    let $cell = $atomic::from_ptr(at.cast());
                    u64::from($body)
                }
            }
        }
    };
}

// What a narrow comparison expects is wrapped to its width, as the proposal says.
accesses! {
    Load, |cell, x, y| cell.load(SeqCst);
    Add, |cell, x, y| cell.fetch_add(x, SeqCst);
    Sub, |cell, x, y| cell.fetch_sub(x, SeqCst);
    And, |cell, x, y| cell.fetch_and(x, SeqCst);
    Or, |cell, x, y| cell.fetch_or(x, SeqCst);
    Xor, |cell, x, y| cell.fetch_xor(x, SeqCst);
    Xchg, |cell, x, y| cell.swap(x, SeqCst);
    Cmpxchg, |cell, x, y| match cell.compare_exchange(x, y, SeqCst, SeqCst) {
        Ok(old) | Err(old) => old,
    };
}

struct AccessOp<A, T, const M64: bool>(PhantomData<(A, T)>);

impl<A: Access, T: Dest, const M64: bool> Op for AccessOp<A, T, M64> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `AtomicOps`; the address was checked.
        unsafe {
            let o = s.operands::<AtomicOps>();
            match address::<M64>(&s, o, A::SIZE) {
                Ok(at) => {
                    let value = A::access(at, &s, o);
                    put::<u64, T>(&mut s, value);
                }
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<AtomicOps>()
    }
}

const fn row<A: Access>() -> [DestPair; 2] {
    [
        [handler::<AccessOp<A, R, false>>(), handler::<AccessOp<A, D, false>>()],
        [handler::<AccessOp<A, R, true>>(), handler::<AccessOp<A, D, true>>()],
    ]
}

impl AccessIdx {
    /// The handlers of an access of `1 << width` bytes.
    pub(crate) fn handlers(self, width: u8, memory64: bool) -> DestPair {
        ACCESSES[self as usize][usize::from(width & 3)][usize::from(memory64)]
    }
}

/// A store: its value is `x`.
struct StoreOp<I, const M64: bool>(PhantomData<I>);

macro_rules! stores {
    ($($ty:ident $atomic:ident),*) => {$(
        impl<const M64: bool> Op for StoreOp<$ty, M64> {
            #[inline(always)]
            unsafe fn exec(s: State) -> Next {
                // SAFETY: the instruction was emitted with `AtomicOps`; the address was checked.
                unsafe {
                    let o = s.operands::<AtomicOps>();
                    match address::<M64>(&s, o, size_of::<$ty>()) {
                        Ok(at) => $atomic::from_ptr(at.cast()).store(s.cell(o.x) as $ty, SeqCst),
                        Err(code) => return Next::Trap(s, code),
                    }
                }
                s.after::<AtomicOps>()
            }
        }
    )*};
}

stores!(u8 AtomicU8, u16 AtomicU16, u32 AtomicU32, u64 AtomicU64);

/// By logarithm of the width in bytes, by whether the index has 64 bits.
static STORES: [[Handler; 2]; 4] = [
    [handler::<StoreOp<u8, false>>(), handler::<StoreOp<u8, true>>()],
    [handler::<StoreOp<u16, false>>(), handler::<StoreOp<u16, true>>()],
    [handler::<StoreOp<u32, false>>(), handler::<StoreOp<u32, true>>()],
    [handler::<StoreOp<u64, false>>(), handler::<StoreOp<u64, true>>()],
];

/// The handler of a store of `1 << width` bytes.
pub(crate) fn store(width: u8, memory64: bool) -> Handler {
    STORES[usize::from(width & 3)][usize::from(memory64)]
}

/// Operands of a fence: none.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct FenceOps {
    pub(crate) handler: u64,
}

struct Fence;

impl Op for Fence {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        fence(SeqCst);
        s.after::<FenceOps>()
    }
}

/// `atomic.fence`.
pub(crate) static FENCE: Handler = handler::<Fence>();

works! {
    /// `memory.atomic.notify`: wakes up to `x`.
    Notify, NOTIFY, AtomicOps, |s, o| {
        let (index, count) = (number(&s, o.a, o.wide != 0), s.cell(o.x) as u32);
        let woken = builtins::memory_atomic_notify(s.vm, o.memory, index, o.offset, count)?;
        s.set_cell(o.d, woken);
        Ok(())
    }
    /// `memory.atomic.wait32`: as long as there is `x`, for `y` nanoseconds.
    Wait32, WAIT32, AtomicOps, |s, o| { wait(&s, o, false) }
    /// `memory.atomic.wait64`.
    Wait64, WAIT64, AtomicOps, |s, o| { wait(&s, o, true) }
}

/// `wide` says whether the value has 64 bits.
unsafe fn wait(s: &State, o: AtomicOps, wide: bool) -> Result<(), TrapCode> {
    // SAFETY: the slots belong to the frame, and the memory is one of the instance's module.
    unsafe {
        let (expected, timeout) = (s.cell(o.x), s.cell(o.y) as i64);
        let (memory, index, offset) = (o.memory, number(s, o.a, o.wide != 0), o.offset);
        let result =
            builtins::memory_atomic_wait(s.vm, memory, wide, index, offset, expected, timeout)?;
        s.set_cell(o.d, result);
    }
    Ok(())
}
