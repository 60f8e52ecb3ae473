//! Instances: imports and their types, constant expressions (row V5), references of functions, exports,
//! and what is left when instantiation fails.

mod common;

use std::sync::Arc;

use common::World;
use palisade_core::{FuncType, GlobalType, MemoryType, RefType, TableType, TypeId, ValType};
use palisade_vm::{
    Cell, GlobalId, HostFunc, ImportMismatch, ImportValue, InstantiateError, MemoryId, Resource,
    SharedMemory, StoreInner, TableId, TagId, VMCTX_MAGIC, VmCtx, VmFuncRef, VmRef,
};

/// A host function that does nothing.
///
/// # Safety
///
/// None is needed.
unsafe extern "C" fn nothing(
    _: *const HostFunc,
    _: *mut StoreInner,
    _: *mut VmCtx,
    _: *mut Cell,
) -> u32 {
    0
}

fn host(world: &mut World, params: &[ValType], results: &[ValType]) -> *mut VmFuncRef {
    let ty = FuncType::new(params.iter().copied(), results.iter().copied());
    let (type_id, guard) = world.types.register_func(ty).expect("room");
    world.store.alloc_host_func(HostFunc {
        code: nothing,
        param_cells: params.len() as u32,
        result_cells: results.len() as u32,
        type_id,
        has_refs: false,
        store: std::ptr::null_mut(),
        data: Box::new(guard),
    })
}

fn global(world: &mut World, content: ValType, mutable: bool, cells: [Cell; 2]) -> ImportValue {
    // SAFETY: the callers give numbers for number types, and null for references.
    let id = unsafe { world.store.alloc_global(GlobalType { content, mutable }, cells) };
    ImportValue::Global(id.expect("room"))
}

fn memory(minimum: u64, maximum: Option<u64>) -> MemoryType {
    MemoryType { memory64: false, shared: false, minimum, maximum, page_size_log2: 16 }
}

fn table(element: RefType, minimum: u64, maximum: Option<u64>) -> TableType {
    TableType { element, table64: false, minimum, maximum }
}

fn mismatch(world: &mut World, wat: &str, given: ImportValue) -> ImportMismatch {
    match world.allocate(wat, &[given]) {
        Err(InstantiateError::Import { index: 0, mismatch }) => mismatch,
        other => panic!("{wat}: {other:?}"),
    }
}

#[test]
fn imports_of_the_right_type_are_taken() {
    let mut world = World::new();
    let func = ImportValue::Func(host(&mut world, &[ValType::I32], &[]));
    let memory = ImportValue::Memory(world.store.alloc_memory(memory(1, Some(3))).expect("room"));
    // SAFETY: null is a value of the element type.
    let made = unsafe { world.store.alloc_table(table(RefType::FUNCREF, 2, None), 0) };
    let table = ImportValue::Table(made.expect("room"));
    let global = global(&mut world, ValType::I64, true, [5, 0]);
    let ImportValue::Func(reference) = func else { unreachable!() };
    // SAFETY: the store is alive.
    let tag =
        ImportValue::Tag(world.store.alloc_tag(unsafe { (*reference).type_id }).expect("room"));
    let wat = r#"(module (import "" "f" (func (param i32))) (import "" "m" (memory 1 5))
        (import "" "t" (table 1 funcref)) (import "" "g" (global (mut i64)))
        (import "" "e" (tag (param i32)))
        (export "f" (func 0)) (export "m" (memory 0)) (export "t" (table 0))
        (export "g" (global 0)) (export "e" (tag 0)) (elem (i32.const 1) func 0))"#;
    let guest = world.instance_with(wat, &[func, memory, table, global, tag]);
    for (name, value) in [("f", func), ("m", memory), ("t", table), ("g", global), ("e", tag)] {
        assert_eq!(world.store.export(guest.id, name), Some(value), "{name}");
    }
    assert_eq!(world.store.export(guest.id, ""), None);
    assert_eq!(world.store.export(guest.id, "ff"), None);
    assert_eq!(guest.table_get(1), Ok(reference as u64), "the same reference, not a new one");
}

