//! [`ResourceLimits`]: every limit of a store's ledger in one builder, and [`LedgerLine`], what the ledger says.
//!
//! A limit is set in one of two ways that mean the same: here, for many at once, or one by one with
//! [`Store::set_resource_limit`](crate::Store::set_resource_limit). What has to be known before machine code
//! is made (whether fuel is counted, whether calls are, how large the stack is) belongs to the engine;
//! [`Config::limit_resources`](crate::Config::limit_resources) takes it from the same limits.

use std::time::Duration;

use palisade_vm::{Refusal, Resource};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::StoreOpaque;

const COUNT: usize = Resource::ALL.len();

/// How much of everything the guests of a store may use, all of them together.
///
/// ```
/// use palisade::{Config, Engine, Resource, ResourceLimits, Store};
///
/// # fn main() -> palisade::Result<()> {
/// let limits = ResourceLimits::sandbox().memory_size(64 << 20).unlimited(Resource::Fuel);
/// let engine = Engine::new(Config::new().limit_resources(&limits))?;
/// let mut store = Store::new(&engine, ());
/// store.set_limits(&limits)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceLimits([Option<u64>; COUNT]);

impl Default for ResourceLimits {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! setters {
    ($( $(#[$doc:meta])* $name:ident($unit:ident) = $what:ident; )*) => {
        impl ResourceLimits {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, $unit: u64) -> Self {
                    self.with(Resource::$what, Some($unit))
                }
            )*
        }

        #[cfg(test)]
        const SETTERS: &[(&str, fn(ResourceLimits, u64) -> ResourceLimits)] = &[
            $((stringify!($name), ResourceLimits::$name),)*
            ("timeout", |limits, nanos| limits.timeout(Duration::from_nanos(nanos))),
            ("wait_time", |limits, nanos| limits.wait_time(Duration::from_nanos(nanos))),
        ];
    };
}

setters! {
    /// Units of fuel: about one for each operator, and what host work costs.
    fuel(units) = Fuel;
    /// Bytes of all linear memories and of the heap of objects together.
    memory_size(bytes) = MemoryBytes;
    /// Elements of all tables together.
    table_elements(elements) = TableElements;
    /// Instances.
    instances(count) = Instances;
    /// Linear memories.
    memories(count) = Memories;
    /// Tables.
    tables(count) = Tables;
    /// Bytes of stack that guests run on. Belongs to the engine: [`Config::limit_resources`].
    stack_size(bytes) = StackBytes;
    /// Calls that nest.
    call_depth(calls) = CallDepth;
    /// Bytes that Palisade itself keeps for the guests: contexts, globals, translated code.
    host_memory(bytes) = HostBytes;
    /// Open descriptors, standard streams and preopens included.
    descriptors(count) = Descriptors;
    /// Bytes written to streams and files.
    output(bytes) = OutputBytes;
    /// Files, directories and links created; what is deleted counts all the same.
    files_created(count) = FilesCreated;
    /// The largest size that a file may be given.
    file_size(bytes) = FileBytes;
    /// Bytes that host calls copy into and out of the guest's memory.
    copied_bytes(bytes) = CopiedBytes;
    /// Entries of directories that are read.
    entries_read(entries) = EntriesRead;
}

impl ResourceLimits {
    /// What a new store has: 1 MiB of stack, 1,024 descriptors, and no other limit.
    pub fn new() -> Self {
        Self([None; COUNT])
            .with(Resource::StackBytes, Some(1 << 20))
            .with(Resource::Descriptors, Some(1024))
    }

    /// What `--sandbox` gives: a finite limit on everything.
    pub fn sandbox() -> Self {
        Resource::ALL.iter().fold(Self::new(), |all, what| all.with(*what, Some(what.sandbox())))
    }

    /// Sets one limit by its name; `None` for none at all. Times are nanoseconds.
    #[must_use]
    pub fn with(mut self, what: Resource, limit: Option<u64>) -> Self {
        if let Some(place) = self.0.get_mut(what as usize) {
            *place = limit;
        }
        self
    }

    /// Takes one limit away.
    #[must_use]
    pub fn unlimited(self, what: Resource) -> Self {
        self.with(what, None)
    }

    /// How long guests may run, from the moment of [`Store::set_limits`](crate::Store::set_limits), waiting included.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(Resource::Time, Some(nanos(timeout)))
    }

    /// How long guests may spend waiting in host calls, all in all.
    #[must_use]
    pub fn wait_time(self, time: Duration) -> Self {
        self.with(Resource::WaitTime, Some(nanos(time)))
    }

