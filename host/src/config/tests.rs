mod reference;

use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName, Method, header};

use super::*;

const SMALLEST: &str = r#"
[[listeners]]
address = "127.0.0.1:8080"

[[pools.web.backends]]
address = "http://127.0.0.1:9001"
"#;

fn settings(text: &str) -> Settings {
    match parse(text, Path::new("anubis.toml")) {
        Ok(settings) => settings,
        Err(mistakes) => panic!("unexpected mistakes:\n{mistakes}"),
    }
}

fn mistakes(text: &str) -> String {
    match parse(text, Path::new("anubis.toml")) {
        Ok(settings) => panic!("unexpectedly right: {settings:?}"),
        Err(mistakes) => mistakes.to_string(),
    }
}

/// [`SMALLEST`] with something more in its only pool.
fn in_pool(lines: &str) -> String {
    format!("{SMALLEST}\n[pools.web]\n{lines}\n")
}

#[test]
fn the_smallest_file_gets_every_default() {
    let settings = settings(SMALLEST);
    let address = "127.0.0.1:8080".parse().expect("address");
    let backend = BackendSettings::new("127.0.0.1:9001".parse().expect("authority"));
    let expected = Settings::new(
        ListenerSettings::new(address),
        PoolSettings::new("web", vec![backend]),
    );
    assert_eq!(settings, expected);
    assert_eq!(settings.routes, [RouteSettings::everything_to(0)]);
}

#[test]
fn everything_that_can_be_written_is_read() {
    let settings = settings(include_str!("tests/everything.toml"));
    assert_eq!(settings.workers.get(), 2);
    assert_eq!(settings.max_connections.get(), 5000);
    assert_eq!(settings.shutdown_grace, Duration::from_secs(31));
    assert_eq!(settings.upgrade_timeout, Duration::from_secs(62));
    assert_eq!(
        settings.log.level,
        tracing::level_filters::LevelFilter::DEBUG
    );
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.access, AccessLog::Common);
    assert_eq!(settings.compile.time, Duration::from_secs(61));
    assert_eq!(settings.compile.cache, CacheFolder::At("cache".into()));

    assert_eq!(
        settings.admin,
        AdminSettings {
            address: Some("[::1]:9090".parse().expect("address")),
            socket: Some("run/admin.sock".into()),
            token: None,
            upload_limit: 1 << 20,
            state_file: Some("/var/lib/anubis/state.json".into()),
        }
    );

    assert_eq!(
        settings.dns,
        DnsSettings {
            servers: ["10.0.0.2:53", "[::1]:5353"]
                .map(|server| server.parse().expect("address"))
                .into(),
            search: Some(vec!["svc.internal".to_owned(), "internal.".to_owned()]),
            family: Family::Both,
            min_ttl: Duration::from_millis(500),
            max_ttl: Duration::from_secs(60),
            timeout: Duration::from_millis(300),
            attempts: const { NonZeroUsize::new(3).expect("3 is not 0") },
        }
    );

    let listener = &settings.listeners[0];
    assert_eq!(listener.name, "public");
    assert_eq!(listener.max_request_line, 4096);
    assert_eq!(listener.max_header_size, 32 << 10);
    assert_eq!(listener.max_headers, 50);
    assert_eq!(listener.max_body_size, 10 << 20);
    assert_eq!(listener.max_connections, 1000);
    assert_eq!(listener.max_connections_per_client, 20);
    assert_eq!(listener.header_timeout, Duration::from_secs(11));
    assert_eq!(listener.keep_alive, Duration::from_secs(76));
    assert_eq!(listener.idle_timeout, Duration::from_secs(61));
    let proxies = ["10.0.0.0/8", "192.0.2.1/32"].map(|net| net.parse().expect("network"));
    assert_eq!(listener.trusted_proxies, proxies);

    assert_eq!(
        settings.routes[0],
        RouteSettings {
            host: HostPattern::Below("example.com".into()),
            path: "/api".into(),
            pool: 1,
        }
    );
    assert_eq!(
        settings.routes[1].host,
        HostPattern::Exact("www.example.com".into())
    );
}

