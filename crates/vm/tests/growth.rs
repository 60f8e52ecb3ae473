//! Rows M2 and M3: growth at its limits, sizes that overflow, limits on initial sizes, and what is
//! seen in memory that somebody else used before.

mod common;

use common::{PAGE, World};
use palisade_core::TrapCode;
use palisade_vm::{
    BoxError, InstantiateError, MemoryReservation, Resource, ResourceLimiter, StoreConfig, VmError,
};

const FAILED: u64 = u64::MAX;

/// Memories of every kind of address space, each with a maximum of five pages.
const KINDS: [(&str, usize); 4] = [
    ("(module (memory 1 5))", PAGE),
    ("(module (memory i64 1 5))", PAGE),
    ("(module (memory 1 5 (pagesize 1)))", 1),
    ("(module (memory i64 1 5 (pagesize 1)))", 1),
];

/// Both with room set aside for 64-bit memories and without, so that these move.
fn plans() -> [StoreConfig; 2] {
    let plan = |growable| MemoryReservation { growable, ..MemoryReservation::default() };
    [4 << 30, 0].map(|growable| StoreConfig {
        memory_reservation: plan(growable),
        ..StoreConfig::default()
    })
}

#[test]
fn m2_memory_grows_to_its_maximum_and_not_beyond() {
    for config in plans() {
        for (wat, page) in KINDS {
            let mut world = World::with(config.clone());
            let guest = world.instance(wat);
            world.bytes_mut(guest).fill(0xAA);
            assert_eq!(guest.memory_grow(0), Ok(1), "{wat}");
            for too_much in [5, 6, 65536, 1 << 32, 1 << 48, u64::MAX, u64::MAX - 1, 1 << 63] {
                assert_eq!(guest.memory_grow(too_much), Ok(FAILED), "{wat} {too_much}");
            }
            assert_eq!(world.bytes(guest).len(), page);
            assert_eq!(guest.memory_grow(1), Ok(1));
            assert_eq!(guest.memory_grow(3), Ok(2));
            assert_eq!(guest.memory_grow(1), Ok(FAILED));
            assert_eq!(guest.memory_grow(0), Ok(5));
            let bytes = world.bytes(guest);
            assert_eq!(bytes.len(), 5 * page);
            assert!(bytes[..page].iter().all(|&b| b == 0xAA), "{wat}: what was there stays");
            assert!(bytes[page..].iter().all(|&b| b == 0), "{wat}: what is new is zero");
        }
    }
}

#[test]
fn m2_a_memory_without_a_maximum_grows_to_what_its_indices_reach() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 0))");
    assert_eq!(guest.memory_grow(65537), Ok(FAILED));
    assert_eq!(guest.memory_grow(65536), Ok(0));
    assert_eq!(guest.memory_grow(1), Ok(FAILED));
    assert_eq!(guest.memory_grow(0), Ok(65536));
    let bytes = world.bytes_mut(guest);
    assert_eq!(bytes.len(), 1 << 32);
    bytes[(1 << 32) - 1] = 1;
    assert_eq!(guest.memory_fill((1 << 32) - 1, 2, 1), Ok(()));
    assert_eq!(guest.memory_fill((1 << 32) - 1, 3, 2), Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(world.bytes(guest)[(1 << 32) - 1], 2);
}

#[test]
fn m2_more_than_the_host_has_is_minus_one_and_leaves_all_as_it_was() {
    for wat in ["(module (memory i64 1))", "(module (memory i64 1 0x1_0000_0000))"] {
        let mut world = World::new();
        let guest = world.instance(wat);
        world.bytes_mut(guest).fill(7);
        for delta in [1 << 31, (1 << 32) - 1, 1 << 30] {
            assert_eq!(guest.memory_grow(delta), Ok(FAILED), "{delta}");
        }
        assert_eq!(world.store.ledger().in_use(Resource::MemoryBytes), PAGE as u64);
        assert!(world.bytes(guest).len() == PAGE && world.bytes(guest).iter().all(|&b| b == 7));
        assert_eq!(guest.memory_grow(2), Ok(1));
    }
}

