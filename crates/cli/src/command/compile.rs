//! `palisade compile`: a module to machine code, all of it, into a file.

use std::fs::Metadata;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use palisade::{Config, Engine, Resource, Strategy};

use crate::args::Compile;
use crate::cache;
use crate::conduct::Conduct;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::keys;
use crate::load;
use crate::outcome;
use crate::quantity::show_bytes;
use crate::settings::{Switches, limits_for_looking};

/// How often progress is shown.
const STEP: Duration = Duration::from_millis(100);
/// The columns of the bar.
const BAR: usize = 30;

pub(super) fn run(args: &Compile) -> Result<Status, Failure> {
    let limits = limits_for_looking(args.sandbox, &args.decoding.limit)?;
    let switches = Switches::of(&args.decoding.proposals)?;
    let output = output(args)?;
    let seal = keys::seal(args.sign.as_deref())?;
    let mut config = Config::new();
    switches.apply(&mut config)?;
    config
        .consume_fuel(args.sandbox || args.fuel)
        .limits(limits.clone())
        .compile_memory(args.sandbox.then(|| Resource::HostBytes.sandbox()))
        // Which limit it is makes no difference to the code.
        .call_depth((args.sandbox || args.call_depth).then_some(u64::MAX))
        .strategy(Strategy::Auto)
        .paranoid(args.sandbox || args.paranoid)
        .baseline_cpu(args.baseline_cpu);
    let conduct = Conduct { seed: args.deterministic.then_some(0), ..Conduct::default() };
    conduct.configure(&mut config);
    let engine = outcome::engine(&config)?;
    if !engine.has_machine_code() {
        return Err(Failure::new(
            Status::Internal,
            "machine code cannot be made on this machine; palisade features says why",
        ));
    }
    let module = load::module(&engine, &limits, load::open(&args.file)?)?;
    with_progress(&engine, module.function_count(), || module.compile_all())
        .map_err(|error| outcome::failure(&args.file, &error))?;
    let bytes = module.serialize(&seal).map_err(|error| outcome::failure(&args.file, &error))?;
    // As readable as any file of the user's: it is no secret, and others may trust its signer.
    cache::replace(&output, &bytes, 0o666).map_err(|error| {
        Failure::new(
            Status::Internal,
            format!("{}: cannot be written: {error}", escape::path(&output)),
        )
    })?;
    if std::io::stderr().is_terminal() {
        let stats = engine.compile_stats();
        let mut line = format!(
            "{}: {} functions, {} of code, {} in all",
            escape::path(&output),
            stats.compiled,
            show_bytes(stats.code_bytes),
            show_bytes(bytes.len() as u64)
        );
        if stats.refused + stats.failed > 0 {
            let left = stats.refused + stats.failed;
            line.push_str(&format!("; {left} stay with the interpreter"));
        }
        failure::tell(&format!("{line}\n"));
    }
    Ok(Status::Success)
}

/// Where the artefact goes.
fn output(args: &Compile) -> Result<PathBuf, Failure> {
    let output = args.output.clone().unwrap_or_else(|| args.file.with_extension("palisade"));
    if output.file_name().is_none() {
        return Err(Failure::usage(format!(
            "--output {}: no name of a file",
            escape::path(&output)
        )));
    }
    let wrong = |why: &str| Err(Failure::usage(why.to_owned()).hint("write --output FILE"));
    let there = std::fs::metadata(&output).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return wrong("--output is there, and is no file that can be replaced");
    }
    let same = |a: &Metadata, b: Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    let module = std::fs::metadata(&args.file);
    let taken = there.zip(module.ok()).is_some_and(|(there, module)| same(&there, module));
    if taken || output == args.file {
        return wrong("the artefact would take the place of the module");
    }
    Ok(output)
}

/// Does the work; meanwhile a bar on standard error says how far it is, if that is a terminal.
fn with_progress<T: Send>(engine: &Engine, all: usize, work: impl FnOnce() -> T + Send) -> T {
    if !std::io::stderr().is_terminal() || all == 0 {
        return work();
    }
    std::thread::scope(|scope| {
        let (over, wait) = mpsc::channel::<()>();
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = wait.recv_timeout(STEP) {
                let stats = engine.compile_stats();
                failure::tell(&bar(stats.compiled + stats.refused + stats.failed, all as u64));
            }
            // The line is empty again.
            failure::tell("\r\x1b[K");
        });
        let result = work();
        drop(over);
        result
    })
}

fn bar(done: u64, all: u64) -> String {
    let done = done.min(all);
    let filled = (done * BAR as u64 / all.max(1)) as usize;
    let (full, empty) = ("#".repeat(filled), " ".repeat(BAR - filled));
    format!("\r\x1b[Kcompiling [{full}{empty}] {done} of {all} functions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert!(bar(0, 10).ends_with("] 0 of 10 functions"));
        assert!(!bar(0, 10).contains('#'));
        assert!(bar(10, 10).contains(&"#".repeat(BAR)));
        assert!(bar(11, 10).ends_with("] 10 of 10 functions"));
        assert!(bar(0, 0).ends_with("] 0 of 0 functions"));
    }

    #[test]
    fn the_artefact_stands_beside_the_module_and_never_in_its_place() {
        let words = |line: &str| line.split_whitespace().map(Into::into).collect::<Vec<_>>();
        let output = |line: &str| output(&crate::args::parse("compile", &words(line)).unwrap());
        assert_eq!(output("a/b.wasm").unwrap(), PathBuf::from("a/b.palisade"));
        assert_eq!(output("a/b.wasm -o c").unwrap(), PathBuf::from("c"));
        assert!(output("b.palisade").is_err());
        assert!(output("b.wasm -o b.wasm").is_err());
        assert!(output("b.wasm -o /").is_err());
        let dir = tempfile::tempdir().unwrap();
        let (module, link) = (dir.path().join("m.wasm"), dir.path().join("link"));
        std::fs::write(&module, "").unwrap();
        std::os::unix::fs::symlink(&module, &link).unwrap();
        assert!(output(&format!("{} -o {}", module.display(), link.display())).is_err());
        assert!(output(&format!("{} -o /dev/null", module.display())).is_err());
    }
}
