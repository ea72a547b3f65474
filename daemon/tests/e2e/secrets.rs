//! Passwords, tokens and the user information of URLs: used everywhere, shown nowhere.

use std::fs;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::kit::{self, Origin, Server, http};

/// What every secret here contains, escaped or not. Nothing else does.
const MARK: &str = "XyZZy";
/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

/// The password of one place, which has to be escaped in a URL.
fn password(place: &str) -> String {
    format!("{place}@{MARK}")
}

/// A URL with the user and the password of one place.
fn url(scheme: &str, place: &str, rest: &str) -> String {
    format!("{scheme}://{MARK}-{place}:{place}%40{MARK}@{rest}")
}

/// What `Authorization: Basic` says for that URL, or for that user.
fn basic(user: &str, place: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password(place))))
}

/// Lines in which a secret can be read, be it in Base64.
fn found_in(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let holds = |text: &str| text.to_ascii_lowercase().contains(&MARK.to_ascii_lowercase());
    let holds_encoded = |word: &str| {
        let from = |start: usize| {
            let word = word.get(start..).unwrap_or("");
            let bytes = STANDARD.decode(&word[..word.len() / 4 * 4]);
            bytes.is_ok_and(|bytes| holds(&String::from_utf8_lossy(&bytes)))
        };
        (0..4).any(from)
    };
    let is_outside = |c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/';
    let is_bad = |line: &&str| holds(line) || line.split(is_outside).any(holds_encoded);
    text.lines().filter(is_bad).map(str::to_owned).collect()
}

fn assert_shows_nothing(what: &str, text: &[u8]) {
    assert!(!text.is_empty(), "{what} is empty");
    assert_eq!(found_in(text), [""; 0], "{what} shows a secret");
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    for text in [
        password("a"),
        url("http", "a", "h/"),
        basic("anna", "a"),
        format!("x{}y", STANDARD.encode(format!("{}:p", password("a")))),
        format!("\u{1F600}\n{}", password("a").to_uppercase()),
    ] {
        assert_eq!(found_in(text.as_bytes()).len(), 1, "{text}");
    }
    assert_eq!(found_in(b"Basic YW5uYTpodW50ZXIy http://h/"), [""; 0]);
}

/// Everybody that the server under test talks to.
struct World {
    documents: Origin,
    missing: Origin,
    moved: Origin,
    proxy: Origin,
}

impl World {
    fn new() -> World {
        let redirect = url("http", "redirect", NOWHERE);
        World {
            documents: Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            missing: Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"),
            moved: Origin::answering(format!("HTTP/1.1 302 Found\r\nLocation: {redirect}\r\n\r\n")),
            proxy: Origin::answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
        }
    }

    /// A configuration with a secret in every place that takes one.
    fn configuration(&self, profile: &str) -> Value {
        let at = |origin: &Origin, path: &str| format!("{}{path}", origin.address());
        let user = |place: &str| json!({ "password": password(place) });
        let script = format!("echo {} >&2", url("rtsp", "camera", "cam/1"));
        let command = format!("fork://sh?-c+{}", script.replace(' ', "%20").replace('&', "%26"));
        let stream =
            |serve: &str, remote: String| json!({ "type": "stream", "serve": serve, "remote": remote });
        let document =
            |serve: &str, remote: String| json!({ "type": "static", "serve": serve, "remote": remote });
        let live = json!({ "type": "stream", "serve": "/live.ts", "loop": true,
            "remote": format!("file://{}", kit::clip().display()),
            "authentication": { "type": "basic", "realm": "tv", "user": "anna" } });
        let private = json!({ "type": "api", "api": "statistics", "serve": "/private",
            "authentication": { "type": "bearer", "users": ["ben", "anna"] } });
        let typo = json!({ "type": "stream", "serve": "/typo.ts", "remote": url("http", "typo", NOWHERE),
            "passwort": password("unknown key"), "remotee": url("http", "unknown", NOWHERE) });
        let told = |event: &str, kind: &str, user: &str, url: String| {
            json!({ "event": event, "type": "url", "url": url,
                    "authentication": { "type": kind, "user": user } })
        };
        json!({
            "profile": profile, "reconnect": 1, "timeout": 5, "fullconnections": 1, "heartbeatinterval": 1,
            "userlist": { "anna": user("anna"), "ben": user("ben"), "carl": user("carl"), "dora": user("dora"),
                          "eve": { "password": password("eve"), "pasword": password("eve") } },
            "resources": [
                live, private, typo,
                stream("/dead.ts", url("http", "dead", NOWHERE)),
                stream("/missing.ts", url("http", "missing", &at(&self.missing, "/x.ts"))),
                stream("/moved.ts", url("http", "moved", &at(&self.moved, "/x.ts"))),
                stream("/plain.ts", url("https", "plain", &at(&self.documents, "/x.ts"))),
                stream("/proxied.ts", url("http", "proxied", "tv.invalid/x.ts")),
                stream("/tunnel.ts", url("https", "tunnel", "tv.invalid/x.ts")),
                stream("/command.ts", command),
                document("/doc", url("http", "document", &at(&self.documents, "/doc"))),
                document("/doc404", url("http", "document404", &at(&self.missing, "/doc"))),
                document("/doc502", url("http", "document502", NOWHERE)),
                { "type": "api", "api": "events", "serve": "/events" },
                { "type": "api", "api": "check", "serve": "/check", "remote": "/dead.ts" },
                { "type": "api", "api": "control", "serve": "/control", "remote": "/dead.ts" },
            ],
            "notifications": [
                told("limit_hit", "basic", "carl", self.documents.url("/full")),
                told("limit_miss", "bearer", "dora", url("http", "miss", NOWHERE)),
                told("heartbeat", "bearer", "dora", url("http", "beat", &at(&self.missing, "/beat"))),
            ],
        })
    }

