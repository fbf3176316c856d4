//! What a process does with its copy of `shards.toml`: a higher, valid version is handed to the catalog; all else is told,
//! in one line with the reason, and changes nothing.
//!
//! A file is a proposal: nobody acts on it before the catalog accepted it. The file that the process was started with is
//! treated like an edit, since it may have been edited while the process was down.
//!
//! What cannot be done yet, because a node does not answer, is proposed again until it can.
//!
//! Invariants: one proposal is on its way at a time; a newer content of the file replaces one that was not decided yet; the
//! same trouble is told once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::operator::{Operator, Target};
use super::watcher::{ConfigWatcher, WatchEvent};
use crate::topology::{Catalog, CatalogOutcome, ConfigError, ShardsConfig};

/// How long after a proposal that reached no leader it is made again.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What a file means to a process that knows this catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The catalog must decide.
    Propose,
    /// It is decided.
    Decided(CatalogOutcome),
}

/// Why a process's file is not what is accepted, for whoever tells of it.
#[derive(Clone, Debug, Default)]
pub struct FileTrouble(Arc<Mutex<Option<(u64, String)>>>);

impl FileTrouble {
    /// The reason, while this version is accepted. A file that has become older than that is in nobody's way.
    pub fn reason(&self, accepted: u64) -> Option<String> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().filter(|(version, _)| *version >= accepted).map(|(_, reason)| reason.clone())
    }

    /// Tells what there is to say, and of which version.
    pub fn set(&self, trouble: Option<(u64, String)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Compares a file with the accepted one.
pub fn standing(catalog: &Catalog, file: &ShardsConfig) -> Standing {
    let version = catalog.version;
    if file.version > version {
        return Standing::Propose;
    }
    if file.version < version {
        return Standing::Decided(CatalogOutcome::Stale { version });
    }
    Standing::Decided(match catalog.conflict(file) {
        None => CatalogOutcome::Same { version },
        Some(reason) => CatalogOutcome::Conflict { version, reason },
    })
}

/// Follows one process's file for as long as it is polled. Give it a task of its own.
pub struct Reload<C> {
    file: String,
    watcher: ConfigWatcher,
    operator: Operator,
    /// The newest catalog that the process knows; none before it has one.
    catalog: C,
    /// The content that is not decided yet.
    pending: Option<ShardsConfig>,
    told: Option<String>,
    /// Whether the pending content was written while the process ran.
    is_edit: bool,
    trouble: FileTrouble,
}

impl<C: Fn() -> Option<Arc<Catalog>>> Reload<C> {
    /// Starts to watch. `config` is the file as the process read it at its start, `name` a label for the nodes' logs.
    ///
    /// # Errors
    /// When the watcher cannot be started.
    pub fn start(path: &Path, config: ShardsConfig, name: &str, catalog: C) -> std::io::Result<Self> {
        Ok(Self {
            file: path.display().to_string(),
            watcher: ConfigWatcher::start(path, Some(&config.text))?,
            operator: Operator { name: name.to_owned(), cluster: None },
            catalog,
            pending: Some(config),
            told: None,
            is_edit: false,
            trouble: FileTrouble::default(),
        })
    }

    /// Why the file is not what is accepted, now and later.
    pub fn trouble(&self) -> FileTrouble {
        self.trouble.clone()
    }

    /// Never ends, unless the watcher does.
    pub async fn run(mut self) {
        loop {
            let undecided = self.pending.is_some() && !self.advance().await;
            let event = if undecided {
                tokio::select! {
                    event = self.watcher.next() => event,
                    () = tokio::time::sleep(RETRY_INTERVAL) => continue,
                }
            } else {
                self.watcher.next().await
            };
            match event {
                Some(event) => self.take(event),
                None => return,
            }
        }
    }

    fn take(&mut self, event: WatchEvent) {
        let file = &self.file;
        match event {
            WatchEvent::Changed(changed) => match changed.cluster(file) {
                Ok(config) => {
                    tracing::info!(version = config.version, "{file} changed");
                    self.told = None;
                    self.is_edit = true;
                    self.trouble.set(None);
                    self.pending = Some(config);
                }
                Err(error) => self.take(WatchEvent::Rejected(error)),
            },
            WatchEvent::Rejected(error) => {
                self.pending = None;
                // It has no version that could become old.
                self.trouble.set(Some((u64::MAX, error.to_string())));
                rejected(&error);
            }
            WatchEvent::Gone => tracing::warn!("{file} is gone; what the cluster accepted stays"),
            WatchEvent::Back => tracing::info!("{file} is back"),
        }
    }

    /// Brings the pending content one step on. Whether it is decided.
    async fn advance(&mut self) -> bool {
        let (Some(config), Some(catalog)) = (&self.pending, (self.catalog)()) else { return false };
        let outcome = match standing(&catalog, config) {
            Standing::Decided(outcome) => outcome,
            Standing::Propose => {
                self.operator.cluster = Some(catalog.cluster);
                let mut targets = Target::of_catalog(&catalog);
                // Where nodes have moved, the newer file may be the only one that knows.
                let moved = Target::of_config(config).into_iter().filter(|target| !targets.contains(target));
                targets.extend(moved.collect::<Vec<_>>());
                let decided = match self.operator.propose(&targets, &config.text, &self.origin()).await {
                    Ok(CatalogOutcome::Unready { reason, .. }) => Err(format!("waits until it can be done: {reason}")),
                    Ok(outcome) => Ok(outcome),
                    Err(error) => Err(format!("waits to be proposed: {error}")),
                };
                match decided {
                    Ok(outcome) => outcome,
                    Err(trouble) => {
                        if self.told.as_ref() != Some(&trouble) {
                            tracing::warn!(version = config.version, "{} {trouble}", self.file);
                            let reason = format!("version {} {trouble}", config.version);
                            self.trouble.set(Some((config.version, reason)));
                            self.told = Some(trouble);
                        }
                        return false;
                    }
                }
            }
        };
        self.trouble.set(trouble_of(config.version, &outcome, self.is_edit));
        self.tell(config.version, &outcome);
        self.pending = None;
        true
    }

    fn origin(&self) -> String {
        let name = Path::new(&self.file).file_name().unwrap_or_default();
        format!("{}:{}", self.operator.name, name.display())
    }

    fn tell(&self, version: u64, outcome: &CatalogOutcome) {
        let file = &self.file;
        match outcome {
            CatalogOutcome::Accepted { .. } => tracing::info!(version, "{file} is accepted"),
            CatalogOutcome::Same { .. } => tracing::debug!(version, "{file} is what is accepted"),
            CatalogOutcome::Stale { version: accepted } => {
                tracing::warn!(version, accepted, "{file} is older than what is accepted, and has no effect");
            }
            CatalogOutcome::Conflict { reason, .. } => {
                tracing::warn!(
                    version,
                    "{file} has the accepted version and another meaning ({reason}), and has no effect: raise its version"
                );
            }
            CatalogOutcome::Refused { reason, .. } | CatalogOutcome::Unready { reason, .. } => {
                tracing::warn!(version, "{file} is refused: {reason}");
            }
        }
    }
}

/// What there is to say of a file of this version, of which this was decided, and for as long as which version at most is accepted. An
/// old copy that lies there is in nobody's way; one that somebody has just written is an edit that has no effect.
fn trouble_of(version: u64, outcome: &CatalogOutcome, is_edit: bool) -> Option<(u64, String)> {
    match outcome {
        CatalogOutcome::Stale { version: accepted } if is_edit => {
            let reason = format!("version {version} was written when {accepted} was accepted, and has no effect");
            Some((u64::MAX, reason))
        }
        CatalogOutcome::Accepted { .. } | CatalogOutcome::Same { .. } | CatalogOutcome::Stale { .. } => None,
        CatalogOutcome::Conflict { reason, .. } => {
            let reason = format!("version {version} is in conflict with the accepted file of this version: {reason}");
            Some((version, reason))
        }
        CatalogOutcome::Refused { reason, .. } | CatalogOutcome::Unready { reason, .. } => {
            Some((version, format!("version {version} is refused: {reason}")))
        }
    }
}

fn rejected(error: &ConfigError) {
    tracing::warn!("rejected, what the cluster accepted stays: {error}");
}
