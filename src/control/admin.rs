//! `/metrics`, `/healthz` and `/readyz` for machines: just enough HTTP/1.1, one request per connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What a process shows to machines.
pub trait Exposed: Send + Sync + 'static {
    /// All metrics, as Prometheus text.
    fn metrics(&self) -> String;
    /// Why it cannot serve now; none when it can.
    fn not_ready(&self) -> Option<String>;
}

/// Connections that are served at a time; more wait.
const CONNECTIONS_MAX: usize = 32;
/// A request's head; the rest of it is not read.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How long one connection may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);
/// How long no connection is accepted after accepting one failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, process: Arc<dyn Exposed>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let process = process.clone();
                tokio::spawn(async move {
                    // Whether the other end waited for the answer is its own affair.
                    let _ = timeout(EXCHANGE_MAX, exchange(stream, &process)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn exchange(mut stream: TcpStream, process: &Arc<dyn Exposed>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let answer = answer(&String::from_utf8_lossy(line), &**process);
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn answer(line: &str, process: &dyn Exposed) -> String {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => {
            ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", process.metrics())
        }
        ("GET" | "HEAD", "/healthz") => ("200 OK", "text/plain", "alive\n".to_owned()),
        ("GET" | "HEAD", "/readyz") => match process.not_ready() {
            None => ("200 OK", "text/plain", "ready\n".to_owned()),
            Some(reason) => ("503 Service Unavailable", "text/plain", format!("{reason}\n")),
        },
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", "try /metrics, /healthz or /readyz\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "only GET and HEAD\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Process(Option<&'static str>);

    impl Exposed for Process {
        fn metrics(&self) -> String {
            "answer 42\n".to_owned()
        }

        fn not_ready(&self) -> Option<String> {
            self.0.map(str::to_owned)
        }
    }

    #[test]
    fn each_path_and_method_has_its_answer() {
        let (ready, waiting) = (Process(None), Process(Some("a shard has no leader")));
        let status = |line: &str| answer(line, &ready).split("\r\n").next().unwrap().to_owned();
        assert_eq!(status("GET /healthz HTTP/1.1"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /readyz?x=1 HTTP/1.1"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /nope HTTP/1.1"), "HTTP/1.1 404 Not Found");
        assert_eq!(status("POST /metrics HTTP/1.1"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status(""), "HTTP/1.1 405 Method Not Allowed");
        assert!(answer("GET /metrics HTTP/1.1", &ready).ends_with("\r\n\r\nanswer 42\n"));
        let refused = answer("GET /readyz HTTP/1.1", &waiting);
        assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("a shard has no leader\n"));
    }
}
