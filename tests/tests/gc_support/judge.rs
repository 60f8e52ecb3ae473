//! Evaluates the trees of random programs on objects, which are never collected here.

use palisade::TrapCode;

use super::ast::{Body, Class, Expr, Func, Sig, Stmt, Target, Ty};

#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Value {
    I32(i32),
    I64(i64),
    F64(f64),
    Null,
    I31(i32),
    /// The number of an object.
    Object(usize),
}

impl Value {
    fn i32(self) -> i32 {
        match self {
            Self::I32(x) => x,
            other => panic!("{other:?} is no i32"),
        }
    }

    fn i64(self) -> i64 {
        match self {
            Self::I64(x) => x,
            other => panic!("{other:?} is no i64"),
        }
    }

    fn zero(ty: Ty) -> Self {
        match ty {
            Ty::I32 => Self::I32(0),
            Ty::I64 => Self::I64(0),
            Ty::F64 => Self::F64(0.0),
            Ty::Node | Ty::Arr | Ty::Eq => Self::Null,
        }
    }
}

enum Object {
    Struct(Class, Vec<Value>),
    Array([Value; 4]),
}

/// Why an evaluation goes on elsewhere.
pub enum Leave {
    Branch(u32, Value),
    Return(Value),
    Trap(TrapCode),
    /// It takes too long to be of use.
    TooLong,
}

type Result<T> = std::result::Result<T, Leave>;

pub struct Machine<'p> {
    funcs: &'p [Func],
    objects: Vec<Object>,
    node: Value,
    eq: Value,
    arr: Value,
    table: [Value; 4],
    steps: u32,
}

impl<'p> Machine<'p> {
    pub fn new(funcs: &'p [Func]) -> Self {
        let mut this = Self {
            funcs,
            objects: Vec::new(),
            node: Value::Null,
            eq: Value::Null,
            arr: Value::Null,
            table: [Value::Null; 4],
            steps: 0,
        };
        this.arr = this.array([Value::Null; 4]);
        this
    }

    /// What the exported function gives.
    pub fn run(&mut self, input: i32) -> Result<i64> {
        self.steps = 0;
        let fields = vec![Value::I32(input), Value::Null, Value::I31(-5)];
        let start = self.object(Class::Node, fields);
        let result = self.call(0, vec![start, Value::I32(input)])?;
        let [t0, t1, t2, t3] = self.table;
        let all = [result, self.node, self.eq, self.arr, t0, t1, t2];
        let last = self.sum(t3, 4);
        Ok(all.into_iter().rev().fold(last, |sum, value| mix(self.sum(value, 4), sum)))
    }

    fn object(&mut self, class: Class, mut fields: Vec<Value>) -> Value {
        for (at, field) in fields.iter_mut().enumerate() {
            *field = packed(at, *field);
        }
        self.objects.push(Object::Struct(class, fields));
        Value::Object(self.objects.len() - 1)
    }

    fn array(&mut self, items: [Value; 4]) -> Value {
        self.objects.push(Object::Array(items));
        Value::Object(self.objects.len() - 1)
    }

    fn fields(&mut self, object: Value) -> &mut Vec<Value> {
        match object {
            Value::Object(at) => match &mut self.objects[at] {
                Object::Struct(_, fields) => fields,
                Object::Array(_) => panic!("an array where a structure should be"),
            },
            other => panic!("{other:?} is no structure"),
        }
    }

    fn items(&mut self, array: Value) -> &mut [Value; 4] {
        match array {
            Value::Object(at) => match &mut self.objects[at] {
                Object::Array(items) => items,
                Object::Struct(..) => panic!("a structure where an array should be"),
            },
            other => panic!("{other:?} is no array"),
        }
    }

    fn is(&self, value: Value, target: Target, nullable: bool) -> bool {
        match value {
            Value::Null => nullable,
            Value::I31(_) => matches!(target, Target::I31 | Target::Eq),
            Value::Object(at) => match (&self.objects[at], target) {
                (_, Target::Eq) => true,
                (Object::Struct(class, _), Target::Class(wanted)) => *class >= wanted,
                (Object::Struct(..), Target::Struct) | (Object::Array(_), Target::Arr) => true,
                _ => false,
            },
            other => panic!("{other:?} is no reference"),
        }
    }

