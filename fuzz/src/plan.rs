//! What is done with a module: the imports that it gets, the calls, what the host writes in between.
//! A plan is made from the module's types and a seed, and carried out by every engine.
//!
//! Nothing in it is an engine's own: values are numbers, nulls and small integers.

use palisade::{ExternType, HeapType, Module, Mutability, RefType, ValType};
use serde_json::{Value as Json, json};

use crate::rng::Rng;

/// The families of references.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Family {
    Func,
    Extern,
    Any,
    Exn,
}

/// A value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    Null(Family),
    I31(u32),
}

/// What an import gets. Memories, tables and tags are of the type that the module asks for; tables are full of nulls.
#[derive(Clone, Debug)]
pub enum Give {
    /// A function with these results; numbers among them depend on the arguments, too.
    Func(Vec<Value>),
    Global(Value),
    Memory,
    Table(Family),
    Tag,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// A call of an export.
    Call(String, Vec<Value>),
    /// A global that the host sets.
    Write(String, Value),
}

pub struct Plan {
    pub gives: Vec<Give>,
    pub acts: Vec<Act>,
    /// The plan as JavaScript can carry it out, or why it cannot.
    pub script: Result<Json, &'static str>,
}

pub fn family(ty: &RefType) -> Family {
    let heap = ty.heap_type();
    if heap.matches(&HeapType::Func) {
        Family::Func
    } else if heap.matches(&HeapType::Extern) {
        Family::Extern
    } else if heap.matches(&HeapType::Exn) {
        Family::Exn
    } else {
        Family::Any
    }
}

/// A value of a type, if there is one that can be had from nothing.
fn value(rng: &mut Rng, ty: &ValType) -> Option<Value> {
    let int = |rng: &mut Rng| match rng.below(3) {
        0 => rng.below(16),
        1 => rng.next(),
        _ => *rng.pick(&[u64::MAX, 1 << 31, 1 << 32, 1 << 63, 65_535, 65_536, 0x7fff_ffff]),
    };
    let float = |rng: &mut Rng| {
        *rng.pick(&[0.0, -0.0, 1.5, -1e9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 4e9, 1e-310])
    };
    Some(match ty {
        ValType::I32 => Value::I32(int(rng) as i32),
        ValType::I64 => Value::I64(int(rng) as i64),
        ValType::F32 => Value::F32((float(rng) as f32).to_bits()),
        ValType::F64 => Value::F64(float(rng).to_bits()),
        ValType::V128 => Value::V128(u128::from(rng.next()) << 64 | u128::from(rng.next())),
        ValType::Ref(ty) => {
            let small = HeapType::I31.matches(ty.heap_type());
            if small && crate::OBJECTS && (!ty.is_nullable() || rng.chance(70)) {
                Value::I31(int(rng) as u32 & 0x7fff_ffff)
            } else if ty.is_nullable() {
                Value::Null(family(ty))
            } else {
                return None;
            }
        }
    })
}

fn values(rng: &mut Rng, types: &[ValType]) -> Option<Vec<Value>> {
    types.iter().map(|ty| value(rng, ty)).collect()
}

/// A type as the script knows it.
fn type_name(ty: &ValType) -> &'static str {
    match ty {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::Ref(ty) => match family(ty) {
            Family::Func => "funcref",
            Family::Extern => "externref",
            Family::Any => "anyref",
            Family::Exn => "exnref",
        },
    }
}

fn type_names(types: &[ValType]) -> Vec<&'static str> {
    types.iter().map(type_name).collect()
}

/// Whether JavaScript has values of this type.
fn scriptable(ty: &ValType) -> bool {
    !matches!(type_name(ty), "v128" | "exnref")
}

/// Whether JavaScript can make globals and tables of this type, and not of one like it.
fn plain(ty: &RefType) -> Option<&'static str> {
    Some(match (ty.is_nullable(), ty.heap_type()) {
        (true, HeapType::Func) => "anyfunc",
        (true, HeapType::Extern) => "externref",
        (true, HeapType::Any) => "anyref",
        (true, HeapType::Eq) => "eqref",
        (true, HeapType::I31) => "i31ref",
        (true, HeapType::Struct) => "structref",
        (true, HeapType::Array) => "arrayref",
        _ => return None,
    })
}

