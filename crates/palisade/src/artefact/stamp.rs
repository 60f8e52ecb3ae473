//! What code depends on beside its module, in words: the one place that derives the key of artefacts and caches.
//!
//! Invariant: two engines with equal stamps make equal code of a module, and can run each other's. Every field of the
//! compiler's options is named here, or this does not compile.

use palisade_jit::{Bounds, Options};

use crate::config::Config;

/// The version and the build, which is a number over the sources and the compiler.
pub(super) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("PALISADE_BUILD"));

/// Names and values. The order is part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stamp(pub(super) Vec<(String, String)>);

/// Names of what has messages of its own.
pub(super) const PALISADE: &str = "palisade";
pub(super) const PROCESSOR: &str = "processor";

impl Stamp {
    /// Of code that is made with these options, for what the fingerprint says.
    pub(super) fn of(options: &Options, fingerprint: String) -> Self {
        let Options {
            fuel,
            depth,
            bounds,
            polls,
            canonical_nans,
            spectre,
            paranoid,
            inline,
            baseline,
            #[cfg(feature = "mutations")]
            mutation,
        } = options;
        let onoff = |on: &bool| if *on { "on" } else { "off" }.to_owned();
        let bounds = match bounds {
            Bounds::Guard => "guard pages",
            Bounds::Explicit => "comparisons",
        };
        let entries = [
            (PALISADE, BUILD.to_owned()),
            ("fuel", onoff(fuel)),
            ("a limit on nested calls", onoff(depth)),
            ("bounds of memories by", bounds.to_owned()),
            ("interruption", onoff(polls)),
            ("canonical NaNs", onoff(canonical_nans)),
            ("index masking", onoff(spectre)),
            ("checks of the compiler (paranoid)", onoff(paranoid)),
            ("inlining", onoff(inline)),
            ("code for the oldest processors", onoff(baseline)),
            #[cfg(feature = "mutations")]
            ("mutation", format!("{mutation:?}")),
            (PROCESSOR, fingerprint),
        ];
        Self(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The first entry in which another one differs: name, value here, value there.
    pub(super) fn difference<'a>(&'a self, other: &'a Self) -> Option<(&'a str, &'a str, &'a str)> {
        let most = self.0.len().max(other.0.len());
        let entry = |stamp: &'a Self, at| -> (&'a str, &'a str) {
            stamp.0.get(at).map_or(("", ""), |(name, value): &(String, String)| {
                (name.as_str(), value.as_str())
            })
        };
        (0..most).find_map(|at| {
            let (own, their) = (entry(self, at), entry(other, at));
            let name = if own.0.is_empty() { their.0 } else { own.0 };
            (own != their).then_some((name, own.1, their.1))
        })
    }
}

/// What a module was checked against, and by which build: where it differs, function bodies are validated again.
pub(super) fn checked(config: &Config) -> String {
    format!("{BUILD} {:?} {:?}", config.wasm_features(), config.limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_every_option_that_changes_code_changes_the_stamp() {
        let own = Options { paranoid: false, ..Options::default() };
        let stamp = |options: &Options| Stamp::of(options, "cpu".to_owned());
        let others = [
            Options { fuel: true, ..own.clone() },
            Options { depth: true, ..own.clone() },
            Options { bounds: Bounds::Explicit, ..own.clone() },
            Options { polls: false, ..own.clone() },
            Options { canonical_nans: true, ..own.clone() },
            Options { spectre: false, ..own.clone() },
            Options { paranoid: true, ..own.clone() },
            Options { inline: false, ..own.clone() },
            Options { baseline: true, ..own.clone() },
        ];
        for (i, option) in others.iter().enumerate() {
            assert!(stamp(&own).difference(&stamp(option)).is_some(), "{option:?}");
            for other in &others[..i] {
                assert!(stamp(other).difference(&stamp(option)).is_some(), "{option:?} {other:?}");
            }
        }
        let elsewhere = Stamp::of(&own, "another cpu".to_owned());
        let found = stamp(&own);
        assert_eq!(found.difference(&elsewhere), Some((PROCESSOR, "cpu", "another cpu")));
        assert_eq!(found.difference(&stamp(&own)), None);
        let mut shorter = stamp(&own);
        shorter.0.pop();
        assert!(found.difference(&shorter).is_some() && shorter.difference(&found).is_some());
    }

    #[test]
    fn what_is_validated_is_part_of_what_was_checked() {
        let own = Config::new();
        let mut others = [own.clone(), own.clone()];
        others[0].wasm_gc(false);
        others[1].limits(palisade_core::Limits::strict());
        for other in &others {
            assert_ne!(checked(&own), checked(other));
        }
    }
}
