//! Places in the source from what a compiler wrote, and from what nobody should have written.

use palisade_debug::{DebugInfo, Mismatch, Parts, Place};
use wasmparser::{Operator, Parser, Payload};

const FOUR: &[u8] = include_bytes!("fixtures/dwarf4.wasm");
const FIVE: &[u8] = include_bytes!("fixtures/dwarf5.wasm");

/// Where the fixture traps, as an offset in the module.
fn trap(bytes: &[u8]) -> usize {
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(Payload::CodeSectionEntry(body)) = payload else { continue };
        for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
            let (operator, offset) = operator.unwrap();
            if matches!(operator, Operator::Unreachable) {
                return offset as usize;
            }
        }
    }
    panic!("the fixture traps nowhere");
}

fn places(bytes: &[u8], offset: usize) -> Vec<Place> {
    let Some(parts) = Parts::find(bytes) else { return Vec::new() };
    let Some(code) = parts.code.clone() else { return Vec::new() };
    let Some(info) = DebugInfo::read(bytes, parts) else { return Vec::new() };
    // Whatever they are: that it ends, and takes no more than it may.
    info.lines(bytes).at(0);
    info.places(bytes, offset - code.start)
}

fn place(function: &str, line: u32, column: u32) -> Place {
    let (function, file) = (Some(function.to_owned()), Some("trap.c".to_owned()));
    Place { function, file, line: Some(line), column: Some(column) }
}

#[test]
fn inlined_functions_come_first_in_both_versions_of_dwarf() {
    for bytes in [FOUR, FIVE] {
        let found = places(bytes, trap(bytes));
        let names: Vec<_> = found.iter().map(|p| p.function.as_deref()).collect();
        assert_eq!(names, [Some("divide"), Some("middle")]);
        assert!(found.iter().all(|p| p.file.as_deref().is_some_and(|f| f.ends_with("trap.c"))));
        assert_eq!((found[0].line, found[1].line), (Some(6), Some(11)));
        assert_eq!(found[1].column, place("middle", 11, 12).column);
    }
}

#[test]
fn outside_of_the_code_nothing_is_known() {
    let parts = Parts::find(FIVE).unwrap();
    let end = parts.code.clone().unwrap().len();
    let info = DebugInfo::read(FIVE, parts).unwrap();
    for offset in [0, end, usize::MAX] {
        assert_eq!(info.places(FIVE, offset), []);
    }
}

