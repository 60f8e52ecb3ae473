//! Real programs, run as an embedder would run them: through the library and its WASI.
//!
//! Two sets. The programs of this repository (`tests/programs`, described in its README) run on both
//! dispatchers, and what they print, how they end, where they trapped and what they left in their
//! directory is compared. A larger corpus of other people's programs is not part of the
//! repository: it runs where it lies beside the workspace, or where `PALISADE_PROGRAMS` says, and is reported as
//! not run elsewhere.
//!
//! Both sets are read from their list, and a program of a list that no test here names is a
//! failure: nothing is left out in silence.

#[path = "programs_support/mod.rs"]
mod support;

use support::{corpus, own};

macro_rules! own_programs {
    ($($name:ident)*) => {
        mod own_program {
            $(#[test] fn $name() { super::own::run_cases_of(concat!(stringify!($name), ".wasm")); })*
        }

        #[test]
        fn every_case_of_the_manifest_belongs_to_a_test() {
            own::assert_complete(&[$(concat!(stringify!($name), ".wasm")),*]);
        }
    };
}

own_programs! {
    adventure args bf calc copy deep env exit hello hog json probe reactor residue sanity sleep tree
    wc
}

macro_rules! corpus_programs {
    ($($test:ident = $name:literal)*) => {
        mod program {
            $(#[test] fn $test() { super::corpus::run($name); })*
        }

        #[test]
        fn every_program_of_the_corpus_is_covered() {
            corpus::assert_complete(&[$($name),*]);
        }
    };
}

corpus_programs! {
    c_hello_wasi = "c_hello_wasi"
    c_btree = "c_btree"
    c_deep_recursion = "c_deep_recursion"
    c_math_compute = "c_math_compute"
    c_sha256_hash = "c_sha256_hash"
    c_regex_match = "c_regex_match"
    c_large_memory = "c_large_memory"
    cpp_json_parse = "cpp_json_parse"
    cpp_map_ops = "cpp_map_ops"
    cpp_vector_sort = "cpp_vector_sort"
    emcc_fannkuch = "emcc_fannkuch"
    go_hello_wasi = "go_hello_wasi"
    go_json_marshal = "go_json_marshal"
    go_regex = "go_regex"
    rust_file_io = "rust_file_io"
    rust_hashmap_ops = "rust_hashmap_ops"
    rust_serde_json = "rust_serde_json"
    rust_compression = "rust_compression"
    tinygo_json = "tinygo_json"
    tinygo_sort = "tinygo_sort"
    zig_prime_sieve = "zig_prime_sieve"
    asc_compute_mix = "asc_compute_mix"
    blake3_scalar = "blake3-scalar"
    bz2 = "bz2"
    hashset = "hashset"
    rust_json = "rust-json"
    richards = "richards"
    base64 = "base64"
    ctype = "ctype"
    fib2 = "fib2"
    heapsort = "heapsort"
    matrix = "matrix"
    sieve = "sieve"
    switch = "switch"
    random = "random"
    lua = "lua"
    sqlite_speedtest1 = "sqlite-speedtest1"
    go_json_sha = "go-json-sha"
    python = "python"
    k_fib = "k-fib"
    k_tak = "k-tak"
    k_sieve = "k-sieve"
    k_nbody = "k-nbody"
    blake3_simd = "blake3-simd"
    simd_dot_product = "simd-dot_product"
    simd_byte_search = "simd-byte_search"
    gc_arrays = "gc-arrays"
    gc_binary_trees = "gc-binary-trees"
    gc_list_cast = "gc-list-cast"
}
