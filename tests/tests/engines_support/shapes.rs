//! Small functions made to meet the code generator where it has been wrong elsewhere: addresses of every shape
//! (C1), narrow loads under wide operators at the end of memory (C2), many addresses beyond 2^31 that wait for
//! calls (C3), constants (C4).

use std::fmt::Write;

use palisade::{Caller, Extern, Func, FuncType, Instance, Module, Store, Val, ValType};

use super::machines::Machine;
use super::observe::{HostCall, Ledger, bits, ended};
use crate::hostile_support::Rng;

/// A memory: how it is declared, its index type and its length.
pub struct MemoryKind {
    declaration: &'static str,
    index: &'static str,
    length: u64,
}

impl MemoryKind {
    /// Whether its indices have 32 bits, and all of it can be looked at.
    pub fn is_small(&self) -> bool {
        self.index == "i32" && self.length < 1 << 20
    }
}

/// Ordinary ones, one of 64 bits, one that ends within a page, one beyond 2^31.
pub const MEMORIES: [MemoryKind; 5] = [
    MemoryKind { declaration: "1 1", index: "i32", length: 65_536 },
    MemoryKind { declaration: "2", index: "i32", length: 131_072 },
    MemoryKind { declaration: "i64 1 3", index: "i64", length: 65_536 },
    MemoryKind { declaration: "1003 5000 (pagesize 1)", index: "i32", length: 1_003 },
    MemoryKind { declaration: "32769 32769", index: "i32", length: 32_769 << 16 },
];

/// An access: its operator, how many bytes, the type of what it stores or gives.
type Access = (&'static str, u64, &'static str);

const LOADS: [Access; 22] = [
    ("i32.load", 4, "i32"),
    ("i32.load8_s", 1, "i32"),
    ("i32.load8_u", 1, "i32"),
    ("i32.load16_s", 2, "i32"),
    ("i32.load16_u", 2, "i32"),
    ("i64.load", 8, "i64"),
    ("i64.load8_s", 1, "i64"),
    ("i64.load8_u", 1, "i64"),
    ("i64.load16_s", 2, "i64"),
    ("i64.load16_u", 2, "i64"),
    ("i64.load32_s", 4, "i64"),
    ("i64.load32_u", 4, "i64"),
    ("f32.load", 4, "f32"),
    ("f64.load", 8, "f64"),
    ("v128.load", 16, "v128"),
    ("v128.load8x8_u", 8, "v128"),
    ("v128.load32_splat", 4, "v128"),
    ("v128.load8_splat", 1, "v128"),
    ("v128.load64_zero", 8, "v128"),
    ("v128.load32_zero", 4, "v128"),
    ("i32.atomic.load16_u", 2, "i32"),
    ("i64.atomic.load", 8, "i64"),
];

const STORES: [Access; 11] = [
    ("i32.store", 4, "i32"),
    ("i32.store8", 1, "i32"),
    ("i32.store16", 2, "i32"),
    ("i64.store", 8, "i64"),
    ("i64.store8", 1, "i64"),
    ("i64.store16", 2, "i64"),
    ("i64.store32", 4, "i64"),
    ("f32.store", 4, "f32"),
    ("f64.store", 8, "f64"),
    ("v128.store", 16, "v128"),
    ("i32.atomic.store16", 2, "i32"),
];

/// What stands in the last bytes of memories.
const TAIL: usize = 96;

fn tail(length: u64) -> (u64, Vec<u8>) {
    let from = length - TAIL as u64;
    (from, (0..TAIL).map(|i| (i as u8).wrapping_mul(37) | 0x81).collect())
}

/// A number that addresses are made with.
fn constant(rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => rng.below(200),
        1 => 1 << rng.below(32),
        2 => (1u64 << rng.below(32)).wrapping_sub(1),
        3 => (-(rng.below(70_000) as i64)) as u64 & 0xFFFF_FFFF,
        4 => rng.next() & 0xFFFF_FFFF,
        _ => *rng.pick(&[0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF, 65_535, 65_536, 3]),
    }
}

