//! Exceptions in the host's hands: tags, values of every type, errors that hold them; wrong types, wrong stores.

use palisade::{
    AnyRef, Caller, Engine, Error, ErrorKind, ExnRef, ExternRef, Func, FuncType, HeapType,
    I31, Instance, Linker, RefType, Store, Tag, TagType, TrapCode, V128, Val, ValType,
};
use palisade_tests::{ENGINES, engine, engine_with, instance, link};

fn tag(store: &mut Store<()>, types: &[ValType]) -> Tag {
    let ty = TagType::new(FuncType::new(types.iter().cloned(), []));
    Tag::new(store, &ty).expect("a tag")
}

/// Calls an export that must end in an error.
fn error(store: &mut Store<()>, instance: Instance, name: &str, arguments: &[Val]) -> Error {
    let func = instance.get_func(&mut *store, name).expect("an export");
    let mut results = vec![Val::I32(0); func.ty(&*store).expect("its type").results().len()];
    func.call(store, arguments, &mut results).expect_err("it throws")
}

#[test]
fn values_of_every_type_go_in_and_come_out() {
    let mut store = Store::<()>::default();
    let reference = |heap| ValType::Ref(RefType::new(true, heap));
    let types = [
        ValType::I32,
        reference(HeapType::Extern),
        ValType::I64,
        ValType::V128,
        ValType::F32,
        reference(HeapType::Func),
        ValType::F64,
        reference(HeapType::Any),
        reference(HeapType::Exn),
        ValType::V128,
        ValType::I32,
    ];
    let tag_of_all = tag(&mut store, &types);
    let empty = tag(&mut store, &[]);
    let inner = ExnRef::new(&mut store, &empty, &[]).expect("an exception");
    assert!(inner.fields(&mut store).expect("its values").is_empty());
    let host = ExternRef::new(&mut store, "host").expect("room");
    let func = Func::wrap(&mut store, || 5i32).expect("a function");
    let (one, two) = (V128::from(u128::MAX - 1), V128::from(7 << 64));
    let values = [
        Val::I32(-1),
        host.into(),
        Val::I64(i64::MIN),
        one.into(),
        Val::F32(0x7fa0_0001),
        func.into(),
        Val::F64(0xfff0_0000_0000_0001),
        AnyRef::from_i31(I31::wrapping_i32(77)).into(),
        Val::ExnRef(Some(inner)),
        two.into(),
        Val::I32(3),
    ];
    let exception = ExnRef::new(&mut store, &tag_of_all, &values).expect("an exception");
    assert_eq!(exception.tag(&store).expect("its tag"), tag_of_all);
    let ty = exception.ty(&store).expect("its type");
    assert_eq!(ty.func_type().params(), types);
    let found = exception.fields(&mut store).expect("its values");
    assert_eq!(found.len(), types.len());
    assert_eq!(
        (found[0].i32(), found[2].i64(), found[10].i32()),
        (Some(-1), Some(i64::MIN), Some(3))
    );
    assert_eq!((found[3].v128(), found[9].v128()), (Some(one), Some(two)));
    // Not even a signalling NaN changes.
    assert!(matches!(
        (found[4], found[6]),
        (Val::F32(0x7fa0_0001), Val::F64(0xfff0_0000_0000_0001))
    ));
    assert!(matches!(found[1], Val::ExternRef(Some(value))
        if value.data(&store).expect("its own store").and_then(|data| data.downcast_ref()) == Some(&"host")));
    assert!(matches!(found[5], Val::FuncRef(Some(f)) if f == func));
    assert!(
        matches!(found[7], Val::AnyRef(Some(value)) if value.as_i31(&store).expect("its own store") == Some(I31::wrapping_i32(77)))
    );
    let Val::ExnRef(Some(back)) = found[8] else { panic!("{found:?}") };
    assert_eq!(back.tag(&store).expect("its tag"), empty);
    for (i, value) in found.iter().enumerate() {
        let field = exception.field(&mut store, i).expect("a value");
        assert_eq!(field.i32(), value.i32());
    }
    let beyond = exception.field(&mut store, 11).expect_err("there are eleven");
    assert!(matches!(beyond.kind(), ErrorKind::NotFound(_)), "{beyond}");
}

