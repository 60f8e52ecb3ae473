//! Rows M7 and X2: bulk operations at the edges, with overlapping ranges, from dropped segments; what
//! they cost, and how they are stopped.

mod common;

use common::{Guest, PAGE, World};
use palisade_core::TrapCode;

const OOB: Result<(), TrapCode> = Err(TrapCode::MemoryOutOfBounds);
const TABLE_OOB: Result<(), TrapCode> = Err(TrapCode::TableOutOfBounds);
const MIB: u64 = 1 << 20;

#[test]
fn m7_ranges_at_the_end_and_past_it() {
    let mut world = World::new();
    let guest = world.instance(
        r#"(module (memory 1) (table 4 externref)
            (data "abc") (elem externref (ref.null extern) (ref.null extern)))"#,
    );
    let end = PAGE as u64;
    let far = u64::from(u32::MAX);
    for (start, len, fits) in [
        (0, 0, true),
        (end, 0, true),
        (end + 1, 0, false),
        (far, 0, false),
        (u64::MAX, 0, false),
        (end - 1, 1, true),
        (end - 1, 2, false),
        (0, end, true),
        (0, end + 1, false),
        (1, end, false),
        (0, far, false),
        (1, u64::MAX, false),
        (u64::MAX, u64::MAX, false),
        (end, u64::MAX - end + 1, false),
    ] {
        let verdict = if fits { Ok(()) } else { OOB };
        assert_eq!(guest.memory_fill(start, 1, len), verdict, "fill {start} {len}");
        assert_eq!(guest.memory_copy(start, 0, len), verdict, "copy to {start} {len}");
        assert_eq!(guest.memory_copy(0, start, len), verdict, "copy from {start} {len}");
    }
    for (dst, src, len, fits) in [
        (end - 3, 0, 3, true),
        (end, 3, 0, true),
        (end - 2, 0, 3, false),
        (0, 1, 3, false),
        (0, 4, 0, false),
        (end + 1, 0, 0, false),
        (0, 0, far, false),
        (0, u64::MAX, 1, false),
    ] {
        let verdict = if fits { Ok(()) } else { OOB };
        assert_eq!(guest.memory_init(0, dst, src, len), verdict, "init {dst} {src} {len}");
    }
    assert_eq!(&world.bytes(guest)[PAGE - 3..], b"abc");
    for (start, len, fits) in [
        (0, 4, true),
        (4, 0, true),
        (5, 0, false),
        (3, 2, false),
        (0, far, false),
        (1, u64::MAX, false),
    ] {
        let verdict = if fits { Ok(()) } else { TABLE_OOB };
        assert_eq!(guest.table_fill(start, 2, len), verdict, "fill {start} {len}");
        assert_eq!(guest.table_copy(start, 0, len), verdict, "copy to {start} {len}");
        assert_eq!(guest.table_copy(0, start, len), verdict, "copy from {start} {len}");
    }
    for (dst, src, len, fits) in
        [(2, 0, 2, true), (4, 2, 0, true), (3, 0, 2, false), (0, 1, 2, false), (0, 3, 0, false)]
    {
        let verdict = if fits { Ok(()) } else { TABLE_OOB };
        assert_eq!(guest.table_init(0, dst, src, len), verdict, "init {dst} {src} {len}");
    }
}

