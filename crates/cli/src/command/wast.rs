//! `palisade wast`: runs specification scripts.

use crate::args::Wast;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::load;
use crate::settings::Switches;
use crate::signals::Signals;

pub(super) fn run(args: &Wast) -> Result<Status, Failure> {
    Signals::install()?.watch()?;
    let mut config = palisade::Config::new();
    Switches::of(&args.proposals)?.apply(&mut config)?;
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
