//! What stands behind the handler in each kind of instruction, for people to read: names and values.
//!
//! Nothing here runs while a guest does. An instruction can only be emitted with operands that are declared here, so that
//! none is forgotten. Numbers of slots are shown as they stand; which stack a slot belongs to is the operation's to know.

use std::fmt::Write as _;

use crate::code::Word;
use crate::ops::arith::{
    BranchImm, BranchSlots, CountOps, MaskOps, SelectImm, SelectSlots, Slots, WithImm,
};
use crate::ops::atomic::{AtomicOps, FenceOps};
use crate::ops::call::{CallOps, IndirectOps, ReturnImmOps, ReturnOps, TailOps};
use crate::ops::cast::{RefBranchOps, RefOps};
use crate::ops::control::{
    BranchOps, ConstOps, CopyBranchOps, GlobalOps, NumberOps, SelectOps, SmallConstOps, TableOps,
    TrapOps,
};
use crate::ops::exceptions::ThrowOps;
use crate::ops::fields::FieldOps;
use crate::ops::gc::{ArrayOps, FieldInit, NewOps, SmallNewOps};
use crate::ops::memory::{FarOps, MemOps, MemOpsWide};
use crate::ops::native::TierOps;
use crate::ops::simd::lanes::{ShuffleOps, VecConstOps};
use crate::ops::simd::memory::{Far, LaneOps};
use crate::ops::slow::{SlowOps, WideOps};

/// The operands of an instruction.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shown {
    /// Names and values.
    pub(crate) values: Vec<(&'static str, String)>,
    /// Where it may lead, in bytes from its own beginning.
    pub(crate) targets: Vec<i32>,
}

impl Shown {
    fn value(&mut self, name: &'static str, value: &impl std::fmt::Debug) {
        self.values.push((name, format!("{value:?}")));
    }
}

/// The words of an instruction, the one for its handler first.
pub(crate) trait Operands: Copy {
    /// Lists them. `rest` is what stands behind them before the next instruction.
    fn list(&self, rest: &[Word], to: &mut Shown);
}

/// Reads operands of one kind from the words of an instruction.
///
/// # Safety
///
/// The words begin with an instruction that was emitted with operands of type `T`, and go on with what was emitted behind
/// them for it.
pub(crate) unsafe fn show<T: Operands>(words: &[Word]) -> Shown {
    let mut shown = Shown::default();
    let (own, rest) = words.split_at_checked(size_of::<T>() / 8).unwrap_or((&[], &[]));
    if own.len() * 8 == size_of::<T>() {
        // SAFETY: there are as many bytes as a `T` has, and the caller says that they were one; what is patched into
        // instructions are numbers, for which any bits do.
        let operands: T = unsafe { own.as_ptr().cast::<T>().read() };
        operands.list(rest, &mut shown);
    }
    shown
}

macro_rules! operands {
    ($( $ty:ident $(<$($arg:ident),*>)? { $( $(@$kind:ident)? $field:ident ),* } )*) => {$(
        impl $(<$($arg: Copy + std::fmt::Debug),*>)? Operands for $ty $(<$($arg),*>)? {
            fn list(&self, _rest: &[Word], to: &mut Shown) {
                let _ = &to;
                $(operands!(@list self, to, $field $(, $kind)?);)*
            }
        }
    )*};
    (@list $self:ident, $to:ident, $field:ident) => {
        $to.value(stringify!($field), &$self.$field)
    };
    (@list $self:ident, $to:ident, $field:ident, target) => {
        $to.targets.push($self.$field)
    };
    // Operands within operands.
    (@list $self:ident, $to:ident, $field:ident, all) => {
        $self.$field.list(&[], $to)
    };
}