#[test]
fn m7_a_failing_operation_writes_nothing() {
    let mut world = World::new();
    let guest = world.instance(r#"(module (memory 1) (table 4 externref) (data "abc"))"#);
    assert_eq!(guest.memory_fill(10, 1, PAGE as u64), OOB);
    assert_eq!(guest.memory_init(0, PAGE as u64 - 2, 0, 3), OOB);
    assert!(world.bytes(guest).iter().all(|&b| b == 0));
    assert_eq!(guest.table_fill(2, 2, 3), TABLE_OOB);
    assert!((0..4).all(|i| guest.table_get(i) == Ok(0)));
}

#[test]
fn m7_dropped_segments_are_empty() {
    let mut world = World::new();
    let guest = world.instance(
        r#"(module (memory 1) (table 4 funcref) (func $f)
            (data "abc") (data (i32.const 0) "xyz")
            (elem func $f $f) (elem (i32.const 0) func $f) (elem declare func $f)
            (elem funcref (ref.func $f) (item (ref.null func))))"#,
    );
    assert_eq!(&world.bytes(guest)[..4], b"xyz\0");
    assert_eq!(guest.memory_init(0, 0, 1, 2), Ok(()));
    assert_eq!(guest.memory_init(1, 0, 0, 1), OOB, "active segments are dropped");
    assert_eq!(guest.memory_init(1, 0, 0, 0), Ok(()));
    guest.data_drop(0);
    guest.data_drop(0);
    assert_eq!(guest.memory_init(0, 0, 0, 1), OOB);
    assert_eq!(guest.memory_init(0, PAGE as u64, 0, 0), Ok(()));
    assert_eq!(guest.memory_init(0, 0, 1, 0), OOB);
    assert_eq!(&world.bytes(guest)[..4], b"bcz\0");
    for dropped in [1, 2] {
        assert_eq!(guest.table_init(dropped, 0, 0, 1), TABLE_OOB, "active and declared ones");
        assert_eq!(guest.table_init(dropped, 0, 0, 0), Ok(()));
    }
    let f = guest.ref_func(0) as u64;
    assert_eq!(guest.table_init(3, 1, 0, 2), Ok(()));
    assert_eq!([0, 1, 2].map(|i| guest.table_get(i)), [Ok(f), Ok(f), Ok(0)]);
    guest.elem_drop(0);
    guest.elem_drop(3);
    assert_eq!(guest.table_init(0, 0, 0, 1), TABLE_OOB);
    assert_eq!(guest.table_init(3, 0, 0, 1), TABLE_OOB);
    assert_eq!(guest.table_init(3, 4, 0, 0), Ok(()));
}

/// A pattern in which no two bytes near each other are alike for long.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn m7_overlapping_copies_equal_the_model() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 80))");
    let size = 80 * PAGE;
    let mut model = pattern(size);
    world.bytes_mut(guest).copy_from_slice(&model);
    let long = 3 * MIB + 17;
    for (dst, src, len) in [
        (1, 0, long),
        (0, 1, long),
        (MIB, 0, long),
        (0, MIB, long),
        (MIB + 1, 3, 2 * MIB),
        (5, 5, long),
        (64, 0, size as u64 - 64),
        (0, 64, size as u64 - 64),
        (9, 2, 30),
        (2, 9, 30),
    ] {
        assert_eq!(guest.memory_copy(dst, src, len), Ok(()));
        model.copy_within(src as usize..(src + len) as usize, dst as usize);
        assert!(world.bytes(guest) == model, "{dst} {src} {len}");
    }
}

#[test]
fn m7_overlapping_table_copies_equal_the_model() {
    for ty in ["externref", "funcref"] {
        let mut world = World::new();
        let count = 400_000u64;
        let guest =
            world.instance(&format!("(module (table {count} {ty}) (func) (elem declare func 0))"));
        let f = guest.ref_func(0) as u64;
        let value = |i: u64| match ty {
            "funcref" => f * (i % 3 % 2),
            _ => i.wrapping_mul(2_654_435_761) & 0xFFFF_FFFE,
        };
        let mut model: Vec<u64> = (0..count).map(value).collect();
        for (i, value) in (0..).zip(&model) {
            assert_eq!(guest.table_set(i, *value), Ok(()));
        }
        for (dst, src, len) in [
            (1, 0, 300_001),
            (0, 1, 300_001),
            (140_000, 3, 200_000),
            (3, 140_000, 200_000),
            (7, 5, 9),
        ] {
            assert_eq!(guest.table_copy(dst, src, len), Ok(()));
            model.copy_within(src as usize..(src + len) as usize, dst as usize);
            let same = (0..).zip(&model).all(|(i, value)| guest.table_get(i) == Ok(*value));
            assert!(same, "{ty} {dst} {src} {len}");
        }
    }
}

