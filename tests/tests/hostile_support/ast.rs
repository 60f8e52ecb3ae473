//! Small programs as trees, and how they are written as WebAssembly text.
//!
//! The text keeps the order of a tree's evaluation, so that operands wait on the operand stack while
//! statements inside later operands run: that is what a translator has to get right.

use std::fmt::Write;

use crate::steps::{self, Step};

/// Adds a line to a string.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).expect("a string takes everything")
    };
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ty {
    I32,
    I64,
    F32,
    F64,
}

pub const TYPES: [Ty; 4] = [Ty::I32, Ty::I64, Ty::F32, Ty::F64];

impl Ty {
    pub fn name(self) -> &'static str {
        ["i32", "i64", "f32", "f64"][self as usize]
    }
}

/// A value: its type and its bits, the upper ones zero.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Value {
    pub ty: Ty,
    pub bits: u64,
}

/// An operator by its name in the text format, without the type before the dot.
pub type Op = &'static str;

/// A load or a store: name, type of the value, bytes.
#[derive(Copy, Clone, Debug)]
pub struct Access {
    pub name: &'static str,
    pub ty: Ty,
    pub bytes: usize,
    pub signed: bool,
}

#[derive(Clone, Debug)]
pub enum Expr {
    Const(Value),
    Local(Ty, usize),
    Tee(usize, Box<Expr>),
    Global(Ty),
    /// The full name of the operator, its result.
    Unary(&'static str, Ty, Box<Expr>),
    /// The type of the operands, the operator, its result.
    Binary(Ty, Op, Ty, Box<Expr>, Box<Expr>),
    /// The operands, then the condition.
    Select(Box<[Expr; 3]>),
    Load(Access, u64, Box<Expr>),
    /// Statements that run while what stands before waits.
    Then(Vec<Stmt>, Box<Expr>),
    If(Box<[Expr; 3]>),
    /// A block with a result, and what is in it.
    Block(usize, Vec<Stmt>, Box<Expr>),
    /// Leaves a block with a value if the condition holds: label, value, condition.
    BreakIf(usize, Box<[Expr; 2]>),
    /// Three nested blocks and a table: value, index, junk below them, the two operators.
    Table(usize, Box<[Expr; 3]>, [Op; 2]),
    /// A block with two results that is left early: label, junk, both values, the condition, both
    /// values for when it does not hold; the second result goes to a local.
    Two(usize, Box<[Expr; 6]>, usize),
    /// A loop with two values going round; the second goes to a local in the end.
    Loop2 {
        label: usize,
        counter: usize,
        turns: u32,
        ty: Ty,
        op: Op,
        start: Box<[Expr; 2]>,
        into: usize,
    },
    /// A call of a function that takes two values and gives twice the second less the first.
    Call(Ty, Box<[Expr; 2]>),
    /// A call of a function that swaps two values; the second result goes to a local.
    Swap(Ty, Box<[Expr; 2]>, usize),
    /// A float that is not NaN: 1.5 in place of one.
    Sane(Ty, Box<Expr>),
    /// Steps on the operand stack that leave one value.
    Steps(Vec<Step>, Ty),
}

#[derive(Clone, Debug)]
pub enum Stmt {
    Set(usize, Expr),
    SetGlobal(Ty, Expr),
    Store(Access, u64, Expr, Expr),
    Drop(Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    Block(usize, Vec<Stmt>),
    BreakIf(usize, Expr),
    Loop { label: usize, counter: usize, turns: u32, body: Vec<Stmt> },
}

/// Locals: three parameters of type `i32` that are never written, then two of each type, then one
/// scratch local and one more of each type for loops, then the counters of loops.
pub const READ_ONLY: usize = 3;
pub const VARIABLES: usize = READ_ONLY;
pub const SCRATCH: usize = VARIABLES + 8;
pub const COUNTERS: usize = SCRATCH + 8;
pub const COUNTER_COUNT: usize = 6;
pub const LOCALS: usize = COUNTERS + COUNTER_COUNT;
pub const PARAMS: usize = SCRATCH;

/// The type of a local.
pub fn local_ty(local: usize) -> Ty {
    match local {
        0..READ_ONLY => Ty::I32,
        COUNTERS.. => Ty::I32,
        _ => TYPES[(local - READ_ONLY) % 4],
    }
}

/// The scratch locals of a type.
pub fn scratch(ty: Ty) -> [usize; 2] {
    [SCRATCH + ty as usize, SCRATCH + 4 + ty as usize]
}

impl Expr {
    pub fn ty(&self) -> Ty {
        match self {
            Self::Const(value) => value.ty,
            Self::Tee(local, _) => local_ty(*local),
            Self::Local(ty, _)
            | Self::Global(ty)
            | Self::Unary(_, ty, _)
            | Self::Binary(_, _, ty, _, _)
            | Self::Loop2 { ty, .. }
            | Self::Call(ty, _)
            | Self::Swap(ty, _, _)
            | Self::Steps(_, ty)
            | Self::Sane(ty, _) => *ty,
            Self::Load(access, ..) => access.ty,
            Self::Select(of) => of[0].ty(),
            Self::If(of) => of[1].ty(),
            Self::Table(_, of, _) => of[0].ty(),
            Self::Two(_, of, _) => of[1].ty(),
            Self::BreakIf(_, of) => of[0].ty(),
            Self::Then(_, last) | Self::Block(_, _, last) => last.ty(),
        }
    }