fn json_value(value: &Value) -> Json {
    let (ty, text) = match value {
        Value::I32(x) => ("i32", x.to_string()),
        Value::I64(x) => ("i64", x.to_string()),
        Value::F32(x) => ("f32", x.to_string()),
        Value::F64(x) => ("f64", x.to_string()),
        Value::V128(_) => ("v128", String::new()),
        Value::Null(_) => ("null", String::new()),
        Value::I31(x) => ("i31", ((x << 1) as i32 >> 1).to_string()),
    };
    json!([ty, text])
}

fn json_values(values: &[Value]) -> Vec<Json> {
    values.iter().map(json_value).collect()
}

fn limits(minimum: u64, maximum: Option<u64>, wide: bool) -> Json {
    json!({
        "initial": minimum.to_string(),
        "maximum": maximum.map(|max| max.to_string()),
        "wide": wide,
    })
}

/// Builds the script beside the plan.
struct Script {
    imports: Vec<Json>,
    acts: Vec<Json>,
    exports: Vec<Json>,
    impossible: Option<&'static str>,
}

impl Script {
    fn import(&mut self, module: &str, name: &str, ty: &ExternType, give: &Give) {
        let what = match (ty, give) {
            (ExternType::Func(ty), Give::Func(results)) => {
                if !ty.params().iter().chain(ty.results()).all(scriptable) {
                    self.impossible = Some("an import with a type that JavaScript does not have");
                }
                json!({ "kind": "func", "params": type_names(ty.params()), "results": json_values(results) })
            }
            (ExternType::Global(ty), Give::Global(value)) => {
                let name = match ty.content() {
                    ValType::V128 => None,
                    ValType::Ref(ty) => plain(ty),
                    number => Some(type_name(number)),
                };
                if name.is_none() {
                    self.impossible = Some("a global of a type that JavaScript does not have");
                }
                let mutable = ty.mutability() == Mutability::Var;
                json!({ "kind": "global", "type": name, "mutable": mutable, "value": json_value(value) })
            }
            (ExternType::Memory(ty), _) => {
                let limits = limits(ty.minimum(), ty.maximum(), ty.is_64());
                json!({ "kind": "memory", "limits": limits, "shared": ty.is_shared() })
            }
            (ExternType::Table(ty), _) => {
                let element = plain(ty.element());
                if element.is_none() {
                    self.impossible = Some("a table of a type that JavaScript does not have");
                }
                let limits = limits(ty.minimum(), ty.maximum(), ty.is_64());
                json!({ "kind": "table", "limits": limits, "element": element })
            }
            (ExternType::Tag(ty), _) => {
                let func = ty.func_type();
                if !func.params().iter().all(|ty| !matches!(ty, ValType::Ref(_)) && scriptable(ty))
                {
                    self.impossible = Some("a tag of types that JavaScript does not have");
                }
                json!({ "kind": "tag", "params": type_names(func.params()) })
            }
            _ => json!(null),
        };
        self.imports.push(json!([module, name, what]));
    }
}

