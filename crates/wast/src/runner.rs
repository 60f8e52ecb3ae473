//! Goes through the directives of a script and judges each.

use std::collections::HashMap;

use palisade::{
    Config, DecodeError, DecodeErrorKind, Engine, Error, ErrorKind, Extern, Instance, Linker,
    Module, Store, TrapCode, Val,
};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastRet, WastThread, Wat};

use crate::values::{argument, describe_expected, describe_found, matches};
use crate::{Failure, Report, spectest};

/// How a directive went, with words for what is wrong.
type Verdict = Result<(), String>;

/// What executing something gave, or the words for why it could not be tried.
type Outcome = Result<Result<Vec<Val>, Error>, String>;

/// Runs a script. An error is a failure that no directive can be blamed for.
pub(crate) fn run(text: &str, config: &Config, report: &mut Report) -> Result<(), Failure> {
    let broken = |error: wast::Error| Failure {
        line: error.span().linecol_in(text).0 + 1,
        message: format!("the script cannot be parsed: {}", error.message()),
    };
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(broken)?;
    let script = parser::parse::<Wast<'_>>(&buffer).map_err(broken)?;
    let mut runner = Runner::new(text, config)
        .map_err(|error| Failure { line: 0, message: format!("cannot start: {error}") })?;
    for directive in script.directives {
        runner.directive(directive, report);
    }
    Ok(())
}

struct Runner<'a> {
    text: &'a str,
    engine: Engine,
    store: Store<()>,
    linker: Linker<()>,
    names: Names,
    /// Those of the scopes further out, while a thread's directives run.
    outer: Vec<Names>,
}

/// What the directives of one scope made.
#[derive(Default)]
struct Names {
    /// What a directive means that names no instance.
    current: Option<Instance>,
    instances: HashMap<String, Instance>,
    /// What a `(module instance)` means that names no module.
    last_definition: Option<Module>,
    definitions: HashMap<String, Module>,
}

impl<'a> Runner<'a> {
    fn new(text: &'a str, config: &Config) -> palisade::Result<Self> {
        let engine = Engine::new(config)?;
        let mut store = Store::try_new(&engine, ())?;
        if config.metered() {
            store.set_fuel(u64::MAX)?;
        }
        let linker = spectest::linker(&engine, &mut store)?;
        let (names, outer) = (Names::default(), Vec::new());
        Ok(Self { text, engine, store, linker, names, outer })
    }

    fn directive(&mut self, directive: WastDirective<'_>, report: &mut Report) {
        let line = line_of(self.text, directive.span());
        if let WastDirective::Thread(thread) = directive {
            self.thread(thread, report);
            report.passed += 1;
            return;
        }
        match self.judge(directive) {
            Ok(()) => report.passed += 1,
            Err(message) => report.failed.push(Failure { line, message }),
        }
    }

    /// Threads run to their end where they begin: an order that a script must allow.
    fn thread(&mut self, thread: WastThread<'_>, report: &mut Report) {
        let mut names = Names::default();
        if let Some(id) = thread.shared_module
            && let Some(instance) = self.names.instances.get(id.name())
        {
            names.instances.insert(id.name().to_owned(), *instance);
        }
        let linker = self.linker.clone();
        self.outer.push(std::mem::replace(&mut self.names, names));
        for directive in thread.directives {
            self.directive(directive, report);
        }
        self.names = self.outer.pop().unwrap_or_default();
        self.linker = linker;
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
                Err(error) if error.trap_code() == Some(TrapCode::UncaughtException) => Ok(()),
                Err(error) => Err(format!("expected an exception; found: {error}")),
                Ok(results) => {
                    Err(format!("expected an exception; found {}", describe_found(&results)))
                }
            },
            WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertInvalid { module, message, .. }
            | WastDirective::AssertMalformedCustom { module, message, .. }
            | WastDirective::AssertInvalidCustom { module, message, .. } => {
                self.rejected(module, message)
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                self.unlinkable(module, message)
            }
            WastDirective::AssertSuspension { .. } => {
                Err("expected a suspension; stack switching is no part of WebAssembly 3.0".into())
            }
            WastDirective::Thread(_) => Err("a thread where none can be".into()),
            // The thread has ended where it began.
            WastDirective::Wait { .. } => Ok(()),
        }
    }

    fn load(&self, mut module: QuoteWat<'_>) -> Result<Module, String> {
        let bytes =
            module.encode().map_err(|error| format!("malformed text: {}", error.message()))?;
        Module::from_binary(&self.engine, &bytes).map_err(|error| error.to_string())
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
                Extern::Global(global) => Ok(global.get(&self.store).map(|value| vec![value])),
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
            Err(error) if !is_valid_though(&error) => Ok(()),
            Err(error) => Err(format!("expected `{message}`; found a valid module: {error}")),
            Ok(_) => Err(format!("expected the module to be refused: {message}")),
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

/// Whether a module was refused for no other reason than that it cannot be executed.
fn is_valid_though(error: &Error) -> bool {
    let decode = error.downcast_ref::<DecodeError>();
    decode.is_some_and(|error| error.kind() == DecodeErrorKind::NotExecuted)
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
