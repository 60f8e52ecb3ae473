//! How values of each type stand in cells, in accumulators and in immediates.

use crate::state::State;

/// Which accumulator a value goes through.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reg {
    /// `State::acc`
    Int = 0,
    /// `State::f32a`
    F32 = 1,
    /// `State::f64a`
    F64 = 2,
}

/// A value that instructions compute with.
pub(crate) trait Val: Copy {
    /// How it stands in an instruction.
    type Imm: Copy;
    fn from_cell(cell: u64) -> Self;
    fn to_cell(self) -> u64;
    fn from_imm(imm: Self::Imm) -> Self;
    fn get(s: &State) -> Self;
    fn set(s: &mut State, value: Self);
}

macro_rules! int_val {
    ($ty:ty, $unsigned:ty) => {
        impl Val for $ty {
            type Imm = $ty;
            #[inline(always)]
            fn from_cell(cell: u64) -> Self {
                cell as $ty
            }
            #[inline(always)]
            fn to_cell(self) -> u64 {
                u64::from(self as $unsigned)
            }
            #[inline(always)]
            fn from_imm(imm: $ty) -> Self {
                imm
            }
            #[inline(always)]
            fn get(s: &State) -> Self {
                s.acc as $ty
            }
            #[inline(always)]
            fn set(s: &mut State, value: Self) {
                s.acc = u64::from(value as $unsigned);
            }
        }
    };
}

int_val!(i32, u32);
int_val!(u32, u32);
int_val!(i64, u64);
int_val!(u64, u64);

macro_rules! float_val {
    ($ty:ty, $bits:ty, $reg:ident) => {
        impl Val for $ty {
            type Imm = $bits;
            #[inline(always)]
            fn from_cell(cell: u64) -> Self {
                <$ty>::from_bits(cell as $bits)
            }
            #[inline(always)]
            fn to_cell(self) -> u64 {
                u64::from(self.to_bits())
            }
            #[inline(always)]
            fn from_imm(imm: $bits) -> Self {
                <$ty>::from_bits(imm)
            }
            #[inline(always)]
            fn get(s: &State) -> Self {
                s.$reg
            }
            #[inline(always)]
            fn set(s: &mut State, value: Self) {
                s.$reg = value;
            }
        }
    };
}

float_val!(f32, u32, f32a);
float_val!(f64, u64, f64a);

/// A truth value, as comparisons give it: an `i32` of 0 or 1. Never an operand.
impl Val for bool {
    type Imm = u32;
    #[inline(always)]
    fn from_cell(cell: u64) -> Self {
        cell as u32 != 0
    }
    #[inline(always)]
    fn to_cell(self) -> u64 {
        u64::from(self)
    }
    #[inline(always)]
    fn from_imm(imm: u32) -> Self {
        imm != 0
    }
    #[inline(always)]
    fn get(s: &State) -> Self {
        s.acc as u32 != 0
    }
    #[inline(always)]
    fn set(s: &mut State, value: Self) {
        s.acc = u64::from(value);
    }
}