#[test]
fn what_does_not_fit_the_tag_is_refused() {
    let mut store = Store::<()>::default();
    let non_null = ValType::Ref(RefType::new(false, HeapType::Extern));
    let tag = tag(&mut store, &[ValType::I32, non_null]);
    let host = ExternRef::new(&mut store, 1).expect("room");
    ExnRef::new(&mut store, &tag, &[Val::I32(1), host.into()]).expect("it fits");
    for wrong in [
        &[][..],
        &[Val::I32(1)],
        &[Val::I32(1), host.into(), host.into()],
        &[Val::I64(1), host.into()],
        &[Val::I32(1), Val::ExternRef(None)],
        &[Val::I32(1), Val::FuncRef(None)],
        &[Val::I32(1), AnyRef::from_i31(I31::wrapping_i32(1)).into()],
    ] {
        let error = ExnRef::new(&mut store, &tag, wrong).expect_err("it does not fit");
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    }
    let results = TagType::new(FuncType::new([], [ValType::I32]));
    assert!(Tag::new(&mut store, &results).is_err());
}

#[test]
fn m6_exceptions_know_their_store() {
    let text = r#"(module (tag (export "t") (param externref))
        (func (export "f") (param externref) (throw 0 (local.get 0)))
        (func (export "g") (param exnref)))"#;
    let engine = Engine::default();
    let (mut mine, instance) = instance(&engine, text);
    let mut other = Store::new(&engine, ());
    let foreign = |error: Error| {
        assert!(matches!(error.kind(), ErrorKind::WrongStore { .. }), "{error}");
    };
    let tag = instance.get_tag(&mut mine, "t").expect("an export");
    let host = ExternRef::new(&mut mine, 1).expect("room");
    let exception = ExnRef::new(&mut mine, &tag, &[host.into()]).expect("it fits");
    foreign(ExnRef::new(&mut other, &tag, &[host.into()]).expect_err("a tag of another store"));
    let own = self::tag(&mut other, &[ValType::EXTERNREF]);
    foreign(ExnRef::new(&mut other, &own, &[host.into()]).expect_err("a value of another store"));
    foreign(exception.tag(&other).expect_err("another store"));
    foreign(exception.ty(&other).expect_err("another store"));
    foreign(exception.fields(&mut other).expect_err("another store"));
    foreign(exception.field(&mut other, 0).expect_err("another store"));
    foreign(other.throw::<()>(exception).expect_err("another store"));
    let g = instance.get_func(&mut mine, "g").expect("an export");
    g.call(&mut mine, &[Val::ExnRef(Some(exception))], &mut []).expect("its own store");
    let (mut third, twin) = palisade_tests::instance(&engine, text);
    let g = twin.get_func(&mut third, "g").expect("an export");
    foreign(g.call(&mut third, &[Val::ExnRef(Some(exception))], &mut []).expect_err("foreign"));
    // The exception in an error of another store is not to be had.
    let error = error(&mut mine, instance, "f", &[host.into()]);
    assert!(error.exception(&mut mine).is_some());
    assert!(error.exception(&mut other).is_none());
    let ErrorKind::Exception(held) = error.kind() else { panic!("{error}") };
    foreign(held.to_exn_ref(&mut other).expect_err("another store"));
    assert_eq!(held.tag(), tag);
}

#[test]
fn an_exception_of_another_store_ends_the_guest_like_any_error() {
    let text = r#"(module (import "host" "f" (func $f))
        (func (export "f") (try_table (catch_all 0) (call $f)) unreachable))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let inner_engine = engine.clone();
        let through = move || -> palisade::Result<()> {
            let text =
                r#"(module (tag $t (param i32)) (func (export "f") (throw $t (i32.const 6))))"#;
            let (mut inner, instance) = instance(&inner_engine, text);
            instance.get_typed_func::<(), ()>(&mut inner, "f")?.call(&mut inner, ())
        };
        linker.func_wrap("host", "f", through).expect("defined");
        let instance = link(&linker, &mut store, text);
        let error = error(&mut store, instance, "f", &[]);
        assert!(error.to_string().contains("uncaught exception: tag `t` (i32 6)"), "{error}");
        assert!(error.exception(&mut store).is_none());
        assert!(matches!(error.kind(), ErrorKind::Exception(_)));
        // The frame of the inner guest, and that of the outer one.
        assert_eq!(error.backtrace().expect("a backtrace").frames().len(), 2);
    }
}

