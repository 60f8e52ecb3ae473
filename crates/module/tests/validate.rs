//! Hostile modules: rows V1, V2, V4 and V5 as far as validation goes.

mod common;

use arbitrary::Unstructured;
use common::*;
use palisade_core::{LimitKind, Limits};
use palisade_module::{ConstOp, DecodeErrorKind, FuncIdx};

fn accepted(code: &str) {
    let module =
        format!("(module (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)) {code})");
    if let Err(error) = text(&module) {
        panic!("{error}\n{module}");
    }
}

fn rejected(code: &str) {
    let module =
        format!("(module (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)) {code})");
    let error = text(&module).map(drop).expect_err(&module);
    assert_eq!(error.kind(), DecodeErrorKind::Invalid, "{error}\n{module}");
}

#[test]
fn v1_code_that_is_never_reached() {
    for code in [
        "(func (result i32) unreachable)",
        "(func (result i32) unreachable i32.add)",
        "(func (result i32) (return (i32.const 1)) i64.eqz)",
        "(func (result i64) unreachable select)",
        "(func br 0 drop drop)",
        "(func (block (result i32) (br 0 (i32.const 1)) i32.eqz) drop)",
        "(func (param i32) (local.get 0) (loop (param i32) (br_if 0 (local.get 0)) drop))",
        "(func unreachable (br_table 0 0 (i32.const 1)))",
        "(func (result f32) unreachable (if (result f32) (then unreachable) (else unreachable f32.neg)))",
        "(func unreachable ref.is_null drop)",
        "(type $t (func)) (func unreachable (call_ref $t))",
    ] {
        accepted(code);
    }
    for code in [
        "(func (result i32) unreachable i64.add)",
        "(func (result i32) unreachable i32.const 1 i32.const 2)",
        "(func (result i32) (i64.const 0) unreachable i32.eqz drop i64.eqz i64.eqz)",
        "(func unreachable i32.const 0)",
        "(func (block (result i32) unreachable) i64.eqz drop)",
        "(func unreachable (i32.const 0) (i64.const 0) (i32.const 0) select drop)",
        "(func (block (br 1 (i32.const 1))) i32.add drop)",
        "(func unreachable local.get 0)",
        "(func unreachable br 1)",
        "(func unreachable (block (result i32)) i64.eqz drop)",
        "(func unreachable (i64.const 0) (br_table 0 0))",
    ] {
        rejected(code);
    }
}

#[test]
fn v1_stack_heights_at_the_ends_of_blocks() {
    for code in [
        "(func (block (result i32 i64) (i32.const 1) (i64.const 2)) drop drop)",
        "(func (result i32) (i32.const 1) (block (param i32) (result i32)))",
        "(func (param i32) (result i32) (i32.const 5) (if (param i32) (result i32) (local.get 0) (then) (else (drop) (i32.const 2))))",
        "(func (param i32) (local.get 0) (local.get 0) (if (param i32) (then drop) (else drop)))",
        "(func (result i32) (i32.const 1) (i32.const 2) return)",
        "(func (block (i32.const 1) (br 0)))",
    ] {
        accepted(code);
    }
    for code in [
        "(func (i32.const 1))",
        "(func (result i32))",
        "(func (block (i32.const 1)))",
        "(func (block (result i32)) drop)",
        "(func (i32.const 1) (block drop))",
        "(func (i32.const 1) (loop drop))",
        "(func (i32.const 1) (block (param i32) drop drop))",
        "(func (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.const 1))))",
        "(func (param i32) (if (local.get 0) (then (i32.const 1)) (else (i32.const 1))))",
        "(func (param i32) (if (result i32) (local.get 0) (then (i32.const 1)) (else (i64.const 1))) drop)",
        "(func (loop (param i32) drop))",
        "(func (i32.const 1) (loop (param i32) drop (br 0)))",
    ] {
        rejected(code);
    }
}

