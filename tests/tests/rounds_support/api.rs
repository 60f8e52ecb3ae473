//! Random sequences of what an embedder can do: several stores of two engines, objects that are offered to stores
//! that they do not belong to or that are gone, guests that trap, never end, or run into a host function that
//! panics, collections in between. A model knows what every memory, table and global holds.

use palisade::{
    AsContextMut, Caller, Config, Engine, Error, ErrorKind, ExternRef, Global, GlobalType,
    Instance, Linker, Memory, MemoryType, Module, Mutability, OwnedRooted, Ref, RefType, Resource,
    Result, RootScope, Store, Strategy, Table, TableType, TrapCode, Tuning, Val, ValType,
};

use super::Rng;

const PAGE: usize = 65_536;
/// The most pages, and elements, that anything has.
const MOST: u32 = 5;

const GUEST: &str = r#"(module
    (import "host" "memory" (memory 1 5)) (import "host" "table" (table $t 1 5 externref))
    (import "host" "global" (global $g (mut i64)))
    (import "host" "note" (func $note (param i64) (result i64)))
    (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "set") (param i64) (global.set $g (local.get 0)))
    (func (export "get") (result i64) (global.get $g))
    (func (export "put") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
    (func (export "at") (param i32) (result externref) (table.get $t (local.get 0)))
    (func (export "more") (param i32 externref) (result i32)
        (table.grow $t (local.get 1) (local.get 0)))
    (func (export "note") (param i64) (result i64)
        (global.set $g (i64.add (global.get $g) (i64.const 1)))
        (call $note (local.get 0)))
    (func (export "trap") unreachable)
    (func (export "spin") (loop $l (br $l)))
    (func $deep (export "deep") (result i64) (i64.add (i64.const 1) (call $deep)))
    (type $list (struct (field (ref null $list)) (field (mut i64))))
    (func (export "garbage") (param i32) (result i64) (local $l (ref null $list))
        (loop $again
            (local.set $l (struct.new $list (local.get $l) (i64.extend_i32_u (local.get 0))))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (struct.get $list 1 (local.get $l))))"#;

/// What `note` does with a number: it panics, or fails, or counts.
const PANICS: i64 = -1;
const FAILS: i64 = -2;

/// One of everything, and what the model says of it.
struct Set {
    memory: Memory,
    bytes: Vec<u8>,
    table: Table,
    /// For each element the number that was given to the store.
    elements: Vec<Option<u64>>,
    global: Global,
    number: i64,
    instance: Instance,
}

struct Place {
    store: Store<u64>,
    sets: Vec<Set>,
    values: Vec<(OwnedRooted<ExternRef>, u64)>,
    poisoned: bool,
    noted: u64,
}

/// An object of a store that is gone.
enum Stale {
    Memory(Memory),
    Table(Table),
    Global(Global),
    Instance(Instance),
}

struct World {
    rng: Rng,
    engines: Vec<(Engine, Module)>,
    places: Vec<Place>,
    stale: Vec<Stale>,
    next: u64,
}

/// What was done, so that nobody takes rounds for work that do nothing.
#[derive(Default, Debug)]
pub struct Counts {
    pub calls: u64,
    pub traps: u64,
    pub refused: u64,
    pub panics: u64,
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config::new();
    config.consume_fuel(true).gc_stress(rng.one_in(8));
    match rng.below(3) {
        0 => config.strategy(Strategy::Interpreter),
        1 => config.strategy(Strategy::Compiled),
        _ => {
            let tuning = Tuning { threshold: 2, wait: true, ..Tuning::default() };
            config.strategy(Strategy::Auto).tuning(tuning)
        }
    };
    config
}

fn place(engine: &Engine) -> Place {
    let store = Store::new(engine, 0);
    Place { store, sets: Vec::new(), values: Vec::new(), poisoned: false, noted: 0 }
}

fn is_trap<T: std::fmt::Debug>(result: Result<T>, expected: &[TrapCode]) -> Result<(), String> {
    match result {
        Err(error) if error.trap_code().is_some_and(|code| expected.contains(&code)) => Ok(()),
        other => Err(format!("expected one of {expected:?}, found {other:?}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, found {found:?}"))
    }
}

fn wrong_store<T: std::fmt::Debug>(what: &str, result: Result<T>) -> Result<(), String> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WrongStore { .. }) => Ok(()),
        other => Err(format!("{what} of another store: {other:?}")),
    }
}

