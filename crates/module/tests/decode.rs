//! Hostile bytes: rows D2 to D5 and D7, and what is no module at all.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use palisade_core::Limits;
use palisade_module::{
    DecodeErrorKind, ExportIdx, FuncIdx, ModuleInfo, TypeRegistry, default_features,
};

/// Counts what is allocated beyond what is freed, and its peak.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Whoever measures, measures alone.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator with the same arguments; only counters are
// kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn d2_sections_out_of_bounds() {
    let _alone = alone();
    let types = list(1, &[&[0x60, 0, 0]]);
    // Longer than what is there; shorter than its content; content after the last item.
    malformed([&HEADER[..], &[1, 5, 1, 0x60, 0, 0]].concat());
    malformed([&HEADER[..], &[1, 3, 1, 0x60, 0, 0]].concat());
    malformed([&HEADER[..], &[1, 5, 1, 0x60, 0, 0, 0]].concat());
    malformed([&HEADER[..], &[1, 4, 0, 0x60, 0, 0]].concat());
    malformed([&HEADER[..], &[1, 4, 2, 0x60, 0, 0]].concat());
    // Twice, or in another order than the format's.
    malformed(module(&[types.clone(), types.clone()]));
    malformed(module(&[list(3, &[]), types.clone()]));
    // Unknown sections.
    malformed(module(&[section(14, &[])]));
    malformed(module(&[section(127, &[])]));
    // A custom section whose name is longer than itself.
    malformed(module(&[section(0, &[5, b'a'])]));
    malformed(module(&[section(0, &[])]));
    assert!(decode(module(&[types])).is_ok());
}

#[test]
fn d2_bodies_and_counts_that_do_not_match() {
    let _alone = alone();
    let types = list(1, &[&[0x60, 0, 0]]);
    let funcs = list(3, &[&[0]]);
    let good = body(&[0], &[0x0b]);
    let ok = module(&[types.clone(), funcs.clone(), list(10, &[&good])]);
    assert!(decode(ok).is_ok());
    // No code, too much of it, code without functions.
    malformed(module(&[types.clone(), funcs.clone()]));
    malformed(module(&[types.clone(), funcs.clone(), list(10, &[&good, &good])]));
    malformed(module(&[types.clone(), list(10, &[&good])]));
    malformed(module(&[types.clone(), funcs.clone(), list(10, &[])]));
    // A body longer than its section, and one shorter than its code.
    malformed(module(&[types.clone(), funcs.clone(), list(10, &[&[3, 0, 0x0b]])]));
    malformed(module(&[types.clone(), funcs.clone(), list(10, &[&[1, 0, 0x0b]])]));
    malformed(module(&[types.clone(), funcs.clone(), list(10, &[&[0]])]));
    // A data count that is not that of the data section.
    for count in [0, 2] {
        let data = list(11, &[&[1, 0]]);
        malformed(module(&[section(12, &[count]), data]));
    }
    malformed(module(&[section(12, &[1])]));
}

#[test]
fn d3_leb128_that_is_too_long_or_too_large() {
    let _alone = alone();
    let types = |count: &[u8]| module(&[section(1, &[count, &[0x60, 0, 0]].concat())]);
    // Padding up to five bytes is allowed, the bits that do not fit must be zero.
    assert!(decode(types(&[0x81, 0x80, 0x80, 0x80, 0x00])).is_ok());
    malformed(types(&[0x81, 0x80, 0x80, 0x80, 0x10]));
    malformed(types(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x00]));
    let code = |code: &[u8]| with_code(&[0], &[code, &[0x1a, 0x0b]].concat());
    // i32.const: 32 bits with a sign.
    for good in [&[0x41, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x41, 0x80, 0x80, 0x80, 0x80, 0x78]] {
        assert!(decode(code(good)).is_ok(), "{good:x?}");
    }
    for bad in [
        &[0x41, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0x41, 0x80, 0x80, 0x80, 0x80, 0x70],
        &[0x41, 0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    ] {
        malformed(code(bad));
    }
    // i64.const: 64 bits with a sign.
    let nine = [0x80; 9];
    assert!(decode(code(&[&[0x42], &nine[..], &[0x7f]].concat())).is_ok());
    for last in [0x01, 0x7e, 0x41, 0x80] {
        malformed(code(&[&[0x42], &nine[..], &[last]].concat()));
    }
    // A block type: 33 bits with a sign, an index where it is not negative.
    let block = |ty: &[u8]| with_code(&[0], &[&[0x02], ty, &[0x0b, 0x0b]].concat());
    assert!(decode(block(&[0x40])).is_ok());
    assert!(decode(block(&[0x80, 0x00])).is_ok());
    assert!(decode(block(&[0x80, 0x80, 0x80, 0x80, 0x00])).is_ok());
    malformed(block(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]));
    malformed(block(&[0x80, 0x80, 0x80, 0x80, 0x20]));
    // The one-byte types cannot be said in more.
    malformed(block(&[0xc0, 0x7f]));
    invalid(block(&[0xff, 0xff, 0xff, 0xff, 0x0f]));
    // A section's size.
    malformed([&HEADER[..], &[1, 0x84, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 0x60, 0, 0]].concat());
    malformed([&HEADER[..], &[1, 0x84, 0x80, 0x80, 0x80, 0x70, 1, 0x60, 0, 0]].concat());
    // The sub-opcode of a prefixed operator.
    assert!(decode(code(&[0x43, 0, 0, 0, 0, 0xfc, 0x80, 0x00])).is_ok());
    malformed(code(&[0x43, 0, 0, 0, 0, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]));
    malformed(code(&[0x43, 0, 0, 0, 0, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x10]));
}