/// Modules from a generator of valid ones, with every feature that we have.
#[test]
fn v1_generated_modules_are_valid() {
    let mut code = 0;
    for seed in 0..400_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        let noise: Vec<u8> = noise.take(4096).collect();
        let config = wasm_smith::Config {
            max_memories: 3,
            max_tables: 3,
            memory64_enabled: seed % 2 == 0,
            custom_page_sizes_enabled: true,
            compact_imports_enabled: false,
            generate_custom_sections: true,
            ..Default::default()
        };
        let module = wasm_smith::Module::new(config, &mut Unstructured::new(&noise));
        let bytes = module.expect("noise is enough").to_bytes();
        let info = decode(bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        code += info.bodies.iter().map(|body| body.range.len()).sum::<usize>();
        for (import, _) in info.imports.iter().enumerate() {
            assert!(info.extern_type_of_import(import).is_some());
        }
        for export in &info.exports {
            assert!(info.extern_type_of_export(export.index).is_some());
        }
        assert!((0..info.funcs.len()).all(|f| info.func_type(FuncIdx(f as u32)).is_some()));
    }
    assert!(code > 80_000, "only {code} bytes of code were generated");
}

#[test]
fn v2_immediates_out_of_range() {
    let code = |code: &[u8]| with_code(&[0], &[code, &[0x0b]].concat());
    let load = |memarg: &[u8]| code(&[&[0x41, 0, 0x28], memarg, &[0x1a]].concat());
    assert!(decode(load(&[2, 0])).is_ok());
    assert!(decode(load(&[2, 0xff, 0xff, 0xff, 0xff, 0x0f])).is_ok());
    // More alignment than is natural, and far more.
    invalid(load(&[3, 0]));
    for align in [[0x1f, 0], [0x20, 0], [0x3f, 0]] {
        refused(load(&align));
    }
    refused(load(&[0x80, 0x01, 0]));
    // Another memory: the flag without an index is malformed, with one it must exist.
    assert!(decode(load(&[0x42, 0, 0])).is_ok());
    invalid(load(&[0x42, 1, 0]));
    // 2^32 is no offset into a 32-bit memory.
    refused(load(&[2, 0x80, 0x80, 0x80, 0x80, 0x10]));
    // Indices of things that are not there.
    for bad in [
        &[0x20, 0, 0x1a][..],
        &[0x23, 1, 0x1a],
        &[0x41, 0, 0x24, 1],
        &[0x41, 0, 0x25, 1, 0x1a],
        &[0x10, 1],
        &[0x41, 0, 0x11, 1, 0],
        &[0x41, 0, 0x11, 0, 1],
        &[0xd2, 1, 0x1a],
        &[0x3f, 1, 0x1a],
        &[0x08, 0],
        &[0xd0, 1, 0x1a],
        &[0x02, 1, 0x0b],
    ] {
        refused(code(bad));
    }
    // Lanes: the last one there is, and the next.
    let zero = [&[0xfd, 0x0c][..], &[0; 16]].concat();
    let lane = |op: &[u8]| code(&[&zero[..], op, &[0x1a]].concat());
    for (op, lanes) in [(0x15_u8, 16_u8), (0x18, 8), (0x1b, 4), (0x1d, 2), (0x1f, 4), (0x21, 2)] {
        assert!(decode(lane(&[0xfd, op, lanes - 1])).is_ok(), "{op:x}");
        invalid(lane(&[0xfd, op, lanes]));
        invalid(lane(&[0xfd, op, 0xff]));
    }
    let shuffle =
        |last: u8| code(&[&zero[..], &zero, &[0xfd, 0x0d], &[0; 15], &[last], &[0x1a]].concat());
    assert!(decode(shuffle(31)).is_ok());
    invalid(shuffle(32));
}

