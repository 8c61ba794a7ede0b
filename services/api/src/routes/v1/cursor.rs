//! Cursors of lists in the order of a stream.

/// The sequence after which a page begins, as its cursor says; without one, the first page.
///
/// # Errors
/// What is wrong with the cursor.
pub(super) fn parse(cursor: Option<String>) -> Result<u64, &'static str> {
    match cursor {
        None => Ok(0),
        Some(cursor) => {
            cursor.parse().map_err(|_| "cursor must be `next` of a page of the same list")
        }
    }
}
