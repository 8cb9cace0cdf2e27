//! The table: one row a setting. `define.rs` explains how to read a row.

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::log::{Format, Level, Output, Target};
use crate::net::data::Resumption;
use crate::net::place::Place;
use crate::net::tls::{Newest, TlsFiles};
use crate::scan::ScannerAddress;
use crate::storage::{DirectoryRule, Group, Mount, Permissions};
use crate::units::Networks;

use super::accessor::{
    Accessor, Certificates, ClientAuthorities, ClientOptional, Keys, PublicAddress, SelfSigned,
    Workers, default_of, first, flags,
};
use super::define::settings;
use super::field::Field;
use super::host::VirtualHost;
use super::include::ReadFiles;
use super::listen::Listen;
use super::ports::default_workers;
use super::row::{Change, Row, Scope, Switch};
use super::user_entry::UserEntry;

settings! {
    root { field root: PathBuf = "_FTPROOT", option "dir",
        ; One 0, Restart, Local, "directory to serve" }
    bind { field bind: Option<IpAddr>, computed "all addresses, IPv6 and IPv4", option "addr",
        ; One 0, Restart, Local, "address to listen on" }
    port { field port: u16 = "2121", option "n",
        ; One 0, Restart, Local, "port to listen on; 0 selects a free port" }
    listen { field listen: Vec<Listen>, computed "the address of --bind and --port", repeated "addr:port",
        ; One 0, Now, Shared, "listen here, in place of --bind, --port and --implicit-tls: ADDR:PORT or PORT, and ,tls for \
        implicit TLS; may be given several times" }
    workers { through Workers, computed "twice the number of processors, at least 4", option "n",
        ; One 1, Restart, Local, "number of worker threads" }
    slaves { field slaves: u16 = "0", option "n",
        ; One 0, Restart, Local, "number of in-process slaves, on the ports following --port; each new client goes to the next slave" }
    user { field user: Option<String>, option "name",
        ; One 0, Restart, Local, "switch from root to this user once the ports are open" }
    allow { field allow: Vec<PathBuf>, repeated "dir",
        ; One 0, Restart, Local, "directory that stays accessible to the server, for homes of users added later; may be given several times" }

    write { field write: bool = "false",
        switch write = "true": "allow anonymous users to write; the users of --users have permissions of their own",
        ; One 0, Restart, Shared, "permission of anonymous users to write" }
    users { field users: Option<PathBuf>, option "file",
        ; One 0, Restart, Shared, "file of users who log in with a password, made by ftppasswd" }
    user_entries { field user_entries: Vec<UserEntry>,
        ; One 0, Restart, Shared, "users in addition to those of --users, each as NAME:PASSWORD or NAME:HASH, followed by :SETTING \
        for each setting; also from POOLFTPD_USER_1, POOLFTPD_USER_2_FILE and so on" }
    auth_socket { field auth_socket: Option<PathBuf>, option "path",
        ; One 0, Restart, Shared, "path of the Unix socket of a program that verifies users who are not in --users, such as ftpauth-pam" }
    auth_timeout { field auth_timeout: Duration = "5",
        ; Seconds 1, Restart, Shared, "maximum time for an answer of --auth-socket" }
    auth_cache { field auth_cache: Duration = "60",
        ; Seconds 0, Restart, Shared, "time for which a right password of --auth-socket is remembered" }
    anonymous { field anonymous: bool = "true", computed "true without --users and --auth-socket, else false",
        switch anonymous = "true": "allow anonymous logins in addition to --users and --auth-socket",
        ; One 0, Restart, Shared, "permission of anonymous users to log in" }
    virtual_host { field virtual_hosts: Vec<VirtualHost>, repeated "host",
        ; One 0, Restart, Shared, "serve another root to clients that request this host name: NAME,root=DIR and, separated by \
        commas, users=FILE, auth-socket=PATH, anonymous, cert=FILE and key=FILE" }

    directory { field directories: Vec<DirectoryRule>,
        ; One 0, NewSessions, Shared, "permissions in a directory and below it: PATH,may=WORDS and, separated by commas, users=, \
        groups=, hosts= and anonymous" }

    group { field groups: Vec<Group>,
        ; One 0, NewSessions, Shared, "settings of the users of a group: NAME,home=DIR and, separated by commas, may=, quota=, \
        files=, down=, up=, sessions=, from= and umask=" }
    mount { field mounts: Vec<Mount>,
        ; One 0, Restart, Shared, "directory that appears in the tree of users at another place: PATH,dir=DIR and, separated by \
        commas, may=, users=, groups=, hosts= and anonymous" }

    tls_cert { through Certificates, repeated "file",
        ; One 0, Restart, Shared, "TLS certificate chain in PEM; may be given several times, for several names" }
    tls_key { through Keys, computed "the file of the certificate", repeated "file",
        ; One 0, Restart, Shared, "private key of the TLS certificate in PEM" }
    self_signed { through SelfSigned, option "file",
        ; One 0, Restart, Local, "file of a self-signed TLS certificate and its key, created if missing" }
    require_tls { field require_tls: bool = "false",
        switch require_tls = "true": "require TLS for logins and data connections",
        ; One 0, NewSessions, Shared, "requirement of TLS for logins and data connections" }
    implicit_tls { field implicit_tls: Option<u16>, option "port",
        ; One 0, Now, Local, "port for implicit TLS, usually 990" }
    tls_client_ca { through ClientAuthorities, option "file",
        ; One 0, Restart, Shared, "require client certificates issued by an authority in this file" }
    tls_client_optional { through ClientOptional, computed "false",
        switch tls_client_optional = "true": "with --tls-client-ca, also accept clients without a certificate",
        ; One 0, Restart, Shared, "whether clients without a certificate are accepted with tls-client-ca" }
    tls_max { field tls_max: Newest = "1.3", option "version",
        ; One 0, Restart, Shared, "newest TLS version, 1.2 or 1.3; with 1.2, more clients can resume sessions" }
    tls_reuse { field resumption: Resumption = "required",
        switch no_tls_reuse = "optional":
            "accept data connections that do not resume the TLS session of the control connection",
        ; One 0, NewSessions, Shared,
        "whether data connections must resume the TLS session of the control connection: required or optional" }

    fsync { field flush: bool = "true",
        switch no_fsync = "false": "confirm uploads without flushing them to the disk",
        ; One 0, NewSessions, Shared, "whether uploads are flushed to the disk before they are confirmed" }
    scan { field scan: Option<ScannerAddress>, option "address",
        ; One 0, NewSessions, Shared,
        "scan uploads before they get their names, by clamd at this socket, a path or HOST:PORT" }
    scan_timeout { limit scan_timeout: Duration = "120",
        ; Seconds 1, NewSessions, Shared, "maximum time to scan an upload" }
    hook_spool { field hook_spool: Option<PathBuf>, option "dir",
        ; One 0, Restart, Shared, "directory that gets a file of JSON for each complete upload, for hooks" }
    hook_command { field hook_command: Vec<PathBuf>, repeated "file",
        ; One 0, Restart, Local, "program to run after each complete upload; needs --hook-spool; may be given several times" }
    hook_post { field hook_post: Vec<String>, repeated "url",
        ; One 0, Restart, Local, "URL that gets a POST after each complete upload; needs --hook-spool; may be given several times" }
    hook_timeout { field hook_timeout: Duration = "30",
        ; Seconds 1, Restart, Shared, "maximum time for one hook, and for one check of an upload" }
    hook_key_file { field hook_key_file: Option<PathBuf>, option "file",
        ; One 0, Restart, Local, "file with the key that signs each POST, in the header X-Poolftpd-Signature" }
    check_socket { field check_socket: Option<PathBuf>, option "path",
        ; One 0, Restart, Shared, "ask the program at this Unix socket for each upload before it gets its name; uploads that it refuses \
        get 550" }
    check_command { field check_command: Option<PathBuf>, option "file",
        ; One 0, Restart, Local, "program that allows or refuses each upload; the server's helper listens at --check-socket and runs it" }
    check_post { field check_post: Option<String>, option "url",
        ; One 0, Restart, Local, "URL that allows or refuses each upload by its answer to a POST; needs --check-socket" }
    hook_retries { field hook_retries: u32 = "10",
        ; One 0, Restart, Local, "maximum number of retries of the hooks of an upload" }
    keep_partial { limit partial_age_max: Duration = "24", option "hours",
        ; Hours 0, Now, Shared, "time to keep partial uploads for resuming, in hours" }

    passive_ports { field passive_ports: Option<RangeInclusive<u16>>, computed "any free port", option "lo-hi",
        ; One 0, NewSessions, Shared, "port range for passive data connections, such as 30000-30999" }
    data_from { field data_from: Networks, computed "the address of the client only", option "networks",
        ; One 0, NewSessions, Shared,
        "networks from which data connections are also accepted, such as 10.0.0.0/8; separated by commas" }
    proxy_from { field proxy_from: Networks, computed "none", option "networks",
        ; One 0, Restart, Shared,
        "networks of proxies, whose connections must begin with a PROXY header that names the client, such as 10.0.0.1; separated \
        by commas" }
    public_address { through PublicAddress, computed "the address that the client connected to", option "ip|name",
        ; One 0, NewSessions, Shared, "IPv4 address, or a name that has one, in replies to PASV" }

    max_clients { limit clients_max: usize = "10000", option "n",
        ; One 1, Now, Shared, "maximum number of concurrent clients" }
    max_per_ip { limit max_per_ip: usize = "2500", computed "a quarter of --max-clients", option "n",
        ; One 1, Now, Shared, "maximum number of concurrent clients from one address" }
    idle_timeout { limit idle_timeout: Duration = "300", option "seconds",
        ; Seconds 1, NewSessions, Shared, "close sessions that are idle for this many seconds" }
    stall_timeout { limit stall_timeout: Duration = "120", option "seconds",
        ; Seconds 1, NewSessions, Shared,
        "close data connections that transfer nothing for this many seconds" }
    login_timeout { limit login_timeout: Duration = "60", option "seconds",
        ; Seconds 1, NewSessions, Shared, "close connections that have not logged in after this many seconds" }
    handshake_timeout { limit handshake_timeout: Duration = "30",
        ; Seconds 1, NewSessions, Shared, "maximum time for a TLS handshake" }
    data_connect_timeout { limit data_connect_timeout: Duration = "30",
        ; Seconds 1, NewSessions, Shared,
        "maximum time for a data connection to open, and for a passive port to stay unused" }
    reply_timeout { limit reply_timeout: Duration = "60",
        ; Seconds 1, NewSessions, Shared, "maximum time that a client may leave replies unread" }
    stop_grace { limit stop_grace: Duration = "30", option "time",
        ; Seconds 0, Now, Shared, "maximum time for transfers to finish when the server stops" }

    max_session_time { limit session_time: Duration = "0", option "time",
        ; Seconds 0, NewSessions, Shared, "maximum duration of a session; a transfer may finish; 0 means no limit" }
    max_rate_down { limit rate_down: Option<NonZeroU64> = "0", option "rate",
        ; One 0, Now, Shared, "maximum number of bytes per second that all clients receive, such as 20M; 0 means no limit" }
    max_rate_up { limit rate_up: Option<NonZeroU64> = "0", option "rate",
        ; One 0, Now, Shared, "maximum number of bytes per second that all clients send" }
    max_rate_down_per_ip { limit rate_down_per_address: Option<NonZeroU64> = "0", option "rate",
        ; One 0, Now, Shared, "maximum number of bytes per second that the clients of one address receive" }
    max_rate_up_per_ip { limit rate_up_per_address: Option<NonZeroU64> = "0", option "rate",
        ; One 0, Now, Shared, "maximum number of bytes per second that the clients of one address send" }
    min_rate { limit rate_least: Option<NonZeroU64> = "0", option "rate",
        ; One 0, NewSessions, Shared, "end transfers that move fewer bytes per second during a minute; 0 means no limit" }
    max_connects_per_minute { limit connects_per_minute: u32 = "0", option "n",
        ; One 0, Now, Shared, "maximum number of connections per minute from one address; 0 means no limit" }
    max_logins_per_minute { limit logins_per_minute: u32 = "0", option "n",
        ; One 0, NewSessions, Shared, "maximum number of logins per minute from one address; 0 means no limit" }

    trust { limit trusted: Networks, option "networks",
        ; One 0, NewSessions, Shared, "networks that are never locked out, such as 10.0.0.0/8; separated by commas" }
    max_login_failures { limit login_failures_max: u8 = "3",
        ; One 1, NewSessions, Shared, "maximum number of wrong passwords in one connection" }
    login_delay { limit login_delay: Duration = "1",
        ; Seconds 0, NewSessions, Shared,
        "delay of the reply to a wrong password; it doubles each time, up to eight times this" }
    lockout_failures { limit lockout_failures: u32 = "10", option "n",
        ; One 1, NewSessions, Shared, "number of wrong passwords after which an address is locked out" }
    lockout_time { limit lockout: Duration = "600", option "time",
        ; Seconds 0, NewSessions, Shared, "duration of a lockout" }
    max_commands_per_second { limit commands_per_second_max: u32 = "50000",
        ; One 1, NewSessions, Shared, "maximum number of commands per second in one session" }
    max_passive_ports { limit passive_ports_open_max: usize = "10000",
        ; One 1, NewSessions, Shared, "maximum number of passive ports that wait for a client" }
    max_pending_logins { limit logins_pending_max: usize = "256",
        ; One 1, Restart, Shared, "maximum number of passwords that wait to be checked" }

    log_level { field level: Level = "normal",
        switch verbose ('v') = "verbose": "also log commands and replies",
        switch quiet ('q') = "quiet": "log only errors and warnings",
        ; One 0, Now, Shared, "amount that is logged: quiet, normal or verbose" }
    log_file { field log_file: Option<PathBuf>, computed "standard error", option "file",
        ; One 0, Restart, Shared, "file to log to; SIGUSR1 opens it again" }
    log_format { field log_format: Option<Format>, computed "text, or fields of the journal if standard error is the journal",
        option "format", ; One 0, Restart, Shared, "format of the log: text, json or xferlog" }
    log_also { field log_also: Vec<Output>, repeated "output",
        ; One 0, Restart, Shared, "another output of the log: stderr, journal, syslog or a file and, separated by commas, format=, \
        level=, events= and without=" }

    control { field control: Option<PathBuf>, option "path",
        ; One 0, Restart, Local, "also take the commands of ftpserver ctl at this Unix socket, which root and the user of the \
        server may use" }
    control_group { field control_group: Option<String>, option "group",
        ; One 0, Restart, Local, "group whose members may also use the socket of --control" }
    status { field status: Option<Place>, option "place",
        ; One 0, Restart, Local, "serve metrics, health and a status page by HTTP at unix:PATH, PORT of this machine, or ADDRESS:PORT" }
    status_token_file { field status_token_file: Option<PathBuf>, option "file",
        ; One 0, Restart, Local, "file with the token that clients of --status must send; needed for an address that others reach" }
    status_paths { field status_paths: bool = "false",
        switch status_paths = "true": "show the names of files on the status page",
        ; One 0, Restart, Local, "names of files on the status page" }
}

