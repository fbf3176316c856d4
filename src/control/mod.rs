//! What the cluster looks like now, as one process sees it.

pub mod config_file;
pub mod watcher;
