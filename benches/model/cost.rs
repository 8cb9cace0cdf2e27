//! The time of each step of the scheduler, measured on this machine, alone and without contention.

use std::collections::BTreeSet;
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

const RUNS: u32 = 7;

/// Nanoseconds of each step.
pub(crate) struct Costs {
    /// A call of `epoll_wait` that takes no event. The kernel holds a lock of the epoll set.
    pub(crate) look: u64,
    /// Each event that it takes.
    pub(crate) event: u64,
    /// A call of `epoll_ctl` that arms a descriptor again. The kernel holds the same lock, and the lot is locked, too.
    pub(crate) arm: u64,
    /// A task into the lot, with its deadline.
    pub(crate) park: u64,
    /// A task out of the lot.
    pub(crate) wake: u64,
    /// A task through the ready queue.
    pub(crate) queue: u64,
    /// A lock that goes from one core to another.
    pub(crate) hand_over: u64,
    /// The time until an idle worker runs.
    pub(crate) wake_up: u64,
}

impl Costs {
    /// Measures all steps, with this number of parked tasks.
    pub(crate) fn measure(parked: usize) -> Self {
        let look = look();
        let lot = deadlines(parked);
        Self {
            look,
            event: look_with_event().saturating_sub(look),
            arm: arm(),
            park: lot / 2,
            wake: lot / 2,
            queue: queue(),
            hand_over: hand_over(),
            wake_up: wake_up(),
        }
    }
}

/// Returns the nanoseconds of one of `count` rounds, the fastest of several runs.
fn fastest(count: u32, mut rounds: impl FnMut(u32)) -> u64 {
    let took = |_| {
        let begun = Instant::now();
        rounds(count);
        begun.elapsed()
    };
    let fastest = (0..RUNS).map(took).min().unwrap_or_default();
    u64::try_from(fastest.as_nanos() / u128::from(count)).unwrap_or(u64::MAX)
}

fn look() -> u64 {
    let set = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 64];
    fastest(20_000, |count| {
        for _ in 0..count {
            let _events = epoll::wait(&set, &mut events, Some(&Timespec::default())).unwrap();
        }
    })
}

/// A look that takes the event of a connection that is readable.
fn look_with_event() -> u64 {
    let (set, mut events) = (
        epoll::create(CreateFlags::CLOEXEC).unwrap(),
        [const { MaybeUninit::<epoll::Event>::uninit() }; 64],
    );
    let (one, mut other) = connection();
    other.write_all(b"NOOP\r\n").unwrap();
    epoll::add(&set, &one, EventData::new_u64(1), EventFlags::IN).unwrap();
    fastest(20_000, |count| {
        for _ in 0..count {
            let (taken, _) = epoll::wait(&set, &mut events, Some(&Timespec::default())).unwrap();
            assert_eq!(taken.len(), 1);
        }
    })
}

fn arm() -> u64 {
    let set = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let (one, _other) = connection();
    let flags = EventFlags::IN | EventFlags::ONESHOT;
    epoll::add(&set, &one, EventData::new_u64(1), flags).unwrap();
    fastest(20_000, |count| {
        for round in 0..count {
            epoll::modify(&set, &one, EventData::new_u64(u64::from(round)), flags).unwrap();
        }
    })
}

/// A deadline into the set of deadlines, and another one out of it.
fn deadlines(parked: usize) -> u64 {
    let begun = Instant::now();
    let mut next = 0;
    let mut later = || {
        next += 1;
        (begun + Duration::from_micros(next * 7_919 % 300_000_000), next)
    };
    let mut set: BTreeSet<(Instant, u64)> = (0..parked).map(|_| later()).collect();
    let mut known: Vec<(Instant, u64)> = set.iter().copied().collect();
    let length = known.len();
    fastest(20_000, |count| {
        for round in 0..count as usize {
            let slot = &mut known[round * 104_729 % length];
            set.remove(black_box(slot));
            *slot = later();
            set.insert(*slot);
        }
    })
}

fn queue() -> u64 {
    let (sender, receiver) = unbounded();
    fastest(100_000, |count| {
        for round in 0..count {
            sender.send(Box::new(round)).unwrap();
            black_box(receiver.try_recv().unwrap());
        }
    })
}

/// A cache line that goes from one core to another: two threads wait for each other without sleeping.
fn hand_over() -> u64 {
    let turn = Arc::new(AtomicU32::new(0));
    let rounds = 20_000 * RUNS;
    let other = {
        let turn = Arc::clone(&turn);
        thread::spawn(move || take_turns(&turn, 1, rounds))
    };
    let mut begun = 0;
    let both = fastest(20_000, |count| {
        for round in begun..begun + count {
            take_turn(&turn, round * 2);
        }
        begun += count;
    });
    other.join().unwrap();
    both / 2
}

fn take_turns(turn: &AtomicU32, first: u32, rounds: u32) {
    (0..rounds).for_each(|round| take_turn(turn, first + round * 2));
}

fn take_turn(turn: &AtomicU32, mine: u32) {
    while turn.load(Ordering::Acquire) != mine {
        spin_loop();
    }
    turn.store(mine + 1, Ordering::Release);
}

/// Two threads that wake each other through an eventfd; half of a round.
fn wake_up() -> u64 {
    let make = || std::fs::File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let (there, back) = (make(), make());
    let rounds = 2_000 * RUNS;
    let other = {
        let (there, back) = (there.try_clone().unwrap(), back.try_clone().unwrap());
        thread::spawn(move || (0..rounds).for_each(|_| answer(&there, &back)))
    };
    let both = fastest(2_000, |count| {
        for _ in 0..count {
            (&there).write_all(&1_u64.to_ne_bytes()).unwrap();
            (&back).read_exact(&mut [0; 8]).unwrap();
        }
    });
    other.join().unwrap();
    both / 2
}

fn answer(mut there: &std::fs::File, mut back: &std::fs::File) {
    there.read_exact(&mut [0; 8]).unwrap();
    back.write_all(&1_u64.to_ne_bytes()).unwrap();
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}
