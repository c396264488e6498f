//! What is parked: found, grouped, exported, and tried again many at a time.

use atomfeed_core::ActionKind;
use atomfeed_core::store::{FailureFilter, FailureQuery, FailureSearch, StoreError};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, StatusCode};
use chrono::{DateTime, Utc};

use super::act::Wish;
use super::answer::{Answer, Ended, PAGE, Visit};
use super::pages::{Asked, EventRow, FailedPage, FailedSection, FormPage, GroupRow};
use super::response::{encoded, html, report, text};
use super::shown::{count, visible};
use super::system::System;

/// At how many one page looks for a text, at most: it says so, and the next one goes on. Errors are long.
fn looked_at(filter: &FailureFilter) -> u32 {
    match filter.error {
        Some(_) => 5_000,
        None => 50_000,
    }
}

/// How many are exported at most.
const MOST_EXPORTED: usize = 100_000;

/// How many reasons are read, of which the most frequent are shown.
const REASONS: u32 = 1_000;
const SHOWN: usize = 20;

impl Visit<'_> {
    pub(super) async fn failed(&self) -> Answer {
        let filter = self.filter()?;
        let before = self.before()?;
        let now = self.now();
        let (mut sections, mut feeds) = (Vec::new(), Vec::new());
        for system in self.systems()? {
            let found = self.find(system, &filter, before, now, &mut feeds).await;
            sections.push(found.unwrap_or_else(|error| FailedSection {
                system: system.name().to_owned(),
                away: Some(visible(&report(&error))),
                is_counting: false,
                total: "0".to_owned(),
                groups: Vec::new(),
                events: Vec::new(),
                query: String::new(),
                retry_of: Vec::new(),
                unreadable: Vec::new(),
                next: None,
                goes_on: None,
            }));
        }
        let asked = |name| self.asked(name).unwrap_or_default().to_owned();
        let page = FailedPage {
            frame: self.frame("failed"),
            before: before.map(|before| before.to_string()).unwrap_or_default(),
            looked_at: count(looked_at(&filter).into()),
            systems: self
                .desk
                .systems
                .iter()
                .map(|system| system.name().to_owned())
                .collect(),
            chosen: asked("system"),
            asked: Asked {
                feed: asked("feed"),
                reason: asked("reason"),
                state: asked("state"),
                title: asked("title"),
                tag: asked("tag"),
                key: asked("key"),
                error: asked("error"),
                since: asked("since"),
                until: asked("until"),
                feeds,
            },
            sections,
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn find(
        &self,
        system: &System,
        filter: &FailureFilter,
        before: Option<i64>,
        now: DateTime<Utc>,
        feeds: &mut Vec<String>,
    ) -> Result<FailedSection, StoreError> {
        let mut work = system.look().await?;
        let markers = work.markers().await?;
        feeds.extend(
            markers
                .iter()
                .map(|marker| marker.feed_uri().as_str().to_owned()),
        );
        let search = filter.search();
        let floor = match search {
            FailureSearch::Text => work.failure_floor(before, looked_at(filter)).await?,
            _ => None,
        };
        let query = FailureQuery::of(filter.clone()).before(before);
        let query = query.down_to(floor).limit(PAGE);
        let found = work.failures(&query).await?;
        let (events, is_full) = (&found.events, found.next.is_some());
        let goes_on = floor.filter(|_| !is_full);
        // To look at all that is parked takes long, and is done once.
        let (total, groups) = match search {
            FailureSearch::Counted => {
                let mut groups = match filter.reason {
                    None => work.failure_groups(filter, REASONS).await?,
                    Some(_) => Vec::new(),
                };
                // Those that are known make the number of all, if there are no others.
                let total = match groups.len() as u32 {
                    1..REASONS => groups.iter().map(|group| group.count).sum(),
                    _ => work.failure_count(filter).await?,
                };
                groups.truncate(SHOWN);
                (count(total), groups)
            }
            _ if before.is_none() && goes_on.is_none() && !is_full => {
                (count(events.len() as u64), Vec::new())
            }
            _ => (format!("at least {}", events.len()), Vec::new()),
        };
        let mut of_feeds = Vec::new();
        for event in events {
            let feed = event.feed_uri.as_str();
            if !of_feeds.iter().any(|known| known == feed) {
                of_feeds.push(feed.to_owned());
            }
        }
        Ok(FailedSection {
            system: system.name().to_owned(),
            away: None,
            is_counting: system.is_counting(),
            total,
            groups: groups
                .iter()
                .map(|group| GroupRow::of(group, now))
                .collect(),
            unreadable: found.unreadable.iter().map(i64::to_string).collect(),
            next: found.next,
            goes_on,
            events: events
                .iter()
                .map(|parked| EventRow::of(parked, self.desk.dead_at, now))
                .collect(),
            query: filter.to_string(),
            retry_of: match search == FailureSearch::Counted && filter.feed_uri.is_none() {
                true => Vec::new(),
                false => of_feeds,
            },
        })
    }

    pub(super) async fn many_form(&self) -> Answer {
        self.must_operate()?;
        let (system, filter) = (self.system()?, self.filter()?);
        let Some(feed) = filter.feed_uri.clone() else {
            let said = "choose a feed first: each has a consumer of its own".to_owned();
            return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
        };
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let total = match filter.search() {
            FailureSearch::Text => {
                "as many as are like that, which are counted while they are tried".to_owned()
            }
            _ => count(work.failure_count(&filter).await?),
        };
        let reason = match &filter.reason {
            Some(_) => work
                .failure_groups(&filter, 1)
                .await?
                .pop()
                .map(|group| group.text),
            None => None,
        };
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), &feed)
            .await?;
        drop(work);
        let mut facts = vec![
            ("System", system.name().to_owned()),
            ("Feed", visible(feed.as_str())),
            ("Events", total),
        ];
        facts.extend(reason.map(|reason| ("Reason", visible(&reason))));
        let others = filter.pairs().into_iter();
        facts.extend(
            others
                .filter(|(name, _)| !["feed", "reason"].contains(name))
                .map(|(name, value)| (name, visible(&value))),
        );
        let explains = match is_foreign {
            true => {
                "Another program runs this feed: their retries are set to 0, and that program tries them again by itself."
            }
            false => {
                "The consumer tries one of them, then 5, then 25, then 125 at a time, and no more than 20 a second on an \
                      average. It stops when a fifth of all has failed again, or five in a row, or when what they need is away."
            }
        };
        let page = FormPage {
            heading: "Retry many events",
            facts,
            explains: explains.to_owned(),
            path: self.here("/retry"),
            hidden: vec![
                ("feed", feed.as_str().to_owned()),
                ("filter", filter.to_string()),
            ],
            back: format!(
                "{}/failed?system={}&{filter}",
                self.desk.base,
                encoded(system.name())
            ),
            ..self.form_page("failed", "Retry them", false)
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn many_act(&self) -> Answer {
        self.ask(Wish {
            kind: ActionKind::RetryMany,
            feed_uri: Self::feed(self.given("feed"))?,
            failed_event_id: None,
            detail: self.given("filter").to_owned(),
            why: self.given("why").to_owned(),
            seen: None,
        })
        .await
    }

    pub(super) async fn export(&self) -> Answer {
        let (system, filter) = (self.system()?, self.filter()?);
        if !["json", "csv"].contains(&self.param("format")) {
            return Err(Ended::NotFound);
        }
        let mut work = system.look().await?;
        let mut query = FailureQuery::of(filter).limit(1_000);
        let mut rows = Vec::new();
        loop {
            let page = work.failures(&query).await?;
            rows.extend(page.events);
            let Some(next) = page.next else { break };
            query = query.before(Some(next));
            if rows.len() >= MOST_EXPORTED {
                let said = format!(
                    "these are more than {MOST_EXPORTED}: ask for fewer, such as by the time at which they failed"
                );
                return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
            }
        }
        drop(work);
        let (kind, body) = match self.param("format") {
            "json" => ("application/json", super::api::exported_json(&rows)),
            "csv" => ("text/csv; charset=utf-8", super::api::exported_csv(&rows)),
            _ => return Err(Ended::NotFound),
        };
        let mut response = text(kind, body);
        let name = format!(
            "attachment; filename=\"failed-events.{}\"",
            self.param("format")
        );
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }
}
