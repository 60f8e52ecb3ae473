//! The heap of objects: what keeps an object alive, what the heap may take, and what ends it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::World;
use common::heap::{BYTES, FUNCS, HeapWorld, NODE, REFS, stressed};
use palisade_core::TrapCode;
use palisade_vm::builtins::gc;
use palisade_vm::gc::layout::{FieldKind, SPACE_BYTES};
use palisade_vm::{BoxError, Resource, ResourceLimiter, StoreConfig, VmRef};

const MIB: u64 = 1 << 20;

fn configs() -> [StoreConfig; 2] {
    [StoreConfig::default(), stressed()]
}

/// A node with a number, in slot 0.
fn node(heap: &mut HeapWorld, number: u64) -> VmRef {
    let node = heap.structure(NODE);
    heap.write(node, NODE, 0, number);
    heap.set_slot(0, node);
    node
}

#[test]
fn every_kind_of_root_keeps_its_object_and_follows_it() {
    for config in configs() {
        let mut heap = HeapWorld::new(config, 3);
        let globals = heap.world.store.instance(heap.guest.id).expect("one").globals.clone();
        let old = node(&mut heap, 0);
        heap.set_slot(1, old);
        let old = node(&mut heap, 1);
        // SAFETY: the global is of this family; no guest runs.
        assert!(unsafe { heap.world.store.global_set(globals[0], [old.0.into(), 0]) });
        let old = node(&mut heap, 2);
        heap.guest.table_set(5, old.0.into()).expect("an element");
        let old = node(&mut heap, 3);
        let scoped = heap.world.store.heap.roots.push(old).expect("room");
        let old = node(&mut heap, 4);
        let owned = heap.world.store.heap.roots.own(old).expect("room");
        let old = node(&mut heap, 5);
        let exception = heap.exception();
        let old = if heap.world.store.config().gc_stress { heap.slot(0) } else { old };
        // SAFETY: an exception whose first field is a reference, from byte 8 on.
        unsafe {
            let store = &mut heap.world.store;
            store.gc_write(exception, 8, FieldKind::Ref, [old.0.into(), 0]).expect("a field");
            (*store.ctx()).pending_exn = exception;
        }
        heap.set_slot(0, VmRef::NULL);
        for _ in 0..3 {
            let before = heap.slot(1);
            heap.collect();
            assert_ne!(heap.slot(1), before, "it moved");
            // SAFETY: no guest runs.
            let pending = unsafe { (*heap.world.store.ctx()).pending_exn };
            let store = &heap.world.store;
            let found = [
                heap.guest.table_get(5).expect("an element") as u32,
                store.global_get(globals[0]).expect("a global")[0] as u32,
                store.heap.roots.get(scoped).expect("held").0,
                store.heap.roots.get_owned(&owned).expect("held").0,
                // SAFETY: as above.
                unsafe { store.gc_read(pending, 8, FieldKind::Ref)[0] as u32 },
            ];
            let slot = heap.slot(1);
            assert_eq!(heap.read(slot, NODE, 0), 0);
            for (object, number) in found.into_iter().zip([2, 1, 3, 4, 5]) {
                assert_eq!(heap.read(VmRef(object), NODE, 0), number);
            }
            // Globals of other kinds are left alone.
            assert_eq!(heap.world.store.global_get(globals[2]).expect("a global")[0], u64::MAX);
        }
        // The segment of the module, whose elements were made with it, is a root as well.
        heap.guest.table_init(0, 0, 0, 3).expect("three elements");
        let first = VmRef(heap.guest.table_get(0).expect("an element") as u32);
        assert_eq!(heap.read(first, NODE, 0), 77);
        let second = heap.read_ref(first, NODE, 1);
        assert_eq!(heap.read(second, NODE, 0), 78);
        // Dropped, it keeps nothing: the 4 objects of it go when the table's elements do.
        heap.guest.elem_drop(0);
        let with = {
            heap.collect();
            heap.world.store.gc_stats().in_use
        };
        for at in 0..3 {
            heap.guest.table_set(at, 0).expect("an element");
        }
        heap.collect();
        assert_eq!(with - heap.world.store.gc_stats().in_use, 16 + 16 + 16);
    }
}

