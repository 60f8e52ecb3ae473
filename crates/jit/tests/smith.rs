//! Random modules with everything in them that is supported: each function is compiled, with the code
//! generator's own checks switched on, under options that change with each module.
//!
//! `PALISADE_SEEDS=from..to` tries others.

use std::ops::Range;
use std::sync::Arc;

use arbitrary::Unstructured;
use palisade_core::Limits;
use palisade_jit::{Bounds, CompileError, CompileModule, Compiler, Options, link};
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;

fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..4000).flat_map(|_| next()).collect()
}

/// `None` where the seed's bytes make no module.
fn generate(seed: u64) -> Option<Vec<u8>> {
    let config = wasm_smith::Config {
        compact_imports_enabled: false,
        exceptions_enabled: true,
        gc_enabled: true,
        reference_types_enabled: true,
        relaxed_simd_enabled: true,
        simd_enabled: true,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        max_imports: 6,
        tail_call_enabled: true,
        threads_enabled: true,
        memory64_enabled: true,
        max_memories: 3,
        max_tables: 3,
        min_funcs: 6,
        max_funcs: 12,
        min_types: 4,
        min_memories: 1,
        min_tables: 1,
        max_tags: 4,
        wide_arithmetic_enabled: true,
        custom_page_sizes_enabled: true,
        export_everything: true,
        max_instructions: 400,
        ..wasm_smith::Config::default()
    };
    let bytes = bytes(seed);
    Some(wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).ok()?.to_bytes())
}

/// Options of which every combination comes up.
#[allow(clippy::needless_update, reason = "there are more with the feature `mutations`")]
fn options(seed: u64) -> Options {
    let flag = |bit: u64| seed >> bit & 1 == 1;
    Options {
        fuel: flag(0),
        depth: flag(1),
        bounds: if flag(2) { Bounds::Explicit } else { Bounds::Guard },
        canonical_nans: flag(3),
        spectre: !flag(4),
        baseline: flag(5),
        inline: !flag(6),
        polls: true,
        paranoid: true,
        ..Options::default()
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PALISADE_SEEDS") else { return 0..192 };
    let (from, to) = text.split_once("..").expect("from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn s1_random_functions_are_compiled() {
    let (mut modules, mut funcs) = (0, 0);
    let mut failed = Vec::new();
    for seed in seeds() {
        let types = TypeRegistry::new();
        let (limits, features) = (Limits::default(), default_features());
        let Some(bytes) = generate(seed) else { continue };
        let decoded = ModuleInfo::decode(bytes, &limits, features, &types, None);
        let Ok(info) = decoded else { continue };
        let info = Arc::new(info);
        let offsets = Arc::new(VmOffsets::new(&info).expect("an ordinary size"));
        let module = CompileModule { info: &info, offsets: &offsets, types: &types, stop: None };
        let compiler = Compiler::new(options(seed)).expect("a compiler");
        let mut batch = Vec::new();
        for (defined, func) in (0..).zip(compiler.compile_all(&module, 1)) {
            match func {
                Ok(func) => batch.push((defined, func)),
                Err(CompileError::Limit { .. }) => {}
                Err(error) => failed.push(format!("seed {seed} function {defined}: {error}")),
            }
        }
        modules += 1;
        funcs += batch.len();
        if let Err(error) = link(info, offsets, batch) {
            failed.push(format!("seed {seed}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{} of {funcs}:\n{}", failed.len(), failed.join("\n"));
    assert!(modules > 0 && funcs > modules, "{modules} modules, {funcs} functions");
    println!("{modules} modules, {funcs} functions");
}
