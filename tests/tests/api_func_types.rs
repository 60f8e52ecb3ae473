//! Types of functions that are more than parameters and results: open ones, ones with supertypes, members of
//! recursive groups. A host function or tag of an import's own type is one for that import, and no other is.

use palisade::{
    Engine, Error, ErrorKind, ExternType, Finality, Func, FuncType, HeapType, LinkError, Linker,
    Module, RefType, Store, Tag, TagType, Val, ValType,
};
use palisade_tests::{ENGINES, engine, link, module};

const NAMES: [&str; 6] = ["plain", "open", "low", "last", "group", "self"];

/// Imports of each kind, which are called directly, through tables by each supertype, and tested.
const GUEST: &str = r#"(module
    (type $plain (func (param i32) (result i32)))
    (type $open (sub (func (param i32) (result i32))))
    (type $low (sub $open (func (param i32) (result i32))))
    (type $last (sub final $low (func (param i32) (result i32))))
    (rec (type $group (func (param i32) (result i32))) (type (struct)))
    (rec (type $self (func (param i32) (result i32 (ref null $self)))))
    (import "h" "plain" (func $h0 (type $plain)))
    (import "h" "open" (func $h1 (type $open)))
    (import "h" "low" (func $h2 (type $low)))
    (import "h" "last" (func $h3 (type $last)))
    (import "h" "group" (func $h4 (type $group)))
    (import "h" "self" (func $h5 (type $self)))
    (export "plain" (func $h0)) (export "open" (func $h1)) (export "low" (func $h2))
    (export "last" (func $h3)) (export "group" (func $h4)) (export "self" (func $h5))
    (table funcref (elem $h0 $h1 $h2 $h3 $h4 $h5))
    (func (export "direct") (param i32) (result i32)
        (i32.mul (call $h3 (i32.add (call $h0 (local.get 0)) (call $h1 (local.get 0))))
            (i32.add (call $h2 (call $h4 (local.get 0))) (drop (call $h5 (local.get 0))))))
    (func (export "as_open") (param i32) (result i32)
        (call_indirect (type $open) (i32.const 20) (local.get 0)))
    (func (export "as_plain") (param i32) (result i32)
        (call_indirect (type $plain) (i32.const 20) (local.get 0)))
    (func (export "kinds") (param i32) (result i32) (local $f funcref)
        (local.set $f (table.get (local.get 0)))
        (i32.add (ref.test (ref $plain) (local.get $f))
        (i32.add (i32.mul (i32.const 2) (ref.test (ref $open) (local.get $f)))
        (i32.add (i32.mul (i32.const 4) (ref.test (ref $low) (local.get $f)))
        (i32.add (i32.mul (i32.const 8) (ref.test (ref $last) (local.get $f)))
        (i32.add (i32.mul (i32.const 16) (ref.test (ref $group) (local.get $f)))
            (i32.mul (i32.const 32) (ref.test (ref $self) (local.get $f)))))))))
    )"#;

fn import(module: &Module, name: &str) -> FuncType {
    let import = module.imports().find(|import| import.name() == name).expect("an import");
    import.ty().func().expect("a function").clone()
}

fn define(linker: &mut Linker<()>, name: &str, ty: FuncType) {
    linker
        .func_new("h", name, ty, |_, args, results| {
            results[0] = Val::I32(args[0].i32().expect("its type") + 1);
            Ok(())
        })
        .expect("defined");
}

#[track_caller]
fn is_mismatch<T>(result: Result<T, Error>, import: &str) {
    match result.map(drop).expect_err("another type").kind() {
        ErrorKind::Link(LinkError::Mismatch { name, .. }) => assert_eq!(name, import),
        other => panic!("{other}"),
    }
}

#[test]
fn a_host_function_of_an_imports_own_type_satisfies_it() {
    for kind in ENGINES {
        let engine = engine(kind);
        let guest = module(&engine, GUEST);
        let mut linker = Linker::new(&engine);
        for name in NAMES {
            define(&mut linker, name, import(&guest, name));
        }
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &guest).expect("it links");
        let mut call = |name: &str, arg: i32| {
            let func = instance.get_typed_func::<i32, i32>(&store, name).expect("an export");
            func.call(&mut store, arg)
        };
        assert_eq!(call("direct", 10).unwrap(), 23 * (12 + 11));
        for (i, kinds) in [1, 2, 6, 14, 16, 32].into_iter().enumerate() {
            assert_eq!(call("kinds", i as i32).unwrap(), kinds, "{}", NAMES[i]);
            assert_eq!(call("as_plain", i as i32).is_ok(), kinds & 1 != 0, "{}", NAMES[i]);
            assert_eq!(call("as_open", i as i32).is_ok(), kinds & 2 != 0, "{}", NAMES[i]);
        }
        for name in NAMES {
            let func = instance.get_func(&store, name).expect("an export");
            assert_eq!(func.ty(&store).unwrap(), import(&guest, name), "{name}");
        }
    }
}

