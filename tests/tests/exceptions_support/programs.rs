//! Random programs that throw and catch, with what their trees mean, run on engines of any kind.

use std::fmt::Write;

use palisade::{Caller, Engine, ExternRef, Linker, Val};
use palisade_tests::link;

use crate::hostile_support::{Rng, invoke, store};

/// Parameters of the tags: `i` is an i32, `l` an i64, `d` an f64, `r` a reference.
const TAGS: [&str; 5] = ["i", "", "lil", "didl", "rir"];
const FUNCS: usize = 4;
/// i32 locals that expressions use; the first two are the parameters.
const LOCALS: usize = 4;

#[derive(Clone, Debug)]
enum Expr {
    Const(i32),
    Local(usize),
    /// Sets a local and is its value.
    Tee(usize, Box<Expr>),
    /// Adds, subtracts, multiplies, xors.
    Binary(u8, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Mixes a value into the global, then goes on.
    Mix(Box<Expr>, Box<Expr>),
    /// Throws if a condition holds, else goes on.
    Throw {
        cond: Box<Expr>,
        tag: usize,
        values: Vec<Expr>,
        then: Box<Expr>,
    },
    Call(usize, Box<Expr>, Box<Expr>),
    /// Four values at once, of all types; gives their sum.
    Wide(Box<Expr>, Box<Expr>),
    Try(Box<Expr>, Vec<Clause>),
}

#[derive(Clone, Debug)]
struct Clause {
    /// `None`: catches all.
    tag: Option<usize>,
    by_ref: bool,
    then: Then,
}

#[derive(Clone, Debug)]
enum Then {
    /// The (only) value is the result, by a label that is that of the `try_table` itself.
    Result,
    /// The values, added up, go to a local, then comes an expression.
    Goes(usize, Box<Expr>),
    /// The same, but throws again if the sum is odd. Only with `by_ref`.
    Again(usize, Box<Expr>),
}

fn expr(rng: &mut Rng, func: usize, size: &mut u32, depth: u32) -> Expr {
    *size = size.saturating_sub(1);
    if depth == 0 || *size == 0 {
        return if rng.chance(50) {
            Expr::Const(rng.below(10) as i32)
        } else {
            Expr::Local(rng.below(LOCALS as u64) as usize)
        };
    }
    let local = rng.below(LOCALS as u64) as usize;
    let tag = rng.below(TAGS.len() as u64) as usize;
    let kind = rng.below(100);
    let mut sub = || Box::new(expr(rng, func, size, depth - 1));
    match kind {
        0..5 => Expr::Const(7),
        5..15 => Expr::Local(local),
        15..25 => Expr::Tee(local, sub()),
        25..40 => Expr::Binary(tag as u8 % 4, sub(), sub()),
        40..46 => Expr::If(sub(), sub(), sub()),
        46..52 => Expr::Mix(sub(), sub()),
        52..68 => {
            let values = TAGS[tag].chars().map(|_| *sub()).collect();
            Expr::Throw { cond: sub(), tag, values, then: sub() }
        }
        68..76 if func + 1 < FUNCS => {
            let (a, b) = (sub(), sub());
            Expr::Call(func + 1 + rng.below((FUNCS - func - 1) as u64) as usize, a, b)
        }
        76..80 => Expr::Wide(sub(), sub()),
        _ => {
            let body = sub();
            let clauses = (0..rng.below(4)).map(|_| clause(rng, func, size, depth - 1)).collect();
            Expr::Try(body, clauses)
        }
    }
}

fn clause(rng: &mut Rng, func: usize, size: &mut u32, depth: u32) -> Clause {
    let tag = (!rng.chance(25)).then(|| rng.below(TAGS.len() as u64) as usize);
    let by_ref = rng.chance(40);
    if tag == Some(0) && !by_ref && rng.chance(50) {
        return Clause { tag, by_ref, then: Then::Result };
    }
    let local = rng.below(LOCALS as u64) as usize;
    let then = Box::new(expr(rng, func, size, depth));
    let then =
        if by_ref && rng.chance(50) { Then::Again(local, then) } else { Then::Goes(local, then) };
    Clause { tag, by_ref, then }
}

// ---- as text ----

fn types(tag: usize) -> String {
    let name = |c| match c {
        'i' => "i32 ",
        'l' => "i64 ",
        'd' => "f64 ",
        _ => "externref ",
    };
    TAGS[tag].chars().map(name).collect()
}

#[derive(Default)]
struct Printer {
    out: String,
    labels: u32,
}

impl Printer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(x) => self.text(&format!("i32.const {x}")),
            Expr::Local(x) => self.text(&format!("local.get {x}")),
            Expr::Tee(x, e) => {
                self.expr(e);
                self.text(&format!("local.tee {x}"));
            }
            Expr::Binary(op, a, b) => {
                self.expr(a);
                self.expr(b);
                self.text(["i32.add", "i32.sub", "i32.mul", "i32.xor"][*op as usize]);
            }
            Expr::If(c, a, b) => {
                self.expr(c);
                self.text("if (result i32)");
                self.expr(a);
                self.text("else");
                self.expr(b);
                self.text("end");
            }
            Expr::Mix(a, b) => {
                self.expr(a);
                self.text("call $mix");
                self.expr(b);
            }
            Expr::Throw { cond, tag, values, then } => {
                self.expr(cond);
                self.text("if");
                for (value, kind) in values.iter().zip(TAGS[*tag].chars()) {
                    self.expr(value);
                    match kind {
                        'i' => {}
                        'l' => self.text("i64.extend_i32_s"),
                        'd' => self.text("f64.convert_i32_s"),
                        _ => self.text("call $as_ref"),
                    }
                }
                self.text(&format!("throw $t{tag}"));
                self.text("end");
                self.expr(then);
            }
            Expr::Call(f, a, b) => {
                self.expr(a);
                self.expr(b);
                self.text(&format!("call $f{f}"));
            }
            Expr::Wide(a, b) => {
                self.expr(a);
                self.text("i64.extend_i32_s");
                self.expr(b);
                self.text("f64.convert_i32_s local.set $d i32.wrap_i64");
                self.text("local.get $d i32.trunc_sat_f64_s i32.add");
            }
            Expr::Try(body, clauses) => self.try_table(body, clauses),
        }
    }

    fn try_table(&mut self, body: &Expr, clauses: &[Clause]) {
        let first = self.labels;
        self.labels += clauses.len() as u32 + 1;
        let end = first + clauses.len() as u32;
        self.text(&format!("block $l{end} (result i32)"));
        // A block for each clause that has something to do, the first one innermost.
        for (label, clause) in (first..end).zip(clauses).rev() {
            if !matches!(clause.then, Then::Result) {
                let types = clause.tag.map(types).unwrap_or_default();
                let exn = if clause.by_ref { "exnref" } else { "" };
                self.text(&format!("block $l{label} (result {types}{exn})"));
            }
        }
        let mut head = String::from("try_table (result i32)");
        for (label, clause) in (first..).zip(clauses) {
            let label = if matches!(clause.then, Then::Result) { end } else { label };
            let by_ref = if clause.by_ref { "_ref" } else { "" };
            let _ = match clause.tag {
                Some(tag) => write!(head, " (catch{by_ref} $t{tag} $l{label})"),
                None => write!(head, " (catch_all{by_ref} $l{label})"),
            };
        }
        self.text(&head);
        self.expr(body);
        self.text("end");
        self.text(&format!("br $l{end}"));
        for clause in clauses {
            let (local, then) = match &clause.then {
                Then::Result => continue,
                Then::Goes(local, then) | Then::Again(local, then) => (local, then),
            };
            self.text("end");
            if clause.by_ref {
                self.text("local.set $e");
            }
            self.text("i32.const 0 local.set $n");
            for kind in clause.tag.map_or("", |tag| TAGS[tag]).chars().rev() {
                self.text(match kind {
                    'i' => "",
                    'l' => "i32.wrap_i64",
                    'd' => "i32.trunc_sat_f64_s",
                    _ => "call $of_ref",
                });
                self.text("local.get $n i32.const 31 i32.mul i32.add local.set $n");
            }
            self.text(&format!("local.get $n local.set {local}"));
            if matches!(clause.then, Then::Again(..)) {
                self.text("local.get $n i32.const 1 i32.and if local.get $e throw_ref end");
            }
            self.expr(then);
            self.text(&format!("br $l{end}"));
        }
        // The last branch stands before an end that is not reached.
        self.text("end");
    }
}

