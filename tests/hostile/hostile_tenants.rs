//! Rows L1 and L3: what one tenant leaves for the next, descriptors, arguments and failed instantiations included, and
//! what messages give away of the host.

#[allow(unused)]
#[path = "../../crates/wasi/tests/common/mod.rs"]
mod common;

use common::{Guest, OK, OUT, TempDir, e, quiet};
use palisade::{Caller, Engine, Linker, Module, Store, Val};
use palisade_tests::{ENGINES, engine, engine_with, module};
use palisade_wasi::{Caps, Errno, Preopen, Rights};

/// What nobody but its owner may ever see.
const CANARY: &str = "5ec7e75ec7e75ec7";

/// Fills everything that it has: memory, tables, globals, the stack of values, objects.
fn tenant(pages: u32) -> String {
    format!(
        r#"(module
          (type $bytes (array (mut i64)))
          (memory (export "memory") {pages})
          (table 1000 externref)
          (global $g (mut i64) (i64.const 0))
          (global $a (mut (ref null $bytes)) (ref.null $bytes))
          (func $deep (param i64 i64 i64 i64) (param $n i32) (result i64)
            (if (result i64) (i32.eqz (local.get $n)) (then (local.get 0))
              (else (i64.add (local.get 1) (call $deep (local.get 0) (local.get 1) (local.get 2)
                (local.get 3) (i32.sub (local.get $n) (i32.const 1)))))))
          (func (export "fill") (param $c i64) (local $at i32)
            (global.set $g (local.get $c))
            (global.set $a (array.new $bytes (local.get $c) (i32.const 10000)))
            (drop (call $deep (local.get $c) (local.get $c) (local.get $c) (local.get $c)
              (i32.const 500)))
            (loop $l
              (i64.store (local.get $at) (local.get $c))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $l (i32.lt_u (local.get $at) (i32.const {bytes}))))))"#,
        bytes = u64::from(pages) * 65536
    )
}

