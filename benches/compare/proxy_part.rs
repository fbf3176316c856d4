//! Proxies over the same three redis-servers: each has one processor to itself, the load and the servers behind share the others.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::load::{Load, Outcome, Pace, Span, drive};
use crate::machine::{Cores, RealTime, settle};
use crate::programs::NOT_ASKED_FOR;
use crate::proxies::{Backends, DIRECT, NAMES, PONTOON, Proxy, TWEMPROXY, start};
use crate::results::{Results, Sample, Wanted, percent};
use crate::speech::{Keys, Op, Resp, Speaker, Work};

const TWO_WORKERS: &str = "Pontoon, 2 workers";
const IDLE: &str = "memory of an idle connection";
/// Clients of a load whose rate is fixed.
const OPEN_CLIENTS: usize = 50;
const RATES: [f64; 2] = [5_000.0, 20_000.0];
const MULTI_GET: Op = Op::MultiGet(10);
/// A load that holds more than this at once measures the memory, not the proxy.
const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
/// Processors of the load that are busy for so much of their time bound the rate.
const LOAD_IS_THE_BOUND: f64 = 0.9;

/// One kind of load.
#[derive(Clone, Copy, PartialEq)]
struct Cell {
    op: Op,
    depth: usize,
    clients: usize,
    value_bytes: usize,
}

const BASE: Cell = Cell { op: Op::Get, depth: 1, clients: 64, value_bytes: 100 };

impl Cell {
    fn name(self) -> String {
        let op = match self.op {
            Op::Get => "GET".to_owned(),
            Op::Set => "SET".to_owned(),
            Op::MultiGet(count) => format!("MGET of {count}"),
        };
        let size = if self.value_bytes < 1024 {
            format!("{} B", self.value_bytes)
        } else {
            format!("{} KiB", self.value_bytes / 1024)
        };
        format!("{op}, pipeline {}, {} clients, {size}", self.depth, self.clients)
    }

    fn is_sensible(self) -> bool {
        self.depth * self.clients * self.value_bytes <= IN_FLIGHT_BYTES_MAX
    }
}

/// What is loaded how: everything crossed with everything in a whole run, else one thing changed at a time.
fn cells(plan: &Plan) -> Vec<Cell> {
    let ops = [Op::Get, Op::Set];
    let of_both = |cell: Cell| ops.map(|op| Cell { op, ..cell });
    if plan.is_brief {
        return [1, 32].into_iter().flat_map(|depth| of_both(Cell { depth, ..BASE })).collect();
    }
    let (depths, clients, sizes) = ([1, 16, 32], [64, 1, 256, 1_000], [100, 1024, 100 * 1024]);
    let mut all = Vec::new();
    for value_bytes in sizes {
        for clients in clients {
            for depth in depths {
                let changed = [value_bytes != 100, clients != 64, depth != 1].into_iter().filter(|is| *is).count();
                if plan.is_whole || changed <= 1 {
                    all.extend(of_both(Cell { op: Op::Get, depth, clients, value_bytes }));
                }
            }
        }
    }
    all.retain(|cell| cell.is_sensible());
    all
}

fn keys(value_bytes: usize) -> u64 {
    ((50 << 20) / value_bytes as u64).clamp(500, 100_000)
}

fn work(cell: Cell) -> Work {
    Work { op: cell.op, value_bytes: cell.value_bytes, keys: Keys::Any(keys(cell.value_bytes)) }
}

/// Puts every key on every server, so that any proxy finds it wherever it looks.
fn fill(backends: &Backends, value_bytes: usize) -> Result<(), String> {
    for port in &backends.ports {
        fill_one(*port, value_bytes)?;
    }
    Ok(())
}

fn fill_one(port: u16, value_bytes: usize) -> Result<(), String> {
    let work = Work { op: Op::Set, value_bytes, keys: Keys::Each };
    let speaker = |client| Box::new(Resp::new(work, client, None)) as Box<dyn Speaker>;
    let (pace, span) = (Pace::Closed { depth: 50 }, Span::Requests(keys(value_bytes)));
    drive(&Load { ports: &[port], clients: 1, pace, span, speaker: &speaker }, &|| Duration::ZERO)?;
    Ok(())
}

fn measure(proxy: &Proxy, cell: Cell, pace: Pace, plan: &Plan, cores: &Cores) -> Result<Outcome, String> {
    let speaker = |client| Box::new(Resp::new(work(cell), client, None)) as Box<dyn Speaker>;
    let load = Load { ports: &[proxy.port], clients: cell.clients, pace, span: plan.span(), speaker: &speaker };
    let idle = RefCell::new(Vec::new());
    let mut outcome = drive(&load, &|| {
        idle.borrow_mut().push((Instant::now(), cores.others_idle()));
        proxy.process.cpu()
    })?;
    if let [(began, before), .., (ended, after)] = idle.into_inner()[..] {
        let idle = after.saturating_sub(before).as_secs_f64() / (ended - began).as_secs_f64();
        outcome.load_busy = Some((1.0 - idle).max(0.0));
    }
    Ok(outcome)
}

