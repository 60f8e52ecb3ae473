//! Calls between host and guest through the embedding interface.

use palisade::{
    AsContext, AsContextMut, Caller, ErrorKind, ExternRef, Func, FuncType, LinkError, Linker,
    Module, Store, TrapCode, V128, Val, ValType,
};
use palisade_tests::{DISPATCHERS, ENGINES, engine, instance, link, module};

const ARITHMETIC: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
    (func (export "swap") (param i32 i64) (result i64 i32) local.get 1 local.get 0)
    (func (export "half") (param f64) (result f64) local.get 0 f64.const 0.5 f64.mul)
    (func (export "third") (param f32) (result f32) local.get 0 f32.const 3 f32.div)
    (func (export "nothing"))
    (func (export "same") (param externref) (result externref) local.get 0)
    (func (export "same_func") (param funcref) (result funcref) local.get 0))"#;

#[test]
fn typed_calls() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), ARITHMETIC);
        let add = instance.get_typed_func::<(i32, i32), i32>(&store, "add").unwrap();
        assert_eq!(add.call(&mut store, (40, 2)).unwrap(), 42);
        assert_eq!(add.call(&mut store, (i32::MAX, 1)).unwrap(), i32::MIN);
        let unsigned = instance.get_typed_func::<(u32, u32), u32>(&store, "add").unwrap();
        assert_eq!(unsigned.call(&mut store, (u32::MAX, 2)).unwrap(), 1);
        let swap = instance.get_typed_func::<(i32, i64), (i64, i32)>(&store, "swap").unwrap();
        assert_eq!(swap.call(&mut store, (-1, i64::MIN)).unwrap(), (i64::MIN, -1));
        let half = instance.get_typed_func::<f64, f64>(&store, "half").unwrap();
        assert_eq!(half.call(&mut store, 7.0).unwrap(), 3.5);
        let third = instance.get_typed_func::<(f32,), (f32,)>(&store, "third").unwrap();
        assert_eq!(third.call(&mut store, (9.0,)).unwrap(), (3.0,));
        let nothing = instance.get_typed_func::<(), ()>(&store, "nothing").unwrap();
        nothing.call(&mut store, ()).unwrap();
    }
}

#[test]
fn untyped_calls() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), ARITHMETIC);
        let swap = instance.get_func(&store, "swap").unwrap();
        assert_eq!(swap.ty(&store).unwrap().to_string(), "[i32 i64] -> [i64 i32]");
        let mut results = [Val::I32(0), Val::I32(0)];
        swap.call(&mut store, &[Val::I32(-5), Val::I64(1 << 40)], &mut results).unwrap();
        assert_eq!((results[0].i64(), results[1].i32()), (Some(1 << 40), Some(-5)));
    }
}

#[test]
fn wrong_types_and_counts_are_errors_that_say_so() {
    let (mut store, instance) = instance(&engine(DISPATCHERS[0]), ARITHMETIC);
    let error = instance.get_typed_func::<(i32, i64), i32>(&store, "add").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Type(_)));
    let text = error.to_string();
    assert!(text.contains("[i32 i64] -> [i32]") && text.contains("[i32 i32] -> [i32]"), "{text}");
    assert!(text.contains("`add`"), "{text}");
    let error = instance.get_typed_func::<(), ()>(&store, "absent").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound(_)) && error.to_string().contains("absent"));

    let add = instance.get_func(&store, "add").unwrap();
    let mut one = [Val::I32(0)];
    for (args, expected) in [
        (&[Val::I32(1)][..], "expected 2 arguments, found 1"),
        (&[Val::I32(1), Val::I32(2), Val::I32(3)], "expected 2 arguments, found 3"),
        (&[Val::I32(1), Val::I64(2)], "argument 1: expected i32, found i64"),
        (&[Val::F32(0), Val::I32(2)], "argument 0: expected i32, found f32"),
        (&[Val::FuncRef(None), Val::I32(2)], "argument 0: expected i32, found a null function"),
    ] {
        let error = add.call(&mut store, args, &mut one).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let args = [Val::I32(1), Val::I32(2)];
    for mut room in [vec![], vec![Val::I32(0); 2]] {
        let error = add.call(&mut store, &args, &mut room).unwrap_err();
        assert!(error.to_string().contains("returns 1 values"), "{error}");
    }
    add.call(&mut store, &args, &mut one).unwrap();
    assert_eq!(one[0].i32(), Some(3));
}

