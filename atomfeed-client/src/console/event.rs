//! One parked event, and what can be done with it.

use atomfeed_core::ActionKind;
use atomfeed_core::store::{ActionQuery, FailedEventQuery, FailedEventSelection, ParkedEvent};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, StatusCode};

use super::act::{NO_RETRIES, Unasked, Wish, seen};
use super::answer::{Answer, Ended, Visit};
use super::pages::{ActionRow, EventPage, EventRow, FormPage, titled};
use super::response::{html, short_line, text};
use super::shown::{Content, When, visible};

impl Visit<'_> {
    pub(super) async fn event(&self) -> Answer {
        let (system, id, now) = (self.system()?, self.id()?, self.now());
        let store = system.store().await?;
        let is_adopted = store.is_adopted();
        let mut work = system.look().await?;
        let failed = work.parked_event(id).await?.ok_or(Ended::NotFound)?;
        let event = &failed.event;
        let feed = event.feed_uri();
        let place = failed.place.clone().unwrap_or_default();
        let log = work.last_retries(&failed, 100).await?;
        let (mut first, mut behind) = (None, Vec::new());
        if let Some(key) = &place.key {
            let of_key =
                FailedEventQuery::of(feed.clone()).select(FailedEventSelection::OfKey(key.clone()));
            let before = work.failed_events(&of_key.clone().limit(1)).await?;
            first = before
                .first()
                .map(|failed| failed.id)
                .filter(|first| *first < id);
            behind = work.failed_events(&of_key.after(id).limit(21)).await?;
        }
        let of_event = ActionQuery::newest(50).of_event(id, event);
        let actions = work.actions(&of_event).await?;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), feed)
            .await?;
        drop(work);
        let last = log.first().unwrap_or(&failed.failure);
        let parked = ParkedEvent::of(&failed, last, first.is_some());
        let original = actions
            .iter()
            .rev()
            .find(|action| action.asked.kind == ActionKind::Edit && action.progress.was.is_some());
        let original = match original {
            Some(edit) => system.look().await?.action(edit.id).await?,
            None => None,
        };
        let original = original.and_then(|action| action.progress.was);
        let dead_at = self.desk.dead_at;
        let page = EventPage {
            frame: self.frame("failed"),
            system: system.name().to_owned(),
            row: EventRow::of(&parked, dead_at, now),
            event_id: visible(event.id().as_str()),
            key: place.key.map(|key| (key.clone(), visible(&key))),
            parked: When::of(failed.failure.at(), now),
            due: place.due_at.map(|due| match due > now {
                true => When::of(due, now).ago,
                false => "due".to_owned(),
            }),
            is_foreign,
            may_retry: !is_foreign || store.counts_retries(),
            keeps_retries: !is_foreign || store.keeps_retry_log(),
            error: visible(last.message()),
            content: Content::of(event.content(), feed.as_str()),
            original: original.map(|was| Content::of(&was, feed.as_str())),
            retries: log
                .iter()
                .map(|retry| (When::of(retry.at(), now), visible(retry.message())))
                .collect(),
            first,
            has_more_behind: behind.len() > 20,
            behind: behind
                .iter()
                .take(20)
                .map(|failed| {
                    let parked = ParkedEvent::of(failed, &failed.failure, true);
                    EventRow::of(&parked, dead_at, now)
                })
                .collect(),
            actions: actions
                .iter()
                .map(|action| ActionRow::of(action, system.name(), now))
                .collect(),
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn content(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        let failed = system
            .look()
            .await?
            .parked_event(id)
            .await?
            .ok_or(Ended::NotFound)?;
        let name = format!("attachment; filename=\"event-{id}.txt\"");
        let mut response = text(
            "text/plain; charset=utf-8",
            failed.event.content().to_owned(),
        );
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    pub(super) async fn event_form(&self) -> Answer {
        self.must_operate()?;
        let (system, id) = (self.system()?, self.id()?);
        let (kind, act) = self.kind()?;
        let store = system.store().await?;
        let is_adopted = store.is_adopted();
        let mut work = system.look().await?;
        let failed = work.parked_event(id).await?.ok_or(Ended::NotFound)?;
        let event = &failed.event;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), event.feed_uri())
            .await?;
        drop(work);
        let is_retry = matches!(kind, ActionKind::Retry | ActionKind::ResetRetries);
        if is_retry && is_foreign && !store.counts_retries() {
            return Err(Unasked::Wrong(NO_RETRIES.to_owned()).into());
        }
        let theirs = "Another program runs this feed: its retries are set to 0, and that program tries it again by \
                      itself.";
        let (heading, explains, does) = match kind {
            ActionKind::Retry if is_foreign => ("Retry an event", theirs, "Set its retries to 0"),
            ActionKind::Retry => (
                "Retry an event",
                "The consumer tries it again now, whether it is due or not. If it fails, it stays parked with one more retry.",
                "Retry it",
            ),
            ActionKind::Edit => (
                "Edit an event and retry it",
                "The content is replaced and the event is tried again. What it was stays beside it.",
                "Replace it and retry",
            ),
            ActionKind::ResetRetries => (
                "Reset the retries of an event",
                "It is tried again by itself, as if for the first time.",
                "Reset them",
            ),
            _ => (
                "Skip an event",
                "It is given up: it is parked no longer, and never applied. What waits behind it goes on. This cannot \
                 be undone.",
                "Skip it",
            ),
        };
        let page = FormPage {
            heading,
            facts: vec![
                ("System", system.name().to_owned()),
                ("Event", format!("{} {id}", titled(event.title()))),
                ("Feed", visible(event.feed_uri().as_str())),
                ("Error", short_line(failed.failure.message())),
            ],
            explains: explains.to_owned(),
            path: self.here(&format!("/failed/{id}/{act}")),
            hidden: vec![
                ("feed", event.feed_uri().as_str().to_owned()),
                ("seen", seen(&failed)),
            ],
            text: (kind == ActionKind::Edit).then(|| event.content().to_owned()),
            back: self.here(&format!("/failed/{id}")),
            ..self.form_page("failed", does, kind == ActionKind::Skip)
        };
        Ok(html(StatusCode::OK, &page))
    }

    /// What is to be done with one event.
    pub(super) fn kind(&self) -> Result<(ActionKind, &str), Ended> {
        let act = self.param("act");
        let kind = match act {
            "retry" => ActionKind::Retry,
            "edit" => ActionKind::Edit,
            "reset" => ActionKind::ResetRetries,
            "skip" => ActionKind::Skip,
            _ => return Err(Ended::NotFound),
        };
        Ok((kind, act))
    }

    pub(super) async fn event_act(&self) -> Answer {
        let (kind, _) = self.kind()?;
        let id = self.id()?;
        let detail = match kind {
            ActionKind::Edit => self.edited(id).await?,
            _ => String::new(),
        };
        self.ask(Wish {
            kind,
            feed_uri: Self::feed(self.given("feed"))?,
            failed_event_id: Some(id),
            detail,
            why: self.given("why").to_owned(),
            seen: Some(self.given("seen").to_owned()),
        })
        .await
    }

    /// What was typed, with the line ends that the content has: a form has those of Windows alone, and HL7
    /// stands on others.
    pub(super) async fn edited(&self, id: i64) -> Result<String, Ended> {
        let typed = self
            .given("detail")
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let failed = self.system()?.look().await?.parked_event(id).await?;
        let Some(failed) = failed else {
            return Err(Unasked::Gone.into());
        };
        let content = failed.event.content();
        let both = content.matches("\r\n").count();
        let returns = content.matches('\r').count() - both;
        let feeds = content.matches('\n').count() - both;
        match (both, returns, feeds) {
            (0, 0, _) => Ok(typed),
            (_, 0, 0) => Ok(typed.replace('\n', "\r\n")),
            (0, _, 0) => Ok(typed.replace('\n', "\r")),
            _ => {
                let said = "the content has line ends of several kinds, which a form cannot keep apart: edit it by \
                            the JSON interface";
                Err(Ended::Refused(StatusCode::BAD_REQUEST, said.to_owned()))
            }
        }
    }
}
