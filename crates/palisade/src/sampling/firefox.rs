//! The "processed profile" of the Firefox Profiler, version 62 of it: tables in columns, shared by all threads.
//!
//! A store is a thread there, a module a library, a function of a module a function; the category of a frame is the engine
//! that it ran in. What the guest's compiler inlined is shown for the frames where most time was spent, as frames inside
//! of theirs; others have a line at most, since to ask for it takes a long time in large modules.
//!
//! Invariants: names together, and stacks with what was inlined, are bounded, as samples and calls are where they are kept; so the
//! file is, too.
//!
//! Version 62 is what other tools write, too; the profiler turns older versions into its own, which is beyond it by now.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use palisade_module::ModuleInfo;
use palisade_module::debug::LineTable;
use palisade_vm::sample::FrameKind;

use super::stacks::{FrameKey, Stacks};
use super::text::{self, Json, Namer};
use super::{GuestProfile, Track};

/// The version of the format.
const PROCESSED: u32 = 62;
/// The version of what Firefox itself writes, from which this one was once derived.
const GECKO: u32 = 24;

/// For how many places it is asked what was inlined there.
const MOST_QUESTIONS: usize = 64;

/// From how many stacks on frames that were inlined are left out: each is one more for every stack that it is in.
const MOST_STACKS: usize = 2 << 20;

/// What stands for a name that there was no room for.
const NO_ROOM: &str = "<no room for the name>";

/// Numbers of the categories.
const OTHER: u32 = 0;
const INTERPRETER: u32 = 1;
const MACHINE: u32 = 2;
const CATEGORIES: [(&str, &str); 3] =
    [("Other", "grey"), ("Interpreter", "yellow"), ("Machine code", "green")];

