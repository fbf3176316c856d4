//! The operator, who does not wait for quiet times: edits of the file, leaders sent away, disks that are emptied.
//!
//! What an edit sets going is under way when the next fault begins, and often another edit comes while it stands. A shard has
//! one replica at times, but never in a run whose faults lose files: then each has three at least, and one disk at a time is lost.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::Value;

use super::cluster::{Cluster, until, until_within};
use super::faults;

/// More shards than these only slow a run down.
const SHARDS_MAX: usize = 4;
const WEIGHT_MAX: u64 = 4;
/// A machine that is busy with other things moves its slots within that.
const SETTLED_WITHIN: Duration = Duration::from_secs(150);

/// What is under way while faults come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underway {
    /// Nothing.
    Nothing,
    /// Slots move from shard to shard.
    Slots,
    /// Replicas join and leave, those of the catalog too.
    Members,
}

impl Underway {
    /// Each of a run of three seeds has another one, and so have the runs whose first fault is the same.
    pub fn of(seed: u64, faults: u64) -> Self {
        [Self::Nothing, Self::Slots, Self::Members][((seed + seed / faults) % 3) as usize]
    }
}

/// The file as the operator wants it.
#[derive(Clone)]
struct Draft {
    version: u64,
    shards: Vec<Wanted>,
    /// The catalog's nodes; none: the file does not say.
    catalog: Vec<usize>,
}

#[derive(Clone)]
struct Wanted {
    name: String,
    nodes: Vec<usize>,
    weight: u64,
}

/// One who edits.
pub struct Operator {
    underway: Underway,
    /// Whether a disk may be lost in this run.
    keeps_three: bool,
    draft: Draft,
    before: Draft,
    names: u64,
    evicted: Option<usize>,
    /// Whether a disk was emptied before the last fault.
    wiped: bool,
}

impl Operator {
    pub fn new(cluster: &Cluster, underway: Underway, keeps_three: bool) -> Self {
        let wanted = |(name, nodes): (String, Vec<usize>)| Wanted { name, nodes, weight: 1 };
        let shards = cluster.first_shards().into_iter().map(wanted).collect();
        let draft = Draft { version: 1, shards, catalog: Vec::new() };
        Self { underway, keeps_three, before: draft.clone(), draft, names: 0, evicted: None, wiped: false }
    }

    /// Sets something going before a fault; it is under way when this returns. Says what.
    pub fn stir(&mut self, cluster: &mut Cluster, loses_files: bool, random: &mut StdRng) -> Result<String, String> {
        if self.underway == Underway::Nothing {
            return Ok(String::new());
        }
        self.wiped = false;
        let mut told = self.evict(cluster, random);
        if random.random_bool(0.25) {
            told += self.blunder(cluster, random);
        }
        if self.underway == Underway::Members && !loses_files && random.random_bool(0.25) {
            let wiped = wipe(cluster, random)?;
            self.wiped = !wiped.is_empty();
            told += &wiped;
        }
        // What is small is over before it is looked at.
        for _ in 0..8 {
            told += &self.edit(cluster, random);
            if self.await_start(cluster)? {
                break;
            }
        }
        Ok(told)
    }