    fn sum(&self, value: Value, deep: u32) -> i64 {
        let at = match value {
            Value::Null => return 1,
            _ if deep == 0 => return 2,
            Value::I31(x) => return i64::from(x).wrapping_add(3),
            Value::Object(at) => at,
            other => panic!("{other:?} is no reference"),
        };
        let sum = |value: Value| self.sum(value, deep - 1);
        match &self.objects[at] {
            Object::Array([a, b, c, d]) => {
                mix(4, mix(sum(*a), mix(sum(*b), mix(sum(*c), sum(*d)))))
            }
            Object::Struct(class, f) => {
                let mut all = mix(i64::from(f[0].i32()), mix(sum(f[1]), sum(f[2])));
                if *class >= Class::Big {
                    let Value::F64(float) = f[6] else { panic!("no float") };
                    let rest = mix(i64::from(f[5].i32()), float.to_bits() as i64);
                    all = mix(all, mix(f[3].i64(), mix(i64::from(f[4].i32()), rest)));
                }
                if *class == Class::Huge {
                    let rest = mix(sum(f[8]), mix(f[9].i64(), sum(f[10])));
                    all = mix(all, mix(sum(f[7]), rest));
                }
                all
            }
        }
    }

    fn call(&mut self, func: usize, args: Vec<Value>) -> Result<Value> {
        let func = &self.funcs[func];
        let mut locals = args;
        let declared = &func.locals[func.sig.params().len()..];
        locals.extend(declared.iter().map(|&ty| Value::zero(ty)));
        match self.body(&func.body, &mut locals) {
            Err(Leave::Return(value)) => Ok(value),
            other => other,
        }
    }

    fn body(&mut self, body: &'p Body, locals: &mut Vec<Value>) -> Result<Value> {
        self.stmts(&body.stmts, locals)?;
        self.expr(&body.value, locals)
    }

    fn stmts(&mut self, stmts: &'p [Stmt], locals: &mut Vec<Value>) -> Result<()> {
        stmts.iter().try_for_each(|stmt| self.stmt(stmt, locals))
    }

    fn stmt(&mut self, stmt: &'p Stmt, l: &mut Vec<Value>) -> Result<()> {
        match stmt {
            Stmt::Set(local, e) => l[*local] = self.expr(e, l)?,
            Stmt::SetField(_, field, object, e) => {
                let object = self.expr(object, l)?;
                let value = self.expr(e, l)?;
                self.fields(object)[*field] = packed(*field, value);
            }
            Stmt::SetGlobal(ty, e) => {
                let value = self.expr(e, l)?;
                *self.global(*ty) = value;
            }
            Stmt::SetTable(at, e) => self.table[*at as usize] = self.expr(e, l)?,
            Stmt::SetElement(array, index, e) => {
                let array = self.expr(array, l)?;
                let index = self.expr(index, l)?.i32() & 3;
                let value = self.expr(e, l)?;
                self.items(array)[index as usize] = value;
            }
            Stmt::Fill(array, from, e) => {
                let array = self.expr(array, l)?;
                let value = self.expr(e, l)?;
                self.items(array)[*from as usize..][..2].fill(value);
            }
            Stmt::Copy(array, to, source, from) => {
                let array = self.expr(array, l)?;
                let source = self.expr(source, l)?;
                let items = *self.items(source);
                let items = &items[*from as usize..][..3];
                self.items(array)[*to as usize..][..3].copy_from_slice(items);
            }
            Stmt::Drop(e) => {
                self.expr(e, l)?;
            }
            Stmt::If(cond, then, other) => {
                let cond = self.expr(cond, l)?.i32() != 0;
                self.stmts(if cond { then } else { other }, l)?;
            }
            Stmt::TailCall(_, func, args) => {
                let args = self.all(args, l)?;
                return Err(Leave::Return(self.call(*func, args)?));
            }
            Stmt::ReturnIfNull(e) => {
                if self.expr(e, l)? == Value::Null {
                    return Err(Leave::Return(self.node));
                }
            }
        }
        Ok(())
    }

