//! Modules from seeds, by `wasm-smith`: all that is executed, and what the generator leaves off unless it is
//! asked: custom page sizes, several memories and tables.

use wasm_smith::{Config, Module};

use crate::rng::Rng;

/// A generated module.
pub struct Made {
    pub bytes: Vec<u8>,
    /// Whether it may contain relaxed vector operators, which engines may do differently.
    pub relaxed: bool,
}

fn config(rng: &mut Rng) -> Config {
    let allow = |rng: &mut Rng| rng.chance(60);
    Config {
        min_funcs: 6,
        max_funcs: 14,
        max_instructions: 50 + rng.below(450) as usize,
        min_types: 3,
        max_types: 20,
        max_globals: 14,
        max_element_segments: 6,
        max_elements: 30,
        max_data_segments: 6,
        max_memories: 1 + rng.below(4) as usize,
        max_tables: 1 + rng.below(4) as usize,
        min_memories: u32::from(allow(rng)),
        min_tables: u32::from(allow(rng)),
        max_tags: 6,
        max_memory32_bytes: 1 << 18,
        max_memory64_bytes: 1 << 18,
        memory_max_size_required: true,
        max_table_elements: 500,
        table_max_size_required: true,
        memory64_enabled: allow(rng),
        tail_call_enabled: allow(rng),
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        extended_const_enabled: allow(rng),
        // Neither is known to V8.
        custom_page_sizes_enabled: rng.chance(20),
        wide_arithmetic_enabled: rng.chance(20),
        sign_extension_ops_enabled: true,
        saturating_float_to_int_enabled: true,
        simd_enabled: allow(rng),
        relaxed_simd_enabled: rng.chance(20),
        gc_enabled: crate::OBJECTS && allow(rng),
        exceptions_enabled: crate::EXCEPTIONS && allow(rng),
        compact_imports_enabled: false,
        threads_enabled: rng.chance(30),
        shared_everything_threads_enabled: false,
        canonicalize_nans: true,
        export_everything: true,
        disallow_traps: allow(rng),
        allow_start_export: rng.chance(15),
        max_imports: rng.below(6) as usize,
        max_nesting_depth: 40,
        ..Config::default()
    }
}

/// The module of a seed, if its bytes are enough for one and nothing in it would wait for ever.
pub fn make(seed: u64) -> Option<Made> {
    let mut rng = Rng::new(seed);
    let config = config(&mut rng);
    let length = 2_000 + rng.below(30_000) as usize;
    let bytes = rng.bytes(length);
    let (threads, simd) = (config.threads_enabled, config.relaxed_simd_enabled);
    let mut unstructured = arbitrary::Unstructured::new(&bytes);
    let bytes = Module::new(config, &mut unstructured).ok()?.to_bytes();
    // What looks like such an operator may be something else, but nothing that is one looks otherwise.
    if threads && bytes.windows(2).any(|pair| matches!(pair, [0xfe, 1 | 2])) {
        return None;
    }
    let relaxed = simd && has_relaxed(&bytes);
    Some(Made { bytes, relaxed })
}

pub fn has_relaxed(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|three| matches!(three, [0xfd, 0x80..=0x93, 2]))
}
