//! Reading and writing fields of structures and elements of arrays.
//!
//! References stand in the window, all other values in cells or accumulators, as for memories. An object is
//! where its reference says, within the heap's own reservation: the fields of a structure are at most
//! a guard region away, and an element is compared with the reservation's end beside the
//! array's length, so that not even a corrupt length leads out of it.

use std::marker::PhantomData;

use palisade_core::TrapCode;
use palisade_core::simd::V128;
use palisade_vm::builtins::gc;
use palisade_vm::gc::layout::{ELEMENTS, HEAP_BYTES};
use palisade_vm::layout::{Cell, VmCtx, VmFuncRef, VmRef};

use crate::ops::arith::{D, Dest, DestPair, R, Slots, put};
use crate::ops::call::trap_code;
use crate::ops::memory::{FromAcc, FromSlot, Load, LoadIdx, Source, Store, StoreIdx, load, store};
use crate::ops::refs::{get, set};
use crate::state::{Handler, Next, Op, State, handler};

/// Operands of an access to a field.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct FieldOps {
    pub(crate) handler: u64,
    /// The destination, or the value.
    pub(crate) d: u16,
    /// The structure.
    pub(crate) a: u16,
    /// Where in the object.
    pub(crate) offset: u32,
}

/// The first byte of an object.
#[inline(always)]
pub(super) unsafe fn object(s: &State, r: VmRef) -> *mut u8 {
    // SAFETY: the store's context outlives the instance's; the offset lies in the heap's reservation.
    unsafe { (*(*s.vm).store).heap_base.add(r.0 as usize) }
}

/// What is accessed.
pub(crate) trait Place {
    /// The operands: the slot `d` stands first.
    type Ops: Copy;
    /// Where the value stands, of `size` bytes.
    unsafe fn at(s: &State, size: usize) -> Result<*mut u8, TrapCode>;
}

/// A field of a structure: [`FieldOps`].
pub(crate) struct Field;
impl Place for Field {
    type Ops = FieldOps;
    #[inline(always)]
    unsafe fn at(s: &State, _: usize) -> Result<*mut u8, TrapCode> {
        // SAFETY: the slot belongs to the window and holds null or a structure that has the field.
        unsafe {
            let o = s.operands::<FieldOps>();
            let r = get(s, o.a);
            if r.is_null() {
                return Err(TrapCode::NullStructReference);
            }
            Ok(object(s, r).add(o.offset as usize))
        }
    }
}

/// An element of array `a`: the index in slot `b`, or in the accumulator.
pub(crate) struct Element<const ACC: bool>;
impl<const ACC: bool> Place for Element<ACC> {
    type Ops = Slots;
    #[inline(always)]
    unsafe fn at(s: &State, size: usize) -> Result<*mut u8, TrapCode> {
        // SAFETY: the slot belongs to the window and holds null or an array of such elements.
        unsafe {
            let o = s.operands::<Slots>();
            let index = if ACC { s.acc as u32 } else { s.cell(o.b) as u32 };
            let r = get(s, o.a);
            if r.is_null() {
                return Err(TrapCode::NullArrayReference);
            }
            if index >= object(s, r).cast::<u32>().add(1).read() {
                return Err(TrapCode::ArrayOutOfBounds);
            }
            let at = u64::from(r.0) + u64::from(ELEMENTS) + u64::from(index) * size as u64;
            if at + size as u64 > HEAP_BYTES {
                return Err(TrapCode::Internal);
            }
            Ok((*(*s.vm).store).heap_base.add(at as usize))
        }
    }
}

