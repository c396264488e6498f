-- What other programs publish, with INSERT INTO event_records_queue (uuid, title, object, category),
-- and what of it cannot be moved into event_records, with the reason.
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
CREATE TABLE atomfeed_set_aside (
  queue_id INTEGER PRIMARY KEY,
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
