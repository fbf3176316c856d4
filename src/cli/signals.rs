//! When to stop: Ctrl-C, or SIGTERM as service managers send it.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for the first signal to stop.
pub async fn stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
