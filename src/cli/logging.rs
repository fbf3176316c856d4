//! Log lines on standard error: quiet when all is well.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::args::{LogFormat, LoggingArgs};

/// Starts logging, for the rest of the process.
pub fn start(args: &LoggingArgs) -> anyhow::Result<()> {
    let filter = filter(&args.log_level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// A bare level is Pontoon's own; libraries speak from `warn` on.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let directives = match level.parse::<tracing::Level>() {
        Ok(level) => format!("warn,pontoon={level}"),
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(directives).with_context(|| format!("--log-level `{level}` is neither a level nor a filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_mistakes() {
        assert_eq!(filter("debug").unwrap().to_string(), "pontoon=debug,warn");
        assert!(filter("pontoon::proxy=trace,info").is_ok());
        assert!(filter("pontoon=loud").is_err());
    }
}
