//! Pages: how many items, and where the next page begins.

use std::str::FromStr;

use anya_api::page::{DEFAULT_LIMIT, MAX_LIMIT, Page, PageQuery};

use crate::Error;

/// How many items a page holds.
pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Error> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Error::invalid("limit", format!("use 1 to {MAX_LIMIT}"))),
    }
}

/// The last item of the page before.
pub(crate) fn parse<T: FromStr>(cursor: Option<&str>) -> Result<Option<T>, Error> {
    cursor
        .map(|text| text.parse().map_err(|_| Error::invalid("cursor", "use the `next` of the page before")))
        .transpose()
}

/// Limit and position of a query.
pub(crate) fn read<T: FromStr>(query: &PageQuery) -> Result<(u32, Option<T>), Error> {
    Ok((limit(query.limit)?, parse(query.cursor.as_deref())?))
}

/// A page from up to `limit + 1` items: the one too many says that there is a next page.
pub(crate) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}
