//! The sessions that a TLS connection can resume, and what a resumed session proves about its client.
//!
//! A data connection must resume a session that shows who owns it. That is a session of its own control connection.
//! Once that is logged in, it may be one of any control connection of this account, at this host and from this address.
//! So clients with several connections can share their sessions among them.
//!
//! A ticket that was issued before its control connection logged in belongs to no account yet. A data connection that
//! resumes it waits until that login is decided, because clients open several connections at once and use the newest
//! ticket.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::ProtocolVersion;
use rustls::crypto::ring;
use rustls::server::{ProducesTickets, StoresServerSessions};

use crate::sys::Wakeup;

/// The maximum number of resumable sessions of a control connection: its own, and the last ones that data connections
/// began.
const OWN_SESSIONS_MAX: usize = 4;

/// The maximum number of sessions of an account that its connections share.
const SHARED_SESSIONS_MAX: usize = 256;

/// The number of tickets that a client gets with its control connection. Most clients reuse one ticket; some use each
/// once.
pub(super) const CONTROL_TICKETS: usize = 4;

/// The maximum number of data connections that wait for one login.
const WAITING_MAX: usize = 64;

/// An account at a host, from an address: host, name, address.
pub(super) type Account = (Option<String>, Vec<u8>, IpAddr);

/// An unpredictable number.
type Mark = [u8; 16];

/// Sessions that can be resumed.
#[derive(Debug, Default)]
struct Sessions {
    /// Marks inside tickets, one for each session.
    marks: VecDeque<Mark>,
    /// Sessions by session ID, for clients that have no tickets (curl, over TLS 1.2).
    numbered: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Sessions {
    /// Adds other sessions. Beyond `most`, the second one is dropped first: the first is the control connection's own.
    fn take_over(&mut self, other: &Self, most: usize) {
        self.marks.extend(&other.marks);
        self.numbered.extend(other.numbered.iter().cloned());
        while self.marks.len() > most {
            self.marks.remove(1);
        }
        while self.numbered.len() > most {
            self.numbered.remove(1);
        }
    }

    /// Removes the sessions that a connection has added.
    fn forget(&mut self, other: &Self) {
        self.marks.retain(|mark| !other.marks.contains(mark));
        self.numbered.retain(|(number, _)| other.numbered.iter().all(|(known, _)| known != number));
    }

    /// Returns the content of a ticket that has one of these marks.
    fn open(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.marks.iter().find_map(|mark| plain.strip_prefix(mark.as_slice())).map(<[u8]>::to_vec)
    }

    fn get(&self, number: &[u8]) -> Option<Vec<u8>> {
        self.numbered.iter().find(|(known, _)| known == number).map(|(_, session)| session.clone())
    }
}

/// The sessions that all connections of an account share.
type Shared = Mutex<Sessions>;

/// The control connections over TLS and their shared sessions: by account or, before the login, by address.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: Mutex<HashMap<Account, Weak<Shared>>>,
    strangers: Mutex<HashMap<IpAddr, Vec<Weak<Control>>>>,
}

impl Accounts {
    fn shared(&self, account: Account) -> Arc<Shared> {
        let mut known = self.known.lock();
        known.retain(|_, shared| shared.strong_count() > 0);
        let found = known.get(&account).and_then(Weak::upgrade);
        found.unwrap_or_else(|| {
            let shared = Arc::default();
            known.insert(account, Arc::downgrade(&shared));
            shared
        })
    }

    fn add_stranger(&self, control: &Arc<Control>) {
        let mut strangers = self.strangers.lock();
        let of_address = strangers.entry(control.from).or_default();
        of_address.push(Arc::downgrade(control));
    }

    /// Finds a control connection that has not logged in, by a session that it can resume.
    fn stranger<T>(
        &self,
        from: IpAddr,
        find: impl Fn(&Sessions) -> Option<T>,
    ) -> Option<(T, Arc<Control>)> {
        let strangers = self.strangers.lock().get(&from)?.clone();
        strangers.iter().filter_map(Weak::upgrade).find_map(|control| {
            let found = find(&control.state.lock().own)?;
            Some((found, control))
        })
    }