    /// Edits while a fault stands. Nobody may be able to take it before that is over.
    pub fn meddle(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> String {
        if self.underway == Underway::Nothing || random.random_bool(0.4) {
            return String::new();
        }
        let mut told = self.evict(cluster, random);
        match random.random_range(0..6) {
            0 => {
                for _ in 0..10 {
                    self.edit(cluster, random);
                    std::thread::sleep(Duration::from_millis(20));
                }
                told += "10 edits at once, ";
            }
            1..4 => {
                // Back to what was, while it is on its way.
                let version = self.draft.version + 1;
                let back = Draft { version, ..self.before.clone() };
                self.before = std::mem::replace(&mut self.draft, back);
                self.write(cluster);
                told += "edit: back, ";
            }
            _ => told += &self.edit(cluster, random),
        }
        told
    }

    /// Whether a node came back without its disk before the last fault.
    pub const fn has_wiped(&self) -> bool {
        self.wiped
    }

    /// Leaders may be anywhere again.
    pub fn undo_eviction(&mut self, cluster: &Cluster) {
        if let Some(node) = self.evicted.take() {
            self.tell_evicted(cluster, node, true);
        }
    }

    /// Waits until the cluster has all it is to have.
    pub fn settle(&self, cluster: &Cluster) -> Result<(), String> {
        let (version, shards) = (self.draft.version, &self.draft.shards);
        let weights: u64 = shards.iter().map(|shard| shard.weight).sum();
        until_within(SETTLED_WITHIN, "all slots and replicas where the file wants them", || {
            let status = cluster.status()?;
            let off = || Err(status.to_string());
            let found = status["shards"].as_array().ok_or("no shards")?;
            let progress = &status["progress"];
            let quiet = progress["slots_left"] == 0 && is_empty(&progress["closing"]) && is_empty(&status["changes"]);
            if status["version"] != version || !quiet || found.len() != shards.len() {
                return off();
            }
            for wanted in shards {
                let Some(shard) = found.iter().find(|shard| shard["name"] == wanted.name.as_str()) else {
                    return off();
                };
                let slots = shard["slots"].as_u64().unwrap_or_default();
                let replicas = shard["replicas"].as_array().ok_or("no replicas")?;
                let mut nodes: Vec<usize> = replicas.iter().filter_map(|r| cluster.place(&r["node"])).collect();
                let mut expected = wanted.nodes.clone();
                nodes.sort_unstable();
                expected.sort_unstable();
                let fair = (slots * weights).abs_diff(16384 * wanted.weight) < 2 * weights;
                let voters = shard["voters"].as_u64();
                if !fair || nodes != expected || voters != Some(expected.len() as u64) {
                    return off();
                }
            }
            Ok(())
        })
    }

    /// Changes something that is different enough from what it was, and writes the file.
    fn edit(&mut self, cluster: &Cluster, random: &mut StdRng) -> String {
        self.before = self.draft.clone();
        self.draft.version += 1;
        let told = match (self.underway, random.random_range(0..10)) {
            (Underway::Slots, 0..5) => self.weigh(random),
            (Underway::Slots, 5..8) if self.draft.shards.len() < SHARDS_MAX => self.add_shard(cluster, random),
            (Underway::Slots, 5..) if self.draft.shards.len() > 1 => self.remove_shard(random),
            (Underway::Slots, _) => self.add_shard(cluster, random),
            (_, 0..8) => self.change_members(cluster, random),
            _ => self.change_catalog(cluster, random),
        };
        if self.draft.shards.iter().all(|shard| shard.weight == 0) {
            self.draft.shards[0].weight = 1;
        }
        self.write(cluster);
        told
    }

    fn weigh(&mut self, random: &mut StdRng) -> String {
        for shard in &mut self.draft.shards {
            shard.weight = random.random_range(0..=WEIGHT_MAX);
        }
        let heaviest = random.random_range(0..self.draft.shards.len());
        self.draft.shards[heaviest].weight = WEIGHT_MAX + 2;
        let weights: Vec<String> = self.draft.shards.iter().map(|s| format!("{} {}", s.name, s.weight)).collect();
        format!("edit: weights {}, ", weights.join(" "))
    }

    fn add_shard(&mut self, cluster: &Cluster, random: &mut StdRng) -> String {
        // A name that was removed comes back at times.
        let number = if random.random_bool(0.3) { random.random_range(0..=self.names) } else { self.names };
        let name = format!("s{number}");
        if self.draft.shards.iter().any(|shard| shard.name == name) {
            return self.weigh(random);
        }
        self.names += 1;
        let nodes = self.some_nodes(cluster, random);
        let told = format!("edit: shard {name} on {nodes:?}, ");
        self.draft.shards.push(Wanted { name, nodes, weight: random.random_range(1..=WEIGHT_MAX) });
        told
    }

    fn remove_shard(&mut self, random: &mut StdRng) -> String {
        let at = random.random_range(0..self.draft.shards.len());
        format!("edit: without shard {}, ", self.draft.shards.remove(at).name)
    }

    /// Those of all shards: so it takes a while.
    fn change_members(&mut self, cluster: &Cluster, random: &mut StdRng) -> String {
        let mut told = "edit: members".to_owned();
        for at in 0..self.draft.shards.len() {
            let nodes = self.some_nodes(cluster, random);
            told += &format!(" {} {nodes:?}", self.draft.shards[at].name);
            self.draft.shards[at].nodes = nodes;
        }
        told + ", "
    }

    fn change_catalog(&mut self, cluster: &Cluster, random: &mut StdRng) -> String {
        self.draft.catalog = self.some_nodes(cluster, random);
        format!("edit: catalog {:?}, ", self.draft.catalog)
    }

    fn some_nodes(&self, cluster: &Cluster, random: &mut StdRng) -> Vec<usize> {
        let mut all: Vec<usize> = (0..cluster.nodes.len()).collect();
        all.shuffle(random);
        let count = [3, 3, 5, if self.keeps_three { 3 } else { 1 }][random.random_range(0..4)];
        all.truncate(count);
        all
    }

    fn text(&self, cluster: &Cluster) -> String {
        let names = |nodes: &[usize]| {
            let names: Vec<String> = nodes.iter().map(|node| format!("{:?}", cluster.nodes[*node].name)).collect();
            names.join(", ")
        };
        let mut text = cluster.head_of_file(self.draft.version);
        if !self.draft.catalog.is_empty() {
            text += &format!("[catalog]\nnodes = [{}]\n", names(&self.draft.catalog));
        }
        for Wanted { name, nodes, weight } in &self.draft.shards {
            text += &format!("[[shard]]\nname = \"{name}\"\nnodes = [{}]\nweight = {weight}\n", names(nodes));
        }
        text
    }

    fn write(&self, cluster: &Cluster) {
        replace(cluster, &self.text(cluster));
    }

    /// Sends leaders away from a node, or lets them come back.
    fn evict(&mut self, cluster: &Cluster, random: &mut StdRng) -> String {
        if random.random_bool(0.6) {
            return String::new();
        }
        match self.evicted.take() {
            Some(node) => {
                self.tell_evicted(cluster, node, true);
                format!("leaders may be at n{} again, ", node + 1)
            }
            None => {
                let node = random.random_range(0..cluster.nodes.len());
                self.tell_evicted(cluster, node, false);
                self.evicted = Some(node);
                format!("leaders leave n{}, ", node + 1)
            }
        }
    }

    /// What comes of it is seen later: nobody may be there to decide it now. Undone at the end, it must be heard.
    fn tell_evicted(&self, cluster: &Cluster, node: usize, undo: bool) {
        let name = &cluster.nodes[node].name;
        let mut args = vec!["evict-leaders", name, "--timeout-ms", "100"];
        args.extend(undo.then_some("--undo"));
        let _ = cluster.run(&args);
    }

    /// A file that must not be taken; then the one that was.
    fn blunder(&mut self, cluster: &Cluster, random: &mut StdRng) -> &'static str {
        let whole = self.text(cluster);
        let (bad, told) = match random.random_range(0..4) {
            0 => (whole[..whole.len() / 2].to_owned(), "half a file, "),
            1 => (String::new(), "an empty file, "),
            2 => (whole.replacen("nodes", "noodles", 1), "a wrong key, "),
            _ => (whole.replacen(&format!("version = {}", self.draft.version), "version = 1", 1), "an old version, "),
        };
        // As an editor may do it: in place.
        std::fs::write(cluster.file(), bad).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        replace(cluster, &whole);
        told
    }

