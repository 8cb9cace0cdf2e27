//! A pool of workers, one to a core, in simulated time: each step of the scheduler takes the time that was measured,
//! and each lock is held by one worker at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::cost::Costs;

/// Nanoseconds.
pub(crate) type Time = u64;

/// The maximum number of interactive turns between two looks, as in `pool/ready`.
const INTERACTIVE_STREAK_MAX: u32 = 16;

/// The maximum number of events of one look, as in `pool/epoll`.
const EVENTS_PER_WAIT_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Interactive,
    Bulk,
}

/// One turn of a session.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) class: Class,
    /// The time of the turn itself, without the scheduler.
    pub(crate) work: Time,
    /// The time until the client makes the session ready again. Zero: the session takes its next turn through the
    /// queue, without a park.
    pub(crate) away: Time,
}

/// A load: each session repeats these turns; they are one operation.
pub(crate) struct Load<'a> {
    pub(crate) turns: &'a [Turn],
    pub(crate) sessions: usize,
    /// The work of the thread that accepts, once an operation; zero if the operation needs no connection to the port.
    pub(crate) accept: Time,
}

/// The outcome of a load.
pub(crate) struct Outcome {
    /// Operations a second.
    pub(crate) rate: f64,
    /// The time from the moment a session is ready to the end of its turn: 99 of 100 turns take less.
    pub(crate) p99: Time,
    /// The most used serial part, and the share of time for which it is in use.
    pub(crate) bottleneck: (&'static str, f64),
}

#[derive(Clone, Copy)]
enum Lock {
    Epoll,
    Lot,
    Queue,
}

#[derive(Clone, Copy)]
enum Step {
    Work(Time),
    Acquire(Lock),
    Release(Lock),
    /// Takes this number of events at most, and makes their sessions ready.
    Take(usize),
    Push(usize),
    /// The session is watched from now on.
    Watch(usize, Time),
    EndTurn(usize),
}

#[derive(Default)]
struct Mutex {
    is_held: bool,
    queue: VecDeque<usize>,
    used: Time,
    since: Time,
}

#[derive(Default)]
struct Worker {
    steps: VecDeque<Step>,
    streak: u32,
    turns: u32,
}

#[derive(Clone, Copy, Default)]
struct Session {
    next: usize,
    ready_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Step(usize),
    Ready(usize),
    Accepted(usize),
}

pub(crate) struct World<'a> {
    costs: &'a Costs,
    load: &'a Load<'a>,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
    workers: Vec<Worker>,
    idle: Vec<usize>,
    locks: [Mutex; 3],
    sessions: Vec<Session>,
    fired: VecDeque<usize>,
    ready: [VecDeque<usize>; 2],
    bulk_turns: usize,
    acceptor_free_at: Time,
    accepting: Time,
    operations: u64,
    latencies: Vec<Time>,
}

impl<'a> World<'a> {
    pub(crate) fn new(workers: usize, load: &'a Load<'a>, costs: &'a Costs) -> Self {
        Self {
            costs,
            load,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            workers: (0..workers).map(|_| Worker::default()).collect(),
            idle: (0..workers).collect(),
            locks: Default::default(),
            sessions: vec![Session::default(); load.sessions],
            fired: VecDeque::new(),
            ready: Default::default(),
            bulk_turns: 0,
            acceptor_free_at: 0,
            accepting: 0,
            operations: 0,
            latencies: Vec::new(),
        }
    }

    /// Runs until this time; the first fifth warms up and is not counted.
    pub(crate) fn run(mut self, until: Time) -> Outcome {
        let apart = until / 10 / self.load.sessions.max(1) as u64;
        for session in 0..self.load.sessions {
            self.arrive(session, session as u64 * apart);
        }
        let warm = until / 5;
        let mut is_warm = false;
        while let Some(Reverse((at, _, event))) = self.events.pop()
            && at < until
        {
            self.now = at;
            if !is_warm && at >= warm {
                is_warm = true;
                self.operations = 0;
                self.accepting = 0;
                self.latencies.clear();
                self.locks.iter_mut().for_each(|lock| lock.used = 0);
            }
            match event {
                Event::Step(worker) => self.advance(worker),
                Event::Ready(session) => self.fire(session),
                Event::Accepted(session) => self.watch(session, 0),
            }
        }
        self.outcome(until - warm)
    }