/// What has the same parameters and results is not the same.
#[test]
fn no_other_type_satisfies_it() {
    let engine = Engine::default();
    let guest = module(&engine, GUEST);
    for name in NAMES {
        let mut linker = Linker::new(&engine);
        for other in NAMES.into_iter().filter(|other| *other != name) {
            define(&mut linker, other, import(&guest, other));
        }
        let own = import(&guest, name);
        let alike = FuncType::new(own.params().to_vec(), own.results().to_vec());
        assert_eq!(alike == own, name == "plain", "{name}");
        define(&mut linker, name, alike);
        let linked = linker.instantiate(&mut Store::new(&engine, ()), &guest);
        match name {
            "plain" => drop(linked.expect("it is the same type")),
            _ => is_mismatch(linked, name),
        }
    }
}

/// A subtype satisfies an import of its supertype, and not the other way round.
#[test]
fn subtypes_satisfy_imports_of_their_supertypes() {
    let engine = Engine::default();
    let guest = module(&engine, GUEST);
    let [plain, open, low, last] =
        ["plain", "open", "low", "last"].map(|name| import(&guest, name));
    assert_eq!(last.supertype(), Some(low.clone()));
    assert_eq!(low.supertype(), Some(open.clone()));
    assert_eq!((open.supertype(), plain.supertype()), (None, None));
    let finality = [&plain, &open, &low, &last].map(FuncType::finality);
    use Finality::{Final, NonFinal};
    assert_eq!(finality, [Final, NonFinal, NonFinal, Final]);
    let only = |text: &str, ty: &FuncType| {
        let mut linker = Linker::new(&engine);
        define(&mut linker, "f", ty.clone());
        let text = format!(
            r#"(module (type $open (sub (func (param i32) (result i32))))
                (type $low (sub $open (func (param i32) (result i32))))
                (import "h" "f" (func (type {text}))))"#
        );
        linker.instantiate(&mut Store::new(&engine, ()), &module(&engine, &text)).map(drop)
    };
    for (i, ty) in [&open, &low, &last].into_iter().enumerate() {
        only("$open", ty).expect("it links");
        assert!(ty.matches(&open) && !ty.matches(&plain) && !plain.matches(ty));
        match i {
            0 => is_mismatch(only("$low", ty), "f"),
            _ => only("$low", ty).expect("it links"),
        }
        assert_eq!(ty.matches(&low), i > 0);
    }
    is_mismatch(only("$open", &plain), "f");
    assert!(plain.matches(&plain) && !open.matches(&low));
}

/// The linker's own host functions have the types of what they stand for.
#[test]
fn stand_ins_have_the_types_of_what_they_stand_for() {
    let engine = Engine::default();
    let guest = module(&engine, GUEST);
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&guest).expect("defined");
    linker.instantiate(&mut Store::new(&engine, ()), &guest).expect("it links");
    let command = r#"(module (type $open (sub (func (param i32) (result i32))))
        (func (export "f") (type $open) (i32.add (local.get 0) (i32.const 5)))
        (func (export "_start")))"#;
    let mut linker = Linker::new(&engine);
    let mut store = Store::new(&engine, ());
    linker.module(&mut store, "c", &module(&engine, command)).expect("a command");
    let text = r#"(module (type $open (sub (func (param i32) (result i32))))
        (import "c" "f" (func $f (type $open)))
        (func (export "g") (result i32) (call $f (i32.const 2))))"#;
    let instance = link(&linker, &mut store, text);
    let g = instance.get_typed_func::<(), i32>(&store, "g").expect("an export");
    assert_eq!(g.call(&mut store, ()).expect("it returns"), 7);
}