/// Decoding `bytes` fails without allocating more than a small multiple of their length.
fn refused_cheaply(what: &str, bytes: Vec<u8>) {
    let allowance = 64 * bytes.len() + (64 << 10);
    let registry = TypeRegistry::new();
    let limits = Limits::default();
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = ModuleInfo::decode(bytes, &limits, default_features(), &registry, None);
    let used = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let error = result.expect_err(what);
    assert!(used <= allowance, "{what}: {used} bytes for {allowance} at most ({error})");
}

#[test]
fn d4_counts_of_four_billion() {
    let _alone = alone();
    let types = list(1, &[&[0x60, 0, 0]]);
    let with_types = |rest: Vec<u8>| module(&[types.clone(), rest]);
    for id in (1..=13).filter(|id| *id != 8) {
        refused_cheaply(&format!("section {id}"), module(&[section(id, &HUGE)]));
        // Just what the limits allow, but not there.
        let million = leb(1_000_000);
        refused_cheaply(&format!("section {id}"), module(&[section(id, &million)]));
        let padded = [&million[..], &[0; 64]].concat();
        refused_cheaply(&format!("section {id}"), with_types(section(id, &padded)));
    }
    let in_types = |ty: &[u8]| module(&[section(1, &[&[1], ty].concat())]);
    for count in [&HUGE[..], &leb(1_000_000), &leb(1_000), &leb(10_000)] {
        refused_cheaply("group", in_types(&[&[0x4e], count].concat()));
        refused_cheaply("group", in_types(&[&[0x4e], count, &[0x60, 0, 0]].concat()));
        refused_cheaply("params", in_types(&[&[0x60], count].concat()));
        refused_cheaply("results", in_types(&[&[0x60, 0], count].concat()));
        refused_cheaply("fields", in_types(&[&[0x5f], count].concat()));
        refused_cheaply("supertypes", in_types(&[&[0x50], count].concat()));
        refused_cheaply("locals", with_code(count, &[0x0b]));
        refused_cheaply("br_table", with_code(&[0], &[&[0x41, 0, 0x0e], count].concat()));
        refused_cheaply("select", with_code(&[0], &[&[0x1c], count, &[0x0b]].concat()));
        refused_cheaply("catches", with_code(&[0], &[&[0x1f, 0x40], count, &[0x0b]].concat()));
        for flags in [1, 3, 5, 7] {
            let kind = if flags & 4 == 0 { 0 } else { 0x70 };
            let elem = [&[1, flags, kind], count].concat();
            refused_cheaply("elements", module(&[section(9, &elem)]));
        }
        refused_cheaply("data", module(&[section(11, &[&[1, 1], count].concat())]));
        refused_cheaply("import", module(&[section(2, &[&[1], count].concat())]));
        refused_cheaply("export", module(&[section(7, &[&[1], count].concat())]));
        refused_cheaply("custom", module(&[section(0, count)]));
        refused_cheaply("body", with_types(section(10, &[&[1], count].concat())));
    }
    // Locals: four billion of them take six bytes, and two lots of them overflow 32 bits.
    let locals = [&[2][..], &HUGE, &[0x7f], &HUGE, &[0x7f]].concat();
    refused_cheaply("locals", with_code(&locals, &[0x0b]));
}