/// The divisor of all sessions for the share of one address, so that no address takes the places of all others.
const ADDRESS_SHARE: usize = 4;

/// Returns the default maximum number of sessions from one address: a quarter of all, and at least one.
#[must_use]
pub const fn per_address_share(clients_max: usize) -> usize {
    let share = clients_max / ADDRESS_SHARE;
    if share == 0 { 1 } else { share }
}

impl Config {
    /// Creates the configuration of a server for this directory, on a free port, with every default.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, port: 0, ..Self::default() }
    }

    /// Returns the listeners for clients: those of `listen`, or else those of `bind`, `port` and `implicit-tls`. The first
    /// is the main one.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listen> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let listen = |port, tls| Listen { address: self.bind, port, tls };
        let implicit = self.implicit_tls.map(|port| listen(port, true));
        std::iter::once(listen(self.port, false)).chain(implicit).collect()
    }

    /// Returns the ports on which TLS begins at once.
    #[must_use]
    pub fn implicit_ports(&self) -> Vec<u16> {
        let listeners = self.listeners().into_iter();
        listeners.filter(|listen| listen.tls).map(|listen| listen.port).collect()
    }

    /// Returns whether users other than anonymous can log in to the default host.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.users.is_some() || !self.user_entries.is_empty() || self.auth_socket.is_some()
    }

    /// Returns whether a client may write, on any host.
    #[must_use]
    pub fn allows_writing(&self) -> bool {
        let hosts_write = || self.virtual_hosts.iter().any(VirtualHost::has_users);
        let changes = |may: Permissions| may.and(Permissions::READ_ONLY) != may;
        self.write
            || self.has_users()
            || hosts_write()
            || self.directories.iter().any(|rule| changes(rule.may))
            || self.mounts.iter().any(|mount| changes(mount.may))
    }

    /// Returns the outputs of the log.
    #[must_use]
    pub fn log_outputs(&self) -> Vec<Output> {
        let target = self.log_file.clone().map_or(Target::Stderr, Target::File);
        let also = self.log_also.iter().cloned();
        std::iter::once(Output::new(target, self.log_format)).chain(also).collect()
    }

    /// Returns the files of the log.
    pub fn log_files(&self) -> impl Iterator<Item = &PathBuf> {
        let also = self.log_also.iter().filter_map(|output| match &output.target {
            Target::File(path) => Some(path),
            _ => None,
        });
        self.log_file.iter().chain(also)
    }

    /// Returns whether there is a certificate, of the server or of a virtual host.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        !self.tls.keys.is_empty() || self.virtual_hosts.iter().any(|host| host.key.is_some())
    }
}

/// Returns the row of this name, written with `-` or with `_`.
#[must_use]
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == name || row.name() == name)
}
