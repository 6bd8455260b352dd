#!/usr/bin/env python3
"""scripts/golden/select_variants.py - golden vectors of ReLU, TopK, BatchTopK and AbsTopK.

Computed in float64 from the equations (variants/*.md), not by running the C code. Needs Python 3
only. Writes tests/golden/data/variants/select.json:

    scripts/golden/select_variants.py > tests/golden/data/variants/select.json

Inputs are small multiples of 1/8, so the encoder's output, and with it every selection and tie, is
exact in float32. Every expected number comes with its size, the sum of the absolute values of the
terms it is made of: a computation in precision u with fewer than m roundings on any path from input
to output is off by at most m u size.
"""
import json
import math

B, D, N = 4, 3, 8
BETA1, BETA2, EPS, LR, CLIP, STEPS = 0.9, 0.999, 1e-8, 0.01, 1.0, 10


class V:
    """A number with the size of its terms."""

    def __init__(self, v, s=None):
        self.v, self.s = float(v), abs(float(v)) if s is None else s

    def __add__(self, o):
        o = num(o)
        return V(self.v + o.v, self.s + o.s)

    __radd__ = __add__

    def __neg__(self):
        return V(-self.v, self.s)

    def __sub__(self, o):
        return self + (-num(o))

    def __rsub__(self, o):
        return num(o) + (-self)

    def __mul__(self, o):
        o = num(o)
        return V(self.v * o.v, self.s * o.s)

    __rmul__ = __mul__

    def __truediv__(self, o):
        o = num(o)
        return V(self.v / o.v, self.s / abs(o.v) + abs(self.v) * o.s / o.v ** 2)

    def sqrt(self):
        r = math.sqrt(self.v)
        return V(r, r + self.s / (2 * r) if r else 0)


def num(x):
    return x if isinstance(x, V) else V(x)


class Inputs:
    """A fixed linear congruential generator."""

    def __init__(self, seed):
        self.state = seed

    def next(self, lo, hi):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return lo + (self.state >> 33) % (hi - lo + 1)

    def matrix(self, rows, cols, lo=-10, hi=10):
        return [[self.next(lo, hi) / 8 for _ in range(cols)] for _ in range(rows)]


def total(terms):
    out = V(0)
    for t in terms:
        out = out + t
    return out


def pre_activations(p, x):
    return [[total((num(x[r][i]) - p["b_dec"][0][i]) * p["W_enc"][j][i] for i in range(D))
             + p["b_enc"][0][j] for j in range(N)] for r in range(len(x))]


def rank(entries, key):
    """Entries (row, feature, V) by score descending, then position; only what is eligible."""
    score = {"abs": lambda v: abs(v.v), "relu": lambda v: v.v}[key]
    ok = [e for e in entries if score(e[2]) > 0]
    return sorted(ok, key=lambda e: (-score(e[2]), e[0], e[1]))


def select(pre, case, mode, theta):
    """The code as a dictionary (row, feature) -> V."""
    rows = [[(r, j, pre[r][j]) for j in range(N)] for r in range(len(pre))]
    flat = [e for row in rows for e in row]
    how, key = case["how"], case["key"]
    if how == "all":
        kept = rank(flat, key)
    elif how == "rows":
        kept = [e for row in rows for e in rank(row, key)[:int(case["k"])]]
    elif mode == "train":
        kept = rank(flat, key)[:int(case["k"] * len(pre))]
    else:
        kept = [e for e in rank(flat, key) if abs(e[2].v) > theta]
    return {(r, j): v for r, j, v in kept}


def decode(p, z, bias):
    out = [[num(p["b_dec"][0][i]) if bias else V(0) for i in range(D)] for _ in range(B)]
    for (r, j), v in sorted(z.items()):
        for i in range(D):
            out[r][i] = out[r][i] + v * p["W_dec"][j][i]
    return out


def variance(m):
    mean = [total(row[i] for row in m) / len(m) for i in range(D)]
    return total((row[i] - mean[i]) * (row[i] - mean[i]) for row in m for i in range(D)) / len(m)


def mean_square(m):
    return total(v * v for row in m for v in row) / len(m)


def dead_features(case, z):
    now = case["tokens"] + B
    fired = list(case["last_fired"])
    for (_, j), v in z.items():
        if v.v != 0:
            fired[j] = now
    return [j for j in range(N) if now - fired[j] >= case["dead"]]


def forward(p, case, mode="train", theta=-1.0):
    x, t = case["x"], {}
    pre = pre_activations(p, x)
    t["z"] = select(pre, case, mode, theta)
    t["xhat"] = decode(p, t["z"], True)
    t["resid"] = [[t["xhat"][r][i] - x[r][i] for i in range(D)] for r in range(B)]
    t["loss"] = [mean_square(t["resid"])]
    scale = {"row": V(1), "element": V(1) / D}
    if case["mse"] == "fvu" and mode == "train":
        scale["fvu"] = V(1) / variance([[num(v) for v in row] for row in x])
    t["coef"] = [scale.get(case["mse"], V(1))]
    if case["variant"] == "relu":
        weight = [total(num(w) * w for w in row).sqrt() if case.get("free") else V(1)
                  for row in p["W_dec"]]
        t["weight"] = weight
        t["loss"].append(total(v * weight[j] for (_, j), v in t["z"].items()) / B)
        t["coef"].append(V(case["l1"]))
    else:
        auxk(p, case, mode, pre, t)
    return t


