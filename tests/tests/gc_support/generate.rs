//! Makes random programs on objects.

use super::ast::{Body, Class, Expr, Func, How, Sig, Stmt, Sub, Target, Ty, WIDE};
use crate::hostile_support::Rng;

const CLASSES: [Class; 3] = [Class::Node, Class::Big, Class::Huge];
const TARGETS: [Target; 8] = [
    Target::Class(Class::Node),
    Target::Class(Class::Big),
    Target::Class(Class::Huge),
    Target::Arr,
    Target::I31,
    Target::Struct,
    Target::Eq,
    Target::None,
];
const SIGS: [Sig; 3] = [Sig::Small, Sig::Mixed, Sig::Pair];

/// The functions of a program; the first is called from outside.
pub fn program(rng: &mut Rng) -> Vec<Func> {
    let count = 2 + rng.below(3) as usize;
    let mut sigs = vec![Sig::Small];
    sigs.extend((1..count).map(|_| *rng.pick(&SIGS)));
    (0..count).map(|index| Generator::new(rng, &sigs, index).func()).collect()
}

struct Generator<'r> {
    rng: &'r mut Rng,
    sigs: &'r [Sig],
    index: usize,
    locals: Vec<Ty>,
    /// Labels of blocks that are open here, with the type of the value.
    open: Vec<(u32, Ty)>,
    labels: u32,
    /// How many calls and loops may still be made: a program must not run for ever.
    calls: u32,
    /// Locals that nothing but their loop may set.
    fixed: Vec<usize>,
}

impl<'r> Generator<'r> {
    fn new(rng: &'r mut Rng, sigs: &'r [Sig], index: usize) -> Self {
        let mut locals = sigs[index].params().to_vec();
        for _ in 0..3 + rng.below(5) {
            locals.push(*rng.pick(&[
                Ty::Node,
                Ty::Node,
                Ty::Eq,
                Ty::Arr,
                Ty::I32,
                Ty::I64,
                Ty::F64,
            ]));
        }
        let calls = 3;
        Self { rng, sigs, index, locals, open: Vec::new(), labels: 0, calls, fixed: Vec::new() }
    }

    fn func(mut self) -> Func {
        let params = self.sigs[self.index].params().len();
        // Arrays are never null.
        let mut stmts: Vec<Stmt> = (params..self.locals.len())
            .filter(|&i| self.locals[i] == Ty::Arr)
            .map(|i| Stmt::Set(i, Expr::Empty))
            .collect();
        stmts.extend(self.stmts(3));
        let value = self.expr(Ty::Node, 4);
        let body = Body { stmts, value };
        Func { sig: self.sigs[self.index], locals: self.locals, body }
    }

    fn stmts(&mut self, depth: u32) -> Vec<Stmt> {
        let count = 1 + self.rng.below(if depth > 2 { 6 } else { 3 });
        (0..count).map(|_| self.stmt(depth)).collect()
    }

    fn stmt(&mut self, depth: u32) -> Stmt {
        match self.rng.below(20) {
            0..=6 => match self.settable() {
                Some((local, ty)) => Stmt::Set(local, self.expr(ty, depth + 1)),
                None => Stmt::Drop(self.expr(Ty::Node, depth)),
            },
            7..=9 => {
                let class = *self.rng.pick(&CLASSES);
                let fields = class.fields();
                let field = 1 + self.rng.below(fields.len() as u64 - 1) as usize;
                let object = self.exactly(class, depth);
                Stmt::SetField(class, field, object, self.expr(fields[field], depth))
            }
            10 | 11 => {
                let ty = *self.rng.pick(&[Ty::Node, Ty::Eq, Ty::Arr]);
                Stmt::SetGlobal(ty, self.expr(ty, depth))
            }
            12 => Stmt::SetTable(self.rng.below(4) as u32, self.expr(Ty::Node, depth)),
            13 => Stmt::SetElement(
                self.expr(Ty::Arr, depth),
                self.expr(Ty::I32, 1),
                self.expr(Ty::Node, depth),
            ),
            14 => {
                let array = self.expr(Ty::Arr, depth);
                let from = self.rng.below(3) as u32;
                Stmt::Fill(array, from, self.expr(Ty::Node, depth))
            }
            15 => {
                let array = self.expr(Ty::Arr, depth);
                let (to, from) = (self.rng.below(2) as u32, self.rng.below(2) as u32);
                Stmt::Copy(array, to, self.expr(Ty::Arr, depth), from)
            }
            16 if depth > 0 => {
                let cond = self.expr(Ty::I32, 2);
                Stmt::If(cond, self.stmts(depth - 1), self.stmts(depth - 1))
            }
            17 if self.rng.chance(30) && self.sigs[self.index] != Sig::Pair => {
                let callee = self.later().filter(|&callee| self.sigs[callee] == Sig::Small);
                let Some(callee) = callee else { return Stmt::Drop(self.expr(Ty::Eq, depth)) };
                let args = self.args(Sig::Small, depth);
                // Something has to come after it in the text, which is not reached.
                let cond = self.expr(Ty::I32, 1);
                Stmt::If(cond, vec![Stmt::TailCall(self.how(), callee, args)], Vec::new())
            }
            18 if self.rng.chance(20) && self.sigs[self.index] != Sig::Pair => {
                Stmt::ReturnIfNull(self.expr(Ty::Node, 1))
            }
            _ => {
                let ty = *self.rng.pick(&[Ty::Node, Ty::Eq, Ty::Arr, Ty::I32]);
                Stmt::Drop(self.expr(ty, depth))
            }
        }
    }

