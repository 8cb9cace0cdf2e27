//! Conversions of configurations as the packages of the distributions and their manuals have them.

use argh::FromArgs;

use super::*;
use crate::settings::{Arguments, Settings};

const VSFTPD: &str = "\
# Example config file /etc/vsftpd.conf
listen=NO
listen_ipv6=YES
anonymous_enable=NO
local_enable=YES
write_enable=YES
local_umask=022
dirmessage_enable=YES
use_localtime=YES
xferlog_enable=YES
connect_from_port_20=YES
idle_session_timeout=600
data_connection_timeout=120
ftpd_banner=Welcome to \"blah\" FTP service.
chroot_local_user=YES
secure_chroot_dir=/var/run/vsftpd/empty
pam_service_name=vsftpd
rsa_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
rsa_private_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
ssl_enable=YES
require_ssl_reuse=NO
pasv_min_port=30000
pasv_max_port=30999
pasv_address=192.0.2.10
max_clients=200
max_per_ip=0
no_such_directive=1
";

const PROFTPD: &str = "\
Include /etc/proftpd/modules.conf
UseIPv6 on
<IfModule mod_ident.c>
  IdentLookups off
</IfModule>
ServerName \"Debian\"
ServerType standalone
TimeoutNoTransfer 600
TimeoutStalled 600
TimeoutIdle 1200
DefaultRoot ~
Port 2121
PassivePorts 49152 65534
MasqueradeAddress ftp.example.net
MaxInstances 30
User proftpd
Group nogroup
Umask 022 022
AllowOverwrite on
TransferLog /var/log/proftpd/xferlog
SystemLog /var/log/proftpd/proftpd.log
<IfModule mod_tls.c>
  TLSEngine on
  TLSRequired on
  TLSRSACertificateFile /etc/ssl/certs/proftpd.crt
  TLSRSACertificateKeyFile /etc/ssl/private/proftpd.key
  TLSOptions NoSessionReuseRequired \\
     AllowClientRenegotiations
</IfModule>
<Anonymous /srv/public>
  User ftp
  MaxClients 10
  <Limit WRITE>
    DenyAll
  </Limit>
</Anonymous>
<Directory /srv/in>
  HideFiles (^secret)
</Directory>
";

const PURE_FTPD: &str = "\
ChrootEveryone               yes
MaxClientsNumber             50
MaxClientsPerIP              8
VerboseLog                   no
NoAnonymous                  yes
SyslogFacility               ftp
DontResolve                  yes
MaxIdleTime                  15
PureDB                       /etc/pureftpd.pdb
PassivePortRange             30000 50000
Bind                         127.0.0.1,2121
Umask                        133:022
AltLog                       clf:/var/log/pureftpd.log
TLS                          2
CertFile                     /etc/ssl/private/pure-ftpd.pem
";

/// Returns a line of the conversion, and fails if there is none.
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
}

