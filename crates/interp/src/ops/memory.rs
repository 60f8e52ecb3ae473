//! Loads and stores.
//!
//! Bounds are checked here, in software, on the exact effective address: index, offset and size
//! are added in 64 bits, where they cannot wrap for a 32-bit memory (33 bits are enough), and with
//! checked additions for a 64-bit one.
//!
//! The fast forms are for a 32-bit memory 0 that no other thread can grow, whose place and length
//! stand in registers. All other memories go through [`Far`] forms, which read the definition at each access;
//! shared ones through forms of their own that never race in the eyes of the compiler (see
//! [`palisade_vm::racy`]).

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use palisade_core::TrapCode;
use palisade_vm::layout::{VmCtx, VmMemoryDef};
use palisade_vm::racy;

use crate::ops::arith::{D, Dest, DestPair, R, put};
use crate::state::{Handler, Next, Op, State, handler};
use crate::val::Val;

/// How bytes of memory become a value.
pub(crate) trait Load {
    type Out: Val;
    const SIZE: usize;
    unsafe fn load(at: *const u8) -> Self::Out;
    /// The same from a shared memory.
    unsafe fn load_shared(at: *const u8) -> Self::Out;
}

/// How a value becomes bytes of memory.
pub(crate) trait Store {
    type In: Val;
    const SIZE: usize;
    unsafe fn store(at: *mut u8, value: Self::In);
    /// The same to a shared memory.
    unsafe fn store_shared(at: *mut u8, value: Self::In);
}

/// A number as it stands in memory.
trait Raw {
    fn from_low_bits(bits: u64) -> Self;
    fn to_low_bits(self) -> u64;
}

macro_rules! raw {
    ($( $ty:ident, |$bits:ident| $from:expr, |$value:ident| $to:expr; )*) => {$(
        impl Raw for $ty {
            #[inline(always)]
            fn from_low_bits($bits: u64) -> Self {
                $from
            }
            #[inline(always)]
            fn to_low_bits(self) -> u64 {
                let $value = self;
                $to
            }
        }
    )*};
}

raw! {
    u8, |bits| bits as u8, |x| u64::from(x);
    i8, |bits| bits as i8, |x| x as u64;
    u16, |bits| bits as u16, |x| u64::from(x);
    i16, |bits| bits as i16, |x| x as u64;
    u32, |bits| bits as u32, |x| u64::from(x);
    i32, |bits| bits as i32, |x| x as u64;
    u64, |bits| bits, |x| x;
    f32, |bits| f32::from_bits(bits as u32), |x| u64::from(x.to_bits());
    f64, |bits| f64::from_bits(bits), |x| x.to_bits();
}

macro_rules! loads {
    ($( $name:ident, $raw:ty, $out:ty; )*) => {
        /// The kinds of loads. What is loaded into an `i32` may also extend into the upper half of its
        /// cell, which has no meaning; so `i32.load8_s` and `i64.load8_s` are one.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub(crate) enum LoadIdx { $($name,)* }
        pub(crate) mod load {
            use super::*;
            $(
                pub(crate) struct $name;
                impl Load for $name {
                    type Out = $out;
                    const SIZE: usize = size_of::<$raw>();
                    #[inline(always)]
                    unsafe fn load(at: *const u8) -> $out {
                        // SAFETY: the caller checked that SIZE bytes from `at` belong to a memory.
                        unsafe { at.cast::<$raw>().read_unaligned() as $out }
                    }
                    #[inline(always)]
                    unsafe fn load_shared(at: *const u8) -> $out {
                        // SAFETY: as above, and the memory is a shared one.
                        let bits = unsafe { racy::load::<{ size_of::<$raw>() }>(at) };
                        <$raw>::from_low_bits(bits) as $out
                    }
                }
            )*
        }
        static LOADS: &[[DestPair; 11]] = &[$(load_row::<load::$name>(),)*];
        static FAR_LOADS: &[[DestPair; 4]] = &[$(far_load_row::<load::$name>(),)*];
    };
}

loads! {
    U8, u8, u64;
    S8, i8, i64;
    U16, u16, u64;
    S16, i16, i64;
    U32, u32, u64;
    S32, i32, i64;
    U64, u64, u64;
    F32, f32, f32;
    F64, f64, f64;
}

