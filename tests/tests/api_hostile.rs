//! The host-call boundary and the isolation of stores, row by row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use palisade::{
    Caller, Engine, ErrorKind, Func, FuncType, Instance, Linker, Module, Ref, Store, TrapCode, Val,
    ValType,
};
use palisade_tests::{DISPATCHERS, ENGINES, engine, instance, link, module};

#[test]
fn h3_a_guest_without_a_memory_or_with_several_gets_a_defined_answer() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap(
                "h",
                "look",
                |mut caller: Caller<'_, ()>, at: u32| -> palisade::Result<u32> {
                    let Some(memory) = caller.get_memory("memory") else {
                        return Err(palisade::Error::msg("the guest exports no memory"));
                    };
                    let mut byte = [0];
                    memory.read(&caller, at as usize, &mut byte)?;
                    Ok(byte[0].into())
                },
            )
            .unwrap();
        let guest = |memories: &str| {
            format!(
                r#"(module (import "h" "look" (func $look (param i32) (result i32))) {memories}
                    (func (export "run") (param i32) (result i32) local.get 0 call $look))"#
            )
        };
        let run = |memories: &str, at: u32| {
            let mut store = Store::new(&engine, ());
            let instance = link(&linker, &mut store, &guest(memories));
            let run = instance.get_typed_func::<u32, u32>(&store, "run").unwrap();
            run.call(&mut store, at).map_err(|error| error.to_string())
        };
        for memories in [
            "",
            "(memory 1)",
            r#"(memory (export "other") 1)"#,
            r#"(func (export "memory"))"#,
            r#"(table (export "memory") 1 funcref)"#,
        ] {
            let error = run(memories, 0).unwrap_err();
            assert!(error.starts_with("the guest exports no memory"), "{memories}: {error}");
        }
        let second = r#"(memory 1) (data (i32.const 7) "a")
            (memory $m (export "memory") 1) (data (memory $m) (i32.const 7) "b")"#;
        assert_eq!(run(second, 7), Ok(u32::from(b'b')));
        for at in [65536, 1 << 31, u32::MAX] {
            assert!(run(second, at).unwrap_err().contains("out of bounds memory access"));
        }
        assert_eq!(run(second, 65535), Ok(0));
        assert!(run(r#"(memory (export "memory") 0)"#, 0).is_err());
    }
}

#[test]
fn h3_a_memory_grown_in_a_callback_is_seen_at_its_new_size() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("h", "grow", |mut caller: Caller<'_, ()>, by_guest: i32| {
                let memory = caller.get_memory("memory").expect("it is exported");
                let before = memory.data(&caller).len();
                if by_guest == 1 {
                    let grow = caller.get_export("grow").and_then(|e| e.into_func());
                    let grow = grow.expect("it is exported").typed::<(), ()>(&caller)?;
                    grow.call(&mut caller, ())?;
                } else {
                    memory.grow(&mut caller, 1)?;
                }
                let bytes = memory.data_mut(&mut caller);
                assert_eq!(bytes.len(), before + 65536);
                bytes[before + 65535] = 42;
                palisade::Result::Ok(())
            })
            .unwrap();
        for growth in ["", "i64"] {
            let text = format!(
                r#"(module (import "h" "grow" (func $grow (param i32)))
                    (memory (export "memory") {growth} 1)
                    (func (export "grow") (drop (memory.grow ({index}.const 1))))
                    (func (export "run") (param i32) (result i32)
                        ({index}.store8 ({index}.const 0) ({index}.const 1))
                        (call $grow (local.get 0))
                        (i32.add (i32.load8_u ({index}.const 131071))
                                 (i32.load8_u ({index}.const 0)))))"#,
                index = if growth.is_empty() { "i32" } else { growth },
            );
            for by_guest in [0, 1] {
                let mut store = Store::new(&engine, ());
                let instance = link(&linker, &mut store, &text);
                let run = instance.get_typed_func::<i32, i32>(&store, "run").unwrap();
                assert_eq!(run.call(&mut store, by_guest).unwrap(), 43);
            }
        }
    }
}