#[test]
fn host_closures_of_every_shape() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::<Vec<i64>>::new(&engine);
        linker
            .func_wrap("h", "none", || {})
            .unwrap()
            .func_wrap("h", "two", |a: i32, b: f64| (f64::from(a) + b, a))
            .unwrap()
            .func_wrap("h", "note", |mut caller: Caller<'_, Vec<i64>>, x: i64| {
                caller.data_mut().push(x);
            })
            .unwrap()
            .func_wrap("h", "fail", |x: i32| -> palisade::Result<i32> {
                if x < 0 { Err(palisade::Error::msg("negative")) } else { Ok(x) }
            })
            .unwrap()
            .func_wrap("h", "sixteen", sum16)
            .unwrap()
            .func_wrap("h", "vector", |v: V128| V128::from(!v.as_u128()))
            .unwrap();
        let ty = FuncType::new([ValType::I32, ValType::F32], [ValType::F32, ValType::I32]);
        linker
            .func_new("h", "dynamic", ty, |_, args, results| {
                results[0] = args[1];
                results[1] = args[0];
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, Vec::new());
        let instance = link(&linker, &mut store, HOST_SHAPES);
        let run = instance.get_typed_func::<i32, (f64, i32)>(&store, "two").unwrap();
        assert_eq!(run.call(&mut store, 3).unwrap(), (5.5, 3));
        instance.get_typed_func::<(), ()>(&store, "note").unwrap().call(&mut store, ()).unwrap();
        assert_eq!(store.data(), &[7, -8]);
        let sixteen = instance.get_typed_func::<(), i64>(&store, "sixteen").unwrap();
        assert_eq!(sixteen.call(&mut store, ()).unwrap(), (1..=16).map(|x| x * x).sum::<i64>());
        let dynamic = instance.get_typed_func::<(i32, f32), (f32, i32)>(&store, "dynamic").unwrap();
        assert_eq!(dynamic.call(&mut store, (4, 0.25)).unwrap(), (0.25, 4));
        let fail = instance.get_typed_func::<i32, i32>(&store, "fail").unwrap();
        assert_eq!(fail.call(&mut store, 4).unwrap(), 4);
        let error = fail.call(&mut store, -4).unwrap_err();
        assert!(error.to_string().starts_with("negative"), "{error}");
        assert!(error.trap_code().is_none());
        assert_eq!(error.backtrace().unwrap().frames()[0].func_name(), Some("fail"));
        assert_eq!(fail.call(&mut store, 5).unwrap(), 5);
    }
}

#[allow(clippy::too_many_arguments, reason = "as many as there can be")]
fn sum16(
    a: i32,
    b: i32,
    c: i32,
    d: i32,
    e: i32,
    f: i32,
    g: i32,
    h: i32,
    i: i64,
    j: i64,
    k: i64,
    l: i64,
    m: i64,
    n: i64,
    o: i64,
    p: i64,
) -> i64 {
    let small = [a, b, c, d, e, f, g, h];
    let large = [i, j, k, l, m, n, o, p];
    let small = small.iter().zip(1_i64..).map(|(x, w)| i64::from(*x) * w).sum::<i64>();
    small + large.iter().zip(9_i64..).map(|(x, w)| x * w).sum::<i64>()
}