macro_rules! stores {
    ($( $name:ident, $raw:ty, $in:ty; )*) => {
        /// The kinds of stores.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub(crate) enum StoreIdx { $($name,)* }
        pub(crate) mod store {
            use super::*;
            $(
                pub(crate) struct $name;
                impl Store for $name {
                    type In = $in;
                    const SIZE: usize = size_of::<$raw>();
                    #[inline(always)]
                    unsafe fn store(at: *mut u8, value: $in) {
                        // SAFETY: the caller checked that SIZE bytes from `at` belong to a memory.
                        unsafe { at.cast::<$raw>().write_unaligned(value as $raw) }
                    }
                    #[inline(always)]
                    unsafe fn store_shared(at: *mut u8, value: $in) {
                        let bits = (value as $raw).to_low_bits();
                        // SAFETY: as above, and the memory is a shared one.
                        unsafe { racy::store::<{ size_of::<$raw>() }>(at, bits) }
                    }
                }
            )*
        }
        static STORES: &[[[Handler; 3]; 11]] = &[$(store_row::<store::$name>(),)*];
        static FAR_STORES: &[[Handler; 4]] = &[$(far_store_row::<store::$name>(),)*];
    };
}

// A float in a slot is stored like an integer of its size; `F32` and `F64` are for accumulators.
stores! {
    B8, u8, u64;
    B16, u16, u64;
    B32, u32, u64;
    B64, u64, u64;
    F32, f32, f32;
    F64, f64, f64;
}

/// Operands of a fast access.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct MemOps {
    pub(crate) handler: u64,
    /// The destination of a load.
    pub(crate) d: u16,
    /// The index, or its first part.
    pub(crate) a: u16,
    pub(crate) offset: u32,
}

/// Operands of a fast access with more of them.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct MemOpsWide {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) offset: u32,
    /// The part of the index that is shifted.
    pub(crate) b: u16,
    /// By how much.
    pub(crate) shift: u16,
    /// What is added to the index; or the value of a store that is an immediate (sign-extended for
    /// 8-byte ones).
    pub(crate) imm: i32,
}

/// Where the index of a fast access comes from.
pub(crate) trait Addr {
    type Ops: Copy;
    unsafe fn index(s: &State) -> u32;
}

macro_rules! addrs {
    ($( $(#[$doc:meta])* $name:ident, $ops:ty, |$s:ident, $o:ident| $index:expr; )*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Addr for $name {
            type Ops = $ops;
            #[inline(always)]
            unsafe fn index($s: &State) -> u32 {
                // SAFETY: the instruction was emitted with these operands; its slots belong to the
                // frame.
                unsafe {
                    let $o = $s.operands::<Self::Ops>();
                    let _ = $o;
                    $index
                }
            }
        }
    )*};
}

addrs! {
    /// A slot.
    InSlot, MemOps, |s, o| s.cell(o.a) as u32;
    /// The accumulator.
    InAcc, MemOps, |s, o| s.acc as u32;
    /// A constant, which the offset holds.
    Fixed, MemOps, |s, o| 0;
    /// A slot and a constant.
    SlotImm, MemOpsWide, |s, o| (s.cell(o.b) as u32).wrapping_add(o.imm as u32);
    /// The accumulator and a constant.
    AccImm, MemOpsWide, |s, o| (s.acc as u32).wrapping_add(o.imm as u32);
    /// Two slots.
    Sum, MemOpsWide, |s, o| (s.cell(o.a) as u32).wrapping_add(s.cell(o.b) as u32);
    /// A slot and the accumulator.
    SumAcc, MemOpsWide, |s, o| (s.cell(o.a) as u32).wrapping_add(s.acc as u32);
    /// A slot, shifted, and a constant.
    Scaled, MemOpsWide, |s, o| scaled(s.cell(o.b), o.shift, o.imm);
    /// The accumulator, shifted, and a constant.
    ScaledAcc, MemOpsWide, |s, o| scaled(s.acc, o.shift, o.imm);
    /// A slot, another one, shifted, and a constant.
    SumScaled, MemOpsWide, |s, o| (s.cell(o.a) as u32)
        .wrapping_add(scaled(s.cell(o.b), o.shift, o.imm));
    /// A slot, the accumulator, shifted, and a constant.
    SumScaledAcc, MemOpsWide, |s, o| (s.cell(o.a) as u32)
        .wrapping_add(scaled(s.acc, o.shift, o.imm));
}

/// Part of an index: wraps at 32 bits, as the operators that it stands for do.
#[inline(always)]
fn scaled(cell: u64, shift: u16, imm: i32) -> u32 {
    (cell as u32).wrapping_shl(u32::from(shift)).wrapping_add(imm as u32)
}