#[test]
fn everything_about_a_pool_is_read() {
    let settings = settings(include_str!("tests/everything.toml"));
    let [first, pool] = settings.pools.as_slice() else {
        panic!("two pools in the order written");
    };
    assert_eq!(first.name, "web");
    assert_eq!(pool.name, "api");
    assert_eq!(
        pool.strategy,
        StrategySettings {
            source: StrategySource::Shipped("least-time".into()),
            config: r#"{"default-latency":"5ms"}"#.into(),
            deadline: Duration::from_millis(11),
            budget: Duration::from_millis(100),
            memory: 32 << 20,
            recycle_memory: 20 << 20,
            recycle_calls: 1_000_000,
            on_fault: OnFault::Reject,
            probation: Duration::from_secs(30),
            plan_interval: Duration::from_secs(2),
        }
    );
    assert_eq!(pool.hash_key, HashKey::Cookie("session".into()));
    assert_eq!(
        pool.host_header,
        HostHeader::Fixed(HeaderValue::from_static("app.internal"))
    );
    assert_eq!(pool.zone.as_deref(), Some("eu-1"));
    assert_eq!(pool.tries.get(), 4);
    assert_eq!(
        pool.retry,
        RetrySettings {
            on: RetryOn {
                timeout: true,
                statuses: vec![500..=500, 502..=504],
            },
            budget: 30,
            backoff: Duration::from_millis(10),
            total_timeout: Duration::from_secs(90),
            replay_buffer: 64 << 10,
            hedge_after: Duration::from_millis(150),
        }
    );
    assert_eq!(pool.connect_timeout, Duration::from_secs(3));
    assert_eq!(pool.response_timeout, Duration::from_secs(59));
    assert_eq!(pool.idle_timeout, Duration::from_secs(58));
    assert_eq!(pool.keep_alive, Duration::from_secs(5));
    assert_eq!(pool.keep_alive_connections, 255);
    assert_eq!(pool.tunnel_timeout, Duration::from_secs(7200));
    assert_eq!(
        (first.resolve, pool.resolve),
        (Resolve::All, Resolve::AtConnect)
    );
    let service = &first.backends[1];
    assert_eq!(service.name, "_http._tcp.app.internal");
    assert_eq!((service.target, service.capacity), (Target::Service, 7));
    assert_eq!((pool.max_requests, pool.queue_size), (1000, 500));
    assert_eq!(pool.queue_timeout, Duration::from_secs(6));
    assert_eq!(pool.retry_after, Duration::from_secs(10));
    assert_eq!(
        pool.rate_limit,
        Some(RateSettings {
            rate: 7.5,
            burst: 30,
            key: HashKey::Header(HeaderName::from_static("x-key")),
        })
    );
    let port = NonZeroU16::new(9707).expect("not 0");
    assert_eq!(
        pool.agent_check,
        Some(AgentSettings {
            port,
            send: "web\n".into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(300),
            expiry: Duration::from_secs(4),
        })
    );
    assert_eq!(
        pool.load_report,
        Some(LoadReportSettings {
            metrics: vec![
                Metric::Named("queue".into()),
                Metric::Utilization("disk".into()),
                Metric::Memory,
            ],
            full_at: 20.0,
            expiry: Duration::from_secs(3),
            ask: Some(ReportFormat::Text),
            forward: true,
        })
    );
    assert_eq!(pool.panic_threshold, 40);
    assert_eq!(pool.priorities, Priorities::Strategy);
    assert_eq!(pool.slow_start, Duration::from_secs(20));
    assert_eq!(
        pool.outliers,
        OutlierSettings {
            consecutive_errors: 7,
            success_rate_factor: 2.0,
            slow_factor: 3.5,
            interval: Duration::from_secs(9),
            min_backends: 4,
            min_requests: 50,
            ejection_time: Duration::from_secs(20),
            max_ejection_time: Duration::from_secs(200),
            max_ejected: 30,
        }
    );
    let cookie = CookieSettings {
        name: "backend".into(),
        path: "/api".into(),
        domain: Some("example.com".into()),
        secure: true,
        http_only: false,
        same_site: SameSite::None,
    };
    assert_eq!(
        pool.sticky,
        Some(StickySettings {
            carrier: Carrier::Cookie(cookie),
            ttl: Some(Duration::from_secs(12 * 60 * 60)),
            secret: None,
            on_lost: OnLost::Reject,
        })
    );
    assert_eq!(
        pool.health_check,
        Some(HealthSettings {
            probe: Probe::Http(HttpProbe {
                method: Method::OPTIONS,
                path: "/status?full=1".into(),
                host: Some(HeaderValue::from_static("status.internal:81")),
                headers: HeaderMap::from_iter([(
                    header::AUTHORIZATION,
                    HeaderValue::from_static("Basic YTpi"),
                )]),
                statuses: vec![200..=299, 300..=302, 404..=404, 418..=418],
                body: Some("fine".into()),
            }),
            port: NonZeroU16::new(9090),
            interval: Duration::from_secs(5),
            interval_down: Duration::from_millis(500),
            timeout: Duration::from_millis(700),
            rise: NonZeroU32::new(4).expect("4"),
            fall: NonZeroU32::new(5).expect("5"),
            start: HealthStart::Unhealthy,
        })
    );
    let grpc = GrpcProbe {
        service: "shop.Cart".into(),
        ..GrpcProbe::default()
    };
    assert_eq!(
        first.health_check,
        Some(HealthSettings::new(Probe::Grpc(grpc)))
    );
    assert_eq!(
        pool.backends[0],
        BackendSettings {
            name: "a".into(),
            address: "app:80".parse().expect("authority"),
            target: Target::Written,
            weight: NonZeroU16::new(5).expect("5"),
            capacity: 100,
            priority: 1,
            zone: Some("eu-2".into()),
            labels: BTreeMap::from([("version".into(), "canary".into())]),
            state: BackendState::Drain,
        }
    );
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_place_and_its_key() {
    let told = mistakes(include_str!("tests/mistakes.toml"));
    let expected = include_str!("tests/mistakes.txt");
    assert_eq!(told.trim(), expected.trim());
}

#[test]
fn every_syntax_error_is_told_with_its_place() {
    let told = mistakes("workers = \n\n[log\nlevel = 'info'\n");
    let places: Vec<&str> = told.lines().map(|line| &line[..14]).collect();
    assert_eq!(places, ["anubis.toml:1:", "anubis.toml:3:"], "{told}");
}

#[test]
fn an_empty_file_lacks_listeners_and_pools() {
    let told = mistakes("");
    assert!(
        told.contains("anubis.toml: listeners: at least one"),
        "{told}"
    );
    assert!(told.contains("anubis.toml: pools: at least one"), "{told}");
}

#[test]
fn more_pools_need_routes() {
    let told = mistakes(&format!(
        "{SMALLEST}\n[[pools.api.backends]]\naddress = 'a:1'"
    ));
    assert!(told.contains("routes: with more than one pool"), "{told}");
}

#[test]
fn a_pool_without_route_is_a_warning() {
    let text =
        format!("{SMALLEST}\n[[pools.api.backends]]\naddress = 'a:1'\n[[routes]]\npool = 'web'\n");
    let warnings = settings(&text).warnings;
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["anubis.toml:8:9: pools.api: no route leads to this pool"]
    );
}

