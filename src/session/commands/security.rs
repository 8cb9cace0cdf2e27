//! TLS on the control and data connections: AUTH, PBSZ, PROT, CCC (RFC 2228, 4217).

use crate::ftp::command::{Mechanism, ProtectionLevel};
use crate::ftp::{Code, Reply};
use crate::session::activities::closing::close;
use crate::session::activity::Next;
use crate::session::context::Context;
use crate::session::refusal::Refusal;
use crate::session::tls_state::TlsState;

use super::login::reset;

/// AUTH: sends the reply in plain text, then begins the handshake (RFC 4217 §4).
pub(in crate::session) fn authenticate(
    cx: &mut Context,
    mechanism: Mechanism,
) -> Result<Next, Refusal> {
    let security = cx.service.security.as_ref().ok_or(Refusal::NoTls)?;
    if cx.tls.scope.is_some() {
        return Err(Refusal::OutOfSequence("TLS is already active."));
    }
    let scope = security.acceptor.bind(cx.control.peer().ip());
    let tls = scope.accept_control()?;
    cx.reply(&Reply::new(Code::SECURITY_EXCHANGED, "Proceed with the TLS handshake."));
    // A client that has sent USER in plain text must send it again (RFC 4217 §11). HOST stays in effect: it comes
    // before AUTH so that it can select the host (RFC 7151 §3.2).
    let host = cx.identity.host.take();
    reset(cx);
    cx.identity.host = host;
    if let Err(disconnect) = cx.control.secure(tls, cx.now) {
        // A client that does not read the reply to AUTH gets no other.
        cx.log_disconnect(&disconnect.to_string());
        return Ok(close(cx));
    }
    cx.tls = TlsState::by_auth(scope, mechanism == Mechanism::WithData);
    Ok(Next::Commands)
}

/// PBSZ: agrees on 0, because a stream has no buffers (RFC 4217 §9).
pub(in crate::session) fn protection_buffer(cx: &mut Context) -> Result<Reply, Refusal> {
    check_secure(cx)?;
    cx.tls.buffer_agreed = true;
    Ok(Reply::new(Code::OK, "PBSZ=0"))
}

/// PROT: sets the protection of data connections from now on.
pub(in crate::session) fn protect(
    cx: &mut Context,
    level: ProtectionLevel,
) -> Result<Reply, Refusal> {
    check_secure(cx)?;
    if !cx.tls.buffer_agreed {
        return Err(Refusal::OutOfSequence("Send PBSZ 0 first."));
    }
    let (private, text) = match level {
        ProtectionLevel::Clear => (false, "Data connections are not encrypted."),
        ProtectionLevel::Private => (true, "Data connections use TLS."),
        ProtectionLevel::Other => return Err(Refusal::ProtectionLevel),
    };
    if !private && cx.service.requires_tls() {
        return Err(Refusal::DataInTheClear(Code::DENIED_BY_POLICY));
    }
    // The open connection may have the other protection.
    cx.data.close_open_route();
    cx.tls.data_private = private;
    Ok(Reply::new(Code::OK, text))
}

/// CCC: refused (RFC 4217 §6), because a man in the middle could continue on behalf of the client.
pub(in crate::session) fn clear_command_channel(cx: &Context) -> Result<Reply, Refusal> {
    check_secure(cx)?;
    Err(Refusal::ClearCommandChannel)
}

fn check_secure(cx: &Context) -> Result<(), Refusal> {
    match (&cx.service.security, &cx.tls.scope) {
        (None, _) => Err(Refusal::NoTls),
        (_, None) => Err(Refusal::OutOfSequence("Send AUTH TLS first.")),
        _ => Ok(()),
    }
}