    fn settable(&mut self) -> Option<(usize, Ty)> {
        let local = self.rng.below(self.locals.len() as u64) as usize;
        (!self.fixed.contains(&local)).then(|| (local, self.locals[local]))
    }

    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    fn later(&mut self) -> Option<usize> {
        let left = self.sigs.len() - self.index - 1;
        if left == 0 || self.calls == 0 {
            return None;
        }
        self.calls -= 1;
        Some(self.index + 1 + self.rng.below(left as u64) as usize)
    }

    fn how(&mut self) -> How {
        *self.rng.pick(&[How::Direct, How::Direct, How::Table, How::Boxed])
    }

    fn args(&mut self, sig: Sig, depth: u32) -> Vec<Expr> {
        sig.params().iter().map(|&ty| self.expr(ty, depth.saturating_sub(1))).collect()
    }

    fn sub(&mut self, ty: Ty, depth: u32) -> Sub {
        Box::new(self.expr(ty, depth.saturating_sub(1)))
    }

    /// A new object of exactly a class.
    fn exactly(&mut self, class: Class, depth: u32) -> Expr {
        if depth == 0 || self.rng.chance(15) {
            return Expr::NewDefault(class);
        }
        if class == Class::Node && self.rng.chance(40) {
            return Expr::OrElse(
                self.sub(Ty::Node, depth),
                Box::new(self.exactly(class, depth - 1)),
            );
        }
        let fields = class.fields();
        let depth = if fields.len() > 7 { 1 } else { depth - 1 };
        Expr::New(class, fields.iter().map(|&ty| self.expr(ty, depth)).collect())
    }

    fn leaf(&mut self, ty: Ty) -> Expr {
        let fitting: Vec<usize> =
            (0..self.locals.len()).filter(|&i| self.locals[i] == ty).collect();
        if !fitting.is_empty() && self.rng.chance(70) {
            return Expr::Local(*self.rng.pick(&fitting));
        }
        match ty {
            Ty::I32 => Expr::Const(ty, self.rng.below(9)),
            Ty::I64 => Expr::Const(ty, self.rng.next()),
            Ty::F64 => Expr::Const(ty, (self.rng.below(100) as f64 / 4.0).to_bits()),
            Ty::Node if self.rng.chance(30) => Expr::Const(ty, self.rng.below(2)),
            Ty::Node if self.rng.chance(30) => Expr::Table(self.rng.below(4) as u32),
            Ty::Eq if self.rng.chance(30) => Expr::Const(ty, 0),
            _ => Expr::Global(ty),
        }
    }

    /// An expression of a type.
    fn expr(&mut self, ty: Ty, depth: u32) -> Expr {
        if depth == 0 || self.rng.chance(12) {
            return self.leaf(ty);
        }
        match self.rng.below(11) {
            0 => {
                let (a, b) = (self.sub(ty, depth), self.sub(ty, depth));
                Expr::Select(ty, a, b, self.sub(Ty::I32, depth))
            }
            1 => {
                let cond = self.sub(Ty::I32, depth);
                let (then, other) = (self.body(ty, depth), self.body(ty, depth));
                Expr::If(ty, cond, then, other)
            }
            2 => {
                let label = self.label();
                self.open.push((label, ty));
                let body = self.body(ty, depth);
                self.open.pop();
                Expr::Block(ty, label, body)
            }
            3 | 4 => {
                let fitting: Vec<u32> =
                    self.open.iter().filter(|open| open.1 == ty).map(|open| open.0).collect();
                if fitting.is_empty() {
                    return self.of_type(ty, depth);
                }
                let value = self.sub(ty, depth);
                Expr::BrIf(*self.rng.pick(&fitting), value, self.sub(Ty::I32, depth))
            }
            5 => {
                let value = self.sub(ty, depth);
                let index = self.sub(Ty::I32, 2);
                let label = self.label();
                let others = [self.sub(ty, depth), self.sub(ty, depth)];
                Expr::Switch(ty, label, value, index, others)
            }
            6 => match self.settable() {
                Some((local, of)) if of == ty => Expr::Tee(local, self.sub(ty, depth)),
                _ => self.of_type(ty, depth),
            },
            _ => self.of_type(ty, depth),
        }
    }

    fn body(&mut self, ty: Ty, depth: u32) -> Box<Body> {
        let stmts = if self.rng.chance(50) && depth > 1 { self.stmts(1) } else { Vec::new() };
        Box::new(Body { stmts, value: self.expr(ty, depth - 1) })
    }