#[test]
fn a_time_for_a_queue_that_is_not_there_is_a_warning() {
    let told = |lines: &str| {
        let warnings = settings(&in_pool(lines)).warnings;
        warnings.iter().map(ToString::to_string).collect::<String>()
    };
    for lines in [
        "queue-timeout = '1s'",
        "queue-size = 0\nqueue-timeout = '1s'",
    ] {
        let told = told(lines);
        assert!(told.contains("queue-timeout: nobody waits"), "{told}");
    }
    assert_eq!(told("queue-size = 1\nqueue-timeout = '1s'"), "");
    assert_eq!(told("queue-size = 1"), "");
}

#[test]
fn strategies_about_affinity_use_the_client_address_by_default() {
    let key = |line: &str| settings(&in_pool(line)).pools[0].hash_key.clone();
    assert_eq!(key("strategy = 'ip-hash'"), HashKey::ClientAddress);
    assert_eq!(key("strategy = 'maglev'"), HashKey::ClientAddress);
    assert_eq!(key("strategy = 'least-time'"), HashKey::Random);
    assert_eq!(key("strategy = 'maglev'\nhash-key = 'path'"), HashKey::Path);
}

#[test]
fn an_empty_health_check_asks_for_the_root() {
    let settings = settings(&in_pool("health-check = {}"));
    let check = settings.pools[0].health_check.as_ref().expect("a check");
    assert_eq!(
        *check,
        HealthSettings::new(Probe::Http(HttpProbe::default()))
    );
    assert_eq!(check.interval_down, Duration::from_secs(1));
}