fn said(error: Error) -> String {
    format!("not expected: {error:?}")
}

impl Place {
    /// A memory, a table and a global, and a guest that imports them.
    fn add(&mut self, rng: &mut Rng, module: &Module) -> Result<()> {
        let store = &mut self.store;
        let memory = Memory::new(&mut *store, MemoryType::new(1, Some(MOST)))?;
        let ty = TableType::new(RefType::EXTERNREF, 1, Some(MOST));
        let table = Table::new(&mut *store, ty, Ref::Extern(None))?;
        let number = rng.next() as i64;
        let ty = GlobalType::new(ValType::I64, Mutability::Var);
        let global = Global::new(&mut *store, ty, Val::I64(number))?;
        let mut linker = Linker::new(store.engine());
        linker.define(&mut *store, "host", "memory", memory)?;
        linker.define(&mut *store, "host", "table", table)?;
        linker.define(&mut *store, "host", "global", global)?;
        linker.func_wrap(
            "host",
            "note",
            |mut caller: Caller<'_, u64>, number: i64| match number {
                // The hook of panics would print it.
                PANICS => std::panic::resume_unwind(Box::new("a host function that panics")),
                FAILS => Err(Error::msg("the host refuses")),
                number => {
                    *caller.data_mut() += 1;
                    if number % 7 == 0 {
                        caller.gc()?;
                    }
                    Ok(number.wrapping_add(1))
                }
            },
        )?;
        let instance = linker.instantiate(&mut *store, module)?;
        let (bytes, elements) = (vec![0; PAGE], vec![None]);
        self.sets.push(Set { memory, bytes, table, elements, global, number, instance });
        Ok(())
    }

    /// Whether a set holds what the model says.
    fn check(&mut self, at: usize, rng: &mut Rng) -> Result<(), String> {
        let Self { store, sets, .. } = self;
        let set = &sets[at];
        same("size of a memory", set.memory.data_size(&*store), set.bytes.len())?;
        let from = rng.below(set.bytes.len());
        let to = (from + 300).min(set.bytes.len());
        same("bytes", &set.memory.data(&*store)[from..to], &set.bytes[from..to])?;
        same("size of a table", set.table.size(&*store), set.elements.len() as u64)?;
        match set.global.get(&mut *store).map_err(said)? {
            Val::I64(found) => same("a global", found, set.number)?,
            other => return Err(format!("a global is {other:?}")),
        }
        let mut scope = RootScope::new(&mut *store);
        for (index, &expected) in set.elements.iter().enumerate() {
            let element = set.table.get(&mut scope, index as u64).ok_or("no element")?;
            let Some(element) = element.as_extern().copied() else {
                same("an element", None, expected)?;
                continue;
            };
            let context = scope.as_context_mut();
            let data = element.data(&context).map_err(said)?;
            same("an element", data.and_then(|d| d.downcast_ref::<u64>()).copied(), expected)?;
        }
        Ok(())
    }
}

impl World {
    fn call<P, R>(&mut self, at: usize, set: usize, name: &str, params: P) -> Result<R>
    where
        P: palisade::WasmParams,
        R: palisade::WasmResults,
    {
        let Place { store, sets, .. } = &mut self.places[at];
        let func = sets[set].instance.get_typed_func::<P, R>(&*store, name)?;
        store.set_fuel(20_000)?;
        func.call(&mut *store, params)
    }