    /// All requests that anybody here got.
    fn requests(&self) -> String {
        let origins = [&self.documents, &self.missing, &self.moved, &self.proxy];
        origins.map(|origin| origin.requests().concat()).concat()
    }
}

#[test]
fn secrets_are_used_and_never_shown() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let profile = format!("127.0.0.1:{}", kit::free_port());
    Server::configure(directory.path(), world.configuration(&profile));
    let file = fs::read(directory.path().join("restreamer.json")).unwrap();
    assert!(!found_in(&file).is_empty());

    let proxy = url("http", "proxy", &world.proxy.address().to_string());
    let with_proxy = |mut command: std::process::Command| {
        command.current_dir(directory.path()).env("http_proxy", &proxy).env("https_proxy", &proxy);
        command.env("RUST_LOG", "trace");
        command
    };
    let mut check = with_proxy(Server::command());
    let output = kit::run_command(check.arg("--check"));
    assert!(output.status.success() && output.stdout.contains("/command.ts"), "{output:?}");
    assert_shows_nothing("--check", format!("{output:?}").as_bytes());

    let mut command = with_proxy(Server::command());
    let server = Server::launch(&mut command, directory);
    let shown = exercise(&server, &profile);
    for (what, text) in &shown {
        assert_shows_nothing(what, text);
    }
    kit::wait_until("everything that fails has failed", || {
        let urls: Vec<_> = server.events("closed").iter().map(|line| line["url"].to_string()).collect();
        ["typo", "dead", "missing", "moved", "plain", "proxied", "tunnel"].len() <= urls.len()
            && server.events("command_output").len() > 1
            && server.events("notification_failed").len() > 2
    });
    let requests = world.requests();
    for used in [
        basic(&format!("{MARK}-missing"), "missing"),
        basic(&format!("{MARK}-moved"), "moved"),
        basic(&format!("{MARK}-proxy"), "proxy"),
        basic(&format!("{MARK}-document"), "document"),
        basic("carl", "carl"),
        format!("Bearer {}", password("dora")),
    ] {
        assert!(requests.contains(&used), "{used} is not sent: {requests}");
    }
    assert!(server.events("denied").len() >= 5);
    server.signal(libc::SIGTERM);
    kit::wait_until("it says that it ends", || !server.events("shutdown").is_empty());
    assert_shows_nothing("the log", server.log_text().as_bytes());
    assert_eq!(found_in(server.errors().as_bytes()), [""; 0]);
}

