//! The users of a users file as a table and as JSON, without their hashes.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::password::HashKind;
use super::users::{User, Users};
use crate::ftp::path::Escaped;

/// Returns the word for the state of a user at this time.
fn state(user: &User, now: Timestamp) -> &'static str {
    match user.settings.closed(now) {
        None => "enabled",
        Some(_) if user.settings.disabled => "disabled",
        Some(_) => "expired",
    }
}

fn kind(user: &User) -> String {
    HashKind::of(&user.hash).map(|kind| kind.to_string()).unwrap_or_default()
}

/// Returns a table with a line for each user: name, state, kind of the hash, settings.
#[must_use]
pub fn table(users: &Users, now: Timestamp) -> String {
    let names: Vec<String> = users.0.keys().map(|name| Escaped(name).to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max(4);
    let mut table = format!("{:width$}  state     hash          settings\n", "user");
    for (name, user) in names.iter().zip(users.0.values()) {
        let settings = user.settings.to_string();
        let (state, kind) = (state(user, now), kind(user));
        // Writing to a string cannot fail.
        let _written =
            writeln!(table, "{name:width$}  {state:8}  {kind:12}  {}", settings.trim_start());
    }
    table
}

/// Returns a JSON array with an object for each user. A setting that a user does not have is absent.
#[must_use]
pub fn json(users: &Users, now: Timestamp) -> String {
    let list = users.0.iter().map(|(name, user)| object(name, user, now)).collect();
    format!("{:#}\n", Value::Array(list))
}

fn object(name: &[u8], user: &User, now: Timestamp) -> Value {
    let settings = &user.settings;
    let networks: Vec<String> = settings.from.iter().map(ToString::to_string).collect();
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        object.extend(value.map(|value| (name.to_owned(), value)));
    };
    put("name", Some(json!(String::from_utf8_lossy(name))));
    put("state", Some(json!(state(user, now))));
    put("hash", Some(json!(kind(user))));
    put("home", settings.home.as_ref().map(|home| json!(home.to_string_lossy())));
    put("may", Some(json!(settings.may.to_string())));
    put("quota", settings.quota.map(Value::from));
    put("files", settings.files.map(Value::from));
    put("down", settings.down.map(NonZeroU64::get).map(Value::from));
    put("up", settings.up.map(NonZeroU64::get).map(Value::from));
    put("sessions", settings.sessions.map(Value::from));
    put("from", (!networks.is_empty()).then(|| json!(networks)));
    put("group", settings.group.as_ref().map(|group| json!(group)));
    put("umask", settings.umask.map(|umask| json!(format!("{umask:03o}"))));
    put("expires", settings.expires.map(|expires| json!(expires.to_string())));
    let certificates: Vec<String> = settings.certificates.iter().map(ToString::to_string).collect();
    put("certificates", (!certificates.is_empty()).then(|| json!(certificates)));
    put("login", settings.by_certificate.then(|| json!("certificate")));
    put("comment", settings.comment.as_ref().map(|comment| json!(comment)));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_every_setting_and_no_hash() {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$cG9vbGZ0cGRub2JvZHk$AAAAAAAAAAAAAAAAAAAAAA";
        let text = format!(
            "alice {hash} home=/srv/a%20b quota=1K from=10.0.0.0/8 umask=27 group=staff expires=2020-01-01\nbob {hash} disabled\n"
        );
        let (users, now) = (Users::parse(&text).unwrap(), Timestamp::UNIX_EPOCH);
        let listed: Value = serde_json::from_str(&json(&users, now)).unwrap();
        let alice = json!({
            "name": "alice", "state": "enabled", "hash": "argon2id", "home": "/srv/a b", "may": "all", "quota": 1024,
            "from": ["10.0.0.0/8"], "umask": "027", "group": "staff", "expires": "2020-01-01",
        });
        assert_eq!(listed[0], alice);
        assert_eq!(listed[1]["state"], "disabled");
        let later = "2020-01-02T00:00:00Z".parse().unwrap();
        let table = table(&users, later);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("alice  expired   argon2id      home=/srv/a%20b"), "{table}");
        assert!(lines[2].starts_with("bob    disabled"), "{table}");
        assert!(!table.contains("$argon2id"));
    }
}
