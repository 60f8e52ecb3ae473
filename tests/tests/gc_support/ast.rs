//! Random programs on objects: what they are made of, and their text.
//!
//! A program is a few functions that call only later ones, so that it ends. All operands are evaluated
//! from left to right, as the text format says; a branch takes its values to the label that it names.

use std::fmt::Write;

/// The types of values.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ty {
    I32,
    I64,
    F64,
    /// `(ref null $node)`
    Node,
    /// `(ref null $arr)`; never null, and always of four elements.
    Arr,
    /// `eqref`
    Eq,
}

impl Ty {
    pub fn text(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F64 => "f64",
            Self::Node => "(ref null $node)",
            Self::Arr => "(ref null $arr)",
            Self::Eq => "eqref",
        }
    }
}

/// The structure types, each a subtype of the one before.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    Node,
    Big,
    Huge,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "$node",
            Self::Big => "$big",
            Self::Huge => "$huge",
        }
    }

    /// The types of the fields, as values.
    pub fn fields(self) -> &'static [Ty] {
        const ALL: [Ty; 11] = [
            Ty::I32,
            Ty::Node,
            Ty::Eq,
            Ty::I64,
            Ty::I32,
            Ty::I32,
            Ty::F64,
            Ty::Node,
            Ty::Eq,
            Ty::I64,
            Ty::Node,
        ];
        match self {
            Self::Node => &ALL[..3],
            Self::Big => &ALL[..7],
            Self::Huge => &ALL,
        }
    }
}

/// What is tested for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Class(Class),
    Arr,
    I31,
    Struct,
    Eq,
    None,
}

impl Target {
    pub fn text(self) -> &'static str {
        match self {
            Self::Class(class) => class.name(),
            Self::Arr => "$arr",
            Self::I31 => "i31",
            Self::Struct => "struct",
            Self::Eq => "eq",
            Self::None => "none",
        }
    }
}

/// The signatures of functions: parameters; the result is a node, for `Pair` a node and a number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sig {
    Small,
    Mixed,
    Pair,
}

impl Sig {
    pub fn params(self) -> &'static [Ty] {
        match self {
            Self::Small => &[Ty::Node, Ty::I32],
            Self::Mixed => &[Ty::I32, Ty::Eq, Ty::I64, Ty::Node, Ty::Arr, Ty::F64],
            Self::Pair => &[Ty::Node, Ty::Eq, Ty::Arr],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "$small",
            Self::Mixed => "$mixed",
            Self::Pair => "$pair",
        }
    }
}

/// How a function is called.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum How {
    Direct,
    Table,
    /// Through a reference that an object holds.
    Boxed,
}

pub type Sub = Box<Expr>;

#[derive(Clone, Debug)]
pub enum Expr {
    /// A number as its bits, or null.
    Const(Ty, u64),
    Local(usize),
    Tee(usize, Sub),
    /// The global of a type of references.
    Global(Ty),
    Table(u32),
    /// A mixture of two numbers of a type.
    Mix(Ty, Sub, Sub),
    IsNull(Sub),
    Eqz(Sub),
    Same(Sub, Sub),
    Test(Target, bool, Sub),
    New(Class, Vec<Expr>),
    NewDefault(Class),
    /// Of four nodes; of one node four times; of nulls.
    Fixed(Vec<Expr>),
    Filled(Sub),
    Empty,
    /// A field of a node that is not null and of that class.
    Get(Class, usize, Sub),
    Element(Sub, Sub),
    Len(Sub),
    I31(Sub),
    /// The number of a small integer, or else another.
    I31Or(bool, Sub, Sub),
    /// A node, or else another that is not null.
    OrElse(Sub, Sub),
    /// A reference if it is null or of a class, or else a node. With `br_on_cast`, or `br_on_cast_fail`.
    CastOr(bool, Class, Sub, Sub),
    Cast(Class, Sub),
    /// To `externref` and back.
    Convert(Sub),
    Select(Ty, Sub, Sub, Sub),
    If(Ty, Sub, Box<Body>, Box<Body>),
    /// A block with a label.
    Block(Ty, u32, Box<Body>),
    /// Leaves a block with a value, or goes on with it.
    BrIf(u32, Sub, Sub),
    /// A value, an index, and what the value is replaced with for three indices.
    Switch(Ty, u32, Sub, Sub, [Sub; 2]),
    /// Seven values through the end of a block; the last one is replaced unless a branch was taken.
    Wide(u32, Vec<Expr>, Sub, Sub),
    /// A node that goes round a loop so many times: label, locals for node and counter, the count, the start, and
    /// what it becomes.
    Loop(u32, usize, usize, u32, Sub, Sub),
    Call(How, Sig, usize, Vec<Expr>),
    /// Through the host, which gives back one of two.
    Pass(Sub, Sub, Sub),
    /// The host, which lets the guest make objects meanwhile.
    Busy(Sub, Sub),
    /// A function that makes objects and takes none.
    Make(Sub),
}

