//! Makes the programs of [`crate::steps`]. What is aimed at: values of several types that wait with others
//! below them, several branches that take the same values to different places, values that are still there when a
//! counting loop ends and then go nowhere.

use crate::ast::{ALL_TYPES, COUNTER_COUNT, COUNTERS, Expr, Op, Ty, Value};
use crate::generate::{FLOAT_OPS, Generator, INT_OPS};
use crate::steps::{Count, Frame, Step, Target};

/// A block that is being made.
struct Open {
    target: Target,
    /// What its label takes.
    carries: Vec<Ty>,
    /// The height of the stack below it.
    base: usize,
}

/// Steps in the making, and the types on the stack after them.
pub struct Steps<'g, 'r> {
    all: &'g mut Generator<'r>,
    depth: u32,
    stack: Vec<Ty>,
    open: Vec<Open>,
    /// Most values are of this type, so that they compete for one accumulator.
    main: Ty,
}

impl<'r> Generator<'r> {
    /// Steps that leave one value.
    pub fn steps(&mut self, ty: Ty, depth: u32) -> Expr {
        let main = if self.rng.chance(60) { ty } else { *self.rng.pick(&ALL_TYPES) };
        let mut steps = Steps { all: self, depth, stack: Vec::new(), open: Vec::new(), main };
        let mut out = Vec::new();
        steps.junk(&mut out, 2);
        for _ in 0..1 + steps.below(2) {
            steps.shape(&mut out);
        }
        steps.settle(&mut out, 0, &[ty]);
        Expr::Steps(out, ty)
    }
}

type Out = Vec<Step>;

