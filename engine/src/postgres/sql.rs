//! The tables, and everything that is asked of them. One statement each: a statement is a transaction.

/// The format of the tables. A later version that changes them raises it.
pub(super) const FORMAT: i32 = 2;

/// What is asked, by name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    Begin,
    Append,
    State,
    Claim,
    ClaimNext,
    Renew,
    Release,
    Prune,
    Headers,
    Header,
    Pruned,
    Entries,
    Blob,
    Elsewhere,
}

/// How many there are.
pub(super) const QUERIES: usize = Query::Elsewhere as usize + 1;

/// The statements for a schema, whose name needs no quotes.
pub(super) struct Sql {
    texts: [String; QUERIES],
    /// Makes the tables, if they are not there.
    pub(super) make: String,
    /// The format of the tables.
    pub(super) format: String,
    /// Listens for runs to work on.
    pub(super) listen: String,
}

impl Sql {
    pub(super) fn new(schema: &str) -> Self {
        let fill = |text: &str| {
            let text = text.replace("$BATCH", BATCH).replace("$FREE", FREE);
            text.replace("$SCHEMA", schema).replace("$FORMAT", &FORMAT.to_string())
        };
        Self {
            texts: [
                BEGIN, APPEND, STATE, CLAIM, CLAIM_NEXT, RENEW, RELEASE, PRUNE, HEADERS, HEADER, PRUNED,
                ENTRIES, BLOB, ELSEWHERE,
            ]
            .map(fill),
            make: fill(MAKE),
            format: fill("SELECT version FROM $SCHEMA.format"),
            listen: fill("LISTEN fulcrum_$SCHEMA"),
        }
    }

    pub(super) fn text(&self, query: Query) -> &str {
        &self.texts[query as usize]
    }
}

const MAKE: &str = "
SELECT pg_advisory_xact_lock(hashtext('fulcrum $SCHEMA'));
CREATE SCHEMA IF NOT EXISTS $SCHEMA;
CREATE TABLE IF NOT EXISTS $SCHEMA.format (version integer NOT NULL);
INSERT INTO $SCHEMA.format SELECT $FORMAT WHERE NOT EXISTS (SELECT FROM $SCHEMA.format);
UPDATE $SCHEMA.format SET version = 2 WHERE version = 1;
CREATE TABLE IF NOT EXISTS $SCHEMA.runs (
    run uuid PRIMARY KEY,
    kind text NOT NULL,
    created bigint NOT NULL,
    begun bigint GENERATED ALWAYS AS IDENTITY,
    above uuid,
    head_seq bigint NOT NULL,
    head_hash bytea NOT NULL,
    over boolean NOT NULL,
    token bigint NOT NULL,
    holder text,
    lease_until timestamptz,
    due timestamptz,
    pruned timestamptz,
    pruned_why text
);
ALTER TABLE $SCHEMA.runs ADD COLUMN IF NOT EXISTS machines text[], ADD COLUMN IF NOT EXISTS machines_since timestamptz;
CREATE INDEX IF NOT EXISTS runs_machines ON $SCHEMA.runs (machines_since) WHERE machines IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_begun ON $SCHEMA.runs (begun);
CREATE INDEX IF NOT EXISTS runs_due ON $SCHEMA.runs (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS $SCHEMA.entries (
    run uuid NOT NULL REFERENCES $SCHEMA.runs,
    seq bigint NOT NULL,
    time bigint NOT NULL,
    prev bytea NOT NULL,
    hash bytea NOT NULL,
    over boolean NOT NULL,
    blobs bytea NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (run, seq)
);
CREATE TABLE IF NOT EXISTS $SCHEMA.blobs (
    run uuid NOT NULL REFERENCES $SCHEMA.runs,
    digest bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (run, digest)
);
CREATE INDEX IF NOT EXISTS blobs_digest ON $SCHEMA.blobs (digest)";

/// 1-7 the batch's entries, 8 and 9 its blobs, for the row that `written` names: see `rows::Columns`.
const BATCH: &str = "kept AS (
    INSERT INTO $SCHEMA.blobs SELECT written.run, b.* FROM written, unnest($8::bytea[], $9::bytea[]) b
    ON CONFLICT DO NOTHING
), said AS (
    INSERT INTO $SCHEMA.entries SELECT written.run, e.* FROM written,
        unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::boolean[], $6::bytea[], $7::text[]) e
)
SELECT 1 FROM written";

/// 1-9 the batch, 10 run, 11 head seq, 12 head hash, 13 over, 14 kind, 15 created, 16 above, 17 holder, 18 lease in
/// seconds.
const BEGIN: &str = "
WITH written AS (
    INSERT INTO $SCHEMA.runs
        (run, kind, created, above, head_seq, head_hash, over, token, holder, lease_until, due)
    VALUES ($10, $14, $15, $16, $11, $12, $13, 1, $17, clock_timestamp() + make_interval(secs => $18),
        CASE WHEN $13 THEN NULL ELSE clock_timestamp() END)
    ON CONFLICT (run) DO NOTHING RETURNING run
), $BATCH";

/// 1-9 the batch, 10 run, 11 head seq, 12 head hash, 13 over, 14 token, 15 expected seq, 16 expected hash.
/// A claim that is made meanwhile locks the row: the statement then waits, looks again, and finds another token.
const APPEND: &str = "
WITH written AS (
    UPDATE $SCHEMA.runs SET head_seq = $11, head_hash = $12, over = $13,
        due = CASE WHEN $13 THEN NULL ELSE clock_timestamp() END
    WHERE run = $10 AND token = $14 AND head_seq = $15 AND head_hash = $16 AND pruned IS NULL
    RETURNING run
), $BATCH";

