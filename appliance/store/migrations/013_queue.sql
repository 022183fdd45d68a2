-- Who may put something into the queue. The budget is counted for each of them.
CREATE TABLE tenant (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,      -- Unix seconds
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1))  -- 0: nothing new is taken
) STRICT, WITHOUT ROWID;

-- Who speaks if nobody is named: the appliance itself.
INSERT INTO tenant VALUES ('system', 0, 1);

-- What is to be logged, with the exact bytes that are posted, from before the first attempt
-- until for ever. Rows are never deleted: adding the same again has to find them.
CREATE TABLE queue_item (
    number      INTEGER PRIMARY KEY,  -- order of arrival
    id          TEXT NOT NULL UNIQUE CHECK (length(id) = 64),  -- SHA-256 of tenant, LF, request; hex
    tenant      TEXT NOT NULL REFERENCES tenant (name),
    tier        TEXT NOT NULL CHECK (tier IN ('graph', 'edge')),
    edge_trigger TEXT CHECK (edge_trigger IN ('cvss', 'policy-gate', 'escalation')),  -- NULL: graph
    priority    INTEGER NOT NULL CHECK (priority >= 0),  -- higher first, within a tenant
    kind        TEXT NOT NULL CHECK (kind IN ('hashedrekord', 'dsse')),  -- of the request
    api_version INTEGER NOT NULL CHECK (api_version IN (1, 2)),  -- of the Rekor it is made for
    request     BLOB NOT NULL,        -- byte for byte what is posted
    unfinished  BLOB,                 -- Sigstore bundle that lacks the log entry; NULL: made elsewhere
    stamp       BLOB,                 -- RFC 3161 response over the signature; NULL: none
    site        TEXT,                 -- came from there in a transfer bundle; NULL: added here
    site_id     TEXT CHECK (length(site_id) = 64),  -- its id there
    state       TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'postponed', 'exported',
                    'aggregated', 'logged', 'refused', 'cancelled', 'proven-inside')),  -- the last four are final
    created_at  INTEGER NOT NULL,     -- Unix seconds
    changed_at  INTEGER NOT NULL,     -- Unix seconds, when it came into this state
    next_at     INTEGER NOT NULL,     -- Unix seconds; not sent before
    attempts    INTEGER NOT NULL DEFAULT 0,
    reason      TEXT NOT NULL DEFAULT '',  -- why it is not logged, one word
    message     TEXT NOT NULL DEFAULT '',  -- and in a sentence
    returned_at INTEGER,              -- Unix seconds, when its site was told the end; NULL: not yet
    CHECK ((edge_trigger IS NULL) = (tier = 'graph')),
    CHECK ((site IS NULL) = (site_id IS NULL))
) STRICT;

CREATE INDEX queue_item_due ON queue_item (state, tenant, tier, priority DESC, number);
CREATE UNIQUE INDEX queue_item_site ON queue_item (site, site_id) WHERE site IS NOT NULL;

-- Every time an item was sent. The row is there before the first byte leaves.
CREATE TABLE queue_attempt (
    item       INTEGER NOT NULL REFERENCES queue_item (number),
    attempt    INTEGER NOT NULL CHECK (attempt > 0),
    started_at INTEGER NOT NULL,      -- Unix seconds
    ended_at   INTEGER,               -- Unix seconds; NULL: under way, or we died
    url        TEXT NOT NULL,         -- of the log
    outcome    TEXT NOT NULL DEFAULT '',  -- logged, duplicate, or why not in one word
    message    TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (item, attempt)
) STRICT, WITHOUT ROWID;

-- The proof for each logged item, verified under the pinned key before the row was written.
CREATE TABLE queue_receipt (
    item        INTEGER PRIMARY KEY REFERENCES queue_item (number),
    log_id      INTEGER NOT NULL REFERENCES log (id),
    log_index   INTEGER NOT NULL CHECK (log_index >= 0),  -- v1: over all shards
    entry       BLOB NOT NULL,        -- TransparencyLogEntry, JSON
    verified_at INTEGER NOT NULL      -- Unix seconds
) STRICT;

-- What counts against a budget, in budget time (policy/budget.py): written before the first
-- byte leaves, as late as the log could take it; corrected once it is known.
CREATE TABLE budget_spend (
    id        INTEGER PRIMARY KEY,
    tenant    TEXT NOT NULL REFERENCES tenant (name),
    tier      TEXT NOT NULL CHECK (tier IN ('graph', 'edge')),
    counts_at INTEGER NOT NULL,       -- budget seconds
    item      INTEGER NOT NULL REFERENCES queue_item (number),
    attempt   INTEGER NOT NULL,
    UNIQUE (item, attempt)
) STRICT;

CREATE INDEX budget_spend_window ON budget_spend (tenant, tier, counts_at);

-- Budget time never goes back, whatever the clock does: this is where it had got.
CREATE TABLE budget_clock (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    budget_time INTEGER NOT NULL,     -- seconds
    wall        INTEGER NOT NULL,     -- Unix seconds, our clock
    boot        TEXT NOT NULL,        -- which start of the machine; empty: unknown
    uptime      INTEGER NOT NULL      -- seconds since then
) STRICT;

CREATE VIEW v_queue AS
    SELECT number, queue_item.id, tenant, tier, edge_trigger, priority, kind,
           queue_item.api_version, state,
           strftime('%Y-%m-%dT%H:%M:%SZ', created_at, 'unixepoch') AS created_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', changed_at, 'unixepoch') AS changed_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', next_at, 'unixepoch') AS next_at,
           attempts, reason, message, site, log.origin, log_index
      FROM queue_item LEFT JOIN queue_receipt ON item = number
                      LEFT JOIN log ON log.id = queue_receipt.log_id;

-- What each tenant used of its windows. They slide: the last "reset" is where they begin.
CREATE VIEW v_quota AS
    WITH clock AS (
        SELECT coalesce(max(budget_time + max(0, CAST(strftime('%s', 'now') AS INTEGER) - wall)),
                        CAST(strftime('%s', 'now') AS INTEGER)) AS at
          FROM budget_clock
    )
    SELECT tenant.name AS tenant,
           (SELECT count(*) FROM budget_spend AS s WHERE s.tenant = tenant.name
               AND s.tier = 'graph' AND s.counts_at >= clock.at - 3600) AS hourly_count,
           (SELECT count(*) FROM budget_spend AS s WHERE s.tenant = tenant.name
               AND s.tier = 'edge' AND s.counts_at >= clock.at - 86400) AS daily_bundle_count,
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hour') AS hour_from,
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day') AS day_from
      FROM tenant, clock;

CREATE VIEW rekor_quotas AS
    SELECT tenant AS tenant_id, hourly_count, daily_bundle_count,
           hour_from AS last_reset_hour, day_from AS last_reset_day
      FROM v_quota;

CREATE VIEW rekor_offline_queue AS
    SELECT id, tenant AS tenant_id, tier, request AS payload,
           strftime('%Y-%m-%dT%H:%M:%SZ', created_at, 'unixepoch') AS created_at, priority
      FROM queue_item WHERE state IN ('queued', 'sending', 'postponed');
