//! The meaning of every scalar numeric operator of WebAssembly, as pure functions.
//!
//! A function has the name of its operator with the dots turned into underscores. Operators that
//! end in `_u` take and return unsigned numbers; all others, also those that do not care about the
//! sign, signed ones; comparisons and tests return `bool`. Operators that may trap return a
//! `Result`.
//!
//! NaNs follow the specification: `abs`, `neg`, `copysign` and the reinterpretations keep every bit;
//! every other operator returns a quiet NaN, and a canonical one when all NaNs that it was given are
//! canonical. Which of several quiet NaNs comes out is not fixed, nor is its sign.
//!
//! This is not where operands are fetched or results stored: there is no state in here.

use crate::trap::TrapCode;

macro_rules! integers {
    ($( ($mod_doc:literal, $s:ty, $u:ty, $bits:literal,
        $eqz:ident $eq:ident $ne:ident $lt_s:ident $lt_u:ident $gt_s:ident $gt_u:ident
        $le_s:ident $le_u:ident $ge_s:ident $ge_u:ident
        $clz:ident $ctz:ident $popcnt:ident $add:ident $sub:ident $mul:ident
        $div_s:ident $div_u:ident $rem_s:ident $rem_u:ident $and:ident $or:ident $xor:ident
        $shl:ident $shr_s:ident $shr_u:ident $rotl:ident $rotr:ident
        $extend8_s:ident $extend16_s:ident); )*) => {$(
        #[doc = concat!("`", $mod_doc, ".eqz`")]
        #[inline(always)]
        pub const fn $eqz(a: $s) -> bool { a == 0 }
        #[doc = concat!("`", $mod_doc, ".eq`")]
        #[inline(always)]
        pub const fn $eq(a: $s, b: $s) -> bool { a == b }
        #[doc = concat!("`", $mod_doc, ".ne`")]
        #[inline(always)]
        pub const fn $ne(a: $s, b: $s) -> bool { a != b }
        #[doc = concat!("`", $mod_doc, ".lt_s`")]
        #[inline(always)]
        pub const fn $lt_s(a: $s, b: $s) -> bool { a < b }
        #[doc = concat!("`", $mod_doc, ".lt_u`")]
        #[inline(always)]
        pub const fn $lt_u(a: $u, b: $u) -> bool { a < b }
        #[doc = concat!("`", $mod_doc, ".gt_s`")]
        #[inline(always)]
        pub const fn $gt_s(a: $s, b: $s) -> bool { a > b }
        #[doc = concat!("`", $mod_doc, ".gt_u`")]
        #[inline(always)]
        pub const fn $gt_u(a: $u, b: $u) -> bool { a > b }
        #[doc = concat!("`", $mod_doc, ".le_s`")]
        #[inline(always)]
        pub const fn $le_s(a: $s, b: $s) -> bool { a <= b }
        #[doc = concat!("`", $mod_doc, ".le_u`")]
        #[inline(always)]
        pub const fn $le_u(a: $u, b: $u) -> bool { a <= b }
        #[doc = concat!("`", $mod_doc, ".ge_s`")]
        #[inline(always)]
        pub const fn $ge_s(a: $s, b: $s) -> bool { a >= b }
        #[doc = concat!("`", $mod_doc, ".ge_u`")]
        #[inline(always)]
        pub const fn $ge_u(a: $u, b: $u) -> bool { a >= b }
        #[doc = concat!("`", $mod_doc, ".clz`")]
        #[inline(always)]
        pub const fn $clz(a: $s) -> $s { a.leading_zeros() as $s }
        #[doc = concat!("`", $mod_doc, ".ctz`")]
        #[inline(always)]
        pub const fn $ctz(a: $s) -> $s { a.trailing_zeros() as $s }
        #[doc = concat!("`", $mod_doc, ".popcnt`")]
        #[inline(always)]
        pub const fn $popcnt(a: $s) -> $s { a.count_ones() as $s }
        #[doc = concat!("`", $mod_doc, ".add`")]
        #[inline(always)]
        pub const fn $add(a: $s, b: $s) -> $s { a.wrapping_add(b) }
        #[doc = concat!("`", $mod_doc, ".sub`")]
        #[inline(always)]
        pub const fn $sub(a: $s, b: $s) -> $s { a.wrapping_sub(b) }
        #[doc = concat!("`", $mod_doc, ".mul`")]
        #[inline(always)]
        pub const fn $mul(a: $s, b: $s) -> $s { a.wrapping_mul(b) }
        #[doc = concat!("`", $mod_doc, ".div_s`: traps on zero, and on the one quotient that does not fit.")]
        #[inline(always)]
        pub const fn $div_s(a: $s, b: $s) -> Result<$s, TrapCode> {
            if b == 0 {
                return Err(TrapCode::IntegerDivideByZero);
            }
            match a.checked_div(b) {
                Some(quotient) => Ok(quotient),
                None => Err(TrapCode::IntegerOverflow),
            }
        }
        #[doc = concat!("`", $mod_doc, ".div_u`: traps on zero.")]
        #[inline(always)]
        pub const fn $div_u(a: $u, b: $u) -> Result<$u, TrapCode> {
            match a.checked_div(b) {
                Some(quotient) => Ok(quotient),
                None => Err(TrapCode::IntegerDivideByZero),
            }
        }
        #[doc = concat!("`", $mod_doc, ".rem_s`: traps on zero; the remainder by -1 is 0.")]
        #[inline(always)]
        pub const fn $rem_s(a: $s, b: $s) -> Result<$s, TrapCode> {
            if b == 0 {
                return Err(TrapCode::IntegerDivideByZero);
            }
            Ok(a.wrapping_rem(b))
        }
        #[doc = concat!("`", $mod_doc, ".rem_u`: traps on zero.")]
        #[inline(always)]
        pub const fn $rem_u(a: $u, b: $u) -> Result<$u, TrapCode> {
            match a.checked_rem(b) {
                Some(remainder) => Ok(remainder),
                None => Err(TrapCode::IntegerDivideByZero),
            }
        }
        #[doc = concat!("`", $mod_doc, ".and`")]
        #[inline(always)]
        pub const fn $and(a: $s, b: $s) -> $s { a & b }
        #[doc = concat!("`", $mod_doc, ".or`")]
        #[inline(always)]
        pub const fn $or(a: $s, b: $s) -> $s { a | b }
        #[doc = concat!("`", $mod_doc, ".xor`")]
        #[inline(always)]
        pub const fn $xor(a: $s, b: $s) -> $s { a ^ b }
        #[doc = concat!("`", $mod_doc, ".shl`: the count is taken modulo the width.")]
        #[inline(always)]
        pub const fn $shl(a: $s, b: $s) -> $s { a.wrapping_shl(b as u32) }
        #[doc = concat!("`", $mod_doc, ".shr_s`: the count is taken modulo the width.")]
        #[inline(always)]
        pub const fn $shr_s(a: $s, b: $s) -> $s { a.wrapping_shr(b as u32) }
        #[doc = concat!("`", $mod_doc, ".shr_u`: the count is taken modulo the width.")]
        #[inline(always)]
        pub const fn $shr_u(a: $u, b: $u) -> $u { a.wrapping_shr(b as u32) }
        #[doc = concat!("`", $mod_doc, ".rotl`: the count is taken modulo the width.")]
        #[inline(always)]
        pub const fn $rotl(a: $s, b: $s) -> $s { a.rotate_left((b & ($bits - 1)) as u32) }
        #[doc = concat!("`", $mod_doc, ".rotr`: the count is taken modulo the width.")]
        #[inline(always)]
        pub const fn $rotr(a: $s, b: $s) -> $s { a.rotate_right((b & ($bits - 1)) as u32) }
        #[doc = concat!("`", $mod_doc, ".extend8_s`")]
        #[inline(always)]
        pub const fn $extend8_s(a: $s) -> $s { a as i8 as $s }
        #[doc = concat!("`", $mod_doc, ".extend16_s`")]
        #[inline(always)]
        pub const fn $extend16_s(a: $s) -> $s { a as i16 as $s }
    )*};
}

