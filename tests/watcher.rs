//! Every way in which a `shards.toml` gets edited, on a real file system: the watcher tells each edit once.

#![allow(clippy::disallowed_methods, reason = "an editor writes here, not Pontoon")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pontoon::control::watcher::{ConfigWatcher, WatchEvent};

/// Far more than a busy machine needs; only a missing event takes that long.
const DEADLINE: Duration = Duration::from_secs(20);

fn text(version: u64) -> String {
    format!("version = {version}\n[[node]]\nname = \"n1\"\naddr = \"h:1\"\n[[shard]]\nname = \"a\"\nnodes = [\"n1\"]\n")
}

struct Watched {
    home: tempfile::TempDir,
    watcher: ConfigWatcher,
}

impl Watched {
    /// Watches a file of version 1 that `prepare` makes in a fresh directory.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        prepare(home.path());
        let watcher = ConfigWatcher::start(&home.path().join("shards.toml"), Some(&text(1))).unwrap();
        Self { home, watcher }
    }

    fn plain() -> Self {
        Self::start(|home| fs::write(home.join("shards.toml"), text(1)).unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn next(&mut self) -> String {
        match tokio::time::timeout(DEADLINE, self.watcher.next()).await.expect("an event").expect("a watcher") {
            WatchEvent::Changed(config) => format!("version {}", config.version()),
            WatchEvent::Rejected(error) => format!("rejected at {:?}: {}", error.place.map(|p| p.line), error.rule),
            WatchEvent::Gone => "gone".to_owned(),
            WatchEvent::Back => "back".to_owned(),
        }
    }
}

#[tokio::test]
async fn written_in_place() {
    let mut file = Watched::plain();
    for version in 2..5 {
        fs::write(file.at("shards.toml"), text(version)).unwrap();
        assert_eq!(file.next().await, format!("version {version}"));
    }
}

#[tokio::test]
async fn replaced_by_rename() {
    let mut file = Watched::plain();
    for version in 2..5 {
        fs::write(file.at("shards.toml~"), text(version)).unwrap();
        fs::rename(file.at("shards.toml~"), file.at("shards.toml")).unwrap();
        assert_eq!(file.next().await, format!("version {version}"));
    }
}

#[tokio::test]
async fn moved_aside_and_written_anew() {
    let mut file = Watched::plain();
    fs::rename(file.at("shards.toml"), file.at("shards.toml.bak")).unwrap();
    fs::write(file.at("shards.toml"), text(2)).unwrap();
    assert_eq!(file.next().await, "version 2");
}

#[tokio::test]
async fn swapped_as_kubernetes_does() {
    let version_in = |home: &Path, directory: &str, version| {
        fs::create_dir(home.join(directory)).unwrap();
        fs::write(home.join(directory).join("shards.toml"), text(version)).unwrap();
    };
    let mut file = Watched::start(|home| {
        version_in(home, "..1", 1);
        symlink("..1", home.join("..data")).unwrap();
        symlink("..data/shards.toml", home.join("shards.toml")).unwrap();
    });
    for version in 2..5 {
        let directory = format!("..{version}");
        version_in(file.home.path(), &directory, version);
        symlink(&directory, file.at("..data_tmp")).unwrap();
        fs::rename(file.at("..data_tmp"), file.at("..data")).unwrap();
        fs::remove_dir_all(file.at(&format!("..{}", version - 1))).unwrap();
        assert_eq!(file.next().await, format!("version {version}"));
    }
}

#[tokio::test]
async fn changed_behind_a_symlink_to_another_directory() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("real.toml"), text(1)).unwrap();
    let mut file =
        Watched::start(|home| symlink(elsewhere.path().join("real.toml"), home.join("shards.toml")).unwrap());
    fs::write(elsewhere.path().join("new.toml"), text(2)).unwrap();
    fs::rename(elsewhere.path().join("new.toml"), elsewhere.path().join("real.toml")).unwrap();
    assert_eq!(file.next().await, "version 2");
    fs::write(elsewhere.path().join("real.toml"), text(3)).unwrap();
    assert_eq!(file.next().await, "version 3");
}

#[tokio::test]
async fn deleted_and_brought_back() {
    let mut file = Watched::plain();
    fs::remove_file(file.at("shards.toml")).unwrap();
    assert_eq!(file.next().await, "gone");
    fs::write(file.at("shards.toml"), text(1)).unwrap();
    assert_eq!(file.next().await, "back");
    fs::remove_file(file.at("shards.toml")).unwrap();
    assert_eq!(file.next().await, "gone");
    fs::write(file.at("shards.toml"), text(2)).unwrap();
    assert_eq!(file.next().await, "back");
    assert_eq!(file.next().await, "version 2");
}

#[tokio::test]
async fn with_its_whole_directory_taken_away_and_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("etc");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("shards.toml"), text(1)).unwrap();
    let watcher = ConfigWatcher::start(&directory.join("shards.toml"), Some(&text(1))).unwrap();
    let mut file = Watched { home, watcher };
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(file.next().await, "gone");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("shards.toml"), text(2)).unwrap();
    assert_eq!(file.next().await, "back");
    assert_eq!(file.next().await, "version 2");
    fs::write(directory.join("shards.toml"), text(3)).unwrap();
    assert_eq!(file.next().await, "version 3");
}

#[tokio::test]
async fn turned_into_a_directory() {
    let mut file = Watched::plain();
    fs::remove_file(file.at("shards.toml")).unwrap();
    fs::create_dir(file.at("shards.toml")).unwrap();
    assert_eq!(file.next().await, "rejected at None: cannot be read: it is a directory");
    fs::remove_dir(file.at("shards.toml")).unwrap();
    assert_eq!(file.next().await, "gone");
}

#[tokio::test]
async fn broken_and_repaired() {
    let mut file = Watched::plain();
    fs::write(file.at("shards.toml"), "version = 2\nnodes = 1\n").unwrap();
    assert!(file.next().await.starts_with("rejected at Some("));
    fs::write(file.at("shards.toml"), text(2)).unwrap();
    assert_eq!(file.next().await, "version 2");
}

#[tokio::test]
async fn edited_without_a_pause_it_still_arrives_at_the_last_version() {
    let mut file = Watched::plain();
    let path = file.at("shards.toml");
    let writer = std::thread::spawn(move || {
        for version in 2..=100 {
            fs::write(&path, text(version)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    while file.next().await != "version 100" {}
    writer.join().unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_at_the_start_is_told_and_awaited() {
    let mut file = Watched::start(|_| ());
    assert_eq!(file.next().await, "gone");
    fs::write(file.at("shards.toml"), text(1)).unwrap();
    assert_eq!(file.next().await, "back");
}
