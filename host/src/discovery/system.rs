//! What the system says of names: `/etc/hosts` and `/etc/resolv.conf`, read
//! again when they have changed, as container engines change them.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, system_conf};

/// A file's content, as of its last change.
pub struct Followed<T> {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    value: T,
    read: fn(&Path) -> io::Result<T>,
}

impl<T: Default> Followed<T> {
    /// The file at `path`, which `read` understands; its default while there is none.
    pub fn new(path: impl Into<PathBuf>, read: fn(&Path) -> io::Result<T>) -> Followed<T> {
        let mut followed = Followed {
            path: path.into(),
            seen: None,
            value: T::default(),
            read,
        };
        followed.refresh();
        followed
    }

    /// Reads it again if it has changed; true if so.
    pub fn refresh(&mut self) -> bool {
        let seen = fs::metadata(&self.path).and_then(|file| Ok((file.modified()?, file.len())));
        let seen = seen.ok();
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        self.value = (self.read)(&self.path).unwrap_or_else(|error| {
            tracing::warn!(file = %self.path.display(), %error, "not read");
            T::default()
        });
        true
    }

    /// Its content.
    pub fn value(&self) -> &T {
        &self.value
    }
}

/// `/etc/hosts`
pub fn read_hosts(path: &Path) -> io::Result<Hosts> {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(File::open(path)?)?;
    Ok(hosts)
}

/// The addresses that `/etc/hosts` has for `name`.
pub fn in_hosts(hosts: &Hosts, name: &Name) -> Vec<IpAddr> {
    let kinds = [RecordType::A, RecordType::AAAA];
    let found = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found: Vec<_> = kinds.into_iter().filter_map(found).collect();
    let records = found.iter().flat_map(|lookup| lookup.answers());
    records.filter_map(|record| record.data.ip_addr()).collect()
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, Clone)]
pub struct ResolvConf {
    pub servers: Vec<NameServerConfig>,
    pub search: Vec<Name>,
    pub ndots: usize,
}

impl Default for ResolvConf {
    /// What resolv.conf(5) says of a machine without the file.
    fn default() -> ResolvConf {
        ResolvConf {
            servers: vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())],
            search: Vec::new(),
            ndots: 1,
        }
    }
}

/// `/etc/resolv.conf`
pub fn read_resolv_conf(path: &Path) -> io::Result<ResolvConf> {
    let understood = system_conf::parse_resolv_conf(fs::read(path)?);
    let (config, options): (ResolverConfig, ResolverOpts) = understood.map_err(io::Error::other)?;
    Ok(ResolvConf {
        servers: config.name_servers,
        search: config.search,
        ndots: options.ndots,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_hosts_file_is_read_again_when_it_has_changed() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "10.0.0.1 web web.internal # the first\nfd00::1 WEB").expect("written");
        let mut hosts = Followed::new(file.path(), read_hosts);
        let web = Name::from_ascii("web").expect("a name");
        let found = |hosts: &Followed<Hosts>| -> Vec<String> {
            let ips = in_hosts(hosts.value(), &web);
            ips.iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(found(&hosts), ["10.0.0.1", "fd00::1"]);
        assert!(!hosts.refresh());
        writeln!(file, "10.0.0.2 web").expect("written");
        assert!(hosts.refresh());
        assert_eq!(found(&hosts), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    }

    #[test]
    fn a_container_s_resolv_conf_is_understood() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let text = "nameserver 127.0.0.11\nsearch ns.svc.cluster.local svc.cluster.local\n\
                    options ndots:5 edns0 trust-ad\n";
        file.write_all(text.as_bytes()).expect("written");
        let conf = read_resolv_conf(file.path()).expect("understood");
        assert_eq!(conf.servers[0].ip.to_string(), "127.0.0.11");
        let search: Vec<String> = conf.search.iter().map(Name::to_string).collect();
        assert_eq!(search, ["ns.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(conf.ndots, 5);
    }

    #[test]
    fn without_a_resolv_conf_this_machine_is_asked() {
        let conf = Followed::new("/nowhere/resolv.conf", read_resolv_conf);
        assert_eq!(conf.value().servers[0].ip, Ipv4Addr::LOCALHOST);
    }
}
