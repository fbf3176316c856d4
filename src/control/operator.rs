//! Asking nodes about the cluster and telling them what an operator wants: the client side of the `Control` frames.
//! Used by the commands that people type, and by nodes and proxies to hand a changed `shards.toml` to the catalog.
//!
//! Invariant: every wait is bounded, by [`CONNECT_TIMEOUT`] and [`ANSWER_TIMEOUT`]. Every connection names the node that
//! it means, so that a stale address never reaches another node unnoticed.
//!
//! Deliberately absent: connections that are kept. Questions are rare; each opens its own and closes it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::os_reason;
use crate::protocol::control::{ControlReply, ControlRequest, Hello, Hindrance, PeerRole, Welcome};
use crate::protocol::frame::{
    Assembler, FrameError, Kind, PREAMBLE, put_message, put_numbered, split_frame, split_numbered,
};
use crate::topology::{Catalog, CatalogOutcome, ClusterId, NodeName, ShardsConfig};

/// How long a node may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node may take to answer a question.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer: a catalog of the largest cluster fits many times.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// How often a search for the catalog's leader may be sent on.
const REDIRECTS_MAX: usize = 4;

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No connection, or it broke. Nobody knows whether the question was heard.
    #[error("node `{node}` at {addr}: {reason}")]
    Unreachable {
        /// The node.
        node: NodeName,
        /// Its address.
        addr: String,
        /// What went wrong.
        reason: String,
    },
    /// The node was reached and does not talk to us, or not in words that we know.
    #[error("node `{node}` at {addr} refused: {reason}")]
    Refused {
        /// The node.
        node: NodeName,
        /// Its address.
        addr: String,
        /// Its reason.
        reason: String,
    },
    /// None of the nodes leads the catalog, or the one that does was not reached.
    #[error("no leader of the catalog was found: {0}")]
    NoLeader(String),
}

impl OperatorError {
    /// What went wrong, without the node.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unreachable { reason, .. } | Self::Refused { reason, .. } | Self::NoLeader(reason) => reason,
        }
    }
}

/// A node and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub node: NodeName,
    /// Its `host:port`.
    pub addr: String,
}

impl Target {
    /// The nodes of a file.
    pub fn of_config(config: &ShardsConfig) -> Vec<Self> {
        let nodes = config.nodes.iter();
        nodes.map(|node| Self { node: node.name.clone(), addr: node.addr.to_string() }).collect()
    }

    /// The nodes of a catalog.
    pub fn of_catalog(catalog: &Catalog) -> Vec<Self> {
        let nodes = catalog.nodes.iter();
        nodes.map(|(name, record)| Self { node: name.clone(), addr: record.addr.clone() }).collect()
    }

    fn unreachable(&self, reason: impl ToString) -> OperatorError {
        OperatorError::Unreachable { node: self.node.clone(), addr: self.addr.clone(), reason: reason.to_string() }
    }

    /// The error of a node that was reached and cannot be talked to.
    pub fn refused(&self, reason: impl ToString) -> OperatorError {
        OperatorError::Refused { node: self.node.clone(), addr: self.addr.clone(), reason: reason.to_string() }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Operator {
    /// A label for the nodes' logs.
    pub name: String,
    /// The cluster that is meant, where it is known; a node of another one refuses.
    pub cluster: Option<ClusterId>,
}

impl Operator {
    /// Asks one node one question.
    ///
    /// # Errors
    /// [`OperatorError::Unreachable`] or [`OperatorError::Refused`]; never an answer of the form `Error`.
    pub async fn ask(&self, target: &Target, request: &ControlRequest) -> Result<ControlReply, OperatorError> {
        let mut connection = self.connect(target).await?;
        connection.ask(request).await
    }

    /// Opens a connection for several questions to one node.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn connect(&self, target: &Target) -> Result<OperatorConnection, OperatorError> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(&target.addr)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(target.unreachable(os_reason(&error))),
            Err(_) => return Err(target.unreachable("no connection within 1 s")),
        };
        let hello = Hello {
            role: PeerRole::Operator,
            cluster: self.cluster,
            name: self.name.clone(),
            incarnation: None,
            to: Some(target.node.clone()),
        };
        OperatorConnection::open(stream, target.clone(), &hello).await
    }

