//! pure-ftpd.conf: `Name value`; Debian has a directory with a file for each directive instead (pure-ftpd-wrapper(8)).

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use super::directive::Directive;
use super::draft::Draft;
use super::rule::{Row, Rule, apply, find, is_on};

const USERS: &str =
    "import the users with ftppasswd --import; each has a home and permissions of its own";
const PERMISSION: &str = "see --may of ftppasswd, for each user";
const OUTSIDE: &str = "see auth-socket, and docs/users.md";
const RATE: &str = "see --down and --up of ftppasswd, for each user";

const TABLE: &[Row] = &[
    ("chrooteveryone", Rule::Always("every user sees only the home")),
    ("trustedgid", Rule::Missing("every user sees only the home")),
    ("brokenclientscompatibility", Rule::Same("listings have a fixed form")),
    ("daemonize", Rule::Same("the service manager runs it")),
    ("maxclientsnumber", Rule::Limit("max-clients")),
    ("maxclientsperip", Rule::Limit("max-per-ip")),
    ("verboselog", Rule::Special),
    ("displaydotfiles", Rule::Always("files with a dot are listed")),
    ("anonymousonly", Rule::Special),
    ("noanonymous", Rule::Special),
    ("anonymouscancreatedirs", Rule::Never("write gives anonymous users every permission")),
    ("anonymouscantupload", Rule::Special),
    ("antiwarez", Rule::Same("anonymous users cannot write without the setting write")),
    ("allowanonymousfxp", Rule::Never("see data-from")),
    ("allowuserfxp", Rule::Never("see data-from")),
    ("syslogfacility", Rule::Special),
    ("fortunesfile", Rule::Missing("there is no text for a greeting")),
    ("dontresolve", Rule::Always("addresses are not looked up")),
    ("maxidletime", Rule::Minutes("idle-timeout")),
    ("ldapconfigfile", Rule::Missing(OUTSIDE)),
    ("mysqlconfigfile", Rule::Missing(OUTSIDE)),
    ("pgsqlconfigfile", Rule::Missing(OUTSIDE)),
    ("puredb", Rule::Missing(USERS)),
    ("extauth", Rule::Missing(OUTSIDE)),
    ("pamauthentication", Rule::Never(OUTSIDE)),
    ("unixauthentication", Rule::Never(USERS)),
    ("limitrecursion", Rule::Same("LIST -R is bounded")),
    ("maxload", Rule::Missing("the load of the machine is not looked at")),
    ("passiveportrange", Rule::Special),
    ("forcepassiveip", Rule::Text("public-address")),
    ("anonymousratio", Rule::Missing("there are no ratios")),
    ("userratio", Rule::Missing("there are no ratios")),
    ("anonymousbandwidth", Rule::Missing(RATE)),
    ("userbandwidth", Rule::Missing(RATE)),
    ("umask", Rule::Missing("set UMask= in the unit of systemd, or --umask of a user")),
    ("minuid", Rule::Same("only users of the users file log in")),
    ("useftpusers", Rule::Same("only users of the users file log in")),
    ("allowdotfiles", Rule::Always("names with a dot may be written")),
    ("prohibitdotfileswrite", Rule::Never("names are not filtered")),
    ("prohibitdotfilesread", Rule::Never("names are not filtered")),
    ("autorename", Rule::Never("STOR replaces a file; STOU chooses a new name")),
    ("norename", Rule::Never(PERMISSION)),
    ("nochmod", Rule::Never(PERMISSION)),
    ("keepallfiles", Rule::Never(PERMISSION)),
    ("notruncate", Rule::Never("uploads replace a file when they are complete")),
    ("createhomedir", Rule::Never("homes must exist")),
    ("quota", Rule::Missing("see --quota of ftppasswd, for each user")),
    ("maxdiskusage", Rule::Missing("see --quota of ftppasswd, for each user")),
    ("peruserlimits", Rule::Missing("see --sessions of ftppasswd, for each user")),
    ("customerproof", Rule::Same("a user without permissions still sees the home")),
    ("calluploadscript", Rule::Missing("see hook-spool and hook-command")),
    ("pidfile", Rule::Same("the service manager knows the process")),
    ("ipv4only", Rule::Special),
    ("ipv6only", Rule::Special),
    ("bind", Rule::Special),
    ("trustedip", Rule::Missing("use the firewall")),
    ("altlog", Rule::Special),
    ("logpid", Rule::Same("the log has the session of each line")),
    ("clientcharset", Rule::Special),
    ("fscharset", Rule::Special),
    ("tls", Rule::Special),
    ("tlsciphersuite", Rule::Missing("the ciphers are fixed, all of them strong")),
    ("certfile", Rule::Cert),
    ("certfileandkey", Rule::Special),
    ("extcert", Rule::Missing("one certificate for each name: see [[tls]]")),
];

pub(super) fn is_known(name: &str) -> bool {
    find(TABLE, name).is_some()
}

