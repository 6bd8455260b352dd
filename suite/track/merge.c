/* suite/track/merge.c - runs of another store: rows are matched by fingerprint, ids are ours. */
#include "track/import.h"

#include "core/error.h"

/* Commits come first, through C; alerts and change points are not copied: they are found again. */
static const char *const copies[] = {
    "INSERT INTO machine(fingerprint,hostname,info_json)"
    " SELECT fingerprint,hostname,info_json FROM other.machine WHERE true"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO build(fingerprint,git_sha,git_dirty,tree_sha256,compiler,cflags,blas,cuda,"
    "binary_sha256,info_json) SELECT fingerprint,git_sha,git_dirty,tree_sha256,compiler,cflags,"
    "blas,cuda,binary_sha256,info_json FROM other.build WHERE true ON CONFLICT DO NOTHING",
    "CREATE TEMP TABLE fresh AS SELECT id,uuid,peer_run_id FROM other.run"
    " WHERE uuid NOT IN (SELECT uuid FROM main.run)",
    "INSERT INTO run(uuid,machine_id,build_id,branch,kind,started_at,ended_at,seed,status,env_json,"
    "artifact_sha256) SELECT r.uuid,m.id,b.id,r.branch,r.kind,r.started_at,r.ended_at,r.seed,"
    "r.status,r.env_json,r.artifact_sha256 FROM other.run r JOIN other.machine om"
    " ON om.id=r.machine_id JOIN machine m ON m.fingerprint=om.fingerprint JOIN other.build ob"
    " ON ob.id=r.build_id JOIN build b ON b.fingerprint=ob.fingerprint"
    " WHERE r.id IN (SELECT id FROM fresh)",
    "UPDATE run SET peer_run_id=(SELECT p.id FROM fresh f JOIN other.run op ON op.id=f.peer_run_id"
    " JOIN run p ON p.uuid=op.uuid WHERE f.uuid=run.uuid)"
    " WHERE uuid IN (SELECT uuid FROM fresh WHERE peer_run_id IS NOT NULL)",
    "INSERT INTO "
    "series(fingerprint,bench,params_json,metric,unit,direction,class,machine_id,branch,"
    "suite_version,dataset_sha256) SELECT e.fingerprint,e.bench,e.params_json,e.metric,e.unit,"
    "e.direction,e.class,m.id,e.branch,e.suite_version,e.dataset_sha256 FROM other.series e"
    " JOIN other.machine om ON om.id=e.machine_id JOIN machine m ON m.fingerprint=om.fingerprint"
    " WHERE true ON CONFLICT DO NOTHING",
    "INSERT INTO sample SELECT s.id,r.id,x.process_idx,x.rep_idx,x.value,x.text_value,x.iterations,"
    "x.status FROM fresh f JOIN run r ON r.uuid=f.uuid JOIN other.sample x ON x.run_id=f.id"
    " JOIN other.series e ON e.id=x.series_id JOIN series s ON s.fingerprint=e.fingerprint",
    "INSERT INTO point SELECT s.id,r.id,x.n_process,x.n_sample,x.median,x.mad,x.min,x.p25,x.p75,"
    "x.ci_lo,x.ci_hi,0 FROM fresh f JOIN run r ON r.uuid=f.uuid JOIN other.point x"
    " ON x.run_id=f.id JOIN other.series e ON e.id=x.series_id"
    " JOIN series s ON s.fingerprint=e.fingerprint",
    "INSERT OR IGNORE INTO blob SELECT sha256,media_type,bytes FROM other.blob",
    "INSERT INTO annotation(series_glob,branch,seq,kind,text,author,at)"
    " SELECT series_glob,branch,seq,kind,text,author,at FROM other.annotation EXCEPT"
    " SELECT series_glob,branch,seq,kind,text,author,at FROM annotation",
};

static int copy_commits(sae_store *s, sae_err *err)
{
    sqlite3_stmt *q;
    int64_t seq;
    SAE_TRY(sae_sql(s, &q, err, "SELECT branch,git_sha,parent_sha,seq FROM other.commit_order"
                    " ORDER BY branch,seq", ""));
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        rc = sae_import_commit(s, sae_sql_text(q, 0), sae_sql_text(q, 1),
                               sqlite3_column_type(q, 2) == SQLITE_NULL ? NULL : sae_sql_text(q, 2),
                               sqlite3_column_int64(q, 3), &seq, err);
        if (rc < 0)
            break;
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

static int copy(sae_store *s, int64_t *runs, sae_err *err)
{
    SAE_TRY(copy_commits(s, err));
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++)
        SAE_TRY(sae_sql_run(s, err, copies[i], ""));
    SAE_TRY(sae_sql_int(s, runs, err, "SELECT count(*) FROM fresh", ""));
    return sae_sql_run(s, err, "DROP TABLE fresh", "");
}

int sae_import_store(sae_store *s, const char *path, int64_t *runs, sae_err *err)
{
    sae_store *other;
    *runs = 0;
    SAE_TRY(sae_store_open(&other, path, 0, err)); /* brings its schema up to date */
    sae_store_close(&other);
    SAE_TRY(sae_sql_run(s, err, "ATTACH ? AS other", "t", path));
    int rc = sae_store_begin(s, err);
    if (rc >= 0)
        rc = sae_store_end(s, copy(s, runs, err), err);
    int detached = sae_sql_run(s, rc < 0 ? NULL : err, "DETACH other", "");
    return rc < 0 ? rc : detached;
}
