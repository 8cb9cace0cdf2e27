//! The pool on one thread, with a virtual clock and a readiness source of our own: one seed, one history.
//!
//! The poller's wait is where the others live: while it sleeps, workers take steps, descriptors fire and time passes, in
//! an order drawn from the seed. After each step every task is in exactly one place, no deadline has passed unserved and
//! nobody waited longer than the fairness rule allows.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;

use super::floor::{Floor, Readiness};
use super::lot::Token;
use super::ready::{INTERACTIVE_STREAK_MAX, Lane, Picker};
use super::task::{Admitted, Class, Task, Turn, Watch};

const SEEDS: u64 = 1000;
const STEPS_PER_WAIT_MAX: u64 = 30;
const WAITS: u64 = 60;

/// Deterministic numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}

struct World {
    draw: Draw,
    now: Instant,
    armed: Vec<(Token, Class)>,
    poked: bool,
    pickers: Vec<Picker>,
    tasks_left_to_admit: u32,
    alive: u32,
    workers: u64,
    /// Turns taken so far by the workers that take both lanes. The others only help, so fairness does not count them.
    turns: u64,
}

type Shared = Arc<Mutex<World>>;

struct Simulated {
    world: Shared,
    floor: OnceLock<std::sync::Weak<Floor<Self>>>,
    alive: Sender<Infallible>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Simulated")
    }
}

/// A task whose every turn ends as the seed says.
struct Scripted {
    world: Shared,
    queued_at: u64,
    queued_behind: u64,
    class: Option<Class>,
    parked_until: Option<Instant>,
}

impl Scripted {
    fn new(world: &Shared) -> Self {
        Self {
            world: Arc::clone(world),
            queued_at: 0,
            queued_behind: 0,
            class: None,
            parked_until: None,
        }
    }
}

impl Task for Scripted {
    fn turn(&mut self, now: Instant, class: Class) -> Turn {
        let mut world = self.world.lock();
        assert_eq!(now, world.now);
        if let Some(queued_as) = self.class.take() {
            assert_eq!(class, queued_as);
            let waited = world.turns - self.queued_at;
            let bound =
                (self.queued_behind + 1) * u64::from(INTERACTIVE_STREAK_MAX + 1) * world.workers;
            assert!(
                waited <= bound,
                "{class:?} waited {waited} turns behind {}",
                self.queued_behind
            );
        }
        if let Some(until) = self.parked_until.take() {
            assert!(now <= until + Duration::from_millis(1), "a deadline passed unserved");
        }
        match world.draw.below(10) {
            0 => {
                world.alive -= 1;
                Turn::Done
            }
            1 => {
                world.alive -= 1;
                drop(world);
                std::panic::resume_unwind(Box::new("a task that panics"));
            }
            2..=4 => {
                let class = if world.draw.below(2) == 0 { Class::Interactive } else { Class::Bulk };
                self.queued_at = world.turns;
                self.queued_behind = u64::from(world.alive);
                self.class = Some(class);
                Turn::Again(class)
            }
            _ => {
                let until = now + Duration::from_millis(world.draw.below(50));
                self.parked_until = Some(until);
                Turn::Park { until }
            }
        }
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
}

impl Simulated {
    /// One thing that happens while the poller sleeps; `true` ends the sleep.
    fn step(&self, until: Option<Instant>, fired: &mut Vec<(Token, Class)>) -> bool {
        let floor = self.floor.get().unwrap().upgrade().unwrap();
        let mut world = self.world.lock();
        match world.draw.below(8) {
            0 if !world.armed.is_empty() => {
                let limit = world.armed.len() as u64;
                let which = usize::try_from(world.draw.below(limit)).unwrap();
                let event = world.armed.swap_remove(which);
                fired.push(event);
                return true;
            }
            1 => {
                // Time passes, but only over work that is done: a worker's step takes none in this world.
                let next = world.now + Duration::from_millis(world.draw.below(20));
                drop(world);
                while self.worker_step(&floor) {}
                world = self.world.lock();
                if world.poked {
                    return true;
                }
                world.now = until.map_or(next, |until| until.min(next)).max(world.now);
                let (_, _, deadline) = floor.census();
                assert!(
                    deadline.is_none_or(|deadline| deadline >= world.now),
                    "the poller overslept"
                );
                return until == Some(world.now);
            }
            2 if world.tasks_left_to_admit > 0 => {
                world.tasks_left_to_admit -= 1;
                world.alive += 1;
                drop(world);
                floor
                    .admit(Admitted::new(Box::new(Scripted::new(&self.world)), self.alive.clone()));
            }
            3 if world.draw.below(10) == 0 => {
                drop(world);
                floor.rouse();
                assert_eq!(floor.census().1, 0, "nobody is left parked");
            }
            _ => {
                drop(world);
                self.worker_step(&floor);
            }
        }
        let world = self.world.lock();
        let (ready, parked, _) = floor.census();
        assert_eq!(ready + parked, world.alive as usize, "each task is in exactly one place");
        world.poked
    }

