//! Backends that tell of their load: strategies see it while it is fresh, clients do not.

use std::sync::{Arc, Mutex};

use anubis_tests::admin::Admin;
use anubis_tests::client::{get, raw};
use anubis_tests::metrics::Metered;
use anubis_tests::proxy::Folder;
use anubis_tests::{Answer, Backend, Config, Proxy, guests, within};

const ADMIN: &str = "workers = 1\nadmin.address = \"127.0.0.1:0\"";
const FIELD: &str = "endpoint-load-metrics";

/// What a backend says of its load, until it is told to say something else.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<String>>);

impl Says {
    fn now(&self, value: &str) {
        *self.0.lock().expect("no holder panics") = value.to_owned();
    }

    /// A backend that says it in this field.
    fn backend(&self, name: &'static str, field: &'static str) -> Backend {
        let says = self.clone();
        let script = move |_: &_| {
            let value = says.0.lock().expect("no holder panics").clone();
            Answer::head("200 OK", &[(field, &value), ("Content-Length", "1")]).write(name)
        };
        Backend::named(name).script(script).start()
    }
}

/// Two backends, and a strategy that picks who says the least.
async fn least_utilized(pool: &str) -> (Proxy, [Says; 2], [Backend; 2]) {
    let says = [Says::default(), Says::default()];
    let backends = [says[0].backend("a", FIELD), says[1].backend("b", FIELD)];
    let config = Config::strategy("./mine.wasm")
        .global(ADMIN)
        .pool(pool)
        .backend(&backends[0], "")
        .backend(&backends[1], "");
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::wasm("least-utilized"))
        .start()
        .await;
    (proxy, says, backends)
}

async fn answers(proxy: &Proxy, requests: usize) -> String {
    let mut names = String::new();
    for _ in 0..requests {
        names += &get(proxy.address(), "/").await.text();
    }
    names
}

/// What the admin API says of this backend's load.
async fn load(admin: &Admin, backend: &str) -> Option<f64> {
    let told = admin
        .get(&format!("/v1/pools/web/backends/{backend}"))
        .await;
    told.json["utilization"].as_f64()
}

#[tokio::test]
async fn what_backends_report_decides_who_is_picked() {
    let (proxy, [a, b], _backends) = least_utilized("load-report = {}").await;
    a.now("TEXT application_utilization=0.9, cpu_utilization=0.1");
    b.now("JSON {\"cpu_utilization\": 0.2}");
    assert_eq!(answers(&proxy, 6).await, "abbbbb");
    let admin = Admin::of(&proxy).await;
    assert_eq!(load(&admin, "a").await, Some(0.9));
    assert_eq!(load(&admin, "b").await, Some(0.2));
    b.now("cpu_utilization:0.95");
    a.now("TEXT cpu_utilization=0.5");
    assert_eq!(answers(&proxy, 5).await, "baaaa");
}

