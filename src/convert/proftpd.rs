//! proftpd.conf: `Name value`, in sections `<Section argument>` (proftpd's configuration directives).

use super::directive::Directive;
use super::draft::Draft;
use super::rule::{Row, Rule, apply, find, is_on};

const USERS: &str =
    "import the users with ftppasswd --import; each has a home and permissions of its own";
const PERMISSION: &str = "see --may of ftppasswd, for each user";
const UMASK: &str = "set UMask= in the unit of systemd, or --umask of a user";
const GREETING: &str = "there is no text for a greeting or a directory";
const MODULE: &str = "there are no modules";

const TABLE: &[Row] = &[
    ("servername", Rule::Missing(GREETING)),
    ("serverident", Rule::Missing(GREETING)),
    ("serveradmin", Rule::Missing(GREETING)),
    ("servertype", Rule::Same("the service manager runs it")),
    ("defaultserver", Rule::Same("clients without a host name get the root of the server")),
    ("port", Rule::Limit("port")),
    ("defaultaddress", Rule::Text("bind")),
    ("socketbindtight", Rule::Same("bind is the only address")),
    ("useipv6", Rule::Always("listens on IPv6 and IPv4; bind = \"0.0.0.0\" is IPv4 alone")),
    ("user", Rule::Special),
    ("group", Rule::Same("the group of the user")),
    ("umask", Rule::Missing(UMASK)),
    ("maxinstances", Rule::Special),
    ("maxclients", Rule::Special),
    ("maxclientsperhost", Rule::Special),
    ("maxclientsperuser", Rule::Missing("see --sessions of ftppasswd, for each user")),
    ("maxhostsperuser", Rule::Missing("see --sessions of ftppasswd, for each user")),
    ("maxloginattempts", Rule::Limit("max-login-failures")),
    ("timeoutidle", Rule::Seconds("idle-timeout")),
    ("timeoutlogin", Rule::Seconds("login-timeout")),
    ("timeoutstalled", Rule::Seconds("stall-timeout")),
    ("timeoutnotransfer", Rule::Missing("idle-timeout holds between transfers, too")),
    ("timeoutsession", Rule::Limit("max-session-time")),
    ("timeoutlinger", Rule::Same("waits are bounded")),
    ("passiveports", Rule::Special),
    ("masqueradeaddress", Rule::Text("public-address")),
    (
        "allowforeignaddress",
        Rule::Never("active connections go to the client only; see data-from for passive ones"),
    ),
    ("defaultroot", Rule::Special),
    ("rootlogin", Rule::Never("only users of the users file log in")),
    ("requirevalidshell", Rule::Same("users have no shell here")),
    ("useftpusers", Rule::Same("only users of the users file log in")),
    ("authuserfile", Rule::Special),
    ("authgroupfile", Rule::Missing(USERS)),
    ("authpam", Rule::Missing("see auth-socket, and docs/users.md for PAM")),
    ("authpamconfig", Rule::Missing("see auth-socket, and docs/users.md for PAM")),
    ("authorder", Rule::Missing(USERS)),
    ("persistentpasswd", Rule::Same("users are read again at a reload")),
    ("useralias", Rule::Missing(USERS)),
    ("createhome", Rule::Missing("homes must exist")),
    ("allowoverwrite", Rule::Missing(PERMISSION)),
    ("allowstorerestart", Rule::Always("uploads can be resumed")),
    ("allowretrieverestart", Rule::Always("downloads can be resumed")),
    ("hiddenstores", Rule::Same("uploads are hidden until they are complete")),
    (
        "deleteabortedstores",
        Rule::Missing("incomplete uploads are hidden, and kept for keep-partial hours"),
    ),
    ("transferrate", Rule::Missing("see --down and --up of ftppasswd, for each user")),
    ("storeuniqueprefix", Rule::Missing("STOU chooses the name")),
    ("listoptions", Rule::Missing("listings have a fixed form")),
    ("showsymlinks", Rule::Same("links are shown")),
    ("multilinerfc2228", Rule::Same("replies follow RFC 959")),
    ("deferwelcome", Rule::Missing(GREETING)),
    ("displaylogin", Rule::Missing(GREETING)),
    ("displaychdir", Rule::Missing(GREETING)),
    ("displayconnect", Rule::Missing(GREETING)),
    ("accessgrantmsg", Rule::Missing(GREETING)),
    ("denyfilter", Rule::Missing("names are not filtered")),
    ("allowfilter", Rule::Missing("names are not filtered")),
    ("pathdenyfilter", Rule::Missing("names are not filtered")),
    ("identlookups", Rule::Never("clients are not asked for names")),
    ("usereversedns", Rule::Never("addresses are not looked up")),
    ("timesgmt", Rule::Always("times are in UTC, as RFC 3659 demands")),
    ("usesendfile", Rule::Same("uses sendfile")),
    ("usefsync", Rule::Same("uploads are flushed to the disk")),
    ("transferlog", Rule::Special),
    ("systemlog", Rule::Special),
    ("extendedlog", Rule::Missing("see log-also with events=")),
    ("logformat", Rule::Missing("the formats are text, json and xferlog")),
    ("wtmplog", Rule::Never("logins are in the log")),
    ("uselastlog", Rule::Never("logins are in the log")),
    ("tlsengine", Rule::Special),
    ("tlsrequired", Rule::Special),
    ("tlsrsacertificatefile", Rule::Cert),
    ("tlsrsacertificatekeyfile", Rule::Key),
    ("tlseccertificatefile", Rule::Cert),
    ("tlseccertificatekeyfile", Rule::Key),
    ("tlscertificatechainfile", Rule::Missing("append the chain to the file of the certificate")),
    ("tlscacertificatefile", Rule::Special),
    ("tlsverifyclient", Rule::Special),
    ("tlsoptions", Rule::Special),
    ("tlsprotocol", Rule::Missing("TLS 1.2 and 1.3 only; see tls-max")),
    ("tlsciphersuite", Rule::Missing("the ciphers are fixed, all of them strong")),
    ("tlslog", Rule::Same("the log has the TLS version of each session")),
    ("tlssessioncache", Rule::Same("sessions can be resumed")),
    ("tlsrenegotiate", Rule::Same("there is no renegotiation")),
    ("include", Rule::Missing("convert the included file, too")),
    ("loadmodule", Rule::Same(MODULE)),
    ("modulepath", Rule::Same(MODULE)),
    ("moduleorder", Rule::Same(MODULE)),
    ("controlsengine", Rule::Missing("see ftpserver ctl")),
    ("delayengine", Rule::Always("replies to wrong passwords are delayed")),
    ("quotaengine", Rule::Missing("see --quota of ftppasswd, for each user")),
    ("quotalock", Rule::Same("quotas are exact")),
    ("banengine", Rule::Always("addresses that guess passwords are locked out")),
];

