//! Every kind of source, with a real encoder at its other end: what viewers get, and that it comes back.

use std::fs;

use restreamer_core::testing::Damage;
use serde_json::{Value, json};

use crate::kit::{self, Feed, Mast, Recording, Server, Viewer};

/// Viewers of one source at once.
const VIEWERS: usize = 20;
/// About two seconds of the clip: more than two key frames.
const PACKETS: usize = 700;
/// Where the stream is served.
const SERVE: &str = "/live.ts";

/// A server whose only stream has this source.
fn server_of(remote: &str, more: Value) -> Server {
    let mut stream = json!({ "type": "stream", "serve": SERVE, "remote": remote });
    stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Server::start(json!({ "reconnect": 1, "readtimeout": 2, "grace": 30, "resources": [stream] }))
}

/// Twenty viewers, who join at several places, get the same packets, and a decoder can begin with each of them.
fn assert_all_see_the_same(server: &Server) -> Vec<Viewer> {
    let first = server.view(SERVE);
    let mut viewers = Vec::new();
    while viewers.len() < VIEWERS - 1 {
        viewers.push(server.view(SERVE));
        // A key frame comes every 280 packets or so.
        first.wait_for_more(50);
    }
    for viewer in &viewers {
        viewer.wait_for(PACKETS);
    }
    let recordings: Vec<_> = viewers.iter().map(Viewer::recording).collect();
    first.wait_for_more(PACKETS);

    let all = first.recording();
    all.assert_begins_at_access_point();
    all.assert_continuous();
    assert_eq!(all.decode(), "");
    let mut beginnings = Vec::new();
    for recording in recordings {
        recording.assert_begins_at_access_point();
        recording.assert_continuous();
        let place = all.find(recording.without_psi()).expect("what one viewer gets is what all get");
        if !beginnings.contains(&place) {
            assert_eq!(recording.decode(), "");
            beginnings.push(place);
        }
    }
    assert!(beginnings.len() > 1, "all joined at the same place");
    viewers.push(first);
    viewers
}

/// How things stand before an encoder is lost.
struct Before<'a> {
    server: &'a Server,
    viewers: &'a [Viewer],
    connected: usize,
    graces: usize,
    seams: Vec<usize>,
}

impl<'a> Before<'a> {
    fn loss(server: &'a Server, viewers: &'a [Viewer]) -> Self {
        let (connected, graces) = (server.events("connected").len(), server.events("stream_grace").len());
        let seams = viewers.iter().map(|viewer| seams(&viewer.recording()).len()).collect();
        Before { server, viewers, connected, graces, seams }
    }

    /// After the encoder has come back, the same connections show its new stream, from an access point on.
    fn assert_comes_back(self, restart: impl FnOnce()) {
        let Before { server, viewers, connected, graces, seams: before } = self;
        server.wait_for_events("stream_grace", graces + 1);
        restart();
        server.wait_for_events("connected", connected + 1);
        for (viewer, before) in viewers.iter().zip(before) {
            kit::wait_until("the new stream arrives", || {
                let recording = viewer.recording();
                seams(&recording).len() > before
                    && after_seam(&recording).is_some_and(|anew| anew.packets().len() >= PACKETS)
            });
        }
        let recordings: Vec<_> =
            viewers.iter().filter_map(|viewer| after_seam(&viewer.recording())).collect();
        let longest = recordings.iter().max_by_key(|recording| recording.bytes().len()).unwrap();
        longest.assert_continuous();
        assert_eq!(longest.decode(), "");
        assert!(recordings.iter().all(|recording| longest.bytes().starts_with(recording.bytes())));
        assert!(server.events("viewer_end").is_empty(), "nobody had to connect again");
        assert_eq!(server.metric("streaming_packets_dropped", SERVE), 0.0);
    }
}

/// The encoder stands still with everything open until the server gives its connection up.
fn assert_given_up(server: &Server, freeze: impl FnOnce()) {
    let timeouts = || server.events("closed").iter().filter(|line| line["kind"] == "timeout").count();
    let before = timeouts();
    freeze();
    kit::wait_until("the silent connection is closed", || timeouts() > before);
}

/// The packets with which a new connection begins: an announced discontinuity of the PAT.
fn seams(recording: &Recording) -> Vec<usize> {
    let is_seam = |packet: &restreamer_core::ts::Packet<'_>| {
        packet.pid().value() == 0 && packet.adaptation().is_some_and(|adaptation| adaptation.discontinuity())
    };
    let packets = recording.packets().enumerate().filter(|(_, packet)| is_seam(packet));
    packets.map(|(place, _)| place).collect()
}