#[test]
fn types_that_the_host_makes_are_those_of_modules() {
    let engine = Engine::default();
    let guest = module(&engine, GUEST);
    let sub = |finality, above: Option<&FuncType>, params: &[ValType], results: &[ValType]| {
        let (params, results) = (params.to_vec(), results.to_vec());
        FuncType::with_finality_and_supertype(&engine, finality, above, params, results)
    };
    use Finality::{Final, NonFinal};
    let (i32s, funcs) = ([ValType::I32], [ValType::FUNCREF]);
    let plain = sub(Final, None, &i32s, &i32s).expect("a type");
    assert_eq!(plain, FuncType::new(i32s.clone(), i32s.clone()));
    let open = sub(NonFinal, None, &i32s, &i32s).expect("a type");
    let low = sub(NonFinal, Some(&open), &i32s, &i32s).expect("a type");
    let last = sub(Final, Some(&low), &i32s, &i32s).expect("a type");
    for (ty, name) in [(&plain, "plain"), (&open, "open"), (&low, "low"), (&last, "last")] {
        assert_eq!(*ty, import(&guest, name), "{name}");
    }
    // Parameters may become more general, results more special.
    let special = [ValType::Ref(RefType::new(false, HeapType::Func))];
    let base = sub(NonFinal, None, &special, &funcs).expect("a type");
    let wider = sub(Final, Some(&base), &funcs, &special).expect("a subtype");
    assert!(wider.matches(&base) && !base.matches(&wider));

    let refused = |result: Result<FuncType, Error>, part: &str| {
        let error = result.expect_err("it is refused");
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let base = sub(NonFinal, None, &funcs, &funcs).expect("a type");
    refused(sub(Final, Some(&base), &special, &funcs), "no subtype of");
    refused(sub(Final, Some(&sub(NonFinal, None, &[], &special).unwrap()), &[], &funcs), "no sub");
    refused(sub(Final, Some(&base), &funcs, &[]), "no subtype of");
    refused(sub(Final, Some(&base), &[], &funcs), "no subtype of");
    refused(sub(Final, Some(&plain), &i32s, &i32s), "is final");
    refused(sub(Final, Some(&last), &i32s, &i32s), "is final");
    refused(sub(NonFinal, None, &vec![ValType::I32; 1001], &[]), "at most 1000 parameters");
    refused(sub(NonFinal, None, &[], &vec![ValType::I32; 1001]), "at most 1000 results");
    sub(NonFinal, None, &vec![ValType::I64; 1000], &vec![ValType::I64; 1000]).expect("the most");
    let mut ty = open.clone();
    for _ in 0..63 {
        ty = sub(NonFinal, Some(&ty), &i32s, &i32s).expect("not too deep");
    }
    refused(sub(NonFinal, Some(&ty), &i32s, &i32s), "at most 63 supertypes");

    let other = Engine::default();
    let foreign = |error: Error| {
        assert!(matches!(error.kind(), ErrorKind::WrongEngine { .. }), "{error}");
    };
    let result =
        FuncType::with_finality_and_supertype(&other, Final, Some(&open), i32s.clone(), i32s);
    foreign(result.expect_err("a supertype of another engine"));
    let mut store = Store::new(&other, ());
    foreign(Func::new(&mut store, open.clone(), |_, _, _| Ok(())).expect_err("of another engine"));
    let tag = sub(NonFinal, None, &[], &[]).expect("a type");
    foreign(Tag::new(&mut store, &TagType::new(tag)).expect_err("of another engine"));
}

/// The type lives as long as anybody has it, though the module that it came from is gone.
#[test]
fn a_type_outlives_its_module() {
    let engine = Engine::default();
    let own = import(&module(&engine, GUEST), "low");
    let mut linker = Linker::new(&engine);
    define(&mut linker, "low", own.clone());
    assert_eq!(own.finality(), Finality::NonFinal);
    drop(own);
    // They would take its place.
    let others = "(module (type (sub (func (param f32)))) (type (sub (func (param f64)))))";
    let _others = module(&engine, others);
    let text = r#"(module (type $open (sub (func (param i32) (result i32))))
        (type $low (sub $open (func (param i32) (result i32))))
        (import "h" "low" (func $f (type $low)))
        (func (export "g") (result i32) (call $f (i32.const 2))))"#;
    let mut store = Store::new(&engine, ());
    let instance = link(&linker, &mut store, text);
    drop(linker);
    let g = instance.get_typed_func::<(), i32>(&store, "g").expect("an export");
    assert_eq!(g.call(&mut store, ()).expect("it returns"), 3);
}

#[test]
fn a_tag_of_an_imports_own_type_satisfies_it() {
    let engine = Engine::default();
    let guest = module(
        &engine,
        r#"(module (type $open (sub (func (param i32)))) (import "h" "t" (tag (type $open))))"#,
    );
    let import = guest.imports().next().expect("an import");
    let ExternType::Tag(ty) = import.ty() else { panic!("{:?}", import.ty()) };
    let mut store = Store::new(&engine, ());
    let mut with = |ty: &TagType| {
        let tag = Tag::new(&mut store, ty).expect("a tag");
        assert_eq!(tag.ty(&store).expect("its type"), *ty);
        let mut linker = Linker::new(&engine);
        linker.define(&store, "h", "t", tag).expect("defined");
        linker.instantiate(&mut store, &guest)
    };
    with(ty).expect("it links");
    is_mismatch(with(&TagType::new(FuncType::new([ValType::I32], []))), "t");
}