pub(super) fn parse(text: &str) -> Vec<Directive> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let directive = |(line, text): (usize, &str)| {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Directive { line, name: name.to_owned(), value: value.trim().to_owned() }
    };
    lines.map(directive).collect()
}

/// Returns the directory of Debian as a file: the name of each file, and its first line that is no comment.
pub(super) fn joined(directory: &Path) -> io::Result<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut text = String::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let content = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let mut lines = content.lines().map(str::trim);
        let value = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        if let (Some(name), Some(value)) = (path.file_name(), value) {
            let _written = writeln!(text, "{} {value}", name.to_string_lossy());
        }
    }
    Ok(text)
}

pub(super) fn convert(directives: &[Directive], draft: &mut Draft) {
    draft.value("port", &21);
    let last = |name: &str| {
        directives.iter().rev().find(|directive| directive.name.eq_ignore_ascii_case(name))
    };
    let on = |name: &str| last(name).and_then(|directive| is_on(&directive.value)) == Some(true);
    draft.value("anonymous", &!on("NoAnonymous"));
    if !on("NoAnonymous") {
        draft.text("root", "/srv/ftp");
        draft.remark("the root of anonymous users was the home of the user ftp: adapt root");
        if !on("AnonymousCantUpload") {
            draft.remark("anonymous users could upload: set write = true, if you want that");
        }
    }
    if !on("AnonymousOnly") {
        draft.text("users", "/etc/poolftpd/users");
        draft.remark(USERS);
    }
    for directive in directives {
        match find(TABLE, &directive.name) {
            Some(Rule::Special) => special(directive, draft),
            Some(rule) => apply(rule, directive, draft),
            None => draft.missing(directive, "unknown"),
        }
    }
    match last("TLS").map(|directive| directive.value.as_str()) {
        Some("1" | "2" | "3") if draft.has_tls() => {}
        Some("1" | "2" | "3") => {
            draft.cert("/etc/ssl/private/pure-ftpd.pem");
        }
        _ => draft.without_tls(),
    }
}

fn special(directive: &Directive, draft: &mut Draft) {
    let value = directive.value.as_str();
    match directive.name.to_ascii_lowercase().as_str() {
        "verboselog" if is_on(value) == Some(true) => draft.text("log-level", "verbose"),
        "verboselog" | "anonymousonly" | "noanonymous" | "anonymouscantupload" => {}
        "syslogfacility" if value.eq_ignore_ascii_case("none") => {
            draft.missing(directive, "the log always has an output");
        }
        "syslogfacility" => draft.log_to("syslog"),
        "passiveportrange" => match value.split([' ', ':']).collect::<Vec<_>>()[..] {
            [low, high] => draft.text("passive-ports", &format!("{low}-{high}")),
            _ => draft.missing(directive, "not two ports"),
        },
        "ipv4only" if is_on(value) == Some(true) && !draft.has("bind") => {
            draft.text("bind", "0.0.0.0");
        }
        "ipv6only" if is_on(value) == Some(true) && !draft.has("bind") => draft.text("bind", "::"),
        "ipv4only" | "ipv6only" => draft.same(directive, "listens on IPv6 and IPv4"),
        "bind" => {
            let (address, port) = value.split_once(',').unwrap_or((value, "21"));
            if !address.is_empty() {
                draft.text("bind", address);
            }
            match port.trim().parse::<u16>() {
                Ok(port) => draft.value("port", &port),
                Err(_) => draft.missing(directive, "the port must be a number"),
            }
        }
        "altlog" => match value.split_once(':') {
            Some(("xferlog", file)) => draft.log_to(&format!("{file},format=xferlog")),
            Some((_, file)) => {
                draft.log_to(&format!("{file},format=json,events=transfers"));
                draft.missing(directive, "the format is JSON now; xferlog is possible, too");
            }
            None => draft.missing(directive, "not a format and a file"),
        },
        "clientcharset" | "fscharset" if value.eq_ignore_ascii_case("utf-8") => {
            draft.same(directive, "names are UTF-8");
        }
        "clientcharset" | "fscharset" => draft.missing(directive, "names are UTF-8"),
        "tls" => match value {
            "0" => draft.same(directive, "no TLS"),
            "1" => draft.value("require-tls", &false),
            "2" => {
                draft.value("require-tls", &true);
                draft.missing(directive, "require-tls is for data connections, too");
            }
            "3" => draft.value("require-tls", &true),
            _ => draft.missing(directive, "not a number from 0 to 3"),
        },
        "certfileandkey" => {
            let mut words =
                value.trim_matches('"').split('"').filter(|word| !word.trim().is_empty());
            words.next().into_iter().for_each(|cert| draft.cert(cert.trim()));
            words.next().into_iter().for_each(|key| draft.key(key.trim()));
        }
        _ => draft.missing(directive, "unknown"),
    }
}