    /// Removes a control connection that has logged in or is gone.
    fn forget_stranger(&self, control: &Control) {
        let (from, gone) = (control.from, std::ptr::from_ref(control));
        let mut strangers = self.strangers.lock();
        if let Some(of_address) = strangers.get_mut(&from) {
            // Does not upgrade any: the drop of a last reference would come back here.
            of_address.retain(|other| other.strong_count() > 0 && other.as_ptr() != gone);
            if of_address.is_empty() {
                strangers.remove(&from);
            }
        }
    }
}

/// A control connection over TLS.
#[derive(Debug)]
pub(super) struct Control {
    from: IpAddr,
    began: Timestamp,
    state: Mutex<State>,
    accounts: Arc<Accounts>,
}

#[derive(Debug, Default)]
struct State {
    own: Sessions,
    /// The sessions of its account, once it is logged in.
    shared: Option<Arc<Shared>>,
    /// Data connections that wait for its login.
    waiting: Vec<Arc<Wakeup>>,
}

impl State {
    fn wake(&mut self) {
        for decided in self.waiting.drain(..) {
            decided.signal();
        }
    }
}

impl Control {
    pub(super) fn new(from: IpAddr, accounts: Arc<Accounts>) -> Arc<Self> {
        let began = Timestamp::now();
        let control = Arc::new(Self { from, began, state: Mutex::default(), accounts });
        control.accounts.add_stranger(&control);
        control
    }

    pub(super) fn log_in(self: &Arc<Self>, host: Option<String>, name: Vec<u8>) {
        let shared = self.accounts.shared((host, name, self.from));
        let mut state = self.state.lock();
        shared.lock().take_over(&state.own, SHARED_SESSIONS_MAX);
        state.shared = Some(shared);
        state.wake();
        drop(state);
        self.accounts.forget_stranger(self);
    }

    pub(super) fn log_out(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let Some(shared) = state.shared.take() else { return };
        shared.lock().forget(&state.own);
        drop(state);
        self.accounts.add_stranger(self);
    }

    fn take_over(&self, begun: &Sessions) {
        let mut state = self.state.lock();
        state.own.take_over(begun, OWN_SESSIONS_MAX);
        if let Some(shared) = &state.shared {
            shared.lock().take_over(begun, SHARED_SESSIONS_MAX);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.state.get_mut().wake();
        self.accounts.forget_stranger(self);
    }
}

/// The proof that a resumed session gives about the client.
#[derive(Debug)]
pub(in crate::net) enum ResumptionProof {
    /// The client is that of the control connection.
    Own,
    /// The answer will be known when another connection has logged in, which makes the bell readable.
    Waits,
    /// The client is another.
    Stranger,
}

/// The issuer of one connection's sessions, which also finds the sessions that it may resume.
///
/// SECURITY: the mark is inside the encrypted ticket, so a ticket of another account is not found here.
pub(super) struct Issuer {
    mark: Mark,
    tickets: Arc<dyn ProducesTickets>,
    control: Arc<Control>,
    /// Sessions that this connection began; none can be resumed before the connection is trusted.
    begun: Mutex<Sessions>,
    trusted: AtomicBool,
    resumed: Mutex<Resumed>,
    /// The resumed ticket is one of TLS 1.2.
    over_tls12: AtomicBool,
}

/// The owner of the session that a connection has resumed.
#[derive(Debug, Clone, Default)]
enum Resumed {
    #[default]
    None,
    /// The connection's own control connection or its account; with the mark of the ticket, if the session came by
    /// ticket.
    Own(Option<Mark>),
    /// A control connection that had not logged in; with the mark of the ticket, if the session came by ticket.
    Undecided(Weak<Control>, Option<Mark>),
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issuer").finish_non_exhaustive()
    }
}

