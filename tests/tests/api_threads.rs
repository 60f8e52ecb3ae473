//! [`SharedMemory`] in the embedding interface: where it comes from, where it goes, what counts it.

use std::sync::atomic::Ordering;
use std::thread;

use palisade::{
    Caller, Config, Engine, ErrorKind, Extern, ExternType, Instance, Linker, Memory, MemoryType,
    Module, Resource, ResourceLimiter, SharedMemory, Store, TrapCode,
};
use palisade_tests::{ENGINES, engine, module};

const USER: &str = r#"(module (import "m" "m" (memory 1 8 shared))
    (export "again" (memory 0))
    (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "size") (result i32) memory.size)
    (func (export "put") (param i32 i32) local.get 0 local.get 1 i32.store8)
    (func (export "get") (param i32) (result i32) local.get 0 i32.load8_u))"#;

fn default_engine() -> Engine {
    Engine::default()
}

fn user<T: 'static>(store: &mut Store<T>, memory: &SharedMemory) -> Instance {
    let engine = store.engine().clone();
    Instance::new(store, &module(&engine, USER), &[memory.clone().into()]).expect("an instance")
}

#[test]
fn what_one_store_does_all_see() {
    for kind in ENGINES {
        let engine = engine(kind);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 8)).unwrap();
        let (mut a, mut b) = (Store::new(&engine, ()), Store::new(&engine, ()));
        let (in_a, in_b) = (user(&mut a, &memory), user(&mut b, &memory));
        let put = in_a.get_typed_func::<(i32, i32), ()>(&a, "put").unwrap();
        let get = in_b.get_typed_func::<i32, i32>(&b, "get").unwrap();
        put.call(&mut a, (65535, 77)).unwrap();
        assert_eq!(get.call(&mut b, 65535).unwrap(), 77);
        assert_eq!(memory.data()[65535].load(Ordering::Relaxed), 77);
        memory.write(65534, &[1, 2]).unwrap();
        assert_eq!(get.call(&mut b, 65535).unwrap(), 2);

        // A byte that is not there yet, until the other store makes it.
        let error = get.call(&mut b, 65536).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::MemoryOutOfBounds));
        let grow = in_a.get_typed_func::<i32, i32>(&a, "grow").unwrap();
        assert_eq!(grow.call(&mut a, 2).unwrap(), 1);
        assert_eq!(get.call(&mut b, 65536).unwrap(), 0);
        let size = in_b.get_typed_func::<(), i32>(&b, "size").unwrap();
        assert_eq!((size.call(&mut b, ()).unwrap(), memory.size()), (3, 3));
        assert_eq!(memory.grow(5).unwrap(), 3);
        assert_eq!(size.call(&mut b, ()).unwrap(), 8);
        assert_eq!(grow.call(&mut a, 1).unwrap(), -1);
        assert!(matches!(memory.grow(1).unwrap_err().kind(), ErrorKind::Limit(_)));
        assert!(memory.grow(u64::MAX).is_err());
        assert_eq!(memory.grow(0).unwrap(), 8);
    }
}

#[test]
fn ranges_of_shared_memories_are_exact() {
    let memory = SharedMemory::new(&default_engine(), MemoryType::shared(1, 1)).unwrap();
    assert_eq!(
        (memory.data_size(), memory.page_size(), memory.data().len()),
        (65536, 65536, 65536)
    );
    for (at, len, fits) in [
        (0, 65536, true),
        (1, 65536, false),
        (65536, 0, true),
        (65537, 0, false),
        (65535, 1, true),
        (65535, 2, false),
        (usize::MAX, 1, false),
        (usize::MAX, 2, false),
    ] {
        let mut bytes = vec![5; len];
        assert_eq!(memory.read(at, &mut bytes).is_ok(), fits, "{at} {len}");
        assert_eq!(memory.write(at, &bytes).is_ok(), fits, "{at} {len}");
    }
    let error = memory.read(65535, &mut [0; 2]).unwrap_err();
    assert!(error.to_string().contains("out of bounds memory access"), "{error}");
}

#[test]
fn exports_travel_to_other_stores() {
    let engine = default_engine();
    let mut a = Store::new(&engine, ());
    let maker = module(&engine, r#"(module (memory (export "m") 1 8 shared))"#);
    let instance = Instance::new(&mut a, &maker, &[]).unwrap();
    assert!(instance.get_memory(&a, "m").is_none());
    let memory = instance.get_shared_memory(&a, "m").expect("it is exported");
    assert!(memory.same(&instance.get_shared_memory(&a, "m").unwrap()));
    let exported = instance.get_export(&a, "m").unwrap();
    assert!(matches!(exported.ty(&a).unwrap(), ExternType::Memory(ty) if ty.is_shared()));
    // It outlives the store that it comes from.
    drop(a);
    let answer = thread::spawn(move || {
        let mut b = Store::new(memory.engine(), ());
        let instance = user(&mut b, &memory);
        // The same memory comes back, as often as one asks, and is counted once.
        let again = instance.get_shared_memory(&b, "again").unwrap();
        user(&mut b, &again);
        assert!(again.same(&memory));
        assert_eq!(b.resource_use(Resource::Memories), 1);
        memory.write(9, &[4]).unwrap();
        let get = instance.get_typed_func::<i32, i32>(&b, "get").unwrap();
        get.call(&mut b, 9).unwrap()
    });
    assert_eq!(answer.join().expect("no panic"), 4);
}

#[test]
fn one_linker_serves_stores_on_several_threads() {
    let engine = default_engine();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 8)).unwrap();
    let mut linker = Linker::<u32>::new(&engine);
    linker.define(&Store::new(&engine, 0), "m", "m", memory.clone()).unwrap();
    linker
        .func_wrap("h", "note", |mut caller: Caller<'_, u32>| {
            let memory = caller.get_export("again").and_then(Extern::into_shared_memory);
            memory.expect("it is exported").data()[3].fetch_add(1, Ordering::Relaxed);
            *caller.data_mut() += 1;
        })
        .unwrap();
    let text = r#"(module (import "m" "m" (memory 1 8 shared)) (import "h" "note" (func $note))
        (export "again" (memory 0)) (func (export "run") (call $note) (call $note)))"#;
    let pre = linker.instantiate_pre(&module(&engine, text)).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut store = Store::new(&engine, 0);
                let instance = pre.instantiate(&mut store).unwrap();
                let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
                for _ in 0..10 {
                    run.call(&mut store, ()).unwrap();
                }
                assert_eq!(*store.data(), 20);
            });
        }
    });
    assert_eq!(memory.data()[3].load(Ordering::Relaxed), 80);
}