/// Asks for everything, rightly and wrongly; all that came back.
fn exercise(server: &Server, profile: &str) -> Vec<(String, Vec<u8>)> {
    let right = [basic("anna", "anna"), format!("Bearer {}", password("ben"))];
    let wrong = [
        basic("anna", "wrong"),
        basic(&password("nobody"), "anna"),
        format!("Basic {}", password("malformed")),
        format!("Bearer {}", password("wrong")),
        format!("Digest {}", password("wrong")),
    ];
    let mut shown = Vec::new();
    let mut ask = |request: String| {
        let (head, body, _) = http::open(server.address(), &request).unwrap();
        shown.push((request, [format!("{head:?}").as_bytes(), &body].concat()));
        head.status
    };
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: tv\r\nConnection: close\r\n{more}\r\n")
    };
    kit::wait_until("the stream is there", || {
        ask(get("/live.ts", &format!("Authorization: {}\r\n", right[0]))) == 200
    });
    assert_eq!(ask(get("/private", &format!("Authorization: {}\r\n", right[1]))), 200);
    for wrong in wrong {
        let authorization = format!("Authorization: {wrong}\r\n");
        assert_eq!(ask(get("/live.ts", &authorization)), 401);
        assert_eq!(ask(get("/private", &authorization)), 403);
        assert_eq!(ask(get("/nothing", &authorization)), 404);
    }
    for (path, status) in [
        ("/doc", 200),
        ("/doc404", 404),
        ("/doc502", 502),
        ("/dead.ts", 404),
        ("/missing.ts", 404),
        ("/check", 404),
        ("/control?offline", 202),
        ("/control", 400),
        ("/health", 200),
        ("/statistics", 200),
    ] {
        assert_eq!(ask(get(path, "")), status, "{path}");
    }
    let query = format!("/nothing?token={}", password("query"));
    assert_eq!(ask(get(&query, "")), 404);
    ask(get(&url("http", "absolute", "tv/dead.ts"), ""));
    assert_eq!(ask(get("/dead.ts", &format!("X-Broken {}\r\n", password("header")))), 400);

    for path in ["/metrics", "/events"] {
        shown.push((path.to_owned(), server.get(path).body));
    }
    let profile = profile.parse().unwrap();
    for path in ["/", "/nothing", "/debug/pprof/flamegraph?seconds=1", "/debug/pprof/profile?seconds=0"] {
        shown.push((path.to_owned(), http::get(profile, path).body));
    }
    let packed = http::get(profile, "/debug/pprof/profile?seconds=1").body;
    let mut unpacked = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
    shown.push(("profile".to_owned(), unpacked));
    shown
}

/// A configuration that is wrong near a secret is explained without it.
#[test]
fn errors_of_the_configuration_do_not_quote_secrets() {
    let stream = |remote: String| json!({ "type": "stream", "serve": "/a.ts", "remote": remote });
    let with = |key: &str, value: Value| {
        let mut config = json!({ "resources": [stream("tcp://h:1".to_owned())] });
        config[key] = value;
        config.to_string()
    };
    let of = |remote: String| with("resources", json!([stream(remote)]));
    let secret = password("typo");
    let cases = [
        with("userlist", json!({ "anna": { "password": [secret] } })),
        with("userlist", json!({ "anna": secret })),
        with("userlist", json!([secret])),
        with("userlist", json!({ "anna": { "password": format!("{secret}\u{7}") } })),
        with("notifications", json!([{ "event": "heartbeat", "type": "url", "url": url("ftp", "a", "h/") }])),
        with(
            "notifications",
            json!([{ "event": "heartbeat", "type": "url", "url": url("http", "a", "h o/") }]),
        ),
        with("resources", json!([{ "type": "static", "serve": "/a", "remote": url("ftp", "a", "h/") }])),
        with("resources", json!([{ "type": "stream", "serve": "/a", "remote": [url("http", "a", "h/")] }])),
        with("resources", json!([{ "type": "stream", "serve": "/a", "remotes": url("http", "a", "h/") }])),
        with("log", json!({ "file": secret })),
        of(url("htp", "a", "h/")),
        of(url("http", "a", "h:port/")),
        of(url("http", "a", "")),
        of(url("tcp", "a", "h:1")),
        of(url("udp", "a", "239.1.1.1:1")),
        of(url("http", "a", "h/%zz")).replace("%40", "%4"),
        of(format!("{MARK}:{secret}@h/")),
        format!(r#"{{ "userlist": {{ "anna": {{ "password": "{secret}" ]"#),
        format!(r#"{{ "userlist": {{ "anna": {{ "password": "{secret}\x" }} }} }}"#),
        format!(r#"{{ "userlist": {{ "anna": {{ "password": {secret} }} }} }}"#),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("restreamer.json");
    for text in cases {
        fs::write(&file, &text).unwrap();
        let output = kit::run_command(Server::command().arg("--check").arg(&file));
        assert_eq!(output.status.code(), Some(1), "{text}\n{output:?}");
        assert_shows_nothing(&text, output.stderr.as_bytes());
        assert_eq!(found_in(output.stdout.as_bytes()), [""; 0], "{text}");
    }
}