struct Get<L, P, T>(PhantomData<(L, P, T)>);
impl<L: Load, P: Place, T: Dest> Op for Get<L, P, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the place belongs to an object that holds such a value there.
        unsafe {
            match P::at(&s, L::SIZE) {
                Ok(at) => put::<L::Out, T>(&mut s, L::load(at)),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct Set<S, P, V>(PhantomData<(S, P, V)>);
impl<S: Store, P: Place, V: Source> Op for Set<S, P, V> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the place belongs to an object that holds such a value there.
        unsafe {
            match P::at(&s, S::SIZE) {
                Ok(at) => S::store(at, V::value::<S::In>(&s)),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct GetRef<P>(PhantomData<P>);
impl<P: Place> Op for GetRef<P> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the place belongs to an object that holds a reference there; the slot that stands first
        // belongs to the window.
        unsafe {
            match P::at(&s, size_of::<VmRef>()) {
                Ok(at) => set(&s, s.operands::<Slots>().d, at.cast::<VmRef>().read()),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct SetRef<P>(PhantomData<P>);
impl<P: Place> Op for SetRef<P> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `GetRef`.
        unsafe {
            match P::at(&s, size_of::<VmRef>()) {
                Ok(at) => at.cast::<VmRef>().write(get(&s, s.operands::<Slots>().d)),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct GetVec<P>(PhantomData<P>);
impl<P: Place> Op for GetVec<P> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the place belongs to an object that holds a vector there; the slot that stands first
        // belongs to the frame.
        unsafe {
            match P::at(&s, size_of::<V128>()) {
                Ok(at) => s.set_vec(s.operands::<Slots>().d, at.cast::<V128>().read_unaligned()),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct SetVec<P>(PhantomData<P>);
impl<P: Place> Op for SetVec<P> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `GetVec`.
        unsafe {
            match P::at(&s, size_of::<V128>()) {
                Ok(at) => at.cast::<V128>().write_unaligned(s.vec(s.operands::<Slots>().d)),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

/// The function of the number at `at`. In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn func_at(vm: *mut VmCtx, at: *mut u8) -> *mut VmFuncRef {
    // SAFETY: an object holds the number of a function there.
    unsafe { gc::func_of_number(vm, at.cast::<u32>().read()) }
}

/// Puts the number of a function to `at`. Returns 0 or the number of a trap code.
#[inline(never)]
unsafe fn set_func_at(vm: *mut VmCtx, at: *mut u8, func: Cell) -> u64 {
    // SAFETY: an object holds the number of a function there; the cell holds a reference to one, or null.
    unsafe {
        match gc::func_number(vm, func as *mut VmFuncRef) {
            Ok(number) => {
                at.cast::<u32>().write(number);
                0
            }
            Err(code) => code as u64,
        }
    }
}

struct GetFunc<P, T>(PhantomData<(P, T)>);
impl<P: Place, T: Dest> Op for GetFunc<P, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the place belongs to an object that holds the number of a function there.
        unsafe {
            match P::at(&s, size_of::<u32>()) {
                Ok(at) => {
                    let func = func_at(s.vm, at) as u64;
                    put::<u64, T>(&mut s, func);
                }
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct SetFunc<P>(PhantomData<P>);
impl<P: Place> Op for SetFunc<P> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `GetFunc`; the slot that stands first holds a reference to a function.
        unsafe {
            match P::at(&s, size_of::<u32>()) {
                Ok(at) => {
                    let status = set_func_at(s.vm, at, s.cell(s.operands::<Slots>().d));
                    if status != 0 {
                        return Next::Trap(s, trap_code(status as u32));
                    }
                }
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<P::Ops>()
    }
}

struct Len<T>(PhantomData<T>);
impl<T: Dest> Op for Len<T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the slot belongs to the window and holds null or an array, whose second word is
        // its length.
        unsafe {
            let r = get(&s, s.operands::<Slots>().a);
            if r.is_null() {
                return Next::Trap(s, TrapCode::NullArrayReference);
            }
            let len = object(&s, r).cast::<u32>().add(1).read();
            put::<u32, T>(&mut s, len);
        }
        s.after::<Slots>()
    }
}
/// The length of array `a`.
pub(crate) static LEN: DestPair = [handler::<Len<R>>(), handler::<Len<D>>()];

/// How one kind of place is accessed.
pub(crate) struct Access {
    /// By [`LoadIdx`].
    gets: [DestPair; 9],
    /// By [`StoreIdx`], from slot `d`, from the accumulator.
    sets: [[Handler; 2]; 6],
    pub(crate) get_ref: Handler,
    pub(crate) set_ref: Handler,
    pub(crate) get_vec: Handler,
    pub(crate) set_vec: Handler,
    pub(crate) get_func: DestPair,
    pub(crate) set_func: Handler,
}

impl Access {
    /// The handlers of a read.
    pub(crate) fn get(&self, kind: LoadIdx) -> DestPair {
        self.gets[kind as usize]
    }

    /// The handler of a write; `acc` says whether the value is in an accumulator.
    pub(crate) fn set(&self, kind: StoreIdx, acc: bool) -> Handler {
        self.sets[kind as usize][usize::from(acc)]
    }
}

const fn access<P: Place>() -> Access {
    macro_rules! get {
        ($($load:ident)*) => {
            [$([handler::<Get<load::$load, P, R>>(), handler::<Get<load::$load, P, D>>()]),*]
        };
    }
    macro_rules! set {
        ($($store:ident)*) => {
            [$([
                handler::<Set<store::$store, P, FromSlot>>(),
                handler::<Set<store::$store, P, FromAcc>>(),
            ]),*]
        };
    }
    Access {
        gets: get!(U8 S8 U16 S16 U32 S32 U64 F32 F64),
        sets: set!(B8 B16 B32 B64 F32 F64),
        get_ref: handler::<GetRef<P>>(),
        set_ref: handler::<SetRef<P>>(),
        get_vec: handler::<GetVec<P>>(),
        set_vec: handler::<SetVec<P>>(),
        get_func: [handler::<GetFunc<P, R>>(), handler::<GetFunc<P, D>>()],
        set_func: handler::<SetFunc<P>>(),
    }
}

const _: () = {
    assert!(LoadIdx::S8 as usize == 1 && LoadIdx::F64 as usize == 8);
    assert!(StoreIdx::B8 as usize == 0 && StoreIdx::F64 as usize == 5);
};

/// Fields of structures.
pub(crate) static FIELD: Access = access::<Field>();
/// Elements of arrays: index in a slot, in the accumulator.
pub(crate) static ELEMENT: [Access; 2] = [access::<Element<false>>(), access::<Element<true>>()];
