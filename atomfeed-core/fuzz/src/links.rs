use atomfeed_core::{Category, EntryId, FeedUri, Rebase};

/// Reads any text as what a link, an id or a path may hold.
pub fn links(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(id) = EntryId::new(first) {
        assert_eq!(id.as_str(), first);
        if let Some(uuid) = id.uuid() {
            assert!(first.ends_with(uuid));
        }
    }
    if let Ok(category) = Category::new(first) {
        let folded = Category::new(category.folded()).expect("a folded category is one");
        assert_eq!(folded.as_str(), category.folded());
    }
    match FeedUri::new(first) {
        Ok(feed) => {
            assert_eq!(feed.as_str(), first, "kept as it was given");
            assert_eq!(feed.url().password(), None);
            // Others have no hosts that can be relied on.
            let is_http = |feed: &FeedUri| matches!(feed.url().scheme(), "http" | "https");
            if !is_http(&feed) {
                return;
            }
            let named = feed.named(second);
            assert_eq!(FeedUri::new(named.as_str()).ok().as_ref(), Some(&named));
            if let Some(other) = FeedUri::new(second).ok().filter(is_http) {
                let rebase = Rebase::new(feed.url(), other.url());
                if let Some(moved) = rebase.apply(first) {
                    assert!(FeedUri::new(&moved).is_ok(), "{first:?} became {moved:?}");
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
