//! What the options of a run add up to.
//!
//! A profile (`--sandbox` or not) gives every value; then each option given changes its own. The
//! order of the options never matters, because nothing here sees it.

use std::time::Duration;

use palisade::{Config, Engine, Resource, ResourceLimits, Strategy};
use palisade_core::{LimitKind, Limits};
use palisade_wasi::Caps;

use crate::amounts;
use crate::args::{self, Bounds, Grants, Proposals, Run};
use crate::conduct::{Conduct, DETERMINISTIC_STACK};
use crate::escape;
use crate::failure::Failure;
use crate::quantity::{self, Bound};

/// Everything that bounds a guest and that is not a file, a variable or a directory.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Settings {
    /// What WASI allows.
    pub(crate) capabilities: Caps,
    /// Limits of the decoder.
    pub(crate) limits: Limits,
    /// Proposals that are switched.
    pub(crate) switches: Switches,
    /// What runs the guest.
    pub(crate) engine: args::Engine,
    /// Whether the compiler checks its own work.
    pub(crate) paranoid: bool,
    /// Whether machine code is for the oldest supported processors.
    pub(crate) baseline_cpu: bool,
    /// Whether the guest's own DWARF is read for backtraces.
    pub(crate) debug_info: bool,
    /// Units of fuel; `None` does not meter.
    pub(crate) fuel: Option<u64>,
    /// From the start of the guest, and the same again for loading.
    pub(crate) timeout: Option<Duration>,
    /// The limits of the ledger; those of fuel, time, calls, stack and descriptors stand beside it as well.
    pub(crate) ledger: ResourceLimits,
    /// Nested calls.
    pub(crate) call_depth: Option<u64>,
    /// Bytes of stack.
    pub(crate) stack: u64,
    /// Open descriptors.
    pub(crate) open_files: u32,
    /// How the run behaves.
    pub(crate) conduct: Conduct,
}

impl Settings {
    /// A run without `--sandbox`.
    fn open() -> Self {
        Self {
            capabilities: Caps::DEFAULT,
            limits: Limits::default(),
            switches: Switches::default(),
            engine: args::Engine::Auto,
            paranoid: false,
            baseline_cpu: false,
            debug_info: true,
            fuel: None,
            timeout: None,
            ledger: ResourceLimits::new(),
            call_depth: None,
            stack: 1 << 20,
            open_files: 1024,
            conduct: Conduct::default(),
        }
    }

    /// A run with `--sandbox`.
    fn sandbox() -> Self {
        Self {
            capabilities: Caps::empty(),
            limits: Limits::strict(),
            switches: Switches::default(),
            engine: args::Engine::Auto,
            paranoid: true,
            baseline_cpu: false,
            debug_info: false,
            fuel: Some(Resource::Fuel.sandbox()),
            timeout: Some(Duration::from_nanos(Resource::Time.sandbox())),
            ledger: ResourceLimits::sandbox(),
            call_depth: Some(Resource::CallDepth.sandbox()),
            stack: Resource::StackBytes.sandbox(),
            open_files: u32::try_from(Resource::Descriptors.sandbox()).unwrap_or(u32::MAX),
            conduct: Conduct::default(),
        }
    }

    /// What the options of a run add up to.
    pub(crate) fn of(run: &Run) -> Result<Self, Failure> {
        let mut settings = if run.bounds.sandbox { Self::sandbox() } else { Self::open() };
        settings.capabilities |= granted(&run.grants);
        settings.bound(&run.bounds);
        set_limits(&mut settings.limits, &run.decoding.limit)?;
        settings.switches = Switches::of(&run.decoding.proposals)?;
        settings.engine = run.engine;
        settings.paranoid |= run.paranoid;
        settings.baseline_cpu = run.baseline_cpu;
        settings.debug_info =
            (settings.debug_info || run.inside.debug_info) && !run.inside.no_debug_info;
        settings.conduct = Conduct::of(&run.behaviour)?;
        if settings.conduct.seed.is_some() && run.bounds.max_stack.is_none() {
            settings.stack = DETERMINISTIC_STACK;
        }
        if settings.stack < MIN_STACK {
            return Err(Failure::usage(format!(
                "--max-stack {}: the smallest stack is {}",
                settings.stack,
                quantity::show_bytes(MIN_STACK)
            )));
        }
        if settings.stack > MAX_STACK {
            return Err(Failure::usage(format!(
                "--max-stack {}: the largest stack is {}",
                settings.stack,
                quantity::show_bytes(MAX_STACK)
            )));
        }
        Ok(settings)
    }