/// All of the part.
pub fn run(plan: &Plan, cores: &Cores, dir: &Path, results: &mut Results) -> Result<(), String> {
    let backends = Backends::start(dir, cores, plan.connections_max)?;
    let mut proxies = Vec::new();
    for name in NAMES {
        match start(name, dir, &cores.one, 1, &backends) {
            Ok(proxy) => proxies.push(proxy),
            Err(why) if why == NOT_ASKED_FOR => {}
            Err(why) => results.note(format!("{name} is left out: {why}")),
        }
    }
    results.note(format!(
        "{DIRECT} is a fourth one in the proxies' place, on their processor: the limit. haproxy does not split an MGET."
    ));
    let cells = if plan.has("rates") { cells(plan) } else { vec![BASE] };
    let mut sizes: Vec<usize> = cells.iter().map(|cell| cell.value_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        fill(&backends, size)?;
        if let Some(direct) = proxies.iter().find(|proxy| proxy.name == DIRECT) {
            fill_one(direct.port, size)?;
        }
    }
    settle(plan.pause);
    if plan.has("rates") {
        for cell in cells {
            rounds(&proxies, cell, plan, cores, results);
        }
    }
    if plan.has("mget") {
        rounds(&proxies, Cell { op: MULTI_GET, ..BASE }, plan, cores, results);
    }
    if plan.has("latency") {
        latencies(&proxies, &backends, plan, cores, results);
    }
    if plan.has("cores") && proxies.iter().any(|proxy| proxy.name == PONTOON) {
        let two = start(PONTOON, dir, &cores.two, 2, &backends)?;
        second_core(&proxies, Proxy { name: TWO_WORKERS, ..two }, plan, cores, results);
    }
    if plan.has("idle") {
        for proxy in &proxies {
            idle(proxy.name, dir, &cores.one, &backends, plan, results);
        }
    }
    floors(plan, cores, results);
    Ok(())
}

/// Each round measures every proxy once, so that what the machine does meanwhile hits all.
fn rounds(proxies: &[Proxy], cell: Cell, plan: &Plan, cores: &Cores, results: &mut Results) {
    for _ in 0..plan.rounds {
        for proxy in proxies {
            let pace = Pace::Closed { depth: cell.depth };
            results.add(&cell.name(), proxy.name, measure(proxy, cell, pace, plan, cores));
        }
    }
}

fn rate_name(rate: f64) -> String {
    format!("GET at {rate:.0}/s")
}

/// Everything that takes part goes before whatever else the machine does.
fn latencies(proxies: &[Proxy], backends: &Backends, plan: &Plan, cores: &Cores, results: &mut Results) {
    let mut pids: Vec<u32> = proxies.iter().map(|proxy| proxy.process.pid()).collect();
    pids.extend(backends.servers.iter().map(|server| server.pid()));
    pids.push(std::process::id());
    let real_time = RealTime::of(pids);
    if !real_time.permitted {
        results.note("real-time priority is not permitted here: percentiles show the machine's noise".to_owned());
    }
    let cell = Cell { clients: OPEN_CLIENTS, ..BASE };
    for rate in RATES {
        for _ in 0..plan.rounds {
            for proxy in proxies {
                let outcome = measure(proxy, cell, Pace::Open { per_second: rate }, plan, cores);
                results.add(&rate_name(rate), proxy.name, outcome);
            }
        }
    }
}

fn second_core(proxies: &[Proxy], two: Proxy, plan: &Plan, cores: &Cores, results: &mut Results) {
    let both = || proxies.iter().filter(|proxy| proxy.name == PONTOON).chain([&two]);
    for depth in [1, 32] {
        for _ in 0..plan.rounds {
            for proxy in both() {
                let cell = Cell { depth, clients: 256, ..BASE };
                let outcome = measure(proxy, cell, Pace::Closed { depth }, plan, cores);
                results.add(&second_core_name(depth), proxy.name, outcome);
            }
        }
    }
}

fn second_core_name(depth: usize) -> String {
    format!("second core: GET, pipeline {depth}, 256 clients, 100 B")
}