/// The same sections, some of them others.
fn rebuilt(bytes: &[u8], change: impl Fn(u8, &str, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let mut at = 8;
    let leb = |bytes: &[u8], at: &mut usize| {
        let (mut value, mut shift) = (0usize, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    while at < bytes.len() {
        let id = bytes[at];
        at += 1;
        let size = leb(bytes, &mut at);
        let content = &bytes[at..at + size];
        at += size;
        let mut inside = 0;
        let name = match id {
            0 => {
                let length = leb(content, &mut inside);
                let name = std::str::from_utf8(&content[inside..inside + length]).unwrap();
                inside += length;
                name
            }
            _ => "",
        };
        if let Some(data) = change(id, name, &content[inside..]) {
            section(&mut out, id, name, &data);
        }
    }
    out
}

fn section(out: &mut Vec<u8>, id: u8, name: &str, data: &[u8]) {
    let mut content = Vec::new();
    if id == 0 {
        number(&mut content, name.len() as u64);
        content.extend(name.as_bytes());
    }
    content.extend(data);
    out.push(id);
    number(out, content.len() as u64);
    out.extend(content);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[test]
fn d1_flipped_bits_and_cut_sections_only_ever_take_knowledge_away() {
    for bytes in [FOUR, FIVE] {
        let (at, parts) = (trap(bytes), Parts::find(bytes).unwrap());
        let mut different = 0;
        let known = places(bytes, at);
        for (_, range) in &parts.dwarf {
            for position in range.clone() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut broken = bytes.to_vec();
                    broken[position] ^= mask;
                    different += usize::from(places(&broken, at) != known);
                }
            }
        }
        assert!(different > 100, "{different} changes were noticed: nothing was read");
        for (cut, _) in &parts.dwarf {
            for keep in [0, 1, 7, 20, 100] {
                let short = rebuilt(bytes, |_, name, data| {
                    let keep = if name == cut { keep.min(data.len()) } else { data.len() };
                    Some(data[..keep].to_vec())
                });
                places(&short, at.min(short.len()));
            }
        }
    }
}

/// A module with one unit of DWARF 4 whose root spans everything, made by hand.
struct Unit {
    abbrev: Vec<u8>,
    entries: Vec<u8>,
    ranges: Vec<u8>,
    strings: Vec<u8>,
}

impl Unit {
    /// Abbreviation 1 is the root, 2 a function with a list of ranges.
    fn new() -> Self {
        let abbrev = [1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, 2, 0x2e, 0, 0x55, 0x17, 0, 0];
        let mut entries = vec![1];
        entries.extend(1u32.to_le_bytes());
        entries.extend(0xffffu32.to_le_bytes());
        Self { abbrev: abbrev.to_vec(), entries, ranges: Vec::new(), strings: Vec::new() }
    }

    fn module(mut self) -> Vec<u8> {
        self.abbrev.push(0);
        let mut info = ((self.entries.len() + 7) as u32).to_le_bytes().to_vec();
        info.extend([4, 0, 0, 0, 0, 0, 4]);
        info.extend(&self.entries);
        let mut out = b"\0asm\x01\0\0\0".to_vec();
        section(&mut out, 10, "", &[0; 64]);
        section(&mut out, 0, ".debug_info", &info);
        section(&mut out, 0, ".debug_abbrev", &self.abbrev);
        section(&mut out, 0, ".debug_ranges", &self.ranges);
        section(&mut out, 0, ".debug_str", &self.strings);
        out
    }

    fn asked(self) -> Vec<Place> {
        let bytes = self.module();
        let info = DebugInfo::read(&bytes, Parts::find(&bytes).unwrap()).unwrap();
        info.places(&bytes, 0x30)
    }
}

#[test]
fn a_unit_made_by_hand_is_understood() {
    let mut unit = Unit::new();
    unit.entries.extend([2, 0, 0, 0, 0]);
    unit.ranges.extend([0x2f, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(unit.asked(), [Place::default()]);
}

/// 300,000 functions that all refer to one list of 300,000 ranges: 90,000,000,000 to look at.
#[test]
fn work_does_not_multiply_by_references() {
    let mut unit = Unit::new();
    for _ in 0..300_000 {
        unit.entries.extend([2, 0, 0, 0, 0]);
        // Empty ranges are no less work.
        unit.ranges.extend([5, 0, 0, 0, 5, 0, 0, 0]);
    }
    assert_eq!(unit.asked(), []);
}

/// 400,000 entries of a byte, with 200,000 attributes each that take no bytes: 80,000,000,000 to read.
#[test]
fn attributes_that_take_no_bytes_are_work_too() {
    let mut unit = Unit::new();
    unit.abbrev.extend([3, 0x2e, 0]);
    for _ in 0..200_000 {
        unit.abbrev.extend([0x3f, 0x19]);
    }
    unit.abbrev.extend([0, 0]);
    unit.entries.extend(std::iter::repeat_n(3, 400_000));
    assert_eq!(unit.asked(), []);
}

/// 100,000 names of a unit, and of functions, that are looked for in 32 MiB without an end: 3,000,000,000,000 bytes.
#[test]
fn looking_for_the_end_of_a_string_is_work() {
    let mut unit = Unit::new();
    unit.strings = vec![b'a'; 32 << 20];
    unit.abbrev = vec![1, 0x11, 1];
    unit.entries = vec![1];
    for _ in 0..100_000 {
        unit.abbrev.extend([0x03, 0x0e]);
        unit.entries.extend([0; 4]);
    }
    unit.abbrev.extend([0x11, 0x01, 0x12, 0x06, 0, 0]);
    unit.entries.extend([1, 0, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!(unit.asked(), []);

    let mut unit = Unit::new();
    unit.strings = vec![b'a'; 32 << 20];
    unit.abbrev.extend([3, 0x2e, 0, 0x55, 0x17, 0x03, 0x0e, 0, 0]);
    for _ in 0..100_000 {
        unit.entries.extend([3, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    unit.ranges.extend([0x2f, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(unit.asked().iter().all(|place| place.function.is_none()));
}

/// A name that refers to itself.
#[test]
fn references_in_a_circle_end() {
    let mut unit = Unit::new();
    unit.abbrev.extend([3, 0x2e, 0, 0x55, 0x17, 0x31, 0x13, 0, 0]);
    let here = (11 + unit.entries.len()) as u32;
    unit.entries.extend([3, 0, 0, 0, 0]);
    unit.entries.extend(here.to_le_bytes());
    unit.ranges.extend([0x2f, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(unit.asked(), [Place::default()]);
}

fn checked(module: &[u8], file: &[u8]) -> Result<(), Mismatch> {
    let (ours, theirs) = (Parts::find(module).unwrap(), Parts::find(file).unwrap());
    ours.check(module, &theirs, file)
}

#[test]
fn a_debug_file_belongs_to_one_build() {
    let stripped = |id: u8| {
        let keep =
            |_: u8, name: &str, data: &[u8]| (!name.starts_with(".debug")).then(|| data.to_vec());
        let mut out = rebuilt(FIVE, keep);
        section(&mut out, 0, "build_id", &[2, id, 2]);
        out
    };
    let file = |id: u8| {
        let mut out = rebuilt(FIVE, |id, _, data| (id != 10).then(|| data.to_vec()));
        section(&mut out, 0, "build_id", &[2, id, 2]);
        out
    };
    assert_eq!(checked(&stripped(1), &file(1)), Ok(()));
    assert_eq!(checked(&stripped(1), &file(3)), Err(Mismatch::BuildId));
    assert_eq!(checked(&stripped(1), &stripped(1)), Err(Mismatch::NoDwarf));
    let other = rebuilt(FIVE, |id, _, data| {
        let mut data = data.to_vec();
        if id == 10 {
            *data.last_mut().unwrap() ^= 1;
        }
        Some(data)
    });
    assert_eq!(checked(&stripped(1), &other), Err(Mismatch::Code));
    assert_eq!(checked(&stripped(1), FIVE), Ok(()));
}

#[test]
fn all_lines_at_once_say_what_questions_about_places_say() {
    for bytes in [FOUR, FIVE] {
        let parts = Parts::find(bytes).unwrap();
        let end = parts.code.clone().unwrap().len();
        let info = DebugInfo::read(bytes, parts).unwrap();
        let lines = info.lines(bytes);
        let mut told = 0;
        for offset in 0..end {
            let places = info.places(bytes, offset);
            let one = places.first().and_then(|place| Some((place.file.as_deref(), place.line?)));
            assert_eq!(lines.at(offset as u32), one, "{offset}");
            told += usize::from(one.is_some());
        }
        assert!(told > 20, "{told}");
        assert_eq!(lines.at(u32::MAX), None);
    }
}
