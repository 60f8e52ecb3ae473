//! Operators with one or two operands and one result, and branches on comparisons.
//!
//! Each is generic over the operator ([`Bin`], [`Un`]), over where its operands come from ([`Form`]: a slot, the
//! accumulator, an immediate) and over whether the result is stored to a slot beside the accumulator ([`Dest`]). The
//! tables at the end hold one [`Handler`] for each combination.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use palisade_core::{TrapCode, num};

use crate::state::{Handler, Next, Op, State, handler};
use crate::val::{Reg, Val};

/// An operator with two operands.
pub(crate) trait Bin {
    type In: Val;
    type Out: Val;
    fn apply(a: Self::In, b: Self::In) -> Result<Self::Out, TrapCode>;
}

/// An operator with one operand.
pub(crate) trait Un {
    type In: Val;
    type Out: Val;
    fn apply(a: Self::In) -> Result<Self::Out, TrapCode>;
}

/// A result that an operator may fail to give.
trait IntoResult<T> {
    fn into_result(self) -> Result<T, TrapCode>;
}

macro_rules! into_result {
    ($($ty:ty),*) => {$(
        impl IntoResult<$ty> for $ty {
            #[inline(always)]
            fn into_result(self) -> Result<$ty, TrapCode> {
                Ok(self)
            }
        }
        impl IntoResult<$ty> for Result<$ty, TrapCode> {
            #[inline(always)]
            fn into_result(self) -> Result<$ty, TrapCode> {
                self
            }
        }
    )*};
}
into_result!(i32, u32, i64, u64, f32, f64, bool);

/// Where a result goes.
pub(crate) trait Dest {
    const STORE: bool;
}
/// To the accumulator alone.
pub(crate) struct R;
/// To the accumulator and to a slot.
pub(crate) struct D;
impl Dest for R {
    const STORE: bool = false;
}
impl Dest for D {
    const STORE: bool = true;
}

/// Operands of an instruction whose inputs are slots or the accumulator.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct Slots {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) c: u16,
}

/// Operands of an instruction one of whose inputs is an immediate.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct WithImm<I> {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) imm: I,
}

/// Operands of a branch that compares.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct BranchSlots {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    pub(crate) a: u16,
    pub(crate) b: u16,
}

/// Operands of a branch that compares with an immediate.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct BranchImm<I> {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    pub(crate) a: u16,
    pub(crate) pad: u16,
    pub(crate) imm: I,
}

/// Where two operands come from.
pub(crate) trait Form {
    type Ops<V: Val>: Copy;
    type BranchOps<V: Val>: Copy;
    unsafe fn get<V: Val>(s: &State) -> (V, V);
    unsafe fn get_branch<V: Val>(s: &State) -> (V, V);
}

macro_rules! forms {
    ($( $(#[$doc:meta])* $name:ident, $ops:ty, $branch:ty, |$s:ident, $o:ident| $a:expr, $b:expr; )*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Form for $name {
            type Ops<V: Val> = $ops;
            type BranchOps<V: Val> = $branch;
            #[inline(always)]
            unsafe fn get<V: Val>($s: &State) -> (V, V) {
                // SAFETY: the instruction was emitted in this form; its slots belong to the frame.
                unsafe {
                    let $o = $s.operands::<Self::Ops<V>>();
                    let _ = $o;
                    ($a, $b)
                }
            }
            #[inline(always)]
            unsafe fn get_branch<V: Val>($s: &State) -> (V, V) {
                // SAFETY: the instruction was emitted in this form; its slots belong to the frame.
                unsafe {
                    let $o = $s.operands::<Self::BranchOps<V>>();
                    let _ = $o;
                    ($a, $b)
                }
            }
        }
    )*};
}

