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
    /// A vector with two lanes of the same value, which stands for it.
    V128,
    /// A reference to one of three functions, or null: their number, or 0.
    Ref,
}

/// The types that are numbers: what globals and parameters have, and what is loaded and stored.
pub const TYPES: [Ty; 4] = [Ty::I32, Ty::I64, Ty::F32, Ty::F64];
/// The types of what waits on the operand stack.
pub const ALL_TYPES: [Ty; 6] = [Ty::I32, Ty::I64, Ty::F32, Ty::F64, Ty::V128, Ty::Ref];

impl Ty {
    pub fn name(self) -> &'static str {
        ["i32", "i64", "f32", "f64", "v128", "(ref null $number)"][self as usize]
    }

    /// What stands before the names of its operators, and of the functions that work on it.
    pub fn prefix(self) -> &'static str {
        ["i32", "i64", "f32", "f64", "i64x2", "ref"][self as usize]
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
    /// A vector of a number, twice.
    Splat(Box<Expr>),
    /// A lane of a vector.
    Lane(u32, Box<Expr>),
    /// The reference with a number: by its name or from a table, which is asked for the number modulo 4.
    Func(u32),
    Element(Box<Expr>),
    /// The number of a reference.
    Number(Box<Expr>),
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
/// scratch local and one more of each type for loops, then the counters of loops, then two of each
/// type that is no number.
pub const READ_ONLY: usize = 3;
pub const VARIABLES: usize = READ_ONLY;
pub const SCRATCH: usize = VARIABLES + 8;
pub const COUNTERS: usize = SCRATCH + 8;
pub const COUNTER_COUNT: usize = 6;
pub const OTHERS: usize = COUNTERS + COUNTER_COUNT;
pub const LOCALS: usize = OTHERS + 4;
pub const PARAMS: usize = SCRATCH;

/// The type of a local.
pub fn local_ty(local: usize) -> Ty {
    match local {
        0..READ_ONLY => Ty::I32,
        COUNTERS..OTHERS => Ty::I32,
        OTHERS.. => ALL_TYPES[4 + (local - OTHERS) % 2],
        _ => TYPES[(local - READ_ONLY) % 4],
    }
}

/// The type of the number that shows what a value of a type is.
pub fn shown(ty: Ty) -> Ty {
    match ty {
        Ty::V128 => Ty::I64,
        Ty::Ref => Ty::I32,
        number => number,
    }
}

/// The scratch locals of a type that is a number.
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
            Self::Splat(_) => Ty::V128,
            Self::Lane(..) => Ty::I64,
            Self::Func(_) | Self::Element(_) => Ty::Ref,
            Self::Number(_) => Ty::I32,
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
                line!(out, "{}.{op}", ty.prefix());
            }
            Self::Select(of) => {
                of.iter().for_each(|e| e.write(out));
                if self.ty() == Ty::Ref {
                    line!(out, "select (result {t})");
                } else {
                    out.push_str("select\n");
                }
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
                line!(out, "call $twice_{}", self.ty().prefix());
            }
            Self::Swap(_, of, into) => {
                of.iter().for_each(|e| e.write(out));
                line!(out, "call $swap_{}\nlocal.set {into}", self.ty().prefix());
            }
            Self::Splat(e) => {
                e.write(out);
                out.push_str("i64x2.splat\n");
            }
            Self::Lane(lane, e) => {
                e.write(out);
                line!(out, "i64x2.extract_lane {lane}");
            }
            Self::Func(0) => out.push_str("ref.null $number\n"),
            Self::Func(number) => line!(out, "ref.func $number{number}"),
            Self::Element(e) => {
                e.write(out);
                out.push_str("i32.const 3\ni32.and\ntable.get $numbers\n");
            }
            Self::Number(e) => {
                e.write(out);
                out.push_str("call $number_of\n");
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
    let mut out =
        String::from("(memory (export \"memory\") 1)\n(type $number (func (result i32)))\n");
    for number in 1..4 {
        line!(out, "(func $number{number} (type $number) i32.const {number})");
    }
    out.push_str(
        "(table $numbers (ref null $number) (elem (item ref.null $number) (item ref.func $number1)
         (item ref.func $number2) (item ref.func $number3)))
         (func $number_of (param (ref null $number)) (result i32)
         block local.get 0 br_on_null 0 call_ref $number return end i32.const 0)
         (func $swap_ref (param (ref null $number) (ref null $number))
         (result (ref null $number) (ref null $number)) local.get 1 local.get 0)
         (func $swap_i64x2 (param v128 v128) (result v128 v128) local.get 1 local.get 0)
         (func $twice_i64x2 (param v128 v128) (result v128)
         local.get 1 local.get 1 i64x2.add local.get 0 i64x2.sub)\n",
    );
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
    let names = |from: usize, to: usize, show: fn(Ty) -> Ty| {
        (from..to).map(|i| show(local_ty(i)).name()).collect::<Vec<_>>().join(" ")
    };
    let mut out = format!(
        "(func (export \"{name}\") (param {}) (result {} {})\n(local {})\n",
        names(0, PARAMS, shown),
        last.ty().name(),
        names(0, LOCALS, shown),
        names(PARAMS, LOCALS, |ty| ty)
    );
    stmts.iter().for_each(|s| s.write(&mut out));
    last.write(&mut out);
    for local in 0..LOCALS {
        let value = Box::new(Expr::Local(local_ty(local), local));
        match local_ty(local) {
            Ty::V128 => Expr::Lane(1, value).write(&mut out),
            Ty::Ref => Expr::Number(value).write(&mut out),
            _ => value.write(&mut out),
        }
    }
    out.push_str(")\n");
    out
}
