//! What the command line may say. The texts here are the help, the man page and the reference in
//! one; what the options add up to is decided in [`crate::settings`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Command, Parser, ValueEnum};

use crate::amounts::Amounts;
use crate::profile::Profile;
use crate::quantity::{self, Bound};

/// The exit statuses, as help and man page show them.
pub(crate) const EXIT_STATUS: &str = "\
Exit status of a run:
  guest's  the guest's own, its low 8 bits; 0 when _start returns
    2      wrong usage
  124      the deadline passed
  125      Palisade itself failed
  126      not a module, invalid, over a limit of the decoder, cannot be linked
  127      a file cannot be read
  130, 143 ended by Ctrl-C, by SIGTERM
  134      trap, including fuel, stack and any other limit";

/// Examples, as help and man page show them.
pub(crate) const EXAMPLES: &str = "\
Examples:
  palisade app.wasm -- -v input.txt
  palisade run untrusted.wasm --sandbox --allow-read --dir ./data
  palisade run lib.wasm --invoke fib 35
  palisade compile app.wasm && palisade app.palisade
  palisade inspect --json app.wasm";

/// Which engine runs the guest.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Engine {
    /// The interpreter first; what runs often goes on as machine code
    #[default]
    Auto,
    /// The interpreter alone
    #[value(alias = "interpreter")]
    Interp,
    /// Machine code alone: everything is compiled before it runs
    Jit,
}

impl Engine {
    /// What the library calls it.
    pub(crate) fn strategy(self) -> palisade::Strategy {
        match self {
            Self::Auto => palisade::Strategy::Auto,
            Self::Interp => palisade::Strategy::Interpreter,
            Self::Jit => palisade::Strategy::Compiled,
        }
    }
}

/// How a run works, in short.
pub(crate) const RULES: &str = "\
Everything that a guest can reach is denied unless a flag grants it. Without --sandbox the guest \
gets its standard streams, the clocks and random numbers; with it, the standard streams alone, and \
every resource has a limit.

Options may stand before or after FILE, in any order. An argument for the guest that begins with `-` \
needs `--` before it (numbers after --invoke do not). Scripts should always write `--`.";

/// Run a WASI command, or call an export
#[derive(Parser, Debug)]
#[command(name = "run", long_about = format!("Run a WASI command, or call an export\n\n{RULES}"))]
pub(crate) struct Run {
    /// The module, binary or text, or what `palisade compile` made of one
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Arguments for the guest, or for the export that --invoke names
    #[arg(value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,

    /// Call the export NAME with ARGS, parsed by its types; print its results, one per line
    #[arg(long, value_name = "NAME", help_heading = "What to run")]
    pub(crate) invoke: Option<String>,

    /// The engine that runs the guest
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t, help_heading = "What to run")]
    pub(crate) engine: Engine,

    /// Let the compiler check its own work, each function it makes; on with --sandbox
    #[arg(long, help_heading = "What to run")]
    pub(crate) paranoid: bool,

    /// Make machine code for the oldest supported processors (SSE4.1), not for this one
    #[arg(long, help_heading = "What to run")]
    pub(crate) baseline_cpu: bool,

    /// Instantiate FILE and offer its exports to the next modules as NAME (repeatable, in order)
    #[arg(long, value_name = "NAME=FILE", help_heading = "What to run")]
    pub(crate) link: Vec<OsString>,

    /// What the guest finds as its own name, in place of FILE's
    #[arg(long, value_name = "NAME", help_heading = "What to run")]
    pub(crate) argv0: Option<String>,

    /// Print what the guest used of everything that has a limit, and time, to standard error at the end
    #[arg(long, help_heading = "What to run")]
    pub(crate) stats: bool,

    #[command(flatten)]
    pub(crate) code: Code,

    #[command(flatten)]
    pub(crate) inside: Inside,

    #[command(flatten)]
    pub(crate) grants: Grants,

    #[command(flatten)]
    pub(crate) watching: Watching,

    #[command(flatten)]
    pub(crate) behaviour: Behaviour,

    #[command(flatten)]
    pub(crate) bounds: Bounds,

    #[command(flatten)]
    pub(crate) wall: Wall,

    #[command(flatten)]
    pub(crate) decoding: Decoding,
}

