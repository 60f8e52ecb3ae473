//! What is measured: the kernels of `kernels/`, the programs of `features/` and `compiled/`, copies of several sizes,
//! and, from a folder that the caller names, real programs as `programs` takes them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engines::Program;
use crate::shim;

/// Of `features/`, with arguments for compiled code.
const FEATURES: [(&str, i32); 7] = [
    ("trees", 200),
    ("list", 2_000_000),
    ("arrays", 200_000),
    ("casts", 3_000),
    ("throw", 100_000),
    ("unwind", 2_000),
    ("atomics", 2_000_000),
];

/// Of `compiled/`.
const COMPILED: [(&str, i32); 7] = [
    ("indirect", 10_000_000),
    ("references", 5_000_000),
    ("br_table", 8_000_000),
    ("globals", 200_000),
    ("tables", 10_000_000),
    ("host_typed", 3_000_000),
    ("host_dynamic", 1_000_000),
];

/// How long copies and fills are, in bytes.
const BULK: [u32; 6] = [8, 48, 256, 4096, 65536, 1 << 20];

#[derive(Deserialize)]
struct Kernel {
    name: String,
    file: String,
    arg: i32,
    result: String,
    small_arg: i32,
    small_result: String,
}

#[derive(Deserialize)]
struct Real {
    name: String,
    file: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    invoke: Option<String>,
    dir: Option<PathBuf>,
    #[serde(default)]
    exit: i32,
}

fn here(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The kernels, with their large or their small arguments.
pub fn kernels(small: bool) -> Vec<Program> {
    let folder = here("kernels");
    let list = std::fs::read_to_string(folder.join("kernels.json")).expect("kernels.json");
    let list: serde_json::Value = serde_json::from_str(&list).expect("kernels.json is JSON");
    let kernels: Vec<Kernel> =
        serde_json::from_value(list["kernels"].clone()).expect("kernels.json");
    let program = |kernel: Kernel| Program {
        name: kernel.name,
        wasm: std::fs::read(folder.join(&kernel.file)).expect("a kernel"),
        arg: if small { kernel.small_arg } else { kernel.arg },
        result: if small { &kernel.small_result } else { &kernel.result }.parse().ok(),
        command: None,
    };
    kernels.into_iter().map(program).collect()
}

fn text(name: &str, text: &str, arg: i32) -> Program {
    let wasm = wat::parse_str(text).expect("a module");
    Program { name: name.into(), wasm, arg, result: None, command: None }
}

fn texts(folder: &str, list: &[(&str, i32)]) -> Vec<Program> {
    let program = |&(name, arg): &(&str, i32)| {
        let path = here(folder).join(format!("{name}.wat"));
        // Two kernels are called `list`.
        let prefix = if folder == "features" && name == "list" { "gc_" } else { "" };
        text(&format!("{prefix}{name}"), &std::fs::read_to_string(path).expect("a program"), arg)
    };
    list.iter().map(program).collect()
}

/// Copies and fills of one size, of 256 MiB together but at most 2 million: the length is an argument, or a constant.
fn bulk(size: u32, constant: bool) -> Program {
    let len = if constant { format!("(i32.const {size})") } else { "(local.get $len)".into() };
    let code = format!(
        r#"(module
  (memory 64)
  (func $round (param $n i32) (param $len i32)
    (memory.fill (i32.and (i32.mul (local.get $n) (i32.const 72)) (i32.const 0xffff8)) (local.get $n) {len})
    (memory.copy
      (i32.add (i32.const 0x200000) (i32.and (i32.mul (local.get $n) (i32.const 40)) (i32.const 0xffff8)))
      (i32.and (i32.mul (local.get $n) (i32.const 56)) (i32.const 0xffff8))
      {len}))
  (func (export "run") (param $n i32) (result i64)
    (loop $next
      (call $round (local.get $n) (i32.const {size}))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.add (i64.load (i32.const 0x200008)) (i64.load (i32.const 0x100)))))"#
    );
    let name = format!("bulk_{size}{}", if constant { "_const" } else { "" });
    text(&name, &code, ((256 << 20) / size).min(2_000_000) as i32)
}

/// Everything that is in the repository.
pub fn own() -> Vec<Program> {
    let mut all = kernels(false);
    all.extend(texts("compiled", &COMPILED));
    all.extend(BULK.iter().map(|&size| bulk(size, false)));
    all.push(bulk(48, true));
    all.extend(texts("features", &FEATURES));
    all
}

/// What needs more than the shim offers.
const WRITES: [&str; 1] = ["rust_file_io"];

/// The programs of a folder that a shim of WASI suffices for.
pub fn real(folder: &Path) -> Vec<Program> {
    let list = std::fs::read_to_string(folder.join("programs.json")).expect("programs.json");
    let list: Vec<Real> = serde_json::from_str(&list).expect("programs.json");
    let program = |real: Real| {
        if real.invoke.is_some() {
            return None;
        }
        if WRITES.contains(&&*real.name) {
            println!("{}: not run: it writes files, and runs here only read some", real.name);
            return None;
        }
        let wasm = std::fs::read(folder.join(&real.file)).expect("a program");
        let called = real.file.file_name()?.to_str()?.to_owned();
        let dir = folder.join(real.dir.unwrap_or_default());
        let args = std::iter::once(called).chain(real.args).collect();
        let command = Some(shim::Command { args, folder: dir, exit: real.exit });
        Some(Program { name: real.name, wasm, arg: 0, result: None, command })
    };
    list.into_iter().filter_map(program).collect()
}

/// Those of the names that were asked for; all if none was.
pub fn chosen(programs: Vec<Program>, names: &[String]) -> Vec<Program> {
    let wanted = |program: &Program| names.is_empty() || names.contains(&program.name);
    programs.into_iter().filter(wanted).collect()
}
