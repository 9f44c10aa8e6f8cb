//! The machine's kernel, over the same transport as the API: `/host/…`. It answers whether or not an API
//! server runs.

use super::api::{self, Asked, Body, Reply};
use super::connection::{LACKED, answers_instead};
use super::failure::Failure;
use super::kubeadm;
use super::phase;
use super::process::Machine;
use super::world::{Now, World};
use async_trait::async_trait;
use fulcrum_steps::certificates::Renewable;
use fulcrum_steps::host::{
    Answer, Hindrance, Host, HostError, KubeadmPhase, Listener, Presented, Process, Question, Read,
};
use fulcrum_steps::host::{Redirect, RedirectState, Steering, Strain};
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A rehearsal at work answers within a millisecond; on a busy machine, within a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The prefix of the paths.
pub(super) const PREFIX: &str = "/host/";

/// How long the machine takes over this request, beyond what the simulation takes.
pub(super) fn delay(world: &World, number: Option<usize>, asked: &Asked) -> Duration {
    let node = number.and_then(|number| world.nodes.get(number)).filter(|_| asked.path == "/host/ask");
    node.map_or(Duration::ZERO, |node| node.machine.answer_time)
}

/// The rehearsal's side: the machine with this number.
pub(super) fn answer(world: &mut World, number: Option<usize>, asked: &Asked, now: Duration) -> Reply {
    let Some((number, node)) = number.and_then(|number| Some((number, world.nodes.get_mut(number)?))) else {
        return Failure::no_path(&asked.path).into();
    };
    let machine = &mut node.machine;
    let path = asked.path.strip_prefix(PREFIX).unwrap_or_default();
    let found = match (&asked.method, path.split_once('/').unwrap_or((path, ""))) {
        (&Method::GET, ("boot-id", "")) => Ok(json!(machine.boot_id)),
        (&Method::GET, ("memory", "")) => Ok(json!(machine.memory_available())),
        (&Method::GET, ("strain", "")) => Ok(json!(machine.strain)),
        (&Method::GET, ("sync-time", "")) => Ok(json!(machine.sync_time)),
        (&Method::GET, ("listeners", port)) => match port.parse() {
            Ok(port) => Ok(json!(machine.listeners(port))),
            Err(e) => Err(Failure::bad_request(format!("{port:?} is no port: {e}"))),
        },
        (&Method::GET, ("local-clients", port)) => match port.parse() {
            Ok(port) => Ok(json!(machine.local_clients(port))),
            Err(e) => Err(Failure::bad_request(format!("{port:?} is no port: {e}"))),
        },
        (&Method::GET, ("support", what)) => Ok(json!(machine.support(what))),
        (&Method::GET, ("redirect-state", "")) => Ok(json!(machine.sockets.redirect_state())),
        (&Method::GET, ("processes", uid)) => Ok(json!(machine.pod_processes(uid))),
        (&Method::GET, ("started", pid)) => {
            let proc = pid.parse().ok().and_then(|pid| machine.procs.get(&pid));
            Ok(json!(proc.map(|proc| now.saturating_sub(proc.spawned_at))))
        }
        (&Method::GET, ("last-sent", pid)) => {
            let looked = pid.parse().ok().and_then(|pid| node.looked_at_lease(pid));
            Ok(json!(looked.map(|at| now.saturating_sub(at))))
        }
        (&Method::POST, ("ask", "")) => read(asked)
            .and_then(|question: Question| world.ask(number, &question).map_err(Failure::internal))
            .map(|answer| json!(answer)),
        (&Method::POST, ("read", "")) => {
            read(asked).and_then(|question| read_at(world, number, &question, now)).map(|read| json!(read))
        }
        (&Method::POST, (verb, "")) => told(machine, verb, asked, now),
        _ => Err(Failure::no_path(&asked.path)),
    };
    found.map_or_else(Reply::from, |value| (200, Body::Made(value)))
}

/// Sends a GET, as `ask` does, and returns the body, too. Only API servers have any.
fn read_at(world: &mut World, number: usize, question: &Question, now: Duration) -> Result<Read, Failure> {
    let (to, status, process) = world.who_answers(number, question).map_err(Failure::internal)?;
    let (path, query) = question.path.split_once('?').unwrap_or((&question.path, ""));
    let (machine, pid) = (&world.nodes[to].machine, process.pid);
    let mut answer = Answer { status, process: (to == number).then_some(process) };
    if !machine.is_api_server(pid) {
        return Ok(Read { answer, body: String::new() });
    }
    let lacks = machine.serves_less(pid);
    let (status, mut body) = answers_instead(machine, pid, path).unwrap_or_else(|| {
        api::answer(world, &Asked::get(path, query), Now { at: now, wall: Timestamp::now() })
    });
    if let (true, Body::Made(value)) = (lacks, &mut body)
        && let Some(groups) = value.get_mut("groups").and_then(Value::as_array_mut)
    {
        groups.retain(|group| group["name"] != LACKED);
    }
    answer.status = status;
    let body = body.text().map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Read { answer, body })
}

