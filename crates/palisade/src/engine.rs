//! [`Engine`]: what modules and stores of one configuration share: types, and what makes machine code.

use std::fmt;
use std::sync::Arc;

use palisade_interp::{Dispatch, InterpConfig};
use palisade_module::TypeRegistry;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::tier::{CompileStats, StoredStats, Strategy, Tier};

/// A configuration and the canonical types of all modules made under it. Cloning it is cheap and
/// gives the same engine; objects of different engines never mix.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    types: Arc<TypeRegistry>,
    tier: Option<Arc<Tier>>,
}

impl Engine {
    /// Makes an engine. Starts nothing.
    ///
    /// # Errors
    ///
    /// The configuration switches a proposal on, and off one that it needs; or it asks for the tail-call
    /// dispatcher, and this build does not have it or its self-test failed.
    pub fn new(config: &Config) -> Result<Self> {
        if let Some(contradiction) = config.contradiction() {
            return Err(Error::msg(contradiction));
        }
        if config.dispatch == Dispatch::TailCall && !palisade_interp::tail_calls_work() {
            return Err(Error::msg(
                "the tail-call dispatcher does not work in this build: use `Dispatch::Auto`, or an \
                 optimised build without debug assertions",
            ));
        }
        Self::with_config(config.clone())
    }

    fn with_config(config: Config) -> Result<Self> {
        let tier = Tier::new(&config)?;
        Ok(Self { inner: Arc::new(Inner { config, types: TypeRegistry::new(), tier }) })
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Whether both are the same engine.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The dispatcher that the interpreter uses under this configuration on this machine: never
    /// [`Dispatch::Auto`].
    pub fn dispatcher(&self) -> Dispatch {
        match self.inner.config.dispatch {
            Dispatch::Loop => Dispatch::Loop,
            _ if palisade_interp::tail_calls_work() => Dispatch::TailCall,
            _ => Dispatch::Loop,
        }
    }

    pub(crate) fn types(&self) -> &Arc<TypeRegistry> {
        &self.inner.types
    }

    pub(crate) fn interp_config(&self) -> InterpConfig {
        let config = InterpConfig {
            fuel: self.inner.config.consume_fuel,
            canonical_nans: self.inner.config.canonical(),
            dispatch: self.inner.config.dispatch,
            ..InterpConfig::default()
        };
        match &self.inner.tier {
            Some(tier) => tier.interp_config(config),
            None => config,
        }
    }

    /// What makes machine code; `None` where the interpreter runs everything.
    pub(crate) fn tier(&self) -> Option<&Arc<Tier>> {
        self.inner.tier.as_ref()
    }

    /// Which engine runs guests: what the configuration asks for, or [`Strategy::Interpreter`] where
    /// this machine cannot have machine code.
    pub fn strategy(&self) -> Strategy {
        if self.inner.tier.is_some() { self.inner.config.strategy } else { Strategy::Interpreter }
    }

    /// Whether guests may run as machine code.
    pub fn has_machine_code(&self) -> bool {
        self.inner.tier.is_some()
    }

    /// What compiling to machine code has done so far.
    pub fn compile_stats(&self) -> CompileStats {
        self.inner.tier.as_ref().map(|tier| tier.stats()).unwrap_or_default()
    }

    /// What was read so far of machine code that was stored in artefacts.
    pub fn stored_stats(&self) -> StoredStats {
        self.inner.tier.as_ref().map(|tier| tier.stored_stats()).unwrap_or_default()
    }
}

impl Default for Engine {
    fn default() -> Self {
        let interpreter = || Self {
            inner: Arc::new(Inner {
                config: Config::new(),
                types: TypeRegistry::new(),
                tier: None,
            }),
        };
        Self::with_config(Config::new()).unwrap_or_else(|_| interpreter())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
