//! What a whole file means, and what is said about a wrong one.

use restreamer_core::{Join, Order, Slow};
use restreamer_io::answer::Framing;
use restreamer_io::route::StreamId;
use restreamer_io::service::Cors;

use super::*;

fn read(text: &str) -> (Config, Report) {
    Config::parse("restreamer.json", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn errors(text: &str) -> Vec<String> {
    match Config::parse("restreamer.json", text.as_bytes()) {
        Err(ConfigError::Invalid { report, .. }) => lines(&report.errors),
        other => panic!("not invalid: {other:?}"),
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn labels(stream: &StreamResource) -> Vec<String> {
    stream.sources.iter().map(|source| source.label().to_owned()).collect()
}

/// One stream with more keys, and more keys at the top.
fn with_stream(top: &str, stream: &str) -> String {
    format!(
        r#"{{ {top} "resources": [
            {{ {stream} "type": "stream", "serve": "/a.ts", "remote": "http://origin/a" }}
        ] }}"#
    )
}

#[test]
fn an_empty_file_means_every_default() {
    let (config, report) = read("{}");
    assert_eq!(config.listeners, [Listener { address: "localhost:80".parse().unwrap(), tls: None }]);
    assert_eq!(config.log, LogTarget::Stdout);
    assert_eq!((config.connections_max, config.connections_full), (0, 0));
    assert_eq!((config.profile, config.heartbeat), (None, None));
    assert_eq!(lines(&report.warnings), ["resources: is empty: nothing is served"]);
}

#[test]
fn a_stream_has_the_defaults_of_the_contract() {
    let (config, report) = read(&with_stream("", ""));
    let stream = &config.streams[0];
    assert_eq!(stream.endpoint.serve.label(), "/a.ts");
    assert_eq!(stream.endpoint.authentication, Authentication::Open);
    assert_eq!(stream.reconnect, Some(Duration::from_secs(10)));
    assert_eq!((stream.options.connect_timeout, stream.read_timeout), (None, None));
    assert_eq!(stream.options.mru, 1500);
    assert_eq!(stream.options.receive_buffer, 188_000);
    assert_eq!((stream.ring_packets_min, stream.lag_packets_min), (1000, 400));
    assert_eq!(stream.ring_bytes_max, 16 * 1024 * 1024);
    assert_eq!(stream.tuning.grace, Duration::from_secs(15));
    assert_eq!(stream.tuning.stall_limit, Some(Duration::from_secs(30)));
    assert_eq!(stream.tuning.content_type, "video/mpeg");
    assert_eq!(stream.tuning.refuse_status, 404);
    assert_eq!(stream.tuning.latency, Duration::from_millis(20));
    assert_eq!((stream.tuning.order, stream.tuning.framing), (Order::Shuffle, Framing::Close));
    assert_eq!(
        stream.viewers().policy,
        restreamer_core::Policy {
            join: Join::Keyframe,
            slow: Slow::Keyframe,
            lag_max: None,
            lag_packets_min: 400
        }
    );
    assert_eq!(report, Report::default());
}

#[test]
fn keys_match_in_any_case_and_the_last_of_several_counts() {
    let (config, report) = read(
        r#"{
            "": "a comment", "": "another",
            "MaxConnections": 5, "maxconnections": 6, "MAXCONNECTIONS": 7,
            "HeartbeatInterval": 3, "heartbeatinterval": null,
            "resources": [{ "Type": "api", "API": "health", "Serve": "/health", "": null }],
            "notifications": [{ "event": "heartbeat", "type": "url", "url": "http://lb/" }]
        }"#,
    );
    assert_eq!(config.connections_max, 7);
    assert_eq!(config.heartbeat, Some(Duration::from_secs(60)), "null means the default");
    assert_eq!(config.apis.len(), 1);
    assert_eq!(lines(&report.warnings), [""; 0]);
    assert_eq!(
        lines(&report.notes),
        [
            "maxconnections: given 3 times; the last one counts",
            "heartbeatinterval: given 2 times; the last one counts"
        ]
    );
}