/// The bytes of a module are taken over, and what is made of them is small beside them, whatever they hold.
#[test]
fn large_modules_take_little_more_than_their_bytes() {
    const FUNCTIONS: u64 = 10_000;
    let _alone = alone();
    let code = [&[0x01].repeat(400)[..], &[0x0b]].concat();
    let bodies = [leb(FUNCTIONS), body(&[0], &code).repeat(FUNCTIONS as usize)].concat();
    let mut names = leb(FUNCTIONS);
    for func in 0..FUNCTIONS {
        names.extend(leb(func));
        names.extend(b"\x20a_function_of_a_name_that_is_lon");
    }
    let names = [&b"\x04name\x01"[..], &leb(names.len() as u64), &names].concat();
    let debug = [&b"\x0b.debug_info"[..], &[7].repeat(1 << 20)].concat();
    let plain = [
        list(1, &[&[0x60, 0, 0]]),
        section(3, &[leb(FUNCTIONS), vec![0; FUNCTIONS as usize]].concat()),
        section(10, &bodies),
    ];
    let full = [&plain[..], &[section(0, &names), section(0, &debug)]].concat();
    let registry = TypeRegistry::new();
    for (what, bytes) in [("plain", module(&plain)), ("names", module(&full))] {
        let (len, at) = (bytes.len(), bytes.as_ptr());
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let decoded =
            ModuleInfo::decode(bytes, &Limits::default(), default_features(), &registry, None);
        let used = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        let info = decoded.expect(what);
        assert!(used <= len / 3, "{what}: {used} bytes beside {len}");
        assert_eq!(
            info.bytes.whole().expect("all of them").as_ptr(),
            at,
            "{what}: the bytes were copied"
        );
        if what == "names" {
            assert_eq!(info.func_name(FuncIdx(9_999)), Some("a_function_of_a_name_that_is_lon"));
        }
    }
}

#[test]
fn d4_a_broken_name_section_is_ignored() {
    let _alone = alone();
    let names = |payload: &[u8]| {
        let section = section(0, &[&[4], &b"name"[..], payload].concat());
        [with_code(&[0], &[0x0b]), section].concat()
    };
    for payload in [
        &[][..],
        &[1],
        &[&[1, 5], &HUGE[..]].concat(),
        &[&[1, 12, 1], &HUGE[..], &HUGE, b"x"].concat(),
        &[1, 4, 2, 0, 1, b'f'],
        &[0, 2, 1, 0xff],
        &[2, 1, 0, 1, 1, 0],
    ] {
        let info = decode(names(payload)).expect("names are for people");
        assert_eq!(info.module_name(), None, "{payload:x?}");
        let first = (payload == [1, 4, 2, 0, 1, b'f']).then_some("f");
        assert_eq!(info.func_name(FuncIdx(0)), first, "{payload:x?}");
        assert_eq!(info.func_name(FuncIdx(u32::MAX)), None);
    }
    // What comes before the mistake is used.
    let info = decode(names(&[0, 2, 1, b'm', 1, 7, 2, 0, 1, b'f', 0, 1, b'g', 2])).expect("valid");
    assert_eq!(info.module_name(), Some("m"));
    assert_eq!(info.func_name(FuncIdx(0)), Some("f"));
    assert_eq!(info.custom_sections.len(), 1);
}

#[test]
fn d5_ends_that_are_not_ends() {
    let _alone = alone();
    // The last byte is 0x0b, but belongs to an immediate.
    malformed(with_code(&[0], &[0x41, 0x0b]));
    refused(with_code(&[0], &[0x10, 0x0b]));
    malformed(with_code(&[0], &[0x43, 0, 0, 0, 0x0b]));
    refused(with_code(&[0], &[0x28, 2, 0x0b]));
    refused(with_code(&[0], &[0x0e, 0, 0x0b]));
    // No end; too few of them; code after the end.
    malformed(with_code(&[0], &[]));
    malformed(with_code(&[0], &[0x01]));
    malformed(with_code(&[0], &[0x02, 0x40, 0x0b]));
    malformed(with_code(&[0], &[0x0b, 0x0b]));
    malformed(with_code(&[0], &[0x0b, 0x01]));
    malformed(with_code(&[0], &[0x00, 0x0b, 0x00, 0x0b]));
    assert!(decode(with_code(&[0], &[0x02, 0x40, 0x0b, 0x0b])).is_ok());
    // The same in constant expressions.
    let global = |init: &[u8]| module(&[list(6, &[&[&[0x7f, 0], init].concat()])]);
    assert!(decode(global(&[0x41, 0x0b, 0x0b])).is_ok());
    malformed(global(&[0x41, 0x0b]));
    malformed(global(&[0x41, 0]));
    malformed(global(&[0x41, 0, 0x0b, 0x0b]));
    invalid(global(&[0x0b]));
}