    /// Waits until the file is accepted. Returns whether what it wants is not so yet.
    fn await_start(&self, cluster: &Cluster) -> Result<bool, String> {
        until("an edit that is accepted", || {
            let status = cluster.status()?;
            if status["version"] == self.draft.version { Ok(Seen::of(&status).any()) } else { Err(status.to_string()) }
        })
    }
}

/// What is on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub slots: u64,
    pub members: usize,
}

impl Seen {
    pub fn of(status: &Value) -> Self {
        Self {
            slots: status["progress"]["slots_left"].as_u64().unwrap_or_default(),
            members: status["changes"].as_array().map_or(0, Vec::len),
        }
    }

    pub const fn any(self) -> bool {
        self.slots > 0 || self.members > 0
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// Nobody may read half of it.
fn replace(cluster: &Cluster, text: &str) {
    let next = cluster.file().with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, cluster.file()).unwrap();
}

/// A node comes back with an empty disk. Its shards have two other voters each, and nothing of them is under way.
fn wipe(cluster: &mut Cluster, random: &mut StdRng) -> Result<String, String> {
    cluster.await_whole()?;
    let status = cluster.status()?;
    let mut safe: Vec<usize> = (0..cluster.nodes.len()).collect();
    for shard in status["shards"].as_array().into_iter().flatten().chain([&status["catalog"]]) {
        if shard["voters"].as_u64().unwrap_or_default() < 3 {
            let here: Vec<usize> =
                shard["replicas"].as_array().into_iter().flatten().filter_map(|r| cluster.place(&r["node"])).collect();
            safe.retain(|node| !here.contains(node));
        }
    }
    let Some(node) = (!safe.is_empty()).then(|| safe[random.random_range(0..safe.len())]) else {
        return Ok(String::new());
    };
    cluster.kill_node(node);
    faults::empty(&cluster.data(node));
    cluster.start_node(node)?;
    Ok(format!("n{} lost its disk, ", node + 1))
}
