"""scripts/golden/metric_attribution.py - writes the golden file of that family from the definitions
of metrics/attribution.md: python3 scripts/golden/metric_attribution.py, in the repository's root.

Gradients come in float, which is why values are marked as float; the ranks of latents are apart.
"""
import math
import random

from metric import dot, entries, group, logprob, number, put, world, write

D, N, B, V = 4, 9, 60, 6


def loss(lm, i, x):
    return -logprob(lm["head"], x)[lm["next"][i]]


def gradient(lm, i, x):
    """Of the loss at x: the mean row of the head, as the model expects tokens, less the token's."""
    p = [math.exp(v) for v in logprob(lm["head"], x)]
    return [math.fsum(q * h[k] for q, h in zip(p, lm["head"])) - lm["head"][lm["next"][i]][k]
            for k in range(D)]


def chosen(c, count, rows):
    """Evenly spaced by rank among those that fired often enough; all by number when unknown."""
    often, count = range(N), min(count, N)
    if "stats" in c:
        fires, tokens = c["stats"]["fire_count"], c["stats"]["tokens"]
        ranked = sorted(range(N), key=lambda j: (-fires[j], j))
        often = [j for j in ranked if fires[j] / tokens * rows >= 8]
        often = often if len(often) >= count else ranked
    return [often[k * len(often) // count] for k in range(count)]


def effects(c, i, latents):
    """(attributed, removed) of every latent on one row."""
    z, x, s = dict(entries(c)[i]), c["x"][i], c["norm"][i][0]
    g, clean, out = gradient(c["lm"], i, x), loss(c["lm"], i, x), []
    for j in latents:
        part = [s * z.get(j, 0.0) * w for w in c["W_dec"][j]]
        after = loss(c["lm"], i, [a - b for a, b in zip(x, part)])
        out.append((-dot(part, g), after - clean))
    return out


def totals(rows):
    """Pairs of sums over rows = list of (group, pairs)."""
    return [tuple(math.fsum(v) for v in zip(*pairs)) for pairs in zip(*(r[1] for r in rows))]


def pearson(pairs):
    a, b = zip(*pairs)
    ma, mb = math.fsum(a) / len(a), math.fsum(b) / len(b)
    aa = math.fsum((v - ma) ** 2 for v in a)
    bb = math.fsum((v - mb) ** 2 for v in b)
    ab = math.fsum((v - ma) * (w - mb) for v, w in pairs)
    return ab / math.sqrt(aa * bb) if aa * bb > 0 else math.nan


def ranks(values):
    """Equal values share theirs."""
    apart = [abs(v - w) for v in values for w in values]
    assert all(a == 0 or a > 1e-4 for a in apart)
    return [sum(w < v for w in values) + sum(w == v for w in values) / 2 for v in values]


def rank_correlation(rows):
    return pearson(list(zip(*map(ranks, zip(*totals(rows))))))


def slope(rows):
    sums = totals(rows)
    aa = math.fsum(a * a for a, _ in sums)
    return math.fsum(a * b for a, b in sums) / aa if aa > 0 else math.nan


def effect(rows):
    sums = totals(rows)
    return math.fsum(abs(b) for _, b in sums) / len(sums) / len(rows)


def by_group(rows):
    return [p for g in sorted({r[0] for r in rows}) for p in totals([r for r in rows if r[0] == g])]


def measure(c, latents, first):
    take = chosen(c, latents, first)
    rows = [(group(t[0]), effects(c, i, take)) for i, t in enumerate(c["tok"][:first])]
    out, se, single = {}, {}, lambda v: number(v, 1 / 16, True)
    put(out, se, "correlation", rows, lambda r: pearson(totals(r)), 1 / 16, True)
    put(out, se, "rank_correlation", rows, rank_correlation, 1)
    put(out, se, "slope", rows, slope, 1 / 16, True)
    put(out, se, "effect", rows, effect, 1)
    out["pair_correlation"], se["pair_correlation"] = single(pearson(by_group(rows))), None
    mean = [(a / len(rows), b / len(rows)) for a, b in totals(rows)]
    series = {"attributed": [[j, single(a)] for j, (a, _) in zip(take, mean)],
              "removed": [[j, number(b, 1)] for j, (_, b) in zip(take, mean)]}
    c.update(metric=f"attribution:latents={latents},rows={first}", rows=out, se=se, series=series)
    return c


def data(seed, signed, stats=None):
    r, c = random.Random(seed), world(seed, B, D, N, signed=signed)
    del c["xhat"]
    c["code"] = [e for e in c["code"] if e[1] != 6]  # one never fires
    c["lm"] = {"head": [[r.randint(-12, 12) / 8 for _ in range(D)] for _ in range(V)],
               "next": [r.randrange(V) for _ in range(B)]}
    c["norm"] = [[r.choice([0.5, 1]), 0] for _ in range(B)]
    c.update(signed=signed, **({"stats": stats} if stats else {}))
    return c


silent = {**data(4, False), "code": []}
fires = [400, 900, 30, 200, 200, 7, 0, 120, 80]
write("attribution", D, N, [
    measure(data(1, False), 12, 50),
    measure(data(2, True, {"tokens": 1000, "fire_count": fires}), 3, 40),  # three of four
    measure(data(3, False, {"tokens": 1000, "fire_count": fires}), 5, 40),  # too few: five of all
    measure(silent, 4, 20),
    {**data(5, False), "metric": "attribution", "rows": {}}])
