//! MULTI, EXEC and WATCH: all or nothing, isolated, and no update lost, whatever happens to the leader.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Cluster, Stop, until};

const ALL: &[usize] = &[1, 2, 3];

/// MULTI, these, EXEC.
fn exec<T: redis::FromRedisValue>(connection: &mut redis::Connection, lines: &[&str]) -> redis::RedisResult<T> {
    redis::cmd("MULTI").exec(connection)?;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        redis::cmd(words[0]).arg(&words[1..]).exec(connection)?;
    }
    redis::cmd("EXEC").query(connection)
}

fn talk(address: &str, sent: &str, expected: &str) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(sent.as_bytes()).unwrap();
    let mut found = vec![0; expected.len()];
    socket.read_exact(&mut found).unwrap_or_else(|error| panic!("{sent:?}: {error}"));
    assert_eq!(String::from_utf8_lossy(&found), expected, "{sent:?}");
}

#[test]
fn a_whole_conversation_in_one_packet_is_answered_in_order() {
    let cluster = Cluster::start(3, &[ALL], &[]);
    let leader = cluster.leader("a");
    for address in [&cluster.proxies[0].address, &cluster.nodes[&leader].address] {
        let began = "DEL k l\r\nSET k 1\r\nWATCH k\r\nGET k\r\nMULTI\r\nINCR k\r\nPING\r\nGET k\r\nSET l x\r\nINCR l\r\nEXEC\r\nGET k\r\n";
        let answered = "+OK\r\n+OK\r\n$1\r\n1\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n\
            *5\r\n:2\r\n+PONG\r\n$1\r\n2\r\n+OK\r\n-ERR value is not an integer or out of range\r\n$1\r\n2\r\n";
        let deleted = if address == &cluster.proxies[0].address { ":0\r\n" } else { ":2\r\n" };
        talk(address, began, &format!("{deleted}{answered}"));
        talk(
            address,
            "WATCH k\r\nSET k 5\r\nMULTI\r\nSET k 6\r\nCLIENT SETNAME x\r\nEXEC\r\nCLIENT GETNAME\r\nGET k\r\nEXEC\r\n",
            "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n$-1\r\n$1\r\n5\r\n-ERR EXEC without MULTI\r\n",
        );
        talk(
            address,
            "MULTI\r\nSET k 7\r\nNOSUCH\r\nEXEC\r\nMULTI\r\nSET k 8\r\nDISCARD\r\nMULTI\r\nSET k 9\r\nRESET\r\nCLIENT READS strong\r\nGET k\r\n",
            "+OK\r\n+QUEUED\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n\
             -EXECABORT Transaction discarded because of previous errors.\r\n+OK\r\n+QUEUED\r\n+OK\r\n+OK\r\n+QUEUED\r\n\
             +RESET\r\n+OK\r\n$1\r\n5\r\n",
        );
    }
    // An expired key is one that was changed.
    talk(
        &cluster.proxies[0].address,
        "SET e 1 PX 40\r\nWATCH e\r\nMULTI\r\nPING\r\nEXEC\r\n",
        "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n",
    );
    let mut connection = cluster.connect();
    redis::pipe().cmd("SET").arg("e").arg(1).arg("PX").arg(40).cmd("WATCH").arg("e").exec(&mut connection).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let done: Option<Vec<String>> = redis::pipe().atomic().cmd("PING").query(&mut connection).unwrap();
    assert_eq!(done, None);
    cluster.end();
}

/// Lets the leader die and come back, twice, while `work` is done by three connections at once. Each call of `work`
/// says whether it did something (`Some(true)`), surely did not (`Some(false)`), or cannot know. Returns how many did, and
/// how many cannot know.
fn while_leaders_die(
    cluster: &mut Cluster,
    work: impl Fn(&mut redis::Connection) -> redis::RedisResult<bool> + Sync,
) -> (u64, u64) {
    let stop = AtomicBool::new(false);
    let client = redis::Client::open(format!("redis://{}/", cluster.proxies[0].address)).unwrap();
    let one = || {
        let mut connection = client.get_connection().unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut done, mut unknown) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            match work(&mut connection) {
                Ok(did) => done += u64::from(did),
                Err(error) => {
                    let code = error.code().map(str::to_owned);
                    assert!(matches!(code.as_deref(), Some("TIMEOUT" | "EXECABORT")), "{error}");
                    unknown += u64::from(code.as_deref() == Some("TIMEOUT"));
                    let _: String = redis::cmd("UNWATCH").query(&mut connection).unwrap();
                }
            }
        }
        (done, unknown)
    };
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        let stopped = Stop(&stop);
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(500));
            let leader = cluster.leader("a");
            cluster.nodes.get_mut(&leader).unwrap().kill();
            until("another leader", || {
                let found = cluster.shard("a");
                let other = found["leader"].is_string() && found["leader"] != leader.as_str();
                if other { Ok(()) } else { Err(found.to_string()) }
            });
            std::thread::sleep(Duration::from_millis(300));
            cluster.start_node(&leader);
            cluster.await_health();
        }
        drop(stopped);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    results.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn both_or_none_take_effect_and_nobody_sees_one_alone() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let (done, unknown) = while_leaders_die(&mut cluster, |connection| {
        let (a, b): (u64, u64) = exec(connection, &["INCR a", "INCR b"])?;
        assert_eq!(a, b);
        let (a, b): (u64, u64) = redis::cmd("MGET").arg("a").arg("b").query(connection)?;
        assert_eq!(a, b);
        Ok(true)
    });
    let mut connection = cluster.connect();
    let (a, b): (u64, u64) = exec(&mut connection, &["GET a", "GET b"]).unwrap();
    assert_eq!(a, b);
    // A read of unknown outcome counts one that was done.
    assert!((done..=done + unknown).contains(&a), "{a} increments, {done} acknowledged, {unknown} unknown");
    assert!(done > 20, "hardly any transaction was acknowledged: {done}");
    cluster.end();
}

#[test]
fn no_update_is_lost_between_watch_and_exec() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let (done, unknown) = while_leaders_die(&mut cluster, |connection| {
        redis::cmd("WATCH").arg("n").exec(connection)?;
        let before: Option<u64> = redis::cmd("GET").arg("n").query(connection)?;
        let set: Option<Vec<String>> = exec(connection, &[&format!("SET n {}", before.unwrap_or(0) + 1)])?;
        Ok(set.is_some())
    });
    let mut connection = cluster.connect();
    let (counted,): (u64,) = exec(&mut connection, &["GET n"]).unwrap();
    assert!((done..=done + unknown).contains(&counted), "{counted} of {done} acknowledged, {unknown} unknown");
    assert!(done > 20, "hardly any transaction was acknowledged: {done}");
    cluster.end();
}
