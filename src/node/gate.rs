//! What a proxy's connection says to a node, from its first byte on: who is there, requests, heartbeats.
//!
//! Free of sockets and clocks, so that the shell and the simulation let in and turn away with the same code: whether a
//! frame of a refused generation is refused again (R1) is decided here and nowhere else.

use super::answers::Answers;
use super::connections::{Connections, Dialect, Refused};
use super::engine::Engine;
use crate::net::Moment;
use crate::protocol::control::{Hello, PeerRole, ProxyReport, Welcome};
use crate::protocol::frame::{
    Assembler, FrameError, Heartbeat, Kind, NodeStatus, PREAMBLE, RefusalReason, RequestHead, put_numbered, split_frame,
};
use crate::topology::{Catalog, ClusterId, Incarnation, LogTime, NodeName};

/// The longest `Hello` or `Welcome`.
const HELLO_BYTES_MAX: usize = 64 * 1024;

/// Looks for a greeting of this kind at the start of what came, after the preamble where one is due. Returns its payload
/// and how many bytes it took; none: more must come.
///
/// # Errors
/// Something else came; why.
pub fn greeting(bytes: &[u8], preamble: bool, kind: Kind) -> Result<Option<(Vec<u8>, usize)>, String> {
    let start = if preamble { PREAMBLE.len() } else { 0 };
    if bytes.len() > HELLO_BYTES_MAX {
        return Err("a greeting that does not end".to_owned());
    }
    if preamble && !PREAMBLE.starts_with(&bytes[..bytes.len().min(start)]) {
        return Err("not a Pontoon connection, or one of another format version".to_owned());
    }
    let Some(rest) = bytes.get(start..) else { return Ok(None) };
    let Some(frame) = split_frame(rest).map_err(|e| e.to_string())? else { return Ok(None) };
    let mut assembler = Assembler::new(HELLO_BYTES_MAX);
    match assembler.push(frame).map_err(|e| e.to_string())? {
        Some(m) if m.kind == kind => Ok(Some((m.payload.to_vec(), start + frame.consumed))),
        Some(m) if m.kind == Kind::Goodbye => Err(String::from_utf8_lossy(m.payload).into_owned()),
        _ => Err("something else came in place of a greeting".to_owned()),
    }
}

/// What a node says about itself, and judges newcomers by.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// The cluster that it belongs to.
    pub cluster: Option<ClusterId>,
    /// The incarnation of its directory.
    pub incarnation: Incarnation,
    /// Whether leaders may count on its replicas.
    pub keeps_leases: bool,
    /// What it knows of the others.
    pub catalog: Option<&'a Catalog>,
}

/// Whether somebody who says this may stay (DESIGN.md, section 4).
///
/// # Errors
/// Why not.
pub fn judge(host: Host<'_>, hello: &Hello) -> Result<Welcome, String> {
    let me = host.name;
    if let Some(to) = hello.to.as_ref().filter(|to| *to != me) {
        return Err(format!("this is node `{me}`, not `{to}`"));
    }
    if let (Some(mine), Some(theirs)) = (host.cluster, hello.cluster)
        && mine != theirs
    {
        return Err(format!("node `{me}` belongs to cluster {mine}, not {theirs}"));
    }
    if hello.role == PeerRole::Node {
        let name = NodeName::new(&hello.name);
        if let Some(theirs) = hello.incarnation.filter(|theirs| host.catalog.is_some_and(|c| c.is_retired(*theirs))) {
            return Err(format!("node `{name}`: incarnation {theirs} was given up and may never act again"));
        }
        let record = host.catalog.and_then(|c| c.nodes.get(&name));
        let known = record.and_then(|r| r.incarnation);
        if let (Some(known), Some(theirs)) = (known, hello.incarnation)
            && known != theirs
        {
            return Err(format!("node `{name}` is known by its incarnation {known}, and this one is {theirs}"));
        }
    }
    let keeps_leases = host.keeps_leases;
    Ok(Welcome { cluster: host.cluster, node: me.clone(), incarnation: host.incarnation, keeps_leases })
}

/// What a connection speaks that was let in.
pub fn dialect(hello: &Hello) -> Dialect {
    match hello.role {
        PeerRole::Proxy => Dialect::Proxy(Refused::default()),
        PeerRole::Node | PeerRole::Operator => Dialect::Control,
    }
}

/// Takes a proxy's request from the connection at a place.
///
/// # Errors
/// It makes no sense, or the connection is none of a proxy.
pub fn take_request<S>(
    engine: &mut Engine,
    connections: &mut Connections<S>,
    key: usize,
    payload: &[u8],
    now: Moment,
    wall: LogTime,
) -> Result<(), FrameError> {
    let (head, body) = RequestHead::decode(payload)?;
    if !engine.can_be_logged(&head, body) {
        return Err(FrameError::Malformed("write"));
    }
    let ticket = connections.ticket(key, head.id, head.client, head.generation, head.shard);
    let Some(connection) = connections.get(key) else { return Ok(()) };
    let Dialect::Proxy(refused) = &mut connection.dialect else { return Err(FrameError::Malformed("request")) };
    if !refused.admits(head.client, head.shard, head.generation) {
        connections.refuse(ticket, RefusalReason::Superseded, None);
        return Ok(());
    }
    refused.hear(now);
    engine.request(&head, body, ticket, now, wall, connections);
    Ok(())
}

