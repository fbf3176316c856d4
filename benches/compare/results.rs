//! What all rounds came to: medians with the least and the most, and ratios of what was measured in the same round.

use std::time::Duration;

use crate::load::Outcome;

/// One measurement.
#[derive(Clone, Default)]
pub struct Sample {
    pub per_second: f64,
    pub cpu_us: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub p999: Duration,
    /// How much of their time the processors of the load were busy.
    pub load_busy: Option<f64>,
    /// What is no load has a number of its own.
    pub amount: f64,
}

impl From<&Outcome> for Sample {
    fn from(outcome: &Outcome) -> Self {
        Self {
            per_second: outcome.answered as f64 / outcome.time.as_secs_f64().max(1e-9),
            cpu_us: outcome.cpu.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64,
            p50: outcome.waits.at(0.5),
            p99: outcome.waits.at(0.99),
            p999: outcome.waits.at(0.999),
            load_busy: outcome.load_busy,
            amount: 0.0,
        }
    }
}

struct Row {
    work: String,
    system: String,
    /// The unit of amounts; none for loads.
    unit: Option<&'static str>,
    samples: Vec<Sample>,
}

struct Floor {
    work: String,
    wanted: String,
    measured: String,
    met: Option<bool>,
}

/// All of a run.
#[derive(Default)]
pub struct Results {
    rows: Vec<Row>,
    floors: Vec<Floor>,
    notes: Vec<String>,
}

/// What a floor asks for.
#[derive(Clone, Copy)]
pub enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().filter(|_| !numbers.is_empty())
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn percent(part: f64) -> String {
    format!("{:.0}%", part * 100.0)
}

fn micros(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1e6
}

