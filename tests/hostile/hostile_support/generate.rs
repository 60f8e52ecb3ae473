//! Makes the trees of [`crate::ast`] from a seed. What is aimed at: operands of every kind in every
//! place (locals, constants, fresh results), writes to locals whose old value still waits, address
//! sums that wrap at 2^32, comparisons in front of every consumer, values carried to labels.

use crate::ast::{
    Access, COUNTER_COUNT, COUNTERS, Expr, OTHERS, Op, READ_ONLY, SCRATCH, Stmt, TYPES, Ty,
    VARIABLES, Value, local_ty,
};
use crate::hostile_support::Rng;

const fn access(name: &'static str, ty: Ty, bytes: usize, signed: bool) -> Access {
    Access { name, ty, bytes, signed }
}

const LOADS: [Access; 14] = [
    access("i32.load", Ty::I32, 4, false),
    access("i64.load", Ty::I64, 8, false),
    access("f32.load", Ty::F32, 4, false),
    access("f64.load", Ty::F64, 8, false),
    access("i32.load8_s", Ty::I32, 1, true),
    access("i32.load8_u", Ty::I32, 1, false),
    access("i32.load16_s", Ty::I32, 2, true),
    access("i32.load16_u", Ty::I32, 2, false),
    access("i64.load8_s", Ty::I64, 1, true),
    access("i64.load8_u", Ty::I64, 1, false),
    access("i64.load16_s", Ty::I64, 2, true),
    access("i64.load16_u", Ty::I64, 2, false),
    access("i64.load32_s", Ty::I64, 4, true),
    access("i64.load32_u", Ty::I64, 4, false),
];

const STORES: [Access; 9] = [
    access("i32.store", Ty::I32, 4, false),
    access("i64.store", Ty::I64, 8, false),
    access("f32.store", Ty::F32, 4, false),
    access("f64.store", Ty::F64, 8, false),
    access("i32.store8", Ty::I32, 1, false),
    access("i32.store16", Ty::I32, 2, false),
    access("i64.store8", Ty::I64, 1, false),
    access("i64.store16", Ty::I64, 2, false),
    access("i64.store32", Ty::I64, 4, false),
];

pub const INT_OPS: [Op; 11] =
    ["add", "sub", "mul", "and", "or", "xor", "shl", "shr_u", "shr_s", "rotl", "rotr"];
const DIVISIONS: [Op; 4] = ["div_u", "div_s", "rem_u", "rem_s"];
const INT_COMPARISONS: [Op; 10] =
    ["eq", "ne", "lt_u", "lt_s", "gt_u", "gt_s", "le_u", "le_s", "ge_u", "ge_s"];
pub const FLOAT_OPS: [Op; 7] = ["add", "sub", "mul", "div", "min", "max", "copysign"];
const FLOAT_COMPARISONS: [Op; 6] = ["eq", "ne", "lt", "gt", "le", "ge"];