    fn global(&mut self, ty: Ty) -> &mut Value {
        match ty {
            Ty::Node => &mut self.node,
            Ty::Arr => &mut self.arr,
            _ => &mut self.eq,
        }
    }

    fn all(&mut self, list: &'p [Expr], l: &mut Vec<Value>) -> Result<Vec<Value>> {
        list.iter().map(|e| self.expr(e, l)).collect()
    }

    /// A block's value, or that of a branch to it.
    fn landed(result: Result<Value>, label: u32) -> Result<Value> {
        match result {
            Err(Leave::Branch(to, value)) if to == label => Ok(value),
            other => other,
        }
    }

    fn expr(&mut self, e: &'p Expr, l: &mut Vec<Value>) -> Result<Value> {
        self.steps += 1;
        if self.steps > 20_000 {
            return Err(Leave::TooLong);
        }
        let truth = |holds: bool| Ok(Value::I32(i32::from(holds)));
        match e {
            Expr::Const(ty, bits) => Ok(match ty {
                Ty::I32 => Value::I32(*bits as i32),
                Ty::I64 => Value::I64(*bits as i64),
                Ty::F64 => Value::F64(f64::from_bits(*bits)),
                Ty::Node | Ty::Eq => Value::Null,
                Ty::Arr => self.array([Value::Null; 4]),
            }),
            Expr::Local(local) => Ok(l[*local]),
            Expr::Tee(local, e) => {
                l[*local] = self.expr(e, l)?;
                Ok(l[*local])
            }
            Expr::Global(ty) => Ok(*self.global(*ty)),
            Expr::Table(at) => Ok(self.table[*at as usize]),
            Expr::Mix(_, a, b) => Ok(match (self.expr(a, l)?, self.expr(b, l)?) {
                (Value::I32(a), Value::I32(b)) => Value::I32(a.wrapping_sub(b)),
                (Value::I64(a), Value::I64(b)) => Value::I64(a ^ b),
                (Value::F64(a), Value::F64(b)) => Value::F64(a + b),
                other => panic!("{other:?}"),
            }),
            Expr::IsNull(a) => truth(self.expr(a, l)? == Value::Null),
            Expr::Eqz(a) => truth(self.expr(a, l)?.i32() == 0),
            Expr::Same(a, b) => truth(self.expr(a, l)? == self.expr(b, l)?),
            Expr::Test(target, nullable, a) => {
                let value = self.expr(a, l)?;
                truth(self.is(value, *target, *nullable))
            }
            Expr::New(class, fields) => {
                let fields = self.all(fields, l)?;
                Ok(self.object(*class, fields))
            }
            Expr::NewDefault(class) => {
                let fields = class.fields().iter().map(|&ty| Value::zero(ty)).collect();
                Ok(self.object(*class, fields))
            }
            Expr::Fixed(items) => {
                let items = self.all(items, l)?;
                Ok(self.array(items.try_into().expect("four elements")))
            }
            Expr::Filled(a) => {
                let value = self.expr(a, l)?;
                Ok(self.array([value; 4]))
            }
            Expr::Empty => Ok(self.array([Value::Null; 4])),
            Expr::Get(_, field, a) => {
                let object = self.expr(a, l)?;
                Ok(self.fields(object)[*field])
            }
            Expr::Element(a, index) => {
                let array = self.expr(a, l)?;
                let index = self.expr(index, l)?.i32() & 3;
                Ok(self.items(array)[index as usize])
            }
            Expr::Len(a) => {
                self.expr(a, l)?;
                Ok(Value::I32(4))
            }
            Expr::I31(a) => Ok(Value::I31(self.expr(a, l)?.i32() << 1 >> 1)),
            Expr::I31Or(signed, a, b) => match self.expr(a, l)? {
                Value::I31(x) if *signed => Ok(Value::I32(x)),
                Value::I31(x) => Ok(Value::I32(x & 0x7FFF_FFFF)),
                _ => self.expr(b, l),
            },
            Expr::OrElse(a, b) => match self.expr(a, l)? {
                Value::Null => self.expr(b, l),
                value => Ok(value),
            },
            Expr::CastOr(_, class, a, b) => {
                let value = self.expr(a, l)?;
                if self.is(value, Target::Class(*class), true) {
                    Ok(value)
                } else {
                    self.expr(b, l)
                }
            }
            Expr::Cast(class, a) => {
                let value = self.expr(a, l)?;
                if self.is(value, Target::Class(*class), true) {
                    Ok(value)
                } else {
                    Err(Leave::Trap(TrapCode::CastFailure))
                }
            }
            Expr::Convert(a) => self.expr(a, l),
            Expr::Select(_, a, b, c) => {
                let (a, b) = (self.expr(a, l)?, self.expr(b, l)?);
                Ok(if self.expr(c, l)?.i32() != 0 { a } else { b })
            }
            Expr::If(_, cond, then, other) => {
                let cond = self.expr(cond, l)?.i32() != 0;
                self.body(if cond { then } else { other }, l)
            }
            Expr::Block(_, label, body) => Self::landed(self.body(body, l), *label),
            Expr::BrIf(label, value, cond) => {
                let value = self.expr(value, l)?;
                if self.expr(cond, l)?.i32() != 0 {
                    return Err(Leave::Branch(*label, value));
                }
                Ok(value)
            }
            Expr::Switch(_, _, value, index, others) => {
                let value = self.expr(value, l)?;
                match self.expr(index, l)?.i32() {
                    0 => self.expr(&others[0], l),
                    1 => self.expr(&others[1], l),
                    _ => Ok(value),
                }
            }
            Expr::Wide(_, values, cond, other) => {
                let mut v = self.all(values, l)?;
                if self.expr(cond, l)?.i32() == 0 {
                    v[6] = self.expr(other, l)?;
                }
                let fields = vec![v[1], v[0], v[2], v[4], v[1], v[1], v[5], v[3], v[0], v[4], v[6]];
                Ok(self.object(Class::Huge, fields))
            }
            Expr::Loop(_, held, counter, count, start, next) => {
                let mut value = self.expr(start, l)?;
                for left in (1..=*count).rev() {
                    l[*counter] = Value::I32(left as i32);
                    l[*held] = value;
                    value = self.expr(next, l)?;
                }
                Ok(value)
            }
            Expr::Call(_, sig, func, args) => {
                let args = self.all(args, l)?;
                let value = self.call(*func, args)?;
                if *sig == Sig::Pair {
                    let fields = vec![Value::I32(77), value, Value::Null];
                    return Ok(self.object(Class::Node, fields));
                }
                Ok(value)
            }
            Expr::Pass(a, which, b) => {
                let a = self.expr(a, l)?;
                let which = self.expr(which, l)?.i32();
                let b = self.expr(b, l)?;
                Ok(if which & 1 == 0 { a } else { b })
            }
            Expr::Make(number) => Ok(Value::I32(self.expr(number, l)?.i32() & 7)),
            Expr::Busy(a, number) => {
                self.expr(a, l)?;
                Ok(Value::I32(self.expr(number, l)?.i32().wrapping_add(3)))
            }
        }
    }
}

/// A value as a field keeps it: the fifth has 8 bits with a sign, the sixth 16 without.
fn packed(field: usize, value: Value) -> Value {
    match (field, value) {
        (4, Value::I32(x)) => Value::I32(i32::from(x as i8)),
        (5, Value::I32(x)) => Value::I32(i32::from(x as u16)),
        (_, value) => value,
    }
}

fn mix(a: i64, b: i64) -> i64 {
    a.wrapping_mul(31).wrapping_add(b)
}
