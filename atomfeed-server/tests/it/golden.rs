//! The pages that the original serves for known rows, and what we serve for them: the same
//! elements, values and order. `tests/golden/README.md` says what is not significant and where the
//! original is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use atomfeed_core::EventRecord;
use atomfeed_core::chunking::ChunkingHistoryEntry;
use atomfeed_core::store::conformance::{Harness, Rows};
use atomfeed_core::store::{FeedStore, OffsetMarker};
use atomfeed_server::{EventFeedService, FeedRouter};
use axum::Router;
use chrono::{DateTime, NaiveDateTime, Utc};
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;

use crate::feeds::{config, get, mounted, on_every_store};

/// The same, read from the tables of other programs.
macro_rules! on_adopted_tables {
    ($tables:ident, $harness:expr; $($set:ident),+) => {
        mod $tables {
            use atomfeed_core::store::conformance::*;

            $(#[tokio::test]
            async fn $set() {
                if let Some(harness) = $harness {
                    super::$set(&harness).await;
                }
            })+
        }
    };
}

macro_rules! golden_sets {
    ($($set:ident),+ $(,)?) => {
        $(async fn $set<H: Harness>(harness: &H) {
            check_set(harness, stringify!($set)).await;
        })+
        on_every_store!($($set,)+ offset_markers_are_those_of_the_original);
        on_adopted_tables!(on_odoo, PostgresHarness::odoo(); $($set),+);
        on_adopted_tables!(on_openelis, PostgresHarness::openelis(); $($set),+);
        on_adopted_tables!(on_openmrs, MySqlHarness::openmrs(); $($set),+);
        on_adopted_tables!(on_openmrs_sync2, MySqlHarness::openmrs_sync2(); $($set),+);
    };
}

golden_sets!(
    bad_cdata_end,
    bad_ctrl_title,
    category_case,
    chunk5,
    chunk_change,
    empty,
    nonbmp_content,
    offset_marker,
    tags,
    time,
    timestamps,
    xml_special,
);

#[derive(Deserialize)]
struct Input {
    strategy: String,
    event_records: Vec<InputRecord>,
    chunking_history: Vec<InputChunk>,
    event_records_offset_marker: Vec<InputMarker>,
    mark_events_arg: Option<u64>,
}

#[derive(Deserialize)]
struct InputRecord {
    id: i64,
    uuid: String,
    title: Option<String>,
    timestamp: String,
    uri: Option<String>,
    object: Option<String>,
    category: Option<String>,
    date_created: Option<String>,
    tags: Option<String>,
}

#[derive(Deserialize)]
struct InputChunk {
    chunk_length: i64,
    start: i64,
}

#[derive(Deserialize)]
struct InputMarker {
    event_id: i64,
    event_count: u64,
    category: String,
}

#[derive(Deserialize)]
struct Asked {
    path: String,
    file: Option<String>,
    error: Option<String>,
}

fn folder(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(set)
}

fn json<T: for<'de> Deserialize<'de>>(path: PathBuf) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .unwrap()
        .and_utc()
}

impl Input {
    fn of(set: &str) -> Self {
        json(folder(set).join("input.json"))
    }

    fn rows(&self) -> Rows {
        let chunk = |row: &InputChunk| ChunkingHistoryEntry {
            chunk_length: row.chunk_length,
            start: row.start,
        };
        Rows {
            event_records: self.event_records.iter().map(InputRecord::record).collect(),
            strategy: self.strategy.parse().unwrap(),
            chunking_history: self.chunking_history.iter().map(chunk).collect(),
            offset_markers: self
                .event_records_offset_marker
                .iter()
                .map(InputMarker::marker)
                .collect(),
        }
    }
}

impl InputRecord {
    fn record(&self) -> EventRecord {
        let mut record = EventRecord::new(self.id, self.uuid.as_str(), utc(&self.timestamp));
        record.title.clone_from(&self.title);
        record.uri.clone_from(&self.uri);
        record.content.clone_from(&self.object);
        record.category.clone_from(&self.category);
        record.date_created = self.date_created.as_deref().map(utc);
        record.tags.clone_from(&self.tags);
        record
    }
}

