//! States on their way: to this node's disk, to another node, and from one.
//!
//! A state travels on a connection of its own: first `u64 shard | Raft message`, then pieces, then an empty piece and
//! `u64 count of pieces | u32 CRC-32 of all`; the receiver answers when all of it is on its disk. Only then does its group see the message, so that an acknowledged
//! snapshot is a durable one. What is sent is always read from memory, never from the sender's disk, and carries a
//! checksum of its own, so damage on the sender's disk or on the way does not spread.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use super::background::{self, Pace};
use super::home::SnapshotHome;
use super::machine::{FrozenMachine, Machine, MachineLoader};
use super::server::{Node, Shared};
use super::{handshake, peer_link};
use crate::consensus::{Message, SnapshotPoint, decode_message, encode_message, snapshot_point};
use crate::protocol::frame::{Kind, put_message, split_frame};
use crate::storage::{StorageError, snapshot::Replaced};
use crate::topology::{NodeName, ReplicaId, ShardId};

/// How long the other end may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Pieces between the thread that makes them and the socket.
const PIECES_AHEAD: usize = 4;

/// Writes a state to this node's disk.
pub fn write(node: &Node, shared: &Shared, shard: ShardId, point: SnapshotPoint, state: FrozenMachine) {
    let (snapshots, mut pace) = (node.home.snapshots(), Pace::new(node.clock.clone()));
    // While a state is on its way to the disk its replica is not let go of.
    let id = node.engine.replica(shard).expect("its state was just frozen").id;
    let shared = Rc::clone(shared);
    spawn_local(async move {
        let write = move || {
            let pieces = state.pieces().inspect(|piece| pace.wait_for(piece.len()));
            let (bytes, replaced) = snapshots.write(shard, id, &point, pieces)?;
            Ok::<_, StorageError>((point, bytes, replaced))
        };
        let done = background::spawn("snapshot", write).await;
        let node = &mut *shared.borrow_mut();
        match done {
            Ok(Ok((point, bytes, replaced))) => {
                node.engine.snapshot_written(shard, &point, bytes);
                spawn_local(remove(Rc::clone(&shared), shard, replaced));
            }
            // The log goes on in the space that it has reserved; when that is used up too, the node stops.
            Ok(Err(error)) if error.is_out_of_space() => {
                tracing::error!(%shard, "a snapshot cannot be written, and is tried again later: {error}{}", error.advice());
                node.engine.snapshot_failed(shard);
            }
            Ok(Err(error)) => node.fail(format!("{error}{}", error.advice())),
            Err(error) => node.fail(format!("the thread that writes a snapshot ended: {error}")),
        }
        node.wake.notify_one();
    });
}

/// Sends a state to a replica on another node.
pub fn send(
    node: &Node,
    shared: &Shared,
    shard: ShardId,
    to: ReplicaId,
    name: &NodeName,
    message: Message,
    state: FrozenMachine,
) {
    let addr = node.engine.catalog().and_then(|c| c.addr(name)).map(str::to_owned);
    let (shared, name) = (Rc::clone(shared), name.clone());
    spawn_local(async move {
        let sent = match addr {
            Some(addr) => stream_out(&shared, &addr, &name, shard, &message, state).await,
            None => Err(io::Error::other("its address is not known")),
        };
        match &sent {
            Ok(()) => tracing::info!(%shard, replica = %to, node = %name, "state sent"),
            Err(error) => tracing::warn!(%shard, replica = %to, node = %name, "state not sent: {error}"),
        }
        let node = &mut *shared.borrow_mut();
        node.engine.snapshot_sent(shard, to, sent.is_ok());
        node.wake.notify_one();
    });
}

/// What the pieces of a state add up to.
#[derive(Default)]
struct PieceSum {
    count: u64,
    hasher: crc32fast::Hasher,
}

impl PieceSum {
    fn add(&mut self, piece: &[u8]) {
        self.count += 1;
        self.hasher.update(piece);
    }

    fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..].copy_from_slice(&self.hasher.finalize().to_le_bytes());
        bytes
    }
}

async fn stream_out(
    shared: &Shared,
    addr: &str,
    name: &NodeName,
    shard: ShardId,
    message: &Message,
    state: FrozenMachine,
) -> io::Result<()> {
    let hello = peer_link::hello(shared, Some(name.clone()));
    let (stream, _, mut unread) = handshake::connect(addr, &hello).await?;
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    // Ends with its last piece, or when the connection broke and nobody takes them.
    drop(background::spawn("state", move || state.pieces().all(|piece| sender.blocking_send(piece).is_ok())));
    let mut out = Vec::new();
    put_message(&mut out, Kind::Snapshot, |out| {
        out.extend_from_slice(&shard.0.to_le_bytes());
        encode_message(message, out);
    });
    let mut sum = PieceSum::default();
    while let Some(piece) = pieces.recv().await {
        sum.add(&piece);
        put_message(&mut out, Kind::Snapshot, |out| out.extend_from_slice(&piece));
        timeout(SILENCE_MAX, handshake::write_all(&stream, &out)).await??;
        out.clear();
    }
    put_message(&mut out, Kind::Snapshot, |_| ());
    put_message(&mut out, Kind::Snapshot, |out| out.extend_from_slice(&sum.encode()));
    timeout(SILENCE_MAX, handshake::write_all(&stream, &out)).await??;
    let (kind, payload) = timeout(SILENCE_MAX, next_frame(&stream, &mut unread)).await??;
    match kind {
        Kind::ControlReply => Ok(()),
        _ => Err(io::Error::other(String::from_utf8_lossy(&payload).into_owned())),
    }
}

