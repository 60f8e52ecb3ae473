//! Compute kernels in Palisade's interpreter and in wasmi's, in one process.
//!
//! Each kernel of `kernels/kernels.json` runs once in each engine to warm up (translation is lazy in
//! both) and to compare results; then in pairs. What is printed is the median of wasmi's time over Palisade's.

use serde::Deserialize;

use crate::measure::{Mean, in_turns};

#[derive(Deserialize)]
struct Kernel {
    name: String,
    file: String,
    arg: i32,
    result: String,
}

type Run = Box<dyn FnMut(i32) -> i64>;

fn palisade(wasm: &[u8], dispatch: palisade::Dispatch) -> Run {
    let mut config = palisade::Config::new();
    config.dispatch(dispatch);
    let engine = palisade::Engine::new(&config).unwrap();
    let module = palisade::Module::new(&engine, wasm).unwrap();
    let mut store = palisade::Store::new(&engine, ());
    let instance = palisade::Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
    Box::new(move |arg| run.call(&mut store, arg).unwrap())
}

fn wasmi(wasm: &[u8]) -> Run {
    let engine = wasmi::Engine::default();
    let module = wasmi::Module::new(&engine, wasm).unwrap();
    let mut store = wasmi::Store::new(&engine, ());
    let linker = wasmi::Linker::new(&engine);
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<i32, i64>(&store, "run").unwrap();
    Box::new(move |arg| run.call(&mut store, arg).unwrap())
}

/// Measures the kernels of these names, or all.
pub fn run(pairs: usize, dispatch: palisade::Dispatch, names: &[String]) {
    println!("tail calls: {}", palisade_interp::tail_calls_work());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let list = std::fs::read_to_string(folder.join("kernels.json")).expect("kernels.json");
    let list: serde_json::Value = serde_json::from_str(&list).expect("kernels.json is JSON");
    let kernels = list.get("kernels").unwrap_or(&list).clone();
    let kernels: Vec<Kernel> = serde_json::from_value(kernels).expect("kernels.json");
    let mut mean = Mean::default();
    println!("{:<14} {:>10} {:>10} {:>7}", "kernel", "palisade", "wasmi", "ratio");
    for kernel in kernels {
        if !names.is_empty() && !names.contains(&kernel.name) {
            continue;
        }
        let wasm = std::fs::read(folder.join(&kernel.file)).expect("kernel file");
        let (mut ours, mut theirs) = (palisade(&wasm, dispatch), wasmi(&wasm));
        let expected: i64 = kernel.result.parse().expect("result");
        assert_eq!(ours(kernel.arg), expected, "{}: palisade", kernel.name);
        assert_eq!(theirs(kernel.arg), expected, "{}: wasmi", kernel.name);
        let measured = in_turns(pairs, || _ = ours(kernel.arg), || _ = theirs(kernel.arg));
        mean.add(measured.ratio);
        println!(
            "{:<14} {:>8.1}ms {:>8.1}ms {:>7.3}",
            kernel.name,
            measured.ours * 1e3,
            measured.theirs * 1e3,
            measured.ratio
        );
    }
    mean.print();
}