#[test]
fn what_follows_the_first_value_is_ignored_with_a_warning() {
    let text = format!("{}\n\n}} listen: nonsense", with_stream("", ""));
    let (config, report) = read(&text);
    assert_eq!(config.streams.len(), 1);
    assert_eq!(
        lines(&report.warnings),
        ["what follows the end of the configuration, from line 5 on, is ignored"]
    );
}

#[test]
fn a_comment_in_another_encoding_does_no_harm() {
    let latin1 = b"{ \"\": \"f\xfcr alle\", \"maxconnections\": 3, \"resources\": [] }";
    let (config, report) = Config::parse("x.json", latin1).unwrap();
    assert_eq!(config.connections_max, 3);
    assert_eq!(report.warnings[0].to_string(), "is not in UTF-8 everywhere; what is not, was replaced");
    assert!(Config::parse("x.json", b"\xef\xbb\xbf{}").is_ok(), "a byte order mark");
}

#[test]
fn an_unknown_key_is_ignored_with_a_warning_that_names_the_nearest() {
    let (_, report) = read(
        r#"{
            "listen": ":1", "readTimeOut": 4, "read_timeout": 4, "mru": 3,
            "resources": [
                { "type": "stream", "serve": "/a", "remote": "http://o/", "remotee": "x", "timeout": 3,
                  "cache": 3, "colour": "red" },
                { "type": "static", "serve": "/b", "remote": "file:///b", "join": "live" }
            ]
        }"#,
    );
    assert_eq!(
        lines(&report.warnings),
        [
            "resources[0].remotee: did you mean remote? (unknown key, ignored)",
            "resources[0].timeout: has no effect in a resource; it belongs at the top",
            "resources[0].cache: has no effect on a stream",
            "resources[0].colour: unknown key, ignored",
            "resources[1].join: has no effect on a static resource",
            "read_timeout: did you mean readtimeout? (unknown key, ignored)",
            "mru: has no effect at the top; it belongs in a resource",
        ]
    );
}

#[test]
fn a_syntax_error_says_file_line_and_column() {
    let error =
        Config::parse("etc/restreamer.json", b"{\n  \"listen\": \":1\"\n  \"log\": \"\"\n}").unwrap_err();
    assert_eq!(error.to_string(), "etc/restreamer.json: line 3, column 3: expected `,` or `}`");
}

#[test]
fn every_error_is_listed_with_its_path() {
    let text = r#"{
        "listen": [":x", 5, {"adress": ":1"}, ":8000", ":8000"],
        "timeout": -1, "reconnect": 2.5, "readtimeout": "10", "maxconnections": 5000000000,
        "nostats": "no", "threads": 4096, "profile": 6060, "log": 3,
        "framing": "chunk", "refusestatus": 200, "join": "keyfram", "slow": "drop", "contenttype": "mp2t",
        "ringlimit": 1000, "sendbuffer": 1, "order": "random", "tls": {"cert": "a.pem"},
        "userlist": { "anna": { "password": "hunter2" }, "bert": "hunter3" },
        "resources": [
            { "type": "steam", "serve": "/x" },
            { "serve": "/y", "remote": "http://o/" },
            { "type": "stream", "serve": "news.ts", "remote": "htp://u:hunter4@o/" },
            { "type": "stream", "serve": "/a.ts", "remote": "http://o/", "remotes": ["udp://1.2.3.4", 7] },
            { "type": "stream", "serve": "/a.ts", "remotes": [], "mru": 70000, "loop": 1 },
            { "type": "static", "serve": "/s", "remote": "udp://239.1.1.1:1", "cache": "x" },
            { "type": "api", "serve": "/h", "api": "healt" },
            { "type": "api", "serve": "/c", "api": "check", "remote": "/b.ts" },
            { "type": "api", "serve": "/d", "api": "control" },
            { "type": "api", "serve": "", "api": "health",
              "authentication": { "type": "digest", "user": "ana", "users": ["zoe", 3] } },
            { "type": "api", "api": "health", "cors": ["https://a/"],
              "headers": { "a b": "c", "Content-Length": "3", "x": "a\nb", "y": 4 } },
            []
        ],
        "notifications": [
            { "event": "limit", "type": "uri", "url": "ftp://x" },
            { "authentication": { "type": "basic" } }
        ]
    }"#;
    let expected = r#"
