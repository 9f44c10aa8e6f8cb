//! The time limits.

use std::time::Duration;

/// The time limits. They are not part of the plan: the machine is slow or fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How often a wait looks again.
    pub poll: Duration,
    /// A lease that is not renewed for this long has lost its holder: leaders renew every 2 s.
    pub lease_quiet: Duration,
    /// The longest time until a candidate looks at its lease again: client-go's 2 s, and up to 1.2 times as
    /// much in addition.
    pub candidate: Duration,
    /// A candidate shall have looked this long before its leader goes. The shortest pause between looks is
    /// those 2 s, and a process has ended some 0.3 s after its manifest has gone (*measured*). So the
    /// candidate finds the lease free at its next look, and soon.
    pub looked: Duration,
    /// How long a server that has stopped listening may finish the requests in hand before it is ended, while
    /// another one serves. New connections go to the other one by then. What is left is requests that were
    /// under way, which take a second or two, and watches, which never end by themselves and go on elsewhere.
    /// A longer time would serve watches alone: all of the pod's 30 s.
    pub drain: Duration,
    /// How long that server may finish while no other one serves: its successor starts only after it.
    pub drain_alone: Duration,
    /// How long a connection may take to be set up, on a busy node, when others go elsewhere already. The
    /// server to which it was made is not told to end before that. A connection that is still shaking hands
    /// then is lost (*measured*).
    pub handshake: Duration,
    /// How long the watch that holds the endpoints may take to begin. It takes two answers of the API.
    pub held: Duration,
    /// How long what clients send to a server may be held back before the kubelet has told it to end. This is
    /// no longer than clients wait for an answer before they check that the server is alive. It takes about
    /// 0.2 s.
    pub hold: Duration,
    /// How long it may be held back at most, where the end is slow to come. A client's kernel sends again after
    /// 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s. So a request waits for 6.2 s at the longest, which is less than the 10 s
    /// in which a leader must renew its lease.
    pub hold_most: Duration,
    /// How long it may be held back after that: from when the server stops listening until it has told every
    /// client. That takes some 50 ms, and on an overloaded machine it has taken 600 (*measured*). A client that is told
    /// goes elsewhere at once. One that is never told sends again after 1.4 s, and is answered before the end of `drain_alone`.
    pub goodbye: Duration,
    /// How long the kubelet may take to act on a manifest: it watches the directory, and looks every second.
    pub settle: Duration,
    /// How long the way back waits for the bridge to serve before it goes on with a gap, and the fallback of the
    /// controller manager for an API server.
    pub bridge: Duration,
    /// How long the scheduler may find no node for a pod: its view of labels and of ended pods comes a little
    /// late.
    pub unschedulable: Duration,
    /// How long a new pod of a roll-out may be Ready by the kubelet's probes, which the old pod may have
    /// answered, while the new process does not serve. The controller ends the old pod after 20 s.
    pub unproven: Duration,
    /// A second of a DaemonSet's `minReadySeconds`.
    pub second: Duration,
    /// How long before the controller would end the old API server of a roll-out it is told to go: longer than a call may
    /// take on a busy node (*measured*: 1.6 s).
    pub ahead: Duration,
    /// How long a new pod may be Ready beside an old one before the controller is made to look again: the 20 s of
    /// `minReadySeconds`, and the time that the controller and the kubelet take.
    pub stand_still: Duration,
    /// How long the answers of an upgrade's new API server may differ from those of the old one: what it reads by watches
    /// may come a little late. It is over well before the controller ends the old pod.
    pub shadow: Duration,
    /// How long the image of a roll-out's new pod may fail to be pulled: a registry may be away for a moment.
    pub image: Duration,
    /// How long a rollback waits for an API that does not answer, where it can do without. Its next actions
    /// may be what brings the API back.
    pub api: Duration,
    /// How often a process looks at its certificate files that looks each minute.
    pub minute: Duration,
}

impl Default for Timeouts {
    /// The limits for a real node.
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(100),
            lease_quiet: Duration::from_millis(3500),
            candidate: Duration::from_millis(4400),
            looked: Duration::from_millis(1400),
            drain: Duration::from_secs(10),
            drain_alone: Duration::from_secs(2),
            handshake: Duration::from_secs(2),
            held: Duration::from_secs(2),
            hold: Duration::from_secs(3),
            hold_most: Duration::from_secs(6),
            goodbye: Duration::from_secs(1),
            settle: Duration::from_secs(3),
            bridge: Duration::from_secs(60),
            unschedulable: Duration::from_secs(15),
            unproven: Duration::from_secs(14),
            second: Duration::from_secs(1),
            ahead: Duration::from_secs(4),
            stand_still: Duration::from_secs(26),
            shadow: Duration::from_secs(7),
            image: Duration::from_secs(60),
            api: Duration::from_secs(5),
            minute: Duration::from_secs(60),
        }
    }
}
