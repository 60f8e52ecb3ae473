//! Helpers shared by the tests.

use palisade::{Config, Dispatch, Engine, Instance, Linker, Module, Store, Strategy, Tuning};

/// The ways to run a guest. What a test demands of one it demands of all, unless it says why not.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The interpreter alone, dispatching in a loop.
    Loop,
    /// The interpreter alone, dispatching by tail calls.
    TailCall,
    /// Machine code alone.
    Compiled,
    /// Every function and loop begins in the interpreter, and goes on as machine code as early as it can.
    Tiering,
    /// Machine code that has every check that it can have in place of inaccessible pages, for the oldest processor.
    Checked,
}

/// Both dispatchers of the interpreter.
pub const DISPATCHERS: [Dispatch; 2] = [Dispatch::Loop, Dispatch::TailCall];

/// The kinds that make machine code.
pub const COMPILING: [Kind; 3] = [Kind::Compiled, Kind::Tiering, Kind::Checked];

/// Every way to run a guest.
pub const ENGINES: [Kind; 5] =
    [Kind::Loop, Kind::TailCall, Kind::Compiled, Kind::Tiering, Kind::Checked];

impl Kind {
    /// Whether guests are interpreted alone.
    pub fn interprets(self) -> bool {
        matches!(self, Self::Loop | Self::TailCall)
    }

    /// Puts this kind into a configuration.
    pub fn configure(self, config: &mut Config) -> &mut Config {
        match self {
            Self::Loop => config.strategy(Strategy::Interpreter).dispatch(Dispatch::Loop),
            Self::TailCall => config.strategy(Strategy::Interpreter).dispatch(Dispatch::TailCall),
            Self::Compiled => config.strategy(Strategy::Compiled),
            Self::Tiering => config.strategy(Strategy::Auto).tuning(Tuning {
                threshold: 1,
                wait: true,
                ..Tuning::default()
            }),
            Self::Checked => config
                .strategy(Strategy::Compiled)
                .memory_guard_size(64 << 10)
                .memory_guard_before(0)
                .baseline_cpu(true)
                .call_depth(Some(1 << 30)),
        }
    }
}

impl From<Dispatch> for Kind {
    fn from(dispatch: Dispatch) -> Self {
        if dispatch == Dispatch::Loop { Self::Loop } else { Self::TailCall }
    }
}

/// An engine of a kind, with a changed configuration.
pub fn engine_with(kind: impl Into<Kind>, change: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    kind.into().configure(&mut config);
    change(&mut config);
    Engine::new(&config).expect("every kind works in this profile")
}

/// An engine of a kind.
pub fn engine(kind: impl Into<Kind>) -> Engine {
    engine_with(kind, |_| {})
}

/// An engine that meters fuel.
pub fn metered_engine(kind: impl Into<Kind>) -> Engine {
    engine_with(kind, |config| {
        config.consume_fuel(true);
    })
}

/// A module from text that must be one.
pub fn module(engine: &Engine, text: &str) -> Module {
    match Module::new(engine, text) {
        Ok(module) => module,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// A store and an instance of a module that imports nothing.
pub fn instance(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

/// An instance of a module that imports what the linker has.
pub fn link<T: 'static>(linker: &Linker<T>, store: &mut Store<T>, text: &str) -> Instance {
    let module = module(linker.engine(), text);
    match linker.instantiate(store, &module) {
        Ok(instance) => instance,
        Err(error) => panic!("{error}\n{text}"),
    }
}
