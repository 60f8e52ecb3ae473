//! Starts from artefacts: Palisade's beside wasmtime's `.cwasm`, and Palisade's cache, each from its file to the end of the
//! program, in an engine of its own, as a process would have.
//!
//! Both read their own format from the file system, which holds it in memory: Palisade checks who vouches for it and hashes what
//! it uses, wasmtime maps the file and trusts whoever calls it. Outputs are compared before times.

use std::path::{Path, PathBuf};

use crate::compiled::Options;
use crate::engines::{self, Program, Run};
use crate::measure::{Mean, rotate, time};

/// What programs are given here, so that starting is most of what they do.
const SHORT: [(&str, &[&str]); 3] = [
    ("python", &["--version"]),
    ("lua", &["-v"]),
    ("sqlite-speedtest1", &["--memdb", "--size", "1", ":memory:"]),
];

/// Files that go when this does.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("palisade-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for artefacts");
        Self(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("a file for an artefact");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn size(path: &Path) -> f64 {
    std::fs::metadata(path).map_or(0.0, |data| data.len() as f64 / 1e6)
}

fn shortened(mut program: Program) -> Program {
    let short = SHORT.iter().find(|(name, _)| *name == program.name);
    if let (Some((_, args)), Some(command)) = (short, &mut program.command) {
        command.args.truncate(1);
        command.args.extend(args.iter().map(|&arg| arg.to_owned()));
    }
    program
}

pub fn run(options: &Options) {
    let folder = options.folder.as_deref().expect("--folder with real programs");
    let programs = crate::suite::chosen(crate::suite::real(folder), &options.names);
    let mut mean = Mean::default();
    println!(
        "{:24} {:>9} {:>9} {:>9} {:>7} {:>7}   {:>8} {:>8} {:>8} {:>8}",
        "from file to end, ms",
        "artefact",
        "cached",
        ".cwasm",
        "ratio",
        "cached",
        "module",
        "artefact",
        "entry",
        ".cwasm"
    );
    for program in programs.into_iter().map(shortened) {
        let files = Files::new();
        let wasm = files.write("m.wasm", &program.wasm);
        let (whole, code) = engines::palisade_artefacts(&program.wasm);
        let (own, entry) = (files.write("m.palisade", &whole), files.write("m.code", &code));
        let other = files.write("m.cwasm", &engines::wasmtime_artefact(&program.wasm));
        let mut runs: Vec<Run> = vec![
            engines::palisade_stored(&program, own.clone()),
            engines::palisade_cached(&program, wasm.clone(), entry.clone()),
            engines::wasmtime_stored(&program, other.clone()),
        ];
        let results: Vec<i64> = runs.iter_mut().map(|run| run()).collect();
        assert!(
            results.iter().all(|&result| result == results[0]),
            "{}: {results:?}",
            program.name
        );
        let (times, ratios) = rotate(options.pairs, |run| time(run), &mut runs);
        mean.add(ratios[2]);
        println!(
            "{:24} {:9.2} {:9.2} {:9.2} {:7.2} {:7.2}   {:8.2} {:8.2} {:8.2} {:8.2}",
            program.name,
            times[0] * 1e3,
            times[1] * 1e3,
            times[2] * 1e3,
            ratios[2],
            times[2] / times[1],
            size(&wasm),
            size(&own),
            size(&entry),
            size(&other)
        );
    }
    mean.print();
}
