//! All clients of a load, driven by one loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::client::{Client, Task};
use super::error::BenchError;
use super::failure::Failure;
use super::load::{Group, Routine};
use super::protocol::Purpose;
use super::report::Row;
use super::target::Target;
use super::usage::Usage;

/// Maximum number of clients that log in at once before the measurement: fewer than the shortest listen backlog in use.
const LOGINS_AT_ONCE_MAX: usize = 16;
/// Maximum number of idle clients that are asked at once.
const QUESTIONS_AT_ONCE_MAX: usize = 16;
/// In a crowd, one client of this number has a command under way.
const CROWD_FOR_EACH_ACTIVE: usize = 100;
/// Maximum time without any event from the server.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Interval between two reads of a slow reader.
const SIP_EVERY: Duration = Duration::from_millis(100);
const EVENTS_MAX: usize = 256;
/// Maximum wait of the loop, so that it notices the end of a measurement.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Phase of a load: it decides what a client does after its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The client waits for the others.
    Gather,
    /// The task is counted, and the client starts the next one.
    Measure,
    /// The task is counted, and the client is done.
    Once,
    /// The task is counted, and the client gets the next one after all others.
    Turns,
    /// The client is done.
    Finish,
}

/// One client, with its routine and its results.
#[derive(Debug)]
struct Member<'a> {
    client: Option<Client<'a>>,
    group: usize,
    routine: Routine<'a>,
    took: Vec<Duration>,
    /// Bytes that the previous clients of this member have moved.
    bytes: u64,
    failed: u64,
    failure: Option<String>,
}

impl Member<'_> {
    fn bytes(&self) -> u64 {
        self.bytes + self.client.as_ref().map_or(0, |client| client.bytes)
    }

    fn purpose(&self) -> Purpose {
        match self.routine {
            Routine::Visit => Purpose::Visit,
            Routine::Noop { .. } | Routine::Rest => Purpose::Commands,
            Routine::Fetch { .. } | Routine::Store { .. } | Routine::List { .. } => {
                Purpose::Transfer
            }
        }
    }
}

/// The clients of a load.
pub(super) struct Runner<'w, 'a> {
    target: &'w mut Target,
    members: Vec<Member<'a>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Clients whose files may have arrived already, so that no event reports them.
    at_hand: Vec<usize>,
    /// Clients of a crowd that have no command under way.
    resting: VecDeque<usize>,
    /// Events of the current wait; the vector is kept from one wait to the next.
    events: Vec<u64>,
    phase: Phase,
    /// Number of busy clients.
    busy: usize,
    last_event: Instant,
    now: Instant,
}

impl<'w, 'a> Runner<'w, 'a> {
    pub(super) fn new(target: &'w mut Target) -> Self {
        let (members, timers, now) = (Vec::new(), BinaryHeap::new(), now());
        Self {
            target,
            members,
            timers,
            at_hand: Vec::new(),
            resting: VecDeque::new(),
            events: Vec::new(),
            phase: Phase::Gather,
            busy: 0,
            last_event: now,
            now,
        }
    }

    /// Stores one file.
    pub(super) fn store_once(
        mut self,
        path: &'a str,
        file: &'a File,
        size: u64,
    ) -> Result<(), BenchError> {
        let store = Routine::Store { path, numbered: false, source: file.as_fd(), size };
        self.gather(&[Group { name: "", clients: 1, routine: store }], &|_| ())?;
        self.phase = Phase::Once;
        self.next_task(0);
        while self.busy > 0 {
            self.go_on()?;
            self.turn()?;
        }
        let failure = self.members.pop().and_then(|member| member.failure);
        failure.map_or(Ok(()), |why| Err(BenchError::Wrong(why)))
    }

