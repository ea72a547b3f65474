//! Writes the seeds of every target into `fuzz/corpus/`: `cargo run -p restreamer-fuzz --example seeds`.
//!
//! Files whose names begin with `seed-` are replaced. Others, which a fuzzer found, stay.

use std::fs;
use std::io;

use restreamer_core::testing::{Codec, Damage, Form, StreamSpec, SyntheticStream, Wire};
use restreamer_core::{Instant, Rng};
use restreamer_fuzz::{TARGETS, corpus};

const IDR: &[u8] = include_bytes!("../../core/testdata/h264_idr_aac.ts");
const OPEN_GOP: &[u8] = include_bytes!("../../core/testdata/h264_open_gop_aac.ts");
const HEVC: &[u8] = include_bytes!("../../core/testdata/hevc_cra_eac3.ts");
const MPEG2: &[u8] = include_bytes!("../../core/testdata/mpeg2_mp2.ts");
const RADIO: &[u8] = include_bytes!("../../core/testdata/radio_aac.ts");
const CAPTURES: [&[u8]; 5] = [IDR, OPEN_GOP, HEVC, MPEG2, RADIO];

const PACKET: usize = 188;

fn main() -> io::Result<()> {
    for (target, _) in TARGETS {
        let directory = corpus(target);
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("seed-") {
                fs::remove_file(entry.path())?;
            }
        }
        let seeds = seeds(target);
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:02}")), seed)?;
        }
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        println!("{target}: {} seeds, {bytes} bytes", seeds.len());
    }
    Ok(())
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "framer" => {
            [wires(), [0x01, 0x41, 0x81, 0xC1].map(|first| decisions(first, 2, 60)).concat()].concat()
        }
        "playout" => vec![clocks(), IDR[..12 * PACKET].to_vec(), RADIO[..12 * PACKET].to_vec()],
        "psi" | "pes" | "adaptation" => CAPTURES.map(|capture| capture[..8 * PACKET].to_vec()).to_vec(),
        // The first byte is a time, or a length.
        "access" | "quality" | "splice" => {
            CAPTURES.map(|capture| [&[4], &capture[..12 * PACKET]].concat()).to_vec()
        }
        "rtp" => decisions(0, 8, 120),
        "route" => texts(&[
            "/news.ts\n/live/\ntv.example/news.ts\n/live",
            "/\n/a%20b\n/a//b/../c",
            "/n\u{e4}chste.ts\nTV.example:8000/x/\n/%6e%c3%a4chste%2Ets",
            "/a/b/\n/a/b/./../b",
        ]),
        "source_url" => texts(&[
            "http://tv.example:8080/a/b.ts?c=d#e",
            "https://[2001:db8::1]/x",
            "tcp://127.0.0.1:9000",
            "udp://@239.1.2.3:5000",
            "rtp://192.0.2.1@[ff3e::1]:5004",
            "unix:///run/a%20b.sock",
            "unixgram:///tmp/a",
            "file:///dev/dvb/adapter0/dvr0",
            "fork:///bin/echo 'a b' \\\"c",
        ]),
        "stream" => decisions(0, 24, 400),
        "ring_viewer" => decisions(0, 24, 300),
        unknown => panic!("{unknown} has no seeds: add them here"),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Bytes of any value: each is a decision of some kind.
fn decisions(first: u8, count: u64, length: usize) -> Vec<Vec<u8>> {
    let bytes = |seed| {
        let mut rng = Rng::from_seed(seed);
        let rest = (1..length).map(|_| rng.next_u64() as u8);
        std::iter::once(first).chain(rest).collect()
    };
    (1..=count).map(bytes).collect()
}

/// A synthetic stream in every form, whole and damaged, behind the byte that says that these are bytes.
fn wires() -> Vec<Vec<u8>> {
    let damage = Damage { garbage_every: 6, garbage_bytes_max: 60, torn_every: 9, ..Damage::default() };
    let forms = [Form::Plain, Form::Prefixed192, Form::Suffixed204];
    let cases = forms.into_iter().flat_map(|form| [(form, Damage::default()), (form, damage)]);
    // The first byte also says how the bytes are cut.
    let wire = |(cut, (form, damage)): (u8, _)| {
        let stream = SyntheticStream::new(StreamSpec::new(1, 2_000_000));
        [vec![cut << 6], Wire::new(stream, form, damage, 7).take_bytes(18)].concat()
    };
    (0..).zip(cases).map(wire).collect()
}

/// Packets of a synthetic stream that bring a clock, or begin something.
fn clocks() -> Vec<u8> {
    let mut spec = StreamSpec::radio(1, 150_000).codec(Codec::H264);
    spec.start = Instant::ORIGIN;
    SyntheticStream::new(spec).take_bytes(24)
}
