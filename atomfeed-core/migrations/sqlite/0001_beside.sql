-- Our own tables, which stand beside those of the feed.

-- Ours: whether the tables beside these are ours (managed) or somebody else's (adopted), and the row
-- under whose lock events get their ids and times.
CREATE TABLE atomfeed_feed_state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  owner TEXT,
  strategy TEXT,
  sealed_until TEXT,
  last_timestamp TEXT,
  settled_id INTEGER,
  passing_id INTEGER,
  categories_through INTEGER,
  revision INTEGER NOT NULL DEFAULT 0
);
INSERT INTO atomfeed_feed_state (id) VALUES (1);

-- Ours: up to and including event_id, the feed (a folded category, or '' for all events) has
-- event_count events.
CREATE TABLE atomfeed_positions (
  feed TEXT NOT NULL,
  event_count INTEGER NOT NULL,
  event_id INTEGER NOT NULL,
  PRIMARY KEY (feed, event_count)
) WITHOUT ROWID;

-- Ours: the first page of a feed that was kept when old events were pruned, and the last event before it.
CREATE TABLE atomfeed_cuts (
  feed TEXT NOT NULL PRIMARY KEY,
  category TEXT NOT NULL,
  page INTEGER NOT NULL,
  event_count INTEGER NOT NULL,
  event_id INTEGER NOT NULL
);

-- Ours: after a restore, ids went on above event_id; as many as were lost were passed over.
CREATE TABLE atomfeed_jumps (
  event_id INTEGER NOT NULL PRIMARY KEY,
  lost INTEGER NOT NULL
);

-- Ours: the positions after after_count, up to event_count, which no event of the feed has for that.
CREATE TABLE atomfeed_holes (
  feed TEXT NOT NULL,
  event_id INTEGER NOT NULL,
  after_count INTEGER NOT NULL,
  event_count INTEGER NOT NULL,
  PRIMARY KEY (feed, event_id)
);

-- Ours: how categories are spelled, and the lower case by which feeds match them.
CREATE TABLE atomfeed_categories (
  category TEXT NOT NULL PRIMARY KEY,
  folded TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX atomfeed_categories_folded_idx ON atomfeed_categories (folded);

-- Ours: what failed_events has no column for; with a feed_uri, a whole row that it cannot hold.
CREATE TABLE atomfeed_failed_events (
  failed_event_id INTEGER PRIMARY KEY,
  page_uri TEXT,
  updated TEXT,
  published TEXT,
  retries INTEGER NOT NULL DEFAULT 0,
  tags TEXT,
  feed_uri TEXT,
  failed_at TEXT,
  error_message TEXT,
  event_id TEXT,
  event_content TEXT,
  error_hash_code INTEGER,
  title TEXT,
  placed SMALLINT NOT NULL DEFAULT 0,
  event_key TEXT,
  order_key TEXT,
  due_at TEXT
);
CREATE INDEX atomfeed_failed_events_order_idx ON atomfeed_failed_events (order_key, failed_event_id);

-- Ours: the rows that failed_event_retry_log cannot hold, or where there is none.
CREATE TABLE atomfeed_failed_event_retry_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  feed_uri TEXT,
  failed_at TEXT,
  error_message TEXT,
  event_id TEXT,
  event_content TEXT,
  error_hash_code INTEGER
);

-- Ours: ids that were passed over since nothing came for them; what comes later is not shown.
CREATE TABLE atomfeed_gaps (
  first_id INTEGER NOT NULL PRIMARY KEY,
  last_id INTEGER NOT NULL,
  passed_at TEXT NOT NULL
);

-- Ours: locks that have no other row to be on.
CREATE TABLE atomfeed_locks (
  name VARCHAR(50) NOT NULL PRIMARY KEY
);
INSERT INTO atomfeed_locks (name) VALUES ('markers');

-- Ours: what was published and cannot be moved into event_records, with the reason. Ids of the queue may come
-- again, once it was truncated.
CREATE TABLE atomfeed_set_aside (
  id INTEGER PRIMARY KEY,
  queue_id INTEGER NOT NULL,
  set_aside_at TEXT NOT NULL,
  error TEXT NOT NULL,
  uuid TEXT,
  title TEXT,
  timestamp TEXT,
  uri TEXT,
  object TEXT,
  category TEXT,
  date_created TEXT,
  tags TEXT
);