    pub fn write(&self, out: &mut String) {
        let t = self.ty().name();
        match self {
            Self::Const(value) => match value.ty {
                Ty::I32 => line!(out, "i32.const {}", value.bits as i32),
                Ty::I64 => line!(out, "i64.const {}", value.bits as i64),
                _ => write_float(out, *value),
            },
            Self::Local(_, local) => line!(out, "local.get {local}"),
            Self::Tee(local, e) => {
                e.write(out);
                line!(out, "local.tee {local}");
            }
            Self::Global(_) => line!(out, "global.get ${t}"),
            Self::Unary(name, _, e) => {
                e.write(out);
                line!(out, "{name}");
            }
            Self::Binary(ty, op, _, a, b) => {
                a.write(out);
                b.write(out);
                line!(out, "{}.{op}", ty.name());
            }
            Self::Select(of) => {
                of.iter().for_each(|e| e.write(out));
                out.push_str("select\n");
            }
            Self::Load(access, offset, address) => {
                address.write(out);
                line!(out, "{} offset={offset}", access.name);
            }
            Self::Then(stmts, last) => {
                stmts.iter().for_each(|s| s.write(out));
                last.write(out);
            }
            Self::If(of) => {
                of[0].write(out);
                line!(out, "if (result {t})");
                of[1].write(out);
                out.push_str("else\n");
                of[2].write(out);
                out.push_str("end\n");
            }
            Self::Block(label, stmts, last) => {
                line!(out, "block $l{label} (result {t})");
                stmts.iter().for_each(|s| s.write(out));
                last.write(out);
                out.push_str("end\n");
            }
            Self::BreakIf(label, of) => {
                of.iter().for_each(|e| e.write(out));
                line!(out, "br_if $l{label}");
            }
            Self::Table(label, of, ops) => {
                line!(
                    out,
                    "block $l{label} (result {t})\nblock $b{label} (result {t})\n\
                     block $a{label} (result {t})"
                );
                of[2].write(out);
                of[0].write(out);
                of[1].write(out);
                line!(
                    out,
                    "br_table $a{label} $b{label} $l{label}\nend\n{t}.{0}\nbr $l{label}\nend\n{t}.{1}\nend",
                    ops[0],
                    ops[1]
                );
            }
            Self::Two(label, of, into) => {
                let second = of[2].ty().name();
                line!(out, "block $l{label} (result {t} {second})");
                of[..4].iter().for_each(|e| e.write(out));
                line!(out, "br_if $l{label}\ndrop\ndrop\ndrop");
                of[4..].iter().for_each(|e| e.write(out));
                line!(out, "end\nlocal.set {into}");
            }
            Self::Loop2 { label, counter, turns, ty, op, start, into } => {
                let [x, y] = scratch(*ty);
                line!(out, "i32.const {turns}\nlocal.set {counter}");
                start.iter().for_each(|e| e.write(out));
                line!(
                    out,
                    "loop $l{label} (param {t} {t}) (result {t} {t})\nlocal.set {y}\nlocal.tee {x}\n\
                     local.get {y}\n{t}.{op}\nlocal.get {x}\nlocal.get {counter}\ni32.const -1\n\
                     i32.add\nlocal.tee {counter}\nbr_if $l{label}\nend\nlocal.set {into}"
                );
            }
            Self::Call(_, of) => {
                of.iter().for_each(|e| e.write(out));
                line!(out, "call $twice_{t}");
            }
            Self::Swap(_, of, into) => {
                of.iter().for_each(|e| e.write(out));
                line!(out, "call $swap_{t}\nlocal.set {into}");
            }
            Self::Steps(steps, _) => steps::write_all(steps, out),
            Self::Sane(ty, e) => {
                let [x, _] = scratch(*ty);
                e.write(out);
                line!(
                    out,
                    "local.tee {x}\n{t}.const 1.5\nlocal.get {x}\nlocal.get {x}\n{t}.eq\nselect"
                );
            }
        }
    }
}

fn write_float(out: &mut String, value: Value) {
    let sign = |negative: bool| if negative { "-" } else { "" };
    let written = match value.ty {
        Ty::F32 => {
            let x = f32::from_bits(value.bits as u32);
            if x.is_nan() {
                let payload = value.bits & 0x7F_FFFF;
                writeln!(out, "f32.const {}nan:0x{payload:x}", sign(x.is_sign_negative()))
            } else {
                writeln!(out, "f32.const {x:?}")
            }
        }
        _ => {
            let x = f64::from_bits(value.bits);
            if x.is_nan() {
                let payload = value.bits & 0xF_FFFF_FFFF_FFFF;
                writeln!(out, "f64.const {}nan:0x{payload:x}", sign(x.is_sign_negative()))
            } else {
                writeln!(out, "f64.const {x:?}")
            }
        }
    };
    written.expect("a string");
}

impl Stmt {
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Set(local, e) => {
                e.write(out);
                line!(out, "local.set {local}");
            }
            Self::SetGlobal(ty, e) => {
                e.write(out);
                line!(out, "global.set ${}", ty.name());
            }
            Self::Store(access, offset, address, value) => {
                address.write(out);
                value.write(out);
                line!(out, "{} offset={offset}", access.name);
            }
            Self::Drop(e) => {
                e.write(out);
                out.push_str("drop\n");
            }
            Self::If(cond, then, other) => {
                cond.write(out);
                out.push_str("if\n");
                then.iter().for_each(|s| s.write(out));
                if !other.is_empty() {
                    out.push_str("else\n");
                    other.iter().for_each(|s| s.write(out));
                }
                out.push_str("end\n");
            }
            Self::Block(label, stmts) => {
                line!(out, "block $l{label}");
                stmts.iter().for_each(|s| s.write(out));
                out.push_str("end\n");
            }
            Self::BreakIf(label, cond) => {
                cond.write(out);
                line!(out, "br_if $l{label}");
            }
            Self::Loop { label, counter, turns, body } => {
                line!(out, "i32.const {turns}\nlocal.set {counter}\nloop $l{label}");
                body.iter().for_each(|s| s.write(out));
                line!(
                    out,
                    "local.get {counter}\ni32.const 1\ni32.sub\nlocal.tee {counter}\nbr_if $l{label}\nend"
                );
            }
        }
    }
}

