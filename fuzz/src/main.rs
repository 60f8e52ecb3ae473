//! Generated modules in Palisade, interpreted on both dispatchers, compiled and in turns, and in engines that share
//! little with it; broken modules in its decoder, broken text, random work of an embedder, random calls of WASI on
//! paths. Without end, unless a difference is found or the time is up.
//!
//! ```text
//! cargo run --release -- [--seconds N] [--count N] [--seed S] [--engines own,compiled,wasmtime,v8] [--node PROGRAM]
//!                        [--only modules|decoder|text|api|paths|artefacts] [--file MODULE]
//! ```
//!
//! Each seed gives one module, the imports and arguments for it, and some broken copies of it. Compared are
//! results, classes of traps, memories, globals and tables, after every call. What an engine cannot judge (a
//! proposal that it lacks, values that JavaScript does not have, a limit that was reached) is counted as not run.
//! Exit codes: 0 if nothing was found, 1 if something was, 2 if the command line makes no sense.

#[path = "../../crates/wasi/tests/common/mod.rs"]
mod common;
mod decode;
mod ours;
mod plan;
mod rival;
mod rng;
#[path = "../../tests/tests/rounds_support/mod.rs"]
mod rounds;
mod smith;
mod trace;
#[path = "../../crates/wasi/tests/tree/mod.rs"]
mod tree;
mod v8;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade::{Dispatch, Engine, Module};
use plan::Plan;
use rng::Rng;
use trace::{Trace, compare};

/// Whether modules with objects are executed, and those with exceptions.
pub const OBJECTS: bool = true;
pub const EXCEPTIONS: bool = true;

/// Broken copies for each module.
const BROKEN: u64 = 30;
/// Broken texts, steps of an embedder and calls on paths for each seed.
const TEXTS: u64 = 20;
const STEPS: u64 = 100;
const CALLS: u64 = 200;
/// How often calls are left out that a limit ended.
const PASSES: usize = 4;
/// How often to say how far it is.
const REPORT: Duration = Duration::from_secs(30);

struct Options {
    seconds: Option<u64>,
    count: Option<u64>,
    seed: u64,
    compiled: bool,
    wasmtime: bool,
    v8: bool,
    node: String,
    only: Option<Part>,
    file: Option<PathBuf>,
}

/// What a seed is used for.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Part {
    Modules,
    Decoder,
    Text,
    Api,
    Paths,
    Artefacts,
}

impl Part {
    const ALL: [(&str, Self); 6] = [
        ("modules", Self::Modules),
        ("decoder", Self::Decoder),
        ("text", Self::Text),
        ("api", Self::Api),
        ("paths", Self::Paths),
        ("artefacts", Self::Artefacts),
    ];
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

fn options() -> Result<Options, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = Options {
        seconds: None,
        count: None,
        seed: now.map_or(0, |t| t.as_secs()) << 24,
        compiled: true,
        wasmtime: true,
        v8: true,
        node: "node".into(),
        only: None,
        file: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} wants a value"))?;
        let number =
            || value.parse::<u64>().map_err(|_| format!("{arg} wants a number, not {value}"));
        match arg.as_str() {
            "--seconds" => options.seconds = Some(number()?),
            "--count" => options.count = Some(number()?),
            "--seed" => options.seed = number()?,
            "--node" => options.node = value,
            "--file" => options.file = Some(value.into()),
            "--engines" => {
                let names: Vec<_> = value.split(',').collect();
                let known = ["own", "compiled", "wasmtime", "v8"];
                if let Some(name) = names.iter().find(|name| !known.contains(name)) {
                    return Err(format!("no engine {name}: there are {}", known.join(", ")));
                }
                options.compiled = names.contains(&"compiled");
                options.wasmtime = names.contains(&"wasmtime");
                options.v8 = names.contains(&"v8");
            }
            "--only" => match Part::ALL.iter().find(|(name, _)| *name == value) {
                Some(&(_, part)) => options.only = Some(part),
                None => {
                    let names = Part::ALL.map(|(name, _)| name).join(", ");
                    return Err(format!("--only wants one of {names}, not {value}"));
                }
            },
            _ => return Err(format!("no option {arg}")),
        }
    }
    Ok(options)
}

/// Something that should not be: what, and the module that shows it.
struct Found {
    what: String,
    bytes: Vec<u8>,
    /// What was added to the bytes' name.
    part: &'static str,
}

