//! What is parked: found, grouped, exported, and tried again many at a time.

use std::collections::BTreeMap;

use atomfeed_core::store::{
    FailureFilter, FailureQuery, FailureSearch, ParkedEvent, StoreError, StoreResult,
};
use atomfeed_core::{ActionKind, ActionProgress, ActionState, FeedUri, NewAction};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, StatusCode};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::act::{LONGEST_WHY, NO_RETRIES, Unasked, Wish};
use super::again::Again;
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
        let found = self.systems()?.into_iter().map(|system| {
            let found = system.read(self.find(system, &filter, before, now));
            async move { (system, found.await) }
        });
        let (mut sections, mut feeds) = (Vec::new(), Vec::new());
        for (system, found) in join_all(found).await {
            let found = found.map(|(section, known)| {
                feeds.extend(known);
                section
            });
            sections.push(found.unwrap_or_else(|error| FailedSection {
                system: system.name().to_owned(),
                away: Some(visible(&report(&error))),
                is_counting: false,
                total: "0".to_owned(),
                groups: Vec::new(),
                more_groups: 0,
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
    ) -> Result<(FailedSection, Vec<String>), StoreError> {
        let mut work = system.look().await?;
        let markers = work.markers().await?.into_iter();
        let feeds = markers.map(|marker| marker.feed_uri().as_str().to_owned());
        let feeds = feeds.collect();
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
        let mut more_groups = 0;
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
                if self.asked("reasons") != Some("all") {
                    more_groups = groups.len().saturating_sub(SHOWN);
                    groups.truncate(SHOWN);
                }
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
        let section = FailedSection {
            system: system.name().to_owned(),
            away: None,
            is_counting: system.is_counting(),
            total,
            groups: groups
                .iter()
                .map(|group| GroupRow::of(group, now))
                .collect(),
            more_groups,
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
        };
        Ok((section, feeds))
    }

    pub(super) async fn many_form(&self) -> Answer {
        self.must_operate()?;
        let (system, filter) = (self.system()?, self.filter()?);
        let Some(feed) = filter.feed_uri.clone() else {
            let said = "choose a feed first: each has a consumer of its own".to_owned();
            return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
        };
        let store = system.store().await?;
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
            .is_foreign(store.is_adopted(), work.as_mut(), &feed)
            .await?;
        drop(work);
        if is_foreign && !store.counts_retries() {
            return Err(Unasked::Wrong(NO_RETRIES.to_owned()).into());
        }
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

    pub(super) async fn export_form(&self) -> Answer {
        let (system, filter) = (self.system()?, self.filter()?);
        let facts = filter.pairs().into_iter();
        let facts = facts.map(|(name, value)| (name, visible(&value)));
        let system_fact = ("System", system.name().to_owned());
        let page = FormPage {
            heading: "Export parked events",
            facts: [system_fact].into_iter().chain(facts).collect(),
            explains:
                "What is parked goes out without its content. Who has it, and why, is written down."
                    .to_owned(),
            path: self.here("/export"),
            hidden: vec![("filter", filter.to_string())],
            formats: true,
            back: format!(
                "{}/failed?system={}&{filter}",
                self.desk.base,
                encoded(system.name())
            ),
            ..self.form_page("failed", "Export them", false)
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn export_act(&self) -> Answer {
        let filter = self.given("filter").parse::<FailureFilter>();
        let filter = filter.map_err(|error| wrong(error.to_string()))?;
        self.exported(filter, self.given("format"), self.given("why"))
            .await
    }

    /// At once: for scripts.
    pub(super) async fn export(&self) -> Answer {
        let why = self
            .asked("why")
            .unwrap_or("not said: exported by its address");
        self.exported(self.filter()?, self.param("format"), why)
            .await
    }

    async fn exported(&self, filter: FailureFilter, format: &str, why: &str) -> Answer {
        if !["json", "csv"].contains(&format) {
            return Err(Ended::NotFound);
        }
        let said = why.trim();
        if said.is_empty() || said.len() > LONGEST_WHY {
            return Err(wrong(format!(
                "say why, in {LONGEST_WHY} bytes at the most: it is written down beside what is exported"
            )));
        }
        let system = self.system()?;
        let detail = format!("format={format}&{filter}");
        let rows = self.all_like(system, filter).await?;
        self.note_export(system, &rows, &detail, why).await?;
        let (kind, body) = match format {
            "json" => ("application/json", super::api::exported_json(&rows)),
            _ => ("text/csv; charset=utf-8", super::api::exported_csv(&rows)),
        };
        let mut response = text(kind, body);
        let name = format!("attachment; filename=\"failed-events.{format}\"");
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    async fn all_like(
        &self,
        system: &System,
        filter: FailureFilter,
    ) -> Result<Vec<ParkedEvent>, Ended> {
        let mut work = system.look().await?;
        let mut query = FailureQuery::of(filter).limit(1_000);
        let mut rows = Vec::new();
        loop {
            let page = work.failures(&query).await?;
            rows.extend(page.events);
            let Some(next) = page.next else {
                return Ok(rows);
            };
            query = query.before(Some(next));
            if rows.len() >= MOST_EXPORTED {
                return Err(wrong(format!(
                    "these are more than {MOST_EXPORTED}: ask for fewer, such as by the time at which they failed"
                )));
            }
        }
    }

    /// Writes down who gets what, for each feed that it is of: what cannot be written down is not handed out.
    async fn note_export(
        &self,
        system: &System,
        rows: &[ParkedEvent],
        detail: &str,
        why: &str,
    ) -> Result<(), Ended> {
        let mut feeds: BTreeMap<&str, (&FeedUri, u64)> = BTreeMap::new();
        for row in rows {
            let feed = &row.feed_uri;
            feeds.entry(feed.as_str()).or_insert((feed, 0)).1 += 1;
        }
        let mut again = Again::new();
        loop {
            match self.note_once(system, &feeds, detail, why).await {
                Err(error) if again.after(&error) => {}
                noted => return Ok(noted?),
            }
        }
    }

    async fn note_once(
        &self,
        system: &System,
        feeds: &BTreeMap<&str, (&FeedUri, u64)>,
        detail: &str,
        why: &str,
    ) -> StoreResult<()> {
        let now = self.now();
        let mut work = system.change().await?;
        for (feed, number) in feeds.values() {
            let asked = NewAction {
                feed_uri: (*feed).clone(),
                kind: ActionKind::Export,
                failed_event_id: None,
                event_id: None,
                detail: detail.to_owned(),
                by: self.visitor.user.name.clone(),
                why: why.to_owned(),
                at: now,
            };
            let said = format!("{} events were handed out", count(*number));
            let done = ActionProgress::waiting(now).then(ActionState::Done, now, said);
            work.ask(&asked, &done).await?;
        }
        work.commit().await
    }
}

fn wrong(said: String) -> Ended {
    Ended::Refused(StatusCode::BAD_REQUEST, said)
}