    fn bound(&mut self, bounds: &Bounds) {
        change(&mut self.fuel, bounds.fuel);
        change(&mut self.timeout, bounds.timeout);
        change(&mut self.call_depth, bounds.max_call_depth);
        self.stack = bounds.max_stack.unwrap_or(self.stack);
        self.open_files = bounds.max_open_files.unwrap_or(self.open_files);
        let open_files = bounds.max_open_files.map(|n| Bound::At(n.into()));
        for (what, bound) in [
            (Resource::Fuel, bounds.fuel),
            (Resource::MemoryBytes, bounds.max_memory),
            (Resource::TableElements, bounds.max_table_elements),
            (Resource::CallDepth, bounds.max_call_depth),
            (Resource::StackBytes, bounds.max_stack.map(Bound::At)),
            (Resource::Descriptors, open_files),
            (Resource::OutputBytes, bounds.max_output),
        ] {
            amounts::change(&mut self.ledger, what, bound);
        }
        amounts::change_time(&mut self.ledger, Resource::Time, bounds.timeout);
        bounds.amounts.apply(&mut self.ledger);
    }
}

/// The least that an engine takes.
const MIN_STACK: u64 = 64 << 10;
/// Frames are addressed with 32 bits.
const MAX_STACK: u64 = 1 << 30;

fn change<T>(setting: &mut Option<T>, option: Option<Bound<T>>) {
    if let Some(bound) = option {
        *setting = bound.limit();
    }
}

fn granted(grants: &Grants) -> Caps {
    let pairs = [
        (grants.allow_read, Caps::READ),
        (grants.allow_write, Caps::WRITE),
        (grants.allow_path, Caps::PATH),
        (grants.allow_env, Caps::ENV),
        (grants.allow_clock, Caps::CLOCK),
        (grants.allow_random, Caps::RANDOM),
        (grants.allow_proc, Caps::PROC),
        (grants.allow_all, Caps::ALL),
    ];
    pairs
        .into_iter()
        .filter(|(given, _)| *given)
        .fold(Caps::empty(), |all, (_, capability)| all | capability)
}

/// The limits of the decoder for a module that is only looked at.
pub(crate) fn limits_for_looking(sandbox: bool, changes: &[String]) -> Result<Limits, Failure> {
    let mut limits = if sandbox { Limits::strict() } else { Limits::default() };
    set_limits(&mut limits, changes)?;
    Ok(limits)
}

fn set_limits(limits: &mut Limits, changes: &[String]) -> Result<(), Failure> {
    let mut seen: Vec<LimitKind> = Vec::new();
    for change in changes {
        let shown = escape::name(change);
        let Some((name, value)) = change.split_once('=') else {
            return Err(Failure::usage(format!("--limit {shown}: `=` is missing"))
                .hint("write --limit NAME=N, such as --limit nesting=1000"));
        };
        let Some(kind) = LimitKind::from_name(name) else {
            let names: Vec<_> = LimitKind::ALL.iter().map(|kind| kind.name()).collect();
            return Err(Failure::usage(format!("--limit {shown}: there is no such limit"))
                .hint(format!("the limits are {}", names.join(", "))));
        };
        if seen.contains(&kind) {
            return Err(Failure::usage(format!("--limit {name} is given twice")));
        }
        seen.push(kind);
        let value = if kind.name().ends_with("-bytes") {
            quantity::size(value)
        } else {
            quantity::count(value)
        };
        let value = value.map_err(|error| Failure::usage(format!("--limit {shown}: {error}")))?;
        limits
            .set(kind, value)
            .map_err(|error| Failure::usage(format!("--limit {shown}: {error}")))?;
    }
    Ok(())
}

/// The proposals that are switched on or off by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Switches(Vec<(String, bool)>);

