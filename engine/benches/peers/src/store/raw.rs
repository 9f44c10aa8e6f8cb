//! What the disk takes, without any engine.

use super::{Failed, Store};
use crate::CHAIN;
use crate::body;
use async_trait::async_trait;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a commit of fulcrum-engine writes for a step of a chain: two entries of some 250 bytes and a header.
const BYTES: usize = 600;

pub(super) struct Raw(File);

impl Raw {
    /// Every write makes the file longer.
    pub(super) fn append(dir: &Path) -> Result<Self, Failed> {
        Ok(Self(File::create_new(dir.join("append"))?))
    }

    /// Every write goes into blocks that were written before: nothing but the content changes.
    pub(super) fn written(dir: &Path) -> Result<Self, Failed> {
        let file = File::create_new(dir.join("written"))?;
        file.write_all_at(&vec![0; BYTES * (CHAIN as usize + 1)], 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }
}

#[async_trait]
impl Store for Raw {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        for step in 0..steps {
            body::run(step);
            self.0.write_all_at(&[b'x'; BYTES], step * BYTES as u64)?;
            self.0.sync_data()?;
        }
        Ok(())
    }

    async fn go_on(&self) -> Result<(), Failed> {
        Err("a file has no workflows".into())
    }
}