#[test]
fn slots_above_those_in_use_are_null_after_a_collection() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 8);
    for slot in 0..8 {
        let object = heap.structure(NODE);
        heap.set_slot(slot, object);
    }
    heap.live = 3;
    heap.collect();
    heap.live = 8;
    let found: Vec<_> = (0..8).map(|slot| heap.slot(slot).is_null()).collect();
    assert_eq!(found, [false, false, false, true, true, true, true, true]);
    // Five of eight nodes are gone.
    heap.collect();
    assert_eq!(heap.world.store.gc_stats().in_use % 16, 0);
    // However much an engine says is in use, the stack's end is the end.
    heap.live = u32::MAX;
    assert!(heap.try_struct(NODE).is_ok());
    heap.world.store.gc().expect("nothing goes wrong");
}

#[test]
fn unreachable_objects_go_and_their_bytes_are_zero_when_used_again() {
    for config in configs() {
        let mut heap = HeapWorld::new(config, 1);
        let base = {
            heap.collect();
            heap.world.store.gc_stats().in_use
        };
        for _ in 0..5000 {
            let array = heap.array(BYTES, 1000);
            let kind = heap.element(BYTES);
            let store = &mut heap.world.store;
            // SAFETY: an array of bytes.
            unsafe {
                let bytes = store.gc_elements(array, kind, 0, 1000).expect("in bounds");
                let bytes = std::slice::from_raw_parts_mut(bytes, 1000);
                assert!(bytes.iter().all(|&b| b == 0));
                bytes.fill(0xAA);
            }
        }
        heap.collect();
        assert_eq!(heap.world.store.gc_stats().in_use, base);
        let stats = heap.world.store.gc_stats();
        assert!(stats.collections >= 5 && stats.capacity == MIB, "{stats:?}");
    }
}

#[test]
fn stress_collects_at_every_allocation() {
    let mut heap = HeapWorld::new(stressed(), 1);
    let before = heap.world.store.gc_stats().collections;
    for number in 0..100 {
        let old = heap.slot(0);
        let made = node(&mut heap, number);
        assert_ne!(made, old);
    }
    assert_eq!(heap.world.store.gc_stats().collections - before, 100);
    // SAFETY: no guest runs.
    let ctx = unsafe { &*heap.world.store.ctx() };
    assert!(ctx.heap_end < ctx.heap_next, "nothing is placed by engines themselves");
}

#[test]
fn seen_a_list_of_ten_million_nodes_is_collected_on_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let done = thread.spawn(|| {
        // What was copied while it grew is in proportion.
        let mut heap = HeapWorld::new(StoreConfig::default(), 1);
        heap.list(1_000_000);
        let tenth = heap.world.store.gc_stats().bytes_copied;
        let mut heap = HeapWorld::new(StoreConfig::default(), 1);
        heap.list(10_000_000);
        let copied = heap.world.store.gc_stats().bytes_copied;
        assert!(copied < 12 * tenth, "{copied} {tenth}");
        heap.collect();
        let stats = heap.world.store.gc_stats();
        assert!(stats.bytes_copied - copied >= 160_000_000);
        let (mut at, mut expected) = (heap.slot(0), 10_000_000u32);
        let (value, next) = (heap.field(NODE, 0), heap.field(NODE, 1));
        while !at.is_null() {
            expected -= 1;
            // SAFETY: the list consists of nodes.
            unsafe {
                assert_eq!(heap.world.store.gc_read(at, value.0, value.1)[0], expected.into());
                at = VmRef(heap.world.store.gc_read(at, next.0, next.1)[0] as u32);
            }
        }
        assert_eq!(expected, 0);
    });
    done.expect("a thread").join().expect("nothing goes wrong");
}

