-- Our own tables of who consumes, which stand beside those of the feed. A feed is named by a UUID (version 5, of its
-- address), which is short enough for every key.

-- Ours: who follows each feed. Whoever takes it over raises the epoch, and what the one before has not committed fails.
CREATE TABLE atomfeed_claims (
  feed VARCHAR(36) NOT NULL PRIMARY KEY,
  feed_uri TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  consumer TEXT NOT NULL,
  beats BIGINT NOT NULL
);

-- Ours: events behind the marker that were dealt with before one in front of them was.
CREATE TABLE atomfeed_completed_events (
  feed VARCHAR(36) NOT NULL,
  event VARCHAR(36) NOT NULL,
  feed_uri TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (feed, event)
);

-- Ours: how far each feed was followed when it was looked at last.
CREATE TABLE atomfeed_feed_status (
  feed VARCHAR(36) NOT NULL PRIMARY KEY,
  feed_uri TEXT NOT NULL,
  seen_at TIMESTAMPTZ,
  head_page TEXT,
  head_entry_id TEXT,
  events_behind BIGINT,
  pages_behind BIGINT,
  behind_since TIMESTAMPTZ,
  succeeded_at TIMESTAMPTZ,
  failed_at TIMESTAMPTZ,
  error_message TEXT
);

-- Ours: what became of events in each minute of the last day.
CREATE TABLE atomfeed_feed_minutes (
  feed VARCHAR(36) NOT NULL,
  minute TIMESTAMPTZ NOT NULL,
  applied BIGINT NOT NULL,
  ignored BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  held BIGINT NOT NULL,
  PRIMARY KEY (feed, minute)
);