/// Machine code that was made before.
#[derive(Args, Debug, Default)]
pub(crate) struct Code {
    /// Keep machine code for later runs of the same module, in DIR or a directory of the user's own
    ///
    /// A cache that cannot be used costs a recompile, nothing else. `palisade cache` lists and clears it.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        help_heading = "What to run"
    )]
    pub(crate) cache: Option<Option<PathBuf>>,

    /// Run what was compiled and signed by whoever has the other half of KEY, a file or 64 digits (repeatable)
    ///
    /// Machine code can do anything that this process can. Without it, artefacts run that this user made alone.
    #[arg(long, value_name = "KEY", help_heading = "What to run")]
    pub(crate) trust: Vec<OsString>,
}

/// What is shown of the inside of a guest.
#[derive(Args, Debug, Default)]
pub(crate) struct Inside {
    /// Tell files and lines in backtraces, from FILE's own DWARF; on unless --sandbox
    #[arg(long, overrides_with = "no_debug_info", help_heading = "Looking inside")]
    pub(crate) debug_info: bool,

    /// Read no DWARF of FILE, whatever it holds
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) no_debug_info: bool,

    /// Take the DWARF of FILE from this file, which was split off when FILE was stripped
    ///
    /// Where both have a build-id, or both hold code, these have to be the same.
    #[arg(long, value_name = "FILE", help_heading = "Looking inside")]
    pub(crate) debug_file: Option<PathBuf>,

    /// If the guest traps, write a core dump of WebAssembly to FILE: memories, globals, calls
    ///
    /// The form is that of the tool conventions, which `wasm-tools` and others read. FILE is made anew before the
    /// guest starts, and stays empty if it does not trap. At most 1 GiB is written.
    #[arg(long, value_name = "FILE", help_heading = "Looking inside")]
    pub(crate) coredump: Option<PathBuf>,

    /// Profile the guest: guest[=FILE] or folded[=FILE]; for `perf`: perfmap or jitdump (repeatable)
    ///
    /// `guest` writes where the guest spent its time, by its functions and in every engine, to FILE
    /// [default: palisade-profile.json], which the Firefox Profiler (profiler.firefox.com) opens; `folded` writes the text
    /// from which flame graphs are drawn [default: palisade-profile.folded]. `perfmap` writes /tmp/perf-PID.map at the end;
    /// `jitdump` writes jit-PID.dump, with the code and its lines, into $JITDUMPDIR or the working directory while code
    /// is made, for `perf inject --jit`.
    #[arg(
        long,
        value_name = "KIND[=FILE]",
        value_parser = OsStringValueParser::new().try_map(|text| Profile::parse(&text)),
        help_heading = "Looking inside"
    )]
    pub(crate) profile: Vec<Profile>,

    /// Tell native debuggers such as gdb names and frames of the guest's machine code, while it is there
    #[arg(long, help_heading = "Looking inside")]
    pub(crate) native_debug: bool,

    /// How often `--profile guest` and `--profile folded` look [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, help_heading = "Looking inside")]
    pub(crate) profile_interval: Option<Duration>,
}

/// The lock around the process.
#[derive(Args, Debug, Default)]
pub(crate) struct Wall {
    /// Let the kernel hold this process to what the guest is given; on with --sandbox
    ///
    /// No files but those beneath the given directories, no other programs, no network: even a guest that breaks
    /// out of the runtime finds nothing (Landlock, seccomp). What the kernel lacks is said once.
    #[arg(long, help_heading = "The second wall")]
    pub(crate) lockdown: bool,

    /// Do without the lock that --sandbox brings
    #[arg(long, help_heading = "The second wall")]
    pub(crate) no_lockdown: bool,

    /// Refuse to run (status 125) if the kernel lacks a part of the lock
    #[arg(long, help_heading = "The second wall")]
    pub(crate) require_lockdown: bool,
}

/// What the guest is given.
#[derive(Args, Debug, Default)]
pub(crate) struct Grants {
    /// Give a directory, as `HOST`, `HOST::GUEST`, either with `:ro` or `:rw` at its end (repeatable)
    ///
    /// The guest sees it as GUEST, or by the same name. What it may do there is what the suffix
    /// (read and write, unless `:ro`) and the --allow flags have in common; without --allow-read,
    /// --allow-write or --allow-path that is nothing.
    #[arg(long, value_name = "HOST[::GUEST][:ro|:rw]", help_heading = "What the guest is given")]
    pub(crate) dir: Vec<OsString>,

    /// Set a variable in the guest's environment (repeatable)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "What the guest is given")]
    pub(crate) env: Vec<OsString>,

    /// Allow reading files and directories beneath the given directories
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_read: bool,

    /// Allow creating and changing files beneath the given directories
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_write: bool,

    /// Allow looking up, creating, renaming, linking and removing names beneath the given directories
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_path: bool,

    /// Show the guest the environment of this process (--env needs no permission)
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_env: bool,