    /// Something with a set of a store and the store itself.
    fn own(&mut self, at: usize, set: usize, counts: &mut Counts) -> Result<(), String> {
        counts.calls += 1;
        let number = self.rng.next();
        let address = self.rng.below(PAGE * 2);
        let model = &mut self.places[at].sets[set];
        let inside = address < model.bytes.len();
        let out_of_bounds = [TrapCode::MemoryOutOfBounds];
        match self.rng.below(12) {
            0 => {
                let byte = number as u8;
                if inside {
                    model.bytes[address] = byte;
                }
                let params = (address as i32, i32::from(byte));
                let done = self.call::<_, ()>(at, set, "poke", params);
                if inside { done.map_err(said) } else { is_trap(done, &out_of_bounds) }
            }
            1 => {
                let expected = model.bytes.get(address).copied();
                let done = self.call::<_, i32>(at, set, "peek", address as i32);
                match expected {
                    Some(byte) => same("a byte", done.map_err(said)?, i32::from(byte)),
                    None => is_trap(done, &out_of_bounds),
                }
            }
            2 => {
                let len = self.rng.below(5_000);
                let fits = address + len <= model.bytes.len();
                if fits {
                    model.bytes[address..address + len].fill(number as u8);
                }
                let params = (address as i32, number as u8 as i32, len as i32);
                let done = self.call::<_, ()>(at, set, "fill", params);
                if fits { done.map_err(said) } else { is_trap(done, &out_of_bounds) }
            }
            3 => {
                let before = model.bytes.len() / PAGE;
                let by = self.rng.below(3);
                let fits = before + by <= MOST as usize;
                if fits {
                    model.bytes.resize((before + by) * PAGE, 0);
                }
                let expected = if fits { before as i32 } else { -1 };
                if self.rng.one_in(2) {
                    let found = self.call::<_, i32>(at, set, "grow", by as i32).map_err(said)?;
                    return same("memory.grow", found, expected);
                }
                let Place { store, sets, .. } = &mut self.places[at];
                let found = sets[set].memory.grow(&mut *store, by as u64);
                same("growing", found.map_or(-1, |pages| pages as i32), expected)
            }
            4 => {
                let number = number as i64;
                model.number = number;
                if self.rng.one_in(2) {
                    return self.call::<_, ()>(at, set, "set", number).map_err(said);
                }
                let Place { store, sets, .. } = &mut self.places[at];
                sets[set].global.set(&mut *store, Val::I64(number)).map_err(said)
            }
            5 | 6 => self.put(at, set),
            7 => {
                let by = self.rng.below(3);
                let before = model.elements.len();
                let fits = before + by <= MOST as usize;
                if fits {
                    model.elements.resize(before + by, None);
                }
                let expected = if fits { before as i32 } else { -1 };
                let params = (by as i32, None::<ExternRef>);
                let found = self.call::<_, i32>(at, set, "more", params).map_err(said)?;
                same("table.grow", found, expected)
            }
            8 => self.note(at, set, counts),
            9 => {
                counts.traps += 1;
                match self.rng.below(3) {
                    0 => is_trap(self.call::<_, ()>(at, set, "trap", ()), &[TrapCode::Unreachable]),
                    1 => is_trap(self.call::<_, ()>(at, set, "spin", ()), &[TrapCode::OutOfFuel]),
                    _ => {
                        let ends = [TrapCode::OutOfFuel, TrapCode::StackOverflow];
                        is_trap(self.call::<_, i64>(at, set, "deep", ()), &ends)
                    }
                }
            }
            10 => {
                let count = 1 + self.rng.below(300);
                let found = self.call::<_, i64>(at, set, "garbage", count as i32).map_err(said)?;
                same("the last of a list", found, 1)
            }
            _ => self.places[at].store.gc().map_err(said),
        }
    }

