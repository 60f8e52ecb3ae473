//! Assertions that must fail, do: a runner that lets everything pass would be worth nothing.

use palisade::Config;
use palisade_wast::run_script;

const MODULE: &str = r#"(module $M
    (func (export "one") (result i32) (i32.const 1))
    (func (export "id") (param externref) (result externref) (local.get 0))
    (func (export "idf") (param funcref) (result funcref) (local.get 0))
    (func (export "nan") (result f32) (f32.const nan:0x200001))
    (func (export "pair") (result i32 f64) (i32.const 1) (f64.const -0.0))
    (func (export "trap") (unreachable))
    (func (export "div") (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
    (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1)))
    (global (export "g") i64 (i64.const 5)))
"#;

/// The message of the one failure that a directive must be.
fn failure(directive: &str) -> String {
    let report = run_script("test", &format!("{MODULE}{directive}"), &Config::new());
    assert_eq!((report.found, report.passed), (2, 1), "{directive}\n{report}");
    assert_eq!(report.failed.len(), 1, "{directive}\n{report}");
    assert_eq!(report.failed[0].line, MODULE.lines().count() + 1);
    report.failed[0].message.clone()
}

fn passes(directive: &str) {
    let report = run_script("test", &format!("{MODULE}{directive}"), &Config::new());
    assert!(report.is_success(), "{directive}\n{report}");
}

