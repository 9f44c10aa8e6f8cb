use super::*;
use crate::host::ask::no_tls;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The kernel says which process answered. Here it is this very process, on a real socket.
#[tokio::test]
async fn the_answering_process_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 503 Not yet\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        // The connection stays open until the asker has looked at it.
        let _ = stream.read(&mut request).await;
        drop(listener);
    });
    let host = Proc::new(no_tls());
    let mine = host.listeners(address.port()).await.unwrap();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].process.pid, std::process::id());
    assert!(mine[0].process.memory > 0);
    let answer = Question { address, path: "/readyz".into(), tls: false, mark: None };
    let answer = host.ask(&answer).await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.process.unwrap().pid, std::process::id());
    assert!(host.listeners(1).await.unwrap().is_empty());
    assert!(host.local_clients(address.port()).await.unwrap().is_empty(), "it asks itself");
    let mut other = mine[0].process.clone();
    other.command.push("not me".to_owned());
    host.end(&other).await.unwrap(); // The pid is mine, the process is not: I live on.
    assert_eq!(host.boot_id().await.unwrap().len(), 36);
    assert!(host.memory_available().await.unwrap() > 0);
    let age = jiff::Timestamp::now().duration_since(host.started(&mine[0].process).await.unwrap());
    assert!((-2..600).contains(&age.as_secs()), "this process is not {age:?} old");
}

/// A shell with a connection to this process, like a person's kubectl.
#[tokio::test]
async fn who_is_connected_over_loopback_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -u 3");
    let mut client = Command::new("bash").args(["-c", &connect]).spawn().unwrap();
    let connection = listener.accept().await.unwrap();
    let host = Proc::new(no_tls());
    let clients = host.local_clients(port).await.unwrap();
    assert_eq!(clients.iter().map(|client| client.pid).collect::<Vec<_>>(), [client.id()]);
    drop(connection);
    client.wait().unwrap();
    assert!(host.local_clients(port).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_process_is_ended_once() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The shell echoes what it has read: it runs.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let host = Proc { root: "/proc".into(), asker: Asker::new(no_tls()) };
    let meant = process(Path::new(&format!("/proc/{}", child.id()))).unwrap();
    host.end(&meant).await.unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    host.end(&meant).await.unwrap();
}
