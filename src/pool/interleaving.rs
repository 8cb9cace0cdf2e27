//! Tests of park, wake, wake all and close in every order that shuttle finds: a lost wake-up is a deadlock, and shuttle
//! detects it. Run with `RUSTFLAGS="--cfg shuttle" cargo test --lib interleaving`.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use shuttle::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use super::lot::Token;
use super::scheduler::{Alarm, Readiness, Scheduler, WaitMode, WorkerState};
use super::task::{Admitted, Class, Task, Turn, Watch};

const SCHEDULES: usize = 3000;
const WORKERS: usize = 2;

/// One descriptor, level-triggered and one-shot like epoll's.
#[derive(Debug, Default)]
struct Descriptor {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    readable: bool,
    armed: Option<Token>,
    poked: bool,
}

impl Descriptor {
    fn set_readable(&self, readable: bool) {
        self.state.lock().unwrap().readable = readable;
        self.changed.notify_all();
    }
}

impl Readiness for Arc<Descriptor> {
    fn arm(&self, token: Token, _: &Watch<'_>) -> io::Result<()> {
        self.state.lock().unwrap().armed = Some(token);
        self.changed.notify_all();
        Ok(())
    }

    fn set_alarm(&self, _: Instant) {}

    fn wait(&self, mode: WaitMode, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm> {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.readable
                && let Some(token) = state.armed.take()
            {
                fired.push((token, Class::Interactive));
                return Ok(Alarm::Silent);
            }
            if std::mem::take(&mut state.poked) || mode == WaitMode::None {
                return Ok(Alarm::Silent);
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    fn notify_one(&self) {
        self.state.lock().unwrap().poked = true;
        self.changed.notify_all();
    }
}

/// A task that takes `letters_left` letters from its mailbox, then is done.
struct Reader {
    descriptor: Arc<Descriptor>,
    mailbox: Arc<Mutex<u32>>,
    letters_left: u32,
    stop: Arc<AtomicBool>,
    owners: Arc<AtomicU32>,
    done: shuttle::sync::mpsc::Sender<()>,
    far: Instant,
}

impl Task for Reader {
    fn turn(&mut self, _: Instant, _: Class) -> Turn {
        assert_eq!(self.owners.fetch_add(1, Ordering::SeqCst), 0, "two workers hold one task");
        let turn = self.read();
        self.owners.fetch_sub(1, Ordering::SeqCst);
        turn
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn waits_at_first(&self) -> Option<Instant> {
        (!self.stop.load(Ordering::SeqCst)).then_some(self.far)
    }
}

impl Reader {
    fn read(&mut self) -> Turn {
        let mut mailbox = self.mailbox.lock().unwrap();
        if *mailbox > 0 {
            *mailbox -= 1;
            self.letters_left -= 1;
        }
        if *mailbox == 0 {
            self.descriptor.set_readable(false);
        }
        if self.letters_left == 0 || self.stop.load(Ordering::SeqCst) {
            self.done.send(()).unwrap();
            return Turn::Done;
        }
        if *mailbox > 0 { Turn::Again(Class::Bulk) } else { Turn::Park { until: self.far } }
    }
}

struct Scene {
    scheduler: Arc<Scheduler<Arc<Descriptor>>>,
    descriptor: Arc<Descriptor>,
    mailbox: Arc<Mutex<u32>>,
    stop: Arc<AtomicBool>,
    done: shuttle::sync::mpsc::Receiver<()>,
    gone: Receiver<Infallible>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Scene {
    fn start(letters: u32) -> Self {
        let (scene, task) = Self::with_task(letters);
        scene.scheduler.admit(task);
        scene
    }

    /// Starts the workers, and makes a task that is not admitted.
    fn with_task(letters: u32) -> (Self, Admitted) {
        let descriptor = Arc::new(Descriptor::default());
        let scheduler = Arc::new(Scheduler::new(Arc::clone(&descriptor), WORKERS));
        let (alive, gone): (Sender<Infallible>, _) = bounded(0);
        let (sender, done) = shuttle::sync::mpsc::channel();
        let mailbox = Arc::new(Mutex::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let task = Reader {
            descriptor: Arc::clone(&descriptor),
            mailbox: Arc::clone(&mailbox),
            letters_left: letters,
            stop: Arc::clone(&stop),
            owners: Arc::default(),
            done: sender,
            far: Instant::now() + Duration::from_secs(3600),
        };
        let mut threads = Vec::new();
        for _ in 0..WORKERS {
            let scheduler = Arc::clone(&scheduler);
            threads.push(thread::spawn(move || {
                let mut state = WorkerState::default();
                while scheduler.work(&mut state, Instant::now) {}
            }));
        }
        // Without this yield, no schedule has a worker that found nothing and is about to wait when the task comes.
        thread::yield_now();
        let task = Admitted::new(Box::new(task), alive);
        (Self { scheduler, descriptor, mailbox, stop, done, gone, threads }, task)
    }

    fn close(self) {
        self.scheduler.close();
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.scheduler.clear();
        assert!(
            self.gone
                .try_recv()
                .is_err_and(|error| error == crossbeam_channel::TryRecvError::Disconnected)
        );
    }
}

#[test]
fn no_letter_is_slept_through() {
    shuttle::check_random(
        || {
            let scene = Scene::start(2);
            for _ in 0..2 {
                *scene.mailbox.lock().unwrap() += 1;
                scene.descriptor.set_readable(*scene.mailbox.lock().unwrap() > 0);
            }
            scene.done.recv().unwrap();
            scene.close();
        },
        SCHEDULES,
    );
}

#[test]
fn what_changed_before_all_are_woken_is_seen_by_every_task() {
    shuttle::check_random(
        || {
            let scene = Scene::start(1);
            scene.stop.store(true, Ordering::SeqCst);
            scene.scheduler.wake_all();
            scene.done.recv().unwrap();
            scene.close();
        },
        SCHEDULES,
    );
}

#[test]
fn a_task_that_is_parked_at_first_misses_no_letter_and_no_wake_up() {
    shuttle::check_random(
        || {
            let (scene, task) = Scene::with_task(1);
            let scheduler = Arc::clone(&scene.scheduler);
            let admitting = thread::spawn(move || scheduler.admit_new(|| Some(task)));
            scene.stop.store(true, Ordering::SeqCst);
            scene.scheduler.wake_all();
            scene.done.recv().unwrap();
            admitting.join().unwrap();
            scene.close();

            let (scene, task) = Scene::with_task(1);
            let scheduler = Arc::clone(&scene.scheduler);
            let admitting = thread::spawn(move || scheduler.admit_new(|| Some(task)));
            *scene.mailbox.lock().unwrap() += 1;
            scene.descriptor.set_readable(true);
            scene.done.recv().unwrap();
            admitting.join().unwrap();
            scene.close();
        },
        SCHEDULES,
    );
}

#[test]
fn a_close_at_any_moment_ends_every_thread_and_drops_every_task() {
    shuttle::check_random(
        || {
            let scene = Scene::start(1);
            *scene.mailbox.lock().unwrap() += 1;
            scene.descriptor.set_readable(true);
            scene.close();
        },
        SCHEDULES,
    );
}