/// An expression for an address, of parameters 0 (`i32`) and 1 (`i64`).
fn shape32(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 {
        return (*rng.pick(&["local.get 0", "local.get 1 i32.wrap_i64", "local.get 0"])).into();
    }
    let c = constant(rng) as u32 as i32;
    let k = rng.below(4);
    let inner = shape32(rng, depth - 1);
    match rng.below(15) {
        0 => format!("{inner} i32.const {k} i32.shl"),
        1 => format!("{inner} i32.const {} i32.shl i32.const {c} i32.and", rng.below(70)),
        2 => format!("{inner} i32.const {c} i32.add"),
        3 => format!("{inner} i32.const {c} i32.sub"),
        4 => format!("{inner} i32.const {} i32.mul", *rng.pick(&[2, 3, 4, 5, 8, 9, -1, 65_536])),
        5 => format!("{inner} i64.extend_i32_s i64.const {c} i64.add i32.wrap_i64"),
        6 => format!("{inner} i64.extend_i32_u i64.const {} i64.shl i32.wrap_i64", rng.below(40)),
        7 => format!("local.get 1 i64.const {} i64.add i32.wrap_i64", rng.next() as i64),
        8 => format!("local.get 1 i64.const {} i64.shr_u i32.wrap_i64", rng.below(40)),
        9 => format!("{inner} i32.extend8_s"),
        10 => format!("{inner} i32.extend16_s"),
        11 => format!("{inner} i32.const {c} i32.and"),
        12 => format!("{inner} local.get 0 i32.const {k} i32.shl i32.add"),
        13 => format!("{inner} i32.const {} i32.shr_u", rng.below(40)),
        _ => format!("{inner} i32.const {c} i32.xor"),
    }
}

fn shape64(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 {
        let leaves =
            ["local.get 1", "local.get 0 i64.extend_i32_u", "local.get 0 i64.extend_i32_s"];
        return (*rng.pick(&leaves)).into();
    }
    let c = if rng.chance(20) { rng.next() } else { constant(rng) } as i64;
    let inner = shape64(rng, depth - 1);
    match rng.below(8) {
        0 => format!("{inner} i64.const {} i64.shl", rng.below(4)),
        1 => format!("{inner} i64.const {} i64.shl i64.const {c} i64.and", rng.below(70)),
        2 => format!("{inner} i64.const {c} i64.add"),
        3 => format!("{inner} i64.const {} i64.mul", *rng.pick(&[2, 3, 4, 5, 8, 9, -1, 65_536])),
        4 => format!("{inner} i64.extend32_s"),
        5 => format!("{inner} i64.const {c} i64.and"),
        6 => format!("{} i64.extend_i32_u", shape32(rng, depth - 1)),
        _ => format!("{inner} local.get 0 i64.extend_i32_u i64.const 3 i64.shl i64.add"),
    }
}

/// What an argument may be.
fn argument(rng: &mut Rng) -> u64 {
    match rng.below(5) {
        0 => rng.below(70_000),
        1 => rng.next(),
        2 => 1 << rng.below(64),
        3 => (rng.next() << 32) | rng.below(66_000),
        _ => {
            *rng.pick(&[0, u64::MAX, 0x8000_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 65_535, 0x1_0000_0000])
        }
    }
}