integers! {
    ("i32", i32, u32, 32,
        i32_eqz i32_eq i32_ne i32_lt_s i32_lt_u i32_gt_s i32_gt_u i32_le_s i32_le_u i32_ge_s i32_ge_u
        i32_clz i32_ctz i32_popcnt i32_add i32_sub i32_mul
        i32_div_s i32_div_u i32_rem_s i32_rem_u i32_and i32_or i32_xor
        i32_shl i32_shr_s i32_shr_u i32_rotl i32_rotr i32_extend8_s i32_extend16_s);
    ("i64", i64, u64, 64,
        i64_eqz i64_eq i64_ne i64_lt_s i64_lt_u i64_gt_s i64_gt_u i64_le_s i64_le_u i64_ge_s i64_ge_u
        i64_clz i64_ctz i64_popcnt i64_add i64_sub i64_mul
        i64_div_s i64_div_u i64_rem_s i64_rem_u i64_and i64_or i64_xor
        i64_shl i64_shr_s i64_shr_u i64_rotl i64_rotr i64_extend8_s i64_extend16_s);
}

/// The canonical NaN in place of any NaN: what every operator gives whose NaNs the deterministic profile lays down.
#[inline(always)]
pub const fn f32_canonical(a: f32) -> f32 {
    if a.is_nan() { f32::from_bits(0x7fc0_0000) } else { a }
}

