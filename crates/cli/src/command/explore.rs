//! `palisade explore`: a function in the forms that it goes through. Runs nothing of the module.
//!
//! Everything that is printed goes through [`escape`], line by line: names of the module stand in the text.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Formatter as _, IntelFormatter};
use palisade::{Explanation, Module, Strategy};
use palisade_module::FuncIdx;
use wasmprinter::Print;

use super::columns::{Form, Line, lay_out};
use super::validate::Look;
use crate::args::Explore;
use crate::escape;
use crate::failure::{self, Failure, Status};

/// The most lines of one form.
const MOST_LINES: usize = 100_000;
/// What is added to the number of an inlined place, where an offset in the module would stand.
const INLINED: u32 = 1 << 31;

pub(super) fn run(args: &Explore) -> Result<Status, Failure> {
    let looking = Look::with(&args.looking, Strategy::Auto)?;
    let module = looking.module(&args.file)?;
    match &args.func {
        None => failure::print(&list(&module))?,
        Some(func) => {
            let func = find(args, &module, func)?;
            let explained =
                module.explain(func).map_err(|error| format!("not compiled: {error:#}"));
            let explained = explained.as_ref();
            let forms =
                [wasm(&module, func), bytecode(&module, func), machine(explained), ir(explained)];
            failure::print(&lay_out(&forms, width(args)))?;
        }
    }
    Ok(Status::Success)
}

