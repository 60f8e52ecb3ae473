//! Hostile rows about threads: atomics at the borders (M1), registries under load (P1), storms on a shared
//! memory (P2), waits that would never end (X3), and hosts that read what others write (H5).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use palisade::{
    Engine, Instance, Linker, MemoryType, Module, SharedMemory, Store, TrapCode, Val, WaitResult,
};
use palisade_tests::{ENGINES, engine, metered_engine, module};
use palisade_wasi::{OutputBuffer, Preopen, Stdio, Wasi, WasiCtx};

/// An atomic operator.
struct Operator {
    name: String,
    /// How many bytes it accesses.
    width: u64,
    /// The types of the operands behind the address: `i` for 32 bits, `l` for 64.
    operands: &'static str,
    /// The type of the result, if there is one.
    result: Option<char>,
}

/// All 67 of them but the fence, which has no address.
fn operators() -> Vec<Operator> {
    let mut all = Vec::new();
    let mut add = |name: String, width, operands, result| {
        all.push(Operator { name, width, operands, result });
    };
    for (ty, bytes, one, two) in [('i', 4, "i", "ii"), ('l', 8, "l", "ll")] {
        let prefix = if ty == 'i' { "i32" } else { "i64" };
        for width in [1_u64, 2, 4, 8].into_iter().filter(|&width| width <= bytes) {
            let bits = if width == bytes { String::new() } else { (width * 8).to_string() };
            let zero = if width == bytes { "" } else { "_u" };
            add(format!("{prefix}.atomic.load{bits}{zero}"), width, "", Some(ty));
            add(format!("{prefix}.atomic.store{bits}"), width, one, None);
            for kind in ["add", "sub", "and", "or", "xor", "xchg"] {
                add(format!("{prefix}.atomic.rmw{bits}.{kind}{zero}"), width, one, Some(ty));
            }
            add(format!("{prefix}.atomic.rmw{bits}.cmpxchg{zero}"), width, two, Some(ty));
        }
    }
    add("memory.atomic.notify".to_owned(), 4, "i", Some('i'));
    add("memory.atomic.wait32".to_owned(), 4, "il", Some('i'));
    add("memory.atomic.wait64".to_owned(), 8, "ll", Some('i'));
    assert_eq!(all.len(), 66);
    all
}

const PAGE: u64 = 65536;

/// Operands that let no wait sleep: all timeouts are 0.
fn constants(operands: &str) -> String {
    operands.chars().map(|c| if c == 'l' { " i64.const 0" } else { " i32.const -1" }).collect()
}

/// A module with a function for each operator and offset, which drops the result.
fn border_module(memory: &str, is_64: bool, offsets: &[u64]) -> String {
    let address = if is_64 { "i64" } else { "i32" };
    let mut text = format!("(module (memory (export \"m\") {memory})");
    for (i, Operator { name, operands, result, .. }) in operators().iter().enumerate() {
        for (j, offset) in offsets.iter().enumerate() {
            let operands = constants(operands);
            let end = if result.is_none() { "" } else { " drop" };
            let _ = write!(
                text,
                "(func (export \"{i}/{j}\") (param {address})
                   local.get 0 {operands} {name} offset={offset}{end})"
            );
        }
    }
    text + ")"
}