/// An instance of a module with a host function, `h.f`, that takes and gives an `i32`.
pub fn instantiate(machine: &Machine, text: &str) -> (Store<Ledger>, Instance) {
    let module = match Module::new(&machine.engine, text) {
        Ok(module) => module,
        Err(error) => panic!("{error}\n{text}"),
    };
    let mut store = Store::new(&machine.engine, Ledger::default());
    let _ = store.set_fuel(i64::MAX as u64);
    let ty = FuncType::new([ValType::I32], [ValType::I32]);
    let host = Func::new(&mut store, ty, |mut caller: Caller<'_, Ledger>, args, results| {
        // Memories may be too large to look at.
        let (args, fuel) = (args.to_vec(), caller.get_fuel().ok());
        let call = HostCall { args: args.iter().map(bits).collect(), state: None, fuel };
        caller.data_mut().calls.push(call);
        results[0] = args[0];
        Ok(())
    });
    let host: Extern = host.expect("a function").into();
    let imports = vec![host; module.imports().len()];
    let instance = Instance::new(&mut store, &module, &imports).expect("instantiation");
    (store, instance)
}

/// Calls an export: what it gives, or why and where it ended, and what is left of the fuel.
pub fn outcome(
    store: &mut Store<Ledger>,
    instance: Instance,
    name: &str,
    args: &[Val],
) -> Result<Vec<u64>, String> {
    let func = instance.get_func(&*store, name).unwrap_or_else(|| panic!("no export {name}"));
    let results = func.ty(&*store).expect("a function of this store").results().len();
    let mut results = vec![Val::I32(0); results];
    match func.call(&mut *store, args, &mut results) {
        Ok(()) => Ok(results.iter().map(bits).collect()),
        Err(error) => Err(ended(&error)),
    }
}

/// Runs the same calls everywhere: they must give the same, take the same fuel and leave the same bytes at the
/// end of the memory (`end` is its length).
pub fn compare(machines: &[Machine], text: &str, calls: &[(String, Vec<Val>)], end: Option<u64>) {
    let mut first: Option<(Vec<_>, Vec<HostCall>)> = None;
    for machine in machines {
        let (mut store, instance) = instantiate(machine, text);
        let memory = instance.get_memory(&store, "memory");
        let mut seen = Vec::new();
        for (name, args) in calls {
            if let (Some(memory), Some(end)) = (&memory, end) {
                let (from, bytes) = tail(end);
                memory.write(&mut store, from as usize, &bytes).expect("room");
            }
            let before = store.get_fuel().ok();
            let outcome = outcome(&mut store, instance, name, args);
            let used = before.map(|before| before - store.get_fuel().expect("metered"));
            let mut left = vec![0; 2 * TAIL];
            if let (Some(memory), Some(end)) = (&memory, end) {
                let start = memory.read(&store, 0, &mut left[..TAIL]);
                start.expect("the first bytes");
                memory
                    .read(&store, end as usize - TAIL, &mut left[TAIL..])
                    .expect("the last bytes");
            }
            seen.push((outcome, used, left));
        }
        let host = store.into_data().calls;
        let Some((expected, asked)) = &first else {
            first = Some((seen, host));
            continue;
        };
        let args = |calls: &[HostCall]| calls.iter().map(|c| c.args.clone()).collect::<Vec<_>>();
        assert_eq!(args(asked), args(&host), "{}: calls of the host", machine.name);
        for (((name, args), expected), found) in calls.iter().zip(expected).zip(&seen) {
            let fuel = expected.1.is_none() || found.1.is_none() || expected.1 == found.1;
            let same = expected.0 == found.0 && expected.2 == found.2 && fuel;
            let function = text.lines().find(|line| line.contains(&format!("\"{name}\"")));
            assert!(
                same,
                "{}: {name} {args:?} gives {:?}, not {:?}; fuel {:?}, not {:?}; memory is {}\n{}",
                machine.name,
                found.0,
                expected.0,
                found.1,
                expected.1,
                if expected.2 == found.2 { "the same" } else { "different" },
                function.unwrap_or_default(),
            );
        }
    }
}

