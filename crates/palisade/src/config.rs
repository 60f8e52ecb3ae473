//! [`Config`]: everything that is decided before an [`Engine`](crate::Engine) is made.
//!
//! What may differ between two runs of the same module (fuel, deadlines, ceilings on memory) is set
//! on the [`Store`](crate::Store) instead.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_interp::Dispatch;
use palisade_jit::{Bounds, GUARDED_REACH, Options};
use palisade_module::error::escape_name;
use palisade_module::features::{self, PROPOSALS, Proposal};
use palisade_module::wasmparser::WasmFeatures;
use palisade_vm::MemoryReservation;
use palisade_vm::native::CodeListener;

use crate::error::{Error, Result};
use crate::native_tools::{self, JitDump};
use crate::resources::ResourceLimits;
use crate::tier::{Strategy, Tuning};

#[cfg(feature = "mutations")]
pub use palisade_jit::Mutation;

/// How deep calls nest under [`Config::deterministic`] where nothing else is said.
pub const DETERMINISTIC_CALL_DEPTH: u64 = 10_000;

/// How an engine decodes, validates and runs modules.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) consume_fuel: bool,
    pub(crate) dispatch: Dispatch,
    pub(crate) limits: Limits,
    /// What was switched on by name.
    on: WasmFeatures,
    /// What was switched off by name.
    off: WasmFeatures,
    pub(crate) max_wasm_stack: usize,
    pub(crate) call_depth: Option<u64>,
    pub(crate) compile_memory: Option<u64>,
    pub(crate) memory_guard_size: Option<u64>,
    pub(crate) memory_guard_before: Option<u64>,
    pub(crate) memory_growable: Option<u64>,
    pub(crate) gc_stress: bool,
    pub(crate) strategy: Strategy,
    pub(crate) tuning: Tuning,
    pub(crate) paranoid: Option<bool>,
    pub(crate) inline: bool,
    pub(crate) baseline: bool,
    pub(crate) canonical_nans: bool,
    pub(crate) deterministic: bool,
    pub(crate) debug_info: bool,
    pub(crate) polls: bool,
    pub(crate) spectre: bool,
    pub(crate) jit_dump: Option<Arc<JitDump>>,
    pub(crate) native_debug: bool,
    #[cfg(feature = "mutations")]
    pub(crate) mutation: Option<Mutation>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! feature_switches {
    ($( $(#[$doc:meta])* $name:ident => $flag:ident; )*) => {
        /// Every proposal can be switched off. What builds on it goes with it: without `simd` there is no
        /// `relaxed-simd`; without `bulk-memory` no `reference-types`; without `reference-types` neither
        /// `function-references` nor `exceptions`; without `function-references` no `gc`. A proposal that
        /// was switched on by name does not go silently: [`Engine::new`](crate::Engine::new) refuses the
        /// combination. A module that needs what is off is refused with an error that names the proposal
        /// and its switch.
        ///
        /// Branch hints have no switch: they are read wherever they are well-formed, and change no
        /// meaning.
        impl Config {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, enable: bool) -> &mut Self {
                    self.switch(WasmFeatures::$flag, enable)
                }
            )*
        }

        #[cfg(test)]
        const SWITCHES: &[&str] = &[$(stringify!($name)),*];
    };
}

feature_switches! {
    /// Imports and exports of globals that change.
    wasm_mutable_global => MUTABLE_GLOBAL;
    /// `i32.extend8_s` and its like.
    wasm_sign_extension => SIGN_EXTENSION;
    /// `i32.trunc_sat_f32_s` and its like.
    wasm_saturating_float_to_int => SATURATING_FLOAT_TO_INT;
    /// Several results of functions and blocks.
    wasm_multi_value => MULTI_VALUE;
    /// `memory.copy`, `table.init` and their like.
    wasm_bulk_memory => BULK_MEMORY;
    /// `externref`, several tables, `table.get` and their like.
    wasm_reference_types => REFERENCE_TYPES;
    /// Vectors of 128 bits.
    wasm_simd => SIMD;
    /// Vector operators whose results may differ between runtimes. Here they are the same on every
    /// machine and in every engine.
    wasm_relaxed_simd => RELAXED_SIMD;
    /// `return_call` and its like.
    wasm_tail_call => TAIL_CALL;
    /// Arithmetic in constant expressions.
    wasm_extended_const => EXTENDED_CONST;
    /// Several memories in one module.
    wasm_multi_memory => MULTI_MEMORY;
    /// Memories and tables indexed by 64-bit numbers.
    wasm_memory64 => MEMORY64;
    /// Typed function references.
    wasm_function_references => FUNCTION_REFERENCES;
    /// Structures, arrays and their collection.
    wasm_gc => GC;
    /// Exceptions with `try_table`.
    wasm_exceptions => EXCEPTIONS;
    /// Shared memories and atomic operators.
    wasm_threads => THREADS;
    /// Memories whose pages have one byte.
    wasm_custom_page_sizes => CUSTOM_PAGE_SIZES;
    /// Arithmetic on 128-bit integers.
    wasm_wide_arithmetic => WIDE_ARITHMETIC;
}

