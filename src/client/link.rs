//! A link: one connection to the server, with everything that ends with it.
//!
//! A [`Link`] drives the dialogues of [`crate::ftp::dialogue`] with blocking reads. [`super::data`] opens its data
//! connections, [`super::transfer`] moves data over them, [`super::metadata`] and [`super::checks`] ask about files.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ftp::command::{Command, Mode, Password, Type};
use crate::ftp::dialogue::{
    Dialogue, Exchange, FeatureQuery, Features, Login, Refused, Stage, Step,
};
use crate::ftp::{Code, Reply};

use super::charset::Charset;
use super::control::Control;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind};
use super::options::TransferSettings;
use super::pipeline::Pipeline;
use super::stream::{Stream, TlsContext};
use super::support::{Parameters, Support};
#[cfg(feature = "cli")]
use super::{interrupt::Interrupt, notices::Notices};

/// Maximum wait for another reply after one that may belong to an earlier command.
const STRAY_REPLY_WAIT: Duration = Duration::from_secs(1);

/// User and password.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Password,
}

/// One connection to the server.
#[derive(Debug)]
pub(super) struct Link {
    control: Control,
    pipeline: Pipeline,
    pub(super) settings: TransferSettings,
    pub(super) features: Features,
    pub(super) parameters: Parameters,
    pub(super) support: Support,
    /// TLS parameters, once the control connection uses TLS.
    tls: Option<TlsContext>,
    /// Set once data goes over TLS (PROT P).
    protects_data: bool,
    /// Data connection of the previous transfer, kept open in block mode.
    pub(super) open_data: Option<Stream>,
    /// True if the answer to AUTH was neither the agreement nor a refusal.
    pub(super) doubts_tls: bool,
}

impl Link {
    /// Wraps a connection whose greeting is to come.
    pub(super) fn new(control: Control, settings: TransferSettings) -> Self {
        Self {
            control,
            pipeline: Pipeline::new(),
            settings,
            features: Features::default(),
            parameters: Parameters::default(),
            support: Support::default(),
            tls: None,
            protects_data: false,
            open_data: None,
            doubts_tls: false,
        }
    }

    /// Switches the control connection to TLS.
    pub(super) fn secure(&mut self, server: &Endpoint, tls: TlsContext) -> Result<(), ClientError> {
        self.control.secure(server, &tls)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Logs in, and protects data connections where TLS is used.
    pub(super) fn log_in(&mut self, credentials: &Credentials) -> Result<(), ClientError> {
        let Credentials { user, password } = credentials;
        let protects_data = self.tls.is_some();
        self.foresee_login(credentials, protects_data)?;
        let ended = self.run(&mut Login::new(user, password.clone(), protects_data));
        let ended = ended.map_err(|error| {
            let kind = error.kind;
            let hint = ". This server does not answer AUTH TLS as it should; --tls off connects without TLS";
            if self.doubts_tls && error.is_connection_lost() { error.with(kind, hint) } else { error }
        })?;
        ended.map_err(|refused| {
            let (kind, what) = match refused.stage {
                Stage::Protection => (
                    ErrorKind::Tls,
                    "the server does not support TLS on data connections".to_owned(),
                ),
                _ => (ErrorKind::Login, format!("login as {user} failed")),
            };
            ClientError::refused(kind, &what, refused.reply)
        })?;
        self.protects_data = protects_data;
        self.parameters.representation = None;
        Ok(())
    }

    /// Asks for the features of the server.
    pub(super) fn learn_features(&mut self) -> Result<(), ClientError> {
        self.features = self.run(&mut FeatureQuery::default())?.unwrap_or_default();
        Ok(())
    }

    /// Returns the TLS version of the control connection; `None` without TLS.
    pub(super) fn tls_version(&self) -> Option<String> {
        self.control.tls_version()
    }

    /// Returns the TLS parameters for data connections; `None` if these do not use TLS.
    pub(super) fn data_tls(&self) -> Option<TlsContext> {
        self.tls.clone().filter(|_| self.protects_data)
    }

    /// Returns the server's address.
    pub(super) fn peer(&self) -> IpAddr {
        self.control.peer().ip()
    }

    /// Returns the addresses of the control connection: its own, and the server's.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.control.local(), self.control.peer())
    }

    /// Returns true if the connection can no longer be used.
    pub(super) fn is_dead(&self) -> bool {
        self.control.is_dead()
    }

