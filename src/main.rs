//! The binary: what the command line says is in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pontoon::cli::run(std::env::args_os())
}