/// Adds `f`, which does what `how` says, under three ways of making a host function.
fn misbehaving(linker: &mut Linker<u32>) {
    fn misbehave(how: i32) {
        match how {
            0 => panic!("a static message"),
            1 => panic!("a message with {how}"),
            2 => std::panic::panic_any(7_u8),
            3 => std::panic::panic_any(PanicsAgain),
            _ => {}
        }
    }
    struct PanicsAgain;
    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            panic!("the payload panics when it is dropped");
        }
    }
    linker.func_wrap("h", "plain", misbehave).unwrap();
    linker
        .func_wrap("h", "caller", |mut caller: Caller<'_, u32>, how: i32| {
            *caller.data_mut() += 1;
            misbehave(how);
        })
        .unwrap();
    linker
        .func_new("h", "dynamic", FuncType::new([ValType::I32], []), |_, args, _| {
            misbehave(args[0].try_i32()?);
            Ok(())
        })
        .unwrap();
}

#[test]
fn h4_a_panic_ends_the_guest_and_poisons_its_store_alone() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::new(&engine);
        misbehaving(&mut linker);
        let text = r#"(module (import "h" "plain" (func $plain (param i32)))
            (import "h" "caller" (func $caller (param i32)))
            (import "h" "dynamic" (func $dynamic (param i32)))
            (func (export "plain") (param i32) (call $plain (local.get 0)))
            (func (export "caller") (param i32) (call $caller (local.get 0)))
            (func (export "dynamic") (param i32) (call $dynamic (local.get 0))))"#;
        let mut other = Store::new(&engine, 0);
        let fine = link(&linker, &mut other, text);
        for name in ["plain", "caller", "dynamic"] {
            for (how, message) in [
                (0, "a static message"),
                (1, "a message with 1"),
                (2, "no message"),
                (3, "no message"),
            ] {
                let mut store = Store::new(&engine, 0);
                let instance = link(&linker, &mut store, text);
                let run = instance.get_typed_func::<i32, ()>(&store, name).unwrap();
                run.call(&mut store, 9).unwrap();
                let error = run.call(&mut store, how).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::HostPanic(m) if m == message), "{error}");
                assert_eq!(error.trap_code(), Some(TrapCode::Internal));
                assert_eq!(error.backtrace().unwrap().frames()[0].func_name(), Some(name));
                assert!(store.is_poisoned());
                let error = run.call(&mut store, 9).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Poisoned), "{error}");
                let module = module(&engine, "(module (func $start) (start $start))");
                let error = Instance::new(&mut store, &module, &[]).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Poisoned), "{error}");
                // Looking at what is left is harmless.
                assert!(instance.get_func(&store, name).is_some());
                let run = fine.get_typed_func::<i32, ()>(&other, name).unwrap();
                run.call(&mut other, 9).unwrap();
            }
        }
        assert!(!other.is_poisoned());
    }
}

#[test]
fn h4_a_panic_called_directly_or_deep_down_is_caught_once() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, 0_u32);
        let direct = Func::wrap(&mut store, || -> () { panic!("direct") }).unwrap();
        let error = direct.call(&mut store, &[], &mut []).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::HostPanic(m) if m == "direct"), "{error}");

        // Host, guest, host, guest, host: the outer host function hides the error, in vain.
        let mut linker = Linker::<u32>::new(&engine);
        linker
            .func_wrap("h", "f", |mut caller: Caller<'_, u32>, depth: i32| {
                assert!(depth > 0, "too deep");
                let again = caller.get_export("f").and_then(|e| e.into_func()).expect("exported");
                let again = again.typed::<i32, ()>(&caller).expect("its type");
                let _ = again.call(&mut caller, depth - 1);
                *caller.data_mut() += 1;
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = link(
            &linker,
            &mut store,
            r#"(module (import "h" "f" (func $f (param i32)))
                (func (export "f") (param i32) (call $f (local.get 0))))"#,
        );
        let run = instance.get_typed_func::<i32, ()>(&store, "f").unwrap();
        let error = run.call(&mut store, 2).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Poisoned), "{error}");
        assert!(store.is_poisoned());
        assert_eq!(store.into_data(), 2);
    }
}