    /// Fails after an interrupt. It is called before the measurement only: during one, an interrupt just ends it early.
    fn go_on(&self) -> Result<(), BenchError> {
        if self.is_interrupted() { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    fn is_interrupted(&self) -> bool {
        self.target.interrupt.is_set()
    }

    /// Lets all clients, which are logged in, repeat their routines for the given time, and until the others are done.
    pub(super) fn during(
        mut self,
        groups: &[Group<'a>],
        time: Duration,
        process: Option<u32>,
        others_are_done: &dyn Fn() -> bool,
    ) -> Result<(Vec<Row>, Usage), BenchError> {
        let before = Usage::of(process)?;
        self.phase = Phase::Measure;
        self.now = now();
        let begun = self.now;
        let bytes_before: Vec<u64> = self.members.iter().map(Member::bytes).collect();
        for number in 0..self.members.len() {
            self.stagger(number);
        }
        while (self.now < begun + time && !self.is_interrupted()) || !others_are_done() {
            self.turn()?;
        }
        let used = Usage::of(process)?.since(&before);
        let took = self.now.duration_since(begun);
        let bytes =
            self.members.iter().zip(bytes_before).map(|(member, before)| member.bytes() - before);
        let bytes: Vec<u64> = bytes.collect();
        self.finish()?;
        Ok((self.rows(groups, took, &bytes), used))
    }

    /// Lets all clients connect, fetch a file and leave at once, repeatedly for the given time.
    pub(super) fn bursts(
        mut self,
        groups: &[Group<'a>],
        time: Duration,
        process: Option<u32>,
        progress: &dyn Fn(&str),
    ) -> Result<(Vec<Row>, Usage), BenchError> {
        progress("measuring");
        let before = Usage::of(process)?;
        let begun = now();
        let (mut all, mut spreads) = (Vec::new(), Vec::new());
        self.populate(groups);
        self.phase = Phase::Once;
        loop {
            self.now = now();
            let (round, done) =
                (self.now, self.members.first().map_or(0, |member| member.took.len()));
            for number in 0..self.members.len() {
                self.connect(number);
            }
            while self.busy > 0 {
                self.turn()?;
            }
            all.push(self.now.duration_since(round));
            let took = self.members.iter().filter_map(|member| member.took.get(done));
            spreads.extend(spread(took.map(Duration::as_secs_f64)));
            let over = self.now >= begun + time || self.is_interrupted();
            if over || self.members.iter().any(|member| member.failed > 0) {
                break;
            }
        }
        let used = Usage::of(process)?.since(&before);
        let took: Duration = all.iter().sum();
        let bytes: Vec<u64> = self.members.iter().map(Member::bytes).collect();
        let mut rows = self.rows(groups, took, &bytes);
        if let Some(row) = rows.first_mut() {
            row.spread = median(spreads);
        }
        rows.push(Row { name: "all of them", clients: 1, time: took, took: all, ..Row::default() });
        Ok((rows, used))
    }

    /// Keeps the clients idle for the given time; then each sends a NOOP.
    pub(super) fn idle(
        mut self,
        groups: &[Group<'a>],
        time: Duration,
        process: Option<u32>,
        progress: &dyn Fn(&str),
    ) -> Result<(Vec<Row>, Usage), BenchError> {
        self.gather(groups, progress)?;
        progress("holding");
        let before = Usage::of(process)?;
        let until = now() + time;
        while self.now < until && !self.is_interrupted() {
            self.turn()?;
            // No event is expected.
            self.last_event = self.now;
        }
        let used = Usage::of(process)?.since(&before);
        self.phase = Phase::Once;
        let begun = self.now;
        for number in 0..self.members.len() {
            while self.busy >= QUESTIONS_AT_ONCE_MAX {
                self.turn()?;
            }
            self.begin(number, Task::Noop);
        }
        while self.busy > 0 {
            self.turn()?;
        }
        let took = self.now.duration_since(begun);
        let none = vec![0; self.members.len()];
        Ok((self.rows(groups, took, &none), used))
    }

    /// Lets one client in a hundred have a command under way at any time, each client in turn, for the given time.
    pub(super) fn crowd(
        mut self,
        groups: &[Group<'a>],
        time: Duration,
        process: Option<u32>,
        progress: &dyn Fn(&str),
    ) -> Result<(Vec<Row>, Usage), BenchError> {
        self.gather(groups, progress)?;
        progress("measuring");
        let before = Usage::of(process)?;
        self.phase = Phase::Turns;
        self.resting.extend(0..self.members.len());
        let active = self.members.len().div_ceil(CROWD_FOR_EACH_ACTIVE);
        self.now = now();
        let begun = self.now;
        while self.now < begun + time && !self.is_interrupted() {
            while self.busy < active
                && let Some(number) = self.resting.pop_front()
            {
                self.begin(number, Task::Noop);
            }
            self.turn()?;
        }
        while self.busy > 0 {
            self.turn()?;
        }
        let used = Usage::of(process)?.since(&before);
        let took = self.now.duration_since(begun);
        let none = vec![0; self.members.len()];
        Ok((self.rows(groups, took, &none), used))
    }

    fn populate(&mut self, groups: &[Group<'a>]) {
        for (group, Group { clients, routine, .. }) in groups.iter().enumerate() {
            self.members.extend((0..*clients).map(|_| Member {
                client: None,
                group,
                routine: *routine,
                took: Vec::new(),
                bytes: 0,
                failed: 0,
                failure: None,
            }));
        }
    }

    /// Logs in all clients, except those whose routine is the login.
    pub(super) fn gather(
        &mut self,
        groups: &[Group<'a>],
        progress: &dyn Fn(&str),
    ) -> Result<(), BenchError> {
        self.populate(groups);
        let count = self.members.len();
        for number in 0..count {
            while self.busy >= LOGINS_AT_ONCE_MAX {
                self.go_on()?;
                self.turn()?;
            }
            if number % 1000 == 999 {
                progress(&format!("logging in, {number} of {count}"));
            }
            if !matches!(
                self.members.get(number).map(|member| member.routine),
                Some(Routine::Visit)
            ) {
                self.connect(number);
            }
        }
        while self.busy > 0 {
            self.go_on()?;
            self.turn()?;
        }
        match self.members.iter_mut().find_map(|member| member.failure.take()) {
            Some(why) => Err(BenchError::Wrong(format!("a client cannot log in: {why}"))),
            None => Ok(()),
        }
    }

    /// Starts a member. Members that wait between their tasks do not all start at once.
    fn stagger(&mut self, number: usize) {
        match self.members.get(number).map(|member| member.routine) {
            Some(Routine::Noop { every }) => {
                let part = u32::try_from(number).unwrap_or_default() % 16;
                self.timers.push(Reverse((self.now + every * part / 16, number)));
            }
            _ => self.next_task(number),
        }
    }

    /// Waits once for events and timers, and drives each client that is ready.
    fn turn(&mut self) -> Result<(), BenchError> {
        let due =
            self.timers.peek().map(|Reverse((due, _))| due.saturating_duration_since(self.now));
        let wait_max = if self.at_hand.is_empty() { WAIT_MAX } else { Duration::ZERO };
        let timeout = due.unwrap_or(wait_max).min(wait_max);
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match self.target.epoll.wait::<EVENTS_MAX>(Some(timeout), |event| events.push(event)) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.now = now();
        if !events.is_empty() {
            self.last_event = self.now;
        }
        for word in &events {
            let number = usize::try_from(word >> 1).unwrap_or(usize::MAX);
            self.drive(number, |client, target| {
                if word & 1 == 1 { client.look(target) } else { client.receive(target) }
            });
        }
        self.events = events;
        for number in std::mem::take(&mut self.at_hand) {
            self.drive(number, Client::look);
        }
        while let Some(Reverse((due, number))) = self.timers.peek().copied()
            && due <= self.now
        {
            self.timers.pop();
            self.ring(number, due);
        }
        if self.now.duration_since(self.last_event) > SILENCE_MAX {
            let seconds = SILENCE_MAX.as_secs();
            return Err(BenchError::Wrong(format!(
                "the server did not respond for {seconds} seconds"
            )));
        }
        Ok(())
    }

    /// Handles an expired timer: sends a command, or reads for a slow reader.
    fn ring(&mut self, number: usize, due: Instant) {
        match self.members.get(number).map(|member| member.routine) {
            Some(Routine::Noop { .. }) if self.phase == Phase::Measure => {
                self.begin(number, Task::Noop);
            }
            Some(Routine::Fetch { rate: Some(rate), .. }) if self.phase == Phase::Measure => {
                let sip = rate * u64::try_from(SIP_EVERY.as_millis()).unwrap_or_default() / 1000;
                let sip = usize::try_from(sip).unwrap_or(usize::MAX);
                self.drive(number, |client, target| client.sip(target, sip));
                self.timers.push(Reverse((due + SIP_EVERY, number)));
            }
            _ => {}
        }
    }

    /// Drives a client, and handles its result.
    fn drive(
        &mut self,
        number: usize,
        go_on: impl FnOnce(&mut Client<'a>, &mut Target) -> Result<bool, Failure>,
    ) {
        let Some(member) = self.members.get_mut(number) else { return };
        let Some(client) = &mut member.client else { return };
        match go_on(client, self.target) {
            Ok(false) => {}
            Ok(true) => self.done(number),
            Err(failure) => self.fail(number, &failure),
        }
    }

    fn fail(&mut self, number: usize, failure: &Failure) {
        let Some(member) = self.members.get_mut(number) else { return };
        member.failed += 1;
        member.failure.get_or_insert_with(|| failure.to_string());
        member.bytes = member.bytes();
        member.client = None;
        self.busy = self.busy.saturating_sub(1);
        if self.phase == Phase::Measure && matches!(member.routine, Routine::Visit) {
            self.connect(number);
        }
    }

    /// Handles a client that has done its task or has logged in.
    fn done(&mut self, number: usize) {
        self.busy = self.busy.saturating_sub(1);
        let Some(member) = self.members.get_mut(number) else { return };
        let Some(client) = &member.client else { return };
        let (counts, purpose) =
            (!matches!(self.phase, Phase::Gather | Phase::Finish), member.purpose());
        match (purpose, client.last()) {
            // The client has logged in, and starts its work.
            (Purpose::Visit, None) => return self.begin(number, Task::Quit),
            (_, None) if self.phase == Phase::Once => return self.next_task(number),
            (_, None) => return,
            (Purpose::Visit, Some(_)) => {
                if counts {
                    member.took.push(client.here(self.now));
                }
                member.client = None;
            }
            (_, Some(_)) if self.phase == Phase::Once && purpose == Purpose::Transfer => {
                member.took.push(client.here(self.now));
                member.bytes = member.bytes();
                member.client = None;
            }
            (_, Some(_)) => {
                if counts {
                    member.took.push(client.took(self.now));
                }
            }
        }
        if self.phase == Phase::Turns {
            self.resting.push_back(number);
        }
        if self.phase == Phase::Measure {
            match member.routine {
                Routine::Noop { every } => self.timers.push(Reverse((self.now + every, number))),
                _ => self.next_task(number),
            }
        }
    }

    /// Starts the next task of a member.
    fn next_task(&mut self, number: usize) {
        let Some(member) = self.members.get(number) else { return };
        let task = match member.routine {
            Routine::Visit => return self.connect(number),
            Routine::Fetch { path, rate } => {
                if rate.is_some() {
                    self.timers.push(Reverse((self.now + SIP_EVERY, number)));
                }
                Task::Fetch { path, rate }
            }
            Routine::Store { path, numbered: true, source, size } => {
                Task::Store { path: numbered(path, number), source, size }
            }
            Routine::Store { path, source, size, .. } => {
                Task::Store { path: path.to_owned(), source, size }
            }
            Routine::List { exact, directory } => Task::List { exact, directory },
            Routine::Noop { .. } => Task::Noop,
            Routine::Rest => return,
        };
        self.begin(number, task);
    }

    fn connect(&mut self, number: usize) {
        let Some(member) = self.members.get_mut(number) else { return };
        self.busy += 1;
        match Client::connect(self.target, number, member.purpose(), self.now) {
            Ok(client) => member.client = Some(client),
            Err(failure) => self.fail(number, &failure),
        }
    }

    fn begin(&mut self, number: usize, task: Task<'a>) {
        let Some(client) = self.members.get_mut(number).and_then(|member| member.client.as_mut())
        else {
            return;
        };
        self.busy += 1;
        match client.begin(self.target, task, self.now) {
            Ok(()) if client.is_ahead() => self.at_hand.push(number),
            Ok(()) => {}
            Err(failure) => self.fail(number, &failure),
        }
    }

    /// Lets the clients finish their tasks; slow readers are dropped.
    fn finish(&mut self) -> Result<(), BenchError> {
        self.phase = Phase::Finish;
        for member in &mut self.members {
            if matches!(member.routine, Routine::Fetch { rate: Some(_), .. }) {
                self.busy -= usize::from(member.client.take().is_some());
            }
        }
        while self.busy > 0 {
            self.turn()?;
        }
        Ok(())
    }

    fn rows(self, groups: &[Group<'a>], time: Duration, bytes: &[u64]) -> Vec<Row> {
        let mut rows: Vec<Row> = groups
            .iter()
            .map(|group| Row { name: group.name, clients: group.clients, time, ..Row::default() })
            .collect();
        for (number, row) in rows.iter_mut().enumerate() {
            let mine = |(member, _): &(&Member<'_>, &u64)| member.group == number;
            #[expect(clippy::cast_precision_loss, reason = "for people to read")]
            let shares =
                self.members.iter().zip(bytes).filter(mine).map(|(_, bytes)| *bytes as f64);
            row.spread = spread(shares);
        }
        for (member, bytes) in self.members.into_iter().zip(bytes) {
            let Some(row) = rows.get_mut(member.group) else { continue };
            row.bytes += bytes;
            row.took.extend(member.took);
            row.failed += member.failed;
            row.failure = row.failure.take().or(member.failure);
        }
        rows
    }
}

/// Returns the path in this directory under which a member stores its file.
pub(super) fn numbered(directory: &str, number: usize) -> String {
    format!("{directory}ftpbench-{number}.bin")
}

/// Returns the ratio of the largest of several values to the smallest.
fn spread(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (values.len() > 1 && most > 0.0).then(|| most / least.max(f64::MIN_POSITIVE))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::disallowed_methods, reason = "the loop of the runner: time enters here")]
pub(super) fn now() -> Instant {
    Instant::now()
}