/// As [`f32_canonical`].
#[inline(always)]
pub const fn f64_canonical(a: f64) -> f64 {
    if a.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { a }
}

/// `i64.extend32_s`
#[inline(always)]
pub const fn i64_extend32_s(a: i64) -> i64 {
    a as i32 as i64
}

/// `i64.extend_i32_s`
#[inline(always)]
pub const fn i64_extend_i32_s(a: i32) -> i64 {
    a as i64
}

/// `i64.extend_i32_u`
#[inline(always)]
pub const fn i64_extend_i32_u(a: u32) -> u64 {
    a as u64
}

/// `i32.wrap_i64`
#[inline(always)]
pub const fn i32_wrap_i64(a: i64) -> i32 {
    a as i32
}

macro_rules! floats {
    ($( ($name:literal, $t:ty, $bits:ty, $quiet_bit:literal, $integral:literal,
        $quiet:ident $soft_nearest:ident $soft_ceil:ident $soft_floor:ident $soft_trunc:ident
        $eq:ident $ne:ident $lt:ident $gt:ident $le:ident $ge:ident
        $abs:ident $neg:ident $ceil:ident $floor:ident $trunc:ident $nearest:ident $sqrt:ident
        $add:ident $sub:ident $mul:ident $div:ident $min:ident $max:ident $copysign:ident); )*) => {$(
        /// A NaN made quiet, every other bit kept.
        #[inline(always)]
        const fn $quiet(a: $t) -> $t { <$t>::from_bits(a.to_bits() | (1 << $quiet_bit)) }

        /// Rounds to the nearest integer without the CPU's rounding instruction: adding and taking
        /// away the first number that has no fraction bits leaves an integer, ties to even.
        #[inline(always)]
        fn $soft_nearest(a: $t) -> $t {
            let magnitude = a.abs();
            if magnitude < $integral {
                ((magnitude + $integral) - $integral).copysign(a)
            } else if a.is_nan() {
                $quiet(a)
            } else {
                a
            }
        }

        #[inline(always)]
        fn $soft_ceil(a: $t) -> $t {
            let nearest = $soft_nearest(a);
            if nearest < a { (nearest + 1.0).copysign(a) } else { nearest }
        }

        #[inline(always)]
        fn $soft_floor(a: $t) -> $t {
            let nearest = $soft_nearest(a);
            if nearest > a { (nearest - 1.0).copysign(a) } else { nearest }
        }

        #[inline(always)]
        fn $soft_trunc(a: $t) -> $t {
            let nearest = $soft_nearest(a);
            if nearest.abs() > a.abs() { (nearest.abs() - 1.0).copysign(a) } else { nearest }
        }

        #[doc = concat!("`", $name, ".eq`")]
        #[inline(always)]
        pub const fn $eq(a: $t, b: $t) -> bool { a == b }
        #[doc = concat!("`", $name, ".ne`")]
        #[inline(always)]
        pub const fn $ne(a: $t, b: $t) -> bool { a != b }
        #[doc = concat!("`", $name, ".lt`")]
        #[inline(always)]
        pub const fn $lt(a: $t, b: $t) -> bool { a < b }
        #[doc = concat!("`", $name, ".gt`")]
        #[inline(always)]
        pub const fn $gt(a: $t, b: $t) -> bool { a > b }
        #[doc = concat!("`", $name, ".le`")]
        #[inline(always)]
        pub const fn $le(a: $t, b: $t) -> bool { a <= b }
        #[doc = concat!("`", $name, ".ge`")]
        #[inline(always)]
        pub const fn $ge(a: $t, b: $t) -> bool { a >= b }
        #[doc = concat!("`", $name, ".abs`: exact in every bit, NaNs included.")]
        #[inline(always)]
        pub const fn $abs(a: $t) -> $t { <$t>::from_bits(a.to_bits() & (<$bits>::MAX >> 1)) }
        #[doc = concat!("`", $name, ".neg`: exact in every bit, NaNs included.")]
        #[inline(always)]
        pub const fn $neg(a: $t) -> $t { <$t>::from_bits(a.to_bits() ^ !(<$bits>::MAX >> 1)) }
        #[doc = concat!("`", $name, ".copysign`: exact in every bit, NaNs included.")]
        #[inline(always)]
        pub const fn $copysign(a: $t, b: $t) -> $t {
            let magnitude = <$bits>::MAX >> 1;
            <$t>::from_bits((a.to_bits() & magnitude) | (b.to_bits() & !magnitude))
        }
        #[doc = concat!("`", $name, ".ceil`")]
        #[inline(always)]
        pub fn $ceil(a: $t) -> $t {
            if SOFT_ROUNDING {
                $soft_ceil(a)
            } else if a.is_nan() {
                $quiet(a)
            } else {
                a.ceil()
            }
        }
        #[doc = concat!("`", $name, ".floor`")]
        #[inline(always)]
        pub fn $floor(a: $t) -> $t {
            if SOFT_ROUNDING {
                $soft_floor(a)
            } else if a.is_nan() {
                $quiet(a)
            } else {
                a.floor()
            }
        }
        #[doc = concat!("`", $name, ".trunc`")]
        #[inline(always)]
        pub fn $trunc(a: $t) -> $t {
            if SOFT_ROUNDING {
                $soft_trunc(a)
            } else if a.is_nan() {
                $quiet(a)
            } else {
                a.trunc()
            }
        }
        #[doc = concat!("`", $name, ".nearest`: ties go to the even integer.")]
        #[inline(always)]
        pub fn $nearest(a: $t) -> $t {
            if SOFT_ROUNDING {
                $soft_nearest(a)
            } else if a.is_nan() {
                $quiet(a)
            } else {
                a.round_ties_even()
            }
        }
        #[doc = concat!("`", $name, ".sqrt`")]
        #[inline(always)]
        pub fn $sqrt(a: $t) -> $t { a.sqrt() }
        #[doc = concat!("`", $name, ".add`")]
        #[inline(always)]
        pub fn $add(a: $t, b: $t) -> $t { a + b }
        #[doc = concat!("`", $name, ".sub`")]
        #[inline(always)]
        pub fn $sub(a: $t, b: $t) -> $t { a - b }
        #[doc = concat!("`", $name, ".mul`")]
        #[inline(always)]
        pub fn $mul(a: $t, b: $t) -> $t { a * b }
        #[doc = concat!("`", $name, ".div`")]
        #[inline(always)]
        pub fn $div(a: $t, b: $t) -> $t { a / b }
        #[doc = concat!("`", $name, ".min`: NaN if an operand is NaN; -0 is less than +0.")]
        #[inline(always)]
        pub fn $min(a: $t, b: $t) -> $t {
            if a < b {
                a
            } else if b < a {
                b
            } else if a == b {
                // Equal numbers differ in nothing but the sign of zero: the minimum has it if any has.
                <$t>::from_bits(a.to_bits() | b.to_bits())
            } else {
                $quiet(if a.is_nan() { a } else { b })
            }
        }
        #[doc = concat!("`", $name, ".max`: NaN if an operand is NaN; +0 is more than -0.")]
        #[inline(always)]
        pub fn $max(a: $t, b: $t) -> $t {
            if a > b {
                a
            } else if b > a {
                b
            } else if a == b {
                <$t>::from_bits(a.to_bits() & b.to_bits())
            } else {
                $quiet(if a.is_nan() { a } else { b })
            }
        }
    )*};
}