/// The functions: index, bytes, name.
fn list(module: &Module) -> String {
    let info = module.info();
    let mut out = String::new();
    for func in 0..info.funcs.len() as u32 {
        let body = func.checked_sub(info.imported_funcs).map(|at| &info.bodies[at as usize].range);
        let name = info.func_name(FuncIdx(func)).map(escape::name).unwrap_or_default();
        let line = match body {
            Some(body) => format!("{func:7} {:9} {name}", body.len()),
            None => format!("{func:7}  imported {name}"),
        };
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The function that is meant: an index, or a name.
fn find(args: &Explore, module: &Module, wanted: &str) -> Result<u32, Failure> {
    let info = module.info();
    let wrong = |what: String| {
        Failure::usage(format!("{}: {what}", escape::path(&args.file)))
            .hint("`palisade explore FILE` lists the functions")
    };
    let shown = escape::name(wanted);
    let named = |func: &u32| {
        let exported = |export: &palisade_module::Export| {
            *export.name == *wanted
                && export.index == palisade_module::ExportIdx::Func(FuncIdx(*func))
        };
        info.func_name(FuncIdx(*func)) == Some(wanted) || info.exports.iter().any(exported)
    };
    let count = info.funcs.len() as u32;
    let found = match wanted.parse::<u32>() {
        Ok(index) => Some(index).filter(|&index| index < count),
        Err(_) => (0..count).find(named),
    };
    match found {
        None => Err(wrong(format!("there is no function {shown}"))),
        Some(func) if func < info.imported_funcs => {
            Err(wrong(format!("function {shown} is imported: there is nothing of it to show")))
        }
        Some(func) => Ok(func),
    }
}

/// Takes the lines that come from a range of the module, and ends the printing behind it.
struct Lines {
    range: Range<u64>,
    inside: bool,
    over: bool,
    source: Option<u64>,
    line: String,
    lines: Vec<Line>,
}

impl Print for Lines {
    fn write_str(&mut self, text: &str) -> io::Result<()> {
        if self.over || self.lines.len() >= MOST_LINES {
            return Err(io::Error::other("all that is wanted was printed"));
        }
        if self.inside {
            self.line.push_str(text);
        }
        Ok(())
    }

    fn newline(&mut self) -> io::Result<()> {
        if self.inside {
            self.lines.push(Line::new(self.source, std::mem::take(&mut self.line)));
        }
        Ok(())
    }

    fn start_line(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else { return };
        if self.inside && offset >= self.range.end {
            self.over = true;
        }
        self.inside = self.range.contains(&offset);
        self.source = Some(offset);
    }
}

fn wasm(module: &Module, func: u32) -> Form {
    let info = module.info();
    let body = &info.bodies[(func - info.imported_funcs) as usize].range;
    let mut lines = Lines {
        range: body.start as u64..body.end as u64,
        inside: false,
        over: false,
        source: None,
        line: String::new(),
        lines: Vec::new(),
    };
    let mut config = wasmprinter::Config::new();
    // An error is the end that `Lines` asks for, or leaves what was printed before it.
    let _ = config.indent_text("  ").print(info.bytes.whole().unwrap_or_default(), &mut lines);
    if !lines.line.is_empty() {
        lines.lines.push(Line::new(lines.source, lines.line));
    }
    let mut lines = lines.lines;
    let indent = |line: &Line| line.text.len() - line.text.trim_start().len();
    let common = lines.iter().map(indent).min().unwrap_or(0);
    lines.iter_mut().for_each(|line| drop(line.text.drain(..common)));
    Form { title: "WebAssembly", lines, share: 28, wide: false }
}

fn bytecode(module: &Module, func: u32) -> Form {
    let mut lines = Vec::new();
    match module.bytecode(func) {
        Err(error) => lines.push(Line::new(None, format!("not translated: {error:#}"))),
        Ok(code) => {
            let frame = format!("; {} cells, header at {}", code.cells, code.header);
            lines.push(Line::new(None, frame));
            let mut source = None;
            for instruction in &code.instructions {
                if lines.len() >= MOST_LINES {
                    break;
                }
                let here = u64::from(instruction.source);
                if source.replace(here) != Some(here) {
                    lines.push(Line::offset(here));
                }
                lines.push(Line::new(source, format!("{:6x}  {instruction}", instruction.at)));
            }
        }
    }
    Form { title: "bytecode (interpreter)", lines, share: 42, wide: false }
}

fn ir(explained: Result<&Explanation, &String>) -> Form {
    // The offset in the module stands before an instruction, as `@0034`.
    let source = |line: &str| {
        let digits = line.trim_start().strip_prefix('@')?.split_whitespace().next()?;
        u64::from_str_radix(digits, 16).ok().filter(|source| *source < u64::from(INLINED))
    };
    let lines = match explained {
        Ok(explained) => {
            let lines = explained.ir.lines().take(MOST_LINES);
            lines.map(|line| Line::new(source(line), line.to_owned())).collect()
        }
        Err(why) => vec![Line::new(None, why.clone())],
    };
    Form { title: "intermediate form (Cranelift)", lines, share: 40, wide: true }
}

fn machine(explained: Result<&Explanation, &String>) -> Form {
    let mut lines = Vec::new();
    match explained {
        Err(why) => lines.push(Line::new(None, why.clone())),
        Ok(explained) => {
            let mut formatter = IntelFormatter::new();
            formatter.options_mut().set_space_after_operand_separator(true);
            let mut sources = explained.sources.iter().peekable();
            let mut source = None;
            for instruction in Decoder::with_ip(64, &explained.code, 0, DecoderOptions::NONE) {
                if lines.len() >= MOST_LINES {
                    break;
                }
                let at = instruction.ip() as u32;
                let mut here = None;
                while let Some((_, source)) = sources.next_if(|(from, _)| *from <= at) {
                    here = Some(*source);
                }
                match here {
                    Some(place) if place < INLINED => {
                        source = Some(u64::from(place));
                        lines.push(Line::offset(u64::from(place)));
                    }
                    // It stands where the call was.
                    Some(place) => {
                        let call = explained.inlined.get((place - INLINED) as usize);
                        source = call.copied().map(u64::from).or(source);
                        lines.push(Line::new(source, "; inlined".to_owned()));
                    }
                    None => {}
                }
                let mut text = String::new();
                formatter.format(&instruction, &mut text);
                lines.push(Line::new(source, format!("{at:6x}  {text}")));
            }
        }
    }
    Form { title: "machine code (x86-64)", lines, share: 30, wide: false }
}

fn width(args: &Explore) -> usize {
    let terminal = || rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    args.width.map_or_else(|| terminal().into(), |width| width as usize)
}