/// Operators with one operand: name, operand, whether its bits must not be those of a NaN, whether it
/// may trap. By result.
type UnaryOp = (&'static str, Ty, bool, bool);
const TO_I32: &[UnaryOp] = &[
    ("i32.eqz", Ty::I32, false, false),
    ("i64.eqz", Ty::I64, false, false),
    ("i32.clz", Ty::I32, false, false),
    ("i32.ctz", Ty::I32, false, false),
    ("i32.popcnt", Ty::I32, false, false),
    ("i32.extend8_s", Ty::I32, false, false),
    ("i32.extend16_s", Ty::I32, false, false),
    ("i32.wrap_i64", Ty::I64, false, false),
    ("i32.wrap_i64", Ty::I64, false, false),
    ("i32.reinterpret_f32", Ty::F32, true, false),
    ("i32.trunc_sat_f32_s", Ty::F32, false, false),
    ("i32.trunc_sat_f32_u", Ty::F32, false, false),
    ("i32.trunc_sat_f64_s", Ty::F64, false, false),
    ("i32.trunc_sat_f64_u", Ty::F64, false, false),
    ("i32.trunc_f32_s", Ty::F32, false, true),
    ("i32.trunc_f32_u", Ty::F32, false, true),
    ("i32.trunc_f64_s", Ty::F64, false, true),
    ("i32.trunc_f64_u", Ty::F64, false, true),
];
const TO_I64: &[UnaryOp] = &[
    ("i64.clz", Ty::I64, false, false),
    ("i64.ctz", Ty::I64, false, false),
    ("i64.popcnt", Ty::I64, false, false),
    ("i64.extend8_s", Ty::I64, false, false),
    ("i64.extend16_s", Ty::I64, false, false),
    ("i64.extend32_s", Ty::I64, false, false),
    ("i64.extend_i32_s", Ty::I32, false, false),
    ("i64.extend_i32_u", Ty::I32, false, false),
    ("i64.extend_i32_u", Ty::I32, false, false),
    ("i64.reinterpret_f64", Ty::F64, true, false),
    ("i64.trunc_sat_f32_s", Ty::F32, false, false),
    ("i64.trunc_sat_f32_u", Ty::F32, false, false),
    ("i64.trunc_sat_f64_s", Ty::F64, false, false),
    ("i64.trunc_sat_f64_u", Ty::F64, false, false),
    ("i64.trunc_f32_s", Ty::F32, false, true),
    ("i64.trunc_f32_u", Ty::F32, false, true),
    ("i64.trunc_f64_s", Ty::F64, false, true),
    ("i64.trunc_f64_u", Ty::F64, false, true),
];
const TO_F32: &[UnaryOp] = &[
    ("f32.abs", Ty::F32, false, false),
    ("f32.neg", Ty::F32, false, false),
    ("f32.ceil", Ty::F32, false, false),
    ("f32.floor", Ty::F32, false, false),
    ("f32.trunc", Ty::F32, false, false),
    ("f32.nearest", Ty::F32, false, false),
    ("f32.sqrt", Ty::F32, false, false),
    ("f32.demote_f64", Ty::F64, false, false),
    ("f32.convert_i32_s", Ty::I32, false, false),
    ("f32.convert_i32_u", Ty::I32, false, false),
    ("f32.convert_i64_s", Ty::I64, false, false),
    ("f32.convert_i64_u", Ty::I64, false, false),
    ("f32.reinterpret_i32", Ty::I32, false, false),
];
const TO_F64: &[UnaryOp] = &[
    ("f64.abs", Ty::F64, false, false),
    ("f64.neg", Ty::F64, false, false),
    ("f64.ceil", Ty::F64, false, false),
    ("f64.floor", Ty::F64, false, false),
    ("f64.trunc", Ty::F64, false, false),
    ("f64.nearest", Ty::F64, false, false),
    ("f64.sqrt", Ty::F64, false, false),
    ("f64.promote_f32", Ty::F32, false, false),
    ("f64.convert_i32_s", Ty::I32, false, false),
    ("f64.convert_i32_u", Ty::I32, false, false),
    ("f64.convert_i64_s", Ty::I64, false, false),
    ("f64.convert_i64_u", Ty::I64, false, false),
    ("f64.reinterpret_i64", Ty::I64, false, false),
];

/// Operators from a type to itself that never trap, for branch tables.
fn plain_unary(ty: Ty) -> &'static [Op] {
    match ty {
        Ty::I32 => &["clz", "ctz", "popcnt", "eqz", "extend8_s", "extend16_s"],
        Ty::I64 => &["clz", "ctz", "popcnt", "extend8_s", "extend32_s"],
        _ => &["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"],
    }
}

/// A value of the kind that breaks things.
pub fn value(rng: &mut Rng, ty: Ty) -> u64 {
    const INTS: [i64; 16] = [
        0,
        1,
        2,
        -1,
        31,
        32,
        63,
        255,
        0x7FFF,
        0x8000,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FFFF,
        0x1_0000_0000,
        i64::MAX,
        i64::MIN,
    ];
    const FLOATS: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-320,
        2_147_483_647.0,
        -2_147_483_649.0,
        4_294_967_295.5,
        9_223_372_036_854_775_808.0,
        1e30,
        3.999,
    ];
    match ty {
        Ty::I32 | Ty::I64 => {
            let x = match rng.below(4) {
                0 => rng.below(64),
                1 => rng.next(),
                _ => *rng.pick(&INTS) as u64,
            };
            if ty == Ty::I32 { u64::from(x as u32) } else { x }
        }
        Ty::F32 if rng.chance(20) => u64::from((rng.below(100_000) as f32 / 7.0).to_bits()),
        Ty::F32 => u64::from((*rng.pick(&FLOATS) as f32).to_bits()),
        Ty::F64 if rng.chance(20) => (rng.below(1 << 40) as f64 / -3.0).to_bits(),
        Ty::F64 => rng.pick(&FLOATS).to_bits(),
        Ty::V128 => value(rng, Ty::I64),
        Ty::Ref => rng.below(4),
    }
}

