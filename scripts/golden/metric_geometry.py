"""scripts/golden/metric_geometry.py - writes the golden file of that family from the definitions:
python3 scripts/golden/metric_geometry.py, in the repository's root.

Values of maps are marked as float: eigenvectors and twelve steps of t-SNE, whose first steps
magnify any difference, make up to 2^29 of the rounding of double precision.
"""
import math

from metric import entries, number, world, write

D, N, B = 4, 8, 60


def line(density, ranks, beta):
    x = [math.log(r + beta) for r in ranks]
    y = [math.log(density[r - 1]) for r in ranks]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    xx = sum((a - mx) ** 2 for a in x)
    xy = sum((a - mx) * (b - my) for a, b in zip(x, y))
    yy = sum((b - my) ** 2 for b in y)
    return xy * xy / (xx * yy), -xy / xx, my - xy / xx * mx


def zipf(density):
    """alpha, beta, r2, C: the best of the grid, then the best of a fine scan around it."""
    m = sum(d > 0 for d in density)
    ranks = sorted({math.floor(m ** (i / 255) + 0.5) for i in range(256)})
    grid = [0] + [2 ** i for i in range(13)]
    assert density[0] > 3 * density[m - 1]  # far from flat: the constant stays in range
    best = max(range(14), key=lambda i: line(density, ranks, grid[i])[0])
    lo, hi = grid[max(best - 1, 0)], grid[min(best + 1, 13)]
    for _ in range(200):
        a, b = hi - 0.618 * (hi - lo), lo + 0.618 * (hi - lo)
        lo, hi = (lo, b) if line(density, ranks, a)[0] >= line(density, ranks, b)[0] else (a, hi)
    beta = (lo + hi) / 2
    r2, alpha, c = line(density, ranks, beta)
    return alpha, beta, r2, math.exp(c)


def eigen(a):
    """Cyclic Jacobi: (value, vector) in descending order, largest entry positive."""
    n = len(a)
    a = [row[:] for row in a]
    v = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(60):
        for p in range(n):
            for q in range(p + 1, n):
                if abs(a[p][q]) < 1e-300:
                    continue
                t = (a[q][q] - a[p][p]) / (2 * a[p][q])
                t = math.copysign(1, t) / (abs(t) + math.sqrt(t * t + 1))
                c = 1 / math.sqrt(t * t + 1)
                s = t * c
                for k in range(n):
                    a[k][p], a[k][q] = c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]
                for k in range(n):
                    a[p][k], a[q][k] = c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]
                for k in range(n):
                    v[k][p], v[k][q] = c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]
    out = []
    for i in sorted(range(n), key=lambda i: -a[i][i]):
        u = [v[k][i] for k in range(n)]
        sign = 1 if max(u, key=abs) > 0 else -1
        out.append((a[i][i], [sign * x for x in u]))
    return out


def perplexity_row(d, i, entropy):
    lo, hi, b = 0.0, math.inf, 1.0
    for _ in range(64):
        w = [0.0 if j == i else math.exp(-b * x) for j, x in enumerate(d)]
        p = [x / sum(w) for x in w]
        h = -sum(x * math.log(x) for x in p if x > 0)
        if abs(h - entropy) < 1e-10:
            break
        lo, hi = (b, hi) if h > entropy else (lo, b)
        b = (lo + hi) / 2 if hi < math.inf else 2 * b
    return p


def tsne(dist, y, perplexity, steps):
    m = len(dist)
    entropy = math.log(min(perplexity, max((m - 1) / 3, 1)))
    rows = [perplexity_row(dist[i], i, entropy) for i in range(m)]
    P = [[(rows[i][j] + rows[j][i]) / (2 * m) for j in range(m)] for i in range(m)]
    v, gain, rate = [[0.0, 0.0] for _ in y], [[1.0, 1.0] for _ in y], max(m / 48, 50)
    def kernel():
        q = [[0.0 if i == j else 1 / (1 + (y[i][0] - y[j][0]) ** 2 + (y[i][1] - y[j][1]) ** 2)
              for j in range(m)] for i in range(m)]
        return q, sum(map(sum, q))
    for s in range(steps):
        early = s < steps // 4
        q, total = kernel()
        g = [[4 * sum(((12 if early else 1) * P[i][j] - q[i][j] / total) * q[i][j] *
                      (y[i][k] - y[j][k]) for j in range(m)) for k in range(2)] for i in range(m)]
        for i in range(m):
            for k in range(2):
                differ = (g[i][k] > 0) != (v[i][k] > 0)
                gain[i][k] = max(gain[i][k] + 0.2 if differ else gain[i][k] * 0.8, 0.01)
                v[i][k] = (0.5 if early else 0.8) * v[i][k] - rate * gain[i][k] * g[i][k]
        y = [[a + b for a, b in zip(p, u)] for p, u in zip(y, v)]
        mean = [sum(p[k] for p in y) / m for k in range(2)]
        y = [[p[k] - mean[k] for k in range(2)] for p in y]
    q, total = kernel()
    cost = sum(P[i][j] * math.log(P[i][j] * total / q[i][j])
               for i in range(m) for j in range(m) if P[i][j] > 0)
    return y, cost


