//! How fast pages are written and read.
//!
//! For pages of 5, 100 and 1,000 entries of usual size, four programs write and read the same
//! bytes:
//!
//! - `atomfeed`: the codec of `atomfeed-core`, from rows to a document and back, all checks done;
//! - `bare_quick_xml`: the XML library below it, doing nothing else. The writer gets finished events
//!   with everything escaped and formatted already, and emits the very bytes of `atomfeed`; the
//!   reader is asked for events until there are no more, and drops them;
//! - `atom_syndication`: writes a feed that is in memory as its own types (the same values in its
//!   own layout), and reads;
//! - `feed_rs`: reads only.
//!
//! Before criterion's own measurements, `cargo bench` prints one line for each size and direction,
//! such as `render/100: atomfeed/bare = 0.93`. That is a share of speed: the time of the bare
//! loop over the time of `atomfeed`, so more is better and 1 is as fast as the bare loop. The
//! programs take turns, and medians are compared, so that a busy machine slows both alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

use atomfeed_core::atom::{
    EntryRef, FEED_MEDIA_TYPE, FeedHead, FeedWriter, LineEnds, Link, ReadLimits, read_feed,
};
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use quick_xml::events::Event;
use quick_xml::{Reader, Writer};

const SIZES: [usize; 3] = [5, 100, 1000];

/// How often each program runs for one median.
const ROUNDS: usize = 301;

criterion_group!(benches, render, parse);

fn main() {
    // Without `--bench`, as under `cargo test`, everything runs once to see that it works.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

fn render(criterion: &mut Criterion) {
    for size in SIZES {
        let rows = Rows::new(size);
        let page = rows.page();
        let text = str::from_utf8(&page).expect("pages are UTF-8");
        let events = events(text);
        let feed = atom_syndication::Feed::read_from(page.as_slice()).expect("pages are Atom");
        assert_eq!(write_bare(&events, page.len()), page);

        let mut group = criterion.benchmark_group(format!("render/{size}"));
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(BenchmarkId::from_parameter("atomfeed"), |bencher| {
            bencher.iter(|| rows.render(page.len()));
        });
        group.bench_function(BenchmarkId::from_parameter("bare_quick_xml"), |bencher| {
            bencher.iter(|| write_bare(&events, page.len()));
        });
        group.bench_function(BenchmarkId::from_parameter("atom_syndication"), |bencher| {
            bencher.iter(|| write_atom_syndication(&feed, page.len()));
        });
        group.finish();
    }
}

fn parse(criterion: &mut Criterion) {
    for size in SIZES {
        let page = Rows::new(size).page();
        let text = str::from_utf8(&page).expect("pages are UTF-8");

        let mut group = criterion.benchmark_group(format!("parse/{size}"));
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(BenchmarkId::from_parameter("atomfeed"), |bencher| {
            bencher.iter(|| read_feed(&page, &ReadLimits::default()));
        });
        group.bench_function(BenchmarkId::from_parameter("bare_quick_xml"), |bencher| {
            bencher.iter(|| read_bare(text));
        });
        group.bench_function(BenchmarkId::from_parameter("atom_syndication"), |bencher| {
            bencher.iter(|| atom_syndication::Feed::read_from(page.as_slice()));
        });
        group.bench_function(BenchmarkId::from_parameter("feed_rs"), |bencher| {
            bencher.iter(|| feed_rs::parser::parse(page.as_slice()));
        });
        group.finish();
    }
}

/// Prints the speed of `atomfeed` as a share of the bare loop's.
fn print_ratios() {
    for size in SIZES {
        let rows = Rows::new(size);
        let page = rows.page();
        let text = str::from_utf8(&page).expect("pages are UTF-8");
        let events = events(text);

        let rendered = share_of_bare(
            || drop(black_box(rows.render(page.len()))),
            || drop(black_box(write_bare(&events, page.len()))),
        );
        println!("render/{size}: atomfeed/bare = {rendered:.2}");

        let limits = ReadLimits::default();
        let parsed = share_of_bare(
            || drop(black_box(read_feed(black_box(&page), &limits))),
            || {
                black_box(read_bare(black_box(text)));
            },
        );
        println!("parse/{size}: atomfeed/bare = {parsed:.2}");
    }
}

fn share_of_bare(mut atomfeed: impl FnMut(), mut bare: impl FnMut()) -> f64 {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(&mut atomfeed));
        theirs.push(time(&mut bare));
    }
    median(theirs).as_secs_f64() / median(ours).as_secs_f64()
}

fn time(run: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Everything that the bare writer is given: the events of a page, which borrow from it.
fn events(page: &str) -> Vec<Event<'_>> {
    let mut reader = Reader::from_str(page);
    std::iter::from_fn(|| match reader.read_event().expect("pages are XML") {
        Event::Eof => None,
        event => Some(event),
    })
    .collect()
}

fn write_bare(events: &[Event<'_>], capacity: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::with_capacity(capacity));
    for event in events {
        writer
            .write_event(event.borrow())
            .expect("memory can be written to");
    }
    writer.into_inner()
}

fn read_bare(page: &str) -> usize {
    let mut reader = Reader::from_str(page);
    let mut count = 0;
    while !matches!(reader.read_event().expect("pages are XML"), Event::Eof) {
        count += 1;
    }
    count
}

fn write_atom_syndication(feed: &atom_syndication::Feed, capacity: usize) -> Vec<u8> {
    feed.write_to(Vec::with_capacity(capacity))
        .expect("memory can be written to")
}

/// A page's events as they come from a table.
struct Rows {
    links: Vec<Link>,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    time: DateTime<Utc>,
    content: String,
}

impl Rows {
    fn new(size: usize) -> Self {
        let first: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().expect("this is a time");
        let link = |rel: &str, page: &str| Link {
            rel: rel.to_owned(),
            href: format!("http://localhost:8080/openmrs/ws/atomfeed/patient/{page}"),
            media_type: Some(FEED_MEDIA_TYPE.to_owned()),
        };
        let row = |number: usize| {
            let uuid = format!("0120a4f9-196a-5f9e-b9f5-{number:012x}");
            let resource = "/openmrs/ws/rest/v1/bahmnicore/bahmniencounter";
            Row {
                id: format!("tag:atomfeed.ict4h.org:{uuid}"),
                time: first + TimeDelta::seconds(number as i64),
                content: format!("{resource}/{uuid}?includeAll=true"),
            }
        };
        Self {
            links: vec![
                link("self", "recent"),
                link("via", "36"),
                link("prev-archive", "35"),
            ],
            rows: (0..size).map(row).collect(),
        }
    }

    fn render(&self, capacity: usize) -> Vec<u8> {
        let head = FeedHead {
            id: "bec795b1-3d17-451d-b43e-a094019f6984+36",
            title: "Patient AOP",
            author: "OpenMRS",
            generator: "OpenMRS Feed Publisher",
            generator_uri: "https://github.com/ICT4H/atomfeed",
            updated: self
                .rows
                .last()
                .map_or(DateTime::UNIX_EPOCH, |row| row.time),
            links: &self.links,
            archive: false,
        };
        let mut page = FeedWriter::new(&head, LineEnds::AsXml, capacity);
        for row in &self.rows {
            page.entry(&EntryRef {
                id: &row.id,
                title: Some("Encounter"),
                terms: &["Encounter"],
                updated: row.time,
                published: row.time,
                content: Some(&row.content),
            });
        }
        page.finish()
    }

    fn page(&self) -> Vec<u8> {
        self.render(0)
    }
}
