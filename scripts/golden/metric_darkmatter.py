"""scripts/golden/metric_darkmatter.py - writes the golden files of that family and of
error_scaling from the definitions:
python3 scripts/golden/metric_darkmatter.py, in the repository's root."""
import math

from metric import entries, group, jackknife, mix, number, world, write

D, N, B = 3, 6, 90
WIDE = 256  # what solving and differences of sums magnify a rounding of double precision by
SINGLE = ("nonlinear", "linear", "error_r2", "norm_share",
          "norm_error")  # keys that go through float products


def is_test(doc):
    return mix(doc ^ 0x6C6162656C6C6564) >> 54 < 512


def solve(a, b):
    """a^-1 b, Gauss elimination with pivoting; b a matrix."""
    n = len(a)
    m = [list(a[i]) + list(b[i]) for i in range(n)]
    for i in range(n):
        p = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[p] = m[p], m[i]
        for r in range(n):
            if r != i:
                f = m[r][i] / m[i][i]
                m[r] = [u - f * v for u, v in zip(m[r], m[i])]
    return [[v / m[i][i] for v in m[i][n:]] for i in range(n)]


def fit(x, y, bias, jitter=1e-12):
    """Least squares of the columns of y on x: a function of a row."""
    d, m, n = len(x[0]), len(y[0]), len(x)
    cx = [math.fsum(r[j] for r in x) / n if bias else 0.0 for j in range(d)]
    cy = [math.fsum(r[j] for r in y) / n if bias else 0.0 for j in range(m)]
    G = [[math.fsum((r[i] - cx[i]) * (r[j] - cx[j]) for r in x) for j in range(d)]
         for i in range(d)]
    ridge = jitter * sum(G[i][i] for i in range(d)) / d
    for i in range(d):
        G[i][i] += ridge
    C = [[math.fsum((r[i] - cx[i]) * (s[j] - cy[j]) for r, s in zip(x, y)) for j in range(m)]
         for i in range(d)]
    w = solve(G, C)
    return lambda r: [cy[j] + sum((r[i] - cx[i]) * w[i][j] for i in range(d)) for j in range(m)]


def spread(v):
    mean = math.fsum(v) / len(v)
    return math.fsum((a - mean) ** 2 for a in v)


def r2(pairs):
    """pairs of (target, prediction)"""
    s = spread([t for t, _ in pairs])
    return 1 - math.fsum((t - p) ** 2 for t, p in pairs) / s if s > 0 else math.nan


def column(rows, k, j):
    return [r[k][j] for r in rows]


def sq(v):
    return math.fsum(a * a for a in v)


