//! Disks that are full, that fail, that forget and that lie: the node stops and says where, the others go on, nothing that was
//! acknowledged is lost, and an empty directory is the way back.
//!
//! Needs the right to mount a tmpfs (root) and `strace`; without them the tests fail and say so.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failover::{check_all, under_load};
use crate::harness::{Cluster, Process, free_ports, until, verify};
use crate::rebuild::{await_rebuilt, wipe};

const ALL: &[usize] = &[1, 2, 3];
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Room for one segment of the log, and not for a second one.
const SMALL_MIB: u32 = 80;
/// A node that was just started trusts its disk after fewer writes, if all of them were quick.
const WRITES_UNTIL_TRUST: usize = 30;

/// A small file system, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        Self::run(&["-t", "tmpfs", "-o", &format!("size={SMALL_MIB}m"), "tmpfs"], at);
        Self(at.to_path_buf())
    }

    fn make_room(&self) {
        Self::run(&["-o", "remount,size=400m"], &self.0);
    }

    fn run(args: &[&str], at: &Path) {
        let output = Command::new("mount").args(args).arg(at).output().expect("`mount` is there");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test must be able to mount a tmpfs, which takes root: {error}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Makes a system call of a running process fail from now on.
struct Fault(Child);

impl Fault {
    fn inject(process: &Process, call: &str) -> Self {
        Self::attach(&["-f", "-p", &process.id().to_string()], call)
    }

    /// The same for one thread alone.
    fn inject_in(process: &Process, thread: &str, call: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().map(|task| task.unwrap().path());
        let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread);
        let found = tasks.into_iter().find(is_it).unwrap();
        Self::attach(&["-p", found.file_name().unwrap().to_str().unwrap()], call)
    }

    fn attach(whom: &[&str], call: &str) -> Self {
        let strace = Command::new("strace")
            .args(whom)
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error=EIO"), "-o", "/dev/null"])
            .stderr(Stdio::piped())
            .spawn();
        let mut child = strace.expect("this test needs `strace`");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        assert!(first.contains("attached"), "strace must be able to attach to a process of ours: {first}");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn set(connection: &mut redis::Connection, key: impl redis::ToRedisArgs, value: &[u8]) {
    redis::cmd("SET").arg(key).arg(value).query::<String>(connection).unwrap();
}

/// More than a segment of the log takes. Every write must succeed.
fn write_much(connection: &mut redis::Connection) {
    let value = vec![b'v'; 1 << 20];
    (0..70).for_each(|number| set(connection, format!("big:{}", number % 20), &value));
}

/// The line in which a node said why it stopped, the last time.
fn last_words(log: &str) -> &str {
    log.lines().rfind(|line| line.contains("node stopped")).unwrap_or_else(|| panic!("{log}"))
}

#[test]
fn a_full_disk_stops_its_node_alone_until_there_is_room() {
    let mut cluster = Cluster::start(3, &[ALL], &["--snapshot-entries", "40"]);
    wipe(&mut cluster, "n2");
    let disk = SmallDisk::mount(&cluster.data("n2"));
    cluster.start_node("n2");
    await_rebuilt(&cluster, "n2", &["a"]);
    let mut connection = cluster.connect();
    write_much(&mut connection);
    assert_eq!(cluster.nodes.get_mut("n2").unwrap().wait(), Some(1));
    let log = cluster.log("n2");
    let words = last_words(&log);
    let place = cluster.data("n2").join("log");
    assert!(words.contains(place.to_str().unwrap()) && words.contains("No space left on device"), "{words}");
    assert!(words.contains("make room on the disk, then start the node again"), "{words}");
    set(&mut connection, "k", b"v");
    disk.make_room();
    cluster.start_node("n2");
    cluster.await_health();
    cluster.end();
}

#[test]
fn a_full_disk_of_one_node_leaves_the_others_of_a_dev_cluster_serve() {
    let dir = tempfile::tempdir().unwrap();
    let (data, listen) = (dir.path().join("data"), format!("127.0.0.1:{}", free_ports(1)[0]));
    let args = ["dev", "--data", data.to_str().unwrap(), "--listen", &listen];
    let connect = || redis::Client::open(format!("redis://{listen}/")).unwrap().get_connection().unwrap();
    let mut process = Process::start(&args, &dir.path().join("first.log")).unwrap();
    set(&mut connect(), "before", b"v");
    process.signal("INT");
    assert_eq!(process.wait(), Some(0));
    fs::remove_dir_all(data.join("n2")).unwrap();
    let disk = SmallDisk::mount(&data.join("n2"));
    let log = dir.path().join("second.log");
    let mut process = Process::start(&args, &log).unwrap();
    let mut connection = connect();
    let text = || fs::read_to_string(&log).unwrap();
    until("the node is made anew", || match text().matches("votes in the place of").count() {
        3 => Ok(()),
        _ => Err(text()),
    });
    let value = vec![b'v'; 1 << 20];
    until("the disk is full", || {
        set(&mut connection, "big", &value);
        if text().contains("node stopped") { Ok(()) } else { Err(text()) }
    });
    assert!(last_words(&text()).contains("No space left on device"), "{}", text());
    (0..20).for_each(|number| set(&mut connection, number, b"v"));
    assert_eq!(redis::cmd("GET").arg("before").query::<String>(&mut connection).unwrap(), "v");
    process.signal("INT");
    assert_eq!(process.wait(), Some(1), "not all went well");
    disk.make_room();
    let process = Process::start(&args, &dir.path().join("third.log")).unwrap();
    verify(&data.join("shards.toml"));
    drop(process);
}

#[test]
fn a_disk_that_fails_stops_its_node_alone() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    for (call, complaint) in [("fdatasync", "cannot sync at byte"), ("pwrite64", "cannot write at byte")] {
        let leader = cluster.leader("a");
        let follower = ["n1", "n2", "n3"].into_iter().find(|name| **name != *leader).unwrap();
        let fault = Fault::inject(&cluster.nodes[follower], call);
        (0..50).for_each(|number| set(&mut connection, number, call.as_bytes()));
        assert_eq!(cluster.nodes.get_mut(follower).unwrap().wait(), Some(1));
        drop(fault);
        let log = cluster.log(follower);
        let words = last_words(&log);
        let place = cluster.data(follower).join("log");
        assert!(words.contains(place.to_str().unwrap()) && words.contains(complaint), "{words}");
        assert!(words.contains("start the node again if the disk is well"), "{words}");
        cluster.start_node(follower);
        cluster.await_health();
    }
    // And where the failing one leads.
    let written = under_load(&mut cluster, |cluster| {
        let leader = cluster.leader("a");
        let _fault = Fault::inject(&cluster.nodes[&leader], "fdatasync");
        assert_eq!(cluster.nodes.get_mut(&leader).unwrap().wait(), Some(1));
        cluster.start_node(&leader);
        cluster.await_health();
    });
    check_all(&cluster, &written);
    cluster.end();
}

/// A small batch is written by the thread that also sends: what waits for it must not leave when its sync failed.
#[test]
fn a_disk_that_fails_under_a_small_batch_stops_its_node_too() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    let mut written = 0;
    for leads in [false, true] {
        // Each time on nodes that were just started: after a slow write, of which a busy machine has many, trust is long in coming.
        let stopped = (0..30).find_map(|_| {
            let mut write = |count| {
                (written..written + count).for_each(|number| set(&mut connection, number, b"v"));
                written += count;
            };
            write(WRITES_UNTIL_TRUST);
            let leader = cluster.leader("a");
            let name = NODES.into_iter().find(|name| (**name == *leader) == leads).unwrap();
            // The thread that is there for large batches, and for slow disks, goes on.
            let fault = Fault::inject_in(&cluster.nodes[name], &format!("node-{name}"), "fdatasync");
            let node = cluster.nodes.get_mut(name).unwrap();
            let stopped = (0..50).find_map(|_| {
                write(1);
                node.ended()
            });
            drop(fault);
            let code = stopped.map(|()| node.wait());
            let stopped = code.map(|code| (name, code, cluster.log(name)));
            NODES.into_iter().for_each(|name| cluster.nodes.get_mut(name).unwrap().kill());
            NODES.into_iter().for_each(|name| cluster.start_node(name));
            cluster.await_health();
            stopped
        });
        let (name, code, log) = stopped.expect("a disk that is not much too slow for this test, and nodes that stop");
        assert_eq!(code, Some(1), "{name}");
        let words = last_words(&log);
        assert!(words.contains("cannot sync at byte"), "{words}");
    }
    let found: Vec<Option<String>> =
        redis::cmd("MGET").arg((0..written).collect::<Vec<_>>()).query(&mut connection).unwrap();
    assert!(found.iter().all(|value| value.as_deref() == Some("v")));
    cluster.end();
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    set(&mut cluster.connect(), "k", b"v");
    cluster.await_health();
    cluster.nodes.get_mut("n3").unwrap().kill();
    let data = cluster.data("n3");
    let files =
        [data.join("identity"), newest(&data.join("log"), ".log"), newest(&data.join("snapshots"), ".snapshot")];
    for file in files {
        let file = file.to_str().unwrap();
        // The node stays our child, so it ends with the test whatever happens.
        let under = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", file, "-e", "inject=pread64:error=EIO"];
        let error = cluster.try_start_node_under(&under, "n3").err().expect("a node that cannot read must not start");
        let words =
            error.lines().rfind(|line| line.contains("cannot read at byte")).unwrap_or_else(|| panic!("{error}"));
        assert!(words.contains(file) && words.contains("os error 5"), "{words}");
        assert!(error.starts_with("exit status: 1"), "{error}");
    }
    cluster.start_node("n3");
    cluster.end();
}