forms! {
    /// Two slots.
    SS, Slots, BranchSlots, |s, o| V::from_cell(s.cell(o.a)), V::from_cell(s.cell(o.b));
    /// A slot and the accumulator.
    SA, Slots, BranchSlots, |s, o| V::from_cell(s.cell(o.a)), V::get(s);
    /// The accumulator and a slot.
    AS, Slots, BranchSlots, |s, o| V::get(s), V::from_cell(s.cell(o.b));
    /// A slot and an immediate.
    SI, WithImm<V::Imm>, BranchImm<V::Imm>, |s, o| V::from_cell(s.cell(o.a)), V::from_imm(o.imm);
    /// An immediate and a slot.
    IS, WithImm<V::Imm>, BranchImm<V::Imm>, |s, o| V::from_imm(o.imm), V::from_cell(s.cell(o.a));
    /// The accumulator and an immediate.
    AI, WithImm<V::Imm>, BranchImm<V::Imm>, |s, o| V::get(s), V::from_imm(o.imm);
    /// An immediate and the accumulator.
    IA, WithImm<V::Imm>, BranchImm<V::Imm>, |s, o| V::from_imm(o.imm), V::get(s);
}

/// The number of a form in the tables.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum FormIdx {
    SS,
    SA,
    AS,
    SI,
    IS,
    AI,
    IA,
}

/// Stores a result to the slot that stands first among an instruction's operands.
#[inline(always)]
pub(crate) unsafe fn put<V: Val, T: Dest>(s: &mut State, value: V) {
    if T::STORE {
        // SAFETY: every instruction with a destination has its slot right behind the handler.
        unsafe {
            let slot = s.ip.add(8).cast::<u16>().read();
            s.set_cell(slot, value.to_cell());
        }
    }
    V::set(s, value);
}

/// A two-operand instruction.
struct BinOp<B, F, T>(PhantomData<(B, F, T)>);

impl<B: Bin, F: Form, T: Dest> Op for BinOp<B, F, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted in this form; its slots belong to the frame.
        unsafe {
            let (a, b) = F::get::<B::In>(&s);
            match B::apply(a, b) {
                Ok(value) => put::<B::Out, T>(&mut s, value),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<F::Ops<B::In>>()
    }
}

/// A one-operand instruction on a slot (`ACC` false) or on the accumulator.
struct UnOp<U, T, const ACC: bool>(PhantomData<(U, T)>);

