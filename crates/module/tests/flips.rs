//! Every prefix of 200 modules, and each of them with a bit of each byte flipped in turn, against
//! the recorded verdicts of a judge that shares no code with us: V8's `WebAssembly.validate`.
//!
//! `data/flips.bin` holds, for each module, its length (four bytes, little end first), its bytes,
//! and two sets of bits with a bit for each byte: whether the prefix that ends before that byte is
//! valid, and whether the module with that byte flipped is. To record anew, with Node 20:
//! `PALISADE_RECORD=1 cargo test -p palisade-module --test flips`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arbitrary::Unstructured;
use palisade_core::Limits;
use palisade_module::wasmparser::WasmFeatures;
use palisade_module::{ModuleInfo, TypeRegistry};

const MODULES: u32 = 200;

/// What that version of V8 has switched on.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::THREADS
}

/// Where that judge is more lenient than the specification, by what we say.
const LENIENT: &[(&str, &str)] = &[
    ("legacy_exceptions feature required", "it still has the exceptions before 3.0"),
    ("atomic instructions must always specify maximum alignment", "it takes any that is less"),
    ("malformed reference type", "it takes element segments of numbers while they are empty"),
];

struct Case {
    module: Vec<u8>,
    prefixes: Vec<u8>,
    flips: Vec<u8>,
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

/// The bit of byte `at` that is flipped in module number `number`.
fn mask(number: usize, at: usize) -> u8 {
    1 << ((at * 5 + number) % 8)
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", "flips.bin"].iter().collect()
}

fn cases() -> Vec<Case> {
    if std::env::var_os("PALISADE_RECORD").is_some() {
        record();
    }
    let bytes = std::fs::read(path()).expect("the recorded verdicts are beside this file");
    let mut rest = &bytes[..];
    let mut take = |len: usize| {
        let (taken, after) = rest.split_at(len);
        rest = after;
        taken.to_vec()
    };
    let mut cases = Vec::new();
    for _ in 0..MODULES {
        let len = take(4).try_into().map(u32::from_le_bytes).expect("four bytes") as usize;
        cases.push(Case {
            module: take(len),
            prefixes: take(len.div_ceil(8)),
            flips: take(len.div_ceil(8)),
        });
    }
    assert!(rest.is_empty());
    cases
}

fn generate(seed: u32) -> Vec<u8> {
    let config = wasm_smith::Config {
        compact_imports_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        wide_arithmetic_enabled: false,
        tail_call_enabled: true,
        threads_enabled: true,
        max_instructions: 60,
        max_funcs: 6,
        max_imports: 6,
        max_exports: 6,
        max_types: 6,
        max_elements: 8,
        max_element_segments: 3,
        max_data_segments: 3,
        max_memories: 1,
        max_tables: 3,
        max_globals: 6,
        max_table_elements: 100,
        generate_custom_sections: true,
        ..Default::default()
    };
    let mut state = u64::from(seed) | 1 << 40;
    let noise: Vec<u8> = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 24) as u8)
    })
    .take(2000)
    .collect();
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&noise));
    module.expect("noise is enough for a module").to_bytes()
}

const JUDGE: &str = r#"
const input = require("fs").readFileSync(0), out = [];
for (let at = 0, number = 0; at < input.length; number++) {
    const len = input.readUInt32LE(at), module = input.subarray(at + 4, at + 4 + len);
    at += 4 + len;
    const size = (len + 7) >> 3, prefixes = Buffer.alloc(size), flips = Buffer.alloc(size);
    if (!WebAssembly.validate(module)) throw new Error(`module ${number} is not valid`);
    for (let i = 0; i < len; i++) {
        if (WebAssembly.validate(module.subarray(0, i))) prefixes[i >> 3] |= 1 << (i & 7);
        const flipped = Buffer.from(module);
        flipped[i] ^= 1 << ((i * 5 + number) % 8);
        if (WebAssembly.validate(flipped)) flips[i >> 3] |= 1 << (i & 7);
    }
    const head = Buffer.alloc(4);
    head.writeUInt32LE(len);
    out.push(head, module, prefixes, flips);
}
process.stdout.write(Buffer.concat(out));
"#;

fn record() {
    let mut input = Vec::new();
    let sizes = 60..1500;
    let modules = (0..).map(generate).filter(|module| sizes.contains(&module.len()));
    for module in modules.take(MODULES as usize) {
        input.extend_from_slice(&(module.len() as u32).to_le_bytes());
        input.extend_from_slice(&module);
    }
    let mut node = Command::new("node")
        .args(["-e", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    let mut stdin = node.stdin.take().expect("a pipe");
    stdin.write_all(&input).expect("node reads its input");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success());
    std::fs::create_dir_all(path().parent().expect("a folder")).expect("the folder can be made");
    std::fs::write(path(), output.stdout).expect("the verdicts can be written");
}

fn valid(bytes: Vec<u8>, registry: &Arc<TypeRegistry>) -> Result<(), String> {
    ModuleInfo::decode(bytes, &Limits::default(), features(), registry, None)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn compare(what: &str, found: Result<(), String>, expected: bool, differ: &mut Vec<String>) {
    let lenient = |error: &String| LENIENT.iter().any(|(what, _)| error.contains(what));
    if found.is_ok() != expected && !(expected && found.as_ref().is_err_and(lenient)) {
        differ.push(format!("{what}: {found:?}, and the judge says {expected}"));
    }
}

#[test]
fn d1_prefixes_and_flips() {
    let registry = TypeRegistry::new();
    let (mut differ, mut judged, mut accepted) = (Vec::new(), 0, 0);
    for (number, case) in cases().into_iter().enumerate() {
        let whole = valid(case.module.clone(), &registry);
        compare(&format!("module {number}"), whole, true, &mut differ);
        for at in 0..case.module.len() {
            let prefix = valid(case.module[..at].to_vec(), &registry);
            let what = format!("the first {at} bytes of {number}");
            compare(&what, prefix, bit(&case.prefixes, at), &mut differ);
            let mut flipped = case.module.clone();
            flipped[at] ^= mask(number, at);
            let what = format!("module {number} with byte {at} flipped");
            let flipped = valid(flipped, &registry);
            accepted += usize::from(flipped.is_ok());
            compare(&what, flipped, bit(&case.flips, at), &mut differ);
            judged += 2;
        }
    }
    assert!(registry.is_empty(), "types are left behind");
    println!("{judged} inputs, {accepted} flipped ones valid");
    assert!(differ.is_empty(), "{} verdicts differ:\n{}", differ.len(), differ.join("\n"));
    assert!(judged > 50_000);
}
