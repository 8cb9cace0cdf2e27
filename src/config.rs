//! What the command line says, checked once, and every limit with its name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::log::Level;
use crate::net::data::Resumption;
use crate::net::tls::{KeyFiles, Newest, TlsFiles};
use crate::units::{Networks, networks};

/// How the server is to run.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "one field an option of the command line")]
pub struct Config {
    /// The directory that is served.
    pub root: PathBuf,
    /// The address to listen on; `None` is every address, IPv6 and IPv4.
    pub bind: Option<IpAddr>,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// How many slaves in process, each with its own port and pool; 0 is a server without balancer.
    pub slaves: u16,
    /// Whether anonymous may write.
    pub write: bool,
    /// `--user`: whose rights the server has once its ports are open.
    pub user: Option<String>,
    /// `--allow`: directories that stay open to the process besides what is served at the start.
    pub allow: Vec<PathBuf>,
    /// The file of those who may log in by a password.
    pub users: Option<PathBuf>,
    /// Whether anonymous may log in.
    pub anonymous: bool,
    /// Names that clients can ask for, each with its own.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Certificates and keys.
    pub tls: TlsFiles,
    /// `--tls-max`.
    pub tls_max: Newest,
    /// `--require-tls`.
    pub require_tls: bool,
    /// `--implicit-tls`: a port where TLS begins at once.
    pub implicit_tls: Option<u16>,
    /// Whether data connections must resume the TLS session of their control connection.
    pub resumption: Resumption,
    /// Whether an upload is flushed to the disk before it counts as done.
    pub flush: bool,
    /// The ports for passive data connections; `None` is any.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// `--data-from`: networks that data connections may come from, besides the client's own address.
    pub data_from: Networks,
    /// The address to tell in replies to PASV; `None` is that of the control connection.
    pub public_address: Option<Ipv4Addr>,
    /// A name that is looked up for this address, at the start and then again and again.
    pub public_name: Option<String>,
    /// The limits.
    pub limits: Limits,
    /// How much is logged.
    pub level: Level,
}

/// A name that clients can ask for (HOST, or SNI of TLS): its root, and who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// In small letters.
    pub name: String,
    /// The directory that it serves.
    pub root: PathBuf,
    /// The file of its users.
    pub users: Option<PathBuf>,
    /// Whether anonymous may log in.
    pub anonymous: bool,
    /// Its certificate.
    pub key: Option<KeyFiles>,
}

impl FromStr for VirtualHost {
    type Err = String;

    /// `NAME,root=DIR[,users=FILE][,anonymous][,cert=FILE][,key=FILE]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, words) = text.split_once(',').unwrap_or((text, ""));
        let (mut root, mut users, mut anonymous) = (None, None, false);
        let (mut certificate, mut key): (Option<PathBuf>, Option<PathBuf>) = (None, None);
        // A slave process may have another current directory.
        let path = |value: &str| std::path::absolute(value).unwrap_or_else(|_| value.into());
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some(("root", value)) => root = Some(path(value)),
                Some(("users", value)) => users = Some(path(value)),
                Some(("cert", value)) => certificate = Some(path(value)),
                Some(("key", value)) => key = Some(path(value)),
                None if word == "anonymous" => anonymous = true,
                _ => {
                    return Err(format!(
                        "'{word}' is none of root=, users=, anonymous, cert=, key="
                    ));
                }
            }
        }
        if name.is_empty() {
            return Err("a virtual host needs a name".to_owned());
        }
        if key.is_some() && certificate.is_none() {
            return Err("key= needs cert=".to_owned());
        }
        let key = certificate.map(|certificate| {
            let key = key.unwrap_or_else(|| certificate.clone());
            KeyFiles { certificate, key }
        });
        Ok(Self {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            root: root.ok_or("a virtual host needs root=DIR")?,
            anonymous: anonymous || users.is_none(),
            users,
            key,
        })
    }
}

impl fmt::Display for VirtualHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{},root={}", self.name, self.root.display())?;
        if let Some(users) = &self.users {
            write!(formatter, ",users={}", users.display())?;
        }
        if self.anonymous {
            formatter.write_str(",anonymous")?;
        }
        if let Some(KeyFiles { certificate, key }) = &self.key {
            write!(formatter, ",cert={},key={}", certificate.display(), key.display())?;
        }
        Ok(())
    }
}