#[test]
fn m2_a_memory_that_moves_keeps_its_contents_and_its_definition_follows() {
    let plan = MemoryReservation { growable: 0, ..MemoryReservation::default() };
    let mut world = World::with(StoreConfig { memory_reservation: plan, ..StoreConfig::default() });
    let guest = world.instance("(module (memory i64 1))");
    let mut moved = false;
    for pages in 1..200u64 {
        let last = pages as usize * PAGE - 1;
        world.bytes_mut(guest)[last] = pages as u8;
        let id = world.memory(guest, 0);
        let def = world.store.memory_def(id).expect("a memory");
        // SAFETY: the store is alive.
        let before = unsafe { (*def).base };
        assert_eq!(guest.memory_grow(1), Ok(pages));
        // SAFETY: as above.
        let after = unsafe { (*def).base };
        moved |= before != after;
        assert_eq!(world.bytes(guest).as_ptr(), after.cast_const());
    }
    let bytes = world.bytes(guest);
    assert!(moved, "the mapping cannot have grown in place each time");
    for pages in 1..200 {
        assert_eq!(bytes[pages * PAGE - 1], pages as u8);
    }
    let written = bytes.iter().filter(|&&b| b != 0).count();
    assert_eq!(written, 199);
}

#[test]
fn m2_tables_grow_to_their_maximum_and_not_beyond() {
    for wat in ["(module (table 1 5 externref))", "(module (table i64 1 5 externref))"] {
        let mut world = World::new();
        let guest = world.instance(wat);
        assert_eq!(guest.table_set(0, 2), Ok(()));
        assert_eq!(guest.table_grow(4, 0), Ok(1));
        for too_much in [5, 6, 1 << 32, (1 << 32) - 1, 1 << 61, u64::MAX] {
            assert_eq!(guest.table_grow(4, too_much), Ok(FAILED), "{wat} {too_much}");
        }
        assert_eq!(guest.table_grow(4, 1), Ok(1));
        assert_eq!(guest.table_grow(0, 3), Ok(2));
        assert_eq!(guest.table_grow(4, 1), Ok(FAILED));
        let all: Vec<_> = (0..6).map(|i| guest.table_get(i)).collect();
        let end = Err(TrapCode::TableOutOfBounds);
        assert_eq!(all, [Ok(2), Ok(4), Ok(0), Ok(0), Ok(0), end]);
        assert_eq!(guest.table_size(), Ok(5));
        assert_eq!(guest.table_get(u64::MAX), end);
        assert_eq!(guest.table_set(5, 2), Err(TrapCode::TableOutOfBounds));
    }
}

#[test]
fn m2_tables_without_a_maximum_stop_at_the_end_of_their_indices() {
    let mut world = World::new();
    let guest = world.instance("(module (table 1 externref))");
    assert_eq!(guest.table_grow(0, u64::from(u32::MAX)), Ok(FAILED));
    let guest = world.instance("(module (table i64 1 externref))");
    for delta in [u64::MAX, u64::MAX - 1, 1 << 62, 1 << 61, 1 << 60] {
        assert_eq!(guest.table_grow(0, delta), Ok(FAILED));
    }
    assert_eq!((guest.table_size(), guest.table_get(0)), (Ok(1), Ok(0)));
    assert_eq!(world.store.ledger().in_use(Resource::TableElements), 2);
}

#[test]
fn m3_sizes_that_no_machine_has_are_clean_errors() {
    let mut world = World::new();
    for wat in [
        "(module (table i64 0x2000_0000_0000_0000 funcref))",
        "(module (table i64 0x1fff_ffff_ffff_ffff funcref))",
        "(module (table i64 0xffff_ffff_ffff_ffff externref))",
        "(module (table i64 0x4000_0000_0000_0001 externref))",
        "(module (table i64 0x0100_0000_0000_0000 funcref))",
        "(module (memory i64 0x1_0000_0000))",
        "(module (memory i64 0x7fff_ffff))",
        "(module (memory i64 0x1_0000_0000_0000 (pagesize 1)))",
    ] {
        match world.allocate(wat, &[]) {
            Err(InstantiateError::Vm(VmError::TooLarge { .. } | VmError::System { .. })) => {}
            other => panic!("{wat}: {other:?}"),
        }
        for what in Resource::ALL {
            assert_eq!(world.store.ledger().in_use(*what), 0, "{wat}");
        }
    }
    world.instance("(module (memory 1) (table 1 funcref))");
}