    /// Asks all targets at once; the answers come in the order of the targets.
    pub async fn ask_all(
        &self,
        targets: &[Target],
        request: &ControlRequest,
    ) -> Vec<Result<ControlReply, OperatorError>> {
        let mut tasks = JoinSet::new();
        for (i, target) in targets.iter().enumerate() {
            let (this, target, request) = (self.clone(), target.clone(), request.clone());
            tasks.spawn(async move { (i, this.ask(&target, &request).await) });
        }
        let mut answers: Vec<_> =
            targets.iter().map(|target| Err(target.unreachable("the question was cancelled"))).collect();
        while let Some(joined) = tasks.join_next().await {
            if let Ok((i, answer)) = joined {
                answers[i] = answer;
            }
        }
        answers
    }

    /// The same, and whoever has not answered by then does not answer.
    pub async fn ask_all_within(
        &self,
        targets: &[Target],
        request: &ControlRequest,
        patience: Duration,
    ) -> Vec<Result<ControlReply, OperatorError>> {
        let ask = |target: Target| {
            let (this, request) = (self.clone(), request.clone());
            async move {
                match timeout(patience, this.ask(&target, &request)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(target.unreachable(format!("no answer within {} s", patience.as_secs()))),
                }
            }
        };
        let mut asked: Vec<_> = targets.iter().map(|target| tokio::spawn(ask(target.clone()))).collect();
        let mut answers = Vec::with_capacity(targets.len());
        for (target, answer) in targets.iter().zip(asked.drain(..)) {
            answers.push(answer.await.unwrap_or_else(|_| Err(target.unreachable("the question was cancelled"))));
        }
        answers
    }

    /// Asks the leader of the catalog, wherever it is: tries the targets in order and follows their hints.
    ///
    /// # Errors
    /// The last refusal, or [`OperatorError::NoLeader`] when nobody refused and nobody answered.
    pub async fn ask_leader(
        &self,
        targets: &[Target],
        request: &ControlRequest,
    ) -> Result<ControlReply, OperatorError> {
        let mut last = OperatorError::NoLeader("there is no node to ask".to_owned());
        for target in targets {
            last = match self.follow(targets, target, request).await {
                Ok(ControlReply::NotLeader { .. }) => {
                    OperatorError::NoLeader(format!("node `{}` knows none", target.node))
                }
                Ok(reply) => return Ok(reply),
                // A node outside of the cluster refuses too, so the others are asked all the same.
                Err(refused @ OperatorError::Refused { .. }) => refused,
                Err(_) if matches!(last, OperatorError::Refused { .. }) => last,
                Err(error) => OperatorError::NoLeader(error.to_string()),
            };
        }
        Err(last)
    }

    /// Hands a file to the catalog.
    ///
    /// # Errors
    /// As [`ask_leader`](Self::ask_leader).
    pub async fn propose(&self, targets: &[Target], text: &str, origin: &str) -> Result<CatalogOutcome, OperatorError> {
        let request = ControlRequest::Propose { text: text.to_owned(), origin: origin.to_owned() };
        match self.ask_leader(targets, &request).await? {
            ControlReply::Decided(outcome) => Ok(outcome),
            other => Err(OperatorError::NoLeader(format!("an answer to another question: {other:?}"))),
        }
    }

    /// Asks the catalog's leader what a file would wait for.
    ///
    /// # Errors
    /// As [`ask_leader`](Self::ask_leader).
    pub async fn foresee(&self, targets: &[Target], text: &str) -> Result<Vec<Hindrance>, OperatorError> {
        match self.ask_leader(targets, &ControlRequest::Foresee { text: text.to_owned() }).await? {
            ControlReply::Foreseen(hindrances) => Ok(hindrances),
            other => Err(OperatorError::NoLeader(format!("an answer to another question: {other:?}"))),
        }
    }

