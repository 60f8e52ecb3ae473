//! `palisade wast`: runs specification scripts.

use crate::args::Wast;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::load;
use crate::settings::Switches;
use crate::signals::Signals;

pub(super) fn run(args: &Wast) -> Result<Status, Failure> {
    Signals::install()?.watch()?;
    let config = config(args)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for path in &args.files {
        let text = load::script(path)?;
        let name = escape::path(path);
        let report = palisade_wast::run_script(&name, &text, &config);
        for failure in &report.failed {
            let line = format!("{name}:{}: {}\n", failure.line, escape::lines(&failure.message));
            failure::print(&line)?;
        }
        passed += report.passed;
        failed += report.failed.len();
        skipped += report.skipped;
    }
    failure::print(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"))?;
    Ok(if failed == 0 { Status::Success } else { Status::CheckFailed })
}

fn config(args: &Wast) -> Result<palisade::Config, Failure> {
    let mut config = palisade::Config::new();
    config.strategy(args.engine.strategy());
    Switches::of(&args.proposals)?.apply(&mut config)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use palisade::{Engine, Module, Store};

    use super::*;

    #[test]
    fn the_engine_that_is_asked_for_runs_the_scripts() {
        for (name, compiles) in [("jit", true), ("interp", false)] {
            let args = Wast::parse_from(["wast", "--engine", name, "script.wast"]);
            let engine = Engine::new(&config(&args).expect("a configuration")).expect("an engine");
            let module = Module::new(&engine, "(module (func))").expect("a module");
            let mut store = Store::new(&engine, ());
            palisade::Instance::new(&mut store, &module, &[]).expect("an instance");
            assert_eq!(engine.compile_stats().compiled == 1, compiles, "{name}");
        }
    }
}
