//! Names and times: runs, digests, microseconds. Values only; no I/O but the clock.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Visitor;
use uuid::Uuid;

/// The name of a run: a UUID of version 7, or of version 8 if the name comes from a key. Of the former, later
/// runs sort after earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// A new name, different from every other, and greater than those made before by this process.
    #[expect(clippy::new_without_default, reason = "each call gives another value")]
    pub fn new() -> RunId {
        RunId(Uuid::now_v7())
    }

    /// The name that belongs to `key`: always the same one. Two keys have one name only if their BLAKE3 hashes
    /// begin alike.
    pub fn of_key(key: &str) -> RunId {
        let digest = Digest::of(format!("run of key\0{key}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        RunId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The 16 bytes, which sort as the names do.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The name as text.
    pub(crate) fn text<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
        self.0.as_hyphenated().encode_lower(buffer)
    }

    /// The name with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> RunId {
        RunId(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` makes a width in the format string work.
        f.pad(self.0.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<RunId, ParseIdError> {
        let wanted = "a run is named by a UUID, as 0192f3c5-7a10-7cc3-9d1e-5b1f0c2a4e6f";
        Uuid::try_parse(text).map(RunId).map_err(|_| ParseIdError { text: text.into(), wanted })
    }
}

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits.
    pub(crate) fn hex(&self) -> impl Deref<Target = str> {
        blake3::Hash::from_bytes(self.0).to_hex()
    }

    /// The hash with these digits.
    pub(crate) fn from_hex(digits: &[u8; 64]) -> Option<Digest> {
        Some(Digest(*blake3::Hash::from_hex(digits).ok()?.as_bytes()))
    }

    /// The hash with these bytes. Nothing is hashed.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:.12})", self)
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Digest, ParseIdError> {
        let wanted = "a digest is 64 hexadecimal digits";
        blake3::Hash::from_hex(text)
            .map(|hash| Digest(*hash.as_bytes()))
            .map_err(|_| ParseIdError { text: text.into(), wanted })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest of 64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Microseconds since the Unix epoch, by the node's clock. The clock can be set. So times in a journal may go
/// backwards, and the number gives the order of entries.
///
/// It converts to and from [`SystemTime`], and with that to the times of any library that shows them to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time now. A clock before 1970 reads as 0.
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(&self) -> u64 {
        self.0
    }

    /// The time this many microseconds after the Unix epoch.
    pub fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros)
    }

    /// How long after `earlier` this time is. Zero if it is not after it.
    pub fn since(&self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        // Every time of 64 bits of microseconds is one of the system's: the year 586,524 at most.
        UNIX_EPOCH + Duration::from_micros(time.0)
    }
}

/// Cut to whole microseconds. A time before 1970 is that of the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A text that is no name or digest, whichever was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {text:?}: {wanted}")]
pub struct ParseIdError {
    text: String,
    wanted: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Journals have runs of these names.
    #[test]
    fn the_name_of_a_key_never_changes() {
        assert_eq!(RunId::of_key("deploy 7").to_string(), "ad853a0f-beaf-8892-a4de-20972fb58816");
        assert_ne!(RunId::of_key("deploy 7"), RunId::of_key("deploy 8"));
    }

    #[test]
    fn run_ids_sort_in_the_order_they_were_made() {
        let made: Vec<RunId> = (0..1000).map(|_| RunId::new()).collect();
        assert!(made.is_sorted_by(|a, b| a < b && a.as_bytes() < b.as_bytes()));
    }

    #[test]
    fn names_and_digests_are_read_back_from_text_and_json() {
        let run = RunId::new();
        assert_eq!(run.to_string().parse(), Ok(run));
        assert_eq!(run.to_string().len(), 36);
        assert_eq!(RunId::from_bytes(*run.as_bytes()), run);
        let json = serde_json::to_string(&run).unwrap();
        assert_eq!(json, format!("\"{run}\""));
        assert_eq!(serde_json::from_str::<RunId>(&json).unwrap(), run);

        let digest = Digest::of(b"fulcrum");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(format!("{digest:?}"), format!("Digest({})", &digest.to_string()[..12]));
    }

    #[test]
    fn what_is_no_name_is_refused_with_an_example() {
        let error = "17".parse::<RunId>().unwrap_err();
        assert!(error.to_string().starts_with("cannot read \"17\": a run is named by a UUID"), "{error}");
        assert!("abc".parse::<Digest>().is_err());
    }

    #[test]
    fn times_that_go_backwards_are_no_duration() {
        let (early, late) = (Timestamp::from_micros(1_000), Timestamp::from_micros(3_500));
        assert_eq!(late.since(early), Duration::from_micros(2_500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(serde_json::to_string(&late).unwrap(), "3500");
        assert_eq!(Timestamp::from(SystemTime::from(late)), late);
        assert_eq!(SystemTime::from(early), UNIX_EPOCH + Duration::from_millis(1));
        let last = Timestamp::from_micros(u64::MAX);
        assert_eq!(Timestamp::from(SystemTime::from(last)), last);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)).as_micros(), 0);
    }
}