pub(super) fn is_known(name: &str) -> bool {
    find(TABLE, name).is_some() || name.starts_with('<')
}

/// Parses directives. A section is a directive that begins with `<`, and its end one that begins with `</`.
pub(super) fn parse(text: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let (line_number, before) = pending.take().unwrap_or((number, String::new()));
        let line = before + line.trim();
        if let Some(begun) = line.strip_suffix('\\') {
            pending = Some((line_number, format!("{begun} ")));
            continue;
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let value = value.trim();
        let is_quoted = value.len() > 1 && value.matches('"').count() == 2;
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = bare.filter(|_| is_quoted).unwrap_or(value).to_owned();
        found.push(Directive { line: line_number, name: name.to_owned(), value });
    }
    found
}

pub(super) fn convert(directives: &[Directive], draft: &mut Draft) {
    draft.value("port", &21);
    draft.value("anonymous", &false);
    draft.text("users", "/etc/poolftpd/users");
    draft.remark(USERS);
    let mut sections: Vec<String> = Vec::new();
    let mut tls = Tls::default();
    for directive in directives {
        let name = directive.name.to_ascii_lowercase();
        if name.starts_with("</") {
            sections.pop();
        } else if let Some(section) = name.strip_prefix('<') {
            sections.push(section.trim_end_matches('>').to_owned());
            begin(sections.last().map_or("", String::as_str), directive, draft);
        } else if sections.iter().any(|section| is_foreign(section)) {
            draft.missing(directive, "stands in a section that is not converted");
        } else if sections.iter().any(|section| section == "anonymous") {
            let why = "holds for anonymous users alone; here they share the settings of the server";
            draft.missing(directive, why);
        } else {
            match find(TABLE, &name) {
                Some(Rule::Special) => special(&name, directive, draft, &mut tls),
                Some(rule) => apply(rule, directive, draft),
                None => draft.missing(directive, "unknown"),
            }
        }
    }
    tls.finish(draft);
}