#[test]
fn m6_shared_memories_of_another_engine() {
    let (engine, other) = (default_engine(), default_engine());
    let memory = SharedMemory::new(&other, MemoryType::shared(1, 8)).unwrap();
    let mut store = Store::new(&engine, ());
    let imports = [Extern::from(memory.clone())];
    let error = Instance::new(&mut store, &module(&engine, USER), &imports).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Link(_)), "{error}");
    let mut linker = Linker::new(&engine);
    let error = linker.define(&store, "m", "m", memory).map(|_| ()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongEngine { .. }), "{error}");
    assert_eq!(store.resource_use(Resource::Memories), 0);
}

#[test]
fn types_that_shared_memories_have() {
    let engine = default_engine();
    let new = |ty| SharedMemory::new(&engine, ty).map(|memory| memory.ty());
    assert_eq!(new(MemoryType::shared(1, 2)).unwrap(), MemoryType::shared(1, 2));
    for ty in [
        MemoryType::new(1, Some(2)),
        MemoryType::new64(1, Some(2)),
        MemoryType::shared(2, 1),
        MemoryType::shared(1, 65537),
    ] {
        let error = new(ty).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
    }
    let error = Memory::new(Store::new(&engine, ()), MemoryType::shared(1, 2)).unwrap_err();
    assert!(error.to_string().contains("SharedMemory::new"), "{error}");
    // What a module asks for is compared with the maximum as well.
    let mut store = Store::new(&engine, ());
    let small = SharedMemory::new(&engine, MemoryType::shared(1, 9)).unwrap();
    let module = module(&engine, USER);
    let error = Instance::new(&mut store, &module, &[small.into()]).unwrap_err();
    assert!(error.to_string().contains("shared memory"), "{error}");
    let own = Memory::new(&mut store, MemoryType::new(1, Some(8))).unwrap();
    assert!(Instance::new(&mut store, &module, &[own.into()]).is_err());

    let without = Engine::new(Config::new().wasm_threads(false)).unwrap();
    let error = SharedMemory::new(&without, MemoryType::shared(1, 2)).unwrap_err();
    assert!(error.to_string().contains("wasm_threads"), "{error}");
    for text in ["(memory 1 1 shared)", "(memory 1) (func atomic.fence)"] {
        assert!(Module::new(&without, text).is_err(), "{text}");
    }
}

/// Remembers what it was asked, and allows so many bytes.
struct Limiter {
    most: usize,
    asked: Vec<(usize, usize)>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.push((current, desired));
        Ok(desired <= self.most)
    }

    fn table_growing(
        &mut self,
        _: usize,
        _: usize,
        _: Option<usize>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        Ok(true)
    }
}

#[test]
fn x8_shared_memories_count_in_each_store() {
    const PAGE: usize = 65536;
    let engine = default_engine();
    let memory = SharedMemory::new(&engine, MemoryType::shared(2, 8)).unwrap();
    // Coming to a store is growing from nothing, to its limiter and its ledger.
    let mut store = Store::new(&engine, Limiter { most: 3 * PAGE, asked: Vec::new() });
    store.limiter(|limiter| limiter);
    store.set_resource_limit(Resource::MemoryBytes, Some(PAGE as u64));
    let imports = [Extern::from(memory.clone())];
    let error = Instance::new(&mut store, &module(&engine, USER), &imports).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
    assert_eq!(store.resource_use(Resource::MemoryBytes), 0);
    store.set_resource_limit(Resource::MemoryBytes, None);
    let instance = user(&mut store, &memory);
    assert_eq!(store.resource_use(Resource::MemoryBytes), 2 * PAGE as u64);
    let grow = instance.get_typed_func::<i32, i32>(&store, "grow").unwrap();
    assert_eq!(grow.call(&mut store, 1).unwrap(), 2);
    assert_eq!(grow.call(&mut store, 1).unwrap(), -1, "the limiter");
    assert_eq!(store.resource_use(Resource::MemoryBytes), 3 * PAGE as u64);
    assert_eq!(store.data().asked, [(0, 2 * PAGE), (2 * PAGE, 3 * PAGE), (3 * PAGE, 4 * PAGE)]);
    assert_eq!(memory.size(), 3);
    // Another store's guest is not bound by that, and pays for what it adds.
    let mut other = Store::new(&engine, ());
    let instance = user(&mut other, &memory);
    let grow = instance.get_typed_func::<i32, i32>(&other, "grow").unwrap();
    assert_eq!(grow.call(&mut other, 4).unwrap(), 3);
    assert_eq!(other.resource_use(Resource::MemoryBytes), 7 * PAGE as u64);
    assert_eq!(store.resource_use(Resource::MemoryBytes), 3 * PAGE as u64);
}