/// Answers a request that has a body.
fn told(machine: &mut Machine, verb: &str, asked: &Asked, now: Duration) -> Result<Value, Failure> {
    Ok(match verb {
        "end" => {
            machine.end(&read(asked)?);
            json!(null)
        }
        "presented" => json!(machine.presented(read(asked)?)),
        "is-shared" => json!(machine.share(&read(asked)?, None)),
        "share" => json!(machine.share(&read(asked)?, Some(true)).map(|_| ())),
        "unshare" => json!(machine.share(&read(asked)?, Some(false)).map(|_| ())),
        "steer" => {
            let (group, steering): (Vec<Listener>, Option<Steering>) = read(asked)?;
            let steered = machine.sockets.steer(&inodes(&group), steering);
            json!(steered.map_err(|cause| HostError::new("steer new connections", cause)))
        }
        "steering" => json!(machine.sockets.steering(&inodes(&read::<Vec<Listener>>(asked)?))),
        "hold-back" => {
            let (pid, most): (u32, Duration) = read(asked)?;
            machine.hold_back(pid, now + most);
            json!(1)
        }
        "redirect" => {
            machine.sockets.redirect(read(asked)?);
            json!(null)
        }
        "forget-redirect" => {
            machine.sockets.forget_redirect();
            json!(null)
        }
        _ => return Err(Failure::no_path(&asked.path)),
    })
}

fn read<T: DeserializeOwned>(asked: &Asked) -> Result<T, Failure> {
    let bad =
        |error| Failure::bad_request(format!("{} with a body that cannot be read: {error}", asked.path));
    serde_json::from_slice(&asked.body).map_err(bad)
}

fn inodes(group: &[Listener]) -> Vec<u64> {
    group.iter().map(|listener| listener.inode).collect()
}

/// The steps' side.
#[derive(Clone)]
pub(super) struct SimulatedHost {
    client: kube::Client,
}

impl std::fmt::Debug for SimulatedHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedHost").finish_non_exhaustive()
    }
}