struct Fuzzer {
    metered: [Engine; 2],
    plain: [Engine; 2],
    /// Collects at every allocation.
    stressed: Engine,
    /// Those that make machine code.
    machines: Vec<ours::Machine>,
    /// Knows what V8 does.
    narrow: Engine,
    rival: Option<wasmtime::Engine>,
    node: Option<v8::Node>,
    sealed: rounds::artefact::Sealed,
    counts: BTreeMap<String, u64>,
}

impl Fuzzer {
    fn new(options: &Options) -> Result<Self, String> {
        let both = [Dispatch::Loop, Dispatch::TailCall];
        let rival = if options.wasmtime {
            Some(rival::engine().map_err(|e| format!("wasmtime: {e}"))?)
        } else {
            None
        };
        let mut node = None;
        if options.v8 {
            match v8::Node::new(&options.node) {
                Some((found, version)) => {
                    println!("node {version}");
                    node = Some(found);
                }
                None => println!("no node by the name {}: V8 is not run", options.node),
            }
        }
        Ok(Self {
            metered: both.map(|dispatch| ours::engine(dispatch, true)),
            plain: both.map(|dispatch| ours::engine(dispatch, false)),
            stressed: ours::stressed(),
            machines: if options.compiled { ours::machines() } else { Vec::new() },
            narrow: ours::narrow(),
            rival,
            node,
            sealed: rounds::artefact::Sealed::new().map_err(|error| format!("{error:#}"))?,
            counts: BTreeMap::new(),
        })
    }

    fn count(&mut self, what: &str, more: usize) {
        *self.counts.entry(what.to_owned()).or_default() += more as u64;
    }

    /// Runs of both dispatchers, which must be the same in all respects.
    fn both(&mut self, bytes: &[u8], plan: &Plan) -> Result<Trace, String> {
        let [first, second] = self.metered.each_ref().map(|engine| own(engine, bytes, plan));
        let (first, second) = (first?, second?);
        if first == second {
            return Ok(first);
        }
        Err(format!("the dispatchers differ: {}", difference(&first, &second)))
    }

    /// Runs a module everywhere.
    fn module(&mut self, bytes: &[u8], relaxed: bool, seed: u64) -> Result<(), String> {
        self.count("modules: all", 1);
        let loaded = Module::from_binary(&self.metered[0], bytes);
        let module = loaded.map_err(|error| format!("a valid module is refused: {error}"))?;
        let Some(mut plan) = Plan::new(&module, seed) else {
            self.count("modules: not run, for their imports", 1);
            return Ok(());
        };
        let mut first = self.both(bytes, &plan)?;
        self.count("calls: all", first.calls.len());
        // What was cut short says nothing, and would run on where it is not metered: without it, then. What comes
        // after it may be cut short now.
        for _ in 0..PASSES {
            let limited = first.limited();
            if limited.is_empty() {
                break;
            }
            plan.without(&limited);
            first = self.both(bytes, &plan)?;
        }
        if !first.limited().is_empty() {
            self.count("modules: not run, for limits that move", 1);
            return Ok(());
        }
        self.count("calls: conclusive", first.calls.len());
        self.count("calls: without trap", first.calls.iter().filter(|c| c.outcome.is_ok()).count());
        if let Some(class) = first.failed.as_deref().filter(|class| trace::is_limit(class)) {
            self.count(&format!("modules: not run, {class} when instantiated"), 1);
            return Ok(());
        }
        for engine in &self.plain {
            let third = own(engine, bytes, &plan)?;
            compare(&first, &third, |class| class).map_err(|e| format!("without fuel: {e}"))?;
        }
        let stressed = own(&self.stressed, bytes, &plan)?;
        if !stressed.limited().is_empty() {
            // A heap may be full at another moment: only what comes before that is the same.
            compare(&first, &stressed, |class| class)
                .map_err(|why| format!("collections matter: {why}"))?;
            self.count("modules: a heap that is full where it collects more often", 1);
        } else if first != stressed {
            return Err(format!("collections matter: {}", difference(&first, &stressed)));
        }
        self.machines(bytes, &plan, &first)?;
        self.rival(bytes, &plan, &first)?;
        if relaxed {
            self.count("v8: not run, relaxed vectors", 1);
            return Ok(());
        }
        self.v8(bytes, &plan, &first)
    }