/// `--max-clients`, where nothing else is said.
const CLIENTS_MAX: usize = 10_000;

/// The part of all sessions that one address may have, where nothing else is said: no address takes the seats of all others.
const ADDRESS_SHARE: usize = 4;

/// Returns the default maximum of sessions from one address for a maximum of all sessions: a quarter, and at least one.
#[must_use]
pub const fn per_address_share(clients_max: usize) -> usize {
    let share = clients_max / ADDRESS_SHARE;
    if share == 0 { 1 } else { share }
}

/// Every limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `--max-clients`: sessions at once.
    pub clients_max: usize,
    /// `--max-per-ip`: sessions at once from one address.
    pub per_address_max: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// `--idle-timeout`: how long a client may say nothing between transfers.
    pub idle_timeout: Duration,
    /// How long a data connection may take to come about, and a reserved passive port may stay unused.
    pub data_connect_timeout: Duration,
    /// `--stall-timeout`: how long the data connection of a transfer may move nothing.
    pub stall_timeout: Duration,
    /// How long a client may leave its replies unread.
    pub reply_timeout: Duration,
    /// How long transfers may take to finish once the server is stopping.
    pub stop_grace: Duration,
    /// Wrong passwords before the connection is closed.
    pub login_failures_max: u8,
    /// How long the answer to a wrong password takes; twice as long each time, up to eight times.
    pub login_delay: Duration,
    /// Wrong passwords in a row from one address before it is locked out.
    pub lockout_failures: u32,
    /// For how long it is.
    pub lockout: Duration,
    /// `--trust`: networks that are never locked out.
    pub trusted: Networks,
    /// Commands in a second of one session.
    pub commands_per_second_max: u32,
    /// Passive ports that wait for a client at once.
    pub passive_ports_open_max: usize,
    /// Passwords that wait to be checked.
    pub logins_pending_max: usize,
    /// `--keep-partial`: how long what arrived of an interrupted upload is kept to be resumed.
    pub partial_age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: CLIENTS_MAX,
            per_address_max: per_address_share(CLIENTS_MAX),
            login_timeout: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(5),
            data_connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_mins(2),
            reply_timeout: Duration::from_mins(1),
            stop_grace: Duration::from_secs(30),
            login_failures_max: 3,
            login_delay: Duration::from_secs(1),
            lockout_failures: 10,
            lockout: Duration::from_mins(10),
            trusted: Vec::new(),
            commands_per_second_max: 50_000,
            passive_ports_open_max: 10_000,
            logins_pending_max: 256,
            partial_age_max: Duration::from_hours(24),
        }
    }
}

impl Config {
    /// A server of this directory on a free port, with every default.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            bind: None,
            port: 0,
            workers: default_workers(),
            slaves: 0,
            write: false,
            user: None,
            allow: Vec::new(),
            users: None,
            anonymous: true,
            virtual_hosts: Vec::new(),
            tls: TlsFiles::default(),
            tls_max: Newest::default(),
            require_tls: false,
            implicit_tls: None,
            resumption: Resumption::Required,
            flush: true,
            passive_ports: None,
            data_from: Vec::new(),
            public_address: None,
            public_name: None,
            limits: Limits::default(),
            level: Level::Normal,
        }
    }
}