#[test]
fn h4_wrong_results_of_a_host_function_end_the_guest() {
    for kind in ENGINES {
        let engine = engine(kind);
        let non_null = ValType::Ref(palisade::RefType::new(false, palisade::HeapType::Func));
        for (ty, wrong) in [
            (ValType::I32, Val::I64(1)),
            (ValType::I64, Val::I32(1)),
            (ValType::F32, Val::F64(1)),
            (ValType::FUNCREF, Val::I64(0x1234_5678)),
            (ValType::FUNCREF, Val::ExternRef(None)),
            (ValType::EXTERNREF, Val::FuncRef(None)),
            (non_null, Val::FuncRef(None)),
        ] {
            let mut linker = Linker::<()>::new(&engine);
            let result = FuncType::new([], [ValType::I32, ty.clone()]);
            linker
                .func_new("h", "f", result, move |_, _, results| {
                    assert_eq!(results.len(), 2);
                    results[1] = wrong;
                    Ok(())
                })
                .unwrap();
            let mut store = Store::new(&engine, ());
            let text = format!(
                r#"(module (import "h" "f" (func $f (result i32 {ty})))
                    (func (export "run") (drop (call $f)) drop))"#
            );
            let instance = link(&linker, &mut store, &text);
            let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
            let error = run.call(&mut store, ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
            assert!(error.to_string().contains("result of a host function: 1"), "{error}");
            assert!(!store.is_poisoned());
        }
    }
}

#[test]
fn h4_a_host_function_may_enter_again_and_end_other_stores() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::<u32>::new(&engine);
        linker
            .func_wrap("h", "nest", |mut caller: Caller<'_, u32>, n: i32| {
                // A whole other life within this call.
                let mut inner = Store::new(caller.engine(), ());
                let module = Module::new(
                    caller.engine(),
                    r#"(module (memory 1) (func (export "f") (result i32) (i32.const 1)))"#,
                )?;
                let instance = Instance::new(&mut inner, &module, &[])?;
                let one = instance.get_typed_func::<(), i32>(&inner, "f")?.call(&mut inner, ())?;
                drop(inner);
                *caller.data_mut() += one as u32;
                if n == 0 {
                    return Ok(0);
                }
                let again = caller.get_export("run").and_then(|e| e.into_func()).expect("exported");
                again.typed::<i32, i32>(&caller)?.call(&mut caller, n - 1)
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = link(
            &linker,
            &mut store,
            r#"(module (import "h" "nest" (func $nest (param i32) (result i32)))
                (func (export "run") (param i32) (result i32) (local i64 i64)
                    (local.set 1 (i64.const -1)) (local.set 2 (i64.const 7))
                    (i32.add (call $nest (local.get 0))
                        (i32.wrap_i64 (i64.add (local.get 1) (local.get 2))))))"#,
        );
        let run = instance.get_typed_func::<i32, i32>(&store, "run").unwrap();
        assert_eq!(run.call(&mut store, 9).unwrap(), 60);
        assert_eq!(*store.data(), 10);
    }
}

const TABLES: &str = r#"(module
    (type $i (func (result i32))) (type $l (func (result i64)))
    (type $open (sub (func (result i32)))) (type $below (sub $open (func (result i32))))
    (table $t (export "t") 8 funcref) (table $typed (export "typed") 2 (ref null $i))
    (func $one (type $i) (i32.const 1)) (func $two (type $l) (i64.const 2))
    (func $three (type $below) (i32.const 3))
    (elem (i32.const 0) $one $two $three) (elem declare func $two)
    (func (export "i") (param i32) (result i32) (call_indirect $t (type $i) (local.get 0)))
    (func (export "l") (param i32) (result i64) (call_indirect $t (type $l) (local.get 0)))
    (func (export "open") (param i32) (result i32) (call_indirect $t (type $open) (local.get 0)))
    (func (export "null_ref") (result i32) (call_ref $i (ref.null $i)))
    (func (export "typed_ref") (param i32) (result i32)
        (call_ref $i (table.get $typed (local.get 0))))
    (func (export "swap") (table.set $t (i32.const 0) (ref.func $two)))
    (func (export "clear") (table.fill $t (i32.const 0) (ref.null func) (i32.const 8)))
    (func (export "one") (type $i) (i32.const 11)))"#;

