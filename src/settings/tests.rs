//! Properties of all rows: each source reads each setting, and the order of the sources.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use super::samples::sample;
use super::*;

/// The place of the file of these tests.
const FILE: &str = "/etc/poolftpd/poolftpd.toml";

fn arguments(words: &[String]) -> Arguments {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Arguments::from_args(&["ftpserver"], &words).unwrap_or_else(|exit| panic!("{}", exit.output))
}

fn of_flags(words: &[String]) -> (Settings, Vec<Problem>) {
    Settings::read(&arguments(words), &[])
}

fn of_environment(variables: &[(String, String)]) -> (Settings, Vec<Problem>) {
    let variables: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, text)| (name.into(), text.into())).collect();
    Settings::read(&arguments(&[]), &variables)
}

fn of_file(text: &str) -> (Settings, Vec<String>) {
    let (mut settings, mut problems) = (Settings::default(), Vec::new());
    file::parse(&mut settings, Path::new(FILE), text, &mut problems);
    (settings, problems.iter().map(ToString::to_string).collect())
}

/// Returns the words of the command line that give a setting this value; `None` if no flag can.
fn words(row: &Row, texts: &[String]) -> Option<Vec<String>> {
    let name = format!("--{}", row.name());
    match row.flags {
        Flags::None => None,
        Flags::Value(_) => {
            let separator = row.separator.unwrap_or(',').to_string();
            Some(vec![name, texts.join(&separator)])
        }
        Flags::Repeated(_) => {
            Some(texts.iter().flat_map(|text| [name.clone(), text.clone()]).collect())
        }
        Flags::Switches(switches) => {
            let switch = switches.iter().find(|switch| texts == [switch.value])?;
            Some(vec![format!("--{}", switch.id.replace('_', "-"))])
        }
    }
}

/// A value that a person can give: a name and its address are for slave processes.
fn own_sample(row: &Row) -> Vec<String> {
    let mut texts = sample(row);
    if row.id == "public_address" {
        texts.truncate(1);
    }
    texts
}

fn put(row: &Row, texts: &[String]) -> Config {
    let mut config = Config::default();
    row.put(&mut config, texts).unwrap();
    config
}

#[test]
fn every_default_is_a_valid_value() {
    for row in ROWS {
        let default: Vec<String> = row.default.iter().map(|text| (*text).to_owned()).collect();
        let texts = row.texts(&Config::default());
        assert!(row.default.is_none() || texts == default, "{row:?}: {texts:?}");
        assert!(!row.help.ends_with('.') && row.help.is_ascii(), "{row:?}");
    }
}

#[test]
fn every_setting_is_read_from_every_source_and_printed() {
    for row in ROWS {
        let texts = own_sample(row);
        let expected = row.texts(&put(row, &texts));
        let is_same = |settings: &Settings, source: &str| {
            let given = settings.get(row.id).unwrap_or_else(|| panic!("{row:?} of {source}"));
            assert_eq!(row.texts(&put(row, &given.texts)), expected, "{row:?} of {source}");
        };
        if let Some(words) = words(row, &texts) {
            let (settings, problems) = of_flags(&words);
            assert_eq!(problems, [], "{row:?}");
            is_same(&settings, "a flag");
        }
        let separator = row.separator.unwrap_or(';').to_string();
        let (settings, problems) = of_environment(&[(row.variable(), texts.join(&separator))]);
        assert_eq!(problems, [], "{row:?}");
        is_same(&settings, "the environment");
        // The output is a file with the same settings, except for passwords.
        let (again, problems) = of_file(&settings.show());
        assert!(problems.is_empty(), "{row:?}: {problems:?}\n{}", settings.show());
        if row.shown(&texts) == texts {
            is_same(&again, "a file");
        } else {
            assert!(!settings.show().contains("secret"), "{}", settings.show());
            assert!(!settings.show_json().contains("secret"), "{}", settings.show_json());
        }
        assert_eq!(again.build().0.limits, settings.build().0.limits);
    }
}

#[test]
fn every_setting_is_a_flag_or_in_the_environment_and_a_limit_is_never_forgotten() {
    let fields = format!("{:?}", Limits::default()).matches(": ").count();
    let limits = |config: &Config| config.limits.clone();
    let rows = ROWS.iter().filter(|row| limits(&put(row, &sample(row))) != Limits::default());
    assert_eq!(rows.count(), fields);
}

