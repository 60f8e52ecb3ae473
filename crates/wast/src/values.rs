//! Arguments and expected results of scripts.

use palisade::{AnyRef, ExternRef, HeapType, Result, Store, V128, Val, ValType};
use wast::core::{
    AbstractHeapType, HeapType as WastHeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore,
};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// A host value of a script: `(ref.extern N)` and `(ref.host N)`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct HostValue(u32);

/// The value of an argument; `None` if there is no such thing here. `ty` is what the function takes,
/// which says of which family a null is.
pub(crate) fn argument(
    store: &mut Store<()>,
    arg: &WastArg<'_>,
    ty: Option<&ValType>,
) -> Result<Option<Val>> {
    let WastArg::Core(arg) = arg else { return Ok(None) };
    Ok(Some(match arg {
        WastArgCore::I32(x) => Val::I32(*x),
        WastArgCore::I64(x) => Val::I64(*x),
        WastArgCore::F32(x) => Val::F32(x.bits),
        WastArgCore::F64(x) => Val::F64(x.bits),
        WastArgCore::V128(x) => Val::V128(V128::from(u128::from_le_bytes(x.to_le_bytes()))),
        WastArgCore::RefNull(heap) => match null_of(heap) {
            Some(null) => null,
            None => return Ok(ty.and_then(Val::default_for)),
        },
        WastArgCore::RefExtern(n) => {
            Val::ExternRef(Some(ExternRef::new(&mut *store, HostValue(*n))?))
        }
        WastArgCore::RefHost(n) => {
            let value = ExternRef::new(&mut *store, HostValue(*n))?;
            Val::AnyRef(Some(AnyRef::convert_extern(&*store, value)?))
        }
    }))
}

/// The null of an abstract heap type's family.
fn null_of(heap: &WastHeapType<'_>) -> Option<Val> {
    let WastHeapType::Abstract { ty, .. } = heap else { return None };
    Some(match ty {
        AbstractHeapType::Func | AbstractHeapType::NoFunc => Val::FuncRef(None),
        AbstractHeapType::Extern | AbstractHeapType::NoExtern => Val::ExternRef(None),
        AbstractHeapType::Exn | AbstractHeapType::NoExn => Val::ExnRef(None),
        AbstractHeapType::Any
        | AbstractHeapType::Eq
        | AbstractHeapType::Struct
        | AbstractHeapType::Array
        | AbstractHeapType::I31
        | AbstractHeapType::None => Val::AnyRef(None),
        _ => return None,
    })
}

/// Whether a result is as expected.
pub(crate) fn matches(store: &Store<()>, expected: &WastRet<'_>, found: &Val) -> bool {
    match expected {
        WastRet::Core(expected) => core_matches(store, expected, found),
        _ => false,
    }
}

fn core_matches(store: &Store<()>, expected: &WastRetCore<'_>, found: &Val) -> bool {
    match (expected, found) {
        (WastRetCore::I32(x), Val::I32(y)) => x == y,
        (WastRetCore::I64(x), Val::I64(y)) => x == y,
        (WastRetCore::F32(x), Val::F32(y)) => f32_matches(x, *y),
        (WastRetCore::F64(x), Val::F64(y)) => f64_matches(x, *y),
        (WastRetCore::V128(x), Val::V128(y)) => v128_matches(x, y.as_u128()),
        (WastRetCore::Either(cases), found) => {
            cases.iter().any(|case| core_matches(store, case, found))
        }
        (expected, found) => reference_matches(store, expected, found),
    }
}

fn reference_matches(store: &Store<()>, expected: &WastRetCore<'_>, found: &Val) -> bool {
    let Some(reference) = found.as_ref() else { return false };
    let is = |heap: HeapType| {
        !reference.is_null()
            && found
                .ty(store)
                .is_ok_and(|ty| ty.as_ref().is_some_and(|ty| ty.heap_type().matches(&heap)))
    };
    match expected {
        WastRetCore::RefNull(None) => reference.is_null(),
        WastRetCore::RefNull(Some(heap)) => {
            let family = null_of(heap).map(|null| std::mem::discriminant(&null));
            // A null of a defined type may be of any family.
            reference.is_null() && family.is_none_or(|f| f == std::mem::discriminant(found))
        }
        WastRetCore::RefExtern(None) => is(HeapType::Extern),
        WastRetCore::RefExtern(Some(n)) => match found {
            Val::ExternRef(Some(value)) => is_host_value(store, value, *n),
            _ => false,
        },
        WastRetCore::RefHost(n) => match found {
            Val::AnyRef(Some(value)) => ExternRef::convert_any(store, *value)
                .is_ok_and(|value| is_host_value(store, &value, *n)),
            _ => false,
        },
        WastRetCore::RefFunc(_) => is(HeapType::Func),
        WastRetCore::RefAny => is(HeapType::Any),
        WastRetCore::RefEq => is(HeapType::Eq),
        WastRetCore::RefArray => is(HeapType::Array),
        WastRetCore::RefStruct => is(HeapType::Struct),
        WastRetCore::RefI31 | WastRetCore::RefI31Shared => is(HeapType::I31),
        _ => false,
    }
}

