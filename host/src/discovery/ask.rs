//! One question, asked: `/etc/hosts`, then the name servers, domain by domain
//! of the search list.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::course::Found;
use super::failure::Failure;
use super::question::{Answer, Endpoint, Question};
use super::share::shares;
use super::system::{Followed, ResolvConf, in_hosts, read_hosts, read_resolv_conf};
use crate::config::{DnsSettings, Family};

/// Most addresses of one name, and most records of one service: far beyond use,
/// and no more than a backend's server could want to cost.
pub const MOST: usize = 256;
/// Questions to the servers under way at once.
const AT_ONCE: usize = 64;

/// Asks as the settings say.
pub struct Asker {
    settings: DnsSettings,
    hosts: RefCell<Followed<Hosts>>,
    system: RefCell<Followed<ResolvConf>>,
    servers: RefCell<Option<Rc<Servers>>>,
    slots: Semaphore,
}

/// Whom to ask, and for which names.
struct Servers {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

/// Addresses, and how long they hold.
struct Addresses {
    ips: Vec<IpAddr>,
    ttl: Duration,
}

impl Asker {
    /// Asks with `settings`, and with what the system's files say at the time.
    pub fn new(settings: DnsSettings) -> Asker {
        Asker {
            settings,
            hosts: RefCell::new(Followed::new("/etc/hosts", read_hosts)),
            system: RefCell::new(Followed::new("/etc/resolv.conf", read_resolv_conf)),
            servers: RefCell::default(),
            slots: Semaphore::new(AT_ONCE),
        }
    }

    /// Asks. Of the last good answer, `before`, stays what just cannot be asked for.
    ///
    /// # Errors
    ///
    /// When nobody says that there is anything.
    pub async fn ask(
        self: Rc<Self>,
        question: &Question,
        before: Option<&Answer>,
    ) -> Result<Found, Failure> {
        match question {
            Question::Host(name) => {
                let before = match before {
                    Some(Answer::Addresses(ips)) => &ips[..],
                    Some(Answer::Endpoints(_)) | None => &[],
                };
                let mut found = self.addresses(&parse(name)?, before).await?;
                let truncated = truncate(&mut found.ips);
                Ok(Found {
                    answer: Answer::Addresses(found.ips),
                    ttl: found.ttl,
                    truncated,
                })
            }
            Question::Service(name) => {
                let before = match before {
                    Some(Answer::Endpoints(endpoints)) => &endpoints[..],
                    Some(Answer::Addresses(_)) | None => &[],
                };
                self.endpoints(&parse(name)?, before).await
            }
        }
    }

    /// Sorted, nothing twice, not empty.
    async fn addresses(&self, name: &Name, before: &[IpAddr]) -> Result<Addresses, Failure> {
        self.hosts.borrow_mut().refresh();
        let known = in_hosts(self.hosts.borrow().value(), name);
        if !known.is_empty() {
            // The file is looked at again as soon as may be: that costs nothing.
            return fit(of_family(known, self.settings.family), Duration::ZERO);
        }
        let servers = self.servers()?;
        let mut failure = None;
        for candidate in candidates(name, &servers.search, servers.ndots) {
            match self.addresses_at(&servers, &candidate, before).await {
                Ok(found) => return Ok(found),
                Err(why) => failure = Some(worse(failure, why)),
            }
        }
        Err(failure.unwrap_or(Failure::NoSuchName))
    }

    /// The addresses of just this name.
    async fn addresses_at(
        &self,
        servers: &Servers,
        name: &Name,
        before: &[IpAddr],
    ) -> Result<Addresses, Failure> {
        let ipv4 = || self.family(servers, name, RecordType::A);
        let ipv6 = || self.family(servers, name, RecordType::AAAA);
        match self.settings.family {
            Family::Ipv4 => ipv4().await,
            Family::Ipv6 => ipv6().await,
            Family::Auto => match ipv4().await {
                Err(Failure::NoAddresses) => ipv6().await,
                result => result,
            },
            Family::Both => {
                let (ipv4, ipv6) = tokio::join!(ipv4(), ipv6());
                both(ipv4, ipv6, before)
            }
        }
    }