    /// Puts a value into a table: a new one, one that is held, or none; by the guest or by the host.
    fn put(&mut self, at: usize, set: usize) -> Result<(), String> {
        let index = self.rng.below(MOST as usize + 1);
        let (by_guest, kind) = (self.rng.one_in(2), self.rng.below(3));
        let chosen = self.rng.next() as usize;
        self.next += 1;
        let fresh = self.next;
        let Place { store, sets, values, .. } = &mut self.places[at];
        let mut scope = RootScope::new(&mut *store);
        let (value, number) = match kind {
            0 => (None, None),
            1 if !values.is_empty() => {
                let (value, number) = &values[chosen % values.len()];
                (Some(value.to_rooted(&mut scope).map_err(said)?), Some(*number))
            }
            _ => {
                let value = ExternRef::new(&mut scope, fresh).map_err(said)?;
                if values.len() < 20 {
                    values.push((OwnedRooted::new(&mut scope, value).map_err(said)?, fresh));
                }
                (Some(value), Some(fresh))
            }
        };
        let set = &mut sets[set];
        let fits = index < set.elements.len();
        if fits {
            set.elements[index] = number;
        }
        let done = if by_guest {
            let mut context = scope.as_context_mut();
            context.set_fuel(20_000).map_err(said)?;
            let put = set.instance.get_typed_func::<(i32, Option<ExternRef>), ()>(&context, "put");
            put.map_err(said)?.call(&mut context, (index as i32, value))
        } else {
            set.table.set(&mut scope, index as u64, Ref::Extern(value))
        };
        match (done, fits, by_guest) {
            (Ok(()), true, _) | (Err(_), false, false) => Ok(()),
            (done @ Err(_), false, true) => is_trap(done, &[TrapCode::TableOutOfBounds]),
            (done, ..) => Err(format!("element {index}: {done:?}")),
        }
    }

    /// A call into the host and what it may do.
    fn note(&mut self, at: usize, set: usize, counts: &mut Counts) -> Result<(), String> {
        let number = match self.rng.below(12) {
            0 => PANICS,
            1 => FAILS,
            _ => (self.rng.next() >> 8) as i64,
        };
        let before = self.places[at].noted;
        let done = self.call::<_, i64>(at, set, "note", number);
        let place = &mut self.places[at];
        place.sets[set].number = place.sets[set].number.wrapping_add(1);
        match number {
            PANICS => {
                counts.panics += 1;
                place.poisoned = true;
                match done {
                    Err(error) if matches!(error.kind(), ErrorKind::HostPanic(_)) => Ok(()),
                    other => Err(format!("the host panicked: {other:?}")),
                }
            }
            FAILS => match done {
                Err(error) if error.to_string().contains("the host refuses") => Ok(()),
                other => Err(format!("the host refused: {other:?}")),
            },
            number => {
                place.noted += 1;
                same("what the host said", done.map_err(said)?, number + 1)?;
                same("what the host counted", *place.store.data(), before + 1)
            }
        }
    }

    /// Offers an object of one store to another.
    fn foreign(&mut self, at: usize, from: usize, counts: &mut Counts) -> Result<(), String> {
        counts.refused += 1;
        let [owner, place] = self.places.get_disjoint_mut([from, at]).map_err(|e| e.to_string())?;
        let (Some(set), store) = (owner.sets.last(), &mut place.store) else { return Ok(()) };
        match self.rng.below(7) {
            0 => wrong_store("a memory", set.memory.write(&mut *store, 0, &[1])),
            1 => wrong_store("a table", set.table.set(&mut *store, 0, Ref::Extern(None))),
            2 => wrong_store("a global", set.global.set(&mut *store, Val::I64(1))),
            3 => {
                let peek = set.instance.get_typed_func::<i32, i32>(&owner.store, "peek");
                store.set_fuel(1_000).map_err(said)?;
                wrong_store("a function", peek.map_err(said)?.call(&mut *store, 0))
            }
            4 => {
                let Some((value, _)) = owner.values.last() else { return Ok(()) };
                wrong_store("a value", value.to_rooted(&mut *store).map(|_| ()))
            }
            5 => match (place.sets.last(), RootScope::new(&mut owner.store)) {
                (Some(own), mut scope) => {
                    let value = ExternRef::new(&mut scope, 0u64).map_err(said)?;
                    let done = own.table.set(&mut *store, 0, Ref::Extern(Some(value)));
                    wrong_store("a value", done)
                }
                _ => Ok(()),
            },
            _ => same("exports", set.instance.exports(&*store).count(), 0),
        }
    }