/// C1: a module of accesses at addresses of random shapes, and calls that reach the exact last bytes.
pub fn addresses(seed: u64, machines: &[Machine]) {
    let mut rng = Rng::new(seed);
    let kind = &MEMORIES[(seed % MEMORIES.len() as u64) as usize];
    let mut text = format!("(module (memory (export \"memory\") {})\n", kind.declaration);
    let (small, wide) = (kind.index == "i32", kind.index == "i64");
    let mut functions = Vec::new();
    for number in 0..16 {
        let depth = rng.below(4) as u32;
        let shape = if wide { shape64(&mut rng, depth) } else { shape32(&mut rng, depth) };
        let offset = match rng.below(5) {
            0 => 0,
            1 => rng.below(24),
            2 => kind.length - 16 + rng.below(20),
            3 => *rng.pick(&[0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFF0]),
            _ => rng.below(kind.length),
        };
        let load = rng.chance(60);
        let (op, size, ty) = *rng.pick(if load { &LOADS[..] } else { &STORES[..] });
        let sum = if wide { "local.get 2 i64.add" } else { "local.get 2 i32.add" };
        let params = format!("(param i32 i64 {})", kind.index);
        let value = match ty {
            "v128" => "local.get 1 i64x2.splat",
            "f32" => "local.get 0 f32.reinterpret_i32",
            "f64" => "local.get 1 f64.reinterpret_i64",
            "i64" => "local.get 1",
            _ => "local.get 0",
        };
        for (name, address) in [("pure", shape.clone()), ("sum", format!("{shape} {sum}"))] {
            let access = if load {
                format!("(result {ty}) {address} {op} offset={offset}")
            } else {
                format!("{address} {value} {op} offset={offset}")
            };
            let _ = writeln!(text, "(func (export \"{name}{number}\") {params} {access})");
        }
        let index = kind.index;
        let _ = writeln!(text, "(func (export \"at{number}\") {params} (result {index}) {shape})");
        functions.push((offset, size));
    }
    text.push(')');
    // Where shapes lead is asked of the judge, so that what is added makes it the end of the memory.
    let (mut store, instance) = instantiate(&machines[0], &text);
    let mut calls = Vec::new();
    for (number, &(offset, size)) in functions.iter().enumerate() {
        for _ in 0..7 {
            let (x, y) = (argument(&mut rng) as i32, argument(&mut rng) as i64);
            let index = |value: u64| match small {
                true => Val::I32(value as i32),
                false => Val::I64(value as i64),
            };
            let args = [Val::I32(x), Val::I64(y), index(0)];
            let name = format!("at{number}");
            let found = outcome(&mut store, instance, &name, &args).expect("no access")[0];
            let target = match rng.below(8) {
                0..4 => kind.length - size,
                4 => kind.length - size + 1,
                5 => kind.length - size - rng.below(8),
                6 => kind.length + rng.below(16),
                _ => 0u64.wrapping_sub(rng.below(3)),
            };
            let missing = target.wrapping_sub(offset).wrapping_sub(found);
            calls.push((format!("sum{number}"), vec![args[0], args[1], index(missing)]));
            calls.push((format!("pure{number}"), args.to_vec()));
        }
    }
    compare(machines, &text, &calls, Some(kind.length));
}

