//! How long a large module takes to compile, on one thread and on two, beside wasmtime on as many.
//!
//! The large module is made here: functions of several kinds, as compilers write them (arithmetic, loops over
//! memory, switches, calls in all ways, floats and vectors), none of which is like another. Files can be named instead.

use std::fmt::Write as _;

use crate::engines;
use crate::measure::median;

/// How many functions the module has.
const FUNCTIONS: u32 = 6000;

/// The text of a function, its numbers drawn from a generator.
fn function(text: &mut String, index: u32, mut random: impl FnMut() -> u32) {
    let _ = write!(text, "(func $f{index} (type $f) (local i32 i32 i64 f64 v128)\n");
    for _ in 0..2 + random() % 6 {
        let [a, b, c] = [random(), random() >> 8, random() % 4];
        let slot = 2 + random() % 2;
        let callee = random() % FUNCTIONS;
        let _ = match random() % 9 {
            0 => writeln!(
                text,
                "(local.set {slot} (i32.add (i32.mul (local.get 0) (i32.const {a})) (i32.rotl (local.get {slot}) (i32.const {c}))))"
            ),
            1 => writeln!(
                text,
                "(local.set 2 (i32.and (local.get 0) (i32.const 255)))
                 (loop $l (i32.store offset={b} (i32.shl (local.get 2) (i32.const 2))
                   (i32.xor (i32.load8_u offset={c} (local.get 2)) (i32.const {a})))
                   (br_if $l (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))"
            ),
            2 => writeln!(
                text,
                "(block $e (block $2 (block $1 (block $0 (br_table $0 $1 $2 $e (i32.and (local.get 0) (i32.const 7))))
                   (local.set 3 (i32.const {a})) (br $e))
                   (local.set 3 (i32.add (local.get 3) (i32.const {b}))) (br $e))
                   (local.set 2 (call $f{callee} (local.get 3) (local.get 1))))"
            ),
            3 => writeln!(
                text,
                "(if (i32.lt_s (local.get {slot}) (i32.const {a}))
                   (then (local.set 3 (call $f{callee} (local.get 0) (i32.const {b}))))
                   (else (local.set 0 (i32.div_u (local.get 0) (i32.or (local.get 1) (i32.const 1))))))"
            ),
            4 => writeln!(
                text,
                "(local.set 3 (call_indirect (type $f) (local.get 0) (local.get {slot}) (i32.and (local.get 1) (i32.const 15))))"
            ),
            5 => writeln!(
                text,
                "(local.set 4 (i64.add (i64.mul (local.get 4) (i64.const {a})) (i64.extend_i32_s (local.get 1))))
                 (global.set $g (i32.wrap_i64 (i64.shr_u (local.get 4) (i64.const {c}))))"
            ),
            6 => writeln!(
                text,
                "(local.set 5 (f64.add (f64.sqrt (f64.abs (local.get 5))) (f64.convert_i32_s (local.get 0))))
                 (f64.store offset={b} (local.get 1) (f64.mul (local.get 5) (f64.load offset={c} (local.get 0))))"
            ),
            7 => writeln!(
                text,
                "(local.set 6 (i32x4.add (local.get 6) (i32x4.mul (i32x4.splat (local.get 0)) (v128.load offset={b} (local.get 1)))))
                 (local.set 3 (i32x4.extract_lane {c} (local.get 6)))"
            ),
            _ => writeln!(
                text,
                "(local.set 2 (select (local.get 0) (i32.const {a}) (i32.lt_u (global.get $g) (local.get 3))))
                 (i64.store offset={b} (local.get 0) (i64.load offset={c} (local.get 2)))"
            ),
        };
    }
    text.push_str("(i32.xor (local.get 2) (local.get 3)))\n");
}

/// The module. It exports a `run` that does nothing with it.
pub fn large() -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) as u32
    };
    let mut text = String::from(
        "(module (type $f (func (param i32 i32) (result i32))) (memory (export \"memory\") 600)
         (table 16 funcref) (elem (i32.const 0) $f0 $f1 $f2 $f3) (global $g (mut i32) (i32.const 0))\n",
    );
    for index in 0..FUNCTIONS {
        function(&mut text, index, &mut random);
    }
    text.push_str(
        "(export \"f\" (func $f0))
         (func (export \"run\") (param i32) (result i64) (i64.extend_i32_u (local.get 0))))",
    );
    wat::parse_str(text).expect("a module")
}

/// Lets this thread, and those that it starts, run on so many processors.
fn processors(count: usize) {
    let mut set = rustix::thread::CpuSet::new();
    (0..count).for_each(|cpu| set.set(cpu));
    rustix::thread::sched_setaffinity(None, &set).expect("the affinity of this thread");
}

/// Measures the large module, or files.
pub fn run(rounds: usize, files: &[String]) {
    let modules: Vec<(String, Vec<u8>)> = if files.is_empty() {
        vec![(format!("{FUNCTIONS} functions"), large())]
    } else {
        let read = |file: &String| (file.clone(), std::fs::read(file).expect("a file"));
        files.iter().map(read).collect()
    };
    println!(
        "{:<28} {:>9} {:>7} {:>10} {:>10} {:>7}",
        "module", "KiB", "threads", "palisade", "wasmtime", "ratio"
    );
    let many = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, wasm) in &modules {
        for threads in [1, 2] {
            if threads > many {
                continue;
            }
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds.max(1) {
                processors(threads);
                let own = engines::palisade_compile(wasm);
                processors(many);
                // Its threads were started once for all, with every processor.
                let other = engines::wasmtime_compile(wasm, threads > 1);
                ours.push(own);
                theirs.push(other);
                ratios.push(other / own);
            }
            println!(
                "{name:<28} {:>9} {threads:>7} {:>8.0}ms {:>8.0}ms {:>7.3}",
                wasm.len() >> 10,
                median(ours) * 1e3,
                median(theirs) * 1e3,
                median(ratios)
            );
        }
    }
}
