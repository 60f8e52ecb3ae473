//! The engines that are compared, and how.
//!
//! With `PALISADE_MUTATION` in the environment, machine code is deliberately wrong in the respect of that
//! name: then these tests must fail. (See `mutants`.)

use palisade::{Config, Engine, Mutation, Strategy, Tuning};

/// The variable that names a miscompile.
pub const VARIABLE: &str = "PALISADE_MUTATION";

/// How deep calls may nest, where they are counted.
pub const DEPTH: u64 = 100;

/// What the tests want machine code to do wrong.
pub fn mutation() -> Option<Mutation> {
    let name = std::env::var(VARIABLE).ok()?;
    let found = Mutation::ALL.iter().copied().find(|mutation| format!("{mutation:?}") == name);
    Some(found.unwrap_or_else(|| panic!("no mutation {name}")))
}

/// An engine with a name.
pub struct Machine {
    pub name: &'static str,
    pub engine: Engine,
    /// Whether its heap collects at every allocation.
    pub stressed: bool,
}

impl Machine {
    /// Whether it counts fuel.
    pub fn metered(&self) -> bool {
        self.engine.config().metered()
    }

    /// Panics unless there was machine code, and the compiler never gave up: else the comparison was one of the
    /// interpreter with itself.
    pub fn has_compiled(&self) {
        let stats = self.engine.compile_stats();
        if self.engine.strategy() == Strategy::Interpreter {
            return;
        }
        assert!(stats.compiled > 0, "{}: nothing was compiled", self.name);
        assert_eq!(stats.failed, 0, "{}: the code generator failed: {stats:?}", self.name);
        assert_eq!(stats.refused, 0, "{}: functions were refused: {stats:?}", self.name);
    }
}

fn base(strategy: Strategy) -> Config {
    let mut config = Config::new();
    config
        .strategy(strategy)
        .max_wasm_stack(4 << 20)
        .paranoid(false)
        .wasm_custom_page_sizes(true)
        .wasm_wide_arithmetic(true)
        .mutation(mutation());
    config
}

fn machine(
    name: &'static str,
    strategy: Strategy,
    change: impl FnOnce(&mut Config) -> &mut Config,
) -> Machine {
    let mut config = base(strategy);
    change(&mut config);
    let engine = Engine::new(&config).expect("the configuration is possible");
    Machine { name, engine, stressed: name.contains("stressed") }
}

/// The judge: the interpreter, with fuel and a limit of calls.
pub fn judge() -> Machine {
    machine("interpreter", Strategy::Interpreter, |c| c.consume_fuel(true).call_depth(Some(DEPTH)))
}

/// Changes of engine as early as can be.
pub fn eager() -> Tuning {
    Tuning { threshold: 1, wait: true, ..Tuning::default() }
}

/// Machine code that relies on pages without access, and counts nothing.
pub fn guarded() -> Machine {
    machine("guarded", Strategy::Compiled, |c| c)
}

/// Machine code that compares every index, and counts all there is to count.
pub fn explicit() -> Machine {
    machine("explicit", Strategy::Compiled, |c| {
        c.memory_guard_size(0).consume_fuel(true).call_depth(Some(DEPTH))
    })
}

/// As [`explicit`], while the compiler checks its own work, and with nothing but old instructions.
pub fn paranoid() -> Machine {
    machine("explicit, paranoid, baseline", Strategy::Compiled, |c| {
        c.memory_guard_size(0)
            .consume_fuel(true)
            .call_depth(Some(DEPTH))
            .paranoid(true)
            .baseline_cpu(true)
    })
}

/// Both engines in turns.
pub fn tiered() -> Machine {
    machine("tiered", Strategy::Auto, |c| {
        c.tuning(eager()).consume_fuel(true).call_depth(Some(DEPTH))
    })
}

/// As [`judge`], with fuel alone.
pub fn metered_judge() -> Machine {
    machine("interpreter, fuel alone", Strategy::Interpreter, |c| c.consume_fuel(true))
}

/// Machine code that counts fuel, and no calls: so small functions become part of their callers.
pub fn metered() -> Machine {
    machine("metered", Strategy::Compiled, |c| c.consume_fuel(true))
}

/// The same in turns with the interpreter.
pub fn metered_tiered() -> Machine {
    machine("tiered, metered", Strategy::Auto, |c| c.tuning(eager()).consume_fuel(true))
}

/// As [`tiered`], without counting anything.
pub fn free_tiered() -> Machine {
    machine("tiered, free", Strategy::Auto, |c| c.tuning(eager()))
}

/// Machine code whose heap collects at every allocation.
pub fn stressed() -> Machine {
    machine("stressed", Strategy::Compiled, |c| {
        c.gc_stress(true).consume_fuel(true).call_depth(Some(DEPTH))
    })
}

/// Both engines in turns, and a heap that collects at every allocation.
pub fn stressed_tiered() -> Machine {
    machine("stressed, tiered", Strategy::Auto, |c| {
        c.gc_stress(true).tuning(eager()).consume_fuel(true).call_depth(Some(DEPTH))
    })
}

/// For programs of which it is known what they mean: they may nest deeper.
pub fn for_programs(stress: bool) -> Vec<Machine> {
    vec![
        machine("guarded", Strategy::Compiled, |c| c.gc_stress(stress)),
        machine("explicit", Strategy::Compiled, |c| {
            c.memory_guard_size(0).consume_fuel(true).gc_stress(stress)
        }),
        machine("tiered", Strategy::Auto, |c| {
            c.tuning(eager()).consume_fuel(true).gc_stress(stress)
        }),
    ]
}