#[test]
fn x8_heap_and_memories_are_counted_together_under_one_limit() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    assert_eq!(heap.in_use(Resource::MemoryBytes), 2 * MIB);
    let memory = heap.world.instance("(module (memory 16 256))");
    assert_eq!(heap.in_use(Resource::MemoryBytes), 3 * MIB);
    heap.world.store.ledger().set_limit(Resource::MemoryBytes, Some(20 * MIB));
    let error = loop {
        assert!(heap.world.store.gc_stats().collections < 1000, "nothing is kept");
        match heap.try_array(REFS, 10_000) {
            Ok(array) => {
                // A list of arrays.
                let (kind, rest) = (heap.element(REFS), heap.slot(0));
                // SAFETY: an array of references.
                let linked =
                    unsafe { heap.world.store.gc_fill(array, kind, 0, [rest.0.into(), 0], 1) };
                linked.expect("an element");
                heap.set_slot(0, array);
            }
            Err(error) => break error,
        }
        assert!(heap.in_use(Resource::MemoryBytes) <= 20 * MIB);
    };
    assert_eq!(error, TrapCode::HeapExhausted);
    let refusal = *heap.world.store.ledger().refusal().expect("the limit was the reason");
    assert_eq!((refusal.what, refusal.limit), (Resource::MemoryBytes, 20 * MIB));
    let (stats, in_use) = (heap.world.store.gc_stats(), heap.in_use(Resource::MemoryBytes));
    assert_eq!(in_use, 2 * stats.capacity + MIB);
    // Nearly all of it was there to be used, and at least three quarters were.
    assert!(
        2 * stats.capacity > 18 * MIB && stats.in_use > stats.capacity / 4 * 3 - 50_000,
        "{stats:?}"
    );
    // What the heap has, memories cannot have.
    assert_eq!(memory.memory_grow(100), Ok(palisade_vm::builtins::GROW_FAILED));
    // When all is let go of, the heap gives back what it has too much of.
    heap.set_slot(0, VmRef::NULL);
    heap.collect();
    assert_eq!(heap.in_use(Resource::MemoryBytes), 3 * MIB);
    assert_eq!(memory.memory_grow(100), Ok(16));
    assert_eq!(heap.world.store.gc_stats().peak, stats.capacity);
}

#[test]
fn a_heap_of_which_little_can_be_freed_is_exhausted_and_does_not_collect_for_ever() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 2);
    heap.world.store.ledger().set_limit(Resource::MemoryBytes, Some(8 * MIB));
    // 70 %: what comes and goes beside it is collected again and again.
    let kept = heap.array(BYTES, (4 * MIB / 10 * 7) as u32);
    heap.set_slot(0, kept);
    for _ in 0..2000 {
        heap.array(BYTES, 20_000);
    }
    assert_eq!(heap.world.store.gc_stats().capacity, 4 * MIB);
    // 80 %: the first collection is the last.
    let more = heap.array(BYTES, (4 * MIB / 10) as u32);
    heap.set_slot(1, more);
    let before = heap.world.store.gc_stats().collections;
    let error = (0..1000).find_map(|_| heap.try_array(BYTES, 20_000).err());
    assert_eq!(error, Some(TrapCode::HeapExhausted));
    assert_eq!(heap.world.store.gc_stats().collections, before + 1);
    // The heap is whole: with less in it, it goes on.
    heap.set_slot(1, VmRef::NULL);
    for _ in 0..200 {
        heap.array(BYTES, 20_000);
    }
    let kept = heap.slot(0);
    // SAFETY: an array.
    assert_eq!(u64::from(unsafe { heap.world.store.gc_header(kept)[1] }), 4 * MIB / 10 * 7);
}

#[test]
fn a_small_limit_gives_a_small_heap() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    heap.collect();
    for limit in [0, 4095, 8192, 20_000] {
        let mut world = World::new();
        world.store.ledger().set_limit(Resource::MemoryBytes, Some(limit));
        let made =
            world.allocate("(module (type $s (struct)) (global anyref (struct.new $s)))", &[]);
        assert_eq!(made.is_ok(), limit >= 8192, "{limit}");
        let capacity = world.store.gc_stats().capacity;
        assert!(2 * capacity <= limit && (limit < 8192 || capacity >= 4096));
        assert_eq!(world.store.ledger().in_use(Resource::MemoryBytes), 2 * capacity);
        // A heap without any room can be collected.
        world.store.gc().expect("nothing goes wrong");
        assert_eq!(world.store.extern_new(Box::new(1)).is_ok(), limit >= 8192);
    }
}

