//! Vectors beyond what the official scripts look at: how the translator places
//! them, what it fuses, the bounds of their accesses, and the way through the embedding API.
//!
//! Every case runs in every engine, with and without fuel.

use palisade::{Engine, Instance, Module, Store, TrapCode, V128, Val};
use palisade_tests::{ENGINES, engine_with};

fn engines() -> Vec<Engine> {
    let mut engines = Vec::new();
    for kind in ENGINES {
        for fuel in [false, true] {
            engines.push(engine_with(kind, |config| {
                config.consume_fuel(fuel);
            }));
        }
    }
    engines
}

/// Instantiates a module in every engine.
fn everywhere(text: &str, check: impl Fn(&mut Store<()>, &Instance)) {
    for engine in engines() {
        let module = Module::new(&engine, text).expect("a valid module");
        let mut store = Store::new(&engine, ());
        if store.set_fuel(1_000_000).is_err() {
            // Fuel is off.
        }
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        check(&mut store, &instance);
    }
}

fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: &[Val]) -> Vec<Val> {
    try_call(store, instance, name, args).unwrap_or_else(|code| panic!("{name}: {code:?}"))
}

fn try_call(
    store: &mut Store<()>,
    instance: &Instance,
    name: &str,
    args: &[Val],
) -> Result<Vec<Val>, TrapCode> {
    let func = instance.get_func(&mut *store, name).expect(name);
    let count = func.ty(&*store).expect("a type").results().len();
    let mut results = vec![Val::I32(0); count];
    match func.call(&mut *store, args, &mut results) {
        Ok(()) => Ok(results),
        Err(error) => Err(error.trap_code().expect("a trap")),
    }
}

fn lanes(lanes: [u32; 4]) -> Val {
    let bits = lanes.iter().rev().fold(0, |bits, &lane| bits << 32 | u128::from(lane));
    Val::V128(V128::from(bits))
}

fn floats(values: [f32; 4]) -> Val {
    lanes(values.map(f32::to_bits))
}

fn same(found: &[Val], expected: &[Val]) {
    let text = |values: &[Val]| format!("{values:x?}");
    assert_eq!(text(found), text(expected));
}

/// A local that is set by the instruction that makes its value, while its old value is still in use.
#[test]
fn locals_keep_what_was_read_before_they_are_set() {
    let text = r#"(module
        (func (export "swap") (param v128 v128) (result v128 v128)
            (local.get 0) (local.get 1)
            (local.set 0 (i32x4.add (local.get 0) (local.get 1)))
            (local.set 1 (i32x4.sub (local.get 0) (local.get 1)))
            (drop) (local.get 1))
        (func (export "tee") (param v128 v128) (result v128 v128)
            (i32x4.add (local.tee 0 (i32x4.mul (local.get 0) (local.get 1))) (local.get 1))
            (local.get 0))
        (func (export "chain") (param v128) (result v128) (local v128 v128)
            (local.set 1 (i32x4.add (local.get 0) (local.get 0)))
            (local.set 2 (local.get 1))
            (local.set 1 (i32x4.neg (local.get 1)))
            (local.set 0 (local.get 0))
            (i32x4.sub (local.get 2) (local.get 1)))
        (func (export "zero") (result v128 i32) (local i32 v128 i32) (local.get 1) (local.get 2)))"#;
    everywhere(text, |store, instance| {
        let (a, b) = (lanes([1, 2, 3, 4]), lanes([10, 20, 30, 40]));
        let args = [a, b];
        same(&call(store, instance, "swap", &args), &[a, a]);
        let product = lanes([10, 40, 90, 160]);
        same(&call(store, instance, "tee", &args), &[lanes([20, 60, 120, 200]), product]);
        same(&call(store, instance, "chain", &args[..1]), &[lanes([4, 8, 12, 16])]);
        same(&call(store, instance, "zero", &[]), &[lanes([0; 4]), Val::I32(0)]);
    });
}