#[test]
fn a_later_source_overrides_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let file = "max-clients = 1\nmax-per-ip = 1\nidle-timeout = 1\ntls-key = 'k'\ntls-cert = 'c'\n";
    std::fs::write(&path, file).unwrap();
    let words = ["--config", path.to_str().unwrap(), "--idle-timeout=3", "--tls-cert=/x"];
    let words: Vec<String> =
        words.iter().flat_map(|word| word.split('=')).map(str::to_owned).collect();
    let variables =
        [("POOLFTPD_MAX_PER_IP", "2"), ("POOLFTPD_IDLE_TIMEOUT", "2"), ("POOLFTPD_PORT", "")];
    let variables = variables.map(|(name, text)| (name.into(), text.into()));
    let (settings, problems) = Settings::read(&arguments(&words), &variables);
    assert_eq!(problems, []);
    let config = settings.config().unwrap();
    let limits = &config.limits;
    assert_eq!((limits.clients_max, limits.max_per_ip), (1, 2));
    assert_eq!((limits.idle_timeout.as_secs(), config.port), (3, 2121));
    assert_eq!(config.tls.keys[0].key, PathBuf::from("/x"), "the key of another source");
    assert_eq!(config.files.files, std::slice::from_ref(&path));
    let shown = settings.show();
    for line in [
        format!("max-clients = 1  # {}:1\n", path.display()),
        "max-per-ip = 2  # environment POOLFTPD_MAX_PER_IP\n".to_owned(),
        "idle-timeout = 3  # flag --idle-timeout\n".to_owned(),
        "port = 2121  # default\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line}{shown}");
    }
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_place_and_the_remedy() {
    for (text, expected) in [
        (
            "port = 1\npasive-ports = '1-2'",
            "2:1: pasive-ports is not a setting; did you mean passive-ports?",
        ),
        ("max_clients = 1", "1:1: max_clients is not a setting; did you mean max-clients?"),
        ("ä = 1; b", "1:1: "),
        ("port = ", "1:8: "),
        ("port = 1\nport = 2", "2:1: "),
        ("write = 'x'", "1:9: write: found the text \"x\", expected true or false"),
        ("port = '2121'", "1:8: port: found the text \"2121\", expected a number from 0 to 65535"),
        ("port = 70000", "1:8: port: '70000' is not a number from 0 to 65535"),
        ("port = [1]", "1:8: port: found a list, expected a number from 0 to 65535"),
        ("root = 1", "1:8: root: found the number 1, expected a path"),
        (
            "idle-timeout = '5 minutes'",
            "1:16: idle-timeout: '5 minutes' is not a number of seconds",
        ),
        ("idle-timeout = 0", "1:16: idle-timeout: '0' is not a number of seconds greater than 0"),
        ("max-clients = 0", "1:15: max-clients: '0' is not a number of at least 1"),
        ("trust = ['10.0.0.0/8', 'x']", "1:9: trust: 'x' is not a network"),
        ("[[host]]\nname = 'a'", "1:1: [[host]]: a virtual host needs a root"),
        (
            "[[host]]\nname = 'a'\nroot = '/a'\nport = 1",
            "4:1: port is not a setting of [[host]]; settings stand before",
        ),
        (
            "[[host]]\nname = 'a'\nroots = '/a'",
            "3:1: roots is not a setting of [[host]]; did you mean root?",
        ),
        ("[[directory]]\npath = '/in'", "1:1: [[directory]]: may is missing"),
        (
            "[[directory]]\nmay = ['list', 'fly']\npath = '/in'",
            "2:7: [[directory]]: may: 'fly' is not a permission; use all, none, or some of list",
        ),
        (
            "[[directory]]\npath = 'in'\nmay = 'list'",
            "2:8: [[directory]]: path: 'in' is not a path",
        ),
        ("[[directory]]\npath = true", "2:8: path: found true, expected a text"),
        ("directory = ['/in']", "1:13: directory: may is missing"),
        ("[[tls]]\nkey = 'a'", "1:1: [[tls]]: cert is missing"),
        ("host = 1", "1:8: host: found the number 1, expected tables [[host]]"),
    ] {
        let problems = of_file(text).1;
        let expected = format!("{FILE}:{expected}");
        assert!(
            problems.first().is_some_and(|found| found.starts_with(&expected)),
            "{text}: {problems:?}"
        );
    }
    assert_eq!(of_file("a = 1\nb = 2\nport = 'x'").1.len(), 3, "each mistake is reported");
}

