#!/usr/bin/env python3
"""scripts/golden/dense_variants.py - golden vectors of ReLU with Lp penalties and shrinkage,
P-anneal, and Gated.

    scripts/golden/dense_variants.py > tests/golden/data/variants/dense.json

From the equations of variants/relu.md, p_anneal.md and gated.md.
"""
from number import Inputs, Num, grad, grad_pairs, listing, num, numbers, pairs, total, write

B, D, N = 4, 3, 8


def products(p, x):
    """(x - b_dec) W_enc^T."""
    return [[total((num(x[r][i]) - p["b_dec"][0][i]) * p["W_enc"][j][i] for i in range(D))
             for j in range(N)] for r in range(B)]


def decode(z, dec, bias):
    return [[bias[i] + total(z[k] * dec[k[1]][i] for k in sorted(z) if k[0] == r)
             for i in range(D)] for r in range(B)]


def square(a, x):
    return total((a[r][i] - x[r][i]) * (a[r][i] - x[r][i]) for r in range(B) for i in range(D)) / B


def weights(p, decoder):
    return [total(v * v for v in row).sqrt() if decoder == "free" else num(1)
            for row in p["W_dec"]]


def positive(v):
    assert v.v == 0 or abs(v.v) > 1e-4, "an activation that rounding decides"
    return v.v > 0


def lp(z, w, p, root):
    rows = [total((z[k] * w[k[1]]).power(p) for k in sorted(z) if k[0] == r) for r in range(B)]
    return total(s.power(1 / p) if root and s.v > 0 else s for s in rows) / B


def relu(p, case):
    a = products(p, case["x"])
    pre = {(r, j): a[r][j] + p["b_enc"][0][j] - case.get("shrink", 0)
           for r in range(B) for j in range(N)}
    z = {k: v for k, v in pre.items() if positive(v)}
    xhat = decode(z, p["W_dec"], p["b_dec"][0])
    penalty = lp(z, weights(p, case.get("decoder", "unit")), case["p"], case["root"])
    return {"code": z, "xhat": xhat, "loss": [square(xhat, case["x"]), penalty],
            "coef": [num(1), num(case["l1"]) * case.get("factor", 1.0)]}


def gated(p, case):
    a = products(p, case["x"])
    z, g = {}, {}
    for r in range(B):
        for j in range(N):
            pi = a[r][j] + p["b_enc"][0][j]
            gain = p["r_mag"][0][j].exp()
            # The form that the C evaluates, so that sizes hold for it: both are the same number.
            mag = gain * pi + (p["b_mag"][0][j] - gain * p["b_enc"][0][j])
            if positive(pi):
                g[r, j] = pi
                if positive(mag):
                    z[r, j] = mag
    xhat = decode(z, p["W_dec"], p["b_dec"][0])
    dec, bias = p["W_dec"], p["b_dec"][0]
    if case["detach"]:
        dec, bias = [[v.detach() for v in row] for row in dec], [v.detach() for v in bias]
    w = weights(p, case["decoder"])
    mse = {"row": 1.0, "element": 1 / D}[case["mse"]]
    return {"code": z, "xhat": xhat,
            "loss": [square(xhat, case["x"]), total(g[k] * w[k[1]] for k in sorted(g)) / B,
                     square(decode(g, dec, bias), case["x"])],
            "coef": [num(mse), num(case["l1"]), num(case["aux"]) * mse]}


def annealed(case, z):
    """STATE of P-anneal after one adapt at case["step"]."""
    u, n, steps = case["updates_done"], case["updates"], case["steps"]
    factor, queue, queued = case["factor"], [list(q) for q in case["queue"]], case["queued"]
    ps = [case["p_start"] + (case["p_end"] - case["p_start"]) * i / (n - 1) for i in range(n)]
    due = [int(steps * (case["anneal_start"] + (case["anneal_end"] - case["anneal_start"]) * i
                        / (n - 1))) for i in range(n)]
    one = [num(1)] * N
    if u > 0:
        queue[queued % 10] = [lp(z, one, case["p"], case["root"]).v,
                              lp(z, one, ps[u], case["root"]).v]
        queued += 1
    if case["step"] >= due[u]:
        used = queue[:min(queued, 10)]
        if u > 0:
            factor *= sum(q[0] for q in used) / sum(q[1] for q in used)
        u += 1
    flat = [v for q in queue for v in q]
    return {"updates": [[u], [0]], "factor": [[factor], [2 * factor]],
            "queue": [flat, [2 * v for v in flat]], "queued": [[queued], [0]]}


