//! The node's own address in the words of a command line: out of them for a DaemonSet, and back into them for a static
//! pod. Pure.
//!
//! kubeadm, kubespray and Cluster API write one manifest for each node. The manifests of three nodes differ in the
//! node's own address alone. With a variable in its place they give one DaemonSet.

use super::variables::replaced;
use std::net::IpAddr;

/// Flags whose value has one meaning for the whole cluster. A node's address in them is the same on every node.
const OF_THE_CLUSTER: [&str; 4] =
    ["service-account-issuer", "service-account-jwks-uri", "api-audiences", "oidc-issuer-url"];

/// The value of flag `name` with `reference` in the place of the node's address `own`. `None` if the address is not
/// in it, or if the value names another host beside it: a list of several etcd members is the same on every node.
///
/// The address must stand by itself, as an entry of a list, or be the host of an URL or of `host:port`. A word that
/// has the address in it as a part of something else stays: `10.0.0.1` is no part of `10.0.0.11`, and
/// `10.0.0.1/32` is a network.
pub(super) fn generalised(name: &str, value: &str, own: IpAddr, reference: &str) -> Option<String> {
    if OF_THE_CLUSTER.contains(&name) {
        return None;
    }
    let mut found = false;
    let mut out = String::with_capacity(value.len());
    for entry in value.split_inclusive([',', ';']) {
        let end = entry.trim_end_matches([',', ';']);
        let Some((before, host, after)) = host_of(end) else {
            out.push_str(entry);
            continue;
        };
        match host.parse::<IpAddr>() {
            Ok(address) if address == own => found = true,
            Ok(address) if address.is_loopback() => {
                out.push_str(entry);
                continue;
            }
            _ if host == "localhost" => {
                out.push_str(entry);
                continue;
            }
            _ => return None,
        }
        out.extend([before, reference, after, &entry[end.len()..]]);
    }
    found.then_some(out)
}

/// What stands before the host of an entry, the host without brackets, and what stands behind it. `None` if the entry
/// has no host: a plain word, or a network.
fn host_of(entry: &str) -> Option<(&str, &str, &str)> {
    if entry.parse::<IpAddr>().is_ok() {
        return Some(("", entry, ""));
    }
    // What stands before an URL, as in `/events#https://…`, belongs to what stands before its host.
    let authority = entry.find("://").map(|at| at + "://".len());
    let from = authority.unwrap_or(0);
    let to = entry[from..].find(['/', '?', '#']).map_or(entry.len(), |at| from + at);
    let from = entry[from..to].rfind('@').map_or(from, |at| from + at + 1);
    let text = &entry[from..to];
    let (open, host, behind) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, behind)) => (1, host, behind),
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (0, &text[..end], &text[end..])
        }
    };
    let port = behind.strip_prefix(':');
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let written_well = match (port, host.parse::<IpAddr>()) {
        (Some(port), _) if !is_port(port) => return None,
        (None, _) if !behind.is_empty() => return None,
        (_, Ok(address)) => address.is_ipv6() == (open == 1),
        (_, Err(_)) => open == 0,
    };
    // Without `://` only an address with a port is a host: `foo:1` may be anything.
    let plain =
        authority.is_none() && (port.is_none() || to < entry.len() || host.parse::<IpAddr>().is_err());
    if plain || !written_well || host.is_empty() {
        return None;
    }
    let at = from + open;
    Some((&entry[..at], host, &entry[at + host.len()..]))
}

/// `text` with `value` in the place of each `$(name)`. All else stays as it is written, `$$(name)` too, which is no
/// reference.
pub(super) fn resolved(text: &str, name: &str, value: &str) -> String {
    replaced(text, "$$", |found| (found == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<String> {
        generalised("f", value, "10.0.0.1".parse().unwrap(), "$(IP)")
    }

    #[test]
    fn the_address_by_itself_is_replaced() {
        for (value, expected) in [
            ("10.0.0.1", "$(IP)"),
            ("10.0.0.1:6443", "$(IP):6443"),
            ("https://10.0.0.1:2379", "https://$(IP):2379"),
            ("https://10.0.0.1", "https://$(IP)"),
            ("https://user@10.0.0.1:2379/path?q=10.0.0.1", "https://user@$(IP):2379/path?q=10.0.0.1"),
            ("https://127.0.0.1:2379,https://10.0.0.1:2379", "https://127.0.0.1:2379,https://$(IP):2379"),
            ("https://localhost:2379,https://10.0.0.1:2379,", "https://localhost:2379,https://$(IP):2379,"),
            ("10.0.0.1,10.0.0.1", "$(IP),$(IP)"),
            ("/events#https://10.0.0.1:2381", "/events#https://$(IP):2381"),
            ("/events#http://10.0.0.1:1;http://127.0.0.1:2", "/events#http://$(IP):1;http://127.0.0.1:2"),
        ] {
            assert_eq!(of(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_part_of_another_word_and_a_list_of_several_nodes_stay() {
        for value in [
            "",
            "true",
            "10.0.0.11",
            "110.0.0.1",
            "10.0.0.10:2379",
            "https://10.0.0.11:2379",
            "https://10.0.0.1.example.org:2379",
            "10.0.0.1/32",
            "10.0.0.1/32,10.1.0.0/16",
            "/var/log/10.0.0.1",
            "/var/log/10.0.0.1.log",
            "a=10.0.0.1",
            "foo.crt,foo.key:10.0.0.1",
            "10.0.0.1:https",
            "[10.0.0.1]:6443",
            "https://[::ffff:10.0.0.1]:2379",
            "::ffff:10.0.0.1",
            "https://example.org/?at=10.0.0.1",
            "https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379",
            "https://10.0.0.2:2379,https://10.0.0.1:2379",
            "https://10.0.0.1:2379,https://etcd2.example.org:2379",
            "10.0.0.1,10.0.0.2",
            "/events#http://10.0.0.1:1;http://10.0.0.2:2",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn an_address_of_six_stands_in_brackets_before_a_port() {
        let own = "2001:db8::1".parse().unwrap();
        let of = |value: &str| generalised("f", value, own, "$(IP)");
        for (value, expected) in [
            ("2001:db8::1", "$(IP)"),
            ("2001:db8:0::1", "$(IP)"),
            ("[2001:db8::1]:6443", "[$(IP)]:6443"),
            ("https://[2001:db8::1]:2379,https://[::1]:2379", "https://[$(IP)]:2379,https://[::1]:2379"),
        ] {
            assert_eq!(of(value).as_deref(), Some(expected), "{value}");
        }
        for value in
            ["2001:db8::11", "[2001:db8::1]", "2001:db8::1/128", "https://[2001:db8::2]:1,[2001:db8::1]:1"]
        {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn what_has_one_meaning_for_the_cluster_stays() {
        let own = "10.0.0.1".parse().unwrap();
        for name in OF_THE_CLUSTER {
            assert_eq!(generalised(name, "https://10.0.0.1:6443", own, "$(IP)"), None, "{name}");
        }
    }

    #[test]
    fn a_reference_is_resolved_and_an_escaped_one_is_not() {
        for (text, expected) in [
            ("--a=$(IP)", "--a=1"),
            ("https://$(IP):1,$(IP)", "https://1:1,1"),
            ("$$(IP)$(IP)", "$$(IP)1"),
            ("$$$(IP)", "$$1"),
            ("$(IPS)$(I)$(IP", "$(IPS)$(I)$(IP"),
            ("$", "$"),
        ] {
            assert_eq!(resolved(text, "IP", "1"), expected, "{text}");
        }
    }
}
