//! Compute kernels in Palisade's interpreter and in wasmi, run in turns in one process.
//!
//! `cargo run --release -- [--pairs N] [--dispatch auto|loop] [FILTER]...`
//!
//! Each kernel of `kernels/kernels.json` runs once in each engine to warm up (translation is lazy in
//! both) and to compare results; then in N pairs (11 unless told), whose order alternates. What is printed is
//! the median of wasmi's time over Palisade's: above 1, Palisade is faster.

use std::time::{Duration, Instant};

use serde::Deserialize;

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

fn time(run: &mut Run, arg: i32) -> Duration {
    let start = Instant::now();
    std::hint::black_box(run(arg));
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut pairs = 11;
    let mut dispatch = palisade::Dispatch::Auto;
    let mut filters = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--pairs" => pairs = args.next().and_then(|n| n.parse().ok()).expect("--pairs N"),
            "--dispatch" => {
                dispatch = match args.next().as_deref() {
                    Some("loop") => palisade::Dispatch::Loop,
                    _ => palisade::Dispatch::Auto,
                }
            }
            _ => filters.push(arg),
        }
    }
    println!("tail calls: {}", palisade_interp::tail_calls_work());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let list = std::fs::read_to_string(folder.join("kernels.json")).expect("kernels.json");
    let list: serde_json::Value = serde_json::from_str(&list).expect("kernels.json is JSON");
    let kernels = list.get("kernels").unwrap_or(&list).clone();
    let kernels: Vec<Kernel> = serde_json::from_value(kernels).expect("kernels.json");
    let (mut log_sum, mut count) = (0.0, 0);
    println!("{:<14} {:>10} {:>10} {:>7}", "kernel", "palisade", "wasmi", "ratio");
    for kernel in kernels {
        if !filters.is_empty() && !filters.contains(&kernel.name) {
            continue;
        }
        let wasm = std::fs::read(folder.join(&kernel.file)).expect("kernel file");
        let (mut ours, mut theirs) = (palisade(&wasm, dispatch), wasmi(&wasm));
        let expected: i64 = kernel.result.parse().expect("result");
        assert_eq!(ours(kernel.arg), expected, "{}: palisade", kernel.name);
        assert_eq!(theirs(kernel.arg), expected, "{}: wasmi", kernel.name);
        let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..pairs {
            let (x, y);
            if pair % 2 == 0 {
                x = time(&mut ours, kernel.arg).as_secs_f64();
                y = time(&mut theirs, kernel.arg).as_secs_f64();
            } else {
                y = time(&mut theirs, kernel.arg).as_secs_f64();
                x = time(&mut ours, kernel.arg).as_secs_f64();
            }
            a.push(x);
            b.push(y);
            ratios.push(y / x);
        }
        let ratio = median(ratios);
        log_sum += ratio.ln();
        count += 1;
        println!(
            "{:<14} {:>8.1}ms {:>8.1}ms {:>7.3}",
            kernel.name,
            median(a) * 1e3,
            median(b) * 1e3,
            ratio
        );
    }
    if count > 0 {
        println!("geometric mean of {count}: {:.3}", (log_sum / f64::from(count)).exp());
    }
}