impl SimulatedHost {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, attempt: &str) -> Result<T, HostError> {
        self.request(Method::GET, what, Vec::new(), attempt).await
    }

    async fn tell<T: DeserializeOwned>(
        &self,
        verb: &str,
        what: &impl Serialize,
        attempt: &str,
    ) -> Result<T, HostError> {
        let body = serde_json::to_vec(what).map_err(|e| HostError::new(attempt, e))?;
        self.request(Method::POST, verb, body, attempt).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        what: &str,
        body: Vec<u8>,
        attempt: &str,
    ) -> Result<T, HostError> {
        let request = Request::builder().method(method).uri(format!("{PREFIX}{what}")).body(body);
        let request = request.map_err(|e| HostError::new(attempt, e))?;
        match tokio::time::timeout(ANSWER_WITHIN, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(HostError::new(attempt, status.message)),
            Ok(Err(other)) => Err(HostError::new(attempt, other)),
            Err(_) => Err(HostError::new(attempt, format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }
}

#[async_trait]
impl Host for SimulatedHost {
    async fn boot_id(&self) -> Result<String, HostError> {
        self.get("boot-id", "asking the rehearsal for the boot id").await
    }

    async fn listeners(&self, port: u16) -> Result<Vec<Listener>, HostError> {
        let attempt = format!("asking the rehearsal who listens on port {port}");
        self.get(&format!("listeners/{port}"), &attempt).await
    }

    async fn local_clients(&self, port: u16) -> Result<Vec<Process>, HostError> {
        let attempt = format!("asking the rehearsal who is connected to port {port} over loopback");
        self.get(&format!("local-clients/{port}"), &attempt).await
    }

    async fn pod_processes(&self, pod_uid: &str) -> Result<Vec<Process>, HostError> {
        let attempt = format!("asking the rehearsal for the processes of pod {pod_uid}");
        self.get(&format!("processes/{pod_uid}"), &attempt).await
    }

    async fn ask(&self, question: &Question) -> Result<Answer, HostError> {
        let attempt = format!("asking {} for {}", question.address, question.path);
        self.tell("ask", question, &attempt).await
    }

    async fn read(&self, question: &Question) -> Result<Read, HostError> {
        let attempt = format!("reading {} from {}", question.path, question.address);
        self.tell("read", question, &attempt).await
    }

    /// Its processes speak no TLS. They say what they would present.
    async fn presented(&self, at: SocketAddr, _name: Option<&str>) -> Result<Presented, HostError> {
        let attempt = format!("shaking hands with {at} of the rehearsal");
        let presented: Option<(Vec<u8>, Process)> = self.tell("presented", &at, &attempt).await?;
        match presented {
            Some((leaf, process)) => Ok(Presented { chain: vec![leaf], process: Some(process) }),
            None => {
                let cause = "this simulated process has no certificate";
                Err(HostError::hindered(Hindrance::Unsupported, attempt, cause))
            }
        }
    }

    async fn started(&self, process: &Process) -> Result<Timestamp, HostError> {
        let what = format!("started/{}", process.pid);
        let attempt = format!("asking the rehearsal when process {} was started", process.pid);
        let ago: Option<Duration> = self.get(&what, &attempt).await?;
        let ago = ago.ok_or_else(|| HostError::hindered(Hindrance::ProcessGone, &attempt, "it has ended"))?;
        Ok(Timestamp::now() - SignedDuration::try_from(ago).map_err(|e| HostError::new(&attempt, e))?)
    }

    async fn end(&self, process: &Process) -> Result<(), HostError> {
        self.tell("end", process, &format!("ending process {} of the rehearsal", process.pid)).await
    }

    async fn kubeadm_version(&self) -> Result<String, HostError> {
        self.get::<Result<(), HostError>>("support/kubeadm", "asking for the rehearsal's kubeadm").await??;
        Ok("rehearsal".to_owned())
    }

    /// The files are real ones: this process writes them, so that a kill of this process may cut that short.
    async fn renew_certificate(&self, name: &str, root: &Path) -> Result<(), HostError> {
        let attempt = format!("renewing {name} in the rehearsal");
        self.kubeadm_version().await?;
        let name: Renewable = name.parse().map_err(|error| HostError::new(&attempt, error))?;
        kubeadm::renew(root, name).map_err(|error| HostError::new(&attempt, error))
    }

    async fn kubeadm_phase(&self, call: &KubeadmPhase<'_>) -> Result<(), HostError> {
        let attempt = format!("{} init phase {}", call.program.display(), call.phase);
        self.kubeadm_version().await?;
        phase::go_through(&self.client, call.phase, call.config)
            .await
            .map_err(|error| HostError::new(attempt, error))
    }

    async fn memory_available(&self) -> Result<u64, HostError> {
        self.get("memory", "asking the rehearsal for its memory").await
    }

    async fn strain(&self) -> Result<Strain, HostError> {
        self.get("strain", "asking the rehearsal how busy its machine is").await
    }

    /// Its disk is slow or fast as it was told.
    async fn sync_time(&self, _dir: &Path) -> Result<Duration, HostError> {
        self.get("sync-time", "asking the rehearsal for its disk").await
    }

    async fn is_shared(&self, listener: &Listener) -> Result<bool, HostError> {
        self.tell("is-shared", listener, "looking at a socket of the rehearsal").await?
    }

    async fn share(&self, listener: &Listener) -> Result<(), HostError> {
        self.tell("share", listener, "sharing a socket of the rehearsal").await?
    }

    async fn unshare(&self, listener: &Listener) -> Result<(), HostError> {
        self.tell("unshare", listener, "no longer sharing a socket of the rehearsal").await?
    }

    async fn steer(&self, group: &[Listener], steering: Steering) -> Result<(), HostError> {
        self.tell("steer", &(group, Some(steering)), "steering the rehearsal's connections").await?
    }

    async fn steering(&self, group: &[Listener]) -> Result<Option<Steering>, HostError> {
        self.tell("steering", &group, "asking where the rehearsal's connections go").await
    }

    async fn unsteer(&self, group: &[Listener]) -> Result<(), HostError> {
        let none: Option<Steering> = None;
        self.tell("steer", &(group, none), "no longer steering the rehearsal's connections").await?
    }

    async fn steering_support(&self, listener: &Listener) -> Result<(), HostError> {
        self.is_shared(listener).await?;
        self.get::<Result<(), HostError>>("support/steering", "asking what the rehearsal's kernel can do")
            .await?
    }

    async fn hold_back(&self, process: &Process, _port: u16, most: Duration) -> Result<usize, HostError> {
        self.tell("hold-back", &(process.pid, most), "holding back what a process of the rehearsal is sent")
            .await
    }

    async fn last_sent(&self, process: &Process, _port: u16) -> Result<Option<Duration>, HostError> {
        let what = format!("last-sent/{}", process.pid);
        self.get(&what, "asking when a process of the rehearsal sent something last").await
    }

    async fn redirect(&self, redirect: &Redirect) -> Result<(), HostError> {
        self.tell("redirect", &Some(redirect), "redirecting the rehearsal's connections").await
    }

    async fn end_redirect(&self) -> Result<(), HostError> {
        let none: Option<Redirect> = None;
        self.tell("redirect", &none, "no longer redirecting the rehearsal's connections").await
    }

    async fn forget_redirect(&self) -> Result<(), HostError> {
        self.tell("forget-redirect", &(), "no longer redirecting the rehearsal's connections").await
    }

    async fn redirect_state(&self) -> Result<RedirectState, HostError> {
        self.get("redirect-state", "asking whether the rehearsal redirects").await
    }

    async fn redirect_support(&self) -> Result<(), HostError> {
        self.get::<Result<(), HostError>>("support/redirects", "asking what the rehearsal's kernel can do")
            .await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Simulator, SimulatorOptions, write_control_plane};
    use fulcrum_steps::host::MARK_NEWCOMER;

    /// The pid of the process that answers at this address.
    async fn who(host: &dyn Host, address: &str, mark: Option<u32>) -> u32 {
        let question =
            Question { address: address.parse().unwrap(), path: "/readyz".into(), tls: true, mark };
        host.ask(&question).await.unwrap().process.unwrap().pid
    }

    /// The static API server and a second one, from the first listener to the switch.
    #[tokio::test]
    async fn a_port_changes_hands() {
        let dir = tempfile::tempdir().unwrap();
        let options = SimulatorOptions::new(dir.path());
        let node = format!("{}:6443", options.node_address);
        write_control_plane(&options).unwrap();
        let simulator = Simulator::start(options).unwrap();
        let soon = Duration::from_secs(10);
        simulator.until("an API server", soon, |s| s.api_up).await.unwrap();
        let host = simulator.host();
        let [old] = &host.listeners(6443).await.unwrap()[..] else { panic!("one listens") };
        host.steering_support(old).await.unwrap();
        host.share(old).await.unwrap();
        assert!(host.is_shared(old).await.unwrap());
        let serving = old.inode;
        let ahead = Steering::Prefer { serving, newcomer: None };
        host.steer(std::slice::from_ref(old), ahead).await.unwrap();

        let manifest = std::fs::read_to_string(dir.path().join("kube-apiserver.yaml")).unwrap();
        let second = manifest
            .replace("  name: kube-apiserver\n  namespace", "  name: second\n  namespace")
            // With this host port the kubelet would reject the pod.
            .replace("containerPort: 6443", "containerPort: 6444")
            .replace("    - kube-apiserver\n", "    - kube-apiserver\n    - --permit-port-sharing=true\n");
        assert_eq!(second.matches("name: second").count(), 1, "{second}");
        std::fs::write(dir.path().join("second.yaml"), second).unwrap();
        let two = |s: &crate::Snapshot| s.processes.iter().filter(|p| p.listening == [6443]).count() == 2;
        simulator.until("two listeners", soon, two).await.unwrap();
        let group = host.listeners(6443).await.unwrap();
        let (first, new) = (group[0].process.pid, group[1].process.pid);
        let prefer = Steering::Prefer { serving, newcomer: Some(group[1].inode) };
        assert_eq!(host.steering(&group).await.unwrap(), Some(prefer));
        for _ in 0..16 {
            assert_eq!(who(&*host, &node, None).await, first);
            assert_eq!(who(&*host, &node, Some(MARK_NEWCOMER)).await, new);
        }
        host.steer(&group, Steering::To { serving: group[1].inode }).await.unwrap();
        assert_eq!(who(&*host, &node, None).await, new);
        let redirect =
            Redirect { port: 6443, to: 16443, services: Vec::new(), address: group[0].address.ip() };
        host.redirect(&redirect).await.unwrap();
        assert_eq!(host.redirect_state().await.unwrap(), RedirectState::Active);
        assert_eq!(who(&*host, "127.0.0.1:6443", None).await, new);
        host.forget_redirect().await.unwrap();
        simulator.reboot();
        let gone = host.share(old).await.unwrap_err();
        assert_eq!(gone.hindrance, Hindrance::ProcessGone);
    }
}