impl Results {
    /// A round of a load. Shown at once, since a run is long.
    pub fn add(&mut self, work: &str, system: &str, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(outcome) => {
                let sample = Sample::from(&outcome);
                let (rate, cpu) = (number(sample.per_second / 1000.0), number(sample.cpu_us));
                println!("  {work}, {system}: {rate} k/s, {cpu} us, p50 {:?}, p99 {:?}", sample.p50, sample.p99);
                if outcome.failed > 0 {
                    let why = outcome.first_error.unwrap_or_default();
                    self.note(format!("{work}, {system}: {} requests failed: {why}", outcome.failed));
                }
                self.push(work, system, None, sample);
            }
            Err(why) => self.note(format!("{work}, {system}: not measured: {why}")),
        }
    }

    /// A number of its own kind.
    pub fn add_amount(&mut self, work: &str, system: &str, unit: &'static str, amount: f64) {
        println!("  {work}, {system}: {} {unit}", number(amount));
        self.push(work, system, Some(unit), Sample { amount, ..Sample::default() });
    }

    fn push(&mut self, work: &str, system: &str, unit: Option<&'static str>, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.work == work && row.system == system) {
            Some(row) => row.samples.push(sample),
            None => {
                let row = Row { work: work.to_owned(), system: system.to_owned(), unit, samples: vec![sample] };
                self.rows.push(row);
            }
        }
    }

    /// Something that the reader must know. Told once.
    pub fn note(&mut self, text: String) {
        println!("  {text}");
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn samples(&self, work: &str, system: &str) -> &[Sample] {
        let row = self.rows.iter().find(|row| row.work == work && row.system == system);
        row.map_or(&[], |row| &row.samples)
    }

    pub fn median(&self, work: &str, system: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples(work, system).iter().map(of).collect())
    }

    pub fn most(&self, work: &str, system: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        self.samples(work, system).iter().map(of).max_by(f64::total_cmp)
    }

    /// The median of the ratios of each round.
    pub fn ratio(
        &self,
        [work, system]: [&str; 2],
        [other_work, other]: [&str; 2],
        of: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let pairs = self.samples(work, system).iter().zip(self.samples(other_work, other));
        median(pairs.map(|(one, other)| of(one) / of(other)).filter(|ratio| ratio.is_finite()).collect())
    }

    /// How much of their time the processors of the load were busy.
    pub fn load_busy(&self, work: &str, system: &str) -> Option<f64> {
        median(self.samples(work, system).iter().filter_map(|sample| sample.load_busy).collect())
    }

    /// The last floor is neither met nor missed.
    pub fn leave_open(&mut self, why: &str) {
        if let Some(floor) = self.floors.last_mut() {
            floor.measured = format!("{}: {why}", floor.measured);
            floor.met = None;
        }
    }

    /// A line of the floors. `unit` follows the numbers.
    pub fn floor(&mut self, work: &str, wanted: Wanted, measured: Option<f64>, unit: &str) {
        let (text, is_met): (String, fn(f64, f64) -> bool) = match wanted {
            Wanted::AtMost(bound) => (format!("at most {}{unit}", number(bound)), |is, bound| is <= bound),
            Wanted::AtLeast(bound) => (format!("at least {}{unit}", number(bound)), |is, bound| is >= bound),
        };
        let (Wanted::AtMost(bound) | Wanted::AtLeast(bound)) = wanted;
        self.floors.push(Floor {
            work: work.to_owned(),
            wanted: text,
            measured: measured.map_or_else(|| "not measured".to_owned(), |is| number(is) + unit),
            met: measured.map(|is| is_met(is, bound)),
        });
    }

    /// The tables. `base` names the system whose figures the ratios divide by, for a row's system.
    pub fn print(&self, title: &str, bases: &[&str]) {
        println!("\n## {title}\n");
        let base =
            |row: &Row| bases.iter().find(|base| !self.samples(&row.work, base).is_empty()).copied().unwrap_or("");
        if self.rows.iter().any(|row| row.unit.is_none()) {
            println!(
                "| work | system | k/s: median (min-max) | ratio | CPU us each: median (min-max) | ratio | p50 us | p99 us | p99.9 us | load busy |\n\
                 |{}",
                " --- |".repeat(10)
            );
        }
        for row in self.rows.iter().filter(|row| row.unit.is_none()) {
            let spread = |of: fn(&Sample) -> f64| spread(&row.samples, of);
            let ratio = |of: fn(&Sample) -> f64| self.ratio_to(row, base(row), of);
            let wait = |of: fn(&Sample) -> f64| self.median(&row.work, &row.system, of).map_or("-".to_owned(), number);
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.work,
                row.system,
                spread(|sample| sample.per_second / 1000.0),
                ratio(|sample| sample.per_second),
                spread(|sample| sample.cpu_us),
                ratio(|sample| sample.cpu_us),
                wait(|sample| micros(sample.p50)),
                wait(|sample| micros(sample.p99)),
                wait(|sample| micros(sample.p999)),
                self.load_busy(&row.work, &row.system).map_or_else(|| "-".to_owned(), percent),
            );
        }
        if self.rows.iter().any(|row| row.unit.is_some()) {
            println!("\n| what | system | median (min-max) | ratio |\n|{}", " --- |".repeat(4));
        }
        for row in &self.rows {
            let Some(unit) = row.unit else { continue };
            let figures = spread(&row.samples, |sample| sample.amount);
            let ratio = self.ratio_to(row, base(row), |sample| sample.amount);
            println!("| {} | {} | {figures} {unit} | {ratio} |", row.work, row.system);
        }
        if !self.floors.is_empty() {
            println!("\n| floor | wanted | measured | met |\n|{}", " --- |".repeat(4));
        }
        for floor in &self.floors {
            let met = floor.met.map_or("?", |met| if met { "yes" } else { "NO" });
            println!("| {} | {} | {} | {met} |", floor.work, floor.wanted, floor.measured);
        }
        self.notes.iter().for_each(|note| println!("\n{note}"));
    }

    fn ratio_to(&self, row: &Row, base: &str, of: fn(&Sample) -> f64) -> String {
        let ratio = self.ratio([&row.work, &row.system], [&row.work, base], of);
        ratio.filter(|_| row.system != base).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
    }
}

fn spread(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> String {
    let mut all: Vec<f64> = samples.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    let (Some(least), Some(most), Some(middle)) = (all.first(), all.last(), all.get(all.len() / 2)) else {
        return "-".to_owned();
    };
    format!("{} ({}-{})", number(*middle), number(*least), number(*most))
}