#[test]
fn a_file_has_hosts_and_certificates_with_paths_relative_to_itself() {
    let (settings, problems) = of_file(
        "root = 'srv'\nrequire-tls = true\nkeep-partial = '90m'\n\
         [[tls]]\ncert = 'a.pem'\nkey = '/b.key'\n[[tls]]\ncert = 'c.pem'\n\
         [[host]]\nname = 'FTP.example.net'\nroot = 'h,1'\nusers = 'u'\nanonymous = true\ncert = 'd.pem'\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let config = settings.config().unwrap();
    let path = |name: &str| Path::new("/etc/poolftpd").join(name);
    assert_eq!((config.root, config.limits.partial_age_max.as_secs()), (path("srv"), 5400));
    let keys: Vec<_> =
        config.tls.keys.iter().map(|files| (&files.certificate, &files.key)).collect();
    let expected = [(&path("a.pem"), &path("/b.key")), (&path("c.pem"), &path("c.pem"))];
    assert_eq!(keys, expected);
    let host = &config.virtual_hosts[0];
    assert_eq!((host.name.as_str(), &host.root), ("ftp.example.net", &path("h,1")));
    assert_eq!((host.users.clone(), host.anonymous), (Some(path("u")), true));
    assert_eq!(host.key.as_ref().unwrap().key, path("d.pem"));
}

#[test]
fn a_file_has_rules_for_directories() {
    let (settings, problems) = of_file(
        "[[directory]]\npath = '/in'\nmay = 'create'\nusers = ['a,b', 'c']\nanonymous = true\n\
         [[directory]]\npath = '/out/'\nmay = ['list', 'read']\nhosts = ['FTP.example.net.']\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let shown = settings.show();
    let rules = settings.config().unwrap().directories;
    assert_eq!(rules[0].whom.users, ["a,b", "c"]);
    assert!(rules[0].whom.anonymous && rules[0].whom.hosts.is_empty());
    assert_eq!(
        (rules[1].path.as_bytes(), rules[1].may.to_string().as_str()),
        (&b"/out"[..], "list,read")
    );
    assert_eq!(rules[1].whom.hosts, ["ftp.example.net"]);
    let again = of_file(&shown).0.config().unwrap();
    assert_eq!(again.directories, rules);
}

#[test]
fn settings_imply_others_and_some_exclude_each_other() {
    let config = |words: &str| {
        let words: Vec<String> = words.split_ascii_whitespace().map(str::to_owned).collect();
        let (settings, problems) = of_flags(&words);
        if problems.is_empty() { settings.config() } else { Err(problems) }
    };
    assert_eq!(config("--max-clients 7").unwrap().limits.max_per_ip, 1);
    assert!(!config("--users u").unwrap().anonymous);
    assert!(config("--users u --anonymous").unwrap().anonymous);
    assert!(config("--users u").unwrap().users.unwrap().is_absolute());
    assert!(config("--tls-cert c --tls-client-ca a").unwrap().require_tls);
    let own = config("--tls-cert c --self-signed s").unwrap();
    assert_eq!(own.tls.keys.len(), 2);
    assert!(own.tls.keys.iter().all(|files| files.certificate == files.key));
    for (words, expected) in [
        ("-q -v", "--verbose and --quiet cannot be used together"),
        ("--require-tls", "TLS needs a certificate"),
        ("--implicit-tls 990", "TLS needs a certificate"),
        ("--tls-client-ca a", "TLS needs a certificate"),
        ("--tls-key a", "each --tls-cert needs a --tls-key"),
        ("--tls-cert a --tls-cert b --tls-key c", "each --tls-cert needs a --tls-key"),
        (
            "--tls-cert a --tls-key b --tls-key c --self-signed d",
            "each --tls-cert needs a --tls-key",
        ),
        ("--virtual-host a,root=/a --virtual-host A,root=/b", "two virtual hosts"),
        ("--port x", "--port: 'x' is not a number from 0 to 65535"),
    ] {
        let problems = config(words).unwrap_err();
        assert!(problems[0].to_string().contains(expected), "{words}: {problems:?}");
        assert!(problems[0].is_usage(), "{words}");
    }
    let (settings, _) = of_file("port = 1\nrequire-tls = true");
    assert_eq!(
        settings.config().unwrap_err()[0].to_string().split(": ").next(),
        Some("/etc/poolftpd/poolftpd.toml:2:1")
    );
}

#[test]
fn a_variable_of_another_name_is_reported_with_the_nearest() {
    let variables = [("POOLFTPD_MAX_CLIENT", "1"), ("HOME", "/"), ("POOLFTPD_CONFIG", "a")];
    let variables = variables.map(|(name, text)| (name.into(), text.into()));
    let unknown = Settings::unknown_variables(&variables);
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].to_string().contains("did you mean POOLFTPD_MAX_CLIENTS?"), "{unknown:?}");
    let (_, problems) =
        of_environment(&[("POOLFTPD_PORT".to_owned(), "tcp://10.0.0.1:21".to_owned())]);
    assert!(problems[0].to_string().starts_with("POOLFTPD_PORT: "), "{problems:?}");
    assert!(!problems[0].is_usage());
}

#[test]
fn json_has_each_setting_with_its_source() {
    let json = of_file("root = '/a\"b\\c'\nidle-timeout = '10m'").0.show_json();
    let root = r#""root":{"value":"/a\"b\\c","source":"/etc/poolftpd/poolftpd.toml:1"}"#;
    assert!(json.contains(root), "{json}");
    assert!(json.contains(r#""bind":{"value":null,"source":"default"}"#), "{json}");
    assert!(json.contains(r#""idle-timeout":{"value":"10m","#), "{json}");
}

#[test]
fn a_relative_path_is_made_absolute_because_a_slave_may_have_another_directory() {
    for row in ROWS.iter().filter(|row| row.kind == Kind::Path) {
        let absolute = row.absolute(&["x".to_owned()]);
        assert!(absolute.iter().all(|text| text.starts_with('/')), "{row:?}");
    }
    let words = row("users").unwrap();
    assert_eq!(words.absolute(&[String::new()]), [String::new()]);
}
