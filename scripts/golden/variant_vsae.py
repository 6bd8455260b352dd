#!/usr/bin/env python3
"""scripts/golden/variant_vsae.py - golden vectors of vsae, vsae_topk and vsae_l2.

Computed in float64 from the equations (variants/vsae_topk.md), not by running the C code; the noise
from Philox4x32-10 and Box-Muller as published. Needs Python 3 only.

    scripts/golden/variant_vsae.py > tests/golden/data/variants/vsae.json
"""
import math

from philox import philox
from number import ADAM, Inputs, Num, curve, grad, grad_pairs, listing, matmul, num, numbers, pairs, total, write

B, D, N = 4, 3, 8
SEED, STREAM_NOISE, ROW0 = 1, 3, 1000


def normal(row, j):
    """Box-Muller on word pairs: numbers 4i .. 4i + 3 come from call i."""
    u = [((w >> 9) + 0.5) * 2.0 ** -23 for w in philox(SEED, STREAM_NOISE, row, j // 4)]
    p = j & 2
    angle = 2 * math.pi * u[p + 1]
    return math.sqrt(-2 * math.log(u[p])) * (math.sin(angle) if j & 1 else math.cos(angle))


def clamp(v, lo, hi):
    return v if lo < v.v < hi else Num(lo if v.v <= lo else hi)


def affine(x, p, w, b, pre_bias):
    xe = [[num(v) - p["b_dec"][0][i] if pre_bias else num(v) for i, v in enumerate(row)]
          for row in x]
    return [[v + p[b][0][j] for j, v in enumerate(row)] for row in matmul(xe, p[w])]


def best(row, k, relu):
    """The k entries of a row by magnitude, or the k largest positive ones."""
    score = [v.v if relu else abs(v.v) for v in row]
    order = sorted((j for j in range(len(row)) if score[j] > 0), key=lambda j: (-score[j], j))
    edge = [score[j] for j in order[k - 1:k + 1]]
    assert len(edge) < 2 or edge[0] - edge[1] == 0 or edge[0] - edge[1] > 1e-4, "a near tie"
    return order[:k]


def encode(p, c, mode):
    """(code, mu, log-variance or None); the code as {(row, feature): number}."""
    pre = affine(c["x"], p, "W_enc", "b_enc", c["pre_bias"])
    mu = [[v.relu() if c["relu"] else v for v in row] for row in pre]
    noise = c["var"] != "off" and (mode == "train" or c["sample"])
    logvar, z = None, mu
    if c["var"] == "learned":
        raw = affine(c["x"], p, "W_var", "b_var", c["pre_bias"])
        logvar = [[clamp(v, -6, 2) for v in row] for row in raw]
    if noise:
        sd = [[(logvar[r][j] / 2).exp() if logvar else num(c["sigma"]) for j in range(N)]
              for r in range(B)]
        z = [[mu[r][j] + sd[r][j] * normal(ROW0 + r, j) for j in range(N)] for r in range(B)]
    code = {}
    for r in range(B):
        kept = range(N) if c["k"] is None else best(z[r], c["k"], c["relu"] and not noise)
        code.update({(r, j): z[r][j] for j in kept})
    return code, mu, logvar


def decode(p, code, bias):
    out = [[p["b_dec"][0][i] if bias else Num(0) for i in range(D)] for _ in range(B)]
    for (r, j), v in sorted(code.items()):
        for i in range(D):
            out[r][i] = out[r][i] + v * p["W_dec"][j][i]
    return out


def penalty(c, code, mu, logvar):
    terms = []
    for r in range(B):
        for j in range(N):
            if c["masked"] and (r, j) not in code:
                continue
            m = clamp(mu[r][j], -10, 10)
            t = m * m
            if logvar:
                t = t + (logvar[r][j].exp() - logvar[r][j] - 1)
            elif c["var"] == "fixed":
                t = t + (c["sigma"] ** 2 - 1 - math.log(c["sigma"] ** 2))
            terms.append(t * 0.5)
    return total(terms) / B


def variance(m):
    mean = [total(row[i] for row in m) / len(m) for i in range(D)]
    return total((row[i] - mean[i]) * (row[i] - mean[i]) for row in m for i in range(D)) / len(m)


def auxk(p, c, code, mu, resid):
    """(loss, coefficient); the residual is a constant."""
    now, fired = c["tokens"] + B, list(c["last_fired"])
    for (_, j), v in code.items():
        if v.v != 0:
            fired[j] = now
    dead = [j for j in range(N) if now - fired[j] >= c["dead"]]
    if not c["alpha"] or not dead:
        return Num(0), Num(0)
    aux = {}
    for r in range(B):
        kept = best([mu[r][j] for j in dead], c["k_aux"], c["relu"])
        aux.update({(r, dead[i]): mu[r][dead[i]] for i in kept})
    e = [[v.detach() for v in row] for row in resid]
    ehat = decode(p, aux, not c["pre_bias"])
    err = [[ehat[r][i] + e[r][i] for i in range(D)] for r in range(B)]
    return total(v * v for row in err for v in row) / B, num(c["alpha"]) / variance(e)


def active(code):
    return [entry for entry in listing(code) if entry[2]]


def step(p, c, spec):
    """(code, xhat, losses, coefficients) of one training step."""
    code, mu, logvar = encode(p, c, "train")
    xhat = decode(p, code, True)
    resid = [[xhat[r][i] - c["x"][r][i] for i in range(D)] for r in range(B)]
    loss = [total(v * v for row in resid for v in row) / B, penalty(c, code, mu, logvar)]
    coef = [Num(1), num(c["beta"] * min(1, c["step"] / 3))]  # kl_warmup of 30 steps: 3
    if not spec.startswith("vsae:"):
        extra, weight = auxk(p, c, code, mu, resid)
        loss.append(extra)
        coef.append(weight)
    return code, xhat, loss, coef


def later(c, spec):
    """The total of step s, and the statistics that it leaves."""
    fired = c["last_fired"] = list(c["last_fired"])

    def total_at(p, s):
        c["step"] = s
        code, _, loss, coef = step(p, c, spec)
        c["tokens"] += B
        for (_, j), v in code.items():
            if v.v != 0:
                fired[j] = c["tokens"]
        return total(w.detach() * v for w, v in zip(coef, loss))

    return total_at


def solve(number, spec, changes):
    rnd = Inputs(number + 100)
    c = dict({"k": 2, "relu": 1, "pre_bias": 0, "var": "off", "sigma": 1.0, "masked": 0, "sample": 0,
              "beta": 0.5, "alpha": 0, "step": 1, "wide": 1, "k_aux": 2, "dead": 100,
              "tokens": 1000, "last_fired": [1000, 10, 996, 900, 1000, 20, 904, 903]}, **changes)
    plain = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
             "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4)}
    plain["W_enc"] = [[v * c["wide"] for v in row] for row in plain["W_enc"]]
    if not spec.startswith("vsae_l2"):
        plain["W_var"], plain["b_var"] = rnd.matrix(N, D), rnd.matrix(1, N, -40, 8)
    c["x"] = rnd.matrix(B, D)
    p = {name: numbers(m) for name, m in plain.items()}
    code, xhat, loss, coef = step(p, c, spec)
    grad(total(w.detach() * v for w, v in zip(coef, loss)))
    unit = ["W_dec"] if "decoder=unit" in spec else []
    return {"spec": spec, "x": c["x"], "row0": ROW0, "step": c["step"], "steps": 30,
            "tensors": plain, "tokens": c["tokens"], "last_fired": c["last_fired"],
            "train": {"code": active(code), "xhat": pairs(xhat), "loss": pairs([loss]),
                      "coef": pairs([coef]), "grad": {n: grad_pairs(m) for n, m in p.items()}},
            "after": {}, "curve": curve(plain, later(dict(c), spec), unit), "eval": {"code": active(encode(p, c, "eval")[0])}}


AUX = "auxk=0.03125,k_aux=2,dead=100"
CASES = [
    ("vsae_l2:k=2,beta=0.5," + AUX, {"alpha": 1 / 32}),
    ("vsae_l2:k=3,beta=0.25,relu_mu=0,pre_bias=1,decoder=unit," + AUX,
     {"k": 3, "beta": 0.25, "relu": 0, "pre_bias": 1, "alpha": 1 / 32, "wide": 8, "step": 2}),
    ("vsae_topk:k=3,beta=0.5", {"k": 3, "var": "learned", "step": 5}),
    ("vsae_topk:k=2,beta=0.5,kl=masked,relu_mu=0," + AUX,
     {"var": "learned", "masked": 1, "relu": 0, "alpha": 1 / 32, "step": 5}),
    ("vsae_topk:k=2,beta=1,var=fixed,sigma=0.5,eval_sampling=sample",
     {"beta": 1, "var": "fixed", "sigma": 0.5, "sample": 1}),
    ("vsae_topk:k=2,beta=0.5,var=off," + AUX, {"alpha": 1 / 32}),
    ("vsae_topk:k=2,beta=0.5,kl=masked,var=fixed,sigma=2,pre_bias=1," + AUX,
     {"masked": 1, "var": "fixed", "sigma": 2.0, "pre_bias": 1, "alpha": 1 / 32}),
    ("vsae:beta=0.25", {"k": None, "relu": 0, "var": "learned", "beta": 0.25, "step": 3}),
    ("vsae:beta=0.5,relu_mu=1,pre_bias=1,eval_sampling=sample",
     {"k": None, "var": "learned", "pre_bias": 1, "sample": 1}),
    ("vsae:beta=0.5,relu_mu=1,var=off", {"k": None}),
]

write("scripts/golden/variant_vsae.py", B, D, N,
      [solve(i, spec, changes) for i, (spec, changes) in enumerate(CASES)], adam=ADAM)
