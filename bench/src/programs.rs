//! Whole processes: the `palisade` command beside the command of another runtime, over a folder of programs; and
//! how long either takes to start.
//!
//! The folder has a `programs.json`: a list of objects with `name`, `file`, `args`, `dir` (where it runs, beneath
//! the folder), `stdout` (the file with what it prints), `exit`. Programs with an `invoke` are left out: how a
//! function is named differs from command to command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use crate::measure::{Mean, Pairs, in_turns};

/// What to run and how.
pub struct Options {
    pub ours: PathBuf,
    /// The other command and its options, to which file and arguments are added.
    pub rival: Vec<String>,
    pub folder: PathBuf,
    pub pairs: usize,
    pub names: Vec<String>,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    file: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    invoke: Option<String>,
    dir: Option<PathBuf>,
    stdout: Option<PathBuf>,
    #[serde(default)]
    exit: i32,
}

fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

impl Program {
    fn commands(&self, options: &Options) -> [Command; 2] {
        let here = options.folder.join(self.dir.as_deref().unwrap_or(Path::new("")));
        let file = options.folder.join(&self.file);
        let mut ours = Command::new(&options.ours);
        ours.args(["run", "--dir", ".", "--allow-all"]).arg(&file).arg("--").args(&self.args);
        let mut theirs = Command::new(&options.rival[0]);
        theirs.args(&options.rival[1..]).arg(&file).args(&self.args);
        ours.current_dir(&here);
        theirs.current_dir(&here);
        [ours, theirs]
    }

    /// Why the outputs are not what they should be.
    fn compare(&self, options: &Options, ours: &Output, theirs: &Output) -> Result<(), String> {
        if ours.status.code() != Some(self.exit) {
            return Err(format!("ours ends with {:?}, not {}", ours.status.code(), self.exit));
        }
        if let Some(file) = &self.stdout {
            let expected = std::fs::read(options.folder.join(file)).map_err(|e| e.to_string())?;
            if ours.stdout != expected {
                return Err("ours prints something else than recorded".into());
            }
        }
        if theirs.status.code() != Some(self.exit) {
            return Err(format!("the other ends with {:?}", theirs.status.code()));
        }
        if ours.stdout != theirs.stdout {
            return Err("they print different things".into());
        }
        Ok(())
    }
}

fn print(name: &str, pairs: &Pairs) {
    println!(
        "{name:<22} {:>9.1}ms {:>9.1}ms {:>7.3}",
        pairs.ours * 1e3,
        pairs.theirs * 1e3,
        pairs.ratio
    );
}

fn measure(pairs: usize, [ours, theirs]: &mut [Command; 2]) -> Pairs {
    in_turns(pairs, || drop(output(ours)), || drop(output(theirs)))
}

/// Measures programs; whether all of them printed what they should.
pub fn run(options: &Options) -> bool {
    let list = options.folder.join("programs.json");
    let text = std::fs::read_to_string(&list).unwrap_or_else(|e| panic!("{}: {e}", list.display()));
    let programs: Vec<Program> = serde_json::from_str(&text).expect("programs.json");
    println!("{:<22} {:>11} {:>11} {:>7}", "program", "palisade", "other", "ratio");
    let (mut mean, mut good) = (Mean::default(), true);
    for program in programs {
        let wanted = options.names.is_empty() || options.names.contains(&program.name);
        if !wanted || program.invoke.is_some() {
            continue;
        }
        let mut commands = program.commands(options);
        let [ours, theirs] = commands.each_mut().map(output);
        if let Err(reason) = program.compare(options, &ours, &theirs) {
            println!("{:<22} not measured: {reason}", program.name);
            good = false;
            continue;
        }
        let pairs = measure(options.pairs, &mut commands);
        mean.add(pairs.ratio);
        print(&program.name, &pairs);
    }
    mean.print();
    good
}

/// Measures a program that does nothing, which is all start and end.
pub fn start(options: &Options) {
    let file = std::env::temp_dir().join(format!("nothing-{}.wasm", std::process::id()));
    let nothing = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    std::fs::write(&file, nothing.expect("a module")).expect("a temporary file");
    let mut ours = Command::new(&options.ours);
    ours.arg("run").arg(&file);
    let mut theirs = Command::new(&options.rival[0]);
    theirs.args(&options.rival[1..]).arg(&file);
    let mut locked = Command::new(&options.ours);
    locked.args(["run", "--sandbox"]).arg(&file);
    println!("{:<22} {:>11} {:>11} {:>7}", "start", "palisade", "other", "ratio");
    let mut commands = [ours, theirs];
    for ended in commands.each_mut().map(output) {
        assert!(ended.status.success(), "{ended:?}");
    }
    print("nothing", &measure(options.pairs, &mut commands));
    commands[0] = locked;
    print("nothing, --sandbox", &measure(options.pairs, &mut commands));
    std::fs::remove_file(&file).expect("the temporary file");
}