#[test]
fn objects_larger_than_any_heap_are_refused_before_anything_is_done() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    let before = heap.world.store.gc_stats();
    for (ty, len) in
        [(REFS, u32::MAX), (REFS, 1 << 29), (BYTES, u32::MAX), (BYTES, (SPACE_BYTES - 15) as u32)]
    {
        assert_eq!(heap.try_array(ty, len), Err(TrapCode::AllocationTooLarge), "{len}");
    }
    assert_eq!(heap.world.store.gc_stats(), before);
    heap.world.store.ledger().set_limit(Resource::MemoryBytes, Some(16 * MIB));
    assert_eq!(heap.try_array(BYTES, (SPACE_BYTES - 16) as u32), Err(TrapCode::HeapExhausted));
    assert!(heap.try_array(BYTES, 5 << 20).is_ok());
    heap.world.store.ledger().set_limit(Resource::MemoryBytes, None);
    // A large one takes address space alone.
    let array = heap.array(BYTES, 1 << 30);
    heap.set_slot(0, array);
    assert!(heap.world.store.gc_stats().capacity > 1 << 30);
    heap.set_slot(0, VmRef::NULL);
    heap.collect();
    assert_eq!(heap.in_use(Resource::MemoryBytes), 2 * MIB);
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn host_values_are_dropped_exactly_when_nothing_refers_to_them() {
    for config in configs() {
        let mut heap = HeapWorld::new(config, 1);
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = || dropped.load(Ordering::Relaxed);
        let mut owners = Vec::new();
        for _ in 0..10 {
            let value = heap.world.store.extern_new(Box::new(Counted(dropped.clone())));
            owners.push(heap.world.store.heap.roots.own(value.expect("room")).expect("room"));
        }
        assert_eq!((count(), heap.world.store.extern_count()), (0, 10));
        heap.collect();
        assert_eq!(count(), 0);
        // One is referred to by a structure as well, as a value of the other family.
        let object = heap.structure(NODE);
        heap.set_slot(0, object);
        let value = heap.world.store.heap.roots.get_owned(&owners[3]).expect("held");
        heap.write(object, NODE, 1, value.0.into());
        drop(owners);
        assert_eq!(count(), 0, "not before a collection");
        heap.collect();
        assert_eq!((count(), heap.world.store.extern_count()), (9, 1));
        let object = heap.slot(0);
        let value = heap.read_ref(object, NODE, 1);
        let found = heap.world.store.extern_get_mut(value).expect("a host value");
        assert!(found.downcast_mut::<Counted>().is_some());
        heap.set_slot(0, VmRef::NULL);
        heap.collect();
        assert_eq!((count(), heap.world.store.extern_count()), (10, 0));
        // Their places are used again.
        let places = heap.in_use(Resource::HostBytes);
        for _ in 0..10 {
            heap.world.store.extern_new(Box::new(Counted(dropped.clone()))).expect("room");
        }
        assert_eq!(heap.in_use(Resource::HostBytes), places);
        drop(heap);
        assert_eq!(count(), 20, "with the store at the latest");
    }
}

#[test]
fn only_references_to_host_values_have_one() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    let node = node(&mut heap, 0);
    let value = heap.world.store.extern_new(Box::new(5u8)).expect("room");
    let wrong = [
        VmRef::NULL,
        VmRef(1),
        VmRef(3),
        node,
        VmRef(node.0 + 4),
        VmRef(value.0 + 8),
        VmRef(value.0 | 4),
        VmRef(1 << 31),
        VmRef((1 << 31) + 8),
        VmRef(u32::MAX),
        VmRef(u32::MAX - 7),
    ];
    for wrong in wrong {
        assert!(heap.world.store.extern_get(wrong).is_none(), "{wrong:?}");
        assert!(heap.world.store.extern_get_mut(wrong).is_none(), "{wrong:?}");
    }
    assert_eq!(heap.world.store.extern_get(value).and_then(|v| v.downcast_ref()), Some(&5u8));
    heap.collect();
    assert!(heap.world.store.extern_get(value).is_none(), "it is gone");
}

#[test]
fn host_values_are_counted_and_collected_before_they_are_refused() {
    let mut world = World::new();
    world.store.ledger().set_limit(Resource::HostBytes, Some(32 * 100));
    let mut held = Vec::new();
    for number in 0..1000 {
        let value = world.store.extern_new(Box::new(number)).expect("garbage makes room");
        if number % 20 == 0 {
            held.push(world.store.heap.roots.own(value).expect("room"));
        }
    }
    assert_eq!(world.store.ledger().in_use(Resource::HostBytes), 3200);
    let error = (0..100).find_map(|number| {
        let value = world.store.extern_new(Box::new(number));
        let root = value.map(|value| world.store.heap.roots.own(value).expect("room"));
        root.map(|root| held.push(root)).err()
    });
    assert_eq!(error, Some(TrapCode::LimitExceeded));
    assert_eq!(held.len(), 100);
}

/// Panics when it is dropped, with something that panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == "twice" {
            std::panic::panic_any(Bomb("again"));
        }
        panic!("{}", self.0);
    }
}

