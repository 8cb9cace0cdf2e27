//! Names in columns, measured in cells of the terminal, and their colours.

use lscolors::{Indicator, LsColors};
use unicode_width::UnicodeWidthStr;

use crate::ftp::listing::{Kind, Listed};

/// Blank cells between two columns.
const GAP: usize = 2;

/// Maximum number of names for which each column gets its own width: finding these takes the square of the number.
const EXACT_MAX: usize = 1000;

/// A name for the terminal, with its colour.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) text: String,
    /// The text with the control sequences of its colour.
    pub(super) painted: String,
}

impl Label {
    pub(super) fn plain(text: String) -> Self {
        Self { painted: text.clone(), text }
    }

    /// Paints the name of an entry in the colour that `LS_COLORS` names.
    pub(super) fn of(entry: &Listed, text: String, colors: Option<&LsColors>) -> Self {
        let style = colors.and_then(|colors| match entry.kind {
            Some(Kind::Directory) => colors.style_for_indicator(Indicator::Directory),
            Some(Kind::Link) => colors.style_for_indicator(Indicator::SymbolicLink),
            _ if entry.mode.is_some_and(|mode| mode & 0o111 != 0) => {
                colors.style_for_indicator(Indicator::ExecutableFile)
            }
            _ => colors.style_for_str(&text),
        });
        let painted = style.map_or_else(
            || text.clone(),
            |style| style.to_nu_ansi_term_style().paint(&text).to_string(),
        );
        Self { text, painted }
    }

    fn cells(&self) -> usize {
        self.text.width()
    }
}

/// Arranges names in columns, first down and then to the right, as `ls` does.
pub(super) fn arrange(labels: &[Label], columns: usize) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let rows = rows(labels, columns);
    let widths = widths(labels, rows);
    let mut text = String::new();
    for row in 0..rows {
        let line: Vec<&Label> = labels.iter().skip(row).step_by(rows).collect();
        for (index, label) in line.iter().enumerate() {
            text.push_str(&label.painted);
            if index + 1 < line.len() {
                let width = widths.get(index).copied().unwrap_or_default();
                text.extend(std::iter::repeat_n(' ', width + GAP - label.cells()));
            }
        }
        text.push('\n');
    }
    text
}

/// Returns the smallest number of rows with which all columns fit.
fn rows(labels: &[Label], columns: usize) -> usize {
    if labels.len() > EXACT_MAX {
        let width = labels.iter().map(Label::cells).max().unwrap_or_default() + GAP;
        return labels.len().div_ceil((columns / width).max(1));
    }
    let fits = |rows: &usize| {
        let widths = widths(labels, *rows);
        widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) <= columns
    };
    (1..labels.len()).find(fits).unwrap_or(labels.len())
}

/// Returns the width of each column for this number of rows.
fn widths(labels: &[Label], rows: usize) -> Vec<usize> {
    let width = |column: &[Label]| column.iter().map(Label::cells).max().unwrap_or_default();
    labels.chunks(rows).map(width).collect()
}

/// Shortens a text to this number of cells, with `…` in its middle.
pub(super) fn shorten(text: &str, cells: usize) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    let kept = cells.saturating_sub(1);
    let (front, back) = (kept.div_ceil(2), kept / 2);
    let take = |letters: &mut dyn Iterator<Item = char>, cells: usize| {
        let mut width = 0;
        let mut taken = Vec::new();
        for letter in letters {
            width += letter.to_string().width();
            if width > cells {
                break;
            }
            taken.push(letter);
        }
        taken
    };
    let begin: String = take(&mut text.chars(), front).into_iter().collect();
    let end: String = take(&mut text.chars().rev(), back).into_iter().rev().collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<Label> {
        names.iter().map(|name| Label::plain((*name).to_owned())).collect()
    }

    #[test]
    fn columns_are_measured_in_cells() {
        assert_eq!(arrange(&labels(&["a", "bb", "ccc", "d"]), 9), "a   ccc\nbb  d\n");
        // Each of these two letters takes two cells.
        assert_eq!(arrange(&labels(&["中文", "b", "c", "d"]), 8), "中文  c\nb     d\n");
        assert_eq!(arrange(&labels(&["long name"]), 3), "long name\n");
        assert_eq!(arrange(&[], 80), "");
    }

    #[test]
    fn a_long_name_is_shortened_in_its_middle() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("中文中文中文", 5), "中…文");
        assert_eq!(shorten("short", 5), "short");
    }
}