impl Config {
    /// All proposals, no fuel, the wide decoder limits, 1 MiB of guest stack.
    pub fn new() -> Self {
        Self {
            consume_fuel: false,
            dispatch: Dispatch::Auto,
            limits: Limits::default(),
            on: WasmFeatures::empty(),
            off: WasmFeatures::empty(),
            max_wasm_stack: 1 << 20,
            call_depth: None,
            compile_memory: None,
            memory_guard_size: None,
            memory_guard_before: None,
            memory_growable: None,
            gc_stress: false,
            strategy: Strategy::Auto,
            tuning: Tuning::default(),
            paranoid: None,
            inline: true,
            baseline: false,
            canonical_nans: false,
            deterministic: false,
            debug_info: true,
            polls: true,
            spectre: true,
            jit_dump: None,
            native_debug: false,
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }

    fn switch(&mut self, feature: WasmFeatures, enable: bool) -> &mut Self {
        self.on.set(feature, enable);
        self.off.set(feature, !enable);
        self
    }

    /// Switches a proposal on or off by its name, such as `tail-call`: as the method of that name.
    ///
    /// # Errors
    ///
    /// There is no such proposal; the error lists those that there are.
    pub fn wasm_proposal(&mut self, name: &str, enable: bool) -> Result<&mut Self> {
        let Some(proposal) = Proposal::by_name(name) else {
            let names: Vec<_> = PROPOSALS.iter().map(|proposal| proposal.name).collect();
            return Err(Error::msg(format!(
                "there is no proposal `{}`; there are {}",
                escape_name(name),
                names.join(", ")
            )));
        };
        Ok(self.switch(proposal.feature, enable))
    }

    /// What is validated.
    pub(crate) fn wasm_features(&self) -> WasmFeatures {
        features::features_without(self.off)
    }

    /// Every proposal with a switch, by the switch's name, and whether modules may need it.
    pub fn features(&self) -> impl Iterator<Item = (&'static str, bool)> + use<> {
        let features = self.wasm_features();
        PROPOSALS.iter().map(move |p| (p.switch, features.contains(p.feature)))
    }

    /// What is wrong with the combination of switches, in words.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let features = self.wasm_features();
        let mut asked = PROPOSALS.iter().filter(|proposal| self.on.contains(proposal.feature));
        let (proposal, needed) = asked.find_map(|p| Some((p, p.lacks(features)?)))?;
        Some(format!(
            "the proposal `{}` is switched on, and `{}`, which it needs, is switched off",
            proposal.name, needed.name
        ))
    }

    /// Whether guests consume fuel. Off by default. With it, a new store has none: see
    /// [`Store::set_fuel`](crate::Store::set_fuel).
    pub fn consume_fuel(&mut self, enable: bool) -> &mut Self {
        self.consume_fuel = enable;
        self
    }

    /// Whether guests consume fuel.
    pub fn metered(&self) -> bool {
        self.consume_fuel
    }

    /// Which of its two dispatchers the interpreter uses. They differ in speed alone;
    /// [`Dispatch::Auto`] takes the faster one where it is known to work.
    pub fn dispatch(&mut self, dispatch: Dispatch) -> &mut Self {
        self.dispatch = dispatch;
        self
    }

