//! `switch`: sends new connections to the new API server, and watches it for a while. After one wrong answer
//! they go to the old server again. If that is because a roll-out replaces the new server, the step waits for the
//! server that comes of it, and switches to that. Undo: sends them to the old server, if it is still there.

use crate::component::Component;
use crate::handover::lasting::lasting_pod;
use crate::handover::pair::{Pair, is_cut, settled, share_again};
use crate::handover::stand_still::StandStill;
use crate::host::{Answer, Listener, MARK_NEWCOMER, Process, Question, Steering};
use crate::look::once;
use crate::site::{Site, describe, in_api_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const API: Component = Component::ApiServer;

/// How often the way back to the old server is tried. Each further try is for a server that came or went.
const LOOKS_MAX: u32 = 10;

pub(super) struct Switch {
    pub(super) site: Arc<Site>,
}

/// What the new server has answered while it was watched.
#[derive(Default)]
struct Watched {
    answers: u32,
    slowest: Duration,
}

impl Switch {
    /// Gives the new server all new connections. Returns its listener.
    async fn to_new(&self, cx: &Context) -> Look<Listener> {
        let pod = lasting_pod(&self.site, API).await?.map_err(Pending::NotYet)?;
        let is_its = |process: &Process| process.pod_uid == pod.metadata.uid;
        if let Err(seen) = once(self.site.serves(API, Some(MARK_NEWCOMER), is_its).await)? {
            share_again(&self.site, cx, API).await?;
            return Err(Pending::NotYet(seen));
        }
        let pair = Pair::look(&self.site).await?;
        let Some(new) = pair.new.as_ref().filter(|new| is_its(&new.process)) else {
            return Err(Pending::NotYet("the new kube-apiserver does not listen".to_owned()));
        };
        settled(pair.steer(&self.site, Steering::To { serving: new.inode }).await)?;
        Ok(new.clone())
    }

    /// Asks as clients do, until the time is up. Connections that were on
    /// their way to the old server at the switch arrive meanwhile.
    async fn soak(&self, cx: &Context, new: &Listener) -> Result<Watched, StepError> {
        let question = self.site.question(API);
        let soak = self.site.settings.soak.max(self.site.timeouts.handshake);
        let end = Instant::now() + soak;
        cx.note(format!("watching {} for {soak:?}", describe(&new.process)));
        let mut watched = Watched::default();
        loop {
            let asked = Instant::now();
            let answer = self.in_time(&question).await?;
            watched.slowest = watched.slowest.max(asked.elapsed());
            let who = answer.process.as_ref().map_or("a process that was gone at once".to_owned(), describe);
            if answer.status != 200 || answer.process.is_none_or(|process| process.pid != new.process.pid) {
                return Err(StepError::fatal(format!(
                    "{who} answered {} to {}",
                    answer.status, question.path
                )));
            }
            watched.answers += 1;
            if Instant::now() >= end {
                return Ok(watched);
            }
            tokio::select! {
                () = tokio::time::sleep(self.site.timeouts.poll) => {}
                () = cx.stopped() => return Err(StepError::stopped()),
            }
        }
    }

    /// The answer, over a connection of its own. One that takes longer than the person allows ends the step.
    async fn in_time(&self, question: &Question) -> Result<Answer, StepError> {
        let answer = self.site.node.host.ask(question);
        let Some(limit) = self.site.settings.max_latency else { return Ok(answer.await?) };
        match timeout(limit, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StepError::fatal(format!(
                "{} was not answered within {limit:?}, the longest that --max-latency allows",
                question.path
            ))),
        }
    }

    /// Gives the old server new connections again, if it listens and shares its port. On the exact way back
    /// it is another process, which does not. A server that comes or goes meanwhile is looked at again: this is also
    /// called when the deadline of the step is over.
    async fn back(&self) -> Result<(), StepError> {
        let mut seen = String::new();
        for _ in 0..LOOKS_MAX {
            match self.steer_back().await {
                Ok(()) => return Ok(()),
                Err(Pending::NotYet(why)) => seen = why,
                Err(Pending::Failed(error)) => return Err(error),
            }
            tokio::time::sleep(self.site.timeouts.poll).await;
        }
        Err(StepError::retry(seen))
    }

    async fn steer_back(&self) -> Look<()> {
        let pair = Pair::look(&self.site).await?;
        match &pair.old {
            Some(old) if settled(self.site.node.host.is_shared(old).await)? => {
                settled(pair.steer(&self.site, pair.prefer(old)).await)
            }
            _ => Ok(()),
        }
    }

    /// Whether a roll-out has replaced the pod of this server, or will. While the API gives no answer, it has not.
    async fn is_replaced(&self, new: &Process) -> Result<bool, StepError> {
        Ok(match once(lasting_pod(&self.site, API).await)? {
            Ok(Ok(pod)) => pod.metadata.uid != new.pod_uid,
            Ok(Err(_)) => true,
            Err(_) => false,
        })
    }

    /// Switches, and watches. A server that is replaced meanwhile is no reason to give up.
    async fn switch(&self, cx: &Context) -> Result<Value, StepError> {
        loop {
            let what = "the new kube-apiserver to take new connections";
            let still = StandStill::default();
            let look = async || {
                let seen = self.to_new(cx).await;
                if matches!(seen, Err(Pending::NotYet(_))) {
                    still.end(&self.site, API).await;
                }
                seen
            };
            let new = match cx.wait(what, self.site.timeouts.poll, look).await {
                Ok(new) => new,
                Err(error) => return Err(self.switched_back(cx, error).await?),
            };
            let error = match self.soak(cx, &new).await {
                Ok(watched) => return Ok(told(&new, &watched)),
                Err(error) => self.switched_back(cx, error).await?,
            };
            if !self.is_replaced(&new.process).await? {
                return Err(error);
            }
            cx.note("a roll-out replaces it: waiting for the kube-apiserver that comes of that".to_owned());
        }
    }

    /// Switches back because of this error, and returns it.
    async fn switched_back(&self, cx: &Context, error: StepError) -> Result<StepError, StepError> {
        cx.note(format!("switching back: {error}"));
        match self.back().await {
            Ok(()) => Ok(error),
            Err(second) => Err(StepError::fatal(format!("{error}; and it was not switched back: {second}"))),
        }
    }

    /// The last look before the old server goes. If a roll-out replaces the new one, switches back, and again to the
    /// server that comes of it.
    pub(super) async fn keep(&self, cx: &Context) -> Result<(), StepError> {
        let pair = Pair::look(&self.site).await?;
        let (Some(_), Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
        if !self.is_replaced(&new.process).await? {
            return Ok(());
        }
        cx.note("switching back: a roll-out replaces the new kube-apiserver".to_owned());
        self.back().await?;
        self.switch(cx).await.map(drop)
    }
}

fn told(new: &Listener, watched: &Watched) -> Value {
    let slowest = u64::try_from(watched.slowest.as_millis()).unwrap_or(u64::MAX);
    json!({ "pid": new.process.pid, "inode": new.inode, "answers": watched.answers, "slowest_ms": slowest })
}

#[async_trait]
impl Step for Switch {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        if is_cut(&self.site, cx.run(), API)? {
            return Ok(ProbeResult::Done);
        }
        let pair = Pair::look(&self.site).await?;
        match (pair.steering(&self.site).await?, &pair.new) {
            (Some(Steering::To { serving }), Some(new)) if serving == new.inode => {}
            _ => return Ok(ProbeResult::Absent),
        }
        if cx.output_value(cx.step().as_str()).is_none() {
            return Ok(ProbeResult::Partial("it was not watched to the end".to_owned()));
        }
        Ok(match once(self.site.serves(API, None, in_api_pod).await)? {
            Ok(_) => ProbeResult::Done,
            Err(seen) => ProbeResult::Partial(seen),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        if is_cut(&self.site, cx.run(), API)? {
            return Ok(Value::Null);
        }
        self.switch(cx).await
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        self.back().await
    }
}