#[test]
fn imports_of_another_type_are_refused_with_both_types() {
    let mut world = World::new();
    let f = ImportValue::Func(host(&mut world, &[ValType::I32], &[ValType::F64]));
    let found = mismatch(&mut world, r#"(module (import "" "f" (func)))"#, f);
    assert_eq!(found.to_string(), "expected a function [] -> [], found a function [i32] -> [f64]");
    let found = mismatch(&mut world, r#"(module (import "" "m" (memory 1)))"#, f);
    assert_eq!(found.expected, "a memory (pages: 1 or more)",);
    let m = ImportValue::Memory(world.store.alloc_memory(memory(1, Some(2))).expect("room"));
    for wat in [
        "(memory 2)",
        "(memory 0 1)",
        "(memory i64 1)",
        "(memory 1 2 shared)",
        "(memory 1 (pagesize 1))",
    ] {
        mismatch(&mut world, &format!(r#"(module (import "" "m" {wat}))"#), m);
    }
    let g = global(&mut world, ValType::I32, false, [0, 0]);
    for wat in ["(mut i32)", "i64", "funcref"] {
        mismatch(&mut world, &format!(r#"(module (import "" "g" (global {wat})))"#), g);
    }
    // SAFETY: null is a value of the element type.
    let made = unsafe { world.store.alloc_table(table(RefType::EXTERNREF, 3, Some(9)), 0) };
    let t = ImportValue::Table(made.expect("room"));
    for wat in ["4 externref", "1 8 externref", "1 funcref", "i64 1 externref"] {
        mismatch(&mut world, &format!(r#"(module (import "" "t" (table {wat})))"#), t);
    }
    for what in [Resource::Instances, Resource::HostBytes] {
        assert_eq!(world.store.ledger().in_use(what), 0);
    }
}

#[test]
fn sizes_are_matched_as_they_are_now() {
    let mut world = World::new();
    let id = world.store.alloc_memory(memory(1, None)).expect("room");
    let wat = r#"(module (import "" "m" (memory 3)))"#;
    mismatch(&mut world, wat, ImportValue::Memory(id));
    assert_eq!(world.store.memory_grow(id, 2).expect("no limiter"), Some(1));
    world.instance_with(wat, &[ImportValue::Memory(id)]);
}

#[test]
fn subtypes_are_taken_where_the_specification_allows() {
    let mut world = World::new();
    let wat = r#"(module
        (type $a (sub (func))) (type $b (sub $a (func))) (type $c (sub (func (param i32))))
        (func (export "a") (type $a)) (func (export "b") (type $b))
        (global (export "gb") (ref null $b) (ref.null $b))
        (global (export "mb") (mut (ref null $b)) (ref.null $b))
        (table (export "tb") 1 (ref null $b)))"#;
    let guest = world.instance(wat);
    let types = "(type $a (sub (func))) (type $b (sub $a (func)))";
    let cases = [
        ("b", "(func (type $a))", true),
        ("a", "(func (type $b))", false),
        ("gb", "(global (ref null $a))", true),
        ("gb", "(global (ref null func))", true),
        ("gb", "(global (ref $b))", false),
        ("mb", "(global (mut (ref null $b)))", true),
        ("mb", "(global (mut (ref null $a)))", false),
        ("tb", "(table 1 (ref null $b))", true),
        ("tb", "(table 1 (ref null $a))", false),
        ("tb", "(table 1 funcref)", false),
    ];
    for (name, import, taken) in cases {
        let value = world.store.export(guest.id, name).expect("an export");
        let wat = format!(r#"(module {types} (import "" "x" {import}))"#);
        assert_eq!(world.allocate(&wat, &[value]).is_ok(), taken, "{name} as {import}");
    }
}

#[test]
fn m6_objects_of_another_store_are_refused() {
    let (mut here, mut there) = (World::new(), World::new());
    let guest = there.instance(r#"(module (func (export "f")) (func $g) (elem declare func $g))"#);
    let Some(ImportValue::Func(f)) = there.store.export(guest.id, "f") else { panic!("exported") };
    assert!(there.store.owns_func_ref(f) && !here.store.owns_func_ref(f));
    let wat = r#"(module (import "" "f" (func)))"#;
    let found = mismatch(&mut here, wat, ImportValue::Func(f));
    assert_eq!(found.found, "a function of another store");
    // Addresses near one, null, and references that have not been made, are none either.
    for wrong in
        [f.wrapping_byte_add(8), f.wrapping_byte_sub(24), f.wrapping_add(1), f.wrapping_add(2)]
    {
        assert!(!there.store.owns_func_ref(wrong), "{wrong:?} {f:?}");
    }
    assert!(!there.store.owns_func_ref(std::ptr::null()));
    let g = guest.ref_func(1);
    assert!(there.store.owns_func_ref(g), "made just now");
    for offset in 1..24 {
        assert!(!there.store.owns_func_ref(f.wrapping_byte_add(offset)), "{offset} bytes into one");
    }
    for (wat, value) in [
        (r#"(module (import "" "m" (memory 0)))"#, ImportValue::Memory(MemoryId(7))),
        (r#"(module (import "" "t" (table 0 funcref)))"#, ImportValue::Table(TableId(0))),
        (r#"(module (import "" "g" (global i32)))"#, ImportValue::Global(GlobalId(u32::MAX))),
        (r#"(module (import "" "e" (tag)))"#, ImportValue::Tag(TagId(1))),
    ] {
        assert!(mismatch(&mut here, wat, value).found.ends_with("of another store"));
    }
    let none = here.allocate(wat, &[]);
    assert!(matches!(none, Err(InstantiateError::ImportCount { expected: 1, found: 0 })));
}

#[test]
fn v5_constant_expressions_are_those_of_the_specification() {
    let mut world = World::new();
    let imported = global(&mut world, ValType::I32, false, [40, 0]);
    let wat = r#"(module (import "" "g" (global $g i32)) (func $f)
        (global i32 (i32.add (global.get $g) (i32.const 2)))
        (global i32 (i32.mul (i32.sub (global.get 1) (i32.const 50)) (i32.const 0x40000001)))
        (global i64 (i64.mul (i64.const 0x100000000) (i64.add (i64.const 0x100000000) (i64.const 1))))
        (global i64 (i64.sub (i64.const 0) (i64.const 1)))
        (global f32 (f32.const -0)) (global f64 (f64.const nan:0x4))
        (global v128 (v128.const i64x2 1 -2)) (global funcref (ref.func $f)) (global externref (ref.null extern))
        (global i31ref (ref.i31 (i32.const -1)))
        (global externref (extern.convert_any (ref.i31 (i32.const 5))))
        (memory 1) (table 3 (ref null func) (ref.func $f))
        (data (i32.add (global.get $g) (i32.const 1)) "a")
        (elem (table 0) (offset (i32.sub (global.get 1) (i32.const 41))) funcref (ref.null func) (global.get 8)))"#;
    let guest = world.instance_with(wat, &[imported]);
    let ids = world.store.instance(guest.id).expect("an instance").globals.clone();
    let value = |i: usize| world.store.global_get(ids[i]).expect("a global");
    assert_eq!(value(1)[0] as u32, 42);
    assert_eq!(value(2)[0] as u32, (-8i32).wrapping_mul(0x4000_0001) as u32);
    assert_eq!(value(3)[0], 1 << 32);
    assert_eq!(value(4)[0], u64::MAX);
    assert_eq!(value(5)[0] as u32, 0x8000_0000);
    assert_eq!(value(6)[0], 0x7FF0_0000_0000_0004);
    assert_eq!(value(7), [1, -2i64 as u64]);
    let f = guest.ref_func(0) as u64;
    assert_eq!((value(8)[0], value(9)[0]), (f, 0));
    assert_eq!((value(10)[0], value(11)[0]), (u64::from(u32::MAX), 11));
    assert_eq!(world.bytes(guest)[40..43], [0, b'a', 0]);
    assert_eq!([0, 1, 2].map(|i| guest.table_get(i)), [Ok(f), Ok(0), Ok(f)]);
}

#[test]
fn v5_long_expressions_are_evaluated_without_recursion() {
    let mut world = World::new();
    let (deep, adds) = ("(i32.const 1) ".repeat(100_000), "(i32.add) ".repeat(99_999));
    let wat = format!("(module (global i32 {deep} {adds}))");
    let guest = world.instance(&wat);
    let id = world.store.instance(guest.id).expect("an instance").globals[0];
    assert_eq!(world.store.global_get(id).expect("a global")[0] as u32, 100_000);
}

#[test]
fn segments_of_long_expressions_are_evaluated_once_and_freed_when_dropped() {
    let mut world = World::new();
    let guest = world.instance(
        "(module (table 4 i31ref) (elem i31ref
            (ref.i31 (i32.const 1)) (ref.i31 (i32.add (i32.const 1) (i32.const 1))) (ref.null i31)))",
    );
    assert_eq!(guest.table_init(0, 1, 0, 3), Ok(()));
    assert_eq!([0, 1, 2, 3].map(|i| guest.table_get(i)), [Ok(0), Ok(3), Ok(5), Ok(0)]);
    guest.elem_drop(0);
    assert!(guest.table_init(0, 1, 0, 1).is_err());
}

#[test]
fn contexts_hold_what_engines_read() {
    let mut world = World::new();
    let guest = world.instance(
        "(module (type (func (param i32))) (type (func)) (func $a (type 0)) (func $b (type 1))
            (memory 2) (memory 1) (global i32 (i32.const 7)) (table 3 funcref) (tag (param i32)))",
    );
    let instance = world.store.instance(guest.id).expect("an instance");
    let (offsets, module) = (instance.offsets.clone(), instance.module.clone());
    let ids = (instance.memories.clone(), instance.tables.clone(), instance.globals.clone());
    let tag = instance.tags[0];
    // SAFETY: the store is alive, and the offsets are those of the module.
    unsafe {
        use palisade_module::{GlobalIdx, MemoryIdx, TableIdx, TagIdx};
        let vm = guest.vm;
        assert_eq!(((*vm).magic, (*vm).instance_index), (VMCTX_MAGIC, guest.id.0));
        assert_eq!((*vm).store, world.store.ctx());
        assert_eq!((*(*vm).store).store, &raw mut *world.store);
        assert_eq!((*vm).interrupts, Arc::as_ptr(world.store.interrupts()));
        assert!(std::ptr::eq((*vm).instance, world.store.instance(guest.id).expect("one")));
        let first = VmCtx::pointer(vm, offsets.memory(MemoryIdx(0)));
        assert_eq!((*vm).memory0, first);
        assert_eq!(world.store.memory_def(ids.0[0]), Some(first));
        let second = VmCtx::pointer(vm, offsets.memory(MemoryIdx(1)));
        assert_eq!(world.store.memory_def(ids.0[1]), Some(second));
        let table = VmCtx::pointer(vm, offsets.table(TableIdx(0)));
        assert_eq!(world.store.table_def(ids.1[0]), Some(table));
        let global = VmCtx::pointer(vm, offsets.global(GlobalIdx(0)));
        assert_eq!(world.store.global_def(ids.2[0]), Some(global));
        // What the module defines stands in the context itself.
        let own = |offset: Option<u32>| vm.byte_add(offset.expect("its own") as usize);
        assert_eq!(own(offsets.own_memory(MemoryIdx(0))).cast(), first);
        assert_eq!(own(offsets.own_memory(MemoryIdx(1))).cast(), second);
        assert_eq!(own(offsets.own_table(TableIdx(0))).cast(), table);
        assert_eq!(own(offsets.own_global(GlobalIdx(0))).cast(), global);
        assert_eq!((*global).cells.get().read()[0] as u32, 7);
        let identity = VmCtx::pointer(vm, offsets.tag(TagIdx(0)));
        assert_eq!(world.store.tag_identity(tag), Some(identity));
        let types = vm.byte_add(offsets.type_ids as usize).cast::<TypeId>();
        let types = std::slice::from_raw_parts(types, module.types.len());
        assert_eq!(types, module.types);
        for (index, ty) in [(0, 0), (1, 1)] {
            let reference = guest.ref_func(index);
            assert_eq!(reference, guest.ref_func(index), "one reference for each function");
            assert_eq!((*reference).type_id, module.types[ty]);
            assert_eq!(((*reference).defined_index, (*reference).vmctx), (index, vm));
            assert!((*reference).host.is_null());
        }
        assert!(guest.ref_func(2).is_null());
    }
    let guest = world.instance("(module)");
    // SAFETY: the store is alive.
    let len = unsafe { &(*(*guest.vm).memory0).len };
    assert_eq!(len.load(std::sync::atomic::Ordering::Relaxed), 0, "no memory is an empty one");
}

#[test]
fn what_a_failed_instantiation_took_is_given_back() {
    let mut world = World::new();
    let kept = world.instance("(module (memory 1) (table 1 externref))");
    let before: Vec<_> = Resource::ALL.iter().map(|r| world.store.ledger().in_use(*r)).collect();
    world.store.ledger().set_limit(Resource::TableElements, Some(100));
    for _ in 0..10_000 {
        let failed = world.allocate(
            "(module (memory 100) (memory 1) (tag) (global i32 (i32.const 1)) (table 5 funcref) (table 100 funcref))",
            &[],
        );
        assert!(failed.is_err());
    }
    let after: Vec<_> = Resource::ALL.iter().map(|r| world.store.ledger().in_use(*r)).collect();
    assert_eq!(before, after);
    assert_eq!(world.store.instance_count(), 1);
    let next = world.instance("(module (memory 1) (table 1 externref))");
    assert_eq!(world.memory(next, 0).0, world.memory(kept, 0).0 + 1, "numbers are given back");
    assert_eq!(world.table(next, 0).0, world.table(kept, 0).0 + 1);
}

#[test]
fn many_exports_are_found() {
    let mut world = World::new();
    let exports: String = (0..5_000)
        .map(|i| format!(r#"(export "{}-{i}" (func {}))"#, i * 7 % 1000, i % 2))
        .collect();
    let guest = world.instance(&format!("(module (func) (func) {exports})"));
    for i in 0..5_000u32 {
        let found = world.store.export(guest.id, &format!("{}-{i}", i * 7 % 1000));
        assert_eq!(found, Some(ImportValue::Func(guest.ref_func(i % 2))), "{i}");
    }
    assert_eq!(world.store.export(guest.id, "7-0"), None);
}

#[test]
fn stores_can_be_sent_to_other_threads() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 1 3) (table 1 externref))");
    let id = guest.id;
    world.store.update_host_stack_limit();
    let store = world.store;
    let sent = std::thread::spawn(move || {
        let mut store = store;
        store.update_host_stack_limit();
        let vm = store.vmctx(id);
        // SAFETY: the store is here, and not borrowed.
        let grown = unsafe { palisade_vm::builtins::memory_grow(vm, 0, 1) };
        assert_eq!(grown, Ok(1));
        // SAFETY: no guest runs.
        let limit = unsafe { (*store.ctx()).host_stack_limit };
        (store, limit)
    });
    let (mut store, there) = sent.join().expect("no panic");
    store.update_host_stack_limit();
    // SAFETY: no guest runs.
    let here = unsafe { (*store.ctx()).host_stack_limit };
    assert_ne!(here, there);
}

#[test]
fn shared_memories_are_one_in_all_stores() {
    let (mut a, mut b) = (World::new(), World::new());
    let ty = MemoryType { shared: true, ..memory(1, Some(4)) };
    let shared = SharedMemory::new(ty, &a.store.config().memory_reservation).expect("room");
    let wat = r#"(module (import "" "m" (memory 1 4 shared)))"#;
    let [in_a, in_b] = [&mut a, &mut b].map(|world| {
        let id = world.store.attach_shared_memory(shared.clone()).expect("no limits");
        let guest = world.instance_with(wat, &[ImportValue::Memory(id)]);
        (guest, id)
    });
    assert_eq!(in_a.0.memory_grow(2), Ok(1));
    assert_eq!(in_b.0.memory_grow(2), Ok(u64::MAX));
    assert_eq!(in_b.0.memory_grow(1), Ok(3));
    assert_eq!((shared.len(), shared.ty().minimum), (4 * common::PAGE, 4));
    assert_eq!(a.store.memory_def(in_a.1), b.store.memory_def(in_b.1));
    assert_eq!(in_a.0.memory_fill(3 * common::PAGE as u64, 9, 1), Ok(()));
    // SAFETY: within the memory, which no other thread uses.
    assert_eq!(unsafe { shared.base().add(3 * common::PAGE).read() }, 9);
    assert!(a.store.memory_data(in_a.1).is_empty(), "no plain view of what others may write to");
    assert!(a.store.shared_memory(in_a.1).is_some());
    let unbounded = MemoryType { maximum: None, ..ty };
    assert!(SharedMemory::new(unbounded, &a.store.config().memory_reservation).is_err());
}

#[test]
fn host_values_are_numbers_to_the_guest() {
    let mut world = World::new();
    let guest = world.instance("(module (table 1 externref))");
    let reference = world.store.extern_new(Box::new("mine")).expect("room");
    assert_eq!(guest.table_set(0, u64::from(reference.0)), Ok(()));
    let raw = guest.table_get(0).expect("an element");
    let back = world.store.extern_get(VmRef(raw as u32)).and_then(|v| v.downcast_ref::<&str>());
    assert_eq!(back, Some(&"mine"));
}

#[test]
fn types_that_no_module_has_are_errors_of_the_host() {
    let mut world = World::new();
    for ty in [
        memory(2, Some(1)),
        memory(65537, None),
        MemoryType { page_size_log2: 63, ..memory(0, None) },
        MemoryType { shared: true, ..memory(0, None) },
        MemoryType { memory64: true, ..memory(u64::MAX, Some(u64::MAX)) },
    ] {
        assert!(world.store.alloc_memory(ty).is_err(), "{ty:?}");
    }
    for ty in [table(RefType::FUNCREF, 2, Some(1)), table(RefType::FUNCREF, 1 << 32, None)] {
        // SAFETY: null is a value of the element type.
        assert!(unsafe { world.store.alloc_table(ty, 0) }.is_err(), "{ty:?}");
    }
    for what in Resource::ALL {
        assert_eq!(world.store.ledger().in_use(*what), 0);
    }
    assert!(world.store.memory_grow(MemoryId(9), 1).is_err());
    assert!(world.store.memory_data(MemoryId(9)).is_empty());
    assert_eq!(world.store.table_get(TableId(9), 0), None);
    assert_eq!(world.store.global_get(GlobalId(9)), None);
    assert!(world.store.vmctx(palisade_vm::InstanceId(3)).is_null());
}