def maps(case, fired, most, steps, perplexity):
    alive = [j for j in range(N) if fired[j]]
    m = min(len(alive), most)
    shown = [alive[k * len(alive) // m] for k in range(m)]
    unit = []
    for j in shown:
        w = case["W_dec"][j]
        norm = math.sqrt(sum(x * x for x in w))
        unit.append([x / norm if norm else 0.0 for x in w])
    gram = [[sum(a * b for a, b in zip(u, v)) for v in unit] for u in unit]
    if case["signed"]:
        top = eigen(gram)[0][1]
        side = [-1 if x < 0 else 1 for x in top]
        gram = [[side[i] * side[j] * gram[i][j] for j in range(m)] for i in range(m)]
    mean = [sum(row) / m for row in gram]
    all_ = sum(mean) / m
    g = [[gram[i][j] - mean[i] - mean[j] + all_ for j in range(m)] for i in range(m)]
    trace = sum(g[i][i] for i in range(m))
    (l0, v0), (l1, v1) = eigen(g)[:2]
    xy = [[a * math.sqrt(l0), b * math.sqrt(l1)] for a, b in zip(v0, v1)]
    spread = math.sqrt(sum(p[0] ** 2 for p in xy) / m)
    dist = [[max(2 - 2 * (abs(c) if case["signed"] else c), 0) for c in row] for row in gram]
    start = [[1e-4 * c / spread for c in p] for p in xy]
    flat, cost = tsne(dist, start, perplexity, steps)
    single = lambda p: number(p, 1, True)
    series = {f"{name}_{axis}": [[j, single(p[k])] for j, p in zip(shown, table)]
              for name, table in (("pca", xy), ("tsne", flat)) for k, axis in enumerate("xy")}
    return {"pca2_share": number((l0 + l1) / trace, 8), "tsne_cost": single(cost),
            "effective_dimension": number(trace ** 2 / sum(c * c for r in g for c in r), 64)}, series


def correlation(case, c):
    of = [k * N // c for k in range(c)]
    dense = [[dict(row).get(j, 0.0) for row in entries(case)] for j in of]
    dev = [[v - sum(z) / B for v in z] for z in dense]
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    r = [abs(dot(a, b)) / math.sqrt(dot(a, a) * dot(b, b))
         for i, a in enumerate(dev) for b in dev[:i] if any(a) and any(b)]
    return sum(r) / len(r)


def case(seed, signed, atoms, correlated, steps):
    c = world(seed, B, D, N, signed=signed, per_row=4)
    c["code"] = [e for e in c["code"] if e[1] != 3 and e[0] % (e[1] + 1) == 0]
    c.update(signed=signed, metric=f"geometry:atoms={atoms},correlated={correlated},"
             f"iterations={steps},perplexity=2")
    fired = [sum(j == f for _, j, _ in c["code"]) for f in range(N)]
    density = sorted((f / B for f in fired), reverse=True)
    alpha, beta, r2, scale = zipf(density)
    alive = sum(d > 0 for d in density)
    drop = max(r for r in range(1, alive + 1) if density[r - 1] >= scale * (r + beta) ** -alpha / 2)
    rows = {"zipf_alpha": number(alpha, 1e3 * (1 + beta), True),
            "zipf_beta": number(beta, 1e3 * (1 + beta), True), "zipf_r2": number(r2, 64),
            "zipf_drop_off": number(drop), "code_correlation": number(correlation(c, correlated), 8)}
    more, series = maps(c, fired, atoms, steps, 2)
    rows.update(more)
    c["rows"], c["series"] = rows, series
    return c


write("geometry", D, N, [case(1, False, 16, 8, 12), case(2, True, 5, 3, 12)])