    /// Offers what is left of a store that is gone.
    fn gone(&mut self, at: usize, counts: &mut Counts) -> Result<(), String> {
        if self.stale.is_empty() {
            return Ok(());
        }
        counts.refused += 1;
        let which = self.rng.below(self.stale.len());
        let store = &mut self.places[at].store;
        match &self.stale[which] {
            Stale::Memory(memory) => wrong_store("a memory", memory.grow(&mut *store, 0)),
            Stale::Table(table) => wrong_store("a table", table.ty(&*store).map(|_| ())),
            Stale::Global(global) => wrong_store("a global", global.get(&mut *store)),
            Stale::Instance(instance) => {
                let found = instance.get_typed_func::<i32, i32>(&*store, "peek");
                wrong_store("an instance", found.map(|_| ()))
            }
        }
    }

    /// Ends a store, and begins another in its place.
    fn replace(&mut self, at: usize) {
        let chosen = self.rng.below(self.engines.len());
        let fresh = place(&self.engines[chosen].0);
        let old = std::mem::replace(&mut self.places[at], fresh);
        for set in old.sets {
            self.stale.extend([
                Stale::Memory(set.memory),
                Stale::Table(set.table),
                Stale::Global(set.global),
                Stale::Instance(set.instance),
            ]);
        }
        let many = self.stale.len().saturating_sub(40);
        self.stale.drain(..many);
    }

    fn step(&mut self, counts: &mut Counts) -> Result<(), String> {
        let at = self.rng.below(self.places.len());
        let from = self.rng.below(self.places.len());
        if self.rng.one_in(60) || self.places[at].poisoned && self.rng.one_in(4) {
            self.replace(at);
            return Ok(());
        }
        if self.rng.one_in(8) {
            return self.gone(at, counts);
        }
        if from != at && self.rng.one_in(3) {
            return self.foreign(at, from, counts);
        }
        let engine = self.places[at].store.engine().clone();
        let module = self.engines.iter().find(|(e, _)| Engine::same(e, &engine));
        let module = module.map(|(_, module)| module.clone()).ok_or("an engine of nobody")?;
        let Self { rng, places, .. } = self;
        let place = &mut places[at];
        if place.poisoned {
            let added = place.add(rng, &module);
            return match added {
                Err(error) if matches!(error.kind(), ErrorKind::Poisoned) => Ok(()),
                other => Err(format!("in a poisoned store: {other:?}")),
            };
        }
        if place.sets.is_empty() || place.sets.len() < 3 && rng.one_in(10) {
            // A limit that has no room for it first: nothing may come of it.
            if rng.one_in(4) {
                let used = place.store.resource_use(Resource::Memories);
                place.store.set_resource_limit(Resource::Memories, Some(used));
                let (added, sets) = (place.add(rng, &module), place.sets.len());
                place.store.set_resource_limit(Resource::Memories, None);
                if added.is_ok() || place.store.resource_use(Resource::Memories) != used {
                    return Err(format!("a memory over the limit: {added:?}, {sets} sets"));
                }
            }
            return place.add(rng, &module).map_err(said);
        }
        let set = rng.below(place.sets.len());
        self.own(at, set, counts)?;
        let Self { rng, places, .. } = self;
        if places[at].poisoned { Ok(()) } else { places[at].check(set, rng) }
    }
}

/// So many steps from a seed; an error says which seed, which step, and what was wrong.
pub fn round(seed: u64, steps: u64, counts: &mut Counts) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut engines = Vec::new();
    for _ in 0..2 {
        let engine = Engine::new(&config(&mut rng)).map_err(said)?;
        let module = Module::new(&engine, GUEST).map_err(said)?;
        engines.push((engine, module));
    }
    let places = [0, 0, 1].map(|engine: usize| place(&engines[engine].0)).into();
    let mut world = World { rng, engines, places, stale: Vec::new(), next: 0 };
    for step in 0..steps {
        world.step(counts).map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    Ok(())
}
