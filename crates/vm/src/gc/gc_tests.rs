//! Tests of the heap that need modules and a look behind its interface: a system that refuses, sizes at their
//! limits.

use std::sync::Arc;

use palisade_core::{Limits, TrapCode};
use palisade_module::{ModuleInfo, TypeRegistry, wasmparser::WasmFeatures};

use super::layout::ObjectLayout;
use super::space::STRUCTURE;
use crate::error::InstantiateError;
use crate::layout::{VmOffsets, VmRef};
use crate::ledger::Resource;
use crate::store::{StoreConfig, StoreInner};
use crate::sys::region::fail_after;

#[test]
fn the_nth_request_of_the_heap_fails_and_nothing_is_lost() {
    let types = TypeRegistry::new();
    let wat = "(module (type $s (struct (field anyref))) (type $a (array i8))
        (global (export \"kept\") anyref (struct.new $s (ref.i31 (i32.const 9))))
        (global anyref (array.new_default $a (i32.const 3000000)))
        (global anyref (array.new_default $a (i32.const 20000000))))";
    let (limits, features) = (Limits::default(), WasmFeatures::all());
    let module = ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &types, None);
    let module = Arc::new(module.expect("a valid module"));
    let offsets = Arc::new(VmOffsets::new(&module).expect("an ordinary size"));
    for stress in [false, true] {
        let config = StoreConfig { gc_stress: stress, ..StoreConfig::default() };
        let mut failures = 0;
        for successes in 0.. {
            let mut store = StoreInner::new(types.clone(), config.clone()).expect("a store");
            let make = |store: &mut StoreInner| {
                let (module, offsets) = (module.clone(), offsets.clone());
                // SAFETY: the offsets and types are the module's, and no engine ever runs this code.
                unsafe {
                    let code = &mut |_| std::ptr::null();
                    store.allocate_instance(module, offsets, &[], Arc::new(()), code)
                }
            };
            fail_after(Some(successes));
            let made = make(&mut store);
            fail_after(None);
            let counted = |store: &StoreInner| {
                let in_use = store.ledger_ref().in_use(Resource::MemoryBytes);
                assert_eq!(in_use, 2 * store.gc_stats().capacity);
            };
            counted(&store);
            match made {
                Err(InstantiateError::Trap(TrapCode::HeapExhausted)) => failures += 1,
                Err(other) => panic!("{other}"),
                Ok(_) => break,
            }
            // What failed can be tried again.
            let id = make(&mut store).expect("room");
            counted(&store);
            store.gc().expect("nothing goes wrong");
            let global = store.instance(id).expect("an instance").globals[0];
            let kept = VmRef(store.global_get(global).expect("a global")[0] as u32);
            // SAFETY: the global holds a structure with a reference.
            let field = unsafe { store.gc_read(kept, 4, super::layout::FieldKind::Ref) };
            assert_eq!(field[0], 9 << 1 | 1);
        }
        // Reservation (with less behind it, if need be), and twice two halves at least.
        assert!(failures >= 5, "{failures}");
    }
}

#[test]
fn the_guard_covers_the_largest_structure() {
    let types = TypeRegistry::new();
    let decode = |fields: usize| {
        let wat = format!("(module (type (struct {})))", "(field v128)".repeat(fields));
        let (limits, features) = (Limits::default(), WasmFeatures::all());
        ModuleInfo::decode(wat.into_bytes(), &limits, features, &types, None)
    };
    let module = decode(10_000).expect("a valid module");
    match ObjectLayout::of(&types, module.types[0]) {
        Some(ObjectLayout::Struct(layout)) => {
            assert_eq!(layout.size, 8 + 160_000);
            assert!(u64::from(layout.size) <= STRUCTURE);
        }
        other => panic!("{other:?}"),
    }
    assert!(decode(10_001).is_err());
}
