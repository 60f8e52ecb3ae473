//! What is shown without running anything: `inspect`, `features`, `wasi`; and `wast`.

mod common;

use common::Place;
use serde_json::Value;

fn json(place: &Place, line: &str) -> Value {
    let ended = place.line(line).code(0).quietly();
    assert!(ended.stdout.is_ascii());
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e} in {}", ended.stdout))
}

const MODULE: &str = r#"(module $little
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_dup" (func))
  (import "env" "table" (table 1 funcref))
  (memory (export "memory") 1 2)
  (memory i64 3)
  (table 5 10 externref)
  (global (export "g") (mut i64) (i64.const 0))
  (data (i32.const 0) "hello")
  (func $f (export "_start"))
  (func (export "two") (param i32 f64) (result i64 i32) (unreachable))
  (@custom "notes" "12345"))"#;

#[test]
fn inspect_shows_what_is_in_a_module() {
    let place = Place::new();
    place.file("m.wat", MODULE);
    let text = place.line("inspect m.wat").code(0).quietly().stdout;
    for part in [
        "m.wat",
        "little",
        "command",
        "fd_write",
        "random",
        "fd_dup",
        "no such function",
        "env::table",
        "two  func [i32 f64] -> [i64 i32]",
        "64 KiB at first, at most 128 KiB",
        "64-bit",
        "5 of externref at first, at most 10",
        "notes  (5 bytes)",
        "--allow-random",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let found = json(&place, "inspect --json m.wat");
    assert_eq!(json(&place, "--json inspect m.wat"), found);
    assert_eq!(found["name"], "little");
    assert_eq!(found["kind"], "command");
    assert_eq!(found["capabilities"], serde_json::json!(["write", "random"]));
    assert_eq!(found["wasi"][2]["known"], false);
    let groups = serde_json::json!({ "write": ["fd_write"], "random": ["random_get"] });
    assert_eq!(found["wasi_by_capability"], groups);
    assert_eq!(found["flags"], serde_json::json!(["--allow-write", "--allow-random"]));
    assert_eq!(found["imports"][0]["module"], "env");
    assert_eq!(found["memories"][0]["maximum_pages"], 2);
    assert_eq!(found["memories"][1]["memory64"], true);
    assert_eq!(found["parts"]["functions"]["count"], 2);
    assert_eq!(found["parts"]["data_segments"]["bytes"], 5);
    assert_eq!(found["exports"].as_array().map(Vec::len), Some(4));
    assert!(found["custom_sections"].to_string().contains("notes"));
}

#[test]
fn d7_inspect_escapes_names() {
    let place = Place::new();
    place.file(
        "evil.wat",
        "(module (import \"\\1b[2J\" \"\\e2\\80\\ae\" (func)) (func (export \"a\\nb\\07\")))",
    );
    let text = place.line("inspect evil.wat").code(0).stdout;
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    assert!(text.contains("\\u{1b}[2J::\\u{202e}"), "{text}");
    let found = json(&place, "inspect evil.wat --json");
    assert_eq!(found["imports"][0]["module"], "\u{1b}[2J");
    assert_eq!(found["imports"][0]["name"], "\u{202e}");
    assert_eq!(found["exports"][0]["name"], "a\nb\u{7}");
}

#[test]
fn inspect_every_program() {
    let place = Place::new();
    for entry in std::fs::read_dir(common::programs()).expect("tests/programs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "wasm") {
            let path = path.to_str().expect("UTF-8");
            place.line(&format!("validate {path} --sandbox")).code(0).quietly();
            let found = json(&place, &format!("inspect --json {path}"));
            let library = found["kind"] == "reactor";
            assert!(library || found["kind"] == "command", "{path}");
            assert!(!found["wasi"].as_array().expect("a list").is_empty() || library);
        }
    }
}