def auxk(p, case, mode, pre, t):
    dead = dead_features(case, t["z"]) if case["alpha"] > 0 and mode == "train" else []
    t["aux"], t["err"] = {}, None
    if not dead:
        t["loss"].append(V(0))
        t["coef"].append(V(0))
        return
    for r in range(B):
        best = rank([(r, j, pre[r][j]) for j in dead], case["key"])[:case["k_aux"]]
        t["aux"].update({(r, j): v for r, j, v in best})
    ehat = decode(p, t["aux"], False)
    t["err"] = [[ehat[r][i] + t["resid"][r][i] for i in range(D)] for r in range(B)]
    if case["auxk_norm"] == "residual":
        coef = V(case["alpha"]) / variance(t["resid"])
    else:
        coef = V(case["alpha"]) * t["coef"][0]
    if case["auxk_scale"]:
        coef = coef * min(len(dead) / case["k_aux"], 1)
    t["loss"].append(mean_square(t["err"]))
    t["coef"].append(coef)


def backward(p, case, t):
    g = {"W_enc": [[V(0)] * D for _ in range(N)], "b_enc": [[V(0)] * N],
         "W_dec": [[V(0)] * D for _ in range(N)], "b_dec": [[V(0)] * D]}
    dx = [[num(2) / B * t["coef"][0] * v for v in row] for row in t["resid"]]
    paths = [(t["z"], dx)]
    if t.get("err"):
        derr = [[num(2) / B * t["coef"][1] * v for v in row] for row in t["err"]]
        paths.append((t["aux"], derr))
        if not case["auxk_detach"]:
            dx = [[dx[r][i] + derr[r][i] for i in range(D)] for r in range(B)]
            paths[0] = (t["z"], dx)
    for z, dy in paths:
        for (r, j), v in sorted(z.items()):
            dz = total(dy[r][i] * p["W_dec"][j][i] for i in range(D))
            if case["variant"] == "relu":
                dz = dz + t["coef"][1] * t["weight"][j] / B
            g["b_enc"][0][j] = g["b_enc"][0][j] + dz
            for i in range(D):
                g["W_dec"][j][i] = g["W_dec"][j][i] + v * dy[r][i]
                g["W_enc"][j][i] = g["W_enc"][j][i] + dz * (num(case["x"][r][i]) - p["b_dec"][0][i])
                g["b_dec"][0][i] = g["b_dec"][0][i] - dz * p["W_enc"][j][i]
                if case.get("free"):
                    pull = t["coef"][1] * v * p["W_dec"][j][i] / t["weight"][j] / B
                    g["W_dec"][j][i] = g["W_dec"][j][i] + pull
    for r in range(B):
        for i in range(D):
            g["b_dec"][0][i] = g["b_dec"][0][i] + dx[r][i]
    if case.get("fixed_bias"):
        g["b_enc"] = [[V(0)] * N]
    return g


def adapt(case, t, theta):
    if case["how"] != "flat":
        return theta
    smallest = min((abs(v.v) for v in t["z"].values() if v.v != 0), default=None)
    if smallest is None:
        return theta
    if theta < 0:
        theta = smallest if case["theta_first"] == "set" else 0.0
    return theta + case["theta_rate"] * (smallest - theta)


def unit(rows):
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows]


def train(p, case):
    """Ten steps of projected, clipped Adam on the one batch; (loss per step, last theta)."""
    p = {k: [list(map(float, row)) for row in m] for k, m in p.items()}
    case = dict(case, last_fired=list(case.get("last_fired", [0] * N)),
                tokens=case.get("tokens", 0))
    is_unit = not case.get("free")
    if is_unit:
        p["W_dec"] = unit(p["W_dec"])
    m1 = {k: [[0.0] * len(r) for r in w] for k, w in p.items()}
    m2 = {k: [[0.0] * len(r) for r in w] for k, w in p.items()}
    curve, theta = [], -1.0
    for step in range(1, STEPS + 1):
        t = forward(p, case)
        curve.append(sum(c.v * l.v for c, l in zip(t["coef"], t["loss"])))
        g = {k: [[v.v for v in r] for r in w] for k, w in backward(p, case, t).items()}
        if is_unit:
            for j, row in enumerate(g["W_dec"]):
                w = p["W_dec"][j]
                c = sum(a * b for a, b in zip(w, row)) / sum(a * a for a in w)
                g["W_dec"][j] = [a - c * b for a, b in zip(row, w)]
        norm = math.sqrt(sum(v * v for w in g.values() for r in w for v in r))
        scale = CLIP / norm if norm > CLIP else 1.0
        for k in p:
            for r, row in enumerate(g[k]):
                for i, v in enumerate(row):
                    v *= scale
                    m1[k][r][i] = BETA1 * m1[k][r][i] + (1 - BETA1) * v
                    m2[k][r][i] = BETA2 * m2[k][r][i] + (1 - BETA2) * v * v
                    mean = m1[k][r][i] / (1 - BETA1 ** step)
                    p[k][r][i] -= LR * mean / (math.sqrt(m2[k][r][i] / (1 - BETA2 ** step)) + EPS)
        if is_unit:
            p["W_dec"] = unit(p["W_dec"])
        case["tokens"] += B
        for (_, j), v in t["z"].items():
            if v.v != 0:
                case["last_fired"][j] = case["tokens"]
        theta = adapt(case, t, theta)
    return curve, theta


