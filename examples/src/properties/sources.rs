use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use atomfeed_client::{FeedUri, HttpFeedSource};
use url::{Origin, Url};

use super::config::FeedsConfig;
use super::login::Login;

/// What is no limit in Java: so long a page may take here in all, whatever is said of its server.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Where pages are fetched: one source for all feeds of a server, so that they share a session, and a wrong
/// password is not sent once for each.
#[derive(Debug, Default)]
pub struct Sources(HashMap<(Origin, Option<Url>), HttpFeedSource>);

impl Sources {
    /// The source of a feed, with the limits and the login of the configuration.
    ///
    /// # Errors
    ///
    /// When a page may be fetched over HTTPS and the system has no certificates to check servers by.
    pub fn of(&mut self, feed: &FeedUri, config: &FeedsConfig) -> anyhow::Result<HttpFeedSource> {
        let login = Login::of(&config.logins, feed);
        let place = (feed.url().origin(), login.map(|login| login.uri.clone()));
        if let Some(source) = self.0.get(&place) {
            return Ok(source.clone());
        }
        let mut builder = HttpFeedSource::builder(feed);
        if let Some(login) = login {
            builder = login.at(builder);
        }
        if let Some(limit) = config.connect_timeout_ms {
            builder = builder.with_connect_timeout(timeout(limit));
        }
        if let Some(limit) = config.read_timeout_ms {
            builder = builder.with_read_timeout(timeout(limit));
        }
        if config.follow_redirects {
            builder = builder.follow_redirects();
        }
        let source = builder
            .build()
            .with_context(|| format!("fetching {feed}"))?;
        self.0.insert(place, source.clone());
        Ok(source)
    }
}

/// In milliseconds, of which 0 is no limit in Java.
fn timeout(millis: u64) -> Duration {
    match millis {
        0 => LONGEST_TIMEOUT,
        _ => Duration::from_millis(millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_the_longest() {
        assert_eq!(timeout(0), LONGEST_TIMEOUT);
        assert_eq!(timeout(1), Duration::from_millis(1));
    }
}