impl InputMarker {
    fn marker(&self) -> (String, OffsetMarker) {
        let marker = OffsetMarker {
            event_id: self.event_id,
            event_count: self.event_count,
        };
        (self.category.clone(), marker)
    }
}

async fn open<H: Harness>(harness: &H, rows: &Rows) -> EventFeedService {
    let store = harness.store().await;
    harness.load(&store, rows).await;
    let config = match rows.strategy {
        atomfeed_core::chunking::ChunkingStrategy::Number => config(),
        atomfeed_core::chunking::ChunkingStrategy::Time => config().with_time_chunks(),
    };
    EventFeedService::open(store, config).await.unwrap()
}

async fn check_set<H: Harness>(harness: &H, set: &str) {
    let input = Input::of(set);
    // Such rows cannot be in those tables.
    if set == "nonbmp_content" && !harness.shape().all_characters {
        return;
    }
    let service = open(harness, &input.rows()).await;
    let original = FeedRouter::new(service.clone())
        .with_original_statuses()
        .into_router();
    let original = Router::new().nest("/feed", original);
    let router = mounted(service);
    let manifest: Vec<Asked> = json(folder(set).join("manifest.json"));
    assert!(!manifest.is_empty());
    for asked in &manifest {
        let (status, body) = get(&router, &asked.path).await;
        let at = format!("{set} {}", asked.path);
        match expected(set, &input, asked) {
            Expected::Page(page) => {
                assert_eq!(status, 200, "{at}: {body}");
                assert_eq!(elements(&body), page, "{at}");
            }
            Expected::Error {
                status: wanted,
                text,
            } => {
                assert_eq!(status, wanted, "{at}");
                assert!(body.contains(text), "{at}: {body}");
                let (status, body) = get(&original, &asked.path).await;
                assert_eq!(status, 500, "{at}, as the original");
                assert!(body.contains(text), "{at}: {body}");
            }
        }
    }
}