userlist.bert: expected an object, found a string
order: unknown "random"; expected shuffle or priority
contenttype: "mp2t" is not a media type like video/mp2t
framing: unknown "chunk": did you mean chunked?
refusestatus: 200 is not between 400 and 599
join: unknown "keyfram": did you mean keyframe?
slow: unknown "drop"; expected keyframe, oldest, live or disconnect
ringlimit: 1000 is not between 65536 and 4294967295
sendbuffer: 1 is not between 4096 and 67108864
timeout: -1 is negative; 0 is the least
reconnect: expected a whole number, found 2.5
readtimeout: expected a number, found a string
nostats: expected true or false, found a string
tls.key: is missing; it names a PEM file
listen[0]: "x" is neither a port (0 to 65535) nor a service name known here
listen[1]: expected an address like ":8000", or an object with address and tls, found a number
listen[2].address: is missing
listen[4]: ":8000" is listed twice
threads: 4096 is not between 0 and 1024
log: expected a string, found a number
profile: expected true, false or an address to listen at, found a number
maxconnections: 5000000000 is not between 0 and 4294967295
notifications[0].event: unknown "limit"; expected limit_hit, limit_miss or heartbeat
notifications[0].type: unknown "uri": did you mean url?
notifications[0].url: unknown scheme "ftp"; expected http or https
notifications[1].event: is missing; expected limit_hit, limit_miss or heartbeat
notifications[1].type: is missing; expected url
notifications[1].url: is missing
notifications[1].authentication.user: is missing
resources[0].type: unknown "steam": did you mean stream?
resources[1].type: is missing; expected stream, static or api
resources[2].serve: "news.ts": a serve path begins with / or with host/
resources[2].remote: unknown scheme "htp": use http, https, tcp, udp, rtp, file, unix, unixgram, unixpacket or fork (did you mean http?)
resources[3].remotes[0]: no port: write scheme://host:port
resources[3].remotes[1]: expected a string, found a number
resources[4].serve: "/a.ts" is what resources[3] serves already
resources[4].mru: 70000 is not between 0 and 65536
resources[4].loop: expected true or false, found a number
resources[4].remote: is missing; a stream needs a URL to come from
resources[5].cache: expected a number, found a string
resources[5].remote: unknown scheme "udp"; expected file, http or https
resources[6].api: unknown "healt": did you mean health?
resources[8].remote: is missing; it names the stream by its serve path
resources[9].serve: is missing; a resource needs a path
resources[9].authentication.type: unknown "digest"; expected basic or bearer
resources[9].authentication.user: "ana" is not in the userlist: did you mean "anna"?
resources[9].authentication.users[0]: "zoe" is not in the userlist
resources[9].authentication.users[1]: expected a string, found a number
resources[10].serve: is missing; a resource needs a path
resources[10].cors[0]: "https://a/" is not an origin; write scheme://host[:port], without a path
resources[10].headers.a b: is not a header name
resources[10].headers.Content-Length: is a header that the server itself decides on
resources[10].headers.x: is not a header value: it holds a control character
resources[10].headers.y: expected a string, found a number
resources[11]: expected an object, found a list
resources[7].remote: no stream is served at "/b.ts": did you mean "/a.ts"?
"#;
    assert_eq!(errors(text).join("\n"), expected.trim());
}