    /// Allow the clocks; granted unless --sandbox (without it they stand still)
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_clock: bool,

    /// Allow random numbers; granted unless --sandbox
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_random: bool,

    /// Allow proc_raise
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_proc: bool,

    /// Allow all of these; directories are still given by --dir alone
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) allow_all: bool,

    /// Give the guest no standard streams: its input is empty, its output vanishes
    #[arg(long, help_heading = "What the guest is given")]
    pub(crate) no_stdio: bool,
}

/// What is written down about the guest.
#[derive(Args, Debug, Default)]
pub(crate) struct Watching {
    /// Write a JSON line for each permission asked for and each limit reached, to standard error or FILE
    ///
    /// At the end, the flags are printed that would allow just what was denied. The log takes at most
    /// 16 MiB. FILE is made anew before the guest starts; on standard error, a guest can write lines
    /// that look like those of the log.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        help_heading = "What the guest is given"
    )]
    pub(crate) audit: Option<Option<PathBuf>>,
}

/// How runs behave.
#[derive(Args, Debug, Default)]
pub(crate) struct Behaviour {
    /// Make each run the same: clocks, random numbers, directories, NaNs; no shared memories
    #[arg(long, help_heading = "Behaviour")]
    pub(crate) deterministic: bool,

    /// What the random numbers of --deterministic follow from [default: 0]
    #[arg(long, value_name = "N", value_parser = quantity::count, help_heading = "Behaviour")]
    pub(crate) seed: Option<u64>,

    /// Let clocks, and waiting for them, show nothing finer than this (1ms)
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, help_heading = "Behaviour")]
    pub(crate) clock_resolution: Option<Duration>,

    /// Send the guest's control characters to a terminal as they are, not made visible
    #[arg(long, help_heading = "Behaviour")]
    pub(crate) raw_terminal: bool,
}

/// How much of everything the guest may use.
#[derive(Args, Debug, Default)]
pub(crate) struct Bounds {
    /// Deny everything and limit everything; other flags add to this or change it, in any order
    ///
    /// No capability, 1,000,000,000 units of fuel, 256 MiB of memory, 1,000,000 table elements, 16
    /// instances, 64 open files, 64 MiB of output, 10,000 files created, 60 s, 1 MiB of stack, 1024 nested
    /// calls, a limit on everything else that --stats lists, the strict limits of the decoder, and the lock
    /// around this process (--lockdown).
    #[arg(long, help_heading = "Limits")]
    pub(crate) sandbox: bool,

    /// Stop the guest after N units of fuel, about one per operator
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) fuel: Option<Bound<u64>>,

    /// Stop the guest this long after its start (500ms, 2s, 1m); loading may take as long again
    #[arg(long, value_name = "TIME", value_parser = quantity::duration_bound, help_heading = "Limits")]
    pub(crate) timeout: Option<Bound<Duration>>,

    /// Memory of all instances together (64MiB, 1GiB)
    #[arg(long, value_name = "SIZE", value_parser = quantity::size_bound, help_heading = "Limits")]
    pub(crate) max_memory: Option<Bound<u64>>,

    /// Elements of all tables together
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_table_elements: Option<Bound<u64>>,

    /// Nested calls
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_call_depth: Option<Bound<u64>>,

    /// The guest's stack [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::size, help_heading = "Limits")]
    pub(crate) max_stack: Option<u64>,

    /// Open files and directories [default: 1024]
    #[arg(long, value_name = "N", value_parser = quantity::count32, help_heading = "Limits")]
    pub(crate) max_open_files: Option<u32>,

    /// Bytes written, to streams and files together (10MiB)
    #[arg(long, value_name = "SIZE", value_parser = quantity::size_bound, help_heading = "Limits")]
    pub(crate) max_output: Option<Bound<u64>>,

    #[command(flatten)]
    pub(crate) amounts: Amounts,
}

/// Limits of the decoder.
#[derive(Args, Debug, Default)]
pub(crate) struct Decoding {
    /// Set a limit of the decoder by its name (repeatable); `palisade features` lists them
    #[arg(long, value_name = "NAME=N", help_heading = "Limits")]
    pub(crate) limit: Vec<String>,

    #[command(flatten)]
    pub(crate) proposals: Proposals,
}

/// Which proposals modules may need.
#[derive(Args, Debug, Default)]
pub(crate) struct Proposals {
    /// Switch a proposal on or off by its name (repeatable, or a list with commas)
    ///
    /// All are on. `gc=off,threads=off` takes two away; what builds on them goes with them. `palisade
    /// features` lists the names.
    #[arg(
        short = 'W',
        long = "wasm",
        value_name = "NAME=on|off",
        value_delimiter = ',',
        help_heading = "WebAssembly"
    )]
    pub(crate) wasm: Vec<String>,
}