#[test]
fn m1_atomics_at_the_borders() {
    let small = [0, 1, 2, 8, 1 << 31, (1 << 32) - 8, (1 << 32) - 1];
    let large = [0, 1, 8, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX];
    for kind in ENGINES {
        let engine = engine(kind);
        for (memory, is_64) in
            [("1 1", false), ("1 1 shared", false), ("i64 1 1", true), ("i64 1 1 shared", true)]
        {
            let offsets = if is_64 { large } else { small };
            let mut store = Store::new(&engine, ());
            let module = module(&engine, &border_module(memory, is_64, &offsets));
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            for (i, Operator { name, width, .. }) in operators().iter().enumerate() {
                let width = *width;
                for (j, &offset) in offsets.iter().enumerate() {
                    let func = instance.get_func(&store, &format!("{i}/{j}")).unwrap();
                    let most = if is_64 { u64::MAX } else { u32::MAX.into() };
                    let near = [
                        0,
                        1,
                        PAGE - width,
                        PAGE - width + 1,
                        PAGE,
                        1 << 31,
                        most - width + 1,
                        most,
                        // The sum that wraps to the first byte, and to the last ones.
                        0_u64.wrapping_sub(offset) & most,
                        (PAGE - width).wrapping_sub(offset) & most,
                    ];
                    for index in near {
                        let address = u128::from(index) + u128::from(offset);
                        let expected = if !address.is_multiple_of(u128::from(width)) {
                            Err(TrapCode::UnalignedAtomic)
                        } else if address + u128::from(width) > u128::from(PAGE) {
                            Err(TrapCode::MemoryOutOfBounds)
                        } else if name.contains("wait") && !memory.contains("shared") {
                            Err(TrapCode::ExpectedSharedMemory)
                        } else {
                            Ok(())
                        };
                        let index =
                            if is_64 { Val::I64(index as i64) } else { Val::I32(index as i32) };
                        let found = func.call(&mut store, &[index], &mut []);
                        let found = found.map_err(|error| error.trap_code().expect("a trap"));
                        assert_eq!(found, expected, "{name} offset={offset} {index:?} {memory}");
                    }
                }
            }
        }
    }
}

/// Kinds of memories: declaration, whether addresses have 64 bits, how operators name it.
const KINDS: [(&str, bool, &str); 5] = [
    ("(memory 1 1)", false, ""),
    ("(memory 1 1 shared)", false, ""),
    ("(memory i64 1 1)", true, ""),
    ("(memory i64 1 1 shared)", true, ""),
    ("(memory 0) (memory 3) (memory i64 1 1 shared)", true, " 2"),
];

#[test]
fn m1_atomics_are_the_same_in_all_memories() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut found: Vec<Vec<i64>> = Vec::new();
        for (memories, is_64, index) in KINDS {
            let address = if is_64 { "i64.const 40" } else { "i32.const 40" };
            let mut text = format!(
                "(module {memories} (func (export \"set\") (param i64) {address} local.get 0 \
                 i64.store{index}) (func (export \"get\") (result i64) {address} i64.load{index})"
            );
            for (i, Operator { name, operands, result, .. }) in operators().iter().enumerate() {
                if name.starts_with("memory") {
                    continue;
                }
                let mut body = address.to_owned();
                for (n, c) in operands.chars().enumerate() {
                    let wrap = if c == 'i' { " i32.wrap_i64" } else { "" };
                    let _ = write!(body, " local.get {n}{wrap}");
                }
                let end = match result {
                    Some('i') => " i64.extend_i32_u",
                    Some(_) => "",
                    None => " i64.const 0",
                };
                let _ = write!(
                    text,
                    "(func (export \"{i}\") (param i64 i64) (result i64) {body} {name}{index}{end})"
                );
            }
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module(&engine, &(text + ")")), &[]).unwrap();
            let set = instance.get_typed_func::<i64, ()>(&store, "set").unwrap();
            let get = instance.get_typed_func::<(), i64>(&store, "get").unwrap();
            let mut answers = Vec::new();
            for export in instance.exports(&store) {
                let Ok(func) = instance.get_typed_func::<(i64, i64), i64>(&store, export.name())
                else {
                    continue;
                };
                for old in [0, -1, 0x0123_4567_89ab_cdef] {
                    for x in [0, 1, -1, 0x0123_4567_89ab_cdef, 0x11_89ab_cdef] {
                        set.call(&mut store, old).unwrap();
                        answers.push(func.call(&mut store, (x, 0x7766_5544_3322_1100)).unwrap());
                        answers.push(get.call(&mut store, ()).unwrap());
                    }
                }
            }
            assert_eq!(answers.len(), 63 * 3 * 5 * 2);
            found.push(answers);
        }
        // The official suite says what is right for the first two.
        assert!(found.iter().all(|answers| *answers == found[0]));
    }
}

#[test]
fn s3_atomics_in_long_loops_take_no_stack() {
    let mut body = String::new();
    for Operator { name, operands, result, .. } in operators() {
        let end = if result.is_none() { "" } else { " drop" };
        let _ = writeln!(body, "i32.const 48 {} {name}{end}", constants(operands));
    }
    let text = format!(
        "(module (memory 1 1 shared) (func (export \"run\") (param i32) (loop {body} atomic.fence
           local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0)))"
    );
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, &text);
        // A handler that kept a frame would need megabytes.
        let small = thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_typed_func::<i32, ()>(&store, "run").unwrap();
            run.call(&mut store, 20_000).unwrap();
        });
        small.expect("a thread").join().expect("no panic");
    }
}

