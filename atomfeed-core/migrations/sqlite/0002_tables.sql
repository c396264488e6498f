-- The tables of the feed, in the names and columns that deployed systems have. Times are UTC, as 2024-03-01 08:01:00.000000.

-- Publisher: what happened. AUTOINCREMENT: an id is never given twice, not even after a deletion.
CREATE TABLE event_records (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL,
  title TEXT,
  timestamp TEXT NOT NULL,
  uri TEXT,
  object TEXT,
  category TEXT,
  date_created TEXT,
  tags TEXT
);
CREATE UNIQUE INDEX event_records_uuid_idx ON event_records (uuid);
CREATE INDEX event_records_category_idx ON event_records (category);
CREATE INDEX event_records_timestamp_idx ON event_records (timestamp);

-- Publisher: what other programs publish, with
--   INSERT INTO event_records_queue (uuid, title, object, category) VALUES (…)
CREATE TABLE event_records_queue (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL,
  title TEXT,
  timestamp TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
  uri TEXT,
  object TEXT,
  category TEXT,
  date_created TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
  tags TEXT
);
CREATE UNIQUE INDEX event_records_queue_uuid_idx ON event_records_queue (uuid);

-- Publisher: from which position (or millisecond) on a page holds how many events (milliseconds).
CREATE TABLE chunking_history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  chunk_length INTEGER,
  start INTEGER NOT NULL
);

-- Publisher: written by mark_events alone.
CREATE TABLE event_records_offset_marker (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id INTEGER,
  event_count INTEGER,
  category TEXT
);
CREATE UNIQUE INDEX event_records_offset_marker_category_idx ON event_records_offset_marker (category);

-- Consumer: how far each feed has been read.
CREATE TABLE markers (
  feed_uri TEXT NOT NULL PRIMARY KEY,
  last_read_entry_id TEXT,
  feed_uri_for_last_read_entry TEXT
);

-- Consumer: what failed and waits, and each retry that failed.
CREATE TABLE failed_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  feed_uri TEXT,
  failed_at TEXT,
  error_message TEXT,
  event_id TEXT,
  event_content TEXT,
  error_hash_code INTEGER,
  title TEXT,
  retries INTEGER NOT NULL DEFAULT 0,
  tags TEXT
);
CREATE INDEX failed_events_feed_uri_idx ON failed_events (feed_uri);
CREATE TABLE failed_event_retry_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  feed_uri TEXT,
  failed_at TEXT,
  error_message TEXT,
  event_id TEXT,
  event_content TEXT,
  error_hash_code INTEGER
);
CREATE INDEX failed_event_retry_log_event_idx ON failed_event_retry_log (event_id, feed_uri);
