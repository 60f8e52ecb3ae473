//! A few rounds of what the fuzzer does without end: broken text, damaged artefacts, and random work of an embedder.

mod rounds_support;

use palisade::Engine;
use rounds_support::{api, artefact, text};

/// The seeds to try: `PALISADE_SEEDS=FROM..TO`, or so many.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("PALISADE_SEEDS") else { return 0..count };
    let range =
        asked.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or_else(|| panic!("PALISADE_SEEDS is {asked}, which is no FROM..TO"))
}

#[test]
fn d4_broken_text_is_an_error_that_can_be_shown() {
    let engine = Engine::default();
    for text in text::TEXTS {
        palisade::Module::new(&engine, text).unwrap_or_else(|error| panic!("{error:#}: {text}"));
    }
    let (mut modules, seeds) = (0, seeds(3_000));
    for seed in seeds.clone() {
        modules += u64::from(text::round(&engine, seed).unwrap_or_else(|what| panic!("{what}")));
    }
    println!("{modules} of {seeds:?} were modules");
    assert!(modules * 100 > seeds.end - seeds.start, "nearly every text was broken");
}

#[test]
fn a1_damaged_artefacts_are_refused_and_whole_ones_are_not() {
    let sealed = artefact::Sealed::new().expect("artefacts");
    let (mut loaded, seeds) = (0, seeds(3_000));
    for seed in seeds.clone() {
        loaded += u64::from(sealed.round(seed).unwrap_or_else(|what| panic!("{what}")));
    }
    println!("{loaded} of {seeds:?} were whole");
    assert!(loaded * 10 > seeds.end - seeds.start, "nothing was whole");
}

#[test]
fn m6_random_work_of_embedders_is_as_the_model_says() {
    let (mut counts, seeds) = (api::Counts::default(), seeds(60));
    for seed in seeds.clone() {
        api::round(seed, 300, &mut counts).unwrap_or_else(|what| panic!("{what}"));
    }
    println!("{counts:?} in {seeds:?}");
    let many = (seeds.end - seeds.start) * 10;
    assert!(counts.calls > many * 5 && counts.traps > many / 4, "{counts:?}");
    assert!(counts.refused > many && counts.panics > many / 60, "{counts:?}");
}
