//! Branch hints are read, and never a reason to refuse a module.

mod common;

use common::*;
use palisade_core::Limits;
use palisade_module::hints::BranchHint;
use palisade_module::{FuncIdx, ModuleInfo, TypeRegistry, default_features};

fn decode(bytes: Vec<u8>) -> ModuleInfo {
    let types = TypeRegistry::new();
    ModuleInfo::decode(bytes, &Limits::default(), default_features(), &types, None)
        .expect("hints do not make a module invalid")
}

/// The hints of functions, as the section has them.
fn hints(funcs: &[(u32, &[(u32, u8)])]) -> Vec<u8> {
    let mut bytes = leb(funcs.len() as u64);
    for (func, hints) in funcs {
        bytes.extend(leb(u64::from(*func)));
        bytes.extend(leb(hints.len() as u64));
        for (offset, taken) in *hints {
            bytes.extend(leb(u64::from(*offset)));
            bytes.extend([1, *taken]);
        }
    }
    bytes
}

fn custom(name: &str, payload: &[u8]) -> Vec<u8> {
    section(0, &[&leb(name.len() as u64), name.as_bytes(), payload].concat())
}

const NAME: &str = "metadata.code.branch_hint";

/// `local.get 0; if; end; local.get 0; br_if 0; end`: branches at 3 and 8 from the start of the body.
const CODE: [u8; 10] = [0x20, 0, 0x04, 0x40, 0x0b, 0x20, 0, 0x0d, 0, 0x0b];

/// An imported function and two of the module's own, with sections before and after the code.
fn with_sections(before: &[Vec<u8>], after: &[Vec<u8>]) -> ModuleInfo {
    let code = body(&[0], &CODE);
    let mut sections = vec![
        list(1, &[&[0x60, 1, 0x7f, 0]]),
        list(2, &[&[1, b'm', 1, b'f', 0, 0]]),
        list(3, &[&[0], &[0]]),
    ];
    sections.extend(before.iter().cloned());
    sections.push(list(10, &[&code, &code]));
    sections.extend(after.iter().cloned());
    decode(module(&sections))
}

#[test]
fn hints_are_found_by_function_and_offset() {
    let payload = hints(&[(1, &[(3, 1), (8, 0)]), (2, &[(8, 1)])]);
    let module = with_sections(&[custom(NAME, &payload)], &[]);
    assert!(!module.branch_hints_are_malformed());
    let first = [BranchHint { offset: 3, taken: true }, BranchHint { offset: 8, taken: false }];
    assert_eq!(module.branch_hints_of(FuncIdx(1)), first);
    assert_eq!(module.branch_hints_of(FuncIdx(2)), [BranchHint { offset: 8, taken: true }]);
    for nobody in [0, 3, u32::MAX] {
        assert!(module.branch_hints_of(FuncIdx(nobody)).is_empty());
    }
    assert_eq!(module.branch_hint(FuncIdx(1), 3), Some(true));
    assert_eq!(module.branch_hint(FuncIdx(1), 8), Some(false));
    assert_eq!(module.branch_hint(FuncIdx(1), 4), None);
    assert_eq!(module.branch_hint(FuncIdx(2), 3), None);
}

#[test]
fn no_hints_are_well_formed_hints() {
    for module in [with_sections(&[], &[]), with_sections(&[custom(NAME, &hints(&[]))], &[])] {
        assert!(!module.branch_hints_are_malformed());
        assert!(module.branch_hints_of(FuncIdx(1)).is_empty());
    }
}

#[test]
fn hints_that_break_a_rule_are_ignored_all_of_them() {
    let good = hints(&[(1, &[(3, 1)])]);
    let ignored = |before: &[Vec<u8>], after: &[Vec<u8>]| {
        let module = with_sections(before, after);
        assert!(module.branch_hints_are_malformed(), "{before:x?} {after:x?}");
        assert!(module.branch_hints_of(FuncIdx(1)).is_empty());
    };
    // Behind the code, or twice.
    ignored(&[], &[custom(NAME, &good)]);
    ignored(&[custom(NAME, &good), custom(NAME, &good)], &[]);
    ignored(&[custom(NAME, &good)], &[custom(NAME, &good)]);
    for payload in [
        // Functions: imported, unknown, twice, descending.
        hints(&[(1, &[(3, 1)]), (0, &[(3, 1)])]),
        hints(&[(0, &[(3, 1)]), (1, &[(3, 1)])]),
        hints(&[(1, &[(3, 1)]), (3, &[(3, 1)])]),
        hints(&[(1, &[(3, 1)]), (u32::MAX, &[])]),
        hints(&[(1, &[(3, 1)]), (1, &[(8, 1)])]),
        hints(&[(2, &[(3, 1)]), (1, &[(3, 1)])]),
        // Offsets: twice, descending, beyond the body.
        hints(&[(1, &[(3, 1), (3, 0)])]),
        hints(&[(1, &[(8, 1), (3, 0)])]),
        hints(&[(1, &[(3, 1), (11, 0)])]),
        hints(&[(1, &[(3, 1), (u32::MAX, 0)])]),
        // Values.
        hints(&[(1, &[(3, 2)])]),
        vec![1, 1, 1, 3, 2, 1, 1],
        // Cut off, longer than it says, counts that lie.
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        vec![],
        HUGE.to_vec(),
        [&[1, 1][..], &HUGE].concat(),
        [&[1][..], &HUGE, &[0]].concat(),
    ] {
        ignored(&[custom(NAME, &payload)], &[]);
    }
}

#[test]
fn hints_may_stand_anywhere_before_the_code() {
    let good = custom(NAME, &hints(&[(1, &[(3, 1)])]));
    let code = body(&[0], &CODE);
    let parts = [
        list(1, &[&[0x60, 1, 0x7f, 0]]),
        list(2, &[&[1, b'm', 1, b'f', 0, 0]]),
        list(3, &[&[0]]),
        list(10, &[&code]),
    ];
    for at in 0..=parts.len() {
        let mut sections = parts.to_vec();
        sections.insert(at, good.clone());
        let module = decode(module(&sections));
        assert_eq!(module.branch_hints_are_malformed(), at == parts.len(), "{at}");
    }
}
