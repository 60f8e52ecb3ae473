//! Programs for an operand stack: what trees cannot say. Values wait below others, several branches take
//! the same values, loops end with values that nobody wants.
//!
//! They are trees of blocks all the same, and part of the trees of [`crate::ast`]. A program of steps is
//! well typed by construction: whoever makes one knows what is on the stack at each step.

use std::fmt::Write;

use crate::ast::{Expr, Op, Ty, scratch};

/// Where a branch goes, and how many values it takes along.
#[derive(Copy, Clone, Debug)]
pub struct Target {
    pub label: usize,
    pub arity: usize,
}

/// A block of any kind: its label, what it takes from the stack, what it leaves there.
#[derive(Clone, Debug)]
pub struct Frame {
    pub label: usize,
    pub params: Vec<Ty>,
    pub results: Vec<Ty>,
}

/// How a loop counts, and in which form the count decides.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Count {
    /// Down to zero, and the number itself is the condition. Only for a loop with one way back.
    Number,
    /// Down to zero, compared.
    Down,
    /// Up to zero, compared.
    Up,
}

#[derive(Clone, Debug)]
pub enum Step {
    Push(Expr),
    /// An operator on the two topmost values: their type, the operator.
    Binary(Ty, Op),
    Drop,
    Set(usize),
    Tee(usize),
    /// Takes the topmost value of this type and makes it part of a global, so that it matters.
    Mix(Ty),
    Block(Frame, Vec<Step>),
    If(Frame, Expr, Vec<Step>, Vec<Step>),
    /// A loop, which `Again` may repeat.
    Loop(Frame, Vec<Step>),
    Br(Target),
    BrIf(Target, Expr),
    /// All of the same types; the last one is for what is out of range.
    BrTable(Vec<Target>, Expr),
    /// Sets a counter to a number of turns.
    Start(usize, Count, u32),
    /// Back to a loop's start if its counter says so, and the condition, if there is one.
    Again(Target, usize, Count, Option<Expr>),
}

/// The integer that holds the bits of values of a type.
pub fn mixed_into(ty: Ty) -> Ty {
    match ty {
        Ty::I32 | Ty::F32 | Ty::Ref => Ty::I32,
        Ty::I64 | Ty::F64 | Ty::V128 => Ty::I64,
    }
}

/// Adds a line to a string.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).expect("a string takes everything")
    };
}

fn head(kind: &str, frame: &Frame) -> String {
    let mut head = format!("{kind} $l{}", frame.label);
    for ty in &frame.params {
        write!(head, " (param {})", ty.name()).expect("a string takes everything");
    }
    for ty in &frame.results {
        write!(head, " (result {})", ty.name()).expect("a string takes everything");
    }
    head
}

pub fn write_all(steps: &[Step], out: &mut String) {
    steps.iter().for_each(|step| step.write(out));
}

impl Step {
    fn write(&self, out: &mut String) {
        match self {
            Self::Push(e) => e.write(out),
            Self::Binary(ty, op) => line!(out, "{}.{op}", ty.prefix()),
            Self::Drop => out.push_str("drop\n"),
            Self::Set(local) => line!(out, "local.set {local}"),
            Self::Tee(local) => line!(out, "local.tee {local}"),
            Self::Mix(ty) => write_mix(*ty, out),
            Self::Block(frame, steps) => {
                line!(out, "{}", head("block", frame));
                write_all(steps, out);
                out.push_str("end\n");
            }
            Self::Loop(frame, steps) => {
                line!(out, "{}", head("loop", frame));
                write_all(steps, out);
                out.push_str("end\n");
            }
            Self::If(frame, cond, then, other) => {
                cond.write(out);
                line!(out, "{}", head("if", frame));
                write_all(then, out);
                out.push_str("else\n");
                write_all(other, out);
                out.push_str("end\n");
            }
            Self::Br(to) => line!(out, "br $l{}", to.label),
            Self::BrIf(to, cond) => {
                cond.write(out);
                line!(out, "br_if $l{}", to.label);
            }
            Self::BrTable(to, index) => {
                index.write(out);
                let labels: Vec<_> = to.iter().map(|to| format!("$l{}", to.label)).collect();
                line!(out, "br_table {}", labels.join(" "));
            }
            Self::Start(counter, count, turns) => {
                let sign = if *count == Count::Up { "-" } else { "" };
                line!(out, "i32.const {sign}{turns}\nlocal.set {counter}");
            }
            Self::Again(to, counter, count, cond) => {
                if let Some(cond) = cond {
                    cond.write(out);
                    out.push_str("i32.const 0\ni32.ne\n");
                }
                let change = if *count == Count::Up { "add" } else { "sub" };
                line!(out, "local.get {counter}\ni32.const 1\ni32.{change}\nlocal.tee {counter}");
                match count {
                    Count::Number => {}
                    Count::Down => out.push_str("i32.const 0\ni32.gt_s\n"),
                    Count::Up => out.push_str("i32.const 0\ni32.lt_s\n"),
                }
                if cond.is_some() {
                    out.push_str("i32.and\n");
                }
                line!(out, "br_if $l{}", to.label);
            }
        }
    }
}

/// Thirty-one times the global, plus the value's bits; of a NaN, those of 1.5.
fn write_mix(ty: Ty, out: &mut String) {
    let (t, int) = (ty.name(), mixed_into(ty).name());
    match ty {
        Ty::I32 | Ty::I64 => {}
        Ty::F32 | Ty::F64 => {
            let [x, _] = scratch(ty);
            line!(
                out,
                "local.tee {x}\n{t}.const 1.5\nlocal.get {x}\nlocal.get {x}\n{t}.eq\nselect\n\
                 {int}.reinterpret_{t}"
            );
        }
        Ty::V128 => out.push_str("i64x2.extract_lane 1\n"),
        Ty::Ref => out.push_str("call $number_of\n"),
    }
    line!(out, "global.get ${int}\n{int}.const 31\n{int}.mul\n{int}.add\nglobal.set ${int}");
}