/// Answers a heartbeat that came over the connection at a place.
pub fn take_heartbeat<S>(
    engine: &Engine,
    connections: &mut Connections<S>,
    key: usize,
    heartbeat: Heartbeat,
    now: Moment,
    wall: LogTime,
) {
    if connections.board.is_old(now) {
        connections.board.look(engine.statuses(now, wall), now);
    }
    let status = connections.board.tell(heartbeat.sequence, engine.revision(), heartbeat.known);
    let told = connections.get(key).map_or(heartbeat.revision, |connection| connection.told.max(heartbeat.revision));
    let newer = engine.catalog().filter(|c| c.revision > told).map(|catalog| connections.encoded(catalog));
    let Some(connection) = connections.get_dirty(key) else { return };
    if let Some((revision, json)) = newer {
        // It may be long, and under way for long: once is enough.
        connection.told = revision;
        put_numbered(&mut connection.outlet.out, Kind::Catalog, revision.0, &json);
    }
    if let Dialect::Proxy(refused) = &mut connection.dialect {
        refused.hear(now);
        refused.age(now);
        connection.board_told = status.version;
        status.put(&mut connection.outlet.out);
    } else {
        // Nodes ask for the catalog, and route nothing.
        NodeStatus { sequence: status.sequence, revision: status.revision, ..NodeStatus::default() }
            .put(&mut connection.outlet.out);
    }
}

/// Takes what a proxy says of itself over the connection at a place.
///
/// # Errors
/// It makes no sense, or the connection is none of a proxy.
pub fn take_report<S>(connections: &mut Connections<S>, key: usize, payload: &[u8]) -> Result<(), FrameError> {
    let malformed = FrameError::Malformed("proxy report");
    if payload.len() > ProxyReport::BYTES_MAX {
        return Err(malformed);
    }
    let report = serde_json::from_slice(payload).map_err(|_| malformed)?;
    let Some(connection) = connections.get(key) else { return Ok(()) };
    if !matches!(connection.dialect, Dialect::Proxy(_)) {
        return Err(malformed);
    }
    connection.proxy = Some(report);
    Ok(())
}

/// Tells all proxies how the replicas are.
pub fn push_status<S>(engine: &Engine, connections: &mut Connections<S>, now: Moment, wall: LogTime) {
    connections.board.look(engine.statuses(now, wall), now);
    for key in connections.proxies() {
        let since = connections.peek(key).map_or(0, |connection| connection.board_told);
        let status = connections.board.tell(0, engine.revision(), since);
        if let Some(connection) = connections.get_dirty(key) {
            connection.board_told = status.version;
            status.put(&mut connection.outlet.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_say_who_they_are_each_process_once_and_nobody_else_does() {
        let hello = |role| Hello { role, cluster: None, name: "p".to_owned(), incarnation: None, to: None };
        let mut connections: Connections<()> = Connections::default();
        let proxy = dialect(&hello(PeerRole::Proxy));
        let keys: Vec<usize> = [proxy, dialect(&hello(PeerRole::Proxy)), dialect(&hello(PeerRole::Operator))]
            .map(|dialect| connections.insert((), dialect))
            .to_vec();
        let says = |trouble: Option<&str>| {
            let (name, run_id, port) = ("p".to_owned(), "77".to_owned(), 6379);
            let report = ProxyReport { name, run_id, from: None, port, file_trouble: trouble.map(str::to_owned) };
            serde_json::to_vec(&report).unwrap()
        };
        for key in &keys[..2] {
            take_report(&mut connections, *key, &says(Some("stale"))).unwrap();
        }
        let told: Vec<_> = connections.proxy_reports().into_iter().map(|(_, r)| r.file_trouble.clone()).collect();
        assert_eq!(told, [Some("stale".to_owned())], "two workers of one process");
        keys[..2].iter().for_each(|key| take_report(&mut connections, *key, &says(None)).unwrap());
        assert_eq!(connections.proxy_reports()[0].1.file_trouble, None);
        let malformed = Err(FrameError::Malformed("proxy report"));
        assert_eq!(take_report(&mut connections, keys[2], &says(None)), malformed);
        assert_eq!(take_report(&mut connections, keys[0], b"{"), malformed);
        assert_eq!(take_report(&mut connections, keys[0], &[b' '; ProxyReport::BYTES_MAX + 1]), malformed);
        keys.iter().for_each(|key| connections.remove(*key));
        assert_eq!(connections.proxy_reports(), []);
    }
}
