//! Entries and headers as rows, and back.

use fulcrum_state::{Batch, Digest, Entry, Head, RunHeader, RunId, StoreError, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

/// A batch as arrays, one for each column.
#[derive(Default)]
pub(super) struct Columns {
    seqs: Vec<i64>,
    times: Vec<i64>,
    prevs: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
    overs: Vec<bool>,
    blobs: Vec<Vec<u8>>,
    bodies: Vec<String>,
    digests: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Columns {
    pub(super) fn of(batch: Batch) -> Self {
        let mut columns = Self::default();
        for entry in batch.entries {
            columns.seqs.push(number(entry.seq));
            columns.times.push(number(entry.time.as_micros()));
            columns.prevs.push(entry.prev.as_bytes().to_vec());
            columns.hashes.push(entry.hash.as_bytes().to_vec());
            columns.overs.push(entry.over);
            columns.blobs.push(entry.blobs.iter().flat_map(|digest| *digest.as_bytes()).collect());
            columns.bodies.push(entry.body);
        }
        for (digest, value) in batch.blobs {
            columns.digests.push(digest.as_bytes().to_vec());
            columns.values.push(value);
        }
        columns
    }

    /// The parameters of `sql::BATCH`, with those of the statement behind them.
    pub(super) fn and<'a>(&'a self, others: &[&'a (dyn ToSql + Sync)]) -> Vec<&'a (dyn ToSql + Sync)> {
        let batch: [&(dyn ToSql + Sync); 9] = [
            &self.seqs,
            &self.times,
            &self.prevs,
            &self.hashes,
            &self.overs,
            &self.blobs,
            &self.bodies,
            &self.digests,
            &self.values,
        ];
        [&batch[..], others].concat()
    }
}

/// A number that the server can keep. Entries and microseconds do not reach the limit.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn name(run: RunId) -> Uuid {
    Uuid::from_bytes(*run.as_bytes())
}

/// Reads rows of the server at `place`.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) row: &'a Row,
    pub(super) place: &'a str,
}

impl<'a> Reading<'a> {
    pub(super) fn get<T: FromSql<'a>>(self, column: &str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|error| StoreError::new("read a row of", self.place, error))
    }

    pub(super) fn count(self, column: &str) -> Result<u64, StoreError> {
        let found: i64 = self.get(column)?;
        u64::try_from(found).map_err(|_| self.odd(format!("{column} is {found}")))
    }

    pub(super) fn digest(self, column: &str) -> Result<Digest, StoreError> {
        let bytes: &[u8] = self.get(column)?;
        let bytes = <[u8; 32]>::try_from(bytes);
        let bytes = bytes.map_err(|_| self.odd(format!("{column} is no digest of 32 bytes")))?;
        Ok(Digest::from_bytes(bytes))
    }

    pub(super) fn run(self) -> Result<RunId, StoreError> {
        Ok(RunId::from_bytes(*self.get::<Uuid>("run")?.as_bytes()))
    }

    pub(super) fn head(self) -> Result<Head, StoreError> {
        Ok(Head { seq: self.count("head_seq")?, hash: self.digest("head_hash")? })
    }

    pub(super) fn header(self) -> Result<RunHeader, StoreError> {
        Ok(RunHeader {
            run: self.run()?,
            kind: self.get("kind")?,
            created: Timestamp::from_micros(self.count("created")?),
            after: None,
            head: self.head()?,
            over: self.get("over")?,
            damage: None,
        })
    }

    pub(super) fn entry(self) -> Result<Entry, StoreError> {
        let blobs: &[u8] = self.get("blobs")?;
        let (digests, rest) = blobs.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(self.odd("blobs is no list of digests".to_owned()));
        }
        Ok(Entry {
            run: self.run()?,
            seq: self.count("seq")?,
            time: Timestamp::from_micros(self.count("time")?),
            prev: self.digest("prev")?,
            hash: self.digest("hash")?,
            over: self.get("over")?,
            blobs: digests.iter().map(|digest| Digest::from_bytes(*digest)).collect(),
            body: self.get("body")?,
        })
    }

    fn odd(self, why: String) -> StoreError {
        StoreError::new("read a row of", self.place, why)
    }
}
