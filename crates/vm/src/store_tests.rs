//! What a store leaves when the system refuses: each request in turn fails, and nothing stays.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_module::{ModuleInfo, TypeRegistry, wasmparser::WasmFeatures};

use super::*;
use crate::error::InstantiateError;
use crate::layout::VmOffsets;
use crate::ledger::Resource;
use crate::sys::region::fail_after;

#[test]
fn a_store_that_cannot_be_made_is_an_error() {
    let types = TypeRegistry::new();
    for successes in 0.. {
        fail_after(Some(successes));
        let made = StoreInner::new(types.clone(), StoreConfig::default());
        fail_after(None);
        match made {
            Err(VmError::System { .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => return assert!(successes >= 3),
        }
    }
}

#[test]
fn an_instance_that_cannot_be_made_leaves_nothing() {
    let types = TypeRegistry::new();
    let mut store = StoreInner::new(types.clone(), StoreConfig::default()).expect("a store");
    let wat = "(module (memory 1) (memory i64 1) (memory 3 5 (pagesize 1)) (tag)
        (table 100000 externref) (table 5 funcref) (global i32 (i32.const 1)))";
    let (limits, features) = (Limits::default(), WasmFeatures::all());
    let module = ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &types, None);
    let module = Arc::new(module.expect("a valid module"));
    let offsets = Arc::new(VmOffsets::new(&module).expect("an ordinary size"));
    for successes in 0.. {
        fail_after(Some(successes));
        let mut code = |_| std::ptr::null();
        // SAFETY: the offsets and types are the module's, and no engine ever runs this code.
        let made = unsafe {
            let (module, offsets) = (module.clone(), offsets.clone());
            store.allocate_instance(module, offsets, &[], Arc::new(()), &mut code)
        };
        fail_after(None);
        match made {
            Err(InstantiateError::Vm(VmError::System { .. })) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => {
                assert!(successes >= 5, "{successes}");
                assert_eq!(store.ledger().in_use(Resource::Memories), 3);
                return;
            }
        }
        for what in Resource::ALL {
            assert_eq!(store.ledger().in_use(*what), 0, "{what:?} after {successes}");
        }
        assert_eq!((store.memories.len(), store.tables.len(), store.tags.len()), (0, 0, 0));
        assert_eq!((store.globals.len(), store.host_globals.len()), (0, 0));
        assert!(store.func_ranges.is_empty() && store.instances.is_empty());
    }
}

/// Functions that objects refer to have numbers. Those of an instance that could not be made are given back: the
/// addresses lead nowhere.
#[test]
fn an_instance_that_cannot_be_made_leaves_no_functions() {
    let types = TypeRegistry::new();
    let mut store = StoreInner::new(types.clone(), StoreConfig::default()).expect("a store");
    let wat = |table: u32| {
        format!(
            "(module (type $s (struct (field funcref funcref))) (func $f) (func $g)
                (global (ref $s) (struct.new $s (ref.func $f) (ref.func $g)))
                (table {table} funcref))"
        )
    };
    store.ledger().set_limit(Resource::TableElements, Some(100));
    for (table, funcs) in [(101, 0), (1, 2), (101, 2), (101, 2), (1, 4)] {
        let (limits, features) = (Limits::default(), WasmFeatures::all());
        let module = ModuleInfo::decode(wat(table).into_bytes(), &limits, features, &types, None);
        let module = Arc::new(module.expect("a valid module"));
        let offsets = Arc::new(VmOffsets::new(&module).expect("an ordinary size"));
        let mut code = |_| std::ptr::null();
        // SAFETY: the offsets and types are the module's, and no engine ever runs this code.
        let made =
            unsafe { store.allocate_instance(module, offsets, &[], Arc::new(()), &mut code) };
        assert_eq!(made.is_ok(), table == 1);
        assert_eq!(store.heap.func_count(), funcs);
    }
}

/// Where runs are to be alike, the system's having no room is no answer for a guest, but its end.
#[test]
fn growth_that_every_limit_allows_succeeds_or_is_an_error_where_that_is_asked_for() {
    for growth_must_succeed in [false, true] {
        let config = StoreConfig { growth_must_succeed, ..StoreConfig::default() };
        let mut store = StoreInner::new(TypeRegistry::new(), config).expect("a store");
        let ty = palisade_core::MemoryType {
            memory64: false,
            shared: false,
            minimum: 1,
            maximum: Some(10),
            page_size_log2: 16,
        };
        let memory = store.alloc_memory(ty).expect("room for a page");
        fail_after(Some(0));
        let grown = store.memory_grow(memory, 1);
        fail_after(None);
        match (growth_must_succeed, grown) {
            (false, Ok(None)) | (true, Err(VmError::System { .. })) => {}
            (_, other) => panic!("{growth_must_succeed}: {other:?}"),
        }
        assert_eq!(store.memory_size(memory), Some(1));
        // Its type and the ledger are answers as ever.
        assert!(matches!(store.memory_grow(memory, 10), Ok(None)));
        store.ledger().set_limit(Resource::MemoryBytes, Some(2 << 16));
        assert!(matches!(store.memory_grow(memory, 2), Ok(None)));
        assert!(matches!(store.memory_grow(memory, 1), Ok(Some(1))));
    }
}

#[test]
fn every_refusal_is_told_to_whoever_watches() {
    let mut store = StoreInner::new(TypeRegistry::new(), StoreConfig::default()).expect("a store");
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let copy = told.clone();
    store.ledger().watch(move |refusal| copy.lock().expect("nobody panicked").push(*refusal));
    store.ledger().set_limit(Resource::Tables, Some(1));
    assert!(store.ledger().charge(Resource::Tables, 1).is_ok());
    for asked in [1, 5] {
        assert!(store.ledger().charge(Resource::Tables, asked).is_err());
    }
    let told = told.lock().expect("nobody panicked");
    let asked: Vec<u64> = told.iter().map(|refusal| refusal.asked).collect();
    assert_eq!(asked, [1, 5]);
    assert_eq!(store.ledger().refusal(), told.last());
}
