-- schema-1.sql - an empty file to version 1 of the store. Times are Unix seconds, UTC.
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE machine(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, hostname TEXT NOT NULL,
  info_json TEXT NOT NULL CHECK(json_valid(info_json))) STRICT;
CREATE TABLE build(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, git_sha TEXT NOT NULL,
  git_dirty INTEGER NOT NULL CHECK(git_dirty IN(0,1)), tree_sha256 TEXT NOT NULL, compiler TEXT NOT NULL,
  cflags TEXT NOT NULL, blas TEXT NOT NULL, cuda TEXT, binary_sha256 TEXT NOT NULL,
  info_json TEXT NOT NULL CHECK(json_valid(info_json))) STRICT;
CREATE TABLE commit_order(branch TEXT NOT NULL, git_sha TEXT NOT NULL, seq INTEGER NOT NULL,
  parent_sha TEXT, commit_time INTEGER NOT NULL,
  PRIMARY KEY(branch,git_sha), UNIQUE(branch,seq)) STRICT, WITHOUT ROWID;
CREATE TABLE run(id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE,
  machine_id INTEGER NOT NULL REFERENCES machine(id), build_id INTEGER NOT NULL REFERENCES build(id),
  branch TEXT NOT NULL,
  kind TEXT NOT NULL CHECK(kind IN('nightly','ab','bisect','manual','calibration')),
  peer_run_id INTEGER REFERENCES run(id), started_at INTEGER NOT NULL, ended_at INTEGER, seed INTEGER,
  status TEXT NOT NULL CHECK(status IN('running','ok','failed','quarantined')),
  env_json TEXT NOT NULL CHECK(json_valid(env_json)), artifact_sha256 TEXT) STRICT;
CREATE TABLE series(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, bench TEXT NOT NULL,
  params_json TEXT NOT NULL CHECK(json_valid(params_json)), metric TEXT NOT NULL, unit TEXT NOT NULL,
  direction INTEGER NOT NULL CHECK(direction IN(-1,0,1)),   -- -1 smaller is better, 0 neither
  class TEXT NOT NULL CHECK(class IN('time','memory','count','quality','hash')),
  machine_id INTEGER REFERENCES machine(id), branch TEXT NOT NULL, suite_version TEXT NOT NULL,
  dataset_sha256 TEXT) STRICT;
CREATE TABLE sample(series_id INTEGER NOT NULL REFERENCES series(id),
  run_id INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,
  process_idx INTEGER NOT NULL, rep_idx INTEGER NOT NULL,   -- quality: the seed, 0
  value REAL, text_value TEXT, iterations INTEGER,
  status INTEGER NOT NULL DEFAULT 0,                        -- 0 ok 1 nan 2 inf 3 error 4 skipped
  PRIMARY KEY(series_id,run_id,process_idx,rep_idx),
  CHECK(status<>0 OR (value IS NULL)<>(text_value IS NULL))) STRICT, WITHOUT ROWID;
CREATE TABLE point(series_id INTEGER NOT NULL REFERENCES series(id),
  run_id INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE, n_process INTEGER NOT NULL,
  n_sample INTEGER NOT NULL,
  median REAL NOT NULL,          -- of process medians; quality: mean over seeds; hash: its first 52 bits
  mad REAL NOT NULL, min REAL NOT NULL, p25 REAL, p75 REAL, ci_lo REAL, ci_hi REAL,
  hampel INTEGER NOT NULL DEFAULT 0 CHECK(hampel IN(0,1)),
  PRIMARY KEY(series_id,run_id)) STRICT, WITHOUT ROWID;
CREATE TABLE policy(id INTEGER PRIMARY KEY, match_glob TEXT NOT NULL, class TEXT, min_rel REAL NOT NULL,
  alpha REAL NOT NULL, cp_p REAL NOT NULL, min_seg INTEGER NOT NULL, pairs INTEGER NOT NULL,
  gate INTEGER NOT NULL CHECK(gate IN(0,1)), priority INTEGER NOT NULL, owner TEXT) STRICT;
