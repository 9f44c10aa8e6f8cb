//! What a store is asked for.

use super::Elsewhere;
use super::rows::{Columns, Reading, name, number};
use super::shared::{Claimed, Core, Due, Hold, PgLease, lock};
use super::sql::Query;
use crate::event::Event;
use fulcrum_state::{AppendError, Batch, Entry, Head, ReadError, RunHeader, RunId, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

impl Core {
    async fn ask(
        &self,
        doing: &'static str,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.pool.ask(doing, query, parameters).await
    }

    fn reading<'a>(&'a self, row: &'a Row) -> Reading<'a> {
        Reading { row, place: &self.pool.place }
    }

    pub(super) async fn begin(
        self: &Arc<Self>,
        header: RunHeader,
        batch: Batch,
    ) -> Result<Arc<PgLease>, AppendError> {
        let (run, asked) = (header.run, Instant::now());
        let taking = self.free(run).await?;
        let above = batch.entries.first().and_then(above);
        let (head, over) = (header.head, batch.over());
        let (seq, hash, created) = (number(head.seq), head.hash, number(header.created.as_micros()));
        let seconds = self.lease.as_secs_f64();
        let columns = Columns::of(batch);
        let (name, above, hash) = (name(run), above.map(name), &hash.as_bytes()[..]);
        let parameters =
            columns.and(&[&name, &seq, &hash, &over, &header.kind, &created, &above, &self.holder, &seconds]);
        let rows = self.ask("begin a run in", Query::Begin, &parameters).await.map_err(AppendError::Store)?;
        if rows.is_empty() {
            let state = self.state(run).await?;
            // The answer to this very statement was lost on its way.
            if !state
                .is_some_and(|state| state.holder == self.holder && state.token == 1 && state.head == head)
            {
                return Err(AppendError::Exists { run });
            }
        }
        Ok(self.held(taking, Claimed { header, token: 1, asked }))
    }

    pub(super) async fn append(
        &self,
        run: RunId,
        token: u64,
        expected: Head,
        batch: Batch,
    ) -> Result<(), AppendError> {
        let Some(head) = batch.head() else { return Ok(()) };
        let over = batch.over();
        let columns = Columns::of(batch);
        let (seq, hash) = (number(head.seq), &head.hash.as_bytes()[..]);
        let (name, token_known) = (name(run), number(token));
        let (seq_known, hash_known) = (number(expected.seq), &expected.hash.as_bytes()[..]);
        let parameters = columns.and(&[&name, &seq, &hash, &over, &token_known, &seq_known, &hash_known]);
        let rows = self.ask("append to", Query::Append, &parameters).await.map_err(AppendError::Store)?;
        if !rows.is_empty() {
            return Ok(());
        }
        match self.state(run).await? {
            Some(state) if state.token != token => {
                Err(AppendError::Fenced { run, token, latest: state.token })
            }
            // The answer to this very statement was lost on its way.
            Some(state) if state.head == head => Ok(()),
            Some(state) => Err(AppendError::Moved { run, expected, found: state.head.seq }),
            None => Err(AppendError::Read { run, source: self.unknown(run).await }),
        }
    }

    pub(super) async fn claim(self: &Arc<Self>, run: RunId) -> Result<Arc<PgLease>, AppendError> {
        if let Some(lease) = self.take_handed(run) {
            return Ok(lease);
        }
        let taking = self.free(run).await?;
        let asked = Instant::now();
        let seconds = self.lease.as_secs_f64();
        let rows = self.ask("claim a run in", Query::Claim, &[&name(run), &self.holder, &seconds]).await;
        let rows = rows.map_err(AppendError::Store)?;
        if let Some(row) = rows.first() {
            return Ok(self.held(taking, self.claimed(row, asked).map_err(AppendError::Store)?));
        }
        match self.state(run).await? {
            Some(state) => {
                let left = Duration::try_from_secs_f64(state.left).unwrap_or_default();
                Err(AppendError::Held { run, by: state.holder, left })
            }
            None => Err(AppendError::Read { run, source: self.unknown(run).await }),
        }
    }

    /// Claims a run that is due, of one of these kinds, for a worker on this machine.
    pub(super) async fn claim_next(
        self: &Arc<Self>,
        kinds: Option<&[String]>,
        machine: Option<&str>,
    ) -> Result<Option<Arc<PgLease>>, StoreError> {
        let (asked, seconds) = (Instant::now(), self.lease.as_secs_f64());
        let local: Vec<Uuid> = self.local_runs().into_iter().map(name).collect();
        let parameters: [&(dyn ToSql + Sync); 5] = [&self.holder, &seconds, &kinds, &local, &machine];
        let rows = self.ask("look for a run in", Query::ClaimNext, &parameters).await?;
        let claimed = rows.first().map(|row| self.claimed(row, asked)).transpose()?;
        Ok(claimed.map(|claimed| self.keep(claimed)))
    }

    fn claimed(&self, row: &Row, asked: Instant) -> Result<Claimed, StoreError> {
        let reading = self.reading(row);
        Ok(Claimed { header: reading.header()?, token: reading.count("token")?, asked })
    }

    /// Renews these claims, and returns those that were renewed.
    pub(super) async fn renew(&self, holds: &[Arc<Hold>]) -> Result<Vec<(RunId, u64)>, StoreError> {
        let runs: Vec<Uuid> = holds.iter().map(|hold| name(hold.run)).collect();
        let tokens: Vec<i64> = holds.iter().map(|hold| number(hold.token)).collect();
        let seconds = self.lease.as_secs_f64();
        let rows = self.ask("renew claims in", Query::Renew, &[&runs, &tokens, &seconds]).await?;
        let renewed = |row| {
            let reading = self.reading(row);
            Ok((reading.run()?, reading.count("token")?))
        };
        rows.iter().map(renewed).collect()
    }

    pub(super) async fn release(&self, hold: &Hold) -> Result<(), StoreError> {
        let due = lock(&hold.due).clone();
        let (run, token, is_other) = (name(hold.run), number(hold.token), due.is_some());
        let Due { after, machines } = due.unwrap_or_default();
        let after = after.map(|pause| pause.as_secs_f64());
        let machines = (!machines.is_empty()).then_some(machines);
        self.ask("release a run in", Query::Release, &[&run, &token, &is_other, &after, &machines]).await?;
        Ok(())
    }

    /// The runs that wait for a worker on another machine.
    pub(super) async fn elsewhere(&self) -> Result<Vec<Elsewhere>, StoreError> {
        let rows = self.ask("list the runs of", Query::Elsewhere, &[]).await?;
        let elsewhere = |row| {
            let reading = self.reading(row);
            let waited = Duration::try_from_secs_f64(reading.get("waited")?).unwrap_or_default();
            let (workflow, machines) = (reading.get("kind")?, reading.get("machines")?);
            Ok(Elsewhere { run: reading.run()?, workflow, machines, waited })
        };
        rows.iter().map(elsewhere).collect()
    }

    pub(super) async fn prune(&self, runs: Vec<RunId>, reason: String) -> Result<(), AppendError> {
        let names: Vec<Uuid> = runs.into_iter().map(name).collect();
        let rows = self.ask("remove runs from", Query::Prune, &[&names, &reason]).await;
        let rows = rows.map_err(AppendError::Store)?;
        let Some(row) = rows.first() else { return Ok(()) };
        let reading = self.reading(row);
        let (run, by) = (reading.run(), reading.get::<String>("holder"));
        let (run, by) = (run.map_err(AppendError::Store)?, by.map_err(AppendError::Store)?);
        if by == self.holder {
            return Err(AppendError::Claimed { run });
        }
        let left: f64 = reading.get("lease_left").map_err(AppendError::Store)?;
        Err(AppendError::Held { run, by, left: Duration::try_from_secs_f64(left).unwrap_or_default() })
    }

    async fn state(&self, run: RunId) -> Result<Option<State>, AppendError> {
        let rows = self.ask("look at a run in", Query::State, &[&name(run)]).await;
        let rows = rows.map_err(AppendError::Store)?;
        let Some(row) = rows.first() else { return Ok(None) };
        State::of(self.reading(row)).map_err(AppendError::Store)
    }

    async fn unknown(&self, run: RunId) -> ReadError {
        match self.pruned(run).await {
            Ok(Some(head)) => ReadError::Pruned { run, head },
            Ok(None) => ReadError::UnknownRun { run, path: PathBuf::from(&self.pool.place) },
            Err(error) => ReadError::Store(error),
        }
    }

    pub(super) async fn headers(&self, only_open: bool) -> Result<Vec<RunHeader>, StoreError> {
        let rows = self.ask("list the runs of", Query::Headers, &[&only_open]).await?;
        rows.iter().map(|row| self.reading(row).header()).collect()
    }

    pub(super) async fn header(&self, run: RunId) -> Result<Option<RunHeader>, StoreError> {
        let rows = self.ask("look for a run in", Query::Header, &[&name(run)]).await?;
        rows.first().map(|row| self.reading(row).header()).transpose()
    }

    pub(super) async fn pruned(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        let rows = self.ask("look for a run in", Query::Pruned, &[&name(run)]).await?;
        rows.first().map(|row| self.reading(row).head()).transpose()
    }

    pub(super) async fn entries(&self, run: RunId, after: u64, until: u64) -> Result<Vec<Entry>, StoreError> {
        let (after, until) = (number(after), number(until));
        let rows = self.ask("read a run of", Query::Entries, &[&name(run), &after, &until]).await?;
        rows.iter().map(|row| self.reading(row).entry()).collect()
    }

    pub(super) async fn blob(&self, digest: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.ask("read a blob of", Query::Blob, &[&digest]).await?;
        rows.first().map(|row| self.reading(row).get("value")).transpose()
    }
}

/// What is known of a run that refused something.
struct State {
    token: u64,
    head: Head,
    holder: String,
    left: f64,
}

impl State {
    /// `None` if the run was pruned.
    fn of(row: Reading<'_>) -> Result<Option<State>, StoreError> {
        let (token, head) = (row.count("token")?, row.head()?);
        let state = State { token, head, holder: row.get("holder")?, left: row.get("lease_left")? };
        Ok((!row.get::<bool>("pruned")?).then_some(state))
    }
}

/// The run above the one that begins with this entry, if it is a child.
fn above(first: &Entry) -> Option<RunId> {
    match serde_json::from_str(&first.body).ok()? {
        Event::Begun { key: Some(key), .. } => key.split_once('/')?.0.parse().ok(),
        _ => None,
    }
}
