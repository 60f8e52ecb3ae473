//! The ledger on the command line: the options for limits that have no part elsewhere, what they do to a run's
//! limits, what `--stats` shows of it, and what is said when something runs out.
//!
//! Names, flags and what `--sandbox` gives come from the table of [`Resource`]; a test holds the options against it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use palisade::{LedgerLine, Refusal, Resource, ResourceLimits, Unit};

use crate::quantity::{self, Bound, show_bytes};

/// Limits on what the guest uses, beside the usual ones.
#[derive(Args, Debug, Default)]
pub(crate) struct Amounts {
    /// Time spent waiting in calls, all in all (500ms, 2s, 1m)
    #[arg(long, value_name = "TIME", value_parser = quantity::duration_bound, help_heading = "Limits")]
    pub(crate) max_wait: Option<Bound<Duration>>,

    /// Instances, those of --link included
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_instances: Option<Bound<u64>>,

    /// Linear memories of all instances together
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_memories: Option<Bound<u64>>,

    /// Tables of all instances together
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_tables: Option<Bound<u64>>,

    /// What Palisade itself keeps for the guest, translated code included (512MiB)
    #[arg(long, value_name = "SIZE", value_parser = quantity::size_bound, help_heading = "Limits")]
    pub(crate) max_host_memory: Option<Bound<u64>>,

    /// Files, directories and links created; what is deleted counts all the same
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_files: Option<Bound<u64>>,

    /// The largest size that a file may be given (1GiB)
    #[arg(long, value_name = "SIZE", value_parser = quantity::size_bound, help_heading = "Limits")]
    pub(crate) max_file_size: Option<Bound<u64>>,

    /// Bytes that calls copy into and out of the guest's memory (1GiB)
    #[arg(long, value_name = "SIZE", value_parser = quantity::size_bound, help_heading = "Limits")]
    pub(crate) max_copied: Option<Bound<u64>>,

    /// Entries of directories that are read
    #[arg(long, value_name = "N", value_parser = quantity::count_bound, help_heading = "Limits")]
    pub(crate) max_entries: Option<Bound<u64>>,
}

impl Amounts {
    /// Changes what was asked to be changed.
    pub(crate) fn apply(&self, limits: &mut ResourceLimits) {
        change_time(limits, Resource::WaitTime, self.max_wait);
        for (what, bound) in [
            (Resource::Instances, self.max_instances),
            (Resource::Memories, self.max_memories),
            (Resource::Tables, self.max_tables),
            (Resource::HostBytes, self.max_host_memory),
            (Resource::FilesCreated, self.max_files),
            (Resource::FileBytes, self.max_file_size),
            (Resource::CopiedBytes, self.max_copied),
            (Resource::EntriesRead, self.max_entries),
        ] {
            change(limits, what, bound);
        }
    }
}

/// Changes a limit if an option says so.
pub(crate) fn change(limits: &mut ResourceLimits, what: Resource, bound: Option<Bound<u64>>) {
    if let Some(bound) = bound {
        *limits = limits.clone().with(what, bound.limit());
    }
}

/// As [`change`], for times.
pub(crate) fn change_time(
    limits: &mut ResourceLimits,
    what: Resource,
    bound: Option<Bound<Duration>>,
) {
    if let Some(bound) = bound {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        *limits = limits.clone().with(what, bound.limit().map(nanos));
    }
}

/// The ledger as `--stats` shows it, a line for each resource.
pub(crate) fn table(lines: &[LedgerLine]) -> String {
    let mut text = format!("  {:18} {:>16} {:>16} {:>16}\n", "ledger", "in use", "peak", "limit");
    for line in lines {
        let show = |amount: Option<u64>, otherwise: &str| match amount {
            None => otherwise.to_owned(),
            Some(amount) => match line.what.measure() {
                Unit::Bytes => show_bytes(amount),
                Unit::Nanoseconds => format!("{:.3} s", Duration::from_nanos(amount).as_secs_f64()),
                _ => amount.to_string(),
            },
        };
        let (in_use, peak) = (show(line.in_use, "-"), show(line.peak, "-"));
        let limit = show(line.limit, "unlimited");
        let _ = writeln!(text, "  {:18} {in_use:>16} {peak:>16} {limit:>16}", line.what.name());
    }
    text
}

/// What to do when something ran out.
pub(crate) fn hint(refusal: &Refusal) -> String {
    format!("{} raises the limit on {}", refusal.what.flag(), refusal.what.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn every_resource_has_an_option_and_a_line() {
        let run = args::subcommand("run").expect("there is `run`");
        let lines: Vec<LedgerLine> = palisade::Store::<()>::default().ledger();
        let shown = table(&lines);
        for what in Resource::ALL {
            let long = what.flag().strip_prefix("--").expect("an option");
            let arg = run.get_arguments().find(|arg| arg.get_long() == Some(long));
            let arg = arg.unwrap_or_else(|| panic!("there is no {}", what.flag()));
            let kind = arg.get_value_names().and_then(|names| names.first()).expect("a value");
            let wanted = match what.measure() {
                Unit::Bytes => "SIZE",
                Unit::Nanoseconds => "TIME",
                _ => "N",
            };
            assert_eq!(kind, wanted, "{}", what.flag());
            let begins = format!("  {:18}", what.name());
            assert!(shown.lines().any(|line| line.starts_with(&begins)), "{shown}");
            // And a row in each page that lists them.
            let row = format!("| `{} {wanted}` |", what.flag());
            assert!(include_str!("../../../docs/cli.md").contains(&row), "cli.md: no {row}");
            let row = format!("| `{}` | `{what:?}` |", what.setter());
            assert!(
                include_str!("../../../docs/embedding.md").contains(&row),
                "embedding.md: no {row}"
            );
        }
    }
}
