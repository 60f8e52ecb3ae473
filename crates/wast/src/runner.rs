//! Goes through the directives of a script and judges each.

use std::collections::HashMap;
use std::thread::{self, Scope, ScopedJoinHandle};

use palisade::{
    Config, Engine, Error, ErrorKind, Extern, Instance, Linker, Module, SharedMemory, Store,
    TrapCode, Val,
};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastRet, WastThread, Wat};

use crate::values::{argument, describe_expected, describe_found, matches};
use crate::{Failure, Load, Report, spectest};

/// How a directive went, with words for what is wrong.
type Verdict = Result<(), String>;

/// What executing something gave, or the words for why it could not be tried.
type Outcome = Result<Result<Vec<Val>, Error>, String>;

/// Runs a script. An error is a failure that no directive can be blamed for.
pub(crate) fn run(
    text: &str,
    config: &Config,
    load: Load<'_>,
    report: &mut Report,
) -> Result<(), Failure> {
    let broken = |error: wast::Error| Failure {
        line: error.span().linecol_in(text).0 + 1,
        message: format!("the script cannot be parsed: {}", error.message()),
    };
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(broken)?;
    let script = parser::parse::<Wast<'_>>(&buffer).map_err(broken)?;
    let cannot_start = |error| Failure { line: 0, message: format!("cannot start: {error}") };
    let engine = Engine::new(config).map_err(cannot_start)?;
    thread::scope(|scope| {
        let mut runner = Runner::new(text, &engine, load, scope).map_err(cannot_start)?;
        runner.all(script.directives, report);
        Ok(())
    })
}

/// Goes through the directives of one thread: the script's own, or one that it starts. Each has a
/// store of its own, and the shared memories of the module that it was given.
struct Runner<'scope, 'env> {
    text: &'env str,
    scope: &'scope Scope<'scope, 'env>,
    engine: Engine,
    load: Load<'env>,
    store: Store<()>,
    linker: Linker<()>,
    names: Names,
    threads: HashMap<String, ScopedJoinHandle<'scope, Report>>,
}

/// What the directives of one thread made.
#[derive(Default)]
struct Names {
    /// What other threads share, by the name of its module: the memories with their names.
    shared: HashMap<String, SharedExports>,
    /// What a directive means that names no instance.
    current: Option<Instance>,
    instances: HashMap<String, Instance>,
    /// What a `(module instance)` means that names no module.
    last_definition: Option<Module>,
    definitions: HashMap<String, Module>,
}

type SharedExports = Vec<(String, SharedMemory)>;

impl<'scope, 'env> Runner<'scope, 'env> {
    fn new(
        text: &'env str,
        engine: &Engine,
        load: Load<'env>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> palisade::Result<Self> {
        let engine = engine.clone();
        let mut store = Store::try_new(&engine, ())?;
        if engine.config().metered() {
            store.set_fuel(u64::MAX)?;
        }
        let linker = spectest::linker(&engine, &mut store)?;
        let (names, threads) = (Names::default(), HashMap::new());
        Ok(Self { text, scope, engine, load, store, linker, names, threads })
    }

    /// All directives, to the end of the threads that they start.
    fn all(&mut self, directives: Vec<WastDirective<'env>>, report: &mut Report) {
        for directive in directives {
            let line = line_of(self.text, directive.span());
            let verdict = match directive {
                WastDirective::Thread(thread) => self.thread(thread),
                WastDirective::Wait { thread, .. } => self.wait(thread, report),
                directive => self.judge(directive),
            };
            match verdict {
                Ok(()) => report.passed += 1,
                Err(message) => report.failed.push(Failure { line, message }),
            }
        }
        for (_, thread) in self.threads.drain() {
            join(thread, report);
        }
    }

    /// Starts a thread.
    fn thread(&mut self, thread: WastThread<'env>) -> Verdict {
        let mut names = Names::default();
        if let Some(id) = thread.shared_module {
            let instance = self.instance(Some(id))?;
            let memories = instance.exports(&self.store).filter_map(|export| {
                let name = export.name().to_owned();
                export.into_extern().into_shared_memory().map(|memory| (name, memory))
            });
            names.shared.insert(id.name().to_owned(), memories.collect());
        }
        let (text, engine, load, scope) = (self.text, self.engine.clone(), self.load, self.scope);
        let line = line_of(text, thread.span);
        let run = move || {
            let mut report = Report::default();
            match Runner::new(text, &engine, load, scope) {
                Ok(mut runner) => {
                    runner.names = names;
                    runner.all(thread.directives, &mut report);
                }
                Err(error) => {
                    let message = format!("cannot start: {error}");
                    report.failed.push(Failure { line, message });
                }
            }
            report
        };
        let handle = thread::Builder::new().spawn_scoped(scope, run);
        let handle = handle.map_err(|error| format!("cannot start the thread: {error}"))?;
        self.threads.insert(thread.name.name().to_owned(), handle);
        Ok(())
    }