#[test]
fn m3_limits_hold_for_initial_sizes() {
    let mut world = World::new();
    world.store.ledger().set_limit(Resource::MemoryBytes, Some(3 * PAGE as u64 - 1));
    world.store.ledger().set_limit(Resource::TableElements, Some(9));
    assert!(world.allocate("(module (memory 3))", &[]).is_err());
    assert!(world.allocate("(module (memory 1) (memory 2))", &[]).is_err());
    let refusal = *world.store.ledger().refusal().expect("it was refused");
    assert_eq!((refusal.what, refusal.in_use), (Resource::MemoryBytes, PAGE as u64));
    assert!(world.allocate("(module (table 10 funcref))", &[]).is_err());
    assert!(
        world.allocate("(module (memory 2) (table 5 funcref) (table 5 externref))", &[]).is_err()
    );
    for what in Resource::ALL {
        assert_eq!(world.store.ledger().in_use(*what), 0, "{what:?} was given back");
    }
    let guest = world.instance("(module (memory 2) (table 5 funcref) (table 4 externref))");
    assert_eq!(guest.memory_grow(1), Ok(FAILED));
    assert_eq!(guest.table_grow(0, 1), Ok(FAILED));
    assert_eq!(world.store.ledger().peak_memory(), 2 * PAGE as u64);
}

/// What a limiter was asked: current, desired, maximum.
type Asked = (usize, usize, Option<usize>);

/// A limiter that answers as it is told and writes down what it was asked.
#[derive(Default)]
struct Told {
    allow_memory: usize,
    allow_table: usize,
    fail: bool,
    panic: bool,
    memories: usize,
    log: std::sync::Arc<std::sync::Mutex<Vec<Asked>>>,
}

impl ResourceLimiter for Told {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.log.lock().expect("not poisoned").push((current, desired, maximum));
        assert!(!self.panic, "told to");
        if self.fail {
            return Err("no more today".into());
        }
        Ok(desired <= self.allow_memory)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError> {
        self.log.lock().expect("not poisoned").push((current, desired, maximum));
        Ok(desired <= self.allow_table)
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

#[test]
fn m3_the_limiter_is_asked_for_minimums_and_growth() {
    let told = Told { allow_memory: 2 * PAGE, allow_table: 3, memories: 2, ..Told::default() };
    let log = told.log.clone();
    let mut world = World::new();
    world.store.set_limiter(Some(Box::new(told)));
    assert!(matches!(
        world.allocate("(module (memory 3 4))", &[]),
        Err(InstantiateError::Vm(VmError::LimiterRefused { asked: 196608, in_use: 0, .. }))
    ));
    assert!(world.allocate("(module (table 4 funcref))", &[]).is_err());
    let guest = world.instance("(module (memory 1 4) (table 2 9 funcref))");
    assert_eq!((guest.memory_grow(2), guest.memory_grow(1)), (Ok(FAILED), Ok(1)));
    assert_eq!((guest.table_grow(0, 2), guest.table_grow(0, 1)), (Ok(FAILED), Ok(2)));
    assert_eq!((guest.memory_grow(9), guest.table_grow(0, 9)), (Ok(FAILED), Ok(FAILED)));
    assert!(world.allocate("(module (memory 0) (memory 0))", &[]).is_err(), "three memories");
    assert_eq!(world.store.ledger().in_use(Resource::Memories), 1);
    let page = |n| n * PAGE;
    let expected = [
        (0, page(3), Some(page(4))),
        (0, 4, Some(u32::MAX as usize)),
        (0, page(1), Some(page(4))),
        (0, 2, Some(9)),
        (page(1), page(3), Some(page(4))),
        (page(1), page(2), Some(page(4))),
        (2, 4, Some(9)),
        (2, 3, Some(9)),
        (0, 0, Some(1 << 32)),
    ];
    assert_eq!(*log.lock().expect("not poisoned"), expected);
}

#[test]
fn m3_what_the_host_asks_for_in_vain_is_given_back() {
    use palisade_core::{MemoryType, RefType, TableType};
    let mut world = World::new();
    world.store.set_limiter(Some(Box::new(Told { memories: 9, ..Told::default() })));
    let memory = MemoryType {
        memory64: false,
        shared: false,
        minimum: 3,
        maximum: None,
        page_size_log2: 16,
    };
    let table =
        TableType { element: RefType::EXTERNREF, table64: false, minimum: 3, maximum: None };
    assert!(matches!(world.store.alloc_memory(memory), Err(VmError::LimiterRefused { .. })));
    // SAFETY: null is a value of the element type.
    let made = unsafe { world.store.alloc_table(table, 0) };
    assert!(matches!(made, Err(VmError::LimiterRefused { .. })));
    for what in Resource::ALL {
        assert_eq!(world.store.ledger().in_use(*what), 0, "{what:?}");
    }
}

/// Throws something that panics when it is dropped, as does what that throws.
struct Throws;

struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            std::panic::panic_any(Self(left));
        }
    }
}