def expect(case, bias, vocab):
    code, rows = entries(case), []
    for x, h, t, z in zip(case["x"], case["xhat"], case["tok"], code):
        e = [a - b for a, b in zip(x, h)]
        rows.append({"g": group(t[0]), "x": x, "h": h, "e": e, "id": t[2], "test": is_test(t[0]),
                     "q": [sq(e), sq(x), sq(h)], "b": [sum(v != 0 for _, v in z), math.sqrt(sq(x))]})
    train = [r for r in rows if not r["test"]]
    linear = fit([r["x"] for r in train], [r["e"] for r in train], bias)
    norms = fit([r["x"] for r in train], [r["q"] for r in train], bias)
    simple = [fit([[r["b"][k]] for r in train], [r["q"][:1] for r in train], bias) for k in (0, 1)]
    mean = math.fsum(r["q"][0] for r in train) / len(train)
    for r in rows:
        seen = [s["q"][0] for s in train if s["id"] == r["id"]] if r["id"] < vocab else []
        r["lin"] = linear(r["x"])
        r["rest"] = [a - b for a, b in zip(r["e"], r["lin"])]
        r["parts"] = [sq(r["lin"]), sq(r["rest"])]
        r["p"] = norms(r["x"]) + [math.fsum(seen) / len(seen) if seen else mean]
        r["p"] += [f([b])[0] for f, b in zip(simple, r["b"])]
    part = fit([r["x"] for r in train], [r["parts"] for r in train], bias)
    test = [r for r in rows if r["test"]]

    total = lambda f: lambda R: math.fsum(f(r) for r in R if r["test"])
    SSE, RSS = total(lambda r: r["q"][0]), total(lambda r: r["parts"][1])
    LIN = total(lambda r: r["parts"][0])
    on = lambda R: [r for r in R if r["test"]]
    TSS = lambda R, k="x": math.fsum(spread(column(on(R), k, j)) for j in range(D))
    predicted = lambda t, p: lambda R: r2([(r["q"][t], r["p"][p]) for r in on(R)])
    per = lambda R: [1 - math.fsum(r["rest"][j] ** 2 for r in on(R)) / spread(column(on(R), "e", j))
                     for j in range(D)]
    mid = lambda v: (sorted(v)[(len(v) - 1) // 2] + sorted(v)[len(v) // 2]) / 2

    def common(R):
        n = len(on(R))
        return math.fsum(math.fsum(a * b for a, b in zip(r["x"], r["e"])) for r in on(R)) - sum(
            math.fsum(column(on(R), "x", j)) * math.fsum(column(on(R), "e", j)) / n
            for j in range(D))

    def nl_all(R):
        return math.fsum(r["parts"][1] for r in R) / math.fsum(
            spread(column(R, "x", j)) for j in range(D))
    long = lambda R: TSS(R, "h")
    along = lambda R: common(R) - TSS(R, "e")
    shrink = lambda R: along(R) / long(R)
    norm = lambda f: total(lambda r: math.sqrt(f(r)))
    keys = {
        "fvu": lambda R: SSE(R) / TSS(R), "fvu_nonlinear": lambda R: RSS(R) / TSS(R),
        "fvu_linear": lambda R: (SSE(R) - RSS(R)) / TSS(R), "fvu_nonlinear_all": nl_all,
        "linear_fraction": lambda R: 1 - RSS(R) / SSE(R) if SSE(R) / TSS(R) < 0.5 else math.nan,
        "error_r2_macro": lambda R: sum(per(R)) / D,
        "error_r2_pooled": lambda R: 1 - RSS(R) / TSS(R, "e"),
        "norm_r2_error": predicted(0, 0), "norm_r2_x": predicted(1, 1),
        "norm_r2_xhat": predicted(2, 2), "norm_r2_error_by_token": predicted(0, 3),
        "norm_r2_error_by_l0": predicted(0, 4), "norm_r2_error_by_norm": predicted(0, 5),
        "shrinkage": shrink, "shrinkage_r2": lambda R: along(R) ** 2 / long(R) / TSS(R, "e"),
        "norm_error": lambda R: norm(lambda r: r["q"][0])(R) / len(on(R)),
        "norm_linear": lambda R: norm(lambda r: r["parts"][0])(R) / len(on(R)),
        "norm_nonlinear": lambda R: norm(lambda r: r["parts"][1])(R) / len(on(R)),
        "norm_share_linear": lambda R: norm(lambda r: r["parts"][0])(R) / norm(
            lambda r: r["q"][0])(R),
        "norm_share_nonlinear": lambda R: norm(lambda r: r["parts"][1])(R) / norm(
            lambda r: r["q"][0])(R),
        "r2_recovered_linear": lambda R: 1 - RSS(R) / SSE(R),
        "r2_recovered_nonlinear": lambda R: 1 - LIN(R) / SSE(R)}
    single = lambda k: any(s in k for s in SINGLE) and "norm_r2_e" not in k
    give = lambda k, v, m=1: number(v, m if single(k) else m * WIDE, single(k))
    out = {k: give(k, f(rows)) for k, f in keys.items()}
    se = {}
    for k, f in keys.items():
        pairs = [(r["g"], r) for r in rows]
        se[k] = give(k, jackknife(pairs, lambda p: f([r for _, r in p])), 16)
    for t, k in enumerate(("norm_r2_linear", "norm_r2_nonlinear")):
        out[k] = give(k, r2([(r["parts"][t], part(r["x"])[t]) for r in test]))
        se[k] = None
    out["error_r2_median"] = number(mid(per(rows)), 1, True)
    C = [[math.fsum((r["x"][i] - math.fsum(column(train, "x", i)) / len(train)) *
                    (r["x"][j] - math.fsum(column(train, "x", j)) / len(train)) for r in train)
          for j in range(D)] for i in range(D)]
    trace = sum(C[i][i] for i in range(D))
    out["participation_ratio"] = number(trace * trace / sum(v * v for r in C for v in r), WIDE)
    for k, v in (("rows_train", len(train)), ("rows_test", len(test)), ("skip_first", 0),
                 ("dims_per_row", D / len(train)), ("excluded", 0)):
        out[k] = number(v)
    return {"rows": out, "se": se}


def case(seed, spec, bias=True, vocab=65536):
    c = world(seed, B, D, N, signed=seed % 2 == 1)
    del c["W_dec"]
    c.update(metric=spec, **expect(c, bias, vocab))
    return c


def scaling(seed):
    c = world(seed, B, D, N)
    for key in ("W_dec", "code"):
        del c[key]
    c["peer"] = {"xhat": [[(a + 3 * b) / 4 for a, b in zip(x, h)] if i % 4 else h[::-1]
                          for i, (x, h) in enumerate(zip(c["x"], c["xhat"]))], "scale": 1}
    diff = lambda x, h: [a - b for a, b in zip(x, h)]
    rows = [{"g": group(t[0]), "test": is_test(t[0]), "x": x, "e": diff(x, h),
             "t": math.sqrt(sq(diff(x, p)))}
            for x, h, p, t in zip(c["x"], c["xhat"], c["peer"]["xhat"], c["tok"])]
    train = [r for r in rows if not r["test"]]
    linear = fit([r["x"] for r in train], [r["e"] for r in train], True)
    for r in rows:
        r["u"], r["v"] = math.sqrt(sq(r["e"])), math.sqrt(sq(diff(r["e"], linear(r["x"]))))

    def explained(R, *keys):
        own = [r for r in R if not r["test"]]
        f = fit([[r[k] for k in keys] for r in own], [[r["t"]] for r in own], True, 0)
        return r2([(r["t"], f([r[k] for k in keys])[0]) for r in R if r["test"]])
    of = lambda k: lambda R: math.fsum(r[k] for r in R if r["test"])
    keys = {"r2": lambda R: explained(R, "u"),
            "r2_with_nonlinear": lambda R: explained(R, "u", "v"),
            "remaining_explained": lambda R: 1 - (1 - explained(R, "u", "v")) / (
                1 - explained(R, "u")),
            "norm_ratio": lambda R: of("t")(R) / of("u")(R)}
    single = lambda k: "non" in k or "rem" in k
    give = lambda k, v, m=1: number(v, m * (4 if single(k) else WIDE), single(k))
    pairs = [(r["g"], r) for r in rows]
    out = {k: give(k, f(rows)) for k, f in keys.items()}
    out["rows_train"] = number(len(train))
    c.update(metric="error_scaling:min_rows=4", rows=out, se={
        k: give(k, jackknife(pairs, lambda p: f([r for _, r in p])), 16)
        for k, f in keys.items()})
    return c


write("darkmatter", D, N, [
    case(1, "darkmatter:min_rows=4"),
    case(2, "darkmatter:min_rows=4,bias=0,vocab=5", bias=False, vocab=5)])
write("error_scaling", D, N, [scaling(3)])