#[test]
fn m7_copies_between_memories_and_tables() {
    let mut world = World::new();
    let guest = world
        .instance("(module (memory 1) (memory i64 2) (table 2 externref) (table i64 9 externref))");
    world.bytes_mut(guest)[..3].copy_from_slice(b"abc");
    // SAFETY: the store is alive, and nothing of it is borrowed.
    unsafe {
        use palisade_vm::builtins::{memory_copy, table_copy, table_get, table_set};
        assert_eq!(memory_copy(guest.vm, 1, 0, 2 * PAGE as u64 - 3, 0, 3), Ok(()));
        assert_eq!(memory_copy(guest.vm, 1, 0, 2 * PAGE as u64 - 2, 0, 3), OOB);
        assert_eq!(memory_copy(guest.vm, 1, 0, 0, PAGE as u64 - 2, 3), OOB);
        assert_eq!(table_set(guest.vm, 0, 1, 2), Ok(()));
        assert_eq!(table_copy(guest.vm, 1, 0, 7, 0, 2), Ok(()));
        assert_eq!(table_copy(guest.vm, 1, 0, 8, 0, 2), TABLE_OOB);
        assert_eq!(table_copy(guest.vm, 1, 0, 0, 1, 2), TABLE_OOB);
        assert_eq!(table_get(guest.vm, 1, 8), Ok(2));
        // Indices that validation excludes are answered, too.
        assert_eq!(memory_copy(guest.vm, 2, 0, 0, 0, 0), Err(TrapCode::Internal));
        assert_eq!(table_get(guest.vm, 2, 0), Err(TrapCode::Internal));
    }
    let second = world.memory(guest, 1);
    assert_eq!(&world.store.memory_data(second)[2 * PAGE - 3..], b"abc");
}

#[test]
fn m7_earlier_segments_stay_when_a_later_one_does_not_fit() {
    let mut world = World::new();
    let wat = r#"(module (memory 1) (table 3 funcref) (func $f)
        (elem (i32.const 0) func $f) (elem (i32.const 2) func $f $f) (data (i32.const 0) "x"))"#;
    let id = world.allocate(wat, &[]).expect("it fits");
    assert_eq!(world.store.initialize_instance(id), TABLE_OOB);
    let guest = world.guest(id);
    let f = guest.ref_func(0) as u64;
    assert_eq!([0, 1, 2].map(|i| guest.table_get(i)), [Ok(f), Ok(0), Ok(0)]);
    assert_eq!(world.bytes(guest)[0], 0, "data segments come after");
    let wat = r#"(module (memory 1) (data (i32.const 65535) "x") (data (i32.const -1) ""))"#;
    let id = world.allocate(wat, &[]).expect("it fits");
    assert_eq!(world.store.initialize_instance(id), OOB);
    assert_eq!(world.bytes(world.guest(id))[PAGE - 1], b'x');
    let wat = r#"(module (memory i64 1) (data (i64.const -1) "xy"))"#;
    let id = world.allocate(wat, &[]).expect("it fits");
    assert_eq!(world.store.initialize_instance(id), OOB);
}