/// Whether the CPU that we are compiled for lacks rounding instructions, so that the standard
/// library would call a C function.
const SOFT_ROUNDING: bool = cfg!(all(target_arch = "x86_64", not(target_feature = "sse4.1")));

floats! {
    ("f32", f32, u32, 22, 8_388_608.0,
        f32_quiet f32_soft_nearest f32_soft_ceil f32_soft_floor f32_soft_trunc
        f32_eq f32_ne f32_lt f32_gt f32_le f32_ge
        f32_abs f32_neg f32_ceil f32_floor f32_trunc f32_nearest f32_sqrt
        f32_add f32_sub f32_mul f32_div f32_min f32_max f32_copysign);
    ("f64", f64, u64, 51, 4_503_599_627_370_496.0,
        f64_quiet f64_soft_nearest f64_soft_ceil f64_soft_floor f64_soft_trunc
        f64_eq f64_ne f64_lt f64_gt f64_le f64_ge
        f64_abs f64_neg f64_ceil f64_floor f64_trunc f64_nearest f64_sqrt
        f64_add f64_sub f64_mul f64_div f64_min f64_max f64_copysign);
}

macro_rules! truncations {
    ($( $op:literal, $trunc:ident, $sat:ident, $from:ty => $to:ty, $low_test:tt $low:literal, $high:literal; )*) => {$(
        #[doc = concat!("`", $op, "`: traps on NaN, and on what does not fit.")]
        #[allow(clippy::manual_range_contains, reason = "the lower border is open for some types")]
        #[inline(always)]
        pub fn $trunc(a: $from) -> Result<$to, TrapCode> {
            // Both borders are exact in the source type; a NaN fails every comparison.
            if a $low_test $low && a < $high {
                Ok(a as $to)
            } else {
                Err(conversion_trap(a.is_nan()))
            }
        }

        #[doc = concat!("The saturating form of `", $op, "`: NaN gives 0.")]
        #[inline(always)]
        pub fn $sat(a: $from) -> $to { a as $to }
    )*};
}