/// Operators on what was just loaded: `L` is the load, `I` another operand of its type. What comes first is the
/// type of the result.
const ABOVE_LOADS: [(&str, &str, u64); 40] = [
    ("f32", "local.get 2 L f32.copysign", 4),
    ("f32", "L local.get 2 f32.copysign", 4),
    ("f64", "local.get 3 L f64.copysign", 8),
    ("f32", "local.get 2 L f32.min", 4),
    ("f32", "local.get 2 L f32.max", 4),
    ("f64", "local.get 3 L f64.min", 8),
    ("f64", "local.get 3 L f64.max", 8),
    ("f32", "L f32.sqrt", 4),
    ("f64", "L f64.sqrt", 8),
    ("f32", "L f32.neg", 4),
    ("f64", "L f64.abs", 8),
    ("f32", "L f32.ceil", 4),
    ("f64", "L f64.floor", 8),
    ("f32", "local.get 2 L f32.add", 4),
    ("f64", "local.get 3 L f64.mul", 8),
    ("f64", "L4 f64.promote_f32", 4),
    ("f32", "L8 f32.demote_f64", 8),
    ("f64", "local.get 0 i32.load offset=O f64.convert_i32_s", 4),
    ("f64", "local.get 0 i32.load offset=O f64.convert_i32_u", 4),
    ("f32", "local.get 0 i64.load offset=O f32.convert_i64_s", 8),
    ("i32", "local.get 0 i32.load16_s offset=O local.get 0 i32.add", 2),
    ("i32", "local.get 0 i32.load8_u offset=O i32.extend8_s", 1),
    ("i32", "local.get 0 i32.load8_s offset=O local.get 0 i32.and", 1),
    ("i64", "local.get 0 i64.load32_u offset=O i64.extend32_s", 4),
    ("i64", "local.get 0 i64.load32_u offset=O local.get 1 i64.and", 4),
    ("i64", "local.get 0 i64.load16_u offset=O local.get 1 i64.xor", 2),
    ("i64", "local.get 0 i32.load offset=O i64.extend_i32_s", 4),
    ("i64", "local.get 0 i32.load8_u offset=O i64.extend_i32_u", 1),
    ("i32", "local.get 0 i64.load offset=O i32.wrap_i64", 8),
    ("v128", "L4 f32x4.splat", 4),
    ("v128", "L8 f64x2.splat", 8),
    ("v128", "local.get 0 i32.load8_u offset=O i8x16.splat", 1),
    ("v128", "local.get 0 i32.load16_u offset=O i16x8.splat", 2),
    ("v128", "local.get 1 i64x2.splat L4 f32x4.replace_lane 1", 4),
    ("v128", "local.get 1 i64x2.splat L8 f64x2.replace_lane 1", 8),
    ("v128", "local.get 1 i64x2.splat local.get 0 i32.load offset=O i32x4.replace_lane 2", 4),
    ("v128", "local.get 0 v128.load64_zero offset=O f64x2.promote_low_f32x4", 8),
    ("v128", "local.get 0 v128.load64_zero offset=O i16x8.extend_low_i8x16_s", 8),
    ("v128", "local.get 0 v128.load64_zero offset=O f64x2.convert_low_i32x4_s", 8),
    ("v128", "local.get 0 v128.load32_zero offset=O local.get 1 i64x2.splat i32x4.add", 4),
];

/// Vector accesses of one lane: how many bytes.
const LANES: [(&str, u64); 4] = [("8", 1), ("16", 2), ("32", 4), ("64", 8)];

/// C2: narrow loads under wide operators, at each of the last bytes of a memory.
pub fn narrow_loads(machines: &[Machine], kind: &MemoryKind) {
    assert_eq!(kind.index, "i32", "the functions take indices of 32 bits");
    let mut text = format!("(module (memory (export \"memory\") {})\n", kind.declaration);
    let mut calls = Vec::new();
    let mut functions = Vec::new();
    for (result, body, size) in ABOVE_LOADS {
        functions.push((result, body.to_owned(), size));
    }
    for (bits, size) in LANES {
        let vector = "local.get 0 local.get 1 i64x2.splat";
        functions.push(("v128", format!("{vector} v128.load{bits}_lane offset=O 1"), size));
        functions.push((
            "i32",
            format!("{vector} v128.store{bits}_lane offset=O 1 i32.const 0"),
            size,
        ));
        functions.push(("v128", format!("local.get 0 v128.load{bits}_splat offset=O"), size));
    }
    for (number, (result, body, size)) in functions.into_iter().enumerate() {
        for offset in [0, 3, kind.length - size] {
            let load = if size == 4 { "f32" } else { "f64" };
            let body = body
                .replace("L4", &format!("local.get 0 f32.load offset={offset}"))
                .replace("L8", &format!("local.get 0 f64.load offset={offset}"))
                .replace('L', &format!("local.get 0 {load}.load offset={offset}"))
                .replace("offset=O", &format!("offset={offset}"));
            let name = format!("f{number}_{offset}");
            let _ = writeln!(
                text,
                "(func (export \"{name}\") (param i32 i64 f32 f64) (result {result}) {body})"
            );
            let last = kind.length - size;
            for at in [last - 1, last, last + 1, last + size] {
                let index = at.wrapping_sub(offset) as i32;
                let args = vec![
                    Val::I32(index),
                    Val::I64(0x8123_4567_89AB_CDEF_u64 as i64),
                    Val::F32((-1.5f32).to_bits()),
                    Val::F64(2.5f64.to_bits()),
                ];
                calls.push((name.clone(), args));
            }
        }
    }
    text.push(')');
    compare(machines, &text, &calls, Some(kind.length));
}

