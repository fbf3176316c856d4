//! What a run came to: before the fourth shard came, and while it took its keys.

use std::ops::Range;
use std::time::Duration;

use crate::load::{KEYS, Outcome, Sample};

pub struct Report {
    pub name: &'static str,
    capacity: f64,
    moved: u64,
    seconds: f64,
    before: Phase,
    during: Phase,
    /// The lowest rate of any second that touches the move.
    lowest: f64,
    /// Requests that began in each tenth of a second from the edit on, and the longest wait of these in milliseconds.
    tenths: Vec<(usize, u128)>,
    errors: Vec<String>,
    wrong: usize,
    count: u64,
}

/// Rates and waits of some time.
struct Phase {
    rate: f64,
    p50: Duration,
    p99: Duration,
    longest: Duration,
}

impl Phase {
    fn of(samples: &[Sample], time: &Range<Duration>) -> Self {
        // By when a request began: one that waits over the end of the time belongs to it.
        let began = |sample: &&Sample| time.contains(&sample.at.saturating_sub(sample.took));
        let mut waits: Vec<Duration> = samples.iter().filter(began).map(|sample| sample.took).collect();
        waits.sort_unstable();
        let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or_default();
        let rate = waits.len() as f64 / (time.end - time.start).as_secs_f64().max(0.001);
        Self { rate, p50: at(0.5), p99: at(0.99), longest: waits.last().copied().unwrap_or_default() }
    }
}

impl Report {
    pub fn of(
        name: &'static str,
        capacity: f64,
        outcome: &Outcome,
        time: Range<Duration>,
        moved: u64,
        wrong: usize,
        count: u64,
    ) -> Self {
        let samples = &outcome.samples;
        let second = Duration::from_secs(1);
        let answered = |from: Duration| {
            let time = from..from + second;
            samples.iter().filter(|sample| time.contains(&sample.at)).count() as f64
        };
        let mut lowest = f64::INFINITY;
        let mut from = time.start.saturating_sub(second / 2);
        while from < time.end {
            lowest = lowest.min(answered(from));
            from += second / 10;
        }
        Self {
            name,
            capacity,
            moved,
            seconds: (time.end - time.start).as_secs_f64(),
            before: Phase::of(samples, &(second..time.start)),
            during: Phase::of(samples, &time),
            lowest,
            tenths: tenths(samples, &time),
            errors: outcome.errors.clone(),
            wrong,
            count,
        }
    }

    /// Whether every request was answered, and every key is there once with the right value.
    pub fn is_right(&self) -> bool {
        self.errors.is_empty() && self.wrong == 0 && self.count == KEYS as u64
    }

    fn row(&self) -> [String; 12] {
        let ms = |wait: Duration| format!("{:.2}", wait.as_secs_f64() * 1000.0);
        [
            self.name.to_owned(),
            format!("{:.0}", self.capacity),
            self.moved.to_string(),
            format!("{:.2}", self.seconds),
            format!("{:.0}", self.moved as f64 / self.seconds),
            format!("{:.0}", self.before.rate),
            format!("{:.2}", self.lowest / self.before.rate),
            format!("{} / {}", ms(self.before.p50), ms(self.during.p50)),
            format!("{} / {}", ms(self.before.p99), ms(self.during.p99)),
            format!("{} / {}", ms(self.before.longest), ms(self.during.longest)),
            self.errors.len().to_string(),
            if self.wrong == 0 && self.count == KEYS as u64 {
                "all right".to_owned()
            } else {
                format!("{} wrong, {} there", self.wrong, self.count)
            },
        ]
    }
}

/// Of each tenth of a second: how many requests began in it, and how long the slowest of them took, in milliseconds.
fn tenths(samples: &[Sample], time: &Range<Duration>) -> Vec<(usize, u128)> {
    let tenth = Duration::from_millis(100);
    let mut tenths = vec![(0, 0); (time.end - time.start).div_duration_f64(tenth).ceil() as usize];
    for sample in samples {
        let began = sample.at.saturating_sub(sample.took);
        let place = began.checked_sub(time.start).map(|after| after.div_duration_f64(tenth) as usize);
        if let Some((count, longest)) = place.and_then(|place| tenths.get_mut(place)) {
            (*count, *longest) = (*count + 1, sample.took.as_millis().max(*longest));
        }
    }
    tenths
}

pub fn print(reports: &[Report]) {
    let head = [
        "system",
        "most/s",
        "moved",
        "s",
        "keys/s",
        "load/s",
        "lowest second",
        "p50 ms before / during",
        "p99 ms before / during",
        "longest ms before / during",
        "errors",
        "keys",
    ];
    println!("| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
    for report in reports {
        println!("| {} |", report.row().join(" | "));
        println!("  requests, and longest wait in ms, of each tenth of a second from the edit on: {:?}", report.tenths);
        report.errors.iter().take(5).for_each(|error| println!("  {error}"));
    }
}