impl Steps<'_, '_> {
    fn below(&mut self, end: usize) -> usize {
        self.all.rng.below(end as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.all.rng.chance(percent)
    }

    fn ty(&mut self) -> Ty {
        if self.chance(60) { self.main } else { *self.all.rng.pick(&ALL_TYPES) }
    }

    fn types(&mut self, count: usize) -> Vec<Ty> {
        (0..count).map(|_| self.ty()).collect()
    }

    fn operator(&mut self, ty: Ty) -> Op {
        let operators: &[Op] = match ty {
            Ty::I32 | Ty::I64 => &INT_OPS,
            Ty::V128 => &INT_OPS[..3],
            // The sign of a NaN is anybody's guess.
            _ => &FLOAT_OPS[..6],
        };
        let chosen: &Op = self.all.rng.pick(operators);
        chosen
    }

    fn condition(&mut self) -> Expr {
        if self.chance(50) {
            return self.all.leaf(Ty::I32);
        }
        self.all.condition(self.depth.min(1))
    }

    fn push(&mut self, out: &mut Out, ty: Ty) {
        let e = match self.below(10) {
            0..=2 => self.all.leaf(ty),
            // A result that is in an accumulator and nowhere else.
            3..=7 if ty != Ty::Ref => {
                let op = self.operator(ty);
                let (a, b) = (self.all.leaf(ty), self.all.leaf(ty));
                Expr::Binary(ty, op, ty, Box::new(a), Box::new(b))
            }
            8 if ty != Ty::Ref => Expr::Call(ty, Box::new([self.all.leaf(ty), self.all.leaf(ty)])),
            _ => self.all.expr(ty, self.depth.min(2)),
        };
        out.push(Step::Push(e));
        self.stack.push(ty);
    }

    fn push_all(&mut self, out: &mut Out, types: &[Ty]) {
        types.iter().for_each(|ty| self.push(out, *ty));
    }

    /// Up to `most` values.
    fn junk(&mut self, out: &mut Out, most: usize) {
        for _ in 0..self.below(most + 1) {
            let ty = self.ty();
            self.push(out, ty);
        }
    }

    fn pop(&mut self, out: &mut Out, drops: u64) {
        if let Some(ty) = self.stack.pop() {
            out.push(if self.chance(drops) { Step::Drop } else { Step::Mix(ty) });
        }
    }

    /// How many values of its own the innermost block has.
    fn own(&self) -> usize {
        self.stack.len() - self.open.last().map_or(0, |open| open.base)
    }

    /// Takes values of the innermost block away, each with a probability, until one stays.
    fn thin(&mut self, out: &mut Out, goes: u64, drops: u64) {
        while self.own() > 0 && self.chance(goes) {
            self.pop(out, drops);
        }
    }

    /// Makes the stack end with these types, using what is there.
    fn ensure(&mut self, out: &mut Out, types: &[Ty]) {
        let most = types.len().min(self.own());
        let fits = |&kept: &usize| self.stack[self.stack.len() - kept..] == types[..kept];
        let kept = (0..=most).rev().find(fits).unwrap_or(0);
        self.push_all(out, &types[kept..]);
    }

    /// Makes exactly these types stand above a height.
    fn settle(&mut self, out: &mut Out, base: usize, types: &[Ty]) {
        let most = types.len().min(self.stack.len() - base);
        let fits = |&kept: &usize| self.stack[base..base + kept] == types[..kept];
        let kept = (0..=most).rev().find(fits).unwrap_or(0);
        while self.stack.len() > base + kept {
            self.pop(out, 10);
        }
        self.push_all(out, &types[kept..]);
    }

    /// A block around what `fill` makes; what it takes is on the stack already.
    fn frame(
        &mut self,
        params: &[Ty],
        results: &[Ty],
        is_loop: bool,
        fill: impl FnOnce(&mut Self, &mut Out),
    ) -> (Frame, Vec<Step>) {
        let label = self.all.label();
        let carries = if is_loop { params } else { results };
        let base = self.stack.len() - params.len();
        let target = Target { label, arity: carries.len() };
        self.open.push(Open { target, carries: carries.to_vec(), base });
        // Trees inside may leave through labels with up to one value, too.
        let before = (self.all.valued.len(), self.all.plain.len());
        match carries {
            _ if is_loop => {}
            [] => self.all.plain.push(label),
            [ty] => self.all.valued.push((label, *ty)),
            _ => {}
        }
        let mut steps = Vec::new();
        fill(self, &mut steps);
        self.all.valued.truncate(before.0);
        self.all.plain.truncate(before.1);
        self.open.pop();
        self.stack.truncate(base);
        self.stack.extend(results);
        (Frame { label, params: params.to_vec(), results: results.to_vec() }, steps)
    }

    fn target(&self, out: usize) -> Target {
        self.open[self.open.len() - 1 - out].target
    }

    fn shape(&mut self, out: &mut Out) {
        let count = [1, 1, 2, 2, 3, 3, 4, 7][self.below(8)];
        let types = self.types(count);
        match self.below(9) {
            0..=3 => self.exits(out, &types),
            4..=7 => self.counting(out, &types),
            _ => self.fold(out),
        }
    }

    /// One or two operators on what is on the stack.
    fn fold(&mut self, out: &mut Out) {
        for _ in 0..2 {
            let ty = match self.ty() {
                Ty::Ref => Ty::V128,
                ty => ty,
            };
            self.ensure(out, &[ty, ty]);
            let op = self.operator(ty);
            out.push(Step::Binary(ty, op));
            self.stack.pop();
        }
    }

    /// Two blocks, one in the other, that are left with the same values from several places.
    fn exits(&mut self, out: &mut Out, types: &[Ty]) {
        let (frame, steps) = self.frame(&[], types, false, |s, out| {
            s.junk(out, 2);
            let kept = 1 + s.below(types.len().min(2));
            s.inner(out, types, &types[types.len() - kept..]);
            if s.chance(60) {
                let ty = types[types.len() - 1];
                out.push(Step::Set(s.all.variable(ty)));
                s.stack.pop();
            }
            if s.chance(40) {
                let base = s.open[s.open.len() - 1].base;
                s.settle(out, base, types);
                return;
            }
            s.push_all(out, types);
            if s.chance(50) {
                out.push(Step::BrIf(s.target(0), s.condition()));
            }
            out.push(Step::Br(s.target(0)));
        });
        out.push(Step::Block(frame, steps));
    }

    fn inner(&mut self, out: &mut Out, types: &[Ty], own: &[Ty]) {
        if self.chance(75) {
            let (frame, steps) = self.frame(&[], own, false, |s, out| s.leaving(out, types, own));
            out.push(Step::Block(frame, steps));
            return;
        }
        let cond = self.condition();
        let mut other = Vec::new();
        let (frame, then) = self.frame(&[], own, false, |s, out| {
            let base = s.stack.len();
            s.leaving(out, types, own);
            s.stack.truncate(base);
            s.leaving(&mut other, types, own);
        });
        out.push(Step::If(frame, cond, then, other));
    }

    /// Values, then branches that may take them out of one block or two; at last out of the inner one.
    fn leaving(&mut self, out: &mut Out, types: &[Ty], own: &[Ty]) {
        self.junk(out, 2);
        self.push_all(out, types);
        for _ in 0..1 + self.below(3) {
            let to = usize::from(self.chance(70));
            out.push(Step::BrIf(self.target(to), self.condition()));
            if self.chance(20) {
                out.push(Step::Tee(self.all.variable(own[own.len() - 1])));
            }
        }
        let here = self.target(0);
        match self.below(5) {
            0 if types.len() == own.len() => {
                let to = vec![here, self.target(1), here, self.target(1)];
                let three = Expr::Const(Value { ty: Ty::I32, bits: 3 });
                let index = Box::new(self.all.leaf(Ty::I32));
                let index = Expr::Binary(Ty::I32, "and", Ty::I32, index, Box::new(three));
                out.push(Step::BrTable(to, index));
            }
            0 => {
                let to = self.below(2);
                out.push(Step::BrTable(vec![self.target(to); 2], self.condition()));
            }
            1 => {
                out.push(Step::BrIf(here, self.condition()));
                out.push(Step::Br(here));
            }
            _ => out.push(Step::Br(here)),
        }
    }

    /// A loop that values go round; what is left of them in the end is dropped, mostly.
    fn counting(&mut self, out: &mut Out, types: &[Ty]) {
        if self.all.loops == COUNTER_COUNT {
            return self.fold(out);
        }
        let counter = COUNTERS + self.all.loops;
        let ways = 1 + usize::from(self.chance(30));
        let count = match self.below(4) {
            0 if ways == 1 => Count::Number,
            0 | 1 => Count::Down,
            _ => Count::Up,
        };
        let start = Step::Start(counter, count, 1 + self.below(3) as u32);
        let results = self.below(3);
        let results = self.types(results);
        // Set before the values are made or while they wait.
        let early = self.chance(50);
        self.all.loops += 1;
        if early {
            out.push(start.clone());
        }
        self.push_all(out, types);
        if !early {
            out.push(start);
        }
        let (frame, steps) = self.frame(types, &results, true, |s, out| {
            s.thin(out, 80, 40);
            for _ in 0..ways {
                if s.chance(20) {
                    s.junk(out, 2);
                }
                let carries = s.open[s.open.len() - 1].carries.clone();
                s.ensure(out, &carries);
                let cond = (count != Count::Number && s.chance(25)).then(|| s.condition());
                out.push(Step::Again(s.target(0), counter, count, cond));
            }
            s.thin(out, 85, 80);
            s.push_some(out, 4);
            s.thin(out, 40, 100);
            s.junk(out, 1);
            let base = s.open[s.open.len() - 1].base;
            s.settle(out, base, &results);
        });
        self.all.loops -= 1;
        out.push(Step::Loop(frame, steps));
    }

    /// Between one value and `most`.
    fn push_some(&mut self, out: &mut Out, most: usize) {
        let ty = self.ty();
        self.push(out, ty);
        self.junk(out, most - 1);
    }
}
