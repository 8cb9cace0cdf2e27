//! A value of each setting for tests, which is not its default.

use super::kind::Kind;
use super::row::Row;

/// Returns a value of this setting: one that any row of its type accepts, or one of its own.
pub(super) fn sample(row: &Row) -> Vec<String> {
    let own: &[&str] = match row.id {
        "anonymous" | "fsync" => &["false"],
        "bind" => &["192.0.2.9"],
        "listen" => &["192.0.2.1:21", "[::]:990,tls"],
        "user" => &["ftp"],
        "hook_post" => &["http://127.0.0.1:8080/a?b=c", "https://example.net/"],
        "check_post" => &["http://127.0.0.1:8080/check"],
        "control_group" => &["staff"],
        "scan" => &["/run/clamav/clamd.ctl"],
        "user_entries" => &["alice:secret:home=/srv/a b", "bob:$6$salt$hash"],
        "virtual_host" => &[
            "a.example,root=/srv/a,users=/etc/users,anonymous,cert=/etc/a.pem,key=/etc/a.key",
            r"b.example,root=/srv/b\,c,anonymous",
        ],
        "directory" => &[
            r"/in,may=list\,create,users=a\,b,hosts=c.example",
            "/*/a b,may=none,groups=staff,anonymous",
        ],
        "group" => &[
            r"staff,home=/srv/a\,b/%u,may=list\,read,quota=1024,from=10.0.0.0/8\,::1/128,umask=027",
            "b,may=all",
        ],
        "mount" => {
            &[r"/pub,dir=/srv/a\,b,may=list\,read,users=a\,b", "/in/x,dir=/srv/x,may=all,anonymous"]
        }
        "tls_cert" => &["/etc/one.pem", "/etc/two.pem"],
        "tls_key" => &["/etc/one key", "/etc/two key"],
        "tls_max" => &["1.2"],
        "tls_reuse" => &["optional"],
        "passive_ports" => &["5-9"],
        "data_from" | "proxy_from" => &["192.0.2.0/24", "2001:db8::/32"],
        "trust" => &["10.0.0.0/8", "::1/128"],
        "public_address" => &["ftp.example.net", "192.0.2.7"],
        "log_level" => &["verbose"],
        "status" => &["192.0.2.7:9121"],
        "log_format" => &["json"],
        "log_also" => {
            &["/var/log/audit,format=json,level=verbose,events=audit", "journal,without=connect"]
        }
        _ => &[],
    };
    let of_type: &[&str] = match row.kind {
        Kind::Switch => &["true"],
        Kind::Number => &["7"],
        Kind::Time => &["1.5s"],
        Kind::Size => &["2048"],
        Kind::Path => &["/srv/a \"b\""],
        Kind::Text => &[],
    };
    let texts = if own.is_empty() { of_type } else { own };
    texts.iter().map(|text| (*text).to_owned()).collect()
}