#[test]
fn h4_a_host_value_that_panics_when_dropped_poisons_its_store_alone() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        heap.world.store.extern_new(Box::new(Counted(dropped.clone()))).expect("room");
        heap.world.store.extern_new(Box::new(Bomb("boom"))).expect("room");
        heap.world.store.extern_new(Box::new(Bomb("twice"))).expect("room");
    }
    node(&mut heap, 7);
    assert!(!heap.world.store.poisoned);
    let root = heap.slot(0);
    let root = heap.world.store.heap.roots.own(root).expect("room");
    assert_eq!(heap.world.store.gc(), Err(TrapCode::Internal));
    assert!(heap.world.store.poisoned);
    let error = heap.world.store.pending_error.take().expect("an error").to_string();
    assert!(error.contains("boom"), "{error}");
    // All were dropped, and the heap is whole.
    assert_eq!((dropped.load(Ordering::Relaxed), heap.world.store.extern_count()), (3, 0));
    let kept = heap.world.store.heap.roots.get_owned(&root).expect("held");
    assert_eq!(heap.read(kept, NODE, 0), 7);
    assert_eq!(heap.world.store.gc(), Ok(()));
}

#[test]
fn functions_in_objects_are_numbers_of_the_store() {
    for config in configs() {
        let mut heap = HeapWorld::new(config, 1);
        let functions = [heap.guest.ref_func(0), std::ptr::null_mut(), heap.guest.ref_func(1)];
        let array = heap.array(FUNCS, 300);
        heap.set_slot(0, array);
        for at in 0..300u32 {
            let cell = [functions[at as usize % 3] as u64, 0];
            // SAFETY: the array is one of functions.
            unsafe {
                gc::array_fill(heap.guest.vm, array, FieldKind::Func, at, cell, 1)
                    .expect("in bounds")
            };
        }
        heap.collect();
        let array = heap.slot(0);
        for at in 0..300 {
            // SAFETY: as above; elements have 4 bytes.
            unsafe {
                let found = heap.world.store.gc_read(array, 8 + 4 * at as u64, FieldKind::Func)[0];
                assert_eq!(found, functions[at % 3] as u64);
                let number = heap.world.store.gc_read(array, 8 + 4 * at as u64, FieldKind::B4)[0];
                assert!(number <= 2, "no address");
            }
        }
        for number in [3, 4, 1 << 31, u32::MAX] {
            assert!(heap.world.store.heap.func_of_number(number).is_null());
        }
    }
}

#[test]
fn a_reference_that_leads_nowhere_ends_the_store_and_nothing_else() {
    let garbage = [2, 4, 12, 0x7FFF_FFF8, 0x8000_0000, 0x8000_0008, u32::MAX - 7, u32::MAX - 1];
    for (number, wrong) in garbage.into_iter().chain([0]).enumerate() {
        let mut heap = HeapWorld::new(StoreConfig::default(), 2);
        let array = heap.array(REFS, 10);
        heap.set_slot(1, array);
        let owner = node(&mut heap, 5);
        // The last case is a reference into the middle of the array, whose elements are no header.
        let wrong = if wrong == 0 { array.0 + 16 } else { wrong };
        if array.0 + 16 == wrong {
            let kind = heap.element(REFS);
            // SAFETY: an array of references; this is what the test is about.
            unsafe { heap.world.store.gc_fill(array, kind, 2, [0x1234_5679, 0], 1).expect("one") };
        }
        heap.write(owner, NODE, 1, wrong.into());
        let root = heap.world.store.heap.roots.own(owner).expect("room");
        assert_eq!(heap.world.store.gc(), Err(TrapCode::Internal), "case {number}");
        assert!(heap.world.store.poisoned);
        assert!(heap.world.store.pending_error.take().is_some());
        let owner = heap.world.store.heap.roots.get_owned(&root).expect("held");
        assert_eq!((heap.read(owner, NODE, 0), heap.read(owner, NODE, 1)), (5, 0));
    }
}

#[test]
fn a_length_that_is_wrong_reaches_nothing_outside_of_the_heap() {
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    let array = heap.array(BYTES, 10);
    let root = heap.world.store.heap.roots.own(array).expect("room");
    // SAFETY: the header of an array; that it is wrong then is what the test is about.
    unsafe { heap.world.store.gc_object(array).cast::<u32>().add(1).write(u32::MAX) };
    let (vm, kind) = (heap.guest.vm, FieldKind::B16);
    // SAFETY: elements of 16 bytes would end far behind the heap.
    unsafe {
        let fill = gc::array_fill(vm, array, kind, u32::MAX - 1, [1, 1], 1);
        assert_eq!(fill, Err(TrapCode::Internal));
        let copied = gc::array_copy(vm, kind, array, 1 << 28, array, 0, 1);
        assert_eq!(copied, Err(TrapCode::Internal));
    }
    // The object does not fit the heap any more.
    assert_eq!(heap.world.store.gc(), Err(TrapCode::Internal));
    assert_eq!(heap.world.store.heap.roots.get_owned(&root), Some(VmRef::NULL));
}

