//! Row M6: objects of one store or engine, offered to another through every door.

use palisade::{
    AnyRef, Caller, Engine, Error, ErrorKind, Extern, ExternRef, ExternType, Func, FuncType,
    Global, GlobalType, HeapType, Instance, LinkError, Linker, Memory, MemoryType, Module,
    Mutability, Ref, RefType, Store, Table, TableType, Tag, TagType, Val, ValType,
};
use palisade_tests::{DISPATCHERS, ENGINES, engine, link, module};

const EXPORTS: &str = r#"(module (memory (export "m") 1) (table (export "t") 1 2 funcref)
    (table (export "et") 1 2 externref)
    (global (export "g") (mut i32) (i32.const 1)) (tag (export "tag") (param i32))
    (global (export "gf") (mut funcref) (ref.null func))
    (global (export "ge") (mut externref) (ref.null extern))
    (func (export "f") (param i32) (result i32) (local.get 0))
    (func (export "take") (param funcref externref)))"#;

/// A store with one of everything in it.
struct World {
    store: Store<()>,
    linker: Linker<()>,
    instance: Instance,
    value: ExternRef,
}

impl World {
    fn new(engine: &Engine) -> Self {
        let mut store = Store::new(engine, ());
        let linker = Linker::new(engine);
        let instance = link(&linker, &mut store, EXPORTS);
        let value = ExternRef::new(&mut store, "a value").unwrap();
        Self { store, linker, instance, value }
    }

    fn func(&self, name: &str) -> Func {
        self.instance.get_func(&self.store, name).unwrap()
    }

    fn export(&self, name: &str) -> Extern {
        self.instance.get_export(&self.store, name).unwrap()
    }
}

#[track_caller]
fn wrong_store<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WrongStore { .. }), "{error}"),
    }
}

#[track_caller]
fn wrong_engine<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WrongEngine { .. }), "{error}"),
    }
}

/// Runs a test with two stores of one engine, and with two of two engines.
fn with_two_worlds(test: impl Fn(World, World)) {
    for kind in ENGINES {
        let (one, two) = (engine(kind), engine(kind));
        test(World::new(&one), World::new(&one));
        test(World::new(&one), World::new(&two));
    }
}

#[test]
fn m6_functions() {
    with_two_worlds(|a, mut b| {
        let func = a.func("f");
        wrong_store(func.ty(&b.store));
        wrong_store(func.call(&mut b.store, &[Val::I32(1)], &mut [Val::I32(0)]));
        wrong_store(func.typed::<i32, i32>(&b.store));
        wrong_store(func.typed::<i32, i32>(&a.store).unwrap().call(&mut b.store, 1));
        wrong_store(Val::from(func).ty(&b.store));
    });
}

#[test]
fn m6_arguments() {
    with_two_worlds(|a, mut b| {
        let take = b.func("take");
        let (func, value) = (a.func("f"), a.value);
        for args in
            [[Val::from(func), Val::ExternRef(None)], [Val::FuncRef(None), Val::from(value)]]
        {
            wrong_store(take.call(&mut b.store, &args, &mut []));
        }
        let take = take.typed::<(Option<Func>, Option<ExternRef>), ()>(&b.store).unwrap();
        wrong_store(take.call(&mut b.store, (Some(func), None)));
        wrong_store(take.call(&mut b.store, (None, Some(value))));
        let own = (Some(b.func("f")), Some(b.value));
        take.call(&mut b.store, own).unwrap();
    });
}

#[test]
fn m6_memories() {
    with_two_worlds(|a, mut b| {
        let memory = a.export("m").into_memory().unwrap();
        wrong_store(memory.ty(&b.store));
        wrong_store(memory.read(&b.store, 0, &mut [0]));
        wrong_store(memory.write(&mut b.store, 0, &[0]));
        wrong_store(memory.grow(&mut b.store, 0));
        assert!(memory.data(&b.store).is_empty());
        assert!(memory.data_mut(&mut b.store).is_empty());
        assert!(memory.data_and_store_mut(&mut b.store).0.is_empty());
        assert_eq!((memory.size(&b.store), memory.data_size(&b.store)), (0, 0));
        assert_eq!(memory.data(&a.store).len(), 65536);
    });
}

#[test]
fn m6_tables() {
    with_two_worlds(|a, mut b| {
        let table = a.export("t").into_table().unwrap();
        wrong_store(table.ty(&b.store));
        wrong_store(table.set(&mut b.store, 0, Ref::Func(None)));
        wrong_store(table.grow(&mut b.store, 1, Ref::Func(None)));
        assert!(table.get(&mut b.store, 0).is_none());
        assert_eq!((table.size(&b.store), table.size(&a.store)), (0, 1));
        // Its own table, foreign elements.
        let table = b.export("t").into_table().unwrap();
        let externs = b.export("et").into_table().unwrap();
        wrong_store(table.set(&mut b.store, 0, a.func("f").into()));
        wrong_store(table.grow(&mut b.store, 1, a.func("f").into()));
        wrong_store(externs.set(&mut b.store, 0, a.value.into()));
        let ty = || TableType::new(RefType::FUNCREF, 1, None);
        wrong_store(Table::new(&mut b.store, ty(), a.func("f").into()));
        assert!(table.get(&mut b.store, 0).unwrap().is_null());
    });
}

