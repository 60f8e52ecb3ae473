//! What the hook is told: who asked for what, and all that it would take.

mod common;

use common::*;
use palisade_wasi::{AuditEvent, Caps, Denial, Preopen, Rights};

fn denied(builder: palisade_wasi::WasiCtxBuilder, ask: impl FnOnce(&mut Guest)) -> Vec<AuditEvent> {
    let (mut g, log) = audited(builder);
    ask(&mut g);
    let events = log.lock().unwrap();
    events.iter().filter(|event| event.denied.is_some()).cloned().collect()
}

#[test]
fn a_denial_names_everything_that_it_would_take() {
    let t = TempDir::new();
    t.file("file", "x");
    let both = Caps::READ | Caps::WRITE;
    for (caps, read_only, ask, required) in [
        (Caps::empty(), false, Rights::FD_READ, Caps::READ),
        (Caps::empty(), false, RW, both),
        (Caps::READ, true, RW, both),
        (both, true, RW, both),
        (Caps::empty(), false, Rights::empty(), Caps::READ),
    ] {
        let preopen = Preopen::new(&t.0, "/data");
        let preopen = if read_only { preopen.read_only() } else { preopen };
        let events = denied(quiet().caps(caps).preopen(preopen), |g| {
            assert!(g.open("file", 0, ask).is_err());
        });
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event.required, required, "{event:?}");
        assert_eq!((event.preopen_index, event.read_only), (Some(0), read_only), "{event:?}");
        assert_eq!(event.path.as_deref(), Some("file"));
        assert!(!event.is_gentle());
    }
    let events = denied(quiet().caps(Caps::READ).preopen(Preopen::new(&t.0, "/data")), |g| {
        assert!(g.open("file", CREAT, Rights::FD_READ).is_err());
        assert_ne!(g.on_path("path_unlink_file", 3, b"file", &[]), OK);
    });
    let required: Vec<Caps> = events.iter().map(|event| event.required).collect();
    assert_eq!(required, [both, Caps::PATH]);
}

#[test]
fn what_leads_outside_says_what_was_wanted_there() {
    let t = TempDir::new();
    t.dir("in");
    t.file("secret", "x");
    t.link("../secret", "in/link");
    let events = denied(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("in"), "in")), |g| {
        assert!(g.open("../secret", 0, Rights::FD_READ).is_err());
        assert!(g.open("/etc/x", 0, RW).is_err());
        assert!(g.open("link", 0, Rights::FD_READ).is_err());
    });
    let found: Vec<(Option<&str>, Option<Denial>, Caps)> =
        events.iter().map(|e| (e.path.as_deref(), e.denied, e.required)).collect();
    let outside = Some(Denial::Outside);
    assert_eq!(
        found,
        [
            (Some("../secret"), outside, Caps::READ),
            (Some("/etc/x"), outside, Caps::READ | Caps::WRITE),
            (Some("link"), outside, Caps::READ),
        ]
    );
}

#[test]
fn a_right_that_was_given_up_is_nothing_that_a_flag_gives() {
    let t = TempDir::new();
    t.file("file", "x");
    let events = denied(quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")), |g| {
        let fd = g.open("file", 0, Rights::FD_WRITE).unwrap();
        assert!(g.read_fd(fd, 1).is_err());
    });
    assert_eq!(events[0].denied, Some(Denial::Descriptor));
    assert_eq!(events[0].required, Caps::empty());
}

#[test]
fn those_who_want_denials_alone_get_denials_alone() {
    use std::sync::{Arc, Mutex};
    let t = TempDir::new();
    t.file("file", "x");
    let log: Arc<Mutex<Vec<AuditEvent>>> = Arc::default();
    let copy = log.clone();
    let hook = move |event| copy.lock().unwrap().push(event);
    let caps = Caps::READ | Caps::RANDOM;
    let mut g = Guest::new(quiet().caps(caps).preopen(Preopen::new(&t.0, "/")).audit_denials(hook));
    let fd = g.open("file", 0, Rights::FD_READ).unwrap();
    assert_eq!(g.read_fd(fd, 1), Ok(b"x".to_vec()));
    assert_eq!(g.call("random_get", &[DATA, 1]), OK);
    assert!(log.lock().unwrap().is_empty());
    assert_eq!(g.call("clock_time_get", &[0, 1, OUT]), OK);
    assert!(g.open("file", 0, RW).is_err());
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 2);
    assert!(log[0].is_gentle() && !log[1].is_gentle());
}

#[test]
fn looking_for_directories_where_there_are_none_is_remembered() {
    let mut g = Guest::new(quiet());
    assert!(!g.ctx.missed_directories());
    assert_ne!(g.call("fd_prestat_get", &[3, OUT]), OK);
    assert!(g.ctx.missed_directories());
    let t = TempDir::new();
    let mut g = Guest::new(quiet().preopen(Preopen::new(&t.0, "/")));
    assert_ne!(g.call("fd_prestat_get", &[4, OUT]), OK);
    assert!(!g.ctx.missed_directories());
}

#[test]
fn both_ends_of_a_renaming_are_told_and_one_that_is_denied_stands_alone() {
    let t = TempDir::new();
    t.file("old", "x");
    let (mut g, log) = audited(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(&t.0, "/a"))
            .preopen(Preopen::new(&t.0, "/b").read_only()),
    );
    assert_eq!(g.two_paths("path_rename", 3, "old", 3, "new"), OK);
    assert_ne!(g.two_paths("path_rename", 3, "new", 4, "newer"), OK);
    let log = log.lock().unwrap();
    let told: Vec<(Option<&str>, Option<Denial>)> =
        log.iter().map(|event| (event.path.as_deref(), event.denied)).collect();
    assert_eq!(
        told,
        [(Some("old"), None), (Some("new"), None), (Some("newer"), Some(Denial::Grant))]
    );
}
