//! Where addresses that a server gives may lead. Nothing here asks anybody.

use url::{Origin, Url};

use super::FetchError;

/// The longest content that is taken for an address.
const LONGEST_REFERENCE: usize = 8 << 10;

/// The origins (RFC 6454) that may be asked, and by which addresses.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    feed: Url,
    allowed: Vec<Origin>,
    mapped: Vec<(Origin, Url)>,
}

impl Origins {
    /// The origin of a feed alone.
    pub(crate) fn of(feed: &Url) -> Self {
        Self {
            feed: origin_of(feed),
            allowed: vec![feed.origin()],
            mapped: Vec::new(),
        }
    }

    pub(crate) fn allow(&mut self, url: &Url) {
        if !self.allowed.contains(&url.origin()) {
            self.allowed.push(url.origin());
        }
    }

    pub(crate) fn map(&mut self, from: &Url, to: &Url) {
        self.allow(to);
        self.mapped.retain(|(origin, _)| *origin != from.origin());
        self.mapped.push((from.origin(), origin_of(to)));
    }

    /// The root of the feed's origin.
    pub(crate) fn feed(&self) -> &Url {
        &self.feed
    }

    pub(crate) fn all(&self) -> &[Origin] {
        &self.allowed
    }

    /// The address at which a server is asked for a URL of its own: at the origin that stands for the
    /// URL's. Without user and password, which a link may hold to have them sent.
    ///
    /// # Errors
    ///
    /// When that origin is not allowed.
    pub(crate) fn reached(&self, url: &Url) -> Result<Url, FetchError> {
        let origin = url.origin();
        let stands_for = self.mapped.iter().find(|(from, _)| *from == origin);
        let mut reached = match stands_for {
            Some((_, to)) => moved(url, to),
            None if self.allowed.contains(&origin) => url.clone(),
            None => {
                return Err(FetchError::ForeignOrigin {
                    url: without_login(url.clone()).into(),
                    feed_origin: self.feed.origin().ascii_serialization(),
                });
            }
        };
        reached.set_fragment(None);
        Ok(without_login(reached))
    }
}

/// The root of a URL's origin.
pub(crate) fn origin_of(url: &Url) -> Url {
    let mut root = without_login(url.clone());
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    root
}

/// The same path and query at another origin.
fn moved(url: &Url, to: &Url) -> Url {
    let mut moved = to.clone();
    moved.set_path(url.path());
    moved.set_query(url.query());
    moved
}

/// The URL without user and password: they are sent to nobody, and shown to nobody.
fn without_login(mut url: Url) -> Url {
    // Both succeed on a URL that has a host, and one without has neither.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url
}

/// Where a redirect leads, if to an address at all.
pub(crate) fn redirected(from: &Url, location: &str) -> Option<Url> {
    let target = from.join(location).ok();
    target.filter(|_| !location.trim().is_empty())
}

/// To what the content of an event is joined.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// The origin of the feed, where no other was given.
    Origin(Url),
    Given(Url),
}