/// How a module is decoded when it is only looked at.
#[derive(Args, Debug, Default)]
pub(crate) struct Looking {
    /// Use the strict limits of the decoder, as `run --sandbox` does
    #[arg(long)]
    pub(crate) sandbox: bool,

    /// Set a limit of the decoder by its name (repeatable)
    #[arg(long, value_name = "NAME=N")]
    pub(crate) limit: Vec<String>,

    /// Give up after this long (500ms, 2s, 1m)
    #[arg(long, value_name = "TIME", value_parser = quantity::duration_bound)]
    pub(crate) timeout: Option<Bound<Duration>>,

    /// Look into artefacts that were signed by whoever has the other half of KEY, too (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(crate) trust: Vec<OsString>,

    #[command(flatten)]
    pub(crate) proposals: Proposals,
}

/// Check modules, without running anything
///
/// Prints `FILE: valid` for each valid module of WebAssembly 3.0, and an error for each other file. Of an artefact
/// everything is checked, its machine code as well.
/// The exit status is that of the first file that is not valid.
#[derive(Parser, Debug)]
#[command(name = "validate")]
pub(crate) struct Validate {
    /// The modules, binary or text
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) looking: Looking,
}

/// Show what a module imports, exports and contains, without running anything
#[derive(Parser, Debug)]
#[command(name = "inspect")]
pub(crate) struct Inspect {
    /// The module, binary or text
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) looking: Looking,
}

/// Show a function as WebAssembly, as bytecode, as machine code and as the compiler's intermediate form
///
/// Without FUNC, lists the functions. Runs no code of the module. On a terminal of 160 columns the first three stand side by
/// side, with what was made of an operator beside it (from 220 columns on all four); elsewhere one after the other.
#[derive(Parser, Debug)]
#[command(name = "explore")]
pub(crate) struct Explore {
    /// The module, binary or text
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The function: its index, or its name as a backtrace tells it
    #[arg(value_name = "FUNC")]
    pub(crate) func: Option<String>,

    /// Lay out for this many columns, in place of the terminal's
    #[arg(long, value_name = "N", value_parser = quantity::count32)]
    pub(crate) width: Option<u32>,

    #[command(flatten)]
    pub(crate) looking: Looking,
}

/// Show what this build and this machine can do
#[derive(Parser, Debug)]
#[command(name = "features")]
pub(crate) struct Features {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) proposals: Proposals,
}

/// Show the 46 functions of WASI preview 1 and the permission that each needs
#[derive(Parser, Debug)]
#[command(name = "wasi")]
pub(crate) struct Wasi {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run specification scripts
///
/// The last line is `N passed, N failed, N skipped`. The exit status is 1 if anything failed.
#[derive(Parser, Debug)]
#[command(name = "wast")]
pub(crate) struct Wast {
    /// The scripts
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// The engine that runs them
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t)]
    pub(crate) engine: Engine,

    #[command(flatten)]
    pub(crate) proposals: Proposals,
}

/// Compile a module to machine code, ahead of time
///
/// `palisade run` starts what it writes without compiling anything. The file runs with this very build of Palisade, on processors like
/// this one, and with the options that it was made for. It runs for this user alone; signed, for everybody who trusts the
/// signer.
#[derive(Parser, Debug)]
#[command(name = "compile")]
pub(crate) struct Compile {
    /// The module, binary or text
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Where to write the artefact [default: FILE with the ending .palisade]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Sign it with the secret key in KEY, which `palisade key new` makes
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<PathBuf>,

    /// For runs with --sandbox: count fuel and calls, check the compiler's work, strict limits of the decoder
    #[arg(long, help_heading = "What it is for")]
    pub(crate) sandbox: bool,

    /// For runs with --fuel: count fuel
    #[arg(long, help_heading = "What it is for")]
    pub(crate) fuel: bool,

    /// For runs with --max-call-depth: count nested calls
    #[arg(long, help_heading = "What it is for")]
    pub(crate) call_depth: bool,

    /// For runs with --deterministic
    #[arg(long, help_heading = "What it is for")]
    pub(crate) deterministic: bool,

    /// For runs with --baseline-cpu: the oldest supported processors (SSE4.1), not this one
    #[arg(long, help_heading = "What it is for")]
    pub(crate) baseline_cpu: bool,

