//! The faults themselves: each does what it says on this machine. A fault that does nothing would prove nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::cluster;
use super::delay::Delay;
use super::ground::{self, Host};

const PORT: u16 = 7000;

/// How long a connection takes to be made; none: longer than the patience of a second.
fn connect(from: &Host, to: &Host) -> Option<Duration> {
    let address = SocketAddr::from((to.address, PORT));
    from.inside(|| {
        let began = Instant::now();
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok().map(|_| began.elapsed())
    })
}

#[test]
fn cuts_have_a_direction_and_heal() {
    ground::enter();
    let (mut a, b) = (Host::new(1), Host::new(2));
    let listener = a.inside(|| TcpListener::bind((a.address, PORT)).unwrap());
    let back = b.inside(|| TcpListener::bind((b.address, PORT)).unwrap());
    assert!(connect(&b, &a).is_some());
    a.add_rule(1, format!("ip saddr {} drop", b.address));
    // Neither a question nor the answer to one gets through; what is sent without being asked does.
    assert!(connect(&b, &a).is_none() && connect(&a, &b).is_none());
    let (ears, mouth) = (udp(&b), udp(&a));
    mouth.send_to(b"still heard", ears.local_addr().unwrap()).unwrap();
    assert_eq!(ears.recv(&mut [0; 64]).unwrap(), 11);
    a.add_rule(2, format!("ip saddr {} drop", b.address));
    a.remove_rules(1);
    assert!(connect(&b, &a).is_none());
    a.remove_rules(2);
    assert!(connect(&b, &a).is_some() && connect(&a, &b).is_some());
    drop((listener, back));
}

fn udp(host: &Host) -> UdpSocket {
    let socket = host.inside(|| UdpSocket::bind((host.address, 0)).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

#[test]
fn a_fifth_is_lost() {
    ground::enter();
    let (mut a, b) = (Host::new(1), Host::new(2));
    a.add_rule(1, format!("ip saddr {} numgen random mod 100 < 20 drop", b.address));
    let (ears, mouth) = (udp(&a), udp(&b));
    (0..100).for_each(|_| assert_eq!(mouth.send_to(b"x", ears.local_addr().unwrap()).unwrap(), 1));
    let heard = std::iter::from_fn(|| ears.recv(&mut [0; 8]).ok()).count();
    assert!((55..98).contains(&heard), "{heard} of 100");
}

#[test]
fn a_longer_way_takes_longer_and_goes_away() {
    ground::enter();
    let (a, b) = (Host::new(1), Host::new(2));
    let listener = a.inside(|| TcpListener::bind((a.address, PORT)).unwrap());
    let way = Delay::between(&[&a, &b], Duration::from_millis(50));
    let took = connect(&b, &a).expect("a connection over the longer way");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    // A connection outlives the change, in both directions of it.
    let mut here = b.inside(|| TcpStream::connect((a.address, PORT)).unwrap());
    let mut there = loop {
        let (stream, peer) = listener.accept().unwrap();
        if peer == here.local_addr().unwrap() {
            break stream;
        }
    };
    drop(way);
    here.write_all(b"hello").unwrap();
    there.read_exact(&mut [0; 5]).unwrap();
    let took = connect(&b, &a).expect("a connection");
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_thin_link_is_thin() {
    ground::enter();
    let (a, b) = (Host::new(1), Host::new(2));
    b.thin();
    let listener = a.inside(|| TcpListener::bind((a.address, PORT)).unwrap());
    let mut mouth = b.inside(|| TcpStream::connect((a.address, PORT)).unwrap());
    let (mut ears, _) = listener.accept().unwrap();
    let began = Instant::now();
    let sender = std::thread::spawn(move || mouth.write_all(&[0; 100_000]).unwrap());
    ears.read_exact(&mut [0; 100_000]).unwrap();
    sender.join().unwrap();
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn clocks_can_be_set_while_a_process_looks_at_them() {
    ground::enter();
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    cluster::set_clock(&clock, 0.0);
    let a = Host::new(1);
    let mut command = a.command("perl");
    cluster::see_clock(&mut command, &clock);
    command.args([
        "-e",
        r#"$| = 1; print time, "
" while <STDIN>"#,
    ]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut perl = command.spawn().unwrap();
    let (mut to, mut from) = (perl.stdin.take().unwrap(), std::io::BufReader::new(perl.stdout.take().unwrap()));
    let mut ask = || {
        let mut line = String::new();
        to.write_all(b"\n").unwrap();
        std::io::BufRead::read_line(&mut from, &mut line).unwrap();
        line.trim().parse::<i64>().unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((ask() - now).abs() < 5);
    cluster::set_clock(&clock, 3600.5);
    assert!((ask() - now - 3600).abs() < 10);
    drop(to);
    perl.wait().unwrap();
}

#[test]
fn a_disk_in_memory_is_full_at_its_size() {
    ground::enter();
    let dir = tempfile::tempdir().unwrap();
    ground::mount_memory(dir.path(), 1 << 20);
    let error = std::fs::write(dir.path().join("file"), vec![0; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    ground::unmount(dir.path());
}