#[test]
fn m4_indirect_calls_trap_exactly() {
    for kind in ENGINES {
        let engine = engine(kind);
        let (mut store, instance) = instance(&engine, TABLES);
        let call = |store: &mut Store<()>, name: &str, args: &[Val]| {
            let func = instance.get_func(&*store, name).unwrap();
            let mut result = vec![Val::I32(0); func.ty(&*store).unwrap().results().len()];
            match func.call(store, args, &mut result) {
                Ok(()) => Ok(result.first().map(|r| r.i32().map_or(-1, i64::from))),
                Err(error) => Err(error.trap_code().unwrap()),
            }
        };
        let mismatch = Err(TrapCode::IndirectCallTypeMismatch);
        assert_eq!(call(&mut store, "i", &[Val::I32(0)]), Ok(Some(1)));
        assert_eq!(call(&mut store, "l", &[Val::I32(0)]), mismatch);
        assert_eq!(call(&mut store, "i", &[Val::I32(1)]), mismatch);
        assert_eq!(call(&mut store, "i", &[Val::I32(2)]), mismatch);
        assert_eq!(call(&mut store, "open", &[Val::I32(2)]), Ok(Some(3)));
        assert_eq!(call(&mut store, "open", &[Val::I32(0)]), mismatch);
        let null = Err(TrapCode::UninitializedElement);
        assert_eq!(call(&mut store, "i", &[Val::I32(3)]), null);
        assert_eq!(call(&mut store, "i", &[Val::I32(7)]), null);
        for index in [8, 9, i32::MAX, i32::MIN, -1] {
            assert_eq!(call(&mut store, "i", &[Val::I32(index)]), Err(TrapCode::UndefinedElement));
        }
        let null_call = call(&mut store, "null_ref", &[]).unwrap_err();
        assert!(null_call.message().starts_with("null"), "{null_call}");
        let null_call = call(&mut store, "typed_ref", &[Val::I32(0)]).unwrap_err();
        assert!(null_call.message().starts_with("null"), "{null_call}");
        let out = Err(TrapCode::TableOutOfBounds);
        assert_eq!(call(&mut store, "typed_ref", &[Val::I32(2)]), out);

        // After the table has changed, from within and from without.
        call(&mut store, "swap", &[]).unwrap();
        assert_eq!(call(&mut store, "i", &[Val::I32(0)]), mismatch);
        let table = instance.get_table(&store, "t").unwrap();
        let one = instance.get_func(&store, "one").unwrap();
        table.set(&mut store, 0, one.into()).unwrap();
        assert_eq!(call(&mut store, "i", &[Val::I32(0)]), Ok(Some(11)));
        let host = Func::wrap(&mut store, || 5_i32).unwrap();
        table.set(&mut store, 0, host.into()).unwrap();
        assert_eq!(call(&mut store, "i", &[Val::I32(0)]), Ok(Some(5)));
        assert_eq!(call(&mut store, "l", &[Val::I32(0)]), mismatch);
        assert_eq!(call(&mut store, "open", &[Val::I32(0)]), mismatch);
        table.grow(&mut store, 1, host.into()).unwrap();
        assert_eq!(call(&mut store, "i", &[Val::I32(8)]), Ok(Some(5)));
        call(&mut store, "clear", &[]).unwrap();
        assert_eq!(call(&mut store, "i", &[Val::I32(0)]), null);
        assert_eq!(call(&mut store, "i", &[Val::I32(8)]), Ok(Some(5)));

        // A typed table takes nothing else.
        let typed = instance.get_table(&store, "typed").unwrap();
        typed.set(&mut store, 1, one.into()).unwrap();
        assert_eq!(call(&mut store, "typed_ref", &[Val::I32(1)]), Ok(Some(11)));
        let wrong = Func::wrap(&mut store, || 5_i64).unwrap();
        assert!(typed.set(&mut store, 1, wrong.into()).is_err());
        assert!(typed.set(&mut store, 1, Ref::Extern(None)).is_err());
        typed.set(&mut store, 1, Ref::Func(None)).unwrap();
    }
}

