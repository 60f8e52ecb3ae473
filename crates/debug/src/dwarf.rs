//! From an address to places in the source.
//!
//! The units and what they span are read once; a question reads the entries and the lines of the units that span its
//! address, and keeps nothing of them. Every entry, attribute, range, row and byte of a name costs a step; a question
//! that has none left gets what was found.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use gimli::{DebugInfoOffset, UnitHeader};

use crate::abbrev::{self, Dwarf, Slice};
use crate::lines::{Collector, Lines};
use crate::sections::Parts;
use crate::{entries, line};

/// The most functions that are said to stand, inlined, at one address.
pub const MOST_INLINED: usize = 64;
/// The most ranges that are kept of all units together.
const MOST_RANGES: usize = 1 << 20;
/// Longer texts are cut.
const MOST_TEXT: usize = 1024;
/// What a question may cost at least, and how often each byte may be looked at.
const STEPS: (u64, u64) = (1 << 20, 4);
/// The same for all questions about a module together.
const ALL_STEPS: (u64, u64) = (1 << 26, 64);

/// A place in the source.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// The function whose source it is; not escaped.
    pub function: Option<String>,
    /// The file, with its directory where that is known; not escaped.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
}

/// What is left to do for one question.
pub(crate) struct Budget(u64);

impl Budget {
    /// Pays for so many steps; `None` if they are more than what is left, and then nothing is: who goes on all the
    /// same does no more work.
    pub(crate) fn pay(&mut self, steps: usize) -> Option<()> {
        let left = self.0.checked_sub(steps as u64);
        self.0 = left.unwrap_or(0);
        left.map(|_| ())
    }
}

/// A unit and what it spans.
#[derive(Clone, Debug)]
struct Spans {
    unit: usize,
    ranges: Vec<Range<u64>>,
}

/// The debug information of a module: where it stands, and what was read of it.
#[derive(Debug)]
pub struct DebugInfo {
    parts: Parts,
    units: Vec<Spans>,
    /// What all questions together have left.
    left: AtomicU64,
}

impl DebugInfo {
    /// Reads which units there are. `None` if there is no DWARF.
    pub fn read(bytes: &[u8], parts: Parts) -> Option<Self> {
        let mut this = Self { parts, units: Vec::new(), left: AtomicU64::new(0) };
        *this.left.get_mut() = this.steps(ALL_STEPS);
        if this.parts.dwarf(bytes, ".debug_info").is_empty() {
            return None;
        }
        let mut budget = this.budget();
        let mut units = Vec::new();
        let dwarf = this.dwarf(bytes);
        let mut headers = dwarf.units();
        let mut kept = 0;
        while let Ok(Some(header)) = headers.next() {
            if budget.pay(1).is_none() || kept >= MOST_RANGES {
                break;
            }
            let Some(unit) = header.debug_info_offset() else { continue };
            let Some(ranges) = entries::unit(&dwarf, header, &mut budget)
                .and_then(|unit| entries::root_ranges(&dwarf, &unit, &mut budget))
            else {
                continue;
            };
            kept += ranges.len();
            if !ranges.is_empty() {
                units.push(Spans { unit: unit.0, ranges });
            }
        }
        this.give_back(&budget);
        this.units = units;
        Some(this)
    }

    fn steps(&self, (least, for_each_byte): (u64, u64)) -> u64 {
        let bytes: usize = self.parts.dwarf.iter().map(|(_, range)| range.len()).sum();
        (bytes as u64).saturating_mul(for_each_byte).saturating_add(least)
    }

    /// What the next question may cost, taken from what all have.
    fn budget(&self) -> Budget {
        let most = self.steps(STEPS);
        let take = |left: u64| Some(left.saturating_sub(most));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Budget(before.unwrap_or_else(|left| left).min(most))
    }

    /// Gives back what a question did not need.
    fn give_back(&self, budget: &Budget) {
        self.left.fetch_add(budget.0, Ordering::Relaxed);
    }

    fn dwarf<'a>(&self, bytes: &'a [u8]) -> Dwarf<'a> {
        abbrev::dwarf(|name| self.parts.dwarf(bytes, name))
    }

    /// All rows of the tables of lines, for whoever asks about more than a few places: files and lines alone, without
    /// what was inlined. Costs as much as a question about a place may, once. `bytes` are those that were read.
    pub fn lines(&self, bytes: &[u8]) -> Lines {
        let (dwarf, mut budget) = (self.dwarf(bytes), Budget(self.steps(STEPS)));
        let mut lines = Collector::default();
        for spans in &self.units {
            let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(spans.unit));
            let unit = header.ok().and_then(|header| entries::unit(&dwarf, header, &mut budget));
            let Some(unit) = unit else { continue };
            let Some(program) = line::program(&dwarf, &unit, &mut budget) else { continue };
            lines.unit(&program, &mut budget, |index, budget| {
                line::file(&dwarf, &unit, &program, index, budget)
            });
        }
        lines.finish()
    }

    /// The places in the source that an offset in the code section comes from: the innermost function inlined there
    /// first, the function itself last. Empty if nothing is known. `bytes` are those that were read.
    pub fn places(&self, bytes: &[u8], offset: usize) -> Vec<Place> {
        let address = offset as u64;
        let (dwarf, mut budget) = (self.dwarf(bytes), self.budget());
        let spanning = |spans: &&Spans| spans.ranges.iter().any(|range| range.contains(&address));
        for spans in self.units.iter().filter(spanning) {
            let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(spans.unit));
            let unit = header.ok().and_then(|header| entries::unit(&dwarf, header, &mut budget));
            let Some(unit) = unit else { continue };
            let places = places_in(&dwarf, &unit, address, &mut budget);
            if !places.is_empty() {
                self.give_back(&budget);
                return places;
            }
        }
        self.give_back(&budget);
        Vec::new()
    }
}

/// The places of an address in a unit that spans it.
fn places_in(dwarf: &Dwarf<'_>, unit: &Unit<'_>, address: u64, budget: &mut Budget) -> Vec<Place> {
    let program = line::program(dwarf, unit, budget);
    let here = program.as_ref().and_then(|p| line::find(p, address, budget));
    // The outermost function first.
    let scopes = entries::scopes(dwarf, unit, address, budget);
    if scopes.is_empty() && here.is_none() {
        return Vec::new();
    }
    let file = |index: u64, budget: &mut Budget| {
        program.as_ref().and_then(|p| line::file(dwarf, unit, p, index, budget))
    };
    let mut places: Vec<Place> = Vec::new();
    let mut at = here;
    for scope in scopes.iter().rev() {
        let mut place = Place::default();
        if let Some((index, line, column)) = at {
            place.file = file(index, budget);
            (place.line, place.column) = (line, column);
        }
        place.function = scope.name.clone();
        // What stands around it is where it was called.
        at = scope.call;
        places.push(place);
    }
    if scopes.is_empty()
        && let Some((index, line, column)) = at
    {
        places.push(Place { function: None, file: file(index, budget), line, column });
    }
    places
}

pub(crate) type Header<'a> = UnitHeader<Slice<'a>>;
pub(crate) type Unit<'a> = gimli::Unit<Slice<'a>>;

/// A text, cut.
pub(crate) fn text(slice: Slice<'_>, budget: &mut Budget) -> Option<String> {
    budget.pay(slice.slice().len())?;
    let bytes = slice.slice();
    let cut = String::from_utf8_lossy(bytes.get(..bytes.len().min(MOST_TEXT))?);
    (!cut.is_empty()).then(|| cut.into_owned())
}
