//! `pontoon status`: what the cluster looks like now.

use anyhow::bail;

use super::args::StatusArgs;
use super::gather::gather;
use super::report::StatusReport;
use super::{print, print_json, redis, watch};
use crate::control::config_file;
use crate::control::operator::Operator;
use crate::topology::ShardsFile;

pub async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    if args.watch {
        return watch::run(args).await;
    }
    let config = match config_file::load_any(&args.config)? {
        ShardsFile::Cluster(config) => config,
        ShardsFile::Redis(config) => return redis::status(&config, args.json).await,
    };
    let operator = Operator { name: "status".to_owned(), cluster: None };
    let gathered = gather(&operator, &config).await;
    let report = StatusReport::of(&gathered).beside(&gathered, &config);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.table())?;
    }
    if gathered.is_silent() {
        bail!("no node answered");
    }
    Ok(())
}
