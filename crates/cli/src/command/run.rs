//! `palisade run`: everything from the options to the guest's end.
//!
//! What can be wrong on the command line is found first, before any file is read; then modules are
//! loaded (where the process locks itself in: opened before, read after), then what is called and with which
//! arguments is settled; only then does code of a guest run. Its end, however it comes about, passes through [`Session::finish`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade::{
    Config, Engine, Error, FuncType, Instance, Linker, Module, Resource, Store, Trust, Val,
};
use palisade_lockdown::Report;
use palisade_wasi::Wasi;

use crate::amounts;
use crate::args::Run;
use crate::audit::Audit;
use crate::cache::{self, Cache};
use crate::coredump;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::grants;
use crate::invoke;
use crate::keys;
use crate::load;
use crate::lock::{self, Lock};
use crate::outcome;
use crate::profile::Profiles;
use crate::quantity::show_bytes;
use crate::settings::Settings;
use crate::signals::{self, Signals};

pub(super) fn run(args: &Run) -> Result<Status, Failure> {
    let began = Instant::now();
    let settings = Settings::of(args)?;
    let links = links(args)?;
    let lock = Lock::of(args)?;
    let audit = Audit::open(args, &settings)?;
    let wasi = grants::build(args, &settings, &audit)?;
    let cache = Cache::of(&args.code);
    let mut signals = Signals::install()?;
    if lock.is_none() {
        signals.watch()?;
        signals.limit_loading(settings.timeout)?;
    }
    // Everything that is opened by its name is opened here; then the process locks itself in, and after that come
    // threads and the first byte that nobody has read.
    let file = load::open(&args.file)?;
    let debug_file = args.inside.debug_file.as_deref().map(load::open).transpose()?;
    let coredump = args.inside.coredump.as_deref();
    let coredump = coredump.map(|path| coredump::Target::create(path, args)).transpose()?;
    let mut profiles = Profiles::create(args)?;
    let link_files =
        links.iter().map(|link| load::open(&link.file)).collect::<Result<Vec<_>, Failure>>()?;
    let artefact = file.is_artefact();
    // What is read before there are threads that watch the clock and signals looks at them itself.
    let until = settings.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut proceed = || signals.proceed(until);
    let trust = if artefact { keys::trust(&args.code.trust, &mut proceed)? } else { Trust::new() };
    // What was compiled without counting fuel is not refused for the sake of a line of --stats.
    let metered = settings.fuel.is_some() || (args.stats && !artefact);
    let engine = engine(&settings, metered, &profiles)?;
    // The entries of the module and of what is linked to it.
    let mut entries = Vec::new();
    for opened in std::iter::once(&file).chain(&link_files) {
        let usable = cache.as_ref().filter(|_| !opened.is_artefact());
        let limits = &settings.limits;
        let entry =
            usable.map(|cache| cache.entry(&engine, limits, opened, lock.is_some(), &mut proceed));
        entries.push(entry.transpose()?.flatten());
    }
    let mut linked_entries = entries.split_off(1);
    let mut cached = entries.pop().flatten();
    let locked = match &lock {
        Some(lock) => {
            let locked = lock.enforce(&wasi, settings.engine)?;
            signals.watch()?;
            signals.limit_loading(settings.timeout)?;
            Some(locked)
        }
        None => None,
    };
    let module = match &mut cached {
        _ if artefact => load::artefact(&engine, file, &trust)?,
        Some(entry) => entry.load(&engine, &args.file)?,
        None => load::module(&engine, &settings.limits, file)?,
    };
    drop(trust);
    if let Some(file) = debug_file {
        load::debug_file(&module, &settings.limits, file)?;
    }
    let linked = links
        .into_iter()
        .zip(link_files)
        .zip(&mut linked_entries)
        .map(|((link, file), entry)| {
            let module = match entry {
                Some(entry) => entry.load(&engine, &link.file)?,
                None => load::module(&engine, &settings.limits, file)?,
            };
            Ok(Linked { link, module })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let entry = Entry::of(args, &module)?;
    let mut session = Session {
        file: &args.file,
        module: &module,
        coredump,
        store: store(&engine, &settings, metered, wasi)
            .map_err(|error| outcome::failure(&args.file, &error))?,
        signals,
        locked,
    };
    session.store.on_refusal(audit.refusals());
    profiles.start(&mut session.store)?;
    session.store.keep_values(session.coredump.is_some());
    let loading = began.elapsed();
    let began = Instant::now();
    let status = session.run(&settings, &linked, &module, &entry);
    profiles.write(linked.iter().map(|linked| &linked.module).chain([&module]));
    let status = audit.finish(args, session.store.data().ctx(), status);
    let running = began.elapsed();
    if let Some(entry) = &mut cached {
        entry.save(&module);
    }
    for (entry, linked) in linked_entries.iter_mut().zip(&linked) {
        entry.iter_mut().for_each(|entry| entry.save(&linked.module));
    }
    if artefact && engine.stored_stats().damaged > 0 {
        failure::warn(&format!(
            "{}: machine code in it was not what was written when it was needed, or the file changed meanwhile: what it was for \
             ran without it; copy the artefact again, or compile the module again",
            escape::path(&args.file)
        ));
    }
    // The process ends with the run: nobody is to wait for what is being compiled in the background.
    std::mem::forget(engine);
    // The same for what modules keep, page by page.
    std::mem::forget((module.clone(), linked.iter().map(|l| l.module.clone()).collect::<Vec<_>>()));
    if args.stats {
        session.print_stats(&linked, loading, running, cached.as_ref());
    }
    status
}

/// A value of `--link`.
struct Link {
    name: String,
    file: PathBuf,
}

struct Linked {
    link: Link,
    module: Module,
}

fn links(args: &Run) -> Result<Vec<Link>, Failure> {
    args.link
        .iter()
        .map(|text| {
            let bytes = text.as_bytes();
            let wrong = |why: &str| {
                Failure::usage(format!("--link {}: {why}", escape::os(text)))
                    .hint("write --link NAME=FILE")
            };
            let Some(at) = bytes.iter().position(|&byte| byte == b'=') else {
                return Err(wrong("`=` is missing"));
            };
            let Ok(name) = std::str::from_utf8(&bytes[..at]) else {
                return Err(wrong("the name is not UTF-8"));
            };
            if at + 1 == bytes.len() {
                return Err(wrong("the file is missing"));
            }
            let file = PathBuf::from(OsStr::from_bytes(&bytes[at + 1..]));
            Ok(Link { name: name.to_owned(), file })
        })
        .collect()
}

fn engine(settings: &Settings, metered: bool, profiles: &Profiles) -> Result<Engine, Failure> {
    let mut config = Config::new();
    settings.switches.apply(&mut config)?;
    config
        .consume_fuel(metered)
        .limits(settings.limits.clone())
        .call_depth(settings.call_depth)
        .compile_memory(settings.ledger.get(Resource::HostBytes))
        .strategy(settings.engine.strategy())
        .paranoid(settings.paranoid)
        .baseline_cpu(settings.baseline_cpu)
        .debug_info(settings.debug_info)
        .max_wasm_stack(usize::try_from(settings.stack).unwrap_or(usize::MAX));
    settings.conduct.configure(&mut config);
    profiles.configure(&mut config);
    outcome::engine(&config)
}

/// As good as unlimited: three hundred years of computing.
const MUCH_FUEL: u64 = i64::MAX as u64;

fn store(
    engine: &Engine,
    settings: &Settings,
    metered: bool,
    wasi: Wasi,
) -> Result<Store<Wasi>, Error> {
    let mut store = Store::try_new(engine, wasi)?;
    if metered {
        store.set_fuel(settings.fuel.unwrap_or(MUCH_FUEL))?;
    }
    for what in Resource::ALL {
        store.set_resource_limit(*what, settings.ledger.get(*what));
    }
    Ok(store)
}

/// What is called once the guest is instantiated.
enum Entry {
    /// `_start`.
    Command,
    /// An export, with its arguments.
    Export { name: String, ty: FuncType, args: Vec<Val> },
}

impl Entry {
    fn of(args: &Run, module: &Module) -> Result<Self, Failure> {
        match &args.invoke {
            Some(name) => Self::export(args, module, name),
            None => Self::command(args, module),
        }
    }

    fn export(args: &Run, module: &Module, name: &str) -> Result<Self, Failure> {
        let shown = escape::name(name);
        let file = escape::path(&args.file);
        let Some(ty) = module.get_export(name) else {
            return Err(Failure::usage(format!(
                "{file}: --invoke {shown}: there is no such export"
            ))
            .hint(callable(module)));
        };
        let Some(ty) = ty.func() else {
            return Err(Failure::usage(format!(
                "{file}: --invoke {shown}: this is no function but {ty}"
            ))
            .hint(callable(module)));
        };
        let values = invoke::arguments(name, ty, &args.args)?;
        Ok(Self::Export { name: name.to_owned(), ty: ty.clone(), args: values })
    }

    fn command(args: &Run, module: &Module) -> Result<Self, Failure> {
        let file = escape::path(&args.file);
        match module.get_export(START) {
            Some(ty) if ty.func().is_some_and(takes_and_gives_nothing) => Ok(Self::Command),
            Some(ty) => Err(Failure::new(
                Status::Module,
                format!(
                    "{file}: {START} must be a function without parameters and results, and is {ty}"
                ),
            )),
            None => Err(Failure::usage(format!(
                "{file}: this module has no {START}, so it is no command that could be run"
            ))
            .hint(callable(module))),
        }
    }
}

const START: &str = "_start";
const INITIALIZE: &str = "_initialize";

fn takes_and_gives_nothing(ty: &FuncType) -> bool {
    ty.params().is_empty() && ty.results().is_empty()
}

/// A line that says what `--invoke` can call.
fn callable(module: &Module) -> String {
    const SHOWN: usize = 16;
    let functions: Vec<String> = module
        .exports()
        .filter_map(|export| {
            let ty = export.ty().func()?.to_string();
            Some(format!("{} {ty}", escape::name(export.name())))
        })
        .collect();
    if functions.is_empty() {
        return "it exports no function at all".to_owned();
    }
    let more = match functions.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown: Vec<&str> = functions.iter().take(SHOWN).map(String::as_str).collect();
    format!("--invoke NAME can call {}{more}", shown.join(", "))
}

/// A guest about to run, and what it takes to say how it ended.
struct Session<'a> {
    file: &'a Path,
    module: &'a Module,
    coredump: Option<coredump::Target>,
    store: Store<Wasi>,
    signals: Signals,
    /// What the kernel gave, if the process is locked.
    locked: Option<Report>,
}

impl Session<'_> {
    fn run(
        &mut self,
        settings: &Settings,
        linked: &[Linked],
        module: &Module,
        entry: &Entry,
    ) -> Result<Status, Failure> {
        self.signals.running(self.store.interrupt_handle());
        let results = self
            .store
            .set_timeout(settings.timeout)
            .map_err(|error| (self.file.to_owned(), error))
            .and_then(|()| self.guest(linked, module, entry));
        self.signals.over();
        // A signal that came too late to stop the guest still stops what is left to do.
        let late =
            self.signals.received().filter(|_| matches!(&results, Ok(lines) if !lines.is_empty()));
        if let Some(signal) = late {
            return Err(ended_by(signal, self.file));
        }
        match results {
            Ok(lines) => {
                failure::print(&lines)?;
                Ok(Status::Success)
            }
            Err((file, error)) => self.finish(&file, &error),
        }
    }

    /// Runs all code of guests. The results of `--invoke` come back as lines; an error comes with the
    /// file that was being run.
    fn guest(
        &mut self,
        linked: &[Linked],
        module: &Module,
        entry: &Entry,
    ) -> Result<String, (PathBuf, Error)> {
        let mut linker = Linker::new(module.engine());
        let main = self.file.to_owned();
        let at = |file: &Path| {
            let file = file.to_owned();
            move |error: Error| (file, error)
        };
        if linked.iter().map(|l| &l.module).chain([module]).any(imports_wasi) {
            palisade_wasi::add_to_linker(&mut linker, |wasi| wasi).map_err(at(&main))?;
        }
        for Linked { link, module } in linked {
            let instance = self.instantiate(&linker, module).map_err(at(&link.file))?;
            linker.instance(&mut self.store, &link.name, instance).map_err(at(&link.file))?;
        }
        match entry {
            Entry::Command => {
                let instance = linker.instantiate(&mut self.store, module).map_err(at(&main))?;
                self.call(instance, START, &[], 0).map_err(at(&main))?;
                Ok(String::new())
            }
            Entry::Export { name, ty, args } => {
                let instance = self.instantiate(&linker, module).map_err(at(&main))?;
                // It has been called once, as it should be.
                if name == INITIALIZE && takes_and_gives_nothing(ty) {
                    return Ok(String::new());
                }
                let results =
                    self.call(instance, name, args, ty.results().len()).map_err(at(&main))?;
                Ok(results
                    .iter()
                    .zip(ty.results())
                    .map(|(value, ty)| format!("{}\n", invoke::result(&self.store, value, ty)))
                    .collect())
            }
        }
    }

    /// Instantiates a module whose exports are going to be called.
    fn instantiate(&mut self, linker: &Linker<Wasi>, module: &Module) -> Result<Instance, Error> {
        let instance = linker.instantiate(&mut self.store, module)?;
        let initialize = module.get_export(INITIALIZE);
        if initialize.is_some_and(|ty| ty.func().is_some_and(takes_and_gives_nothing)) {
            self.call(instance, INITIALIZE, &[], 0)?;
        }
        Ok(instance)
    }

    fn call(
        &mut self,
        instance: Instance,
        name: &str,
        args: &[Val],
        results: usize,
    ) -> Result<Vec<Val>, Error> {
        let func = instance
            .get_func(&mut self.store, name)
            .ok_or_else(|| Error::msg("an export of the module is missing in its instance"))?;
        let mut values = vec![Val::I32(0); results];
        func.call(&mut self.store, args, &mut values)?;
        Ok(values)
    }

    /// What the end of a guest that did not simply return means.
    fn finish(&mut self, file: &Path, error: &Error) -> Result<Status, Failure> {
        if let Some(status) = outcome::exit_status(error) {
            return Ok(Status::Guest(status));
        }
        let interrupted = error.trap_code() == Some(palisade::TrapCode::Interrupted);
        if let Some(signal) = self.signals.received().filter(|_| interrupted) {
            return Err(ended_by(signal, file));
        }
        if let Some(coredump) = self.coredump.take() {
            coredump.write(&mut self.store, file, error);
        }
        let mut failure = outcome::failure(file, error);
        if let Some(place) = self.module.debug_file_hint().filter(|_| error.backtrace().is_some()) {
            failure = failure.hint(format!(
                "the module says that its debug information is in {}: --debug-file FILE reads it",
                escape::name(place)
            ));
        }
        // What the guest was refused before, and may have ended because of.
        if failure.status == Status::Trap
            && error.refusal().is_none()
            && let Some(refusal) = self.store.last_refusal()
        {
            failure = failure.hint(format!("{refusal}; {}", amounts::hint(&refusal)));
        }
        Err(failure)
    }

    fn print_stats(
        &self,
        linked: &[Linked],
        loading: Duration,
        running: Duration,
        cached: Option<&cache::Entry>,
    ) {
        let mut text = "palisade: stats:\n".to_owned();
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:12} {value}\n"));
        if let Some(fuel) = self.store.fuel_consumed() {
            line("fuel", fuel.to_string());
        }
        let modules = linked.iter().map(|linked| &linked.module).chain([self.module]);
        let (mut functions, mut translated, mut bytes) = (0, 0, 0);
        for module in modules {
            let (count, size) = module.translated();
            functions += module.function_count();
            (translated, bytes) = (translated + count, bytes + size);
        }
        line(
            "interpreted",
            format!("{translated} of {functions} functions, {} of bytecode", show_bytes(bytes)),
        );
        let compiled = self.store.engine().compile_stats();
        line(
            "machine code",
            format!(
                "{} functions, {}; refused {}, failed {}; {:.6} s of compiling",
                compiled.compiled,
                show_bytes(compiled.code_bytes),
                compiled.refused,
                compiled.failed,
                compiled.time.as_secs_f64()
            ),
        );
        let stored = self.store.engine().stored_stats();
        if stored != Default::default() {
            let code = show_bytes(stored.code_bytes);
            let text =
                format!("{} functions, {code}; damaged {}", stored.functions, stored.damaged);
            line("stored code", text);
        }
        if let Some(cached) = cached {
            line("cache", cached.outcome().to_owned());
        }
        line("lockdown", lock::stats(self.locked.as_ref()));
        line("loading", format!("{:.6} s", loading.as_secs_f64()));
        line("running", format!("{:.6} s", running.as_secs_f64()));
        text.push_str(&amounts::table(&self.store.ledger()));
        failure::tell(&text);
    }
}

fn ended_by(signal: i32, file: &Path) -> Failure {
    let what = format!("{}: ended by {}", escape::path(file), signals::name(signal));
    Failure::new(Status::Signal(signal), what)
}

fn imports_wasi(module: &Module) -> bool {
    module.imports().any(|import| import.module() == palisade_wasi::MODULE)
}