    /// Sends QUIT. Waits for its reply only with a server that may not expect the end of the connection before it.
    pub(super) fn quit(&mut self) -> Result<(), ClientError> {
        if self.support.pipelining {
            self.send(&Command::Quit.encode())
        } else {
            self.ask(&Command::Quit).map(drop)
        }
    }

    /// Gives up the connection, for example when further replies can no longer be matched to commands.
    pub(super) fn give_up(&mut self) {
        self.control.give_up();
    }

    /// Changes the flag that interrupts this connection, and the receiver of its notices.
    #[cfg(feature = "cli")]
    pub(super) fn attend(&mut self, interrupt: &Interrupt, notices: &Notices) {
        self.settings.interrupt = interrupt.clone();
        self.settings.notices = notices.clone();
        self.control.set_interrupt(interrupt.clone());
    }

    /// Changes the character set of names.
    pub(super) fn set_charset(&mut self, charset: Option<Charset>) {
        self.control.charset = charset;
    }

    /// Returns text of the server in UTF-8.
    pub(super) fn decoded(&self, text: Vec<u8>) -> Vec<u8> {
        match self.control.charset {
            Some(charset) => charset.decode(&text),
            None => text,
        }
    }

    /// Selects active or passive mode for data connections.
    pub(super) fn set_active(&mut self, active: bool) {
        self.settings.active = active;
        self.support.extended_passive = true;
        self.open_data = None;
    }

    // Commands and replies.

    /// Runs a dialogue. The inner result has the reply that ended it without success.
    pub(super) fn run<D: Dialogue>(
        &mut self,
        dialogue: &mut D,
    ) -> Result<Result<D::Outcome, Refused>, ClientError> {
        let first = dialogue.start();
        self.run_from(dialogue, first)
    }

    /// Runs a dialogue from this step.
    pub(super) fn run_from<D: Dialogue>(
        &mut self,
        dialogue: &mut D,
        mut step: Step<D::Outcome>,
    ) -> Result<Result<D::Outcome, Refused>, ClientError> {
        loop {
            let reply = match step {
                Step::Done(outcome) => return Ok(Ok(outcome)),
                Step::Send(command) => self.ask(&command)?,
                Step::Receive => self.reply()?,
            };
            step = match dialogue.reply(reply) {
                Ok(step) => step,
                Err(refused) => return Ok(Err(refused)),
            };
        }
    }

    /// Runs a dialogue as [`Self::run`] does, but sends its commands while replies to earlier ones are to come.
    pub(super) fn run_at_once<D: Dialogue>(
        &mut self,
        dialogue: &mut D,
    ) -> Result<Result<D::Outcome, Refused>, ClientError> {
        let mut step = dialogue.start();
        loop {
            match step {
                Step::Done(outcome) => return Ok(Ok(outcome)),
                Step::Send(command) => self.send_at_once(&command.encode())?,
                Step::Receive => {}
            }
            step = match dialogue.reply(self.reply()?) {
                Ok(step) => step,
                Err(refused) => return Ok(Err(refused)),
            };
        }
    }

    /// Sends a command and reads its reply, whatever its code.
    pub(super) fn ask(&mut self, command: &Command) -> Result<Reply, ClientError> {
        self.send(&command.encode())?;
        let reply = self.reply()?;
        // Some servers send the last reply of a transfer twice.
        let is_stray = reply.code == Code::TRANSFER_COMPLETE && !moves_data(command);
        Ok(self.later_reply(is_stray)?.unwrap_or(reply))
    }

    /// Returns the next reply, if one arrives soon, for a command whose reply is doubtful: it may be the late reply to an
    /// earlier command. Returns `None` at once if it is not.
    pub(super) fn later_reply(&mut self, is_doubtful: bool) -> Result<Option<Reply>, ClientError> {
        if is_doubtful { self.control.reply_within(STRAY_REPLY_WAIT) } else { Ok(None) }
    }

    /// Sends a command that must succeed; `what` begins the message if it does not.
    pub(super) fn demand(&mut self, command: Command, what: &str) -> Result<Reply, ClientError> {
        self.run(&mut Exchange::new(command))?
            .map_err(|refused| ClientError::refused(ErrorKind::Refused, what, refused.reply))
    }

    /// Asks for something that a server need not support; returns `None` if the server refuses it.
    pub(super) fn optional<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        match ask(self) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a line unchanged and reads its reply. The line may have changed any parameter.
    pub(super) fn quote(&mut self, line: &[u8]) -> Result<Reply, ClientError> {
        self.send(line)?;
        self.parameters = Parameters::default();
        self.open_data = None;
        self.reply()
    }

