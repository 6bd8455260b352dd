"""Labelled rows for the golden vectors of probes, and what their documents' hashes decide.

Float64 in plain Python, from the definitions in suite/include/sae/{groups,labelled}.h's comments and
metrics/README.md; nothing here follows the C code.
"""
import math
import random

from metric import group as group_of, jackknife as metric_jackknife, mix


def part_of(doc):
    u = mix(doc ^ 0x6C6162656C6C6564) >> 54
    return "test" if u < 512 else "valid" if u < 614 else "fit"


def order_of(tok):
    """Row numbers in the order of their hashes."""
    return sorted(range(len(tok)), key=lambda i: mix(mix(tok[i][0]) ^ (tok[i][1] + 1)))


def eighth(v):
    return round(v * 8) / 8


def make_rows(seed, docs, length, d, n, labels, negative):
    """Rows whose label classes move x and the codes; all numbers are multiples of 1/8."""
    rng = random.Random(seed)
    rows = {"tok": [], "x": [], "xhat": [], "z": [], "of": [[] for _ in labels]}
    centre = [[[rng.gauss(0, 1) for _ in range(d)] for _ in range(c)] for c in labels]
    home = [[rng.sample(range(n), 2) for _ in range(c)] for c in labels]
    for doc in range(docs):
        for pos in range(length):
            x = [rng.gauss(0, 1) for _ in range(d)]
            z = [rng.gauss(-1, 1) for _ in range(n)]
            for l, classes in enumerate(labels):
                c = rng.randrange(classes) if rng.random() < 0.9 else -1
                rows["of"][l].append(c)
                if c < 0:
                    continue
                x = [a + b for a, b in zip(x, centre[l][c])]
                for i, j in enumerate(home[l][c]):
                    z[j] += 1.5 if i == 0 or not negative else -1.5
            keep = [v if v > 0 or (negative and v < -2) else 0.0 for v in z]
            rows["tok"].append([doc, pos, 0])
            rows["x"].append([eighth(v) for v in x])
            rows["xhat"].append([eighth(0.8 * v + 0.3 * rng.gauss(0, 1)) for v in x])
            rows["z"].append([eighth(v) for v in keep])
    return rows


def case_of(metric, rows, labels, extra):
    """The input part of a case of tests/golden/data/metrics."""
    code = [[r, j, v] for r, z in enumerate(rows["z"]) for j, v in enumerate(z) if v != 0]
    names = [{"name": f"label{l}", "bidirectional": False,
              "classes": [f"c{k}" for k in range(c)], "of": rows["of"][l]}
             for l, c in enumerate(labels)]
    return {"metric": metric, "tok": rows["tok"], "x": rows["x"], "xhat": rows["xhat"],
            "code": code, "labels": names, **extra}


def solve(a, b):
    """Gaussian elimination with partial pivoting."""
    m = [row[:] + [v] for row, v in zip(a, b)]
    size = len(m)
    for i in range(size):
        p = max(range(i, size), key=lambda r: abs(m[r][i]))
        m[i], m[p] = m[p], m[i]
        for r in range(i + 1, size):
            f = m[r][i] / m[i][i]
            for c in range(i, size + 1):
                m[r][c] -= f * m[i][c]
    out = [0.0] * size
    for i in reversed(range(size)):
        out[i] = (m[i][size] - sum(m[i][c] * out[c] for c in range(i + 1, size))) / m[i][i]
    return out


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def lda(x, on, ridge=1e-8):
    """(w, b): W^-1 (m1 - m0) with the covariance within classes, and its threshold in the middle."""
    d, count = len(x[0]), len(x)
    mean = [math.fsum(r[j] for r in x) / count for j in range(d)]
    mid = [[math.fsum(r[j] for r, o in zip(x, on) if o == k) / on.count(k) for j in range(d)]
           for k in (0, 1)]
    p = on.count(1) / count
    delta = [a - b for a, b in zip(mid[1], mid[0])]
    total = [[math.fsum((r[i] - mean[i]) * (r[j] - mean[j]) for r in x) / count for j in range(d)]
             for i in range(d)]
    within = [[total[i][j] * (1 + ridge * (i == j)) - p * (1 - p) * delta[i] * delta[j]
               for j in range(d)] for i in range(d)]
    w = solve(within, delta)
    return w, -dot(w, [(a + b) / 2 for a, b in zip(*mid)])


def jackknife(groups, value):
    """value(g): without the rows of group g; the standard error over the groups."""
    names = sorted(groups)
    return metric_jackknife([(g,) for g in names],
                            lambda kept: value((set(names) - {g for g, in kept}).pop()))
