//! Exceptions on their way through calls of every kind: other instances, tail calls, host functions, several
//! levels of both; and guests that do nothing but throw, which must be as easy to stop as any.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use std::time::Duration;

use hostile_support::{
    engine_with, engines_and_stressed as engines, invoke, on_small_stack, store,
};
use palisade::{
    Caller, Engine, ErrorKind, ExnRef, Func, Linker, Store, Tag, TagType, TrapCode, Val,
};
use palisade_tests::{ENGINES, link, module};

/// Host functions: `host.throw` throws `host.tag` with its argument, `host.fail` fails, `host.call` calls the
/// export `back` of its caller and passes on what that does.
fn linker(engine: &Engine, store: &mut Store<()>) -> (Linker<()>, Tag) {
    let mut linker = Linker::new(engine);
    let ty = palisade::FuncType::new([palisade::ValType::I32], []);
    let tag = Tag::new(&mut *store, &TagType::new(ty)).expect("a tag");
    linker.define(&*store, "host", "tag", tag).expect("defined");
    let throw = move |mut caller: Caller<'_, ()>, value: i32| -> palisade::Result<()> {
        let exception = ExnRef::new(&mut caller, &tag, &[value.into()])?;
        caller.throw(exception)
    };
    linker.func_wrap("host", "throw", throw).expect("defined");
    let fail = || -> palisade::Result<()> { Err(palisade::Error::msg("no")) };
    linker.func_wrap("host", "fail", fail).expect("defined");
    let call = |mut caller: Caller<'_, ()>, value: i32| -> palisade::Result<i32> {
        let back = caller.get_export("back").and_then(|e| e.into_func()).expect("an export");
        let back = back.typed::<i32, i32>(&caller)?;
        back.call(&mut caller, value)
    };
    linker.func_wrap("host", "call", call).expect("defined");
    (linker, tag)
}

#[test]
fn tags_are_the_same_only_if_they_were_made_at_once() {
    let maker = "(module (tag $t (export \"t\") (param i32))
        (func (export \"throw\") (param i32) (throw $t (local.get 0))))";
    let user = "(module
        (tag $a (import \"a\" \"t\") (param i32)) (tag $b (import \"b\" \"t\") (param i32))
        (func $a (import \"a\" \"throw\") (param i32)) (func $b (import \"b\" \"throw\") (param i32))
        (tag $own (param i32))
        (func (export \"f\") (param i32) (result i32)
          (block $ha (result i32) (block $hb (result i32) (block $hown (result i32)
            (try_table (catch $own $hown) (catch $b $hb) (catch $a $ha)
              (if (local.get 0) (then (call $a (i32.const 1))) (else (call $b (i32.const 2)))))
            unreachable)
            (return (i32.const -1)))
            (return (i32.add (i32.const 200))))
          (i32.add (i32.const 100))))";
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        let maker = module(&engine, maker);
        for name in ["a", "b"] {
            let instance = linker.instantiate(&mut store, &maker).expect("no imports");
            linker.instance(&mut store, name, instance).expect("defined");
        }
        let instance = link(&linker, &mut store, user);
        for _ in 0..2 {
            assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(1)]), Ok(vec![101]));
            assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(0)]), Ok(vec![202]));
        }
        // The type of an imported tag has to be exactly the one that is asked for.
        for wrong in ["(param i64)", "", "(param i32 i32)"] {
            let text = format!("(module (tag (import \"a\" \"t\") {wrong}))");
            let error = linker.instantiate(&mut store, &module(&engine, &text));
            let error = error.expect_err("another type").to_string();
            assert!(error.contains("incompatible import type"), "{error}");
        }
    }
}