    fn worker_step(&self, floor: &Floor<Self>) -> bool {
        let (now, mut picker) = {
            let mut world = self.world.lock();
            let limit = world.pickers.len() as u64;
            // Any worker may be the next, but one that takes both lanes must come in the end.
            let which = usize::try_from(world.draw.below(limit)).unwrap();
            let last = world.pickers.len() - 1;
            world.pickers.swap(which, last);
            (world.now, world.pickers.pop().unwrap())
        };
        if picker.lane() == Lane::Both && floor.census().0 > 0 {
            self.world.lock().turns += 1;
        }
        let worked = floor.try_work(&mut picker, now);
        self.world.lock().pickers.push(picker);
        worked || floor.census().0 > 0
    }
}

impl Readiness for Simulated {
    fn arm(&self, token: Token, _: &Watch<'_>) -> io::Result<()> {
        let mut world = self.world.lock();
        if world.draw.below(50) == 0 {
            world.alive -= 1;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let class = if world.draw.below(2) == 0 { Class::Interactive } else { Class::Bulk };
        world.armed.push((token, class));
        Ok(())
    }

    fn wait(&self, until: Option<Instant>, fired: &mut Vec<(Token, Class)>) -> io::Result<()> {
        self.world.lock().poked = false;
        for _ in 0..STEPS_PER_WAIT_MAX {
            if self.step(until, fired) {
                break;
            }
        }
        Ok(())
    }

    fn poke(&self) {
        self.world.lock().poked = true;
    }
}

fn simulate(seed: u64) -> (u64, Receiver<Infallible>) {
    let (alive, gone) = bounded(0);
    let mut draw = Draw(seed);
    let workers = 1 + draw.below(4);
    let pickers = (0..workers)
        .map(|number| {
            Picker::new(if number == 0 && workers > 1 { Lane::InteractiveOnly } else { Lane::Both })
        })
        .collect();
    let world = Arc::new(Mutex::new(World {
        tasks_left_to_admit: u32::try_from(1 + draw.below(40)).unwrap(),
        draw,
        now: start(),
        armed: Vec::new(),
        poked: false,
        pickers,
        alive: 0,
        turns: 0,
        workers,
    }));
    let simulated = Simulated { world: Arc::clone(&world), floor: OnceLock::new(), alive };
    let floor = Arc::new(Floor::new(simulated));
    floor.readiness().floor.set(Arc::downgrade(&floor)).unwrap();
    let mut fired = Vec::new();
    for _ in 0..WAITS {
        let clock = || world.lock().now;
        assert!(floor.poll(&mut fired, clock).unwrap());
    }
    floor.close();
    assert!(!floor.poll(&mut fired, start).unwrap());
    floor.clear();
    assert_eq!(floor.census(), (0, 0, None), "after shutdown nothing remains");
    (world.lock().turns, gone)
}

#[allow(clippy::disallowed_methods, reason = "a virtual clock must begin somewhere")]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[test]
fn in_every_history_each_task_is_in_one_place_and_no_deadline_or_turn_is_missed() {
    // One history alone: POOLFTPD_SEED=17 cargo test --lib simulation
    let seeds = match std::env::var("POOLFTPD_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 0..=SEEDS,
    };
    let mut turns = 0;
    for seed in seeds {
        let history = std::panic::catch_unwind(|| simulate(seed));
        let (of_seed, gone) =
            history.unwrap_or_else(|_| panic!("in the history of POOLFTPD_SEED={seed}"));
        assert_eq!(
            gone.try_recv(),
            Err(TryRecvError::Disconnected),
            "seed {seed}: a task outlived the pool"
        );
        turns += of_seed;
    }
    assert!(turns > 0);
}

#[test]
fn bulk_gets_a_turn_after_a_bounded_streak_of_interactive_turns() {
    struct Ever(Class, Arc<Mutex<Vec<Class>>>);
    impl Task for Ever {
        fn turn(&mut self, _: Instant, _: Class) -> Turn {
            self.1.lock().push(self.0);
            Turn::Again(self.0)
        }
        fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
    }
    #[derive(Debug)]
    struct Never;
    impl Readiness for Never {
        fn arm(&self, _: Token, _: &Watch<'_>) -> io::Result<()> {
            Ok(())
        }
        fn wait(&self, _: Option<Instant>, _: &mut Vec<(Token, Class)>) -> io::Result<()> {
            Ok(())
        }
        fn poke(&self) {}
    }
    let (alive, _gone) = bounded(0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let floor = Floor::new(Never);
    for class in [Class::Interactive, Class::Interactive, Class::Bulk] {
        floor.admit(Admitted::new(Box::new(Ever(class, Arc::clone(&log))), alive.clone()));
    }
    let mut picker = Picker::new(Lane::Both);
    for _ in 0..(INTERACTIVE_STREAK_MAX as usize + 1) * 10 {
        assert!(floor.try_work(&mut picker, start()));
    }
    let bulk = log.lock().iter().filter(|class| **class == Class::Bulk).count();
    assert!((9..=11).contains(&bulk), "{bulk} of ten");
}
