//! What the cluster looks like now, as one process sees it.

pub mod admin;
pub mod config_file;
pub mod follow;
pub mod health;
pub mod leaders;
pub mod operator;
pub mod reload;
pub mod routing;
pub mod told;
pub mod watcher;

/// The operating system's reason in its words, without its number.
pub fn os_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or_else(|| text.clone(), |(words, _)| words.to_lowercase())
}
