//! Which engine runs what. Only this folder knows that there is more than one.
//!
//! A [`Tier`] belongs to an engine that makes machine code: the compilers, the code's place, the stubs, and
//! the threads that compile in the background. A module has a [`NativeModule`] beside its bytecode: what of it
//! has been compiled so far. An instance takes code over on its store's own thread alone ([`publish`]): the
//! addresses in its context change, and no caller has to be found. [`drive`] is how any function is called,
//! whichever engine it is in.
//!
//! [`Tuning`] has the numbers that change speed and no meaning.

mod drive;
mod module;
mod publish;
mod queue;
mod stored;

use std::sync::{Arc, OnceLock};

use palisade_interp::{InterpConfig, NativeConfig as InterpNative, TierConfig};
use palisade_jit::{Bounds, CompileError, Compiler, Options, Stubs};
use palisade_vm::native::CodeRegistry;

use crate::config::Config;
use crate::error::{Error, Result};

pub(crate) use drive::drive;
pub(crate) use module::NativeModule;
pub use palisade_jit::is_compiling;
pub(crate) use publish::{StoreTier, depth_changed, host_made, instance_made};
pub use queue::CompileStats;
pub(crate) use stored::StoredBatch;
pub use stored::StoredStats;

/// Which engine runs guests.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Strategy {
    /// The interpreter, which starts at once; what is called often is compiled in the background, and goes on as
    /// machine code while it runs.
    #[default]
    Auto,
    /// The interpreter alone: neither signals nor executable memory are used.
    Interpreter,
    /// Machine code alone: every function is compiled when its module is made. One that a limit of the
    /// compiler refuses is interpreted.
    Compiled,
}

/// Numbers that change speed, and no meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// How many entries and turns of loops, together, make a function hot. At least 1.
    pub threshold: u32,
    /// Whether a hot function waits until it is compiled. For tests, which want to see every change of
    /// engine happen at the same place each time.
    pub wait: bool,
    /// How many threads compile in the background.
    pub threads: usize,
    /// The most functions that are compiled together.
    pub batch: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { threshold: 1500, wait: false, threads: 1, batch: 64 }
    }
}

impl Tuning {
    /// After how many more entries and turns a hot function is asked about again.
    fn again(&self) -> u32 {
        (self.threshold / 8).max(1)
    }
}

/// What an engine has that makes machine code.
pub(crate) struct Tier {
    pub(crate) registry: Arc<CodeRegistry>,
    compiler: Arc<Compiler>,
    /// The compiler for instances that have a memory without its full reservation.
    explicit: OnceLock<std::result::Result<Compiler, CompileError>>,
    /// What a compiler may take at once.
    memory: u64,
    stubs: Stubs,
    strategy: Strategy,
    tuning: Tuning,
    queue: queue::Queue,
    /// What was read of stored code.
    read: stored::Counts,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

impl Tier {
    /// What a configuration asks for; `None` for the interpreter alone. Where this machine cannot have machine
    /// code, [`Strategy::Auto`] does without.
    pub(crate) fn new(config: &Config) -> Result<Option<Arc<Self>>> {
        if config.strategy == Strategy::Interpreter {
            return Ok(None);
        }
        let options = config.jit_options();
        let memory = config.compile_memory.unwrap_or(u64::MAX);
        let made = Compiler::new(options.clone())
            .map(|compiler| compiler.with_memory(memory))
            .map_err(|error| Error::msg(format!("machine code cannot be made: {error}")))
            .and_then(|compiler| {
                let listeners = config.code_listeners();
                let registry = CodeRegistry::with_listeners(listeners).map_err(|error| {
                    Error::msg(format!("there is no address space for machine code: {error}"))
                })?;
                Ok((Arc::new(compiler), registry))
            });
        let (compiler, registry) = match made {
            Ok(made) => made,
            Err(_) if config.strategy == Strategy::Auto => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Arc::new(Self {
            stubs: Stubs::new(compiler.clone(), registry.clone()),
            queue: queue::Queue::new(config.tuning.threads),
            registry,
            compiler,
            explicit: OnceLock::new(),
            memory,
            strategy: config.strategy,
            tuning: config.tuning.clone(),
            read: stored::Counts::default(),
        })))
    }

    /// The compiler for one form of bounds checks.
    fn compiler(&self, bounds: Bounds) -> std::result::Result<&Compiler, CompileError> {
        if bounds == self.compiler.options().bounds {
            return Ok(&self.compiler);
        }
        let other = self.explicit.get_or_init(|| {
            let options = Options { bounds: Bounds::Explicit, ..self.compiler.options().clone() };
            Compiler::new(options).map(|compiler| compiler.with_memory(self.memory))
        });
        other.as_ref().map_err(Clone::clone)
    }

    /// How code is made for memories with their full reservation, or for all, where the engine makes no others.
    pub(crate) fn options(&self) -> &Options {
        self.compiler.options()
    }

    /// The processor, and the settings of the code generator.
    pub(crate) fn fingerprint(&self) -> String {
        self.compiler.fingerprint()
    }

    /// Whether functions start in the interpreter.
    fn tiers(&self) -> bool {
        self.strategy == Strategy::Auto
    }

    /// What compiling has done so far.
    pub(crate) fn stats(&self) -> CompileStats {
        self.queue.stats()
    }

    /// What was read of stored code so far.
    pub(crate) fn stored_stats(&self) -> StoredStats {
        self.read.stats()
    }

    /// What the interpreter has to know.
    pub(crate) fn interp_config(&self, config: InterpConfig) -> InterpConfig {
        let native = InterpNative {
            counts_depth: self.compiler.options().depth,
            finish: drive::finish,
            first: publish::first,
        };
        let tier = self.tiers().then(|| TierConfig {
            threshold: self.tuning.threshold.max(1),
            again: self.tuning.again(),
            entered: publish::entered,
            looped: publish::looped,
        });
        InterpConfig { native: Some(native), tier, ..config }
    }
}
