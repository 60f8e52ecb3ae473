//! Times of two things, taken in turns: what disturbs the machine disturbs both.

use std::time::Instant;

/// Medians over pairs: seconds of each, and of their ratios.
pub struct Pairs {
    pub ours: f64,
    pub theirs: f64,
    /// Theirs over ours: above 1, ours is faster.
    pub ratio: f64,
}

/// Seconds that something takes.
pub fn time<R>(run: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    std::hint::black_box(run());
    start.elapsed().as_secs_f64()
}

/// Seconds of this thread's own work: on a machine that does something else besides, what waiting adds is left out.
pub fn work<R>(run: impl FnOnce() -> R) -> f64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let start = now();
    std::hint::black_box(run());
    now() - start
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs both `pairs` times, in an order that alternates.
pub fn in_turns(pairs: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Pairs {
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs.max(1) {
        let (x, y);
        if pair % 2 == 0 {
            x = time(&mut ours);
            y = time(&mut theirs);
        } else {
            y = time(&mut theirs);
            x = time(&mut ours);
        }
        a.push(x);
        b.push(y);
        ratios.push(y / x);
    }
    Pairs { ours: median(a), theirs: median(b), ratio: median(ratios) }
}

/// Runs all of them in rotation: medians of what the clock says of each, and of the ratios to the first in the same
/// round.
pub fn rotate(
    rounds: usize,
    clock: fn(&mut Box<dyn FnMut() -> i64>) -> f64,
    runs: &mut [Box<dyn FnMut() -> i64>],
) -> (Vec<f64>, Vec<f64>) {
    let count = runs.len();
    let mut seconds = vec![Vec::new(); count];
    for round in 0..rounds.max(1) {
        for step in 0..count {
            let which = (round + step) % count;
            seconds[which].push(clock(&mut runs[which]));
        }
    }
    let ratio =
        |times: &Vec<f64>| median(times.iter().zip(&seconds[0]).map(|(a, b)| a / b).collect());
    let ratios = seconds.iter().map(ratio).collect();
    (seconds.into_iter().map(median).collect(), ratios)
}

/// The geometric mean of ratios.
#[derive(Default)]
pub struct Mean {
    log_sum: f64,
    count: u32,
}

impl Mean {
    pub fn add(&mut self, ratio: f64) {
        self.log_sum += ratio.ln();
        self.count += 1;
    }

    pub fn value(&self) -> f64 {
        (self.log_sum / f64::from(self.count.max(1))).exp()
    }

    pub fn print(&self) {
        if self.count > 0 {
            println!("geometric mean of {}: {:.3}", self.count, self.value());
        }
    }
}
