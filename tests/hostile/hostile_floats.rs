//! C7: the bits of NaNs where the specification fixes them, and what it leaves open where it does not; the one
//! behaviour of the relaxed vector operators.
//!
//! Every operator on floats meets NaNs of both signs, quiet and signalling, with payloads at both ends. Constants
//! and parameters are both tried: folding must do as execution does.

mod hostile_support;

use hostile_support::{engines, store};
use palisade::{Engine, Instance, Module, Val};

/// The bits of one of the two float types, as far as the tests need them.
#[derive(Copy, Clone)]
struct Float {
    name: &'static str,
    int: &'static str,
    vector: &'static str,
    extract: &'static str,
    sign: u64,
    /// The bit that makes a NaN a quiet one.
    quiet: u64,
    exponent: u64,
}

const FLOATS: [Float; 2] = [
    Float {
        name: "f32",
        int: "i32",
        vector: "f32x4",
        extract: "i32x4.extract_lane 3",
        sign: 1 << 31,
        quiet: 1 << 22,
        exponent: 0xff << 23,
    },
    Float {
        name: "f64",
        int: "i64",
        vector: "f64x2",
        extract: "i64x2.extract_lane 1",
        sign: 1 << 63,
        quiet: 1 << 51,
        exponent: 0x7ff << 52,
    },
];

impl Float {
    /// NaNs of every sort, by their bits.
    fn nans(self) -> Vec<u64> {
        let payloads = [
            self.quiet,
            self.quiet | 1,
            self.quiet | (self.quiet - 1),
            1,
            self.quiet - 1,
            self.quiet >> 1,
        ];
        payloads.iter().flat_map(|p| [self.exponent | p, self.sign | self.exponent | p]).collect()
    }

    /// Numbers by their bits: zeros, ones, the ends.
    fn numbers(self) -> Vec<u64> {
        let one = if self.name == "f32" { u64::from(1f32.to_bits()) } else { 1f64.to_bits() };
        [0, one, self.exponent, self.exponent - 1, 1]
            .iter()
            .flat_map(|x| [*x, self.sign | x])
            .collect()
    }

    fn is_nan(self, bits: u64) -> bool {
        bits & self.exponent == self.exponent && bits & (self.quiet | (self.quiet - 1)) != 0
    }

    fn is_canonical(self, bits: u64) -> bool {
        bits & !self.sign == self.exponent | self.quiet
    }

    fn arithmetic(self, bits: u64) -> bool {
        self.is_nan(bits) && bits & self.quiet != 0
    }

    fn val(self, bits: u64) -> Val {
        if self.name == "f32" { Val::I32(bits as i32) } else { Val::I64(bits as i64) }
    }

    /// The text of a constant with these bits, integers being free of notation for NaNs.
    fn constant(self, bits: u64) -> String {
        format!("{}.const {} {}.reinterpret_{}", self.int, bits as i64, self.name, self.int)
    }
}

fn number(value: &Val) -> u64 {
    match value {
        Val::I32(x) => u64::from(*x as u32),
        Val::I64(x) => *x as u64,
        other => panic!("no integer: {other:?}"),
    }
}

/// A module with functions from integers to integers, which are the bits of floats.
struct Machine {
    store: palisade::Store<()>,
    instance: Instance,
}