AUX = {"alpha": 1 / 32, "k_aux": 2, "dead": 100, "auxk_norm": "residual", "auxk_scale": 0,
       "auxk_detach": 1, "tokens": 1000, "last_fired": [1000, 10, 996, 900, 1000, 20, 904, 903]}
BATCH = {"how": "flat", "k": 1.5, "theta_first": "set", "theta_rate": 0.01}
SHARED = ",auxk={alpha},k_aux={k_aux},dead={dead},auxk_norm={auxk_norm},auxk_scale={auxk_scale}," \
         "auxk_detach={auxk_detach},mse={mse}"
CASES = [
    ("relu:l1=0.25,mse={mse}", dict(variant="relu", how="all", key="relu", l1=0.25, mse="row")),
    ("relu:l1=0.5,decoder=free,mse={mse}",
     dict(variant="relu", how="all", key="relu", l1=0.5, free=True, mse="fvu")),
    ("topk:k={k}" + SHARED, dict(AUX, variant="topk", how="rows", key="relu", k=2, mse="row")),
    ("topk:k={k}" + SHARED, dict(AUX, variant="topk", how="rows", key="relu", k=3, mse="element",
                                 auxk_norm="mse", auxk_scale=1, auxk_detach=0, k_aux=7)),
    ("topk:k={k}" + SHARED, dict(AUX, variant="topk", how="rows", key="relu", k=1, mse="fvu",
                                 auxk_detach=0)),
    ("batchtopk:k={k},theta_first={theta_first}" + SHARED,
     dict(AUX, **BATCH, variant="batchtopk", key="relu", mse="row")),
    ("batchtopk:k={k},theta_first={theta_first}" + SHARED,
     dict(AUX, **BATCH, variant="batchtopk", key="relu", mse="row") | dict(theta_first="zero", k=2.75,
                                                                       alpha=0)),
    ("abstopk:k={k}" + SHARED,
     dict(AUX, variant="abstopk", how="rows", key="abs", k=2, mse="row")),
    ("batch_abstopk:k={k},theta_first={theta_first}" + SHARED,
     dict(AUX, **BATCH, variant="batch_abstopk", key="abs", mse="element", auxk_detach=0, k_aux=1)),
    ("topk:k={k},bias=0" + SHARED,
     dict(AUX, variant="topk", how="rows", key="relu", k=2, mse="element", fixed_bias=True)),
]


def pairs(m):
    return [[f(v) for row in m for v in row] for f in (lambda v: v.v, lambda v: v.s)]


def listing(z):
    return [[r, j, v.v] for (r, j), v in sorted(z.items())]


def solve(number, spec, case):
    rnd = Inputs(number + 1)
    p = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
         "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4)}
    case = dict(case, x=rnd.matrix(B, D))
    t = forward(p, case)
    theta = adapt(case, t, -1.0)
    e = forward(p, case, "eval", theta)
    curve, last = train(p, case)
    return {
        "spec": spec.format(**case), "x": case["x"], "tensors": p,
        "tokens": case.get("tokens", 0), "last_fired": case.get("last_fired", [0] * N),
        "train": {"code": listing(t["z"]), "xhat": pairs(t["xhat"]), "loss": pairs([t["loss"]]),
                  "coef": pairs([t["coef"]]),
                  "grad": {k: pairs(g) for k, g in backward(p, case, t).items()}},
        "after": {"theta": [[theta], [abs(theta)], True]} if theta > 0 else {},
        "eval": {"code": listing(e["z"]), "loss": pairs([e["loss"]])[0][0]},
        "curve": curve, "curve_theta": last,
    }


def main():
    out = {"generator": "scripts/golden/select_variants.py", "version": 1, "B": B, "d": D, "n": N,
           "adam": {"lr": LR, "beta1": BETA1, "beta2": BETA2, "eps": EPS, "clip": CLIP},
           "cases": [solve(i, spec, case) for i, (spec, case) in enumerate(CASES)]}
    print(json.dumps(out, indent=None, separators=(",", ":")).replace('{"spec"', '\n{"spec"'))


main()
