//! A snapshot of etcd, and what a member says of itself: through the gateway, as in [`super::etcd`].

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::etcd::no_way;
use super::etcd_door::EtcdDoor;
use fulcrum_state::fsync::Staged;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt, pin_mut};
use k8s_openapi::ByteString;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long the next piece of a snapshot may take.
const PIECE_WITHIN: Duration = Duration::from_secs(20);

/// What a member says of its program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct EtcdVersions {
    /// The version of the program.
    #[serde(rename = "etcdserver")]
    pub(crate) server: String,
    /// The version that all members know: its minor release is the oldest one's.
    #[serde(rename = "etcdcluster")]
    pub(crate) cluster: String,
}

/// A snapshot on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Snapshot {
    /// Its size.
    pub(crate) bytes: u64,
    /// The digest of the whole file, in hex.
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
struct Status {
    /// A number of 64 bits, and so a string.
    #[serde(rename = "dbSize", default)]
    size: String,
}

/// One message of the stream, which is a line.
#[derive(Deserialize)]
struct Piece {
    result: Option<Blob>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Blob {
    #[serde(default)]
    blob: ByteString,
}

impl Cluster {
    /// What the member at this URL runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn etcd_versions(
        &self,
        door: &EtcdDoor,
        url: &str,
    ) -> Result<EtcdVersions, ClusterError> {
        self.send(door, url, "/version", http::Request::get("/version").body(Vec::new())).await
    }

    /// How large its database is on its disk, in bytes.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) async fn etcd_size(&self, door: &EtcdDoor, url: &str) -> Result<u64, ClusterError> {
        let path = "/v3/maintenance/status";
        let status: Status = self.post(door, url, path, "{}").await?;
        let unreadable = |error: std::num::ParseIntError| ClusterError {
            attempt: format!("ask etcd at {url} for {path}"),
            cause: Cause::Unreadable(format!("dbSize: {error}")),
        };
        status.size.parse().map_err(unreadable)
    }

    /// Writes a snapshot of the member at this URL to `file`, which is then on the disk, with mode 0600.
    ///
    /// # Errors
    /// When the member does not answer, the snapshot is not whole, or the file cannot be written. There is then no file.
    pub(crate) async fn etcd_snapshot(
        &self,
        door: &EtcdDoor,
        url: &str,
        file: &Path,
    ) -> Result<Snapshot, ClusterError> {
        let path = "/v3/maintenance/snapshot";
        let attempt = format!("have etcd at {url} write a snapshot to {}", file.display());
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(b"{}".to_vec()).map_err(|error| no_way(&attempt, error.to_string()))?;
        let client = self.client_of(door, url, &attempt)?;
        let stream = within(&attempt, client.request_stream(request)).await?;
        pin_mut!(stream);
        let written = receive(stream, file).await;
        written.map_err(|cause| ClusterError { attempt, cause: Cause::Unreadable(cause) })
    }
}

/// Writes what comes to `file`. etcd sends its database and then the digest of that, which `etcdutl` expects at the end of
/// the file.
async fn receive(stream: impl AsyncBufRead + Unpin, file: &Path) -> Result<Snapshot, String> {
    let mut staged = Staged::create(file).map_err(|error| error.to_string())?;
    let (mut database, mut whole) = (Context::new(&SHA256), Context::new(&SHA256));
    let (mut last, mut bytes) = (Vec::new(), 0);
    let mut lines = stream.lines();
    loop {
        let line = tokio::time::timeout(PIECE_WITHIN, lines.next()).await;
        let line = line.map_err(|_| format!("nothing more came within {PIECE_WITHIN:?}"))?;
        let Some(line) = line.transpose().map_err(|error| error.to_string())? else { break };
        let piece: Piece = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let Some(Blob { blob: ByteString(blob) }) = piece.result else {
            return Err(piece.error.map_or("an empty message".to_owned(), |error| error.to_string()));
        };
        staged.write_all(&blob).map_err(|error| error.to_string())?;
        whole.update(&blob);
        bytes += blob.len() as u64;
        last.extend(blob);
        let over = last.len().saturating_sub(SHA256_OUTPUT_LEN);
        database.update(&last[..over]);
        last.drain(..over);
    }
    if database.finish().as_ref() != last {
        return Err(format!(
            "the {bytes} bytes that came are not whole: they do not end with the digest of the rest"
        ));
    }
    staged.commit().map_err(|error| error.to_string())?;
    let mut sha256 = String::new();
    for byte in whole.finish().as_ref() {
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(Snapshot { bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_evidence::sha256_hex;
    use serde_json::json;

    /// What the gateway sends for a database, in pieces of this size.
    fn sent(database: &[u8], size: usize, digest: &[u8]) -> String {
        let all = [database, digest].concat();
        let line = |piece: &[u8]| {
            let blob = serde_json::to_value(ByteString(piece.to_vec())).unwrap();
            format!("{}\n", json!({ "result": { "remaining_bytes": "1", "blob": blob } }))
        };
        all.chunks(size).map(line).collect()
    }

    #[tokio::test]
    async fn a_snapshot_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etcd.db");
        let database: Vec<u8> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
        let digest = ring::digest::digest(&SHA256, &database);
        for size in [1, 31, 32, 33, 4000, 5000] {
            let said = sent(&database, size, digest.as_ref());
            let snapshot = receive(said.as_bytes(), &file).await.unwrap();
            let there = std::fs::read(&file).unwrap();
            assert_eq!(there, [&database, digest.as_ref()].concat(), "{size}");
            assert_eq!((snapshot.bytes, snapshot.sha256), (there.len() as u64, sha256_hex(&there)));
            std::fs::remove_file(&file).unwrap();
        }
        let whole = sent(&database, 1000, digest.as_ref());
        let cut: String = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
        let failed = format!("{cut}{}\n", json!({ "error": { "message": "compacted" } }));
        for (said, why) in
            [(cut.as_str(), "not whole"), (&failed, "compacted"), (&whole[..900], "EOF"), ("", "not whole")]
        {
            let error = receive(said.as_bytes(), &file).await.unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_a_member_says_of_itself_is_read() {
        let said: EtcdVersions =
            serde_json::from_str(r#"{"etcdserver":"3.6.6","etcdcluster":"3.6.0","storage":"3.6.0"}"#)
                .unwrap();
        assert_eq!((said.server.as_str(), said.cluster.as_str()), ("3.6.6", "3.6.0"));
        let status: Status =
            serde_json::from_str(r#"{"header":{},"version":"3.6.6","dbSize":"20480"}"#).unwrap();
        assert_eq!(status.size, "20480");
    }
}
