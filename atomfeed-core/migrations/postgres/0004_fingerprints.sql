-- Ours: what the pages at a public URL were last rendered with: when that changes, so do pages that caches
-- hold for ever.
CREATE TABLE atomfeed_fingerprints (
  url_key VARCHAR(36) NOT NULL PRIMARY KEY,
  public_url TEXT NOT NULL,
  fingerprint VARCHAR(36) NOT NULL
);
