//! `palisade explore`: a function in the forms that it goes through. Runs nothing of the module.
//!
//! Everything that is printed goes through [`escape`], line by line: names of the module stand in the text.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Formatter as _, IntelFormatter};
use palisade::{Module, Strategy};
use palisade_module::FuncIdx;
use wasmprinter::Print;

use super::validate::Look;
use crate::args::Explore;
use crate::escape;
use crate::failure::{self, Failure, Status};

/// Columns below which nothing is shown side by side.
const WIDE: usize = 150;
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
            let forms = [wasm(&module, func), ir(&module, func), machine(&module, func)];
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

/// A form of a function: a heading and lines.
struct Form {
    title: &'static str,
    lines: Vec<String>,
}

/// Takes the lines that come from a range of the module, and ends the printing behind it.
struct Lines {
    range: Range<u64>,
    inside: bool,
    over: bool,
    line: String,
    lines: Vec<String>,
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
            self.lines.push(std::mem::take(&mut self.line));
        }
        Ok(())
    }

    fn start_line(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else { return };
        if self.inside && offset >= self.range.end {
            self.over = true;
        }
        self.inside = self.range.contains(&offset);
    }
}

fn wasm(module: &Module, func: u32) -> Form {
    let info = module.info();
    let body = &info.bodies[(func - info.imported_funcs) as usize].range;
    let mut lines = Lines {
        range: body.start as u64..body.end as u64,
        inside: false,
        over: false,
        line: String::new(),
        lines: Vec::new(),
    };
    let mut config = wasmprinter::Config::new();
    // An error is the end that `Lines` asks for, or leaves what was printed before it.
    let _ = config.indent_text("  ").print(info.bytes.whole().unwrap_or_default(), &mut lines);
    if !lines.line.is_empty() {
        lines.lines.push(lines.line);
    }
    let indent = |line: &String| line.len() - line.trim_start().len();
    let common = lines.lines.iter().map(indent).min().unwrap_or(0);
    let lines = lines.lines.iter().map(|line| line[common..].to_owned()).collect();
    Form { title: "WebAssembly", lines }
}

fn ir(module: &Module, func: u32) -> Form {
    let lines = match module.explain(func) {
        Ok(explained) => explained.ir.lines().take(MOST_LINES).map(str::to_owned).collect(),
        Err(error) => vec![format!("not compiled: {error:#}")],
    };
    Form { title: "intermediate form (Cranelift)", lines }
}

fn machine(module: &Module, func: u32) -> Form {
    let mut lines = Vec::new();
    match module.explain(func) {
        Err(error) => lines.push(format!("not compiled: {error:#}")),
        Ok(explained) => {
            let mut formatter = IntelFormatter::new();
            formatter.options_mut().set_space_after_operand_separator(true);
            let mut sources = explained.sources.iter().peekable();
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
                    Some(source) if source < INLINED => lines.push(format!("; @{source:#x}")),
                    Some(_) => lines.push("; inlined".to_owned()),
                    None => {}
                }
                let mut text = String::new();
                formatter.format(&instruction, &mut text);
                lines.push(format!("{at:6x}  {text}"));
            }
        }
    }
    Form { title: "machine code (x86-64)", lines }
}

fn width(args: &Explore) -> usize {
    let terminal = || rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    args.width.map_or_else(|| terminal().into(), |width| width as usize)
}

/// Side by side where there is room, one after the other elsewhere.
fn lay_out(forms: &[Form], width: usize) -> String {
    let mut out = String::new();
    if width < WIDE {
        for (i, form) in forms.iter().enumerate() {
            let blank = if i > 0 { "\n" } else { "" };
            let _ = writeln!(out, "{blank}{}", form.title);
            for line in &form.lines {
                let _ = writeln!(out, "    {}", escape::lines(line));
            }
        }
        return out;
    }
    const BETWEEN: &str = " │ ";
    let column = (width - (forms.len() - 1) * 3) / forms.len();
    let rows = forms.iter().map(|form| form.lines.len()).max().unwrap_or(0);
    for row in 0..=rows {
        let cells = forms.iter().map(|form| {
            let line = match row.checked_sub(1) {
                None => Some(form.title),
                Some(row) => form.lines.get(row).map(String::as_str),
            };
            let line = escape::lines(line.unwrap_or_default());
            let cut: String = match line.chars().count() > column {
                true => line.chars().take(column - 1).chain(['…']).collect(),
                false => line,
            };
            format!("{cut:column$}")
        });
        let line = cells.collect::<Vec<_>>().join(BETWEEN);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