impl Machine {
    fn new(engine: &Engine, text: &str) -> Self {
        let module = Module::new(engine, text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut store = store(engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        Self { store, instance }
    }

    fn call(&mut self, name: &str, args: &[Val]) -> u64 {
        let func = self.instance.get_func(&self.store, name).expect("an export");
        let mut results = [Val::I32(0)];
        func.call(&mut self.store, args, &mut results).unwrap_or_else(|e| panic!("{name}: {e}"));
        number(&results[0])
    }
}

/// The body of a function for an operator: of scalars, or of vectors with the operands in all lanes.
fn bodies(f: Float, op: &str, operands: usize) -> [String; 2] {
    let gets = |wrap: &str| -> String {
        (0..operands)
            .map(|i| format!("local.get {i} {}.reinterpret_{} {wrap} ", f.name, f.int))
            .collect()
    };
    let Float { name, int, vector, extract, .. } = f;
    [
        format!("{} {name}.{op} {int}.reinterpret_{name}", gets("")),
        format!("{} {vector}.{op} {extract}", gets(&format!("{vector}.splat"))),
    ]
}

fn functions(f: Float, ops: &[&str], operands: usize, scalar: bool, vector: bool) -> String {
    let params = vec![f.int; operands].join(" ");
    let mut text = String::new();
    for op in ops {
        let [a, b] = bodies(f, op, operands);
        let mut add = |kind: &str, body: &str| {
            text += &format!(
                "(func (export \"{kind}.{op}\") (param {params}) (result {}) {body})\n",
                f.int
            );
        };
        if scalar {
            add("s", &a);
        }
        if vector {
            add("v", &b);
        }
    }
    text
}

#[test]
fn c7_sign_operators_change_the_sign_and_nothing_else() {
    for f in FLOATS {
        let text = format!(
            "(module {} {})",
            functions(f, &["abs", "neg"], 1, true, true),
            functions(f, &["copysign"], 2, true, false)
        );
        for engine in engines() {
            let mut machine = Machine::new(&engine, &text);
            let all: Vec<_> = f.nans().into_iter().chain(f.numbers()).collect();
            for &x in &all {
                for kind in ["s", "v"] {
                    assert_eq!(machine.call(&format!("{kind}.abs"), &[f.val(x)]), x & !f.sign);
                    assert_eq!(machine.call(&format!("{kind}.neg"), &[f.val(x)]), x ^ f.sign);
                }
                for &y in &all {
                    let found = machine.call("s.copysign", &[f.val(x), f.val(y)]);
                    assert_eq!(found, x & !f.sign | y & f.sign, "copysign {x:x} {y:x}");
                }
            }
        }
    }
}

/// With a canonical NaN alone the result is one; with any other it is some quiet one.
#[test]
fn c7_operators_that_compute_give_quiet_nans() {
    const ONE: [&str; 5] = ["sqrt", "ceil", "floor", "trunc", "nearest"];
    const TWO: [&str; 6] = ["add", "sub", "mul", "div", "min", "max"];
    for f in FLOATS {
        let text = format!(
            "(module {} {})",
            functions(f, &ONE, 1, true, true),
            functions(f, &TWO, 2, true, true)
        );
        for engine in engines() {
            let mut machine = Machine::new(&engine, &text);
            let check = |found: u64, operands: &[u64], what: &str| {
                let nans: Vec<_> = operands.iter().filter(|x| f.is_nan(**x)).collect();
                let canonical = nans.iter().all(|x| f.is_canonical(**x));
                let good = if canonical { f.is_canonical(found) } else { f.arithmetic(found) };
                assert!(good, "{}.{what} of {operands:x?} is {found:x}", f.name);
            };
            for x in f.nans() {
                for kind in ["s", "v"] {
                    for op in ONE {
                        check(machine.call(&format!("{kind}.{op}"), &[f.val(x)]), &[x], op);
                    }
                    for op in TWO {
                        let name = format!("{kind}.{op}");
                        for y in f.numbers().into_iter().chain(f.nans()) {
                            check(machine.call(&name, &[f.val(x), f.val(y)]), &[x, y], op);
                            check(machine.call(&name, &[f.val(y), f.val(x)]), &[y, x], op);
                        }
                    }
                }
            }
        }
    }
}

/// Selecting minimum and maximum: `b < a ? b : a`, bit by bit.
#[test]
fn c7_pseudo_minimum_and_maximum_give_an_operand_bit_by_bit() {
    for f in FLOATS {
        let text = format!("(module {})", functions(f, &["pmin", "pmax"], 2, false, true));
        let less = |a: u64, b: u64| match f.name {
            "f32" => f32::from_bits(a as u32) < f32::from_bits(b as u32),
            _ => f64::from_bits(a) < f64::from_bits(b),
        };
        for engine in engines() {
            let mut machine = Machine::new(&engine, &text);
            let all: Vec<_> = f.nans().into_iter().chain(f.numbers()).collect();
            for &x in &all {
                for &y in &all {
                    let args = [f.val(x), f.val(y)];
                    assert_eq!(machine.call("v.pmin", &args), if less(y, x) { y } else { x });
                    assert_eq!(machine.call("v.pmax", &args), if less(x, y) { y } else { x });
                }
            }
        }
    }
}

#[test]
fn c7_demotion_and_promotion_of_nans() {
    let text = r#"(module
        (func (export "demote") (param i64) (result i32)
            local.get 0 f64.reinterpret_i64 f32.demote_f64 i32.reinterpret_f32)
        (func (export "promote") (param i32) (result i64)
            local.get 0 f32.reinterpret_i32 f64.promote_f32 i64.reinterpret_f64)
        (func (export "demote_lane") (param i64) (result i32)
            local.get 0 i64x2.splat f32x4.demote_f64x2_zero i32x4.extract_lane 1)
        (func (export "promote_lane") (param i32) (result i64)
            local.get 0 i32x4.splat f64x2.promote_low_f32x4 i64x2.extract_lane 1))"#;
    let [narrow, wide] = FLOATS;
    for engine in engines() {
        let mut machine = Machine::new(&engine, text);
        for (from, to, names) in
            [(wide, narrow, ["demote", "demote_lane"]), (narrow, wide, ["promote", "promote_lane"])]
        {
            for x in from.nans() {
                for name in names {
                    let found = machine.call(name, &[from.val(x)]);
                    let canonical = from.is_canonical(x);
                    let good =
                        if canonical { to.is_canonical(found) } else { to.arithmetic(found) };
                    assert!(good, "{name} of {x:x} is {found:x}");
                }
            }
        }
    }
}

/// What only moves values keeps all bits: locals, globals, memories, `select`, blocks, calls, tables of branches, the
/// host.
#[test]
fn c7_moving_a_signalling_nan_changes_no_bit() {
    for f in FLOATS {
        let Float { name: t, int, .. } = f;
        let (get, back) =
            (format!("local.get 0 {t}.reinterpret_{int}"), format!("{int}.reinterpret_{t}"));
        let ways = [
            format!("{get} local.set $l local.get $l {back}"),
            format!("{get} global.set $g global.get $g {back}"),
            format!("i32.const 9 {get} {t}.store i32.const 9 {t}.load {back}"),
            format!("i32.const 9 local.get 0 {int}.store i32.const 9 {t}.load {back}"),
            format!("{get} {t}.const 1 i32.const 1 select {back}"),
            format!("(block (result {t}) {get} i32.const 1 br_if 0 drop {t}.const 0) {back}"),
            format!("(loop (result {t}) {get}) {back}"),
            format!("{get} call $same {back}"),
            format!("{get} call $host {back}"),
            format!("(block $b (result {t}) {get} i32.const 0 br_table $b $b) {back}"),
            format!("{get} {t}.neg {t}.neg {back}"),
        ];
        let mut text = format!(
            "(module (import \"\" \"\" (func $host (param {t}) (result {t}))) (memory 1)
             (global $g (mut {t}) ({t}.const 0)) (func $same (param {t}) (result {t}) local.get 0)\n"
        );
        for (number, way) in ways.iter().enumerate() {
            text += &format!(
                "(func (export \"{number}\") (param {int}) (result {int}) (local $l {t}) {way})\n"
            );
        }
        for (number, nan) in f.nans().iter().enumerate() {
            let constant = f.constant(*nan);
            text += &format!("(func (export \"c{number}\") (result {int}) {constant} {back})\n");
        }
        text.push(')');
        for engine in engines() {
            let module = Module::new(&engine, &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let mut store = store(&engine);
            let ty =
                module.imports().next().and_then(|i| i.ty().func().cloned()).expect("a function");
            let host = palisade::Func::new(&mut store, ty, |_, args, results| {
                results.copy_from_slice(args);
                Ok(())
            });
            let host = host.expect("a function").into();
            let instance = Instance::new(&mut store, &module, &[host]).expect("instantiation");
            let mut machine = Machine { store, instance };
            for (number, nan) in f.nans().into_iter().enumerate() {
                for (way, text) in ways.iter().enumerate() {
                    assert_eq!(machine.call(&way.to_string(), &[f.val(nan)]), nan, "{text}");
                }
                assert_eq!(machine.call(&format!("c{number}"), &[]), nan);
            }
        }
    }
}

/// Comparisons with a NaN say no, but for `ne`.
#[test]
fn c7_nothing_compares_with_a_nan() {
    for f in FLOATS {
        let mut text = String::from("(module");
        let ops = ["eq", "ne", "lt", "gt", "le", "ge"];
        for op in ops {
            let Float { name, int, vector, .. } = f;
            let pair: String =
                (0..2).map(|i| format!("local.get {i} {name}.reinterpret_{int} ")).collect();
            let lanes: String = (0..2)
                .map(|i| format!("local.get {i} {name}.reinterpret_{int} {vector}.splat "))
                .collect();
            text += &format!(
                "(func (export \"s.{op}\") (param {int} {int}) (result i32) {pair} {name}.{op})
                 (func (export \"v.{op}\") (param {int} {int}) (result i32)
                   {lanes} {vector}.{op} v128.any_true)\n"
            );
        }
        text.push(')');
        for engine in engines() {
            let mut machine = Machine::new(&engine, &text);
            for x in f.nans() {
                for y in f.numbers().into_iter().chain(f.nans()) {
                    for op in ops {
                        for name in [format!("s.{op}"), format!("v.{op}")] {
                            let expected = u64::from(op == "ne");
                            assert_eq!(machine.call(&name, &[f.val(x), f.val(y)]), expected);
                            assert_eq!(machine.call(&name, &[f.val(y), f.val(x)]), expected);
                        }
                    }
                }
            }
        }
    }
}

/// The relaxed operators do what the document of `palisade_core::simd::relaxed` says: what their strict
/// relatives do.
#[test]
fn c7_relaxed_operators_have_one_behaviour() {
    const TWINS: [(&str, &str, usize); 14] = [
        ("i8x16.relaxed_swizzle", "i8x16.swizzle", 2),
        ("i32x4.relaxed_trunc_f32x4_s", "i32x4.trunc_sat_f32x4_s", 1),
        ("i32x4.relaxed_trunc_f32x4_u", "i32x4.trunc_sat_f32x4_u", 1),
        ("i32x4.relaxed_trunc_f64x2_s_zero", "i32x4.trunc_sat_f64x2_s_zero", 1),
        ("i32x4.relaxed_trunc_f64x2_u_zero", "i32x4.trunc_sat_f64x2_u_zero", 1),
        ("i8x16.relaxed_laneselect", "v128.bitselect", 3),
        ("i16x8.relaxed_laneselect", "v128.bitselect", 3),
        ("i32x4.relaxed_laneselect", "v128.bitselect", 3),
        ("i64x2.relaxed_laneselect", "v128.bitselect", 3),
        ("f32x4.relaxed_min", "f32x4.min", 2),
        ("f32x4.relaxed_max", "f32x4.max", 2),
        ("f64x2.relaxed_min", "f64x2.min", 2),
        ("f64x2.relaxed_max", "f64x2.max", 2),
        ("i16x8.relaxed_q15mulr_s", "i16x8.q15mulr_sat_s", 2),
    ];
    let gets = ["local.get 0", "local.get 1", "local.get 2"];
    let mut text = String::from("(module");
    let mut add = |name: String, body: String| {
        text +=
            &format!("(func (export \"{name}\") (param v128 v128 v128) (result v128) {body})\n");
    };
    for (number, (relaxed, strict, operands)) in TWINS.iter().enumerate() {
        let gets = gets[..*operands].join(" ");
        add(format!("r{number}"), format!("{gets} {relaxed}"));
        add(format!("s{number}"), format!("{gets} {strict}"));
    }
    let mut number = TWINS.len();
    for shape in ["f32x4", "f64x2"] {
        for (relaxed, op) in [("relaxed_madd", "add"), ("relaxed_nmadd", "sub")] {
            add(format!("r{number}"), format!("{} {shape}.{relaxed}", gets.join(" ")));
            // Of the third, the product is taken away.
            let strict = format!("{} {} {} {shape}.mul {shape}.{op}", gets[2], gets[0], gets[1]);
            add(format!("s{number}"), strict);
            number += 1;
        }
    }
    text.push(')');
    let borders = [
        0u128,
        u128::MAX,
        0x7fff_ffff_8000_0000_ffff_ffff_7f80_0001,
        0x7ff0_0000_0000_0001_fff8_0000_0000_0000,
        0x4f00_0000_cf00_0001_4f80_0000_bf80_0000,
        0x43e0_0000_0000_0000_c1e0_0000_0020_0000,
        0x8000_8000_8000_8000_7fff_8000_8000_7fff,
        0x0f10_1112_80ff_7f00_0102_0304_0506_0708,
        0x3f80_0001_3f80_0001_3f7f_ffff_8000_0000,
        0x3ff0_0000_0000_0001_8000_0000_0000_0000,
    ];
    for engine in engines() {
        let mut machine = Machine::new(&engine, &text);
        let mut call = |name: &str, args: [u128; 3]| {
            let func = machine.instance.get_func(&machine.store, name).expect("an export");
            let mut results = [Val::I32(0)];
            let args = args.map(|x| Val::V128(x.into()));
            func.call(&mut machine.store, &args, &mut results).expect("no trap");
            results[0].v128().expect("a vector").as_u128()
        };
        for number in 0..number {
            for a in borders {
                for b in borders {
                    for c in borders {
                        let [r, s] =
                            ["r", "s"].map(|kind| call(&format!("{kind}{number}"), [a, b, c]));
                        let nans = |x: u128, f: Float| {
                            let width = if f.name == "f32" { 32 } else { 64 };
                            (0..128 / width)
                                .map(|lane| {
                                    let bits =
                                        (x >> (lane * width)) as u64 & (f.sign | (f.sign - 1));
                                    if f.is_nan(bits) { f.exponent | f.quiet } else { bits }
                                })
                                .collect::<Vec<_>>()
                        };
                        // Which NaN it is may differ with the order of the operands.
                        let same = r == s || FLOATS.iter().any(|f| nans(r, *f) == nans(s, *f));
                        assert!(same, "{number} of {a:x} {b:x} {c:x}: {r:x}, not {s:x}");
                    }
                }
            }
        }
    }
}