#[cold]
fn conversion_trap(nan: bool) -> TrapCode {
    if nan { TrapCode::InvalidConversionToInteger } else { TrapCode::IntegerOverflow }
}

truncations! {
    "i32.trunc_f32_s", i32_trunc_f32_s, i32_trunc_sat_f32_s, f32 => i32, >= -2147483648.0, 2147483648.0;
    "i32.trunc_f32_u", i32_trunc_f32_u, i32_trunc_sat_f32_u, f32 => u32, > -1.0, 4294967296.0;
    "i32.trunc_f64_s", i32_trunc_f64_s, i32_trunc_sat_f64_s, f64 => i32, > -2147483649.0, 2147483648.0;
    "i32.trunc_f64_u", i32_trunc_f64_u, i32_trunc_sat_f64_u, f64 => u32, > -1.0, 4294967296.0;
    "i64.trunc_f32_s", i64_trunc_f32_s, i64_trunc_sat_f32_s, f32 => i64, >= -9223372036854775808.0, 9223372036854775808.0;
    "i64.trunc_f32_u", i64_trunc_f32_u, i64_trunc_sat_f32_u, f32 => u64, > -1.0, 18446744073709551616.0;
    "i64.trunc_f64_s", i64_trunc_f64_s, i64_trunc_sat_f64_s, f64 => i64, >= -9223372036854775808.0, 9223372036854775808.0;
    "i64.trunc_f64_u", i64_trunc_f64_u, i64_trunc_sat_f64_u, f64 => u64, > -1.0, 18446744073709551616.0;
}

