use proptest::prelude::*;

use super::*;

fn run() -> RunId {
    RunId::from_bytes(*b"\x01\x92\xf3\xc5\x7a\x10\x7c\xc3\x9d\x1e\x5b\x1f\x0c\x2a\x4e\x6f")
}

fn header(seq: u64) -> RunHeader {
    let created = Timestamp::from_micros(1_700_000_000_000_000);
    let hash = chain::genesis(run(), "pivot", created);
    RunHeader { run: run(), kind: "pivot".into(), created, head: Head { seq, hash } }
}

fn entry(body: &str) -> Entry {
    Entry::after(run(), header(0).head, Timestamp::from_micros(1_700_000_000_000_001), body.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of version 1, for ever. If this fails, old journals cannot be read any more.
#[test]
fn the_bytes_of_an_entry_and_a_header_do_not_change() {
    assert_eq!(
        hex(&entry(r#"{"event":"begun"}"#).encode()),
        "664501ffce5c874caf100833182f2f02fff710db559fdeb007dbc5bc2643405b826563fd01401e18240a060032f3ecd1a359eeafb2bec3ade042c7fea9475df34b702d825ca36663af56e268117b226576656e74223a22626567756e227d"
    );
    assert_eq!(
        hex(&header(0).encode()),
        "664801057069766f74fd00401e18240a060000ffce5c874caf100833182f2f02fff710db559fdeb007dbc5bc2643405b82656339b1a690a448b155347ca024d306be314bd3833d037ed23237711f2184dc9b9e"
    );
}

#[test]
fn a_later_schema_is_newer_and_not_damaged() {
    let mut bytes = entry("{}").encode();
    bytes[2] = 2;
    assert_eq!(Entry::decode(run(), 1, &bytes), Err(DecodeError::Newer { found: 2 }));
    let mut bytes = header(0).encode();
    bytes[2] = 9;
    assert_eq!(RunHeader::decode(run(), &bytes), Err(DecodeError::Newer { found: 9 }));
}

#[test]
fn an_entry_is_only_itself_in_its_own_place() {
    let bytes = entry("{}").encode();
    assert!(Entry::decode(run(), 1, &bytes).is_ok());
    assert!(Entry::decode(run(), 2, &bytes).is_err(), "another number");
    assert!(Entry::decode(RunId::new(), 1, &bytes).is_err(), "another run");
    assert!(RunHeader::decode(RunId::new(), &header(0).encode()).is_err(), "another run");
    let longer = [bytes, vec![0]].concat();
    assert_eq!(
        Entry::decode(run(), 1, &longer),
        Err(DecodeError::Damaged("1 bytes follow the entry".into()))
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(body in ".{0,300}", kind in "[a-z]{0,64}", seq: u64) {
        let made = entry(&body);
        prop_assert_eq!(Entry::decode(run(), 1, &made.encode()), Ok(made));
        let made = RunHeader { kind, ..header(seq) };
        prop_assert_eq!(RunHeader::decode(run(), &made.encode()), Ok(made));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(body in "[a-z]{0,80}", place: prop::sample::Index, change in 1..=255_u8) {
        let mut bytes = entry(&body).encode();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert!(Entry::decode(run(), 1, &bytes).is_err());
        prop_assert!(Entry::decode(run(), 1, &bytes[..place]).is_err());
        let mut bytes = header(3).encode();
        let place = place % bytes.len();
        bytes[place] ^= change;
        prop_assert!(RunHeader::decode(run(), &bytes).is_err());
    }

    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
        let sealed = [&b"fE\x01"[..], &bytes].concat();
        prop_assert!(Entry::decode(run(), 1, &sealed).is_err());
        prop_assert!(Entry::decode(run(), 1, &bytes).is_err());
    }
}
