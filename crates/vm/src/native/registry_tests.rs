//! Publishing, dropping and finding code.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::native::code::FuncKind;
use crate::sys::fault::{fail_after, fail_once_after};

/// `mov eax, n; ret`
fn constant(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_le_bytes();
    [0xB8, a, b, c, d, 0xC3]
}

fn run(object: &CodeObject) -> u32 {
    // SAFETY: the code is that of `constant`.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u32>(object.start())() }
}

fn small() -> Arc<CodeRegistry> {
    CodeRegistry::with_space(LEAST, Vec::new()).expect("address space")
}

/// What the system says of the page at an address: `rwx` as far as it is allowed.
fn access(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the list of mappings");
    let line = maps.lines().find(|line| {
        let (from, to) =
            line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
        let parse = |text| usize::from_str_radix(text, 16).expect("an address");
        (parse(from)..parse(to)).contains(&address)
    });
    line.and_then(|line| line.split(' ').nth(1)).unwrap_or("none").to_owned()
}

#[test]
fn code_is_executable_and_never_writable_and_gone_with_its_owner() {
    let registry = small();
    let object = registry.publish(&constant(7), Tables::default()).expect("room");
    assert_eq!(run(&object), 7);
    let at = object.start() as usize;
    assert_eq!(access(at), "r-xp");
    // SAFETY: the object is alive.
    unsafe {
        assert!(registry.lookup(at).is_some() && registry.lookup(at + 5).is_some());
        assert!(registry.lookup(at - 1).is_none() && registry.lookup(at + 7).is_none());
    }
    drop(object);
    assert_eq!(access(at), "---p");
    // SAFETY: there is nothing.
    assert!(unsafe { registry.lookup(at) }.is_none());
    for address in [0, 1, usize::MAX, registry.space.base() as usize + registry.space.len()] {
        // SAFETY: as above.
        assert!(unsafe { registry.lookup(address) }.is_none());
    }
}

#[test]
fn space_is_used_again_and_runs_out_as_an_error() {
    let registry = small();
    let third = vec![0xC3; LEAST / 3 - page_size()];
    for _ in 0..20 {
        let all: Vec<_> =
            std::iter::from_fn(|| registry.publish(&third, Tables::default()).ok()).collect();
        assert_eq!(all.len(), 3);
        let few = registry.publish(&constant(1), Tables::default()).expect("the rest");
        // Holes in every order.
        for (index, object) in all.into_iter().enumerate() {
            if index == 1 {
                continue;
            }
            drop(object);
        }
        drop(few);
    }
    assert_eq!(registry.pages_in_use(), 0);
    assert_eq!(registry.free().len(), 1);
    let whole = registry.publish(&vec![0xC3; LEAST], Tables::default()).expect("all of it");
    assert!(registry.publish(&[0xC3], Tables::default()).is_err());
    drop(whole);
}

#[test]
fn x11_each_failing_system_call_leaves_the_registry_as_it_was() {
    let registry = small();
    for successes in 0.. {
        fail_once_after(successes);
        let made = registry.publish(&constant(3), Tables::default());
        fail_after(None);
        match made {
            Err(_) => assert_eq!(registry.pages_in_use(), 0),
            Ok(object) => {
                assert!(successes > 0);
                assert_eq!(run(&object), 3);
                break;
            }
        }
    }
}

#[test]
fn lookups_hold_while_others_publish_and_drop() {
    let registry = small();
    let done = AtomicBool::new(false);
    let kept = registry.publish(&constant(42), Tables::default()).expect("room");
    std::thread::scope(|scope| {
        for seed in 0..3u32 {
            let (registry, done) = (&registry, &done);
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..600 {
                    let n = seed << 16 | round;
                    let mut code = constant(n).to_vec();
                    code.resize(6 + (n as usize * 7919) % 20_000, 0xCC);
                    held.push((n, registry.publish(&code, Tables::default()).expect("room")));
                    if round % 3 == 0 {
                        held.swap_remove(n as usize * 31 % held.len());
                    }
                    for (n, object) in &held[held.len().saturating_sub(5)..] {
                        assert_eq!(run(object), *n);
                        // SAFETY: the object is held.
                        let found = unsafe { registry.lookup(object.start() as usize + 3) };
                        assert!(std::ptr::eq(found.expect("there"), &raw const **object));
                    }
                    if held.len() > 100 {
                        held.drain(..50);
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
        }
        while !done.load(Ordering::Relaxed) {
            // SAFETY: the object is held.
            let found = unsafe { registry.lookup(kept.start() as usize) };
            assert!(std::ptr::eq(found.expect("there"), &raw const *kept));
            assert_eq!(run(&kept), 42);
        }
    });
    drop(kept);
    assert_eq!((registry.pages_in_use(), registry.free().len()), (0, 1));
}

#[test]
fn tables_are_searched_to_their_ends() {
    let func = |range, kind, body| FuncRange { range, kind, body };
    let call = |ret| CallSite { ret, frame: 16, handlers: 0..0 };
    let map = |ret| StackMap { ret, frame: 16, slots: 0..0 };
    let tables = Tables {
        funcs: vec![
            func(0..8, FuncKind::Stub, 1),
            func(8..16, FuncKind::Defined(0), 2),
            func(20..32, FuncKind::Osr(0), 3),
        ],
        traps: vec![(9, 1), (24, 2)],
        srclocs: vec![(10, 100), (12, 120), (22, 200)],
        calls: vec![call(12), call(32)],
        maps: vec![map(32)],
        ..Tables::default()
    };
    let object = small().publish(&[0xC3; 32], tables).expect("room");
    let body = |offset| object.func_at(offset).map(|func| func.body);
    assert_eq!(
        [0, 7, 8, 15, 16, 19, 20, 31, 32].map(body),
        [Some(1), Some(1), Some(2), Some(2), None, None, Some(3), Some(3), None]
    );
    assert_eq!(
        [8, 9, 10, 24, 25].map(|at| object.trap_at(at)),
        [None, Some(1), None, Some(2), None]
    );
    let source = |at| object.func_at(at).map(|func| object.source_at(at, func));
    assert_eq!(
        [0, 8, 10, 11, 12, 15, 20, 22, 31].map(source),
        [1, 2, 100, 100, 120, 120, 3, 200, 200].map(Some)
    );
    assert!(object.call_at(12).is_some() && object.call_at(32).is_some());
    assert!(object.call_at(11).is_none() && object.map_at(12).is_none());
    assert!(object.map_at(32).is_some());
    // A call may be the last instruction: it returns to where nothing is.
    assert_eq!(object.offset_of(object.start() as usize + 32), Some(32));
    assert_eq!(object.offset_of(object.start() as usize + 33), None);
}
