//! How a run behaves where it is neither given nor denied anything: alike each time, with coarse clocks, with bytes as
//! they are on a terminal.

use std::time::Duration;

use palisade::Config;
use palisade_wasi::WasiCtxBuilder;

use crate::args::Behaviour;
use crate::failure::Failure;

/// What the options say.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Conduct {
    /// The seed of a run that is to be the same each time.
    pub(crate) seed: Option<u64>,
    /// The least step of what guests see of clocks.
    pub(crate) clock_resolution: Option<Duration>,
    /// Whether terminals get control characters.
    pub(crate) raw_terminal: bool,
}

/// The stack of a deterministic run, in bytes, where no other is asked for: enough that calls end by being counted.
pub(crate) const DETERMINISTIC_STACK: u64 = 64 << 20;

impl Conduct {
    pub(crate) fn of(options: &Behaviour) -> Result<Self, Failure> {
        if options.seed.is_some() && !options.deterministic {
            return Err(Failure::usage(
                "--seed: without --deterministic nothing follows from a seed",
            )
            .hint("write --deterministic --seed N"));
        }
        if options.clock_resolution == Some(Duration::ZERO) {
            return Err(Failure::usage(
                "--clock-resolution: a clock cannot move in steps of nothing",
            )
            .hint(
                "write a time such as 1ms; without the option clocks are as fine as the host's",
            ));
        }
        Ok(Self {
            seed: options.deterministic.then(|| options.seed.unwrap_or(0)),
            clock_resolution: options.clock_resolution,
            raw_terminal: options.raw_terminal,
        })
    }

    /// Puts the engine's half into its configuration.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.deterministic(self.seed.is_some());
    }

    /// Puts the other half into the guest's context.
    pub(crate) fn build(&self, mut builder: WasiCtxBuilder) -> WasiCtxBuilder {
        if let Some(seed) = self.seed {
            builder = builder.deterministic(seed);
        }
        if let Some(resolution) = self.clock_resolution {
            builder = builder.clock_granularity(resolution);
        }
        if self.raw_terminal { builder.raw_terminal() } else { builder }
    }
}