/// Looks through everything that is new, and counts what is not zero.
fn next(pages: u32) -> String {
    format!(
        r#"(module
          (type $bytes (array (mut i64)))
          (memory (export "memory") {pages} 200)
          (table $t 1000 externref)
          (global $g (mut i64) (i64.const 0))
          (func $frame (param $n i32) (result i32) (local i64 i64 i64 i64 i64 i64 i64 i64)
            (if (result i32) (local.get $n)
              (then (call $frame (i32.sub (local.get $n) (i32.const 1)))) (else (i32.const 0)))
            (i64.ne (i64.const 0) (i64.or (i64.or (i64.or (local.get 1) (local.get 2))
              (i64.or (local.get 3) (local.get 4))) (i64.or (i64.or (local.get 5) (local.get 6))
              (i64.or (local.get 7) (local.get 8)))))
            (i32.add))
          (func (export "scan") (result i32) (local $at i32) (local $found i32)
            (local $a (ref null $bytes))
            (drop (memory.grow (i32.const 3)))
            (loop $l
              (local.set $found (i32.add (local.get $found)
                (i64.ne (i64.load (local.get $at)) (i64.const 0))))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $l (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
            (local.set $a (array.new_default $bytes (i32.const 20000)))
            (local.set $at (i32.const 0))
            (loop $l
              (local.set $found (i32.add (local.get $found)
                (i64.ne (array.get $bytes (local.get $a) (local.get $at)) (i64.const 0))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br_if $l (i32.lt_u (local.get $at) (i32.const 20000))))
            (local.set $at (i32.const 0))
            (loop $l
              (local.set $found (i32.add (local.get $found)
                (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br_if $l (i32.lt_u (local.get $at) (i32.const 1000))))
            (i32.add (local.get $found) (call $frame (i32.const 300)))
            (i32.add (i64.ne (global.get $g) (i64.const 0)))))"#
    )
}

/// Its memory is filled with what is secret, and then it cannot be made after all.
fn fails(part: &str) -> String {
    let secret = CANARY.repeat(2000);
    format!(r#"(module (memory 2) (table 1 funcref) (data (i32.const 0) "{secret}") {part})"#)
}

#[test]
fn l1_nothing_of_a_tenant_or_of_a_failed_instantiation_is_left() {
    let canary = i64::from_str_radix(CANARY, 16).expect("hexadecimal");
    let failing = [
        fails(r#"(data (i32.const 131071) "12")"#),
        fails("(elem (i32.const 1) func $f) (func $f)"),
        fails("(func $f unreachable) (start $f)"),
    ];
    for kind in ENGINES {
        let engine = engine(kind);
        let linker = Linker::new(&engine);
        let scan = |store: &mut Store<()>, pages| {
            let instance = linker.instantiate(&mut *store, &module(&engine, &next(pages)));
            let instance = instance.expect("an instance");
            let scan = instance.get_typed_func::<(), i32>(&mut *store, "scan").expect("scan");
            assert_eq!(scan.call(&mut *store, ()).expect("no trap"), 0, "{kind:?}");
        };
        let tenant = module(&engine, &tenant(20));
        for round in 0..3 {
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &tenant).expect("an instance");
            let fill = instance.get_typed_func::<i64, ()>(&mut store, "fill").expect("fill");
            fill.call(&mut store, canary).expect("no trap");
            drop(store);
            for pages in [1, 20, 60] {
                scan(&mut Store::new(&engine, ()), pages);
            }
            for text in &failing {
                let failing = module(&engine, text);
                let mut store = Store::new(&engine, ());
                linker.instantiate(&mut store, &failing).expect_err("it fails");
                // In the same store, and in the next one.
                scan(&mut store, 2 + round);
                drop(store);
                scan(&mut Store::new(&engine, ()), 2 + round);
            }
        }
    }
}

#[test]
fn l1_descriptors_arguments_and_variables_are_each_tenants_own() {
    let t = TempDir::new();
    t.file("secret", CANARY);
    let first = || {
        let builder = quiet().caps(Caps::ALL).arg(CANARY).arg(CANARY).env("SECRET", CANARY);
        let mut g = Guest::new(builder.preopen(Preopen::new(&t.0, "/")));
        for _ in 0..50 {
            g.open("secret", 0, Rights::all()).expect("it opens");
        }
        assert_eq!(g.call("fd_fdstat_get", &[53, OUT]), OK);
        g
    };
    let second = || {
        let mut g = Guest::new(quiet());
        for fd in 3..200 {
            for name in ["fd_close", "fd_sync"] {
                assert_eq!(g.call(name, &[fd]), e(Errno::BADF));
            }
            assert_eq!(g.call("fd_fdstat_get", &[fd, OUT]), e(Errno::BADF));
            assert_eq!(g.read_fd(fd, 16), Err(e(Errno::BADF)));
        }
        for name in ["args_sizes_get", "environ_sizes_get"] {
            assert_eq!(g.call(name, &[OUT, OUT + 4]), OK);
            assert_eq!((g.u32_at(OUT), g.u32_at(OUT + 4)), (0, 0), "{name}");
        }
        for name in ["args_get", "environ_get"] {
            assert_eq!(g.call(name, &[OUT, OUT + 4]), OK);
        }
        let all = g.get(0, common::MEMORY);
        assert!(!all.windows(8).any(|bytes| bytes == &CANARY.as_bytes()[..8]));
    };
    // One after the other, and both at once.
    drop(first());
    second();
    let kept = first();
    second();
    drop(kept);
    second();
}

/// Looks for what no message may hold: paths of the host and of our sources, and addresses.
fn scan(what: &str, text: &str) {
    let home = std::env::var("HOME").unwrap_or_default();
    let temporary = std::env::temp_dir().display().to_string();
    let here = std::env::current_dir().expect("a directory").display().to_string();
    for secret in [&home, &temporary, &here] {
        assert!(secret.len() < 2 || !text.contains(&**secret), "{what}: {text}");
    }
    for part in ["/src/", ".rs:", "/proc/", "/usr/", "/home/", "/root", "CARGO"] {
        assert!(!text.contains(part), "{what}: {part} in {text}");
    }
    // Addresses of this machine have more than eight digits; offsets in a module have fewer.
    for number in text.split("0x").skip(1) {
        let digits = number.chars().take_while(char::is_ascii_hexdigit).count();
        assert!(digits <= 8, "{what}: an address in {text}");
    }
}

#[test]
fn l3_no_message_or_backtrace_names_a_path_or_an_address_of_the_host() {
    let loading: [&[u8]; 6] = [
        b"",
        b"\0asm\x02\0\0\0",
        b"\0asm\x01\0\0\0\x01\x7f",
        b"\0asm\x0d\0\x01\0",
        b"(module (func (result i32)))",
        b"(module (import \"a\" \"b\" (func)) (export \"x\" (func 9)))",
    ];
    let running = [
        "(func (export \"f\") unreachable)",
        "(func $g (call $g) (call $g)) (func (export \"f\") (call $g) (call $g))",
        "(memory 1) (func (export \"f\") (drop (i32.load (i32.const -1))))",
        "(table 1 funcref) (func (export \"f\") (call_indirect (i32.const 0)))",
        "(tag $t (param i32)) (func (export \"f\") (throw $t (i32.const 3)))",
        "(func (export \"f\") (loop (br 0)))",
        "(type $a (array (mut i64))) (func (export \"f\")
           (drop (array.new_default $a (i32.const 2000000000))))",
        "(memory 1000) (func (export \"f\"))",
        "(import \"host\" \"error\" (func $h)) (func (export \"f\") (call $h))",
        "(import \"host\" \"panic\" (func $h)) (func (export \"f\") (call $h))",
        "(import \"host\" \"missing\" (func $h)) (func (export \"f\") (call $h))",
    ];
    for kind in ENGINES {
        let engine: Engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        for bytes in loading {
            let error = Module::new(&engine, bytes).expect_err("no module");
            scan("loading", &format!("{error} {error:?} {error:#}"));
        }
        for text in running {
            let module = module(&engine, &format!("(module {text})"));
            let mut linker = Linker::new(&engine);
            let failing = |_: Caller<'_, ()>, _: &[Val], _: &mut [Val]| {
                Err(palisade::Error::msg("the host says no"))
            };
            let ty = palisade::FuncType::new([], []);
            linker.func_new("host", "error", ty.clone(), failing).expect("new");
            linker.func_new("host", "panic", ty, |_, _, _| panic!("as it should")).expect("new");
            let mut store = Store::new(&engine, ());
            store.set_fuel(1_000_000).expect("metered");
            store.set_resource_limit(palisade::Resource::MemoryBytes, Some(16 << 20));
            let ended = linker.instantiate(&mut store, &module).and_then(|instance| {
                let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
                f.call(&mut store, ())
            });
            let error = ended.expect_err(text);
            let mut all = format!("{error} {error:?} {error:#} {:?}", error.kind());
            if let Some(backtrace) = error.backtrace() {
                all.push_str(&format!("{backtrace} {backtrace:?}"));
            }
            scan(text, &all);
        }
    }
}