    /// How large modules, and each part of them, may be.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// The size in bytes of the stack that guests run on, 1 MiB by default. At least 64 KiB.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> &mut Self {
        self.max_wasm_stack = bytes.max(64 << 10);
        self
    }

    /// How many calls may nest in a store, unless the store says otherwise. No limit but the stack
    /// by default.
    pub fn call_depth(&mut self, depth: Option<u64>) -> &mut Self {
        self.call_depth = depth;
        self
    }

    /// How many bytes the compiler may take at once, what it has made of a module included. A function that needs
    /// more is interpreted. Not limited by default but by what a single function may be.
    pub fn compile_memory(&mut self, bytes: Option<u64>) -> &mut Self {
        self.compile_memory = bytes;
        self
    }

    /// Takes from limits what belongs to the engine: that fuel is counted, if they limit it; how many calls may
    /// nest; how large the stack is; what the compiler may take. All else is for [`Store::set_limits`](crate::Store::set_limits).
    pub fn limit_resources(&mut self, limits: &ResourceLimits) -> &mut Self {
        limits.configure(self);
        self
    }

    /// How many inaccessible bytes stand behind the 4 GiB of a 32-bit memory: 32 GiB by default, and
    /// never less than 64 KiB. Where address space is short, a memory does with less.
    pub fn memory_guard_size(&mut self, bytes: u64) -> &mut Self {
        self.memory_guard_size = Some(bytes);
        self
    }

    /// How many inaccessible bytes stand before a 32-bit memory: 2 GiB by default.
    pub fn memory_guard_before(&mut self, bytes: u64) -> &mut Self {
        self.memory_guard_before = Some(bytes);
        self
    }

    /// The largest maximum, in bytes, for which a memory that is not an ordinary 32-bit one gets a
    /// place that it never moves from: 4 GiB by default.
    pub fn memory_reservation_for_growth(&mut self, bytes: u64) -> &mut Self {
        self.memory_growable = Some(bytes);
        self
    }

    /// Whether every allocation of an object collects first. Off by default, and slow: an aid for tests, which
    /// finds references that nobody told the collector of.
    pub fn gc_stress(&mut self, enable: bool) -> &mut Self {
        self.gc_stress = enable;
        self
    }

    /// Which engine runs guests: the interpreter with machine code for what is hot by default.
    pub fn strategy(&mut self, strategy: Strategy) -> &mut Self {
        self.strategy = strategy;
        self
    }

    /// The numbers that say when functions are compiled. They change speed, and no meaning.
    pub fn tuning(&mut self, tuning: Tuning) -> &mut Self {
        self.tuning = tuning;
        self
    }

    /// Whether the compiler checks its own work: the verifier of its intermediate form, and the checker of
    /// its register allocation. Costs compile time. On by default in builds with debug assertions.
    pub fn paranoid(&mut self, enable: bool) -> &mut Self {
        self.paranoid = Some(enable);
        self
    }

    /// Whether machine code uses nothing but the instructions of the oldest supported processors (SSE4.1), as
    /// opposed to all that this one has. Off by default.
    pub fn baseline_cpu(&mut self, enable: bool) -> &mut Self {
        self.baseline = enable;
        self
    }

    /// Whether small functions that call nothing become part of the machine code of their callers. On by default;
    /// changes speed alone. Where [`Config::call_depth`] is set, calls stay calls, whatever is set here.
    pub fn inlining(&mut self, enable: bool) -> &mut Self {
        self.inline = enable;
        self
    }

    /// Whether addresses in linear memories that were checked by comparing are also masked, so that a processor that
    /// speculates past the check reads nothing of interest. On by default. Those of table elements always are.
    pub fn index_masking(&mut self, enable: bool) -> &mut Self {
        self.spectre = enable;
        self
    }

    /// Whether NaNs that operators make are the canonical one, in every engine. Off by default: which NaN comes out is
    /// then what the processor gives. What only moves bits (`abs`, `neg`, `copysign`, `pmin`, `pmax`, reinterpretation)
    /// keeps the NaN that it is given.
    pub fn canonical_nans(&mut self, enable: bool) -> &mut Self {
        self.canonical_nans = enable;
        self
    }

    /// Whether two runs of a guest are alike to the bit, in any engine: results, traps, memory, fuel. Off by default.
    ///
    /// NaNs are canonical; modules with shared memories are refused, and [`SharedMemory::new`](crate::SharedMemory::new)
    /// is an error; calls nest no deeper than [`DETERMINISTIC_CALL_DEPTH`], unless [`Config::call_depth`] says otherwise, so
    /// that recursion ends by counting and not by how much stack an engine takes; and growing a memory or table fails
    /// by its type and by limits alone: where the system has no room, the guest ends with an error. Relaxed vector operators have one meaning
    /// with or without this.
    ///
    /// What the host gives the guest has to be the same, too: that is the other half, in `palisade-wasi` as
    /// `WasiCtxBuilder::deterministic`. Not covered are the end by a deadline or an interruption, the moment at which
    /// the stack ends if it does before the number of calls, and the moment at which a heap of objects at its
    /// limit is exhausted.
    pub fn deterministic(&mut self, enable: bool) -> &mut Self {
        self.deterministic = enable;
        self
    }

    /// Whether backtraces are told with places in the source, from the DWARF that modules hold. On by default. It is
    /// read when a backtrace is shown, by code that runs outside of every sandbox but bounds what it does; whoever wants
    /// to read nothing more of a guest than it takes to run it switches it off. A debug file that was given to
    /// [`Module::set_debug_file`](crate::Module::set_debug_file) is read all the same.
    pub fn debug_info(&mut self, enable: bool) -> &mut Self {
        self.debug_info = enable;
        self
    }

    /// Writes all machine code to this file, for `perf`, when it is published. Each function costs its bytes there, and where
    /// [`Config::debug_info`] is on and a module holds DWARF, its table of lines is read first.
    pub fn jit_dump(&mut self, dump: Option<Arc<JitDump>>) -> &mut Self {
        self.jit_dump = dump;
        self
    }

    /// Whether native debuggers (gdb and others that read its interface for compilers), and whatever walks the frames of this process, are told of machine code: names of
    /// functions and where their frames are. Off by default. Each batch of code costs memory for its names and some 60 bytes for each
    /// function, and some microseconds; while a debugger is attached, it stops and reads at each. The process's unwinder looks through all
    /// batches, one after the other, when it meets an address that it does not know, and, where it is an old one, at
    /// every panic; its lists, like the debuggers', are the whole process's.
    ///
    /// The registers that functions of machine code save for others are not told, but for the frame pointer. It does nothing on
    /// processors other than x86-64.
    pub fn native_debug(&mut self, enable: bool) -> &mut Self {
        self.native_debug = enable;
        self
    }

    /// Who is told of machine code.
    pub(crate) fn code_listeners(&self) -> Vec<Arc<dyn CodeListener>> {
        let dump = self.jit_dump.clone().map(|dump| dump as Arc<dyn CodeListener>);
        let debugger = if self.native_debug { native_tools::debugger() } else { None };
        dump.into_iter().chain(debugger).collect()
    }

    /// Whether NaNs are the canonical one.
    pub(crate) fn canonical(&self) -> bool {
        self.canonical_nans || self.deterministic
    }

    /// How many calls may nest in a new store.
    pub(crate) fn depth(&self) -> Option<u64> {
        self.call_depth.or(self.deterministic.then_some(DETERMINISTIC_CALL_DEPTH))
    }

    /// Lets machine code be wrong in one respect: for tests that want to know whether they would notice.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    pub fn mutation(&mut self, mutation: Option<Mutation>) -> &mut Self {
        self.mutation = mutation;
        self
    }

    /// Without polls, machine code cannot be interrupted, which breaks a promise: only benchmarks that measure what
    /// polls cost may do without.
    #[doc(hidden)]
    pub fn without_polls_for_benchmarks(&mut self) -> &mut Self {
        self.polls = false;
        self
    }

    /// How machine code is made.
    pub(crate) fn jit_options(&self) -> Options {
        let reservation = self.memory_reservation();
        let guarded = (4 << 30) + reservation.after >= GUARDED_REACH;
        let defaults = Options::default();
        Options {
            fuel: self.consume_fuel,
            depth: self.depth().is_some(),
            bounds: if guarded { Bounds::Guard } else { Bounds::Explicit },
            polls: self.polls,
            canonical_nans: self.canonical(),
            spectre: self.spectre,
            paranoid: self.paranoid.unwrap_or(defaults.paranoid),
            inline: self.inline,
            baseline: self.baseline,
            #[cfg(feature = "mutations")]
            mutation: self.mutation,
        }
    }

    /// Whether modules may have shared memories.
    pub(crate) fn has_threads(&self) -> bool {
        self.wasm_features().contains(WasmFeatures::THREADS)
    }

    /// How address space is set aside for linear memories.
    pub(crate) fn memory_reservation(&self) -> MemoryReservation {
        let mut plan = MemoryReservation::default();
        if let Some(bytes) = self.memory_guard_size {
            plan.after = bytes;
        }
        if let Some(bytes) = self.memory_guard_before {
            plan.before = bytes;
        }
        if let Some(bytes) = self.memory_growable {
            plan.growable = bytes;
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proposal_has_its_switch() {
        assert!(PROPOSALS.iter().map(|p| p.switch).eq(SWITCHES.iter().copied()));
        for proposal in PROPOSALS {
            let name = format!("wasm_{}", proposal.name.replace('-', "_"));
            assert_eq!(name, proposal.switch);
        }
    }
}
