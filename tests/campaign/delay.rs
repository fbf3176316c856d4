//! Packets that take their time: where the kernel has no netem, routes lead through a TUN device into the test, which
//! hands each packet to the other host's device when its time has come.
//!
//! Addresses and connections stay as they are: only the way is longer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ground::{Host, missing};

const DEVICE: &str = "slow0";
const MTU_BYTES: usize = 1500;
/// More than that are lost, as on a real link.
const PACKETS_WAITING_MAX: usize = 10_000;

/// A longer way between hosts, for as long as it lives.
pub struct Delay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Delay {
    /// Between each two of the hosts, one way.
    pub fn between(hosts: &[&Host], delay: Duration) -> Self {
        let ends: Vec<(Ipv4Addr, File)> = hosts.iter().map(|host| (host.address, device(host))).collect();
        for host in hosts {
            host.ip(&["link", "set", DEVICE, "up", "mtu", &MTU_BYTES.to_string()]);
            for other in hosts.iter().filter(|other| other.address != host.address) {
                let (to, from) = (format!("{}/32", other.address), host.address.to_string());
                host.ip(&["route", "add", &to, "dev", DEVICE, "src", &from]);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || carry(ends, delay, &stop)
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Delay {
    /// The devices go with their descriptors, the routes with the devices.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.into_iter().for_each(|ended| ended.expect("the carrier of packets"));
        }
    }
}

/// Makes the device; it lives as long as what is returned.
fn device(host: &Host) -> File {
    host.inside(|| {
        // Packets come from addresses that the routes would not expect there.
        for which in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv4/conf/{which}/rp_filter");
            std::fs::write(&path, "0").unwrap_or_else(|e| missing(&path, e));
        }
        let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let tun = tun.unwrap_or_else(|e| missing("delay: neither netem nor /dev/net/tun", e));
        // The layout of `struct ifreq`: a name, then flags.
        let mut request = [0_u8; 40];
        request[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
        let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: the request is as large as the kernel's structure and outlives the calls.
        let done = unsafe {
            libc::fcntl(tun.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr())
        };
        if done != 0 {
            missing("TUN devices", io::Error::last_os_error());
        }
        tun
    })
}

fn carry(ends: Vec<(Ipv4Addr, File)>, delay: Duration, stop: &AtomicBool) {
    let mut waiting: VecDeque<(Instant, usize, Vec<u8>)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let next = waiting.front().map(|(due, ..)| due.saturating_duration_since(Instant::now()));
        let patience_ms = next.map_or(50, |left| (left.as_micros().div_ceil(1000) as i32).min(50));
        let mut polled: Vec<libc::pollfd> =
            ends.iter().map(|(_, f)| libc::pollfd { fd: f.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
        // SAFETY: the array lives during the call and has the length that is told.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, patience_ms) };
        for (_, device) in &ends {
            let mut device = device;
            let mut packet = [0; 2 * MTU_BYTES];
            while let Ok(length @ 20..) = device.read(&mut packet) {
                let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
                let end = ends.iter().position(|(address, _)| *address == to);
                if let Some(end) = end.filter(|_| packet[0] >> 4 == 4 && waiting.len() < PACKETS_WAITING_MAX) {
                    waiting.push_back((Instant::now() + delay, end, packet[..length].to_vec()));
                }
            }
        }
        let due = waiting.partition_point(|(due, ..)| *due <= Instant::now());
        for (_, end, packet) in waiting.drain(..due) {
            // A packet that the device does not take is lost, as on a real link.
            let _ = (&ends[end].1).write(&packet);
        }
    }
}