/// The number of an address form in the tables.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum AddrIdx {
    InSlot,
    InAcc,
    Fixed,
    SlotImm,
    AccImm,
    Sum,
    SumAcc,
    Scaled,
    ScaledAcc,
    SumScaled,
    SumScaledAcc,
}

impl AddrIdx {
    /// Whether the operands are [`MemOpsWide`].
    pub(crate) fn wide(self) -> bool {
        !matches!(self, Self::InSlot | Self::InAcc | Self::Fixed)
    }
}

/// The host address of an access to memory 0, if all of it lies inside.
#[inline(always)]
pub(crate) unsafe fn address<A: Addr>(s: &State, size: usize) -> Option<*mut u8> {
    // SAFETY: the instruction has these operands; both kinds hold the offset in the same place.
    unsafe {
        let index = A::index(s);
        let offset = s.ip.add(12).cast::<u32>().read();
        let at = u64::from(index) + u64::from(offset);
        if at + size as u64 > s.len as u64 {
            return None;
        }
        Some(s.mem.add(at as usize))
    }
}

struct LoadOp<L, A, T>(PhantomData<(L, A, T)>);

impl<L: Load, A: Addr, T: Dest> Op for LoadOp<L, A, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let Some(at) = address::<A>(&s, L::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = L::load(at);
            put::<L::Out, T>(&mut s, value);
        }
        s.after::<A::Ops>()
    }
}

/// Where the value of a store comes from.
pub(crate) trait Source {
    unsafe fn value<V: Val>(s: &State) -> V;
}
/// A slot.
pub(crate) struct FromSlot;
/// The accumulator.
pub(crate) struct FromAcc;
/// An immediate.
struct FromImm;
impl Source for FromSlot {
    #[inline(always)]
    unsafe fn value<V: Val>(s: &State) -> V {
        // SAFETY: such a store is emitted with `MemOpsWide` or with its value in `d`.
        unsafe { V::from_cell(s.cell(s.operands::<MemOps>().d)) }
    }
}
impl Source for FromAcc {
    #[inline(always)]
    unsafe fn value<V: Val>(s: &State) -> V {
        V::get(s)
    }
}
/// An immediate of 16 bits, in the place of `d`, sign-extended.
struct FromShort;
impl Source for FromShort {
    #[inline(always)]
    unsafe fn value<V: Val>(s: &State) -> V {
        // SAFETY: such a store is emitted with `MemOpsWide`.
        unsafe { V::from_cell(i64::from(s.operands::<MemOpsWide>().d as i16) as u64) }
    }
}
impl Source for FromImm {
    #[inline(always)]
    unsafe fn value<V: Val>(s: &State) -> V {
        // SAFETY: such a store is emitted with `MemOpsWide`.
        unsafe { V::from_cell(i64::from(s.operands::<MemOpsWide>().imm) as u64) }
    }
}

struct StoreOp<S, A, V, const WIDE: bool>(PhantomData<(S, A, V)>);

impl<S: Store, A: Addr, V: Source, const WIDE: bool> Op for StoreOp<S, A, V, WIDE> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let Some(at) = address::<A>(&s, S::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            S::store(at, V::value::<S::In>(&s));
        }
        if WIDE { s.after::<MemOpsWide>() } else { s.after::<A::Ops>() }
    }
}

const fn load_row<L: Load>() -> [DestPair; 11] {
    macro_rules! pair {
        ($addr:ident) => {
            [handler::<LoadOp<L, $addr, R>>(), handler::<LoadOp<L, $addr, D>>()]
        };
    }
    [
        pair!(InSlot),
        pair!(InAcc),
        pair!(Fixed),
        pair!(SlotImm),
        pair!(AccImm),
        pair!(Sum),
        pair!(SumAcc),
        pair!(Scaled),
        pair!(ScaledAcc),
        pair!(SumScaled),
        pair!(SumScaledAcc),
    ]
}

/// By address form, then by source. With the wide forms immediates have 16 bits.
const fn store_row<S: Store>() -> [[Handler; 3]; 11] {
    macro_rules! simple {
        ($addr:ident) => {
            [
                handler::<StoreOp<S, $addr, FromSlot, false>>(),
                handler::<StoreOp<S, $addr, FromAcc, false>>(),
                handler::<StoreOp<S, $addr, FromImm, true>>(),
            ]
        };
    }
    macro_rules! wide {
        ($addr:ident) => {
            [
                handler::<StoreOp<S, $addr, FromSlot, true>>(),
                handler::<StoreOp<S, $addr, FromAcc, true>>(),
                handler::<StoreOp<S, $addr, FromShort, true>>(),
            ]
        };
    }
    [
        simple!(InSlot),
        simple!(InAcc),
        simple!(Fixed),
        wide!(SlotImm),
        wide!(AccImm),
        wide!(Sum),
        wide!(SumAcc),
        wide!(Scaled),
        wide!(ScaledAcc),
        wide!(SumScaled),
        wide!(SumScaledAcc),
    ]
}

