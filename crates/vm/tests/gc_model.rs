//! Random graphs of objects beside a model of them: after any number of allocations, writes and collections, what
//! can be reached from the roots is the same graph, with the same identities.

mod common;

use std::collections::HashMap;

use common::heap::{BYTES, HeapWorld, NODE, PAIR, REFS, stressed};
use palisade_core::TrapCode;
use palisade_vm::gc::roots::{OwnedRoot, RootIndex, ScopeMark};
use palisade_vm::{Resource, StoreConfig, VmRef};

/// A value of the model.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Val {
    Null,
    I31(u32),
    Object(usize),
}

/// An object of the model.
#[derive(Debug)]
enum Object {
    Node(u32, Val),
    Pair(Val, u64, Val, u32),
    Refs(Vec<Val>),
    Bytes(Vec<u8>),
    Extern(u64),
    Exn(Val, u32, Val),
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

const SLOTS: u32 = 6;

/// The store, the model, and which root of one is which of the other.
struct Pair2 {
    heap: HeapWorld,
    random: Random,
    objects: Vec<Object>,
    slots: [Val; SLOTS as usize],
    global: Val,
    table: [Val; 8],
    scoped: Vec<(RootIndex, Val)>,
    scopes: Vec<(ScopeMark, usize)>,
    owned: Vec<(OwnedRoot, Val)>,
    pending: Val,
}

impl Pair2 {
    fn new(config: StoreConfig, seed: u64) -> Self {
        Self {
            heap: HeapWorld::new(config, SLOTS),
            random: Random(seed),
            objects: Vec::new(),
            slots: [Val::Null; SLOTS as usize],
            global: Val::Null,
            table: [Val::Null; 8],
            scoped: Vec::new(),
            scopes: Vec::new(),
            owned: Vec::new(),
            pending: Val::Null,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.next(below as u64) as usize
    }

    /// A slot, as (actual reference, model).
    fn any_value(&mut self) -> (VmRef, Val) {
        match self.random.next(8) {
            0 => (VmRef::NULL, Val::Null),
            1 => {
                let number = self.random.next(1 << 30) as u32;
                (VmRef(number << 1 | 1), Val::I31(number))
            }
            _ => {
                let slot = self.pick(SLOTS as usize);
                (self.heap.slot(slot as u32), self.slots[slot])
            }
        }
    }

    fn put(&mut self, actual: VmRef, object: Object) {
        self.objects.push(object);
        let slot = self.pick(SLOTS as usize);
        self.slots[slot] = Val::Object(self.objects.len() - 1);
        self.heap.set_slot(slot as u32, actual);
    }

    /// Makes an object. Its fields are read after the allocation, which may move what they refer to.
    fn allocate(&mut self) -> Result<(), TrapCode> {
        match self.random.next(6) {
            0 | 1 => {
                let actual = self.heap.try_struct(NODE)?;
                let (number, (to, next)) = (self.random.next(1 << 32) as u32, self.any_value());
                self.heap.write(actual, NODE, 0, number.into());
                self.heap.write(actual, NODE, 1, to.0.into());
                self.put(actual, Object::Node(number, next));
            }
            2 => {
                let actual = self.heap.try_struct(PAIR)?;
                let (number, func) = (self.random.next(u64::MAX), self.random.next(3) as u32);
                let ((a, left), (b, right)) = (self.any_value(), self.any_value());
                let address = if func < 2 { self.heap.guest.ref_func(func) as u64 } else { 0 };
                for (field, value) in
                    [a.0.into(), number, b.0.into(), address].into_iter().enumerate()
                {
                    self.heap.write(actual, PAIR, field, value);
                }
                self.put(actual, Object::Pair(left, number, right, func));
            }
            3 => {
                let len = [0, 1, 2, 7, 300][self.pick(5)];
                let actual = self.heap.try_array(REFS, len)?;
                let kind = self.heap.element(REFS);
                let mut model = Vec::new();
                for at in 0..len {
                    let (to, value) = self.any_value();
                    let cell = [to.0.into(), 0];
                    // SAFETY: the array is one of references, just made.
                    unsafe { self.heap.world.store.gc_fill(actual, kind, at, cell, 1)? };
                    model.push(value);
                }
                self.put(actual, Object::Refs(model));
            }
            4 => {
                let len = [0, 3, 8, 5000][self.pick(4)];
                let actual = self.heap.try_array(BYTES, len)?;
                let (kind, byte) = (self.heap.element(BYTES), self.random.next(256) as u8);
                // SAFETY: the array is one of bytes, just made.
                unsafe {
                    self.heap.world.store.gc_fill(actual, kind, 0, [byte.into(), 0], len / 2)?
                };
                let mut bytes = vec![byte; len as usize / 2];
                bytes.resize(len as usize, 0);
                self.put(actual, Object::Bytes(bytes));
            }
            _ if self.random.next(2) == 0 => {
                // From the host: the window lies below its references.
                let (number, ctx) = (self.random.next(u64::MAX), self.heap.world.store.ctx());
                // SAFETY: no guest runs.
                let actual = unsafe {
                    (*ctx).ref_fp = (*ctx).ref_fp.add(SLOTS as usize);
                    let made = self.heap.world.store.extern_new(Box::new(number));
                    (*ctx).ref_fp = (*ctx).ref_fp.sub(SLOTS as usize);
                    made?
                };
                self.put(actual, Object::Extern(number));
            }
            _ => {
                let actual = self.heap.exception();
                let ((a, left), (b, right)) = (self.any_value(), self.any_value());
                let number = self.random.next(1 << 32) as u32;
                let store = &mut self.heap.world.store;
                use palisade_vm::gc::layout::FieldKind::{B4, Ref};
                // SAFETY: the exception has a reference, a number and a reference, from byte 8 on.
                unsafe {
                    store.gc_write(actual, 8, Ref, [a.0.into(), 0])?;
                    store.gc_write(actual, 12, B4, [number.into(), 0])?;
                    store.gc_write(actual, 16, Ref, [b.0.into(), 0])?;
                    (*store.ctx()).pending_exn = actual;
                }
                self.objects.push(Object::Exn(left, number, right));
                self.pending = Val::Object(self.objects.len() - 1);
            }
        }
        Ok(())
    }

    /// Changes roots, or a field of an object in a slot.
    fn shuffle(&mut self) {
        let (actual, value) = self.any_value();
        let at = self.pick(8);
        match self.random.next(12) {
            0 => {
                self.heap.set_slot(at as u32 % SLOTS, actual);
                self.slots[at % SLOTS as usize] = value;
            }
            1 => {
                let id =
                    self.heap.world.store.instance(self.heap.guest.id).expect("one").globals[0];
                // SAFETY: the global is one of this family.
                assert!(unsafe { self.heap.world.store.global_set(id, [actual.0.into(), 0]) });
                self.global = value;
            }
            2 | 3 => {
                self.heap.guest.table_set(at as u64, actual.0.into()).expect("an element");
                self.table[at] = value;
            }
            4 => {
                let root = self.heap.world.store.heap.roots.push(actual).expect("room");
                self.scoped.push((root, value));
            }
            5 => {
                let root = self.heap.world.store.heap.roots.own(actual).expect("room");
                self.owned.push((root, value));
            }
            6 if !self.owned.is_empty() => {
                let at = self.pick(self.owned.len());
                self.owned.swap_remove(at);
            }
            7 => {
                self.scopes.push((self.heap.world.store.heap.roots.scope(), self.scoped.len()));
            }
            8 => {
                if let Some((mark, len)) = self.scopes.pop() {
                    self.heap.world.store.heap.roots.close(mark);
                    let gone = self.scoped.split_off(len);
                    for (root, _) in gone {
                        assert_eq!(self.heap.world.store.heap.roots.get(root), None);
                    }
                }
            }
            9 => {
                // SAFETY: no guest runs.
                unsafe { (*self.heap.world.store.ctx()).pending_exn = VmRef::NULL };
                self.pending = Val::Null;
            }
            _ => self.write_field(at % SLOTS as usize, actual, value),
        }
    }

    fn write_field(&mut self, slot: usize, actual: VmRef, value: Val) {
        let (object, Val::Object(id)) = (self.heap.slot(slot as u32), self.slots[slot]) else {
            return;
        };
        match &mut self.objects[id] {
            Object::Node(_, next) => {
                *next = value;
                self.heap.write(object, NODE, 1, actual.0.into());
            }
            Object::Pair(_, _, right, _) => {
                *right = value;
                self.heap.write(object, PAIR, 2, actual.0.into());
            }
            Object::Refs(elements) if !elements.is_empty() => {
                let at = self.random.next(elements.len() as u64) as usize;
                elements[at] = value;
                let kind = self.heap.element(REFS);
                // SAFETY: the array has that element.
                let written = unsafe {
                    self.heap.world.store.gc_fill(object, kind, at as u32, [actual.0.into(), 0], 1)
                };
                written.expect("an element");
            }
            _ => {}
        }
    }

    /// Compares everything that can be reached, and with it that two references are the same exactly if the model's are.
    fn compare(&mut self) {
        let mut todo: Vec<(VmRef, Val)> = Vec::new();
        for slot in 0..SLOTS {
            todo.push((self.heap.slot(slot), self.slots[slot as usize]));
        }
        let store = &self.heap.world.store;
        let global = store.instance(self.heap.guest.id).expect("an instance").globals[0];
        todo.push((VmRef(store.global_get(global).expect("a global")[0] as u32), self.global));
        for at in 0..8 {
            let element = self.heap.guest.table_get(at as u64).expect("an element");
            todo.push((VmRef(element as u32), self.table[at]));
        }
        let roots = &store.heap.roots;
        todo.extend(self.scoped.iter().map(|(root, val)| (roots.get(*root).expect("held"), *val)));
        todo.extend(
            self.owned.iter().map(|(root, val)| (roots.get_owned(root).expect("held"), *val)),
        );
        // SAFETY: no guest runs.
        todo.push((unsafe { (*self.heap.world.store.ctx()).pending_exn }, self.pending));
        let (mut seen, mut taken) = (HashMap::new(), HashMap::new());
        while let Some((actual, value)) = todo.pop() {
            let id = match value {
                Val::Null => {
                    assert_eq!(actual, VmRef::NULL);
                    continue;
                }
                Val::I31(number) => {
                    assert_eq!(actual.0, number << 1 | 1);
                    continue;
                }
                Val::Object(id) => id,
            };
            let first = seen.insert(id, actual);
            assert!(first.is_none() || first == Some(actual), "one object in two places");
            if first.is_some() {
                continue;
            }
            assert_eq!(taken.insert(actual, id), None, "two objects in one place");
            assert!(self.heap.world.store.gc_holds(actual));
            self.compare_object(actual, id, &mut todo);
        }
    }

    fn compare_object(&mut self, actual: VmRef, id: usize, todo: &mut Vec<(VmRef, Val)>) {
        use palisade_vm::gc::layout::FieldKind;
        let heap = &mut self.heap;
        // SAFETY: the reference leads to an object.
        let [word, second] = unsafe { heap.world.store.gc_header(actual) };
        match &self.objects[id] {
            Object::Node(number, next) => {
                assert_eq!(word, heap.ty(NODE).0);
                assert_eq!(heap.read(actual, NODE, 0), u64::from(*number));
                todo.push((heap.read_ref(actual, NODE, 1), *next));
            }
            Object::Pair(left, number, right, func) => {
                assert_eq!(word, heap.ty(PAIR).0);
                assert_eq!(heap.read(actual, PAIR, 1), *number);
                let address = if *func < 2 { heap.guest.ref_func(*func) as u64 } else { 0 };
                assert_eq!(heap.read(actual, PAIR, 3), address);
                todo.push((heap.read_ref(actual, PAIR, 0), *left));
                todo.push((heap.read_ref(actual, PAIR, 2), *right));
            }
            Object::Refs(elements) => {
                assert_eq!((word, second), (heap.ty(REFS).0, elements.len() as u32));
                for (at, element) in elements.iter().enumerate() {
                    // SAFETY: the array has that element.
                    let found = unsafe {
                        heap.world.store.gc_read(actual, 8 + 4 * at as u64, FieldKind::Ref)
                    };
                    todo.push((VmRef(found[0] as u32), *element));
                }
            }
            Object::Bytes(bytes) => {
                assert_eq!((word, second), (heap.ty(BYTES).0, bytes.len() as u32));
                for (at, byte) in bytes.iter().enumerate() {
                    // SAFETY: the array has that element.
                    let found =
                        unsafe { heap.world.store.gc_read(actual, 8 + at as u64, FieldKind::I8) };
                    assert_eq!(found[0], u64::from(*byte));
                }
            }
            Object::Extern(number) => {
                let value = heap.world.store.extern_get(actual).expect("a host value");
                assert_eq!(value.downcast_ref(), Some(number));
            }
            Object::Exn(left, number, right) => {
                let store = &heap.world.store;
                // SAFETY: an exception with these fields.
                let field = |at, kind| unsafe { store.gc_read(actual, at, kind)[0] as u32 };
                assert_eq!(field(12, FieldKind::B4), *number);
                todo.push((VmRef(field(8, FieldKind::Ref)), *left));
                todo.push((VmRef(field(16, FieldKind::Ref)), *right));
            }
        }
    }
}

fn run(config: &StoreConfig, seeds: std::ops::Range<u64>, steps: u32, limit: Option<u64>) -> u64 {
    let mut collections = 0;
    for seed in seeds {
        let mut pair = Pair2::new(config.clone(), seed);
        pair.heap.world.store.ledger().set_limit(Resource::MemoryBytes, limit);
        for step in 0..steps {
            match pair.random.next(10) {
                0..4 => match pair.allocate() {
                    Ok(()) => {}
                    Err(TrapCode::HeapExhausted) if limit.is_some() => {
                        // Everything is as it was, and can be let go of.
                        pair.compare();
                        for slot in 0..SLOTS {
                            pair.heap.set_slot(slot, VmRef::NULL);
                        }
                        pair.slots = [Val::Null; SLOTS as usize];
                    }
                    Err(code) => panic!("seed {seed}, step {step}: {code}"),
                },
                _ => pair.shuffle(),
            }
            if pair.random.next(200) == 0 {
                pair.heap.collect();
            }
            if pair.random.next(100) == 0 {
                pair.compare();
            }
        }
        pair.compare();
        collections += pair.heap.world.store.gc_stats().collections;
        let capacity = pair.heap.world.store.gc_stats().capacity;
        assert_eq!(pair.heap.in_use(Resource::MemoryBytes), 2 * capacity);
    }
    collections
}

#[test]
fn random_graphs_stay_what_they_are() {
    let collections = run(&StoreConfig::default(), 0..20, 4000, None);
    assert!(collections > 200, "{collections}");
}

#[test]
fn random_graphs_stay_what_they_are_when_every_allocation_collects() {
    let collections = run(&stressed(), 100..110, 2000, None);
    assert!(collections > 7000, "{collections}");
}

#[test]
fn random_graphs_stay_what_they_are_in_a_heap_that_is_nearly_full() {
    let collections = run(&StoreConfig::default(), 200..220, 4000, Some(200 << 10));
    assert!(collections > 400, "{collections}");
}
