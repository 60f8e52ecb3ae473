//! Palisade beside other engines: outputs are compared before times, and times are taken in turns.
//!
//! ```text
//! cargo run --release -- [kernels]  [--pairs N] [--dispatch auto|loop] [NAME]...
//! cargo run --release -- features  [--pairs N] [NAME|collection]...
//! cargo run --release -- programs  --folder DIR --rival 'COMMAND OPTION...' [--ours PATH] [--pairs N] [NAME]...
//! cargo run --release -- compiled  [--pairs N] [--folder DIR] [NAME]...
//! cargo run --release -- overhead  [--pairs N] [--folder DIR] [NAME]...
//! cargo run --release -- artefacts --folder DIR [--pairs N] [NAME]...
//! cargo run --release -- tiering   [--pairs N] [--folder DIR] [NAME]...
//! cargo run --release -- compile-time [--pairs N] [FILE]...
//! cargo run --release -- dump      MODULE FOLDER
//! cargo run --release -- stop      [--pairs N] [NAME]...
//! cargo run --release -- start     --rival 'COMMAND OPTION...' [--ours PATH] [--pairs N]
//! ```
//!
//! Ratios are medians over N pairs (11 unless told) of the other's time over Palisade's: above 1, Palisade is
//! faster.

mod artefacts;
mod compile_time;
mod compiled;
mod dump;
mod engines;
mod features;
mod kernels;
mod measure;
mod programs;
mod shim;
mod stop;
mod suite;

use std::process::ExitCode;

/// The command as the main workspace builds it.
const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/palisade");

fn main() -> ExitCode {
    let mut options = programs::Options {
        ours: OURS.into(),
        rival: vec!["wasmi".into(), "--dir".into(), ".".into()],
        folder: ".".into(),
        pairs: 11,
        names: Vec::new(),
    };
    let mut folder = None;
    let mut dispatch = palisade::Dispatch::Auto;
    let mut args = std::env::args().skip(1).peekable();
    let commands = [
        "kernels",
        "features",
        "programs",
        "start",
        "compiled",
        "overhead",
        "artefacts",
        "tiering",
        "compile-time",
        "dump",
        "stop",
    ];
    let command = args.next_if(|arg| commands.contains(&arg.as_str()));
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
        match arg.as_str() {
            "--pairs" => options.pairs = value().parse().expect("--pairs N"),
            "--dispatch" => {
                dispatch = match value().as_str() {
                    "loop" => palisade::Dispatch::Loop,
                    _ => palisade::Dispatch::Auto,
                }
            }
            "--ours" => options.ours = value().into(),
            "--rival" => options.rival = value().split_whitespace().map(str::to_owned).collect(),
            "--folder" => {
                options.folder = std::fs::canonicalize(value()).expect("--folder is a folder");
                folder = Some(options.folder.clone());
            }
            _ => options.names.push(arg),
        }
    }
    assert!(!options.rival.is_empty(), "--rival wants a command");
    let compare = match command.as_deref() {
        Some("compiled") => Some(compiled::run as fn(&compiled::Options)),
        Some("overhead") => Some(compiled::overhead as fn(&compiled::Options)),
        Some("artefacts") => Some(artefacts::run as fn(&compiled::Options)),
        Some("tiering") => Some(compiled::tiering as fn(&compiled::Options)),
        _ => None,
    };
    if let Some(compare) = compare {
        let programs::Options { pairs, names, .. } = options;
        compare(&compiled::Options { pairs, names, folder });
        return ExitCode::SUCCESS;
    }
    if command.as_deref() == Some("stop") {
        stop::run(options.pairs, &options.names);
        return ExitCode::SUCCESS;
    }
    if command.as_deref() == Some("compile-time") {
        compile_time::run(options.pairs, &options.names);
        return ExitCode::SUCCESS;
    }
    if let (Some("dump"), [file, folder]) = (command.as_deref(), &options.names[..]) {
        dump::run(file, folder);
        return ExitCode::SUCCESS;
    }
    let good = match command.as_deref() {
        Some("features") => features::run(options.pairs, &options.names),
        Some("programs") => programs::run(&options),
        Some("start") => {
            programs::start(&options);
            true
        }
        _ => {
            kernels::run(options.pairs, dispatch, &options.names);
            true
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