#[test]
fn instance_and_memory_are_those_of_the_frame_that_catches() {
    // $b has another memory 0; it grows and fills that of $a before it throws.
    let a = "(module (tag $t (export \"t\")) (memory (export \"memory\") 1)
        (table (export \"table\") 1 funcref) (type $v (func))
        (global $g (export \"g\") (mut i32) (i32.const 0))
        (data (i32.const 0) \"aaaa\")
        (func (export \"f\") (result i32)
          (block $h (try_table (catch $t $h) (call_indirect (type $v) (i32.const 0))) unreachable)
          ;; Reads at the start, and what has been added since.
          (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 65536)))
          (global.set $g (i32.add (global.get $g) (i32.const 1)))))";
    let b = "(module (tag $t (import \"a\" \"t\")) (memory $first (import \"host\" \"memory\") 1)
        (memory $a (import \"a\" \"memory\") 1)
        (table $table (import \"a\" \"table\") 1 funcref)
        (elem (table $table) (i32.const 0) func $go)
        (func $deeper (param i32)
          (if (local.get 0) (then (call $deeper (i32.sub (local.get 0) (i32.const 1)))))
          (throw $t))
        (func $go
          (drop (memory.grow $a (i32.const 1)))
          (i32.store $a (i32.const 65536) (i32.const 1))
          (i32.store $first (i32.const 0) (i32.const 0x62626262))
          (call $deeper (i32.const 3))))";
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        let host = link(&linker, &mut store, "(module (memory (export \"memory\") 1))");
        linker.instance(&mut store, "host", host).expect("defined");
        let instance = link(&linker, &mut store, a);
        linker.instance(&mut store, "a", instance).expect("defined");
        let _b = link(&linker, &mut store, b);
        for i in 1..4 {
            assert_eq!(invoke(&mut store, instance, "f", &[]), Ok(vec![0x6161_6162]));
            let memory = instance.get_memory(&mut store, "memory").expect("a memory");
            assert_eq!(memory.size(&store), 1 + i);
        }
    }
}

#[test]
fn through_bridges_made_by_calls_and_by_tail_calls() {
    // A chain through three instances of one module: each function calls, or tail-calls, the next instance's
    // through a table; the last throws, the first catches, in between nobody does.
    let text = "(module (tag $t (import \"m\" \"t\") (param i32 externref))
        (table $next (import \"m\" \"table\") 8 funcref) (type $f (func (param i32 i32 externref) (result i64 i32)))
        (memory 1) (global $me (mut i32) (i32.const 0))
        (func (export \"me\") (param i32) (global.set $me (local.get 0)) (i32.store (i32.const 0) (local.get 0)))
        (elem declare func $go)
        (func (export \"put\") (param i32) (table.set $next (local.get 0) (ref.func $go)))
        ;; Bits of the first parameter: whether to make a tail call at this step.
        (func $go (type $f) (local externref i64)
          (if (i32.eqz (local.get 1)) (then (throw $t (local.get 0) (local.get 2))))
          (if (i32.and (local.get 0) (i32.shl (i32.const 1) (local.get 1)))
            (then (return_call_indirect $next (type $f) (local.get 0)
              (i32.sub (local.get 1) (i32.const 1)) (local.get 2)
              (i32.rem_u (local.get 1) (i32.const 3)))))
          (local.get 2) (local.get 2)
          (call_indirect $next (type $f) (local.get 0)
            (i32.sub (local.get 1) (i32.const 1)) (local.get 2) (i32.rem_u (local.get 1) (i32.const 3)))
          unreachable)
        (func (export \"f\") (param i32 externref) (result i32) (local $n i32)
          (i32.const 1000000)
          (local.get 1)
          (block $h (result i32 externref)
            (try_table (catch $t $h)
              (call_indirect $next (type $f) (local.get 0) (i32.const 6) (local.get 1) (i32.const 1))
              (drop) (drop))
            unreachable)
          (drop) (local.set $n) (drop)
          (i32.add (local.get $n))
          (i32.add (i32.mul (i32.const 1000) (i32.load (i32.const 0))))))";
    let shared =
        "(module (tag (export \"t\") (param i32 externref)) (table (export \"table\") 8 funcref))";
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        let instance = link(&linker, &mut store, shared);
        linker.instance(&mut store, "m", instance).expect("defined");
        let instances = [0, 1, 2].map(|i| {
            let instance = link(&linker, &mut store, text);
            let number = [Val::I32(i)];
            assert_eq!(invoke(&mut store, instance, "me", &number), Ok(vec![]));
            assert_eq!(invoke(&mut store, instance, "put", &number), Ok(vec![]));
            instance
        });
        let value = palisade::ExternRef::new(&mut store, ()).expect("room");
        for bits in 0..128 {
            for (i, instance) in (0..).zip(instances) {
                let found = invoke(&mut store, instance, "f", &[Val::I32(bits), value.into()]);
                assert_eq!(found, Ok(vec![1_000_000 + i * 1000 + bits as u64]), "{bits:b}");
            }
        }
    }
}

#[test]
fn a_tail_call_leaves_the_try_table_that_it_stands_in() {
    let ways = [
        ("return_call $throw", true),
        ("return_call $import", true),
        ("return_call $host", true),
        ("(i32.const 0) return_call_indirect (type $t)", true),
        ("(i32.const 1) return_call_indirect (type $t)", true),
        ("(i32.const 2) return_call_indirect (type $t)", true),
        ("(ref.func $throw) return_call_ref $t", true),
        ("(ref.func $import) return_call_ref $t", true),
        ("(ref.func $host) return_call_ref $t", true),
        ("call $throw", false),
        ("call $import", false),
        ("call $host", false),
        ("(i32.const 2) call_indirect (type $t)", false),
        ("(ref.func $host) call_ref $t", false),
    ];
    let other = "(module (tag $t (import \"host\" \"tag\") (param i32))
        (func (export \"throw\") (param i32) (throw $t (local.get 0))))";
    for engine in engines() {
        let mut store = store(&engine);
        let (mut linker, _) = linker(&engine, &mut store);
        let other = link(&linker, &mut store, other);
        linker.instance(&mut store, "other", other).expect("defined");
        for (way, leaves) in ways {
            let text = format!(
                "(module (type $t (func (param i32)))
                   (tag $t (import \"host\" \"tag\") (param i32))
                   (func $host (import \"host\" \"throw\") (param i32))
                   (func $import (import \"other\" \"throw\") (param i32))
                   (table funcref (elem $throw $import $host))
                   (elem declare func $throw $import $host)
                   (func $throw (param i32) (throw $t (local.get 0)))
                   (func $inner (param i32) (param $refs externref)
                     (block $h (result i32)
                       (try_table (catch $t $h)
                         (if (i32.eq (local.get 0) (i32.const 6)) (then (call $throw (i32.const 1))))
                         (local.get 0) {way})
                       (return))
                     (drop))
                   (func (export \"f\") (param i32) (result i32)
                     (block $h (result i32)
                       (try_table (catch $t $h) (call $inner (local.get 0) (ref.null extern)))
                       (return (i32.const -1)))))"
            );
            let instance = link(&linker, &mut store, &text);
            for n in [5, 6] {
                // Of 6, an ordinary call in the same place throws first.
                let expected = if leaves && n == 5 { 5 } else { u32::MAX.into() };
                let found = invoke(&mut store, instance, "f", &[Val::I32(n)]);
                assert_eq!(found, Ok(vec![expected]), "{way}");
            }
        }
    }
}

/// The frame of a function that has tail-called the host is gone, in every engine: nobody looks at it, or pays for it.
#[test]
fn c9_throwing_from_a_tail_call_costs_the_same_everywhere() {
    let text = |body: &str| {
        format!(
            "(module (type $t (func (param i32)))
               (tag $t (import \"host\" \"tag\") (param i32)) (tag $u)
               (func $host (import \"host\" \"throw\") (param i32))
               (table funcref (elem $host)) (elem declare func $host)
               (func $inner (param i32 externref) {body})
               (func (export \"f\") (param i32) (result i32)
                 (block $h (result i32)
                   (try_table (catch $t $h) (call $inner (local.get 0) (ref.null extern)))
                   (i32.const -1)))
               (func (export \"g\") (param i32) (call $inner (local.get 0) (ref.null extern))))"
        )
    };
    for (callee, operand) in [
        ("call $host", ""),
        ("call_indirect (type $t)", "(i32.const 0)"),
        ("call_ref $t", "(ref.func $host)"),
    ] {
        let call = |kind: &str| format!("({kind}{callee} (local.get 0) {operand})");
        let (plain, tail) = (call(""), call("return_"));
        // In functions without a handler, and with two that do not catch and are looked at all the same.
        let handled = |body: &str| format!("(try_table (catch $u 0) (catch $u 0) {body})");
        let bodies = [plain.clone(), tail.clone(), handled(&plain), handled(&tail)];
        let costs = ENGINES.map(|kind| {
            let engine = engine_with(kind, |config| {
                config.consume_fuel(true);
            });
            let cost = |body: &str, name: &str| {
                let mut store = store(&engine);
                let (linker, _) = linker(&engine, &mut store);
                let instance = link(&linker, &mut store, &text(body));
                store.set_fuel(1_000).expect("metered");
                let found = invoke(&mut store, instance, name, &[Val::I32(5)]);
                let expected =
                    if name == "f" { Ok(vec![5]) } else { Err(TrapCode::UncaughtException) };
                assert_eq!(found, expected, "{kind:?} {body}");
                1_000 - store.get_fuel().expect("metered")
            };
            ["f", "g"].map(|name| bodies.each_ref().map(|body| cost(body, name)))
        });
        for [plain, tail, handled, handled_tail] in costs[0] {
            assert_eq!(plain, tail + 1, "one frame more: {callee}");
            assert_eq!(handled, handled_tail + 3, "and two clauses: {callee}");
        }
        assert!(costs.iter().all(|found| *found == costs[0]), "{callee}: {costs:?}");
    }
}

#[test]
fn five_levels_of_guest_and_host() {
    // Each level calls the host, which calls `back` again; at level 0 a guest or the host throws. Level `catch` (bits 8
    // and up) catches and adds 1000 times its number; the host's part must let everything pass.
    let text = "(module (tag $t (import \"host\" \"tag\") (param i32))
        (func $call (import \"host\" \"call\") (param i32) (result i32))
        (func $host (import \"host\" \"throw\") (param i32))
        (func $fail (import \"host\" \"fail\"))
        (func $level (param i32) (result i32) (i32.and (local.get 0) (i32.const 15)))
        (func $how (param i32) (result i32)
          (i32.and (i32.shr_u (local.get 0) (i32.const 4)) (i32.const 15)))
        (func $catching (param i32) (result i32) (i32.shr_u (local.get 0) (i32.const 8)))
        (func $back (export \"back\") (param i32) (result i32) (local $level i32) (local externref)
          (local.set $level (call $level (local.get 0)))
          (block $h (result i32)
            (if (i32.eqz (local.get $level)) (then
              (if (i32.eq (call $how (local.get 0)) (i32.const 0)) (then (throw $t (i32.const 7))))
              (if (i32.eq (call $how (local.get 0)) (i32.const 1)) (then (call $host (i32.const 8))))
              (if (i32.eq (call $how (local.get 0)) (i32.const 2)) (then unreachable))
              (call $fail)))
            (if (i32.eq (local.get $level) (call $catching (local.get 0)))
              (then (return (try_table (result i32) (catch $t $h)
                (call $call (i32.sub (local.get 0) (i32.const 1)))))))
            (return (call $call (i32.sub (local.get 0) (i32.const 1)))))
          (i32.add (i32.mul (local.get $level) (i32.const 1000)))))";
    for engine in engines() {
        let mut store = store(&engine);
        let (linker, tag) = linker(&engine, &mut store);
        let instance = link(&linker, &mut store, text);
        let back = instance.get_typed_func::<i32, i32>(&mut store, "back").expect("an export");
        for how in 0..4 {
            for catching in 1..8 {
                let argument = 5 | how << 4 | catching << 8;
                let found = back.call(&mut store, argument);
                if how < 2 && catching <= 5 {
                    assert_eq!(found.expect("it is caught"), catching * 1000 + 7 + how);
                    continue;
                }
                let error = found.expect_err("nobody catches it");
                let frames = error.backtrace().expect("a backtrace").frames().len();
                assert_eq!(frames, 6, "{error}");
                match how {
                    0 | 1 => {
                        let exception = error.exception(&mut store).expect("an exception");
                        assert_eq!(exception.tag(&store).expect("its tag"), tag);
                        let value = exception.field(&mut store, 0).expect("its value");
                        assert_eq!(value.i32(), Some(7 + how));
                    }
                    2 => assert_eq!(error.trap_code(), Some(TrapCode::Unreachable)),
                    _ => assert!(matches!(error.kind(), ErrorKind::Message(_)), "{error}"),
                }
            }
        }
    }
}

#[test]
fn the_host_catches_inspects_changes_and_throws_again() {
    // `host.try` calls `back`; of an exception it makes another with twice the value, swallows it, or passes it on.
    let text = "(module (tag $t (import \"host\" \"tag\") (param i32))
        (func $try (import \"host\" \"try\") (param i32) (result i32))
        (func (export \"back\") (param i32) (result i32) (throw $t (local.get 0)))
        (func (export \"f\") (param i32) (result i32) (local exnref i32)
          (local.get 0)
          (block $h (result i32 exnref)
            (return (i32.add (local.get 0)
              (try_table (result i32) (catch_ref $t $h) (call $try (local.get 0))))))
          (local.set 1) (local.set 2) (drop)
          (i32.add (local.get 2) (i32.mul (ref.is_null (local.get 1)) (i32.const 100000)))))";
    for engine in engines() {
        let mut store = store(&engine);
        let (mut linker, tag) = linker(&engine, &mut store);
        let try_back = move |mut caller: Caller<'_, ()>, value: i32| -> palisade::Result<i32> {
            let back = caller.get_export("back").and_then(|e| e.into_func()).expect("an export");
            let back = back.typed::<i32, i32>(&caller)?;
            let error = back.call(&mut caller, value).expect_err("it throws");
            let exception = error.exception(&mut caller).expect("an exception");
            let found = exception.field(&mut caller, 0)?.try_i32()?;
            assert_eq!(found, value);
            match value % 4 {
                0 => Err(error.context("on its way")),
                1 => Ok(found + 1000),
                2 => {
                    let twice = ExnRef::new(&mut caller, &tag, &[(found * 2).into()])?;
                    caller.throw(twice)
                }
                _ => caller.throw(exception),
            }
        };
        linker.func_wrap("host", "try", try_back).expect("defined");
        let instance = link(&linker, &mut store, text);
        for (n, expected) in [(8, 8), (5, 5 + 1005), (6, 12), (7, 7)] {
            let found = invoke(&mut store, instance, "f", &[Val::I32(n)]);
            assert_eq!(found, Ok(vec![expected]), "{n}");
        }
        // What was said about it on the way is there when nobody catches it, and the whole backtrace.
        let text = "(module (tag $t (import \"host\" \"tag\") (param i32))
            (func $try (import \"host\" \"try\") (param i32) (result i32))
            (func (export \"back\") (param i32) (result i32) (throw $t (local.get 0)))
            (func (export \"g\") (param i32) (result i32) (call $try (local.get 0))))";
        let instance = link(&linker, &mut store, text);
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").expect("an export");
        let error = g.call(&mut store, 4).expect_err("nobody catches it");
        let message = error.to_string();
        assert!(message.starts_with("on its way: uncaught exception: "), "{message}");
        assert_eq!(error.backtrace().expect("a backtrace").frames().len(), 2);
    }
}

/// Guests that throw for ever, each in its way.
const ENDLESS: [&str; 6] = [
    "(loop $l (block $h (try_table (catch_all $h) (throw $t))) (br $l))",
    "(loop $l (try_table (catch_all $l) (throw $t)))",
    "(loop $l (try_table (catch_all $l) (call $deep (i32.const 50))))",
    "(loop $l (try_table (catch_all $l) (call $host (i32.const 1))))",
    "(loop $l (try_table (catch_all $l) (drop (call $call (i32.const 1)))))",
    "(ref.null exn)
     (loop $l (param exnref) (local.set $e)
       (try_table (catch_all_ref $l)
         (if (ref.is_null (local.get $e)) (then (throw $t)))
         (throw_ref (local.get $e))) unreachable)",
];

fn endless(body: &str) -> String {
    format!(
        "(module (tag $t)
           (func $host (import \"host\" \"throw\") (param i32))
           (func $call (import \"host\" \"call\") (param i32) (result i32))
           (func (export \"back\") (param i32) (result i32) (throw $t))
           (func $deep (param i32)
             (if (i32.eqz (local.get 0)) (then (throw $t)))
             (call $deep (i32.sub (local.get 0) (i32.const 1))))
           (func (export \"f\") (local $e exnref) {body}))"
    )
}

#[test]
fn x1_guests_that_throw_for_ever_are_stopped() {
    for kind in ENGINES {
        for body in ENDLESS {
            let text = endless(body);
            let engine = engine_with(kind, |config| {
                config.consume_fuel(true);
            });
            let mut store = store(&engine);
            let instance = link(&linker(&engine, &mut store).0, &mut store, &text);
            store.set_fuel(100_000).expect("metered");
            let found = invoke(&mut store, instance, "f", &[]);
            assert_eq!(found, Err(TrapCode::OutOfFuel), "{body}");

            let engine = engine_with(kind, |_| {});
            let mut store = Store::new(&engine, ());
            let instance = link(&linker(&engine, &mut store).0, &mut store, &text);
            store.set_timeout(Some(Duration::from_millis(20))).expect("a timer");
            let found = invoke(&mut store, instance, "f", &[]);
            assert_eq!(found, Err(TrapCode::DeadlineExceeded), "{body}");
            store.set_timeout(None).expect("a timer");

            let handle = store.interrupt_handle();
            let other = std::thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
            let found = invoke(&mut store, instance, "f", &[]);
            assert_eq!(found, Err(TrapCode::Interrupted), "{body}");
            other.join().expect("it ends");
        }
    }
}

#[test]
fn throwing_does_not_grow_the_stack_of_the_host() {
    for kind in ENGINES {
        on_small_stack(256, move || {
            let engine = engine_with(kind, |_| {});
            let mut store = store(&engine);
            let text = "(module (tag $t (param i32))
                (func $throw (param i32) (throw $t (local.get 0)))
                (func (export \"f\") (param i32) (result i32)
                  (loop $l (result i32)
                    (block $h (result i32)
                      (try_table (catch $t $h) (call $throw (local.get 0))) unreachable)
                    (i32.const 1) (i32.sub) (local.set 0)
                    (if (local.get 0) (then (br $l)))
                    (i32.const 5))))";
            let instance = link(&Linker::new(&engine), &mut store, text);
            let found = invoke(&mut store, instance, "f", &[Val::I32(300_000)]);
            assert_eq!(found, Ok(vec![5]));
        });
    }
}

#[test]
fn a_host_function_may_be_called_by_the_host_and_throw() {
    for engine in engines() {
        let mut store = store(&engine);
        let (_, tag) = linker(&engine, &mut store);
        let throw =
            Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| -> palisade::Result<()> {
                let exception = ExnRef::new(&mut caller, &tag, &[Val::I32(3)])?;
                caller.throw(exception)
            });
        let throw = throw.expect("a function");
        for _ in 0..3 {
            let error = throw.call(&mut store, &[], &mut []).expect_err("it throws");
            let exception = error.exception(&mut store).expect("an exception");
            assert_eq!(exception.field(&mut store, 0).expect("its value").i32(), Some(3));
        }
    }
}

#[test]
fn s4_deeply_nested_scopes_are_searched_paid_for_and_do_not_recurse() {
    const DEPTH: u64 = 50_000;
    for kind in ENGINES {
        on_small_stack(256, move || {
            let engine = engine_with(kind, |config| {
                config.consume_fuel(true);
            });
            // Only the outermost clause fits; behind it an equal nest, in which nothing is thrown any more.
            let nest = |inside: &str| {
                let (open, close) = ("try_table (catch $a 0) ", "end ");
                format!("{}{inside} {}", open.repeat(DEPTH as usize), close.repeat(DEPTH as usize))
            };
            let text = format!(
                "(module (tag $a) (tag $b)
                   (func $throw (throw $b))
                   (func $quiet)
                   (func (export \"f\") (block $h (try_table (catch $b $h) {}) unreachable))
                   (func (export \"g\") (block $h (try_table (catch $b $h) {} (call $throw)) unreachable)))",
                nest("call $throw"),
                nest("call $quiet")
            );
            let mut store = store(&engine);
            let instance = link(&Linker::new(&engine), &mut store, &text);
            let mut cost = |name: &str| {
                // The operators of the nests themselves cost the same in both.
                store.set_fuel(1 << 40).expect("metered");
                assert_eq!(invoke(&mut store, instance, name, &[]), Ok(vec![]));
                (1 << 40) - store.get_fuel().expect("metered")
            };
            // In the second, the clauses of the nest do not stand around what throws.
            let (f, g) = (cost("f"), cost("g"));
            assert!(f > g + DEPTH - 100 && f < g + DEPTH + 100, "{f} {g}");
        });
    }
}

#[test]
fn exceptions_that_nobody_holds_are_collected() {
    // A million of 64 bytes and more go through a heap of at most a few megabytes. Those that are kept, in a list of
    // exceptions that hold exceptions, fill it: a trap that no clause catches.
    let text = "(module (tag $t (param i32 exnref v128 v128 v128))
        (global $kept (mut exnref) (ref.null exn))
        (func $throw (param i32 exnref)
          (throw $t (local.get 0) (local.get 1) (v128.const i64x2 1 2) (v128.const i64x2 3 4)
            (v128.const i64x2 5 6)))
        (func (export \"f\") (param $count i32) (param $keep i32) (result i32) (local $e exnref)
          (loop $l
            (block $h (result i32 exnref v128 v128 v128 exnref)
              (block $all
                (try_table (catch_ref $t $h) (catch_all $all)
                  (call $throw (local.get $count) (global.get $kept))))
              unreachable)
            (local.set $e)
            (drop) (drop) (drop) (drop)
            (if (i32.ne (local.get $count)) (then unreachable))
            (if (local.get $keep) (then (global.set $kept (local.get $e))))
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (br_if $l (local.get $count)))
          (i32.const 5))
        (func (export \"depth\") (result i32) (local i32)
          (loop $l
            (if (ref.is_null (global.get $kept)) (then (return (local.get 0))))
            (block $h (result i32 exnref v128 v128 v128)
              (try_table (catch $t $h) (throw_ref (global.get $kept))) unreachable)
            (drop) (drop) (drop) (global.set $kept) (drop)
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (br $l))
          unreachable))";
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = store(&engine);
        store.set_resource_limit(palisade::Resource::MemoryBytes, Some(8 << 20));
        let instance = link(&Linker::new(&engine), &mut store, text);
        let mut f = |count, keep| {
            let arguments = [Val::I32(count), Val::I32(keep)];
            invoke(&mut store, instance, "f", &arguments)
        };
        assert_eq!(f(1_000_000, 0), Ok(vec![5]));
        assert_eq!(f(1_000, 1), Ok(vec![5]));
        assert_eq!(f(1_000_000, 1), Err(TrapCode::HeapExhausted));
        let depth = invoke(&mut store, instance, "depth", &[]).expect("a list")[0];
        assert!((20_000..131_072).contains(&depth), "{depth}");
        let arguments = [Val::I32(1_000_000), Val::I32(0)];
        assert_eq!(invoke(&mut store, instance, "f", &arguments), Ok(vec![5]));
    }
}