#[test]
fn d7_a_gibibyte_declared_and_a_kilobyte_present() {
    let _alone = alone();
    for id in 0..=13 {
        let section = [&[id], &leb(1 << 30)[..], &[0; 1024]].concat();
        refused_cheaply(&format!("section {id}"), [&HEADER[..], &section].concat());
    }
    let data = [&[1, 1], &leb(1 << 30)[..], &[0; 1024]].concat();
    refused_cheaply("data", module(&[section(11, &data)]));
}

fn export(name: &[u8]) -> Vec<u8> {
    [&leb(name.len() as u64), name, &[0, 0]].concat()
}

fn with_exports(names: &[&[u8]]) -> Vec<u8> {
    let exports: Vec<Vec<u8>> = names.iter().map(|name| export(name)).collect();
    let exports: Vec<&[u8]> = exports.iter().map(|e| &e[..]).collect();
    module(&[
        list(1, &[&[0x60, 0, 0]]),
        list(3, &[&[0]]),
        list(7, &exports),
        list(10, &[&body(&[0], &[0x0b])]),
    ])
}

#[test]
fn d7_names() {
    let _alone = alone();
    for bad in
        [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x80", b"\xe2\x82"]
    {
        malformed(with_exports(&[bad]));
        let import = [&leb(bad.len() as u64), bad, &[1, b'x', 0, 0]].concat();
        malformed(module(&[list(1, &[&[0x60, 0, 0]]), list(2, &[&import])]));
        malformed(module(&[section(0, &[&leb(bad.len() as u64), bad].concat())]));
    }
    // As long as the parser allows, and one more.
    assert!(decode(with_exports(&[&[b'a'; 100_000]])).is_ok());
    malformed(with_exports(&[&[b'a'; 100_001]]));
    // Anything that is UTF-8 is a name.
    let info = decode(with_exports(&[b"", b"\0", b"\x1b[2J", "\u{202e}x".as_bytes()])).expect("ok");
    assert_eq!(info.exports[1].name.as_ref(), "\0");
    assert!(info.exports.iter().all(|e| e.index == ExportIdx::Func(FuncIdx(0))));
    assert_eq!(info.func_name(FuncIdx(0)), Some(""));
}

#[test]
fn d7_names_in_messages_are_escaped_and_cut() {
    let _alone = alone();
    let nasty = "\0\x1b[2J\u{202e}\u{7f}\n";
    let error = invalid(with_exports(&[nasty.as_bytes(), nasty.as_bytes()]));
    let shown = error.to_string();
    assert!(
        shown.contains("duplicate export name `\\u{0}\\u{1b}[2J\\u{202e}\\u{7f}\\n`"),
        "{shown}"
    );
    assert!(shown.chars().all(|c| !c.is_control()), "{shown:?}");
    let long = [b'a'; 100_000];
    let error = invalid(with_exports(&[&long, &long]));
    assert!(error.to_string().len() < 1000);
    let error =
        text("(module (export \"\u{1b}]0;x\" (func $\"a\u{202d}\")))").expect_err("unknown");
    assert!(matches!(error.kind(), DecodeErrorKind::Text { .. }), "{error}");
    assert!(error.to_string().chars().all(|c| !c.is_control() && c != '\u{202d}'), "{error}");
}

#[test]
fn what_is_no_module_is_named() {
    let _alone = alone();
    let say = |bytes: &[u8]| {
        let error = decode(bytes.to_vec()).expect_err("no module");
        assert_eq!(error.kind(), DecodeErrorKind::NotWasm);
        error.to_string()
    };
    assert!(say(b"").ends_with("an empty file (0 bytes)"));
    assert!(say(b"hello, world\n").ends_with("a text file"));
    assert!(say(b";; only a comment").ends_with("a text file"));
    assert!(say(b"\x7fELF\x02\x01\x01").contains("ELF"));
    assert!(say(b"\x1f\x8b\x08\0\0").contains("gzip"));
    assert!(say(b"#!/bin/sh\n(exit 1)").contains("a script"));
    assert!(say(&[0; 100]).contains("binary"));
    assert!(say(b"(module \xff)").contains("binary"));
    // The beginning of a module is one.
    malformed(b"\0as".to_vec());
    malformed(b"\0asm".to_vec());
    malformed(b"\0asm\x02\0\0\0".to_vec());
    let error = decode(b"\0asm\x0d\0\x01\0".to_vec()).expect_err("a component");
    assert_eq!(error.kind(), DecodeErrorKind::Component);
    let error = text("(component)").expect_err("a component");
    assert_eq!(error.kind(), DecodeErrorKind::Component);
    assert!(error.to_string().contains("component"));
}

#[test]
fn text_errors_have_a_line_and_a_column() {
    let _alone = alone();
    let error = text("(module\n  (func\n    i32.bogus))").expect_err("no such operator");
    assert_eq!(error.kind(), DecodeErrorKind::Text { line: 3, column: 5 });
    assert!(error.to_string().starts_with("line 3, column 5: "), "{error}");
    // What parses and is not valid, too: in whatever function and form the operator stands.
    for (wrong, line, column) in [
        ("(module\n  (func (result i32)\n    i64.const 1\n    i32.eqz))", 4, 5),
        (
            "(module\n  (func (result i32)\n    (i32.add\n      (i32.const 1)\n (i64.const 2))))",
            3,
            6,
        ),
        (
            "(module (func (import \"a\" \"b\"))\n (func $f (export \"f\") nop)\n\
             (func (block (loop\n br_if 0))))",
            4,
            2,
        ),
        // A result that is missing at the end is the function's matter.
        ("(module (func)\n\n    (func (result i32) nop))", 3, 6),
    ] {
        let error = text(wrong).expect_err(wrong);
        assert_eq!(error.kind(), DecodeErrorKind::Invalid);
        assert!(error.offset().is_some());
        assert_eq!(error.text_position(), Some((line, column)), "{wrong}: {error}");
        let head = format!("invalid module at line {line}, column {column} (offset 0x");
        assert!(error.to_string().starts_with(&head), "{error}");
    }
    let outside = text("(module (global i32 (i64.const 1)))").expect_err("another type");
    assert_eq!(outside.text_position(), None);
    assert!(outside.to_string().contains(" of its binary form: "), "{outside}");
    let mut limits = Limits::default();
    limits.nesting = 1;
    let nested = "(module (func (block\n  (block))))".as_bytes().to_vec();
    let error = decode_with(nested, &limits).expect_err("too deep");
    assert_eq!(error.text_position(), Some((2, 4)), "{error}");
    let info = text(";; first\n (; second ;) (module (func (export \"f\")))").expect("valid");
    assert_eq!(info.exports.len(), 1);
    // Nesting is no way to the end of the host's stack.
    let deep = format!("(module (func {}{}))", "(block ".repeat(100_000), ")".repeat(100_000));
    assert!(text(&deep).is_ok());
    let deep = "(".repeat(1_000_000);
    assert!(matches!(text(&deep).expect_err("unbalanced").kind(), DecodeErrorKind::Text { .. }));
    let deep = format!("(module (type {}", "(rec ".repeat(100_000));
    assert!(text(&deep).is_err());
}

#[test]
fn size_and_cancellation_are_checked_first() {
    let _alone = alone();
    let mut limits = Limits::default();
    let bytes = with_code(&[0], &[0x0b]);
    limits.module_bytes = bytes.len() as u64;
    assert!(decode_with(bytes.clone(), &limits).is_ok());
    limits.module_bytes -= 1;
    let error = decode_with(bytes.clone(), &limits).expect_err("one byte too many");
    let (found, limit) = (bytes.len() as u64, limits.module_bytes);
    assert_eq!(error.kind(), DecodeErrorKind::TooLarge { found, limit });
    assert!(error.to_string().contains("--limit module-bytes="), "{error}");
    // The text may be short, and what it says long.
    limits.module_bytes = 1000;
    let long = format!("(module (memory (data \"{}\")))", "\\00".repeat(300));
    assert!(decode_with(long.into_bytes(), &limits).is_ok());
    let registry = TypeRegistry::new();
    let cancel = AtomicU32::new(13);
    let decode = |cancel| {
        let limits = Limits::default();
        ModuleInfo::decode(bytes.clone(), &limits, default_features(), &registry, Some(cancel))
    };
    let error = decode(&cancel).expect_err("cancelled");
    assert_eq!(error.kind(), DecodeErrorKind::Cancelled { reason: 13 });
    cancel.store(0, Ordering::Relaxed);
    assert!(decode(&cancel).is_ok());
}

/// Parsing text takes far more memory than the module that it becomes, so text has a limit of its own.
#[test]
fn x10_text_has_a_limit_of_its_own() {
    let _alone = alone();
    let text = format!("(module {})", "(func)".repeat(1_000));
    let mut limits = Limits::default();
    let types = TypeRegistry::new();
    let mut decode = |most: u64| {
        limits.text_bytes = most;
        ModuleInfo::decode(text.as_bytes(), &limits, default_features(), &types, None)
    };
    assert!(decode(text.len() as u64).is_ok());
    let error = decode(text.len() as u64 - 1).unwrap_err();
    assert!(error.to_string().contains("--limit text-bytes="), "{error}");
}
