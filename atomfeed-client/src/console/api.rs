//! The same in JSON: for scripts, and for those of the original's console.

use atomfeed_core::store::{
    ActionQuery, FailedEventQuery, FailureFilter, FailureQuery, ParkedEvent, Records, StoreError,
};
use atomfeed_core::{Action, ActionKind, EntryId, FailedEvent, FeedUri, Marker};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use serde_json::{Value, json};

use super::act::{Wish, seen};
use super::answer::{Answer, Ended, Visit};
use super::desk::Feed;
use super::response::{json as answer, report, response};
use super::routes::Ask;

/// How many rows are answered at most.
const MOST: u32 = 1_000;

/// How many are read at once with their contents.
const AT_ONCE: u32 = 20;

impl Visit<'_> {
    pub(super) async fn in_json(&self, ask: Ask) -> Answer {
        let value = match ask {
            Ask::ApiSystems => self.api_systems().await?,
            Ask::ApiFailed => self.api_failed().await?,
            Ask::ApiReasons => self.api_reasons().await?,
            Ask::ApiEvent => self.api_event().await?,
            Ask::ApiMarkers => self.api_markers().await?,
            Ask::ApiActions => self.api_actions().await?,
            Ask::ApiAction => self.api_action().await?,
            Ask::ApiWish => return self.api_ask().await,
            Ask::ApiCallOff => {
                let (system, id) = (self.system()?, self.id()?);
                self.desk.call_off(system, &self.visitor.user, id).await?;
                json!({ "id": id })
            }
            Ask::OldApps => {
                let systems = self.desk.systems.iter();
                systems.map(|system| json!(system.name())).collect()
            }
            Ask::OldStatus => self.old_status().await?,
            Ask::OldFailed => return self.old_failed().await,
            Ask::ApiRebase => self.api_rebase().await?,
            Ask::OldRetries => self.old_retries().await?,
            Ask::OldReset => return self.old_reset().await,
            _ => return Err(Ended::NotFound),
        };
        Ok(answer(StatusCode::OK, &value))
    }

    async fn api_systems(&self) -> Result<Value, Ended> {
        let mut systems = Vec::new();
        for system in &self.desk.systems {
            let seen = self.desk.see(system, false).await;
            systems.push(match seen {
                Err(error) => {
                    json!({ "name": system.name(), "reachable": false, "error": report(&error) })
                }
                Ok(seen) => json!({
                    "name": system.name(),
                    "reachable": true,
                    "adopted": seen.is_adopted,
                    "feeds": seen.feeds.iter().map(|feed| self.api_feed(feed)).collect::<Value>(),
                    "publishing": seen.publishing.is_there.then(|| json!({
                        "newest_id": seen.publishing.newest_id,
                        "newest_at": seen.publishing.newest_at.map(time),
                        "queued": seen.publishing.queued,
                        "set_aside": seen.publishing.set_aside,
                    })),
                }),
            });
        }
        Ok(systems.into())
    }

    fn api_feed(&self, feed: &Feed) -> Value {
        let now = self.desk.clock.now();
        let status = feed.status.as_ref();
        json!({
            "feed": feed.uri.as_str(),
            "state": feed.state(now).as_str(),
            "parked": feed.failures.parked,
            "dead": feed.failures.dead,
            "events_behind": status.and_then(|status| status.events_behind),
            "pages_behind": status.and_then(|status| status.pages_behind),
            "lag_seconds": feed.lag(now).map(|lag| lag.num_seconds()),
            "succeeded_at": status.and_then(|status| status.succeeded_at).map(time),
            "seen_at": status.and_then(|status| status.seen_at).map(time),
            "error": status.and_then(|status| status.error_message.clone()),
            "marker": feed.marker.as_ref().map(marker),
        })
    }

    fn limit(&self) -> u32 {
        let limit = self.asked("limit").and_then(|limit| limit.parse().ok());
        limit.unwrap_or(100).min(MOST)
    }

    async fn api_failed(&self) -> Result<Value, Ended> {
        let query = FailureQuery::of(self.filter()?)
            .before(self.before()?)
            .limit(self.limit());
        let found = self.system()?.look().await?.failures(&query).await?;
        Ok(found.events.iter().map(parked).collect())
    }

    async fn api_reasons(&self) -> Result<Value, Ended> {
        let filter = self.filter()?;
        let groups = self
            .system()?
            .look()
            .await?
            .failure_groups(&filter, self.limit())
            .await?;
        let groups = groups.iter().map(|group| {
            json!({
                "feed": group.feed_uri.as_str(),
                "reason": group.reason,
                "text": group.text,
                "count": group.count,
                "first_at": time(group.first_at),
                "last_at": time(group.last_at),
                "first_id": group.first_id,
            })
        });
        Ok(groups.collect())
    }

    async fn api_event(&self) -> Result<Value, Ended> {
        let mut work = self.system()?.look().await?;
        let failed = work
            .parked_event(self.id()?)
            .await?
            .ok_or(Ended::NotFound)?;
        let event = &failed.event;
        let mut log = work.last_retries(&failed, MOST).await?;
        let query = ActionQuery::newest(MOST).of_event(failed.id, event);
        let actions = work.actions(&query).await?;
        let last = log.first().unwrap_or(&failed.failure).clone();
        log.reverse();
        let mut value = parked(&ParkedEvent::of(&failed, &last, false));
        value["content"] = json!(event.content());
        value["seen"] = json!(seen(&failed));
        value["error"] = json!(failed.failure.message());
        if let Some(object) = value.as_object_mut() {
            object.remove("waits");
        }
        let retries = log
            .iter()
            .map(|retry| json!({ "failed_at": time(retry.at()), "error": retry.message() }));
        value["retry_log"] = retries.collect();
        value["actions"] = actions.iter().map(action).collect();
        Ok(value)
    }

    async fn api_markers(&self) -> Result<Value, Ended> {
        let markers = self.system()?.look().await?.markers().await?;
        Ok(markers.iter().map(marker).collect())
    }

    async fn api_rebase(&self) -> Result<Value, Ended> {
        let [from, to] = ["from", "to"].map(|name| self.asked(name).unwrap_or_default());
        let detail = format!("{from}={to}");
        let would = self.desk.preview_rebase(self.system()?, &detail).await?;
        Ok(json!({
            "markers": would.markers,
            "failed_events": would.failed_events,
            "retries": would.retries,
        }))
    }

    async fn api_actions(&self) -> Result<Value, Ended> {
        let query = ActionQuery::newest(self.limit()).before(self.before()?);
        let actions = self.system()?.look().await?.actions(&query).await?;
        Ok(actions.iter().map(action).collect())
    }

    async fn api_action(&self) -> Result<Value, Ended> {
        Ok(action(&self.action_now(self.system()?, self.id()?).await?))
    }

    async fn api_ask(&self) -> Answer {
        let wrong = |said: String| Ended::Refused(StatusCode::BAD_REQUEST, said);
        let body: Value = serde_json::from_slice(&self.body)
            .map_err(|error| wrong(format!("the body is no JSON: {error}")))?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = ActionKind::named(text("kind")).ok_or_else(|| {
            let kinds: Vec<_> = ActionKind::ALL.iter().map(|kind| kind.as_str()).collect();
            wrong(format!(
                "{:?} is no kind: give one of {}",
                text("kind"),
                kinds.join(", ")
            ))
        })?;
        let feed_uri = FeedUri::new(text("feed")).map_err(|error| wrong(error.to_string()))?;
        let wish = Wish {
            kind,
            feed_uri,
            failed_event_id: body.get("failed_event_id").and_then(Value::as_i64),
            detail: text("detail").to_owned(),
            why: text("why").to_owned(),
            seen: body.get("seen").and_then(Value::as_str).map(str::to_owned),
        };
        let id = self
            .desk
            .ask(self.system()?, &self.visitor.user, wish)
            .await?;
        Ok(answer(StatusCode::ACCEPTED, &json!({ "id": id })))
    }

    async fn old_status(&self) -> Result<Value, Ended> {
        let mut work = self.system()?.look().await?;
        let counts = work.feed_failures(self.desk.dead_at).await?;
        let markers = work.markers().await?;
        let feeds = markers.iter().map(|marker| {
            let mut own = counts.iter();
            let count = own.find(|count| count.feed_uri == *marker.feed_uri());
            json!({
                "feedUri": marker.feed_uri().as_str(),
                "lastReadEntry": marker.last_read_entry_id().map(EntryId::as_str),
                "countOfFailedEvents": count.map_or(0, |count| count.parked),
            })
        });
        Ok(feeds.collect())
    }

    fn old_feed(&self) -> Result<Option<FeedUri>, Ended> {
        let feed = self.asked("feedUri").map(FeedUri::new).transpose();
        feed.map_err(|error| Ended::Refused(StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// One after the other: there may be many, and each may be large.
    async fn old_failed(&self) -> Answer {
        let Some(feed) = self.old_feed()? else {
            let said = "say of which feed: feedUri=…".to_owned();
            return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
        };
        let system = self.system()?;
        let query = FailedEventQuery::of(feed).limit(AT_ONCE);
        // What is wrong with the database is answered as ever, as far as it is seen in the beginning.
        let first = system.look().await?.failed_events(&query).await?;
        let store = system.store().await?;
        // No transaction stays open for as long as somebody takes to read.
        let rest = stream::try_unfold(Some((store, query, first, "[")), |state| async move {
            let Some((store, query, failed, before)) = state else {
                return Ok::<_, StoreError>(None);
            };
            let mut part = String::new();
            let mut before = before;
            for failed in &failed {
                part.push_str(std::mem::replace(&mut before, ","));
                part.push_str(&old_event(failed).to_string());
            }
            let Some(last) = failed.last() else {
                part.push_str(if before == "[" { "[]" } else { "]" });
                return Ok(Some((part, None)));
            };
            let query = query.after(last.id);
            let next = store.look().await?.failed_events(&query).await?;
            Ok(Some((part, Some((store, query, next, before)))))
        });
        let body = Body::from_stream(rest);
        Ok(response(StatusCode::OK, "application/json", body))
    }

    /// The parked events with an id, as that of the old interface is the event's own.
    async fn of_event(&self) -> Result<Vec<FailedEvent>, Ended> {
        let system = self.system()?;
        let found = self.known_event(system.look().await?.as_mut()).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // Another program may have parked it just now.
        system.count_now().await?;
        self.known_event(system.look().await?.as_mut()).await
    }

    async fn known_event(&self, work: &mut dyn Records) -> Result<Vec<FailedEvent>, Ended> {
        let Some(event) = EntryId::new(self.param("id")) else {
            return Err(Ended::NotFound);
        };
        let mut filter = FailureFilter::default();
        filter.event = Some(event);
        let query = FailureQuery::of(filter).limit(MOST);
        let mut found = Vec::new();
        for parked in work.failures(&query).await?.events {
            found.extend(work.parked_event(parked.id).await?);
        }
        Ok(found)
    }

    async fn old_retries(&self) -> Result<Value, Ended> {
        let found = self.of_event().await?;
        let mut work = self.system()?.look().await?;
        let mut all = Vec::new();
        for failed in found {
            let event = &failed.event;
            for retry in work.retry_log(event.feed_uri(), event.id()).await? {
                all.push(json!({
                    "feedUri": retry.feed_uri.as_str(),
                    "failedAt": millis(retry.failure.at()),
                    "errorMessage": retry.failure.message(),
                    "eventId": retry.event_id.as_str(),
                    "eventContent": retry.event_content,
                }));
            }
        }
        Ok(all.into())
    }

    async fn old_reset(&self) -> Answer {
        let system = self.system()?;
        let found = self.of_event().await?;
        if found.is_empty() {
            return Err(Ended::NotFound);
        }
        for failed in found {
            let wish = Wish {
                kind: ActionKind::ResetRetries,
                feed_uri: failed.event.feed_uri().clone(),
                failed_event_id: Some(failed.id),
                detail: String::new(),
                why: "asked for by a script (resetRetryCount)".to_owned(),
                seen: None,
            };
            self.desk.ask(system, &self.visitor.user, wish).await?;
        }
        Ok(Response::new(Body::empty()))
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn millis(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

fn marker(marker: &Marker) -> Value {
    json!({
        "feed": marker.feed_uri().as_str(),
        "page": marker.page_uri(),
        "entry": marker.last_read_entry_id().map(EntryId::as_str),
    })
}

fn parked(parked: &ParkedEvent) -> Value {
    json!({
        "id": parked.id,
        "feed": parked.feed_uri.as_str(),
        "event_id": parked.event_id.as_str(),
        "title": parked.title,
        "tags": parked.tags,
        "error": parked.error,
        "parked_at": time(parked.parked_at),
        "failed_at": time(parked.failed_at),
        "retries": parked.retries,
        "key": parked.key,
        "due_at": parked.due_at.map(time),
        "waits": parked.waits,
    })
}

fn action(action: &Action) -> Value {
    let (asked, progress) = (&action.asked, &action.progress);
    json!({
        "id": action.id,
        "feed": asked.feed_uri.as_str(),
        "kind": asked.kind.as_str(),
        "failed_event_id": asked.failed_event_id,
        "event_id": asked.event_id.as_ref().map(EntryId::as_str),
        "detail": asked.detail,
        "by": asked.by,
        "why": asked.why,
        "asked_at": time(asked.at),
        "state": progress.state.as_str(),
        "changed_at": time(progress.changed_at),
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        "was": progress.was,
        "outcome": progress.outcome,
    })
}

/// As the original's console wrote it.
fn old_event(failed: &FailedEvent) -> Value {
    let event = &failed.event;
    json!({
        "feedUri": event.feed_uri().as_str(),
        "eventId": event.id().as_str(),
        "failedAt": millis(failed.failure.at()),
        "errorMessage": failed.failure.message(),
        "retries": failed.retries,
        "event": {
            "id": event.id().as_str(),
            "title": event.title(),
            "content": event.content(),
            "feedUri": event.feed_uri().as_str(),
            "categories": event.tags_column().split(',').filter(|tag| !tag.is_empty()).collect::<Vec<_>>(),
            "updatedDate": event.updated().map(millis),
            "dateCreated": event.published().map(millis),
        },
    })
}

pub(super) fn exported_json(rows: &[ParkedEvent]) -> String {
    rows.iter().map(parked).collect::<Value>().to_string()
}

/// RFC 4180. What a spreadsheet would take for a formula begins with an apostrophe.
pub(super) fn exported_csv(rows: &[ParkedEvent]) -> String {
    let mut csv =
        "id,feed,event_id,title,tags,key,parked_at,failed_at,retries,waits,error\r\n".to_owned();
    for row in rows {
        let cells = [
            row.id.to_string(),
            cell(row.feed_uri.as_str()),
            cell(row.event_id.as_str()),
            cell(&row.title),
            cell(&row.tags),
            cell(row.key.as_deref().unwrap_or_default()),
            time(row.parked_at),
            time(row.failed_at),
            row.retries.to_string(),
            row.waits.to_string(),
            cell(&row.error),
        ];
        csv.push_str(&cells.join(","));
        csv.push_str("\r\n");
    }
    csv
}

fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}
