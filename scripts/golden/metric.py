"""scripts/golden/metric.py - what the golden scripts of metrics share: small data, standard errors
from their definitions (metrics/README.md), and the file format (tests/golden/README.md).

A number is written as [value, size]: a computation in precision u with fewer than m roundings on
any path is off by at most m u size.
"""
import json
import math
import random
from fractions import Fraction

MASK = (1 << 64) - 1


def mix(v):
    v = (v + 0x9E3779B97F4A7C15) & MASK
    v = ((v ^ (v >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    v = ((v ^ (v >> 27)) * 0x94D049BB133111EB) & MASK
    return v ^ (v >> 31)


def group(doc):
    return mix(doc) >> 56


def jackknife(groups, value):
    """Standard error of value(rows) for rows = list of (group, ...): delete one group at a time."""
    names = sorted({g[0] for g in groups})
    if len(names) < 2:
        return math.nan
    t = [value([g for g in groups if g[0] != name]) for name in names]
    mean = math.fsum(t) / len(t)
    return math.sqrt((len(t) - 1) / len(t) * math.fsum((v - mean) ** 2 for v in t))


def quantile(values, q):
    s = sorted(values)
    if not s:
        return math.nan
    h = q * (len(s) - 1)
    i = int(h)
    return s[-1] if i + 1 >= len(s) else s[i] + (h - i) * (s[i + 1] - s[i])


def quantile_se(pairs, q):
    """Woodruff's: pairs of (group, value)."""
    at = quantile([v for _, v in pairs], q)
    e = jackknife(pairs, lambda rows: sum(v <= at for _, v in rows) / len(rows))
    if math.isnan(e) or q - e < 0 or q + e > 1:
        return math.nan
    values = [v for _, v in pairs]
    return (quantile(values, q + e) - quantile(values, q - e)) / 2


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def norm(v):
    v = list(v)
    return math.sqrt(dot(v, v))


def unit(v):
    return [c / norm(v) for c in v] if norm(v) > 0 else v


def cosine(a, b):
    return dot(unit(a), unit(b))


def solve(a, b):
    """Gauss, exactly."""
    n = len(b)
    m = [[Fraction(v) for v in row] + [Fraction(c)] for row, c in zip(a, b)]
    for i in range(n):
        m[i] = [v / m[i][i] for v in m[i]]
        for k in range(n):
            if k != i:
                m[k] = [v - m[k][i] * w for v, w in zip(m[k], m[i])]
    return [float(row[-1]) for row in m]


def pursuit(x, atoms, steps):
    """Orthogonal matching pursuit over unit atoms: {atom: coefficient}."""
    taken, value, rest = [], [], x
    for _ in range(steps):
        free = [j for j in range(len(atoms)) if j not in taken]
        taken.append(max(free, key=lambda j: abs(dot(rest, atoms[j]))))
        gram = [[dot(atoms[p], atoms[q]) for q in taken] for p in taken]
        value = solve(gram, [dot(x, atoms[p]) for p in taken])
        rest = [v - dot(value, [atoms[p][k] for p in taken]) for k, v in enumerate(x)]
    return dict(zip(taken, value))


def number(value, size=None, single=False):
    if value is None or math.isnan(value):
        return None
    out = [value, abs(value) if size is None else size]
    return out + [True] if single else out


def ratio(a, b):
    return lambda rows: math.fsum(a(v) for v in rows) / math.fsum(b(v) for v in rows)


def one(_):
    return 1.0


def put(out, se, key, rows, f, size, single=False):
    """A value of rows = list of (group, ...), and its standard error."""
    out[key] = number(f(rows), size, single)
    se[key] = number(jackknife(rows, f), 64 * size, single)


def logprob(head, x):
    """A language model without attention: logits head x."""
    z = [dot(h, x) for h in head]
    total = math.log(math.fsum(map(math.exp, z)))
    return [v - total for v in z]


def world(seed, B, d, n, signed=False, per_row=3):
    """Rows, decoded rows and codes that are small multiples of 1/8; documents of some rows."""
    r = random.Random(seed)
    eighth = lambda m: r.randint(-m, m) / 8
    code = []
    for i in range(B):
        for j in sorted(r.sample(range(n), r.randint(1, per_row))):
            v = r.randint(1, 16) / 8
            code.append([i, j, -v if signed and r.random() < 0.4 else v])
    x = [[eighth(24) for _ in range(d)] for _ in range(B)]
    tok, doc, pos = [], 0, 0
    for i in range(B):
        tok.append([doc, pos, r.randint(0, 9)])
        doc, pos = (doc + 1, 0) if r.random() < 0.4 else (doc, pos + 1)
    return {"x": x, "xhat": [[v + eighth(4) for v in row] for row in x], "code": code, "tok": tok,
            "W_dec": [[eighth(8) for _ in range(d)] for _ in range(n)]}


def passes(seed, tok):
    """Losses of a language model over the documents of tok, a BOS before each (position 0, no row
    of the case): every position that predicts a token, then the last one of every document."""
    r = random.Random(seed)
    docs = sorted({t[0] for t in tok})
    at = {doc: [[doc, 0, 0]] + [[doc, t[1] + 1, t[2]] for t in tok if t[0] == doc] for doc in docs}
    order = [t for doc in docs for t in at[doc][:-1]] + [at[doc][-1] for doc in docs]
    T = len(order) - len(docs)
    low = {"ce_clean": 1, "ce_splice": 1.5, "ce_zero": 6, "ce_mean": 4, "kl_splice": 0.5,
           "kl_zero": 5, "ce_zero_all": 8, "kl_zero_all": 7}
    out = {k: [v + r.randint(0, 8) / 8 for _ in order[:None if k[:2] == "kl" else T]]
           for k, v in low.items()}
    out.update(T=T, tok=order, kept=[int(t[1] > 0) for t in order],
               top_clean=[r.randint(0, 2) for _ in order],
               top_splice=[r.randint(0, 2) for _ in order])
    return out


def entries(case):
    """The code of every row: lists of (feature, value)."""
    rows = [[] for _ in case["x"]]
    for i, j, v in case["code"]:
        rows[i].append((j, v))
    return rows


def write(name, d, n, cases):
    path = f"tests/golden/data/metrics/{name}.json"
    text = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    with open(path, "w") as f:
        f.write('{"d":%d,"n":%d,"cases":[\n%s\n]}\n' % (d, n, text))