const HOST_SHAPES: &str = r#"(module
    (import "h" "none" (func $none))
    (import "h" "two" (func $two (param i32 f64) (result f64 i32)))
    (import "h" "note" (func $note (param i64)))
    (import "h" "fail" (func $fail (param i32) (result i32)))
    (import "h" "dynamic" (func $dynamic (param i32 f32) (result f32 i32)))
    (import "h" "sixteen" (func $sixteen
        (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)))
    (func (export "two") (param i32) (result f64 i32)
        call $none (call $two (local.get 0) (f64.const 2.5)))
    (func (export "note") (call $note (i64.const 7)) (call $note (i64.const -8)))
    (func (export "fail") (param i32) (result i32) (call $fail (local.get 0)))
    (func (export "dynamic") (param i32 f32) (result f32 i32)
        (call $dynamic (local.get 0) (local.get 1)))
    (func (export "sixteen") (result i64) (call $sixteen
        (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
        (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8)
        (i64.const 9) (i64.const 10) (i64.const 11) (i64.const 12)
        (i64.const 13) (i64.const 14) (i64.const 15) (i64.const 16))))"#;

#[test]
fn references_pass_through_guests_unchanged() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), ARITHMETIC);
        let same = instance
            .get_typed_func::<Option<ExternRef>, Option<ExternRef>>(&store, "same")
            .unwrap();
        let value = ExternRef::new(&mut store, "a string of the host").unwrap();
        let back = same.call(&mut store, Some(value)).unwrap().unwrap();
        let text = back.data(&store).unwrap().and_then(|data| data.downcast_ref::<&str>());
        assert_eq!(text, Some(&"a string of the host"));
        assert!(same.call(&mut store, None).unwrap().is_none());

        let same =
            instance.get_typed_func::<Option<Func>, Option<Func>>(&store, "same_func").unwrap();
        let host = Func::wrap(&mut store, |x: i32| x + 1).unwrap();
        let back = same.call(&mut store, Some(host)).unwrap().unwrap();
        let back = back.typed::<i32, i32>(&store).unwrap();
        assert_eq!(back.call(&mut store, 1).unwrap(), 2);
        assert!(same.call(&mut store, None).unwrap().is_none());
    }
}

#[test]
fn missing_and_mismatched_imports_are_named() {
    let engine = engine(DISPATCHERS[0]);
    let text = r#"(module (import "env" "f\1b[2J" (func (param i32) (result i64))))"#;
    let module = module(&engine, text);
    let mut linker = Linker::<()>::new(&engine);
    let mut store = Store::new(&engine, ());
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("unknown import") && text.contains("env::f"), "{text}");
    assert!(text.contains("[i32] -> [i64]") && !text.contains('\u{1b}'), "{text}");
    assert!(matches!(error.downcast_ref(), Some(LinkError::Missing { .. })));

    linker.func_wrap("env", "f\u{1b}[2J", |_: i64| 0_i64).unwrap();
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error.downcast_ref(), Some(LinkError::Mismatch { .. })), "{text}");
    assert!(text.contains("[i32] -> [i64]") && text.contains("[i64] -> [i64]"), "{text}");

    let error = linker.func_wrap("env", "f\u{1b}[2J", || {}).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(LinkError::Duplicate { .. })), "{error}");
    linker.allow_shadowing(true).func_wrap("env", "f\u{1b}[2J", |x: i32| i64::from(x)).unwrap();
    linker.instantiate(&mut store, &module).unwrap();
}

#[test]
fn unknown_imports_can_become_traps() {
    let engine = engine(DISPATCHERS[0]);
    let module = module(
        &engine,
        r#"(module (import "a" "b" (func $b)) (import "a" "c" (func $c (result i32)))
            (func (export "b") call $b) (func (export "c") (result i32) call $c))"#,
    );
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("a", "c", || 5).unwrap();
    linker.define_unknown_imports_as_traps(&module).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let c = instance.get_typed_func::<(), i32>(&store, "c").unwrap();
    assert_eq!(c.call(&mut store, ()).unwrap(), 5);
    let b = instance.get_typed_func::<(), ()>(&store, "b").unwrap();
    let error = b.call(&mut store, ()).unwrap_err();
    assert!(error.to_string().contains("a::b"), "{error}");
}