/// What a slave process is told by its master: everything but where it listens and with how many workers.
impl Config {
    /// As lines `name value`.
    #[must_use]
    pub fn settings(&self) -> String {
        let limits = &self.limits;
        let seconds = |duration: Duration| duration.as_secs_f64();
        let mut lines = vec![
            format!("write {}", self.write),
            format!("anonymous {}", self.anonymous),
            format!("require_tls {}", self.require_tls),
            format!("resumption {:?}", self.resumption),
            format!("tls_max {}", self.tls_max),
            format!("flush {}", self.flush),
            format!("clients_max {}", limits.clients_max),
            format!("per_address_max {}", limits.per_address_max),
            format!("login_timeout {}", seconds(limits.login_timeout)),
            format!("handshake_timeout {}", seconds(limits.handshake_timeout)),
            format!("idle_timeout {}", seconds(limits.idle_timeout)),
            format!("data_connect_timeout {}", seconds(limits.data_connect_timeout)),
            format!("stall_timeout {}", seconds(limits.stall_timeout)),
            format!("reply_timeout {}", seconds(limits.reply_timeout)),
            format!("stop_grace {}", seconds(limits.stop_grace)),
            format!("login_failures_max {}", limits.login_failures_max),
            format!("login_delay {}", seconds(limits.login_delay)),
            format!("lockout_failures {}", limits.lockout_failures),
            format!("lockout {}", seconds(limits.lockout)),
            format!("commands_per_second_max {}", limits.commands_per_second_max),
            format!("passive_ports_open_max {}", limits.passive_ports_open_max),
            format!("logins_pending_max {}", limits.logins_pending_max),
            format!("partial_age_max {}", seconds(limits.partial_age_max)),
            format!("level {:?}", self.level),
        ];
        lines.extend(
            self.passive_ports
                .as_ref()
                .map(|ports| format!("passive_ports {}-{}", ports.start(), ports.end())),
        );
        lines.extend(self.implicit_tls.map(|port| format!("implicit_tls {port}")));
        lines.extend(self.users.as_ref().map(|path| format!("users {}", path.display())));
        for KeyFiles { certificate, key } in &self.tls.keys {
            lines.push(format!("certificate {}", certificate.display()));
            lines.push(format!("key {}", key.display()));
        }
        let authorities = self.tls.client_authorities.as_ref();
        lines.extend(authorities.map(|path| format!("client_authorities {}", path.display())));
        lines.extend(self.virtual_hosts.iter().map(|host| format!("virtual_host {host}")));
        lines.extend(self.data_from.iter().map(|network| format!("data_from {network}")));
        lines.extend(limits.trusted.iter().map(|network| format!("trusted {network}")));
        lines.extend(self.public_name.as_ref().map(|name| format!("public_name {name}")));
        lines.extend(self.public_address.map(|address| format!("public_address {address}")));
        lines.join("\n")
    }

    /// Takes over what [`Config::settings`] wrote.
    ///
    /// # Errors
    /// The line that is not understood: master and slave are of different versions.
    pub fn adopt(&mut self, settings: &str) -> Result<(), String> {
        settings.lines().try_for_each(|line| self.adopt_line(line).ok_or_else(|| line.to_owned()))
    }

