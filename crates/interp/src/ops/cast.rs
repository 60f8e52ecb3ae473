//! Tests and casts of references, their equality, and small integers as references.
//!
//! What a test asks for is known at translation. Its handler answers what null, a small integer and one look
//! at the object's header can answer; for the rest it goes on in a handler that asks the runtime.
//! References to functions stand in cells and are always asked about.

use std::marker::PhantomData;

use palisade_core::TrapCode;
use palisade_vm::builtins::gc;
use palisade_vm::gc::RefTarget;
use palisade_vm::gc::layout::EXTERN;
use palisade_vm::layout::{VmCtx, VmFuncRef, VmRef};

use crate::ops::arith::{D, Dest, DestPair, R, Slots, jump, put};
use crate::ops::fields::object;
use crate::ops::refs::{get, set};
use crate::state::{Handler, Next, Op, State, cold_handler, handler};

/// Operands of a test of a reference.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct RefOps {
    pub(crate) handler: u64,
    /// The destination of a test, in its low half; the offset of a branch.
    pub(crate) first: i32,
    /// The slot of the reference: of the window, or of the frame for functions.
    pub(crate) a: u16,
    pub(crate) pad: u16,
    /// The canonical type that is looked for, if there is one.
    pub(crate) ty: u32,
    pub(crate) target: RefTarget,
}

/// What a test can find out by itself.
pub(crate) trait Quick {
    /// The answer for reference `r`; `None` if the runtime must be asked.
    unsafe fn is(s: &State, r: VmRef, o: &RefOps) -> Option<bool>;
}

macro_rules! quick {
    ($( $(#[$doc:meta])* $name:ident, |$r:ident, $o:ident, $word:ident| $body:expr; )*) => {
        $(
            $(#[$doc])*
            struct $name;
            impl Quick for $name {
                #[inline(always)]
                unsafe fn is(s: &State, $r: VmRef, $o: &RefOps) -> Option<bool> {
                    if $r.is_null() {
                        return Some($o.target.nullable);
                    }
                    // SAFETY: the reference is valid, and not null.
                    let $word = || unsafe { word(s, $r) };
                    let _ = ($o, &$word);
                    $body
                }
            }
        )*
        /// How much a test can find out by itself, as a number.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub(crate) enum QuickIdx { $($name,)* }
        /// By [`QuickIdx`]: traps unless the reference passes.
        static CASTS: &[Handler] = &[$(handler::<Cast<$name>>(),)*];
        /// By [`QuickIdx`]: whether the reference passes.
        static TESTS: &[DestPair] = &[$([handler::<Test<$name, R>>(), handler::<Test<$name, D>>()],)*];
        /// By [`QuickIdx`], whether to branch if the reference passes, and direction.
        static BRANCHES: &[[[Handler; 2]; 2]] = &[$([
            [handler::<Branch<$name, false, false>>(), handler::<Branch<$name, false, true>>()],
            [handler::<Branch<$name, true, false>>(), handler::<Branch<$name, true, true>>()],
        ],)*];
    };
}

/// Whether a reference is a number, and the first word of its object if it is not.
#[inline(always)]
unsafe fn word(s: &State, r: VmRef) -> Option<u32> {
    // SAFETY: the caller passes a valid reference that is not null.
    unsafe { if r.0 & 1 == 1 { None } else { Some(object(s, r).cast::<u32>().read()) } }
}

quick! {
    /// Nothing but null.
    Ask, |r, o, word| None;
    /// Everything: the target is a type without subtypes.
    Final, |r, o, word| Some(word() == Some(o.ty));
    /// Whether the type is the very one, and that numbers have none.
    Type, |r, o, word| match word() {
        None => Some(false),
        Some(word) if word == o.ty => Some(true),
        Some(_) => None,
    };
    /// Everything: small integers.
    Number, |r, o, word| Some(r.0 & 1 == 1);
    /// Everything: what can be compared, which host values cannot.
    Comparable, |r, o, word| Some(word().is_none_or(|word| word < EXTERN));
    /// Everything: whatever is not null.
    Anything, |r, o, word| Some(true);
    /// Everything: whatever is null.
    Nothing, |r, o, word| Some(false);
}

impl QuickIdx {
    /// The handler of a cast.
    pub(crate) fn cast(self) -> Handler {
        CASTS[self as usize]
    }

    /// The handlers of a test.
    pub(crate) fn test(self) -> DestPair {
        TESTS[self as usize]
    }

    /// The handlers of a branch if the reference passes (or does not), forward and backward.
    pub(crate) fn branch(self, sense: bool) -> [Handler; 2] {
        BRANCHES[self as usize][usize::from(sense)]
    }
}

/// A family of references that the runtime can be asked about.
trait Family {
    /// The answer for the reference in slot `a`.
    unsafe fn ask(s: &State, o: &RefOps) -> bool;
}

/// References of the window.
struct Objects;
impl Family for Objects {
    #[inline(always)]
    unsafe fn ask(s: &State, o: &RefOps) -> bool {
        // SAFETY: the slot belongs to the window, whose references are valid.
        unsafe { ask(s.ip, s.vm, get(s, o.a)) }
    }
}

/// References to functions, in cells.
struct Functions;
impl Family for Functions {
    #[inline(always)]
    unsafe fn ask(s: &State, o: &RefOps) -> bool {
        // SAFETY: the slot belongs to the frame and holds a reference to a function, or null.
        unsafe { ask_func(s.ip, s.vm, s.cell(o.a) as *const VmFuncRef) }
    }
}

/// Asks the runtime about a reference. In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn ask(ip: *const u8, vm: *mut VmCtx, r: VmRef) -> bool {
    // SAFETY: the instruction was emitted with `RefOps`; the reference is valid.
    unsafe { gc::ref_is(vm, r, (*ip.cast::<RefOps>()).target) }
}

/// [`ask`] about a reference to a function.
#[inline(never)]
unsafe fn ask_func(ip: *const u8, vm: *mut VmCtx, func: *const VmFuncRef) -> bool {
    // SAFETY: the instruction was emitted with `RefOps`; the reference is null or one of the store.
    unsafe { gc::func_is(vm, func, (*ip.cast::<RefOps>()).target) }
}

struct Cast<Q>(PhantomData<Q>);
impl<Q: Quick> Op for Cast<Q> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `RefOps`, whose slot belongs to the window.
        unsafe {
            let o = s.operands::<RefOps>();
            match Q::is(&s, get(&s, o.a), &o) {
                Some(true) => s.after::<RefOps>(),
                Some(false) => Next::Trap(s, TrapCode::CastFailure),
                None => Next::Jump(s, const { cold_handler::<AskCast<Objects>>() }),
            }
        }
    }
}