/// Vectors over labels, out of branches and in returns, beside scalars and references.
#[test]
fn vectors_cross_labels() {
    let text = r#"(module
        (func (export "if") (param i32 v128 v128) (result v128)
            (if (result v128) (local.get 0)
                (then (i32x4.add (local.get 1) (local.get 2)))
                (else (local.get 2))))
        (func (export "br_if") (param i32 v128 v128) (result v128)
            (i64.const 7)
            (block (result v128)
                (i64.const 9)
                (br_if 0 (i32x4.neg (local.get 1)) (local.get 0))
                (drop) (drop) (local.get 2))
            (local.set 1) (drop) (local.get 1))
        (func (export "return_if") (param i32 v128 v128) (result v128)
            (br_if 0 (local.get 2) (local.get 0))
            (drop)
            (local.get 1))
        (func (export "sum") (param i32 v128) (result v128 i32)
            (local.get 1) (local.get 0)
            (loop (param v128 i32) (result v128 i32)
                (local.set 0)
                (i32x4.add (local.get 1))
                (i32.sub (local.get 0) (i32.const 1))
                (br_if 0 (i32.gt_s (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
        (func (export "table") (param i32 v128 v128) (result v128)
            (block (result v128)
                (i32x4.neg (block (result v128)
                    (f64.const 1) (drop) (i32.const 3) (local.get 1)
                    (br_table 0 1 2 (local.get 0)))))
            (i32x4.add (local.get 2)))
        (func (export "mixed") (param externref v128 i32) (result i32 v128 externref v128)
            (call $rotate (local.get 1) (local.get 2) (local.get 0) (i32x4.neg (local.get 1))))
        (func $rotate (param v128 i32 externref v128) (result i32 v128 externref v128)
            (local.get 1) (local.get 0) (local.get 2) (local.get 3)))"#;
    everywhere(text, |store, instance| {
        let (a, b) = (lanes([1, 2, 3, 4]), lanes([10, 20, 30, 40]));
        let minus = lanes([1u32, 2, 3, 4].map(u32::wrapping_neg));
        let mut three = |name, flag, expected| {
            let args = [Val::I32(flag), a, b];
            same(&call(store, instance, name, &args), &[expected]);
        };
        three("if", 1, lanes([11, 22, 33, 44]));
        three("if", 0, b);
        three("br_if", 1, minus);
        three("br_if", 0, b);
        three("return_if", 1, b);
        three("return_if", 0, a);
        three("table", 0, lanes([9, 18, 27, 36]));
        three("table", 1, lanes([11, 22, 33, 44]));
        three("table", 2, a);
        let found = call(store, instance, "sum", &[Val::I32(4), a]);
        same(&found, &[lanes([5, 10, 15, 20]), Val::I32(0)]);
        let args = [Val::ExternRef(None), a, Val::I32(-3)];
        let found = call(store, instance, "mixed", &args);
        same(&found, &[Val::I32(-3), a, Val::ExternRef(None), minus]);
    });
}

/// A product and a sum become one operation; each is rounded still, and nothing else is fused.
#[test]
fn products_and_sums() {
    let text = r#"(module
        (func (export "left") (param v128 v128 v128) (result v128)
            (f32x4.add (f32x4.mul (local.get 0) (local.get 1)) (local.get 2)))
        (func (export "right") (param v128 v128 v128) (result v128)
            (local.set 2 (f32x4.add (local.get 2) (f32x4.mul (local.get 0) (local.get 1))))
            (local.get 2))
        (func (export "both") (param v128 v128 v128) (result v128)
            (f32x4.add (f32x4.mul (local.get 0) (local.get 0)) (f32x4.mul (local.get 1) (local.get 2))))
        (func (export "twice") (param v128 v128 v128) (result v128)
            (local.set 2 (f32x4.mul (local.get 0) (local.get 1)))
            (f32x4.add (local.get 2) (local.get 2)))
        (func (export "kept") (param v128 v128 v128) (result v128)
            (f32x4.sub
                (f32x4.add (local.get 2) (local.tee 0 (f32x4.mul (local.get 0) (local.get 1))))
                (local.get 0)))
        (func (export "block") (param v128 v128 v128) (result v128)
            (block (result v128)
                (drop (br_if 0 (local.get 2) (f32x4.extract_lane 0 (local.get 0)) (i32.trunc_f32_s)))
                (f32x4.mul (local.get 0) (local.get 1)))
            (local.get 2)
            (f32x4.add))
        (func (export "relaxed") (param v128 v128 v128) (result v128)
            (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2))))"#;
    // The square of 1 + 2^-12 has no room in 24 bits.
    let x = 1.0 + f32::EPSILON * 2048.0;
    everywhere(text, |store, instance| {
        let a = floats([x, 2.0, 0.5, -3.0]);
        let b = floats([x, 8.0, 4.0, 5.0]);
        let c = floats([-(1.0 + f32::EPSILON * 4096.0), 1.0, 2.0, 3.0]);
        let args = [a, b, c];
        let sum = floats([0.0, 17.0, 4.0, -12.0]);
        for name in ["left", "right", "relaxed"] {
            same(&call(store, instance, name, &args), &[sum]);
        }
        let twice = floats([2.0 * (x * x), 32.0, 4.0, -30.0]);
        same(&call(store, instance, "twice", &args), &[twice]);
        let found = call(store, instance, "both", &args);
        let squares = floats([x * x + x * -(1.0 + f32::EPSILON * 4096.0), 12.0, 8.25, 24.0]);
        same(&found, &[squares]);
        let product = [x * x, 16.0, 2.0, -15.0];
        let kept = [0.0 - product[0], 17.0 - product[1], 4.0 - product[2], -12.0 - product[3]];
        same(&call(store, instance, "kept", &args), &[floats(kept)]);
        // The branch is taken: both summands are the third operand.
        let double = floats([-2.0 * (1.0 + f32::EPSILON * 4096.0), 2.0, 4.0, 6.0]);
        same(&call(store, instance, "block", &args), &[double]);
    });
}

/// Products with powers of two become shifts, also inside of addresses, and wrap as products do.
#[test]
fn products_with_powers_of_two() {
    let text = r#"(module (memory 1) (data (i32.const 65520) "\01\02\03\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f\10")
        (func (export "i32") (param i32) (result i32 i32 i32 i32)
            (i32.mul (local.get 0) (i32.const 8)) (i32.mul (i32.const 0x80000000) (local.get 0))
            (i32.mul (local.get 0) (i32.const 1)) (i32.mul (local.get 0) (i32.const -1)))
        (func (export "i64") (param i64) (result i64 i64 i64)
            (i64.mul (local.get 0) (i64.const 0x8000000000000000))
            (i64.mul (local.get 0) (i64.const 0x100000000))
            (i64.mul (local.get 0) (i64.const 0)))
        (func (export "load") (param i32) (result v128)
            (v128.load offset=32 (i32.add (i32.const 65472) (i32.mul (local.get 0) (i32.const 16))))))"#;
    everywhere(text, |store, instance| {
        let found = call(store, instance, "i32", &[Val::I32(0x3000_0005)]);
        let expected = [0x8000_0028_u32 as i32, i32::MIN, 0x3000_0005, -0x3000_0005];
        same(&found, &expected.map(Val::I32));
        let found = call(store, instance, "i64", &[Val::I64(5)]);
        same(&found, &[Val::I64(i64::MIN), Val::I64(5 << 32), Val::I64(0)]);
        let bytes = lanes([0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d]);
        same(&call(store, instance, "load", &[Val::I32(1)]), &[bytes]);
        same(&call(store, instance, "load", &[Val::I32(0x1000_0001)]), &[bytes]);
        let trap = try_call(store, instance, "load", &[Val::I32(2)]);
        assert_eq!(trap.unwrap_err(), TrapCode::MemoryOutOfBounds);
    });
}

/// The last byte, one past it, and indices that wrap: for near and far memories. What is stored
/// partly outside is not stored at all.
#[test]
fn bounds_are_exact() {
    for (memory, index) in
        [("(memory 1)", "i32"), ("(memory 0) (memory 1)", "i32"), ("(memory i64 1)", "i64")]
    {
        let at = if memory.contains("0)") { "1 " } else { "" };
        let mut text = format!("(module {memory}");
        let loads = [
            ("load", 16),
            ("load8x8_s", 8),
            ("load16x4_u", 8),
            ("load32x2_s", 8),
            ("load8_splat", 1),
            ("load16_splat", 2),
            ("load32_splat", 4),
            ("load64_splat", 8),
            ("load32_zero", 4),
            ("load64_zero", 8),
        ];
        for (name, _) in loads {
            text += &format!(
                r#"(func (export "{name}") (param {index}) (result v128) (v128.{name} {at}(local.get 0)))
                (func (export "{name}+") (param {index}) (result v128)
                    (v128.{name} {at}offset=0xffffffff (local.get 0)))"#
            );
        }
        let lane = [("8", 15, 1), ("16", 7, 2), ("32", 3, 4), ("64", 1, 8)];
        for (bits, last, _) in lane {
            text += &format!(
                r#"(func (export "load{bits}_lane") (param {index}) (result v128)
                    (v128.load{bits}_lane {at}{last} (local.get 0) (v128.const i64x2 -1 -1)))
                (func (export "store{bits}_lane") (param {index})
                    (v128.store{bits}_lane {at}{last} (local.get 0) (v128.const i64x2 -1 -1)))"#
            );
        }
        text += &format!(
            r#"(func (export "store") (param {index})
                (v128.store {at}(local.get 0) (v128.const i64x2 -1 -1)))
            (func (export "byte") (param {index}) (result i32) (i32.load8_u {at}(local.get 0))))"#
        );
        let number = |n: i64| if index == "i64" { Val::I64(n) } else { Val::I32(n as i32) };
        everywhere(&text, |store, instance| {
            let last_byte = |store: &mut Store<()>| {
                call(store, instance, "byte", &[number(65535)])[0].i32().expect("a byte")
            };
            let all = loads
                .iter()
                .map(|&(name, size)| (name.to_owned(), size))
                .chain(lane.iter().map(|&(bits, _, size)| (format!("load{bits}_lane"), size)));
            for (name, size) in all {
                let at = 65536 - size;
                try_call(store, instance, &name, &[number(at)]).expect(&name);
                for outside in [at + 1, 65536, 0xffff_ffff, -1] {
                    let found = try_call(store, instance, &name, &[number(outside)]);
                    assert_eq!(found.unwrap_err(), TrapCode::MemoryOutOfBounds, "{name} {outside}");
                }
            }
            for (name, _) in loads {
                for inside in [0, 1, 0xffff_ffff] {
                    let found = try_call(store, instance, &format!("{name}+"), &[number(inside)]);
                    assert_eq!(found.unwrap_err(), TrapCode::MemoryOutOfBounds, "{name} {inside}");
                }
            }
            let stores = lane.iter().map(|&(bits, _, size)| (format!("store{bits}_lane"), size));
            for (name, size) in stores.chain([("store".to_owned(), 16)]) {
                let found = try_call(store, instance, &name, &[number(65536 - size + 1)]);
                assert_eq!(found.unwrap_err(), TrapCode::MemoryOutOfBounds, "{name}");
            }
            assert_eq!(last_byte(store), 0, "a store that trapped is visible");
            for (name, size) in [("store8_lane", 1), ("store64_lane", 8), ("store", 16)] {
                call(store, instance, name, &[number(65536 - size)]);
                assert_eq!(last_byte(store), 0xff, "{name}");
            }
        });
    }
}