CREATE TABLE changepoint(id INTEGER PRIMARY KEY, series_id INTEGER NOT NULL REFERENCES series(id),
  algo TEXT NOT NULL, algo_version INTEGER NOT NULL, prev_run_id INTEGER NOT NULL REFERENCES run(id),
  run_id INTEGER NOT NULL REFERENCES run(id), n_left INTEGER NOT NULL, n_right INTEGER NOT NULL,
  median_left REAL NOT NULL, median_right REAL NOT NULL, rel_change REAL NOT NULL,
  p_value REAL NOT NULL, detected_at INTEGER NOT NULL, retired_at INTEGER,
  UNIQUE(series_id,algo,algo_version,run_id)) STRICT;
CREATE TABLE alert(id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK(kind IN('regression','improvement','quality','hash','missing','infra')),
  state TEXT NOT NULL CHECK(state IN('detected','confirmed','triaged','acknowledged','fixed','verified',
    'wontfix','invalid','expired')),
  branch TEXT NOT NULL, machine_id INTEGER REFERENCES machine(id), seq_lo INTEGER NOT NULL,
  seq_hi INTEGER NOT NULL, title TEXT NOT NULL, bug_url TEXT, owner TEXT, created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, duplicate_of INTEGER REFERENCES alert(id)) STRICT;
CREATE TABLE alert_item(alert_id INTEGER NOT NULL REFERENCES alert(id) ON DELETE CASCADE,
  changepoint_id INTEGER NOT NULL REFERENCES changepoint(id), confirmed INTEGER CHECK(confirmed IN(0,1)),
  ab_ratio REAL, ab_lo REAL, ab_hi REAL, PRIMARY KEY(alert_id,changepoint_id)) STRICT, WITHOUT ROWID;
CREATE TABLE alert_event(id INTEGER PRIMARY KEY,
  alert_id INTEGER NOT NULL REFERENCES alert(id) ON DELETE CASCADE, at INTEGER NOT NULL,
  actor TEXT NOT NULL, from_state TEXT, to_state TEXT, note TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE annotation(id INTEGER PRIMARY KEY, series_glob TEXT NOT NULL, branch TEXT NOT NULL,
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK(kind IN('new_baseline','ignore','machine_change','dataset_change','note')),
  text TEXT NOT NULL, author TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE blob(sha256 TEXT PRIMARY KEY, media_type TEXT NOT NULL, bytes BLOB NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE INDEX ix_point_run ON point(run_id);
CREATE INDEX ix_run_build ON run(build_id,machine_id);
CREATE INDEX ix_alert_state ON alert(state);
CREATE INDEX ix_changepoint_run ON changepoint(run_id);

-- The pattern is matched against BENCH:METRIC; the highest priority that matches counts. min_rel of
-- shares (sparsity.dead_share, recovery.*) is an absolute difference.
INSERT INTO policy(match_glob,class,min_rel,alpha,cp_p,min_seg,pairs,gate,priority) VALUES
  ('*',                             'time',    0.02,  0.01, 1e-3, 4, 10, 1, 0),
  ('*:cpu_time',                    'time',    0.02,  0.01, 1e-3, 4, 10, 0, 10),
  ('gpu*:real_time',                'time',    0.03,  0.01, 1e-3, 4, 10, 1, 10),
  ('*tokens*:real_time',            'time',    0.03,  0.01, 1e-3, 4, 10, 0, 10),
  ('*',                             'memory',  0.01,  0.01, 1e-3, 4, 10, 1, 0),
  ('*',                             'count',   0,     0.01, 1e-3, 4, 10, 1, 0),
  ('*:instructions*',               'count',   0.005, 0.01, 1e-3, 4, 8,  1, 10),
  ('*',                             'hash',    0,     0.01, 1e-3, 4, 10, 1, 0),
  ('*',                             'quality', 0.005, 0.01, 1e-3, 4, 10, 1, 0),
  ('*:downstream.*',                'quality', 0.002, 0.01, 1e-3, 4, 10, 1, 10),
  ('*:sparsity.dead_share',         'quality', 0.005, 0.01, 1e-3, 4, 10, 0, 10),
  ('*:recovery.*',                  'quality', 0.01,  0.01, 1e-3, 4, 10, 0, 10);