#[test]
fn a_file_that_is_no_object_is_an_error() {
    assert_eq!(errors("[]"), ["expected an object, found a list"]);
    assert_eq!(errors("null"), ["expected an object, found null"]);
}

#[test]
fn what_a_stream_says_wins_over_the_top() {
    let top = r#""grace": 1, "stalltimeout": 2, "latency": 3, "maxlag": 4, "ringlimit": 500000, "order": "priority",
        "framing": "chunked", "refusestatus": 503, "join": 1500, "slow": "oldest", "contenttype": "video/mp2t",
        "sendbuffer": 65536,"#;
    let (config, _) = read(&with_stream(top, ""));
    let tuning = Tuning {
        order: Order::Priority,
        grace: Duration::from_secs(1),
        stall_limit: Some(Duration::from_secs(2)),
        content_type: http::HeaderValue::from_static("video/mp2t"),
        framing: Framing::Chunked,
        refuse_status: http::StatusCode::SERVICE_UNAVAILABLE,
        join: Join::Behind(Duration::from_millis(1500)),
        slow: Slow::Oldest,
        lag_max: Some(Duration::from_millis(4)),
        latency: Duration::from_millis(3),
        ring_bytes_max: Some(500_000),
        send_buffer_bytes: Some(65_536),
    };
    assert_eq!(config.streams[0].tuning, tuning);
    assert_eq!(config.streams[0].ring_bytes_max, 500_000);

    let own = r#""grace": 0, "stalltimeout": 0, "latency": 0, "maxlag": 0, "ringlimit": 600000, "order": "shuffle",
        "framing": "close", "refusestatus": 404, "join": "live", "slow": "disconnect", "contenttype": "video/mpeg",
        "sendbuffer": 0,"#;
    let (config, _) = read(&with_stream(top, own));
    let tuning = Tuning {
        grace: Duration::ZERO,
        stall_limit: None,
        join: Join::Live,
        slow: Slow::Disconnect,
        lag_max: None,
        latency: Duration::ZERO,
        ring_bytes_max: Some(600_000),
        send_buffer_bytes: None,
        ..Tuning::default()
    };
    assert_eq!(config.streams[0].tuning, tuning);
}

