//! The configuration: checked values of the command line, and every limit with its name.

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

/// The configuration of a server.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "one field an option of the command line")]
pub struct Config {
    /// The directory that is served.
    pub root: PathBuf,
    /// The address to listen on; `None` means every address, IPv6 and IPv4.
    pub bind: Option<IpAddr>,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// Number of worker threads.
    pub workers: NonZeroUsize,
    /// Number of slaves in this process, each with its own port and pool; 0 means no balancer.
    pub slaves: u16,
    /// True if anonymous may write.
    pub write: bool,
    /// `--user`: the user whose rights the server has once its ports are open.
    pub user: Option<String>,
    /// `--allow`: directories that stay open to the process, besides those served at the start.
    pub allow: Vec<PathBuf>,
    /// The file of the users who log in with a password.
    pub users: Option<PathBuf>,
    /// True if anonymous may log in.
    pub anonymous: bool,
    /// Virtual hosts, which clients select by name.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Certificates and keys.
    pub tls: TlsFiles,
    /// `--tls-max`: the newest version of TLS.
    pub tls_max: Newest,
    /// `--require-tls`: logins and data connections need TLS.
    pub require_tls: bool,
    /// `--implicit-tls`: the port of implicit TLS.
    pub implicit_tls: Option<u16>,
    /// Required or optional resumption of the control connection's TLS session on data connections.
    pub resumption: Resumption,
    /// True if an upload is flushed to the disk before it is acknowledged.
    pub flush: bool,
    /// The ports for passive data connections; `None` means any.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// `--data-from`: networks that data connections may come from, besides the client's own address.
    pub data_from: Networks,
    /// The address in replies to PASV; `None` means that of the control connection.
    pub public_address: Option<Ipv4Addr>,
    /// The name that is looked up for this address, at the start and then periodically.
    pub public_name: Option<String>,
    /// The limits.
    pub limits: Limits,
    /// The log level.
    pub level: Level,
}

/// A virtual host: the name that clients ask for (HOST, or SNI of TLS), its root and its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// The name, in lower case.
    pub name: String,
    /// The directory that it serves.
    pub root: PathBuf,
    /// The file of its users.
    pub users: Option<PathBuf>,
    /// True if anonymous may log in.
    pub anonymous: bool,
    /// Its certificate and key.
    pub key: Option<KeyFiles>,
}

impl FromStr for VirtualHost {
    type Err = String;

    /// Parses `NAME,root=DIR[,users=FILE][,anonymous][,cert=FILE][,key=FILE]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, words) = text.split_once(',').unwrap_or((text, ""));
        let (mut root, mut users, mut anonymous) = (None, None, false);
        let (mut certificate, mut key): (Option<PathBuf>, Option<PathBuf>) = (None, None);
        // A slave process may have another current directory, so paths are made absolute.
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

/// Default of `--max-clients`.
const CLIENTS_MAX: usize = 10_000;

/// Default divisor of all sessions for the share of one address, so that no address takes the seats of all others.
const ADDRESS_SHARE: usize = 4;

/// Returns the default maximum number of sessions from one address: a quarter of all, and at least one.
#[must_use]
pub const fn per_address_share(clients_max: usize) -> usize {
    let share = clients_max / ADDRESS_SHARE;
    if share == 0 { 1 } else { share }
}

/// The limits of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `--max-clients`: maximum number of concurrent sessions.
    pub clients_max: usize,
    /// `--max-per-ip`: maximum number of concurrent sessions from one address.
    pub per_address_max: usize,
    /// Maximum time for a client to log in.
    pub login_timeout: Duration,
    /// Maximum time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// `--idle-timeout`: maximum time without a command between transfers.
    pub idle_timeout: Duration,
    /// Maximum time for a data connection to open, and for a reserved passive port to stay unused.
    pub data_connect_timeout: Duration,
    /// `--stall-timeout`: maximum time for which the data connection of a transfer moves nothing.
    pub stall_timeout: Duration,
    /// Maximum time for which a client may leave its replies unread.
    pub reply_timeout: Duration,
    /// Maximum time for transfers to finish once the server is stopping.
    pub stop_grace: Duration,
    /// Maximum number of wrong passwords before the connection is closed.
    pub login_failures_max: u8,
    /// Delay of the reply to a wrong password; it doubles each time, to at most eight times this.
    pub login_delay: Duration,
    /// Number of wrong passwords from one address that locks it out.
    pub lockout_failures: u32,
    /// Duration of a lockout.
    pub lockout: Duration,
    /// `--trust`: networks that are never locked out.
    pub trusted: Networks,
    /// Maximum number of commands per second of one session.
    pub commands_per_second_max: u32,
    /// Maximum number of passive ports that wait for a client.
    pub passive_ports_open_max: usize,
    /// Maximum number of passwords that wait to be checked.
    pub logins_pending_max: usize,
    /// `--keep-partial`: time for which a partial upload is kept to be resumed.
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
    /// Creates the configuration of a server for this directory, on a free port, with every default.
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

/// The settings that a slave process receives from its master: all but the listening address and the number of workers.
impl Config {
    /// Returns the settings as lines `name value`.
    #[must_use]
    pub fn settings(&self) -> String {
        let limits = &self.limits;
        let seconds = |duration: Duration| duration.as_secs_f64();
        let mut lines = vec![
            format!("write {}", self.write),
            format!("anonymous {}", self.anonymous),
            format!("require_tls {}", self.require_tls),
            format!("resumption {}", self.resumption),
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
            format!("level {}", self.level),
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

    /// Adopts the settings that [`Config::settings`] has written.
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
            "resumption" => self.resumption = value.parse().ok()?,
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
            "level" => self.level = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// Returns twice the number of processors, at least four: workers wait for disks as well as for processors.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    NonZeroUsize::new((processors() * 2).max(4)).unwrap_or(NonZeroUsize::MIN)
}

/// Returns the number of processors available to this process; one, if it is unknown.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The reason why a server cannot start: one sentence, with the remedy.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Parses `LO-HI`, or one port.
///
/// # Errors
/// If these are no ports, or LO is above HI.
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
