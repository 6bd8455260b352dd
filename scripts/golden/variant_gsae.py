#!/usr/bin/env python3
"""scripts/golden/variant_gsae.py - golden vectors of gsae.

Computed in float64 from the equations (variants/gsae.md), not by running the C code. Needs Python 3
only.

    scripts/golden/variant_gsae.py > tests/golden/data/variants/gsae.json
"""
import math

from number import ADAM, Inputs, Num, curve, grad, grad_pairs, listing, matmul, num, numbers, pairs, total, write

B, D, N = 4, 3, 8
RATE = 0.01


def rank(row, k, only_positive):
    order = sorted((j for j in range(len(row)) if row[j].v > 0 or not only_positive),
                   key=lambda j: (-row[j].v, j))
    edge = [row[j].v for j in order[max(k - 1, 0):k + 1]]
    assert len(edge) < 2 or edge[0] - edge[1] > 1e-4 or edge[0] == edge[1], "a near tie"
    return order[:k]


def factors(p, c, mean, cut):
    """What every pre-activation is multiplied by to become its score: constants."""
    out = []
    for g in c["g"]:
        norm = math.sqrt(sum(v * v for v in g))
        none = norm == 0 or mean == 0
        by = 0 if none else (cut / norm if c["clip"] and norm > cut else 1) / mean
        row = []
        for j in range(N):
            dot = total(num(v) * by * w.detach() for v, w in zip(g, p["W_dec"][j]))
            plain = 1 if none or c["score"] == "additive" else 0
            if c["score"] == "signed":
                row.append(plain - dot)
            else:
                row.append(plain + dot.abs() * (c["beta"] if c["score"] == "additive" else 1))
        out.append(row)
    return out


def encode(p, c, weigh):
    """(code, pre)."""
    xe = [[num(v) - p["b_dec"][0][i] if c["pre_bias"] else num(v) for i, v in enumerate(row)]
          for row in c["x"]]
    pre = [[v + p["b_enc"][0][j] for j, v in enumerate(row)] for row in matmul(xe, p["W_enc"])]
    code = {}
    f = factors(p, c, c["mean"], c["cut"]) if weigh else [[Num(1)] * N] * B
    for r in range(B):
        score = [pre[r][j] * f[r][j] for j in range(N)]
        if c["relu"]:
            score = [s if pre[r][j].v > 0 else Num(0) for j, s in enumerate(score)]
        positive = c["relu"] or (weigh and c["score"] == "signed")
        for j in rank([s.detach() for s in score], c["k"], positive):
            code[r, j] = score[j] if weigh and c["emit"] == "score" else pre[r][j]
    return code, pre


def decode(p, code, bias):
    out = [[p["b_dec"][0][i] if bias else Num(0) for i in range(D)] for _ in range(B)]
    for (r, j), v in sorted(code.items()):
        for i in range(D):
            out[r][i] = out[r][i] + v * p["W_dec"][j][i]
    return out


def variance(m):
    mean = [total(row[i] for row in m) / len(m) for i in range(D)]
    return total((row[i] - mean[i]) * (row[i] - mean[i]) for row in m for i in range(D)) / len(m)


def auxk(p, c, code, pre, resid):
    now, fired = c["tokens"] + B, list(c["last_fired"])
    for (_, j), v in code.items():
        if v.v != 0:
            fired[j] = now
    dead = [j for j in range(N) if now - fired[j] >= c["dead"]]
    if not c["alpha"] or not dead:
        return Num(0), Num(0)
    aux = {}
    for r in range(B):
        aux.update({(r, dead[i]): pre[r][dead[i]]
                    for i in rank([pre[r][j] for j in dead], c["k_aux"], True)})
    e = [[v.detach() for v in row] for row in resid]
    ehat = decode(p, aux, False)
    err = [[ehat[r][i] + e[r][i] for i in range(D)] for r in range(B)]
    return total(v * v for row in err for v in row) / B, num(c["alpha"]) / variance(e)


def adapt(c):
    """g_norm and g_cut after one step; both had a value before it."""
    norms = sorted((math.sqrt(sum(v * v for v in g)) for g in c["g"]), reverse=True)
    reach = math.ceil(c["clip"] * B)
    cut = norms[reach - 1] if reach else 0.0
    mean = sum(norms) / B
    new = [c["mean"] + RATE * (mean - c["mean"]), c["cut"] + RATE * (cut - c["cut"])]
    return {name: [[v], [v], True] for name, v in zip(("g_norm", "g_cut"), new)}


