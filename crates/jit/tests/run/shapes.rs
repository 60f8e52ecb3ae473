//! Signatures of all shapes, through every kind of stub: functions that give back what they get.

use palisade_vm::layout::Cell;

use crate::machine::{Machine, set_host, set_other};

/// The type of the parameter at a position. Not the references: whoever made them knows what is one.
fn ty(shape: &str, at: usize) -> &'static str {
    const MIXED: [&str; 7] = ["i32", "f64", "v128", "i64", "f32", "i32", "v128"];
    match shape {
        "mixed" => MIXED[at % MIXED.len()],
        _ => MIXED.into_iter().find(|ty| *ty == shape).expect("a shape"),
    }
}

/// A value that no other position has, with nothing above its bits.
fn cells(ty: &str, at: usize) -> Vec<Cell> {
    let seed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match ty {
        "i32" | "f32" => vec![seed >> 32],
        "v128" => vec![seed, !seed],
        _ => vec![seed],
    }
}

fn round_trip(shape: &str, params: usize, results: usize) {
    let types = |count| (0..count).map(|at| ty(shape, at)).collect::<Vec<_>>();
    let list = |count: usize| types(count).join(" ");
    let signature = format!("(param {}) (result {})", list(params), list(results));
    let args: String = (0..params).map(|at| format!("(local.get {at})")).collect();
    // Results beyond the parameters are the first ones again, where the types agree; zeros otherwise.
    let body: String = (0..results)
        .map(|at| match ty(shape, at) {
            _ if at < params => format!("(local.get {at})"),
            "v128" => "(v128.const i64x2 0 0)".to_owned(),
            ty => format!("({ty}.const 0)"),
        })
        .collect();
    let wat = format!(
        r#"(module
            (type $t (func {signature}))
            (import "" "host" (func $host (type $t)))
            (func $same (export "same") (type $t) {body})
            (func $other (export "other") (type $t) unreachable)
            (func (export "call") (type $t) (call $same {args}))
            (func (export "tail") (type $t) (return_call $same {args}))
            (func (export "call other") (type $t) (call $other {args}))
            (func (export "tail other") (type $t) (return_call $other {args}))
            (func (export "call host") (type $t) (call $host {args}))
            (func (export "tail host") (type $t) (return_call $host {args}))
            (func $wide (export "wide tail") (param i32) (result {})
                (return_call $same {})))"#,
        list(results),
        types(params)
            .iter()
            .map(|ty| match *ty {
                "v128" => "(v128.const i64x2 0 0)".to_owned(),
                ty => format!("({ty}.const 0)"),
            })
            .collect::<String>(),
    );
    let given: Vec<Cell> = (0..params).flat_map(|at| cells(ty(shape, at), at)).collect();
    let expected: Vec<Cell> = (0..results)
        .flat_map(|at| {
            let cells = cells(ty(shape, at), at);
            if at < params { cells } else { vec![0; cells.len()] }
        })
        .collect();
    let mut machine = Machine::without(&wat, &[1]);
    let (arguments, answer) = (given.clone(), expected.clone());
    let same = move |cells: &mut [Cell]| {
        assert_eq!(cells[..arguments.len()], arguments);
        cells[..answer.len()].copy_from_slice(&answer);
        Ok(())
    };
    set_other(same.clone());
    set_host(same);
    for name in
        ["same", "other", "call", "tail", "call other", "tail other", "call host", "tail host"]
    {
        let got = machine.call(name, &given);
        assert_eq!(got.as_ref(), Ok(&expected), "{shape} {params} {results} {name}");
    }
    assert_eq!(machine.call("wide tail", &[0]), Ok(vec![0; expected.len()]));
}

#[test]
fn few_values() {
    for shape in ["i32", "i64", "f32", "f64", "v128", "mixed"] {
        for count in [0, 1, 2, 5, 6, 7] {
            round_trip(shape, count, count);
        }
    }
}

#[test]
fn as_many_as_registers_and_one_more() {
    for shape in ["i32", "i64", "f32", "f64", "v128", "mixed"] {
        for (params, results) in [(8, 8), (9, 9), (4, 9), (5, 9), (6, 9), (9, 0), (0, 9), (16, 17)]
        {
            round_trip(shape, params, results);
        }
    }
}

#[test]
fn s1_as_many_as_there_may_be() {
    for shape in ["i64", "v128", "mixed"] {
        for (params, results) in [(1000, 1000), (1000, 0), (0, 1000), (100, 1000)] {
            round_trip(shape, params, results);
        }
    }
}