    /// Waits for a thread, and takes over what it found.
    fn wait(&mut self, id: Id<'_>, report: &mut Report) -> Verdict {
        let thread = self.threads.remove(id.name()).ok_or("there is no such thread")?;
        join(thread, report);
        Ok(())
    }

    fn judge(&mut self, directive: WastDirective<'_>) -> Verdict {
        match directive {
            WastDirective::Module(module) => self.module(module),
            WastDirective::ModuleDefinition(module) => self.define(module),
            WastDirective::ModuleInstance { instance, module, .. } => {
                self.instantiate_definition(instance, module)
            }
            WastDirective::Register { name, module, .. } => self.register(name, module),
            WastDirective::Invoke(invoke) => match self.invoke(&invoke)? {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("expected the call to return; found: {error}")),
            },
            WastDirective::AssertReturn { exec, results, .. } => self.returns(exec, &results),
            WastDirective::AssertTrap { exec, message, .. } => {
                let outcome = self.execute(exec)?;
                traps(outcome, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let outcome = self.invoke(&call)?;
                traps(outcome, message)
            }
            WastDirective::AssertException { exec, .. } => match self.execute(exec)? {
                Err(error) if matches!(error.kind(), ErrorKind::Exception(_)) => Ok(()),
                Err(error) => Err(format!("expected an exception; found: {error}")),
                Ok(results) => {
                    Err(format!("expected an exception; found {}", describe_found(&results)))
                }
            },
            WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertInvalid { module, message, .. } => {
                self.rejected(module, message)
            }
            WastDirective::AssertMalformedCustom { module, message, .. }
            | WastDirective::AssertInvalidCustom { module, message, .. } => {
                self.ignored(module, message)
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                self.unlinkable(module, message)
            }
            WastDirective::AssertSuspension { .. } => {
                Err("expected a suspension; stack switching is no part of WebAssembly 3.0".into())
            }
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                Err("a thread where none can be".into())
            }
        }
    }

    fn load(&self, mut module: QuoteWat<'_>) -> Result<Module, String> {
        let bytes =
            module.encode().map_err(|error| format!("malformed text: {}", error.message()))?;
        (self.load)(&self.engine, &bytes).map_err(|error| error.to_string())
    }

    fn module(&mut self, module: QuoteWat<'_>) -> Verdict {
        let name = module.name().map(|id| id.name().to_owned());
        let module =
            self.load(module).map_err(|error| format!("expected a module; found: {error}"))?;
        self.names.last_definition = Some(module.clone());
        if let Some(name) = &name {
            self.names.definitions.insert(name.clone(), module.clone());
        }
        self.instantiate(&module, name)
    }

    fn define(&mut self, module: QuoteWat<'_>) -> Verdict {
        let name = module.name().map(|id| id.name().to_owned());
        let module =
            self.load(module).map_err(|error| format!("expected a module; found: {error}"))?;
        if let Some(name) = name {
            self.names.definitions.insert(name, module.clone());
        }
        self.names.last_definition = Some(module);
        Ok(())
    }

    fn instantiate_definition(
        &mut self,
        instance: Option<Id<'_>>,
        module: Option<Id<'_>>,
    ) -> Verdict {
        let definition = match module {
            Some(id) => self.names.definitions.get(id.name()),
            None => self.names.last_definition.as_ref(),
        };
        let module = definition.cloned().ok_or("there is no such module")?;
        self.instantiate(&module, instance.map(|id| id.name().to_owned()))
    }

    fn instantiate(&mut self, module: &Module, name: Option<String>) -> Verdict {
        // A failed module must not leave its predecessor to be asked in its place.
        self.names.current = None;
        let instance = self
            .linker
            .instantiate(&mut self.store, module)
            .map_err(|error| format!("expected the module to be instantiated; found: {error}"))?;
        self.names.current = Some(instance);
        if let Some(name) = name {
            self.names.instances.insert(name, instance);
        }
        Ok(())
    }

    fn instance(&self, id: Option<Id<'_>>) -> Result<Instance, String> {
        let found = match id {
            Some(id) => self.names.instances.get(id.name()),
            None => self.names.current.as_ref(),
        };
        found.copied().ok_or_else(|| "there is no such instance".to_owned())
    }

    fn register(&mut self, name: &str, id: Option<Id<'_>>) -> Verdict {
        if let Some(shared) = id.and_then(|id| self.names.shared.get(id.name())) {
            for (export, memory) in shared {
                self.linker
                    .define(&self.store, name, export, memory.clone())
                    .map_err(|error| format!("cannot register: {error}"))?;
            }
            return Ok(());
        }
        let instance = self.instance(id)?;
        self.linker
            .instance(&mut self.store, name, instance)
            .map(|_| ())
            .map_err(|error| format!("cannot register: {error}"))
    }

    fn export(&mut self, id: Option<Id<'_>>, name: &str) -> Result<Extern, String> {
        self.instance(id)?
            .get_export(&self.store, name)
            .ok_or_else(|| format!("there is no export `{}`", palisade::escape_name(name)))
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Outcome {
        let Extern::Func(func) = self.export(invoke.module, invoke.name)? else {
            return Err(format!("`{}` is no function", palisade::escape_name(invoke.name)));
        };
        let ty = func.ty(&self.store).map_err(|error| error.to_string())?;
        let mut args = Vec::with_capacity(invoke.args.len());
        for (i, arg) in invoke.args.iter().enumerate() {
            let value = argument(&mut self.store, arg, ty.params().get(i));
            match value.map_err(|error| error.to_string())? {
                Some(value) => args.push(value),
                None => return Err(format!("argument {i} is nothing that a module can take")),
            }
        }
        let mut results = vec![Val::I32(0); ty.results().len()];
        Ok(func.call(&mut self.store, &args, &mut results).map(|()| results))
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Outcome {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => match self.export(module, global)? {
                Extern::Global(global) => Ok(global.get(&mut self.store).map(|value| vec![value])),
                _ => Err(format!("`{}` is no global", palisade::escape_name(global))),
            },
            WastExecute::Wat(module) => {
                let module = self.load(QuoteWat::Wat(module))?;
                Ok(self.linker.instantiate(&mut self.store, &module).map(|_| Vec::new()))
            }
        }
    }

    fn returns(&mut self, exec: WastExecute<'_>, expected: &[WastRet<'_>]) -> Verdict {
        let found = match self.execute(exec)? {
            Ok(found) => found,
            Err(error) => {
                return Err(format!("expected {}; found: {error}", describe_expected(expected)));
            }
        };
        let same = expected.len() == found.len()
            && expected.iter().zip(&found).all(|(e, f)| matches(&self.store, e, f));
        if same {
            return Ok(());
        }
        Err(format!("expected {}; found {}", describe_expected(expected), describe_found(&found)))
    }

    fn rejected(&self, mut module: QuoteWat<'_>, message: &str) -> Verdict {
        let Ok(bytes) = module.encode() else { return Ok(()) };
        match Module::from_binary(&self.engine, &bytes) {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("expected the module to be refused: {message}")),
        }
    }

    /// A custom section that breaks its rules makes no module invalid: it must have been ignored.
    fn ignored(&self, mut module: QuoteWat<'_>, message: &str) -> Verdict {
        let Ok(bytes) = module.encode() else { return Ok(()) };
        match Module::from_binary(&self.engine, &bytes) {
            Ok(module) if module.info().branch_hints_are_malformed() => Ok(()),
            Ok(_) => Err(format!("expected a custom section to be ignored: {message}")),
            Err(error) => {
                Err(format!("expected a module with a bad custom section; found: {error}"))
            }
        }
    }

    fn unlinkable(&mut self, module: Wat<'_>, message: &str) -> Verdict {
        let module = self.load(QuoteWat::Wat(module))?;
        match self.linker.instantiate(&mut self.store, &module) {
            Err(error) if matches!(error.kind(), ErrorKind::Link(_)) => {
                if error.to_string().starts_with(message) {
                    return Ok(());
                }
                Err(format!("expected a link error `{message}`; found: {error}"))
            }
            Err(error) => Err(format!("expected a link error `{message}`; found: {error}")),
            Ok(_) => Err(format!("expected a link error `{message}`; found an instance")),
        }
    }
}

/// Waits for a thread's end and adds what it found.
fn join(thread: ScopedJoinHandle<'_, Report>, report: &mut Report) {
    match thread.join() {
        Ok(found) => {
            report.passed += found.passed;
            report.failed.extend(found.failed);
        }
        Err(_) => report.failed.push(Failure { line: 0, message: "a thread panicked".into() }),
    }
}

/// Judges the outcome of something that must trap.
fn traps(outcome: Result<Vec<Val>, Error>, expected: &str) -> Verdict {
    match outcome {
        Ok(results) => {
            Err(format!("expected the trap `{expected}`; found {}", describe_found(&results)))
        }
        Err(error) => {
            let found = error.trap_code().map(TrapCode::message);
            // Scripts append details (`uninitialized element 2`) and leave some out.
            match found {
                Some(found) if expected.starts_with(found) || found.starts_with(expected) => Ok(()),
                _ => Err(format!("expected the trap `{expected}`; found: {error}")),
            }
        }
    }
}

fn line_of(text: &str, span: Span) -> usize {
    span.linecol_in(text).0 + 1
}
