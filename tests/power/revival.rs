//! The cluster of a disk that lost its power, brought to life on this host: the file system's journal is replayed
//! and its files copied out by e2fsprogs, then the same processes run on them. Ten times faster than a machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::machine::{self, Setting};
use crate::resp::Connection;

const PONTOON: &str = env!("CARGO_BIN_EXE_pontoon");

/// A cluster in a directory.
pub struct Revival {
    dir: PathBuf,
    children: Vec<(String, Child)>,
    address: String,
}

impl Drop for Revival {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(|(_, child)| {
            let _ = child.kill();
            let _ = child.wait();
        });
    }
}

fn run(program: &str, args: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new(program).env("PATH", path).args(args).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Makes an empty file system. Without checksums of metadata: with them ext4 itself does not survive torn blocks of its
/// journal, and says so when it is mounted.
pub fn make_disk(image: &Path) {
    File::create(image).unwrap().set_len(768 << 20).unwrap();
    let features = ["-O", "^metadata_csum,^64bit", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    let done = run("mkfs.ext4", &[&["-q", "-F"][..], &features, &[image.to_str().unwrap()]].concat());
    assert_eq!(done.0, Some(0), "mkfs.ext4: {}", done.1);
}

impl Revival {
    /// Starts what is on the disk; the image is changed as a mount would. An error: the disk has no such files.
    pub fn start(setting: &Setting, image: &Path, dir: &Path) -> Result<Self, String> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).unwrap();
        let (image, data) = (image.to_str().unwrap(), dir.to_str().unwrap());
        let (code, text) = run("e2fsck", &["-y", "-E", "journal_only", image]);
        if !matches!(code, Some(0 | 1)) {
            return Err(format!("e2fsck: {text}"));
        }
        let (code, text) = run("debugfs", &["-R", &format!("rdump n1 n2 n3 {data}"), image]);
        if code != Some(0) || !["n1", "n2", "n3"].iter().all(|name| dir.join(name).is_dir()) {
            return Err(format!("debugfs: {text}"));
        }
        let config = dir.join("shards.toml");
        fs::write(&config, config_text(setting.ports)).unwrap();
        let [proxy] = machine::free_ports();
        let address = format!("127.0.0.1:{proxy}");
        let mut revival = Self { dir: dir.to_owned(), children: Vec::new(), address };
        let segment = setting.segment_bytes.to_string();
        for name in ["n1", "n2", "n3"] {
            let data = dir.join(name);
            let limits = ["--snapshot-entries", "100", "--log-segment-bytes", &segment];
            revival.spawn(name, &[&["node", "--name", name, "--data", data.to_str().unwrap()][..], &limits].concat());
        }
        let address = revival.address.clone();
        revival.spawn("proxy", &["proxy", "--workers", "1", "--listen", &address]);
        Ok(revival)
    }

    fn spawn(&mut self, name: &str, args: &[&str]) {
        let log = File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(PONTOON);
        command.args(args).arg("--config").arg(self.dir.join("shards.toml")).stdout(Stdio::null()).stderr(log);
        self.children.push((name.to_owned(), command.spawn().unwrap()));
    }

    /// What the processes logged.
    pub fn console(&self) -> String {
        let log = |(name, _): &(String, Child)| fs::read_to_string(self.dir.join(format!("{name}.log")));
        self.children.iter().map(log).map(Result::unwrap_or_default).collect()
    }

    /// Waits until the cluster answers, or says why it does not.
    pub fn await_answers(&mut self) -> Result<Connection, String> {
        let address = self.address.clone();
        machine::await_answers(&address, || {
            let gone = self.children.iter_mut().find_map(|(name, child)| Some((name.clone(), child.try_wait().ok()??)));
            match gone {
                Some((name, status)) => Err(format!("{name} ended, {status}: {}", self.console())),
                None => Ok(()),
            }
        })
    }

    /// `pontoon verify`.
    pub fn verify(&self) -> Result<(), String> {
        let config = self.dir.join("shards.toml");
        let (code, text) = run(PONTOON, &["verify", "--config", config.to_str().unwrap()]);
        if code == Some(0) { Ok(()) } else { Err(text) }
    }
}

/// The file of the cluster, as `init.sh` writes it.
fn config_text(ports: [u16; 3]) -> String {
    let node = |(number, port)| format!("[[node]]\nname = \"n{number}\"\naddr = \"127.0.0.1:{port}\"\n");
    let nodes: String = (1..).zip(ports).map(node).collect();
    let shard = |name, nodes| format!("[[shard]]\nname = \"{name}\"\nnodes = {nodes}\n");
    let shards = [shard("a", r#"["n1", "n2", "n3"]"#), shard("b", r#"["n2", "n3", "n1"]"#)].concat();
    format!("version = 1\n{nodes}{shards}")
}

/// Names of files that a disk has in its nodes' directories, like `n1/log/1.log`, before anything runs on it.
pub fn files(image: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["n1", "n2", "n3"].iter().flat_map(|node| ["log", "snapshots"].map(|kind| format!("{node}/{kind}"))) {
        let (_, text) = run("debugfs", &["-R", &format!("ls -p {dir}"), image.to_str().unwrap()]);
        // /inode/mode/owner/group/name/size/
        found.extend(text.lines().filter_map(|line| Some(format!("{dir}/{}", line.split('/').nth(5)?))));
    }
    found
}