struct AskCast<F>(PhantomData<F>);
impl<F: Family> Op for AskCast<F> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `Cast`.
        unsafe {
            if !F::ask(&s, &s.operands()) {
                return Next::Trap(s, TrapCode::CastFailure);
            }
        }
        s.after::<RefOps>()
    }
}

struct Test<Q, T>(PhantomData<(Q, T)>);
impl<Q: Quick, T: Dest> Op for Test<Q, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: as for `Cast`.
        unsafe {
            let o = s.operands::<RefOps>();
            match Q::is(&s, get(&s, o.a), &o) {
                Some(is) => put::<bool, T>(&mut s, is),
                None => return Next::Jump(s, const { cold_handler::<AskTest<Objects, T>>() }),
            }
        }
        s.after::<RefOps>()
    }
}

struct AskTest<F, T>(PhantomData<(F, T)>);
impl<F: Family, T: Dest> Op for AskTest<F, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: as for `Cast`.
        unsafe {
            let is = F::ask(&s, &s.operands());
            put::<bool, T>(&mut s, is);
        }
        s.after::<RefOps>()
    }
}

struct Branch<Q, const SENSE: bool, const BACK: bool>(PhantomData<Q>);
impl<Q: Quick, const SENSE: bool, const BACK: bool> Op for Branch<Q, SENSE, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `Cast`; the offset leads into the same code.
        unsafe {
            let o = s.operands::<RefOps>();
            match Q::is(&s, get(&s, o.a), &o) {
                Some(is) if is == SENSE => jump::<BACK>(s, o.first),
                Some(_) => s.after::<RefOps>(),
                None => Next::Jump(s, const { cold_handler::<AskBranch<Objects, SENSE, BACK>>() }),
            }
        }
    }
}

struct AskBranch<F, const SENSE: bool, const BACK: bool>(PhantomData<F>);
impl<F: Family, const SENSE: bool, const BACK: bool> Op for AskBranch<F, SENSE, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `Branch`.
        unsafe {
            let o = s.operands::<RefOps>();
            if F::ask(&s, &o) == SENSE {
                return jump::<BACK>(s, o.first);
            }
        }
        s.after::<RefOps>()
    }
}

/// Traps unless the reference to a function in cell `a` passes.
pub(crate) static CAST_FUNC: Handler = handler::<AskCast<Functions>>();
/// Whether the reference to a function in cell `a` passes.
pub(crate) static TEST_FUNC: DestPair =
    [handler::<AskTest<Functions, R>>(), handler::<AskTest<Functions, D>>()];