    async fn family(
        &self,
        servers: &Servers,
        name: &Name,
        kind: RecordType,
    ) -> Result<Addresses, Failure> {
        let (records, ttl) = self.records(servers, name, kind).await?;
        let ips = records.iter().filter_map(|record| record.data.ip_addr());
        fit(ips.collect(), ttl)
    }

    /// The endpoints that the SRV records of `name` make.
    async fn endpoints(self: Rc<Self>, name: &Name, before: &[Endpoint]) -> Result<Found, Failure> {
        let (mut services, mut ttl) = self.services(name).await?;
        let mut truncated = truncate(&mut services);
        let known = |host: &str| -> Vec<IpAddr> {
            let same = before.iter().filter(|one| one.host == host);
            same.map(|one| one.address.ip()).collect()
        };
        let mut lookups = JoinSet::new();
        for (index, service) in services.iter().enumerate() {
            let (asker, target) = (Rc::clone(&self), service.target.clone());
            let known = known(&service.host());
            lookups.spawn_local(async move {
                let found = asker.addresses(&target, &known).await;
                (index, known, found)
            });
        }
        let mut ips = vec![Vec::new(); services.len()];
        let mut failure = Failure::NoAddresses;
        while let Some(Ok((index, known, found))) = lookups.join_next().await {
            match found {
                Ok(found) => {
                    ttl = ttl.min(found.ttl);
                    ips[index] = found.ips;
                }
                Err(why) => {
                    // What it had stays, and is asked for soon again.
                    ttl = Duration::ZERO;
                    ips[index] = known;
                    failure = why;
                }
            }
        }
        let mut endpoints = join(&services, &ips);
        truncated |= truncate(&mut endpoints);
        match endpoints.is_empty() {
            true => Err(failure),
            false => Ok(Found {
                answer: Answer::Endpoints(endpoints),
                ttl,
                truncated,
            }),
        }
    }

    async fn services(&self, name: &Name) -> Result<(Vec<Service>, Duration), Failure> {
        let servers = self.servers()?;
        let mut failure = None;
        for candidate in candidates(name, &servers.search, servers.ndots) {
            match self.records(&servers, &candidate, RecordType::SRV).await {
                Ok((records, ttl)) => {
                    let services = records.iter().filter_map(Service::of).collect();
                    return Ok((services, ttl));
                }
                Err(why) => failure = Some(worse(failure, why)),
            }
        }
        Err(failure.unwrap_or(Failure::NoSuchName))
    }

    /// The records of this kind, and for how long they hold.
    async fn records(
        &self,
        servers: &Servers,
        name: &Name,
        kind: RecordType,
    ) -> Result<(Vec<Record>, Duration), Failure> {
        // It is never closed.
        let _slot = self.slots.acquire().await;
        let lookup = servers.resolver.lookup(name.clone(), kind).await?;
        let answers = lookup.answers();
        let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let records = belonging(answers, name, kind);
        match records.is_empty() {
            true => Err(Failure::NoAddresses),
            false => Ok((records, Duration::from_secs(ttl.into()))),
        }
    }

