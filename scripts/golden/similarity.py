"""scripts/golden/similarity.py - writes tests/golden/data/similarity.json from the definitions in
suite/eval/similarity.md: python3 scripts/golden/similarity.py, in the repository's root."""
import json
import math
import random
from fractions import Fraction

N, DX, DY, ANCHORS = 40, 3, 4, 6


def product(a, b):
    return [[math.fsum(x * y for x, y in zip(row, col)) for col in zip(*b)] for row in a]


def transpose(a):
    return [list(c) for c in zip(*a)]


def centred(x):
    mean = [math.fsum(c) / len(x) for c in zip(*x)]
    return [[v - m for v, m in zip(row, mean)] for row in x]


def squares(a):
    return math.fsum(v * v for row in a for v in row)


def scaled(x):
    size = [math.sqrt(math.fsum(v * v for v in c)) for c in zip(*x)]
    return [[v / s for v, s in zip(row, size)] for row in x]


def cka(x, y, released):
    x, y = (scaled(centred(v)) if released else centred(v) for v in (x, y))
    return squares(product(transpose(x), y)) / math.sqrt(
        squares(product(transpose(x), x)) * squares(product(transpose(y), y)))


def eigen(a):
    """Jacobi: eigenvalues, descending, and eigenvectors as rows."""
    n, a = len(a), [row[:] for row in a]
    v = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(100):
        for p in range(n):
            for q in range(p + 1, n):
                if a[p][q] == 0:
                    continue
                angle = math.atan2(2 * a[p][q], a[q][q] - a[p][p]) / 2
                c, s = math.cos(angle), math.sin(angle)
                for m in (a, v):
                    for k in range(n):
                        if m is a:
                            a[k][p], a[k][q] = c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]
                for k in range(n):
                    a[p][k], a[q][k] = c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]
                    v[p][k], v[q][k] = c * v[p][k] - s * v[q][k], s * v[p][k] + c * v[q][k]
    order = sorted(range(n), key=lambda i: -a[i][i])
    return [a[i][i] for i in order], [v[i] for i in order]


def directions(x):
    """U (columns, unit) and S of the centred rows."""
    x = centred(x)
    w, v = eigen(product(transpose(x), x))
    s = [math.sqrt(k) for k in w]
    return [[c / k for c in col] for col, k in zip(transpose(product(x, transpose(v))), s)], s


def svcca(x, y, released):
    (ux, sx), (uy, sy) = directions(x), directions(y)
    a = [[math.fsum(p * q for p, q in zip(u, v)) for v in uy] for u in ux]
    m = product(a, transpose(a))
    if released:
        m = [[m[i][k] * sx[k] / sx[i] for k in range(len(m))] for i in range(len(m))]
        m = [[m[max(i, k)][min(i, k)] for k in range(len(m))] for i in range(len(m))]
    roots = [math.sqrt(max(w, 0)) for w in eigen(m)[0]]
    return math.fsum(roots) / (len(sx) if released else min(len(sx), len(sy)))


def solve(a, b):
    n = len(a)
    m = [[Fraction(v) for v in row] + [Fraction(v) for v in other] for row, other in zip(a, b)]
    for i in range(n):
        m[i] = [v / m[i][i] for v in m[i]]
        for k in range(n):
            if k != i:
                m[k] = [v - m[k][i] * w for v, w in zip(m[k], m[i])]
    return [[float(v) for v in row[n:]] for row in m]


def regression(x, y, released):
    a, b = (x, y) if released else (centred(x), centred(y))
    gram, both = product(transpose(a), a), product(transpose(a), b)
    ridge = 1e-6 * sum(gram[i][i] for i in range(DX)) / DX
    w = solve([[v + ridge * (i == j) for j, v in enumerate(r)] for i, r in enumerate(gram)], both)
    fit = math.fsum(p * q for r, s in zip(both, w) for p, q in zip(r, s))
    total = squares(centred(y))
    return 1 - (squares(b) - fit) / total if released else fit / total


def relative(x, y, anchors):
    def rows(x):
        unit = [[v / math.sqrt(math.fsum(c * c for c in row)) for v in row] for row in x]
        return product(unit, transpose([unit[k] for k in anchors]))
    def cosine(a, b):
        dot = lambda p, q: math.fsum(u * v for u, v in zip(p, q))
        return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))
    return math.fsum(cosine(a, b) for a, b in zip(rows(x), rows(y))) / N


r = random.Random(5)
hidden = [[r.gauss(0, 1) * s for s in (4, 2, 1)] for _ in range(N)]
mix = [[r.gauss(0, 1) for _ in range(DY)] for _ in range(3)]
near = lambda v: round(v * 64) / 64
x = [[near(v + 0.5 * r.gauss(0, 1) + 1) for v in row] for row in hidden]
y = [[near(v + 0.5 * r.gauss(0, 1) - 2) for v in row] for row in product(hidden, mix)]
anchors = r.sample(range(N), ANCHORS)
values = []
for f in (cka, svcca, regression):
    values += [f(x, y, False), f(x, y, True)]
values.append(relative(x, y, anchors))
a = [[r.randint(0, 4), r.randint(0, 5)] for _ in range(14)]
b = [[r.randint(0, 4), r.randint(0, 5)] for _ in range(9)]
sa, sb = {tuple(v) for v in a}, {tuple(v) for v in b}
with open("tests/golden/data/similarity.json", "w") as f:
    json.dump({"x": x, "y": y, "anchors": anchors, "values": values, "a": a, "b": b,
               "jaccard": len(sa & sb) / len(sa | sb)}, f, separators=(",", ":"))
    f.write("\n")
