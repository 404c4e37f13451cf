//! Labels in and out, as files of BIP329.

use std::path::Path;

use anya_api::{
    page::PageQuery,
    wallet::{LabelsTaken, NewLabels},
};
use anya_primitives::WalletId;

use crate::{
    context::Context,
    error::{Error, Result},
    input_file,
    output::fields,
};

/// Most bytes that the server takes at once.
const MAX_FILE: u64 = 1_300_000;

/// The labels of a file.
pub(crate) fn read(path: &Path) -> Result<NewLabels> {
    let bytes = input_file::read(path, MAX_FILE + 1)?;
    let shown = path.display();
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("{shown}: is longer than {MAX_FILE} bytes: take it in in parts, line by line");
        return Err(Error::Invalid(reason));
    }
    let labels = String::from_utf8(bytes)
        .map_err(|_| Error::Invalid(format!("{shown}: is no text: BIP329 has one JSON object a line")))?;
    Ok(NewLabels { labels })
}

/// What became of them.
pub(crate) fn taken(taken: &LabelsTaken) -> String {
    let lines = |lines: &[usize]| {
        if lines.is_empty() {
            return "-".to_owned();
        }
        lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    fields(&[
        ("taken", taken.taken.to_string()),
        ("lines of unknown types", lines(&taken.ignored)),
        ("lines whose label was cut", lines(&taken.shortened)),
    ])
}

/// Writes every label, a line each, whatever the form of other answers is.
pub(crate) async fn export(context: &Context, id: WalletId) -> Result<()> {
    let client = context.client()?;
    let mut cursor = None;
    loop {
        let page = client.labels(id, &PageQuery { limit: Some(200), cursor }).await?;
        for label in &page.items {
            context.out.json_line(label)?;
        }
        match page.next {
            None => return Ok(()),
            next => cursor = next,
        }
    }
}