impl Issuer {
    /// Creates the issuer of a new connection's sessions.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub(super) fn new(
        tickets: Arc<dyn ProducesTickets>,
        control: Arc<Control>,
    ) -> io::Result<Arc<Self>> {
        let mut mark = Mark::default();
        let filled = ring::default_provider().secure_random.fill(&mut mark);
        filled.map_err(|_| io::Error::other("cannot get random bytes"))?;
        let begun = Mutex::new(Sessions { marks: [mark].into(), numbered: VecDeque::new() });
        let (trusted, resumed, over_tls12) = Default::default();
        Ok(Arc::new(Self { mark, tickets, control, begun, trusted, resumed, over_tls12 }))
    }

    /// Trusts the connection: from now on, its sessions prove the client.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::Release);
        let mut begun = std::mem::take(&mut *self.begun.lock());
        if matches!(*self.resumed.lock(), Resumed::Own(Some(_)) | Resumed::Undecided(_, Some(_))) {
            // Its tickets have the mark of the ticket that it resumed.
            begun.marks.clear();
        }
        self.control.take_over(&begun);
    }

    /// Finds a session among those of the control connection, those of its account, and those of connections not logged
    /// in.
    fn find<T>(&self, mark: Option<Mark>, find: impl Fn(&Sessions) -> Option<T>) -> Option<T> {
        let shared = {
            let state = self.control.state.lock();
            if let Some(found) = find(&state.own) {
                *self.resumed.lock() = Resumed::Own(mark);
                return Some(found);
            }
            state.shared.clone()?
        };
        if let Some(found) = find(&shared.lock()) {
            *self.resumed.lock() = Resumed::Own(mark);
            return Some(found);
        }
        let (found, other) = self.control.accounts.stranger(self.control.from, find)?;
        *self.resumed.lock() = Resumed::Undecided(Arc::downgrade(&other), mark);
        Some(found)
    }

    /// Returns true if the connection has resumed a ticket of a control connection that is younger than half of the
    /// lifetime of tickets.
    fn has_resumed_new_ticket(&self) -> bool {
        let began = match &*self.resumed.lock() {
            Resumed::Own(Some(_)) => self.control.began,
            Resumed::Undecided(other, Some(_)) => match other.upgrade() {
                Some(other) => other.began,
                None => return false,
            },
            _ => return false,
        };
        let half_life = SignedDuration::from_secs(i64::from(self.tickets.lifetime() / 2));
        Timestamp::now().duration_since(began) < half_life
    }

    /// Returns the owner of the resumed session; if that is not decided yet, `decided` becomes readable when it is.
    pub(super) fn proof(&self, decided: &mut Option<Arc<Wakeup>>) -> io::Result<ResumptionProof> {
        let other = match self.resumed.lock().clone() {
            Resumed::None => return Ok(ResumptionProof::Stranger),
            Resumed::Own(_) => return Ok(ResumptionProof::Own),
            Resumed::Undecided(other, _) => other,
        };
        let Some(other) = other.upgrade() else { return Ok(ResumptionProof::Stranger) };
        let ours = self.control.state.lock().shared.clone();
        let mut theirs = other.state.lock();
        if let Some(shared) = &theirs.shared {
            let is_ours = ours.is_some_and(|ours| Arc::ptr_eq(&ours, shared));
            return Ok(if is_ours { ResumptionProof::Own } else { ResumptionProof::Stranger });
        }
        if decided.is_some() {
            return Ok(ResumptionProof::Waits);
        }
        if theirs.waiting.len() >= WAITING_MAX {
            return Ok(ResumptionProof::Stranger);
        }
        let made = Arc::new(Wakeup::new()?);
        theirs.waiting.push(Arc::clone(&made));
        *decided = Some(made);
        Ok(ResumptionProof::Waits)
    }
}

