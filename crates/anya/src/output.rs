//! Standard output: one JSON document, JSON Lines, or text for people. Nothing else ever goes there.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::error::{Error, Result};

/// How a command answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Writes one document: `value` as JSON, or what `text` makes of it.
    pub(crate) fn document<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json { self.json_line(value) } else { self.text(&text(value)) }
    }

    /// Writes one line of JSON.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|error| Error::Output(error.into()))?;
        line.push(b'\n');
        write(&line)
    }

    /// Writes text, ended by a newline.
    pub(crate) fn text(self, text: &str) -> Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write(format!("{text}{end}").as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<()> {
        write(bytes)
    }
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// Tells the person at the terminal something that is not the answer. It cannot fail: stderr may be closed.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Whether a person sees what goes to stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Rows under headers, in columns as wide as their widest cell.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headers.get(column).map(|header| header.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut out = String::new();
    let mut push = |cells: &[String]| {
        let line: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))))
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    };
    push(&headers.iter().map(|header| header.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        push(row);
    }
    out
}

/// Names and values, one pair a line.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Text from elsewhere, made safe for a terminal: what moves the cursor or turns the direction of writing is shown as
/// an escape, so that a memo cannot disguise the amount beside it.
pub(crate) fn plain(text: &str) -> String {
    let deceptive = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    text.chars()
        .flat_map(|c| if deceptive(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// An optional cell.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_disguise_a_line_is_escaped() {
        assert_eq!(plain("rent \u{1b}[2K\r\n\u{202e}x é"), "rent \\u{1b}[2K\\u{d}\\u{a}\\u{202e}x é");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "long".into()], vec!["bcd".into(), "e".into()]];
        assert_eq!(table(&["x", "y"], &rows), "X    Y\na    long\nbcd  e\n");
    }
}