/// Takes a state from another node. `header` is the first piece, `unread` what came after it.
pub async fn receive(shared: &Shared, stream: &TcpStream, header: &[u8], unread: Vec<u8>) {
    let mut out = Vec::new();
    let received = stream_in(shared, stream, header, unread).await;
    match &received {
        Ok(_) => put_message(&mut out, Kind::ControlReply, |out| out.extend_from_slice(&0_u64.to_le_bytes())),
        Err(error) => {
            tracing::warn!("state not received: {error}");
            put_message(&mut out, Kind::Goodbye, |out| out.extend_from_slice(error.to_string().as_bytes()));
        }
    }
    let _ = timeout(SILENCE_MAX, handshake::write_all(stream, &out)).await;
    let _ = timeout(SILENCE_MAX, handshake::closed(stream)).await;
    // After the answer: it may take long.
    if let Ok((shard, replaced)) = received {
        remove(Rc::clone(shared), shard, replaced).await;
    }
}

/// Removes what a state has replaced. Nobody waits for it.
async fn remove(shared: Shared, shard: ShardId, replaced: Replaced) {
    match background::spawn("removal", || replaced.remove()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_out_of_space() => {
            tracing::warn!(%shard, "a state that is needed no more stays until the next is written: {error}");
        }
        Ok(Err(error)) => shared.borrow_mut().fail(format!("{error}{}", error.advice())),
        Err(error) => shared.borrow_mut().fail(format!("the thread that removes a state ended: {error}")),
    }
}

/// Returns the shard, and the states of it that are not needed now.
async fn stream_in(
    shared: &Shared,
    stream: &TcpStream,
    header: &[u8],
    mut unread: Vec<u8>,
) -> io::Result<(ShardId, Replaced)> {
    let malformed = || io::Error::other("malformed head of a snapshot");
    let (shard, message) = header.split_first_chunk::<8>().ok_or_else(malformed)?;
    let shard = ShardId(u64::from_le_bytes(*shard));
    let message = decode_message(Bytes::copy_from_slice(message)).map_err(io::Error::other)?;
    let point = snapshot_point(&message).ok_or_else(malformed)?;
    if !shared.borrow().engine.is_for(shard, &message) {
        return Err(io::Error::other("it is for another replica than the one that is here"));
    }
    let (snapshots, id) = wanted(&mut shared.borrow_mut(), shard, &point)?;
    let received = keep_stream(stream, &mut unread, snapshots, shard, id, point).await;
    let node = &mut *shared.borrow_mut();
    let replaced = match received {
        Ok((state, bytes, replaced)) => {
            node.engine.snapshot_received(shard, message, state, bytes);
            replaced
        }
        Err(NotKept::Disk(error)) => {
            node.engine.stop_receiving(shard);
            node.fail(format!("{error}{}", error.advice()));
            return Err(io::Error::other("its disk failed"));
        }
        Err(NotKept::Stream(error)) => {
            node.engine.stop_receiving(shard);
            return Err(error);
        }
    };
    node.wake.notify_one();
    Ok((shard, replaced))
}

/// Why a state that was let in is not there.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    /// It did not come whole, or cannot be understood.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// This node could not write it.
    #[error("{0}")]
    Disk(#[from] StorageError),
}

async fn keep_stream(
    stream: &TcpStream,
    unread: &mut Vec<u8>,
    snapshots: SnapshotHome,
    shard: ShardId,
    id: ReplicaId,
    point: SnapshotPoint,
) -> Result<(Machine, u64, Replaced), NotKept> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let keep = spawn_blocking(move || keep_pieces(&snapshots, shard, id, &point, receiver));
    let fed = feed(stream, unread, sender).await;
    // Whatever came: the thread must have let go of its file before another may be let in.
    let kept = keep.await.map_err(io::Error::other)?;
    match (fed, kept) {
        (_, Err(NotKept::Disk(error))) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
        (Ok(()), kept) => kept,
    }
}

async fn feed(stream: &TcpStream, unread: &mut Vec<u8>, pieces: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let (kind, piece) = timeout(SILENCE_MAX, next_frame(stream, unread)).await??;
        if kind != Kind::Snapshot {
            return Err(io::Error::other("something else came between the pieces of a snapshot"));
        }
        let last = piece.is_empty();
        if pieces.send(piece).await.is_err() {
            return Ok(());
        }
        if last {
            let (_, sum) = timeout(SILENCE_MAX, next_frame(stream, unread)).await??;
            // The writer compares it, and is gone if something went wrong before.
            let _ = pieces.send(sum).await;
            return Ok(());
        }
    }
}