enum Expected {
    Page(Vec<String>),
    Error { status: u16, text: &'static str },
}

const NOT_ABOVE_0: &str =
    "AtomFeedRuntimeException: feedId must not be null and must be greater than 0";
const DOES_NOT_EXIST: &str = "AtomFeedRuntimeException: feed does not exist";

/// What the original answered, put right where it was wrong.
fn expected(set: &str, input: &Input, asked: &Asked) -> Expected {
    let read = |file: &str| fs::read_to_string(folder(set).join(file)).unwrap();
    let page_0 = asked.path.ends_with("/0");
    match (&asked.file, &asked.error) {
        // The page of an ended past, which nothing links to.
        (Some(_), _) if page_0 => Expected::Error {
            status: 400,
            text: NOT_ABOVE_0,
        },
        (Some(_), _) if set == "category_case" && asked.path.starts_with("/feed/PATIENT/") => {
            let (_, last) = asked.path.rsplit_once('/').unwrap();
            let page = read(&format!("pages/patient__{last}.xml"));
            Expected::Page(elements(
                &page
                    .replace("/patient/1", "/PATIENT/1")
                    .replace(
                        &format!("feed/patient/{last}"),
                        &format!("feed/PATIENT/{last}"),
                    )
                    .replace("feed/patient/2", "feed/PATIENT/2"),
            ))
        }
        (Some(file), _) => Expected::Page(put_right(set, input, elements(&read(file)))),
        (None, Some(error)) if error.contains(NOT_ABOVE_0) => Expected::Error {
            status: 400,
            text: NOT_ABOVE_0,
        },
        (None, Some(error)) if error.contains("NumberFormatException") => {
            let is_number = asked.path.ends_with(|last: char| last.is_ascii_digit());
            match is_number {
                true => Expected::Error {
                    status: 404,
                    text: DOES_NOT_EXIST,
                },
                false => Expected::Error {
                    status: 400,
                    text: NOT_ABOVE_0,
                },
            }
        }
        (None, Some(error))
            if error.contains(DOES_NOT_EXIST) || error.contains("lies in future") =>
        {
            match (set, asked.path.as_str()) {
                // In whatever case it is asked for, the category has two pages.
                ("category_case", "/feed/PATIENT/2") => {
                    let page = read("pages/patient__2.xml").replace("feed/patient", "feed/PATIENT");
                    Expected::Page(elements(&page))
                }
                _ => Expected::Error {
                    status: 404,
                    text: DOES_NOT_EXIST,
                },
            }
        }
        // The original cannot write such a row; we can, and so the page is there.
        (None, Some(_)) if set.starts_with("bad_") => Expected::Page(page_1_of_bad_rows(input)),
        _ => panic!("{set} {}: neither page nor error", asked.path),
    }
}

fn put_right(set: &str, input: &Input, elements: Vec<String>) -> Vec<String> {
    match set {
        "xml_special" => with_true_content(input, elements),
        "time" => half_open(input, elements),
        _ => elements,
    }
}

/// Content as the row has it, where the original lets it become markup.
fn with_true_content(input: &Input, mut elements: Vec<String>) -> Vec<String> {
    let Some(evil) = elements
        .iter()
        .position(|element| element.starts_with("feed/entry/content/evil"))
    else {
        return elements;
    };
    let row = input.event_records.iter().find(|row| {
        row.object
            .as_deref()
            .is_some_and(|object| object.starts_with("]]>"))
    });
    elements.remove(evil);
    let content = elements[evil - 1].trim_end_matches("= \"\"").to_owned();
    let object = row.unwrap().object.as_deref().unwrap();
    elements[evil - 1] = format!("{content}= {object:?}");
    elements
}

/// A row exactly on a border is on the later page only. On every page of this set, all rows before
/// the border are on it, so that an entry on its end is the last.
fn half_open(input: &Input, elements: Vec<String>) -> Vec<String> {
    let number: i64 = elements
        .iter()
        .find_map(|element| {
            element
                .strip_prefix("feed/id = \"+")?
                .strip_suffix('"')?
                .parse()
                .ok()
        })
        .unwrap();
    let first = &input.chunking_history[0];
    let end = first.start + number * first.chunk_length;
    let end = DateTime::from_timestamp_millis(end)
        .unwrap()
        .format("%Y-%m-%dT%H:%M:%SZ");
    let on_border = format!("feed/entry/updated = \"{end}\"");
    if number >= 7 || !elements.contains(&on_border) {
        return elements;
    }
    let mut kept = elements;
    let last_entry = kept
        .iter()
        .rposition(|element| element == "feed/entry = \"\"")
        .unwrap();
    assert!(kept[last_entry..].contains(&on_border));
    kept.truncate(last_entry);
    let newest = kept
        .iter()
        .rfind(|element| element.starts_with("feed/entry/updated"))
        .cloned();
    let updated = kept
        .iter()
        .position(|element| element.starts_with("feed/updated"))
        .unwrap();
    match newest {
        Some(newest) => kept[updated] = newest.replace("/entry", ""),
        None => drop(kept.remove(updated)),
    }
    kept
}

/// Page 1 of the sets whose second row the original cannot serve.
fn page_1_of_bad_rows(input: &Input) -> Vec<String> {
    let page = fs::read_to_string(folder("nonbmp_content").join("pages/1.xml")).unwrap();
    let mut page = elements(&page);
    let row = &input.event_records[1];
    let second = page
        .iter()
        .enumerate()
        .filter(|(_, element)| *element == "feed/entry = \"\"");
    let second = second.map(|(at, _)| at).nth(1).unwrap();
    let legible = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        atomfeed_core::atom::replace_illegal(text).into_owned()
    };
    for element in &mut page[second..] {
        if element.starts_with("feed/entry/title") {
            *element = format!("feed/entry/title = {:?}", legible(&row.title));
            break;
        }
    }
    for element in &mut page[second..] {
        if element.starts_with("feed/entry/content") {
            let (name, _) = element.split_once(" = ").unwrap();
            *element = format!("{name} = {:?}", legible(&row.object));
            break;
        }
    }
    page
}