#[test]
fn features_as_text_and_json() {
    let place = Place::new();
    let text = place.line("features").code(0).quietly().stdout;
    for part in ["interpreter", "tail-call", "memory64", "openat2", "nesting", "module-bytes"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let found = json(&place, "features --json");
    assert_eq!(found["proposals"]["tail-call"]["executed"], true);
    assert_eq!(found["limits"]["nesting"]["sandbox"], 500);
    assert!(found["engines"]["interpreter"]["dispatcher"].is_string());
    assert!(found["system"]["openat2"].is_boolean());
}

/// One function `f` for each proposal, which uses something that only this proposal has.
const SAMPLES: [(&str, &str); 18] = [
    ("mutable-global", r#"(global $g (mut i32) (i32.const 1)) (export "g" (global $g)) (func $f)"#),
    ("sign-extension", "(func $f (drop (i32.extend8_s (i32.const 1))))"),
    ("saturating-float-to-int", "(func $f (drop (i32.trunc_sat_f32_s (f32.const 1))))"),
    ("simd", "(func $f (drop (i8x16.add (v128.const i64x2 1 2) (v128.const i64x2 3 4))))"),
    (
        "relaxed-simd",
        "(func $f (drop (i8x16.relaxed_swizzle (v128.const i64x2 1 2) (v128.const i64x2 3 4))))",
    ),
    ("bulk-memory", "(memory 1) (func $f (memory.fill (i32.const 0) (i32.const 1) (i32.const 9)))"),
    ("reference-types", "(table 1 externref) (func $f (drop (table.get (i32.const 0))))"),
    ("multi-value", "(func $f (block (result i32 i32) (i32.const 1) (i32.const 2)) drop drop)"),
    ("multi-memory", "(memory 1) (memory $m 1) (func $f (drop (i32.load $m (i32.const 0))))"),
    ("memory64", "(memory i64 1) (func $f (drop (i32.load (i64.const 0))))"),
    ("tail-call", "(func $g) (func $f (return_call $g))"),
    ("extended-const", "(global i32 (i32.add (i32.const 1) (i32.const 2))) (func $f)"),
    (
        "function-references",
        "(type $t (func)) (func $g (type $t)) (elem declare func $g)
         (func $f (call_ref $t (ref.func $g)))",
    ),
    ("gc", "(type $s (struct (field i32))) (func $f (drop (struct.new $s (i32.const 1))))"),
    ("exceptions", "(tag $t) (func $f (block $h (try_table (catch $t $h) (throw $t))))"),
    ("threads", "(memory 1 1 shared) (func $f (drop (i32.atomic.load (i32.const 0))))"),
    ("custom-page-sizes", "(memory 5 (pagesize 1)) (func $f (drop (i32.load8_u (i32.const 4))))"),
    ("wide-arithmetic", "(func $f (i64.mul_wide_u (i64.const -1) (i64.const 2)) drop drop)"),
];

#[test]
fn features_tells_the_truth() {
    let place = Place::new();
    let found = json(&place, "features --json");
    let proposals = found["proposals"].as_object().expect("an object");
    assert_eq!(proposals.len(), SAMPLES.len());
    for (name, body) in SAMPLES {
        place.file("sample.wat", format!(r#"(module {body} (export "f" (func $f)))"#));
        place.line("validate sample.wat").code(0);
        place.line("inspect sample.wat").code(0).quietly();
        place.line("sample.wat --invoke f").code(0);
        let yes = serde_json::json!({ "validated": true, "executed": true });
        assert_eq!(proposals[name], yes, "{name}");
    }
}

#[test]
fn proposals_are_switched_off_by_name() {
    let place = Place::new();
    for (name, body) in SAMPLES {
        place.file("sample.wat", format!(r#"(module {body} (export "f" (func $f)))"#));
        place.file("sample.wast", format!(r#"(module {body} (export "f" (func $f)))"#));
        let off = format!("{name}=off");
        for line in ["validate sample.wat", "inspect sample.wat", "run sample.wat --invoke f"] {
            let ended = place.line(&format!("{line} --wasm {off}")).code(126);
            let said = format!("the proposal `{name}` is switched off: --wasm {name}=on");
            assert!(ended.stderr.contains(&said), "{line}: {ended:#?}");
        }
        place.line(&format!("wast -W {off} sample.wast")).code(1);
        let found = json(&place, &format!("features --json -W {off}"));
        let no = serde_json::json!({ "validated": false, "executed": false });
        assert_eq!(found["proposals"][name], no, "{name}");
    }
}

#[test]
fn proposals_go_with_what_they_build_on() {
    let place = Place::new();
    let found = json(&place, "features --json -W simd=n,reference-types=false");
    let validated = |name: &str| found["proposals"][name]["validated"] == true;
    for gone in ["simd", "relaxed-simd", "reference-types", "function-references", "gc"] {
        assert!(!validated(gone), "{gone}");
    }
    assert!(validated("bulk-memory") && validated("threads") && validated("multi-value"));
    let ended = place.line("features --wasm simd=off,relaxed-simd=on").code(2);
    let said = "the proposal `relaxed-simd` is switched on, and `simd`, which it needs, is";
    assert!(ended.stderr.contains(said), "{ended:#?}");
}

#[test]
fn the_table_of_wasi_has_46_rows() {
    let place = Place::new();
    let found = json(&place, "wasi --json");
    let functions = found["functions"].as_array().expect("a list");
    assert_eq!(functions.len(), 46);
    assert_eq!(functions.iter().filter(|f| f["rule"] == "none").count(), 14);
    let text = place.line("wasi").code(0).quietly().stdout;
    for function in functions {
        let name = function["name"].as_str().expect("a name");
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
}

#[test]
fn scripts_end_with_the_numbers() {
    let place = Place::new();
    place.file(
        "good.wast",
        r#"(module (func (export "f") (param i32) (result i32) (local.get 0)))
           (assert_return (invoke "f" (i32.const 3)) (i32.const 3))
           (assert_invalid (module (func (result i32))) "type mismatch")"#,
    );
    place.file(
        "bad.wast",
        r#"(module (func (export "f") (result i32) (i32.const 1)))
           (assert_return (invoke "f") (i32.const 2))"#,
    );
    let last = |ended: &common::Ended| ended.stdout.lines().last().unwrap_or("").to_owned();
    let good = place.line("wast good.wast").code(0);
    assert!(last(&good).ends_with("passed, 0 failed, 0 skipped"), "{good:#?}");
    let bad = place.line("wast --engine interpreter good.wast bad.wast").code(1);
    assert!(last(&bad).ends_with(" passed, 1 failed, 0 skipped"), "{bad:#?}");
    assert!(bad.stdout.contains("bad.wast:2: "), "{bad:#?}");
    place.file("broken.wast", "(module");
    place.line("wast broken.wast").code(1);
}
