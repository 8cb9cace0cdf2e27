//! The pool on one thread, with a virtual clock and a readiness source of our own: one seed gives one history.
//!
//! Workers take steps, descriptors fire and time passes, in an order drawn from the seed. After each step, every task
//! is in exactly one place, no deadline has passed unserved, and no task waited longer than the fairness rule allows.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;

use super::lot::Token;
use super::ready::INTERACTIVE_STREAK_MAX;
use super::scheduler::{Alarm, Readiness, Scheduler, WaitMode, WorkerState};
use super::task::{Admitted, Class, Task, Turn, Watch};

const SEEDS: u64 = 1000;
const STEPS: u64 = 1000;

/// A generator of deterministic numbers (splitmix64).
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
    /// The events that have fired and that no worker has taken yet.
    fired: Vec<(Token, Class)>,
    alarm: Option<Instant>,
    state: Vec<WorkerState>,
    tasks_left_to_admit: u32,
    alive: u32,
    workers: u64,
    turns: u64,
}

type Shared = Arc<Mutex<World>>;

struct Simulated {
    world: Shared,
    scheduler: OnceLock<std::sync::Weak<Scheduler<Self>>>,
    alive: Sender<Infallible>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Simulated")
    }
}

/// A task whose every turn ends as the seed determines.
struct Scripted {
    world: Shared,
    queued_at: u64,
    queued_behind: u64,
    class: Option<Class>,
    parked_until: Option<Instant>,
}

impl Scripted {
    /// Makes a task; half of all wait at first.
    fn new(shared: &Shared) -> Self {
        let mut world = shared.lock();
        let until = world.now + Duration::from_millis(world.draw.below(50));
        let parked_until = (world.draw.below(2) == 0).then_some(until);
        let world = Arc::clone(shared);
        Self { world, queued_at: 0, queued_behind: 0, class: None, parked_until }
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

    fn waits_at_first(&self) -> Option<Instant> {
        self.parked_until
    }
}

impl Simulated {
    /// Makes one event happen, drawn from the seed.
    fn step(&self) {
        let scheduler = self.scheduler.get().unwrap().upgrade().unwrap();
        let mut world = self.world.lock();
        match world.draw.below(8) {
            0 if !world.armed.is_empty() => {
                let limit = world.armed.len() as u64;
                let which = usize::try_from(world.draw.below(limit)).unwrap();
                let event = world.armed.swap_remove(which);
                world.fired.push(event);
                drop(world);
            }
            1 => {
                // Time passes only when no work is left: a worker's step takes no time in this world.
                let next = world.now + Duration::from_millis(world.draw.below(20));
                drop(world);
                while self.worker_step(&scheduler) {}
                world = self.world.lock();
                world.now = world.alarm.map_or(next, |alarm| alarm.min(next)).max(world.now);
                let (_, _, deadline, alarm) = scheduler.census();
                assert!(
                    deadline.is_none_or(|deadline| alarm.is_some_and(|alarm| alarm <= deadline)),
                    "the alarm is set to {alarm:?}, which is too late"
                );
                assert!(deadline.is_none_or(|deadline| deadline >= world.now), "all overslept");
                drop(world);
            }
            2 if world.tasks_left_to_admit > 0 => {
                world.tasks_left_to_admit -= 1;
                world.alive += 1;
                drop(world);
                let task = Box::new(Scripted::new(&self.world));
                scheduler.admit_new(|| Some(Admitted::new(task, self.alive.clone())));
            }
            3 if world.draw.below(10) == 0 => {
                drop(world);
                scheduler.wake_all();
                assert_eq!(scheduler.census().1, 0, "nobody is left parked");
            }
            _ => {
                drop(world);
                self.worker_step(&scheduler);
            }
        }
        let alive = self.world.lock().alive;
        let (ready, parked, ..) = scheduler.census();
        assert_eq!(ready + parked, alive as usize, "each task is in exactly one place");
    }

