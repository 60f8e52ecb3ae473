//! Tells builds apart: a number over the sources that machine code depends on, the compiler and its settings.
//!
//! Code in files is taken by the very build that made it, and by no other. What makes code, or validates modules, is asked for by its
//! exact version in the manifests; the other versions that are linked stand in the lock file of this workspace, or in that
//! of the program that these crates are built into, where the folder that is built in lies in its own.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// The crates that machine code, or what runs it, is made from.
const CRATES: [&str; 6] = ["core", "module", "vm", "interp", "jit", "palisade"];

/// Variables of the build that may change how things are laid out.
const SETTINGS: [&str; 6] = [
    "TARGET",
    "OPT_LEVEL",
    "DEBUG",
    "PROFILE",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_CFG_TARGET_FEATURE",
];

fn main() {
    let mut hasher = DefaultHasher::new();
    for name in SETTINGS {
        println!("cargo::rerun-if-env-changed={name}");
        hasher.write(env::var(name).unwrap_or_default().as_bytes());
        hasher.write_u8(0xff);
    }
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_FEATURE_")) {
        hasher.write(name.as_bytes());
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Ok(version) = std::process::Command::new(rustc).arg("-vV").output() {
        hasher.write(&version.stdout);
    }
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let crates = own.parent().unwrap_or(&own);
    for name in CRATES {
        for inside in ["src", "Cargo.toml", "build.rs"] {
            add(&mut hasher, &crates.join(name).join(inside));
        }
    }
    add(&mut hasher, &crates.join("../Cargo.lock"));
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Some(lock) = out.ancestors().map(|at| at.join("Cargo.lock")).find(|at| at.is_file()) {
        add(&mut hasher, &lock);
    }
    println!("cargo::rustc-env=PALISADE_BUILD={:016x}", hasher.finish());
}

/// Adds a file, or all files beneath a directory, in the order of their names.
fn add(hasher: &mut DefaultHasher, path: &Path) {
    if path.is_dir() {
        println!("cargo::rerun-if-changed={}", path.display());
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| add(hasher, path));
    } else if let Ok(text) = fs::read(path) {
        println!("cargo::rerun-if-changed={}", path.display());
        hasher.write(path.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.write_usize(text.len());
        hasher.write(&text);
    }
}