#[test]
fn m6_globals_and_tags() {
    with_two_worlds(|a, mut b| {
        let global = a.export("g").into_global().unwrap();
        wrong_store(global.ty(&b.store));
        wrong_store(global.get(&mut b.store));
        wrong_store(global.set(&mut b.store, Val::I32(1)));
        let funcs = b.export("gf").into_global().unwrap();
        let values = b.export("ge").into_global().unwrap();
        wrong_store(funcs.set(&mut b.store, a.func("f").into()));
        wrong_store(values.set(&mut b.store, a.value.into()));
        let ty = GlobalType::new(ValType::FUNCREF, Mutability::Var);
        wrong_store(Global::new(&mut b.store, ty, a.func("f").into()));
        wrong_store(a.export("tag").into_tag().unwrap().ty(&b.store));
        wrong_store(a.export("m").ty(&b.store));
    });
}

#[test]
fn m6_instances_and_host_values() {
    with_two_worlds(|a, b| {
        assert!(a.instance.get_export(&b.store, "f").is_none());
        assert_eq!(a.instance.exports(&b.store).count(), 0);
        wrong_store(a.instance.module(&b.store));
        wrong_store(a.instance.get_typed_func::<i32, i32>(&b.store, "f"));
        wrong_store(a.value.data(&b.store).map(|_| ()));
        assert!(a.value.data(&a.store).unwrap().is_some());
        wrong_store(AnyRef::convert_extern(&b.store, a.value));
        let any = AnyRef::convert_extern(&a.store, a.value).unwrap();
        wrong_store(ExternRef::convert_any(&b.store, any));
        wrong_store(Val::from(a.value).ty(&b.store));
    });
}

#[test]
fn m6_imports() {
    with_two_worlds(|a, mut b| {
        for (name, ty) in [
            ("f", "(func (param i32) (result i32))"),
            ("m", "(memory 1)"),
            ("t", "(table 1 2 funcref)"),
            ("g", "(global (mut i32))"),
            ("tag", "(tag (param i32))"),
        ] {
            let module = module(b.store.engine(), &format!(r#"(module (import "x" "y" {ty}))"#));
            let error = Instance::new(&mut b.store, &module, &[a.export(name)]).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(LinkError::WrongStore { .. })), "{error}");
            assert!(error.to_string().contains("x::y"), "{error}");
            let own = b.export(name);
            Instance::new(&mut b.store, &module, &[own]).unwrap();
            assert!(Instance::new(&mut b.store, &module, &[]).is_err());
        }
    });
}

