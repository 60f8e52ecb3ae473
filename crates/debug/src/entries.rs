//! The entries of a unit: what it spans, and which functions stand around an address.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    AttributeValue, DebugAddrBase, DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase,
    DebuggingInformationEntry, RangeListsOffset, RawRngListEntry, Section as _, UnitOffset,
    constants as c,
};

use crate::abbrev::{self, Dwarf, Slice};
use crate::dwarf::{Budget, Header, MOST_INLINED, Unit, text};

/// How many references are followed from an entry to the one that has its name.
const MOST_REFERENCES: usize = 8;
/// The most ranges of one entry that are kept.
const MOST_RANGES: usize = 1 << 16;

type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// A file by its index, a line and a column.
pub(crate) type Spot = (u64, Option<u32>, Option<u32>);

/// A function around an address.
pub(crate) struct Scope {
    pub(crate) name: Option<String>,
    /// Where it was called, if it is inlined.
    pub(crate) call: Option<Spot>,
}

/// A unit, its table of abbreviations and what its root says; its lines are not looked at.
pub(crate) fn unit<'a>(
    dwarf: &Dwarf<'a>,
    header: Header<'a>,
    budget: &mut Budget,
) -> Option<Unit<'a>> {
    let section = dwarf.debug_abbrev.reader().slice();
    let bytes = abbrev::measure(section, header.debug_abbrev_offset())?;
    budget.pay(bytes)?;
    let abbreviations = Arc::new(header.abbreviations(&dwarf.debug_abbrev).ok()?);
    let mut unit = Unit {
        header,
        abbreviations,
        name: None,
        comp_dir: None,
        low_pc: 0,
        str_offsets_base: DebugStrOffsetsBase(0),
        addr_base: DebugAddrBase(0),
        loclists_base: DebugLocListsBase(0),
        rnglists_base: DebugRngListsBase(0),
        line_program: None,
        dwo_id: None,
    };
    let root = root(&unit, budget)?;
    // Bases first: what comes after may be numbers that count from them.
    for attr in root.attrs() {
        match attr.value() {
            AttributeValue::DebugStrOffsetsBase(base) => unit.str_offsets_base = base,
            AttributeValue::DebugAddrBase(base) => unit.addr_base = base,
            AttributeValue::DebugRngListsBase(base) => unit.rnglists_base = base,
            _ => {}
        }
    }
    for attr in root.attrs() {
        let value = attr.value();
        match attr.name() {
            c::DW_AT_name if unit.name.is_none() => {
                unit.name = string(dwarf, &unit, value, budget);
            }
            c::DW_AT_comp_dir if unit.comp_dir.is_none() => {
                unit.comp_dir = string(dwarf, &unit, value, budget);
            }
            c::DW_AT_low_pc => {
                unit.low_pc = dwarf.attr_address(&unit, value).ok().flatten().unwrap_or(0);
            }
            _ => {}
        }
    }
    Some(unit)
}

/// The first entry of a unit.
pub(crate) fn root<'a>(unit: &Unit<'a>, budget: &mut Budget) -> Option<Entry<'a>> {
    let mut entry = Entry::null();
    read(unit, None, &mut entry, budget)?;
    Some(entry)
}

/// Reads the entry at an offset, or the first one; its bytes are paid for, since what it holds may be long.
fn read<'a>(
    unit: &Unit<'a>,
    offset: Option<UnitOffset>,
    entry: &mut Entry<'a>,
    budget: &mut Budget,
) -> Option<()> {
    let mut entries = unit.header.entries_raw(&unit.abbreviations, offset).ok()?;
    let from = entries.next_offset().0;
    let known = entries.read_entry(entry);
    budget.pay(1 + entry.attrs().len() + entries.next_offset().0.saturating_sub(from))?;
    known.ok()?.then_some(())
}

/// The string that a value stands for. Finding its end is work, and so is not finding it.
pub(crate) fn string<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    value: AttributeValue<Slice<'a>>,
    budget: &mut Budget,
) -> Option<Slice<'a>> {
    budget.pay(1)?;
    let found = dwarf.attr_string(unit, value).ok();
    let all = [dwarf.debug_str.reader().slice().len(), dwarf.debug_line_str.reader().slice().len()];
    budget.pay(found.map_or(all[0].max(all[1]), |found| found.slice().len()))?;
    found
}

/// What a unit says that it spans.
pub(crate) fn root_ranges(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    budget: &mut Budget,
) -> Option<Vec<Range<u64>>> {
    let root = root(unit, budget)?;
    let mut ranges = Vec::new();
    each_range(dwarf, unit, &root, budget, &mut |range| {
        if ranges.len() < MOST_RANGES {
            ranges.push(range);
        }
        false
    })?;
    Some(ranges)
}

/// Shows the ranges of an entry until `stop` says that it was enough. What begins at 0 is no code: linkers
/// leave it of functions that they removed.
fn each_range(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_>,
    budget: &mut Budget,
    stop: &mut dyn FnMut(Range<u64>) -> bool,
) -> Option<()> {
    let (mut low, mut high, mut list) = (None, None, None);
    for attr in entry.attrs() {
        let value = attr.value();
        match attr.name() {
            c::DW_AT_low_pc => low = dwarf.attr_address(unit, value).ok()?,
            c::DW_AT_high_pc => high = Some(value),
            c::DW_AT_ranges => list = dwarf.attr_ranges_offset(unit, value).ok()?,
            _ => {}
        }
    }
    if let Some(list) = list {
        return each_listed(dwarf, unit, list, budget, stop);
    }
    if let (Some(low), Some(high)) = (low, high) {
        let end = match dwarf.attr_address(unit, high).ok()? {
            Some(end) => end,
            None => low.checked_add(high.udata_value()?)?,
        };
        if low > 0 && low < end {
            stop(low..end);
        }
    }
    Some(())
}