#[test]
fn linked_modules_commands_reactors_and_aliases() {
    let engine = engine(DISPATCHERS[0]);
    let mut linker = Linker::<()>::new(&engine);
    let mut store = Store::new(&engine, ());
    let reactor = module(
        &engine,
        r#"(module (global $n (mut i32) (i32.const 0))
            (func (export "_initialize") (global.set $n (i32.const 10)))
            (func (export "next") (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#,
    );
    linker.module(&mut store, "reactor", &reactor).unwrap();
    let next = |linker: &Linker<()>, store: &mut Store<()>, name: &str| {
        let func = linker.get(&mut *store, name, "next").unwrap().into_func().unwrap();
        func.typed::<(), i32>(&*store).unwrap().call(&mut *store, ()).unwrap()
    };
    assert_eq!(next(&linker, &mut store, "reactor"), 11);
    assert_eq!(next(&linker, &mut store, "reactor"), 12);
    linker.alias_module("reactor", "again").unwrap();
    assert_eq!(next(&linker, &mut store, "again"), 13);
    linker.alias("reactor", "next", "third", "next").unwrap();
    assert_eq!(next(&linker, &mut store, "third"), 14);
    assert!(linker.alias("reactor", "absent", "third", "x").is_err());

    let command = module(
        &engine,
        r#"(module (global $n (mut i32) (i32.const 0)) (func (export "_start"))
            (func (export "next") (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#,
    );
    linker.module(&mut store, "command", &command).unwrap();
    assert_eq!(next(&linker, &mut store, "command"), 1);
    assert_eq!(next(&linker, &mut store, "command"), 1, "each call has a fresh instance");
    linker.get_default(&mut store, "command").unwrap();
    assert!(linker.get_default(&mut store, "reactor").is_err());
}

#[test]
fn memories_tables_and_globals_from_the_host() {
    for kind in ENGINES {
        let (mut store, instance) = instance(
            &engine(kind),
            r#"(module (memory (export "m") 1 3) (table (export "t") 2 5 funcref)
                (global (export "g") (mut i64) (i64.const -1))
                (global (export "c") f32 (f32.const 1.5))
                (func $f (export "f") (result i32) (i32.load8_u (i32.const 65535)))
                (func (export "call") (param i32) (result i32)
                    (call_indirect (result i32) (local.get 0))))"#,
        );
        let memory = instance.get_memory(&store, "m").unwrap();
        assert_eq!((memory.size(&store), memory.data_size(&store)), (1, 65536));
        memory.write(&mut store, 65535, &[200]).unwrap();
        assert!(memory.write(&mut store, 65535, &[1, 2]).is_err());
        assert!(memory.read(&store, usize::MAX, &mut [0]).is_err());
        assert!(memory.read(&store, 65536, &mut []).is_ok());
        let f = instance.get_func(&store, "f").unwrap();
        assert_eq!(f.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 200);
        assert_eq!(memory.grow(&mut store, 2).unwrap(), 1);
        let error = memory.grow(&mut store, 1).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
        assert_eq!(memory.data(&store).len(), 3 * 65536);
        let (bytes, ()) = memory.data_and_store_mut(&mut store);
        bytes[0] = 9;
        assert_eq!(memory.data(&store)[0], 9);

        let table = instance.get_table(&store, "t").unwrap();
        assert_eq!(table.size(&store), 2);
        assert!(table.get(&mut store, 0).unwrap().is_null() && table.get(&mut store, 2).is_none());
        table.set(&mut store, 1, f.into()).unwrap();
        assert!(table.set(&mut store, 2, f.into()).is_err());
        let host = Func::wrap(&mut store, || 77).unwrap();
        assert_eq!(table.grow(&mut store, 3, host.into()).unwrap(), 2);
        assert!(table.grow(&mut store, 1, host.into()).is_err());
        let call = instance.get_typed_func::<i32, i32>(&store, "call").unwrap();
        assert_eq!(call.call(&mut store, 1).unwrap(), 200);
        assert_eq!(call.call(&mut store, 4).unwrap(), 77);
        let error = call.call(&mut store, 0).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::UninitializedElement));

        let global = instance.get_global(&store, "g").unwrap();
        assert_eq!(global.get(&mut store).unwrap().i64(), Some(-1));
        global.set(&mut store, Val::I64(5)).unwrap();
        assert!(global.set(&mut store, Val::I32(5)).is_err());
        assert_eq!(global.get(&mut store).unwrap().i64(), Some(5));
        let constant = instance.get_global(&store, "c").unwrap();
        assert!(constant.set(&mut store, Val::from(2.5_f32)).is_err());
        assert_eq!(constant.get(&mut store).unwrap().f32(), Some(1.5));
    }
}

#[test]
fn one_linker_serves_many_stores_and_instances() {
    let engine = engine(DISPATCHERS[0]);
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap("h", "count", |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
        })
        .unwrap();
    let module = module(&engine, r#"(module (import "h" "count" (func $c)) (start $c))"#);
    let pre = linker.instantiate_pre(&module).unwrap();
    let handles: Vec<_> = (0..4)
        .map(|_| {
            let (pre, engine) = (pre.clone(), engine.clone());
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, 0);
                for _ in 0..100 {
                    pre.instantiate(&mut store).unwrap();
                }
                store.into_data()
            })
        })
        .collect();
    for handle in handles {
        assert_eq!(handle.join().unwrap(), 100);
    }
}

