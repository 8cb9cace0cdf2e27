//! vsftpd.conf: `name=value`, without spaces (vsftpd.conf(5)).

use super::directive::Directive;
use super::draft::Draft;
use super::rule::{Row, Rule, apply, find, is_on};

const USERS: &str =
    "import the users with ftppasswd --import; each has a home and permissions of its own";
const PERMISSION: &str = "see --may of ftppasswd, for each user";
const RATE: &str = "see --down and --up of ftppasswd, for each user";
const OLD_TLS: &str = "TLS 1.2 and 1.3 only";
const UMASK: &str = "set UMask= in the unit of systemd, or --umask of a user";
const GREETING: &str = "there is no text for a greeting or a directory";

const TABLE: &[Row] = &[
    ("listen", Rule::Same("listens by itself")),
    ("listen_ipv6", Rule::Same("listens on IPv6 and IPv4")),
    ("background", Rule::Same("the service manager runs it")),
    ("listen_port", Rule::Limit("port")),
    ("listen_address", Rule::Text("bind")),
    ("listen_address6", Rule::Text("bind")),
    ("anonymous_enable", Rule::Special),
    ("local_enable", Rule::Special),
    ("write_enable", Rule::Special),
    ("anon_upload_enable", Rule::Special),
    ("anon_root", Rule::Text("root")),
    ("local_root", Rule::Missing(USERS)),
    ("anon_mkdir_write_enable", Rule::Special),
    ("anon_other_write_enable", Rule::Special),
    (
        "anon_world_readable_only",
        Rule::Never("files are served as far as the server can read them"),
    ),
    ("chown_uploads", Rule::Never("all files belong to the user of the server")),
    ("chroot_local_user", Rule::Always("every user sees only the home")),
    ("chroot_list_enable", Rule::Never("every user sees only the home")),
    ("chroot_list_file", Rule::Same("every user sees only the home")),
    ("allow_writeable_chroot", Rule::Same("homes may be writable")),
    ("passwd_chroot_enable", Rule::Never(USERS)),
    ("secure_chroot_dir", Rule::Same("uses Landlock")),
    ("nopriv_user", Rule::Same("see User= in the unit, or the setting user")),
    ("ftp_username", Rule::Same("all sessions run as the user of the server")),
    ("guest_enable", Rule::Missing(USERS)),
    ("guest_username", Rule::Missing(USERS)),
    ("virtual_use_local_privs", Rule::Missing(PERMISSION)),
    ("user_config_dir", Rule::Missing(USERS)),
    ("user_sub_token", Rule::Missing(USERS)),
    ("userlist_enable", Rule::Missing("only users of the users file log in")),
    ("userlist_file", Rule::Missing("only users of the users file log in")),
    ("userlist_deny", Rule::Missing("only users of the users file log in")),
    ("check_shell", Rule::Missing("users have no shell here")),
    ("pam_service_name", Rule::Missing("see auth-socket, and docs/users.md for PAM")),
    ("session_support", Rule::Never("see auth-socket, and docs/users.md for PAM")),
    ("tcp_wrappers", Rule::Missing("use the firewall")),
    ("local_umask", Rule::Missing(UMASK)),
    ("anon_umask", Rule::Missing(UMASK)),
    ("file_open_mode", Rule::Missing(UMASK)),
    ("chmod_enable", Rule::Always(PERMISSION)),
    ("download_enable", Rule::Always(PERMISSION)),
    ("dirlist_enable", Rule::Always(PERMISSION)),
    ("ls_recurse_enable", Rule::Same("LIST -R is bounded")),
    ("cmds_allowed", Rule::Missing(PERMISSION)),
    ("cmds_denied", Rule::Missing(PERMISSION)),
    ("deny_file", Rule::Missing("names are not filtered")),
    ("hide_file", Rule::Missing("names are not filtered")),
    ("hide_ids", Rule::Missing("listings have the owner of the file")),
    ("use_localtime", Rule::Never("times are in UTC, as RFC 3659 demands")),
    ("text_userdb_names", Rule::Missing("listings have fixed names")),
    ("ftpd_banner", Rule::Missing(GREETING)),
    ("banner_file", Rule::Missing(GREETING)),
    ("dirmessage_enable", Rule::Never(GREETING)),
    ("message_file", Rule::Missing(GREETING)),
    ("xferlog_enable", Rule::Special),
    ("xferlog_file", Rule::Special),
    ("xferlog_std_format", Rule::Same("xferlog is one output of several")),
    ("vsftpd_log_file", Rule::Special),
    ("dual_log_enable", Rule::Same("there may be several outputs")),
    ("syslog_enable", Rule::Special),
    ("log_ftp_protocol", Rule::Special),
    ("ssl_enable", Rule::Special),
    ("rsa_cert_file", Rule::Cert),
    ("rsa_private_key_file", Rule::Key),
    ("dsa_cert_file", Rule::Missing("DSA is obsolete")),
    ("dsa_private_key_file", Rule::Missing("DSA is obsolete")),
    ("ca_certs_file", Rule::Special),
    ("require_cert", Rule::Special),
    ("validate_cert", Rule::Special),
    ("force_local_logins_ssl", Rule::Special),
    ("force_local_data_ssl", Rule::Special),
    ("force_anon_logins_ssl", Rule::Special),
    ("force_anon_data_ssl", Rule::Special),
    ("allow_anon_ssl", Rule::Same("everyone may use TLS")),
    ("require_ssl_reuse", Rule::Special),
    ("strict_ssl_read_eof", Rule::Same("a TLS connection without its end is an incomplete upload")),
    ("implicit_ssl", Rule::Special),
    ("ssl_sslv2", Rule::Never(OLD_TLS)),
    ("ssl_sslv3", Rule::Never(OLD_TLS)),
    ("ssl_tlsv1", Rule::Missing(OLD_TLS)),
    ("ssl_tlsv1_1", Rule::Missing(OLD_TLS)),
    ("ssl_tlsv1_2", Rule::Always(OLD_TLS)),
    ("ssl_tlsv1_3", Rule::Always(OLD_TLS)),
    ("ssl_ciphers", Rule::Missing("the ciphers are fixed, all of them strong")),
    ("debug_ssl", Rule::Same("the log has the TLS version of each session")),
    ("pasv_enable", Rule::Always("passive connections are always possible")),
    ("pasv_min_port", Rule::Special),
    ("pasv_max_port", Rule::Special),
    ("pasv_address", Rule::Text("public-address")),
    ("pasv_addr_resolve", Rule::Same("the address may be a name")),
    ("pasv_promiscuous", Rule::Special),
    ("port_enable", Rule::Always("active connections are always possible")),
    ("port_promiscuous", Rule::Never("active connections go to the client only")),
    ("connect_from_port_20", Rule::Never("active connections come from any port")),
    ("ftp_data_port", Rule::Missing("active connections come from any port")),
    ("ascii_upload_enable", Rule::Always("TYPE A is always possible")),
    ("ascii_download_enable", Rule::Always("TYPE A is always possible")),
    ("async_abor_enable", Rule::Same("ABOR is served during transfers")),
    ("mdtm_write", Rule::Always("MDTM and MFMT set times")),
    ("utf8_filesystem", Rule::Same("names are UTF-8")),
    ("lock_upload_files", Rule::Same("uploads are locked")),
    (
        "delete_failed_uploads",
        Rule::Missing("incomplete uploads are hidden, and kept for keep-partial hours"),
    ),
    ("use_sendfile", Rule::Same("uses sendfile")),
    ("one_process_model", Rule::Same("there is one process")),
    ("setproctitle_enable", Rule::Missing("see ftpserver ctl status")),
    ("reverse_lookup_enable", Rule::Never("addresses are not looked up")),
    ("isolate", Rule::Same("uses Landlock")),
    ("isolate_network", Rule::Same("uses Landlock")),
    ("seccomp_sandbox", Rule::Same("the unit has a list of system calls")),
    ("max_clients", Rule::Limit("max-clients")),
    ("max_per_ip", Rule::Limit("max-per-ip")),
    ("max_login_fails", Rule::Limit("max-login-failures")),
    ("delay_failed_login", Rule::Seconds("login-delay")),
    ("delay_successful_login", Rule::Missing("logins are not delayed")),
    ("idle_session_timeout", Rule::Seconds("idle-timeout")),
    ("data_connection_timeout", Rule::Seconds("stall-timeout")),
    ("accept_timeout", Rule::Seconds("data-connect-timeout")),
    ("connect_timeout", Rule::Seconds("data-connect-timeout")),
    ("anon_max_rate", Rule::Missing(RATE)),
    ("local_max_rate", Rule::Missing(RATE)),
    ("no_anon_password", Rule::Same("anonymous users need no password")),
    ("secure_email_list_enable", Rule::Never("anonymous users need no password")),
    ("deny_email_enable", Rule::Never("anonymous users need no password")),
];