/// A stream of numbers that looks random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }
}

/// A function that works on a memory in every plain way, at any alignment.
fn plain_work(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for _ in 0..60 {
        let (a, b) = (numbers.next(300), numbers.next(300));
        let value = numbers.next(u64::MAX >> 33).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let offset = numbers.next(40);
        let _ = match numbers.next(14) {
            0 => write!(text, "(i64.store offset={offset} (i32.const {a}) (i64.const {value}))"),
            1 => write!(text, "(i64.store32 offset={offset} (i32.const {a}) (i64.const {value}))"),
            2 => write!(text, "(i64.store16 offset={offset} (i32.const {a}) (i64.const {value}))"),
            3 => write!(text, "(i64.store8 offset={offset} (i32.const {a}) (i64.const {value}))"),
            4 => write!(text, "(f64.store (i32.const {a}) (f64.load (i32.const {b})))"),
            5 => write!(text, "(f32.store (i32.const {a}) (f32.load (i32.const {b})))"),
            6 => write!(text, "(i64.store (i32.const {a}) (i64.load8_s (i32.const {b})))"),
            7 => write!(text, "(i64.store (i32.const {a}) (i64.load16_s (i32.const {b})))"),
            8 => write!(text, "(i64.store (i32.const {a}) (i64.load32_s (i32.const {b})))"),
            9 => write!(text, "(i64.store (i32.const {a}) (i64.load32_u (i32.const {b})))"),
            10 => write!(text, "(i32.store (i32.const {a}) (i32.load16_u (i32.const {b})))"),
            11 => {
                let len = numbers.next(90);
                write!(text, "(memory.copy (i32.const {a}) (i32.const {b}) (i32.const {len}))")
            }
            12 => {
                let len = numbers.next(90);
                write!(text, "(memory.fill (i32.const {a}) (i32.const {b}) (i32.const {len}))")
            }
            _ => {
                let (from, len) = (numbers.next(6), numbers.next(7));
                let from = format!("(i32.const {from}) (i32.const {len})");
                write!(text, "(memory.init $d (i32.const {a}) {from})")
            }
        };
    }
    text
}

#[test]
fn m1_plain_accesses_to_shared_memories_are_those_to_own_ones() {
    let engine = Engine::default();
    for seed in 0..40 {
        let work = plain_work(&mut Numbers(seed));
        let mut found = Vec::new();
        for kind in ["1 1", "1 1 shared"] {
            let text = format!(
                r#"(module (memory {kind}) (data $d "abc\00\ffdefghijk")
                   (func (export "work") {work})
                   (func (export "get") (param i32) (result i32) local.get 0 i32.load8_u))"#
            );
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module(&engine, &text), &[]).unwrap();
            let work = instance.get_typed_func::<(), ()>(&store, "work").unwrap();
            work.call(&mut store, ()).unwrap();
            let get = instance.get_typed_func::<i32, i32>(&store, "get").unwrap();
            found.push((0..500).map(|i| get.call(&mut store, i).unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(found[0], found[1], "seed {seed}");
        assert!(found[0].iter().any(|&byte| byte != 0));
    }
}

#[test]
fn m1_bulk_work_on_shared_memories_ends_at_the_last_byte() {
    let text = r#"(module (memory 1 2 shared) (data $d "abcd")
        (func (export "copy") (param i32 i32 i32)
          local.get 0 local.get 1 local.get 2 memory.copy)
        (func (export "fill") (param i32 i32 i32)
          local.get 0 local.get 1 local.get 2 memory.fill)
        (func (export "init") (param i32 i32 i32)
          local.get 0 local.get 1 local.get 2 memory.init $d))"#;
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module(&engine, text), &[]).unwrap();
    for (name, a, b, c, fits) in [
        ("copy", 65535, 0, 1, true),
        ("copy", 65535, 0, 2, false),
        ("copy", 0, 65536, 0, true),
        ("copy", 0, 65537, 0, false),
        ("fill", 0, 1, 65536, true),
        ("fill", 1, 1, 65536, false),
        ("fill", -1, 1, 2, false),
        ("init", 65532, 0, 4, true),
        ("init", 65533, 0, 4, false),
        ("init", 0, 1, 4, false),
    ] {
        let func = instance.get_typed_func::<(i32, i32, i32), ()>(&store, name).unwrap();
        let found = func.call(&mut store, (a, b, c));
        assert_eq!(found.is_ok(), fits, "{name} {a} {b} {c}");
    }
}

