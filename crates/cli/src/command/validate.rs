//! `palisade validate`: whether files are valid modules of WebAssembly 3.0. Runs nothing.

use std::ffi::OsString;

use palisade::{Config, Engine, Limits, Module};

use crate::args::{Looking, Validate};
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::keys;
use crate::load;
use crate::outcome;
use crate::settings::{self, Switches};
use crate::signals::Signals;

pub(super) fn run(args: &Validate) -> Result<Status, Failure> {
    let looking = Look::start(&args.looking)?;
    let mut status = Status::Success;
    for path in &args.files {
        match looking.module(path) {
            Ok(_) => failure::print(&format!("{}: valid\n", escape::path(path)))?,
            Err(failure) => {
                failure.report();
                if status == Status::Success {
                    status = failure.status;
                }
            }
        }
    }
    Ok(status)
}

/// What it takes to look at modules without running them.
pub(super) struct Look {
    engine: Engine,
    limits: Limits,
    /// Whose artefacts are looked into, beside this user's.
    trust: Vec<OsString>,
    /// Signals and the timeout end the process while this lives.
    _signals: Signals,
}

impl Look {
    pub(super) fn start(looking: &Looking) -> Result<Self, Failure> {
        Self::with(looking, palisade::Strategy::Interpreter)
    }

    /// The same with an engine of the given kind.
    pub(super) fn with(looking: &Looking, strategy: palisade::Strategy) -> Result<Self, Failure> {
        let limits = settings::limits_for_looking(looking.sandbox, &looking.limit)?;
        let mut signals = Signals::install()?;
        signals.watch()?;
        signals.limit_loading(looking.timeout.and_then(|bound| bound.limit()))?;
        let mut config = Config::new();
        config.strategy(strategy);
        config.limits(limits.clone());
        Switches::of(&looking.proposals)?.apply(&mut config)?;
        let trust = looking.trust.clone();
        Ok(Self { engine: outcome::engine(&config)?, limits, trust, _signals: signals })
    }

    pub(super) fn module(&self, path: &std::path::Path) -> Result<Module, Failure> {
        let file = load::open(path)?;
        if !file.is_artefact() {
            return load::module(&self.engine, &self.limits, file);
        }
        let module =
            load::artefact(&self.engine, file, &keys::trust(&self.trust, &mut || Ok(()))?)?;
        // A run reads what it needs; who asks wants to know all of it.
        module.read_all().map_err(|error| outcome::failure(path, &error))?;
        Ok(module)
    }
}