    fn outcome(mut self, measured: Time) -> Outcome {
        let seconds = measured as f64 / 1e9;
        self.latencies.sort_unstable();
        let p99 = self.latencies.get(self.latencies.len() * 99 / 100).copied().unwrap_or(0);
        let names = ["epoll set", "lot", "ready queue"];
        let used = self.locks.iter().map(|lock| lock.used).chain([self.accepting]);
        let shares = names.into_iter().chain(["accept"]).zip(used);
        let bottleneck = shares
            .map(|(name, used)| (name, used as f64 / measured as f64))
            .max_by(|one, other| one.1.total_cmp(&other.1))
            .unwrap_or(("none", 0.0));
        Outcome { rate: self.operations as f64 / seconds, p99, bottleneck }
    }

    fn at(&mut self, time: Time, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    /// The session's next operation begins: at once, or by way of the thread that accepts.
    fn arrive(&mut self, session: usize, at: Time) {
        if self.load.accept == 0 {
            return self.at(at, Event::Ready(session));
        }
        let begun = self.acceptor_free_at.max(at);
        self.acceptor_free_at = begun + self.load.accept;
        self.accepting += self.load.accept;
        self.at(self.acceptor_free_at, Event::Accepted(session));
    }

    fn watch(&mut self, session: usize, away: Time) {
        self.at(self.now + away, Event::Ready(session));
    }

    /// A descriptor of a session is ready: the kernel wakes the worker that began to wait last.
    fn fire(&mut self, session: usize) {
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.ready_at = self.now;
        }
        self.fired.push_back(session);
        self.wake_one();
    }

    fn wake_one(&mut self) {
        if let Some(worker) = self.idle.pop() {
            self.workers[worker].steps.push_back(Step::Work(self.costs.wake_up));
            self.at(self.now, Event::Step(worker));
        }
    }

    /// Takes steps of a worker until one takes time, or waits for a lock.
    fn advance(&mut self, worker: usize) {
        loop {
            let Some(step) = self.workers[worker].steps.pop_front() else {
                if self.choose(worker) {
                    continue;
                }
                return self.idle.push(worker);
            };
            match step {
                Step::Work(time) => return self.at(self.now + time, Event::Step(worker)),
                Step::Acquire(lock) => {
                    let lock = &mut self.locks[lock as usize];
                    if lock.is_held {
                        return lock.queue.push_back(worker);
                    }
                    (lock.is_held, lock.since) = (true, self.now);
                }
                Step::Release(lock) => self.release(lock),
                Step::Take(most) => self.take(worker, most),
                Step::Push(session) => self.push(session),
                Step::Watch(session, away) => self.watch(session, away),
                Step::EndTurn(session) => self.end_turn(worker, session),
            }
        }
    }

    fn release(&mut self, lock: Lock) {
        let handover = self.costs.hand_over;
        let lock = &mut self.locks[lock as usize];
        lock.used += self.now - lock.since;
        lock.is_held = false;
        if let Some(next) = lock.queue.pop_front() {
            // The lock counts as used while it goes from core to core.
            (lock.is_held, lock.since) = (true, self.now);
            self.at(self.now + handover, Event::Step(next));
        }
    }