#[test]
fn a_short_interval_is_not_longer_while_a_backend_is_down() {
    let settings = settings(&in_pool("health-check = { interval = '300ms' }"));
    let check = settings.pools[0].health_check.as_ref().expect("a check");
    assert_eq!(check.interval_down, Duration::from_millis(300));
}

#[test]
fn an_instance_is_recycled_while_a_quarter_of_its_memory_is_left() {
    let pool = |keys: &str| {
        format!(
            "[[listeners]]\naddress = '127.0.0.1:1'\n\
             [pools.web]\n{keys}\n[[pools.web.backends]]\naddress = 'a'\n"
        )
    };
    let strategy = |keys| settings(&pool(keys)).pools.remove(0).strategy;
    assert_eq!(strategy("").recycle_memory, 48 << 20);
    assert_eq!(strategy("memory = '4MiB'").recycle_memory, 3 << 20);
    let all = strategy("memory = '4MiB'\nrecycle-memory = '4MiB'");
    assert_eq!((all.recycle_memory, all.recycle_calls), (4 << 20, 0));
    let more = mistakes(&pool("memory = '4MiB'\nrecycle-memory = '5MiB'"));
    assert!(
        more.contains("recycle-memory") && more.contains("more than `memory`"),
        "{more}"
    );
}

