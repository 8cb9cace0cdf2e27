//! Leaks: descriptors and threads are counted, so each test runs in its own process.

use std::fs;
use std::thread;
use std::time::Instant;

use crate::common::outside::in_own_process;
use crate::common::raw::RawClient;
use crate::common::{PATIENCE, TestServer, noise};

/// Returns the number of descriptors and threads of this process.
fn count() -> (usize, usize) {
    let entries = |place| fs::read_dir(place).unwrap().count();
    (entries("/proc/self/fd"), entries("/proc/self/task"))
}

/// Maximum memory that the allocator may keep; a leak of a thousand sessions would be more.
const GROWN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Returns the resident memory of this process, in bytes.
fn memory() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Lets thirty clients connect, begin something and vanish.
fn round(server: &TestServer) {
    for number in 0..30 {
        let mut client = RawClient::log_in(server.address());
        client.extended_passive();
        let data = client.open_data();
        client.say(["RETR a", "STOR b", "LIST"][number % 3]);
        // Some leave before the reply, some after it, some with a data connection that is never used.
        if number % 2 == 0 {
            client.reply();
        }
        if number % 5 == 0 {
            client.say("EPSV");
        }
        drop(data);
    }
}

fn wait_for(before: (usize, usize)) {
    let deadline = Instant::now() + PATIENCE;
    while count() != before {
        assert!(
            Instant::now() < deadline,
            "(descriptors, threads): {before:?} before, {:?} after",
            count()
        );
        thread::yield_now();
    }
}

#[test]
fn descriptors_and_threads_are_as_before_after_transfers_and_hang_ups() {
    if !in_own_process() {
        return;
    }
    let server = TestServer::writable();
    server.write("a", noise(1_000_000));
    let before = count();
    // The first round makes allocations that are kept.
    round(&server);
    wait_for(before);
    let memory_before = memory();
    // More than a thousand transfers.
    for _ in 0..34 {
        round(&server);
    }
    wait_for(before);
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < GROWN_BYTES_MAX, "{grown} bytes more");
}
