//! `pontoon status`: what the cluster looks like now.

use anyhow::bail;

use super::args::StatusArgs;
use super::gather::gather;
use super::report::StatusReport;
use super::{print, print_json, watch};
use crate::control::config_file;
use crate::control::operator::Operator;

pub async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    if args.watch {
        return watch::run(args).await;
    }
    let config = config_file::load(&args.config)?;
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
