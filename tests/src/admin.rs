//! The admin API as a client that believes its document: every answer that
//! comes is held against `host/openapi.json`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use crate::Proxy;
use crate::client::{Client, Response};
use crate::proxy::Running;

/// The document that the API says it keeps to.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../host/openapi.json")).expect("it is JSON")
});

/// The admin API of a proxy, over TCP.
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
    seen: Mutex<BTreeSet<String>>,
}

/// An answer that is as the document says.
#[derive(Debug)]
pub struct Told {
    /// Head and body.
    pub response: Response,
    /// The body as JSON; null where it is none.
    pub json: Value,
}

impl Told {
    /// The status.
    pub fn status(&self) -> u16 {
        self.response.status()
    }

    /// The sentence that says why not.
    pub fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }
}

impl Admin {
    /// Of a proxy whose configuration has an `[admin]` address.
    pub async fn of(proxy: &Proxy) -> Self {
        Self::of_process(proxy.process()).await
    }

    /// The same of a process.
    pub async fn of_process(running: &Running) -> Self {
        let line = running.log("admin API open").await;
        let address = line["address"].as_str().unwrap_or_default();
        let address = address.parse();
        Self::at(address.unwrap_or_else(|_| panic!("no address in {line}")))
    }

    /// The one at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            token: None,
            seen: Mutex::default(),
        }
    }

    /// Shows this token from now on.
    pub fn with_token(self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, for `anubis ctl --admin`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A GET.
    pub async fn get(&self, target: &str) -> Told {
        self.ask("GET", target, &[], b"").await
    }

    /// A DELETE.
    pub async fn delete(&self, target: &str) -> Told {
        self.ask("DELETE", target, &[], b"").await
    }

    /// A request with JSON.
    pub async fn send(&self, method: &str, target: &str, body: Value) -> Told {
        let kind = ("Content-Type", "application/json");
        self.ask(method, target, &[kind], body.to_string().as_bytes())
            .await
    }

    /// A PUT of a component.
    pub async fn upload(&self, target: &str, component: &[u8]) -> Told {
        let kind = ("Content-Type", "application/wasm");
        self.ask("PUT", target, &[kind], component).await
    }

    /// Any request, on a connection of its own.
    pub async fn ask(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Told {
        let mut client = Client::connect(self.address).await;
        client
            .send(self.head(method, target, fields, body.len()))
            .await;
        // It may be refused before it was read.
        let _ = client.try_send(body).await;
        let response = client.response().await;
        self.believed(method, target, response)
    }

    /// A request's head, with the fields that every request has.
    pub fn head(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        length: usize,
    ) -> String {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        if length > 0 {
            head += &format!("Content-Length: {length}\r\n");
        }
        head + "\r\n"
    }

    /// An answer, if it is as the document says.
    ///
    /// # Panics
    /// When it is not.
    pub fn believed(&self, method: &str, target: &str, response: Response) -> Told {
        let head = &response.head;
        assert_eq!(head.one("cache-control"), Some("no-store"), "{head}");
        assert_eq!(
            head.one("x-content-type-options"),
            Some("nosniff"),
            "{head}"
        );
        assert!(!head.has("access-control-allow-origin"), "{head}");
        let described = operation(method, target);
        let (schema, kind) = match described {
            Some((_, operation)) => content(operation, response.status()).unwrap_or_else(|| {
                panic!("{method} {target}: the document has no such answer: {head}")
            }),
            None => {
                let (status, text) = (response.status(), response.text());
                assert!(
                    matches!(status, 401 | 404 | 405),
                    "{method} {target}: {status} {text}"
                );
                let problem = json!({ "$ref": "#/components/schemas/Problem" });
                (Some(problem), "application/problem+json".to_owned())
            }
        };
        if let Some((template, _)) = described {
            let mut seen = self.seen.lock().expect("no holder panics");
            seen.insert(format!("{method} {template} {}", response.status()));
        }
        let json = match schema {
            None => {
                assert_eq!(response.body, b"", "{method} {target}");
                Value::Null
            }
            Some(schema) => {
                let given = head.one("content-type").unwrap_or_default();
                assert!(
                    given.starts_with(&kind),
                    "{method} {target}: {given} is no {kind}"
                );
                if kind.ends_with("json") {
                    let json = serde_json::from_slice(&response.body).expect("JSON");
                    assert_valid(&schema, &json, &format!("{method} {target}"));
                    json
                } else {
                    Value::Null
                }
            }
        };
        Told { response, json }
    }

    /// Every operation that was answered well, as `METHOD path`.
    pub fn done(&self) -> BTreeSet<String> {
        let seen = self.seen.lock().expect("no holder panics");
        let well = |line: &&String| line.contains(" 20");
        let without_status = |line: &String| line[..line.len() - 4].to_owned();
        seen.iter().filter(well).map(without_status).collect()
    }
}

/// Every operation of the document, as `METHOD path`.
pub fn operations() -> BTreeSet<String> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("a path item").keys();
        let methods = methods.filter(|key| *key != "parameters");
        let name = |method: &String| format!("{} {path}", method.to_uppercase());
        methods.map(name).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

fn operation(method: &str, target: &str) -> Option<(&'static String, &'static Value)> {
    let path = target.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let (template, item) = paths.iter().find(|(template, _)| fits(template, path))?;
    Some((template, item.get(method.to_lowercase())?))
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(a, b)| a == b || (a.starts_with('{') && !b.is_empty()))
}

/// Schema and media type of an answer; no schema where it has no body.
fn content(operation: &Value, status: u16) -> Option<(Option<Value>, String)> {
    let response = operation["responses"].get(status.to_string())?;
    let response = match response["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#'))?,
        None => response,
    };
    match response["content"]
        .as_object()
        .and_then(|content| content.iter().next())
    {
        Some((kind, media)) => Some((Some(media["schema"].clone()), kind.clone())),
        None => Some((None, String::new())),
    }
}

fn assert_valid(schema: &Value, instance: &Value, what: &str) {
    let whole = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
    let validator = jsonschema::draft202012::new(&whole).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{instance:#}");
}
