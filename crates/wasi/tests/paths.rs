//! Random sequences of calls that name paths, in three overlapping grants, against a model of the file system.

mod common;
mod tree;

#[test]
fn r1_random_paths_behave_as_the_model_does() {
    let mut all = tree::Counts::default();
    for seed in 1..=40 {
        let tree::Counts { calls, successes } = tree::run(seed, 500);
        all.calls += calls;
        all.successes += successes;
    }
    println!("{all:?}");
    assert!(all.calls == 20_000 && all.successes > 3_000, "too few calls meant anything: {all:?}");
}