#[test]
fn allocation_is_where_a_guest_can_be_stopped_and_the_price_is_by_size() {
    let config = StoreConfig { fuel_enabled: true, ..stressed() };
    let mut heap = HeapWorld::new(config, 1);
    heap.world.set_fuel(100);
    heap.structure(NODE);
    assert_eq!(heap.world.fuel(), 99);
    heap.array(BYTES, 57);
    assert_eq!(heap.world.fuel(), 97);
    heap.exception();
    assert_eq!(heap.world.fuel(), 96);
    let before = heap.world.store.gc_stats();
    assert_eq!(heap.try_array(BYTES, 64 * 96 - 7), Err(TrapCode::OutOfFuel));
    assert_eq!(heap.world.store.gc_stats(), before, "paid for first");
    heap.world.set_fuel(100);
    heap.world.store.interrupt_handle().interrupt(TrapCode::DeadlineExceeded);
    assert_eq!(heap.try_struct(NODE), Err(TrapCode::DeadlineExceeded));
    assert_eq!(heap.world.store.gc_stats(), before);
}

/// Answers once, and writes down what it was asked.
struct Asked(Arc<std::sync::Mutex<Vec<(usize, usize)>>>, fn(usize) -> Result<bool, BoxError>);

impl ResourceLimiter for Asked {
    fn memory_growing(
        &mut self,
        now: usize,
        then: usize,
        _: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.0.lock().expect("no panic").push((now, then));
        (self.1)(then)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool, BoxError> {
        Ok(true)
    }
}

#[test]
fn the_limiter_is_asked_before_the_heap_grows() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut heap = HeapWorld::new(StoreConfig::default(), 1);
    let limiter = Asked(asked.clone(), |then| Ok(then <= 6 << 20));
    heap.world.store.set_limiter(Some(Box::new(limiter)));
    let kept = heap.array(BYTES, 2 << 20);
    heap.set_slot(0, kept);
    // Refused with room for more, allowed with what is needed.
    let asked_for = asked.lock().expect("no panic").clone();
    assert_eq!(asked_for.len(), 2, "{asked_for:?}");
    assert!(asked_for[0].0 == 2 << 20 && asked_for[0].1 > 6 << 20 && asked_for[1].1 <= 6 << 20);
    assert_eq!(heap.try_array(BYTES, 2 << 20), Err(TrapCode::HeapExhausted));
    let limiter = Asked(asked, |_| Err("no more".into()));
    heap.world.store.set_limiter(Some(Box::new(limiter)));
    assert_eq!(heap.try_array(BYTES, 2 << 20), Err(TrapCode::Internal));
    let error = heap.world.store.pending_error.take().expect("the limiter's").to_string();
    assert!(error.contains("no more"), "{error}");
    heap.world.store.set_limiter(None);
    heap.array(BYTES, 2 << 20);
    let capacity = heap.world.store.gc_stats().capacity;
    assert_eq!(heap.in_use(Resource::MemoryBytes), 2 * capacity);
}

#[test]
fn a_failed_instantiation_counts_the_heap_that_it_made() {
    let mut world = World::new();
    let wat = "(module (type $s (struct (field i64))) (type $big (array i8)) (global anyref (struct.new_default $s))
        (global anyref (array.new_default $big (i32.const 3000000)))
        (global anyref (array.new_default $big (i32.const -1))))";
    for _ in 0..3 {
        assert!(world.allocate(wat, &[]).is_err());
        let capacity = world.store.gc_stats().capacity;
        assert!(capacity >= 3_000_000);
        assert_eq!(world.store.ledger().in_use(Resource::MemoryBytes), 2 * capacity);
    }
    world.store.gc().expect("nothing goes wrong");
    assert_eq!(world.store.gc_stats().in_use, 0, "what it made is garbage");
    // The ids of its types are given to others, whose objects are no larger for it.
    let guest = world
        .instance("(module (type (array i64)) (type (struct)) (global anyref (struct.new 1)))");
    let global = world.store.instance(guest.id).expect("an instance").globals[0];
    for _ in 0..3 {
        world.store.gc().expect("nothing goes wrong");
        assert_eq!(world.store.gc_stats().in_use, 8);
    }
    assert!(world.store.gc_holds(VmRef(world.store.global_get(global).expect("one")[0] as u32)));
}