/// Something that is kept once, and known by its number.
struct Set<T> {
    all: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self { all: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Set<T> {
    fn number(&mut self, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let number = self.all.len() as u32;
        self.numbers.insert(value.clone(), number);
        self.all.push(value);
        number
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Func {
    name: u32,
    /// The number of its library, which is that of its resource, too.
    lib: Option<u32>,
    source: Option<u32>,
    /// What tells functions of one name apart: their index.
    index: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Frame {
    func: u32,
    category: u32,
    line: Option<u32>,
    column: Option<u32>,
    depth: u32,
}

#[derive(Default)]
struct Tables {
    strings: Set<String>,
    /// Files, by their names' numbers.
    sources: Set<u32>,
    /// Libraries, by address: the name's number.
    libs: Vec<u32>,
    lib_of: HashMap<usize, u32>,
    funcs: Set<Func>,
    frames: Set<Frame>,
    /// Parent, from 1, and frame.
    stacks: Set<(u32, u32)>,
    namer: Namer,
    /// By module and function, within one store: the name's number.
    names: HashMap<(u32, u32), u32>,
}

/// What is known of a module's source.
struct Source {
    module: Arc<ModuleInfo>,
    lines: Option<Arc<LineTable>>,
    lib: u32,
    /// By function: its file.
    files: HashMap<u32, Option<u32>>,
}

impl Tables {
    fn lib(&mut self, module: &Arc<ModuleInfo>) -> u32 {
        let address = Arc::as_ptr(module).addr();
        if let Some(&known) = self.lib_of.get(&address) {
            return known;
        }
        let name = self.text(text::module(module));
        self.libs.push(name);
        let number = self.libs.len() as u32 - 1;
        self.lib_of.insert(address, number);
        number
    }

    fn file(&mut self, name: &str) -> u32 {
        let name = self.text(text::cut(name));
        self.sources.number(name)
    }

    /// The number of a text, if there is room for it.
    fn text(&mut self, text: String) -> u32 {
        if self.strings.numbers.contains_key(&text) || self.namer.fits(&text) {
            return self.strings.number(text);
        }
        self.strings.number(NO_ROOM.to_owned())
    }

    /// The frames that a key stands for, the outermost first.
    fn frames_of(&mut self, key: FrameKey, sources: &mut [Source], ask: bool) -> Vec<u32> {
        if let Some(label) = key.label() {
            let name = self.strings.number(label.to_owned());
            let func = Func { name, lib: None, source: None, index: Some(key.func) };
            let func = self.funcs.number(func);
            let frame = Frame { func, category: OTHER, line: None, column: None, depth: 0 };
            return vec![self.frames.number(frame)];
        }
        let Some(source) = sources.get_mut(key.module as usize) else { return Vec::new() };
        let category = match key.kind {
            FrameKind::Activation => INTERPRETER,
            FrameKind::Machine => MACHINE,
        };
        let places = if ask && source.lines.is_some() {
            source.module.places(key.offset as usize)
        } else {
            Vec::new()
        };
        let line = source.lines.as_ref().and_then(|lines| lines.at(key.offset as usize));
        // Where the function itself is, as opposed to what was inlined into it.
        let own = places.last().map(|place| (place.file.as_deref(), place.line, place.column));
        let own = own.or(line.map(|(file, line)| (file, Some(line), None)));
        let file = match source.files.get(&key.func) {
            Some(&known) => known,
            None => {
                let defined = key.func.checked_sub(source.module.imported_funcs);
                let body = defined.and_then(|at| source.module.bodies.get(at as usize));
                let start = body.and_then(|body| source.lines.as_ref()?.at(body.range.start)?.0);
                let named = start.or(own.and_then(|(file, ..)| file));
                let file = named.map(|name| self.file(name));
                source.files.insert(key.func, file);
                file
            }
        };
        let name = match self.names.get(&(key.module, key.func)) {
            Some(&known) => known,
            None => {
                let name = self.namer.function(&source.module, key.func);
                let name = self.strings.number(name);
                self.names.insert((key.module, key.func), name);
                name
            }
        };
        let func = Func { name, lib: Some(source.lib), source: file, index: Some(key.func) };
        let func = self.funcs.number(func);
        // A line of another file would be shown in the function's.
        let own = own.filter(|(name, ..)| name.map(|name| self.file(name)) == file);
        let (line, column) = own.map_or((None, None), |(_, line, column)| (line, column));
        let frame = Frame { func, category, line, column, depth: 0 };
        let mut all = vec![self.frames.number(frame)];
        for (depth, place) in (1..).zip(places.iter().rev().skip(1)) {
            let name = place.function.as_deref().unwrap_or("<inlined>");
            let name = self.text(text::cut(name));
            let file = place.file.as_deref().map(|file| self.file(file));
            let func = Func { name, lib: Some(source.lib), source: file, index: None };
            let func = self.funcs.number(func);
            let (line, column) = (place.line, place.column);
            all.push(self.frames.number(Frame { func, category, line, column, depth }));
        }
        all
    }

    /// Takes all stacks of a store: the number of each of its nodes here, from 1.
    fn take(&mut self, stacks: &Stacks) -> Vec<u32> {
        let mut sources: Vec<Source> = Vec::new();
        self.names.clear();
        for module in &stacks.modules {
            let (lines, lib) = (module.lines(), self.lib(module));
            sources.push(Source { module: module.clone(), lines, lib, files: HashMap::new() });
        }
        let mut weights = vec![0u64; stacks.frames.len()];
        for (node, weight) in stacks.nodes.iter().zip(&stacks.weights) {
            if let Some(sum) = weights.get_mut(node.frame as usize) {
                *sum += weight;
            }
        }
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(weights[at]));
        let mut asked = vec![false; weights.len()];
        order.iter().take(MOST_QUESTIONS).for_each(|&at| asked[at] = weights[at] > 0);
        let frames: Vec<Vec<u32>> = stacks
            .frames
            .iter()
            .zip(asked)
            .map(|(&key, ask)| self.frames_of(key, &mut sources, ask))
            .collect();
        let mut numbers: Vec<u32> = Vec::with_capacity(stacks.nodes.len());
        for node in &stacks.nodes {
            let parent = node.parent.checked_sub(1).and_then(|at| numbers.get(at as usize));
            let mut here = parent.copied().unwrap_or(0);
            let all = frames.get(node.frame as usize).map_or(&[][..], Vec::as_slice);
            // The first is the function itself.
            let most = if self.stacks.all.len() < MOST_STACKS { all.len() } else { 1 };
            for &frame in all.iter().take(most) {
                here = self.stacks.number((here, frame)) + 1;
            }
            numbers.push(here);
        }
        numbers
    }
}

/// Writes an array of JSON.
fn array<T: Display>(
    out: &mut impl Write,
    name: &str,
    values: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    write!(out, "\"{name}\":[")?;
    for (i, value) in values.into_iter().enumerate() {
        write!(out, "{}{value}", if i > 0 { "," } else { "" })?;
    }
    write!(out, "]")
}

/// The same, with a comma behind it.
fn column<T: Display>(
    out: &mut impl Write,
    name: &str,
    values: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    array(out, name, values)?;
    write!(out, ",")
}

/// A number or `null`.
fn or_null(number: Option<u32>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// A column of the same value.
fn same(value: &str, rows: usize) -> impl Iterator<Item = &str> {
    std::iter::repeat_n(value, rows)
}

/// Writes a profile.
pub(super) fn write(profile: &GuestProfile, out: &mut impl Write) -> io::Result<()> {
    let mut tables = Tables::default();
    let mut nodes = Vec::with_capacity(profile.tracks.len());
    for track in &profile.tracks {
        nodes.push(tables.take(&track.stacks));
    }
    write!(out, "{{\"meta\":")?;
    meta(profile, out)?;
    write!(out, ",")?;
    column(out, "libs", tables.libs.iter().map(|&name| lib(&tables.strings.all[name as usize])))?;
    write!(out, "\"pages\":[],\"counters\":[],\"profilerOverhead\":[],\"shared\":{{")?;
    shared(&tables, out)?;
    write!(out, "}},\"threads\":[")?;
    for (i, (track, nodes)) in profile.tracks.iter().zip(&nodes).enumerate() {
        if i > 0 {
            write!(out, ",")?;
        }
        thread(profile, i, track, nodes, out)?;
    }
    writeln!(out, "]}}")
}

fn lib(name: &str) -> String {
    let name = Json(name);
    format!(
        "{{\"name\":{name},\"path\":{name},\"debugName\":{name},\"debugPath\":{name},\
         \"breakpadId\":\"\",\"codeId\":null,\"arch\":\"wasm\"}}"
    )
}

fn meta(profile: &GuestProfile, out: &mut impl Write) -> io::Result<()> {
    let started = profile.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    write!(
        out,
        "{{\"version\":{GECKO},\"preprocessedProfileVersion\":{PROCESSED},\"product\":\"Palisade\",\
         \"processType\":0,\"startTime\":{started},\"interval\":{},\"debug\":false,\
         \"symbolicated\":true,\"symbolicationNotSupported\":true,\"usesOnlyOneStackType\":true,\"sourceCodeIsNotOnSearchfox\":true,\
         \"pausedRanges\":[],\"extensions\":{{\"id\":[],\"name\":[],\"baseURL\":[],\"length\":0}},\
         \"sampleUnits\":{{\"time\":\"ms\",\"eventDelay\":\"ms\",\"threadCPUDelta\":\"µs\"}},\
         \"markerSchema\":[],",
        profile.interval.as_secs_f64() * 1000.0
    )?;
    array(
        out,
        "categories",
        CATEGORIES.iter().map(|(name, color)| {
            format!("{{\"name\":\"{name}\",\"color\":\"{color}\",\"subcategories\":[\"Other\"]}}")
        }),
    )?;
    write!(out, "}}")
}

fn shared(tables: &Tables, out: &mut impl Write) -> io::Result<()> {
    let stacks = &tables.stacks.all;
    write!(out, "\"stackTable\":{{")?;
    column(out, "prefix", stacks.iter().map(|&(parent, _)| or_null(parent.checked_sub(1))))?;
    column(out, "frame", stacks.iter().map(|&(_, frame)| frame))?;
    write!(out, "\"length\":{}}},", stacks.len())?;
    let frames = &tables.frames.all;
    write!(out, "\"frameTable\":{{")?;
    column(out, "address", same("-1", frames.len()))?;
    column(out, "inlineDepth", frames.iter().map(|frame| frame.depth))?;
    column(out, "category", frames.iter().map(|frame| frame.category))?;
    column(out, "subcategory", same("0", frames.len()))?;
    column(out, "func", frames.iter().map(|frame| frame.func))?;
    column(out, "nativeSymbol", same("null", frames.len()))?;
    column(out, "innerWindowID", same("0", frames.len()))?;
    column(out, "line", frames.iter().map(|frame| or_null(frame.line)))?;
    column(out, "column", frames.iter().map(|frame| or_null(frame.column)))?;
    write!(out, "\"length\":{}}},", frames.len())?;
    let funcs = &tables.funcs.all;
    write!(out, "\"funcTable\":{{")?;
    column(out, "name", funcs.iter().map(|func| func.name))?;
    column(out, "isJS", same("false", funcs.len()))?;
    column(out, "relevantForJS", same("false", funcs.len()))?;
    column(out, "resource", funcs.iter().map(|func| func.lib.map_or(-1, i64::from)))?;
    column(out, "source", funcs.iter().map(|func| or_null(func.source)))?;
    column(out, "lineNumber", same("null", funcs.len()))?;
    column(out, "columnNumber", same("null", funcs.len()))?;
    write!(out, "\"length\":{}}},", funcs.len())?;
    let libs = &tables.libs;
    write!(out, "\"resourceTable\":{{")?;
    column(out, "lib", 0..libs.len())?;
    column(out, "name", libs.iter())?;
    column(out, "host", same("null", libs.len()))?;
    // A library.
    column(out, "type", same("1", libs.len()))?;
    write!(out, "\"length\":{}}},", libs.len())?;
    let sources = &tables.sources.all;
    write!(out, "\"sources\":{{")?;
    column(out, "id", same("null", sources.len()))?;
    column(out, "filename", sources.iter())?;
    column(out, "startLine", same("1", sources.len()))?;
    column(out, "startColumn", same("1", sources.len()))?;
    column(out, "sourceMapURL", same("null", sources.len()))?;
    write!(out, "\"length\":{}}},", sources.len())?;
    write!(
        out,
        "\"nativeSymbols\":{{\"address\":[],\"functionSize\":[],\"libIndex\":[],\"name\":[],\
         \"length\":0}},"
    )?;
    array(out, "stringArray", tables.strings.all.iter().map(|text| Json(text)))
}

fn thread(
    profile: &GuestProfile,
    number: usize,
    track: &Track,
    nodes: &[u32],
    out: &mut impl Write,
) -> io::Result<()> {
    let samples = &track.stacks.samples;
    let pid = std::process::id();
    let name = text::cut(&track.name);
    write!(
        out,
        "{{\"name\":{name},\"isMainThread\":{},\"processType\":\"default\",\"processName\":\"Palisade\",\
         \"processStartupTime\":0,\"processShutdownTime\":{},\"registerTime\":0,\"unregisterTime\":null,\
         \"pausedRanges\":[],\"showMarkersInTimeline\":false,\"pid\":\"{pid}\",\"tid\":{},\
         \"markers\":{{\"data\":[],\"name\":[],\"startTime\":[],\"endTime\":[],\"phase\":[],\
         \"category\":[],\"length\":0}},\"samples\":{{",
        number == 0,
        profile.length.as_secs_f64() * 1000.0,
        u64::from(pid) + number as u64,
        name = Json(&name),
    )?;
    let stack = |node: u32| or_null(nodes.get(node as usize).and_then(|at| at.checked_sub(1)));
    column(out, "stack", samples.iter().map(|sample| stack(sample.node)))?;
    let millis = |micros: u64| format!("{}.{:03}", micros / 1000, micros % 1000);
    let mut before = 0;
    column(
        out,
        "timeDeltas",
        samples
            .iter()
            .map(|sample| millis(sample.time - std::mem::replace(&mut before, sample.time))),
    )?;
    column(out, "threadCPUDelta", samples.iter().map(|sample| sample.cpu))?;
    column(out, "weight", samples.iter().map(|sample| sample.weight))?;
    write!(out, "\"weightType\":\"samples\",\"length\":{}}}}}", samples.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Track;
    use crate::{Engine, Module};
    use palisade_module::FuncIdx;
    use palisade_vm::native::TraceFrame;

    const DWARF: &[u8] = include_bytes!("../../../debug/tests/fixtures/dwarf5.wasm");

    #[test]
    fn lines_and_what_was_inlined_are_told() {
        let module = Module::new(&Engine::default(), DWARF).unwrap();
        let info = module.info().clone();
        // Where the fixture traps: a division that was inlined.
        let divides = |offset: &usize| {
            let places = info.places(*offset);
            places.len() > 1 && places.first().is_some_and(|place| place.line == Some(6))
        };
        let offset = (0..DWARF.len()).find(divides).unwrap();
        let find = |name| {
            let mut all = 0..info.funcs.len() as u32;
            all.find(|&func| info.func_name(FuncIdx(func)) == Some(name)).unwrap()
        };
        let frame = |func, offset| TraceFrame {
            module: info.clone(),
            func,
            offset,
            values: Default::default(),
        };
        let mut stacks = Stacks::default();
        let inner = frame(FuncIdx(find("middle")), offset as u32);
        let path = [
            stacks.key(FrameKind::Activation, &frame(FuncIdx(find("middle")), 1)).unwrap(),
            stacks.key(FrameKind::Machine, &inner).unwrap(),
        ];
        let node = stacks.intern(&path);
        stacks.add(1_500_000, 700_000, node, 1);
        let waiting = stacks.child(node.unwrap(), FrameKey::WAITING);
        stacks.add(2_500_000, 0, waiting, 3);
        let mut profile = GuestProfile::of(vec![Track { name: "a\n\"b".into(), stacks }]);
        let mut text = Vec::new();
        write(&profile, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in [
            // Outer frame, the function itself, what was inlined there, and the time without polls.
            r#""prefix":[null,0,1,2]"#,
            r#""inlineDepth":[0,0,1,0]"#,
            r#""category":[1,2,2,0]"#,
            r#""line":[null,11,6,null]"#,
            r#""stack":[2,3]"#,
            r#""timeDeltas":[1.500,1.000]"#,
            r#""threadCPUDelta":[700,0]"#,
            r#""weight":[1,3]"#,
            r#""interval":0.5"#,
            r#""trap.c""#,
            r#""divide""#,
            r#""[waiting]""#,
            r#""name":"a\\n\"b""#,
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        profile.tracks.clear();
        let mut empty = Vec::new();
        write(&profile, &mut empty).unwrap();
        assert!(empty.ends_with(b"\"threads\":[]}\n"));
    }

    #[test]
    fn what_was_inlined_does_not_multiply_stacks_without_end() {
        let module = Module::new(&Engine::default(), DWARF).unwrap();
        let info = module.info().clone();
        let offset = (0..DWARF.len()).find(|&at| info.places(at).len() > 1).unwrap() as u32;
        let func = FuncIdx(info.imported_funcs);
        let frame = TraceFrame { module: info.clone(), func, offset, values: Default::default() };
        let mut stacks = Stacks::default();
        let key = stacks.key(FrameKind::Machine, &frame).unwrap();
        // A recursion as deep as there is room for.
        let mut node = stacks.intern(&[key]).unwrap();
        while let Some(inner) = stacks.child(node, key) {
            node = inner;
        }
        stacks.add(0, 0, Some(node), 1);
        let (mut tables, nodes) = (Tables::default(), stacks.nodes.len());
        let places = info.places(offset as usize).len();
        for turn in 1..=3 {
            // The same in other modules, as far as the tables know.
            tables.names.clear();
            tables.lib_of.clear();
            assert_eq!(tables.take(&stacks).len(), nodes);
            let all = tables.stacks.all.len();
            assert!(all <= MOST_STACKS + turn * nodes, "{all} of {places} for each");
            assert!(all >= turn * nodes, "{all}: they are not others each time");
        }
    }
}