/// By whether to branch if the reference to a function in cell `a` passes, and direction.
pub(crate) static BRANCH_FUNC: [[Handler; 2]; 2] = [
    [
        handler::<AskBranch<Functions, false, false>>(),
        handler::<AskBranch<Functions, false, true>>(),
    ],
    [handler::<AskBranch<Functions, true, false>>(), handler::<AskBranch<Functions, true, true>>()],
];

/// Operands of a branch on two references.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct RefBranchOps {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    pub(crate) a: u16,
    pub(crate) b: u16,
}

/// A question about one or two references.
pub(crate) trait Ask2 {
    unsafe fn is(s: &State, a: u16, b: u16) -> bool;
}
/// Whether reference `a` is null.
struct IsNull;
impl Ask2 for IsNull {
    #[inline(always)]
    unsafe fn is(s: &State, a: u16, _: u16) -> bool {
        // SAFETY: the slot belongs to the window.
        unsafe { get(s, a).is_null() }
    }
}
/// Whether references `a` and `b` are the same.
struct Same;
impl Ask2 for Same {
    #[inline(always)]
    unsafe fn is(s: &State, a: u16, b: u16) -> bool {
        // SAFETY: the slots belong to the window.
        unsafe { get(s, a) == get(s, b) }
    }
}

struct Answer<A, T>(PhantomData<(A, T)>);
impl<A: Ask2, T: Dest> Op for Answer<A, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`, which belong to the window.
        unsafe {
            let o = s.operands::<Slots>();
            let is = A::is(&s, o.a, o.b);
            put::<bool, T>(&mut s, is);
        }
        s.after::<Slots>()
    }
}
/// Whether reference `a` is null.
pub(crate) static IS_NULL: DestPair =
    [handler::<Answer<IsNull, R>>(), handler::<Answer<IsNull, D>>()];
/// Whether references `a` and `b` are the same.
pub(crate) static SAME: DestPair = [handler::<Answer<Same, R>>(), handler::<Answer<Same, D>>()];

struct AnswerBranch<A, const SENSE: bool, const BACK: bool>(PhantomData<A>);
impl<A: Ask2, const SENSE: bool, const BACK: bool> Op for AnswerBranch<A, SENSE, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `RefBranchOps`, whose slots belong to the window
        // and whose offset leads into the same code.
        unsafe {
            let o = s.operands::<RefBranchOps>();
            if A::is(&s, o.a, o.b) == SENSE {
                return jump::<BACK>(s, o.offset);
            }
        }
        s.after::<RefBranchOps>()
    }
}

const fn answer_branches<A: Ask2>() -> [[Handler; 2]; 2] {
    [
        [handler::<AnswerBranch<A, false, false>>(), handler::<AnswerBranch<A, false, true>>()],
        [handler::<AnswerBranch<A, true, false>>(), handler::<AnswerBranch<A, true, true>>()],
    ]
}
/// By whether to branch if reference `a` is null, and direction.
pub(crate) static BRANCH_NULL: [[Handler; 2]; 2] = answer_branches::<IsNull>();
/// By whether to branch if references `a` and `b` are the same, and direction.
pub(crate) static BRANCH_SAME: [[Handler; 2]; 2] = answer_branches::<Same>();

/// `ref.i31`: from slot `a` or the accumulator to reference `d`.
struct ToI31<const ACC: bool>;
impl<const ACC: bool> Op for ToI31<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`.
        unsafe {
            let o = s.operands::<Slots>();
            let value = if ACC { s.acc as u32 } else { s.cell(o.a) as u32 };
            set(&s, o.d, VmRef(value << 1 | 1));
        }
        s.after::<Slots>()
    }
}
/// From a slot, from the accumulator.
pub(crate) static TO_I31: [Handler; 2] = [handler::<ToI31<false>>(), handler::<ToI31<true>>()];

/// `i31.get_s` and `i31.get_u` of reference `a`.
struct FromI31<T, const SIGNED: bool>(PhantomData<T>);
impl<T: Dest, const SIGNED: bool> Op for FromI31<T, SIGNED> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`, whose slot belongs to the window.
        unsafe {
            let r = get(&s, s.operands::<Slots>().a);
            if r.is_null() {
                return Next::Trap(s, TrapCode::NullI31Reference);
            }
            let value = if SIGNED { (r.0 as i32 >> 1) as u32 } else { r.0 >> 1 };
            put::<u32, T>(&mut s, value);
        }
        s.after::<Slots>()
    }
}
/// By whether the sign is extended.
pub(crate) static FROM_I31: [DestPair; 2] = [
    [handler::<FromI31<R, false>>(), handler::<FromI31<D, false>>()],
    [handler::<FromI31<R, true>>(), handler::<FromI31<D, true>>()],
];
