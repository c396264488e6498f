-- Ours: what the pages at a public URL were last rendered with: when that changes, so do pages that caches
-- hold for ever.
CREATE TABLE IF NOT EXISTS atomfeed_fingerprints (
  url_key VARCHAR(36) NOT NULL PRIMARY KEY,
  public_url LONGTEXT NOT NULL,
  fingerprint VARCHAR(36) NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