#[test]
fn m4_types_of_two_modules_are_equal_only_if_their_groups_are() {
    // The same function type, alone in its group, and as a member of a group of two.
    let exporter = r#"(module (type $f (func (result i32)))
        (rec (type $g (func (result i32))) (type $h (func (result i32))))
        (table (export "t") 3 funcref) (elem (i32.const 0) $a $b $c)
        (func $a (type $f) (i32.const 1)) (func $b (type $g) (i32.const 2))
        (func $c (type $h) (i32.const 3)))"#;
    let importer = |ty: &str| {
        format!(
            r#"(module {ty} (import "x" "t" (table 3 funcref))
                (func (export "call") (param i32) (result i32)
                    (call_indirect (type $mine) (local.get 0))))"#
        )
    };
    let alone = "(type $other (func)) (type $mine (func (result i32)))";
    let first = "(rec (type $mine (func (result i32))) (type (func (result i32))))";
    let second = "(rec (type (func (result i32))) (type $mine (func (result i32))))";
    let unlike = "(rec (type $mine (func (result i32))) (type (func (result i64))))";
    let mismatch = Err(TrapCode::IndirectCallTypeMismatch);
    for kind in ENGINES {
        let engine = engine(kind);
        for (ty, expected) in [
            (alone, [Ok(1), mismatch, mismatch]),
            (first, [mismatch, Ok(2), mismatch]),
            (second, [mismatch, mismatch, Ok(3)]),
            (unlike, [mismatch; 3]),
        ] {
            let mut store = Store::new(&engine, ());
            let mut linker = Linker::new(&engine);
            let x = link(&linker, &mut store, exporter);
            linker.instance(&mut store, "x", x).unwrap();
            let call = link(&linker, &mut store, &importer(ty));
            let call = call.get_typed_func::<i32, i32>(&store, "call").unwrap();
            let found: [Result<i32, TrapCode>; 3] = std::array::from_fn(|i| {
                call.call(&mut store, i as i32).map_err(|error| error.trap_code().unwrap())
            });
            assert_eq!(found, expected, "{ty}");
        }
    }
}

#[test]
fn m5_numbers_cannot_become_functions() {
    let engine = engine(DISPATCHERS[0]);
    for text in [
        "(module (table 1 funcref) (func (table.set (i32.const 0) (i64.const 4096))))",
        "(module (func (result funcref) (i64.const 4096)))",
        "(module (global funcref (i64.const 4096)))",
        "(module (type $f (func)) (func (call_ref $f (i64.const 4096))))",
        "(module (type $f (func)) (func (param funcref) (call_ref $f (local.get 0))))",
        "(module (func (param externref) (result funcref) (local.get 0)))",
        "(module (table 1 funcref) (elem (i32.const 0) funcref (item (i64.const 4096))))",
        "(module (func $f) (func (result funcref) (ref.func $f)))",
    ] {
        let error = Module::new(&engine, text).expect_err(text);
        assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error}");
    }
    let (mut store, instance) = instance(
        &engine,
        r#"(module (table (export "t") 1 funcref) (global (export "g") (mut funcref) (ref.null func))
            (func (export "f") (param funcref)))"#,
    );
    let forged = [Val::I64(4096), Val::I32(1), Val::ExternRef(None), Val::AnyRef(None)];
    for value in forged {
        let f = instance.get_func(&store, "f").unwrap();
        assert!(f.call(&mut store, &[value], &mut []).is_err());
        let g = instance.get_global(&store, "g").unwrap();
        assert!(g.set(&mut store, value).is_err());
        if let Some(reference) = value.as_ref() {
            let t = instance.get_table(&store, "t").unwrap();
            assert!(t.set(&mut store, 0, reference).is_err());
        }
    }
}

