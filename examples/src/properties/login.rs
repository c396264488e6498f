use atomfeed_client::{FeedUri, FormLogin, HttpFeedSourceBuilder, OpenMrsSession};
use url::Url;

use super::config::parsed_url;
use super::secret::Secret;

/// How one gets in at a server. What it is for goes to no other origin than that of its `uri`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The way.
    pub kind: LoginKind,
    /// Where (`openmrs.auth.uri`, `openelis.uri`).
    #[serde(deserialize_with = "parsed_url")]
    pub uri: Url,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// A way to get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum LoginKind {
    /// A session of OpenMRS, from its session resource.
    #[serde(rename = "openmrs")]
    OpenMrs,
    /// A session of OpenELIS: `loginName` and `password` are posted to the URI, as the original does.
    #[serde(rename = "openelis")]
    OpenElis,
}

impl Login {
    /// The login for a feed: one at its own origin. Where several servers have one origin, behind a proxy, it
    /// is the one whose path is most like the feed's.
    pub(super) fn of<'a>(logins: &'a [Self], feed: &FeedUri) -> Option<&'a Self> {
        // Of equals the last is taken: from the end, that is the first.
        let there = logins.iter().rev().filter(|login| login.is_at(feed));
        there.max_by_key(|login| steps_together(&login.uri, feed.url()))
    }

    /// Whether it is at the origin of a feed.
    pub(super) fn is_at(&self, feed: &FeedUri) -> bool {
        self.uri.origin() == feed.url().origin()
    }

    /// Has a source get in so.
    pub(super) fn at(&self, source: HttpFeedSourceBuilder) -> HttpFeedSourceBuilder {
        let (uri, user, password) = (self.uri.as_str(), &self.user, self.password.reveal());
        match self.kind {
            LoginKind::OpenMrs => source.with_login(OpenMrsSession::new(uri, user, password)),
            LoginKind::OpenElis => source.with_login(FormLogin::new(uri, user, password)),
        }
    }
}

/// How many steps two paths have in common from the root.
fn steps_together(one: &Url, other: &Url) -> usize {
    let steps = one.path().split('/').zip(other.path().split('/'));
    steps.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn login(kind: LoginKind, uri: &str) -> Login {
        Login {
            kind,
            uri: uri.parse().unwrap(),
            user: "me".to_owned(),
            password: Secret::new("it"),
        }
    }

    #[test]
    fn nobody_logs_in_at_another_origin() {
        let logins = [login(
            LoginKind::OpenMrs,
            "http://emr:8050/openmrs/ws/rest/v1/session",
        )];
        for (feed, logs_in) in [
            ("http://emr:8050/openmrs/ws/atomfeed/patient/recent", true),
            ("http://emr:8050/reference-data/ws/feed/recent", true),
            ("http://emr:8052/openelis/ws/feed/patient/recent", false),
            ("https://emr:8050/openmrs/ws/atomfeed/patient/recent", false),
            ("http://lab:8050/openmrs/ws/atomfeed/patient/recent", false),
        ] {
            let found = Login::of(&logins, &feed.parse().unwrap());
            assert_eq!(found.is_some(), logs_in, "{feed}");
        }
    }

    #[test]
    fn behind_one_proxy_the_path_decides() {
        let logins = [
            login(
                LoginKind::OpenMrs,
                "http://bahmni/openmrs/ws/rest/v1/session",
            ),
            login(
                LoginKind::OpenElis,
                "http://bahmni/openelis/ws/feed/patient/recent",
            ),
        ];
        for (feed, kind) in [
            (
                "http://bahmni/openmrs/ws/atomfeed/patient/recent",
                LoginKind::OpenMrs,
            ),
            (
                "http://bahmni/openelis/ws/feed/patient/recent",
                LoginKind::OpenElis,
            ),
            (
                "http://bahmni/reference-data/ws/feed/recent",
                LoginKind::OpenMrs,
            ),
        ] {
            let found = Login::of(&logins, &feed.parse().unwrap());
            assert_eq!(found.unwrap().kind, kind, "{feed}");
        }
    }
}