#[test]
fn results_are_compared() {
    passes(r#"(assert_return (invoke "one") (i32.const 1))"#);
    for expected in [
        "(i32.const 2)",
        "(i64.const 1)",
        "",
        "(i32.const 1) (i32.const 1)",
        "(f32.const nan:canonical)",
    ] {
        let message = failure(&format!(r#"(assert_return (invoke "one") {expected})"#));
        assert!(message.contains("found [I32(1)]"), "{message}");
    }
    passes(r#"(assert_return (invoke "one") (either (i32.const 7) (i32.const 1)))"#);
    failure(r#"(assert_return (invoke "one") (either (i32.const 7) (i32.const 8)))"#);
    passes(r#"(assert_return (invoke "pair") (i32.const 1) (f64.const -0))"#);
    failure(r#"(assert_return (invoke "pair") (i32.const 1) (f64.const 0))"#);
    passes(r#"(assert_return (invoke "nan") (f32.const nan:0x200001))"#);
    failure(r#"(assert_return (invoke "nan") (f32.const nan:canonical))"#);
    failure(r#"(assert_return (invoke "nan") (f32.const nan:arithmetic))"#);
    failure(r#"(assert_return (invoke "nan") (f32.const nan:0x200002))"#);
    passes(r#"(assert_return (get "g") (i64.const 5))"#);
    failure(r#"(assert_return (get "g") (i64.const 6))"#);
    passes(r#"(assert_return (get $M "g") (i64.const 5))"#);
    failure(r#"(assert_return (get $N "g") (i64.const 5))"#);
    failure(r#"(assert_return (get "h") (i64.const 5))"#);
    failure(r#"(assert_return (invoke "g"))"#);
    failure(r#"(assert_return (invoke "one" (i32.const 1)) (i32.const 1))"#);
}

#[test]
fn references_are_compared() {
    passes(r#"(assert_return (invoke "id" (ref.extern 3)) (ref.extern 3))"#);
    passes(r#"(assert_return (invoke "id" (ref.extern 3)) (ref.extern))"#);
    failure(r#"(assert_return (invoke "id" (ref.extern 3)) (ref.extern 4))"#);
    failure(r#"(assert_return (invoke "id" (ref.extern 3)) (ref.null extern))"#);
    failure(r#"(assert_return (invoke "id" (ref.extern 3)) (ref.func))"#);
    passes(r#"(assert_return (invoke "id" (ref.null extern)) (ref.null extern))"#);
    passes(r#"(assert_return (invoke "id" (ref.null extern)) (ref.null))"#);
    failure(r#"(assert_return (invoke "id" (ref.null extern)) (ref.null func))"#);
    failure(r#"(assert_return (invoke "id" (ref.null extern)) (ref.extern))"#);
    failure(r#"(assert_return (invoke "idf" (ref.null func)) (ref.func))"#);
    failure(r#"(assert_return (invoke "idf" (ref.null func)) (ref.null extern))"#);
}

#[test]
fn traps_are_compared() {
    passes(r#"(assert_trap (invoke "trap") "unreachable")"#);
    passes(r#"(assert_trap (invoke "div") "integer divide by zero")"#);
    let message = failure(r#"(assert_trap (invoke "div") "integer overflow")"#);
    assert!(message.contains("integer divide by zero"), "{message}");
    failure(r#"(assert_trap (invoke "one") "unreachable")"#);
    failure(r#"(assert_return (invoke "trap"))"#);
    failure(r#"(invoke "trap")"#);
    passes(r#"(invoke "one")"#);
    passes(r#"(assert_exhaustion (invoke "deep") "call stack exhausted")"#);
    failure(r#"(assert_exhaustion (invoke "one") "call stack exhausted")"#);
    failure(r#"(assert_exhaustion (invoke "trap") "call stack exhausted")"#);
    failure(r#"(assert_exception (invoke "trap"))"#);
    failure(r#"(assert_exception (invoke "one"))"#);
    passes(r#"(assert_trap (module (func $f unreachable) (start $f)) "unreachable")"#);
    failure(r#"(assert_trap (module (func $f) (start $f)) "unreachable")"#);
}

#[test]
fn modules_are_judged() {
    passes(r#"(assert_invalid (module (func (result i32))) "type mismatch")"#);
    failure(r#"(assert_invalid (module (func)) "type mismatch")"#);
    passes(r#"(assert_malformed (module quote "(func") "unexpected end")"#);
    failure(r#"(assert_malformed (module quote "(func)") "unexpected end")"#);
    passes(r#"(assert_malformed (module binary "\00asm\01\00\00") "unexpected end")"#);
    failure(r#"(assert_malformed (module binary "\00asm\01\00\00\00") "unexpected end")"#);
    passes(r#"(assert_unlinkable (module (import "no" "one" (func))) "unknown import")"#);
    failure(
        r#"(assert_unlinkable (module (import "no" "one" (func))) "incompatible import type")"#,
    );
    failure(r#"(assert_unlinkable (module (import "spectest" "print" (func))) "unknown import")"#);
    passes(
        r#"(assert_unlinkable (module (import "spectest" "print" (memory 1))) "incompatible import type")"#,
    );
    failure(r#"(assert_unlinkable (module (func (result i32))) "unknown import")"#);
    failure(r#"(module (func (result i32)))"#);
    failure(r#"(module quote "(func (result i32))")"#);
    failure(r#"(module (import "no" "one" (func)))"#);
    failure(r#"(module (func $f unreachable) (start $f))"#);
    failure(r#"(register "x" $N)"#);
    failure(r#"(module instance $I $N)"#);
    passes(r#"(module instance $I $M)"#);
}

#[test]
fn a_module_that_fails_is_not_mistaken_for_its_predecessor() {
    let script = format!(
        r#"{MODULE} (module (import "no" "one" (func))) (assert_return (invoke "one") (i32.const 1))"#
    );
    let report = run_script("test", &script, &Config::new());
    assert_eq!((report.found, report.passed, report.failed.len()), (3, 1, 2), "{report}");
}

#[test]
fn definitions_make_instances_of_their_own() {
    let script = r#"
        (module definition $D (global $g (mut i32) (i32.const 0))
            (func (export "next") (result i32)
                (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g)))
        (module instance $A $D)
        (module instance $B $D)
        (assert_return (invoke $A "next") (i32.const 1))
        (assert_return (invoke $A "next") (i32.const 2))
        (assert_return (invoke $B "next") (i32.const 1))
        (register "a" $A)
        (module (import "a" "next" (func (result i32))) (export "again" (func 0)))
        (assert_return (invoke "again") (i32.const 3))"#;
    let report = run_script("test", script, &Config::new());
    assert!(report.is_success() && report.passed == 9, "{report}");
}

#[test]
fn the_directives_of_threads_are_judged_in_their_own_scope() {
    let script = r#"
        (module $Mem (memory (export "shared") 1 1 shared)
            (func (export "set") (i32.store (i32.const 0) (i32.const 42))))
        (thread $T (shared (module $Mem))
            (register "mem" $Mem)
            (module (memory (import "mem" "shared") 1 1 shared)
                (func (export "get") (result i32) (i32.load (i32.const 0))))
            (assert_return (invoke "get") (i32.const 0))
            (assert_return (invoke "get") (i32.const 1)))
        (wait $T)
        (invoke "set")
        (assert_unlinkable (module (import "mem" "shared" (memory 1 1 shared))) "unknown import")"#;
    let report = run_script("test", script, &Config::new());
    assert_eq!((report.found, report.passed, report.failed.len()), (9, 8, 1), "{report}");
    assert_eq!(report.failed[0].line, 9);
}

/// Each waits for the other, which only works if they run at the same time.
#[test]
fn threads_run_at_once() {
    let script = r#"
        (module $Mem (memory (export "shared") 1 1 shared))
        (thread $T (shared (module $Mem))
            (register "mem" $Mem)
            (module (memory (import "mem" "shared") 1 1 shared)
                (func (export "ask") (result i32)
                    (i32.atomic.store (i32.const 0) (i32.const 1))
                    (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
                    (drop (memory.atomic.wait32 (i32.const 4) (i32.const 0) (i64.const -1)))
                    (i32.atomic.load (i32.const 4))))
            (assert_return (invoke "ask") (i32.const 2))
            (assert_return (invoke "ask") (i32.const 3)))
        (thread $U (shared (module $Mem))
            (register "mem" $Mem)
            (module (memory (import "mem" "shared") 1 1 shared)
                (func (export "answer")
                    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
                    (i32.atomic.store (i32.const 4) (i32.const 2))
                    (drop (memory.atomic.notify (i32.const 4) (i32.const 1)))))
            (invoke "answer"))
        (wait $T)
        (wait $T)"#;
    let report = run_script("test", script, &Config::new());
    // One answer is wrong on purpose, and nobody can be waited for twice.
    assert_eq!((report.found, report.passed, report.failed.len()), (12, 10, 2), "{report}");
    let lines: Vec<_> = report.failed.iter().map(|failure| failure.line).collect();
    assert_eq!(lines, [12, 22]);
}

#[test]
fn a_proposal_that_is_off_is_invalid() {
    let script = r#"
        (assert_invalid (module (func unreachable ref.i31 drop)) "gc")
        (module (func unreachable ref.i31 drop))"#;
    let report = run_script("test", script, &Config::new());
    assert_eq!((report.found, report.passed, report.failed.len()), (2, 1, 1), "{report}");
    let report = run_script("test", script, Config::new().wasm_gc(false));
    assert_eq!((report.found, report.passed, report.failed.len()), (2, 1, 1), "{report}");
    assert!(report.failed[0].message.contains("`gc` is switched off"), "{report}");
}

#[test]
fn a_bad_custom_section_is_ignored_and_a_good_one_is_not() {
    // Two functions; the hints name function 0 or, which there is none of, 9.
    let module = |func: &str| {
        format!(
            r#"(module binary "\00asm\01\00\00\00" "\01\04\01\60\00\00" "\03\02\01\00"
                "\00\20\19metadata.code.branch_hint\01\{func}\01\01\01\01"
                "\0a\04\01\02\00\0b")"#
        )
    };
    for (func, passed) in [("09", 1), ("00", 0)] {
        for word in ["assert_malformed_custom", "assert_invalid_custom"] {
            let script = format!(r#"({word} {} "out of range")"#, module(func));
            let report = run_script("test", &script, &Config::new());
            assert_eq!((report.found, report.passed), (1, passed), "{script}\n{report}");
        }
        let report = run_script("test", &module(func), &Config::new());
        assert!(report.is_success(), "{report}");
    }
}

#[test]
fn a_broken_script_is_a_failure_and_no_success() {
    let cut_off = "(module) (assert_return (invoke))";
    for script in ["", "(module", "(assert_return", cut_off, "\"", "(;"] {
        let report = run_script("test", script, &Config::new());
        assert!(!report.is_success(), "{script}\n{report}");
        assert_eq!((report.passed, report.failed.len()), (0, 1), "{script}\n{report}");
    }
    let report = run_script("test", cut_off, &Config::new());
    assert!(report.to_string().ends_with("test: 0 passed, 1 failed, 1 skipped"), "{report}");
}

#[test]
fn the_last_line_of_a_report_counts() {
    let report = run_script("name", MODULE, &Config::new());
    assert_eq!(report.to_string(), "name: 1 passed, 0 failed, 0 skipped");
}
