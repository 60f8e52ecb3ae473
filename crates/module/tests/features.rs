//! Every proposal can be switched off, and what then is refused says so.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_module::features::{PROPOSALS, Proposal, features_without};
use palisade_module::wasmparser::WasmFeatures;
use palisade_module::{DecodeError, ModuleInfo, TypeRegistry, default_features};

/// Modules that need a proposal.
const SAMPLES: &[(&str, &[&str])] = &[
    (
        "mutable-global",
        &[
            r#"(import "m" "g" (global (mut i32)))"#,
            r#"(global (export "g") (mut i32) (i32.const 1))"#,
        ],
    ),
    ("sign-extension", &["(func (drop (i32.extend8_s (i32.const 1))))"]),
    ("saturating-float-to-int", &["(func (drop (i32.trunc_sat_f32_s (f32.const 1))))"]),
    (
        "multi-value",
        &[
            "(type (func (result i32 i32)))",
            "(func (result i32 i32) unreachable)",
            "(func (block (result i32 i32) unreachable) drop drop)",
            "(func (param i32) (local.get 0) (block (param i32) drop))",
        ],
    ),
    (
        "bulk-memory",
        &[
            "(memory 1) (func (memory.fill (i32.const 0) (i32.const 1) (i32.const 9)))",
            "(memory 1) (func (memory.copy (i32.const 0) (i32.const 1) (i32.const 9)))",
            r#"(memory 1) (data "x")"#,
            r#"(memory 1) (data $d "x") (func (data.drop $d))"#,
            "(func $f) (elem func $f)",
            "(table 1 funcref) (func (table.copy (i32.const 0) (i32.const 1) (i32.const 9)))",
            "(table 1 funcref) (func $f) (elem $e func $f) (func (elem.drop $e))",
        ],
    ),
    (
        "reference-types",
        &[
            "(table 1 externref)",
            "(table 1 funcref) (table 1 funcref)",
            r#"(import "m" "t" (table 1 funcref)) (table 1 funcref)"#,
            "(table 1 funcref) (func (drop (table.get (i32.const 0))))",
            "(func (param externref))",
            "(func (local funcref))",
            "(func (block (result funcref) unreachable) drop)",
            "(global funcref (ref.null func))",
            "(func (drop (ref.null extern)))",
            "(table 1 funcref) (elem (i32.const 0) funcref (ref.null func))",
            "(type $t (func)) (table 1 funcref) (table $b 1 funcref)
             (func (call_indirect $b (type $t) (i32.const 0)))",
            "(func (drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3))))",
        ],
    ),
    (
        "simd",
        &["(func (local v128))", "(func (param v128))", "(global v128 (v128.const i64x2 1 2))"],
    ),
    (
        "relaxed-simd",
        &["(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"],
    ),
    ("tail-call", &["(func $f (return_call $f))"]),
    ("extended-const", &["(global i32 (i32.add (i32.const 1) (i32.const 2)))"]),
    (
        "multi-memory",
        &[
            "(memory 1) (memory 1)",
            r#"(import "m" "a" (memory 1)) (import "m" "b" (memory 1))"#,
            r#"(import "m" "a" (memory 1)) (memory 1)"#,
            "(memory 1) (memory $b 1) (func (drop (i32.load $b (i32.const 0))))",
            "(memory 1) (memory $b 1) (func (drop (memory.grow $b (i32.const 0))))",
            r#"(memory 1) (memory $b 1) (data (memory $b) (i32.const 0) "x")"#,
        ],
    ),
    (
        "memory64",
        &["(memory i64 1)", "(table i64 1 funcref)", r#"(import "m" "a" (memory i64 1))"#],
    ),
    (
        "function-references",
        &[
            "(type $t (func)) (func (param (ref $t)))",
            "(type $t (func)) (func (param (ref null $t)))",
            "(func (param (ref func)))",
            "(func (param (ref extern)))",
            "(type $t (func)) (func (call_ref $t (ref.null $t)))",
            "(type $t (func)) (func (return_call_ref $t (ref.null $t)))",
            "(func (param funcref) (drop (ref.as_non_null (local.get 0))))",
            "(func $f) (table 1 funcref (ref.func $f))",
            "(func (local (ref func)))",
            "(type $t (func)) (type $u (func (param (ref null $t))))",
        ],
    ),
    (
        "gc",
        &[
            "(type (struct))",
            "(type (array i8))",
            "(rec (type (func)) (type (func)))",
            "(type (sub (func)))",
            "(func (param anyref))",
            "(func (param i31ref))",
            "(func (param nullref))",
            "(func (param nullfuncref))",
            "(func (param nullexternref))",
            "(func (drop (ref.i31 (i32.const 1))))",
            "(global i32 (i32.const 1)) (global i32 (global.get 0))",
            "(func (param externref) (drop (any.convert_extern (local.get 0))))",
            "(table 1 eqref)",
            "(func (drop (ref.null none)))",
            "(func (param funcref) (drop (ref.cast (ref func) (local.get 0))))",
        ],
    ),
    (
        "exceptions",
        &[
            "(tag)",
            r#"(import "m" "t" (tag))"#,
            "(func (param exnref))",
            "(func (param nullexnref))",
            "(func (try_table))",
            "(func (drop (ref.null exn)))",
        ],
    ),
    (
        "threads",
        &[
            "(memory 1 1 shared)",
            r#"(import "m" "a" (memory 1 1 shared))"#,
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
            "(func atomic.fence)",
        ],
    ),
    ("custom-page-sizes", &["(memory 1 (pagesize 1))", "(memory 1 (pagesize 65536))"]),
    ("wide-arithmetic", &["(func (i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop)"]),
];

fn decode(text: &str, off: WasmFeatures) -> Result<ModuleInfo, DecodeError> {
    let types: Arc<TypeRegistry> = TypeRegistry::new();
    let features = features_without(off);
    ModuleInfo::decode(text.as_bytes(), &Limits::default(), features, &types, None)
}

#[test]
fn what_needs_a_proposal_that_is_off_says_which() {
    assert_eq!(SAMPLES.len(), PROPOSALS.len());
    for (name, texts) in SAMPLES {
        let proposal = Proposal::by_name(name).expect(name);
        for text in *texts {
            let error = decode(text, proposal.feature).expect_err(text);
            let missing = error.missing_proposal().unwrap_or_else(|| panic!("{text}: {error}"));
            assert_eq!(missing.name, *name, "{text}: {error}");
            for said in [format!("--wasm {name}=on"), format!("`Config::{}(true)`", missing.switch)]
            {
                assert!(error.to_string().contains(&said), "{text}: {error}");
            }
            let module = decode(text, WasmFeatures::empty());
            assert!(module.is_ok(), "{text}: {}", module.expect_err("it is wrong"));
        }
    }
}

#[test]
fn what_builds_on_a_proposal_goes_with_it() {
    let without = |name: &str| {
        let on = features_without(Proposal::by_name(name).expect(name).feature);
        let off = PROPOSALS.iter().filter(|proposal| !on.contains(proposal.feature));
        off.map(|proposal| proposal.name).collect::<Vec<_>>()
    };
    assert_eq!(without("simd"), ["simd", "relaxed-simd"]);
    assert_eq!(without("function-references"), ["function-references", "gc"]);
    assert_eq!(
        without("bulk-memory"),
        ["bulk-memory", "reference-types", "function-references", "gc", "exceptions"]
    );
    assert_eq!(features_without(WasmFeatures::empty()), default_features());
    for proposal in PROPOSALS {
        assert!(default_features().contains(proposal.feature), "{}", proposal.name);
        assert!(without(proposal.name).contains(&proposal.name));
    }
}

#[test]
fn everything_off_is_the_first_version() {
    let all = PROPOSALS.iter().fold(WasmFeatures::empty(), |all, p| all | p.feature);
    assert_eq!(features_without(all), WasmFeatures::MVP);
    let text = r#"(memory 1) (table 1 funcref) (global i32 (i32.const 7)) (elem (i32.const 0) 0)
        (func (param i32 f64) (result i64) (i64.load (local.get 0)))
        (data (i32.const 1) "x") (export "g" (global 0))"#;
    decode(text, all).expect("it needs no proposal");
}
