//! Machine code in the eyes of this process's own unwinder: through guests, hosts and guests again, on any thread.
//! What gdb makes of the same tables is tried with the command (`crates/cli/tests/profile.rs`).

use std::backtrace::Backtrace;

use palisade::{Caller, Engine, Linker, Store};
use palisade_tests::{COMPILING, engine_with, link};

const NESTED: &str = r#"(module
    (import "host" "look" (func $look (param i32) (result i32)))
    (func $deeper (param i32) (result i32)
        (i32.add (call $look (local.get 0)) (i32.const 1)))
    (func (export "run") (param i32) (result i32)
        (i32.add (call $deeper (local.get 0)) (i32.const 1))))"#;

/// What the host sees when it looks, three entries deep.
fn seen(engine: &Engine) -> String {
    let mut linker: Linker<String> = Linker::new(engine);
    linker
        .func_wrap("host", "look", |mut caller: Caller<'_, String>, left: i32| {
            if left == 0 {
                *caller.data_mut() = Backtrace::force_capture().to_string();
                return Ok(0);
            }
            let run = caller.get_export("run").and_then(|run| run.into_func());
            run.expect("it is exported").typed::<i32, i32>(&caller)?.call(&mut caller, left - 1)
        })
        .unwrap();
    let mut store = Store::new(engine, String::new());
    let instance = link(&linker, &mut store, NESTED);
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    assert_eq!(outermost(|| run.call(&mut store, 2).unwrap()), 6);
    std::mem::take(store.data_mut())
}

/// A name that is easily found.
#[inline(never)]
fn outermost(work: impl FnOnce() -> i32) -> i32 {
    std::hint::black_box(work())
}

#[test]
fn an_unwinder_comes_through_guests_to_whoever_called_them() {
    if cfg!(not(all(target_arch = "x86_64", target_env = "gnu"))) {
        return println!("not run: no unwinder that takes tables at run time is known here");
    }
    for kind in COMPILING {
        let engine = engine_with(kind, |config| {
            config.native_debug(true);
        });
        let text = seen(&engine);
        // The outermost may have begun in the interpreter.
        assert!(text.matches("native::arch::enter").count() >= 2, "{kind:?}: {text}");
        assert!(text.contains("outermost"), "{kind:?}: {text}");
    }
    // Nothing of what is gone is in the way.
    let text = Backtrace::force_capture().to_string();
    assert!(text.contains("thread"), "{text}");
}

#[test]
fn unasked_nothing_is_told() {
    for kind in COMPILING {
        let text = seen(&engine_with(kind, |_| {}));
        assert!(text.contains("wrappers") && !text.contains("outermost"), "{text}");
    }
}
