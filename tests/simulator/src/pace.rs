use std::time::Duration;

/// How long things take in a rehearsal. The default makes a whole pivot take well under a second. The
/// proportions are those of a real node: what must wait for something else still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How often the world moves, and the kubelet reads the manifests directory.
    pub tick: Duration,
    /// The length of one second in an object's field (`minReadySeconds`).
    pub second: Duration,
    /// From a pod's deletion until the kubelet tells its processes (20 ms to 1 s). A static pod's are told as soon as its
    /// file is seen to be gone.
    pub told: Duration,
    /// From the kubelet's decision to the running process.
    pub start: Duration,
    /// From the running process to its listening socket.
    pub listen: Duration,
    /// From the listening socket to the first 200.
    pub ready: Duration,
    /// From SIGTERM to the end of a process. An API server stops listening at once.
    pub stop: Duration,
    /// From SIGTERM to the end of an API server, which waits for open watches. On a real node this takes up
    /// to 30 s, and its leaders then give up. Here it is short enough for them to survive a restart.
    pub drain: Duration,
    /// From SIGTERM until an API server has told its clients to go elsewhere. It answers requests with 503
    /// meanwhile (some 50 ms on a real node, most of them before it begins to).
    pub goodbye: Duration,
    /// The pause before the second restart of a container (10 s on a real node). It doubles.
    pub back_off: Duration,
    /// The longest such pause (5 min on a real node).
    pub back_off_max: Duration,
    /// How often the kubelet probes a container. The manifest's period counts for liveness alone, and this is its second.
    pub probe: Duration,
    /// How long candidates honour a leader's lease after its last renewal (15 s).
    pub lease: Duration,
    /// A leader that could not renew for this long ends (10 s).
    pub renew_deadline: Duration,
    /// How often leader and candidates look at the lease (2 s).
    pub lease_retry: Duration,
    /// How often an API server puts its address into the `kubernetes` endpoints (10 s).
    pub endpoints: Duration,
    /// How long an API server's lease lasts, by which its address stays there (15 s).
    pub endpoint_lease: Duration,
    /// How long nothing is heard of a node until it is not Ready (50 s; 40 s before 1.32).
    pub node_grace: Duration,
    /// How often a watch that asked for bookmarks gets one (1 min).
    pub bookmark: Duration,
    /// How often a process looks at its certificate files that looks each minute.
    pub minute: Duration,
    /// From a boot to the start of the kubelet.
    pub boot: Duration,
    /// After a boot: from the API's first answer to the first pod that the kubelet takes from it, and to the
    /// first status that it writes. Until then the API tells what was true before (*measured*: 27 s).
    pub reconnect: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            tick: ms(2),
            second: ms(1),
            told: ms(1),
            start: ms(2),
            listen: ms(3),
            ready: ms(5),
            stop: ms(2),
            drain: ms(8),
            goodbye: ms(4),
            back_off: ms(5),
            back_off_max: ms(80),
            probe: ms(3),
            lease: ms(60),
            renew_deadline: ms(40),
            lease_retry: ms(8),
            endpoints: ms(20),
            endpoint_lease: ms(30),
            node_grace: ms(200),
            bookmark: ms(100),
            minute: ms(20),
            boot: ms(5),
            reconnect: ms(15),
        }
    }
}