    /// Chooses the next steps of a worker as `Scheduler::find` does; returns `false` if it has to wait.
    fn choose(&mut self, worker: usize) -> bool {
        let is_due = self.workers[worker].turns >= INTERACTIVE_STREAK_MAX;
        if is_due && !self.fired.is_empty() {
            self.look(worker, EVENTS_PER_WAIT_MAX);
            return true;
        }
        let may_bulk = !self.ready[1].is_empty() && self.bulk_turns < self.bulk_turns_max();
        let owes_bulk = self.workers[worker].streak >= INTERACTIVE_STREAK_MAX && may_bulk;
        if !owes_bulk && let Some(session) = self.ready[0].pop_front() {
            self.workers[worker].streak += 1;
            self.begin_turn(worker, session);
            return true;
        }
        if may_bulk && let Some(session) = self.ready[1].pop_front() {
            self.workers[worker].streak = 0;
            self.bulk_turns += 1;
            self.begin_turn(worker, session);
            return true;
        }
        if self.fired.is_empty() {
            return false;
        }
        let most = if self.idle.is_empty() { EVENTS_PER_WAIT_MAX } else { 1 };
        self.look(worker, most);
        true
    }

    /// Two workers both move bulk data; of more, one is free of it.
    fn bulk_turns_max(&self) -> usize {
        let workers = self.workers.len();
        if workers > 2 { workers - 1 } else { workers }
    }

    fn look(&mut self, worker: usize, most: usize) {
        self.workers[worker].turns = 0;
        let steps = [Step::Acquire(Lock::Epoll), Step::Work(self.costs.look), Step::Take(most)];
        self.workers[worker].steps.extend(steps);
    }

    fn take(&mut self, worker: usize, most: usize) {
        let taken: Vec<usize> = self.fired.drain(..most.min(self.fired.len())).collect();
        let count = taken.len() as u64;
        let steps = &mut self.workers[worker].steps;
        steps.extend([
            Step::Work(count * self.costs.event),
            Step::Release(Lock::Epoll),
            Step::Acquire(Lock::Lot),
            Step::Work(count * self.costs.wake),
        ]);
        steps.extend(taken.into_iter().map(Step::Push));
        steps.push_back(Step::Release(Lock::Lot));
    }

    fn push(&mut self, session: usize) {
        let next = self.sessions[session].next;
        self.ready[self.load.turns[next].class as usize].push_back(session);
        if !self.idle.is_empty() && self.ready[0].len() + self.ready[1].len() > 1 {
            self.wake_one();
        }
    }

    fn begin_turn(&mut self, worker: usize, session: usize) {
        let turn = self.load.turns[self.sessions[session].next];
        let entry = &mut self.workers[worker];
        entry.turns += 1;
        entry.steps.extend([
            Step::Acquire(Lock::Queue),
            Step::Work(self.costs.queue),
            Step::Release(Lock::Queue),
        ]);
        if turn.class == Class::Bulk {
            // A look without waiting comes before each bulk turn.
            entry.steps.extend([
                Step::Acquire(Lock::Epoll),
                Step::Work(self.costs.look),
                Step::Release(Lock::Epoll),
            ]);
        }
        entry.steps.extend([Step::Work(turn.work), Step::EndTurn(session)]);
    }

    fn end_turn(&mut self, worker: usize, session: usize) {
        let entry = &mut self.sessions[session];
        let turn = self.load.turns[entry.next];
        entry.next = (entry.next + 1) % self.load.turns.len();
        let is_last = entry.next == 0;
        self.latencies.push(self.now - entry.ready_at);
        entry.ready_at = self.now;
        if turn.class == Class::Bulk {
            self.bulk_turns -= 1;
        }
        self.operations += u64::from(is_last);
        if is_last && self.load.accept > 0 {
            return self.arrive(session, self.now + turn.away);
        }
        let steps = &mut self.workers[worker].steps;
        if turn.away == 0 {
            return steps.push_back(Step::Push(session));
        }
        steps.extend([
            Step::Acquire(Lock::Lot),
            Step::Work(self.costs.park),
            Step::Acquire(Lock::Epoll),
            Step::Work(self.costs.arm),
            Step::Release(Lock::Epoll),
            Step::Watch(session, turn.away),
            Step::Release(Lock::Lot),
        ]);
    }
}