/// A document as a list of `path @attributes = "text"`, with everything taken off that is not
/// significant, and what is ours to add (`history.rs` has that).
fn elements(document: &str) -> Vec<String> {
    let ours = [
        " xmlns:fh=\"http://purl.org/syndication/history/1.0\"",
        "  <fh:archive />\n",
    ];
    let document = ours.iter().fold(document.to_owned(), |document, added| {
        document.replace(added, "")
    });
    let is_added = |line: &&str| {
        line.starts_with("  <link rel=\"current\"") || line.starts_with("  <link rel=\"first\"")
    };
    let lines = document.lines().filter(|line| !is_added(line));
    let document = &lines.collect::<Vec<_>>().join("\n");
    let mut reader = Reader::from_str(document);
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        match event {
            Event::Eof => break,
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                path.push(tag.name().into_inner().to_owned());
                let mut attributes: Vec<_> = tag
                    .attributes()
                    .map(|attribute| {
                        let attribute = attribute.unwrap();
                        let value = attribute
                            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                            .unwrap()
                            .into_owned();
                        let decoded = percent_decode_str(&value).decode_utf8().unwrap();
                        format!(" @{}={:?}", attribute.key.into_inner(), decoded)
                    })
                    .collect();
                attributes.sort();
                found.push((
                    format!("{}{}", path.join("/"), attributes.concat()),
                    String::new(),
                ));
                match event {
                    Event::Start(_) => open.push(found.len() - 1),
                    _ => drop(path.pop()),
                }
            }
            Event::End(_) => {
                path.pop();
                open.pop();
            }
            Event::Text(text) => append(&mut found, &open, &text.xml10_content()),
            Event::CData(text) => append(&mut found, &open, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().unwrap();
                let entity = || {
                    quick_xml::escape::resolve_xml_entity(&reference)
                        .unwrap()
                        .to_owned()
                };
                append(
                    &mut found,
                    &open,
                    &character.map_or_else(entity, String::from),
                );
            }
            _ => {}
        }
    }
    normalised(found)
}

fn append(found: &mut [(String, String)], open: &[usize], text: &str) {
    if let Some(&innermost) = open.last() {
        found[innermost].1.push_str(text);
    }
}

fn normalised(found: Vec<(String, String)>) -> Vec<String> {
    let has_entries = found.iter().any(|(path, _)| path == "feed/entry");
    let mut elements: Vec<String> = found
        .into_iter()
        .filter(|(path, _)| has_entries || path != "feed/updated")
        .map(|(path, text)| format!("{path} = {:?}", text.trim()))
        .collect();
    // The order of categories is a hash order; they stand together.
    for group in elements.chunk_by_mut(|one, next| is_category(one) && is_category(next)) {
        group.sort();
    }
    elements
}

fn is_category(element: &str) -> bool {
    element.starts_with("feed/entry/category")
}

/// `mark_events` leaves in the original's table what the original's own leaves there.
async fn offset_markers_are_those_of_the_original<H: Harness>(harness: &H) {
    for set in ["offset_marker", "category_case"] {
        let input = Input::of(set);
        let mut rows = input.rows();
        let expected: HashMap<_, _> = std::mem::take(&mut rows.offset_markers)
            .into_iter()
            .collect();
        assert!(!expected.is_empty());
        let store = harness.store().await;
        harness.load(&store, &rows).await;
        let service = EventFeedService::open(store.clone(), config())
            .await
            .unwrap();
        for _again in 0..2 {
            service
                .mark_events(input.mark_events_arg.unwrap())
                .await
                .unwrap();
            for (category, marker) in &expected {
                let found = store.offset_marker(category).await.unwrap();
                assert_eq!(found, Some(*marker), "{set} {category:?}");
            }
        }
    }
}