    /// Runs of machine code: where they count fuel, they must be the same in all respects.
    fn machines(&mut self, bytes: &[u8], plan: &Plan, first: &Trace) -> Result<(), String> {
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            let found = own(&machine.engine, bytes, plan)?;
            let differs = |why: String| format!("{}: {why}", machine.name);
            if machine.stressed && !found.limited().is_empty() || !machine.engine.config().metered()
            {
                compare(first, &found, |class| class).map_err(differs)?;
            } else if *first != found {
                return Err(differs(difference(first, &found)));
            }
        }
        self.count("machine code: runs", self.machines.len());
        Ok(())
    }

    fn rival(&mut self, bytes: &[u8], plan: &Plan, ours: &Trace) -> Result<(), String> {
        let Some(engine) = &self.rival else { return Ok(()) };
        match rival::run(engine, bytes, plan) {
            Ok(theirs) => {
                let calls = compare(ours, &theirs, trace::as_wasmtime)
                    .map_err(|e| format!("wasmtime: {e}"))?;
                self.count("wasmtime: modules", 1);
                self.count("wasmtime: calls", calls);
            }
            Err(error) => {
                let reason = format!("{error}");
                let reason = reason.lines().next().unwrap_or_default().chars().take(60);
                self.count(&format!("wasmtime: not run, {}", reason.collect::<String>()), 1);
            }
        }
        Ok(())
    }

    fn v8(&mut self, bytes: &[u8], plan: &Plan, ours: &Trace) -> Result<(), String> {
        let Some(node) = &mut self.node else { return Ok(()) };
        let script = match &plan.script {
            Ok(script) => script,
            Err(reason) => {
                self.count(&format!("v8: not run, {reason}"), 1);
                return Ok(());
            }
        };
        match node.ask(bytes, Some(script)) {
            v8::Answer::Ran(theirs) => {
                let calls = compare(ours, &theirs, trace::as_v8).map_err(|e| format!("V8: {e}"))?;
                self.count("v8: modules", 1);
                self.count("v8: calls", calls);
            }
            v8::Answer::Valid => {}
            v8::Answer::Invalid(_) => self.count("v8: not run, a proposal that it lacks", 1),
            v8::Answer::NotRun(reason) => {
                let reason: String = reason.chars().take(60).collect();
                self.count(&format!("v8: not run, {reason}"), 1);
            }
        }
        Ok(())
    }

    /// Loads broken copies of a module.
    fn broken(&mut self, bytes: &[u8], seed: u64) -> Result<(), Found> {
        let mut rng = Rng::new(seed ^ 0x0BAD);
        // V8's verdict counts only if it knows what the module uses.
        let judged = match &mut self.node {
            Some(node) => matches!(node.ask(bytes, None), v8::Answer::Valid),
            None => false,
        };
        for _ in 0..BROKEN {
            let broken = decode::mutate(&mut rng, bytes);
            self.count("decoder: all", 1);
            let found = |what: String, bytes| Found { what, bytes, part: "-broken" };
            let loaded = match decode::load(&self.metered[0], &broken) {
                Ok(loaded) => loaded,
                Err(what) => return Err(found(what, broken)),
            };
            self.count(if loaded.is_ok() { "decoder: valid" } else { "decoder: refused" }, 1);
            if !judged {
                continue;
            }
            let Some(node) = &mut self.node else { continue };
            let theirs = match node.ask(&broken, None) {
                v8::Answer::Valid => None,
                v8::Answer::Invalid(reason) => Some(reason),
                _ => continue,
            };
            self.count("decoder: judged by V8", 1);
            let loaded = Module::from_binary(&self.narrow, &broken);
            match loaded {
                Ok(_) => {
                    if let Some(reason) = theirs {
                        // A limit of its own, which the specification leaves to it.
                        if reason.contains("maximum") || reason.contains("too large") {
                            self.count("decoder: beyond a limit of V8", 1);
                            continue;
                        }
                        // Older ones know a proposal, and do not have it on.
                        if reason.contains("enable with --experimental") {
                            self.count("decoder: a proposal that V8 has not on", 1);
                            continue;
                        }
                        return Err(found(format!("V8 refuses what ours takes: {reason}"), broken));
                    }
                }
                Err(error) if theirs.is_none() => {
                    if let Some(why) = decode::lenient(&error.to_string()) {
                        self.count(&format!("decoder: V8 is known to take {why}"), 1);
                        continue;
                    }
                    return Err(found(format!("V8 takes what ours refuses: {error}"), broken));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What needs no module.
    fn rounds(&mut self, seed: u64, options: &Options) -> Result<(), String> {
        if options.wants(Part::Text) {
            for number in 0..TEXTS {
                let seed = seed.wrapping_mul(TEXTS).wrapping_add(number);
                let loaded = catch(|| rounds::text::round(&self.metered[0], seed))??;
                self.count(if loaded { "text: valid" } else { "text: refused" }, 1);
            }
        }
        if options.wants(Part::Api) {
            let mut counts = rounds::api::Counts::default();
            catch(|| rounds::api::round(seed, STEPS, &mut counts))??;
            self.count("api: calls", counts.calls as usize);
            self.count("api: objects of other stores", counts.refused as usize);
            self.count("api: panics of the host", counts.panics as usize);
        }
        if options.wants(Part::Paths) {
            let counts = catch(|| tree::run(seed, CALLS))?;
            self.count("paths: calls", counts.calls as usize);
            self.count("paths: successes", counts.successes as usize);
        }
        if options.wants(Part::Artefacts) {
            for number in 0..TEXTS {
                let seed = seed.wrapping_mul(TEXTS).wrapping_add(number);
                let loaded = catch(|| self.sealed.round(seed))??;
                self.count(if loaded { "artefacts: whole" } else { "artefacts: refused" }, 1);
            }
        }
        Ok(())
    }

    fn seed(&mut self, seed: u64, options: &Options) -> Result<(), Found> {
        if options.file.is_none() {
            let done = self.rounds(seed, options);
            done.map_err(|what| Found { what, bytes: Vec::new(), part: "" })?;
        }
        if !options.wants(Part::Modules) && !options.wants(Part::Decoder) {
            return Ok(());
        }
        let made = match &options.file {
            Some(file) => match std::fs::read(file) {
                Ok(bytes) => Some(smith::Made { relaxed: smith::has_relaxed(&bytes), bytes }),
                Err(error) => {
                    return Err(Found {
                        what: format!("{}: {error}", file.display()),
                        bytes: Vec::new(),
                        part: "",
                    });
                }
            },
            None => smith::make(seed),
        };
        let Some(made) = made else {
            self.count("seeds without a module", 1);
            return Ok(());
        };
        if options.wants(Part::Modules) {
            let ran = self.module(&made.bytes, made.relaxed, seed);
            ran.map_err(|what| Found { what, bytes: made.bytes.clone(), part: "" })?;
        }
        if options.wants(Part::Decoder) {
            self.broken(&made.bytes, seed)?;
        }
        Ok(())
    }

    fn report(&self, seeds: u64, since: Instant) {
        println!("{seeds} seeds in {} s", since.elapsed().as_secs());
        for (what, count) in &self.counts {
            println!("  {count:>9}  {what}");
        }
    }
}

/// What comes of something, where a panic is a finding.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        format!("panics: {}", text.or(panic.downcast_ref().copied()).unwrap_or_default())
    })
}