operands! {
    Slots { d, a, b, c }
    WithImm<I> { d, a, imm }
    BranchSlots { @target offset, a, b }
    BranchImm<I> { @target offset, a, imm }
    SelectSlots { @all compare, x, y }
    SelectImm<I> { @all compare, x, y }
    MaskOps { d, a, b, add, mask }
    CountOps { @target offset, d, a, add, imm, b }
    AtomicOps { d, a, x, y, memory, wide, offset }
    FenceOps { }
    CallOps { base, params, target }
    IndirectOps { base, params, index, header, table, type_id, table64 }
    TailOps { base, params, header, target }
    ReturnOps { header, a, count }
    ReturnImmOps { header, value }
    RefBranchOps { @target offset, a, b }
    BranchOps { @target offset, a }
    CopyBranchOps { @target offset, a, to, from }
    TrapOps { code }
    NumberOps { number }
    ConstOps { d, value }
    SmallConstOps { d, value }
    SelectOps { d, cond, a, b }
    GlobalOps { d, global }
    ThrowOps { tag, base, refs, live }
    FieldOps { d, a, offset }
    NewOps { d, cells, refs, live, count }
    ArrayOps { d, live, x, kind, ty, index }
    MemOps { d, a, offset }
    MemOpsWide { d, a, offset, b, shift, imm }
    FarOps { d, a, memory, offset }
    TierOps { counter, limit, which, offset }
    VecConstOps { d, value }
    SlowOps { x, y, z, d, a, b, wide }
    WideOps { a, low, high }
}

impl<const M64: bool> Operands for Far<M64> {
    fn list(&self, rest: &[Word], to: &mut Shown) {
        self.0.list(rest, to);
    }
}

impl<M: Operands> Operands for LaneOps<M> {
    fn list(&self, rest: &[Word], to: &mut Shown) {
        self.access.list(rest, to);
        to.value("vector", &self.place.vector);
        to.value("byte", &self.place.byte);
    }
}

impl Operands for ShuffleOps {
    fn list(&self, rest: &[Word], to: &mut Shown) {
        self.slots.list(rest, to);
        to.value("lanes", &self.lanes);
    }
}

impl Operands for RefOps {
    fn list(&self, _rest: &[Word], to: &mut Shown) {
        // One field is the slot of a test, or the offset of a branch: both are shown, and `explain` knows which it is.
        to.targets.push(self.first);
        to.value("d", &(self.first as u16));
        to.value("a", &self.a);
        to.value("ty", &self.ty);
        to.value("target", &self.target);
    }
}

/// The bytes of words behind operands, which are known to be initialised.
fn bytes_of(rest: &[Word], from: usize, len: usize) -> Option<&[u8]> {
    let within = from.checked_add(len).is_some_and(|end| end <= size_of_val(rest));
    // SAFETY: within the words; what stands behind operands is numbers without padding (offsets of a table, or the
    // initial values of fields, which have none either).
    within.then(|| unsafe { std::slice::from_raw_parts(rest.as_ptr().cast::<u8>().add(from), len) })
}

impl Operands for TableOps {
    fn list(&self, rest: &[Word], to: &mut Shown) {
        to.value("a", &self.a);
        to.value("count", &self.count);
        for target in 0..self.count as usize {
            let bytes = bytes_of(rest, target * 4, 4).and_then(|bytes| bytes.try_into().ok());
            let Some(bytes) = bytes else { return };
            to.targets.push(i32::from_ne_bytes(bytes));
        }
    }
}

impl Operands for SmallNewOps {
    fn list(&self, rest: &[Word], to: &mut Shown) {
        to.value("d", &self.d);
        to.value("live", &self.live);
        to.value("bytes", &self.bytes);
        to.value("ty", &self.ty);
        let mut fields = String::new();
        for word in rest.iter().take(self.count.into()) {
            const { assert!(size_of::<FieldInit>() == 8 && align_of::<FieldInit>() <= 8) };
            // SAFETY: one word each behind these operands, emitted as such.
            let FieldInit { slot, offset, from, imm } =
                unsafe { word.as_ptr().cast::<FieldInit>().read() };
            let comma = if fields.is_empty() { "" } else { ", " };
            let _ = write!(fields, "{comma}{offset}: {from:?} {slot} {imm}");
        }
        to.values.push(("fields", format!("[{fields}]")));
    }
}