#[test]
fn s2_a_thousand_parameters_and_results() {
    for kind in ENGINES {
        let engine = engine(kind);
        let types = |word: &str| format!("({word} {})", "i64 ".repeat(1000));
        let forward: String = (0..1000).map(|i| format!("local.get {i} ")).collect();
        let backward: String = (0..1000).rev().map(|i| format!("local.get {i} ")).collect();
        let text = format!(
            r#"(module
                (import "h" "back" (func $host {params} {results}))
                (func $back {params} {results} {backward})
                (func (export "guest") {params} {results} {forward} call $back)
                (func (export "host") {params} {results} {forward} call $host)
                (table funcref (elem $back))
                (func (export "indirect") {params} {results} {forward}
                    i32.const 0 call_indirect {params} {results}))"#,
            params = types("param"),
            results = types("result"),
        );
        let many = || vec![ValType::I64; 1000];
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_new("h", "back", FuncType::new(many(), many()), |_, args, results| {
                for (result, arg) in results.iter_mut().zip(args.iter().rev()) {
                    *result = *arg;
                }
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = link(&linker, &mut store, &text);
        let args: Vec<Val> = (0..1000).map(|i| Val::I64(i * i - 5)).collect();
        for name in ["guest", "host", "indirect"] {
            let func = instance.get_func(&store, name).unwrap();
            let mut results = vec![Val::I64(0); 1000];
            func.call(&mut store, &args, &mut results).unwrap();
            for (i, (arg, result)) in args.iter().rev().zip(&results).enumerate() {
                assert_eq!(arg.i64(), result.i64(), "{name}, result {i}");
            }
            let error = func.call(&mut store, &args[1..], &mut results).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
        }
        let many = vec![ValType::I32; 1001];
        let error = Func::new(&mut store, FuncType::new(many, []), |_, _, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("at most 1000 parameters"), "{error}");
    }
}

#[test]
fn host_functions_call_back_into_the_guest() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker = Linker::<Vec<i32>>::new(&engine);
        linker
            .func_wrap("h", "down", |mut caller: Caller<'_, Vec<i32>>, n: i32| {
                caller.data_mut().push(n);
                let guest = caller.get_export("down").and_then(|e| e.into_func());
                let guest = guest.expect("the guest exports it").typed::<i32, i32>(&caller)?;
                guest.call(&mut caller, n - 1)
            })
            .unwrap();
        let mut store = Store::new(&engine, Vec::new());
        let instance = link(
            &linker,
            &mut store,
            r#"(module (import "h" "down" (func $down (param i32) (result i32)))
                (func (export "down") (param i32) (result i32)
                    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 100))
                        (else (i32.add (i32.const 1) (call $down (local.get 0)))))))"#,
        );
        let down = instance.get_typed_func::<i32, i32>(&store, "down").unwrap();
        assert_eq!(down.call(&mut store, 5).unwrap(), 105);
        assert_eq!(store.data(), &[5, 4, 3, 2, 1]);
    }
}