impl Switches {
    /// What the option says, `NAME=on` or `NAME=off`. A name alone switches on; `y`, `yes`, `true` and
    /// their opposites are understood as well.
    pub(crate) fn of(options: &Proposals) -> Result<Self, Failure> {
        let mut switches = Self::default();
        for word in &options.wasm {
            let (name, value) = word.split_once('=').unwrap_or((word, "on"));
            let shown = escape::name(word);
            let enable = match value {
                "on" | "y" | "yes" | "true" => true,
                "off" | "n" | "no" | "false" => false,
                _ => {
                    return Err(Failure::usage(format!("--wasm {shown}: neither `on` nor `off`"))
                        .hint("write --wasm NAME=on or --wasm NAME=off, such as --wasm gc=off"));
                }
            };
            if switches.0.iter().any(|(seen, _)| seen == name) {
                return Err(Failure::usage(format!(
                    "--wasm {} is given twice",
                    escape::name(name)
                )));
            }
            Config::new()
                .wasm_proposal(name, enable)
                .map_err(|error| Failure::usage(format!("--wasm {shown}: {error}")))?;
            switches.0.push((name.to_owned(), enable));
        }
        Ok(switches)
    }

    /// Sets the switches.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        for (name, enable) in &self.0 {
            config
                .wasm_proposal(name, *enable)
                .map_err(|error| Failure::usage(format!("--wasm: {error}")))?;
        }
        match Engine::new(config.clone().strategy(Strategy::Interpreter)) {
            Err(error) if !self.0.is_empty() => Err(Failure::usage(format!("--wasm: {error}"))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn settings(line: &str) -> Result<Settings, Failure> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Settings::of(&args::parse_run(&words).expect("the line parses"))
    }

    #[test]
    fn the_sandbox_is_what_the_tables_say() {
        let s = settings("--sandbox a").unwrap();
        assert_eq!(s, Settings::sandbox());
        assert_eq!(s.capabilities, Caps::empty());
        assert_eq!(s.fuel, Some(1_000_000_000));
        assert_eq!(s.ledger.get(Resource::MemoryBytes), Some(256 << 20));
        for what in Resource::ALL {
            assert!(s.ledger.get(*what).is_some(), "{what:?} has no limit");
        }
        assert_eq!(s.call_depth, Some(1024));
        assert_eq!(s.limits, Limits::strict());
    }

    #[test]
    fn options_change_the_sandbox_wherever_they_stand() {
        let lines = [
            "--sandbox --fuel 7 --allow-read --max-memory 1MiB --limit nesting=9 a",
            "--fuel 7 --limit nesting=9 a --allow-read --max-memory 1MiB --sandbox",
            "a --limit nesting=9 --max-memory 1MiB --sandbox --allow-read --fuel 7",
        ];
        for line in lines {
            let s = settings(line).unwrap();
            assert_eq!(s.fuel, Some(7), "{line}");
            assert_eq!(s.ledger.get(Resource::MemoryBytes), Some(1 << 20), "{line}");
            assert_eq!(s.limits.nesting, 9, "{line}");
            assert_eq!(s.limits.types, 100_000, "{line}");
            assert_eq!(s.capabilities, Caps::READ, "{line}");
            assert_eq!(s.timeout, Some(Duration::from_secs(60)), "{line}");
        }
    }

    #[test]
    fn bounds_can_be_taken_away() {
        let s = settings("--sandbox --fuel unlimited --timeout unlimited a").unwrap();
        assert_eq!((s.fuel, s.timeout), (None, None));
    }

    #[test]
    fn wrong_limits_are_named() {
        for (line, word) in [
            ("a --limit nesting", "`=`"),
            ("a --limit nest=1", "no such limit"),
            ("a --limit nesting=many", "whole number"),
            ("a --limit locals=50001", "highest value is 50000"),
            ("a --limit locals=1 --limit locals=2", "twice"),
            ("a --wasm gc=perhaps", "neither"),
            ("a --wasm gcc=off", "there is no proposal `gcc`"),
            ("a --wasm gc=off -W gc=off", "twice"),
            ("a -W gc,gc=n", "twice"),
            ("a --seed 1", "--deterministic"),
            ("a --clock-resolution 0s", "steps of nothing"),
            ("a --max-stack 1", "smallest stack"),
            ("a --max-stack 2GiB", "largest stack"),
        ] {
            let failure = settings(line).unwrap_err();
            assert_eq!(failure.status, crate::failure::Status::Usage);
            assert!(failure.message.contains(word), "{line}: {}", failure.message);
        }
    }
}
