//! C10: machine code that is deliberately wrong, in one respect at a time, and the tests that notice.
//!
//! Each miscompile gets a process of its own: this test program again, with the name of the miscompile in
//! the environment and the tests that are likely to notice; if those do not, all tests. A process that fails,
//! crashes or does not come to an end has noticed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade::Mutation;

use super::machines::VARIABLE;

/// After this a process counts as one that does not end.
const PATIENCE: Duration = Duration::from_secs(240);

/// Which tests are likely to notice, by a part of their names.
fn likely(mutation: Mutation) -> &'static str {
    use Mutation as M;
    match mutation {
        M::BoundsCheckDropped
        | M::BoundsOffByOne
        | M::IndexSignExtended
        | M::OffsetWrong
        | M::AccessWithoutTrap
        | M::LoadWidened
        | M::LoadExtensionSwapped
        | M::StoreNarrowed
        | M::AtomicSignExtended => "c1_",
        M::MemoryLengthStale
        | M::CopyPiecewise
        | M::RangeUnchecked
        | M::TableLengthStale
        | M::CopyFree => "c5_",
        M::ComparisonWrong
        | M::ComparisonUnsigned
        | M::ShiftMaskWrong
        | M::ShiftLogical
        | M::DivisionUnsigned
        | M::RemainderUnsigned
        | M::RotationReversed
        | M::SelectSwapped
        | M::VectorShiftMaskWrong => "c4_",
        M::AlignmentUnchecked
        | M::NansEqual
        | M::ExtensionSigned
        | M::LaneWrong
        | M::ReplacedLaneWrong
        | M::TrapPlaceWrong
        | M::BranchTableOff
        | M::CarryLost => "t4_",
        M::TrapCodeWrong
        | M::NullUnchecked
        | M::CallTypeUnchecked
        | M::CallSubtypeRefused
        | M::TableUnchecked
        | M::TableOffByOne
        | M::ContextWrong
        | M::CallerForgotten => "m4_",
        M::ArrayOffByOne
        | M::RootForgotten
        | M::LocalRootForgotten
        | M::SmallIntegerUnsigned
        | M::NullTestSwapped
        | M::BlockRootForgotten => "objects_",
        M::GlobalStale | M::LoopEntryLocalLost => "c9_every",
        M::InlinedPlaceWrong | M::InlinedFree | M::LoopEntryValueLost => "c9_generated",
        M::MemoryIndexIgnored | M::SaturationSigned => "c9_generated",
        M::MinimumWithoutNan | M::InlinedArgumentsSwapped => "random_programs",
        M::LoopPollDropped | M::EntryPollDropped => "x1_",
        M::BlockFree
        | M::FuelStale
        | M::LandingFuelStale
        | M::ClausesReversed
        | M::HandlersReversed
        | M::ExceptionFieldsReversed
        | M::TagIgnored => "exceptions_",
        M::DepthUncounted | M::ReturnUncounted | M::TailCallUncounted => "s1_",
    }
}

/// What came of a miscompile.
#[derive(Debug)]
pub enum Fate {
    /// Which tests failed, or how the process ended.
    Noticed(String),
    Survived,
}

/// Runs the tests of this program whose names have the part in them; what shows that one failed.
fn failure(mutation: Option<Mutation>, part: &str) -> Option<String> {
    let program = std::env::current_exe().expect("this program");
    let log = tempfile::tempfile().expect("a file");
    let mut command = Command::new(program);
    command
        .args([part, "--skip", "c10_", "--test-threads=2"])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(Stdio::null());
    match mutation {
        Some(mutation) => command.env(VARIABLE, format!("{mutation:?}")),
        None => command.env_remove(VARIABLE),
    };
    let mut child = command.spawn().expect("a process");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("a child");
            child.wait().expect("a child");
            return Some("does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if status.success() {
        return None;
    }
    let text = {
        use std::io::{Read, Seek};
        let (mut log, mut text) = (log, Vec::new());
        log.rewind().expect("a file");
        log.read_to_end(&mut text).expect("a file");
        String::from_utf8_lossy(&text).into_owned()
    };
    let failed = text.lines().filter_map(|line| {
        line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
    });
    let failed: Vec<String> = failed.collect();
    Some(if failed.is_empty() { status.to_string() } else { failed.join(", ") })
}

/// What comes of a miscompile: `thorough` asks all tests where the likely ones notice nothing.
pub fn fate(mutation: Mutation, thorough: bool) -> Fate {
    let found = failure(Some(mutation), likely(mutation));
    let found = found.or_else(|| if thorough { failure(Some(mutation), "") } else { None });
    found.map_or(Fate::Survived, Fate::Noticed)
}

/// Whether the tests that are likely to notice pass while nothing is wrong.
pub fn sound(mutations: &[Mutation]) {
    let mut parts: Vec<_> = mutations.iter().map(|&mutation| likely(mutation)).collect();
    parts.sort_unstable();
    parts.dedup();
    for part in parts {
        let found = failure(None, part);
        assert!(found.is_none(), "without any miscompile: {}", found.unwrap_or_default());
    }
}