#[test]
fn x2_bulk_work_is_paid_for_by_its_length_and_before_it_starts() {
    let mut world = World::with_fuel(1_000_000);
    let guest = world.instance(
        r#"(module (memory 20 200) (table 100 10000 externref) (data "abc") (elem externref (ref.null extern)))"#,
    );
    assert_eq!(world.fuel(), 1_000_000, "instantiation is free");
    let mut paid = |run: &dyn Fn(Guest)| {
        let before = world.fuel();
        run(guest);
        before - world.fuel()
    };
    assert_eq!(paid(&|g| assert_eq!(g.memory_fill(0, 1, 0), Ok(()))), 0);
    assert_eq!(paid(&|g| assert_eq!(g.memory_fill(0, 1, 1), Ok(()))), 1);
    assert_eq!(paid(&|g| assert_eq!(g.memory_fill(0, 1, 64), Ok(()))), 1);
    assert_eq!(paid(&|g| assert_eq!(g.memory_copy(0, 1, 65), Ok(()))), 2);
    assert_eq!(paid(&|g| assert_eq!(g.memory_init(0, 0, 0, 3), Ok(()))), 1);
    assert_eq!(paid(&|g| assert_eq!(g.memory_fill(0, 1, 1 << 40), OOB)), 0);
    assert_eq!(paid(&|g| assert_eq!(g.memory_grow(100), Ok(20))), 100);
    assert_eq!(paid(&|g| assert_eq!(g.memory_grow(100), Ok(u64::MAX))), 0);
    assert_eq!(paid(&|g| assert_eq!(g.memory_grow(0), Ok(120))), 0);
    assert_eq!(paid(&|g| assert_eq!(g.table_fill(0, 0, 9), Ok(()))), 2);
    assert_eq!(paid(&|g| assert_eq!(g.table_copy(0, 1, 8), Ok(()))), 1);
    assert_eq!(paid(&|g| assert_eq!(g.table_init(0, 0, 0, 1), Ok(()))), 1);
    assert_eq!(paid(&|g| assert_eq!(g.table_grow(0, 800), Ok(100))), 100);
    assert_eq!(paid(&|g| assert_eq!(g.table_grow(0, 1 << 40), Ok(u64::MAX))), 0);

    world.set_fuel(9);
    let out = Err(TrapCode::OutOfFuel);
    assert_eq!(guest.memory_fill(0, 0xEE, 640), out);
    assert!(world.fuel() < 0);
    assert!(world.bytes(guest).iter().all(|&b| b != 0xEE), "nothing was done");
    world.set_fuel(9);
    assert_eq!(guest.memory_grow(10), Err(TrapCode::OutOfFuel));
    world.set_fuel(9);
    assert_eq!(guest.table_grow(2, 80), Err(TrapCode::OutOfFuel));
    assert_eq!((guest.table_size(), world.bytes(guest).len()), (Ok(900), 120 * PAGE));
    world.set_fuel(10);
    assert_eq!(guest.memory_fill(0, 1, 640), Ok(()));
    assert_eq!(world.fuel(), 0);
}

#[test]
fn x2_long_work_stops_at_the_next_step() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 64) (table 400000 externref))");
    let handle = world.store.interrupt_handle();
    handle.interrupt(TrapCode::Interrupted);
    let stopped = Err(TrapCode::Interrupted);
    assert_eq!(guest.memory_fill(0, 1, MIB), Ok(()), "a single step is not looked at");
    assert_eq!(guest.memory_fill(0, 2, 3 * MIB), stopped);
    let twos = world.bytes(guest).iter().filter(|&&b| b == 2).count();
    assert_eq!(twos, MIB as usize);
    assert_eq!(guest.memory_copy(MIB, 0, 3 * MIB), stopped);
    assert_eq!(guest.table_fill(0, 2, 400_000), stopped);
    assert_eq!((guest.table_get(131_071), guest.table_get(131_072)), (Ok(2), Ok(0)));
    assert_eq!(guest.table_copy(1, 0, 300_000), stopped);
    assert_eq!(guest.table_grow(2, 300_000), Err(TrapCode::Interrupted));
    assert_eq!(guest.table_size(), Ok(400_000));
    handle.clear();
    assert_eq!(guest.memory_fill(0, 2, 3 * MIB), Ok(()));
}

#[test]
fn x2_a_deadline_that_has_passed_stops_long_work() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 64))");
    world.store.set_deadline(Some(std::time::Instant::now())).expect("a deadline");
    assert_eq!(guest.memory_fill(0, 1, 4 * MIB), Err(TrapCode::DeadlineExceeded));
    let later = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    world.store.set_deadline(Some(later)).expect("a deadline");
    assert_eq!(world.store.deadline(), Some(later));
    assert_eq!(guest.memory_fill(0, 1, 4 * MIB), Ok(()), "a new deadline, a new run");
    world.store.interrupt_handle().interrupt(TrapCode::Interrupted);
    world.store.set_deadline(None).expect("no deadline");
    assert_eq!(world.store.deadline(), None);
    assert_eq!(
        guest.memory_fill(0, 1, 4 * MIB),
        Err(TrapCode::Interrupted),
        "an interruption stays until it is cleared"
    );
}
