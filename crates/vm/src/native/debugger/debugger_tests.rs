//! What debuggers and unwinders find, and no longer find when the code has gone.

use std::sync::Arc;

use super::*;
use crate::native::CodeRegistry;
use crate::native::code::{FuncKind, FuncRange, Tables};

unsafe extern "C" {
    /// Of the process's unwinder: the description of the function at an address. The second is room for three words.
    fn _Unwind_Find_FDE(pc: *const u8, bases: *mut [usize; 3]) -> *const u8;
}

fn found(pc: *const u8) -> bool {
    let mut bases = [0; 3];
    // SAFETY: looks at tables that are registered now.
    unsafe { !_Unwind_Find_FDE(pc, &mut bases).is_null() }
}

/// The entries of the list that are for this code, front to back, each found from its neighbour as well.
fn listed(at: *const u8) -> usize {
    let _locked = list();
    let mut count = 0;
    // SAFETY: the list is locked, and consistent.
    unsafe {
        let mut entry = (&raw const __jit_debug_descriptor.first).read();
        let mut before = ptr::null_mut();
        while !entry.is_null() {
            assert_eq!((*entry).previous, before);
            let file = std::slice::from_raw_parts((*entry).file, (*entry).file_bytes as usize);
            assert!(file.starts_with(b"\x7fELF\x02\x01\x01"));
            let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            // The address of section 1, the code.
            let text = long(40) as usize + 64;
            count += usize::from(long(text + 16) == at.addr() as u64);
            before = entry;
            entry = (*entry).next;
        }
    }
    count
}

fn name(_: &CodeObject, func: &FuncRange) -> String {
    format!("at {}", func.range.start)
}

#[test]
fn what_is_told_of_code_goes_with_it() {
    let debug: Arc<dyn CodeListener> = Arc::new(NativeDebug::new(name));
    let registry = CodeRegistry::with_listeners(vec![debug]).expect("address space");
    // push rbp; mov rbp, rsp; pop rbp; ret, and a function without a frame.
    let code = [0x55, 0x48, 0x89, 0xE5, 0x5D, 0xC3, 0xC3];
    let publish = || {
        let func = |range| FuncRange { range, kind: FuncKind::Stub, body: 0 };
        let tables = Tables { funcs: vec![func(0..6), func(6..7)], ..Tables::default() };
        registry.publish(&code, tables).expect("room")
    };
    let mut all: Vec<_> = (0..300).map(|_| publish()).collect();
    let starts: Vec<usize> = all.iter().map(|object| object.start().addr()).collect();
    let at = |address: usize| std::ptr::without_provenance::<u8>(address);
    for &start in &starts {
        assert!(listed(at(start)) == 1 && found(at(start)) && found(at(start + 6)));
    }
    // In no order: from the middle, from either end.
    for (i, start) in [150, 0, 297].into_iter().map(|i| (i, all.remove(i).start().addr())) {
        assert!(listed(at(start)) == 0 && !found(at(start)), "{i}");
    }
    drop(all);
    assert!(starts.iter().all(|&start| listed(at(start)) == 0 && !found(at(start))));
    // What takes the same pages is told of anew.
    let again = publish();
    assert!(starts.contains(&again.start().addr()) && listed(again.start()) == 1);
}
