//! What a proxy does with its own copy of a file of Redis shards: it follows every edit that may follow what it has, and tells, in
//! one line with the reason, why it does not follow another.
//!
//! Nobody else decides: there is no catalog. Invariants: what is followed is a valid file of this kind with the highest
//! version so far; slots get other servers only where the file asks for it by `remap = true`, and that is told.

use std::path::Path;
use std::sync::Arc;

use super::watcher::{ConfigWatcher, WatchEvent};
use crate::topology::config::listed;
use crate::topology::{RedisConfig, ShardsFile};

/// What is followed now, for whoever tells of it.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The file.
    pub config: Arc<RedisConfig>,
    /// What the last edit re-mapped, if it did.
    pub remapped: Option<String>,
    /// Why the file is not what is followed.
    pub trouble: Option<String>,
}

/// Follows one process's file for as long as it is polled.
pub struct Follow<F> {
    file: String,
    watcher: ConfigWatcher,
    followed: Followed,
    report: F,
}

impl<F: Fn(&Followed)> Follow<F> {
    /// Starts to watch. `config` is the file as the process read it at its start; `report` is told of every change, and once
    /// at the start.
    ///
    /// # Errors
    /// When the watcher cannot be started.
    pub fn start(path: &Path, config: Arc<RedisConfig>, report: F) -> std::io::Result<Self> {
        let watcher = ConfigWatcher::start(path, Some(&config.text))?;
        let followed = Followed { config, remapped: None, trouble: None };
        report(&followed);
        Ok(Self { file: path.display().to_string(), watcher, followed, report })
    }

    /// Never ends, unless the watcher does.
    pub async fn run(mut self) {
        while let Some(event) = self.watcher.next().await {
            self.take(event);
        }
    }

    fn take(&mut self, event: WatchEvent) {
        let file = &self.file;
        match event {
            WatchEvent::Changed(changed) => match *changed {
                ShardsFile::Redis(config) => return self.judge(config),
                ShardsFile::Cluster(_) => self.refuse(
                    "its shards are no groups of Redis servers any more: a proxy for shards on nodes has to be started anew",
                ),
            },
            WatchEvent::Rejected(error) => self.refuse(&error.to_string()),
            WatchEvent::Gone => tracing::warn!("{file} is gone; what is followed stays"),
            WatchEvent::Back => tracing::info!("{file} is back"),
        }
        (self.report)(&self.followed);
    }

    fn judge(&mut self, config: RedisConfig) {
        let version = config.version;
        match config.may_follow(&self.followed.config) {
            Err(reason) => self.refuse(&format!("version {version} is refused: {reason}")),
            Ok(remapped) => {
                if remapped.is_empty() {
                    tracing::info!(version, "{} is followed", self.file);
                } else {
                    let what = listed(&remapped);
                    tracing::warn!(
                        version,
                        "{} is followed, and re-maps {what}: their keys are not found any more unless somebody moved them",
                        self.file
                    );
                    self.followed.remapped = Some(format!("version {version}: {what}"));
                }
                self.followed.config = Arc::new(config);
                self.followed.trouble = None;
            }
        }
        (self.report)(&self.followed);
    }

    fn refuse(&mut self, reason: &str) {
        tracing::warn!("{} is not followed, what was before stays: {reason}", self.file);
        self.followed.trouble = Some(reason.to_owned());
    }
}