/// Where the value of a store comes from, as a number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum SourceIdx {
    Slot,
    Acc,
    Imm,
}

impl LoadIdx {
    /// The handlers of a fast load.
    pub(crate) fn handlers(self, addr: AddrIdx) -> DestPair {
        LOADS[self as usize][addr as usize]
    }
    /// The handlers of a load from any memory.
    pub(crate) fn far(self, kind: FarKind) -> DestPair {
        FAR_LOADS[self as usize][kind.index()]
    }
}

impl StoreIdx {
    /// The handler of a fast store.
    pub(crate) fn handler(self, addr: AddrIdx, source: SourceIdx) -> Handler {
        STORES[self as usize][addr as usize][source as usize]
    }
    /// The handler of a store to any memory.
    pub(crate) fn far(self, kind: FarKind) -> Handler {
        FAR_STORES[self as usize][kind.index()]
    }
}

/// What there is to know about a memory that is not accessed in the fast way.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct FarKind {
    pub(crate) memory64: bool,
    pub(crate) shared: bool,
}

impl FarKind {
    fn index(self) -> usize {
        usize::from(self.memory64) + 2 * usize::from(self.shared)
    }
}

/// Operands of an access to any memory: all in slots.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct FarOps {
    pub(crate) handler: u64,
    /// The destination of a load, the value of a store.
    pub(crate) d: u16,
    pub(crate) a: u16,
    /// Where the context holds the pointer to the memory's definition.
    pub(crate) memory: u32,
    pub(crate) offset: u64,
}

/// The host address of an access to any memory, if all of it lies inside.
#[inline(always)]
pub(crate) unsafe fn far_address<const M64: bool>(
    s: &State,
    o: FarOps,
    size: usize,
) -> Option<*mut u8> {
    // SAFETY: the slot belongs to the frame, and the context holds a live definition there.
    unsafe {
        let index = if M64 { s.cell(o.a) } else { u64::from(s.cell(o.a) as u32) };
        let def = VmCtx::pointer::<VmMemoryDef>(s.vm, o.memory);
        let at = index.checked_add(o.offset)?;
        let end = at.checked_add(size as u64)?;
        if end > (*def).len.load(Ordering::Acquire) as u64 {
            return None;
        }
        Some((*def).base.add(at as usize))
    }
}

struct FarLoadOp<L, T, const M64: bool, const SHARED: bool>(PhantomData<(L, T)>);

impl<L: Load, T: Dest, const M64: bool, const SHARED: bool> Op for FarLoadOp<L, T, M64, SHARED> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let o = s.operands::<FarOps>();
            let Some(at) = far_address::<M64>(&s, o, L::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = if SHARED { L::load_shared(at) } else { L::load(at) };
            put::<L::Out, T>(&mut s, value);
        }
        s.after::<FarOps>()
    }
}

struct FarStoreOp<S, const M64: bool, const SHARED: bool>(PhantomData<S>);

impl<S: Store, const M64: bool, const SHARED: bool> Op for FarStoreOp<S, M64, SHARED> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let o = s.operands::<FarOps>();
            let Some(at) = far_address::<M64>(&s, o, S::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = S::In::from_cell(s.cell(o.d));
            if SHARED { S::store_shared(at, value) } else { S::store(at, value) }
        }
        s.after::<FarOps>()
    }
}

/// By [`FarKind::index`].
const fn far_load_row<L: Load>() -> [DestPair; 4] {
    macro_rules! pair {
        ($memory64:literal, $shared:literal) => {
            [
                handler::<FarLoadOp<L, R, $memory64, $shared>>(),
                handler::<FarLoadOp<L, D, $memory64, $shared>>(),
            ]
        };
    }
    [pair!(false, false), pair!(true, false), pair!(false, true), pair!(true, true)]
}

const fn far_store_row<S: Store>() -> [Handler; 4] {
    [
        handler::<FarStoreOp<S, false, false>>(),
        handler::<FarStoreOp<S, true, false>>(),
        handler::<FarStoreOp<S, false, true>>(),
        handler::<FarStoreOp<S, true, true>>(),
    ]
}
