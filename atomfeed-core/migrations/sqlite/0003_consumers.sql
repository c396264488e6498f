-- Our own tables of who consumes, which stand beside those of the feed. A feed is named by a UUID (version 5, of its
-- address), which is short enough for every key.

-- Ours: who follows each feed. Whoever takes it over raises the epoch, and what the one before has not committed fails.
CREATE TABLE atomfeed_claims (
  feed TEXT NOT NULL PRIMARY KEY,
  feed_uri TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  consumer TEXT NOT NULL,
  beats INTEGER NOT NULL
);

-- Ours: events behind the marker that were dealt with before one in front of them was.
CREATE TABLE atomfeed_completed_events (
  feed TEXT NOT NULL,
  event TEXT NOT NULL,
  feed_uri TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (feed, event)
);

-- Ours: how far each feed was followed when it was looked at last.
CREATE TABLE atomfeed_feed_status (
  feed TEXT NOT NULL PRIMARY KEY,
  feed_uri TEXT NOT NULL,
  seen_at TEXT,
  head_page TEXT,
  head_entry_id TEXT,
  events_behind INTEGER,
  pages_behind INTEGER,
  behind_since TEXT,
  succeeded_at TEXT,
  failed_at TEXT,
  error_message TEXT
);

-- Ours: what became of events in each minute of the last day.
CREATE TABLE atomfeed_feed_minutes (
  feed TEXT NOT NULL,
  minute TEXT NOT NULL,
  applied INTEGER NOT NULL,
  ignored INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  held INTEGER NOT NULL,
  PRIMARY KEY (feed, minute)
);
