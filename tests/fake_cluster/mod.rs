//! Nodes without replicas: they answer the `Control` frames from one catalog that they share, so that the operator's side
//! can be tested against every kind of node, dead and contradicting ones included.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use pontoon::protocol::control::{ControlReply, ControlRequest, Hello, NodeReport, ReplicaReport, Welcome};
use pontoon::protocol::frame::{
    Assembler, Kind, PREAMBLE, Role, put_message, put_numbered, split_frame, split_numbered,
};
use pontoon::topology::{Catalog, CatalogCommand, Incarnation, LogIndex, NodeName, Term};

/// What the nodes share.
#[derive(Default)]
pub struct Shared {
    /// What the cluster agreed on.
    pub catalog: Option<Catalog>,
    /// How many proposals were decided.
    pub proposals: usize,
    /// Who leads the catalog; n1 when not said.
    pub leader: Option<&'static str>,
}

/// A cluster of nodes that listen; nodes are threads that end with the process.
#[derive(Clone, Default)]
pub struct FakeCluster(pub Arc<Mutex<Shared>>);

impl FakeCluster {
    /// Starts the nodes n1, n2 ...
    pub fn start(count: usize) -> (Self, Vec<SocketAddr>) {
        let cluster = Self::default();
        let addresses = (1..=count).map(|i| cluster.node(&format!("n{i}"))).collect();
        (cluster, addresses)
    }

    /// Starts one node.
    pub fn node(&self, name: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (cluster, name) = (self.clone(), NodeName::new(name));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (cluster, name) = (cluster.clone(), name.clone());
                std::thread::spawn(move || cluster.serve(&name, stream.unwrap()));
            }
        });
        address
    }

    /// The version that the cluster accepted.
    pub fn version(&self) -> u64 {
        self.0.lock().unwrap().catalog.as_ref().map_or(0, |catalog| catalog.version)
    }

    fn serve(&self, name: &NodeName, mut stream: TcpStream) -> Option<()> {
        let mut preamble = [0; PREAMBLE.len()];
        stream.read_exact(&mut preamble).ok()?;
        assert_eq!(preamble, PREAMBLE);
        let (mut buffer, mut assembler) = (Vec::new(), Assembler::new(1 << 24));
        loop {
            while let Some(frame) = split_frame(&buffer).unwrap() {
                let consumed = frame.consumed;
                let message = assembler.push(frame).unwrap().map(|m| (m.kind, m.payload.to_vec()));
                buffer.drain(..consumed);
                if let Some((kind, payload)) = message {
                    stream.write_all(&self.answer(name, kind, &payload)).ok()?;
                }
            }
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
            buffer.extend_from_slice(&piece[..read]);
        }
    }

    fn answer(&self, name: &NodeName, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if kind == Kind::Hello {
            let hello: Hello = serde_json::from_slice(payload).unwrap();
            if hello.to.is_some_and(|to| to != *name) {
                put_message(&mut out, Kind::Goodbye, |out| out.extend(format!("this is node `{name}`").bytes()));
            } else {
                put_message(&mut out, Kind::Welcome, |out| {
                    out.extend(serde_json::to_vec(&self.welcome(name)).unwrap())
                });
            }
            return out;
        }
        assert_eq!(kind, Kind::Control);
        let (id, body) = split_numbered(payload).unwrap();
        let reply = self.reply(name, serde_json::from_slice(body).unwrap());
        put_numbered(&mut out, Kind::ControlReply, id, &serde_json::to_vec(&reply).unwrap());
        out
    }

    fn welcome(&self, name: &NodeName) -> Welcome {
        let cluster = self.0.lock().unwrap().catalog.as_ref().map(|catalog| catalog.cluster);
        let number = name.as_str()[1..].parse().unwrap();
        Welcome { cluster, node: name.clone(), incarnation: Incarnation(number), keeps_leases: false }
    }

    fn reply(&self, name: &NodeName, request: ControlRequest) -> ControlReply {
        let welcome = self.welcome(name);
        let mut shared = self.0.lock().unwrap();
        match request {
            ControlRequest::Identify => ControlReply::Identity(welcome),
            ControlRequest::Catalog => ControlReply::Catalog(shared.catalog.clone().map(Box::new)),
            ControlRequest::Status => ControlReply::Status(report(name, shared.catalog.as_ref())),
            ControlRequest::Init { catalog } => {
                catalog.validate().unwrap();
                assert_eq!(shared.catalog.replace(*catalog), None);
                ControlReply::Initialized
            }
            ControlRequest::Foresee { .. } => ControlReply::Foreseen(Vec::new()),
            ControlRequest::Propose { .. } if name.as_str() != shared.leader.unwrap_or("n1") => {
                ControlReply::NotLeader { leader: Some(NodeName::new(shared.leader.unwrap_or("n1"))) }
            }
            ControlRequest::Propose { text, origin } => {
                shared.proposals += 1;
                let catalog = shared.catalog.as_mut().expect("a cluster");
                ControlReply::Decided(catalog.apply(&CatalogCommand::ProposeConfig { text, origin }))
            }
            ControlRequest::EvictLeaders { node, evicted } => {
                let catalog = shared.catalog.as_mut().expect("a cluster");
                ControlReply::Decided(catalog.apply(&CatalogCommand::EvictLeaders { node, evicted }))
            }
            _ => ControlReply::Error("not here".to_owned()),
        }
    }
}

fn report(name: &NodeName, catalog: Option<&Catalog>) -> NodeReport {
    let replica =
        |(shard, replica): (&pontoon::topology::ShardRecord, &pontoon::topology::ReplicaRecord)| ReplicaReport {
            shard: shard.id,
            name: shard.name.clone(),
            replica: replica.id,
            role: if shard.replicas[0].id == replica.id { Role::Leader } else { Role::Follower },
            term: Term(2),
            leader: Some(shard.replicas[0].id),
            applied: LogIndex(10),
            committed: LogIndex(10),
            keys: 0,
            bytes: 0,
            types: Default::default(),
            clients_blocked: 0,
            slots: 0,
            readable: true,
            voters: shard.replicas.iter().map(|replica| replica.id).collect(),
            change: None,
            failed: None,
            orphan: false,
            moves: Vec::new(),
        };
    NodeReport {
        node: name.clone(),
        cluster: catalog.map(|catalog| catalog.cluster),
        incarnation: None,
        revision: catalog.map(|catalog| catalog.revision).unwrap_or_default(),
        version: catalog.map_or(0, |catalog| catalog.version),
        replicas: catalog.map_or(Vec::new(), |catalog| catalog.replicas_on(name).map(replica).collect()),
        memory_bytes: 0,
        memory_limit_bytes: 0,
        clock_off_ms: 0,
        clock_is_far: false,
        move_bytes_per_second: 0,
        file_trouble: None,
        leaders: Default::default(),
        proxies: Vec::new(),
    }
}
