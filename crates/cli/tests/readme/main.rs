//! The README's promises that a program can keep: its example program runs, its library example
//! compiles and runs, its table of statuses is complete.

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;

const README: &str = include_str!("../../../../README.md");

/// The library example, word for word.
#[rustfmt::skip]
mod example {
    include!("example.rs");

    #[test]
    fn the_library_example_runs() {
        main().expect("the example works");
    }
}

#[test]
fn the_library_example_is_the_one_in_the_readme() {
    assert!(README.contains(&format!("```rust\n{}```", include_str!("example.rs"))));
}

#[test]
fn the_first_command_runs_a_real_program() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let marker = "cargo run --release --bin palisade -- ";
    let line = README.lines().find_map(|line| line.trim().strip_prefix(marker));
    let line = line.expect("the README has the command");
    let output = common::command(&top).args(line.split_whitespace()).output().expect("it starts");
    let ended: common::Ended = output.into();
    let ended = ended.code(0).quietly();
    let words = README.split_ascii_whitespace().count();
    for part in ["README.md", &words.to_string(), &README.len().to_string()] {
        assert!(ended.stdout.contains(part), "no {part} in {ended:#?}");
    }
}

#[test]
fn every_status_is_in_the_readme_and_in_the_documentation() {
    let documentation = include_str!("../../../../docs/cli.md");
    for text in [README, documentation] {
        for status in ["2", "124", "125", "126", "127", "130, 143", "134"] {
            assert!(text.contains(&format!("| {status} |")), "{status}");
        }
    }
}