    fn servers(&self) -> Result<Rc<Servers>, Failure> {
        let changed = self.system.borrow_mut().refresh();
        if let Some(servers) = self.servers.borrow().as_ref().filter(|_| !changed) {
            return Ok(Rc::clone(servers));
        }
        let servers = Rc::new(servers(&self.settings, self.system.borrow().value())?);
        *self.servers.borrow_mut() = Some(Rc::clone(&servers));
        Ok(servers)
    }
}

/// The records of this kind that belong to `name`, or to what it is an alias of:
/// whatever else an answer brings was not asked for.
fn belonging(answers: &[Record], name: &Name, kind: RecordType) -> Vec<Record> {
    let mut owners = vec![name.clone()];
    // Each turn follows one alias at least; a ring of them ends it.
    let mut followed = 0;
    while followed < owners.len() {
        followed = owners.len();
        for record in answers {
            if let RData::CNAME(alias) = &record.data
                && owners.contains(&record.name)
                && !owners.contains(&alias.0)
            {
                owners.push(alias.0.clone());
            }
        }
    }
    let wanted = |record: &&Record| record.record_type() == kind && owners.contains(&record.name);
    answers.iter().filter(wanted).cloned().collect()
}

fn servers(settings: &DnsSettings, system: &ResolvConf) -> Result<Servers, Failure> {
    let own = settings.servers.iter().map(name_server).collect();
    let (name_servers, mut search, ndots) = match settings.servers.is_empty() {
        true => (system.servers.clone(), system.search.clone(), system.ndots),
        false => (own, Vec::new(), 1),
    };
    if let Some(domains) = &settings.search {
        search = domains
            .iter()
            .map(|one| parse(one))
            .collect::<Result<_, _>>()?;
    }
    let mut options = ResolverOpts::default();
    // Every question is asked for its time has come, and names are searched for here.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = settings.timeout;
    options.attempts = settings.attempts.get() - 1;
    let config = ResolverConfig::from_parts(None, Vec::new(), name_servers);
    let provider = TokioRuntimeProvider::default();
    let builder = TokioResolver::builder_with_config(config, provider);
    Ok(Servers {
        resolver: builder.with_options(options).build()?,
        search,
        ndots,
    })
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn parse(name: &str) -> Result<Name, Failure> {
    Name::from_ascii(name).map_err(|error| Failure::Other(format!("`{name}`: {error}")))
}

/// The names to ask for `name`, in order: resolv.conf(5), `search` and `ndots`.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut whole = name.clone();
    whole.set_fqdn(true);
    if name.is_fqdn() {
        return vec![whole];
    }
    let within = |domain: &Name| {
        let mut longer = name.clone().append_name(domain).ok()?;
        longer.set_fqdn(true);
        Some(longer)
    };
    let mut names: Vec<Name> = search.iter().filter_map(within).collect();
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    match dots >= ndots {
        true => names.insert(0, whole),
        false => names.push(whole),
    }
    names
}

/// Of two reasons the one to tell: that somebody could not be asked outweighs
/// that others know nothing.
fn worse(before: Option<Failure>, now: Failure) -> Failure {
    match before {
        Some(before) if !before.is_denial() => before,
        Some(Failure::NoAddresses) if now.is_denial() => Failure::NoAddresses,
        _ => now,
    }
}

/// Addresses of both families; of one that could not be asked for those of `before`.
fn both(
    ipv4: Result<Addresses, Failure>,
    ipv6: Result<Addresses, Failure>,
    before: &[IpAddr],
) -> Result<Addresses, Failure> {
    let (mut found, failure, lost): (_, _, fn(&IpAddr) -> bool) = match (ipv4, ipv6) {
        (Ok(ipv4), Ok(ipv6)) => {
            let ips = ipv4.ips.into_iter().chain(ipv6.ips);
            return fit(ips.collect(), ipv4.ttl.min(ipv6.ttl));
        }
        (Ok(found), Err(failure)) => (found, failure, IpAddr::is_ipv6),
        (Err(failure), Ok(found)) => (found, failure, IpAddr::is_ipv4),
        (Err(one), Err(other)) => return Err(worse(Some(one), other)),
    };
    if !failure.is_denial() {
        found.ips.extend(before.iter().filter(|ip| lost(ip)));
    }
    fit(found.ips, found.ttl)
}

fn of_family(ips: Vec<IpAddr>, family: Family) -> Vec<IpAddr> {
    let has_ipv4 = ips.iter().any(IpAddr::is_ipv4);
    let wanted = |ip: &IpAddr| match family {
        Family::Auto => ip.is_ipv4() == has_ipv4,
        Family::Ipv4 => ip.is_ipv4(),
        Family::Ipv6 => ip.is_ipv6(),
        Family::Both => true,
    };
    ips.into_iter().filter(wanted).collect()
}

/// What a backend can have for an address, in order: servers rotate theirs, and
/// that is no change.
fn fit(ips: Vec<IpAddr>, ttl: Duration) -> Result<Addresses, Failure> {
    let ips = ips.into_iter().map(|ip| ip.to_canonical());
    let mut ips: Vec<IpAddr> = ips.filter(is_somebody).collect();
    ips.sort_unstable();
    ips.dedup();
    match ips.is_empty() {
        true => Err(Failure::NoAddresses),
        false => Ok(Addresses { ips, ttl }),
    }
}

/// One machine can be reached there. Loopback and private networks are where
/// backends are; `0.0.0.0`, which some filters answer, would be this machine.
fn is_somebody(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

/// Sorts; true if something had to be left out.
fn truncate<T: Ord>(list: &mut Vec<T>) -> bool {
    list.sort_unstable();
    list.dedup();
    let too_many = list.len() > MOST;
    list.truncate(MOST);
    too_many
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    priority: u16,
    target: Name,
    port: u16,
    weight: u16,
}

impl Service {
    /// Nothing where the record says that there is no such service (the target
    /// `.`), or no port.
    fn of(record: &Record) -> Option<Service> {
        match &record.data {
            RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(Service {
                priority: srv.priority,
                target: srv.target.to_lowercase(),
                port: srv.port,
                weight: srv.weight,
            }),
            _ => None,
        }
    }

    fn host(&self) -> String {
        let host = self.target.to_ascii();
        host.strip_suffix('.').unwrap_or(&host).to_owned()
    }
}

/// Every address of every target; one that two records name has the first's weight.
fn join(services: &[Service], ips: &[Vec<IpAddr>]) -> Vec<Endpoint> {
    let targets = services.iter().zip(ips);
    let counts: Vec<(u16, usize)> = targets
        .clone()
        .filter(|(_, ips)| !ips.is_empty())
        .map(|(service, ips)| (service.weight, ips.len()))
        .collect();
    let mut weights = shares(&counts).into_iter();
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (service, ips) in targets.filter(|(_, ips)| !ips.is_empty()) {
        let weight = weights.next().unwrap_or(1);
        for &ip in ips {
            let address = SocketAddr::new(ip, service.port);
            if endpoints.iter().all(|known| known.address != address) {
                endpoints.push(Endpoint {
                    priority: service.priority,
                    address,
                    host: service.host(),
                    weight,
                });
            }
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        parse(text).expect("a name")
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        let ip = |text: &&str| text.parse().expect("an address");
        texts.iter().map(ip).collect()
    }

    fn found(texts: &[&str]) -> Result<Addresses, Failure> {
        Ok(Addresses {
            ips: ips(texts),
            ttl: Duration::from_secs(5),
        })
    }

    #[test]
    fn names_are_searched_for_as_the_system_does() {
        let search = ["ns.svc.cluster.local", "cluster.local"].map(name);
        let asked = |text: &str, ndots| -> Vec<String> {
            let names = candidates(&name(text), &search, ndots);
            names.iter().map(Name::to_string).collect()
        };
        let inside = ["web.ns.svc.cluster.local.", "web.cluster.local."];
        assert_eq!(asked("web", 1), [inside[0], inside[1], "web."]);
        assert_eq!(asked("web.", 5), ["web."]);
        assert_eq!(asked("a.b", 1)[0], "a.b.");
        assert_eq!(asked("a.b", 5)[2], "a.b.");
        assert_eq!(candidates(&name("web"), &[], 1), [name("web.")]);
    }

    #[test]
    fn an_address_that_is_nobody_s_is_left_out() {
        let all = ips(&[
            "10.0.0.2",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "127.0.0.1",
            "::ffff:10.0.0.1",
            "10.0.0.2",
        ]);
        let fit = fit(all, Duration::ZERO).unwrap_or_else(|_| panic!("there are some"));
        assert_eq!(fit.ips, ips(&["10.0.0.1", "10.0.0.2", "127.0.0.1"]));
        assert!(super::fit(ips(&["0.0.0.0"]), Duration::ZERO).is_err());
    }

    #[test]
    fn a_machine_with_two_addresses_is_one_backend_unless_both_are_wanted() {
        let all = || ips(&["10.0.0.1", "fd00::1"]);
        assert_eq!(of_family(all(), Family::Auto), ips(&["10.0.0.1"]));
        assert_eq!(of_family(all(), Family::Ipv6), ips(&["fd00::1"]));
        assert_eq!(of_family(all(), Family::Both), all());
        assert_eq!(
            of_family(ips(&["fd00::1"]), Family::Auto),
            ips(&["fd00::1"])
        );
    }

    #[test]
    fn of_a_family_that_cannot_be_asked_for_the_last_addresses_stay() {
        let before = ips(&["10.0.0.9", "fd00::9"]);
        let after = |ipv4, ipv6| both(ipv4, ipv6, &before).map(|found| found.ips);
        let stays = after(found(&["10.0.0.1"]), Err(Failure::Timeout));
        assert_eq!(stays, Ok(ips(&["10.0.0.1", "fd00::9"])));
        let gone = after(found(&["10.0.0.1"]), Err(Failure::NoAddresses));
        assert_eq!(gone, Ok(ips(&["10.0.0.1"])));
        let neither = after(Err(Failure::NoAddresses), Err(Failure::Timeout));
        assert_eq!(neither, Err(Failure::Timeout));
    }

    #[test]
    fn a_failure_outweighs_a_denial() {
        let denials = worse(Some(Failure::NoAddresses), Failure::NoSuchName);
        assert_eq!(denials, Failure::NoAddresses);
        let failed = worse(Some(Failure::NoSuchName), Failure::Timeout);
        assert_eq!(worse(Some(failed), Failure::NoSuchName), Failure::Timeout);
    }

    #[test]
    fn endpoints_are_the_targets_addresses_with_their_share() {
        let service = |target: &str, weight| Service {
            priority: 1,
            target: name(target),
            port: 81,
            weight,
        };
        let services = [
            service("a.x.", 10),
            service("gone.x.", 99),
            service("b.x.", 10),
        ];
        let addresses = [ips(&["10.0.0.1", "10.0.0.2"]), ips(&[]), ips(&["10.0.0.3"])];
        let endpoints = join(&services, &addresses);
        let told: Vec<(String, String, u16)> = endpoints
            .iter()
            .map(|one| (one.host.clone(), one.address.to_string(), one.weight))
            .collect();
        let expected = [
            ("a.x", "10.0.0.1:81", 10),
            ("a.x", "10.0.0.2:81", 10),
            ("b.x", "10.0.0.3:81", 20),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c));
        assert_eq!(told, expected);
    }

    #[test]
    fn what_was_not_asked_for_is_left_out() {
        use hickory_resolver::proto::rr::rdata::{A, CNAME};
        let address = |owner: &str, last| {
            Record::from_rdata(name(owner), 5, RData::A(A::new(10, 0, 0, last)))
        };
        let alias = |owner: &str, of: &str| {
            Record::from_rdata(name(owner), 5, RData::CNAME(CNAME(name(of))))
        };
        let of = |answers: &[Record]| -> Vec<String> {
            let records = belonging(answers, &name("app."), RecordType::A);
            let ips = records.iter().filter_map(|record| record.data.ip_addr());
            ips.map(|ip| ip.to_string()).collect()
        };
        assert_eq!(
            of(&[address("APP.", 1), address("other.", 2)]),
            ["10.0.0.1"]
        );
        let chain = [
            alias("b.", "c."),
            alias("app.", "b."),
            address("c.", 3),
            address("d.", 4),
        ];
        assert_eq!(of(&chain), ["10.0.0.3"]);
        let ring = [alias("app.", "b."), alias("b.", "app.")];
        assert_eq!(of(&ring), [""; 0]);
    }

    #[test]
    fn there_is_a_most() {
        let mut many: Vec<u32> = (0..1_000).rev().collect();
        assert!(truncate(&mut many));
        assert_eq!((many.len(), many[0], many[MOST - 1]), (MOST, 0, 255));
        assert!(!truncate(&mut vec![1, 1, 1]));
    }
}