    async fn follow(
        &self,
        targets: &[Target],
        first: &Target,
        request: &ControlRequest,
    ) -> Result<ControlReply, OperatorError> {
        let mut target = first;
        for _ in 0..REDIRECTS_MAX {
            let reply = self.ask(target, request).await?;
            let ControlReply::NotLeader { leader: Some(leader) } = &reply else { return Ok(reply) };
            match targets.iter().find(|known| known.node == *leader) {
                Some(next) if next != target => target = next,
                _ => return Ok(reply),
            }
        }
        Ok(ControlReply::NotLeader { leader: None })
    }
}

/// One connection to a node, past the handshake.
#[derive(Debug)]
pub struct OperatorConnection {
    channel: Channel,
    welcome: Welcome,
    next_id: u64,
}

impl OperatorConnection {
    async fn open(stream: TcpStream, target: Target, hello: &Hello) -> Result<Self, OperatorError> {
        let mut channel = Channel { stream, target, received: Received::new() };
        let mut out = PREAMBLE.to_vec();
        put_message(&mut out, Kind::Hello, |out| out.extend(json(hello)));
        let payload = channel.exchange(&out, Kind::Welcome).await?;
        let target = &channel.target;
        let welcome: Welcome = serde_json::from_slice(&payload).map_err(|e| target.refused(e))?;
        if welcome.node != target.node {
            return Err(target.refused(format!("node `{}` listens there", welcome.node)));
        }
        Ok(Self { channel, welcome, next_id: 1 })
    }

    /// What the node said about itself.
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// As [`Operator::ask`].
    pub async fn ask(&mut self, request: &ControlRequest) -> Result<ControlReply, OperatorError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut out = Vec::new();
        put_numbered(&mut out, Kind::Control, id, &json(request));
        let payload = self.channel.exchange(&out, Kind::ControlReply).await?;
        let target = &self.channel.target;
        let (answered, body) = split_numbered(&payload).map_err(|e| target.refused(e))?;
        if answered != id {
            return Err(target.refused("an answer to another question"));
        }
        match serde_json::from_slice(body).map_err(|e| target.refused(format!("an unknown answer: {e}")))? {
            ControlReply::Error(reason) => Err(target.refused(reason)),
            reply => Ok(reply),
        }
    }
}

#[derive(Debug)]
struct Channel {
    stream: TcpStream,
    target: Target,
    received: Received,
}

impl Channel {
    /// Sends, and waits for the message of this kind, [`ANSWER_TIMEOUT`] at most.
    async fn exchange(&mut self, out: &[u8], kind: Kind) -> Result<Vec<u8>, OperatorError> {
        let written = self.stream.write_all(out);
        match timeout(ANSWER_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.target.unreachable(os_reason(&error))),
            Err(_) => return Err(self.target.unreachable("it takes no question")),
        }
        match timeout(ANSWER_TIMEOUT, self.await_message(kind)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.target.unreachable("no answer within 5 s")),
        }
    }

    /// Other messages, of which a node sends some unasked, are skipped.
    async fn await_message(&mut self, kind: Kind) -> Result<Vec<u8>, OperatorError> {
        loop {
            while let Some((found, payload)) = self.received.next().map_err(|e| self.target.refused(e))? {
                match found {
                    found if found == kind => return Ok(payload),
                    Kind::Goodbye => return Err(self.target.refused(String::from_utf8_lossy(&payload))),
                    _ => {}
                }
            }
            match self.received.read(&mut self.stream).await {
                Ok(0) => return Err(self.target.unreachable("it closed the connection")),
                Ok(_) => {}
                Err(error) => return Err(self.target.unreachable(os_reason(&error))),
            }
        }
    }
}

/// Bytes that came, and messages put together from them.
#[derive(Debug)]
struct Received {
    buffer: Vec<u8>,
    assembler: Assembler,
}

impl Received {
    const fn new() -> Self {
        Self { buffer: Vec::new(), assembler: Assembler::new(ANSWER_BYTES_MAX) }
    }