#[derive(Clone, Debug)]
pub struct Body {
    pub stmts: Vec<Stmt>,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub enum Stmt {
    Set(usize, Expr),
    SetField(Class, usize, Expr, Expr),
    SetGlobal(Ty, Expr),
    SetTable(u32, Expr),
    SetElement(Expr, Expr, Expr),
    /// Two elements from the first or the second on.
    Fill(Expr, u32, Expr),
    /// Three elements from the first or the second on, between two arrays.
    Copy(Expr, u32, Expr, u32),
    Drop(Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// Ends the function by a call of another one of the same kind.
    TailCall(How, usize, Vec<Expr>),
    /// Ends the function if the node is null.
    ReturnIfNull(Expr),
}

#[derive(Clone, Debug)]
pub struct Func {
    pub sig: Sig,
    /// Parameters and locals.
    pub locals: Vec<Ty>,
    pub body: Body,
}

/// What every program has: types, objects' homes, the host's functions and the sum over all that can be reached.
const PRELUDE: &str = r#"
(type $node (sub (struct (field $id i32) (field (mut (ref null $node))) (field (mut eqref)))))
(type $big (sub $node (struct (field i32) (field (mut (ref null $node))) (field (mut eqref))
  (field (mut i64)) (field (mut i8)) (field (mut i16)) (field (mut f64)))))
(type $huge (sub final $big (struct (field i32) (field (mut (ref null $node))) (field (mut eqref))
  (field (mut i64)) (field (mut i8)) (field (mut i16)) (field (mut f64))
  (field (mut (ref null $node))) (field (mut eqref)) (field (mut i64)) (field (mut (ref null $node))))))
(type $arr (array (mut (ref null $node))))
(type $small (func (param (ref null $node) i32) (result (ref null $node))))
(type $mixed (func (param i32 eqref i64 (ref null $node) (ref null $arr) f64) (result (ref null $node))))
(type $pair (func (param (ref null $node) eqref (ref null $arr)) (result (ref null $node) i32)))
(type $boxsmall (struct (field i64) (field (ref $small))))
(type $boxmixed (struct (field i64) (field (ref $mixed))))
(type $boxpair (struct (field i64) (field (ref $pair))))
(import "h" "pass" (func $pass (param anyref i32 anyref) (result anyref)))
(import "h" "busy" (func $busy (param anyref i32) (result i32)))
(global $gn (mut (ref null $node)) (ref.null $node))
(global $ge (mut eqref) (ref.null eq))
(global $ga (mut (ref null $arr)) (array.new_default $arr (i32.const 4)))
(table $t 4 (ref null $node))
(func $make (export "make") (param i32) (result i32)
  (local.set 0 (i32.and (local.get 0) (i32.const 7)))
  (drop (struct.new $node (local.get 0) (struct.new_default $big) (ref.i31 (local.get 0))))
  (array.len (array.new $arr (struct.new_default $huge) (local.get 0))))
(func $fold (param (ref null $node) i32) (result (ref null $node))
  (struct.new $node (local.get 1) (local.get 0) (ref.null eq)))
(func $pack (param (ref null $node) i32 eqref (ref null $node) i64 f64 (ref null $node))
  (result (ref null $node))
  (struct.new $huge (local.get 1) (local.get 0) (local.get 2) (local.get 4) (local.get 1) (local.get 1)
    (local.get 5) (local.get 3) (local.get 0) (local.get 4) (local.get 6)))
(func $sum (param $x eqref) (param $deep i32) (result i64)
  (local $s i64) (local $n (ref null $node)) (local $b (ref null $big)) (local $h (ref null $huge))
  (local $a (ref null $arr))
  (if (ref.is_null (local.get $x)) (then (return (i64.const 1))))
  (if (i32.eqz (local.get $deep)) (then (return (i64.const 2))))
  (local.set $deep (i32.sub (local.get $deep) (i32.const 1)))
  (if (ref.test (ref i31) (local.get $x)) (then
    (return (i64.add (i64.const 3)
      (i64.extend_i32_s (i31.get_s (ref.cast (ref i31) (local.get $x))))))))
  (if (ref.test (ref $arr) (local.get $x)) (then
    (local.set $a (ref.cast (ref $arr) (local.get $x)))
    (return (call $mix (i64.const 4)
      (call $mix (call $sum (array.get $arr (local.get $a) (i32.const 0)) (local.get $deep))
      (call $mix (call $sum (array.get $arr (local.get $a) (i32.const 1)) (local.get $deep))
      (call $mix (call $sum (array.get $arr (local.get $a) (i32.const 2)) (local.get $deep))
        (call $sum (array.get $arr (local.get $a) (i32.const 3)) (local.get $deep)))))))))
  (local.set $n (ref.cast (ref $node) (local.get $x)))
  (local.set $s (call $mix (i64.extend_i32_s (struct.get $node 0 (local.get $n)))
    (call $mix (call $sum (struct.get $node 1 (local.get $n)) (local.get $deep))
      (call $sum (struct.get $node 2 (local.get $n)) (local.get $deep)))))
  (if (i32.eqz (ref.test (ref $big) (local.get $x))) (then (return (local.get $s))))
  (local.set $b (ref.cast (ref $big) (local.get $x)))
  (local.set $s (call $mix (local.get $s) (call $mix (struct.get $big 3 (local.get $b))
    (call $mix (i64.extend_i32_s (struct.get_s $big 4 (local.get $b)))
      (call $mix (i64.extend_i32_u (struct.get_u $big 5 (local.get $b)))
        (i64.reinterpret_f64 (struct.get $big 6 (local.get $b))))))))
  (if (i32.eqz (ref.test (ref null $huge) (local.get $x))) (then (return (local.get $s))))
  (local.set $h (ref.cast (ref null $huge) (local.get $x)))
  (call $mix (local.get $s)
    (call $mix (call $sum (struct.get $huge 7 (local.get $h)) (local.get $deep))
      (call $mix (call $sum (struct.get $huge 8 (local.get $h)) (local.get $deep))
        (call $mix (struct.get $huge 9 (local.get $h))
          (call $sum (struct.get $huge 10 (local.get $h)) (local.get $deep)))))))
(func $mix (param i64 i64) (result i64)
  (i64.add (i64.mul (local.get 0) (i64.const 31)) (local.get 1)))
(func (export "run") (param i32) (result i64)
  (local $n (ref null $node))
  (local.set $n (call $f0 (struct.new $node (local.get 0) (ref.null $node) (ref.i31 (i32.const -5)))
    (local.get 0)))
  (call $mix (call $sum (local.get $n) (i32.const 4))
    (call $mix (call $sum (global.get $gn) (i32.const 4))
      (call $mix (call $sum (global.get $ge) (i32.const 4))
        (call $mix (call $sum (global.get $ga) (i32.const 4))
          (call $mix (call $sum (table.get $t (i32.const 0)) (i32.const 4))
            (call $mix (call $sum (table.get $t (i32.const 1)) (i32.const 4))
              (call $mix (call $sum (table.get $t (i32.const 2)) (i32.const 4))
                (call $sum (table.get $t (i32.const 3)) (i32.const 4))))))))))
"#;

/// The module of a program.
pub fn module(funcs: &[Func]) -> String {
    let mut out = format!("(module {PRELUDE}");
    let names: String = (0..funcs.len()).map(|i| format!(" $f{i}")).collect();
    let _ = writeln!(out, "(table $funcs funcref (elem{names}))");
    for (i, func) in funcs.iter().enumerate() {
        let _ = write!(out, "(func $f{i} (type {})", func.sig.name());
        for ty in &func.locals[func.sig.params().len()..] {
            let _ = write!(out, " (local {})", ty.text());
        }
        out.push('\n');
        body(&mut out, &func.body);
        if func.sig == Sig::Pair {
            out.push_str(" (i32.const 77)");
        }
        out.push_str(")\n");
    }
    out.push(')');
    out
}

fn body(out: &mut String, body: &Body) {
    stmts(out, &body.stmts);
    expr(out, &body.value);
}

fn stmts(out: &mut String, list: &[Stmt]) {
    for one in list {
        stmt(out, one);
        out.push('\n');
    }
}

/// `(what a b c)`
fn node(out: &mut String, what: &str, operands: &[&Expr]) {
    let _ = write!(out, "({what}");
    for operand in operands {
        out.push(' ');
        expr(out, operand);
    }
    out.push(')');
}

fn call(out: &mut String, how: How, sig: Sig, func: usize, args: &[Expr], tail: bool) {
    let tail = if tail { "return_" } else { "" };
    let name = sig.name();
    let what = match how {
        How::Direct => format!("{tail}call $f{func}"),
        How::Table => format!("{tail}call_indirect $funcs (type {name})"),
        How::Boxed => format!("{tail}call_ref {name}"),
    };
    let _ = write!(out, "({what}");
    for arg in args {
        out.push(' ');
        expr(out, arg);
    }
    let (_, short) = name.split_at(1);
    let _ = match how {
        How::Direct => Ok(()),
        How::Table => write!(out, " (i32.const {func})"),
        How::Boxed => write!(
            out,
            " (struct.get $box{short} 1 (struct.new $box{short} (i64.const {func}) (ref.func $f{func})))"
        ),
    };
    out.push(')');
}

fn expr(out: &mut String, e: &Expr) {
    let o = out;
    match e {
        Expr::Const(ty, bits) => {
            let _ = match ty {
                Ty::I32 => write!(o, "(i32.const {})", *bits as i32),
                Ty::I64 => write!(o, "(i64.const {})", *bits as i64),
                Ty::F64 => write!(o, "(f64.const {})", f64::from_bits(*bits)),
                Ty::Node => write!(o, "(ref.null {})", if *bits == 0 { "$node" } else { "none" }),
                Ty::Eq => write!(o, "(ref.null eq)"),
                Ty::Arr => write!(o, "(array.new_default $arr (i32.const 4))"),
            };
        }
        Expr::Local(i) => {
            let _ = write!(o, "(local.get {i})");
        }
        Expr::Tee(i, a) => node(o, &format!("local.tee {i}"), &[a]),
        Expr::Global(ty) => {
            let name = match ty {
                Ty::Node => "$gn",
                Ty::Arr => "$ga",
                _ => "$ge",
            };
            let _ = write!(o, "(global.get {name})");
        }
        Expr::Table(i) => {
            let _ = write!(o, "(table.get $t (i32.const {i}))");
        }
        Expr::Mix(ty, a, b) => {
            let what = match ty {
                Ty::I32 => "i32.sub",
                Ty::I64 => "i64.xor",
                _ => "f64.add",
            };
            node(o, what, &[a, b]);
        }
        Expr::IsNull(a) => node(o, "ref.is_null", &[a]),
        Expr::Eqz(a) => node(o, "i32.eqz", &[a]),
        Expr::Same(a, b) => node(o, "ref.eq", &[a, b]),
        Expr::Test(target, nullable, a) => {
            let null = if *nullable { "null " } else { "" };
            node(o, &format!("ref.test (ref {null}{})", target.text()), &[a]);
        }
        Expr::New(class, fields) => {
            let fields: Vec<&Expr> = fields.iter().collect();
            node(o, &format!("struct.new {}", class.name()), &fields);
        }
        Expr::NewDefault(class) => node(o, &format!("struct.new_default {}", class.name()), &[]),
        Expr::Fixed(items) => {
            let items: Vec<&Expr> = items.iter().collect();
            node(o, "array.new_fixed $arr 4", &items);
        }
        Expr::Filled(a) => node(o, "array.new $arr", &[a, &Expr::Const(Ty::I32, 4)]),
        Expr::Empty => node(o, "array.new_default $arr", &[&Expr::Const(Ty::I32, 4)]),
        Expr::Get(class, field, a) => {
            let what = match field {
                4 => "struct.get_s",
                5 => "struct.get_u",
                _ => "struct.get",
            };
            node(o, &format!("{what} {} {field}", class.name()), &[a]);
        }
        Expr::Element(a, i) => {
            o.push_str("(array.get $arr ");
            expr(o, a);
            node(o, " i32.and", &[i, &Expr::Const(Ty::I32, 3)]);
            o.push(')');
        }
        Expr::Len(a) => node(o, "array.len", &[a]),
        Expr::I31(a) => node(o, "ref.i31", &[a]),
        Expr::I31Or(signed, a, b) => {
            let s = if *signed { "s" } else { "u" };
            let _ =
                write!(o, "(block $o (result i32) (block $n (result eqref) (br $o (i31.get_{s} ");
            node(o, "br_on_cast_fail $n eqref (ref i31)", &[a]);
            o.push_str("))) (drop) ");
            expr(o, b);
            o.push(')');
        }
        Expr::OrElse(a, b) => {
            o.push_str("(block $o (result (ref $node)) ");
            node(o, "br_on_non_null $o", &[a]);
            expr(o, b);
            o.push(')');
        }
        Expr::CastOr(fail, class, a, b) => {
            let to = format!("(ref null {})", class.name());
            let _ = write!(o, "(block $o (result (ref null $node)) ");
            if *fail {
                o.push_str("(block $n (result eqref) (br $o ");
                node(o, &format!("br_on_cast_fail $n eqref {to}"), &[a]);
                o.push_str(")) (drop) ");
            } else {
                o.push_str("(drop ");
                node(o, &format!("br_on_cast $o eqref {to}"), &[a]);
                o.push_str(") ");
            }
            expr(o, b);
            o.push(')');
        }
        Expr::Cast(class, a) => node(o, &format!("ref.cast (ref null {})", class.name()), &[a]),
        Expr::Convert(a) => {
            o.push_str("(ref.cast (ref null $node) (any.convert_extern ");
            node(o, "extern.convert_any", &[a]);
            o.push_str("))");
        }
        Expr::Select(ty, a, b, c) => {
            node(o, &format!("select (result {})", ty.text()), &[a, b, c]);
        }
        Expr::If(ty, c, then, other) => {
            let _ = write!(o, "(if (result {}) ", ty.text());
            expr(o, c);
            o.push_str(" (then ");
            body(o, then);
            o.push_str(") (else ");
            body(o, other);
            o.push_str("))");
        }
        Expr::Block(ty, label, inner) => {
            let _ = write!(o, "(block $b{label} (result {}) ", ty.text());
            body(o, inner);
            o.push(')');
        }
        Expr::BrIf(label, value, cond) => node(o, &format!("br_if $b{label}"), &[value, cond]),
        Expr::Switch(ty, label, value, index, others) => {
            let (l, t) = (label, ty.text());
            let _ = write!(
                o,
                "(block $b{l} (result {t}) (block $x{l} (result {t}) (block $y{l} (result {t}) "
            );
            node(o, &format!("br_table $y{l} $x{l} $b{l}"), &[value, index]);
            for other in others {
                o.push_str(") (drop) ");
                node(o, &format!("br $b{l}"), &[other]);
            }
            o.push(')');
        }
        Expr::Wide(label, values, cond, other) => {
            let _ = write!(o, "(call $pack (block $b{label} (result");
            for ty in WIDE {
                let _ = write!(o, " {}", ty.text());
            }
            o.push(')');
            for value in values {
                expr(o, value);
            }
            node(o, &format!(" br_if $b{label}"), &[cond]);
            o.push_str(" (drop) ");
            expr(o, other);
            o.push_str("))");
        }
        Expr::Loop(label, held, counter, count, start, next) => {
            let n = Ty::Node.text();
            expr(o, start);
            let _ = write!(o, "(i32.const {count}) (loop $b{label} (param {n} i32) (result {n})");
            let _ = write!(o, "(local.set {counter}) (local.set {held}) ");
            expr(o, next);
            let _ = write!(
                o,
                "(i32.sub (local.get {counter}) (i32.const 1))
                 (br_if $b{label} (i32.gt_s (local.get {counter}) (i32.const 1))) (drop))"
            );
        }
        Expr::Call(how, sig, func, args) => {
            if *sig == Sig::Pair {
                o.push_str("(call $fold ");
            }
            call(o, *how, *sig, *func, args, false);
            if *sig == Sig::Pair {
                o.push(')');
            }
        }
        Expr::Pass(a, i, b) => {
            o.push_str("(ref.cast (ref null $node) ");
            node(o, "call $pass", &[a, i, b]);
            o.push(')');
        }
        Expr::Busy(a, i) => node(o, "call $busy", &[a, i]),
        Expr::Make(i) => node(o, "call $make", &[i]),
    }
}

/// What goes through the end of [`Expr::Wide`].
pub const WIDE: [Ty; 7] = [Ty::Node, Ty::I32, Ty::Eq, Ty::Node, Ty::I64, Ty::F64, Ty::Node];

fn stmt(o: &mut String, s: &Stmt) {
    match s {
        Stmt::Set(i, e) => node(o, &format!("local.set {i}"), &[e]),
        Stmt::SetField(class, field, a, e) => {
            node(o, &format!("struct.set {} {field}", class.name()), &[a, e]);
        }
        Stmt::SetGlobal(ty, e) => {
            let name = match ty {
                Ty::Node => "$gn",
                Ty::Arr => "$ga",
                _ => "$ge",
            };
            node(o, &format!("global.set {name}"), &[e]);
        }
        Stmt::SetTable(i, e) => {
            node(o, "table.set $t", &[&Expr::Const(Ty::I32, u64::from(*i)), e]);
        }
        Stmt::SetElement(a, i, e) => {
            o.push_str("(array.set $arr ");
            expr(o, a);
            node(o, " i32.and", &[i, &Expr::Const(Ty::I32, 3)]);
            expr(o, e);
            o.push(')');
        }
        Stmt::Fill(a, from, e) => {
            let number = |n| Expr::Const(Ty::I32, n);
            node(o, "array.fill $arr", &[a, &number(u64::from(*from)), e, &number(2)]);
        }
        Stmt::Copy(a, to, b, from) => {
            let number = |n: &u32| Expr::Const(Ty::I32, u64::from(*n));
            node(o, "array.copy $arr $arr", &[a, &number(to), b, &number(from), &number(&3)]);
        }
        Stmt::Drop(e) => node(o, "drop", &[e]),
        Stmt::If(c, then, other) => {
            o.push_str("(if ");
            expr(o, c);
            o.push_str(" (then ");
            stmts(o, then);
            o.push_str(") (else ");
            stmts(o, other);
            o.push_str("))");
        }
        Stmt::TailCall(how, func, args) => call(o, *how, Sig::Small, *func, args, true),
        Stmt::ReturnIfNull(e) => {
            o.push_str("(if (ref.is_null ");
            expr(o, e);
            o.push_str(") (then (return (global.get $gn))))");
        }
    }
}
