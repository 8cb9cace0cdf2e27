//! The client of an external authenticator: a program behind a Unix socket that knows users of PAM, LDAP or a database.
//!
//! Each login is one connection with one line of JSON each way. SECURITY: the answer decides the home and the
//! permissions, so whoever can open the socket's path for listening is trusted like the users file.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::user_settings::{UserSettings, encode};
use crate::sockets::Connection;
use crate::units;

/// The version of the protocol.
const VERSION: u64 = 1;

/// Maximum number of bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of answers that are remembered. Above it, those that have expired are forgotten, and then all.
const REMEMBERED_MAX: usize = 4096;

/// The names of an answer that are not settings.
const NOT_SETTINGS: [&str; 5] = ["v", "id", "ok", "error", "user"];

/// A login that is verified externally.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) name: &'a [u8],
    pub(super) password: &'a [u8],
    pub(super) from: IpAddr,
    pub(super) tls: bool,
}

/// The settings of a user whose password was right, until they must be asked for again.
#[derive(Debug)]
struct Remembered {
    settings: UserSettings,
    until: Instant,
}

/// An external authenticator.
#[derive(Debug)]
pub struct Authenticator {
    path: PathBuf,
    /// Maximum time for an answer.
    timeout: Duration,
    /// Time for which a right password and its settings are remembered.
    cache_time: Duration,
    /// SECURITY: passwords are never kept. Their hashes are worthless without this key.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl Authenticator {
    /// Creates the client of the authenticator that listens at this path. It connects at each login.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(path: &Path, timeout: Duration, cache_time: Duration) -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom(&mut key, GetRandomFlags::empty())?;
        let path = path.to_owned();
        Ok(Self { path, timeout, cache_time, key, remembered: Mutex::default() })
    }

    /// Returns the settings of the user, or `None` if name or password is wrong. May take the whole time limit.
    ///
    /// # Errors
    /// One sentence for the log, if the authenticator does not answer as it should.
    pub(super) fn verify(&self, question: Question<'_>) -> Result<Option<UserSettings>, String> {
        // JSON has no other text, and no name or password of such a system has other bytes.
        let (Ok(name), Ok(password)) =
            (std::str::from_utf8(question.name), std::str::from_utf8(question.password))
        else {
            return Ok(None);
        };
        let digest = self.digest(question);
        if let Some(settings) = self.recall(&digest, now()) {
            return Ok(Some(settings));
        }
        let request = json!({
            "v": VERSION, "id": 1, "user": name, "password": password,
            "client": question.from.to_string(), "tls": question.tls,
        });
        let line = Zeroizing::new(format!("{request}\n"));
        forget(request);
        let answer = self.exchange(line.as_bytes()).map_err(|error| {
            format!("{}: {}", self.path.display(), units::unreadable(&self.path, &error))
        })?;
        let settings = parse(&answer).map_err(|what| format!("{}: {what}", self.path.display()))?;
        if let Some(settings) = &settings {
            self.remember(digest, settings.clone(), now());
        }
        Ok(settings)
    }

    fn digest(&self, Question { name, password, from, tls }: Question<'_>) -> [u8; 32] {
        let length = (name.len() as u64).to_be_bytes();
        let hash = Sha256::new().chain_update(self.key).chain_update(length).chain_update(name);
        let hash = hash.chain_update([u8::from(tls)]).chain_update(from.to_string());
        hash.chain_update([0]).chain_update(password).finalize().into()
    }

    fn recall(&self, digest: &[u8; 32], now: Instant) -> Option<UserSettings> {
        let remembered = self.remembered.lock();
        let found = remembered.get(digest).filter(|found| now < found.until)?;
        Some(found.settings.clone())
    }

    fn remember(&self, digest: [u8; 32], settings: UserSettings, now: Instant) {
        if self.cache_time.is_zero() {
            return;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, found| now < found.until);
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, Remembered { settings, until: now + self.cache_time });
    }

    /// Forgets all answers.
    pub(super) fn forget(&self) {
        self.remembered.lock().clear();
    }

    fn exchange(&self, line: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = Connection::unix(&self.path, self.timeout)?;
        stream.write_all(line)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = match stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            answer.extend_from_slice(bytes.get(..end.unwrap_or(count)).unwrap_or_default());
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
            if end.is_some() || (count == 0 && !answer.is_empty()) {
                return Ok(answer);
            }
            if count == 0 {
                return Err(io::Error::other("no answer"));
            }
        }
    }
}

/// Wipes the password of a request.
fn forget(request: Value) {
    if let Value::Object(mut request) = request
        && let Some(Value::String(password)) = request.remove("password")
    {
        drop(Zeroizing::new(password));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this runs on a thread of its own, which waits for another program"
)]
fn now() -> Instant {
    Instant::now()
}