def step(p, c):
    """(code, xhat, losses, coefficients) of one training step."""
    code, pre = encode(p, c, True)
    xhat = decode(p, code, True)
    resid = [[xhat[r][i] - c["x"][r][i] for i in range(D)] for r in range(B)]
    loss, weight = auxk(p, c, code, pre, resid)
    return code, xhat, [total(v * v for row in resid for v in row) / B, loss], [Num(1), weight]


def later(c):
    """The total of a step; the statistics and the state that it leaves."""
    fired = c["last_fired"] = list(c["last_fired"])

    def total_at(p, _):
        code, _, losses, coef = step(p, c)
        c["tokens"] += B
        for (_, j), v in code.items():
            if v.v != 0:
                fired[j] = c["tokens"]
        new = adapt(c)
        c["cut"] = new["g_cut"][0][0]
        c["mean"] = 1 if c["raw"] else new["g_norm"][0][0]
        return total(w.detach() * v for w, v in zip(coef, losses))

    return total_at


def solve(number, spec, changes):
    rnd = Inputs(number + 200)
    c = dict({"k": 2, "beta": 3.0, "score": "additive", "emit": "z", "sel": "plain", "relu": 1,
              "pre_bias": 1, "clip": 0.001, "mean": 1.25, "cut": 1.5, "alpha": 0, "k_aux": 2,
              "dead": 100, "raw": 0, "tokens": 1000,
              "last_fired": [1000, 10, 996, 900, 1000, 20, 904, 903]}, **changes)
    plain = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
             "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4)}
    c["x"], c["g"] = rnd.matrix(B, D), rnd.matrix(B, D)
    c["g"][2] = [0.0] * D
    after = adapt(c)
    if c["raw"]:
        c["mean"] = 1
    p = {name: numbers(m) for name, m in plain.items()}
    code, xhat, losses, coef = step(p, c)
    grad(total(w.detach() * v for w, v in zip(coef, losses)))
    state = {"g_norm": [[changes.get("mean", 1.25)]], "g_cut": [[c["cut"]]]}
    return {"spec": spec, "x": c["x"], "g": c["g"], "tensors": dict(plain, **state),
            "tokens": c["tokens"], "last_fired": c["last_fired"],
            "train": {"code": listing(code), "xhat": pairs(xhat), "loss": pairs([losses]),
                      "coef": pairs([coef]), "grad": {n: grad_pairs(m) for n, m in p.items()}},
            "after": after, "curve": curve(plain, later(dict(c)), ["W_dec"]), "eval": {"code": listing(
                encode(p, dict(c, mean=1 if c["raw"] else after["g_norm"][0][0],
                               cut=after["g_cut"][0][0]), c["sel"] == "grad")[0])}}


AUX = "auxk=0.03125,k_aux=2,dead=100"
CASES = [
    ("gsae:k=2,beta=3," + AUX, {"alpha": 1 / 32}),
    ("gsae:k=2,beta=0,auxk=0", {"beta": 0.0}),
    ("gsae:k=2,beta=2,emit=score,sel=grad,clip=0.5," + AUX,
     {"beta": 2.0, "emit": "score", "sel": "grad", "clip": 0.5, "alpha": 1 / 32}),
    ("gsae:k=3,score=product,sel=grad,auxk=0", {"k": 3, "score": "product", "sel": "grad"}),
    ("gsae:k=2,score=signed,emit=score,sel=grad,auxk=0",
     {"score": "signed", "emit": "score", "sel": "grad"}),
    ("gsae:k=3,beta=1,relu=0,pre_bias=0,gnorm=none,clip=0," + AUX,
     {"k": 3, "beta": 1.0, "relu": 0, "pre_bias": 0, "raw": 1, "clip": 0, "alpha": 1 / 32}),
    ("gsae:k=3,score=signed,relu=0,sel=grad,auxk=0",
     {"k": 3, "score": "signed", "relu": 0, "sel": "grad"}),
]

write("scripts/golden/variant_gsae.py", B, D, N,
      [solve(i, spec, changes) for i, (spec, changes) in enumerate(CASES)], adam=ADAM)
