//! Lists in pages.

use std::future::Future;

use anya_api::page::{Page, PageQuery};
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    output::{note, table},
};

/// Flags of every list.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Paging {
    /// Most items on the page (1 to 500)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: Option<u32>,
    /// The `next` of the page before
    #[arg(long, value_name = "CURSOR", conflicts_with = "all")]
    pub(crate) cursor: Option<String>,
    /// All pages; with --json as JSON Lines, one item a line
    #[arg(long)]
    pub(crate) all: bool,
}

/// Fetches one page, or all of them, and prints the items.
pub(crate) async fn list<T, E, F, Fut>(
    context: &Context,
    paging: Paging,
    headers: &[&str],
    row: impl Fn(&T) -> Vec<String>,
    fetch: F,
) -> Result<()>
where
    T: Serialize,
    F: Fn(PageQuery) -> Fut,
    Fut: Future<Output = Result<Page<T>, E>>,
    crate::error::Error: From<E>,
{
    let mut query = PageQuery { limit: paging.limit, cursor: paging.cursor };
    if !paging.all {
        let page = fetch(query).await?;
        if let (Some(next), false) = (&page.next, context.out.json) {
            note(&format!("there are more: --cursor {next} shows the next page, --all shows all"));
        }
        return context
            .out
            .document(&page, |page| table(headers, &page.items.iter().map(&row).collect::<Vec<_>>()));
    }
    query.limit = query.limit.or(Some(anya_api::page::MAX_LIMIT));
    let mut rows = Vec::new();
    loop {
        let page = fetch(query.clone()).await?;
        for item in &page.items {
            if context.out.json {
                context.out.json_line(item)?;
            } else {
                rows.push(row(item));
            }
        }
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    if context.out.json { Ok(()) } else { context.out.text(&table(headers, &rows)) }
}
