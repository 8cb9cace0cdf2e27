//! Judges whether an upload in stream mode is complete; its end is the end of the data connection (RFC 959 §3.4.1).
//!
//! `README.md` in this folder has the table. Not here: sockets; the session gathers the signs.

/// The signs that are known when the data has ended in order.
#[derive(Debug, Clone, Copy)]
pub struct Signs {
    /// The offset in bytes at which the client began: that of REST, or the size of the file that APPE extends.
    pub offset: u64,
    /// The number of bytes received over the data connection.
    pub received: u64,
    /// The number of bytes that ALLO announced.
    pub announced: Option<u64>,
    /// The way in which the data ended.
    pub end: DataEnd,
    /// The state of the client at that moment.
    pub client: ClientState,
    /// True if this session sent this file before, and that upload ended in order at the same length.
    pub repeated: bool,
}

/// The way in which the data of an upload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEnd {
    /// Block mode: with or without the block that ends a file.
    Block {
        /// True if that block was received.
        marked: bool,
    },
    /// A TLS connection: with or without `close_notify`.
    Tls {
        /// True if `close_notify` was received.
        notified: bool,
    },
    /// A plain connection, which ends without a sign.
    Plain,
}

/// The state of a client while its upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// The client waits for the reply, or has sent QUIT.
    Present,
    /// The client has closed its control connection without QUIT, most probably because it was killed.
    Vanished,
    /// The client has sent ABOR.
    Aborted,
}

/// The verdict on an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// A sign proves that the upload is complete.
    Complete,
    /// No sign contradicts that the upload is complete.
    AssumedComplete,
    /// A sign shows, for this reason, that the upload is incomplete.
    CutOff(&'static str),
}

/// The reason given for an upload whose client is gone.
pub const VANISHED: &str = "the control connection closed, and the size was not announced";

/// The reason given for an upload that its client aborted.
pub const ABORTED: &str = "the client sent ABOR";

/// Judges an upload by all its signs.
#[must_use]
pub fn judge(signs: &Signs) -> Completeness {
    if signs.client == ClientState::Aborted {
        return Completeness::CutOff(ABORTED);
    }
    match signs.end {
        DataEnd::Block { marked: true } => return Completeness::Complete,
        DataEnd::Block { marked: false } => {
            return Completeness::CutOff("the end-of-file block is missing");
        }
        DataEnd::Tls { .. } | DataEnd::Plain => {}
    }
    match allocation(signs) {
        Allocation::Proves => return Completeness::Complete,
        Allocation::Contradicts => return Completeness::CutOff("fewer bytes than ALLO announced"),
        Allocation::Silent => {}
    }
    match (signs.end, signs.client) {
        (DataEnd::Tls { notified: true }, _) => Completeness::Complete,
        (DataEnd::Tls { notified: false }, _) => {
            Completeness::CutOff("TLS ended without close_notify, and the size was not announced")
        }
        (_, ClientState::Vanished) => Completeness::CutOff(VANISHED),
        _ => Completeness::AssumedComplete,
    }
}

/// The evidence of ALLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allocation {
    Proves,
    Contradicts,
    Silent,
}

/// Compares the received bytes with ALLO. Some clients announce the rest of a resumed upload, others the whole file.
fn allocation(signs: &Signs) -> Allocation {
    let Some(announced) = signs.announced else { return Allocation::Silent };
    let whole = signs.offset.saturating_add(signs.received);
    if signs.received == announced {
        // The client announced the rest, and it is complete. The announcement cannot mean the whole file, because with
        // an offset the file would be longer than announced.
        return Allocation::Proves;
    }
    if signs.received > announced || whole == announced {
        // A resumed upload of this length is the whole file, or a rest that was cut off exactly here.
        return Allocation::Silent;
    }
    let nothing_new = signs.offset > 0 && signs.received == 0;
    if nothing_new || signs.repeated {
        // A client that reserves more than it sends (RFC 959 §4.1.3 allows it) has confirmed the end of the file.
        return Allocation::Silent;
    }
    Allocation::Contradicts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESENT: ClientState = ClientState::Present;
    const GONE: ClientState = ClientState::Vanished;

    fn signs(offset: u64, received: u64, announced: Option<u64>, client: ClientState) -> Signs {
        Signs { offset, received, announced, end: DataEnd::Plain, client, repeated: false }
    }

    #[test]
    fn what_allo_proves_is_as_the_table_says() {
        let assumed = Completeness::AssumedComplete;
        let short = Completeness::CutOff("fewer bytes than ALLO announced");
        for (offset, received, announced, client, expected) in [
            (0, 60, Some(60), PRESENT, Completeness::Complete),
            (0, 60, Some(60), GONE, Completeness::Complete),
            (0, 59, Some(60), PRESENT, short),
            (0, 61, Some(60), PRESENT, assumed),
            (0, 61, Some(60), GONE, Completeness::CutOff(VANISHED)),
            // The complete rest.
            (40, 60, Some(60), GONE, Completeness::Complete),
            // The whole file, or the rest cut off after 20 bytes: nothing is proved.
            (40, 20, Some(60), PRESENT, assumed),
            (40, 20, Some(60), GONE, Completeness::CutOff(VANISHED)),
            (40, 10, Some(60), PRESENT, short),
            (40, 30, Some(60), PRESENT, short),
            // The client reserves more than it sends, and confirms that by an upload without a byte.
            (40, 0, Some(60), PRESENT, assumed),
            (40, 0, Some(60), GONE, Completeness::CutOff(VANISHED)),
            (0, 0, Some(60), PRESENT, short),
            (0, 60, None, PRESENT, assumed),
            (0, 60, None, GONE, Completeness::CutOff(VANISHED)),
        ] {
            let signs = signs(offset, received, announced, client);
            assert_eq!(judge(&signs), expected, "{signs:?}");
        }
    }

    #[test]
    fn a_second_end_at_the_same_length_outweighs_a_reservation() {
        let repeated = Signs { repeated: true, ..signs(0, 4000, Some(4096), PRESENT) };
        assert_eq!(judge(&repeated), Completeness::AssumedComplete);
        assert_eq!(judge(&Signs { client: GONE, ..repeated }), Completeness::CutOff(VANISHED));
    }

    #[test]
    fn over_tls_an_ambiguous_size_needs_close_notify() {
        for (notified, complete) in [(true, true), (false, false)] {
            let end = DataEnd::Tls { notified };
            let ambiguous = Signs { end, ..signs(40, 20, Some(60), PRESENT) };
            assert_eq!(judge(&ambiguous) == Completeness::Complete, complete);
        }
    }

    #[test]
    fn abor_outweighs_every_other_sign() {
        for end in
            [DataEnd::Block { marked: true }, DataEnd::Tls { notified: true }, DataEnd::Plain]
        {
            let aborted = Signs { end, ..signs(0, 60, Some(60), ClientState::Aborted) };
            assert_eq!(judge(&aborted), Completeness::CutOff(ABORTED));
        }
    }
}