impl Base {
    /// The address of what content names; `None` where it is no reference (RFC 3986 §4.1) to a thing that
    /// can be fetched, but JSON, or a document, or a word. Without user and password, as it is shown.
    pub(crate) fn join(&self, content: &str) -> Option<Url> {
        let content = content.trim();
        let is_of_url =
            |c: char| !c.is_whitespace() && !c.is_control() && !"\"<>\\^`{|}".contains(c);
        if content.is_empty()
            || content.len() > LONGEST_REFERENCE
            || !content.chars().all(is_of_url)
        {
            return None;
        }
        let base = match self {
            // A number, say, is hardly a thing next to the feed's host.
            Self::Origin(_) if !content.contains('/') => return None,
            Self::Origin(base) | Self::Given(base) => base,
        };
        let url = base.join(content).ok()?;
        let is_thing = url.has_host() && matches!(url.scheme(), "http" | "https");
        is_thing.then(|| without_login(url))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn origins() -> Origins {
        let mut origins = Origins::of(&url("http://emr.example.org:8050/feed/recent"));
        origins.allow(&url("https://files.example.org/x"));
        origins.map(
            &url("http://emr.internal:8080/"),
            &url("http://emr.example.org:8050/a?b#c"),
        );
        origins
    }

    #[test]
    fn only_allowed_origins_are_reached() {
        for (asked, reached) in [
            (
                "http://emr.example.org:8050/feed/1?a=b#c",
                "http://emr.example.org:8050/feed/1?a=b",
            ),
            (
                "http://EMR.example.org:8050/",
                "http://emr.example.org:8050/",
            ),
            (
                "https://files.example.org:443/1",
                "https://files.example.org/1",
            ),
            (
                "http://emr.internal:8080/feed/2?x",
                "http://emr.example.org:8050/feed/2?x",
            ),
            (
                "http://me:secret@emr.internal:8080/2",
                "http://emr.example.org:8050/2",
            ),
            (
                "http://me:secret@emr.example.org:8050/2",
                "http://emr.example.org:8050/2",
            ),
        ] {
            assert_eq!(origins().reached(&url(asked)).unwrap().as_str(), reached);
        }
        for asked in [
            "https://emr.example.org:8050/",
            "http://emr.example.org/",
            "http://emr.example.org.evil.org:8050/",
            "http://emr.example.org:8050.evil.org/",
            "http://emr.example.org:8050@evil.org/",
            "http://emr.internal/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "data:text/plain,x",
        ] {
            // One is no URL at all.
            let Ok(asked) = asked.parse() else { continue };
            let error = origins().reached(&asked).unwrap_err();
            assert!(matches!(error, FetchError::ForeignOrigin { .. }), "{asked}");
        }
    }

    #[test]
    fn a_password_in_a_link_is_not_repeated() {
        let error = origins()
            .reached(&url("http://me:secret@evil.org/"))
            .unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn content_is_joined_where_it_is_a_reference() {
        let origin = Base::Origin(url("http://emr:8050/"));
        let given = Base::Given(url("http://emr:8050/openmrs/ws/rest/"));
        for (content, expected) in [
            (
                "/openmrs/ws/rest/v1/patient/1?v=full",
                "http://emr:8050/openmrs/ws/rest/v1/patient/1?v=full",
            ),
            ("\n /patient/1 \n", "http://emr:8050/patient/1"),
            ("/a/../../b", "http://emr:8050/b"),
            ("http://lab/x", "http://lab/x"),
            // Those go elsewhere, and are refused for that.
            ("//evil.org/x", "http://evil.org/x"),
            ("http://me:secret@lab/x", "http://lab/x"),
            ("//me:secret@evil.org/x", "http://evil.org/x"),
        ] {
            for base in [&origin, &given] {
                assert_eq!(base.join(content).unwrap().as_str(), expected);
            }
        }
        assert_eq!(
            given.join("v1/1").unwrap().as_str(),
            "http://emr:8050/openmrs/ws/rest/v1/1"
        );
        assert_eq!(
            given.join("1").unwrap().as_str(),
            "http://emr:8050/openmrs/ws/rest/1"
        );
        assert!(origin.join("123").is_none());
        let long = format!("/{}", "x".repeat(9_000));
        for content in [
            "",
            " ",
            r#"{"a":"/b"}"#,
            r#"["/a"]"#,
            r#""/a""#,
            "<patient/>",
            "a word / two",
            "/\\evil.org/x",
            "/a\nb",
            "urn:uuid:1/2",
            "mailto:a@b/c",
            "file:///etc/passwd",
            "http:///",
            &long,
        ] {
            for base in [&origin, &given] {
                assert_eq!(base.join(content), None, "{content:?}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever a server or an event says, and by whatever steps.
        #[test]
        fn nothing_leads_to_another_origin(
            location in concat!(
                "(http|https|file|)(:|)(//|/|)([a-z@:]{0,8}(emr|evil)(.example.org|.internal|))?",
                "(:8050|:8080|)\\PC{0,20}",
            ),
            content in "\\PC{0,40}",
        ) {
            let origins = origins();
            let base = Base::Origin(origins.feed().clone());
            let led = [redirected(origins.feed(), &location), base.join(&location), base.join(&content)];
            for url in led.into_iter().flatten() {
                if let Ok(reached) = origins.reached(&url) {
                    let origin = reached.origin().ascii_serialization();
                    let allowed = ["http://emr.example.org:8050", "https://files.example.org"];
                    proptest::prop_assert!(allowed.contains(&origin.as_str()), "{reached}");
                    proptest::prop_assert!(reached.username().is_empty() && reached.password().is_none());
                }
            }
        }
    }
}