#[tokio::test]
async fn a_report_is_forgotten_when_it_is_old() {
    let (proxy, [a, b], _backends) = least_utilized("load-report = { expiry = \"200ms\" }").await;
    a.now("TEXT cpu_utilization=0.9");
    b.now("TEXT cpu_utilization=0.2");
    let admin = Admin::of(&proxy).await;
    assert_eq!(answers(&proxy, 2).await, "ab");
    let forgotten = async {
        while load(&admin, "a").await.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within("the report to be forgotten", forgotten).await;
    assert_eq!(
        answers(&proxy, 1).await,
        "a",
        "who reports nothing has no load"
    );
}

#[tokio::test]
async fn a_metric_of_the_operators_choice_with_his_measure() {
    let pool = "load-report = { metrics = [\"named_metrics.waiting\"], full-at = 20 }";
    let (proxy, [a, b], _backends) = least_utilized(pool).await;
    a.now("TEXT named_metrics.waiting=10, cpu_utilization=0.01");
    b.now("TEXT named_metrics.waiting=3, cpu_utilization=0.99");
    assert_eq!(answers(&proxy, 4).await, "abbb");
    let admin = Admin::of(&proxy).await;
    assert_eq!(load(&admin, "a").await, Some(0.5));
    assert_eq!(load(&admin, "b").await, Some(0.15));
}

#[tokio::test]
async fn clients_see_the_field_only_if_they_are_to() {
    for (pool, seen) in [
        ("load-report = {}", false),
        ("load-report = { forward = true }", true),
        ("", true),
    ] {
        for field in [
            "endpoint-load-metrics",
            "endpoint-load-metrics-json",
            "endpoint-load-metrics-bin",
        ] {
            let says = Says::default();
            says.now("TEXT cpu_utilization=0.5");
            let backend = says.backend("a", field);
            let config = Config::balanced([&backend]).pool(pool).global(ADMIN);
            let proxy = Proxy::start(config).await;
            let response = get(proxy.address(), "/").await;
            assert_eq!(response.text(), "a");
            assert_eq!(response.head.one(field).is_some(), seen, "{pool}: {field}");
            let admin = Admin::of(&proxy).await;
            let known = !pool.is_empty() && field == FIELD;
            assert_eq!(load(&admin, "a").await.is_some(), known, "{pool}: {field}");
        }
    }
}

#[tokio::test]
async fn backends_are_asked_for_a_report_where_the_pool_says_so() {
    for (pool, asked) in [
        ("load-report = { ask = \"text\" }", Some("text")),
        ("load-report = { ask = \"json\" }", Some("json")),
        ("load-report = {}", None),
    ] {
        let backend = Backend::named("a").start();
        let proxy = Proxy::start(Config::balanced([&backend]).pool(pool)).await;
        get(proxy.address(), "/").await;
        let seen = &backend.log()[0].head;
        assert_eq!(seen.one("endpoint-load-metrics-format"), asked, "{pool}");
    }
}

#[tokio::test]
async fn what_a_client_asks_for_is_replaced_by_what_the_pool_asks_for() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).pool("load-report = { ask = \"text\" }");
    let proxy = Proxy::start(config).await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nEndpoint-Load-Metrics-Format: json\r\n\
                   Endpoint-Load-Metrics-Format: xml\r\n\r\n";
    assert_eq!(raw(proxy.address(), request).await.status(), 200);
    let seen = &backend.log()[0].head;
    assert_eq!(seen.all("endpoint-load-metrics-format"), ["text"]);
}

#[tokio::test]
async fn hostile_reports_change_nothing_and_are_counted() {
    let says = Says::default();
    let backend = says.backend("a", FIELD);
    let config = Config::balanced([&backend]).pool("load-report = {}");
    let proxy = Metered::start(config).await;
    says.now("TEXT cpu_utilization=0.4");
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    let long = format!("TEXT cpu_utilization=0.9,{}", "x".repeat(5000));
    let deep = format!("JSON {}", "[".repeat(4000));
    let hostile = [
        "",
        "TEXT",
        "TEXT cpu_utilization=NaN",
        "TEXT cpu_utilization=-0.5",
        "TEXT cpu_utilization=inf",
        "TEXT cpu_utilization=0.9,cpu_utilization=0.1",
        "TEXT other=0.9",
        "JSON {\"cpu_utilization\":",
        "JSON {\"cpu_utilization\": -1}",
        "BIN CgAA/////w8=",
        "BIN !!!!",
        "\u{e4}\u{f6}\u{fc}",
        &long,
        &deep,
    ];
    for value in hostile {
        says.now(value);
        let response = get(proxy.address(), "/").await;
        assert_eq!((response.status(), response.text().as_str()), (200, "a"));
    }
    let labels = [("pool", "web"), ("backend", "a")];
    let scrape = proxy.scrape();
    let load = scrape.value("anubis_backend_utilization_ratio", &labels);
    assert_eq!(load, 0.4, "the last one that could be used");
    let reports = |result| {
        let labels = [labels[0], labels[1], ("result", result)];
        scrape.value("anubis_backend_load_reports_total", &labels)
    };
    assert_eq!(reports("taken"), 1.0);
    assert_eq!(reports("unusable"), hostile.len() as f64);
    says.now("TEXT cpu_utilization=99");
    get(proxy.address(), "/").await;
    let load = proxy
        .scrape()
        .value("anubis_backend_utilization_ratio", &labels);
    assert_eq!(load, 1.0, "more than full is full");
}
