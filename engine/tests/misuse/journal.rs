//! What the engine makes of its journal.

use crate::*;

/// Issue: it aborted the run.
#[tokio::test]
async fn a_pre_image_that_finds_no_room_fails_its_step() {
    let disk = MemoryDisk::new();
    let journal =
        Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024, ..Options::default() })
            .unwrap();
    let before = Made::new({
        let disk = disk.clone();
        move |_| {
            disk.set_room(Some(disk.used()));
            Ok(Value::Null)
        }
    });
    let saving = Made { saves: Box::new(|| true), save: vec![7; 1 << 20], ..Made::new(|_| Ok(Value::Null)) };
    let engine = with_steps(&journal, vec![("a", before), ("b", saving)]);
    let ending = engine.start(chain(&["a", "b"])).await.unwrap();
    let (outcome, reason) = ended(&ending);
    assert_eq!(outcome, Outcome::RolledBack, "{reason}");
    assert!(reason.contains("step b failed: the pre-image cannot be kept"), "{reason}");
    load(&journal.reader(), ending.run).unwrap();
}

/// Saves at the second time, when the disk has no more room.
struct Late(MemoryDisk, Arc<Notify>, AtomicU32);

#[async_trait]
impl Step for Late {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }
    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Err(StepError::fatal("its pre-image was not kept"))
    }
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
    fn saves(&self) -> bool {
        true
    }
    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(StepError::retry("not there yet"));
        }
        self.0.set_room(Some(self.0.used()));
        self.1.notify_one();
        Ok(vec![7; 1 << 20])
    }
}

/// Fails for good once that is saved.
struct Failing(Arc<Notify>);

#[async_trait]
impl Step for Failing {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }
    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        self.0.notified().await;
        // The engine takes in what was saved. It then waits for what `slow` saves.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Err(StepError::fatal("as told"))
    }
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

/// In the turn in which the pre-image of a second attempt finds no room, another step fails for good. The first
/// attempt had begun: it is undone.
#[tokio::test]
async fn a_step_whose_pre_image_finds_no_room_in_a_rollback_is_undone() {
    let disk = MemoryDisk::new();
    let journal =
        Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024, ..Options::default() })
            .unwrap();
    let saved = Arc::new(Notify::new());
    let slow = Made {
        saves: Box::new(|| true),
        looks_for: Duration::from_secs(60),
        ..Made::new(|_| Ok(Value::Null))
    };
    let steps: Vec<(&str, Arc<dyn Step>)> = vec![
        ("failing", Arc::new(Failing(Arc::clone(&saved)))),
        ("late", Arc::new(Late(disk, saved, AtomicU32::new(0)))),
        ("slow", Arc::new(slow)),
    ];
    let plan = Plan::new("three", steps.iter().map(|(id, _)| step(id, &[])).collect()).unwrap();
    let ending = with_registry(&journal, steps).start(plan).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::RolledBack, "{}", ended(&ending).1);
    let run = load(&journal.reader(), ending.run).unwrap();
    let late = run.state(&"late".into()).unwrap();
    assert_eq!((&late.status, late.attempts, late.pre_image), (&Status::Undone, 1, None));
}

/// Work that went forward took the room that is kept for the way back.
#[tokio::test]
async fn a_run_that_has_filled_the_disk_is_rolled_back() {
    let disk = MemoryDisk::new();
    let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
    let journal = Journal::on(Arc::new(disk.clone()), options).unwrap();
    let names: Vec<String> = (0..60).map(|n| format!("s{n}")).collect();
    let with = |journal: &Journal| {
        let steps = names.iter().map(|name| {
            let disk = disk.clone();
            let made = Made::new(move |_| {
                disk.set_room(Some(disk.used()));
                Ok(Value::String("x".repeat(1500)))
            });
            (name.as_str(), made)
        });
        with_steps(journal, steps.collect())
    };
    let plan = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let error = with(&journal).start(plan).await.unwrap_err();
    let is_full =
        matches!(error, fulcrum_engine::EngineError::Journal(fulcrum_engine::state::AppendError::NoRoom(_)));
    assert!(is_full, "{error:?}");
    drop(journal);
    let journal = Journal::on(Arc::new(disk.clone()), options).unwrap();
    let run = journal.open_runs().unwrap()[0].run;
    let ending = with(&journal).roll_back(run, "the disk is full").await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::RolledBack);
}

