//! Row X8: one store cannot take more than its ledger gives, whatever it spreads it over. Alone in
//! its file, for it looks at the memory of the whole process.

mod common;

use common::World;
use palisade_vm::Resource;

const MIB: u64 = 1 << 20;

/// Resident memory of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("linux");
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * host_page_size()
}

fn host_page_size() -> u64 {
    // SAFETY: asks for a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a size")
}

#[test]
fn x8_one_cap_holds_for_all_memories_and_tables_of_a_store() {
    let cap = 64 * MIB;
    let mut world = World::new();
    let ledger = world.store.ledger();
    ledger.set_limit(Resource::MemoryBytes, Some(cap));
    ledger.set_limit(Resource::TableElements, Some(1_000_000));
    ledger.set_limit(Resource::Instances, Some(300));
    let start = resident();

    // A table of 10^7 elements, and minimums beyond the cap, are refused before they are made.
    for wat in [
        "(module (table 10000000 funcref))",
        "(module (table 10000000 externref))",
        "(module (memory 1025))",
        "(module (memory 600) (memory 600))",
        "(module (memory 65536))",
    ] {
        assert!(world.allocate(wat, &[]).is_err(), "{wat}");
    }
    assert!(resident() < start + 4 * MIB);

    // Many instances with many memories and tables, each as large as it can get.
    let memories = "(memory 1) ".repeat(10);
    let tables = "(table 100 externref) ".repeat(10);
    let module = world.module(&format!("(module {memories} {tables})"));
    let mut guests = Vec::new();
    while let Ok(id) = world.allocate_module(module.clone(), &[]) {
        guests.push(world.guest(id));
        for index in 0..10 {
            let memory = world.memory(guests[guests.len() - 1], index);
            world.store.memory_data_mut(memory).fill(1);
        }
    }
    let refusal = *world.store.ledger().refusal().expect("something was refused");
    assert_eq!(refusal.what, Resource::MemoryBytes);
    assert_eq!(guests.len(), 102);

    // Storms of growth take what is left, and no more.
    let mut grown = 0;
    for guest in guests.iter().cycle().take(5_000) {
        grown += u64::from(guest.memory_grow(1) != Ok(u64::MAX));
        assert_eq!(guest.memory_grow(1024), Ok(u64::MAX));
        let _ = guest.table_grow(2, 5_000);
    }
    assert_eq!(grown, 4);
    for guest in &guests {
        world.bytes_mut(*guest).fill(1);
    }
    let sum: usize = (0..guests.len() * 10)
        .map(|i| world.memory(guests[i / 10], i % 10))
        .map(|id| world.store.memory_data(id).len())
        .sum();
    assert_eq!(sum as u64, cap);
    assert_eq!(world.store.ledger().in_use(Resource::MemoryBytes), cap);
    assert_eq!(world.store.ledger().peak_memory(), cap);
    let elements = world.store.ledger().in_use(Resource::TableElements);
    assert!(elements <= 1_000_000 && elements > 990_000, "{elements}");
    let table_bytes = 4 * 1_000_000;
    let taken = resident() - start;
    assert!(taken <= cap + table_bytes + 16 * MIB, "{taken} bytes are resident");

    // Counts have limits of their own.
    let empty = world.module("(module)");
    let mut made = guests.len();
    while world.allocate_module(empty.clone(), &[]).is_ok() {
        made += 1;
    }
    assert_eq!(made, 300);

    // All of it goes with the store.
    drop(guests);
    drop(world);
    assert!(resident() < start + 16 * MIB, "{} bytes stay", resident() - start);
}
