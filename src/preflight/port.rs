//! TCP ports: who listens here, and who answers elsewhere.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::file::needs_param;
use super::{Checks, Finding, Kind, not_given};
use crate::plan::Address;

/// Nobody listens there. Seen in the kernel's own list: to bind the port for a moment would be more than looking.
pub(super) fn free(checks: &mut Checks, port: &str) {
    let about = Finding::new(Kind::Port, format!("{port} free"), "nobody listens there");
    let Some(address) = address(checks, &about, port) else { return };
    checks.add(about, move |about| {
        let wanted = match &address.host {
            None => None,
            Some(host) => match resolve(host, address.port) {
                Ok(found) => Some(found.into_iter().map(|a| a.ip()).collect::<Vec<_>>()),
                Err(why) => return about.missing(why, "only an address of this machine can be free"),
            },
        };
        match listeners(address.port) {
            Ok(all) => {
                let taken = all.into_iter().find(|listener| {
                    let clash = |ip: &IpAddr| {
                        listener.ip.is_unspecified() || *ip == listener.ip || ip.is_unspecified()
                    };
                    wanted.as_ref().is_none_or(|wanted| wanted.iter().any(clash))
                });
                match taken {
                    None => about.ok("free"),
                    Some(listener) => {
                        let by =
                            holder(listener.inode).unwrap_or_else(|| "a process of another user".to_owned());
                        about.missing(format!("{by} listens there"), "end it, or choose another port")
                    }
                }
            }
            Err(error) => about.missing(format!("/proc/net/tcp: {}", super::plain(&error)), "mount /proc"),
        }
    });
}

/// A connection is taken there. Nothing is sent.
pub(super) fn open(checks: &mut Checks, port: &str) {
    let about = Finding::new(Kind::Port, format!("{port} open"), "a connection is taken");
    let Some(address) = address(checks, &about, port) else { return };
    let limit = checks.limit();
    checks.add(about, move |about| {
        let host = address.host.as_deref().unwrap_or("localhost");
        match connect(host, address.port, limit) {
            Ok(_) => about.ok("answers"),
            Err(why) => about.missing(why, "start what should listen there, or see the network between"),
        }
    });
}

/// None: it is said that it cannot be looked at.
fn address(checks: &mut Checks, about: &Finding, port: &str) -> Option<Address> {
    match (not_given(port), port.parse()) {
        (None, Ok(address)) => Some(address),
        (Some(param), _) => {
            checks.add_found(needs_param(about.clone(), param));
            None
        }
        (None, Err(why)) => {
            checks.add_found(about.clone().missing(why, "write PORT or HOST:PORT"));
            None
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err("the name cannot be resolved".into()),
    }
}

/// Connects and lets go again. The resolver keeps limits of its own: whoever calls bounds it. An error does not name the
/// host, which may stand in a secret.
pub(super) fn connect(host: &str, port: u16, limit: Duration) -> Result<SocketAddr, String> {
    let until = Instant::now() + limit;
    let mut why = "the name has no address".to_owned();
    for address in resolve(host, port)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(address),
            Err(error) => {
                why = match error.kind() {
                    ErrorKind::ConnectionRefused => "refused: nobody listens there".to_owned(),
                    ErrorKind::TimedOut => format!("no answer within {} s", limit.as_secs_f32()),
                    ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                        "it cannot be reached from here".to_owned()
                    }
                    _ => super::plain(&error),
                };
            }
        }
    }
    Err(why)
}

#[derive(Debug, PartialEq, Eq)]
struct Listener {
    ip: IpAddr,
    inode: u64,
}

/// Sockets that listen on the port in this network namespace.
fn listeners(port: u16) -> std::io::Result<Vec<Listener>> {
    let mut all = table(&std::fs::read_to_string("/proc/net/tcp")?, port);
    // A kernel without IPv6 has no such file.
    let six = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    all.extend(table(&six, port));
    Ok(all)
}

/// The listening sockets of one of the kernel's tables.
fn table(text: &str, port: u16) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, its) = fields.get(1)?.split_once(':')?;
        if u16::from_str_radix(its, 16).ok()? != port || *fields.get(3)? != LISTEN {
            return None;
        }
        Some(Listener { ip: address_of(ip)?, inode: fields.get(9)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(listener).collect()
}

/// The kernel prints the address as words of four bytes, each in the machine's own order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?);
            }
            let six = Ipv6Addr::from(bytes);
            Some(six.to_ipv4_mapped().map_or(six.into(), Into::into))
        }
        _ => None,
    }
}

/// The process that has the socket, as far as it can be seen.
fn holder(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|l| l.as_os_str() == wanted.as_str())
        };
        if descriptors.flatten().any(has) {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", crate::text::neutral::line(command.trim_end())));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_real_listener_is_seen_with_its_process() {
        for ip in ["127.0.0.1", "[::1]", "0.0.0.0"] {
            let Ok(socket) = TcpListener::bind(format!("{ip}:0")) else {
                eprintln!("SKIPPED: nothing can be bound on {ip}");
                continue;
            };
            let address = socket.local_addr().unwrap();
            let found = listeners(address.port()).unwrap();
            assert_eq!(found.iter().map(|l| l.ip).collect::<Vec<_>>(), [address.ip()]);
            let by = holder(found[0].inode).unwrap();
            assert!(by.ends_with(&format!("(pid {})", std::process::id())), "{by}");
            let there = connect(&address.ip().to_string(), address.port(), Duration::from_secs(60));
            assert_eq!(there.map(|a| a.port()), Ok(address.port()));
            drop(socket);
            assert_eq!(listeners(address.port()).unwrap(), []);
        }
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n\
            1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0\n\
            2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0 100 0 0 10 0\n\
            nonsense\n";
        let found = table(text, 8080);
        if cfg!(target_endian = "little") {
            assert_eq!(found, [Listener { ip: Ipv4Addr::LOCALHOST.into(), inode: 4242 }]);
        }
        assert_eq!(table(text, 80), []);
    }
}
