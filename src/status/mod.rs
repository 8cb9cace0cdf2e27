//! The status server: health, metrics, and a page with live data, over HTTP on a socket of its own.
//!
//! It has threads of its own, so it answers when all workers are busy. It changes nothing: it serves GET and HEAD alone.

mod counters;
mod exposition;
mod http;
mod json;
mod page;
mod snapshot;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Condvar, Mutex};
use sha2::{Digest, Sha256};

use crate::net::listener::Shutdown;
use crate::pool::{Class, Task, Turn, Watch};

pub(crate) use counters::Counters;
use counters::Waits;
pub(crate) use http::StatusListener;
use http::{Connection, Request, Serve, begin_stream, is_own_host, now, respond};
use snapshot::Snapshot;
pub(crate) use snapshot::{Ban, Facts};

/// Interval between two snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// Maximum age of the last sign of life of the workers for `/livez`.
const LIFE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of clients of `/events`.
const LISTENERS_MAX: usize = 8;

/// A function that makes a task for each pool and adds it.
pub(crate) type Admit = Box<dyn Fn(&dyn Fn() -> Box<dyn Task>) + Send + Sync>;

/// The connection of the status server to the server.
pub(crate) struct Source {
    /// Collects the facts.
    pub(crate) facts: Box<dyn Fn(Instant) -> Facts + Send + Sync>,
    /// Adds a task to each pool.
    pub(crate) admit: Admit,
    /// The counters.
    pub(crate) counters: Arc<Counters>,
}

/// The status server, shared by its threads.
struct Status {
    source: Source,
    waits: Arc<Waits>,
    life: Arc<Life>,
    newest: Mutex<Arc<Snapshot>>,
    renewed: Condvar,
    /// The hash of the token; none if there is no token.
    token: Option<[u8; 32]>,
    /// True for a TCP port, whose clients may be web pages of others.
    checks_host: bool,
    listeners: AtomicUsize,
    stop: Shutdown,
    policy: String,
}

/// The time of the last turn of a probe, in milliseconds after the start.
#[derive(Debug)]
struct Life {
    begun: Instant,
    after: AtomicU64,
}

impl Life {
    fn is_shown(&self, at: Instant) -> bool {
        let last = self.begun + Duration::from_millis(self.after.load(Ordering::Relaxed));
        at.saturating_duration_since(last) < LIFE_TIMEOUT
    }
}

/// A task that measures its wait in the ready queue: one turn of each class.
struct WaitProbe {
    since: Instant,
    waits: Arc<Waits>,
    life: Arc<Life>,
}

impl Task for WaitProbe {
    fn turn(&mut self, now: Instant, class: Class) -> Turn {
        self.waits.add(class == Class::Bulk, now.saturating_duration_since(self.since));
        self.since = now;
        if class == Class::Bulk {
            return Turn::Done;
        }
        let after = now.saturating_duration_since(self.life.begun).as_millis();
        self.life.after.store(u64::try_from(after).unwrap_or_default(), Ordering::Relaxed);
        Turn::Again(Class::Bulk)
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
}

/// Starts the status server. Its threads end after `stop`.
///
/// # Errors
/// The kernel's error, if there is no thread.
pub(crate) fn start(
    listener: StatusListener,
    token: Option<&str>,
    source: Source,
    stop: &Shutdown,
) -> io::Result<Vec<JoinHandle<()>>> {
    let at = now();
    let status = Arc::new(Status {
        newest: Mutex::new(Arc::new(Snapshot::first((source.facts)(at), at))),
        renewed: Condvar::new(),
        waits: Arc::default(),
        life: Arc::new(Life { begun: at, after: AtomicU64::new(0) }),
        token: token.map(|token| Sha256::digest(token).into()),
        checks_host: matches!(listener, StatusListener::Tcp(_)),
        listeners: AtomicUsize::new(0),
        stop: stop.clone(),
        policy: page::policy(),
        source,
    });
    let collecting = Arc::clone(&status);
    let collect = std::thread::Builder::new()
        .name("status".to_owned())
        .spawn(move || collecting.collect())?;
    let stop = stop.clone();
    let serve: Arc<Serve> = Arc::new(move |request: &Request, connection: &mut Connection| {
        status.serve(request, connection)
    });
    let accept = std::thread::Builder::new()
        .name("status acceptor".to_owned())
        .spawn(move || http::accept(&listener, &stop, &serve))?;
    Ok(vec![collect, accept])
}

impl Status {
    /// Takes a snapshot each second, until the server stops.
    fn collect(&self) {
        while !self.stop.wait(INTERVAL) {
            let at = now();
            let before = Arc::clone(&self.newest.lock());
            let next = Arc::new(before.next((self.source.facts)(at), at));
            *self.newest.lock() = next;
            self.renewed.notify_all();
            (self.source.admit)(&|| {
                let (waits, life) = (Arc::clone(&self.waits), Arc::clone(&self.life));
                Box::new(WaitProbe { since: now(), waits, life })
            });
        }
    }

    fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock())
    }

    fn serve(&self, request: &Request, connection: &mut Connection) -> io::Result<()> {
        let is_head = request.is_head;
        let mut text = |code, body: &str| {
            respond(connection, code, "text/plain", "", &format!("{body}\n"), is_head)
        };
        let is_known = self.is_authorized(request.authorization.as_deref());
        if !is_known {
            let (kind, ask) = ("text/plain", "WWW-Authenticate: Basic realm=\"poolftpd\"\r\n");
            return respond(
                connection,
                401,
                kind,
                ask,
                "The token is missing or wrong.\n",
                is_head,
            );
        }
        let host = request.host.as_deref().unwrap_or_default();
        if self.checks_host && self.token.is_none() && !is_own_host(host) {
            return text(421, "The Host header must be an address or localhost.");
        }
        let (json, prometheus) = ("application/json", "text/plain; version=0.0.4");
        let snapshot = self.newest();
        match request.path.as_str() {
            "/livez" if self.life.is_shown(now()) => text(200, "ok"),
            "/livez" => text(503, "the workers do not respond"),
            "/readyz" => {
                let (_, because) = snapshot.state();
                let words: Vec<String> = because.iter().map(|word| format!("\"{word}\"")).collect();
                let ready = because.is_empty();
                let body = format!(
                    "{{\"ready\":{ready},\"because\":[{}]{}}}\n",
                    words.join(","),
                    json::problems(&snapshot)
                );
                respond(connection, if ready { 200 } else { 503 }, json, "", &body, is_head)
            }
            "/metrics" => {
                let body = exposition::metrics(&snapshot, &self.source.counters, &self.waits);
                respond(connection, 200, prometheus, "", &body, is_head)
            }
            "/status.json" => respond(connection, 200, json, "", &json::status(&snapshot), is_head),
            "/sessions.json" => {
                respond(connection, 200, json, "", &json::sessions(&snapshot), is_head)
            }
            "/" => {
                let body = page::page(&snapshot);
                respond(connection, 200, "text/html", &self.policy, &body, is_head)
            }
            "/events" if is_head => text(200, ""),
            "/events" => self.stream(connection),
            _ => text(404, "There is nothing here."),
        }
    }

    /// Accepts the token as a bearer token, or as the password of any user, which browsers ask for.
    fn is_authorized(&self, header: Option<&str>) -> bool {
        let Some(expected) = &self.token else { return true };
        let Some((scheme, value)) = header.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let value = value.trim();
        let given = if scheme.eq_ignore_ascii_case("bearer") {
            value.to_owned()
        } else if scheme.eq_ignore_ascii_case("basic") {
            let text = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.and_then(|text| Some(text.split_once(':')?.1.to_owned())).unwrap_or_default()
        } else {
            return false;
        };
        // SECURITY: hashes are compared, so the time of the comparison reveals nothing about the token.
        let given: [u8; 32] = Sha256::digest(given).into();
        given == *expected
    }

    /// Sends the state each second as server-sent events, until the client or the server is gone.
    fn stream(&self, connection: &mut Connection) -> io::Result<()> {
        if self.listeners.fetch_add(1, Ordering::AcqRel) >= LISTENERS_MAX {
            self.listeners.fetch_sub(1, Ordering::AcqRel);
            return respond(connection, 503, "text/plain", "", "Too many readers.\n", false);
        }
        let sent = self.send_states(connection);
        self.listeners.fetch_sub(1, Ordering::AcqRel);
        sent
    }

    fn send_states(&self, connection: &mut Connection) -> io::Result<()> {
        begin_stream(connection, "text/event-stream")?;
        connection.write_all(b"retry: 3000\n\n")?;
        let mut sent = None;
        while !self.stop.is_triggered() {
            let snapshot = {
                let mut newest = self.newest.lock();
                if sent == Some(newest.number) {
                    let _timeout = self.renewed.wait_for(&mut newest, INTERVAL * 2);
                }
                Arc::clone(&newest)
            };
            if sent == Some(snapshot.number) {
                continue;
            }
            sent = Some(snapshot.number);
            let sessions = json::sessions(&snapshot);
            let list =
                sessions.trim_end().split_once("\"sessions\":").map_or("[]}", |(_, list)| list);
            let status = json::status(&snapshot);
            let event = format!(
                "event: state\ndata: {{\"status\":{},\"sessions\":{list}\n\n",
                status.trim_end()
            );
            connection.write_all(event.as_bytes())?;
        }
        Ok(())
    }
}