impl<U: Un, T: Dest, const ACC: bool> Op for UnOp<U, T, ACC> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`, which belong to the frame.
        unsafe {
            let a = if ACC {
                U::In::get(&s)
            } else {
                U::In::from_cell(s.cell(s.operands::<Slots>().a))
            };
            match U::apply(a) {
                Ok(value) => put::<U::Out, T>(&mut s, value),
                Err(code) => return Next::Trap(s, code),
            }
        }
        s.after::<Slots>()
    }
}

/// A branch taken when a comparison holds; `BACK` ones poll for interruption.
struct BranchOp<B, F, const BACK: bool>(PhantomData<(B, F)>);

impl<B: Bin<Out = bool>, F: Form, const BACK: bool> Op for BranchOp<B, F, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted in this form; slots and offset belong to the frame and the code.
        unsafe {
            let (a, b) = F::get_branch::<B::In>(&s);
            if let Ok(true) = B::apply(a, b) {
                let offset = s.ip.add(8).cast::<i32>().read();
                return jump::<BACK>(s, offset);
            }
        }
        s.after::<F::BranchOps<B::In>>()
    }
}

/// Operands of a selection on a comparison: those of the comparison, then the two values.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct SelectSlots {
    pub(crate) compare: Slots,
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) pad: u32,
}

/// Operands of a selection on a comparison with an immediate.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct SelectImm<I> {
    pub(crate) compare: WithImm<I>,
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) pad: u32,
}

/// Slot `x` if a comparison holds, slot `y` otherwise. `O` are the operands.
struct SelectOn<B, F, T, O>(PhantomData<(B, F, T, O)>);

impl<B: Bin<Out = bool>, F: Form, T: Dest, O: Copy> Op for SelectOn<B, F, T, O> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted in this form: the operands of the comparison, then
        // the two slots, which belong to the frame.
        unsafe {
            let (a, b) = F::get::<B::In>(&s);
            let slots = s.ip.add(size_of::<F::Ops<B::In>>()).cast::<[u16; 2]>().read();
            let (x, y) = (s.cell(slots[0]), s.cell(slots[1]));
            let holds = matches!(B::apply(a, b), Ok(true));
            put::<u64, T>(&mut s, if holds { x } else { y });
        }
        s.after::<O>()
    }
}

const fn select_row<B: Bin<Out = bool>>() -> [DestPair; 7] {
    macro_rules! pair {
        ($form:ident, $ops:ty) => {
            [handler::<SelectOn<B, $form, R, $ops>>(), handler::<SelectOn<B, $form, D, $ops>>()]
        };
    }
    [
        pair!(SS, SelectSlots),
        pair!(SA, SelectSlots),
        pair!(AS, SelectSlots),
        pair!(SI, SelectImm<<B::In as Val>::Imm>),
        pair!(IS, SelectImm<<B::In as Val>::Imm>),
        pair!(AI, SelectImm<<B::In as Val>::Imm>),
        pair!(IA, SelectImm<<B::In as Val>::Imm>),
    ]
}

/// Operands of an addition whose sum is masked.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct MaskOps {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) pad: u16,
    pub(crate) add: u32,
    pub(crate) mask: u32,
}

/// `(x + y) & mask` in 32 bits: what is added is slot `a` or the accumulator (`ACC`), and slot `b` or an
/// immediate (`IMM`).
struct AddMask<T, const ACC: bool, const IMM: bool>(PhantomData<T>);

impl<T: Dest, const ACC: bool, const IMM: bool> Op for AddMask<T, ACC, IMM> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `MaskOps`, whose slots belong to the frame.
        unsafe {
            let o = s.operands::<MaskOps>();
            let x = if ACC { s.acc as u32 } else { s.cell(o.a) as u32 };
            let y = if IMM { o.add } else { s.cell(o.b) as u32 };
            put::<u32, T>(&mut s, x.wrapping_add(y) & o.mask);
        }
        s.after::<MaskOps>()
    }
}

macro_rules! add_mask {
    ($acc:literal, $imm:literal) => {
        [handler::<AddMask<R, $acc, $imm>>(), handler::<AddMask<D, $acc, $imm>>()]
    };
}
/// By whether one summand is the accumulator, then by whether the other is an immediate.
pub(crate) static ADD_MASK: [[DestPair; 2]; 2] = [
    [add_mask!(false, false), add_mask!(false, true)],
    [add_mask!(true, false), add_mask!(true, true)],
];

/// `x * b + c` of integers: `x` is slot `a`, or the accumulator (`ACC`).
struct MulAdd<V, T: Dest, const ACC: bool>(PhantomData<(V, T)>);

macro_rules! mul_add {
    ($ty:ty) => {
        impl<T: Dest, const ACC: bool> Op for MulAdd<$ty, T, ACC> {
            #[inline(always)]
            unsafe fn exec(mut s: State) -> Next {
                // SAFETY: the instruction was emitted with `Slots`, which belong to the frame.
                unsafe {
                    let o = s.operands::<Slots>();
                    let x = if ACC { s.acc as $ty } else { s.cell(o.a) as $ty };
                    let product = x.wrapping_mul(s.cell(o.b) as $ty);
                    let sum = product.wrapping_add(s.cell(o.c) as $ty);
                    put::<$ty, T>(&mut s, sum);
                }
                s.after::<Slots>()
            }
        }
    };
    ($ty:ty, $acc:literal) => {
        [handler::<MulAdd<$ty, R, $acc>>(), handler::<MulAdd<$ty, D, $acc>>()]
    };
}
mul_add!(u32);
mul_add!(u64);

/// By whether it is of 64 bits, then by whether one factor is the accumulator.
pub(crate) static MUL_ADD: [[DestPair; 2]; 2] =
    [[mul_add!(u32, false), mul_add!(u32, true)], [mul_add!(u64, false), mul_add!(u64, true)]];

/// Operands of the end of a counting loop.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct CountOps {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    /// Where the sum goes.
    pub(crate) d: u16,
    /// What is added to.
    pub(crate) a: u16,
    /// What is added.
    pub(crate) add: i32,
    /// What the sum is compared with: an immediate, or slot `b`.
    pub(crate) imm: i32,
    pub(crate) b: u16,
    pub(crate) pad: [u16; 3],
}

/// Adds an immediate to a slot, and branches back if a comparison of the sum holds: with a slot
/// or an immediate (`IMM`), which is the left operand if `LEFT`.
struct Count<B, const IMM: bool, const LEFT: bool>(PhantomData<B>);

impl<B: Bin<Out = bool>, const IMM: bool, const LEFT: bool> Op for Count<B, IMM, LEFT> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `CountOps`, whose slots belong to the frame and
        // whose offset leads into its code.
        unsafe {
            let o = s.operands::<CountOps>();
            let sum = s.cell(o.a).wrapping_add(i64::from(o.add) as u64);
            let sum = B::In::from_cell(sum);
            s.acc = sum.to_cell();
            s.set_cell(o.d, s.acc);
            let other = if IMM { i64::from(o.imm) as u64 } else { s.cell(o.b) };
            let other = B::In::from_cell(other);
            let holds = if LEFT { B::apply(other, sum) } else { B::apply(sum, other) };
            if let Ok(true) = holds {
                return jump::<true>(s, o.offset);
            }
        }
        s.after::<CountOps>()
    }
}

const fn count_row<B: Bin<Out = bool>>() -> [Handler; 4] {
    [
        handler::<Count<B, false, false>>(),
        handler::<Count<B, false, true>>(),
        handler::<Count<B, true, false>>(),
        handler::<Count<B, true, true>>(),
    ]
}

/// Goes on `offset` bytes from the current instruction.
#[inline(always)]
pub(crate) unsafe fn jump<const BACK: bool>(mut s: State, offset: i32) -> Next {
    // SAFETY: the offset leads to an instruction of the same code; the interrupts live as long as
    // the store.
    unsafe {
        if BACK && (*(*s.vm).interrupts).attention.load(Ordering::Relaxed) != 0 {
            s.mem = s.ip.offset(offset as isize).cast_mut();
            return Next::Jump(s, crate::ops::control::INTERRUPTED);
        }
        s.ip = s.ip.offset(offset as isize);
    }
    Next::Go(s)
}

/// The form without and the form with a store to a slot.
pub(crate) type DestPair = [Handler; 2];

const fn bin_row<B: Bin>() -> [DestPair; 7] {
    macro_rules! pair {
        ($form:ident) => {
            [handler::<BinOp<B, $form, R>>(), handler::<BinOp<B, $form, D>>()]
        };
    }
    [pair!(SS), pair!(SA), pair!(AS), pair!(SI), pair!(IS), pair!(AI), pair!(IA)]
}

const fn un_row<U: Un>() -> [DestPair; 2] {
    [
        [handler::<UnOp<U, R, false>>(), handler::<UnOp<U, D, false>>()],
        [handler::<UnOp<U, R, true>>(), handler::<UnOp<U, D, true>>()],
    ]
}

const fn branch_row<B: Bin<Out = bool>>() -> [[Handler; 2]; 7] {
    macro_rules! pair {
        ($form:ident) => {
            [handler::<BranchOp<B, $form, false>>(), handler::<BranchOp<B, $form, true>>()]
        };
    }
    [pair!(SS), pair!(SA), pair!(AS), pair!(SI), pair!(IS), pair!(AI), pair!(IA)]
}

const fn reg_of(name: &str) -> Reg {
    match name.as_bytes() {
        b"f32" => Reg::F32,
        b"f64" => Reg::F64,
        _ => Reg::Int,
    }
}

macro_rules! binary_operators {
    ($( $name:ident, $in:ident, $out:ident, $commutes:literal, $function:path; )*) => {
        /// The operators with two operands.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum BinIdx { $($name,)* }

        mod bin {
            use super::*;
            $(
                pub(crate) struct $name;
                impl Bin for $name {
                    type In = $in;
                    type Out = $out;
                    #[inline(always)]
                    fn apply(a: $in, b: $in) -> Result<$out, TrapCode> {
                        $function(a, b).into_result()
                    }
                }
            )*
        }

        static BINARY: &[[DestPair; 7]] = &[$(bin_row::<bin::$name>(),)*];

        impl BinIdx {
            /// The handlers for a form.
            pub(crate) fn handlers(self, form: FormIdx) -> DestPair {
                BINARY[self as usize][form as usize]
            }
            /// Whether the operands may be swapped.
            pub(crate) fn commutes(self) -> bool {
                match self { $(Self::$name => $commutes,)* }
            }
            /// The accumulator that the result goes to.
            pub(crate) fn out_reg(self) -> Reg {
                match self { $(Self::$name => const { reg_of(stringify!($out)) },)* }
            }
            /// Whether an immediate takes 8 bytes.
            pub(crate) fn wide(self) -> bool {
                match self { $(Self::$name => size_of::<<$in as Val>::Imm>() == 8,)* }
            }
        }
    };
}

binary_operators! {
    I32Add, i32, i32, true, num::i32_add;
    I32Sub, i32, i32, false, num::i32_sub;
    I32Mul, i32, i32, true, num::i32_mul;
    I32DivS, i32, i32, false, num::i32_div_s;
    I32DivU, u32, u32, false, num::i32_div_u;
    I32RemS, i32, i32, false, num::i32_rem_s;
    I32RemU, u32, u32, false, num::i32_rem_u;
    I32And, i32, i32, true, num::i32_and;
    I32Or, i32, i32, true, num::i32_or;
    I32Xor, i32, i32, true, num::i32_xor;
    I32Shl, i32, i32, false, num::i32_shl;
    I32ShrS, i32, i32, false, num::i32_shr_s;
    I32ShrU, u32, u32, false, num::i32_shr_u;
    I32Rotl, i32, i32, false, num::i32_rotl;
    I32Rotr, i32, i32, false, num::i32_rotr;
    I64Add, i64, i64, true, num::i64_add;
    I64Sub, i64, i64, false, num::i64_sub;
    I64Mul, i64, i64, true, num::i64_mul;
    I64DivS, i64, i64, false, num::i64_div_s;
    I64DivU, u64, u64, false, num::i64_div_u;
    I64RemS, i64, i64, false, num::i64_rem_s;
    I64RemU, u64, u64, false, num::i64_rem_u;
    I64And, i64, i64, true, num::i64_and;
    I64Or, i64, i64, true, num::i64_or;
    I64Xor, i64, i64, true, num::i64_xor;
    I64Shl, i64, i64, false, num::i64_shl;
    I64ShrS, i64, i64, false, num::i64_shr_s;
    I64ShrU, u64, u64, false, num::i64_shr_u;
    I64Rotl, i64, i64, false, num::i64_rotl;
    I64Rotr, i64, i64, false, num::i64_rotr;
    F32Add, f32, f32, false, num::f32_add;
    F32Sub, f32, f32, false, num::f32_sub;
    F32Mul, f32, f32, false, num::f32_mul;
    F32Div, f32, f32, false, num::f32_div;
    F32Min, f32, f32, false, num::f32_min;
    F32Max, f32, f32, false, num::f32_max;
    F32Copysign, f32, f32, false, num::f32_copysign;
    F64Add, f64, f64, false, num::f64_add;
    F64Sub, f64, f64, false, num::f64_sub;
    F64Mul, f64, f64, false, num::f64_mul;
    F64Div, f64, f64, false, num::f64_div;
    F64Min, f64, f64, false, num::f64_min;
    F64Max, f64, f64, false, num::f64_max;
    F64Copysign, f64, f64, false, num::f64_copysign;
    I32Eq, i32, bool, true, num::i32_eq;
    I32Ne, i32, bool, true, num::i32_ne;
    I32LtS, i32, bool, false, num::i32_lt_s;
    I32LtU, u32, bool, false, num::i32_lt_u;
    I32LeS, i32, bool, false, num::i32_le_s;
    I32LeU, u32, bool, false, num::i32_le_u;
    I64Eq, i64, bool, true, num::i64_eq;
    I64Ne, i64, bool, true, num::i64_ne;
    I64LtS, i64, bool, false, num::i64_lt_s;
    I64LtU, u64, bool, false, num::i64_lt_u;
    I64LeS, i64, bool, false, num::i64_le_s;
    I64LeU, u64, bool, false, num::i64_le_u;
    F32Eq, f32, bool, true, num::f32_eq;
    F32Ne, f32, bool, true, num::f32_ne;
    F32Lt, f32, bool, false, num::f32_lt;
    F32Le, f32, bool, false, num::f32_le;
    F32NotLt, f32, bool, false, not_lt::<f32>;
    F32NotLe, f32, bool, false, not_le::<f32>;
    F64Eq, f64, bool, true, num::f64_eq;
    F64Ne, f64, bool, true, num::f64_ne;
    F64Lt, f64, bool, false, num::f64_lt;
    F64Le, f64, bool, false, num::f64_le;
    F64NotLt, f64, bool, false, not_lt::<f64>;
    F64NotLe, f64, bool, false, not_le::<f64>;
}

/// The negation of `lt`: true for NaNs.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "the negation holds for NaNs")]
#[inline(always)]
fn not_lt<T: PartialOrd>(a: T, b: T) -> bool {
    !(a < b)
}

/// The negation of `le`: true for NaNs.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "the negation holds for NaNs")]
#[inline(always)]
fn not_le<T: PartialOrd>(a: T, b: T) -> bool {
    !(a <= b)
}

macro_rules! comparisons {
    ($($name:ident => $negated:ident, $swap:literal;)*) => {
        static BRANCHES: &[[[Handler; 2]; 7]] = &[$(branch_row::<bin::$name>(),)*];
        const FIRST_COMPARISON: u8 = BinIdx::I32Eq as u8;
        /// The comparisons up to here are of integers.
        const LAST_INTEGER: u8 = BinIdx::I64LeU as u8;

        impl BinIdx {
            /// Whether this is a comparison.
            pub(crate) fn is_comparison(self) -> bool {
                self as u8 >= FIRST_COMPARISON
            }
            /// The comparison that holds exactly when this one does not, and whether its operands
            /// have to be swapped.
            pub(crate) fn negated(self) -> Option<(Self, bool)> {
                match self { $(Self::$name => Some((Self::$negated, $swap)),)* _ => None }
            }
            /// The handlers of the branch on this comparison: forward, backward.
            pub(crate) fn branch(self, form: FormIdx) -> Option<[Handler; 2]> {
                let row = (self as u8).checked_sub(FIRST_COMPARISON)?;
                Some(BRANCHES[row as usize][form as usize])
            }
        }
    };
}

macro_rules! integer_comparisons {
    ($($name:ident)*) => {
        static SELECTS: &[[DestPair; 7]] = &[$(select_row::<bin::$name>(),)*];
        static COUNTS: &[[Handler; 4]] = &[$(count_row::<bin::$name>(),)*];

        impl BinIdx {
            fn integer_row(self) -> Option<usize> {
                let row = (self as u8).checked_sub(FIRST_COMPARISON)?;
                (self as u8 <= LAST_INTEGER).then_some(row as usize)
            }
            /// The handlers of the selection on this comparison, if it is of integers.
            pub(crate) fn select(self, form: FormIdx) -> Option<DestPair> {
                Some(SELECTS[self.integer_row()?][form as usize])
            }
            /// The handler of the end of a counting loop on this comparison, if it is of integers.
            pub(crate) fn count(self, imm: bool, left: bool) -> Option<Handler> {
                Some(COUNTS[self.integer_row()?][usize::from(imm) * 2 + usize::from(left)])
            }
        }
    };
}

// In the order of `binary_operators`.
integer_comparisons! { I32Eq I32Ne I32LtS I32LtU I32LeS I32LeU I64Eq I64Ne I64LtS I64LtU I64LeS I64LeU }

// In the order of `binary_operators`.
comparisons! {
    I32Eq => I32Ne, false;
    I32Ne => I32Eq, false;
    I32LtS => I32LeS, true;
    I32LtU => I32LeU, true;
    I32LeS => I32LtS, true;
    I32LeU => I32LtU, true;
    I64Eq => I64Ne, false;
    I64Ne => I64Eq, false;
    I64LtS => I64LeS, true;
    I64LtU => I64LeU, true;
    I64LeS => I64LtS, true;
    I64LeU => I64LtU, true;
    F32Eq => F32Ne, false;
    F32Ne => F32Eq, false;
    F32Lt => F32NotLt, false;
    F32Le => F32NotLe, false;
    F32NotLt => F32Lt, false;
    F32NotLe => F32Le, false;
    F64Eq => F64Ne, false;
    F64Ne => F64Eq, false;
    F64Lt => F64NotLt, false;
    F64Le => F64NotLe, false;
    F64NotLt => F64Lt, false;
    F64NotLe => F64Le, false;
}

impl FormIdx {
    /// The form with the two operands swapped; for two slots it is the same.
    pub(crate) fn swapped(self) -> Self {
        match self {
            Self::SS => Self::SS,
            Self::SA => Self::AS,
            Self::AS => Self::SA,
            Self::SI => Self::IS,
            Self::IS => Self::SI,
            Self::AI => Self::IA,
            Self::IA => Self::AI,
        }
    }
}

macro_rules! unary_operators {
    ($( $name:ident, $in:ident, $out:ident, $function:path; )*) => {
        /// The operators with one operand.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum UnIdx { $($name,)* }

        mod un {
            use super::*;
            $(
                pub(crate) struct $name;
                impl Un for $name {
                    type In = $in;
                    type Out = $out;
                    #[inline(always)]
                    fn apply(a: $in) -> Result<$out, TrapCode> {
                        $function(a).into_result()
                    }
                }
            )*
        }

        static UNARY: &[[DestPair; 2]] = &[$(un_row::<un::$name>(),)*];

        impl UnIdx {
            /// The handlers for an operand in a slot or in the accumulator.
            pub(crate) fn handlers(self, acc: bool) -> DestPair {
                UNARY[self as usize][acc as usize]
            }
            /// The accumulator that the result goes to.
            pub(crate) fn out_reg(self) -> Reg {
                match self { $(Self::$name => const { reg_of(stringify!($out)) },)* }
            }
        }
    };
}

unary_operators! {
    I32Clz, i32, i32, num::i32_clz;
    I32Ctz, i32, i32, num::i32_ctz;
    I32Popcnt, i32, i32, num::i32_popcnt;
    I32Extend8S, i32, i32, num::i32_extend8_s;
    I32Extend16S, i32, i32, num::i32_extend16_s;
    I64Clz, i64, i64, num::i64_clz;
    I64Ctz, i64, i64, num::i64_ctz;
    I64Popcnt, i64, i64, num::i64_popcnt;
    I64Extend8S, i64, i64, num::i64_extend8_s;
    I64Extend16S, i64, i64, num::i64_extend16_s;
    I64Extend32S, i64, i64, num::i64_extend32_s;
    I64ExtendI32S, i32, i64, num::i64_extend_i32_s;
    I64ExtendI32U, u32, u64, num::i64_extend_i32_u;
    F32Abs, f32, f32, num::f32_abs;
    F32Neg, f32, f32, num::f32_neg;
    F32Ceil, f32, f32, num::f32_ceil;
    F32Floor, f32, f32, num::f32_floor;
    F32Trunc, f32, f32, num::f32_trunc;
    F32Nearest, f32, f32, num::f32_nearest;
    F32Sqrt, f32, f32, num::f32_sqrt;
    F64Abs, f64, f64, num::f64_abs;
    F64Neg, f64, f64, num::f64_neg;
    F64Ceil, f64, f64, num::f64_ceil;
    F64Floor, f64, f64, num::f64_floor;
    F64Trunc, f64, f64, num::f64_trunc;
    F64Nearest, f64, f64, num::f64_nearest;
    F64Sqrt, f64, f64, num::f64_sqrt;
    I32TruncF32S, f32, i32, num::i32_trunc_f32_s;
    I32TruncF32U, f32, u32, num::i32_trunc_f32_u;
    I32TruncF64S, f64, i32, num::i32_trunc_f64_s;
    I32TruncF64U, f64, u32, num::i32_trunc_f64_u;
    I64TruncF32S, f32, i64, num::i64_trunc_f32_s;
    I64TruncF32U, f32, u64, num::i64_trunc_f32_u;
    I64TruncF64S, f64, i64, num::i64_trunc_f64_s;
    I64TruncF64U, f64, u64, num::i64_trunc_f64_u;
    I32TruncSatF32S, f32, i32, num::i32_trunc_sat_f32_s;
    I32TruncSatF32U, f32, u32, num::i32_trunc_sat_f32_u;
    I32TruncSatF64S, f64, i32, num::i32_trunc_sat_f64_s;
    I32TruncSatF64U, f64, u32, num::i32_trunc_sat_f64_u;
    I64TruncSatF32S, f32, i64, num::i64_trunc_sat_f32_s;
    I64TruncSatF32U, f32, u64, num::i64_trunc_sat_f32_u;
    I64TruncSatF64S, f64, i64, num::i64_trunc_sat_f64_s;
    I64TruncSatF64U, f64, u64, num::i64_trunc_sat_f64_u;
    F32ConvertI32S, i32, f32, num::f32_convert_i32_s;
    F32ConvertI32U, u32, f32, num::f32_convert_i32_u;
    F32ConvertI64S, i64, f32, num::f32_convert_i64_s;
    F32ConvertI64U, u64, f32, num::f32_convert_i64_u;
    F64ConvertI32S, i32, f64, num::f64_convert_i32_s;
    F64ConvertI32U, u32, f64, num::f64_convert_i32_u;
    F64ConvertI64S, i64, f64, num::f64_convert_i64_s;
    F64ConvertI64U, u64, f64, num::f64_convert_i64_u;
    F32Canonical, f32, f32, num::f32_canonical;
    F64Canonical, f64, f64, num::f64_canonical;
    F32DemoteF64, f64, f32, num::f32_demote_f64;
    F64PromoteF32, f32, f64, num::f64_promote_f32;
    I32ReinterpretF32, f32, i32, num::i32_reinterpret_f32;
    I64ReinterpretF64, f64, i64, num::i64_reinterpret_f64;
    F32ReinterpretI32, i32, f32, num::f32_reinterpret_i32;
    F64ReinterpretI64, i64, f64, num::f64_reinterpret_i64;
}