/// Checks that every directive is a setting or in a comment, and that the result is a configuration.
fn is_whole(text: &str, lines: usize, unremarked: usize) {
    let remarks = text.lines().filter(|line| line.starts_with("#   line ")).count();
    assert!(remarks + unremarked >= lines, "{remarks} of {lines} lines are remarked:\n{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("poolftpd.toml");
    fs::write(&file, text).unwrap();
    let arguments = Arguments::from_args(&["test"], &["--config", file.to_str().unwrap()]).unwrap();
    let (_, problems) = Settings::read(&arguments, &Vec::new());
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{shown:?} in:\n{text}");
}

#[test]
fn a_configuration_of_vsftpd_is_converted_line_by_line() {
    assert_eq!(Dialect::recognize(VSFTPD), Some(Dialect::Vsftpd));
    let text = converted(Dialect::Vsftpd, "vsftpd.conf", VSFTPD);
    for line in [
        "port = 21",
        "anonymous = false",
        "users = \"/etc/poolftpd/users\"",
        "idle-timeout = 600",
        "stall-timeout = 120",
        "log-also = [\"/var/log/xferlog,format=xferlog\"]",
        "cert = \"/etc/ssl/certs/ssl-cert-snakeoil.pem\"",
        "key = \"/etc/ssl/private/ssl-cert-snakeoil.key\"",
        "require-tls = true",
        "tls-reuse = \"optional\"",
        "passive-ports = \"30000-30999\"",
        "public-address = \"192.0.2.10\"",
        "max-clients = 200",
        "#   line 7: local_umask 022: set UMask= in the unit of systemd, or --umask of a user",
        "#   line 27: no_such_directive 1: unknown",
    ] {
        has(&text, line);
    }
    is_whole(&text, 26, 14);
}

#[test]
fn the_defaults_of_vsftpd_are_said_where_they_differ() {
    let text = converted(Dialect::Vsftpd, "vsftpd.conf", "listen=YES\n");
    has(&text, "anonymous = true");
    has(&text, "port = 21");
    assert!(!text.contains("[[tls]]"), "TLS is off by default:\n{text}");
    is_whole(&text, 1, 0);
    let text = converted(Dialect::Vsftpd, "vsftpd.conf", "rsa_cert_file=/etc/a.pem\n");
    has(&text, "#   /etc/a.pem: not used, because TLS is off");
}

#[test]
fn anonymous_users_may_change_no_more_than_with_vsftpd() {
    for (more, may) in [
        ("", None),
        ("anon_upload_enable=YES", Some("list,read,create")),
        ("anon_mkdir_write_enable=YES", Some("list,read,mkdir")),
        ("anon_other_write_enable=YES", Some("list,read,delete,rename")),
        (
            "anon_upload_enable=YES\nanon_other_write_enable=YES",
            Some("list,read,create,delete,rename,write,append"),
        ),
    ] {
        for is_on in [true, false] {
            let write = if is_on { "YES" } else { "NO" };
            let source = format!("anonymous_enable=YES\nwrite_enable={write}\n{more}\n");
            let text = converted(Dialect::Vsftpd, "vsftpd.conf", &source);
            let may = may.filter(|_| is_on);
            assert_eq!(text.contains("\nwrite = true\n"), may.is_some(), "{text}");
            let rule = |may| format!("path = \"/\"\nanonymous = true\nmay = \"{may}\"\n");
            assert_eq!(text.contains("[[directory]]"), may.is_some(), "{text}");
            assert!(may.is_none_or(|may| text.contains(&rule(may))), "{text}");
            is_whole(&text, 0, 0);
        }
    }
}

#[test]
fn a_configuration_of_proftpd_is_converted_with_its_sections() {
    assert_eq!(Dialect::recognize(PROFTPD), Some(Dialect::ProFtpd));
    let text = converted(Dialect::ProFtpd, "proftpd.conf", PROFTPD);
    for line in [
        "port = 2121",
        "anonymous = true",
        "root = \"/srv/public\"",
        "idle-timeout = 1200",
        "stall-timeout = 600",
        "passive-ports = \"49152-65534\"",
        "public-address = \"ftp.example.net\"",
        "max-clients = 30",
        "log-file = \"/var/log/proftpd/proftpd.log\"",
        "log-also = [\"/var/log/proftpd/xferlog,format=xferlog\"]",
        "cert = \"/etc/ssl/certs/proftpd.crt\"",
        "require-tls = true",
        "tls-reuse = \"optional\"",
        "#   line 38: HideFiles (^secret): stands in a section that is not converted",
    ] {
        has(&text, line);
    }
    assert!(text.contains("line 27: TLSOptions"), "a continued line has one number:\n{text}");
    assert!(text.contains("line 32: MaxClients 10: holds for anonymous"), "{text}");
    is_whole(&text, 20, 14);
}

#[test]
fn a_configuration_of_pure_ftpd_is_converted_from_a_file_and_from_a_directory() {
    assert_eq!(Dialect::recognize(PURE_FTPD), Some(Dialect::PureFtpd));
    let of_file = converted(Dialect::PureFtpd, "pure-ftpd.conf", PURE_FTPD);
    let folder = tempfile::tempdir().unwrap();
    for Directive { name, value, .. } in pure_ftpd::parse(PURE_FTPD) {
        fs::write(folder.path().join(name), format!("# a comment\n{value}\n")).unwrap();
    }
    let of_directory = convert(folder.path(), None).unwrap();
    for text in [&of_file, &of_directory] {
        for line in [
            "port = 2121",
            "bind = \"127.0.0.1\"",
            "anonymous = false",
            "max-clients = 50",
            "max-per-ip = 8",
            "idle-timeout = \"15m\"",
            "passive-ports = \"30000-50000\"",
            "require-tls = true",
            "cert = \"/etc/ssl/private/pure-ftpd.pem\"",
        ] {
            has(text, line);
        }
        assert!(text.contains("syslog") && text.contains("/var/log/pureftpd.log"), "{text}");
        is_whole(text, 15, 11);
    }
}

#[test]
fn a_file_of_no_known_server_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smb.conf");
    fs::write(&file, "[global]\nworkgroup = A\n").unwrap();
    assert!(convert(&file, None).unwrap_err().contains("--from"));
    assert!(convert(&file, Some("wu-ftpd")).unwrap_err().contains("vsftpd, proftpd or pure-ftpd"));
    assert!(convert(&folder.path().join("none"), None).is_err());
}

#[test]
fn a_value_cannot_leave_its_string_or_its_comment() {
    let text = converted(
        Dialect::Vsftpd,
        "vsftpd.conf",
        "pasv_address=a\"\nftpd_banner=a\u{b}b\nrsa_cert_file=\\\nssl_enable=YES\n",
    );
    has(&text, "cert = \"\\\\\"");
    has(&text, "public-address = \"a\\\"\"");
    assert!(!text.contains('\u{b}'), "{text}");
}
