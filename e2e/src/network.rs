//! A network of its own for the processes under test: each in a network namespace with an address, all on one bridge.
//! The cable between any two can be cut, in one direction or both, without either of them being told: packets get lost.
//!
//! Needs root for `ip` and `nsenter`.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A hardware address that nobody has: the bridge shows such packets to everybody, and nobody takes them.
const NOBODY: &str = "02:00:00:00:00:fe";
/// Where the kernel shows named namespaces.
const NAMESPACES: &str = "/run/netns";

/// The network. Gone when dropped, after the processes in it.
pub struct Network {
    prefix: String,
    subnet: String,
    nodes: u8,
}

impl Network {
    /// Makes a network of so many nodes, reached from here by their addresses.
    ///
    /// # Panics
    /// When this machine does not let us.
    pub fn new(nodes: u8) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let (pid, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let network = Self {
            prefix: format!("hw{pid}x{number}"),
            subnet: format!("10.{}.{}", 100 + pid / 250 % 100, (pid + number * 7) % 250),
            nodes,
        };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        // The neighbours' names are those of ports: nothing else is in this namespace.
        ip(&["-n", &switch, "link", "add", "bridge0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "dev", "bridge0", "up"]);
        for node in 0..nodes {
            let namespace = network.namespace(node);
            ip(&["netns", "add", &namespace]);
            let port = format!("port{node}");
            ip(&[
                "-n", &namespace, "link", "add", "dev", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch,
            ]);
            ip(&["-n", &switch, "link", "set", "dev", &port, "master", "bridge0"]);
            ip(&["-n", &switch, "link", "set", "dev", &port, "up"]);
            let address = format!("{}/24", network.address(node));
            ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &namespace, "link", "set", "dev", "eth0", "up"]);
            ip(&["-n", &namespace, "link", "set", "dev", "lo", "up"]);
        }
        let here = &network.prefix;
        ip(&[
            "link", "add", "dev", here, "type", "veth", "peer", "name", "tests", "netns", &switch,
        ]);
        ip(&["-n", &switch, "link", "set", "dev", "tests", "master", "bridge0"]);
        ip(&["-n", &switch, "link", "set", "dev", "tests", "up"]);
        ip(&["addr", "add", &format!("{}.1/24", network.subnet), "dev", here]);
        ip(&["link", "set", "dev", here, "up"]);
        network
    }

    /// A node's address.
    pub fn address(&self, node: u8) -> String {
        format!("{}.{}", self.subnet, node + 10)
    }

    /// What goes before a command line so that it runs on a node. The process keeps its id.
    pub fn enter(&self, node: u8) -> [String; 2] {
        let namespace = Path::new(NAMESPACES).join(self.namespace(node));
        ["nsenter".to_owned(), format!("--net={}", namespace.display())]
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub fn cut_one_way(&self, from: u8, to: u8) {
        let (namespace, address) = (self.namespace(from), self.address(to));
        ip(&[
            "-n",
            &namespace,
            "neigh",
            "replace",
            &address,
            "lladdr",
            NOBODY,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }

    /// Cuts a node off from all others, and from the clients.
    pub fn isolate(&self, node: u8) {
        ip(&[
            "-n",
            &self.switch(),
            "link",
            "set",
            "dev",
            &format!("port{node}"),
            "down",
        ]);
    }

    /// Mends all cables.
    pub fn heal(&self) {
        for node in 0..self.nodes {
            ip(&["-n", &self.switch(), "link", "set", "dev", &format!("port{node}"), "up"]);
            ip(&[
                "-n",
                &self.namespace(node),
                "neigh",
                "flush",
                "dev",
                "eth0",
                "nud",
                "permanent",
            ]);
        }
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    fn namespace(&self, node: u8) -> String {
        format!("{}-{node}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Deleting one end of a cable deletes the other.
        let _ = Command::new("ip").args(["link", "del", "dev", &self.prefix]).output();
        for node in 0..self.nodes {
            remove(&self.namespace(node));
        }
        remove(&self.switch());
    }
}

/// Removes what tests left behind that were killed.
fn remove_stale() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("hw")
            .and_then(|rest| rest.split('x').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

fn remove(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "del", namespace]).output();
}

fn ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .expect("ip (iproute2) is installed");
    assert!(
        output.status.success(),
        "ip {}: {} (this test needs root and network namespaces)",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
