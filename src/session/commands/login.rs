//! The identity of the client: USER, PASS, ACCT, HOST, REIN.

use crate::ftp::command::Password;
use crate::ftp::{Code, Reply};
use crate::session::activities::logging_in::{self, accounts};
use crate::session::activity::Next;
use crate::session::context::Context;
use crate::session::identity::Login;
use crate::session::parameters::Parameters;
use crate::session::refusal::Refusal;
use crate::storage::Accounts;

/// USER: names the user who logs in.
pub(in crate::session) fn user(cx: &mut Context, name: Vec<u8>) -> Result<Reply, Refusal> {
    if cx.service.requires_tls() && cx.tls.scope.is_none() {
        return Err(Refusal::LoginInTheClear);
    }
    // The text does not reveal which users exist.
    let text = if accounts(cx).serve_anonymous() && Accounts::is_anonymous(&name) {
        "Send your e-mail address as password."
    } else {
        "Password required."
    };
    become_stranger(cx);
    cx.identity.login = Login::Named(name);
    Ok(Reply::new(Code::NEED_PASSWORD, text))
}

/// PASS: begins the login of the user named before.
pub(in crate::session) fn password(cx: &mut Context, password: Password) -> Result<Next, Refusal> {
    let Login::Named(name) = &mut cx.identity.login else {
        return Err(Refusal::OutOfSequence("Send USER first."));
    };
    let name = std::mem::take(name);
    cx.identity.login = Login::Stranger;
    Ok(logging_in::begin(cx, name, password))
}

/// ACCT: there are no accounts besides users.
pub(in crate::session) fn account(cx: &Context) -> Result<Reply, Refusal> {
    match cx.identity.login {
        Login::Member(_) => Ok(Reply::new(Code::SUPERFLUOUS, "No account is needed.")),
        _ => Err(Refusal::OutOfSequence("Send USER and PASS first.")),
    }
}

/// HOST: selects a host. It must come before USER (RFC 7151 §3.1).
pub(in crate::session) fn host(cx: &mut Context, name: &str) -> Result<Reply, Refusal> {
    if !matches!(cx.identity.login, Login::Stranger) {
        return Err(Refusal::OutOfSequence("Send HOST before USER."));
    }
    cx.identity.host = Some(cx.service.hosts.find(name).ok_or(Refusal::UnknownHost)?);
    Ok(Reply::new(Code::READY, cx.service.greeting()))
}

/// REIN: logs out, and resets everything but TLS.
pub(in crate::session) fn reinitialize(cx: &mut Context) -> Reply {
    reset(cx);
    Reply::new(Code::READY, "Ready for a new user.")
}

/// Resets the login, the host, PBSZ, PROT, the transfer parameters and the route, for REIN and AUTH. TLS itself stays.
pub(in crate::session) fn reset(cx: &mut Context) {
    become_stranger(cx);
    cx.identity.host = None;
    cx.tls.forget_protection();
    cx.data.parameters = Parameters::default();
    cx.data.route = None;
}

/// Logs the client out. A member gets the login time of a new client; the login time of others continues.
fn become_stranger(cx: &mut Context) {
    if matches!(std::mem::take(&mut cx.identity.login), Login::Member(_)) {
        (cx.identity.user, cx.identity.served_host) = (None, None);
        cx.presence.set_client(None);
        cx.identity.logged_out_since = cx.now;
        if let Some(scope) = &cx.tls.scope {
            scope.log_out();
        }
    }
}