fn module(funcs: &[Expr]) -> String {
    let mut printer = Printer::default();
    let tags: String =
        (0..TAGS.len()).map(|i| format!("(tag $t{i} (param {}))\n", types(i))).collect();
    for (i, body) in funcs.iter().enumerate() {
        printer.text(&format!(
            "(func $f{i} (export \"f{i}\") (param i32 i32) (result i32)
               (local i32 i32) (local $n i32) (local $d f64) (local $e exnref)"
        ));
        printer.expr(body);
        printer.text(")");
    }
    format!(
        "(module
           (func $as_ref (import \"host\" \"as_ref\") (param i32) (result externref))
           (func $of_ref (import \"host\" \"of_ref\") (param externref) (result i32))
           {tags}
           (global $g (export \"g\") (mut i32) (i32.const 0))
           (func $mix (param i32)
             (global.set $g (i32.add (i32.mul (global.get $g) (i32.const 33)) (local.get 0))))
           {}
           ;; What nobody caught is a number, too.
           (func (export \"run\") (param i32 i32) (result i32)
             (block $h
               (try_table (catch_all $h) (return (call $f0 (local.get 0) (local.get 1)))))
             (i32.const -77)))",
        printer.out
    )
}

// ---- by its meaning ----

struct Exception {
    tag: usize,
    values: Vec<i32>,
}

enum Stop {
    Thrown(Exception),
    TooLong,
}

struct Meaning<'p> {
    funcs: &'p [Expr],
    global: i32,
    steps: u32,
    thrown: u32,
    caught: u32,
}

impl Meaning<'_> {
    fn eval(&mut self, expr: &Expr, locals: &mut [i32; LOCALS]) -> Result<i32, Stop> {
        self.steps += 1;
        if self.steps > 20_000 {
            return Err(Stop::TooLong);
        }
        Ok(match expr {
            Expr::Const(x) => *x,
            Expr::Local(x) => locals[*x],
            Expr::Tee(x, e) => {
                locals[*x] = self.eval(e, locals)?;
                locals[*x]
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.eval(a, locals)?, self.eval(b, locals)?);
                match op {
                    0 => a.wrapping_add(b),
                    1 => a.wrapping_sub(b),
                    2 => a.wrapping_mul(b),
                    _ => a ^ b,
                }
            }
            Expr::If(c, a, b) => {
                let chosen = if self.eval(c, locals)? != 0 { a } else { b };
                self.eval(chosen, locals)?
            }
            Expr::Mix(a, b) => {
                let a = self.eval(a, locals)?;
                self.global = self.global.wrapping_mul(33).wrapping_add(a);
                self.eval(b, locals)?
            }
            Expr::Throw { cond, tag, values, then } => {
                if self.eval(cond, locals)? != 0 {
                    let values = values.iter().map(|value| self.eval(value, locals));
                    let values = values.collect::<Result<_, _>>()?;
                    self.thrown += 1;
                    return Err(Stop::Thrown(Exception { tag: *tag, values }));
                }
                self.eval(then, locals)?
            }
            Expr::Call(f, a, b) => {
                let (a, b) = (self.eval(a, locals)?, self.eval(b, locals)?);
                let mut locals = [a, b, 0, 0];
                self.eval(&self.funcs[*f], &mut locals)?
            }
            Expr::Wide(a, b) => self.eval(a, locals)?.wrapping_add(self.eval(b, locals)?),
            Expr::Try(body, clauses) => match self.eval(body, locals) {
                Err(Stop::Thrown(exception)) => self.handle(exception, clauses, locals)?,
                other => other?,
            },
        })
    }

    fn handle(
        &mut self,
        exception: Exception,
        clauses: &[Clause],
        locals: &mut [i32; LOCALS],
    ) -> Result<i32, Stop> {
        let fits = |clause: &&Clause| clause.tag.is_none_or(|tag| tag == exception.tag);
        let Some(clause) = clauses.iter().find(fits) else {
            return Err(Stop::Thrown(exception));
        };
        self.caught += 1;
        let values = if clause.tag.is_some() { &*exception.values } else { &[] };
        let add = |sum: i32, value: &i32| sum.wrapping_mul(31).wrapping_add(*value);
        let sum = values.iter().rev().fold(0, add);
        match &clause.then {
            Then::Result => Ok(values[0]),
            Then::Goes(local, then) => {
                locals[*local] = sum;
                self.eval(then, locals)
            }
            Then::Again(local, then) => {
                locals[*local] = sum;
                if sum & 1 == 1 {
                    return Err(Stop::Thrown(exception));
                }
                self.eval(then, locals)
            }
        }
    }
}

/// Runs programs of a seed on engines.
pub fn agree(engines: &[Engine], seed: u64, programs: u32) {
    let mut rng = Rng::new(seed);
    let (mut compared, mut thrown, mut caught) = (0, 0, 0);
    for number in 0..programs {
        let funcs: Vec<Expr> = (0..FUNCS)
            .map(|func| {
                let mut size = 200;
                expr(&mut rng, func, &mut size, 9)
            })
            .collect();
        let arguments: [[i32; 2]; 3] = [[0, 1], [5, -3], [rng.next() as i32, rng.next() as i32]];
        let expected = arguments.map(|[a, b]| {
            let mut meaning = Meaning { funcs: &funcs, global: 0, steps: 0, thrown: 0, caught: 0 };
            let result = match meaning.eval(&funcs[0], &mut [a, b, 0, 0]) {
                Ok(result) => Some(result),
                Err(Stop::Thrown(_)) => Some(-77),
                Err(Stop::TooLong) => None,
            };
            thrown += meaning.thrown;
            caught += meaning.caught;
            result.map(|result| (result, meaning.global))
        });
        let text = module(&funcs);
        for engine in engines {
            let mut store = store(engine);
            let instance = link(&linker(engine), &mut store, &text);
            for ([a, b], expected) in arguments.iter().zip(&expected) {
                let Some((result, global)) = expected else { continue };
                let g = instance.get_global(&store, "g").expect("a global");
                g.set(&mut store, Val::I32(0)).expect("it is mutable");
                let found = invoke(&mut store, instance, "run", &[Val::I32(*a), Val::I32(*b)]);
                let mixed = g.get(&mut store).expect("its value").i32();
                assert_eq!(
                    (found, mixed),
                    (Ok(vec![u64::from(*result as u32)]), Some(*global)),
                    "seed {seed}, program {number}, arguments {a} {b}:\n{text}"
                );
                compared += 1;
            }
        }
    }
    println!("{compared} calls compared; {thrown} exceptions thrown, {caught} caught");
    assert!(compared > programs && caught > programs && thrown > caught / 2);
}

/// Two host functions: from a number to a reference and back.
fn linker(engine: &Engine) -> Linker<()> {
    let as_ref = |mut caller: Caller<'_, ()>, x: i32| ExternRef::new(&mut caller, x).map(Some);
    let of_ref = |caller: Caller<'_, ()>, x: Option<ExternRef>| {
        let value = x.and_then(|x| x.data(&caller).ok()??.downcast_ref::<i32>().copied());
        value.unwrap_or(i32::MIN)
    };
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "as_ref", as_ref).expect("defined");
    linker.func_wrap("host", "of_ref", of_ref).expect("defined");
    linker
}
