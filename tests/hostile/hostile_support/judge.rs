//! Evaluates the trees of [`crate::ast`] by themselves: the judge. It shares nothing with the engine,
//! neither its parser nor its numeric functions.

use palisade::TrapCode;

use crate::ast::{Access, Expr, LOCALS, Op, PARAMS, Stmt, Ty, Value, local_ty, scratch};
use crate::steps::{Count, Step, Target, mixed_into};

/// What a program works on.
pub struct Machine {
    pub locals: Vec<Value>,
    pub globals: [u64; 4],
    pub memory: Vec<u8>,
    /// What may still be evaluated: programs are small, but calls of this are counted all the same.
    pub steps: u64,
}

/// Why an evaluation does not simply go on.
#[derive(Debug)]
pub enum Exit {
    Trap(TrapCode),
    Break(usize, Vec<u64>),
}

type Result<T> = std::result::Result<T, Exit>;

fn trap<T>(code: TrapCode) -> Result<T> {
    Err(Exit::Trap(code))
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits)
}

impl Machine {
    /// A machine whose parameters are set, everything else as at start.
    pub fn new(params: &[u64], memory: Vec<u8>) -> Self {
        let locals = (0..LOCALS)
            .map(|i| Value { ty: local_ty(i), bits: if i < PARAMS { params[i] } else { 0 } });
        let globals = [7, 7, u64::from(7f32.to_bits()), 7f64.to_bits()];
        Self { locals: locals.collect(), globals, memory, steps: 0 }
    }

    /// Runs a function: the value of the last expression, then all locals.
    pub fn run(&mut self, stmts: &[Stmt], last: &Expr) -> std::result::Result<Vec<u64>, TrapCode> {
        let outcome = self.all(stmts).and_then(|()| self.eval(last));
        match outcome {
            Ok(first) => {
                Ok(std::iter::once(first).chain(self.locals.iter().map(|v| v.bits)).collect())
            }
            Err(Exit::Trap(code)) => Err(code),
            Err(Exit::Break(label, _)) => panic!("label {label} is not there"),
        }
    }

    fn all(&mut self, stmts: &[Stmt]) -> Result<()> {
        stmts.iter().try_for_each(|stmt| self.exec(stmt))
    }

    fn set(&mut self, local: usize, bits: u64) {
        self.locals[local].bits = bits;
    }

    fn exec(&mut self, stmt: &Stmt) -> Result<()> {
        self.steps += 1;
        match stmt {
            Stmt::Set(local, e) => {
                let bits = self.eval(e)?;
                self.set(*local, bits);
            }
            Stmt::SetGlobal(ty, e) => self.globals[*ty as usize] = self.eval(e)?,
            Stmt::Store(access, offset, address, value) => {
                let address = self.eval(address)?;
                let value = self.eval(value)?;
                let at = self.place(address, *offset, access.bytes)?;
                self.memory[at..at + access.bytes]
                    .copy_from_slice(&value.to_le_bytes()[..access.bytes]);
            }
            Stmt::Drop(e) => drop(self.eval(e)?),
            Stmt::If(cond, then, other) => {
                let stmts = if self.eval(cond)? != 0 { then } else { other };
                self.all(stmts)?;
            }
            Stmt::Block(label, stmts) => match self.all(stmts) {
                Err(Exit::Break(to, _)) if to == *label => {}
                other => return other,
            },
            Stmt::BreakIf(label, cond) => {
                if self.eval(cond)? != 0 {
                    return Err(Exit::Break(*label, Vec::new()));
                }
            }
            Stmt::Loop { counter, turns, body, .. } => {
                self.set(*counter, u64::from(*turns));
                loop {
                    self.all(body)?;
                    let left = (self.locals[*counter].bits as u32).wrapping_sub(1);
                    self.set(*counter, u64::from(left));
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn place(&self, address: u64, offset: u64, bytes: usize) -> Result<usize> {
        let at = u128::from(address as u32) + u128::from(offset);
        if at + bytes as u128 > self.memory.len() as u128 {
            return trap(TrapCode::MemoryOutOfBounds);
        }
        Ok(at as usize)
    }

    fn load(&self, access: Access, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..access.bytes].copy_from_slice(&self.memory[at..at + access.bytes]);
        let raw = u64::from_le_bytes(bytes);
        let shift = 64 - 8 * access.bytes as u32;
        let wide = if access.signed { ((raw << shift) as i64 >> shift) as u64 } else { raw };
        if access.ty == Ty::I32 { u64::from(wide as u32) } else { wide }
    }

    /// Takes the steps one after the other; a branch out of them is an `Exit`.
    fn walk(&mut self, steps: &[Step], stack: &mut Vec<u64>) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step, stack))
    }

