//! Password hashes of crypt(5), as in /etc/shadow and in the files of htpasswd: bcrypt, SHA-crypt and yescrypt.

use std::collections::TryReserveError;

use bcrypt::HashParts;
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use yescrypt::Yescrypt;

use super::kind::HashKind;

/// Maximum cost of bcrypt. Each step doubles the time of a check; this takes about half a second.
const BCRYPT_COST_MAX: u32 = 13;

/// Maximum number of rounds of SHA-crypt. The default is 5000; common programs use up to 656,000.
const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;

/// Maximum memory of yescrypt in bytes. The default of Linux distributions is 16 MiB.
const YESCRYPT_BYTES_MAX: u64 = 64 << 20;

/// Number of characters of the parameters of yescrypt, as crypt(3) writes them. More stand for optional parameters that
/// only raise the cost.
const YESCRYPT_PARAMETERS: usize = 3;

/// Maximum number of bytes of a password, as in crypt(3). The time of SHA-crypt grows with the password.
const PASSWORD_BYTES_MAX: usize = 511;

/// Beginnings of hashes that are too weak to keep, and their names.
const WEAK: [(&str, &str); 7] = [
    ("$1$", "md5-crypt"),
    ("$apr1$", "md5-crypt of Apache"),
    ("$md5", "md5-crypt of Solaris"),
    ("$3$", "an NT hash"),
    ("{SHA}", "SHA-1"),
    ("{SSHA}", "SHA-1"),
    ("_", "DES-crypt"),
];

/// Number of characters of a DES-crypt hash, and the characters that occur in it.
const DES_CHARACTERS: usize = 13;

/// Returns the kind of a hash.
pub(super) fn kind(hash: &str) -> Result<HashKind, String> {
    let kind = hash.strip_prefix('$').and_then(|rest| rest.split('$').next()).unwrap_or_default();
    match kind {
        "2a" | "2b" | "2y" => bcrypt_kind(hash),
        "5" | "6" => sha_crypt_kind(hash, kind),
        "y" => yescrypt_kind(hash),
        _ => Err(unknown(hash)),
    }
}

/// Returns the clause for text that is no hash of a known kind.
fn unknown(text: &str) -> String {
    let is_des = text.len() == DES_CHARACTERS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let weak = WEAK.iter().find(|(start, _)| text.starts_with(start)).map(|(_, name)| *name);
    match weak.or_else(|| is_des.then_some("DES-crypt")) {
        Some(name) => format!(
            "the hash is {name}, which is too weak; give the user a new password with ftppasswd"
        ),
        None => "no hash of argon2id, bcrypt, sha512-crypt, sha256-crypt or yescrypt; give the user a password with ftppasswd"
            .to_owned(),
    }
}

fn too_costly(name: &str, cost: &str, most: &str) -> String {
    format!(
        "the {name} hash is too costly: {cost} is above the limit {most}; give the user a new password with ftppasswd"
    )
}

fn bcrypt_kind(hash: &str) -> Result<HashKind, String> {
    let parts: HashParts = hash.parse().map_err(|_| "the bcrypt hash is damaged")?;
    match parts.get_cost() {
        cost if cost > BCRYPT_COST_MAX => {
            Err(too_costly("bcrypt", &format!("cost {cost}"), &BCRYPT_COST_MAX.to_string()))
        }
        0..4 => Err("the bcrypt hash is damaged".to_owned()),
        cost => Ok(HashKind::Bcrypt(cost)),
    }
}

fn sha_crypt_kind(hash: &str, id: &str) -> Result<HashKind, String> {
    let (name, length) = if id == "6" { ("sha512-crypt", 86) } else { ("sha256-crypt", 43) };
    let damaged = || format!("the {name} hash is damaged");
    let mut fields = hash.split('$').skip(2).peekable();
    let rounds = fields.next_if(|field| field.starts_with("rounds="));
    let rounds = match rounds.and_then(|field| field.strip_prefix("rounds=")) {
        Some(number) => number.parse().map_err(|_| damaged())?,
        None => sha_crypt::Params::RECOMMENDED_ROUNDS,
    };
    if rounds > SHA_CRYPT_ROUNDS_MAX {
        let most = SHA_CRYPT_ROUNDS_MAX.to_string();
        return Err(too_costly(name, &format!("rounds={rounds}"), &most));
    }
    let (salt, computed) = (fields.next(), fields.next());
    let is_whole = salt.is_some_and(|salt| salt.len() <= 16)
        && computed.is_some_and(|computed| computed.len() == length)
        && fields.next().is_none()
        && rounds >= sha_crypt::Params::ROUNDS_MIN
        && sha_crypt::PasswordHashRef::new(hash).is_ok();
    match is_whole {
        true if id == "6" => Ok(HashKind::Sha512Crypt(rounds)),
        true => Ok(HashKind::Sha256Crypt(rounds)),
        false => Err(damaged()),
    }
}

fn yescrypt_kind(hash: &str) -> Result<HashKind, String> {
    let damaged = || "the yescrypt hash is damaged".to_owned();
    let fields: Vec<&str> = hash.split('$').skip(2).collect();
    let &[text, _, computed] = fields.as_slice() else { return Err(damaged()) };
    let is_whole = computed.len() == 43 && yescrypt::PasswordHashRef::new(hash).is_ok();
    let parameters: yescrypt::Params =
        text.parse().ok().filter(|_| is_whole).ok_or_else(damaged)?;
    let bytes = parameters
        .n()
        .checked_mul(128 * u64::from(parameters.r()))
        .filter(|bytes| *bytes <= YESCRYPT_BYTES_MAX && text.len() == YESCRYPT_PARAMETERS);
    bytes.map(HashKind::Yescrypt).ok_or_else(|| {
        let most = format!("{} MiB", YESCRYPT_BYTES_MAX >> 20);
        too_costly("yescrypt", &format!("the cost {text}"), &most)
    })
}