fn wanted(node: &mut Node, shard: ShardId, point: &SnapshotPoint) -> io::Result<(SnapshotHome, ReplicaId)> {
    let id = node.engine.begin_receiving(shard, point).map_err(io::Error::other)?;
    Ok((node.home.snapshots(), id))
}

/// On a thread of its own: to disk and into memory at once. The state gets its name on disk only when its sum is right.
fn keep_pieces(
    snapshots: &SnapshotHome,
    shard: ShardId,
    id: ReplicaId,
    point: &SnapshotPoint,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<(Machine, u64, Replaced), NotKept> {
    let mut loader = MachineLoader::new(shard);
    let mut writer = snapshots.writer(shard, id, point)?;
    let (mut bytes, mut sum) = (0, PieceSum::default());
    loop {
        let piece = pieces.blocking_recv().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if piece.is_empty() {
            break;
        }
        bytes += piece.len() as u64;
        sum.add(&piece);
        loader.push(&piece).map_err(io::Error::other)?;
        writer.push(&piece)?;
    }
    let expected = pieces.blocking_recv().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
    if expected != sum.encode() {
        return Err(io::Error::other("it was damaged on its way: its checksum is another").into());
    }
    let state = loader.finish().map_err(io::Error::other)?;
    let (_, replaced) = writer.finish()?;
    Ok((state, bytes, replaced))
}

async fn next_frame(stream: &TcpStream, unread: &mut Vec<u8>) -> io::Result<(Kind, Vec<u8>)> {
    loop {
        if let Some(frame) = split_frame(unread).map_err(io::Error::other)? {
            let found = (frame.kind, frame.payload.to_vec());
            let consumed = frame.consumed;
            unread.drain(..consumed);
            return Ok(found);
        }
        stream.readable().await?;
        match stream.try_read_buf(unread) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::net::Entropy;
    use crate::node::home::Home;
    use crate::storage::SimulatedDisk;
    use crate::topology::{Catalog, ClusterId, LogIndex, ShardsConfig, Term};

    const ID: ReplicaId = ReplicaId(9);

    fn home(disk: &SimulatedDisk) -> Home {
        Home::open(&disk.disk(), Path::new("/data"), &NodeName::new("n1"), &Entropy::seeded(1)).unwrap().0
    }

    /// Keeps these pieces, the last of which is the sum of the others.
    fn keep(home: &Home, pieces: Vec<Vec<u8>>) -> Result<u64, NotKept> {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        pieces.into_iter().for_each(|piece| sender.try_send(piece).unwrap());
        drop(sender);
        let point = SnapshotPoint { index: LogIndex(9), term: Term(6), ..SnapshotPoint::default() };
        keep_pieces(&home.snapshots(), ShardId::CATALOG, ID, &point, receiver).map(|(_, bytes, _)| bytes)
    }

    fn catalog_in_pieces() -> Vec<Vec<u8>> {
        let file = "version = 1\n[[node]]\nname = 'n1'\naddr = 'h:1'\n[[shard]]\nname = 'a'\nnodes = ['n1']\n";
        let config = ShardsConfig::parse(file, "test").unwrap();
        let catalog = Catalog::found(ClusterId(7), 1, &config, &std::collections::BTreeMap::new());
        let mut pieces: Vec<_> = Machine::Catalog(Arc::new(catalog)).freeze().unwrap().pieces().collect();
        let mut sum = PieceSum::default();
        pieces.iter().for_each(|piece| sum.add(piece));
        pieces.extend([Vec::new(), sum.encode().to_vec()]);
        pieces
    }

    fn snapshots_on(disk: &SimulatedDisk) -> Vec<String> {
        disk.disk().list_dir(Path::new("/data/snapshots")).unwrap().unwrap()
    }

    #[test]
    fn a_state_that_was_damaged_or_cut_on_its_way_leaves_nothing() {
        let disk = SimulatedDisk::new(1);
        let home = home(&disk);
        let whole = catalog_in_pieces();
        // A digit of the seed: a good catalog all the same, and another one.
        let mut damaged = whole.clone();
        let place = String::from_utf8_lossy(&damaged[0]).find("\"seed\":1").unwrap() + 7;
        damaged[0][place] ^= 2;
        let error = keep(&home, damaged).unwrap_err().to_string();
        assert!(error.contains("damaged on its way"), "{error}");
        for count in 0..whole.len() {
            assert!(matches!(keep(&home, whole[..count].to_vec()), Err(NotKept::Stream(_))), "{count}");
        }
        assert_eq!(snapshots_on(&disk), [""; 0]);
        keep(&home, whole).unwrap();
        assert_eq!(snapshots_on(&disk).len(), 1);
    }

    #[test]
    fn a_disk_that_cannot_keep_a_state_is_told_from_a_bad_stream() {
        let disk = SimulatedDisk::new(1);
        let home = home(&disk);
        disk.fail_sync(1);
        let Err(NotKept::Disk(error)) = keep(&home, catalog_in_pieces()) else { panic!("the sync failed") };
        assert!(error.to_string().contains(".snapshot.tmp: cannot sync at byte 0"), "{error}");
        assert_eq!(snapshots_on(&disk), [""; 0]);
    }
}