    /// Takes the steps of a block. If a branch ended it there, `true`, with what the branch took along on the stack.
    fn block(
        &mut self,
        label: usize,
        base: usize,
        steps: &[Step],
        stack: &mut Vec<u64>,
    ) -> Result<bool> {
        match self.walk(steps, stack) {
            Err(Exit::Break(to, values)) if to == label => {
                stack.truncate(base);
                stack.extend(values);
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }

    fn step(&mut self, step: &Step, stack: &mut Vec<u64>) -> Result<()> {
        self.steps += 1;
        match step {
            Step::Push(e) => stack.push(self.eval(e)?),
            Step::Binary(ty, op) => {
                let (b, a) = (popped(stack), popped(stack));
                stack.push(binary(*ty, op, a, b)?);
            }
            Step::Drop => drop(popped(stack)),
            Step::Set(local) => self.set(*local, popped(stack)),
            Step::Tee(local) => self.set(*local, stack[stack.len() - 1]),
            Step::Mix(ty) => {
                let bits = popped(stack);
                let bits = self.sane(*ty, bits);
                let into = mixed_into(*ty);
                let old = binary(into, "mul", self.globals[into as usize], 31)?;
                self.globals[into as usize] = binary(into, "add", bits, old)?;
            }
            Step::Block(frame, steps) => {
                let base = stack.len() - frame.params.len();
                self.block(frame.label, base, steps, stack)?;
            }
            Step::If(frame, cond, then, other) => {
                let steps = if self.eval(cond)? != 0 { then } else { other };
                let base = stack.len() - frame.params.len();
                self.block(frame.label, base, steps, stack)?;
            }
            Step::Loop(frame, steps) => {
                let base = stack.len() - frame.params.len();
                while self.block(frame.label, base, steps, stack)? {}
            }
            Step::Br(to) => return leave(*to, stack),
            Step::BrIf(to, cond) => {
                if self.eval(cond)? != 0 {
                    return leave(*to, stack);
                }
            }
            Step::BrTable(to, index) => {
                let index = self.eval(index)? as usize;
                return leave(to[index.min(to.len() - 1)], stack);
            }
            Step::Start(counter, count, turns) => {
                let turns = if *count == Count::Up { turns.wrapping_neg() } else { *turns };
                self.set(*counter, u64::from(turns));
            }
            Step::Again(to, counter, count, cond) => {
                let cond = cond.as_ref().map_or(Ok(1), |cond| self.eval(cond))?;
                let change = if *count == Count::Up { 1 } else { -1 };
                let now = (self.locals[*counter].bits as i32).wrapping_add(change);
                self.set(*counter, u64::from(now as u32));
                let goes_on = match count {
                    Count::Number => now != 0,
                    Count::Down => now > 0,
                    Count::Up => now < 0,
                };
                if goes_on && cond != 0 {
                    return leave(*to, stack);
                }
            }
        }
        Ok(())
    }

    /// A value, or 1.5 for a NaN; what it was is in a scratch local afterwards, if it is a float.
    fn sane(&mut self, ty: Ty, bits: u64) -> u64 {
        if matches!(ty, Ty::F32 | Ty::F64) {
            let [x, _] = scratch(ty);
            self.set(x, bits);
        }
        match ty {
            Ty::F32 if f32_of(bits).is_nan() => u64::from(1.5f32.to_bits()),
            Ty::F64 if f64_of(bits).is_nan() => 1.5f64.to_bits(),
            _ => bits,
        }
    }

    fn pair(&mut self, of: &[Expr]) -> Result<[u64; 2]> {
        Ok([self.eval(&of[0])?, self.eval(&of[1])?])
    }

    fn eval(&mut self, expr: &Expr) -> Result<u64> {
        self.steps += 1;
        Ok(match expr {
            Expr::Const(value) => value.bits,
            Expr::Local(_, local) => self.locals[*local].bits,
            Expr::Tee(local, e) => {
                let bits = self.eval(e)?;
                self.set(*local, bits);
                bits
            }
            Expr::Global(ty) => self.globals[*ty as usize],
            Expr::Unary(name, _, e) => {
                let x = self.eval(e)?;
                unary(name, x)?
            }
            Expr::Binary(ty, op, _, a, b) => {
                let a = self.eval(a)?;
                let b = self.eval(b)?;
                binary(*ty, op, a, b)?
            }
            Expr::Select(of) => {
                let [a, b] = self.pair(&of[..2])?;
                if self.eval(&of[2])? != 0 { a } else { b }
            }
            Expr::Load(access, offset, address) => {
                let address = self.eval(address)?;
                let at = self.place(address, *offset, access.bytes)?;
                self.load(*access, at)
            }
            Expr::Then(stmts, last) => {
                self.all(stmts)?;
                self.eval(last)?
            }
            Expr::If(of) => {
                let which = if self.eval(&of[0])? != 0 { 1 } else { 2 };
                self.eval(&of[which])?
            }
            Expr::Block(label, stmts, last) => {
                match self.all(stmts).and_then(|()| self.eval(last)) {
                    Err(Exit::Break(to, values)) if to == *label => values[0],
                    other => other?,
                }
            }
            Expr::BreakIf(label, of) => {
                let [value, cond] = self.pair(&of[..])?;
                if cond != 0 {
                    return Err(Exit::Break(*label, vec![value]));
                }
                value
            }
            Expr::Table(_, of, ops) => {
                self.eval(&of[2])?;
                let [x, index] = self.pair(&of[..2])?;
                let ty = of[0].ty();
                match index {
                    0 => unary_of(ty, ops[0], x)?,
                    1 => unary_of(ty, ops[1], x)?,
                    _ => x,
                }
            }
            Expr::Two(_, of, into) => {
                self.eval(&of[0])?;
                let early = self.pair(&of[1..3])?;
                let [a, b] = if self.eval(&of[3])? != 0 { early } else { self.pair(&of[4..])? };
                self.set(*into, b);
                a
            }
            Expr::Loop2 { counter, turns, ty, op, start, into, .. } => {
                self.set(*counter, u64::from(*turns));
                let [mut a, mut b] = self.pair(&start[..])?;
                let [x, y] = scratch(*ty);
                loop {
                    self.set(y, b);
                    self.set(x, a);
                    (a, b) = (binary(*ty, op, a, b)?, a);
                    let left = (self.locals[*counter].bits as u32).wrapping_sub(1);
                    self.set(*counter, u64::from(left));
                    if left == 0 {
                        break;
                    }
                }
                self.set(*into, b);
                a
            }
            Expr::Call(ty, of) => {
                let [a, b] = self.pair(&of[..])?;
                let twice = binary(*ty, "add", b, b)?;
                binary(*ty, "sub", twice, a)?
            }
            Expr::Swap(_, of, into) => {
                let [a, b] = self.pair(&of[..])?;
                self.set(*into, a);
                b
            }
            Expr::Sane(ty, e) => {
                let bits = self.eval(e)?;
                self.sane(*ty, bits)
            }
            Expr::Splat(e) | Expr::Lane(_, e) | Expr::Number(e) => self.eval(e)?,
            Expr::Func(number) => u64::from(*number),
            Expr::Element(e) => self.eval(e)? & 3,
            Expr::Steps(steps, _) => {
                let mut stack = Vec::new();
                self.walk(steps, &mut stack)?;
                assert_eq!(stack.len(), 1, "steps that leave one value");
                stack[0]
            }
        })
    }
}

fn popped(stack: &mut Vec<u64>) -> u64 {
    stack.pop().expect("a well typed program")
}

fn leave(to: Target, stack: &[u64]) -> Result<()> {
    Err(Exit::Break(to.label, stack[stack.len() - to.arity..].to_vec()))
}

fn unary_of(ty: Ty, op: Op, x: u64) -> Result<u64> {
    unary(&format!("{}.{op}", ty.name()), x)
}

macro_rules! integer {
    ($name:ident, $signed:ty, $unsigned:ty) => {
        fn $name(op: Op, a: u64, b: u64) -> Result<u64> {
            let (a, b) = (a as $unsigned, b as $unsigned);
            let (sa, sb) = (a as $signed, b as $signed);
            let width = <$unsigned>::BITS;
            let count = (b % width as $unsigned) as u32;
            let truth = |x: bool| -> Result<u64> { Ok(u64::from(x)) };
            let value: $unsigned = match op {
                "add" => a.wrapping_add(b),
                "sub" => a.wrapping_sub(b),
                "mul" => a.wrapping_mul(b),
                "and" => a & b,
                "or" => a | b,
                "xor" => a ^ b,
                "shl" => a << count,
                "shr_u" => a >> count,
                "shr_s" => (sa >> count) as $unsigned,
                "rotl" => {
                    if count == 0 {
                        a
                    } else {
                        (a << count) | (a >> (width - count))
                    }
                }
                "rotr" => {
                    if count == 0 {
                        a
                    } else {
                        (a >> count) | (a << (width - count))
                    }
                }
                "div_u" | "rem_u" | "div_s" | "rem_s" if b == 0 => {
                    return trap(TrapCode::IntegerDivideByZero);
                }
                "div_u" => a / b,
                "rem_u" => a % b,
                "div_s" if sa == <$signed>::MIN && sb == -1 => {
                    return trap(TrapCode::IntegerOverflow);
                }
                "div_s" => (sa / sb) as $unsigned,
                "rem_s" if sb == -1 => 0,
                "rem_s" => (sa % sb) as $unsigned,
                "eq" => return truth(a == b),
                "ne" => return truth(a != b),
                "lt_u" => return truth(a < b),
                "gt_u" => return truth(a > b),
                "le_u" => return truth(a <= b),
                "ge_u" => return truth(a >= b),
                "lt_s" => return truth(sa < sb),
                "gt_s" => return truth(sa > sb),
                "le_s" => return truth(sa <= sb),
                "ge_s" => return truth(sa >= sb),
                _ => panic!("no operator {op}"),
            };
            Ok(u64::from(value))
        }
    };
}
integer!(integer32, i32, u32);
integer!(integer64, i64, u64);

macro_rules! float {
    ($name:ident, $ty:ty, $bits:ty) => {
        fn $name(op: Op, a: u64, b: u64) -> Result<u64> {
            let (a, b) = (<$ty>::from_bits(a as $bits), <$ty>::from_bits(b as $bits));
            let truth = |x: bool| -> Result<u64> { Ok(u64::from(x)) };
            let value: $ty = match op {
                "add" => a + b,
                "sub" => a - b,
                "mul" => a * b,
                "div" => a / b,
                "min" | "max" if a.is_nan() || b.is_nan() => <$ty>::NAN,
                "min" if a == b => {
                    if a.is_sign_negative() {
                        a
                    } else {
                        b
                    }
                }
                "max" if a == b => {
                    if a.is_sign_negative() {
                        b
                    } else {
                        a
                    }
                }
                "min" => {
                    if a < b {
                        a
                    } else {
                        b
                    }
                }
                "max" => {
                    if a > b {
                        a
                    } else {
                        b
                    }
                }
                "copysign" => {
                    let sign = (1 as $bits).rotate_right(1);
                    <$ty>::from_bits((a.to_bits() & !sign) | (b.to_bits() & sign))
                }
                "eq" => return truth(a == b),
                "ne" => return truth(a != b),
                "lt" => return truth(a < b),
                "gt" => return truth(a > b),
                "le" => return truth(a <= b),
                "ge" => return truth(a >= b),
                _ => panic!("no operator {op}"),
            };
            Ok(u64::from(value.to_bits()))
        }
    };
}
float!(float32, f32, u32);
float!(float64, f64, u64);

fn binary(ty: Ty, op: Op, a: u64, b: u64) -> Result<u64> {
    match ty {
        Ty::I32 => integer32(op, a, b),
        Ty::I64 | Ty::V128 => integer64(op, a, b),
        Ty::Ref => panic!("no operator {op} of references"),
        Ty::F32 => float32(op, a, b),
        Ty::F64 => float64(op, a, b),
    }
}

/// Half of all operators with one operand are conversions; those that trap do so outside of a range
/// whose ends are not part of it.
fn truncate(x: f64, below: f64, above: f64) -> Result<f64> {
    if x.is_nan() {
        return trap(TrapCode::InvalidConversionToInteger);
    }
    if x <= below || x >= above {
        return trap(TrapCode::IntegerOverflow);
    }
    Ok(x.trunc())
}

/// The next float below −2^63: what `i64` cannot hold any more.
const BELOW_I64: f64 = -9_223_372_036_854_777_856.0;

fn unary(name: &str, x: u64) -> Result<u64> {
    let (i, l) = (x as u32, x);
    let (f, d) = (f32_of(x), f64_of(x));
    let from_f32 = |x: f32| u64::from(x.to_bits());
    let from_i32 = |x: i32| u64::from(x as u32);
    Ok(match name {
        "i32.eqz" => u64::from(i == 0),
        "i64.eqz" => u64::from(l == 0),
        "i32.clz" => u64::from(i.leading_zeros()),
        "i32.ctz" => u64::from(i.trailing_zeros()),
        "i32.popcnt" => u64::from(i.count_ones()),
        "i64.clz" => u64::from(l.leading_zeros()),
        "i64.ctz" => u64::from(l.trailing_zeros()),
        "i64.popcnt" => u64::from(l.count_ones()),
        "i32.extend8_s" => from_i32(i32::from(i as i8)),
        "i32.extend16_s" => from_i32(i32::from(i as i16)),
        "i64.extend8_s" => i64::from(l as i8) as u64,
        "i64.extend16_s" => i64::from(l as i16) as u64,
        "i64.extend32_s" | "i64.extend_i32_s" => i64::from(l as i32) as u64,
        "i64.extend_i32_u" | "i32.wrap_i64" => u64::from(l as u32),
        "i32.reinterpret_f32" | "f32.reinterpret_i32" => u64::from(i),
        "i64.reinterpret_f64" | "f64.reinterpret_i64" => l,
        "f32.abs" => x & 0x7FFF_FFFF,
        "f32.neg" => x ^ 0x8000_0000,
        "f32.ceil" => from_f32(f.ceil()),
        "f32.floor" => from_f32(f.floor()),
        "f32.trunc" => from_f32(f.trunc()),
        "f32.nearest" => from_f32(f.round_ties_even()),
        "f32.sqrt" => from_f32(f.sqrt()),
        "f64.abs" => x & !(1 << 63),
        "f64.neg" => x ^ (1 << 63),
        "f64.ceil" => d.ceil().to_bits(),
        "f64.floor" => d.floor().to_bits(),
        "f64.trunc" => d.trunc().to_bits(),
        "f64.nearest" => d.round_ties_even().to_bits(),
        "f64.sqrt" => d.sqrt().to_bits(),
        "f32.demote_f64" => from_f32(d as f32),
        "f64.promote_f32" => f64::from(f).to_bits(),
        "f32.convert_i32_s" => from_f32(i as i32 as f32),
        "f32.convert_i32_u" => from_f32(i as f32),
        "f32.convert_i64_s" => from_f32(l as i64 as f32),
        "f32.convert_i64_u" => from_f32(l as f32),
        "f64.convert_i32_s" => f64::from(i as i32).to_bits(),
        "f64.convert_i32_u" => f64::from(i).to_bits(),
        "f64.convert_i64_s" => (l as i64 as f64).to_bits(),
        "f64.convert_i64_u" => (l as f64).to_bits(),
        "i32.trunc_sat_f32_s" => from_i32(f as i32),
        "i32.trunc_sat_f32_u" => u64::from(f as u32),
        "i32.trunc_sat_f64_s" => from_i32(d as i32),
        "i32.trunc_sat_f64_u" => u64::from(d as u32),
        "i64.trunc_sat_f32_s" => (f as i64) as u64,
        "i64.trunc_sat_f32_u" => f as u64,
        "i64.trunc_sat_f64_s" => (d as i64) as u64,
        "i64.trunc_sat_f64_u" => d as u64,
        "i32.trunc_f32_s" => {
            from_i32(truncate(f64::from(f), -2_147_483_649.0, 2_147_483_648.0)? as i32)
        }
        "i32.trunc_f32_u" => u64::from(truncate(f64::from(f), -1.0, 4_294_967_296.0)? as u32),
        "i32.trunc_f64_s" => from_i32(truncate(d, -2_147_483_649.0, 2_147_483_648.0)? as i32),
        "i32.trunc_f64_u" => u64::from(truncate(d, -1.0, 4_294_967_296.0)? as u32),
        "i64.trunc_f32_s" => {
            truncate(f64::from(f), BELOW_I64, 9_223_372_036_854_775_808.0)? as i64 as u64
        }
        "i64.trunc_f32_u" => truncate(f64::from(f), -1.0, 18_446_744_073_709_551_616.0)? as u64,
        "i64.trunc_f64_s" => truncate(d, BELOW_I64, 9_223_372_036_854_775_808.0)? as i64 as u64,
        "i64.trunc_f64_u" => truncate(d, -1.0, 18_446_744_073_709_551_616.0)? as u64,
        _ => panic!("no operator {name}"),
    })
}