/// The parameters of a program: two small numbers, half of the second negated, then anything.
pub fn params(rng: &mut Rng) -> Vec<u64> {
    let mut params = vec![rng.below(8_000), rng.below(8_000), 0];
    params[2] = u64::from((params[1] / 2).wrapping_neg() as u32);
    params.extend((VARIABLES..SCRATCH).map(|local| value(rng, local_ty(local))));
    params
}

pub struct Generator<'r> {
    pub rng: &'r mut Rng,
    labels: usize,
    /// Blocks around with a result, and those without.
    pub valued: Vec<(usize, Ty)>,
    pub plain: Vec<usize>,
    /// Loops around.
    pub loops: usize,
    /// Whether the program may trap.
    risky: bool,
}

impl<'r> Generator<'r> {
    pub fn new(rng: &'r mut Rng) -> Self {
        let risky = rng.chance(35);
        Self { rng, labels: 0, valued: Vec::new(), plain: Vec::new(), loops: 0, risky }
    }

    /// A whole program.
    pub fn program(&mut self) -> (Vec<Stmt>, Expr) {
        let count = 2 + self.rng.below(8);
        let of_steps = self.rng.chance(40);
        let stmts = (0..count).map(|_| if of_steps { self.walk() } else { self.stmt(5) }).collect();
        let ty = *self.rng.pick(&TYPES);
        (stmts, self.expr(ty, 6))
    }

    /// A statement that consists of steps.
    fn walk(&mut self) -> Stmt {
        let ty = *self.rng.pick(&TYPES);
        let into = self.variable(ty);
        Stmt::Set(into, self.steps(ty, 2))
    }