/// Selections, lanes and globals, with operands in accumulators and out of them.
#[test]
fn scalars_and_vectors_meet() {
    let text = r#"(module
        (global $g (mut v128) (v128.const i32x4 1 2 3 4))
        (func (export "select") (param i32 v128 v128) (result v128)
            (select (local.get 1) (i32x4.neg (local.get 2)) (i32.eqz (local.get 0))))
        (func (export "typed") (param i32 v128 v128) (result v128)
            (select (result v128) (local.get 1) (local.get 2) (i32.and (local.get 0) (i32.const 1))))
        (func (export "global") (param v128) (result v128)
            (global.get $g) (global.set $g (i32x4.add (local.get 0) (global.get $g))) (drop)
            (global.get $g))
        (func (export "lanes") (param f32 f64) (result v128)
            (i32x4.add
                (f32x4.replace_lane 3 (f32x4.splat (f32.add (local.get 0) (f32.const 1)))
                    (f32.mul (local.get 0) (f32.const 2)))
                (f64x2.replace_lane 1 (f64x2.splat (local.get 1)) (f64.neg (local.get 1)))))
        (func (export "shift") (param v128 i32) (result v128)
            (i32x4.shr_s (i32x4.shl (i32x4.shr_u (local.get 0) (i32.const 33)) (local.get 1))
                (i32.sub (local.get 1) (i32.const 1))))
        (func (export "test") (param v128) (result i32)
            (if (result i32) (v128.any_true (local.get 0))
                (then (i32.add (i32x4.extract_lane 2 (local.get 0)) (i8x16.bitmask (local.get 0))))
                (else (i32.const -1)))))"#;
    everywhere(text, |store, instance| {
        let (a, b) = (lanes([1, 2, 3, 4]), lanes([10, 20, 30, 40]));
        let minus = lanes([10u32, 20, 30, 40].map(u32::wrapping_neg));
        for (flag, chosen, typed) in [(0, &a, &b), (2, &minus, &b), (1, &minus, &a)] {
            let args = [Val::I32(flag), a, b];
            same(&call(store, instance, "select", &args), &[*chosen]);
            same(&call(store, instance, "typed", &args), &[*typed]);
        }
        same(&call(store, instance, "global", &[b]), &[lanes([11, 22, 33, 44])]);
        same(&call(store, instance, "global", &[b]), &[lanes([21, 42, 63, 84])]);
        let found = call(store, instance, "lanes", &[Val::F32(1.5f32.to_bits()), Val::F64(0)]);
        let (splat, last) = (2.5f32.to_bits(), 3.0f32.to_bits());
        same(&found, &[lanes([splat, splat, splat, last.wrapping_add(0x8000_0000)])]);
        let found = call(store, instance, "shift", &[lanes([2, 4, 0x2000_0000, 1]), Val::I32(3)]);
        same(&found, &[lanes([2, 4, 0xe000_0000, 0])]);
        let found = call(store, instance, "test", &[lanes([0x80, 0, 5, 0x8000_0000])]);
        same(&found, &[Val::I32(5 + 0x8001)]);
        same(&call(store, instance, "test", &[lanes([0; 4])]), &[Val::I32(-1)]);
    });
}
