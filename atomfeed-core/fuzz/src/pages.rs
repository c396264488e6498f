use atomfeed_core::atom::{
    EntryRef, Feed, FeedHead, FeedWriter, LineEnds, Link, ReadError, ReadLimits, read_feed,
    replace_illegal,
};
use chrono::{DateTime, Utc};

/// Reads any bytes as a page.
pub fn atom_reader(document: &[u8]) {
    let narrow = ReadLimits::default()
        .with_max_bytes(4096)
        .with_max_depth(4)
        .with_max_entries(2)
        .with_max_attributes(3);
    match read_feed(document, &narrow) {
        Ok(feed) => {
            assert!(document.len() <= 4096 && feed.entries.len() <= 2);
            assert_eq!(
                Some(&feed),
                read_feed(document, &ReadLimits::default()).ok().as_ref(),
                "wider limits change nothing of what passes narrow ones"
            );
        }
        Err(error) => assert_is_told_of(&error, document),
    }
    match read_feed(document, &ReadLimits::default()) {
        Ok(feed) => assert_comes_back(&feed),
        Err(error) => assert_is_told_of(&error, document),
    }
}

/// Writes any text as a page.
pub fn atom_writer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut texts = text.split('\u{0}');
    let mut next = || texts.next().unwrap_or_default();
    let mut feed = Feed::default();
    feed.id = next().to_owned();
    feed.title = next().to_owned();
    feed.author = Some(next().to_owned());
    feed.generator = Some(next().to_owned());
    feed.generator_uri = Some(next().to_owned());
    feed.links = vec![Link {
        rel: next().to_owned(),
        href: next().to_owned(),
        media_type: Some(next().to_owned()),
    }];
    let (title, term) = (next(), next());
    let contents: Vec<&str> = text.split('\u{0}').skip(10).collect();
    let read = read_feed(
        &write(&feed, LineEnds::Exact, &|page| {
            for (number, content) in contents.iter().enumerate() {
                page.entry(&EntryRef {
                    id: &format!("tag:{number}"),
                    title: Some(title),
                    terms: &[term],
                    updated: DateTime::UNIX_EPOCH,
                    published: DateTime::UNIX_EPOCH,
                    content: Some(content),
                });
            }
        }),
        &ReadLimits::default(),
    )
    .expect("what we write we read");
    assert_eq!(read.title, replace_illegal(&feed.title));
    assert_eq!(read.links[0].href, replace_illegal(&feed.links[0].href));
    assert_eq!(read.entries.len(), contents.len());
    for (entry, content) in read.entries.iter().zip(contents) {
        assert_eq!(entry.title, replace_illegal(title));
        assert_eq!(entry.content, replace_illegal(content));
    }
    assert_comes_back(&read);
}

/// That a page that was read is, written and read again, the same page.
fn assert_comes_back(feed: &Feed) {
    let document = write(feed, LineEnds::Exact, &|page| {
        for entry in &feed.entries {
            let terms: Vec<&str> = entry.terms.iter().map(String::as_str).collect();
            page.entry(&EntryRef {
                id: &entry.id,
                title: Some(&entry.title),
                terms: &terms,
                updated: whole_seconds(entry.updated),
                published: whole_seconds(entry.published),
                content: Some(&entry.content),
            });
        }
    });
    let read = read_feed(&document, &ReadLimits::default()).expect("what we write we read");
    assert_eq!(read.id, feed.id);
    assert_eq!(read.title, feed.title);
    assert_eq!(read.updated, Some(whole_seconds(feed.updated)));
    assert_eq!(read.links, feed.links);
    assert_eq!(read.entries.len(), feed.entries.len());
    for (read, entry) in read.entries.iter().zip(&feed.entries) {
        assert_eq!(read.id, entry.id);
        assert_eq!(read.title, entry.title);
        assert_eq!(read.terms, entry.terms);
        assert_eq!(read.content, entry.content);
        assert_eq!(read.updated, Some(whole_seconds(entry.updated)));
        assert_eq!(read.published, Some(whole_seconds(entry.published)));
    }
}

fn write(feed: &Feed, line_ends: LineEnds, entries: &dyn Fn(&mut FeedWriter)) -> Vec<u8> {
    let head = FeedHead {
        id: &feed.id,
        title: &feed.title,
        author: feed.author.as_deref().unwrap_or_default(),
        generator: feed.generator.as_deref().unwrap_or_default(),
        generator_uri: feed.generator_uri.as_deref().unwrap_or_default(),
        updated: whole_seconds(feed.updated),
        links: &feed.links,
        archive: feed.links.len() % 2 == 1,
    };
    let mut page = FeedWriter::new(&head, line_ends, 4096);
    entries(&mut page);
    page.finish()
}

/// A time as a page can hold it.
fn whole_seconds(time: Option<DateTime<Utc>>) -> DateTime<Utc> {
    time.and_then(|time| DateTime::from_timestamp(time.timestamp(), 0))
        .unwrap_or_default()
}

/// That an error says where, within the document, and is short whatever the document holds.
fn assert_is_told_of(error: &ReadError, document: &[u8]) {
    let text = error.to_string();
    assert!(!text.is_empty());
    assert!(
        text.len() < 4096,
        "{} bytes of error for {} bytes of document",
        text.len(),
        document.len()
    );
}