/// Why something was refused.
const STATE: &str = "
SELECT token, head_seq, head_hash, coalesce(holder, '') AS holder, pruned IS NOT NULL AS pruned,
    coalesce(extract(epoch FROM lease_until - clock_timestamp()), 0)::float8 AS lease_left
FROM $SCHEMA.runs WHERE run = $1";

/// 1 run, 2 holder, 3 lease in seconds. A holder that lost the answer to its claim claims again.
const CLAIM: &str = "
UPDATE $SCHEMA.runs SET token = token + 1, holder = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE run = $1 AND pruned IS NULL
    AND (lease_until IS NULL OR lease_until < clock_timestamp() OR holder = $2)
RETURNING run, kind, created, head_seq, head_hash, over, token";

/// What a worker may take up. A child is taken up by the run above it. Runs that this process has claimed are left
/// out, also those whose release is under way: 4.
const FREE: &str = "above IS NULL AND NOT over AND pruned IS NULL
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
        AND ($3::text[] IS NULL OR kind = ANY ($3)) AND NOT run = ANY ($4)";

/// 1 holder, 2 lease in seconds, 3 kinds or NULL, 4 runs to leave out, 5 machine or NULL. What only this machine can do
/// comes first.
const CLAIM_NEXT: &str = "
WITH bound AS MATERIALIZED (
    SELECT run FROM $SCHEMA.runs WHERE machines IS NOT NULL AND $5::text = ANY (machines) AND $FREE
    LIMIT 1 FOR UPDATE SKIP LOCKED
), due AS MATERIALIZED (
    SELECT run FROM $SCHEMA.runs WHERE due <= clock_timestamp() AND $FREE AND NOT EXISTS (SELECT FROM bound)
    ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
), next AS (
    SELECT run FROM bound UNION ALL SELECT run FROM due
)
UPDATE $SCHEMA.runs SET token = token + 1, holder = $1,
    lease_until = clock_timestamp() + make_interval(secs => $2)
FROM next WHERE runs.run = next.run
RETURNING runs.run, kind, created, head_seq, head_hash, over, token";

/// 1 runs, 2 tokens, 3 lease in seconds.
const RENEW: &str = "
UPDATE $SCHEMA.runs SET lease_until = clock_timestamp() + make_interval(secs => $3)
FROM unnest($1::uuid[], $2::bigint[]) held (run, token)
WHERE runs.run = held.run AND runs.token = held.token AND runs.holder IS NOT NULL
RETURNING runs.run, runs.token";

/// 1 run, 2 token, 3 whether it is due at another time, 4 after how many seconds, or NULL for never, 5 the machines on
/// which it is due at once, or NULL.
const RELEASE: &str = "
WITH freed AS (
    UPDATE $SCHEMA.runs SET holder = NULL, lease_until = NULL,
        due = CASE WHEN over THEN NULL WHEN $3 THEN clock_timestamp() + make_interval(secs => $4) ELSE due END,
        machines = CASE WHEN over THEN NULL WHEN $3 THEN $5::text[] ELSE machines END,
        machines_since = CASE WHEN $3 AND $5::text[] IS DISTINCT FROM machines THEN clock_timestamp() ELSE machines_since END
    WHERE run = $1 AND token = $2
    RETURNING due, machines, above
)
SELECT pg_notify('fulcrum_$SCHEMA', '') FROM freed
WHERE (due <= clock_timestamp() OR machines IS NOT NULL) AND above IS NULL";

/// The runs that only some machines can go on with, and that no process holds.
const ELSEWHERE: &str = "
SELECT run, kind, machines, extract(epoch FROM clock_timestamp() - machines_since)::float8 AS waited
FROM $SCHEMA.runs
WHERE machines IS NOT NULL AND NOT over AND pruned IS NULL
    AND (lease_until IS NULL OR lease_until < clock_timestamp())
ORDER BY machines_since";

/// 1 runs, 2 reason. The row stays: the name is taken for ever. Nothing is removed if one of the runs is claimed.
const PRUNE: &str = "
WITH found AS MATERIALIZED (
    SELECT run, coalesce(holder, '') AS holder, coalesce(lease_until >= clock_timestamp(), false) AS held,
        coalesce(extract(epoch FROM lease_until - clock_timestamp()), 0)::float8 AS lease_left
    FROM $SCHEMA.runs WHERE run = ANY ($1) AND pruned IS NULL FOR UPDATE
), gone AS (
    UPDATE $SCHEMA.runs SET pruned = clock_timestamp(), pruned_why = $2, token = token + 1, holder = NULL,
        lease_until = NULL, due = NULL, machines = NULL
    FROM found WHERE runs.run = found.run AND NOT EXISTS (SELECT FROM found WHERE held)
    RETURNING runs.run
), no_entries AS (
    DELETE FROM $SCHEMA.entries USING gone WHERE entries.run = gone.run
), no_blobs AS (
    DELETE FROM $SCHEMA.blobs USING gone WHERE blobs.run = gone.run
)
SELECT run, holder, lease_left FROM found WHERE held";

const HEADERS: &str = "
SELECT run, kind, created, head_seq, head_hash, over FROM $SCHEMA.runs
WHERE pruned IS NULL AND NOT (over AND $1) ORDER BY begun";

const HEADER: &str = "
SELECT run, kind, created, head_seq, head_hash, over FROM $SCHEMA.runs WHERE run = $1 AND pruned IS NULL";

const PRUNED: &str = "SELECT head_seq, head_hash FROM $SCHEMA.runs WHERE run = $1 AND pruned IS NOT NULL";

const ENTRIES: &str = "
SELECT run, seq, time, prev, hash, over, blobs, body FROM $SCHEMA.entries
WHERE run = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT 1000";

const BLOB: &str = "SELECT value FROM $SCHEMA.blobs WHERE digest = $1 LIMIT 1";
