//! A model of the pool on machines that are larger than ours: where the first bottleneck is.
//!
//! `cargo bench --bench model` measures each step of the scheduler on this machine, takes the processor time of the
//! operations from the constants below, and simulates the pool with more workers. It prints the tables of
//! docs/performance.md. The model has no noise, no memory bandwidth and no network stack with limits of its own.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measure of time on a terminal"
)]

mod cost;
mod world;

use cost::Costs;
use world::{Class, Load, Outcome, Time, Turn, World};

const CORES: [usize; 4] = [2, 8, 32, 128];

/// The time from a reply to the client's next command: a network of a data centre.
const AWAY: Time = 100_000;

/// Sessions for each core, so that no core lacks work.
const SESSIONS_PER_CORE: usize = 100;

/// The workers of a pool in the tables with several pools.
const POOL: usize = 8;

const SIMULATED: Time = 50_000_000;

// The processor time of the server for one operation, in nanoseconds, less the steps of the scheduler. docs/performance.md has
// the commands that measured them.
const COMMAND: Time = 11_000;
const SMALL_FILE: Time = 70_000;
const LOGIN: Time = 58_000;
/// The part of a login that the thread which accepts takes.
const ACCEPT: Time = 32_000;
/// One turn of a download: 256 KiB.
const BULK_TURN: Time = 34_000;
const BULK_BYTES: f64 = 256.0 * 1024.0;

/// Seconds of processor time for a GB, plain and over TLS: RETR and STOR.
const GIGABYTE: [(&str, f64); 4] =
    [("RETR", 0.13), ("STOR", 0.40), ("RETR over TLS", 0.41), ("STOR over TLS", 1.23)];

/// Networks, in Gbit/s.
const NETWORKS: [f64; 3] = [10.0, 100.0, 400.0];

/// Sessions in all, of which a few have a command under way.
const CROWDS: [usize; 3] = [10_000, 100_000, 1_000_000];

/// The memory of an idle session in bytes, in the server and in the kernel.
const SESSION_BYTES: f64 = (0.95 + 4.1) * 1024.0;

fn main() {
    let costs = Costs::measure(10_000);
    println!("| step | ns |\n| --- | --- |");
    for (step, time) in [
        ("look at the epoll set", costs.look),
        ("take an event", costs.event),
        ("arm a descriptor", costs.arm),
        ("park among 10,000 deadlines", costs.park),
        ("wake", costs.wake),
        ("ready queue", costs.queue),
        ("a lock from core to core", costs.hand_over),
        ("wake an idle worker", costs.wake_up),
    ] {
        println!("| {step} | {time} |");
    }
    let crowds = CROWDS.map(|parked| (parked, Costs::measure(parked)));
    for (parked, costs) in &crowds {
        println!("| park or wake among {parked} deadlines | {} |", costs.park);
    }
    println!();
    print_rates(&costs);
    println!();
    print_latency(&costs);
    println!();
    print_networks();
    println!();
    print_crowds(&crowds);
}

/// The number of cores that fill a network.
fn print_networks() {
    println!("| cores for |{} |", GIGABYTE.map(|(name, _)| format!(" {name}")).join(" |"));
    println!("| --- |{}", " --- |".repeat(GIGABYTE.len()));
    for network in NETWORKS {
        let cores = GIGABYTE.map(|(_, seconds)| format!(" {}", figure(network / 8.0 * seconds)));
        println!("| {network} Gbit/s |{} |", cores.join(" |"));
    }
}

/// Memory, and commands a second in pools of eight workers, while this number of sessions is logged in.
fn print_crowds(crowds: &[(usize, Costs)]) {
    let cores = CORES.map(|cores| format!(" {cores} cores")).join(" |");
    println!("| sessions | memory, GB |{cores} |\n| --- | --- |{}", " --- |".repeat(CORES.len()));
    for (sessions, costs) in crowds {
        let rates = CORES.map(|cores| {
            let pools = (cores / POOL).max(1);
            let rate = simulate(cores.min(POOL), &[interactive(COMMAND)], 0, costs).rate;
            format!(" {}", figure(rate * pools as f64))
        });
        let memory = figure(*sessions as f64 * SESSION_BYTES / 1e9);
        println!("| {sessions} | {memory} |{} |", rates.join(" |"));
    }
}

fn interactive(work: Time) -> Turn {
    Turn { class: Class::Interactive, work, away: AWAY }
}

fn operations() -> [(&'static str, Vec<Turn>, Time); 4] {
    let bulk = Turn { class: Class::Bulk, work: BULK_TURN, away: 0 };
    [
        ("commands", vec![interactive(COMMAND)], 0),
        ("files of 1 KiB", vec![interactive(SMALL_FILE / 2); 2], 0),
        ("logins", vec![interactive(LOGIN / 3); 3], ACCEPT),
        ("downloads, GB", vec![bulk], 0),
    ]
}

/// Operations a second in one pool, and in pools of eight workers, with the most used serial part of one pool.
fn print_rates(costs: &Costs) {
    println!("| a second | cores | linear | one pool | most used part | pools of {POOL} |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, turns, accept) in operations() {
        let alone = simulate(1, &turns, accept, costs).rate;
        let unit = if name.starts_with("downloads") { BULK_BYTES / 1e9 } else { 1.0 };
        for cores in CORES {
            let Outcome { rate, bottleneck: (part, share), .. } =
                simulate(cores, &turns, accept, costs);
            let apart = if cores > POOL {
                simulate(POOL, &turns, accept, costs).rate * (cores / POOL) as f64
            } else {
                rate
            };
            println!(
                "| {name} | {cores} | {} | {} | {part} {:.0} % | {} |",
                figure(alone * cores as f64 * unit),
                figure(rate * unit),
                share * 100.0,
                figure(apart * unit),
            );
        }
    }
}

/// The time that commands take at half of the rate that the pool reaches.
fn print_latency(costs: &Costs) {
    println!("| cores | commands a second, half of the most | p99 µs |\n| --- | --- | --- |");
    for cores in CORES {
        let most = simulate(cores, &[interactive(COMMAND)], 0, costs).rate;
        let sessions = cores * SESSIONS_PER_CORE;
        let away = (sessions as f64 / (most / 2.0) * 1e9) as Time;
        let turn = Turn { away, ..interactive(COMMAND) };
        let load = Load { turns: &[turn], sessions, accept: 0 };
        let Outcome { rate, p99, .. } = World::new(cores, &load, costs).run(SIMULATED);
        println!("| {cores} | {} | {:.0} |", figure(rate), p99 as f64 / 1e3);
    }
}

fn simulate(cores: usize, turns: &[Turn], accept: Time, costs: &Costs) -> Outcome {
    let load = Load { turns, sessions: cores * SESSIONS_PER_CORE, accept };
    World::new(cores, &load, costs).run(SIMULATED)
}

/// Returns a number with three digits that count.
fn figure(number: f64) -> String {
    let digits = (3 - number.abs().log10().ceil() as i32).max(0) as usize;
    if number >= 1e6 {
        format!("{:.2} million", number / 1e6)
    } else {
        format!("{number:.digits$}")
    }
}
