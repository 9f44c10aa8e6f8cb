//! Which process of the machine answers on its ports, and what.

use super::fault::DeprecatedApi;
use super::process::{Machine, Proc};
use fulcrum_steps::host::Process;
use std::net::SocketAddr;

impl Machine {
    /// The process that gets a new connection to this address.
    pub(super) fn connect(&mut self, address: SocketAddr) -> Option<u32> {
        self.sockets.pick(address, None, self.address, &mut self.random).map(|socket| socket.pid)
    }

    /// Sends one GET. The process to which the kernel gives the connection answers. Returns the status.
    pub(super) fn ask(&mut self, address: SocketAddr, path: &str, tls: bool) -> Result<u16, String> {
        self.answer(address, path, tls, None).map(|(status, _)| status)
    }

    /// Asks over a connection that may bear a mark. Also returns which process answered.
    pub(super) fn ask_marked(
        &mut self,
        address: SocketAddr,
        path: &str,
        tls: bool,
        mark: Option<u32>,
    ) -> Result<(u16, Process), String> {
        self.answer(address, path, tls, mark).map(|(status, proc)| (status, proc.seen()))
    }

    fn answer(
        &mut self,
        address: SocketAddr,
        path: &str,
        tls: bool,
        mark: Option<u32>,
    ) -> Result<(u16, &Proc), String> {
        let picked = self.sockets.pick(address, mark, self.address, &mut self.random);
        let Some((pid, speaks_tls)) = picked.map(|socket| (socket.pid, socket.port.tls)) else {
            return Err(format!("connection to {address} refused"));
        };
        let Some(proc) = self.procs.get(&pid) else {
            return Err(format!("connection to {address} reset"));
        };
        let path = path.split('?').next().unwrap_or_default();
        let status = match (speaks_tls, tls) {
            (false, true) => return Err(format!("{address} does not speak TLS")),
            (true, false) => 400,
            _ if !is_health_path(path) => 404,
            _ if self.is_ready(pid) => 200,
            _ => 500,
        };
        Ok((status, proc))
    }

    /// Notes that a client has asked each API server here for this deprecated API.
    pub(super) fn ask_deprecated(&mut self, api: &DeprecatedApi) {
        let DeprecatedApi { group, version, resource, removed_release } = api;
        let line = format!(
            "apiserver_requested_deprecated_apis{{group=\"{group}\",removed_release=\"{removed_release}\",\
             resource=\"{resource}\",subresource=\"\",version=\"{version}\"}} 1\n"
        );
        let servers: Vec<u32> = self.api_servers().map(|server| server.pid).collect();
        self.deprecated.extend(servers.into_iter().map(|pid| (pid, line.clone())));
    }

    /// The metrics of an API server. Each counts what it was asked itself, since it was started.
    pub(super) fn metrics(&self, pid: u32) -> String {
        let own = self.deprecated.iter().filter(|(of, _)| *of == pid).map(|(_, line)| line.as_str());
        std::iter::once("# TYPE apiserver_requested_deprecated_apis gauge\n").chain(own).collect()
    }

    /// The certificate that is presented at this address, and the process that presents it. `None` if none is.
    pub(super) fn presented(&mut self, address: SocketAddr) -> Option<(Vec<u8>, Process)> {
        let pid = self.connect(address)?;
        let proc = self.procs.get(&pid)?;
        Some((proc.held.presents()?.to_vec(), proc.seen()))
    }
}

fn is_health_path(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz", "/health", "/metrics"]
        .iter()
        .any(|known| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
