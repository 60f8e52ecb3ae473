//! What several of the hostile-input tests need: a generator of pseudo-random numbers that gives the
//! same numbers everywhere, calls whose outcome can be compared, and threads with small stacks.
//!
//! Nothing in here knows how the engine works.

#![allow(dead_code, reason = "each test uses some of it")]

use palisade::{AsContextMut, Engine, Func, Instance, Store, TrapCode, Val};
pub use palisade_tests::engine_with;
use palisade_tests::{DISPATCHERS, ENGINES, Kind};

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D123_4567)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something of `percent` probability happens.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }
}

/// Every engine, with and without fuel.
pub fn engines() -> impl Iterator<Item = Engine> {
    with(ENGINES, [(false, false), (true, false)])
}

/// As [`engines`], and each of them once more with a heap that collects at every allocation.
pub fn engines_and_stressed() -> impl Iterator<Item = Engine> {
    with(ENGINES, [(false, false), (true, false), (false, true), (true, true)])
}

/// As [`engines`], of the interpreter alone: for programs by the hundred, which other tests run in the other
/// engines.
pub fn interpreters() -> impl Iterator<Item = Engine> {
    with(DISPATCHERS, [(false, false), (true, false)])
}

/// As [`engines_and_stressed`], of the interpreter alone.
pub fn interpreters_and_stressed() -> impl Iterator<Item = Engine> {
    with(DISPATCHERS, [(false, false), (true, false), (false, true), (true, true)])
}

/// Engines with and without fuel, and with and without a collection at every allocation.
fn with<const KINDS: usize, const CHOICES: usize>(
    kinds: [impl Into<Kind>; KINDS],
    choices: [(bool, bool); CHOICES],
) -> impl Iterator<Item = Engine> {
    kinds.map(Into::into).into_iter().flat_map(move |kind| {
        choices.map(|(fuel, stress)| {
            engine_with(kind, |config| {
                config.consume_fuel(fuel).gc_stress(stress);
            })
        })
    })
}

/// A store with all the fuel there is, if its engine meters it.
pub fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    let _ = store.set_fuel(i64::MAX as u64);
    store
}

/// What a call gave: the bits of its results, or why it ended.
pub type Outcome = Result<Vec<u64>, TrapCode>;

/// The bits of a value; references only say whether they are null.
pub fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(x) => u64::from(*x as u32),
        Val::I64(x) => *x as u64,
        Val::F32(x) => u64::from(*x),
        Val::F64(x) => *x,
        other => u64::from(other.as_ref().is_some_and(|r| !r.is_null())),
    }
}

/// Calls a function of any type.
pub fn call(store: impl AsContextMut, func: Func, args: &[Val]) -> Outcome {
    let mut store = store;
    let ty = func.ty(&store).expect("a function of this store");
    let mut results = vec![Val::I32(0); ty.results().len()];
    match func.call(&mut store, args, &mut results) {
        Ok(()) => Ok(results.iter().map(bits).collect()),
        Err(error) => Err(error.trap_code().unwrap_or_else(|| panic!("no trap: {error}"))),
    }
}

/// Calls an export.
pub fn invoke(
    mut store: impl AsContextMut,
    instance: Instance,
    name: &str,
    args: &[Val],
) -> Outcome {
    let func = instance.get_func(&store, name).unwrap_or_else(|| panic!("no export {name}"));
    call(&mut store, func, args)
}

/// Runs something on a thread with a stack of `kib` KiB; a panic there is one here.
pub fn on_small_stack<R: Send + 'static>(
    kib: usize,
    run: impl FnOnce() -> R + Send + 'static,
) -> R {
    let thread = std::thread::Builder::new().stack_size(kib << 10).spawn(run);
    match thread.expect("a thread").join() {
        Ok(result) => result,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}