impl ProducesTickets for Issuer {
    /// Returns false over TLS 1.2 once a ticket was resumed that is still new, so that the client keeps it. OpenSSL
    /// never resumes a session again for which it has received another ticket, and PHP and Ruby resume the session of
    /// the control connection each time. An empty ticket is no way out, because Go takes it for the new one.
    fn enabled(&self) -> bool {
        !(self.over_tls12.load(Ordering::Acquire) && self.has_resumed_new_ticket())
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    /// Makes a ticket with the mark of the resumed ticket, so that it is valid like that one at once: a client may use
    /// it elsewhere before this handshake has ended here.
    ///
    /// Makes none for a client that is not proven: the ticket would be worthless, and a client that shares its newest
    /// ticket among all its connections would be refused with it everywhere.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mark = match &*self.resumed.lock() {
            Resumed::Undecided(_, mark) => (*mark)?,
            Resumed::None if !self.trusted.load(Ordering::Acquire) => return None,
            Resumed::None | Resumed::Own(None) => self.mark,
            Resumed::Own(Some(mark)) => *mark,
        };
        self.tickets.encrypt(&[mark.as_slice(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.tickets.decrypt(cipher)?;
        let session = self.find(plain.first_chunk().copied(), |sessions| sessions.open(&plain))?;
        self.over_tls12.store(is_tls12(&session), Ordering::Release);
        Some(session)
    }
}

impl StoresServerSessions for Issuer {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        // One connection begins one session.
        let begun = Sessions { numbered: [(key, value)].into(), ..Sessions::default() };
        if self.trusted.load(Ordering::Acquire) {
            self.control.take_over(&begun);
        } else {
            self.begun.lock().numbered = begun.numbered;
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(None, |sessions| sessions.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Returns true for a session of TLS 1.2, in the encoding of rustls: the name of the server, if there is one, and the
/// version.
fn is_tls12(session: &[u8]) -> bool {
    let version = match session {
        [0, version @ ..] => Some(version),
        [1, length, rest @ ..] => rest.get(usize::from(*length)..),
        _ => None,
    };
    let tls12 = u16::from(ProtocolVersion::TLSv1_2).to_be_bytes();
    version.is_some_and(|version| version.starts_with(&tls12))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicUsize;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    /// Counts the tickets that it makes.
    #[derive(Debug)]
    struct Counting(Arc<dyn ProducesTickets>, AtomicUsize);

    impl ProducesTickets for Counting {
        fn enabled(&self) -> bool {
            true
        }

        fn lifetime(&self) -> u32 {
            self.0.lifetime()
        }

        fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.encrypt(plain)
        }

        fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
            self.0.decrypt(cipher)
        }
    }

    fn configs(version: &'static rustls::SupportedProtocolVersion) -> (ServerConfig, ClientConfig) {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (server.unwrap(), client)
    }

    #[test]
    fn over_tls_1_2_a_client_gets_no_ticket_in_place_of_a_new_one() {
        for (version, expected) in
            [(&rustls::version::TLS12, [1, 1]), (&rustls::version::TLS13, [1, 2])]
        {
            let (server, client) = configs(version);
            let (client, accounts) = (Arc::new(client), Arc::default());
            let tickets = Arc::new(Counting(ring::Ticketer::new().unwrap(), AtomicUsize::new(0)));
            let control = Control::new(Ipv4Addr::LOCALHOST.into(), accounts);
            for made in expected {
                let issuer = Issuer::new(Arc::clone(&tickets) as _, Arc::clone(&control)).unwrap();
                let mut config = server.clone();
                (config.ticketer, config.send_tls13_tickets) = (Arc::clone(&issuer) as _, 1);
                config.session_storage = Arc::clone(&issuer) as _;
                let mut server = ServerConnection::new(Arc::new(config)).unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
                issuer.trust();
                while client.wants_write() || server.wants_write() {
                    let (mut sent, mut received) = (Vec::new(), Vec::new());
                    client.write_tls(&mut sent).unwrap();
                    server.read_tls(&mut sent.as_slice()).unwrap();
                    server.process_new_packets().unwrap();
                    server.write_tls(&mut received).unwrap();
                    client.read_tls(&mut received.as_slice()).unwrap();
                    client.process_new_packets().unwrap();
                }
                assert_eq!(tickets.1.load(Ordering::Relaxed), made, "{version:?}");
            }
        }
    }
}