RELU = dict(variant="relu", l1=0.25, p=1, root=1, shrink=0, decoder="unit")
GATED = dict(variant="gated", l1=0.5, aux=1, detach=1, decoder="unit", mse="row")
ANNEAL = dict(variant="p_anneal", l1=0.5, p_start=1, p_end=0.5, updates=3, anneal_start=0.2,
              anneal_end=0.8, root=0, step=0, steps=10, updates_done=0, factor=1.0,
              queue=[[0.0, 0.0]] * 10, queued=0)
CASES = [
    dict(RELU, shrink=0.5),
    dict(RELU, p=2, decoder="free"),
    dict(RELU, p=1.5, root=0, decoder="free", shrink=0.25),
    ANNEAL,
    dict(ANNEAL, step=2),
    dict(ANNEAL, step=4, updates_done=1, queue=[[1.5, 2.0]] + [[0.0, 0.0]] * 9, queued=1),
    dict(ANNEAL, step=5, updates_done=2, factor=0.5, root=1, queue=[[3.0, 2.0]] * 10, queued=12),
    dict(ANNEAL, step=8, updates_done=2, factor=0.75, queue=[[3.0, 2.0]] * 10, queued=20),
    dict(ANNEAL, step=9, updates_done=3, factor=0.75, queue=[[3.0, 2.0]] * 10, queued=20),
    GATED,
    dict(GATED, detach=0, decoder="free", mse="element", aux=0.5),
]
SPEC = {"relu": ["l1", "p", "root", "shrink", "decoder"],
        "p_anneal": ["l1", "p_start", "p_end", "updates", "anneal_start", "anneal_end", "root"],
        "gated": ["l1", "aux", "detach", "decoder", "mse"]}


def solve(number, case):
    rnd = Inputs(200 + number)
    tensors = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
               "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4)}
    case = dict(case, x=rnd.matrix(B, D))
    if case["variant"] == "gated":
        tensors.update(b_mag=rnd.matrix(1, N, -4, 4), r_mag=rnd.matrix(1, N, -8, 8))
    p = {k: numbers(m) for k, m in tensors.items()}
    after = {}
    if case["variant"] == "p_anneal":
        i, n = max(case["updates_done"] - 1, 0), case["updates"]
        case["p"] = case["p_start"] + (case["p_end"] - case["p_start"]) * i / (n - 1)
        tensors.update(updates=[[case["updates_done"]]], factor=[[case["factor"]]],
                       queue=case["queue"], queued=[[case["queued"]]])
    t = (gated if case["variant"] == "gated" else relu)(p, case)
    grad(total(c * l for c, l in zip(t["coef"], t["loss"])))
    if case["variant"] == "p_anneal" and case["updates_done"] < case["updates"]:
        after = annealed(case, t["code"])
    return {
        "spec": case["variant"] + ":" + ",".join(f"{k}={case[k]}" for k in SPEC[case["variant"]]),
        "x": case["x"], "tensors": tensors, "step": case.get("step", 0),
        "steps": case.get("steps", 10), "tokens": 0, "last_fired": [0] * N,
        "train": {"code": listing(t["code"]), "xhat": pairs(t["xhat"]), "loss": pairs([t["loss"]]),
                  "coef": pairs([t["coef"]]),
                  "grad": {k: grad_pairs(m) for k, m in p.items()}},
        "after": after,
        "eval": {"code": listing(t["code"])},
    }


write("scripts/golden/dense_variants.py", B, D, N, [solve(i, c) for i, c in enumerate(CASES)])