#[test]
fn v2_opcodes_that_are_not() {
    let code = |code: &[u8]| with_code(&[0], &[code, &[0x0b]].concat());
    // i32.trunc_sat_f32_s under its number, padded, and with bits that a short reader would drop.
    let truncate = |op: &[u8]| code(&[&[0x43, 0, 0, 0, 0, 0xfc], op, &[0x1a]].concat());
    assert!(decode(truncate(&[0x00])).is_ok());
    assert!(decode(truncate(&[0x80, 0x80, 0x80, 0x80, 0x00])).is_ok());
    refused(truncate(&[0x80, 0x02]));
    refused(truncate(&[0x80, 0x80, 0x04]));
    refused(truncate(&[0x80, 0x80, 0x80, 0x80, 0x08]));
    for op in [
        0x06, 0x07, 0x09, 0x16, 0x17, 0x18, 0x19, 0x1d, 0x1e, 0x27, 0xc5, 0xcf, 0xd7, 0xe0, 0xfa,
        0xff,
    ] {
        refused(code(&[op]));
        refused(code(&[op, 0x40, 0x0b]));
    }
    for prefix in [0xfb, 0xfc, 0xfd, 0xfe] {
        for op in [&[0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
            refused(code(&[&[prefix], op].concat()));
        }
    }
}

/// A limit that is met exactly is kept; one more is an error that says so.
fn meets(kind: LimitKind, limit: u64, make: impl Fn(u64) -> Vec<u8>) {
    let limits = Limits::default();
    assert_eq!(limits.get(kind), limit);
    if let Err(error) = decode_with(make(limit), &limits) {
        panic!("{kind}: {error}");
    }
    let (said, found, at) = common::limit(decode_with(make(limit + 1), &limits));
    assert_eq!((said, found, at), (kind, limit + 1, limit));
    // Lowered, it holds as well.
    let mut lower = limits.clone();
    lower.set(kind, 3).expect("limits can be lowered");
    assert!(decode_with(make(3), &lower).is_ok(), "{kind}");
    assert_eq!(common::limit(decode_with(make(4), &lower)).0, kind);
}

fn repeat(count: u64, item: &[u8]) -> Vec<u8> {
    item.repeat(count as usize)
}

fn many(id: u8, count: u64, item: &[u8]) -> Vec<u8> {
    section(id, &[leb(count), repeat(count, item)].concat())
}

#[test]
fn v4_limits_of_functions() {
    meets(LimitKind::Locals, 50_000, |n| {
        with_code(&[&[1], &leb(n)[..], &[0x7e]].concat(), &[0x0b])
    });
    meets(LimitKind::Nesting, 100_000, |n| {
        with_code(&[0], &[repeat(n, &[0x02, 0x40]), repeat(n + 1, &[0x0b])].concat())
    });
    meets(LimitKind::BrTable, 1_000_000, |n| {
        let table = [&[0x41, 0, 0x0e], &leb(n)[..], &repeat(n, &[0]), &[0, 0x0b]].concat();
        with_code(&[0], &table)
    });
    meets_body_size();
    let func = |params: u64, results: u64| {
        let (params, results) = (many_types(params), many_types(results));
        module(&[list(1, &[&[&[0x60], &params[..], &results].concat()])])
    };
    meets(LimitKind::Params, 1000, |n| func(n, 0));
    meets(LimitKind::Results, 1000, |n| func(0, n));
    // Parameters are locals, too.
    let wide = |locals: u64| {
        module(&[
            list(1, &[&[&[0x60], &many_types(1000)[..], &[0]].concat()]),
            list(3, &[&[0]]),
            list(10, &[&body(&[&[1], &leb(locals)[..], &[0x7f]].concat(), &[0x0b])]),
        ])
    };
    assert!(decode(wide(49_000)).is_ok());
    assert_eq!(common::limit(decode(wide(49_001))), (LimitKind::Locals, 50_001, 50_000));
}

fn many_types(count: u64) -> Vec<u8> {
    [leb(count), repeat(count, &[0x7f])].concat()
}

fn meets_body_size() {
    let make = |n: u64| with_code(&[0], &[repeat(n - 2, &[0x01]), vec![0x0b]].concat());
    meets(LimitKind::BodyBytes, 7_654_321, make);
}

/// A function with a block of `results` results, and in it a table of `targets` with a default.
fn with_table(results: u64, targets: &[u8], default: u8) -> Vec<u8> {
    let results = usize::try_from(results).expect("few results");
    let types = [&[0x60, 0, 0][..], &[0x60, 0], &many_types(results as u64)].concat();
    let code = [
        &[0x02, 1][..],
        &[0x41, 0].repeat(results + 1),
        &[0x0e],
        &leb(targets.len() as u64),
        targets,
        &[default, 0x0b],
        &[0x1a].repeat(results),
        &[0x0b],
    ];
    module(&[
        section(1, &[&[2], &types[..]].concat()),
        list(3, &[&[0]]),
        list(10, &[&body(&[0], &code.concat())]),
    ])
}

/// A thousand results for each of a million targets are a billion comparisons, if they are made.
#[test]
fn x10_wide_branch_tables() {
    let wide = vec![0; 1_000_000];
    assert!(decode(with_table(1000, &wide, 0)).is_ok());
}

#[test]
fn v1_every_target_of_a_branch_table_counts() {
    for len in [1, 63, 64, 65, 66, 1000] {
        for results in [0, 1, 3] {
            let good = vec![0; len];
            assert!(decode(with_table(results, &good, 0)).is_ok());
            // Label 1 is the function's, without results; there is no label 2.
            assert_eq!(decode(with_table(results, &good, 1)).is_ok(), results == 0);
            invalid(with_table(results, &good, 2));
            for bad_at in [0, len / 2, len - 1] {
                let with = |label| {
                    let mut targets = good.clone();
                    targets[bad_at] = label;
                    decode(with_table(results, &targets, 0))
                };
                assert_eq!(with(1).is_ok(), results == 0);
                let kind = with(2).map(drop).expect_err("no such label").kind();
                assert_eq!(kind, DecodeErrorKind::Invalid);
                // The first byte of a longer number: then the table is one short.
                assert!(with(0x80).is_err());
            }
        }
    }
}

#[test]
fn v4_limits_of_sections() {
    meets(LimitKind::DataSegments, 100_000, |n| module(&[many(11, n, &[1, 0])]));
    meets(LimitKind::Elements, 100_000, |n| module(&[many(9, n, &[1, 0, 0])]));
    meets(LimitKind::Tables, 100, |n| module(&[many(4, n, &[0x70, 0, 0])]));
    meets(LimitKind::Memories, 100, |n| module(&[many(5, n, &[0, 0])]));
    meets(LimitKind::Types, 1_000_000, |n| module(&[many(1, n, &[0x60, 0, 0])]));
    meets(LimitKind::Types, 1_000_000, |n| {
        module(&[section(1, &[&[1, 0x4e], &leb(n)[..], &repeat(n, &[0x5f, 0])].concat())])
    });
    meets(LimitKind::Globals, 1_000_000, |n| module(&[many(6, n, &[0x7f, 0, 0x41, 0, 0x0b])]));
    let empty = || list(1, &[&[0x60, 0, 0]]);
    meets(LimitKind::Tags, 1_000_000, |n| module(&[empty(), many(13, n, &[0, 0])]));
    meets(LimitKind::Functions, 1_000_000, |n| {
        module(&[empty(), many(3, n, &[0]), many(10, n, &[2, 0, 0x0b])])
    });
}

#[test]
fn v4_imported_things_count_where_the_limit_says_so() {
    let import = |count: u64, ty: &[u8]| many(2, count, &[&[1, b'a', 1, b'b'], ty].concat());
    for (kind, ty, id, own) in [
        (LimitKind::Tables, &[1, 0x70, 0, 0][..], 4, &[0x70, 0, 0][..]),
        (LimitKind::Memories, &[2, 0, 0], 5, &[0, 0]),
    ] {
        meets(kind, 100, |n| module(&[import(n / 2, ty), many(id, n - n / 2, own)]));
        meets(kind, 100, |n| module(&[import(n, ty)]));
    }
    let mut limits = Limits::default();
    (limits.functions, limits.imports) = (1, 7);
    let make = |imports: u64| {
        module(&[
            list(1, &[&[0x60, 0, 0]]),
            import(imports, &[0, 0]),
            list(3, &[&[0]]),
            list(10, &[&body(&[0], &[0x0b])]),
        ])
    };
    assert!(decode_with(make(7), &limits).is_ok());
    assert_eq!(common::limit(decode_with(make(8), &limits)), (LimitKind::Imports, 8, 7));
}

#[test]
fn v4_exports_up_to_the_limit() {
    let exports = |n: u64| {
        let exports = (0..n)
            .map(|i| [&[4][..], &(i as u32).to_le_bytes().map(|b| b & 0x7f), &[0, 0]].concat());
        let exports: Vec<u8> = exports.flatten().collect();
        module(&[
            list(1, &[&[0x60, 0, 0]]),
            list(3, &[&[0]]),
            section(7, &[leb(n), exports].concat()),
            list(10, &[&body(&[0], &[0x0b])]),
        ])
    };
    let mut limits = Limits::default();
    limits.exports = 100;
    assert!(decode_with(exports(100), &limits).is_ok());
    assert_eq!(common::limit(decode_with(exports(101), &limits)), (LimitKind::Exports, 101, 100));
}

#[test]
fn v4_depth_of_subtypes() {
    let chain = |depth: u64| {
        let mut types = [&leb(depth + 1)[..], &[0x50, 0, 0x5f, 0]].concat();
        for above in 0..depth {
            types.extend([&[0x50, 1], &leb(above)[..], &[0x5f, 0]].concat());
        }
        module(&[section(1, &types)])
    };
    meets(LimitKind::SubtypeDepth, 63, chain);
}

/// Several threads find the first bad function, whatever they start with.
#[test]
fn v1_the_first_error_is_reported() {
    let good = body(&[0], &[&[0x01].repeat(2000)[..], &[0x0b]].concat());
    let bad = body(&[0], &[&[0x01].repeat(2000)[..], &[0x1a, 0x0b]].concat());
    let make = |bad_at: &[usize]| {
        let bodies = (0..500).map(|i| if bad_at.contains(&i) { &bad[..] } else { &good });
        module(&[
            list(1, &[&[0x60, 0, 0]]),
            many(3, 500, &[0]),
            list(10, &bodies.collect::<Vec<_>>()),
        ])
    };
    let info = decode(make(&[])).expect("valid");
    assert_eq!(info.bodies.len(), 500);
    for first in [0, 7, 100, 250, 499] {
        let expected = info.bodies[first].range.start as u64 + 2001;
        let all: Vec<usize> = (first..500).collect();
        let error = invalid(make(&all));
        // The second body is a byte longer than the good one.
        assert_eq!(error.offset(), Some(expected), "{error}");
    }
}

#[test]
fn v5_constant_expressions() {
    for code in [
        "(global i32 (i32.add (i32.const 2147483647) (i32.const 1)))",
        "(global i64 (i64.mul (i64.sub (i64.const 0) (i64.const 1)) (i64.const 9223372036854775807)))",
        "(global $a i32 (i32.const 1)) (global i32 (global.get $a))",
        "(global $a (import \"a\" \"b\") i32) (global i32 (i32.add (global.get $a) (i32.const 1)))",
        "(global funcref (ref.func $f)) (func $f)",
        "(global v128 (v128.const i64x2 1 2))",
        "(func $f) (elem declare func $f) (func (result funcref) (ref.func $f))",
        "(func $f) (export \"f\" (func $f)) (func (result funcref) (ref.func $f))",
        "(type $s (struct (field i32))) (global (ref $s) (struct.new $s (i32.const 1)))",
        "(data $d \"x\") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)) (data.drop $d))",
        "(elem $e func) (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 0)) (elem.drop $e))",
        "(data (offset (i32.add (i32.const 1) (i32.const -1))) \"x\")",
    ] {
        let module = format!("(module {code} (memory 1) (table 1 funcref))");
        if let Err(error) = text(&module) {
            panic!("{error}\n{module}");
        }
    }
    for code in [
        "(global i32 (global.get 2)) (global i32 (i32.const 1))",
        "(global i32 (global.get 1))",
        "(global i32 (global.get 0))",
        "(global $m (mut i32) (i32.const 1)) (global i32 (global.get $m))",
        "(global i32 (i32.div_s (i32.const 1) (i32.const 1)))",
        "(global i32 (i64.const 1))",
        "(global i32 (i32.const 1) (i32.const 2))",
        "(global i32)",
        "(func $f) (func (result funcref) (ref.func $f))",
        "(func $f) (start $f) (func (result funcref) (ref.func $f))",
        "(global funcref (ref.func 7))",
        "(func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(func (table.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(func (elem.drop 0))",
        "(data (i64.const 0) \"x\")",
        "(data (i32.load (i32.const 0)) \"x\")",
        "(elem (i32.const 0) externref (ref.null extern))",
    ] {
        let module = format!(
            "(module (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)) {code})"
        );
        let error = text(&module).map(drop).expect_err(&module);
        let kinds = [DecodeErrorKind::Invalid, DecodeErrorKind::Malformed];
        assert!(kinds.contains(&error.kind()), "{error}\n{module}");
    }
}

#[test]
fn v5_what_escapes_is_marked() {
    let info = text(
        "(module (import \"m\" \"i\" (func $import)) (table 4 funcref)
            (func $plain) (func $called (call $plain)) (func $exported) (func $listed)
            (func $global) (func $declared) (func $expression) (start $plain)
            (export \"e\" (func $exported)) (elem (i32.const 0) func $listed)
            (global funcref (ref.func $global)) (elem declare func $declared)
            (elem (i32.const 1) funcref (item (ref.func $expression)) (item (ref.null func)))
            (func $user (drop (ref.func $declared))))",
    )
    .expect("valid");
    assert_eq!(info.escaping, [false, false, false, true, true, true, true, true, false],);
    assert_eq!(info.start, Some(FuncIdx(1)));
    assert_eq!(info.imported_funcs, 1);
    let init = info.globals[0].init.as_ref().expect("an own global has one");
    assert_eq!(*init.ops, [ConstOp::RefFunc(FuncIdx(5))]);
    assert_eq!(info.func_name(FuncIdx(3)), Some("exported"));
}

#[test]
fn v6_locals_without_a_default() {
    let with = |code: &str| {
        format!("(type $t (func)) (func (param $p (ref $t)) (local $l (ref $t)) {code})")
    };
    for code in [
        "(local.set $l (local.get $p)) (drop (local.get $l))",
        "(drop (local.tee $l (local.get $p))) (block (drop (local.get $l)))",
        "(drop (local.get $p))",
        "(block (local.set $l (local.get $p)) (drop (local.get $l)))",
        // What is set inside of a block is not set behind it, and a loop's second turn is no other.
        "(block (local.set $l (local.get $p))) (local.set $l (local.get $p)) (drop (local.get $l))",
    ] {
        accepted(&with(code));
    }
    for code in [
        "(drop (local.get $l))",
        "(block (local.set $l (local.get $p))) (drop (local.get $l))",
        "(if (i32.const 1) (then (local.set $l (local.get $p))) (else (local.set $l (local.get $p)))) (drop (local.get $l))",
        "(loop (drop (local.get $l)) (local.set $l (local.get $p)) (br 0))",
        "(if (i32.const 1) (then (local.set $l (local.get $p))) (else (drop (local.get $l))))",
    ] {
        rejected(&with(code));
    }
}

#[test]
fn v6_select_with_other_than_one_type() {
    let select = |types: &[u8]| {
        let code = [&[0x41, 0, 0x41, 0, 0x41, 0, 0x1c], types, &[0x1a, 0x0b]].concat();
        with_code(&[0], &code)
    };
    assert!(decode(select(&[1, 0x7f])).is_ok());
    refused(select(&[0]));
    refused(select(&[2, 0x7f, 0x7f]));
    invalid(select(&[1, 0x7e]));
    // Without a type, select is for numbers and vectors alone.
    rejected("(func (drop (select (ref.null func) (ref.null func) (i32.const 0))))");
    accepted(
        "(func (drop (select (result funcref) (ref.null func) (ref.null func) (i32.const 0))))",
    );
}

/// Groups, chains and references forwards, as many as there may be.
#[test]
fn v3_types_in_bulk() {
    let index = |mut value: u64| {
        // A heap type is a number with a sign.
        let mut bytes = Vec::new();
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 && low & 0x40 == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    };
    let count = 100_000;
    // A ring: each refers to the next, the last to the first.
    let ring =
        (0..count).flat_map(|i| [&[0x5f, 1, 0x63][..], &index((i + 1) % count), &[0]].concat());
    let ring: Vec<u8> = ring.collect();
    let group = [&[2, 0x4e], &leb(count)[..], &ring, &[0x5e, 0x63], &index(7), &[1]].concat();
    let info = decode(module(&[section(1, &group)])).expect("valid");
    assert_eq!(info.types.len() as u64, count + 1);
    // A list of groups: each refers to the one before, so that all differ.
    let chain = (1..count).flat_map(|i| [&[0x5f, 1, 0x63][..], &index(i - 1), &[0]].concat());
    let chain: Vec<u8> = [0x5f, 0].into_iter().chain(chain).collect();
    let chain = [leb(count), chain].concat();
    let info = decode(module(&[section(1, &chain)])).expect("valid");
    let mut ids = info.types.clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, count);
    // Forwards, out of the group.
    invalid(module(&[list(1, &[&[0x5f, 1, 0x63, 1, 0], &[0x5f, 0]])]));
}

/// Bodies that are small each count together.
#[test]
fn v4_operands_of_small_functions_add_up() {
    let wat = |funcs: usize| {
        let results = "i32 ".repeat(100);
        let block = "(drop (block (result i32) (call $f) (unreachable)))".repeat(10);
        let func = format!("(func {block})");
        format!("(module (func $f (result {results}) unreachable) {})", func.repeat(funcs))
    };
    let mut limits = Limits::default();
    limits.operand_checks = 20_000;
    let decode = |funcs| decode_with(wat(funcs).into_bytes(), &limits);
    assert!(decode(15).is_ok());
    let (kind, found, limit) = common::limit(decode(25));
    assert_eq!((kind, limit), (LimitKind::OperandChecks, 20_000));
    assert!(found < 22_000, "{found}");
}