const STORM: &str = r#"(module
    (import "" "" (memory 1 64 shared))
    ;; Adds one to a counter n times, between growing, touching the last byte, waiting and notifying.
    (func (export "run") (param $n i32) (result i32) (local $grown i32) (local $size i32)
      (loop $again
        (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
        (i64.store32 offset=1 (i32.const 16) (i64.const 0x0101010101010101))
        (if (i32.eqz (i32.and (local.get $n) (i32.const 31)))
          (then
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
              (then (local.set $grown (i32.add (local.get $grown) (i32.const 1)))))))
        (local.set $size (i32.mul (memory.size) (i32.const 65536)))
        (i32.store8 (i32.sub (local.get $size) (i32.const 1)) (local.get $n))
        (drop (i32.load (i32.sub (local.get $size) (i32.const 4))))
        (drop (memory.atomic.wait32 (i32.const 24) (i32.const 0) (i64.const 900)))
        (drop (memory.atomic.wait64 (i32.const 24) (i64.const 1) (i64.const -1)))
        (drop (memory.atomic.notify (i32.const 24) (i32.const 2)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      local.get $grown))"#;

#[test]
fn p2_storms_of_growth_accesses_waits_and_notifications() {
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, STORM);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 64)).unwrap();
        let grown: i32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut store = Store::new(&engine, ());
                        let imports = [memory.clone().into()];
                        let instance = Instance::new(&mut store, &module, &imports).unwrap();
                        let run = instance.get_typed_func::<i32, i32>(&store, "run").unwrap();
                        run.call(&mut store, 800).unwrap()
                    })
                })
                .collect();
            let mut woken = 0;
            while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                woken += memory.atomic_notify(24, u32::MAX).unwrap();
                assert!(memory.size() <= 64 && memory.data().len() <= memory.data_size());
            }
            assert!(woken <= 4 * 800);
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(memory.size(), 1 + grown as u64);
        let mut counter = [0; 4];
        memory.read(8, &mut counter).unwrap();
        assert_eq!(u32::from_le_bytes(counter), 4 * 800);
        assert_eq!(memory.atomic_notify(24, u32::MAX).unwrap(), 0, "nobody is left behind");
    }
}

#[test]
fn p2_nobody_misses_a_notification() {
    // Two guests take turns, and sleep without a timeout when it is not theirs.
    let text = r#"(module
        (import "" "" (memory 1 1 shared))
        (func (export "run") (param $mine i32) (param $n i32) (local $turn i32)
          (loop $again
            (block $now
              (loop $sleep
                (local.set $turn (i32.atomic.load (i32.const 0)))
                (br_if $now (i32.eq (i32.and (local.get $turn) (i32.const 1)) (local.get $mine)))
                (drop (memory.atomic.wait32 (i32.const 0) (local.get $turn) (i64.const -1)))
                (br $sleep)))
            (i32.atomic.store (i32.const 0) (i32.add (local.get $turn) (i32.const 1)))
            (drop (memory.atomic.notify (i32.const 0) (i32.const -1)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $again (local.get $n)))))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, text);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        thread::scope(|scope| {
            for mine in 0..2 {
                let (engine, module, memory) = (&engine, &module, &memory);
                scope.spawn(move || {
                    let mut store = Store::new(engine, ());
                    let imports = [memory.clone().into()];
                    let instance = Instance::new(&mut store, module, &imports).unwrap();
                    let run = instance.get_typed_func::<(i32, i32), ()>(&store, "run").unwrap();
                    run.call(&mut store, (mine, 2000)).unwrap();
                });
            }
        });
        let mut turn = [0; 4];
        memory.read(0, &mut turn).unwrap();
        assert_eq!(u32::from_le_bytes(turn), 4000);
    }
}

