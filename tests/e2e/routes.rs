//! Which pool a request goes to.

use anubis_tests::client::{get, raw};
use anubis_tests::{Backend, Proxy};

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";

fn pool(backend: &Backend) -> String {
    let name = backend.name();
    format!(
        "[pools.{name}]\nstrategy = \"round-robin\"\n[[pools.{name}.backends]]\naddress = \"{backend}\"\n"
    )
}

fn route(pool: &str, host: Option<&str>, path: &str) -> String {
    let host = host
        .map(|host| format!("host = \"{host}\"\n"))
        .unwrap_or_default();
    format!("[[routes]]\n{host}path = \"{path}\"\npool = \"{pool}\"\n")
}

async fn asked(proxy: &Proxy, host: &str, path: &str) -> String {
    let response = raw(
        proxy.address(),
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    )
    .await;
    if response.status() == 200 {
        response.text()
    } else {
        response.status().to_string()
    }
}

#[tokio::test]
async fn the_most_specific_route_wins() {
    let names = ["any", "api", "exact", "exact-api", "below"];
    let backends = names.map(|name| Backend::named(name).start());
    // The order written must not matter: the least specific comes first here.
    let routes = [
        route("any", None, "/"),
        route("api", None, "/api"),
        route("below", Some("*.example.com"), "/"),
        route("exact", Some("www.example.com"), "/"),
        route("exact-api", Some("www.example.com"), "/api"),
    ];
    let config = format!(
        "{LISTENER}{}{}",
        routes.concat(),
        backends.each_ref().map(pool).concat()
    );
    let proxy = Proxy::start(config).await;
    for (host, path, expected) in [
        ("other.org", "/", "any"),
        ("other.org", "/api", "api"),
        ("other.org", "/api/x?y=/z", "api"),
        ("other.org", "/apix", "any"),
        ("www.example.com", "/x", "exact"),
        ("WWW.Example.COM:8080", "/x", "exact"),
        ("www.example.com", "/api/x", "exact-api"),
        ("img.example.com", "/api", "below"),
        ("a.b.example.com", "/", "below"),
        ("example.com", "/", "any"),
    ] {
        assert_eq!(asked(&proxy, host, path).await, expected, "{host} {path}");
    }
}

#[tokio::test]
async fn no_route_is_404() {
    let backend = Backend::named("a").start();
    let config = format!(
        "{LISTENER}{}{}",
        route("a", Some("a.org"), "/in"),
        pool(&backend)
    );
    let proxy = Proxy::start(config).await;
    assert_eq!(asked(&proxy, "a.org", "/in").await, "a");
    assert_eq!(asked(&proxy, "a.org", "/out").await, "404");
    assert_eq!(asked(&proxy, "b.org", "/in").await, "404");
    assert_eq!(backend.seen().heads, 1);
}

#[tokio::test]
async fn one_pool_needs_no_route() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(format!("{LISTENER}{}", pool(&backend))).await;
    assert_eq!(asked(&proxy, "any.org", "/where/ever").await, "a");
}

#[tokio::test]
async fn a_backend_may_be_given_by_name() {
    let backend = Backend::named("a").start();
    let port = backend.address().port();
    let pool =
        format!("[pools.web]\n[[pools.web.backends]]\naddress = \"http://localhost:{port}\"\n");
    let proxy = Proxy::start(format!("{LISTENER}{pool}")).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn every_listener_serves() {
    let backend = Backend::named("a").start();
    let config = format!("{LISTENER}{LISTENER}{}", pool(&backend));
    // Two listeners need two names, since both were written with one address.
    let config = config.replacen("[[listeners]]", "[[listeners]]\nname = \"second\"", 1);
    let proxy = Proxy::start(config).await;
    let second = proxy.process().address().await;
    assert_ne!(second, proxy.address());
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    assert_eq!(get(second, "/").await.text(), "a");
}