    /// For runs with --paranoid: let the compiler check its own work
    #[arg(long, help_heading = "What it is for")]
    pub(crate) paranoid: bool,

    #[command(flatten)]
    pub(crate) decoding: Decoding,
}

/// What to do about keys.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum KeyAction {
    /// Make a pair: FILE is secret, FILE.pub is for those who are to trust it
    New,
}

/// Make keys that artefacts are signed with
#[derive(Parser, Debug)]
#[command(name = "key")]
pub(crate) struct Key {
    /// What to do
    #[arg(value_name = "ACTION", value_enum)]
    pub(crate) action: KeyAction,

    /// Where the secret half goes; the other one goes beside it, with the ending .pub
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What to do about the cache.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CacheAction {
    /// Print each entry, its size and when it was used last
    List,
    /// Remove all entries
    Clear,
}

/// Look after the cache of machine code
#[derive(Parser, Debug)]
#[command(name = "cache")]
pub(crate) struct Cache {
    /// What to do
    #[arg(value_name = "ACTION", value_enum)]
    pub(crate) action: CacheAction,

    /// The directory of the cache, if it is not the user's own
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// The subcommands by name. `run` comes first.
pub(crate) const SUBCOMMANDS: [&str; 10] = [
    "run", "compile", "cache", "key", "validate", "inspect", "explore", "features", "wasi", "wast",
];

/// The parser of a subcommand, as it is used and as its help shows it.
pub(crate) fn subcommand(name: &str) -> Option<Command> {
    use clap::CommandFactory as _;
    let command = match name {
        "run" => Run::command().after_long_help(format!("{EXIT_STATUS}\n\n{EXAMPLES}")),
        "compile" => Compile::command(),
        "cache" => Cache::command(),
        "key" => Key::command(),
        "validate" => Validate::command(),
        "inspect" => Inspect::command(),
        "explore" => Explore::command(),
        "features" => Features::command(),
        "wasi" => Wasi::command(),
        "wast" => Wast::command(),
        _ => return None,
    };
    let usage = match name {
        // The order that the help shows is the order that scripts should use.
        "run" => "palisade [run] [OPTIONS] FILE [--] [ARGS]...",
        "compile" => "palisade compile [OPTIONS] FILE",
        "cache" => "palisade cache [--cache DIR] list|clear",
        "key" => "palisade key new FILE",
        "validate" => "palisade validate [OPTIONS] FILE...",
        "inspect" => "palisade inspect [OPTIONS] FILE",
        "explore" => "palisade explore [OPTIONS] FILE [FUNC]",
        "features" => "palisade features [OPTIONS]",
        "wasi" => "palisade wasi [--json]",
        _ => "palisade wast [OPTIONS] FILE...",
    };
    Some(
        flags_may_repeat(command)
            .bin_name(format!("palisade {name}"))
            .override_usage(usage)
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_subcommand(true),
    )
}

/// A flag says the same twice as once.
fn flags_may_repeat(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_action() {
        clap::ArgAction::SetTrue => {
            let id = arg.get_id().clone();
            arg.overrides_with(id)
        }
        _ => arg,
    })
}

/// The whole command, for its help and man page: the options of `run`, and the subcommands.
pub(crate) fn whole() -> Command {
    use clap::CommandFactory as _;
    let mut whole = Run::command()
        .name("palisade")
        .bin_name("palisade")
        .about("Run WebAssembly programs that nobody has read")
        .long_about(format!("Run WebAssembly programs that nobody has read\n\n{RULES}"))
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage(
            "palisade [run] [OPTIONS] FILE [--] [ARGS]...\n       palisade <COMMAND> [OPTIONS]",
        )
        .after_long_help(format!("{EXIT_STATUS}\n\n{EXAMPLES}"))
        .disable_help_subcommand(true);
    for name in SUBCOMMANDS {
        if let Some(command) = subcommand(name) {
            whole = whole.subcommand(command);
        }
    }
    flags_may_repeat(whole)
}

/// Reads the words of a subcommand. The words do not include the subcommand's name.
pub(crate) fn parse<T: clap::FromArgMatches>(
    name: &str,
    words: &[OsString],
) -> Result<T, clap::Error> {
    let command = subcommand(name).unwrap_or_else(|| Command::new("palisade"));
    let line = crate::words::sort(&command, words).into_line("palisade");
    T::from_arg_matches(&command.try_get_matches_from(line)?)
}

/// Reads the words of a run.
#[cfg(test)]
pub(crate) fn parse_run(words: &[OsString]) -> Result<Run, clap::Error> {
    parse("run", words)
}