/// What all programs of a module share.
pub fn prelude() -> String {
    let mut out = String::from("(memory (export \"memory\") 1)\n");
    for ty in TYPES {
        let t = ty.name();
        line!(
            out,
            "(global ${t} (export \"{t}\") (mut {t}) ({t}.const 7))\n\
             (func $twice_{t} (param {t} {t}) (result {t})\n\
             local.get 1 local.get 1 {t}.add local.get 0 {t}.sub)\n\
             (func $swap_{t} (param {t} {t}) (result {t} {t}) local.get 1 local.get 0)"
        );
    }
    out
}

/// A function that runs statements, then gives the value of an expression and all locals.
pub fn function(name: &str, stmts: &[Stmt], last: &Expr) -> String {
    let names = |from: usize, to: usize| {
        (from..to).map(|i| local_ty(i).name()).collect::<Vec<_>>().join(" ")
    };
    let mut out = format!(
        "(func (export \"{name}\") (param {}) (result {} {})\n(local {})\n",
        names(0, PARAMS),
        last.ty().name(),
        names(0, LOCALS),
        names(PARAMS, LOCALS)
    );
    stmts.iter().for_each(|s| s.write(&mut out));
    last.write(&mut out);
    for local in 0..LOCALS {
        line!(out, "local.get {local}");
    }
    out.push_str(")\n");
    out
}