/// What a fresh process has more after many connections, each of which asked once.
fn idle(name: &'static str, dir: &Path, cores: &str, backends: &Backends, plan: &Plan, results: &mut Results) {
    let measured = start(name, dir, cores, 1, backends).and_then(|proxy| {
        let ask = |count: usize| -> Result<Vec<TcpStream>, String> {
            (0..count).map(|_| one_request(proxy.port).map_err(|error| error.to_string())).collect()
        };
        let first = ask(1)?;
        settle(plan.pause);
        let before = proxy.process.memory_bytes();
        let connections = ask(plan.idle_connections)?;
        settle(plan.pause);
        let more = proxy.process.memory_bytes().saturating_sub(before);
        drop((first, connections));
        Ok(more as f64 / 1024.0 / plan.idle_connections as f64)
    });
    match measured {
        Ok(kib) => results.add_amount(IDLE, name, "KiB", kib),
        Err(why) => results.note(format!("{IDLE}, {name}: not measured: {why}")),
    }
}

fn one_request(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n")?;
    stream.read_exact(&mut [0; 5])?;
    Ok(stream)
}

fn floors(plan: &Plan, cores: &Cores, results: &mut Results) {
    let cpu = |sample: &Sample| sample.cpu_us;
    let rate = |sample: &Sample| sample.per_second;
    let ratio =
        |results: &Results, work: &str, of: fn(&Sample) -> f64| results.ratio([work, PONTOON], [work, TWEMPROXY], of);
    if plan.has("rates") {
        for (depth, cpu_floor, rate_floor) in [(1, 0.7, 1.2), (32, 0.5, 1.5)] {
            for op in [Op::Get, Op::Set] {
                let name = Cell { op, depth, ..BASE }.name();
                let (of_cpu, of_rate) = (ratio(results, &name, cpu), ratio(results, &name, rate));
                results.floor(&format!("{name}: CPU"), Wanted::AtMost(cpu_floor), of_cpu, "x twemproxy");
                rate_floors(results, &name, rate_floor, of_rate, of_cpu);
            }
        }
    }
    if plan.has("latency") {
        for rate in RATES {
            let name = rate_name(rate);
            let p50 = ratio(results, &name, |sample| sample.p50.as_secs_f64());
            let p99 = ratio(results, &name, |sample| sample.p99.as_secs_f64());
            results.floor(&format!("{name}: p50"), Wanted::AtMost(1.0), p50, "x twemproxy");
            results.floor(&format!("{name}: p99"), Wanted::AtMost(1.0), p99, "x twemproxy");
        }
    }
    if plan.has("mget") {
        let name = Cell { op: MULTI_GET, ..BASE }.name();
        let measured = ratio(results, &name, cpu);
        results.floor(&format!("{name}: CPU"), Wanted::AtMost(0.8), measured, "x twemproxy");
    }
    if plan.has("cores") {
        for depth in [1, 32] {
            let name = second_core_name(depth);
            let both = |of: fn(&Sample) -> f64| results.ratio([&name, TWO_WORKERS], [&name, PONTOON], of);
            // Where the load has no processor to itself, two workers cannot be kept busy: what each request costs them tells
            // what they could do.
            let (how, measured) =
                if cores.are_many { ("rate", both(rate)) } else { ("by CPU time", both(cpu).map(|ratio| 2.0 / ratio)) };
            results.floor(&format!("{name}: {how}"), Wanted::AtLeast(1.7), measured, "x one worker");
        }
    }
    if plan.has("idle") {
        let measured = results.median(IDLE, PONTOON, |sample| sample.amount);
        results.floor(IDLE, Wanted::AtMost(2.0), measured, " KiB");
    }
}

/// A rate that is missed while the processors of the load have nothing left tells nothing of the proxy. What its own processor allows is
/// then told by what a request costs it: by less than the truth, since one that had no time left would gather more at once.
fn rate_floors(results: &mut Results, name: &str, floor: f64, of_rate: Option<f64>, of_cpu: Option<f64>) {
    results.floor(&format!("{name}: rate"), Wanted::AtLeast(floor), of_rate, "x twemproxy");
    let busy = results.load_busy(name, PONTOON).filter(|busy| *busy >= LOAD_IS_THE_BOUND);
    if let Some(busy) = busy.filter(|_| of_rate.is_some_and(|rate| rate < floor)) {
        results.leave_open(&format!("the load's processors were {} busy", percent(busy)));
        let by_cpu = of_cpu.map(|ratio| 1.0 / ratio);
        results.floor(&format!("{name}: rate by CPU time"), Wanted::AtLeast(floor), by_cpu, "x twemproxy");
    }
}

/// The servers that ratios divide by, the first that was measured.
pub const BASES: [&str; 2] = [TWEMPROXY, PONTOON];