    /// Sends a line, unless it was sent ahead. Reads outstanding replies first, so that none is taken for the reply to
    /// this line.
    pub(super) fn send(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.drain(line);
        while self.pipeline.has_pending_replies() {
            self.reply().map_err(ClientError::unsent)?;
        }
        if self.pipeline.claim() {
            return Ok(());
        }
        // No reply is due. One that has come nevertheless must not be taken for the reply to this line.
        self.control.discard_unread()?;
        self.send_at_once(line)
    }

    /// Sends one line while replies are outstanding, such as ABOR during a transfer.
    fn send_at_once(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.control.send(&[line])?;
        self.pipeline.sent();
        Ok(())
    }

    /// Reads the next reply, which may be a preliminary one.
    pub(super) fn reply(&mut self) -> Result<Reply, ClientError> {
        let reply = self.control.reply()?;
        if !reply.code.is_preliminary() {
            self.pipeline.replied();
        }
        Ok(reply)
    }

    /// Counts the final reply of a transfer that has begun after another reply was taken for its own.
    pub(super) fn expect_final_reply(&mut self) {
        self.pipeline.sent();
    }

    /// Calls `read` with `patience` added to the timeout of each reply.
    pub(super) fn with_patience<T>(
        &mut self,
        patience: Duration,
        read: impl FnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if patience.is_zero() {
            return read(self);
        }
        let usual = self.settings.timeout;
        self.control.set_timeout(usual + patience)?;
        let outcome = read(self);
        self.control.set_timeout(usual)?;
        outcome
    }

    /// Allows `count` more preliminary replies before the next final one: one for each restart marker sent.
    pub(super) fn expect_preliminary(&mut self, count: u64) {
        self.control.expect_preliminary(count);
    }

    // Pipelining.

    /// Sends requests ahead, each with its lines. Does nothing where the commands of a transfer cannot be predicted:
    /// before the first file has come in block mode, and while another type than `representation` is set.
    pub(super) fn pipeline(
        &mut self,
        representation: Type,
        requests: impl IntoIterator<Item = Vec<Vec<u8>>>,
    ) {
        let foreseeable = self.parameters.mode == Some(Mode::Block)
            && self.open_data.is_some()
            && self.parameters.representation == Some(representation)
            // With a limit, the server would finish its replies long before they are read, and take the session for
            // idle.
            && self.settings.limit.is_none();
        if !foreseeable {
            return;
        }
        let lines = self.pipeline.select(requests);
        // The download finds a lost connection and handles it.
        let _sent = self.send_ahead(lines);
    }

    /// Sends the commands that come next, so that they take one round trip together. Does nothing with a server that is
    /// not known to read them in time.
    pub(super) fn foresee(&mut self, next: &[Command]) -> Result<(), ClientError> {
        if !self.support.pipelining || !self.pipeline.is_empty() || next.len() < 2 {
            return Ok(());
        }
        if !self.pipeline.has_pending_replies() {
            self.control.discard_unread()?;
        }
        self.send_ahead(next.iter().map(Command::encode).collect())
    }

    /// Aborts the transfer that was sent ahead, if there is one: it would wait for its data connection.
    pub(super) fn cancel_foreseen(&mut self) -> Result<(), ClientError> {
        if self.pipeline.is_empty() { Ok(()) } else { self.abort() }
    }

    fn send_ahead(&mut self, lines: Vec<Vec<u8>>) -> Result<(), ClientError> {
        self.control.send(&lines)?;
        self.pipeline.extend(lines);
        Ok(())
    }

    /// Prepares for sending `line`: abandons other lines sent ahead, so that their replies are read and dropped. A file
    /// that is no longer wanted costs the data connection, so that its bytes cannot arrive.
    pub(super) fn drain(&mut self, line: &[u8]) {
        if self.pipeline.skip_to(line) {
            self.open_data = None;
        }
    }

    /// Abandons all lines sent ahead, and returns their number.
    pub(super) fn abandon_pipeline(&mut self) -> u32 {
        self.pipeline.abandon()
    }

    /// Resets the number of outstanding replies, once a reply has shown that all of them have come.
    pub(super) fn settle(&mut self) {
        self.pipeline.settle();
    }
}

/// Returns true for a command whose reply is 1yz, with a final one after the data.
fn moves_data(command: &Command) -> bool {
    matches!(
        command,
        Command::Retrieve(_)
            | Command::Store(_)
            | Command::Append(_)
            | Command::List(_)
            | Command::NameList(_)
            | Command::MachineListDirectory(_)
    )
}