#[test]
fn a_load_report_needs_a_metric_and_a_full_load() {
    let told = mistakes(
        "[[listeners]]\naddress = '127.0.0.1:1'\n\
         [pools.web]\nbackends = [{ address = 'a' }]\n\
         load-report = { metrics = ['cpu'], full-at = 0, ask = 'bin' }\n\
         [pools.api]\nbackends = [{ address = 'a' }]\nload-report.metrics = []\n",
    );
    for wrong in ["cpu_utilization", "full-at", "ask", "without a metric"] {
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
    let pools = settings(
        "[[listeners]]\naddress = '127.0.0.1:1'\n[[routes]]\npool = 'web'\n\
         [pools.web]\nbackends = [{ address = 'a' }]\nload-report = {}\n\
         [pools.api]\nbackends = [{ address = 'a' }]\n",
    )
    .pools;
    assert_eq!(pools[0].load_report, Some(LoadReportSettings::default()));
    assert_eq!(pools[1].load_report, None);
}

#[test]
fn where_an_agent_listens_has_to_be_said() {
    let pool = |agent: &str| {
        format!(
            "[[listeners]]\naddress = '127.0.0.1:1'\n\
             [pools.web]\nbackends = [{{ address = 'a' }}]\nagent-check = {{ {agent} }}\n"
        )
    };
    let told = mistakes(&pool("interval = '1s'"));
    assert!(told.contains("pools.web.agent-check.port"), "{told}");
    let agent = |keys| settings(&pool(keys)).pools.remove(0).agent_check;
    let expiry = |keys| agent(keys).map(|agent| agent.expiry.as_secs());
    assert_eq!(expiry("port = 1"), Some(10));
    assert_eq!(expiry("port = 1, interval = '20s'"), Some(60));
}

#[test]
fn a_key_of_another_type_of_check_is_a_mistake() {
    for (lines, told) in [
        (
            "type = 'tcp', expect-body = 'x'",
            "health-check.expect-body: only for `type = \"http\"`",
        ),
        (
            "service = 'x'",
            "health-check.service: only for `type = \"grpc\"`",
        ),
        (
            "type = 'grpc', path = '/'",
            "health-check.path: only for `type = \"http\"`",
        ),
        (
            "type = 'tcp', host = 'x'",
            "health-check.host: only for `type = \"http\"` and `\"grpc\"`",
        ),
        (
            "method = 'HEAD', expect-body = 'x'",
            "health-check.expect-body: the answer to HEAD has no body",
        ),
        (
            "headers = { Host = 'x' }",
            "health-check.headers.Host: the Host is what `host` says",
        ),
        (
            "headers = { Connection = 'x' }",
            "`connection` cannot be set: it is the connection's",
        ),
        (
            "expect-status = []",
            "health-check.expect-status: without a status no check could be passed",
        ),
    ] {
        let text = in_pool(&format!("health-check = {{ {lines} }}"));
        let mistakes = mistakes(&text);
        assert!(mistakes.contains(told), "{lines}: {mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    }
}

#[test]
fn a_plugin_is_found_beside_the_configuration_file() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("anubis.toml");
    std::fs::write(folder.path().join("mine.wasm"), b"\0asm").expect("plugin");
    std::fs::write(&file, in_pool("strategy = './mine.wasm'")).expect("configuration");
    let settings = load(&file).expect("right");
    assert_eq!(settings.plugin_files(), [folder.path().join("mine.wasm")]);
}

#[test]
fn an_admin_address_that_others_reach_needs_a_token() {
    let folder = tempfile::tempdir().expect("folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef").expect("token");
    let admin = |lines: &str| parse(&format!("{SMALLEST}\n[admin]\n{lines}\n"), &token);
    let told = |lines: &str| admin(lines).expect_err("wrong").to_string();

    assert!(admin("address = '127.0.0.1:9090'").is_ok());
    assert!(told("address = '0.0.0.0:9090'").contains("needs a `token-file`"));
    let public = "address = '0.0.0.0:9090'\ntoken-file = 'token'";
    // Readable by everybody is one mistake, not two.
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&token, mode(0o644)).expect("mode");
    let mistakes = told(public);
    assert!(mistakes.contains("admin.token-file: "), "{mistakes}");
    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    std::fs::set_permissions(&token, mode(0o600)).expect("mode");
    let settings = admin(public).expect("right");
    assert!(settings.admin.token.is_some());
}

#[test]
fn an_admin_api_that_cannot_be_reached_is_a_warning() {
    let warnings = settings(&format!("{SMALLEST}\n[admin]\n")).warnings;
    assert!(
        warnings[0].to_string().contains("admin: neither `address`"),
        "{warnings:?}"
    );
}

#[test]
fn an_admin_address_is_not_a_listeners() {
    let told = mistakes(&format!("{SMALLEST}\n[admin]\naddress = '127.0.0.1:8080'"));
    assert!(
        told.contains("admin.address: a listener has this address"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let told = load(Path::new("/nowhere/anubis.toml")).expect_err("no such file");
    assert!(
        told.to_string()
            .starts_with("/nowhere/anubis.toml: cannot read the configuration"),
        "{told}"
    );
}

#[test]
fn the_quick_form_needs_no_file() {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let settings = Settings::quick(
        &texts(&["127.0.0.1:8080"]),
        &texts(&["http://127.0.0.1:9001", "127.0.0.1:9002"]),
        Some("ip-hash"),
        NonZeroUsize::new(2),
    )
    .expect("right");
    assert_eq!(settings.workers.get(), 2);
    assert_eq!(settings.pools[0].backends[1].name, "127.0.0.1:9002");
    assert_eq!(settings.pools[0].hash_key, HashKey::ClientAddress);
    assert_eq!(settings.routes, [RouteSettings::everything_to(0)]);
}

#[test]
fn the_quick_form_tells_every_mistake() {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let told = Settings::quick(
        &texts(&["8080"]),
        &texts(&["a:1", "a:1", "https://b"]),
        Some("leest-time"),
        None,
    )
    .expect_err("wrong")
    .to_string();
    for part in [
        "command line: --listen: `8080`: expected an IP address",
        "command line: --backend: `a:1` is given twice",
        "command line: --backend: `https://b`: https to a backend",
        "command line: --strategy: no shipped strategy is called `leest-time`; did you mean `least-time`?",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn every_example_is_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = 0;
    for folder in std::fs::read_dir(examples).expect("examples") {
        for file in std::fs::read_dir(folder.expect("folder").path()).expect("folder") {
            let file = file.expect("file").path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("anubis") && name.ends_with(".toml") {
                let settings = load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
                assert_eq!(settings.warnings, [], "{}", file.display());
                found += 1;
            }
        }
    }
    assert!(found >= 7, "only {found} examples were found");
}

proptest::proptest! {
    /// Whatever is in a file: no panic, no endless search for mistakes, and
    /// each mistake has a place in the file.
    #[test]
    fn no_text_can_break_it(
        from in 0_usize..1200,
        length in 0_usize..40,
        put in "[\\[\\]{}=\"'.,a-z0-9 \n-]{0,12}",
    ) {
        let mut text = include_str!("tests/everything.toml").to_owned();
        let start = from.min(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &put);
        if let Err(mistakes) = parse(&text, Path::new("anubis.toml")) {
            for mistake in mistakes.iter() {
                if let Some((line, _)) = mistake.place {
                    proptest::prop_assert!(line <= text.lines().count() + 1, "{}", mistake);
                }
            }
        }
    }
}

/// What is wrong with a pool's `sticky`.
fn of_sticky(table: &str) -> String {
    mistakes(&in_pool(&format!("sticky = {{ {table} }}")))
}

#[test]
fn a_session_token_has_one_carrier() {
    for (table, what) in [
        (
            "ttl = '1h'",
            "pools.web.sticky.cookie: sessions need a `cookie` or a `header`",
        ),
        (
            "cookie = 'a', header = 'b'",
            "pools.web.sticky.header: there is a `cookie` already",
        ),
        (
            "cookie = 'a b'",
            "pools.web.sticky.cookie: `a b` cannot be the name of a cookie",
        ),
        (
            "header = 'a:'",
            "pools.web.sticky.header: `a:` cannot be the name of a header",
        ),
    ] {
        let told = of_sticky(table);
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn a_cookies_attributes_are_checked() {
    for (table, what) in [
        (
            "header = 'x', path = '/'",
            "pools.web.sticky.path: is for a `cookie`",
        ),
        (
            "header = 'x', http-only = true",
            "pools.web.sticky.http-only: is for a `cookie`",
        ),
        (
            "cookie = 'a', same-site = 'none'",
            "pools.web.sticky.same-site: browsers take \"none\" only",
        ),
        (
            "cookie = 'a', path = '/;x'",
            "pools.web.sticky.path: `/;x`: expected a path",
        ),
        (
            "cookie = 'a', domain = 'a;b'",
            "pools.web.sticky.domain: `a;b`: expected a domain",
        ),
        (
            "cookie = 'a', on-lost = 'stay'",
            "unknown value `stay`; known: move, reject",
        ),
        (
            "cookie = '__Host-a', secure = true, path = '/a'",
            "pools.web.sticky.cookie: browsers take `__Host-` only",
        ),
        (
            "cookie = '__secure-a'",
            "pools.web.sticky.cookie: browsers take `__Secure-` only",
        ),
        (
            "cookie = 'a', ttl = '1ms'",
            "pools.web.sticky.ttl: `1ms` is too short",
        ),
        (
            "cookie = 'a', secret-file = 'none'",
            "pools.web.sticky.secret-file: none: cannot be opened",
        ),
    ] {
        let told = of_sticky(table);
        assert!(told.contains(what), "{what} is not in\n{told}");
    }
}