    fn of_type(&mut self, ty: Ty, depth: u32) -> Expr {
        match ty {
            Ty::I32 => self.number(depth),
            Ty::I64 | Ty::F64 => {
                if self.rng.chance(40) {
                    let field = if ty == Ty::I64 { 3 } else { 6 };
                    let object = self.exactly(Class::Big, depth - 1);
                    return Expr::Get(Class::Big, field, Box::new(object));
                }
                Expr::Mix(ty, self.sub(ty, depth), self.sub(ty, depth))
            }
            Ty::Node => self.node(depth),
            Ty::Arr => match self.rng.below(4) {
                0 => Expr::Empty,
                1 => Expr::Filled(self.sub(Ty::Node, depth)),
                2 => Expr::Fixed((0..4).map(|_| self.expr(Ty::Node, 1)).collect()),
                _ => self.leaf(ty),
            },
            Ty::Eq => match self.rng.below(4) {
                0 => Expr::I31(self.sub(Ty::I32, depth)),
                1 => self.expr(Ty::Arr, depth - 1),
                2 => {
                    let object = self.exactly(Class::Node, depth - 1);
                    Expr::Get(Class::Node, 2, Box::new(object))
                }
                _ => self.node(depth),
            },
        }
    }

    fn number(&mut self, depth: u32) -> Expr {
        match self.rng.below(13) {
            0 => Expr::IsNull(self.sub(Ty::Node, depth)),
            1 => Expr::Eqz(Box::new(Expr::IsNull(self.sub(Ty::Eq, depth)))),
            2 => Expr::Same(self.sub(Ty::Eq, depth), self.sub(Ty::Eq, depth)),
            3..=5 => {
                let target = *self.rng.pick(&TARGETS);
                Expr::Test(target, self.rng.chance(50), self.sub(Ty::Eq, depth))
            }
            6 => {
                let class = *self.rng.pick(&CLASSES);
                let field = if class == Class::Node { 0 } else { 4 + self.rng.below(2) as usize };
                Expr::Get(class, field, Box::new(self.exactly(class, depth - 1)))
            }
            7 => Expr::Len(self.sub(Ty::Arr, depth)),
            8 => {
                let signed = self.rng.chance(50);
                Expr::I31Or(signed, self.sub(Ty::Eq, depth), self.sub(Ty::I32, depth))
            }
            9 => Expr::Busy(self.sub(Ty::Eq, depth), self.sub(Ty::I32, depth)),
            10 => Expr::Make(self.sub(Ty::I32, depth)),
            11 => Expr::Eqz(self.sub(Ty::I32, depth)),
            _ => Expr::Mix(Ty::I32, self.sub(Ty::I32, depth), self.sub(Ty::I32, depth)),
        }
    }

    fn node(&mut self, depth: u32) -> Expr {
        match self.rng.below(17) {
            0..=3 => {
                let class = *self.rng.pick(&CLASSES);
                self.exactly(class, depth)
            }
            4 => {
                let class = *self.rng.pick(&CLASSES);
                let fields = class.fields();
                let nodes: Vec<usize> =
                    (0..fields.len()).filter(|&field| fields[field] == Ty::Node).collect();
                let field = *self.rng.pick(&nodes);
                Expr::Get(class, field, Box::new(self.exactly(class, depth - 1)))
            }
            5 | 6 => Expr::Element(self.sub(Ty::Arr, depth), self.sub(Ty::I32, depth)),
            7 | 8 => {
                let class = *self.rng.pick(&CLASSES);
                let fail = self.rng.chance(50);
                Expr::CastOr(fail, class, self.sub(Ty::Eq, depth), self.sub(Ty::Node, depth))
            }
            9 if self.rng.chance(10) => {
                let class = *self.rng.pick(&CLASSES);
                Expr::Cast(class, self.sub(Ty::Eq, depth))
            }
            10 => Expr::Convert(self.sub(Ty::Node, depth)),
            11 => {
                let values = WIDE.iter().map(|&ty| self.expr(ty, 1)).collect();
                let label = self.label();
                Expr::Wide(label, values, self.sub(Ty::I32, 2), self.sub(Ty::Node, depth))
            }
            12 if self.calls > 0 => {
                self.calls -= 1;
                let start = self.sub(Ty::Node, depth);
                let (held, counter) = (self.locals.len(), self.locals.len() + 1);
                self.locals.extend([Ty::Node, Ty::I32]);
                self.fixed.push(counter);
                let count = 1 + self.rng.below(3) as u32;
                let label = self.label();
                // A branch out of the loop is fine; none leads to its head but its own.
                let next = self.sub(Ty::Node, depth);
                Expr::Loop(label, held, counter, count, start, next)
            }
            13 | 14 => {
                let Some(callee) = self.later() else { return self.exactly(Class::Node, depth) };
                let (how, sig) = (self.how(), self.sigs[callee]);
                Expr::Call(how, sig, callee, self.args(sig, depth))
            }
            15 => {
                let a = self.sub(Ty::Node, depth);
                let which = self.sub(Ty::I32, depth);
                Expr::Pass(a, which, self.sub(Ty::Node, depth))
            }
            _ => Expr::OrElse(
                self.sub(Ty::Node, depth),
                Box::new(self.exactly(Class::Big, depth - 1)),
            ),
        }
    }
}
