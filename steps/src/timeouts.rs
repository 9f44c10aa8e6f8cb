//! How long things are given.

use std::time::Duration;

/// How long things are given. Not part of the plan: it is the machine that is slow or fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How often a wait looks again.
    pub poll: Duration,
    /// A leader's lease that is not renewed for this long has lost its holder: leaders renew every 2 s.
    pub lease_quiet: Duration,
    /// The longest that a candidate takes to look at its lease again: client-go's 2 s, and up to 1.2 times as much.
    pub candidate: Duration,
    /// How long before its leader goes it shall have looked. The shortest is those 2 s, and a process has ended some 0.3 s
    /// after its manifest has gone (*measured*): so it finds the lease free at its next look, and soon.
    pub looked: Duration,
    /// How long a server that has stopped listening may finish what it has in hand before it is ended, while
    /// another one serves. New connections go to that one by then, so that what is left is requests that were
    /// under way, which take a second or two, and watches, which never end by themselves and go on elsewhere.
    /// More would be spent on watches alone: all of the pod's 30 s.
    pub drain: Duration,
    /// The same while nobody else serves: its successor starts only after it.
    pub drain_alone: Duration,
    /// How long a connection may take to be set up, on a busy node, when others go elsewhere already: the server that it
    /// was made to is not told to end before. One that is still shaking hands then is lost (*measured*).
    pub handshake: Duration,
    /// How long the watch that holds the endpoints may take to begin: it takes two answers of the API.
    pub held: Duration,
    /// How long what clients send to a server may be held back before the kubelet has told it to end: no longer than they
    /// would wait for an answer without asking whether there is anybody. It takes about 0.2 s.
    pub hold: Duration,
    /// How long after that: from when it stops listening until it has told every client.
    pub goodbye: Duration,
    /// How long the kubelet may take to act on a manifest: it watches the directory, and looks every second.
    pub settle: Duration,
    /// How long the way back waits for the bridge to serve before it goes on with a gap.
    pub bridge: Duration,
    /// How long a rollback waits for an API that does not answer, where it can do without: what it does next may
    /// be what brings the API back.
    pub api: Duration,
}

impl Default for Timeouts {
    /// For a real node.
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
            goodbye: Duration::from_millis(200),
            settle: Duration::from_secs(3),
            bridge: Duration::from_secs(60),
            api: Duration::from_secs(5),
        }
    }
}