/// Returns the settings in an answer, or `None` if the password is wrong.
fn parse(answer: &[u8]) -> Result<Option<UserSettings>, String> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| format!("the answer is not JSON: {error}"))?;
    let Value::Object(answer) = answer else {
        return Err("the answer is not a JSON object".to_owned());
    };
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(format!("the authenticator reports: {}", error.escape_debug()));
    }
    match answer.get("ok").and_then(Value::as_bool) {
        Some(true) => {}
        Some(false) => return Ok(None),
        None => return Err("the answer has no \"ok\"".to_owned()),
    }
    let mut settings = UserSettings::default();
    for (name, value) in answer.iter().filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str())) {
        let Some(text) = text(value) else { continue };
        let word = match (name.as_str(), text.as_str()) {
            ("disabled", "true") => name.clone(),
            ("disabled", _) => continue,
            ("home" | "group" | "comment", _) => format!("{name}={}", encode(text.as_bytes())),
            _ => format!("{name}={text}"),
        };
        settings.set(&word).map_err(|what| format!("the answer is wrong: {what}"))?;
    }
    Ok(Some(settings))
}

/// Returns a value as the text of a setting; `None` for null and for what is no text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has a listener of its own")]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const QUESTION: Question<'_> = Question {
        name: b"bob",
        password: b"se\"cret",
        from: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        tls: true,
    };

    /// Answers each request with this text, and asks the closure to look at it; returns the outcomes of the questions.
    fn ask(
        answer: &'static [u8],
        questions: &[Question<'_>],
        cache_time: Duration,
    ) -> (Vec<Result<Option<UserSettings>, String>>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = AtomicUsize::new(0);
        let authenticator = Authenticator::new(&path, Duration::from_secs(5), cache_time).unwrap();
        let outcomes = std::thread::scope(|scope| {
            let asked = &asked;
            scope.spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let mut line = String::new();
                    io::BufReader::new(&stream).read_line(&mut line).unwrap();
                    if line.is_empty() {
                        break;
                    }
                    let request: Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(request["password"], "se\"cret");
                    assert_eq!(request["client"], "127.0.0.1");
                    assert_eq!(request["v"], 1);
                    asked.fetch_add(1, Ordering::Relaxed);
                    (&stream).write_all(answer).unwrap();
                }
            });
            let outcomes =
                questions.iter().map(|question| authenticator.verify(*question)).collect();
            drop(UnixStream::connect(&path).unwrap());
            outcomes
        });
        (outcomes, asked.into_inner())
    }

    fn ask_once(answer: &'static [u8]) -> Result<Option<UserSettings>, String> {
        ask(answer, &[QUESTION], Duration::ZERO).0.remove(0)
    }

    #[test]
    fn an_answer_has_the_settings_of_the_user() {
        let answer = br#"{"id":1,"ok":true,"home":"/srv/a b","may":["list","read"],"quota":"10G","sessions":3,"umask":null}"#;
        let settings = ask_once(answer).unwrap().unwrap();
        let expected = " home=/srv/a%20b may=list,read quota=10737418240 sessions=3";
        assert_eq!(settings.to_string(), expected);
        assert_eq!(ask_once(b"{\"ok\":false}\n"), Ok(None));
    }

    #[test]
    fn an_answer_that_is_wrong_is_an_error_and_no_login() {
        for (answer, what) in [
            (&b"\n"[..], "not JSON"),
            (b"", "no answer"),
            (b"[]\n", "not a JSON object"),
            (b"{}\n", "no \"ok\""),
            (b"{\"ok\":\"true\"}\n", "no \"ok\""),
            (b"{\"ok\":true,\"home\":\"relative\"}\n", "does not begin with /"),
            (b"{\"ok\":true,\"colour\":\"blue\"}\n", "unknown setting 'colour'"),
            (b"{\"error\":\"LDAP is down\"}\n", "LDAP is down"),
        ] {
            let wrong = ask_once(answer).unwrap_err();
            assert!(wrong.contains(what), "{what}: {wrong}");
        }
        let long = vec![b'x'; ANSWER_BYTES_MAX + 1].leak();
        assert!(ask_once(long).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_right_password_is_remembered_and_any_other_is_asked_for() {
        let (hour, other) = (Duration::from_hours(1), Question { tls: false, ..QUESTION });
        let (outcomes, asked) = ask(b"{\"ok\":true}\n", &[QUESTION, QUESTION, other], hour);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Some(_)))), "{outcomes:?}");
        assert_eq!(asked, 2);
        let (_, asked) = ask(b"{\"ok\":false}\n", &[QUESTION, QUESTION], hour);
        assert_eq!(asked, 2, "a wrong password is never remembered");
    }

    #[test]
    fn a_silent_authenticator_is_given_up_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let missing = Authenticator::new(&path, Duration::from_millis(50), Duration::ZERO).unwrap();
        assert!(missing.verify(QUESTION).unwrap_err().contains("no such file"));
        let _listener = UnixListener::bind(&path).unwrap();
        let wrong = missing.verify(QUESTION).unwrap_err();
        assert!(wrong.contains("timed out"), "{wrong}");
    }
}
