//! C9: programs that call the host wherever they change engine: in loops, behind calls, in handlers.
//!
//! The host notes its arguments, what is left of the fuel and all that the guest exports, and calls the
//! guest again now and then.

use std::fmt::Write;

use palisade::{Caller, Func, FuncType, Instance, Linker, Module, Store, Val, ValType};

use super::machines::Machine;
use super::observe::{HostCall, Ledger, bits, ended, note, state};
use crate::hostile_support::Rng;

const FUNCS: u64 = 5;
/// `i32` locals of each function that programs use; the first is the parameter.
const LOCALS: u64 = 4;

/// Makes the text of a function.
struct Printer<'r> {
    rng: &'r mut Rng,
    out: String,
    /// Locals for loops that were taken so far.
    loops: u32,
    func: u64,
}

impl Printer<'_> {
    fn value(&mut self) -> String {
        let local = self.rng.below(LOCALS);
        match self.rng.below(7) {
            0 => format!("(i32.const {})", self.rng.below(40)),
            1 => "(global.get $g)".into(),
            2 => format!("(i32.load (i32.and (local.get {local}) (i32.const 0xfffc)))"),
            3 => format!("(i32.add (local.get {local}) (i32.const {}))", self.rng.below(9)),
            4 => format!(
                "(i32.wrap_i64 (i64.mul (global.get $w) (i64.const {})))",
                self.rng.below(9)
            ),
            _ => format!("(local.get {local})"),
        }
    }

    fn statements(&mut self, depth: u32) {
        for _ in 0..1 + self.rng.below(4) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        let (a, b) = (self.value(), self.value());
        let local = self.rng.below(LOCALS);
        let line = match self.rng.below(if depth == 0 { 8 } else { 13 }) {
            0 | 1 => format!("(local.set {local} (call $see {a} {b}))"),
            2 => format!("(i32.store (i32.and {a} (i32.const 0xfffc)) {b})"),
            3 => format!("(global.set $g (i32.add (i32.mul (global.get $g) (i32.const 31)) {a}))"),
            4 => format!("(global.set $w (i64.xor (global.get $w) (i64.extend_i32_u {a})))"),
            5 => format!(
                "(table.set $t (i32.and {a} (i32.const 7)) {})",
                if self.rng.chance(50) { "(ref.func $f1)" } else { "(ref.null func)" }
            ),
            6 => format!("(local.set {local} {a})"),
            7 => format!("(drop (memory.grow (i32.and {a} (i32.const 1))))"),
            8 => {
                // A loop of its own counter, so that it ends.
                let counter = LOCALS + u64::from(self.loops);
                self.loops += 1;
                let turns = 1 + self.rng.below(7);
                let _ = writeln!(
                    self.out,
                    "(local.set {counter} (i32.const {turns})) (loop $l{counter}"
                );
                self.statements(depth - 1);
                format!(
                    "(local.set {counter} (i32.sub (local.get {counter}) (i32.const 1)))
                     (br_if $l{counter} (local.get {counter})))"
                )
            }
            9 => {
                let _ = writeln!(self.out, "(if {a} (then");
                self.statements(depth - 1);
                let _ = writeln!(self.out, ") (else");
                self.statements(depth - 1);
                "))".into()
            }
            10 if self.func + 1 < FUNCS => {
                let callee = self.func + 1 + self.rng.below(FUNCS - self.func - 1);
                format!("(local.set {local} (call $f{callee} {a}))")
            }
            11 => {
                let label = self.loops;
                self.loops += 1;
                let _ = writeln!(
                    self.out,
                    "(block $h{label} (result i32) (try_table (catch $e $h{label})"
                );
                self.statements(depth - 1);
                let _ =
                    writeln!(self.out, "(if (i32.and {a} (i32.const 1)) (then (throw $e {b})))");
                format!(") (i32.const 3)) (local.set {local})")
            }
            _ => format!(
                "(if (i32.eq (i32.and {a} (i32.const 15)) (i32.const 5)) (then
                 (throw $e {b})))"
            ),
        };
        let _ = writeln!(self.out, "{line}");
    }
}

