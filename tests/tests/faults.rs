//! Row X11: the n-th request to the system fails, for every n, in loading, instantiating, growing, compiling, running,
//! and in every function of WASI. What comes of it is an error of a kind that says so, or the answer that there would
//! have been; nothing of it is left when all is dropped, and the next one is unaffected. Requests are mappings, changes of
//! access, descriptors, threads, and all system calls of WASI; ordinary small allocations are none.
//!
//! A process of its own, whose mappings and descriptors are counted.

#[allow(unused)]
#[path = "../../crates/wasi/tests/common/mod.rs"]
mod common;

use std::sync::Mutex;
use std::time::Duration;

use common::calls::{prepare, stage, valid};
use palisade::{
    Config, Engine, Error, ErrorKind, Key, Linker, MemoryType, Module, Ref, Seal, SharedMemory,
    Store, Trust, Val, faults,
};
use palisade_tests::{ENGINES, Kind};
use palisade_wasi::{FUNCTIONS, Halt};

/// One test at a time: what the process holds is counted.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many mappings of more than ordinary size, or without access, there are, and how many descriptors.
fn held() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    let reserved = maps.lines().filter(|line| {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (from, to) = range.split_once('-').expect("two ends");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        // The allocator's own have no name either, and are smaller, or accessible.
        rest.starts_with("---p") && number(to) - number(from) >= 1 << 30
    });
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    (reserved.count(), descriptors)
}

const GUEST: &str = r#"(module
  (type $s (struct (field (mut i64)) (field (mut (ref null $s)))))
  (memory (export "memory") 1 100)
  (memory 1 200)
  (table (export "table") 1 1000 funcref)
  (tag $t (param i32))
  (global (mut (ref null $s)) (ref.null $s))
  (data "some bytes")
  (elem func $work)
  (func $work (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func (export "run") (result i32)
    (global.set 0 (struct.new $s (i64.const 1) (global.get 0)))
    (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 4))
    (drop (memory.grow (i32.const 20)))
    (drop (memory.grow 1 (i32.const 20)))
    (drop (table.grow (ref.null func) (i32.const 500)))
    (drop (block $caught (result i32)
      (try_table (catch $t $caught) (throw $t (i32.const 5)))
      (i32.const 0)))
    (call $work (i32.const 100))))"#;

/// All that an embedder does, one after the other.
fn everything(kind: Kind) -> Result<(), Error> {
    let mut config = Config::new();
    kind.configure(&mut config).consume_fuel(true).paranoid(false);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::try_new(&engine, ())?;
    store.set_fuel(1 << 40)?;
    store.set_timeout(Some(Duration::from_secs(3600)))?;
    store.interrupt_handle().event_fd().map_err(Error::msg)?;
    let mut linker = Linker::new(&engine);
    let shared = SharedMemory::new(&engine, MemoryType::shared(1, 10))?;
    linker.define(&store, "host", "shared", shared.clone())?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    for _ in 0..3 {
        assert_eq!(run.call(&mut store, ())?, 5050);
    }
    let memory = instance.get_memory(&mut store, "memory").expect("it is exported");
    memory.grow(&mut store, 5)?;
    let table = instance.get_table(&mut store, "table").expect("it is exported");
    table.grow(&mut store, 10, Ref::Func(None))?;
    shared.grow(2)?;
    store.gc()?;
    // A module without a reservation for its memory, in the same store.
    let other = Module::new(
        &engine,
        r#"(module (memory i64 1) (func (export "run") (result i32)
        (i32.load (i64.const 65532))))"#,
    )?;
    let other = linker.instantiate(&mut store, &other)?;
    let run = other.get_func(&mut store, "run").expect("it is exported");
    let mut result = [Val::I32(9)];
    run.call(&mut store, &[], &mut result)?;
    assert!(matches!(result, [Val::I32(0)]));
    if !engine.has_machine_code() {
        return Ok(());
    }
    // The first one again, from an artefact: what cannot be read for want of room is interpreted.
    let key = Key::from_bytes([3; 32]);
    let bytes = module.serialize(&Seal::Key(key.clone()))?;
    let stored = Module::deserialize(&engine, &bytes, &Trust::new().key(key))?;
    let instance = linker.instantiate(&mut store, &stored)?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    for _ in 0..3 {
        assert_eq!(run.call(&mut store, ())?, 5050);
    }
    stored.read_all()
}

/// Whether an error says that something could not be had.
fn is_clean(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Limit(_) | ErrorKind::Message(_) => true,
        ErrorKind::Trap(code) => {
            matches!(code, palisade::TrapCode::HeapExhausted | palisade::TrapCode::LimitExceeded)
        }
        _ => false,
    }
}

#[test]
fn x11_the_nth_request_fails_while_modules_are_loaded_instantiated_grown_compiled_and_run() {
    let _alone = alone();
    for kind in ENGINES {
        everything(kind).expect("all of it works");
        let before = held();
        for all_later in [true, false] {
            let mut errors = 0;
            for n in 0.. {
                if all_later {
                    faults::fail_after(Some(n))
                } else {
                    faults::fail_once_after(n)
                }
                let ended = everything(kind);
                let failed = faults::failed();
                faults::fail_after(None);
                assert_eq!(held(), before, "{kind:?}: something is left after request {n} failed");
                if let Err(error) = &ended {
                    assert!(failed > 0 && is_clean(error), "{kind:?}: request {n}: {error}");
                    errors += 1;
                }
                if failed == 0 {
                    assert!(ended.is_ok() && errors > 5, "{kind:?}: only {errors} of {n} mattered");
                    println!("{kind:?}: {n} requests, {errors} of which were errors");
                    break;
                }
            }
            // Whatever was tried in between, the next one works.
            everything(kind).expect("all of it works");
        }
    }
}

#[test]
fn x11_the_nth_system_call_fails_in_every_function_of_wasi() {
    let _alone = alone();
    let t = common::TempDir::new();
    t.dir("empt");
    let mut tried = 0;
    for f in FUNCTIONS {
        let (args, _) = valid(f);
        let before = held();
        for n in 0.. {
            t.dir("empt");
            let (mut g, peers) = stage(&t);
            prepare(&mut g, f);
            g.host.fuel = 1_000_000;
            let open = g.ctx.open_descriptors();
            faults::fail_once_after(n);
            let ended = g.try_call(f.name, &args);
            let failed = faults::failed();
            faults::fail_after(None);
            match &ended {
                Ok(errno) if failed == 0 => assert_eq!(*errno, common::OK, "{}", f.name),
                // A failure that changes nothing of the answer, such as that of a hint, is none.
                Ok(_) => {}
                Err(halt) => assert_eq!(halt, &Halt::Exit(0), "{}", f.name),
            }
            // The ledger knows exactly what is open, and the process holds nothing besides.
            let now = g.ctx.open_descriptors();
            assert_eq!(g.used(palisade_wasi::Resource::Descriptors), now as u64, "{}", f.name);
            if ended.as_ref().is_ok_and(|errno| *errno != common::OK) {
                assert_eq!(now, open, "{}: request {n}: something was opened or closed", f.name);
            }
            drop((g, peers));
            let _ = std::fs::remove_dir(t.join("made"));
            assert_eq!(held(), before, "{}: something is left after request {n}", f.name);
            tried += 1;
            if failed == 0 {
                break;
            }
        }
    }
    println!("{tried} calls");
    assert!(tried > 100, "{tried}");
}
