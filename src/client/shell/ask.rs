//! Questions to the user at the terminal.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::rc::Rc;

/// Reads one line after a prompt; `None` at the end of input and after Ctrl-C.
type ReadLine = dyn FnMut(&str) -> Option<String>;

/// Reader of answers. It is the line editor once there is one, because that holds what was typed ahead.
#[derive(Clone)]
pub(super) struct Asker(Rc<RefCell<ReadLine>>);

impl Asker {
    pub(super) fn new(read: impl FnMut(&str) -> Option<String> + 'static) -> Self {
        Self(Rc::new(RefCell::new(read)))
    }

    /// Prints a prompt and returns the line that the user types.
    pub(super) fn ask(&self, prompt: &str) -> Option<String> {
        // A question inside of a question has no answer.
        let mut read = self.0.try_borrow_mut().ok()?;
        (*read)(prompt)
    }
}

impl Default for Asker {
    /// Asks on standard error, and reads standard input.
    fn default() -> Self {
        Self::new(|prompt| {
            let mut error = io::stderr();
            write!(error, "{prompt}").and_then(|()| error.flush()).ok()?;
            let mut line = String::new();
            match io::stdin().lock().read_line(&mut line) {
                Ok(1..) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
                _ => None,
            }
        })
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Asker")
    }
}
