//! Branch hints: which way the module's producer expects a branch to go.
//!
//! They stand in the custom section `metadata.code.branch_hint` and are read when somebody asks first. They
//! change no meaning, and no mistake in them makes a module invalid: hints that break a rule of their
//! proposal are ignored, all of them. The rules are: one such section, before the code; functions that the
//! module defines, in ascending order; offsets in ascending order, within the body. Whether there is a branch at
//! an offset is seen by whoever reads the body and asks there.

use std::ops::Range;
use std::sync::OnceLock;

use wasmparser::{BinaryReader, BranchHintSectionReader};

use crate::info::{FuncIdx, ModuleInfo};

/// The name of the section.
pub(crate) const SECTION: &str = "metadata.code.branch_hint";

/// Where the hints stand, and what was found there.
#[derive(Debug, Default)]
pub struct BranchHints {
    section: HintSection,
    decoded: OnceLock<Option<Decoded>>,
}

/// Where the section stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum HintSection {
    /// There is none.
    #[default]
    None,
    /// The payload.
    At(Range<usize>),
    /// There are several, or it does not stand before the code.
    Misplaced,
}

#[derive(Debug, Default)]
struct Decoded {
    /// Function index, and where its hints begin in `hints`; indices ascend.
    funcs: Vec<(u32, u32)>,
    hints: Vec<BranchHint>,
}

/// What is expected of one branch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BranchHint {
    /// Where the branch (`br_if`, `if`) stands, from the start of the function's [body](crate::FuncBody).
    pub offset: u32,
    /// Whether it is expected to be taken: the condition to be true.
    pub taken: bool,
}

impl BranchHints {
    pub(crate) fn new(section: HintSection) -> Self {
        Self { section, decoded: OnceLock::new() }
    }

    fn decoded(&self, module: &ModuleInfo) -> Option<&Decoded> {
        let decode = || match &self.section {
            HintSection::None => Some(Decoded::default()),
            HintSection::Misplaced => None,
            HintSection::At(range) => decode(module, range.clone()),
        };
        self.decoded.get_or_init(decode).as_ref()
    }
}

impl HintSection {
    /// The section is (also) there.
    pub(crate) fn add(&mut self, payload: Range<usize>, before_code: bool) {
        let alone = *self == Self::None && before_code;
        *self = if alone { Self::At(payload) } else { Self::Misplaced };
    }
}

/// The hints of a section, if it keeps the rules.
fn decode(module: &ModuleInfo, section: Range<usize>) -> Option<Decoded> {
    let start = section.start as u64;
    let data = module.bytes.get(section)?;
    let mut decoded = Decoded::default();
    let reader = BranchHintSectionReader::new(BinaryReader::new(data, start)).ok()?;
    for func in reader {
        let func = func.ok()?;
        let defined = func.func.checked_sub(module.imported_funcs)?;
        let body = module.bodies.get(defined as usize)?.range.len();
        if decoded.funcs.last().is_some_and(|(last, _)| *last >= func.func) {
            return None;
        }
        let first = decoded.hints.len();
        decoded.funcs.push((func.func, u32::try_from(first).ok()?));
        for hint in func.hints {
            let hint = hint.ok()?;
            let last = decoded.hints.get(first..).and_then(<[_]>::last);
            let ascends = last.is_none_or(|last: &BranchHint| last.offset < hint.func_offset);
            if !ascends || hint.func_offset as usize >= body {
                return None;
            }
            decoded.hints.push(BranchHint { offset: hint.func_offset, taken: hint.taken });
        }
    }
    Some(decoded)
}

impl ModuleInfo {
    /// The hints of a function, by ascending offset.
    pub fn branch_hints_of(&self, func: FuncIdx) -> &[BranchHint] {
        let hints = || {
            let decoded = self.branch_hints.decoded(self)?;
            let at = decoded.funcs.binary_search_by_key(&func.0, |(index, _)| *index).ok()?;
            let start = decoded.funcs.get(at)?.1 as usize;
            let end = decoded.funcs.get(at + 1).map_or(decoded.hints.len(), |next| next.1 as usize);
            decoded.hints.get(start..end)
        };
        hints().unwrap_or_default()
    }

    /// Which way a branch is expected to go; the offset is from the start of the function's body.
    pub fn branch_hint(&self, func: FuncIdx, offset: u32) -> Option<bool> {
        let hints = self.branch_hints_of(func);
        let at = hints.binary_search_by_key(&offset, |hint| hint.offset).ok()?;
        Some(hints.get(at)?.taken)
    }

    /// Whether there are hints that break the rules, and so are ignored.
    pub fn branch_hints_are_malformed(&self) -> bool {
        self.branch_hints.decoded(self).is_none()
    }
}