#[test]
fn the_error_says_what_was_thrown_where() {
    let text = r#"(module $m (tag $t (export "other") (param i32 externref))
        (func $g (throw $t (i32.const 5) (ref.null extern)))
        (func (export "f") (result i32) (call $g) (i32.const 1)))"#;
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), text);
        let error = error(&mut store, instance, "f", &[]);
        assert_eq!(error.trap_code(), Some(TrapCode::UncaughtException));
        let message = error.to_string();
        let first = message.lines().next().expect("a line");
        assert_eq!(first, "uncaught exception: tag `t` (i32 5, a null reference)");
        let ErrorKind::Exception(exception) = error.kind() else { panic!("{error}") };
        assert_eq!(exception.tag_name(), Some("t"));
        assert_eq!(Some(exception.tag()), instance.get_tag(&mut store, "other"));
        let frames = error.backtrace().expect("a backtrace").frames();
        assert_eq!(
            frames.iter().map(|f| f.func_name()).collect::<Vec<_>>(),
            [Some("g"), Some("f")]
        );
        let handle = error.exception(&mut store).expect("an exception");
        assert_eq!(handle.field(&mut store, 0).expect("a value").i32(), Some(5));
        // The error outlives what else becomes of it, and can be sent.
        let error = std::thread::spawn(move || error).join().expect("it ends");
        let again = store.throw::<()>(handle).expect_err("an error, always");
        assert!(again.backtrace().is_none(), "it has not been thrown yet");
        drop(store);
        assert!(error.to_string().contains("tag `t`"));
        assert!(again.to_string().contains("tag `t`"));
    }
}

#[test]
fn a_tag_of_the_host_and_one_that_is_imported() {
    let mut store = Store::<()>::default();
    let mut linker = Linker::new(store.engine());
    let tag = tag(&mut store, &[ValType::I32]);
    linker.define(&store, "host", "tag", tag).expect("defined");
    let throw = move |mut caller: Caller<'_, ()>| -> palisade::Result<i32> {
        let exception = ExnRef::new(&mut caller, &tag, &[Val::I32(1)])?;
        caller.throw(exception)
    };
    linker.func_wrap("host", "throw", throw).expect("defined");
    let text = r#"(module (import "host" "tag" (tag $t (param i32)))
        (import "host" "throw" (func $throw (result i32)))
        (export "again" (tag $t))
        (func (export "f") (throw $t (i32.const 9)))
        (func (export "g") (result i32)
          (block $h (result i32) (try_table (result i32) (catch $t $h) (call $throw))))
        (func (export "h") (result i32) (call $throw)))"#;
    let instance = link(&linker, &mut store, text);
    assert_eq!(instance.get_tag(&mut store, "again"), Some(tag));
    let f = error(&mut store, instance, "f", &[]);
    assert_eq!(f.exception(&mut store).expect("one").tag(&store).expect("its tag"), tag);
    assert!(f.to_string().starts_with("uncaught exception: a tag of the host (i32 9)\n"), "{f}");
    let g = instance.get_typed_func::<(), i32>(&mut store, "g").expect("an export");
    assert_eq!(g.call(&mut store, ()).expect("it is caught"), 1);
    let h = error(&mut store, instance, "h", &[]);
    assert_eq!(h.backtrace().expect("a backtrace").frames().len(), 1);
}

#[test]
fn an_exception_that_a_host_function_passes_on_is_the_same() {
    // The host gets an exception as an argument and gives it back, as a result, through a host function that is made of
    // types known while running, and throws it.
    let text = r#"(module
        (import "host" "id" (func $id (param exnref) (result exnref)))
        (import "host" "throw" (func $throw (param exnref)))
        (tag $t (param i64))
        (func (export "f") (param i64) (result i64) (local $e exnref)
          (block $h (result i64 exnref)
            (try_table (catch_ref $t $h) (throw $t (local.get 0))) unreachable)
          (local.set $e) (drop)
          (block $h (result i64)
            (try_table (catch $t $h) (throw_ref (call $id (local.get $e)))) unreachable)
          (block $h (result i64)
            (try_table (catch $t $h) (call $throw (local.get $e))) unreachable)
          (i64.add)))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let exnref = ValType::Ref(RefType::new(true, HeapType::Exn));
        let ty = FuncType::new([exnref.clone()], [exnref.clone()]);
        let id = |_: Caller<'_, ()>, arguments: &[Val], results: &mut [Val]| {
            results[0] = arguments[0];
            Ok(())
        };
        linker.func_new("host", "id", ty, id).expect("defined");
        let throw = |mut caller: Caller<'_, ()>, arguments: &[Val], _: &mut [Val]| {
            let Val::ExnRef(Some(exception)) = arguments[0] else { return Err(Error::msg("null")) };
            caller.throw(exception)
        };
        linker.func_new("host", "throw", FuncType::new([exnref], []), throw).expect("defined");
        let instance = link(&linker, &mut store, text);
        let f = instance.get_typed_func::<i64, i64>(&mut store, "f").expect("an export");
        assert_eq!(f.call(&mut store, 21).expect("it is caught"), 42);
    }
}