#[test]
fn p2_counts_of_2_to_the_32_waiters() {
    let text = r#"(module (import "" "" (memory 1 1 shared))
        (func (export "notify") (param i32 i32) (result i32)
          local.get 0 local.get 1 memory.atomic.notify)
        (func (export "wait") (result i32)
          i32.const 64 i32.const 0 i64.const -1 memory.atomic.wait32))"#;
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, text);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        let imports = [memory.clone().into()];
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &imports).unwrap();
        let notify = instance.get_typed_func::<(i32, i32), i32>(&store, "notify").unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ());
                    let imports = [memory.clone().into()];
                    let instance = Instance::new(&mut store, &module, &imports).unwrap();
                    let wait = instance.get_typed_func::<(), i32>(&store, "wait").unwrap();
                    assert_eq!(wait.call(&mut store, ()).unwrap(), 0);
                });
            }
            // No count wakes too many, and all that there can be wake everybody once.
            let mut woken = 0;
            while woken < 3 {
                assert_eq!(notify.call(&mut store, (64, 0)).unwrap(), 0);
                assert_eq!(notify.call(&mut store, (68, -1)).unwrap(), 0);
                let now = notify.call(&mut store, (64, if woken == 0 { 1 } else { -1 })).unwrap();
                assert!((0..=3 - woken).contains(&now) && (woken > 0 || now <= 1), "{now}");
                woken += now;
                thread::yield_now();
            }
            assert_eq!(notify.call(&mut store, (64, -1)).unwrap(), 0);
        });
    }
}

const SLEEPER: &str = r#"(module (memory (export "m") 1 1 shared)
    (func (export "wait32") (result i32)
      i32.const 0 i32.const 0 i64.const -1 memory.atomic.wait32)
    (func (export "wait64") (result i32)
      i32.const 8 i64.const 0 i64.const 0x7fffffffffffffff memory.atomic.wait64)
    (func (export "timed") (result i32)
      i32.const 0 i32.const 0 i64.const 1 memory.atomic.wait32)
    (func (export "notify") (result i32)
      i32.const 0 i32.const 1 memory.atomic.notify))"#;

#[test]
fn x3_waiting_for_ever_ends_at_the_deadline() {
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, SLEEPER);
        for timeout in [0, 1, 20] {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            for name in ["wait32", "wait64"] {
                store.set_timeout(Some(Duration::from_millis(timeout))).unwrap();
                let wait = instance.get_typed_func::<(), i32>(&store, name).unwrap();
                let error = wait.call(&mut store, ()).unwrap_err();
                assert_eq!(error.trap_code(), Some(TrapCode::DeadlineExceeded), "{name}");
            }
            // The store goes on when the deadline is gone, and nobody is left in the queue.
            store.set_timeout(None).unwrap();
            let timed = instance.get_typed_func::<(), i32>(&store, "timed").unwrap();
            assert_eq!(timed.call(&mut store, ()).unwrap(), 2);
            let notify = instance.get_typed_func::<(), i32>(&store, "notify").unwrap();
            assert_eq!(notify.call(&mut store, ()).unwrap(), 0);
        }
    }
}

#[test]
fn x3_waiting_for_ever_ends_when_interrupted() {
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, SLEEPER);
        for round in 0..50 {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let name = if round % 2 == 0 { "wait32" } else { "wait64" };
            let wait = instance.get_typed_func::<(), i32>(&store, name).unwrap();
            let handle = store.interrupt_handle();
            // Before, while or after it falls asleep: all end it.
            let other = thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
            let error = wait.call(&mut store, ()).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::Interrupted), "{error}");
            other.join().expect("no panic");
            store.interrupt_handle().clear();
        }
    }
}

#[test]
fn x1_waiting_and_notifying_cost_what_a_host_call_costs() {
    for kind in ENGINES {
        let engine = metered_engine(kind);
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module(&engine, SLEEPER), &[]).unwrap();
        // Entry, operands and operator, and the work.
        for (name, result, cost) in [("notify", 0, 1 + 3 + 50), ("timed", 2, 1 + 4 + 50)] {
            let func = instance.get_typed_func::<(), i32>(&store, name).unwrap();
            store.set_fuel(cost).unwrap();
            assert_eq!(func.call(&mut store, ()).unwrap(), result);
            assert_eq!(store.get_fuel().unwrap(), 0, "{name}");
            store.set_fuel(cost - 1).unwrap();
            let error = func.call(&mut store, ()).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel), "{name}");
        }
    }
}