impl ResourceLimiter for Throws {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool, BoxError> {
        std::panic::panic_any(Bomb(2))
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool, BoxError> {
        std::panic::panic_any(Bomb(2))
    }
}

#[test]
fn m2_a_limiter_that_fails_or_panics_ends_the_guest_and_not_the_process() {
    let mut world = World::new();
    let guest = world.instance("(module (memory 1) (table 0 funcref))");
    world.store.set_limiter(Some(Box::new(Told { fail: true, ..Told::default() })));
    assert_eq!(guest.memory_grow(1), Err(TrapCode::Internal));
    let error = world.store.pending_error.take().expect("the limiter's error");
    assert_eq!(error.to_string(), "no more today");
    assert!(!world.store.poisoned);
    world.store.set_limiter(Some(Box::new(Told { panic: true, ..Told::default() })));
    assert_eq!(guest.memory_grow(1), Err(TrapCode::Internal));
    let error = world.store.pending_error.take().expect("the limiter's panic");
    assert!(error.to_string().contains("told to"), "{error}");
    assert!(world.store.poisoned);
    // Nor does what was thrown, when it is dropped.
    world.store.set_limiter(Some(Box::new(Throws)));
    assert_eq!(guest.table_grow(0, 1), Err(TrapCode::Internal));
    let error = world.store.pending_error.take().expect("the limiter's panic");
    assert!(error.to_string().contains("no message"), "{error}");
    assert_eq!(world.bytes(guest).len(), PAGE);
    assert_eq!(world.store.ledger().in_use(Resource::MemoryBytes), PAGE as u64);
}

#[test]
fn l1_a_later_store_sees_nothing_of_an_earlier_one() {
    const WAT: &str = "(module (memory 40) (memory i64 3 90) (table 50000 externref)
        (global (mut i64) (i64.const 0)))";
    for round in 0..3 {
        let mut world = World::new();
        let guest = world.instance(WAT);
        for index in 0..2 {
            let id = world.memory(guest, index);
            let bytes = world.store.memory_data_mut(id);
            assert!(bytes.iter().all(|&b| b == 0), "round {round}");
            bytes.fill(0xA5);
        }
        assert!((0..50_000).all(|i| guest.table_get(i) == Ok(0)), "round {round}");
        assert_eq!(guest.table_fill(0, 0x0BAD_CAFE, 50_000), Ok(()));
        // Grown parts as well.
        assert_eq!(guest.memory_grow(40), Ok(40));
        assert!(world.bytes(guest)[40 * PAGE..].iter().all(|&b| b == 0), "round {round}");
        world.bytes_mut(guest).fill(0xA5);
        assert_eq!(guest.table_grow(0, 200_000), Ok(50_000));
        assert!((50_000..250_000).all(|i| guest.table_get(i) == Ok(0)), "round {round}");
        assert_eq!(guest.table_fill(0, 0x0BAD_CAFE, 250_000), Ok(()));
    }
}