#[test]
fn m6_linkers() {
    with_two_worlds(|a, mut b| {
        let same = a.store.engine().same(b.store.engine());
        // An object of another store.
        wrong_store(b.linker.define(&b.store, "x", "y", a.export("m")));
        wrong_store(b.linker.instance(&mut b.store, "x", a.instance));
        // A store of another engine.
        let defined = b.linker.define(&a.store, "x", "y", a.export("m")).map(|_| ());
        let module = module(b.store.engine(), r#"(module (import "x" "y" (memory 1)))"#);
        if same {
            defined.unwrap();
            wrong_store(b.linker.instantiate(&mut b.store, &module));
            assert!(b.linker.get(&mut b.store, "x", "y").is_none());
        } else {
            wrong_engine(defined);
            wrong_engine(a.linker.instantiate_pre(&module));
            wrong_engine(
                a.linker
                    .clone()
                    .define_unknown_imports_as_traps(&module)
                    .and_then(|()| a.linker.instantiate_pre(&module)),
            );
        }
    });
}

#[test]
fn m6_modules_and_linkers_of_another_engine() {
    let (one, two) = (engine(DISPATCHERS[0]), engine(DISPATCHERS[0]));
    let mut b = World::new(&two);
    let foreign = module(&one, "(module)");
    wrong_engine(Instance::new(&mut b.store, &foreign, &[]));
    wrong_engine(b.linker.instantiate(&mut b.store, &foreign));
    wrong_engine(b.linker.module(&mut b.store, "x", &foreign));
    let linker = Linker::<()>::new(&one);
    wrong_engine(linker.instantiate(&mut b.store, &module(&two, "(module)")));
    wrong_engine(linker.instantiate(&mut b.store, &foreign));
    let mut linker = Linker::<()>::new(&one);
    linker.func_wrap("h", "f", || {}).unwrap();
    assert!(linker.get(&mut b.store, "h", "f").is_none());
    let uses = module(&one, r#"(module (import "h" "f" (func)))"#);
    wrong_engine(linker.instantiate(&mut b.store, &uses));
}

#[test]
fn m6_types_of_another_engine() {
    let (one, two) = (engine(DISPATCHERS[0]), engine(DISPATCHERS[0]));
    let text = r#"(module (type $t (func (param i64))) (func (export "f") (param (ref null $t))))"#;
    let defined = |engine: &Engine| {
        let Some(ExternType::Func(ty)) = module(engine, text).get_export("f") else {
            panic!("a function is exported")
        };
        ty.params()[0].clone()
    };
    let (mine, foreign) = (defined(&two), defined(&one));
    assert_ne!(mine, foreign);
    assert!(!foreign.matches(&mine) && mine.matches(&defined(&two)));
    assert!(foreign.matches(&ValType::FUNCREF) && !ValType::FUNCREF.matches(&foreign));
    let ValType::Ref(reference) = foreign.clone() else { panic!("a reference type") };
    assert!(matches!(reference.heap_type(), HeapType::Concrete(_)));

    let mut b = World::new(&two);
    let ty = FuncType::new([foreign.clone()], []);
    wrong_engine(Func::new(&mut b.store, ty.clone(), |_, _, _| Ok(())));
    wrong_engine(b.linker.func_new("h", "f", ty.clone(), |_, _, _| Ok(())));
    wrong_engine(Tag::new(&mut b.store, &TagType::new(ty)));
    let null = Ref::Func(None);
    wrong_engine(Table::new(&mut b.store, TableType::new(reference, 1, None), null));
    let ty = GlobalType::new(foreign, Mutability::Const);
    wrong_engine(Global::new(&mut b.store, ty, Val::FuncRef(None)));
    let ty = GlobalType::new(mine, Mutability::Const);
    Global::new(&mut b.store, ty, Val::FuncRef(None)).unwrap();
}

#[test]
fn m6_results_of_host_functions() {
    with_two_worlds(|a, mut b| {
        let (func, value) = (a.func("f"), a.value);
        let typed = [
            Func::wrap(&mut b.store, move || func).unwrap(),
            Func::wrap(&mut b.store, move || Some(func)).unwrap(),
            Func::wrap(&mut b.store, move |_: Caller<'_, ()>| Ok((1_i32, value))).unwrap(),
            Func::new(&mut b.store, FuncType::new([], [ValType::FUNCREF]), move |_, _, results| {
                results[0] = func.into();
                Ok(())
            })
            .unwrap(),
        ];
        for host in typed {
            let mut results = vec![Val::I32(0); host.ty(&b.store).unwrap().results().len()];
            wrong_store(host.call(&mut b.store, &[], &mut results));
        }
    });
}

#[test]
fn m6_a_dropped_store_leaves_handles_that_are_refused() {
    let engine = engine(DISPATCHERS[0]);
    let World { store, instance, value, .. } = World::new(&engine);
    let func = instance.get_func(&store, "f").unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    drop(store);
    for _ in 0..10 {
        // Quite likely at the addresses of the one before.
        let mut b = World::new(&engine);
        wrong_store(func.call(&mut b.store, &[Val::I32(1)], &mut [Val::I32(0)]));
        wrong_store(memory.write(&mut b.store, 0, &[1]));
        wrong_store(value.data(&b.store).map(|_| ()));
        assert!(instance.get_export(&b.store, "f").is_none());
    }
}

#[test]
fn sizes_that_cannot_be_are_errors() {
    let engine = engine(DISPATCHERS[0]);
    let mut store = Store::new(&engine, ());
    for ty in [
        MemoryType::new(2, Some(1)),
        MemoryType::new(65537, None),
        MemoryType::new(1, Some(65537)),
        MemoryType::new64(u64::MAX, None),
    ] {
        assert!(Memory::new(&mut store, ty).is_err());
    }
    for ty in [
        TableType::new(RefType::FUNCREF, 2, Some(1)),
        TableType::new64(RefType::FUNCREF, u64::MAX, None),
        TableType::new64(RefType::FUNCREF, 1 << 61, None),
    ] {
        assert!(Table::new(&mut store, ty, Ref::Func(None)).is_err());
    }
    let non_null = RefType::new(false, HeapType::Func);
    assert!(Table::new(&mut store, TableType::new(non_null, 1, None), Ref::Func(None)).is_err());
    let module = Module::new(&engine, "(module (memory i64 0x1_0000_0000))").unwrap();
    assert!(Instance::new(&mut store, &module, &[]).is_err());
}
