//! Helpers shared by the tests.

use palisade::{Config, Dispatch, Engine, Instance, Linker, Module, Store, Strategy};

/// Both dispatchers of the interpreter.
pub const DISPATCHERS: [Dispatch; 2] = [Dispatch::Loop, Dispatch::TailCall];

/// An engine with a dispatcher.
pub fn engine(dispatch: Dispatch) -> Engine {
    Engine::new(Config::new().strategy(Strategy::Interpreter).dispatch(dispatch))
        .expect("the dispatcher works in this profile")
}

/// An engine that meters fuel.
pub fn metered_engine(dispatch: Dispatch) -> Engine {
    Engine::new(Config::new().strategy(Strategy::Interpreter).dispatch(dispatch).consume_fuel(true))
        .expect("the dispatcher works in this profile")
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