    fn adopt_line(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once(' ')?;
        let seconds =
            || value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let limits = &mut self.limits;
        match name {
            "write" => self.write = value.parse().ok()?,
            "anonymous" => self.anonymous = value.parse().ok()?,
            "users" => self.users = Some(value.into()),
            "implicit_tls" => self.implicit_tls = Some(value.parse().ok()?),
            "virtual_host" => self.virtual_hosts.push(value.parse().ok()?),
            "tls_max" => self.tls_max = value.parse().ok()?,
            "require_tls" => self.require_tls = value.parse().ok()?,
            "resumption" => {
                let kinds = [Resumption::Required, Resumption::Optional];
                self.resumption = kinds.into_iter().find(|kind| format!("{kind:?}") == value)?;
            }
            "certificate" => {
                let (certificate, key) = (value.into(), PathBuf::new());
                self.tls.keys.push(KeyFiles { certificate, key });
            }
            "key" => self.tls.keys.last_mut()?.key = value.into(),
            "client_authorities" => self.tls.client_authorities = Some(value.into()),
            "flush" => self.flush = value.parse().ok()?,
            "clients_max" => limits.clients_max = value.parse().ok()?,
            "per_address_max" => limits.per_address_max = value.parse().ok()?,
            "login_timeout" => limits.login_timeout = seconds()?,
            "handshake_timeout" => limits.handshake_timeout = seconds()?,
            "idle_timeout" => limits.idle_timeout = seconds()?,
            "data_connect_timeout" => limits.data_connect_timeout = seconds()?,
            "stall_timeout" => limits.stall_timeout = seconds()?,
            "reply_timeout" => limits.reply_timeout = seconds()?,
            "stop_grace" => limits.stop_grace = seconds()?,
            "login_failures_max" => limits.login_failures_max = value.parse().ok()?,
            "login_delay" => limits.login_delay = seconds()?,
            "lockout_failures" => limits.lockout_failures = value.parse().ok()?,
            "lockout" => limits.lockout = seconds()?,
            "commands_per_second_max" => limits.commands_per_second_max = value.parse().ok()?,
            "passive_ports_open_max" => limits.passive_ports_open_max = value.parse().ok()?,
            "logins_pending_max" => limits.logins_pending_max = value.parse().ok()?,
            "data_from" => self.data_from.extend(networks(value).ok()?),
            "trusted" => limits.trusted.extend(networks(value).ok()?),
            "partial_age_max" => limits.partial_age_max = seconds()?,
            "passive_ports" => self.passive_ports = Some(passive_ports(value).ok()?),
            "public_name" => self.public_name = Some(value.to_owned()),
            "public_address" => self.public_address = Some(value.parse().ok()?),
            "level" => {
                let levels = [Level::Quiet, Level::Normal, Level::Verbose];
                self.level = levels.into_iter().find(|level| format!("{level:?}") == value)?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Twice the processors, four at least: workers wait for disks as well as for processors.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    NonZeroUsize::new((processors() * 2).max(4)).unwrap_or(NonZeroUsize::MIN)
}

/// How many processors there are for this process; one, if that cannot be told.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What keeps a server from starting: one sentence that says what to do.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads `LO-HI`, or one port.
///
/// # Errors
/// When these are no ports, or LO is above HI.
pub fn passive_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low @ 1..), Ok(high)) if low <= high => Ok(low..=high),
        _ => Err(format!(
            "'{text}' is no range of ports; write it as LO-HI, for example 30000-30999"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_adopts_every_setting_of_its_master() {
        let mut master = Config::new(PathBuf::new());
        master.write = true;
        master.flush = false;
        master.users = Some("/etc/poolftpd users".into());
        master.anonymous = false;
        let host = "ftp.example.net,root=/srv/ftp,users=/etc/users,anonymous";
        master.virtual_hosts = vec![host.parse().unwrap()];
        master.tls_max = Newest::V1_2;
        master.require_tls = true;
        master.implicit_tls = Some(990);
        master.resumption = Resumption::Optional;
        let files = |name: &str| KeyFiles { certificate: name.into(), key: "the key".into() };
        master.tls.keys = vec![files("one"), files("two")];
        master.tls.client_authorities = Some("authorities".into());
        master.passive_ports = Some(5..=9);
        master.data_from = networks("192.0.2.0/24,2001:db8::/32").unwrap();
        master.public_address = Some(Ipv4Addr::new(192, 0, 2, 7));
        master.public_name = Some("ftp.example.net".to_owned());
        master.level = Level::Verbose;
        master.limits = Limits {
            clients_max: 1,
            per_address_max: 2,
            login_timeout: Duration::from_millis(1500),
            idle_timeout: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(15),
            data_connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(6),
            reply_timeout: Duration::from_secs(7),
            stop_grace: Duration::from_secs(8),
            login_failures_max: 9,
            login_delay: Duration::from_secs(11),
            lockout_failures: 12,
            lockout: Duration::from_secs(13),
            trusted: networks("10.0.0.0/8,::1").unwrap(),
            logins_pending_max: 14,
            commands_per_second_max: 16,
            passive_ports_open_max: 17,
            partial_age_max: Duration::from_secs(10),
        };
        let mut slave = Config::new(PathBuf::new());
        slave.adopt(&master.settings()).unwrap();
        assert_eq!(format!("{slave:?}"), format!("{master:?}"));
        assert_eq!(slave.adopt("colour blue"), Err("colour blue".to_owned()));
    }

    #[test]
    fn a_virtual_host_is_a_name_a_root_and_what_it_has_of_its_own() {
        let host: VirtualHost = "FTP.Example.net,root=/srv".parse().unwrap();
        assert_eq!((host.name.as_str(), host.anonymous), ("ftp.example.net", true));
        for text in ["", ",root=/a", "a", "a,root", "a,root=/b,colour=blue", "a,root=/b,key=/c"] {
            assert!(text.parse::<VirtualHost>().is_err(), "{text}");
        }
        let text = "a,root=/b,users=/c,cert=/d,key=/e";
        assert_eq!(text.parse::<VirtualHost>().unwrap().to_string(), text);
    }

    #[test]
    fn a_range_of_ports_is_two_ports_in_order_or_one() {
        assert_eq!(passive_ports("50000-50100"), Ok(50_000..=50_100));
        assert_eq!(passive_ports("50000"), Ok(50_000..=50_000));
        for text in ["", "-", "2-1", "0-5", "1-65536", "a-b", "1-2-3"] {
            assert!(passive_ports(text).is_err(), "{text}");
        }
    }
}