fn each_listed(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    list: RangeListsOffset,
    budget: &mut Budget,
    stop: &mut dyn FnMut(Range<u64>) -> bool,
) -> Option<()> {
    let mut base = unit.low_pc;
    let mut ranges = dwarf.raw_ranges(unit, list).ok()?;
    while let Some(entry) = ranges.next().ok()? {
        budget.pay(1)?;
        let address = |index| dwarf.address(unit, index).ok();
        let (begin, end) = match entry {
            RawRngListEntry::BaseAddress { addr } => {
                base = addr;
                continue;
            }
            RawRngListEntry::BaseAddressx { addr } => {
                base = address(addr)?;
                continue;
            }
            RawRngListEntry::AddressOrOffsetPair { begin, end }
            | RawRngListEntry::OffsetPair { begin, end } => {
                (base.checked_add(begin)?, base.checked_add(end)?)
            }
            RawRngListEntry::StartxEndx { begin, end } => (address(begin)?, address(end)?),
            RawRngListEntry::StartxLength { begin, length } => {
                let begin = address(begin)?;
                (begin, begin.checked_add(length)?)
            }
            RawRngListEntry::StartEnd { begin, end } => (begin, end),
            RawRngListEntry::StartLength { begin, length } => (begin, begin.checked_add(length)?),
        };
        if begin > 0 && begin < end && stop(begin..end) {
            break;
        }
    }
    Some(())
}

/// The functions around an address, the outermost first.
pub(crate) fn scopes(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    address: u64,
    budget: &mut Budget,
) -> Vec<Scope> {
    let mut found = Vec::new();
    // What was found before something went wrong is true all the same.
    let _ = search(dwarf, unit, address, budget, &mut found);
    found
}

fn search(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    address: u64,
    budget: &mut Budget,
    found: &mut Vec<Scope>,
) -> Option<()> {
    let mut entries = unit.header.entries_raw(&unit.abbreviations, None).ok()?;
    let mut entry = Entry::null();
    // How deep the function stands that was found, whose inlined ones are looked for.
    let mut inside: Option<isize> = None;
    while !entries.is_empty() && found.len() < MOST_INLINED {
        let depth = entries.next_depth();
        let some = entries.read_entry(&mut entry).ok()?;
        budget.pay(1 + entry.attrs().len())?;
        if !some {
            continue;
        }
        if inside.is_some_and(|outer| depth <= outer) {
            break;
        }
        let inlined = match entry.tag() {
            c::DW_TAG_subprogram => false,
            c::DW_TAG_inlined_subroutine if inside.is_some() => true,
            _ => continue,
        };
        let mut around = false;
        // A broken list says nothing about other entries.
        let _ = each_range(dwarf, unit, &entry, budget, &mut |range| {
            around = range.contains(&address);
            around
        });
        if !around {
            continue;
        }
        if !inlined {
            inside = Some(depth);
            found.clear();
        }
        let call = inlined.then(|| call(&entry));
        found.push(Scope { name: name(dwarf, unit, &entry, budget), call });
    }
    Some(())
}

fn call(entry: &Entry<'_>) -> Spot {
    let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
    let small = |name| number(name).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    let file = match entry.attr_value(c::DW_AT_call_file) {
        Some(AttributeValue::FileIndex(index)) => index,
        other => other.and_then(|value| value.udata_value()).unwrap_or(0),
    };
    (file, small(c::DW_AT_call_line), small(c::DW_AT_call_column))
}

/// The name of a function: its own, or that of the entry that it refers to.
fn name<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    entry: &Entry<'a>,
    budget: &mut Budget,
) -> Option<String> {
    let mut linkage = None;
    let mut next = entry.clone();
    let mut other: Option<Unit<'a>> = None;
    for _ in 0..MOST_REFERENCES {
        let unit_here = other.as_ref().unwrap_or(unit);
        budget.pay(next.attrs().len())?;
        if let Some(value) = next.attr_value(c::DW_AT_name) {
            return text(string(dwarf, unit_here, value, budget)?, budget);
        }
        linkage = linkage.or_else(|| {
            let value = next.attr_value(c::DW_AT_linkage_name)?;
            text(string(dwarf, unit_here, value, budget)?, budget)
        });
        let target = next
            .attr_value(c::DW_AT_abstract_origin)
            .or_else(|| next.attr_value(c::DW_AT_specification));
        let Some((moved, offset)) = target.and_then(|t| follow(dwarf, unit_here, t, budget)) else {
            break;
        };
        other = moved.or(other);
        let unit_there = other.as_ref().unwrap_or(unit);
        let mut entry = Entry::null();
        read(unit_there, Some(offset), &mut entry, budget)?;
        next = entry;
    }
    linkage
}

/// What a reference leads to: an offset in the same unit, or in another one.
fn follow<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    value: AttributeValue<Slice<'a>>,
    budget: &mut Budget,
) -> Option<(Option<Unit<'a>>, UnitOffset)> {
    match value {
        AttributeValue::UnitRef(offset) => Some((None, offset)),
        AttributeValue::DebugInfoRef(offset) => {
            if let Some(here) = offset.to_unit_offset(&unit.header) {
                return Some((None, here));
            }
            let mut headers = dwarf.units();
            while let Some(header) = headers.next().ok()? {
                budget.pay(1)?;
                if let Some(there) = offset.to_unit_offset(&header) {
                    return Some((Some(self::unit(dwarf, header, budget)?), there));
                }
            }
            None
        }
        _ => None,
    }
}
