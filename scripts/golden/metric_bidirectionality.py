"""scripts/golden/metric_bidirectionality.py - writes the golden file of that family from the
definitions: python3 scripts/golden/metric_bidirectionality.py, in the repository's root."""
import math
import random
import statistics

from metric import entries, group, jackknife, mix, number, world, write

D, N, B = 3, 5, 160


def moments(values):
    """Sarle's coefficient of the values."""
    n, m = len(values), math.fsum(values) / len(values)
    m2, m3, m4 = (math.fsum((v - m) ** k for v in values) / n for k in (2, 3, 4))
    return (m3 ** 2 / m2 ** 3 + 1) / (m4 / m2 ** 2) if m2 > 1e-12 else math.nan


def feature_rows(case, least, events):
    of = [[v for _, j, v in case["code"] if j == f and v] for f in range(N)]
    alive = [f for f in of if f]
    sides = [(sum(v > 0 for v in f), sum(v < 0 for v in f)) for f in alive]
    balance = [2 * min(s) / sum(s) for s in sides]
    shape = [b for b in map(moments, alive) if not math.isnan(b)]
    two = [b >= least and min(s) >= events for b, s in zip(balance, sides)]
    return {"balance": sum(balance) / len(alive),
            "balance_pooled": 2 * sum(map(min, sides)) / sum(map(sum, sides)),
            "two_sided_share": sum(two) / len(alive), "bimodality": sum(shape) / len(shape)}


def order(case):
    def key(i):
        doc, pos, _ = case["tok"][i]
        return mix(mix(doc) ^ (pos + 1))
    return sorted(range(B), key=key)


def tests(doc):
    return mix(doc ^ 0x6C6162656C6C6564) >> 54 < 512


def flips(a, b):
    def median(row):
        return statistics.median(abs(v) for _, v in row)
    if not a or not b:
        return False
    b_of, ma, mb = dict(b), median(a), median(b)
    return any(j in b_of and v * b_of[j] < 0 and abs(v) >= ma and abs(b_of[j]) >= mb for j, v in a)


def auc(a, b):
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))


def pole_rows(case, label):
    rows = [[(j, v) for j, v in row if v] for row in entries(case)]
    last = len(label["classes"]) - 1
    train, test = [[], []], [[], []]
    for i in order(case):
        if label["of"][i] in (0, last):
            side = test if tests(case["tok"][i][0]) else train
            side[int(label["of"][i] != 0)].append(i)
    assert min(map(len, train + test)) >= 8
    z = lambda i, f: dict(rows[i]).get(f, 0.0)
    mean = lambda side, f: sum(f(i) for i in side) / len(side)
    best = None
    for f in range(N):
        on = [abs(z(i, f)) for side in train for i in side if z(i, f)]
        delta = mean(train[0], lambda i: z(i, f)) - mean(train[1], lambda i: z(i, f))
        score = abs(delta) * len(on) / sum(on) if on else 0
        if best is None or score > best[0]:
            best = score, f, -1 if delta < 0 else 1
    _, f, sign = best
    r = [mean(train[0], lambda i: case["x"][i][k]) - mean(train[1], lambda i: case["x"][i][k])
         for k in range(D)]
    flip = [(i, j, flips(rows[i], rows[j])) for i, j in zip(*test)]
    same = [(i, j, flips(rows[i], rows[j])) for i, j in zip(test[0][::2], test[0][1::2])]
    clip = lambda i: sign * max(z(i, f), 0)
    line = lambda i: sum(u * v for u, v in zip(case["x"][i], r))
    atom = case["W_dec"][f]
    dot = lambda u, v: sum(p * q for p, q in zip(u, v))
    group_of = lambda i: group(case["tok"][i][0])

    def figures(groups):
        """Of the test rows of these groups; pairs of which both rows are."""
        a, b = ([i for i in side if group_of(i) in groups] for side in test)
        share = lambda pairs: mean([told for i, j, told in pairs
                                    if group_of(i) in groups and group_of(j) in groups], float)
        return {"sign_flips": share(flip), "sign_flips_same_pole": share(same),
                "latent_auc": auc([sign * z(i, f) for i in a], [sign * z(i, f) for i in b]),
                "latent_auc_stock": auc([clip(i) for i in a], [clip(i) for i in b]),
                "dim_auc": auc([line(i) for i in a], [line(i) for i in b]),
                "opposed": (mean(a, lambda i: sign * z(i, f) > 0) +
                            mean(b, lambda i: sign * z(i, f) < 0)) / 2}

    names = sorted({group_of(i) for side in test for i in side})
    of = figures(names)
    se = {k: jackknife([(g,) for g in names], lambda kept: figures({g for g, in kept})[k])
          for k in of}
    of["dim_cosine"] = abs(dot(atom, r)) / math.sqrt(dot(atom, atom) * dot(r, r))
    return of, se


def case(seed, events, **more):
    c = world(seed, B, D, N, signed=True)
    c.update(more, metric=f"bidirectionality:events={events}", signed=True)
    r = random.Random(seed)
    of = [r.randint(-1, 1) if r.random() < 0.3 else 0 if dict(row).get(2, 0) > 0 else 1
          for row in entries(c)]
    c["labels"] = [{"name": "other", "bidirectional": False, "classes": ["p", "q"], "of": of},
                   {"name": "mood", "bidirectional": True, "classes": ["a", "b"], "of": of}]
    rows = feature_rows(c, 0.1, events)
    poles, se = pole_rows(c, c["labels"][1])
    rows.update(poles)
    c["rows"] = {k: number(v, 64) for k, v in rows.items()}
    c["se"] = {k: number(se.get(k), 64) for k in rows}
    c["series"] = {"latent_auc": [[1, number(rows["latent_auc"], 1)]]}
    return c


write("bidirectionality", D, N, [case(1, 1), case(2, 20)])