#[test]
fn the_ring_holds_what_the_buffers_ask_for() {
    let (config, _) = read(&with_stream(r#""inputbuffer": 200000,"#, ""));
    assert_eq!(
        config.streams[0].ring_bytes_max,
        200_000 * 188,
        "an old file with a large buffer still works"
    );
    assert_eq!(
        errors(&with_stream(r#""outputbuffer": 1000, "ringlimit": 100000,"#, "")),
        [
            "resources[0].ringlimit: 100000 bytes hold 531 packets, and inputbuffer and outputbuffer ask for 1000"
        ]
    );
}

#[test]
fn reconnect_0_tries_each_source_once() {
    let (config, _) = read(&with_stream(r#""reconnect": 0, "timeout": 3, "readtimeout": 4,"#, ""));
    let stream = &config.streams[0];
    assert_eq!(stream.reconnect, None);
    assert_eq!(stream.options.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(stream.read_timeout, Some(Duration::from_secs(4)));
}

#[test]
fn remote_comes_before_remotes_and_user_before_users() {
    let (config, report) = read(
        r#"{
            "userlist": { "a": {"password": "1"}, "b": {"password": "2"}, "c": {"Password": "3"} },
            "resources": [{
                "type": "stream", "serve": "/x", "remotes": ["tcp://h:2", "tcp://h:3"], "remote": "tcp://h:1",
                "authentication": { "type": "basic", "realm": "r", "users": ["c", "a", "b"], "user": "b" }
            }]
        }"#,
    );
    let stream = &config.streams[0];
    let urls = ["tcp://h:1", "tcp://h:2", "tcp://h:3"];
    assert_eq!(labels(stream), urls);
    let users = [("b", "2"), ("c", "3"), ("a", "1")]
        .map(|(name, password)| User { name: name.into(), password: Secret::new(password) });
    let basic = Authentication::Basic { realm: "r".into(), users: users.to_vec() };
    assert_eq!(stream.endpoint.authentication, basic);
    assert_eq!(report, Report::default());
}

#[test]
fn check_and_control_name_a_stream_before_or_after_them() {
    let (config, _) = read(
        r#"{ "resources": [
            { "type": "api", "api": "check", "serve": "/check", "remote": "/b" },
            { "type": "stream", "serve": "/a", "remote": "tcp://h:1" },
            { "type": "stream", "serve": "/b", "remote": "tcp://h:2" },
            { "type": "api", "api": "control", "serve": "/control", "remote": "/a" }
        ] }"#,
    );
    let apis: Vec<Api> = config.apis.iter().map(|api| api.api).collect();
    assert_eq!(apis, [Api::Check(StreamId(1)), Api::Control(StreamId(0))]);
}

#[test]
fn access_that_is_open_or_shut_by_mistake_is_warned_of() {
    let (config, report) = read(
        r#"{
            "userlist": { "a": {} , "x:y": { "password": "p" } },
            "resources": [
                { "type": "api", "api": "health", "serve": "/1", "authentication": { "users": ["a"] } },
                { "type": "api", "api": "health", "serve": "/2", "authentication": { "type": "bearer" } },
                { "type": "api", "api": "health", "serve": "/3",
                  "authentication": { "type": "basic", "user": "x:y" } },
                { "type": "api", "api": "health", "serve": "/4", "authentication": { "type": "", "user": "" } }
            ]
        }"#,
    );
    assert_eq!(config.apis[0].endpoint.authentication, Authentication::Open);
    assert_eq!(config.apis[1].endpoint.authentication, Authentication::Bearer { users: vec![] });
    assert_eq!(
        lines(&report.warnings),
        [
            "userlist.a.password: is empty",
            "resources[0].authentication.type: is missing: users are listed, and everybody is let in",
            "resources[1].authentication.users: is empty: nobody is let in",
            "resources[2].authentication: \"x:y\" holds a colon; basic cannot tell it from the password",
        ]
    );
}

#[test]
fn notifications_that_are_never_sent_are_warned_of() {
    let (config, report) = read(
        r#"{
            "heartbeatinterval": 0, "userlist": { "a": { "password": "p" } },
            "resources": [{ "type": "api", "api": "health", "serve": "/h" }],
            "notifications": [
                { "event": "heartbeat", "type": "url", "url": "http://lb/beat" },
                { "event": "limit_hit", "type": "url", "url": "https://lb/full",
                  "authentication": { "type": "bearer", "user": "a" } }
            ]
        }"#,
    );
    assert_eq!(config.heartbeat, None);
    let authorization = config.notifications[1].authorization.as_ref().unwrap();
    assert_eq!(authorization, "Bearer p");
    assert!(authorization.is_sensitive());
    assert_eq!(
        lines(&report.warnings),
        [
            "heartbeatinterval: is 0: the heartbeat notification is never sent",
            "fullconnections: is 0: limit_hit and limit_miss are never sent",
        ]
    );
}

#[test]
fn listeners_are_one_or_many_plain_or_tls() {
    let shared = || Some(Tls { cert: "c.pem".into(), key: "k.pem".into() });
    let own = || Some(Tls { cert: "c2".into(), key: "k2".into() });
    let table = [
        (r#""listen": ":80""#, vec![(":80", None)]),
        (r#""listen": "", "tls": null"#, vec![(":80", None)]),
        (
            r#""listen": [":80", "unix:/run/x"], "tls": {"cert": "c.pem", "key": "k.pem"}"#,
            vec![(":80", shared()), ("unix:/run/x", None)],
        ),
        (
            r#""listen": [":80", {"address": ":443", "tls": {"cert": "c2", "key": "k2"}}]"#,
            vec![(":80", None), (":443", own())],
        ),
    ];
    for (text, expected) in table {
        let (config, _) = read(&format!("{{ {text} }}"));
        let expected: Vec<Listener> = expected
            .into_iter()
            .map(|(address, tls)| Listener { address: address.parse().unwrap(), tls })
            .collect();
        assert_eq!(config.listeners, expected, "{text}");
    }
}

#[test]
fn a_profile_listener_is_on_loopback_unless_told_otherwise() {
    let table =
        [("true", Some("127.0.0.1:6060")), ("false", None), ("\":7070\"", Some(":7070")), ("\"\"", None)];
    for (value, address) in table {
        let (config, _) = read(&format!("{{ \"profile\": {value} }}"));
        assert_eq!(config.profile.map(|address| address.to_string()).as_deref(), address, "{value}");
    }
}

#[test]
fn extra_headers_and_origins_are_typed() {
    let (config, report) = read(&with_stream(
        "",
        r#""cors": ["https://TV.example:8443", "http://localhost"],
           "headers": { "X-A": "1", "x-a": "2", "Server": "edge", "": "note", "X-B": null },"#,
    ));
    let endpoint = &config.streams[0].endpoint;
    let Cors::Origins(origins) = &endpoint.cors else { panic!("{:?}", endpoint.cors) };
    assert_eq!(origins, &["https://tv.example:8443", "http://localhost"]);
    assert_eq!(
        (&endpoint.headers["x-a"], &endpoint.headers["server"]),
        (&"2".parse().unwrap(), &"edge".parse().unwrap())
    );
    assert_eq!(endpoint.headers.len(), 2);
    assert_eq!(report, Report::default());
    assert_eq!(read(&with_stream("", r#""cors": "*","#)).0.streams[0].endpoint.cors, Cors::Any);
}

#[test]
fn no_secret_is_printed_with_a_configuration() {
    let (config, _) = read(
        r#"{ "userlist": { "a": { "password": "hunter2" } }, "fullconnections": 1,
            "resources": [{ "type": "stream", "serve": "/x", "remote": "http://u:hunter2@h/",
                "authentication": { "type": "bearer", "user": "a" } }],
            "notifications": [{ "event": "limit_hit", "type": "url", "url": "http://u:hunter2@h/",
                "authentication": { "type": "basic", "user": "a" } }] }"#,
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_listen_option_replaces_the_listeners_and_keeps_the_certificate() {
    let (mut config, _) = read(r#"{ "listen": [":1", ":2"], "tls": { "cert": "c", "key": "k" } }"#);
    config.listen_at(["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:0");
    assert!(config.listeners[0].tls.is_some());
}

#[test]
fn the_demonstration_needs_no_file() {
    let config = Config::demo();
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8000");
    assert_eq!(config.streams[0].endpoint.serve.label(), "/demo.ts");
    assert_eq!(labels(&config.streams[0]), ["demo"]);
    assert_eq!(
        config.apis.iter().map(|api| api.endpoint.serve.label()).collect::<Vec<_>>(),
        ["/health", "/metrics"]
    );
}

#[test]
fn the_documented_example_explains_every_key() {
    let text = include_str!("../../examples/documented.json");
    for key in TOP_KEYS.iter().chain(&RESOURCE_KEYS).chain(&tuning::TUNING_KEYS) {
        let line = text.lines().position(|line| line.trim_start().starts_with(&format!("\"{key}\":")));
        assert!(line.is_some(), "{key}");
    }
}

#[test]
fn the_ring_reaches_as_far_back_as_viewers_may_be() {
    let table = [
        ("", 5),
        (r#""join": 3000,"#, 8),
        (r#""maxlag": 4000,"#, 9),
        (r#""join": 3000, "maxlag": 4000,"#, 12),
    ];
    for (keys, seconds) in table {
        let limits = read(&with_stream("", keys)).0.streams[0].ring_limits();
        assert_eq!(limits.span_min, Duration::from_secs(seconds), "{keys}");
        assert_eq!((limits.packets_min, limits.bytes_max), (1000, 16 << 20));
    }
}

#[test]
fn a_static_resource_is_a_file_or_a_page() {
    let read = |remote: &str| {
        let text =
            format!(r#"{{ "resources": [{{ "type": "static", "serve": "/s", "remote": "{remote}" }}] }}"#);
        Config::parse("x", text.as_bytes()).map(|(config, _)| config.statics[0].remote.to_string())
    };
    let table = [
        ("file:///srv/a%20b.png", "/srv/a b.png"),
        ("FILE://localhost/srv/x", "/srv/x"),
        ("http://u:hunter2@host/x", "http://host/x"),
    ];
    for (remote, shown) in table {
        assert_eq!(read(remote).unwrap(), shown);
    }
    let table = [
        ("file://srv/x", "names no file: write file:///path, with three slashes"),
        ("file:///", "names no file: write file:///path, with three slashes"),
        ("file:///a%00", "names no file: a zero byte has no place in a path"),
        ("/srv/x", "no scheme: expected file, http or https, followed by ://"),
        ("http://", "no host: write scheme://host:port"),
    ];
    for (remote, wrong) in table {
        assert_eq!(read(remote).unwrap_err().to_string(), format!("x: resources[0].remote: {wrong}"));
    }
}

#[test]
fn every_scheme_is_read() {
    let table = [
        ("http://origin.example/news.ts", "http://origin.example/news.ts"),
        ("HTTP://user:hunter2@[2001:db8::1]:8080/news.ts?x=1", "HTTP://[2001:db8::1]:8080/news.ts?x=1"),
        ("https://origin.example", "https://origin.example"),
        ("file:///srv/loop.ts", "file:///srv/loop.ts"),
        ("tcp://origin.example:5000", "tcp://origin.example:5000"),
        ("udp://239.1.1.1:5000", "udp://239.1.1.1:5000"),
        ("udp://192.0.2.7@232.1.1.1:5000", "udp://192.0.2.7@232.1.1.1:5000"),
        ("udp://[ff15::1]:5000", "udp://[ff15::1]:5000"),
        ("rtp://@239.1.1.1:5000", "rtp://@239.1.1.1:5000"),
        ("unix:///run/ts.sock", "unix:///run/ts.sock"),
        ("unixgram:///run/ts.sock", "unixgram:///run/ts.sock"),
        ("unixpacket:///run/ts.sock", "unixpacket:///run/ts.sock"),
    ];
    for (url, label) in table {
        let (config, _) = read(
            &with_stream("", &format!(r#""remote": "{url}","#))
                .replace(r#", "remote": "http://origin/a""#, ""),
        );
        assert_eq!(labels(&config.streams[0]), [label]);
    }
}

#[test]
fn keys_that_no_source_of_the_stream_heeds_are_warned_of() {
    let (config, report) = read(&with_stream("", r#""loop": true, "clientinterface": "eth0", "mru": 100,"#));
    assert_eq!(config.streams[0].options.mru, 100);
    assert_eq!(
        lines(&report.warnings),
        [
            "resources[0].mru: 100 bytes do not hold one packet (188 bytes)",
            "resources[0].loop: has no effect: no remote is a file",
            "resources[0].clientinterface: has no effect: no remote is udp or rtp",
        ]
    );
    let heeded =
        r#""loop": true, "clientinterface": "eth0", "mru": 0, "remotes": ["FILE:///x", "udp://:1"],"#;
    let (config, report) = read(&with_stream("", heeded));
    assert_eq!(config.streams[0].options.mru, 1500);
    assert_eq!(report, Report::default());
}