/// A run of ours, where an error or a panic is a finding.
fn own(engine: &Engine, bytes: &[u8], plan: &Plan) -> Result<Trace, String> {
    let run = catch_unwind(AssertUnwindSafe(|| {
        let module = Module::from_binary(engine, bytes)?;
        ours::run(engine, &module, plan)
    }));
    match run {
        Ok(Ok(trace)) => Ok(trace),
        Ok(Err(error)) => Err(format!("ours ({:?}): {error}", engine.config())),
        Err(_) => Err("ours panics".into()),
    }
}

/// The first difference of two runs of ours.
fn difference(a: &Trace, b: &Trace) -> String {
    if let Err(why) = compare(a, b, |class| class) {
        return why;
    }
    let own = a.own.iter().zip(&b.own).find(|(a, b)| a != b);
    format!("fuel or places: {own:?}, {} and {} of them", a.own.len(), b.own.len())
}

fn save(seed: u64, found: &Found) {
    println!("\nseed {seed}: {}", found.what);
    if found.bytes.is_empty() {
        println!("again: cargo run --release -- --seed {seed} --count 1");
        return;
    }
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/found"));
    let file = folder.join(format!("{seed}{}.wasm", found.part));
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &found.bytes)) {
        Ok(()) => println!("the module: {}", file.display()),
        Err(error) => println!("the module could not be saved: {error}"),
    }
    println!("again: cargo run --release -- --seed {seed} --count 1");
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut fuzzer = match Fuzzer::new(&options) {
        Ok(fuzzer) => fuzzer,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let (start, mut reported) = (Instant::now(), Instant::now());
    let count = options.count.unwrap_or(if options.file.is_some() { 1 } else { u64::MAX });
    let mut seeds = 0;
    while seeds < count {
        if options.seconds.is_some_and(|seconds| start.elapsed().as_secs() >= seconds) {
            break;
        }
        let seed = options.seed.wrapping_add(seeds);
        if let Err(found) = fuzzer.seed(seed, &options) {
            save(seed, &found);
            return ExitCode::from(1);
        }
        seeds += 1;
        if reported.elapsed() > REPORT {
            reported = Instant::now();
            fuzzer.report(seeds, start);
        }
    }
    fuzzer.report(seeds, start);
    ExitCode::SUCCESS
}