/// What follows the last of them.
fn after_seam(recording: &Recording) -> Option<Recording> {
    let place = *seams(recording).last()?;
    Some(Recording::new(recording.bytes()[place * 188..].to_vec()))
}

/// It ends and is started again, and then it stands still and is started again.
fn plays_and_comes_back(server: &Server, feed: &mut Feed) {
    let viewers = assert_all_see_the_same(server);
    let before = Before::loss(server, &viewers);
    feed.kill();
    before.assert_comes_back(|| feed.restart());
    let before = Before::loss(server, &viewers);
    assert_given_up(server, || feed.freeze());
    feed.kill();
    before.assert_comes_back(|| feed.restart());
}

#[test]
fn http() {
    if !kit::has("sources::http", &["ffmpeg"]) {
        return;
    }
    let url = format!("http://127.0.0.1:{}/encoder.ts", kit::free_port());
    let server = server_of(&url, json!({}));
    let mut feed = Feed::to(["-listen", "1", &url]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn tcp() {
    if !kit::has("sources::tcp", &["ffmpeg"]) {
        return;
    }
    let url = format!("tcp://127.0.0.1:{}", kit::free_port());
    let server = server_of(&url, json!({}));
    let mut feed = Feed::to([&*format!("{url}?listen=1")]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn udp() {
    if !kit::has("sources::udp", &["ffmpeg"]) {
        return;
    }
    let url = format!("udp://127.0.0.1:{}", kit::free_port());
    let server = server_of(&url, json!({}));
    let mut feed = Feed::to([&*format!("{url}?pkt_size=1316")]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn rtp() {
    if !kit::has("sources::rtp", &["ffmpeg"]) {
        return;
    }
    let url = format!("rtp://127.0.0.1:{}", kit::free_port());
    let server = server_of(&url, json!({}));
    let mut feed = Feed::to(["-f", "rtp_mpegts", &*url]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn multicast() {
    if !kit::has("sources::multicast", &["ffmpeg"]) {
        return;
    }
    let url = format!("udp://239.255.77.1:{}", kit::free_port());
    let server = server_of(&url, json!({ "clientinterface": "lo" }));
    let mut feed = Feed::to([&*format!("{url}?pkt_size=1316&localaddr=127.0.0.1")]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn fifo() {
    if !kit::has("sources::fifo", &["ffmpeg", "mkfifo"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    assert!(kit::run("mkfifo", [&path]).status.success());
    let server = server_of(&format!("file://{}", path.display()), json!({}));
    let mut feed = Feed::to([path.to_str().unwrap()]);
    plays_and_comes_back(&server, &mut feed);
}

#[test]
fn file_that_loops() {
    if !kit::has("sources::file", &["ffmpeg"]) {
        return;
    }
    let server = server_of(&format!("file://{}", kit::clip().display()), json!({ "loop": true }));
    assert_all_see_the_same(&server);
}

#[test]
fn unix_stream() {
    if !kit::has("sources::unix", &["ffmpeg"]) {
        return;
    }
    unix_socket(&["-listen", "1", "-type", "stream"], "unix");
}

#[test]
fn unix_seqpacket() {
    if !kit::has("sources::unixpacket", &["ffmpeg"]) {
        return;
    }
    unix_socket(&["-listen", "1", "-type", "seqpacket"], "unixpacket");
}

/// After its end it begins again by the rule for every connection, and those who watch see it begin.
#[test]
fn file_that_ends() {
    let server = server_of(&format!("file://{}", kit::clip().display()), json!({}));
    let viewer = server.view(SERVE);
    server.wait_for_events("connected", 3);
    kit::wait_until("it begins again", || {
        after_seam(&viewer.recording()).is_some_and(|anew| anew.packets().len() >= PACKETS)
    });
    viewer.recording().assert_begins_at_access_point();
    viewer.recording().assert_continuous();
    assert!(server.events("closed").iter().all(|line| line["kind"] == "ended"), "its end is no failure");
}

/// The connection stays open, and nothing comes: the next source takes over, and nobody is sent away.
#[test]
fn a_source_that_stands_still_is_left_for_the_next() {
    let masts = [Mast::silent(2_000_000, Damage::default()), Mast::silent(2_000_000, Damage::default())];
    masts.iter().for_each(Mast::go_on_air);
    let server = Server::start(json!({ "readtimeout": 1, "order": "priority", "resources": [
        { "type": "stream", "serve": SERVE, "remotes": masts.each_ref().map(Mast::url) },
    ] }));
    let viewer = server.view(SERVE);
    viewer.wait_for(PACKETS);
    masts[0].fall_silent();
    let closed = server.wait_for_event("closed");
    assert_eq!((&closed["url"], &closed["kind"]), (&json!(masts[0].url()), &json!("timeout")), "{closed}");
    let connected = server.wait_for_events("connected", 2).remove(1);
    assert_eq!(connected["url"], masts[1].url());
    kit::wait_until("the next one is seen", || {
        after_seam(&viewer.recording()).is_some_and(|anew| anew.packets().len() >= PACKETS)
    });
    viewer.recording().assert_continuous();
    assert!(server.events("viewer_end").is_empty(), "nobody had to connect again");
}

/// The server connects to a socket of ffmpeg's.
fn unix_socket(options: &[&str], scheme: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let output = format!("unix:{}", path.display());
    let server = server_of(&format!("{scheme}://{}", path.display()), json!({}));
    let mut feed = Feed::to(options.iter().copied().chain([&*output]));
    let viewers = assert_all_see_the_same(&server);
    let before = Before::loss(&server, &viewers);
    assert_given_up(&server, || feed.freeze());
    feed.kill();
    // ffmpeg does not listen in the place of a dead socket.
    fs::remove_file(&path).unwrap();
    before.assert_comes_back(|| feed.restart());
    let before = Before::loss(&server, &viewers);
    feed.kill();
    fs::remove_file(&path).unwrap();
    before.assert_comes_back(|| feed.restart());
}

/// The server binds the socket, ffmpeg sends to it.
#[test]
fn unix_datagrams() {
    if !kit::has("sources::unixgram", &["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let output = format!("unix:{}", path.display());
    let server = server_of(&format!("unixgram://{}", path.display()), json!({}));
    let is_bound = || path.exists();
    kit::wait_until("the server binds its socket", is_bound);
    let mut feed = Feed::to(["-type", "datagram", &output]);
    let viewers = assert_all_see_the_same(&server);
    let before = Before::loss(&server, &viewers);
    assert_given_up(&server, || feed.freeze());
    feed.kill();
    before.assert_comes_back(|| {
        kit::wait_until("the server binds its socket again", is_bound);
        feed.restart();
    });
}

#[test]
fn fork() {
    if !kit::has("sources::fork", &["ffmpeg"]) {
        return;
    }
    let mut args = kit::playing();
    args.push("-".to_owned());
    let server = server_of(&format!("fork://ffmpeg?{}", args.join("+")), json!({}));
    let viewers = assert_all_see_the_same(&server);
    let child = children_of(server.id()).pop().unwrap();
    let before = Before::loss(&server, &viewers);
    kit::signal(child, libc::SIGKILL);
    before.assert_comes_back(|| ());
    let before = Before::loss(&server, &viewers);
    let child = children_of(server.id()).pop().unwrap();
    assert_given_up(&server, || kit::signal(child, libc::SIGSTOP));
    before.assert_comes_back(|| ());
    let child = children_of(server.id()).pop().unwrap();
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code, Some(0));
    assert!(!is_known(&child), "the command ends before the server, which waits for it");
}

/// A command may ask for time at the end, and it may refuse to end: both are over when the server is.
#[test]
fn nothing_of_a_command_outlives_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        format!("fork://sh?{}", path.display())
    };
    let tidy = script("tidy", "trap 'echo done >\"$0.note\"; exit' TERM; sleep 1000 & wait");
    let stubborn = script("stubborn", "trap '' TERM; while :; do sleep 0.1; done");
    let stream = |serve: &str, remote: String| json!({ "type": "stream", "serve": serve, "remote": remote });
    let server = Server::start(json!({ "resources": [stream("/a.ts", tidy), stream("/b.ts", stubborn)] }));
    server.wait_for_events("command_started", 2);
    let mut all = Vec::new();
    kit::wait_until("both commands run something", || {
        let children = children_of(server.id());
        let grandchildren: Vec<_> = children.iter().flat_map(|child| children_of(*child)).collect();
        all = [children, grandchildren].concat();
        all.len() == 4
    });
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code, Some(0));
    assert!(directory.path().join("tidy.note").exists(), "it had its time");
    let [a, b, others @ ..] = &*all else { unreachable!() };
    assert!(![a, b].into_iter().any(is_known), "they have been waited for");
    kit::wait_until("what they started ends", || !others.iter().any(is_running));
}

/// Whether there is still such a process, be it only to be waited for.
fn is_known(process: &u32) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap()
}

/// One that has ended and not been waited for has no command line.
fn is_running(process: &u32) -> bool {
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn children_of(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = tasks.map_while(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let parse = |list: String| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>();
    lists.flat_map(parse).collect()
}