fn program(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut text = String::from(
        r#"(module
        (import "h" "see" (func $see (param i32 i32) (result i32)))
        (memory (export "memory") 1 6)
        (global $g (export "g") (mut i32) (i32.const 1))
        (global $w (export "w") (mut i64) (i64.const 77))
        (table $t (export "t") 8 funcref)
        (tag $e (param i32))
        (elem declare func $f1)
        (func (export "small") (param i32) (result i32)
            (local $n i32)
            (local.set $n (i32.const 3))
            (loop $l
                (global.set $g (i32.add (global.get $g) (local.get 0)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $l (local.get $n)))
            (global.get $g))
    "#,
    );
    for func in 0..FUNCS {
        let mut printer = Printer { rng: &mut rng, out: String::new(), loops: 0, func };
        printer.statements(4);
        let locals = "i32 ".repeat((LOCALS - 1) as usize + printer.loops as usize);
        let body = printer.out;
        let last = rng.below(LOCALS);
        let _ = writeln!(
            text,
            "(func $f{func} (export \"f{func}\") (param i32) (result i32) (local {locals})
             {body} (local.get {last}))"
        );
    }
    text.push(')');
    text
}

/// The outcome of each call, the state after it, what is left of the fuel; and all calls of the host.
type Seen = (Vec<(Result<Vec<u64>, String>, u64, Option<u64>)>, Vec<HostCall>);

fn run(machine: &Machine, text: &str) -> Seen {
    let module = match Module::new(&machine.engine, text) {
        Ok(module) => module,
        Err(error) => panic!("{error}\n{text}"),
    };
    let mut store = Store::new(&machine.engine, Ledger::default());
    let _ = store.set_fuel(60_000);
    let mut linker = Linker::new(&machine.engine);
    let ty = FuncType::new([ValType::I32, ValType::I32], [ValType::I32]);
    let see = |mut caller: Caller<'_, Ledger>, args: &[Val], results: &mut [Val]| {
        note(&mut caller, args);
        let number = caller.data().calls.len();
        results[0] = args[number % 2];
        // Nobody but the guest may end up in an endless exchange.
        if number % 7 == 3 && number < 100 {
            let small = caller.get_export("small").and_then(|export| export.into_func());
            let small: Func = small.expect("an export");
            small.call(&mut caller, &[args[0]], &mut results[..1])?;
        }
        Ok(())
    };
    linker.func_new("h", "see", ty, see).expect("defined");
    let instance: Instance = linker.instantiate(&mut store, &module).expect("instantiation");
    let mut calls = Vec::new();
    for round in 0..2 {
        for func in 0..FUNCS {
            let run = instance.get_func(&store, &format!("f{func}")).expect("an export");
            let mut results = [Val::I32(0)];
            let outcome = match run.call(&mut store, &[Val::I32(3 * round + 1)], &mut results) {
                Ok(()) => Ok(results.iter().map(bits).collect()),
                Err(error) => Err(ended(&error)),
            };
            let fuel = store.get_fuel().ok();
            calls.push((outcome, state(&mut store, instance), fuel));
            let _ = store.set_fuel(60_000);
        }
    }
    (calls, store.into_data().calls)
}

/// Runs the program of a seed everywhere. How often the host was called.
pub fn check(seed: u64, machines: &[Machine]) -> usize {
    let text = program(seed);
    let first = run(&machines[0], &text);
    for machine in &machines[1..] {
        let found = run(machine, &text);
        for (number, (a, b)) in first.1.iter().zip(&found.1).enumerate() {
            assert_eq!(a, b, "seed {seed}, {}, host call {number}\n{text}", machine.name);
        }
        assert_eq!(first.1.len(), found.1.len(), "seed {seed}, {}\n{text}", machine.name);
        for (number, (a, b)) in first.0.iter().zip(&found.0).enumerate() {
            assert_eq!(a, b, "seed {seed}, {}, call {number}\n{text}", machine.name);
        }
    }
    first.1.len()
}
