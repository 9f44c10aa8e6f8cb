use super::*;

fn line(kind: Kind, content: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, kind, content);
    String::from_utf8(bytes).unwrap()
}

/// Frozen: every version reads what was written like this (docs/formats/journal.md).
#[test]
fn every_record_is_the_line_that_it_always_was() {
    let run = RunId::from_bytes([0x11; 16]);
    let digest = |fill| Digest::from_bytes([fill; 32]);
    let head = Head { seq: 2, hash: digest(0xaa) };
    let after = Some(Predecessor { run, head });
    let (created, time) = (Timestamp::from_micros(5), Timestamp::from_micros(6));
    let body = RawValue::from_string("{\"n\": 1}".into()).unwrap();
    let (prev, hash) = (digest(0xbb), digest(0xcc));
    let entry =
        |over, blobs, body, text| EntryContent { run, seq: 3, time, prev, hash, over, blobs, body, text };
    let runs = vec![PrunedRun { run, head }];
    let lines = [
        line(Kind::Segment, &SegmentContent { format: 2, segment: 2, after: 900, emptied: false }),
        line(Kind::Run, &RunContent { run, kind: "pivot".into(), created, after }),
        line(Kind::Blob, &BlobContent::inline(run, digest(1), b"a\nb")),
        line(Kind::Blob, &BlobContent::inline(run, digest(1), &[0, 255])),
        line(Kind::Blob, &BlobContent::file(run, digest(1), 70_000)),
        line(Kind::Entry, &entry(false, vec![], Some(&body), None)),
        line(Kind::Entry, &entry(true, vec![digest(1)], None, Some("any".into()))),
        line(Kind::Prune, &PruneContent { time, reason: "asked".into(), last: Some(run), runs }),
        line(Kind::Lost, &LostContent { run, seq: 4, detail: "gone".into() }),
    ];
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/records");
    if std::env::var_os("FULCRUM_WRITE_GOLDEN").is_some() {
        std::fs::write(golden, lines.concat()).unwrap();
    }
    assert_eq!(lines.concat(), std::fs::read_to_string(golden).unwrap());
}

#[test]
fn an_entry_is_written_as_serde_would() {
    let (run, seq, time) = (RunId::from_bytes([0x1f; 16]), 17, Timestamp::from_micros(u64::MAX));
    let digest = |fill| Digest::from_bytes([fill; 32]);
    let (prev, hash, body) = (digest(0xbb), digest(1), "{\"n\": [null, \"\\n\"]}".to_owned());
    let value = RawValue::from_string(body.clone()).unwrap();
    for over in [false, true] {
        for blobs in [vec![], vec![digest(2)], vec![digest(2), digest(0xfe), digest(4)]] {
            let entry = Entry { run, seq, time, prev, hash, over, blobs: blobs.clone(), body: body.clone() };
            let mut bytes = Vec::new();
            write_entry(&mut bytes, &entry);
            let body = Some(&*value);
            let content = EntryContent { run, seq, time, prev, hash, over, blobs, body, text: None };
            assert_eq!(String::from_utf8(bytes).unwrap(), line(Kind::Entry, &content));
        }
    }
}

#[test]
fn a_record_with_one_other_byte_is_none() {
    let content = LostContent { run: RunId::from_bytes([7; 16]), seq: 4, detail: "gone".into() };
    let mut record = line(Kind::Lost, &content).into_bytes();
    mark_first(&mut record);
    mark_last(&mut record);
    let prefix = Prefix::read(&record).unwrap();
    assert!(prefix.first && prefix.last && prefix.kind == Kind::Lost && prefix.matches(&record));
    for at in 0..record.len() {
        for bit in 0..8 {
            let mut other = record.clone();
            other[at] ^= 1 << bit;
            let whole = Prefix::read(&other)
                .is_some_and(|prefix| other.get(..prefix.len).is_some_and(|record| prefix.matches(record)));
            assert!(!whole, "byte {at}, bit {bit}");
        }
    }
    blank(&mut record);
    let blank = Prefix::read(&record).unwrap();
    assert!(blank.first && blank.last && blank.kind == Kind::Blank && blank.matches(&record));
    assert!(record[PREFIX_BYTES..].trim_ascii().is_empty());
}

#[test]
fn a_blob_is_kept_as_text_if_it_is_some() {
    for value in
        [b"".to_vec(), b"text\n".to_vec(), vec![0; 900], (0..=255).collect(), "\u{1}".repeat(99).into()]
    {
        let blob = BlobContent::inline(RunId::new(), Digest::of(&value), &value);
        let line = line(Kind::Blob, &blob);
        assert!(line.len() < value.len() * 2 + 320 && !line.contains('\0'));
        assert_eq!(blob.value().unwrap(), value);
    }
}