fn is_host_value(store: &Store<()>, value: &ExternRef, number: u32) -> bool {
    value
        .data(store)
        .is_ok_and(|data| data.and_then(|data| data.downcast_ref()) == Some(&HostValue(number)))
}

fn f32_matches(expected: &NanPattern<F32>, found: u32) -> bool {
    match expected {
        NanPattern::CanonicalNan => found & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => found & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => value.bits == found,
    }
}

fn f64_matches(expected: &NanPattern<F64>, found: u64) -> bool {
    match expected {
        NanPattern::CanonicalNan => found & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => found & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(value) => value.bits == found,
    }
}

fn v128_matches(expected: &V128Pattern, found: u128) -> bool {
    let lane = |index: usize, bits: usize| (found >> (index * bits)) as u64;
    fn all<L>(lanes: &[L], same: impl Fn(usize, &L) -> bool) -> bool {
        lanes.iter().enumerate().all(|(i, expected)| same(i, expected))
    }
    match expected {
        V128Pattern::I8x16(lanes) => all(lanes, |i, x| *x == lane(i, 8) as i8),
        V128Pattern::I16x8(lanes) => all(lanes, |i, x| *x == lane(i, 16) as i16),
        V128Pattern::I32x4(lanes) => all(lanes, |i, x| *x == lane(i, 32) as i32),
        V128Pattern::I64x2(lanes) => all(lanes, |i, x| *x == lane(i, 64) as i64),
        V128Pattern::F32x4(lanes) => all(lanes, |i, x| f32_matches(x, lane(i, 32) as u32)),
        V128Pattern::F64x2(lanes) => all(lanes, |i, x| f64_matches(x, lane(i, 64))),
    }
}

/// The expected results in words.
pub(crate) fn describe_expected(expected: &[WastRet<'_>]) -> String {
    let one = |expected: &WastRet<'_>| match expected {
        WastRet::Core(WastRetCore::F32(NanPattern::Value(x))) => format!("F32({:#x})", x.bits),
        WastRet::Core(WastRetCore::F64(NanPattern::Value(x))) => format!("F64({:#x})", x.bits),
        other => format!("{other:?}"),
    };
    format!("[{}]", expected.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The results in words.
pub(crate) fn describe_found(found: &[Val]) -> String {
    let one = |found: &Val| match found {
        Val::F32(bits) => format!("F32({bits:#x})"),
        Val::F64(bits) => format!("F64({bits:#x})"),
        other => format!("{other:?}"),
    };
    format!("[{}]", found.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_patterns() {
        let (canonical, arithmetic) = (NanPattern::CanonicalNan, NanPattern::ArithmeticNan);
        for (bits, is_canonical, is_arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0xffff_ffff, false, true),
            (0x7fa0_0000, false, false),
            (0x7f80_0000, false, false),
            (0, false, false),
        ] {
            assert_eq!(f32_matches(&canonical, bits), is_canonical, "{bits:#x}");
            assert_eq!(f32_matches(&arithmetic, bits), is_arithmetic, "{bits:#x}");
        }
        for (bits, is_canonical, is_arithmetic) in [
            (0x7ff8_0000_0000_0000, true, true),
            (0xfff8_0000_0000_0000, true, true),
            (0xfff8_0000_0000_0001, false, true),
            (0x7ff4_0000_0000_0000, false, false),
        ] {
            assert_eq!(f64_matches(&NanPattern::CanonicalNan, bits), is_canonical, "{bits:#x}");
            assert_eq!(f64_matches(&NanPattern::ArithmeticNan, bits), is_arithmetic, "{bits:#x}");
        }
    }

    #[test]
    fn lanes_are_compared_from_the_low_end() {
        let found = 0x0004_0003_0002_0001_u128;
        assert!(v128_matches(&V128Pattern::I16x8([1, 2, 3, 4, 0, 0, 0, 0]), found));
        assert!(!v128_matches(&V128Pattern::I16x8([4, 3, 2, 1, 0, 0, 0, 0]), found));
        assert!(v128_matches(&V128Pattern::I64x2([0x0004_0003_0002_0001, 0]), found));
        assert!(v128_matches(&V128Pattern::I32x4([0x2_0001, 0x4_0003, 0, 0]), found));
        assert!(v128_matches(
            &V128Pattern::F32x4([const { NanPattern::CanonicalNan }; 4]),
            u128::from_le_bytes([0, 0, 0xc0, 0x7f].repeat(4).try_into().expect("16 bytes")),
        ));
    }
}
