//! `pontoon status --watch`: what is on its way, again and again. On a terminal one picture that is drawn anew, elsewhere a line
//! whenever something has changed; with `--json` the whole status, a line each time.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::args::StatusArgs;
use super::gather::{Gathered, gather};
use super::progress::Progress;
use super::report::StatusReport;
use super::{print, print_json};
use crate::control::config_file;
use crate::control::operator::Operator;
use crate::topology::ShardsConfig;

const INTERVAL: Duration = Duration::from_secs(1);
const BAR_CELLS: usize = 40;
/// The width of a terminal that does not tell.
const COLUMNS_DEFAULT: usize = 80;

pub async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let config = config_file::load(&args.config)?;
    let operator = Operator { name: "status".to_owned(), cluster: None };
    let interval = Duration::from_millis(args.interval_ms);
    watch(&operator, &config, interval, args.json, args.until_settled).await
}

/// Shows the progress until nothing is on its way any more.
pub async fn until_settled(operator: &Operator, config: &ShardsConfig, json: bool) -> anyhow::Result<()> {
    watch(operator, config, INTERVAL, json, true).await
}

async fn watch(
    operator: &Operator,
    config: &ShardsConfig,
    interval: Duration,
    json: bool,
    until_settled: bool,
) -> anyhow::Result<()> {
    let mut screen = Screen { drawn_lines: 0, is_terminal: std::io::stdout().is_terminal(), last: String::new() };
    loop {
        let gathered = gather(operator, config).await;
        let report = StatusReport::of(&gathered).beside(&gathered, config);
        if json {
            print_json(&report)?;
        } else {
            screen.show(&picture(&gathered, &report, screen.is_terminal))?;
        }
        if until_settled && report.is_settled() {
            return Ok(());
        }
        tokio::time::sleep(interval).await;
    }
}

/// The lines of one look.
fn picture(gathered: &Gathered, report: &StatusReport, with_bar: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if gathered.is_silent() {
        lines.push(format!("no node answered: {}", gathered.first_problem().unwrap_or("there is none")));
        return lines;
    }
    let progress = &report.progress;
    if let Some(summary) = progress.summary() {
        if with_bar {
            lines.push(bar(progress));
        }
        lines.push(summary);
    }
    lines.extend(report.remarks());
    if lines.is_empty() {
        lines.push(format!("version {}: nothing is on its way", report.version));
    }
    lines
}

fn bar(progress: &Progress) -> String {
    let part = progress.part_done();
    let full = ((part * BAR_CELLS as f64) as usize).min(BAR_CELLS);
    // Rounded down: it is not all done before it is.
    format!("[{}{}] {}%", "#".repeat(full), ".".repeat(BAR_CELLS - full), (part * 100.0) as u32)
}

struct Screen {
    is_terminal: bool,
    /// How many lines the last picture has on the terminal.
    drawn_lines: usize,
    last: String,
}

impl Screen {
    fn show(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if !self.is_terminal {
            let line = lines.join("; ");
            if line != self.last {
                print(&line)?;
                self.last = line;
            }
            return Ok(());
        }
        let columns = columns().max(20);
        let mut out = String::new();
        if self.drawn_lines > 0 {
            // To the start of the first line of the last picture, and nothing below it.
            write!(out, "\x1b[{}F\x1b[J", self.drawn_lines)?;
        }
        for line in lines {
            // A line that wraps would be two when the cursor goes back.
            let shown: String = line.chars().take(columns - 1).collect();
            writeln!(out, "{shown}")?;
        }
        self.drawn_lines = lines.len();
        let mut stdout = std::io::stdout();
        stdout.write_all(out.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

fn columns() -> usize {
    // SAFETY: all zeroes is a window size, and the call writes nothing but one.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) == 0).then_some(size)
    };
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS_DEFAULT)
}
