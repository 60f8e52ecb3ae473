//! Loads and stores of vectors and of their lanes.
//!
//! Bounds and addresses are those of scalar accesses ([`crate::ops::memory`]); nothing is written
//! before the whole access is known to be inside. Memories that are not accessed in the fast way may be
//! shared: their bytes are read and written by [`palisade_vm::racy`].

use std::marker::PhantomData;

use palisade_core::TrapCode;
use palisade_core::simd::{self, V128};
use palisade_vm::racy;

use crate::ops::memory::{
    self as scalar, AccImm, Addr, AddrIdx, FarOps, Fixed, InAcc, InSlot, Load, MemOps, Scaled,
    ScaledAcc, SlotImm, Store, Sum, SumAcc, SumScaled, SumScaledAcc, address, far_address,
};
use crate::state::{Handler, Next, Op, State, VecHandler, handler, vec_handler};

/// How bytes of memory become a vector.
trait VecLoad {
    const SIZE: usize;
    unsafe fn load(at: *const u8) -> V128;
    /// [`Self::load`] of bytes that other threads may write to.
    unsafe fn load_racy(at: *const u8) -> V128;
}

macro_rules! loads {
    ($( $name:ident, $raw:ty, |$value:ident| $make:expr; )*) => {
        /// The kinds of loads.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub(crate) enum VecLoadIdx { $($name,)* }
        mod load {
            use super::*;
            $(
                pub(super) struct $name;
                impl VecLoad for $name {
                    const SIZE: usize = size_of::<$raw>();
                    #[inline(always)]
                    unsafe fn load(at: *const u8) -> V128 {
                        // SAFETY: the caller checked that SIZE bytes from `at` belong to a memory.
                        let $value = unsafe { at.cast::<$raw>().read_unaligned() };
                        $make
                    }
                    #[inline(always)]
                    unsafe fn load_racy(at: *const u8) -> V128 {
                        const FIRST: usize = if size_of::<$raw>() > 8 { 8 } else { size_of::<$raw>() };
                        // SAFETY: as for `load`; the bits are those of a `$raw`, low half first.
                        let $value = unsafe {
                            let low = racy::load::<FIRST>(at);
                            let high = if Self::SIZE > 8 { racy::load::<8>(at.add(8)) } else { 0 };
                            [low, high].as_ptr().cast::<$raw>().read_unaligned()
                        };
                        $make
                    }
                }
            )*
        }
        static LOADS: &[[VecHandler; 11]] = &[$(load_row::<load::$name>(),)*];
        static FAR_LOADS: &[[Handler; 2]] = &[$(
            [
                handler::<FarLoadOp<load::$name, false>>(),
                handler::<FarLoadOp<load::$name, true>>(),
            ],
        )*];
    };
}

loads! {
    Full, V128, |value| value;
    S8x8, u64, |value| simd::v128_load8x8_s(value);
    U8x8, u64, |value| simd::v128_load8x8_u(value);
    S16x4, u64, |value| simd::v128_load16x4_s(value);
    U16x4, u64, |value| simd::v128_load16x4_u(value);
    S32x2, u64, |value| simd::v128_load32x2_s(value);
    U32x2, u64, |value| simd::v128_load32x2_u(value);
    Splat8, i8, |value| simd::i8x16_splat(value);
    Splat16, i16, |value| simd::i16x8_splat(value);
    Splat32, i32, |value| simd::i32x4_splat(value);
    Splat64, i64, |value| simd::i64x2_splat(value);
    Zero32, u32, |value| V128::from_u32x4([value, 0, 0, 0]);
    Zero64, u64, |value| V128::from_u64x2([value, 0]);
}

struct LoadOp<L, A>(PhantomData<(L, A)>);

impl<L: VecLoad, A: Addr> Op for LoadOp<L, A> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length; the destination
        // stands right behind the handler, with all forms of addresses.
        unsafe {
            let Some(at) = address::<A>(&s, L::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            s.set_vec(s.ip.add(8).cast::<u16>().read(), L::load(at));
        }
        s.after::<A::Ops>()
    }
}

/// Stores the vector in the slot that stands right behind the handler.
struct StoreOp<A>(PhantomData<A>);

impl<A: Addr> Op for StoreOp<A> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `LoadOp`.
        unsafe {
            let Some(at) = address::<A>(&s, size_of::<V128>()) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = s.vec(s.ip.add(8).cast::<u16>().read());
            at.cast::<V128>().write_unaligned(value);
        }
        s.after::<A::Ops>()
    }
}

/// One element for each form of addresses.
macro_rules! by_address {
    ($make:ident) => {
        [
            $make!(InSlot),
            $make!(InAcc),
            $make!(Fixed),
            $make!(SlotImm),
            $make!(AccImm),
            $make!(Sum),
            $make!(SumAcc),
            $make!(Scaled),
            $make!(ScaledAcc),
            $make!(SumScaled),
            $make!(SumScaledAcc),
        ]
    };
}

const fn load_row<L: VecLoad>() -> [VecHandler; 11] {
    macro_rules! make {
        ($addr:ident) => {
            vec_handler::<LoadOp<L, $addr>, LoadOp<L, $addr>>()
        };
    }
    by_address!(make)
}

macro_rules! store {
    ($addr:ident) => {
        handler::<StoreOp<$addr>>()
    };
}
static STORES: [Handler; 11] = by_address!(store);

impl VecLoadIdx {
    /// The handler of a fast load.
    pub(crate) fn handler(self, addr: AddrIdx) -> Handler {
        LOADS[self as usize][addr as usize].pick()
    }
    /// The handler of a load from any memory.
    pub(crate) fn far(self, memory64: bool) -> Handler {
        FAR_LOADS[self as usize][memory64 as usize]
    }
}