    /// Runs any worker's step, or its look if there is no turn to run; returns `false` if the look found nothing
    /// either.
    fn worker_step(&self, scheduler: &Scheduler<Self>) -> bool {
        let mut state = {
            let mut world = self.world.lock();
            let limit = world.state.len() as u64;
            let which = usize::try_from(world.draw.below(limit)).unwrap();
            if scheduler.census().0 > 0 {
                world.turns += 1;
            }
            world.state.swap_remove(which)
        };
        let clock = || self.world.lock().now;
        let worked = scheduler.try_work(&mut state, clock) || {
            scheduler.try_look(&mut state, clock);
            scheduler.census().0 > 0
        };
        self.world.lock().state.push(state);
        worked
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

    fn set_alarm(&self, at: Instant) {
        self.world.lock().alarm = Some(at);
    }

    fn wait(&self, _: WaitMode, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm> {
        let mut world = self.world.lock();
        fired.append(&mut world.fired);
        if world.alarm.is_some_and(|alarm| alarm <= world.now) {
            world.alarm = None;
            return Ok(Alarm::Rang);
        }
        Ok(Alarm::Silent)
    }

    fn notify_one(&self) {}
}

fn simulate(seed: u64) -> (u64, Receiver<Infallible>) {
    let (alive, gone) = bounded(0);
    let mut draw = Draw(seed);
    let workers = 1 + draw.below(4);
    let world = Arc::new(Mutex::new(World {
        tasks_left_to_admit: u32::try_from(1 + draw.below(40)).unwrap(),
        draw,
        now: start(),
        armed: Vec::new(),
        fired: Vec::new(),
        alarm: None,
        state: (0..workers).map(|_| WorkerState::default()).collect(),
        alive: 0,
        turns: 0,
        workers,
    }));
    let simulated = Simulated { world: Arc::clone(&world), scheduler: OnceLock::new(), alive };
    let scheduler = Arc::new(Scheduler::new(simulated, usize::try_from(workers).unwrap()));
    scheduler.readiness().scheduler.set(Arc::downgrade(&scheduler)).unwrap();
    for _ in 0..STEPS {
        scheduler.readiness().step();
    }
    scheduler.close();
    assert!(!scheduler.work(&mut WorkerState::default(), start), "closed");
    scheduler.clear();
    let (ready, parked, deadline, _) = scheduler.census();
    assert_eq!((ready, parked, deadline), (0, 0, None), "after shutdown nothing remains");
    (world.lock().turns, gone)
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock must begin somewhere")]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[test]
fn in_every_history_each_task_is_in_one_place_and_no_deadline_or_turn_is_missed() {
    // To run one history alone: POOLFTPD_SEED=17 cargo test --lib simulation
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

/// A readiness source in which nothing is ever ready.
#[derive(Debug)]
struct Never;

impl Readiness for Never {
    fn arm(&self, _: Token, _: &Watch<'_>) -> io::Result<()> {
        Ok(())
    }
    fn set_alarm(&self, _: Instant) {}
    fn wait(&self, _: WaitMode, _: &mut Vec<(Token, Class)>) -> io::Result<Alarm> {
        Ok(Alarm::Silent)
    }
    fn notify_one(&self) {}
}

#[test]
fn of_three_or_more_workers_one_is_always_free_of_bulk() {
    /// Records whether another worker could begin a turn while this bulk turn is under way.
    struct Probe(Arc<OnceLock<Scheduler<Never>>>, Arc<Mutex<Vec<bool>>>);
    impl Task for Probe {
        fn turn(&mut self, _: Instant, class: Class) -> Turn {
            if class == Class::Bulk {
                let found = self.0.get().unwrap().try_work(&mut WorkerState::default(), start);
                self.1.lock().push(found);
                return Turn::Done;
            }
            Turn::Again(Class::Bulk)
        }
        fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
    }
    let (alive, _gone) = bounded(0);
    for (workers, bulk_turns) in [(1, 1), (2, 2), (3, 2), (4, 3)] {
        let (scheduler, log) = (Arc::new(OnceLock::new()), Arc::default());
        scheduler.set(Scheduler::new(Never, workers)).unwrap();
        let inner: &Scheduler<Never> = scheduler.get().unwrap();
        for _ in 0..6 {
            let probe = Probe(Arc::clone(&scheduler), Arc::clone(&log));
            inner.admit(Admitted::new(Box::new(probe), alive.clone()));
        }
        while inner.try_work(&mut WorkerState::default(), start) {}
        // Each bulk turn gave others a worker, as long as there was one: one inside the other.
        let deepest = log.lock().iter().filter(|found| **found).count();
        assert_eq!(log.lock().len(), 6);
        assert_eq!(deepest, 6 - 6_usize.div_ceil(bulk_turns), "{workers}");
    }
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
    let (alive, _gone) = bounded(0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let scheduler = Scheduler::new(Never, 1);
    for class in [Class::Interactive, Class::Interactive, Class::Bulk] {
        scheduler.admit(Admitted::new(Box::new(Ever(class, Arc::clone(&log))), alive.clone()));
    }
    let mut state = WorkerState::default();
    for _ in 0..(INTERACTIVE_STREAK_MAX as usize + 1) * 10 {
        assert!(scheduler.try_work(&mut state, start));
    }
    let bulk = log.lock().iter().filter(|class| **class == Class::Bulk).count();
    assert!((9..=11).contains(&bulk), "{bulk} of ten");
}