    /// Waits for more bytes; zero: there will be none.
    async fn read(&mut self, stream: &mut TcpStream) -> std::io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        stream.read_buf(&mut self.buffer).await
    }

    /// The next whole message.
    fn next(&mut self) -> Result<Option<(Kind, Vec<u8>)>, FrameError> {
        while let Some(frame) = split_frame(&self.buffer)? {
            let consumed = frame.consumed;
            let message = self.assembler.push(frame)?.map(|message| (message.kind, message.payload.to_vec()));
            self.assembler.release();
            self.buffer.drain(..consumed);
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::topology::Incarnation;

    /// A node that answers each connection with these messages, one per message received, and then closes it.
    async fn node(name: &str, answers: Vec<(Kind, Vec<u8>)>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { node: NodeName::new(name), addr: listener.local_addr().unwrap().to_string() };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut received = Received::new();
                let mut preamble = [0; PREAMBLE.len()];
                stream.read_exact(&mut preamble).await.unwrap();
                assert_eq!(preamble, PREAMBLE);
                for (kind, payload) in &answers {
                    while received.next().unwrap().is_none() {
                        if received.read(&mut stream).await.unwrap() == 0 {
                            break;
                        }
                    }
                    let mut out = Vec::new();
                    put_message(&mut out, *kind, |out| out.extend_from_slice(payload));
                    stream.write_all(&out).await.unwrap();
                }
            }
        });
        target
    }

    fn welcome(name: &str) -> (Kind, Vec<u8>) {
        let (node, incarnation) = (NodeName::new(name), Incarnation(1));
        let welcome = Welcome { cluster: None, node, incarnation, keeps_leases: false };
        (Kind::Welcome, json(&welcome))
    }

    fn reply(reply: &ControlReply) -> (Kind, Vec<u8>) {
        (Kind::ControlReply, [&1_u64.to_le_bytes()[..], &json(reply)].concat())
    }

    fn operator() -> Operator {
        Operator { name: "test".to_owned(), cluster: None }
    }

    #[tokio::test]
    async fn each_question_gets_its_answer_or_the_nodes_reason() {
        let decided = ControlReply::Decided(CatalogOutcome::Same { version: 3 });
        let target = node("n1", vec![welcome("n1"), reply(&decided)]).await;
        assert_eq!(operator().ask(&target, &ControlRequest::Status).await, Ok(decided));
        for (answers, complaint) in [
            (vec![(Kind::Goodbye, b"this is cluster 7".to_vec())], "refused: this is cluster 7"),
            (vec![welcome("n2")], "refused: node `n2` listens there"),
            (vec![welcome("n1"), reply(&ControlReply::Error("no".to_owned()))], "refused: no"),
            (vec![welcome("n1"), (Kind::ControlReply, vec![0; 4])], "refused: malformed numbered frame"),
            (vec![welcome("n1"), (Kind::ControlReply, vec![9; 12])], "refused: an answer to another question"),
            (vec![welcome("n1"), (Kind::ControlReply, b"\x01\0\0\0\0\0\0\0{}".to_vec())], "refused: an unknown answer"),
            (vec![welcome("n1")], "it closed the connection"),
        ] {
            let target = node("n1", answers).await;
            let error = operator().ask(&target, &ControlRequest::Status).await.unwrap_err().to_string();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let target = Target { node: NodeName::new("n1"), addr: addr.clone() };
        let error = operator().ask(&target, &ControlRequest::Status).await.unwrap_err();
        assert_eq!(error.to_string(), format!("node `n1` at {addr}: connection refused"));
    }

    #[tokio::test]
    async fn the_leader_is_found_through_hints_and_past_dead_nodes() {
        let accepted = CatalogOutcome::Accepted { version: 2 };
        let leader = node("n3", vec![welcome("n3"), reply(&ControlReply::Decided(accepted.clone()))]).await;
        let hint = ControlReply::NotLeader { leader: Some(NodeName::new("n3")) };
        let follower = node("n2", vec![welcome("n2"), reply(&hint)]).await;
        let dead = Target { node: NodeName::new("n1"), addr: "127.0.0.1:1".to_owned() };
        let targets = [dead.clone(), follower.clone(), leader];
        assert_eq!(operator().propose(&targets, "version = 2", "f").await, Ok(accepted));
        let error = operator().propose(&[dead, follower], "version = 2", "f").await.unwrap_err();
        assert_eq!(error.to_string(), "no leader of the catalog was found: node `n2` knows none");
    }
}