#[test]
fn m5_what_is_not_exported_is_reached_only_through_what_was_handed_out() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::<()>::new(&engine);
        let secretive = link(
            &linker,
            &mut store,
            r#"(module (global $count (mut i32) (i32.const 0)) (memory 1)
                (func $secret (result i32) (i32.store (i32.const 0) (i32.const 7))
                    (global.set $count (i32.add (global.get $count) (i32.const 1)))
                    (global.get $count))
                (func $other (result i32) (i32.load (i32.const 0)))
                (elem declare func $secret)
                (func (export "hand_out") (result funcref) (ref.func $secret))
                (func (export "count") (result i32) (global.get $count)))"#,
        );
        for name in ["secret", "$secret", "other", "memory", "0", ""] {
            assert!(secretive.get_export(&store, name).is_none());
        }
        linker.instance(&mut store, "s", secretive).unwrap();
        let user = link(
            &linker,
            &mut store,
            r#"(module (import "s" "hand_out" (func $hand_out (result funcref)))
                (type $ii (func (result i32))) (table $t 1 funcref) (memory 1)
                (func (export "run") (result i32)
                    (table.set $t (i32.const 0) (call $hand_out))
                    (call_indirect $t (type $ii) (i32.const 0)))
                (func (export "mine") (result i32) (i32.load (i32.const 0)))
                (func (export "wrong") (result i64)
                    (table.set $t (i32.const 0) (call $hand_out))
                    (call_indirect $t (result i64) (i32.const 0))))"#,
        );
        let run = user.get_typed_func::<(), i32>(&store, "run").unwrap();
        assert_eq!((run.call(&mut store, ()).unwrap(), run.call(&mut store, ()).unwrap()), (1, 2));
        // It ran with its own instance's memory and globals.
        let mine = user.get_typed_func::<(), i32>(&store, "mine").unwrap();
        assert_eq!(mine.call(&mut store, ()).unwrap(), 0);
        let count = secretive.get_typed_func::<(), i32>(&store, "count").unwrap();
        assert_eq!(count.call(&mut store, ()).unwrap(), 2);
        let wrong = user.get_typed_func::<(), i64>(&store, "wrong").unwrap();
        let error = wrong.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::IndirectCallTypeMismatch));
    }
}

/// What the levels of [`t2_traps_at_every_level_leave_the_stack_balanced`] do at the bottom.
fn bottom(linker: &mut Linker<u32>) {
    linker
        .func_wrap("h", "down", |mut caller: Caller<'_, u32>, level: i32, how: i32| {
            *caller.data_mut() += 1;
            let name = if level == 0 { "bottom" } else { "level" };
            let next = caller.get_export(name).and_then(|e| e.into_func()).expect("exported");
            let next = next.typed::<(i32, i32), i32>(&caller)?;
            next.call(&mut caller, (level - 1, how))
        })
        .unwrap();
    linker
        .func_wrap("h", "hide", |mut caller: Caller<'_, u32>, level: i32, how: i32| {
            let next = caller.get_export("level").and_then(|e| e.into_func()).expect("exported");
            let next = next.typed::<(i32, i32), i32>(&caller).expect("its type");
            next.call(&mut caller, (level, how)).unwrap_or(-1)
        })
        .unwrap();
    linker
        .func_wrap("h", "fail", |_: i32| -> palisade::Result<i32> {
            Err(palisade::Error::msg("the host gives up"))
        })
        .unwrap();
}

const LEVELS: &str = r#"(module
    (import "h" "down" (func $down (param i32 i32) (result i32)))
    (import "h" "hide" (func $hide (param i32 i32) (result i32)))
    (import "h" "fail" (func $fail (param i32) (result i32)))
    (memory 1)
    (func $for_ever (result i32) (i32.add (call $for_ever) (i32.const 1)))
    (func (export "level") (param i32 i32) (result i32) (local i64)
        (local.set 2 (i64.const 1))
        (i32.add (call $down (local.get 0) (local.get 1)) (i32.wrap_i64 (local.get 2))))
    (func (export "hide") (param i32 i32) (result i32)
        (i32.add (call $hide (local.get 0) (local.get 1)) (i32.const 100)))
    (func (export "bottom") (param i32 i32) (result i32)
        (block $ok (block $recurse (block $fail (block $oob (block $div (block $unreachable
            (br_table $unreachable $div $oob $fail $recurse $ok (local.get 1)))
            unreachable)
            (return (i32.div_s (i32.const 1) (i32.const 0))))
            (return (i32.load (i32.const -1))))
            (return (call $fail (i32.const 0))))
            (return (call $for_ever)))
        (i32.const 0)))"#;