/// The only or newest file of a kind.
fn newest(dir: &Path, suffix: &str) -> PathBuf {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.to_str().unwrap().ends_with(suffix)).max().unwrap()
}

fn flip(path: &Path, place: impl Fn(&[u8]) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let place = place(&bytes);
    // Not to zero, which a torn write leaves too.
    bytes[place] ^= if bytes[place] == 0x10 { 0x20 } else { 0x10 };
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_and_missing_files_are_named_and_an_empty_directory_is_the_way_back() {
    let mut cluster = Cluster::start(3, &[ALL], &["--snapshot-entries", "100"]);
    let mut connection = cluster.connect();
    let last = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path) -> PathBuf);
    let damages: [Damage<'_>; 4] = [
        ("damaged at byte", &|data| {
            let file = newest(&data.join("log"), ".log");
            flip(&file, |bytes| last(bytes) / 2);
            file
        }),
        ("damaged at byte", &|data| {
            let file = newest(&data.join("log"), ".log");
            flip(&file, last);
            file
        }),
        ("damaged at byte", &|data| {
            let file = newest(&data.join("snapshots"), ".snapshot");
            flip(&file, |bytes| bytes.len() / 2);
            file
        }),
        ("the log is gone", &|data| {
            fs::remove_file(newest(&data.join("log"), ".log")).unwrap();
            data.join("log")
        }),
    ];
    for (round, (complaint, damage)) in damages.into_iter().enumerate() {
        for number in 0..250 {
            set(&mut connection, format!("{round}:{number}"), &[b'x'; 500]);
        }
        cluster.await_health();
        let leader = cluster.leader("a");
        let victim = ["n1", "n2", "n3"].into_iter().find(|name| **name != *leader).unwrap();
        cluster.nodes.get_mut(victim).unwrap().kill();
        let file = damage(&cluster.data(victim));
        // However often it is tried: nothing that a start does makes the next one believe what it sees.
        for _ in 0..2 {
            let error = cluster.try_start_node(victim).err().unwrap_or_else(|| panic!("{complaint}: it started"));
            let words = error.lines().rfind(|line| line.contains(complaint)).unwrap_or_else(|| panic!("{error}"));
            assert!(error.starts_with("exit status: 1") && words.contains(file.to_str().unwrap()), "{words}");
            assert!(words.contains("start the node with an empty directory"), "{words}");
        }
        set(&mut connection, "k", b"v");
        fs::remove_dir_all(cluster.data(victim)).unwrap();
        cluster.start_node(victim);
        await_rebuilt(&cluster, victim, &["a"]);
    }
    let keys: Vec<_> = (0..4).flat_map(|round| (0..250).map(move |number| format!("{round}:{number}"))).collect();
    let found: Vec<Option<Vec<u8>>> = redis::cmd("MGET").arg(&keys).query(&mut connection).unwrap();
    assert!(found.iter().all(|value| value.as_ref().is_some_and(|v| v.len() == 500)));
    cluster.end();
}
