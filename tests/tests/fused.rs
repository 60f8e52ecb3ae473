//! Operators that the interpreter makes one instruction of, each way round: what fused code computes is
//! what the operators mean one by one, and what else saw the values between still sees them.
//!
//! Random programs (`hostile_fusion`) meet these, too; here each form stands by itself.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use hostile_support::{engines, invoke, store};
use palisade::{Instance, Val};
use palisade_tests::module;

/// Calls `f` of a module with this text, on every engine.
fn check(text: &str, args: &[Val], expected: &[u64]) {
    for engine in engines() {
        let module = module(&engine, text);
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        let found = invoke(&mut store, instance, "f", args);
        assert_eq!(found, Ok(expected.to_vec()), "{text}");
    }
}

const X: u64 = 0x9E37_79B9_7F4A_7C15;
const Y: u64 = 0xD1B5_4A32_D192_ED03;
const Z: u64 = 0xFFFF_FFFF_8000_0001;

/// Products to which something is added: factors and summand from locals, from what was just computed,
/// from constants; on both sides; with the sum used, the sum stored, and the product used again.
#[test]
fn c8_a_product_and_a_sum() {
    let factors = [("get $x", X), ("get $y", Y), ("get $x get $z xor", X ^ Z), ("const 77", 77)];
    let summands = [("get $z", Z), ("get $x", X), ("const 5", 5), ("get $z get $x sub", Z - X)];
    for (a, a_value) in factors {
        for (b, b_value) in factors {
            for (c, c_value) in summands {
                let product = a_value.wrapping_mul(b_value);
                let sum = product.wrapping_add(c_value);
                let mul = format!("{a} {b} mul");
                for text in [format!("{mul} {c} add"), format!("{c} {mul} add")] {
                    both_widths(&text, &[sum]);
                    both_widths(
                        &format!("{text} tee $s get $s get $x add"),
                        &[sum, sum.wrapping_add(X)],
                    );
                }
                for text in [format!("{mul} tee $s {c} add"), format!("{c} {mul} tee $s add")] {
                    both_widths(&format!("{text} get $s"), &[sum, product]);
                }
                both_widths(&format!("{mul} set $s get $s {c} add get $s"), &[sum, product]);
            }
        }
    }
}

/// Runs a body of operators whose names have no types, with 64 bits and with 32.
fn both_widths(body: &str, expected: &[u64]) {
    for ty in ["i64", "i32"] {
        let words = body.split(' ').map(|word| match word {
            "get" | "tee" | "set" => format!("local.{word}"),
            "mul" | "add" | "sub" | "xor" | "const" => format!("{ty}.{word}"),
            _ => word.to_owned(),
        });
        let body = words.collect::<Vec<_>>().join(" ");
        let results = format!("{ty} ").repeat(expected.len());
        let text = format!(
            "(module (func (export \"f\") (param $x {ty}) (param $y {ty}) (param $z {ty}) \
             (result {results}) (local $s {ty}) {body}))"
        );
        if ty == "i64" {
            let args = [X, Y, Z].map(|value| Val::I64(value as i64));
            check(&text, &args, expected);
        } else {
            let args = [X, Y, Z].map(|value| Val::I32(value as i32));
            let narrow: Vec<u64> = expected.iter().map(|&value| u64::from(value as u32)).collect();
            check(&text, &args, &narrow);
        }
    }
}

/// A copy of a local right before a branch, forwards and backwards, that is taken on zero (`if`) and on others
/// (`br_if`), where what is tested is what was copied, what was copied to, or neither.
#[test]
fn c8_a_copy_and_a_branch() {
    for tested in ["$a", "$b", "$c"] {
        for invert in ["", "i32.eqz"] {
            for (a, b, c) in [(0u32, 1u32, 1u32), (1, 0, 0), (7, 0, 9), (0, 5, 0), (3, 4, 0)] {
                let after = |name| match name {
                    "$a" | "$b" => a,
                    _ => c,
                };
                let taken = (after(tested) != 0) == invert.is_empty();
                let test = format!("local.get $a local.set $b local.get {tested} {invert}");
                let args = [a, b, c].map(|value| Val::I32(value as i32));
                for body in [
                    format!(
                        "block $out {test} br_if $out i32.const 1 local.get $b return end
                         i32.const 2"
                    ),
                    format!("{test} if (result i32) i32.const 2 else i32.const 1 end"),
                ] {
                    let text = format!(
                        "(module (func (export \"f\") (param $a i32) (param $b i32) (param $c i32)
                            (result i32 i32) {body} local.get $b))"
                    );
                    check(&text, &args, &[if taken { 2 } else { 1 }, a.into()]);
                }
            }
        }
    }
    // Backwards: $b follows $a by one round, and the loop ends when what is tested says so.
    for (tested, rounds) in [("$a", 5u64), ("$b", 6)] {
        let text = format!(
            "(module (func (export \"f\") (param $a i32) (result i32 i32)
                (local $b i32) (local $n i32) (local $next i32)
                loop $again
                    local.get $n i32.const 1 i32.add local.set $n
                    local.get $a local.set $next
                    local.get $a i32.const 1 i32.sub local.set $a
                    local.get $next local.set $b
                    local.get {tested}
                    br_if $again
                end
                local.get $n local.get $b))"
        );
        check(&text, &[Val::I32(5)], &[rounds, if tested == "$a" { 1 } else { 0 }]);
    }
}

