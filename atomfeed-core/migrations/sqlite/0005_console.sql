-- Our own tables for those who look after consumers, which stand beside those of the feed.

-- Ours: of each event that is parked, why it failed last and how often, so that many can be told apart fast. A reason is
-- named by a UUID (version 5, of its text).
CREATE TABLE atomfeed_failures (
  failed_event_id INTEGER NOT NULL PRIMARY KEY,
  feed TEXT NOT NULL,
  reason TEXT NOT NULL,
  retries INTEGER NOT NULL,
  failed_at TEXT NOT NULL
);
CREATE INDEX atomfeed_failures_feed_idx ON atomfeed_failures (feed, failed_event_id);
CREATE INDEX atomfeed_failures_reason_idx ON atomfeed_failures (reason, feed, failed_event_id);

-- Ours: why events failed, without what differs from one to the next.
CREATE TABLE atomfeed_reasons (
  reason TEXT NOT NULL PRIMARY KEY,
  text TEXT NOT NULL
);

-- Ours: what somebody has asked a consumer to do, and what came of it. Nothing is ever removed here.
CREATE TABLE atomfeed_actions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  feed TEXT NOT NULL,
  feed_uri TEXT NOT NULL,
  kind TEXT NOT NULL,
  failed_event_id INTEGER,
  event_id TEXT,
  detail TEXT,
  asked_by TEXT NOT NULL,
  why TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  state TEXT NOT NULL,
  is_open INTEGER NOT NULL,
  changed_at TEXT NOT NULL,
  place INTEGER NOT NULL DEFAULT 0,
  succeeded INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  was TEXT,
  outcome TEXT
);
CREATE INDEX atomfeed_actions_open_idx ON atomfeed_actions (feed, is_open, id);
CREATE INDEX atomfeed_actions_event_idx ON atomfeed_actions (feed, failed_event_id);