#[test]
fn p1_one_engine_loads_runs_and_drops_on_many_threads() {
    for kind in ENGINES {
        let engine = engine(kind);
        thread::scope(|scope| {
            for worker in 0..4 {
                let engine = &engine;
                scope.spawn(move || load_run_drop(engine, worker));
            }
        });
    }
}

/// Loads modules whose types are those of other threads' modules in part, and calls through a table,
/// where a type that was confused with another would be noticed.
fn load_run_drop(engine: &Engine, worker: u32) {
    for round in 0..40 {
        let params = " i32".repeat((round as usize + worker as usize) % 7);
        let own = " i64".repeat(worker as usize + 1);
        let text = format!(
            r#"(module
                 (rec (type $f (func (param{params}) (result i32))) (type $g (func (param{own}))))
                 (table funcref (elem $f $g))
                 (func $f (type $f) i32.const {round})
                 (func $g (type $g))
                 (func (export "good") (result i32) {zeros} i32.const 0 call_indirect (type $f))
                 (func (export "bad") (result i32) {zeros} i32.const 1 call_indirect (type $f)))"#,
            zeros = "i32.const 0 ".repeat(params.len() / 4),
        );
        let module = Module::new(engine, &text).unwrap();
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module).unwrap();
        drop(module);
        let good = instance.get_typed_func::<(), i32>(&store, "good").unwrap();
        assert_eq!(good.call(&mut store, ()).unwrap(), round);
        let bad = instance.get_typed_func::<(), i32>(&store, "bad").unwrap();
        let error = bad.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::IndirectCallTypeMismatch));
    }
}

#[test]
fn p1_one_module_is_translated_by_many_threads_at_once() {
    let functions: String = (0..60)
        .map(|i| {
            let callee = if i == 0 { "i32.const 7".to_owned() } else { format!("call {}", i - 1) };
            format!("(func (result i32) {callee} i32.const 1 i32.add)")
        })
        .collect();
    let text = format!("(module {functions} (export \"f\" (func 59)))");
    for kind in ENGINES {
        let engine = engine(kind);
        let module = module(&engine, &text);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut store = Store::new(&engine, ());
                        let instance = Instance::new(&mut store, &module, &[]).unwrap();
                        let f = instance.get_typed_func::<(), i32>(&store, "f").unwrap();
                        assert_eq!(f.call(&mut store, ()).unwrap(), 67);
                    }
                });
            }
        });
    }
}

const WRITER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
      (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "" "" (memory 1 1 shared))
    (export "memory" (memory 0))
    ;; The list of buffers is at 0, the number of bytes written comes to 64.
    (func (export "write") (result i32)
      (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 64)))
    ;; The path is at 128.
    (func (export "open") (result i32) (local $errno i32)
      (local.set $errno (call $open (i32.const 3) (i32.const 0) (i32.const 128) (i32.const 5)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 96)))
      (if (i32.eqz (local.get $errno))
        (then (drop (call $close (i32.load (i32.const 96))))))
      local.get $errno))"#;

/// A guest of WASI that shares its memory, in a store of its own.
fn wasi_guest(engine: &Engine, memory: &SharedMemory, ctx: WasiCtx) -> (Store<Wasi>, Instance) {
    let mut linker: Linker<Wasi> = Linker::new(engine);
    palisade_wasi::add_to_linker(&mut linker, |wasi| wasi).unwrap();
    let mut store = Store::new(engine, Wasi::new(ctx));
    linker.define(&store, "", "", memory.clone()).unwrap();
    let instance = linker.instantiate(&mut store, &module(engine, WRITER)).unwrap();
    (store, instance)
}

