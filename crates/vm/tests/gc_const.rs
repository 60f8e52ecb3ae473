//! Constant expressions that make objects.

mod common;

use common::World;
use common::heap::stressed;
use palisade_core::TrapCode;
use palisade_vm::gc::layout::FieldKind;
use palisade_vm::{InstantiateError, StoreConfig, VmRef};

fn global(world: &World, guest: common::Guest, index: usize) -> VmRef {
    let id = world.store.instance(guest.id).expect("an instance").globals[index];
    VmRef(world.store.global_get(id).expect("a global")[0] as u32)
}

#[test]
fn structures_and_arrays_are_made_with_their_fields() {
    made_with_their_fields(World::new());
    // Every operand moves before it is used.
    made_with_their_fields(World::with(stressed()));
}

fn made_with_their_fields(mut world: World) {
    let guest = world.instance(
        r#"(module
            (type $f (func))
            (type $s (struct (field i8) (field i64) (field v128) (field (ref null $s)) (field (ref null $f))))
            (type $b (array i8)) (type $r (array (mut anyref))) (type $w (array v128))
            (func $f (type $f)) (elem declare func $f)
            (global $s1 (ref $s) (struct.new $s (i32.const 0x1ff) (i64.const -2) (v128.const i64x2 3 4)
                (struct.new_default $s) (ref.func $f)))
            (global $b (ref $b) (array.new $b (i32.const 7) (i32.const 3)))
            (global $r (ref $r) (array.new_fixed $r 4 (global.get $s1) (ref.i31 (i32.const 5)) (ref.null any)
                (array.new_default $b (i32.const 9))))
            (global $w (ref $w) (array.new $w (v128.const i64x2 5 6) (i32.const 2)))
            (global externref (extern.convert_any (struct.new_default $s)))
            (table 3 (ref $b) (array.new $b (i32.const 1) (i32.const 2))))"#,
    );
    let object = |index| global(&world, guest, index);
    let (s, b, r, w) = (object(0), object(1), object(2), object(3));
    let store = &world.store;
    // SAFETY: the globals hold objects of these types.
    unsafe {
        let read = |object, offset, kind| store.gc_read(object, offset, kind);
        assert_eq!(read(s, 4, FieldKind::I8), [0xff, 0]);
        assert_eq!(read(s, 8, FieldKind::B8), [-2i64 as u64, 0]);
        assert_eq!(read(s, 16, FieldKind::B16), [3, 4]);
        let inner = VmRef(read(s, 32, FieldKind::Ref)[0] as u32);
        assert_eq!(store.gc_type(inner), store.gc_type(s));
        assert_eq!(read(inner, 8, FieldKind::B16), [0, 0]);
        assert_eq!(read(s, 36, FieldKind::Func), [guest.ref_func(0) as u64, 0]);
        assert_eq!(read(inner, 36, FieldKind::Func), [0, 0]);
        assert_eq!(store.gc_header(b)[1], 3);
        assert_eq!([8, 9, 10].map(|at| read(b, at, FieldKind::I8)[0]), [7, 7, 7]);
        assert_eq!(store.gc_header(r)[1], 4);
        let elements = [8, 12, 16, 20].map(|at| read(r, at, FieldKind::Ref)[0] as u32);
        assert_eq!(elements[..3], [s.0, 11, 0]);
        assert_eq!(store.gc_header(VmRef(elements[3]))[1], 9);
        assert_eq!([8, 24].map(|at| read(w, at, FieldKind::B16)), [[5, 6]; 2]);
    }
    assert_eq!(store.gc_stats().collections > 0, store.config().gc_stress);
    let element = guest.table_get(0).expect("an element");
    assert_eq!(guest.table_get(2), Ok(element), "one array for the whole table");
}

#[test]
fn elements_of_segments_are_made_once() {
    for config in [StoreConfig::default(), stressed()] {
        made_once(World::with(config));
    }
}

fn made_once(mut world: World) {
    let guest = world.instance(
        "(module (type $s (struct)) (table 8 structref)
            (elem structref (struct.new_default $s) (struct.new $s) (ref.null struct)))",
    );
    assert_eq!(guest.table_init(0, 0, 0, 3), Ok(()));
    assert_eq!(guest.table_init(0, 3, 0, 3), Ok(()));
    let found: Vec<_> = (0..6).map(|i| guest.table_get(i).expect("an element")).collect();
    assert_eq!(found[..3], found[3..]);
    assert!(found[0] != 0 && found[1] != 0 && found[0] != found[1] && found[2] == 0);
}

#[test]
fn an_object_that_does_not_fit_is_a_trap_and_leaves_nothing() {
    let mut world = World::new();
    for (wat, trap) in [
        ("(array.new_default $a (i32.const -1))", TrapCode::AllocationTooLarge),
        (
            "(array.new $a (v128.const i64x2 1 1) (i32.const 0x0fffffff))",
            TrapCode::AllocationTooLarge,
        ),
    ] {
        let wat = format!("(module (type $a (array v128)) (memory 1) (global (ref $a) {wat}))");
        let error = world.allocate(&wat, &[]).expect_err("too large");
        assert!(matches!(error, InstantiateError::Trap(code) if code == trap), "{error}");
        assert_eq!(world.store.ledger().in_use(palisade_vm::Resource::Memories), 0);
    }
    world.store.ledger().set_limit(palisade_vm::Resource::MemoryBytes, Some(10 << 20));
    let wat = "(module (type $a (array i8)) (global (ref $a) (array.new_default $a (i32.const 0x600000))))";
    let error = world.allocate(wat, &[]).expect_err("more than the limit");
    assert!(matches!(error, InstantiateError::Trap(TrapCode::HeapExhausted)), "{error}");
}