macro_rules! conversions {
    ($( $op:literal, $name:ident, $from:ty => $to:ty; )*) => {$(
        #[doc = concat!("`", $op, "`: rounds to the nearest, ties to even.")]
        #[inline(always)]
        pub fn $name(a: $from) -> $to { a as $to }
    )*};
}

// `demote` and `promote` are conversion instructions on every CPU that we know of, which make NaNs
// quiet; the tests hold them to that.
conversions! {
    "f32.convert_i32_s", f32_convert_i32_s, i32 => f32;
    "f32.convert_i32_u", f32_convert_i32_u, u32 => f32;
    "f32.convert_i64_s", f32_convert_i64_s, i64 => f32;
    "f32.convert_i64_u", f32_convert_i64_u, u64 => f32;
    "f64.convert_i32_s", f64_convert_i32_s, i32 => f64;
    "f64.convert_i32_u", f64_convert_i32_u, u32 => f64;
    "f64.convert_i64_s", f64_convert_i64_s, i64 => f64;
    "f64.convert_i64_u", f64_convert_i64_u, u64 => f64;
    "f32.demote_f64", f32_demote_f64, f64 => f32;
    "f64.promote_f32", f64_promote_f32, f32 => f64;
}

/// `i32.reinterpret_f32`: exact in every bit.
#[inline(always)]
pub const fn i32_reinterpret_f32(a: f32) -> i32 {
    a.to_bits() as i32
}

/// `i64.reinterpret_f64`: exact in every bit.
#[inline(always)]
pub const fn i64_reinterpret_f64(a: f64) -> i64 {
    a.to_bits() as i64
}

/// `f32.reinterpret_i32`: exact in every bit.
#[inline(always)]
pub const fn f32_reinterpret_i32(a: i32) -> f32 {
    f32::from_bits(a as u32)
}

/// `f64.reinterpret_i64`: exact in every bit.
#[inline(always)]
pub const fn f64_reinterpret_i64(a: i64) -> f64 {
    f64::from_bits(a as u64)
}

#[inline(always)]
const fn join(low: i64, high: i64) -> i128 {
    ((high as i128) << 64) | (low as u64 as i128)
}

#[inline(always)]
const fn split(a: i128) -> (i64, i64) {
    (a as i64, (a >> 64) as i64)
}

/// `i64.add128`: two 128-bit numbers, low half first; so is the result.
#[inline(always)]
pub const fn i64_add128(a_low: i64, a_high: i64, b_low: i64, b_high: i64) -> (i64, i64) {
    split(join(a_low, a_high).wrapping_add(join(b_low, b_high)))
}

/// `i64.sub128`: two 128-bit numbers, low half first; so is the result.
#[inline(always)]
pub const fn i64_sub128(a_low: i64, a_high: i64, b_low: i64, b_high: i64) -> (i64, i64) {
    split(join(a_low, a_high).wrapping_sub(join(b_low, b_high)))
}

/// `i64.mul_wide_s`: the 128-bit product, low half first.
#[inline(always)]
pub const fn i64_mul_wide_s(a: i64, b: i64) -> (i64, i64) {
    split((a as i128) * (b as i128))
}

/// `i64.mul_wide_u`: the 128-bit product, low half first.
#[inline(always)]
pub const fn i64_mul_wide_u(a: u64, b: u64) -> (u64, u64) {
    let product = (a as u128) * (b as u128);
    (product as u64, (product >> 64) as u64)
}

#[cfg(test)]
#[path = "num_tests.rs"]
mod tests;
