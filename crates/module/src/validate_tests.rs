//! Validation on one thread and on many: what comes out is the same, whoever was fast.

use super::*;
use crate::decode::Outline;

/// A number as the binary format has it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// How many functions the modules here have.
const FUNCTIONS: usize = 400;

/// A module of functions with these bodies (without local declarations and end), and one before them that gives 100 numbers.
fn module(code: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let results = [0x7f].repeat(100);
    let types = [&[2, 0x60, 0, 0, 0x60, 0][..], &leb(results.len()), &results].concat();
    let mut funcs = leb(FUNCTIONS + 1);
    funcs.push(1);
    funcs.extend([0].repeat(FUNCTIONS));
    let body = |code: &[u8]| [&leb(code.len() + 2)[..], &[0], code, &[0x0b]].concat();
    let mut bodies = leb(FUNCTIONS + 1);
    bodies.extend(body(&[0x00]));
    (0..FUNCTIONS).for_each(|func| bodies.extend(body(&code(func))));
    [b"\0asm\x01\0\0\0".to_vec(), section(1, &types), section(3, &funcs), section(10, &bodies)]
        .concat()
}

/// What is wrong, as it is said, on so many threads.
fn verdict(bytes: &[u8], limits: &Limits, threads: usize) -> Option<String> {
    let features = supported_features();
    let outline =
        Outline::read(bytes, limits, features, None, None).expect("all but the bodies is right");
    let bodies = outline.bodies(bytes, limits, features, None).expect("there are bodies");
    bodies.validate_on(threads).err().map(|error| error.to_string())
}

#[track_caller]
fn same_on_all(what: &str, bytes: &[u8], limits: &Limits, wrong: bool) {
    let alone = verdict(bytes, limits, 1);
    assert_eq!(alone.is_some(), wrong, "{what}: {alone:?}");
    for round in 0..8 {
        for threads in [2, 3, 8] {
            assert_eq!(verdict(bytes, limits, threads), alone, "{what}, {threads}, round {round}");
        }
    }
}

/// Calls the function with 100 results, so often.
fn wide(calls: usize) -> Vec<u8> {
    // Each in a block that is left by an `unreachable`, which takes what the call gave.
    [0x02, 0x40, 0x10, 0x00, 0x00, 0x0b].repeat(calls)
}

#[test]
fn v1_the_error_is_the_same_whatever_the_number_of_threads() {
    let nops = |func: usize| [0x01].repeat(200 + func * 37 % 300);
    let limits = Limits::default();
    same_on_all("valid", &module(nops), &limits, false);
    for bad in [0, 1, 15, 16, 17, 200, FUNCTIONS - 1] {
        // From there on every second function drops what is not there.
        let bytes = module(|func| match func >= bad && (func - bad).is_multiple_of(2) {
            true => [&nops(func)[..], &[0x1a]].concat(),
            false => nops(func),
        });
        same_on_all(&format!("bad from {bad} on"), &bytes, &limits, true);
    }
}

#[test]
fn x10_a_sum_over_all_functions_is_exceeded_at_the_same_place_whatever_the_number_of_threads() {
    let mut limits = Limits::default();
    let calls = |func: usize| wide(1 + func * 7 % 30);
    for most in [5_000, 30_000, 300_000] {
        limits.operand_checks = most;
        same_on_all(&format!("{most} operands"), &module(calls), &limits, true);
    }
    limits.operand_checks = 10_000_000;
    same_on_all("enough", &module(calls), &limits, false);
    // Something else is wrong before the sum is exceeded, and after that.
    for bad in [3, 60, 390] {
        let bytes = module(|func| match func == bad {
            true => [&calls(func)[..], &[0x1a]].concat(),
            false => calls(func),
        });
        for most in [5_000, 100_000, 560_000] {
            limits.operand_checks = most;
            same_on_all(&format!("{bad} is bad, {most} operands"), &bytes, &limits, true);
        }
    }
}