/// What a function that is generic over stores looks like.
fn size_of_everything<T: 'static>(mut store: impl AsContextMut<Data = T>) -> usize {
    let mut store = store.as_context_mut();
    let memory = palisade::Memory::new(&mut store, palisade::MemoryType::new(1, None)).unwrap();
    let view = store.as_context();
    memory.data(view).len() + memory.data_mut(&mut store).len()
}

#[test]
fn contexts_can_be_passed_on() {
    let engine = engine(DISPATCHERS[0]);
    let mut store = Store::new(&engine, 3_u8);
    assert_eq!(size_of_everything(&mut store), 2 * 65536);
    assert_eq!(size_of_everything(store.as_context_mut()), 2 * 65536);
    let func = Func::wrap(&mut store, |mut caller: Caller<'_, u8>| {
        size_of_everything(&mut caller) as u32 + u32::from(*caller.data())
    })
    .unwrap();
    let func = func.typed::<(), u32>(&store).unwrap();
    assert_eq!(func.call(&mut store, ()).unwrap(), 2 * 65536 + 3);
}

#[test]
fn modules_describe_themselves() {
    let engine = engine(DISPATCHERS[0]);
    let module = Module::new(
        &engine,
        r#"(module $named (import "a" "b" (memory 1 2)) (func (export "f") (param i32))
            (global (export "g") (mut f64) (f64.const 0)) (@custom "note" "hello"))"#,
    )
    .unwrap();
    assert_eq!(module.name(), Some("named"));
    let imports: Vec<String> = module
        .imports()
        .map(|import| format!("{}.{}: {}", import.module(), import.name(), import.ty()))
        .collect();
    assert_eq!(imports, ["a.b: memory 1..=2 pages"]);
    let exports: Vec<String> =
        module.exports().map(|export| format!("{}: {}", export.name(), export.ty())).collect();
    assert_eq!(exports, ["f: func [i32] -> []", "g: global (mut f64)"]);
    let note = module.custom_sections().find(|(name, _)| *name == "note");
    assert_eq!(note, Some(("note", &b"hello"[..])));
    assert!(Module::validate(&engine, "(module (func (result i32)))").is_err());
    let error = Module::from_file(&engine, "/nonexistent/module.wasm").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::File { .. }), "{error}");
    assert!(Module::from_binary(&engine, b"(module)").is_err());
}

#[test]
fn a_module_takes_its_bytes_over() {
    let bytes = wat::parse_str(ARITHMETIC).unwrap();
    for kind in ENGINES {
        let engine = engine(kind);
        let bytes = bytes.clone();
        let at = bytes.as_ptr();
        let module = Module::from_vec(&engine, bytes).unwrap();
        assert_eq!(module.info().bytes.whole().expect("all of them").as_ptr(), at);
        assert!(module.get_export("swap").is_some());
        // The text format is one, too.
        assert!(Module::from_vec(&engine, ARITHMETIC.as_bytes().to_vec()).is_ok());
        assert!(Module::from_vec(&engine, b"nothing".to_vec()).is_err());
    }
}

#[test]
fn frames_tell_their_values_to_those_who_asked() {
    use palisade::FrameValue;
    let text = r#"(module (func (export "f") (param i32) (local i64)
        (local.set 1 (i64.const 7)) unreachable))"#;
    for kind in DISPATCHERS {
        for keep in [false, true] {
            let (mut store, instance) = instance(&engine(kind), text);
            store.keep_values(keep);
            let f = instance.get_typed_func::<i32, ()>(&store, "f").unwrap();
            // More than once: a backtrace that was taken leaves the wish in place.
            for n in [3, -4] {
                let error = f.call(&mut store, n).unwrap_err();
                let frame = &error.backtrace().expect("a backtrace").frames()[0];
                let known = [FrameValue::I32(n), FrameValue::I64(7)];
                assert_eq!(frame.locals(), if keep { &known[..] } else { &[] });
                assert!(frame.operands().is_empty());
            }
        }
    }
}
