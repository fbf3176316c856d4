//! Instructions per operation of codec, route and apply: a number that does not swing with the machine's load, so that a change
//! of a hundredth shows and a change for the worse fails.
//!
//! ```text
//! cargo bench --bench instructions [-- bless] [WORD...]
//! ```
//!
//! Each case runs once under callgrind (Debian: valgrind), which counts inside of `Meter::count` alone. The counts of the last
//! `bless` are in `counts.toml` beside this file: more than 2% above one of them is a failure, more than 2% below asks
//! for another `bless`. They are of one compiler; under another one the table is shown and nothing fails.
//!
//! Deliberately absent: hardware counters, which virtual machines rarely have, and harnesses that need a runner installed.

#![allow(clippy::disallowed_methods, reason = "a measurement starts processes and keeps a file")]

mod cases;
mod proxy;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use cases::CASES;
use serde::{Deserialize, Serialize};

const TOLERANCE: f64 = 0.02;
/// This program, run for one case.
const CASE: &str = "--case";

/// Callgrind counts in here alone; it finds the function by its name.
#[inline(never)]
fn measured_part(work: &mut dyn FnMut()) {
    black_box(work)();
}

/// Tells what belongs to a case from what is around it.
pub struct Meter {
    /// Off while a case is done for the first time: what stays allocated is there then.
    is_on: bool,
}

impl Meter {
    /// Does something that counts.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.is_on {
            return work();
        }
        let (mut work, mut result) = (Some(work), None);
        measured_part(&mut || result = work.take().map(|work| work()));
        result.expect("it was done")
    }
}

/// What `bless` keeps.
#[derive(Default, Serialize, Deserialize)]
struct Blessed {
    /// `rustc --version` of the compiler that made what was counted.
    compiler: String,
    /// Instructions of one operation.
    instructions: BTreeMap<String, f64>,
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions", "counts.toml"].iter().collect()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Runs one case in a process of its own under callgrind.
fn count(case: &str) -> Result<f64, String> {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{}", std::process::id()));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_part*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(program).args([CASE, case]);
    let output = valgrind.output().map_err(|error| format!("valgrind (Debian: valgrind): {error}"))?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    let count = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<f64>().ok());
    let count = count.filter(|count| *count > 0.0);
    count
        .map(|count| count / cases::OPERATIONS as f64)
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn run_case(name: &str) {
    let (_, prepare) = CASES.iter().find(|(known, _)| *known == name).expect("a case");
    let mut work = prepare();
    work(&Meter { is_on: false });
    work(&Meter { is_on: true });
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name] = &args[..]
        && first == CASE
    {
        run_case(name);
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "bless").collect();
    let bless = args.iter().any(|arg| arg == "bless");
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let mut blessed: Blessed = toml::from_str(&text).unwrap_or_default();
    let is_comparable = blessed.compiler == compiler();
    println!("| instructions of one operation | now | blessed | ratio |\n| --- | --- | --- | --- |");
    let mut worse = 0;
    for (name, _) in CASES.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(*word)))
    {
        let now = match count(name) {
            Ok(now) => now,
            Err(why) => {
                eprintln!("{name}: {why}");
                return ExitCode::FAILURE;
            }
        };
        let before = blessed.instructions.get(*name).copied();
        let ratio = before.map_or(1.0, |before| now / before);
        let said = match ratio {
            ratio if ratio > 1.0 + TOLERANCE => " WORSE",
            ratio if ratio < 1.0 - TOLERANCE => " better: bless it",
            _ => "",
        };
        worse += usize::from(ratio > 1.0 + TOLERANCE);
        println!("| {name} | {now:.1} | {} | {ratio:.3}{said} |", before.map_or("-".to_owned(), |b| format!("{b:.1}")));
        blessed.instructions.insert((*name).to_owned(), (now * 10.0).round() / 10.0);
    }
    if bless {
        blessed.compiler = compiler();
        std::fs::write(file(), toml::to_string(&blessed).expect("numbers and texts")).expect("the file is ours");
    } else if !is_comparable {
        println!("Blessed under {:?}, this is {:?}: nothing is compared.", blessed.compiler, compiler());
    }
    if worse > 0 && is_comparable && !bless { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