#[test]
fn t2_traps_at_every_level_leave_the_stack_balanced() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::new(&engine);
        bottom(&mut linker);
        let mut store = Store::new(&engine, 0);
        store.set_call_depth_limit(Some(200));
        let instance = link(&linker, &mut store, LEVELS);
        let level = instance.get_typed_func::<(i32, i32), i32>(&store, "level").unwrap();
        let hide = instance.get_typed_func::<(i32, i32), i32>(&store, "hide").unwrap();
        for _ in 0..100 {
            for (how, code) in [
                (0, Some(TrapCode::Unreachable)),
                (1, Some(TrapCode::IntegerDivideByZero)),
                (2, Some(TrapCode::MemoryOutOfBounds)),
                (3, None),
                (4, Some(TrapCode::CallDepthExceeded)),
            ] {
                let error = level.call(&mut store, (4, how)).unwrap_err();
                assert_eq!(error.trap_code(), code, "{error}");
                if code.is_none() {
                    assert!(error.to_string().starts_with("the host gives up"), "{error}");
                }
                let frames = error.backtrace().unwrap().frames();
                let levels = frames.iter().filter(|f| f.func_name() == Some("level")).count();
                assert_eq!(levels, 5, "{error}");
                assert_eq!(hide.call(&mut store, (4, how)).unwrap(), 99);
            }
            assert_eq!(level.call(&mut store, (4, 5)).unwrap(), 5);
            assert_eq!(hide.call(&mut store, (4, 5)).unwrap(), 105);
        }
    }
}

#[test]
fn t2_a_trap_in_the_start_function_fails_the_instance_alone() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::<()>::new(&engine);
        let table = link(&linker, &mut store, r#"(module (table (export "t") 2 funcref))"#);
        linker.instance(&mut store, "x", table).unwrap();
        let module = module(
            &engine,
            r#"(module $m (import "x" "t" (table 2 funcref)) (elem (i32.const 0) $f)
                (memory 1) (data (i32.const 5) "x")
                (func $f (result i32) (i32.load8_u (i32.const 5)))
                (func $start unreachable) (start $start))"#,
        );
        let error = linker.instantiate(&mut store, &module).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::Unreachable));
        let text = error.to_string();
        assert!(text.contains("wasm trap: unreachable\nwasm backtrace:\n    0: "), "{text}");
        assert!(text.contains(" - m!start"), "{text}");
        // What it left in the table works: its memory lives as long as the store.
        let table = table.get_table(&store, "t").unwrap();
        let left = *table.get(&mut store, 0).unwrap().as_func().unwrap();
        let left = left.typed::<(), i32>(&store).unwrap();
        assert_eq!(left.call(&mut store, ()).unwrap(), i32::from(b'x'));
    }
}

#[test]
fn t2_a_trap_in_a_start_function_below_a_host_call_is_reported_with_both_parts() {
    for kind in ENGINES {
        let engine = engine(kind);
        let inner = module(&engine, "(module $inner (func $boom unreachable) (start $boom))");
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("h", "make", move |mut caller: Caller<'_, ()>| {
                Instance::new(&mut caller, &inner, &[]).map(|_| ())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let outer = link(
            &linker,
            &mut store,
            r#"(module $outer (import "h" "make" (func $make)) (func $run (export "run") call $make))"#,
        );
        let run = outer.get_typed_func::<(), ()>(&store, "run").unwrap();
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::Unreachable));
        let text = error.to_string();
        let (boom, run) = (text.find("inner!boom"), text.find("outer!run"));
        assert!(boom.is_some() && boom < run, "{text}");
    }
}

#[test]
fn host_recursion_driven_by_the_guest_ends_in_a_trap() {
    for kind in ENGINES {
        let engine: Engine = engine(kind);
        let depth = Arc::new(AtomicU32::new(0));
        let deepest = depth.clone();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("h", "again", move |mut caller: Caller<'_, ()>| {
                depth.fetch_add(1, Ordering::Relaxed);
                let run = caller.get_export("run").and_then(|e| e.into_func()).expect("exported");
                run.typed::<(), ()>(&caller)?.call(&mut caller, ())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = link(
            &linker,
            &mut store,
            r#"(module (import "h" "again" (func $again)) (func (export "run") call $again))"#,
        );
        let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
        for _ in 0..3 {
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow), "{error}");
        }
        assert!(deepest.load(Ordering::Relaxed) > 300);
        assert!(!store.is_poisoned());
    }
}