    /// One of the limits. Times are nanoseconds.
    pub fn get(&self, what: Resource) -> Option<u64> {
        self.0.get(what as usize).copied().flatten()
    }

    /// What engines are made with.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.consume_fuel |= self.get(Resource::Fuel).is_some();
        config.call_depth = self.get(Resource::CallDepth);
        config.compile_memory = self.get(Resource::HostBytes);
        if let Some(bytes) = self.get(Resource::StackBytes) {
            config.max_wasm_stack(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    /// Puts the limits into a store.
    pub(crate) fn apply(&self, store: &mut StoreOpaque) -> Result<()> {
        let stack = store.engine.config().max_wasm_stack as u64;
        // The smallest stack that engines take is what a smaller limit gives.
        if self.get(Resource::StackBytes).is_some_and(|bytes| stack > bytes.max(64 << 10)) {
            return Err(Error::msg(format!(
                "the engine was made with a stack of {stack} bytes, more than these limits allow: make it with \
                 `Config::limit_resources`"
            )));
        }
        if let Some(fuel) = self.get(Resource::Fuel) {
            store.set_fuel(fuel)?;
        }
        store.set_call_depth(self.get(Resource::CallDepth));
        store.set_timeout(self.get(Resource::Time).map(Duration::from_nanos))?;
        for what in Resource::ALL {
            store.vm_mut().ledger().set_limit(*what, self.get(*what));
        }
        Ok(())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a store's ledger says of one resource.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LedgerLine {
    /// Of what.
    pub what: Resource,
    /// How much is in use, or was used up so far. `None` where that is not counted.
    pub in_use: Option<u64>,
    /// The most that was ever in use. `None` where that is not counted.
    pub peak: Option<u64>,
    /// How much may be.
    pub limit: Option<u64>,
}

impl StoreOpaque {
    /// What the ledger says of one resource, wherever it is counted.
    pub(crate) fn ledger_line(&self, what: Resource) -> LedgerLine {
        let ledger = self.vm().ledger_ref();
        let (in_use, peak, limit) = match what {
            Resource::Fuel => {
                let used = self.fuel_consumed();
                (used, used, self.fuel_limit())
            }
            Resource::Time => {
                let used = self.time_used();
                (used, used, self.timeout.map(|(_, limit)| limit))
            }
            Resource::StackBytes => (None, None, Some(self.engine.config().max_wasm_stack as u64)),
            Resource::CallDepth => (None, None, self.call_depth_limit()),
            what => (Some(ledger.in_use(what)), Some(ledger.peak(what)), ledger.limit(what)),
        };
        LedgerLine { what, in_use, peak, limit }
    }

    /// What ran out, if a trap says that something did.
    pub(crate) fn refusal_of(&mut self, code: palisade_core::TrapCode) -> Option<Refusal> {
        use palisade_core::TrapCode;
        let used_up = |what, asked, line: LedgerLine| {
            let limit = line.limit?;
            Some(Refusal { what, asked, in_use: limit, limit })
        };
        match code {
            TrapCode::OutOfFuel => {
                let missing = self.fuel_missing();
                used_up(Resource::Fuel, missing, self.ledger_line(Resource::Fuel))
            }
            TrapCode::DeadlineExceeded => {
                used_up(Resource::Time, 0, self.ledger_line(Resource::Time))
            }
            TrapCode::StackOverflow => {
                used_up(Resource::StackBytes, 0, self.ledger_line(Resource::StackBytes))
            }
            TrapCode::CallDepthExceeded => {
                used_up(Resource::CallDepth, 1, self.ledger_line(Resource::CallDepth))
            }
            TrapCode::LimitExceeded => self.vm().ledger_ref().refusal().copied(),
            TrapCode::HeapExhausted => {
                let refusal = self.vm().ledger_ref().refusal().copied();
                refusal.filter(|refusal| refusal.what == Resource::MemoryBytes)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_setter() {
        assert_eq!(SETTERS.len(), Resource::ALL.len());
        for what in Resource::ALL {
            let (_, set) = SETTERS
                .iter()
                .find(|(name, _)| *name == what.setter())
                .unwrap_or_else(|| panic!("ResourceLimits has no {}", what.setter()));
            let limits = set(ResourceLimits::new(), 77_777);
            assert_eq!(limits.get(*what), Some(77_777), "{what:?}");
            assert_eq!(limits.unlimited(*what), ResourceLimits::new().unlimited(*what));
            assert_eq!(ResourceLimits::sandbox().get(*what), Some(what.sandbox()));
        }
    }
}
