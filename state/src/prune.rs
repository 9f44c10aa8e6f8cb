//! Which blobs nobody needs any more.
//!
//! The journal does not know what a body means. An entry names a blob by its digest in hexadecimal, so every
//! 64 hexadecimal digits in a row that stand in some body are a name; one that is none by accident only
//! keeps a blob that could go.

use std::collections::BTreeSet;

use crate::Digest;
use crate::StoreError;
use crate::reader::Page;
use crate::reader::Reader;

/// The blobs that no entry of any run names and that are not in `kept`. None, if a run cannot be read:
/// what it names is not known then.
pub(crate) fn unnamed_blobs(reader: &Reader, kept: &BTreeSet<Digest>) -> Result<Vec<Digest>, StoreError> {
    let blobs: BTreeSet<Digest> = reader.store.blobs()?.into_iter().collect();
    let mut unnamed: BTreeSet<Digest> = blobs.difference(kept).copied().collect();
    let Ok(headers) = reader.headers() else { return Ok(Vec::new()) };
    for mut header in headers {
        let (run, mut last, mut page) = (header.run, header.genesis(), Page::new());
        loop {
            match reader.entry_after(run, &mut header, last, &mut page) {
                Ok(Some(entry)) => {
                    digests(&entry.body).for_each(|named| _ = unnamed.remove(&named));
                    last = entry.head();
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%run, %error, "no blob is removed: a run that may name one cannot be read");
                    return Ok(Vec::new());
                }
            }
        }
    }
    Ok(unnamed.into_iter().collect())
}

/// The digests that a body names.
fn digests(body: &str) -> impl Iterator<Item = Digest> + '_ {
    body.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_a_name_wherever_it_stands() {
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let body = format!("{{\"blob\":\"{first}\",\"why\":\"not {second}, nor {second}0\"}}");
        assert_eq!(digests(&body).collect::<Vec<_>>(), [first, second]);
    }
}
