//! `pontoon proxy`: options from the command line, then one proxy until a signal ends it.

use std::io::Write;
use std::time::Duration;

use super::args::ProxyArgs;
use super::signals;
use crate::control::config_file;
use crate::proxy::{self, ProxyOptions};

pub async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let file = config_file::load_any(&args.config)?;
    let mut options = ProxyOptions::new(args.config, file, args.listen);
    options.name = args.name.unwrap_or_else(|| format!("proxy-{}", std::process::id()));
    options.admin_listen = args.admin_listen;
    options.workers = args.workers.map_or(options.workers, usize::from);
    options.reads = args.reads;
    options.zone = args.zone;
    options.limits.request_deadline = Duration::from_millis(args.deadline_ms);
    options.health.silence_max = Duration::from_millis(args.silence_ms);
    let proxy = proxy::start(options)?;
    let stdout = &mut std::io::stdout();
    let _ = writeln!(stdout, "proxy listens on {}", proxy.address());
    if let Some(address) = proxy.admin_address() {
        let _ = writeln!(stdout, "metrics on http://{address}/metrics");
    }
    signals::stop().await;
    tracing::info!("stopping: no new connections, open requests are answered");
    proxy.drain().await;
    Ok(())
}