/// C3: more addresses than there are registers, from 2^31 on, which are used before and after calls.
pub fn pressure(seed: u64, machines: &[Machine]) {
    let mut rng = Rng::new(seed);
    let kind = MEMORIES.last().expect("a large one");
    let mut text = format!(
        "(module (import \"h\" \"f\" (func $host (param i32) (result i32)))
         (memory (export \"memory\") {})
         (func $clobber (param i32) (result i32) (local i64 f64)
            local.get 0 i32.const 7 i32.mul local.get 0 i32.const 13 i32.rotl i32.xor)\n",
        kind.declaration
    );
    let mut calls = Vec::new();
    for number in 0..4 {
        let addresses = 18 + rng.below(14);
        let mut body = String::new();
        for local in 0..addresses {
            let from = match rng.below(4) {
                0 => format!("local.get 0 i32.const {} i32.add", 8 * local),
                1 => format!("local.get 1 i64.const {} i64.add i32.wrap_i64", 16 * local),
                2 => format!("local.get 0 i32.const {} i32.xor", 1 << rng.below(15)),
                _ => format!(
                    "local.get 0 i32.const 1 i32.shr_u i32.const 1 i32.shl local.get 1
                     i32.wrap_i64 i32.const {} i32.and i32.or",
                    rng.below(64)
                ),
            };
            let _ = write!(body, "{from} local.set {}\n", 2 + local);
        }
        for round in 0..3 {
            let call = if round == 1 { "$host" } else { "$clobber" };
            let _ = write!(body, "local.get $sum call {call} local.set $sum\n");
            for local in 0..addresses {
                let at = 2 + (local * 7 + round) % addresses;
                let access = match rng.below(5) {
                    0 => format!("local.get {at} i32.load8_u offset={}", rng.below(9)),
                    1 => format!("local.get {at} i64.load offset={} i32.wrap_i64", rng.below(9)),
                    2 => format!("local.get {at} i32.load16_s"),
                    3 => format!(
                        "local.get {at} local.get $sum i32.store offset=4 local.get {at}
                         i32.load offset=4"
                    ),
                    _ => format!("local.get {at} f32.load i32.reinterpret_f32"),
                };
                let _ = write!(
                    body,
                    "{access} local.get $sum i32.const 5 i32.rotl i32.add local.set $sum\n"
                );
            }
        }
        let locals = "i32 ".repeat(addresses as usize);
        let _ = write!(
            text,
            "(func (export \"f{number}\") (param i32 i64) (result i32) (local {locals})
             (local $sum i32) {body} local.get $sum)\n"
        );
        for _ in 0..3 {
            let start = (1u64 << 31) + rng.below(30_000);
            let dirty = (rng.next() << 32) | ((1 << 31) + rng.below(30_000));
            calls
                .push((format!("f{number}"), vec![Val::I32(start as i32), Val::I64(dirty as i64)]));
        }
        // One address is outside: it is somewhere below 2^32, and never below the memory.
        let outside = Val::I32(-(64 + rng.below(9) as i32));
        calls.push((format!("f{number}"), vec![outside, Val::I64(rng.next() as i64)]));
    }
    text.push(')');
    compare(machines, &text, &calls, Some(kind.length));
}

const INTEGERS: [&str; 15] = [
    "add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u", "and", "or", "xor", "shl", "shr_s",
    "shr_u", "rotl", "rotr",
];

const COMPARISONS: [&str; 10] =
    ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"];

/// A number that is interesting as an operand.
fn operand(rng: &mut Rng, wide: bool) -> i64 {
    let bits = if wide { 64 } else { 32 };
    let value = match rng.below(6) {
        0 => *rng.pick(&[0, 1, 2, 3, 5, 7, 10, u64::MAX]),
        1 => 1 << rng.below(bits),
        2 => (1u64 << rng.below(bits)).wrapping_sub(1),
        3 => !(1u64 << rng.below(bits)),
        4 => 1 << (bits - 1),
        _ => rng.next(),
    };
    if wide { value as i64 } else { i64::from(value as u32 as i32) }
}

/// C4: operators with constants for either operand or both, with the same operand twice, shifts of vectors by
/// more than the width of lanes, selections of equals, swizzles by constants.
pub fn constants(seed: u64, machines: &[Machine]) {
    let mut rng = Rng::new(seed);
    let mut text = String::from("(module\n");
    let mut calls = Vec::new();
    for number in 0..40 {
        let wide = rng.chance(50);
        let ty = if wide { "i64" } else { "i32" };
        let value = |rng: &mut Rng, which: u64| match rng.below(3) {
            0 => format!("local.get {which}"),
            1 => format!("{ty}.const {}", operand(rng, wide)),
            _ => format!(
                "local.get {which} {ty}.const {} {ty}.{}",
                operand(rng, wide),
                *rng.pick(&INTEGERS[..3])
            ),
        };
        let (a, b) = (value(&mut rng, 0), value(&mut rng, 1));
        let shift = rng.below(70);
        let (result, body) = match rng.below(9) {
            0..4 => (ty, format!("{a} {b} {ty}.{}", rng.pick(&INTEGERS))),
            4 => ("i32", format!("{a} {b} {ty}.{}", rng.pick(&COMPARISONS))),
            5 => {
                let lanes = *rng.pick(&["i8x16", "i16x8", "i32x4", "i64x2"]);
                let op = *rng.pick(&["shl", "shr_s", "shr_u"]);
                let count = if rng.chance(50) {
                    format!("i32.const {shift}")
                } else {
                    format!("{a} {}", if wide { "i32.wrap_i64" } else { "" })
                };
                (
                    "v128",
                    format!(
                        "{b} {ty}{}.splat {count} {lanes}.{op}",
                        if wide { "x2" } else { "x4" }
                    ),
                )
            }
            6 => (ty, format!("{a} {a} {b} {ty}.eqz select")),
            7 => {
                let condition = format!("{a} {b} {ty}.{}", rng.pick(&COMPARISONS));
                (ty, format!("{a} {b} {condition} select"))
            }
            _ => {
                let lanes: String = (0..16).map(|_| format!(" {}", rng.below(40))).collect();
                let splat = if wide { "i64x2.splat" } else { "i32x4.splat" };
                ("v128", format!("{a} {splat} v128.const i8x16{lanes} i8x16.swizzle"))
            }
        };
        let _ = writeln!(
            text,
            "(func (export \"f{number}\") (param {ty} {ty}) (result {result}) {body})"
        );
        for _ in 0..6 {
            let args = [0, 1].map(|_| {
                let value = operand(&mut rng, wide);
                if wide { Val::I64(value) } else { Val::I32(value as i32) }
            });
            calls.push((format!("f{number}"), args.to_vec()));
        }
    }
    text.push(')');
    compare(machines, &text, &calls, None);
}