/// Returns true if a hash of this kind is that of this password.
///
/// # Errors
/// When there is no memory for the check.
pub(super) fn is_of(kind: HashKind, hash: &str, password: &[u8]) -> Result<bool, TryReserveError> {
    // A longer password is never right, and takes as long to check.
    let bounded = password.get(..PASSWORD_BYTES_MAX).unwrap_or(password);
    let fits = match kind {
        HashKind::Argon2id(_) => false,
        HashKind::Bcrypt(_) => bcrypt::verify(bounded, hash).unwrap_or_default(),
        HashKind::Sha512Crypt(_) | HashKind::Sha256Crypt(_) => {
            ShaCrypt::default().verify_password(bounded, hash).is_ok()
        }
        HashKind::Yescrypt(bytes) => {
            // The crate ends the process if it gets no memory, so it is asked for first.
            Vec::<u8>::new().try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX))?;
            Yescrypt::default().verify_password(bounded, hash).is_ok()
        }
    };
    Ok(fits && bounded.len() == password.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of "secret" as mkpasswd and htpasswd make them.
    const OF_SECRET: [(&str, &str); 7] = [
        (
            "sha512-crypt",
            "$6$h9VDZB.VNk9C4fWy$3qn1sLPolNVFCYwH3Z.PCD89huQCWCfN6GV9PBAMmJMFK3IyY5yjRRox7v.9pRTlQU7c7/JBgkDMm87pQbH3..",
        ),
        (
            "sha512-crypt",
            "$6$rounds=20000$dnLBECHBdodHZQK9$sJGB8ucLh/Uxyb13pUWI4ZBe2Z6LzjWXTCwOT8Bm/cG2sSZsTu.d5yzf6SERCqbsXPYtPdOhxjk.TCLuXbNwS/",
        ),
        ("sha256-crypt", "$5$6NHIXTqLt58psyBn$c7Tkubuedveg2x5E8QZmKR5APtnAIpuyXjBA9Ev65kA"),
        ("yescrypt", "$y$j9T$oK.VEr7knAqZ8/HmsA4TM0$idRHMCdyEP8SPig6MS50UXAnl7OuRYZcSYIXtMZu0.4"),
        ("bcrypt", "$2b$05$oIa8JxTXtkPNONF4XhYhXOeI6X7FTCp.K9yIjSMF.6tXQk9PZa0DC"),
        ("bcrypt", "$2a$05$cD7lmJJEGzPMGpIhj08B0ewGu1XW5cTrjf2fP/9TyouEPU3ygVYNu"),
        ("bcrypt", "$2y$05$oIa8JxTXtkPNONF4XhYhXOeI6X7FTCp.K9yIjSMF.6tXQk9PZa0DC"),
    ];

    fn verify(hash: &str, password: &str) -> bool {
        is_of(kind(hash).unwrap(), hash, password.as_bytes()).unwrap()
    }

    #[test]
    fn a_hash_of_crypt_is_of_its_password_alone() {
        for (name, hash) in OF_SECRET {
            assert_eq!(kind(hash).unwrap().to_string(), name, "{hash}");
            assert!(verify(hash, "secret"), "{hash}");
            assert!(!verify(hash, "Secret") && !verify(hash, ""), "{hash}");
            assert!(!verify(hash, &"secret".repeat(100)), "{hash}");
        }
    }

    #[test]
    fn a_costly_hash_is_refused_by_its_kind_and_limit() {
        let salt = "L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
        assert!(kind(&format!("$2y$13${salt}")).is_ok());
        for cost in ["14", "31"] {
            let wrong = kind(&format!("$2y${cost}${salt}")).unwrap_err();
            assert!(wrong.contains(&format!("cost {cost} is above the limit 13")), "{wrong}");
        }
        let (long, short) = ("a".repeat(86), "a".repeat(43));
        for (id, computed) in [("6", &long), ("5", &short)] {
            assert!(kind(&format!("${id}$rounds=1000000$salt${computed}")).is_ok());
            let wrong = kind(&format!("${id}$rounds=999999999$salt${computed}")).unwrap_err();
            assert!(wrong.contains("rounds=999999999 is above the limit 1000000"), "{wrong}");
        }
        for (parameters, is_fine) in [("j9T", true), ("jBT", true), ("jCT", false), ("jFT", false)]
        {
            let found = kind(&format!("$y${parameters}$abc${short}"));
            assert_eq!(found.is_ok(), is_fine, "{parameters}: {found:?}");
        }
    }

    #[test]
    fn weak_and_damaged_hashes_are_named() {
        for (hash, name) in [
            ("$1$salt$xxxxxxxxxxxxxxxxxxxxxx", "md5-crypt"),
            ("$apr1$salt$xxxxxxxxxxxxxxxxxxxxxx", "Apache"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("rqXexS6ZhobKA", "DES"),
        ] {
            let wrong = kind(hash).unwrap_err();
            assert!(wrong.contains(name) && wrong.contains("too weak"), "{wrong}");
        }
        for hash in [
            "",
            "x",
            "*",
            "!",
            "secret",
            "$6$",
            "$6$salt",
            "$2y$10$short",
            "$y$",
            "$y$j9T$",
            "$9$a$b",
            "$6$é$b",
        ] {
            assert!(kind(hash).is_err(), "{hash}");
        }
        assert!(kind("$2y$00$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\$(2y|2b|5|6|y)\\$[a-zA-Z0-9./$=é]{0,80}") {
            if let Ok(kind) = kind(&text) {
                let _fits = is_of(kind, &text, b"secret");
            }
        }
    }
}