impl Plan {
    /// The plan of a seed for a module; `None` if an import cannot be satisfied from nothing.
    pub fn new(module: &Module, seed: u64) -> Option<Self> {
        let mut rng = Rng::new(seed ^ 0xABCD);
        // Half of the modules are called only as JavaScript can.
        let narrow = rng.chance(50);
        let mut script =
            Script { imports: Vec::new(), acts: Vec::new(), exports: Vec::new(), impossible: None };
        let (mut gives, mut names) = (Vec::new(), Vec::new());
        for import in module.imports() {
            let give = match import.ty() {
                ExternType::Func(ty) => Give::Func(values(&mut rng, ty.results())?),
                ExternType::Global(ty) => Give::Global(value(&mut rng, ty.content())?),
                ExternType::Table(ty) if ty.element().is_nullable() => {
                    Give::Table(family(ty.element()))
                }
                ExternType::Table(_) => return None,
                ExternType::Memory(_) => Give::Memory,
                ExternType::Tag(_) => Give::Tag,
            };
            let name = (import.module().to_owned(), import.name().to_owned());
            if names.contains(&name) {
                script.impossible = Some("two imports of one name");
            }
            names.push(name);
            script.import(import.module(), import.name(), import.ty(), &give);
            gives.push(give);
        }
        let mut acts = Vec::new();
        let exports: Vec<_> =
            module.exports().map(|e| (e.name().to_owned(), e.ty().clone())).collect();
        for (name, ty) in exports.iter().chain(&exports) {
            match ty {
                ExternType::Func(ty) => {
                    let wide = !ty.params().iter().chain(ty.results()).all(scriptable);
                    let Some(args) = values(&mut rng, ty.params()) else { continue };
                    if wide && narrow {
                        continue;
                    }
                    if wide {
                        script.impossible = Some("a call with types that JavaScript does not have");
                    }
                    script.acts.push(json!({
                        "call": name,
                        "args": json_values(&args),
                        "results": type_names(ty.results()),
                    }));
                    acts.push(Act::Call(name.clone(), args));
                }
                ExternType::Global(ty) if ty.mutability() == Mutability::Var => {
                    if !ty.content().is_num() {
                        continue;
                    }
                    let Some(value) = value(&mut rng, ty.content()) else { continue };
                    script.acts.push(json!({ "write": name, "value": json_value(&value) }));
                    acts.push(Act::Write(name.clone(), value));
                }
                _ => {}
            }
        }
        for (name, ty) in &exports {
            let (kind, ty) = match ty {
                ExternType::Memory(_) => ("memory", ""),
                ExternType::Global(ty) => ("global", type_name(ty.content())),
                ExternType::Table(ty) => ("table", type_name(&ValType::Ref(ty.element().clone()))),
                _ => continue,
            };
            script.exports.push(json!([name, kind, ty]));
        }
        let Script { imports, acts: steps, exports, impossible } = script;
        let script = match impossible {
            Some(reason) => Err(reason),
            None => Ok(json!({ "imports": imports, "acts": steps, "exports": exports })),
        };
        Some(Self { gives, acts, script })
    }

    /// Leaves the calls with these numbers out.
    pub fn without(&mut self, calls: &[usize]) {
        let mut seen = 0;
        let keep: Vec<bool> = (self.acts.iter())
            .map(|act| {
                let call = matches!(act, Act::Call(..));
                seen += usize::from(call);
                !(call && calls.contains(&(seen - 1)))
            })
            .collect();
        let mut at = keep.iter();
        self.acts.retain(|_| at.next().is_none_or(|keep| *keep));
        if let Ok(script) = &mut self.script
            && let Some(acts) = script["acts"].as_array_mut()
        {
            let mut at = keep.iter();
            acts.retain(|_| at.next().is_none_or(|keep| *keep));
        }
    }
}

/// What an import function makes of its arguments: the same in every engine.
pub fn mix(args: impl Iterator<Item = u64>) -> u64 {
    args.fold(0, |sum: u64, arg| sum.wrapping_mul(31) ^ arg)
}

/// A result of an import function.
pub fn mixed(result: Value, sum: u64) -> Value {
    match result {
        Value::I32(x) => Value::I32(x ^ sum as i32),
        Value::I64(x) => Value::I64(x ^ sum as i64),
        other => other,
    }
}

/// What a float's bits count as in [`mix`]: all NaNs are one.
pub fn canonical32(bits: u32) -> u64 {
    if f32::from_bits(bits).is_nan() { 0x7fc0_0000 } else { u64::from(bits) }
}

/// [`canonical32`] for the other type.
pub fn canonical64(bits: u64) -> u64 {
    if f64::from_bits(bits).is_nan() { 0x7ff8_0000_0000_0000 } else { bits }
}