    pub fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }

    /// A local that may be written.
    pub fn variable(&mut self, ty: Ty) -> usize {
        if matches!(ty, Ty::V128 | Ty::Ref) {
            return OTHERS + (ty as usize - 4) + 2 * self.rng.below(2) as usize;
        }
        VARIABLES + ty as usize + 4 * self.rng.below(2) as usize
    }

    fn constant(&mut self, ty: Ty) -> Expr {
        let bits = value(self.rng, ty);
        match ty {
            Ty::V128 => Expr::Splat(Box::new(Expr::Const(Value { ty: Ty::I64, bits }))),
            Ty::Ref => Expr::Func(bits as u32),
            _ => Expr::Const(Value { ty, bits }),
        }
    }

    pub fn leaf(&mut self, ty: Ty) -> Expr {
        match self.rng.below(8) {
            0..=2 => self.constant(ty),
            3 if TYPES.contains(&ty) => Expr::Global(ty),
            4 if ty == Ty::I32 => Expr::Local(ty, self.rng.below(READ_ONLY as u64) as usize),
            _ => Expr::Local(ty, self.variable(ty)),
        }
    }

    /// Operands are often leaves, so that all forms of instructions come up.
    fn operand(&mut self, ty: Ty, depth: u32) -> Expr {
        if self.rng.chance(45) { self.leaf(ty) } else { self.expr(ty, depth) }
    }

    fn boxed(&mut self, ty: Ty, depth: u32) -> Box<Expr> {
        Box::new(self.operand(ty, depth))
    }

    /// A float whose bits may be looked at.
    fn sane(&mut self, ty: Ty, depth: u32) -> Expr {
        let inner = self.boxed(ty, depth);
        if matches!(ty, Ty::F32 | Ty::F64) { Expr::Sane(ty, inner) } else { *inner }
    }

    pub fn condition(&mut self, depth: u32) -> Expr {
        match self.rng.below(10) {
            0 => self.operand(Ty::I32, depth),
            1 => Expr::Unary("i32.eqz", Ty::I32, Box::new(self.condition(depth.saturating_sub(1)))),
            2 => Expr::Unary("i64.eqz", Ty::I32, self.boxed(Ty::I64, depth)),
            3 => Expr::Tee(self.variable(Ty::I32), Box::new(self.comparison(depth))),
            _ => self.comparison(depth),
        }
    }

    fn comparison(&mut self, depth: u32) -> Expr {
        let ty = *self.rng.pick(&TYPES);
        let op = match ty {
            Ty::I32 | Ty::I64 => *self.rng.pick(&INT_COMPARISONS),
            _ => *self.rng.pick(&FLOAT_COMPARISONS),
        };
        Expr::Binary(ty, op, Ty::I32, self.boxed(ty, depth), self.boxed(ty, depth))
    }

    pub fn expr(&mut self, ty: Ty, depth: u32) -> Expr {
        if depth == 0 {
            return self.leaf(ty);
        }
        let d = depth - 1;
        if !TYPES.contains(&ty) {
            return self.other(ty, d);
        }
        match self.rng.below(29) {
            0..=6 => self.binary(ty, d),
            7..=9 => self.unary(ty, d),
            10 => Expr::Tee(self.variable(ty), Box::new(self.expr(ty, d))),
            11..=12 => self.load(ty, d),
            13 => Expr::Select(Box::new([
                self.operand(ty, d),
                self.operand(ty, d),
                self.condition(d),
            ])),
            14..=15 => {
                let count = 1 + self.rng.below(2);
                let stmts = (0..count).map(|_| self.stmt(d)).collect();
                Expr::Then(stmts, self.boxed(ty, d))
            }
            16 => Expr::If(Box::new([self.condition(d), self.operand(ty, d), self.operand(ty, d)])),
            17 => self.block(ty, d),
            18..=19 => self.break_if(ty, d),
            20 => self.table(ty, d),
            21 => self.two(ty, d),
            22 => self.loop2(ty, d),
            23 => Expr::Call(ty, Box::new([self.operand(ty, d), self.operand(ty, d)])),
            24 => {
                let into = self.variable(ty);
                Expr::Swap(ty, Box::new([self.operand(ty, d), self.operand(ty, d)]), into)
            }
            25..=26 => self.steps(ty, d),
            27 if ty == Ty::I64 => Expr::Lane(self.rng.below(2) as u32, self.boxed(Ty::V128, d)),
            27 if ty == Ty::I32 => Expr::Number(self.boxed(Ty::Ref, d)),
            _ if ty == Ty::I32 => self.condition(d),
            _ => self.leaf(ty),
        }
    }

    /// A vector or a reference.
    fn other(&mut self, ty: Ty, d: u32) -> Expr {
        match self.rng.below(10) {
            0..=2 if ty == Ty::V128 => {
                let op = *self.rng.pick(&INT_OPS[..3]);
                Expr::Binary(ty, op, ty, self.boxed(ty, d), self.boxed(ty, d))
            }
            0..=1 => Expr::Element(self.boxed(Ty::I32, d)),
            3 if ty == Ty::V128 => Expr::Splat(self.boxed(Ty::I64, d)),
            4 => Expr::Tee(self.variable(ty), self.boxed(ty, d)),
            5 => Expr::Select(Box::new([
                self.operand(ty, d),
                self.operand(ty, d),
                self.condition(d),
            ])),
            6 => Expr::If(Box::new([self.condition(d), self.operand(ty, d), self.operand(ty, d)])),
            7 => self.steps(ty, d),
            8 => self.block(ty, d),
            9 => {
                let into = self.variable(ty);
                Expr::Swap(ty, Box::new([self.operand(ty, d), self.operand(ty, d)]), into)
            }
            _ => self.leaf(ty),
        }
    }

    fn binary(&mut self, ty: Ty, d: u32) -> Expr {
        let op = match ty {
            Ty::I32 | Ty::I64 if self.risky && self.rng.chance(10) => *self.rng.pick(&DIVISIONS),
            Ty::I32 | Ty::I64 => *self.rng.pick(&INT_OPS),
            _ => *self.rng.pick(&FLOAT_OPS),
        };
        let a = self.boxed(ty, d);
        // The sign of a NaN is anybody's guess.
        let b = if op == "copysign" { Box::new(self.sane(ty, d)) } else { self.boxed(ty, d) };
        Expr::Binary(ty, op, ty, a, b)
    }

    fn unary(&mut self, ty: Ty, d: u32) -> Expr {
        let table = [TO_I32, TO_I64, TO_F32, TO_F64][ty as usize];
        let (name, from, looks, traps) = *self.rng.pick(table);
        if traps && !self.risky {
            return self.leaf(ty);
        }
        let operand = if looks { Box::new(self.sane(from, d)) } else { self.boxed(from, d) };
        Expr::Unary(name, ty, operand)
    }

    /// An address and an offset, inside the memory unless the program takes risks.
    fn address(&mut self, d: u32) -> (Expr, u64) {
        let local = |local| Expr::Local(Ty::I32, local);
        let number = |bits| Expr::Const(Value { ty: Ty::I32, bits });
        let binary = |op, a, b| Expr::Binary(Ty::I32, op, Ty::I32, Box::new(a), Box::new(b));
        let small = match self.rng.below(3) {
            0 => self.operand(Ty::I32, d),
            1 => self.expr(Ty::I32, d),
            _ => local(1),
        };
        let masked = |e| binary("and", e, number(0xFFF));
        // Local 2 is half of local 1, negated: their sum wraps into the memory.
        let wraps = |shift| binary("add", local(2), binary("shl", local(1), number(shift)));
        if self.risky && self.rng.chance(30) {
            let any = |rng: &mut Rng| local(rng.below(READ_ONLY as u64) as usize);
            let shift = number(*self.rng.pick(&[0, 1, 3, 31, 32, 34]));
            let address = match self.rng.below(4) {
                0 => small,
                1 => binary("add", any(self.rng), any(self.rng)),
                2 => binary("add", any(self.rng), binary("shl", any(self.rng), shift)),
                _ => binary("add", any(self.rng), binary("shl", small, shift)),
            };
            let offset = match self.rng.below(3) {
                0 => 65_536 - self.rng.below(12),
                1 => 0xFFFF_FFFF - self.rng.below(3),
                _ => self.rng.below(65_536),
            };
            return (address, offset);
        }
        let shift = *self.rng.pick(&[0, 1, 2, 32, 33]);
        let address = match self.rng.below(12) {
            0 => number(self.rng.below(30_000)),
            1 => local(0),
            2 => masked(small),
            3 => binary("add", local(0), local(1)),
            4 => binary("add", local(1), local(2)),
            5 => binary("add", local(1), masked(small)),
            6 => binary("add", masked(small), local(0)),
            7 => wraps(shift),
            8 => binary("add", local(1), binary("shl", masked(small), number(shift))),
            9 => binary("add", binary("shl", masked(small), number(shift)), local(0)),
            10 => {
                let far = binary("or", masked(small), number(0x2000));
                binary("add", local(2), binary("shl", far, number(shift)))
            }
            _ => binary("add", local(0), number(self.rng.below(9_000))),
        };
        let offset = if self.rng.chance(50) { self.rng.below(28_000) } else { 0 };
        (address, offset)
    }

    fn load(&mut self, ty: Ty, d: u32) -> Expr {
        let fitting: Vec<_> = LOADS.iter().filter(|a| a.ty == ty).collect();
        let access = **self.rng.pick(&fitting);
        let (address, offset) = self.address(d);
        Expr::Load(access, offset, Box::new(address))
    }

    fn block(&mut self, ty: Ty, d: u32) -> Expr {
        let label = self.label();
        self.valued.push((label, ty));
        let count = self.rng.below(3);
        let stmts = (0..count).map(|_| self.stmt(d)).collect();
        let last = self.boxed(ty, d);
        self.valued.pop();
        Expr::Block(label, stmts, last)
    }

    fn break_if(&mut self, ty: Ty, d: u32) -> Expr {
        let fitting: Vec<_> = self.valued.iter().filter(|l| l.1 == ty).collect();
        match fitting.last() {
            Some(&&(label, _)) => {
                Expr::BreakIf(label, Box::new([self.operand(ty, d), self.condition(d)]))
            }
            None => self.block(ty, d),
        }
    }

    fn table(&mut self, ty: Ty, d: u32) -> Expr {
        let junk_ty = *self.rng.pick(&TYPES);
        let index = if self.rng.chance(50) {
            let mask = Expr::Const(Value { ty: Ty::I32, bits: 3 });
            let x = self.boxed(Ty::I32, d);
            Expr::Binary(Ty::I32, "and", Ty::I32, x, Box::new(mask))
        } else {
            self.operand(Ty::I32, d)
        };
        let ops = [*self.rng.pick(plain_unary(ty)), *self.rng.pick(plain_unary(ty))];
        let of = [self.operand(ty, d), index, self.operand(junk_ty, d)];
        Expr::Table(self.label(), Box::new(of), ops)
    }

    fn two(&mut self, ty: Ty, d: u32) -> Expr {
        let second = *self.rng.pick(&TYPES);
        let junk = *self.rng.pick(&TYPES);
        let into = self.variable(second);
        let of = [
            self.operand(junk, d),
            self.operand(ty, d),
            self.operand(second, d),
            self.condition(d),
            self.operand(ty, d),
            self.operand(second, d),
        ];
        Expr::Two(self.label(), Box::new(of), into)
    }

    fn loop2(&mut self, ty: Ty, d: u32) -> Expr {
        if self.loops == COUNTER_COUNT {
            return self.leaf(ty);
        }
        let counter = COUNTERS + self.loops;
        self.loops += 1;
        let start = Box::new([self.operand(ty, d), self.operand(ty, d)]);
        self.loops -= 1;
        let op = match ty {
            Ty::I32 | Ty::I64 => *self.rng.pick(&INT_OPS),
            // The sign of a NaN is anybody's guess.
            _ => *self.rng.pick(&FLOAT_OPS[..6]),
        };
        let turns = 1 + self.rng.below(4) as u32;
        let (label, into) = (self.label(), self.variable(ty));
        Expr::Loop2 { label, counter, turns, ty, op, start, into }
    }

    pub fn stmt(&mut self, depth: u32) -> Stmt {
        let ty = *self.rng.pick(&TYPES);
        let d = depth.saturating_sub(1);
        match self.rng.below(16) {
            0..=5 => Stmt::Set(self.variable(ty), self.operand(ty, depth)),
            6 => {
                // Memory and globals are compared bit by bit.
                let e = self.sane(ty, depth);
                Stmt::SetGlobal(ty, e)
            }
            7..=9 => {
                let access = *self.rng.pick(&STORES);
                let (address, offset) = self.address(d);
                let value = self.sane(access.ty, d);
                Stmt::Store(access, offset, address, value)
            }
            10 => Stmt::Drop(self.operand(ty, depth)),
            11 if depth > 0 => {
                let cond = self.condition(d);
                let then = vec![self.stmt(d)];
                let other = if self.rng.chance(50) { vec![self.stmt(d)] } else { Vec::new() };
                Stmt::If(cond, then, other)
            }
            12 if depth > 0 => {
                let label = self.label();
                self.plain.push(label);
                let stmts = (0..2).map(|_| self.stmt(d)).collect();
                self.plain.pop();
                Stmt::Block(label, stmts)
            }
            13 if !self.plain.is_empty() => {
                let label = *self.rng.pick(&self.plain);
                Stmt::BreakIf(label, self.condition(d))
            }
            14 if depth > 0 && self.loops < COUNTER_COUNT => {
                let counter = COUNTERS + self.loops;
                let (label, turns) = (self.label(), 1 + self.rng.below(3) as u32);
                self.loops += 1;
                let body = (0..2).map(|_| self.stmt(d)).collect();
                self.loops -= 1;
                Stmt::Loop { label, counter, turns, body }
            }
            _ => Stmt::Set(self.variable(ty), self.leaf(ty)),
        }
    }
}