#[tokio::test]
async fn observers_see_the_time_of_the_entry() {
    let (journal, world) = (Journal::in_memory(), world::Shared::default());
    struct Times(Mutex<Vec<Timestamp>>);
    impl Observer for Times {
        fn event(&self, _: RunId, time: Timestamp, _: &Event) {
            self.0.lock().unwrap().push(time);
        }
    }
    let times = Arc::new(Times(Mutex::default()));
    let observer: Arc<dyn Observer> = Arc::<Times>::clone(&times);
    let ending = engine(&journal, &world).observer(observer).start(diamond()).await.unwrap();
    let kept: Vec<Timestamp> =
        journal.reader().entries(ending.run).map(|entry| entry.unwrap().time).collect();
    assert_eq!(*times.0.lock().unwrap(), kept);
}

#[tokio::test]
async fn a_step_that_saves_costs_no_sync_of_its_own() {
    for saves in [false, true] {
        let journal = Journal::in_memory();
        let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
        let made = names.iter().enumerate().map(|(n, name)| {
            let saves = Box::new(move || saves && n > 0);
            (name.as_str(), Made { saves, save: vec![7; 4096], ..Made::new(|_| Ok(Value::Null)) })
        });
        let engine = with_steps(&journal, made.collect());
        let before = journal.syncs();
        let ending =
            engine.start(chain(&names.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
        assert_eq!(ended(&ending).0, Outcome::Completed);
        assert_eq!(journal.syncs() - before, 21, "with saves: {saves}");
    }
}

/// The state that is kept says what the entries say; entries that came on top of it are taken in.
#[tokio::test]
async fn a_long_run_is_loaded_from_its_checkpoint_as_from_its_entries() {
    let journal = Journal::in_memory();
    let names: Vec<String> = (0..600).map(|n| format!("s{n}")).collect();
    let made = |n: usize| Made::new(move |_| Ok(json!({ "n": n })));
    let steps = || names.iter().enumerate().map(|(n, name)| (name.as_str(), made(n))).collect();
    let plan = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let engine = with_steps(&journal, steps()).pause_after(["s590".into()]);
    let ending = engine.start(plan.clone()).await.unwrap();
    let (head, _) = journal.reader().checkpoint(ending.run).expect("a checkpoint after 1000 entries");
    assert!(head.seq > 512 && head.seq < 1184, "{head:?}");
    let loaded = load(&journal.reader(), ending.run).unwrap();
    let mut read = Run::new(Arc::new(plan));
    for entry in journal.reader().entries(ending.run) {
        read.apply(&fulcrum_engine::load::decode(&entry.unwrap()).unwrap()).unwrap();
    }
    assert_eq!(loaded, read);
    assert_eq!(loaded.output(&"s7".into()), Some(&json!({ "n": 7 })));
    // One that is not ours is not believed.
    let mut writer = journal.continue_run(ending.run).unwrap();
    writer
        .append(Commit::of([
            json!({ "event": "resumed", "session": { "boot_id": "x", "pid": 1, "program": "t" } })
                .to_string(),
        ]))
        .await
        .unwrap();
    writer.checkpoint(b"from another version".to_vec());
    drop(writer);
    let ending = with_steps(&journal, steps()).resume(ending.run).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::Completed);
    let open: Vec<RunId> = journal.open_runs().unwrap().into_iter().map(|header| header.run).collect();
    assert_eq!(open, [], "a run that is over says so");
}

/// More than one commit holds: 200 outputs of 2.9 KB that come in at once.
#[tokio::test]
async fn a_batch_that_is_too_large_for_a_commit_becomes_several() {
    let options = Options { segment_bytes: 512 * 1024, ..Options::default() };
    let journal = Journal::on(Arc::new(MemoryDisk::new()), options).unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
    let big = || Made {
        saves: Box::new(|| true),
        save: vec![7; 60_000],
        ..Made::new(|_| Ok(json!("x".repeat(2900))))
    };
    let plan = Plan::new("wide", names.iter().map(|name| step(name, &[])).collect()).unwrap();
    let engine = with_steps(&journal, names.iter().map(|name| (name.as_str(), big())).collect());
    let ending = engine.parallelism(200).start(plan).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::Completed);
    journal.reader().verify(ending.run).unwrap();
}