pub(super) fn is_known(name: &str) -> bool {
    find(TABLE, name).is_some()
}

pub(super) fn parse(text: &str) -> Vec<Directive> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with('#'));
    let split = lines.filter_map(|(number, line)| Some((number, line.split_once('=')?)));
    let directive = |(line, (name, value)): (usize, (&str, &str))| Directive {
        line,
        name: name.trim().to_owned(),
        value: value.trim_end().to_owned(),
    };
    split.map(directive).collect()
}

pub(super) fn convert(directives: &[Directive], draft: &mut Draft) {
    // The last value of a directive holds.
    let last = |name: &str| directives.iter().rev().find(|directive| directive.name == name);
    let on = |name: &str, default: bool| {
        last(name).and_then(|directive| is_on(&directive.value)).unwrap_or(default)
    };
    for directive in directives {
        match find(TABLE, &directive.name) {
            Some(rule) if last(&directive.name) == Some(directive) => apply(rule, directive, draft),
            Some(_) => draft.same(directive, "a later line replaces it"),
            None => draft.missing(directive, "unknown"),
        }
    }
    if !draft.has("port") {
        draft.value("port", &21);
    }
    draft.value("anonymous", &on("anonymous_enable", true));
    if on("anonymous_enable", true) && !draft.has("root") {
        draft.text("root", "/srv/ftp");
        draft.remark("the root of anonymous users was the home of the user ftp: adapt root");
    }
    if on("anonymous_enable", true) && on("write_enable", false) {
        anonymous_writes(&on, draft);
    }
    if on("local_enable", false) {
        draft.text("users", "/etc/poolftpd/users");
        draft.remark(&format!("local_enable: {USERS}"));
        if !on("write_enable", false) {
            draft.remark("write_enable=NO: create the users with ftppasswd --read-only");
        }
    }
    passive(&last, draft);
    logs(&last, &on, draft);
    tls(&last, &on, draft);
}