/// Runs `work` while another thread writes one and then the other to the same place.
fn with_racing_writer(memory: &SharedMemory, at: usize, two: [&[u8]; 2], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    memory.write(at, two[0]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                memory.write(at, two[1]).unwrap();
                memory.write(at, two[0]).unwrap();
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn h5_buffers_that_change_while_the_host_looks() {
    let engine = Engine::default();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let output = OutputBuffer::new(1 << 20);
    let ctx = WasiCtx::builder().stdout(Stdio::Buffer(output.clone())).build().unwrap();
    let (mut store, instance) = wasi_guest(&engine, &memory, ctx);
    let write = instance.get_typed_func::<(), i32>(&store, "write").unwrap();
    let list = |buffers: [u32; 4]| buffers.map(u32::to_le_bytes).concat();
    memory.write(1024, b"abcd").unwrap();
    memory.write(65532, b"wxyz").unwrap();
    // Good buffers, and such that lie outside at the end or by the length, or wrap round.
    let good = list([1024, 4, 65532, 4]);
    for bad in [[65534, 4, u32::MAX, 4], [1024, u32::MAX, 65532, 5], [u32::MAX, u32::MAX, 1, 1]] {
        with_racing_writer(&memory, 0, [&good, &list(bad)], || {
            for _ in 0..500 {
                // Success, or EFAULT, or EINVAL for a sum that is too large.
                let errno = write.call(&mut store, ()).unwrap();
                assert!(matches!(errno, 0 | 21 | 28), "{errno}");
                let mut written = [0; 4];
                memory.read(64, &mut written).unwrap();
                assert!(u32::from_le_bytes(written) <= 65536);
            }
        });
    }
    // What nobody changes is written as it is.
    let before = output.contents().len();
    memory.write(0, &good).unwrap();
    assert_eq!(write.call(&mut store, ()).unwrap(), 0);
    assert_eq!(&output.contents()[before..], b"abcdwxyz");
}

#[test]
fn h5_paths_that_change_while_the_host_looks() {
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("d");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("aa.bb"), "inside").unwrap();
    // A path that mixes both could be this one.
    std::fs::write(outside.path().join("bb"), "outside").unwrap();
    let engine = Engine::default();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let ctx = WasiCtx::builder()
        .allow(palisade_wasi::Caps::READ)
        .preopen(Preopen::new(&inside, "/").read_only())
        .build()
        .unwrap();
    let (mut store, instance) = wasi_guest(&engine, &memory, ctx);
    let open = instance.get_typed_func::<(), i32>(&store, "open").unwrap();
    memory.write(128, b"aa.bb").unwrap();
    assert_eq!(open.call(&mut store, ()).unwrap(), 0);
    memory.write(128, b"../bb").unwrap();
    let refused = open.call(&mut store, ()).unwrap();
    assert_eq!(refused, 76, "ENOTCAPABLE");
    with_racing_writer(&memory, 128, [b"aa.bb", b"../bb"], || {
        for _ in 0..500 {
            let errno = open.call(&mut store, ()).unwrap();
            // What was checked is what is opened: inside, refused, or a mixture that does not exist.
            assert!(matches!(errno, 0 | 44 | 54 | 76), "{errno}");
        }
    });
}

#[test]
fn waits_of_the_host_are_those_of_guests() {
    let engine = Engine::default();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let none = Some(Duration::ZERO);
    assert_eq!(memory.atomic_wait32(4, 1, None).unwrap(), WaitResult::Mismatch);
    assert_eq!(memory.atomic_wait32(4, 0, none).unwrap(), WaitResult::TimedOut);
    assert_eq!(memory.atomic_wait64(8, 0, none).unwrap(), WaitResult::TimedOut);
    assert_eq!(memory.atomic_wait64(8, 1, Some(Duration::MAX)).unwrap(), WaitResult::Mismatch);
    for (address, code) in [
        (2, TrapCode::UnalignedAtomic),
        (65536, TrapCode::MemoryOutOfBounds),
        (u64::MAX - 7, TrapCode::MemoryOutOfBounds),
        (u64::MAX, TrapCode::UnalignedAtomic),
    ] {
        let results = [
            memory.atomic_notify(address, 1).err(),
            memory.atomic_wait32(address, 0, none).err(),
            memory.atomic_wait64(address, 0, none).err(),
        ];
        for error in results {
            assert_eq!(error.expect("a trap").trap_code(), Some(code), "{address}");
        }
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| memory.atomic_wait32(0, 0, None).unwrap());
        while memory.atomic_notify(0, 1).unwrap() == 0 {
            thread::yield_now();
        }
        assert_eq!(waiting.join().expect("no panic"), WaitResult::Ok);
    });
}