#[test]
fn a_bare_trap_code_is_no_exception() {
    // The number alone, given back by a host function, is a trap that no clause catches.
    let text = r#"(module (import "host" "f" (func $f))
        (func (export "f") (try_table (catch_all 0) (call $f)) unreachable)
        (tag $t) (func (export "g") (try_table (catch_all 0) (throw $t)) unreachable))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let f = || -> palisade::Result<()> { Err(TrapCode::UncaughtException.into()) };
        linker.func_wrap("host", "f", f).expect("defined");
        let instance = link(&linker, &mut store, text);
        for _ in 0..2 {
            let error = error(&mut store, instance, "f", &[]);
            assert!(matches!(error.kind(), ErrorKind::Trap(TrapCode::UncaughtException)));
            assert!(error.exception(&mut store).is_none());
            let g = instance.get_typed_func::<(), ()>(&mut store, "g").expect("an export");
            g.call(&mut store, ()).expect("it is caught");
        }
    }
}

#[test]
fn h4_a_panic_is_no_exception() {
    let text = r#"(module (import "host" "f" (func $f))
        (func (export "f") (try_table (catch_all 0) (call $f)) unreachable))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "f", || -> () { panic!("ouch") }).expect("defined");
        let instance = link(&linker, &mut store, text);
        let error = error(&mut store, instance, "f", &[]);
        assert!(matches!(error.kind(), ErrorKind::HostPanic(_)), "{error}");
        assert!(store.is_poisoned());
    }
}

#[test]
fn an_error_keeps_its_exception_through_collections_and_scopes() {
    let text = r#"(module
        (import "host" "try" (func $try (param i32)))
        (tag $t (param externref i32))
        (func (export "back") (param externref i32) (throw $t (local.get 0) (local.get 1)))
        (func (export "waste") (param i32) (local exnref)
          (loop $l
            (block $h (result externref i32 exnref)
              (try_table (catch_ref $t $h) (throw $t (ref.null extern) (i32.const 0))) unreachable)
            (local.set 1) (drop) (drop)
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $l (local.get 0))))
        (func (export "f") (call $try (i32.const 9))))"#;
    for (kind, stress) in ENGINES.into_iter().flat_map(|d| [(d, false), (d, true)]) {
        let engine = engine_with(kind, |config| {
            config.gc_stress(stress);
        });
        // The store's data holds the errors that the host function keeps.
        let mut store = Store::new(&engine, Vec::<Error>::new());
        let mut linker = Linker::new(&engine);
        let keep = |mut caller: Caller<'_, Vec<Error>>, number: i32| -> palisade::Result<()> {
            let func = |caller: &mut Caller<'_, Vec<Error>>, name: &str| {
                caller.get_export(name).and_then(|export| export.into_func()).expect("an export")
            };
            let back = func(&mut caller, "back");
            let value = ExternRef::new(&mut caller, number)?;
            let arguments = [value.into(), Val::I32(number)];
            let error = back.call(&mut caller, &arguments, &mut []).expect_err("it throws");
            func(&mut caller, "waste").typed::<i32, ()>(&caller)?.call(&mut caller, 50)?;
            caller.data_mut().push(error);
            Ok(())
        };
        linker.func_wrap("host", "try", keep).expect("defined");
        let instance = link(&linker, &mut store, text);
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").expect("an export");
        let waste = instance.get_typed_func::<i32, ()>(&mut store, "waste").expect("an export");
        for _ in 0..3 {
            f.call(&mut store, ()).expect("the host keeps it");
            waste.call(&mut store, 50).expect("it catches all");
            store.gc().expect("a collection");
        }
        let errors = std::mem::take(store.data_mut());
        assert_eq!(errors.len(), 3);
        for error in errors {
            let exception = error.exception(&mut store).expect("an exception");
            let fields = exception.fields(&mut store).expect("its values");
            assert_eq!(fields[1].i32(), Some(9));
            let Val::ExternRef(Some(value)) = fields[0] else { panic!("{fields:?}") };
            let value = value.data(&store).expect("its own store");
            assert_eq!(value.and_then(|value| value.downcast_ref()), Some(&9i32));
        }
    }
}
