//! What an operator types. Each subcommand has a file; this one runs one of them and makes an exit code of its outcome.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | refused, invalid, or not possible now; the reason is on standard error |
//! | 2 | the command line itself is wrong |
//!
//! `verify` has codes of its own.

pub mod args;
mod balance;
mod check;
mod dev;
mod evict;
mod gather;
mod init;
mod locate;
mod logging;
mod membership;
mod node;
mod outlook;
mod plan;
mod progress;
mod proxy;
mod redis;
mod report;
mod reshard;
mod signals;
mod status;
mod verify;
mod watch;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use args::{Command, CommandLine};
use clap::Parser;

/// Runs the command line that the process was started with.
pub fn run(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match CommandLine::try_parse_from(command_line) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match logging::start(&parsed.logging).and_then(|()| dispatch(parsed.command)) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Dev(args) => block_on(dev::run(&args)),
        Command::Node(args) => block_on(node::run(&args)),
        Command::Init(args) => block_on(init::run(&args)),
        Command::Proxy(args) => block_on(proxy::run(args)),
        Command::Status(args) => block_on(status::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Where(args) => block_on(locate::run(&args)),
        Command::Plan(args) => block_on(plan::run(&args)),
        Command::Reshard(args) => block_on(reshard::run(&args)),
        Command::Balance(args) => block_on(balance::run(&args)),
        Command::EvictLeaders(args) => block_on(evict::run(&args)),
        Command::Verify(args) => return block_on(async { Ok(verify::run(&args).await) }),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Writes a command's result. A reader that has seen enough, like `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value)?)
}