/// The handler of a fast store.
pub(crate) fn store(addr: AddrIdx) -> Handler {
    STORES[addr as usize]
}

struct FarLoadOp<L, const M64: bool>(PhantomData<L>);

impl<L: VecLoad, const M64: bool> Op for FarLoadOp<L, M64> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let o = s.operands::<FarOps>();
            let Some(at) = far_address::<M64>(&s, o, L::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            s.set_vec(o.d, L::load_racy(at));
        }
        s.after::<FarOps>()
    }
}

struct FarStoreOp<const M64: bool>;

impl<const M64: bool> Op for FarStoreOp<M64> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length.
        unsafe {
            let o = s.operands::<FarOps>();
            let Some(at) = far_address::<M64>(&s, o, size_of::<V128>()) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            racy::store::<8>(at, s.cell(o.d));
            racy::store::<8>(at.add(8), s.cell(o.d + 1));
        }
        s.after::<FarOps>()
    }
}
/// By whether the memory is a 64-bit one.
pub(crate) static FAR_STORE: [Handler; 2] =
    [handler::<FarStoreOp<false>>(), handler::<FarStoreOp<true>>()];

/// What an access to one lane adds to the operands of the access.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct LanePlace {
    /// The vector.
    pub(crate) vector: u16,
    /// Where the lane begins in it, in bytes.
    pub(crate) byte: u16,
    pub(crate) pad: u32,
}

/// Operands of an access to one lane.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct LaneOps<M> {
    /// The index is in a slot.
    pub(crate) access: M,
    pub(crate) place: LanePlace,
}

/// The operands of an access to any memory, or to memory 0 alone.
trait Access: Copy {
    /// Whether other threads may access the same bytes.
    const RACY: bool;
    unsafe fn locate(self, s: &State, size: usize) -> Option<*mut u8>;
    fn d(self) -> u16;
}

impl Access for MemOps {
    const RACY: bool = false;
    #[inline(always)]
    unsafe fn locate(self, s: &State, size: usize) -> Option<*mut u8> {
        // SAFETY: forwarded from the caller.
        unsafe { address::<InSlot>(s, size) }
    }
    #[inline(always)]
    fn d(self) -> u16 {
        self.d
    }
}

/// Operands of an access to any memory whose index has 64 bits, if `M64`.
#[derive(Copy, Clone)]
#[repr(transparent)]
pub(crate) struct Far<const M64: bool>(pub(crate) FarOps);

impl<const M64: bool> Access for Far<M64> {
    const RACY: bool = true;
    #[inline(always)]
    unsafe fn locate(self, s: &State, size: usize) -> Option<*mut u8> {
        // SAFETY: forwarded from the caller.
        unsafe { far_address::<M64>(s, self.0, size) }
    }
    #[inline(always)]
    fn d(self) -> u16 {
        self.0.d
    }
}

/// The place of a lane in the frame.
#[inline(always)]
unsafe fn lane(s: &State, slot: u16, byte: u16) -> *mut u8 {
    // SAFETY: the slot and the next one belong to the frame, and the lane lies inside.
    unsafe { s.fp.add(slot as usize).cast::<u8>().add(byte as usize) }
}

/// A vector with one lane from memory, to slot `d`. The lane is loaded as by `L` and set as by `S`.
struct LoadLane<L, S, M>(PhantomData<(L, S, M)>);

impl<L: Load, S: Store<In = L::Out>, M: Access> Op for LoadLane<L, S, M> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the address was checked against the memory's current length; slots and lane
        // belong to the frame.
        unsafe {
            let o = s.operands::<LaneOps<M>>();
            let Some(at) = o.access.locate(&s, L::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = if M::RACY { L::load_shared(at) } else { L::load(at) };
            let d = o.access.d();
            s.set_vec(d, s.vec(o.place.vector));
            S::store(lane(&s, d, o.place.byte), value);
        }
        s.after::<LaneOps<M>>()
    }
}

/// One lane of a vector to memory. The lane is read as by `L` and stored as by `S`.
struct StoreLane<L, S, M>(PhantomData<(L, S, M)>);

impl<L: Load, S: Store<In = L::Out>, M: Access> Op for StoreLane<L, S, M> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `LoadLane`.
        unsafe {
            let o = s.operands::<LaneOps<M>>();
            let Some(at) = o.access.locate(&s, S::SIZE) else {
                return Next::Trap(s, TrapCode::MemoryOutOfBounds);
            };
            let value = L::load(lane(&s, o.place.vector, o.place.byte));
            if M::RACY { S::store_shared(at, value) } else { S::store(at, value) }
        }
        s.after::<LaneOps<M>>()
    }
}

macro_rules! by_size {
    ($op:ident) => {
        [
            by_size!($op, U8, B8),
            by_size!($op, U16, B16),
            by_size!($op, U32, B32),
            by_size!($op, U64, B64),
        ]
    };
    ($op:ident, $load:ident, $store:ident) => {
        [
            handler::<$op<scalar::load::$load, scalar::store::$store, MemOps>>(),
            handler::<$op<scalar::load::$load, scalar::store::$store, Far<false>>>(),
            handler::<$op<scalar::load::$load, scalar::store::$store, Far<true>>>(),
        ]
    };
}

/// By the logarithm of the lane's size in bytes; for memory 0, for any 32-bit memory, for any 64-bit one.
pub(crate) static LOAD_LANE: [[Handler; 3]; 4] = by_size!(LoadLane);
/// As [`LOAD_LANE`].
pub(crate) static STORE_LANE: [[Handler; 3]; 4] = by_size!(StoreLane);