/// Lets anonymous users change no more than vsftpd does.
fn anonymous_writes(on: &impl Fn(&str, bool) -> bool, draft: &mut Draft) {
    let mut may = vec!["list", "read"];
    if on("anon_upload_enable", false) {
        may.push("create");
    }
    if on("anon_mkdir_write_enable", false) {
        may.push("mkdir");
    }
    if on("anon_other_write_enable", false) {
        may.extend(["delete", "rename"]);
        // To replace a file takes both.
        if on("anon_upload_enable", false) {
            may.extend(["write", "append"]);
        }
    }
    if may.len() > 2 {
        draft.value("write", &true);
        draft.anonymous_may(&may);
    }
}

fn passive<'a>(last: &impl Fn(&str) -> Option<&'a Directive>, draft: &mut Draft) {
    let port = |name| last(name)?.value.parse::<u16>().ok().filter(|port| *port > 0);
    match (port("pasv_min_port"), port("pasv_max_port")) {
        (None, None) => {}
        (low, high) => {
            let (low, high) = (low.unwrap_or(1024), high.unwrap_or(u16::MAX));
            draft.text("passive-ports", &format!("{low}-{high}"));
        }
    }
    if last("pasv_promiscuous").and_then(|directive| is_on(&directive.value)) == Some(true) {
        draft.text("data-from", "0.0.0.0/0,::/0");
    }
}

fn logs<'a>(
    last: &impl Fn(&str) -> Option<&'a Directive>,
    on: &impl Fn(&str, bool) -> bool,
    draft: &mut Draft,
) {
    if on("syslog_enable", false) {
        draft.log_to("syslog");
    }
    if let Some(file) = last("vsftpd_log_file") {
        draft.text("log-file", &file.value);
    }
    if on("xferlog_enable", false) {
        let file = last("xferlog_file").map_or("/var/log/xferlog", |file| &file.value);
        draft.log_to(&format!("{file},format=xferlog"));
    }
    if on("log_ftp_protocol", false) {
        draft.text("log-level", "verbose");
    }
}

fn tls<'a>(
    last: &impl Fn(&str) -> Option<&'a Directive>,
    on: &impl Fn(&str, bool) -> bool,
    draft: &mut Draft,
) {
    if !on("ssl_enable", false) {
        draft.without_tls();
        return;
    }
    if !draft.has_tls() {
        draft.cert("/usr/share/ssl/certs/vsftpd.pem");
    }
    // Both are the default of vsftpd.
    draft.value(
        "require-tls",
        &(on("force_local_logins_ssl", true) && on("force_local_data_ssl", true)),
    );
    draft.text("tls-reuse", if on("require_ssl_reuse", true) { "required" } else { "optional" });
    if on("require_cert", false)
        && let Some(file) = last("ca_certs_file")
    {
        draft.text("tls-client-ca", &file.value);
    }
    if on("implicit_ssl", false) {
        let port = last("listen_port").map_or("990", |port| &port.value).to_owned();
        draft.value("implicit-tls", &port);
        draft.value("port", &21);
        draft.remark("implicit_ssl: port 21 is open, too, because every server here has a port for explicit TLS");
    }
}
