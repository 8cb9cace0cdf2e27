//! Messages to the service manager, as `sd_notify(3)` describes them.
//!
//! The socket is connected before the sandbox closes the file system, and kept. A message that the manager does not take
//! at once is dropped, because nothing here waits. Not here: the decision when the server is ready or stalled.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The connection to the service manager that started this process.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Connects to the socket in `NOTIFY_SOCKET`. Returns `None` if the variable is not set.
    ///
    /// # Errors
    /// Returns the kernel's error when the socket cannot be reached.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let watchdog = watchdog(
            env::var_os("WATCHDOG_USEC").as_deref(),
            env::var_os("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self::connect(&name, watchdog).map(Some)
    }

    /// Connects to a socket by its name; `@` begins a name in the abstract namespace.
    pub(crate) fn connect(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes().split_first() {
            Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    /// Makes this process the main one of the service, in the place of an earlier server that reported in this interval.
    #[must_use]
    pub fn taking_over(self, watchdog: Option<Duration>) -> Self {
        let process = std::process::id();
        self.send(&format!("MAINPID={process}"));
        Self { watchdog: self.watchdog.or(watchdog), ..self }
    }

    /// Returns the time after which the manager takes a silent service for stalled, if it watches this one.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that the server accepts connections, or that a reload has ended.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Reports that a reload begins.
    pub fn reloading(&self) {
        // The time distinguishes this message from that of an earlier reload.
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().unwrap_or(0));
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// Reports that the server stops, within this time.
    pub fn stopping(&self, within: Duration) {
        let within = within.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={within}\nSTATUS=Stopping"));
    }

    /// Reports the state in a line for people.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// Reports that the server makes progress.
    pub fn progress(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let _sent = self.socket.send(message.as_bytes());
    }
}

/// Returns the time in `WATCHDOG_USEC`, if it is meant for this process.
fn watchdog(micros: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |text: Option<&OsStr>| text?.to_str()?.parse::<u64>().ok();
    let is_own = process.is_none() || number(process) == Some(own.into());
    number(micros).filter(|micros| is_own && *micros > 0).map(Duration::from_micros)
}

/// Returns a text without line ends, which would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_message_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("poolftpd-test-{}", path.display());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
        for (name, socket) in
            [(path.to_str().unwrap(), at_path), (&format!("@{name}"), abstract_one)]
        {
            let notifier = Notifier::connect(OsStr::new(name), None).unwrap();
            notifier.ready("a\nWATCHDOG=1");
            assert_eq!(receive(&socket), "READY=1\nSTATUS=a WATCHDOG=1");
            notifier.stopping(Duration::from_secs(3));
            assert!(receive(&socket).contains("EXTEND_TIMEOUT_USEC=3000000"));
            notifier.reloading();
            let text = receive(&socket);
            let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
        }
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::connect(path.as_os_str(), None).unwrap();
        // More messages than the kernel queues for a socket.
        for _ in 0..10_000 {
            notifier.progress();
        }
    }

    #[test]
    fn a_watchdog_that_is_meant_for_another_process_is_not_served() {
        let some = |text: &'static str| Some(OsStr::new(text));
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(some("1000000"), None, 7), second);
        assert_eq!(watchdog(some("1000000"), some("7"), 7), second);
        assert_eq!(watchdog(some("1000000"), some("8"), 7), None);
        assert_eq!(watchdog(some("0"), None, 7), None);
        assert_eq!(watchdog(some("soon"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }
}
