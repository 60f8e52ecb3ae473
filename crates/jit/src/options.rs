//! How code is made. Everything in here changes the code, so that a cache must know all of it.

/// How accesses to ordinary 32-bit memories are kept inside.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Bounds {
    /// By the inaccessible pages around them: code for memories with a full reservation.
    #[default]
    Guard,
    /// By comparing, as for all other memories.
    Explicit,
}

/// How code is made.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// Whether fuel is consumed.
    pub fuel: bool,
    /// Whether calls are counted against a limit.
    pub depth: bool,
    /// How accesses to ordinary 32-bit memories are kept inside.
    pub bounds: Bounds,
    /// Whether loops and entries look at whether to stop. Only a benchmark switches this off.
    pub polls: bool,
    /// Whether NaNs that operators make are the canonical one.
    pub canonical_nans: bool,
    /// Whether addresses in linear memories that explicit checks let pass are also masked against speculation.
    /// Those of table elements always are.
    pub spectre: bool,
    /// Whether every function goes through the verifier of the intermediate form and the checker of register
    /// allocation.
    pub paranoid: bool,
    /// Whether small functions that call nothing become part of their callers. Not where calls are counted.
    pub inline: bool,
    /// Whether only the instructions of the oldest supported processors are used.
    pub baseline: bool,
    /// What is deliberately done wrong.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    pub mutation: Option<crate::Mutation>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fuel: false,
            depth: false,
            bounds: Bounds::Guard,
            polls: true,
            canonical_nans: false,
            spectre: true,
            paranoid: cfg!(debug_assertions),
            inline: true,
            baseline: false,
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }
}

impl Options {
    /// Whether a deliberate miscompile was asked for: never, unless the feature `mutations` is on.
    #[cfg(feature = "mutations")]
    pub(crate) fn mutated(&self, mutation: crate::Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether a deliberate miscompile was asked for: never, unless the feature `mutations` is on.
    #[cfg(not(feature = "mutations"))]
    pub(crate) const fn mutated(&self, _: crate::Mutation) -> bool {
        false
    }
}
