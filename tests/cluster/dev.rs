//! `pontoon dev`, as a new user runs it.

use std::path::Path;
use std::process::Command;

use crate::harness::{Process, free_ports, until, verify};

fn start(dir: &Path, port: u16) -> Result<Process, String> {
    let (data, listen) = (dir.join("data"), format!("127.0.0.1:{port}"));
    let log = dir.join(format!("log-{port}-{}", std::fs::read_dir(dir).unwrap().count()));
    Process::start(&["dev", "--data", data.to_str().unwrap(), "--listen", &listen], &log)
}

fn connect(process: &Process) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{}/", process.address)).unwrap();
    until("a connection", || client.get_connection().map_err(|e| e.to_string()))
}

#[test]
fn it_keeps_its_data_over_a_polite_end_and_over_a_rude_one() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_ports(1)[0];
    for round in 0..3 {
        let mut process = start(dir.path(), port).unwrap();
        let mut connection = connect(&process);
        for old in 0..round {
            let found: i64 = redis::cmd("GET").arg(format!("round{old}")).query(&mut connection).unwrap();
            assert_eq!(found, old);
        }
        redis::cmd("SET").arg(format!("round{round}")).arg(round).query::<String>(&mut connection).unwrap();
        verify(&dir.path().join("data/shards.toml"));
        if round == 0 {
            process.signal("INT");
            assert_eq!(process.wait(), Some(0));
        } else {
            process.kill();
        }
    }
}

#[test]
fn what_stands_in_its_way_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let running = start(dir.path(), ports[0]).unwrap();
    let error = start(dir.path(), ports[0]).err().expect("the port is taken");
    assert!(error.contains("exit status: 1") && error.contains(&format!("127.0.0.1:{}", ports[0])), "{error}");
    let error = start(dir.path(), ports[1]).err().expect("the directory is taken");
    assert!(error.contains("exit status: 1") && error.contains("data"), "{error}");
    drop(running);
    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("data")).unwrap();
    std::fs::write(foreign.path().join("data/thesis.txt"), "precious").unwrap();
    let error = start(foreign.path(), ports[1]).err().expect("the directory is somebody else's");
    assert!(error.contains("exit status: 1"), "{error}");
    let left: Vec<_> = std::fs::read_dir(foreign.path().join("data")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was added");
    let mut unwritable = Command::new(env!("CARGO_BIN_EXE_pontoon"));
    unwritable.args(["dev", "--data", "/proc/nowhere", "--listen"]).arg(format!("127.0.0.1:{}", ports[1]));
    let output = unwritable.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/proc/nowhere"));
}
