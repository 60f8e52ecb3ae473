//! Objects, exceptions and atomics, in Palisade and in wasmtime: its compiler, and its own interpreter of
//! portable code. (wasmi has neither objects nor exceptions.) And what a collection costs: the time may grow
//! with what is alive, but no faster.
//!
//! All engines run the programs of `features/` first, and must agree on the results.

use crate::measure::{Mean, in_turns, median, time};

/// Name and argument, which takes an interpreter a few hundred milliseconds.
const PROGRAMS: [(&str, i32); 7] = [
    ("trees", 200),
    ("list", 5_000_000),
    ("arrays", 200_000),
    ("casts", 3_000),
    ("throw", 500_000),
    ("unwind", 10_000),
    ("atomics", 2_000_000),
];

/// What collecting a list of ten times the length may cost at most.
const RATIO: f64 = 12.0;

type Run = Box<dyn FnMut(i32) -> i64>;

fn text(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("features");
    std::fs::read_to_string(folder.join(format!("{name}.wat"))).expect("a program")
}

fn palisade(text: &str) -> (palisade::Store<()>, palisade::Instance) {
    let engine = palisade::Engine::default();
    let module = palisade::Module::new(&engine, text).unwrap();
    let mut store = palisade::Store::new(&engine, ());
    store.set_resource_limit(palisade::Resource::MemoryBytes, Some(2 << 30));
    let instance = palisade::Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

fn palisade_run(text: &str) -> Run {
    let (mut store, instance) = palisade(text);
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
    Box::new(move |arg| run.call(&mut store, arg).unwrap())
}

/// `None` if it cannot run the program: its interpreter knows no shared memories.
fn wasmtime_run(text: &str, interpreter: bool) -> Option<Run> {
    let mut config = wasmtime::Config::new();
    config.wasm_gc(true).wasm_exceptions(true);
    if interpreter {
        config.target("pulley64").unwrap();
    } else {
        config.wasm_threads(true).shared_memory(true);
    }
    let engine = wasmtime::Engine::new(&config).unwrap();
    let bytes = wat::parse_str(text).unwrap();
    let module = wasmtime::Module::new(&engine, bytes).ok()?;
    let mut store = wasmtime::Store::new(&engine, ());
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
    Some(Box::new(move |arg| run.call(&mut store, arg).unwrap()))
}

/// Measures the programs of these names, or all; whether collections cost no more than they may.
pub fn run(pairs: usize, names: &[String]) -> bool {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    println!(
        "{:<14} {:>10} {:>12} {:>7} {:>12} {:>7}",
        "program", "palisade", "interpreter", "ratio", "compiler", "ratio"
    );
    let mut mean = Mean::default();
    for (name, arg) in PROGRAMS {
        if !wanted(name) {
            continue;
        }
        let text = text(name);
        let mut ours = palisade_run(&text);
        let expected = ours(arg);
        let measured = [true, false].map(|interpreter| {
            let mut theirs = wasmtime_run(&text, interpreter)?;
            assert_eq!(theirs(arg), expected, "{name}: wasmtime, interpreter: {interpreter}");
            Some(in_turns(pairs, || _ = ours(arg), || _ = theirs(arg)))
        });
        let Some(ours) = measured.iter().flatten().next().map(|pairs| pairs.ours) else { continue };
        print!("{name:<14} {:>8.1}ms", ours * 1e3);
        for pairs in &measured {
            match pairs {
                Some(pairs) => print!(" {:>10.1}ms {:>7.3}", pairs.theirs * 1e3, pairs.ratio),
                None => print!(" {:>12} {:>7}", "not run", ""),
            }
        }
        println!();
        if let Some(pairs) = &measured[0] {
            mean.add(pairs.ratio);
        }
    }
    mean.print();
    !wanted("collection") || collection(pairs)
}

/// The median time of a collection with a list of so many nodes alive.
fn collect(pairs: usize, nodes: i32) -> f64 {
    let (mut store, instance) = palisade(&text("list"));
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
    let sum = run.call(&mut store, nodes).unwrap();
    let sum_again = instance.get_typed_func::<(), i64>(&mut store, "sum").unwrap();
    let times = (0..pairs.max(1)).map(|_| time(|| store.gc().unwrap())).collect();
    assert_eq!(sum_again.call(&mut store, ()).unwrap(), sum, "the list after collections");
    median(times)
}

fn collection(pairs: usize) -> bool {
    let [short, long] = [1_000_000, 10_000_000].map(|nodes| collect(pairs, nodes));
    let ratio = long / short;
    let verdict = if ratio <= RATIO { "good" } else { "TOO MUCH" };
    println!(
        "collection with a list: 1 million nodes {:.1} ms, 10 million {:.1} ms: {ratio:.2} times, at most {RATIO}: {verdict}",
        short * 1e3,
        long * 1e3
    );
    ratio <= RATIO
}