/// Returns whether a section holds for a part of the server only.
fn is_foreign(section: &str) -> bool {
    !matches!(section, "ifmodule" | "ifdefine" | "global" | "anonymous")
}

fn begin(section: &str, directive: &Directive, draft: &mut Draft) {
    let place = directive.value.trim_end_matches('>').trim_matches('"');
    match section {
        "anonymous" => {
            draft.value("anonymous", &true);
            if place.starts_with('~') {
                draft.text("root", "/srv/ftp");
                draft.missing(directive, "adapt root to the home of that user");
            } else {
                draft.text("root", place);
            }
        }
        "ifmodule" | "ifdefine" => draft.same(directive, "taken as true"),
        "global" => {}
        "virtualhost" => draft.missing(directive, "write a [[host]] with name, root and users"),
        "directory" | "limit" => {
            draft.missing(directive, "write a [[directory]], or use --may of ftppasswd");
        }
        _ => draft.missing(directive, "the section has no counterpart"),
    }
}

/// The directives of TLS, which count together.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive that is on or off")]
struct Tls {
    is_on: bool,
    is_required: bool,
    is_implicit: bool,
    may_not_reuse: bool,
    verifies_clients: bool,
    authorities: Option<String>,
}

impl Tls {
    fn finish(self, draft: &mut Draft) {
        if !self.is_on {
            return draft.without_tls();
        }
        draft.value("require-tls", &self.is_required);
        draft.text("tls-reuse", if self.may_not_reuse { "optional" } else { "required" });
        if self.is_implicit {
            draft.value("implicit-tls", &990);
            draft.remark(
                "UseImplicitSSL: adapt port and implicit-tls; explicit TLS has a port of its own",
            );
        }
        if let Some(file) = self.authorities.filter(|_| self.verifies_clients) {
            draft.text("tls-client-ca", &file);
        }
    }
}

fn special(name: &str, directive: &Directive, draft: &mut Draft, tls: &mut Tls) {
    let value = directive.value.as_str();
    let first = value.split_whitespace().next().unwrap_or_default();
    let is_off = first.eq_ignore_ascii_case("none");
    match name {
        "user" => {
            draft.text("user", first);
            draft.missing(directive, "leave it out in a unit of systemd with User=");
        }
        "maxinstances" | "maxclients" | "maxclientsperhost" => {
            let key = if name == "maxclientsperhost" { "max-per-ip" } else { "max-clients" };
            match first.parse::<u32>() {
                Ok(number @ 1..) => draft.value(key, &number),
                _ => draft.same(directive, "no limit of its own"),
            }
        }
        "passiveports" => match value.split_whitespace().collect::<Vec<_>>()[..] {
            [low, high] => draft.text("passive-ports", &format!("{low}-{high}")),
            _ => draft.missing(directive, "not two ports"),
        },
        "defaultroot" if matches!(first, "~" | "~/") => {
            draft.same(directive, "every user sees only the home");
        }
        "defaultroot" => draft.missing(directive, "give each user this --home with ftppasswd"),
        "authuserfile" => draft.missing(directive, USERS),
        "transferlog" | "systemlog" if is_off => draft.same(directive, "no such file"),
        "transferlog" => draft.log_to(&format!("{first},format=xferlog")),
        "systemlog" => draft.text("log-file", first),
        "tlsengine" => tls.is_on = is_on(first) == Some(true),
        // "ctrl", "auth" and the like require it for a part; here it is all or nothing, so the safe half.
        "tlsrequired" => {
            tls.is_required = !matches!(is_on(first), Some(false)) && !first.starts_with('!');
        }
        "tlscacertificatefile" => tls.authorities = Some(first.to_owned()),
        "tlsverifyclient" => tls.verifies_clients = is_on(first) == Some(true),
        "tlsoptions" => {
            for option in value.split_whitespace() {
                match option.to_ascii_lowercase().as_str() {
                    "nosessionreuserequired" => tls.may_not_reuse = true,
                    "useimplicitssl" => tls.is_implicit = true,
                    _ => draft.missing(directive, &format!("{option} has no counterpart")),
                }
            }
        }
        _ => draft.missing(directive, "unknown"),
    }
}