/// Loops that begin with a test: the branch back makes it, too. All comparisons, either way round, with a
/// local or a constant, with steps from a constant or a local, left by `br_if` or begun by `if`, with what
/// the loop counts seen inside of it and behind it.
#[test]
fn c8_loops_that_begin_with_a_test() {
    type Holds = fn(i64, i64) -> bool;
    let comparisons: [(&str, Holds); 8] = [
        ("lt_s", |a, b| a < b),
        ("le_s", |a, b| a <= b),
        ("gt_s", |a, b| a > b),
        ("ge_s", |a, b| a >= b),
        ("lt_u", |a, b| (a as u64) < b as u64),
        ("ge_u", |a, b| a as u64 >= b as u64),
        ("ne", |a, b| a != b),
        ("eq", |a, b| a == b),
    ];
    for (name, holds) in comparisons {
        for (start, end, step) in [(0i64, 7i64, 1i64), (7, 0, -1), (-3, 3, 2), (5, 5, 1)] {
            for bound in ["get $n".to_owned(), format!("const {end}")] {
                for increment in ["get $step".to_owned(), format!("const {step}")] {
                    for swapped in [false, true] {
                        let test = match swapped {
                            false => format!("get $i {bound} {name}"),
                            true => format!("{bound} get $i {name}"),
                        };
                        let goes_on = |i| if swapped { holds(end, i) } else { holds(i, end) };
                        let (mut i, mut sum, mut rounds) = (start, 0i64, 0);
                        while goes_on(i) && rounds < 20 {
                            rounds += 1;
                            sum = sum.wrapping_mul(3).wrapping_add(i);
                            i += step;
                        }
                        let body = format!(
                            "get $sum const 3 mul get $i add set $sum
                             left get $left i32.eqz
                             if br 2 end
                             get $i {increment} add set $i"
                        );
                        let with_exit =
                            format!("block loop {test} i32.eqz br_if 1 {body} br 0 end end");
                        let with_if = format!("block loop {test} if {body} br 1 end end end")
                            .replace("br 2", "br 3");
                        // The guest gives up after thirty rounds, and is not asked about those.
                        if rounds < 20 {
                            check_loop(&with_exit, (start, end, step), (i, sum));
                            check_loop(&with_if, (start, end, step), (i, sum));
                        }
                    }
                }
            }
        }
    }
}

/// Runs a loop whose operators have no types with 64 bits and with 32.
fn check_loop(body: &str, (start, end, step): (i64, i64, i64), (i, sum): (i64, i64)) {
    for ty in ["i64", "i32"] {
        let words = body.split_whitespace().map(|word| match word {
            "get" | "set" => format!("local.{word}"),
            "left" => "local.get $left i32.const 1 i32.sub local.set $left".to_owned(),
            "mul" | "add" | "const" | "ne" | "eq" => format!("{ty}.{word}"),
            _ if word.contains("_s") || word.contains("_u") => format!("{ty}.{word}"),
            _ => word.to_owned(),
        });
        let body = words.collect::<Vec<_>>().join(" ");
        let text = format!(
            "(module (func (export \"f\") (param $i {ty}) (param $n {ty}) (param $step {ty})
               (result {ty} {ty}) (local $sum {ty}) (local $left i32)
               i32.const 30 local.set $left
               {body}
               local.get $i local.get $sum))"
        );
        let (args, expected) = if ty == "i64" {
            ([start, end, step].map(Val::I64), [i as u64, sum as u64])
        } else {
            let narrow = |value: i64| u64::from(value as u32);
            ([start, end, step].map(|value| Val::I32(value as i32)), [narrow(i), narrow(sum)])
        };
        check(&text, &args, &expected);
    }
}
