#!/usr/bin/env python3
"""scripts/golden/jump_variants.py - golden vectors of JumpReLU and its two-sided form.

    scripts/golden/jump_variants.py > tests/golden/data/variants/jump.json

From the equations of variants/jumprelu.md and variants/abs_jumprelu.md. The straight-through
derivatives are written into the numbers by hand: one parent per threshold.
"""
from number import Inputs, Num, grad, grad_pairs, listing, num, numbers, pairs, total, write

B, D, N = 4, 3, 8


def levels(p, how):
    """theta as the window sees it, and its clamped value that codes must exceed."""
    t = p["theta"][0]
    if how == "raw":
        theta = t
    elif how == "clamped":
        theta = [Num(max(v.v, 0), v.s, ((v, 1.0, 1.0),)) for v in t]
    elif how == "log":
        theta = [v.exp() for v in t]
    else:
        theta = [Num(v.exp().v, v.exp().s, ((v, 1.0, 1.0),)) for v in t]
    return theta, [max(v.v, 0) for v in theta]


def near(score, theta, width):
    off = abs(score - theta.v) - width / 2
    assert off == 0 or abs(off) > 1e-4, "a window's edge that rounding decides"
    return off < 0


def forward(p, case, mode):
    eps, two_sided = case["bandwidth"], case["variant"] == "abs_jumprelu"
    theta, level = levels(p, case["param"])
    x = case["x"]
    shift = p["b_dec"][0] if case["pre_bias"] else [Num(0)] * D
    pre = [[total((num(x[r][i]) - shift[i]) * p["W_enc"][j][i] for i in range(D)) + p["b_enc"][0][j]
            for j in range(N)] for r in range(B)]
    score = abs if two_sided else (lambda v: v)
    z, parents = {}, []
    for r in range(B):
        for j in range(N):
            v, t = pre[r][j], theta[j]
            margin = score(v.v) - level[j]
            assert margin == 0 or abs(margin) > 1e-4, "a threshold that rounding decides"
            on = score(v.v) > level[j] and (two_sided or v.v > 0)
            sign = (v.v > 0) - (v.v < 0) if two_sided else 1
            inside = near(score(v.v), t, eps)
            slope = -sign * t.v / eps if inside else 0.0
            if on or slope:
                z[r, j] = Num(v.v if on else 0, v.s if on else 0,
                              (((v, 1.0, 1.0),) if on else ()) + ((t, slope, t.s / eps),))
            seen = score(v.v if on else 0) if case["window"] == "post" else score(v.v)
            if near(seen, t, eps):
                parents.append((t, -1 / (eps * B), 1 / (eps * B)))
    active = {k: v for k, v in z.items() if v.v != 0}
    xhat = [[p["b_dec"][0][i] + total(z[k] * p["W_dec"][k[1]][i] for k in sorted(z) if k[0] == r)
             for i in range(D)] for r in range(B)]
    out = {"code": active, "xhat": xhat}
    out["loss"] = [total((xhat[r][i] - x[r][i]) * (xhat[r][i] - x[r][i]) for r in range(B)
                         for i in range(D)) / B]
    if mode == "eval":
        return out
    weight = [total(v * v for v in row).sqrt() if case["decoder"] == "free" else num(1)
              for row in p["W_dec"]]
    l0 = Num(len(active) / B, None, tuple(parents))
    if case["penalty"] == "l0":
        out["loss"].append(l0)
    elif case["penalty"] == "target":
        off = l0 / case["target_l0"] - 1
        out["loss"].append(off * off)
    else:
        out["loss"].append(total((z[k] * weight[k[1]] * case["tanh_scale"]).tanh()
                                 for k in sorted(z)) / B)
    pull = Num(0)
    for j in range(N):
        if case["pre_act"] > 0 and case["tokens"] - case["last_fired"][j] >= case["dead"]:
            above = Num(level[j], theta[j].s, ((theta[j], 1.0, 1.0),))
            pull = pull + total((above - pre[r][j]) * weight[j] for r in range(B)
                                if (r, j) not in active)
    out["loss"].append(pull / B)
    mse = {"row": 1.0, "element": 1 / D}[case["mse"]]
    out["coef"] = [num(mse), num(case["weight"]), num(case["pre_act"])]
    return out


BASE = dict(variant="jumprelu", penalty="l0", weight=0.25, target_l0=2, bandwidth=1, param="raw",
            window="pre", pre_bias=1, decoder="unit", mse="row", tanh_scale=0.5, pre_act=0, dead=100,
            tokens=1000, last_fired=[1000, 10, 996, 900, 1000, 20, 904, 903])
CASES = [
    BASE,
    dict(BASE, penalty="target", window="post", pre_bias=0, mse="element"),
    dict(BASE, penalty="target", target_l0=5, param="log", bandwidth=0.75),
    dict(BASE, penalty="tanh", param="clamped", decoder="free", pre_act=0.125, bandwidth=2),
    dict(BASE, penalty="tanh", param="log", pre_act=0.5, bandwidth=0.5, tanh_scale=0.25),
    dict(BASE, param="log_unscaled", window="post", pre_bias=0, pre_act=0.25, decoder="free"),
    dict(BASE, variant="abs_jumprelu"),
    dict(BASE, variant="abs_jumprelu", penalty="target", param="log", pre_bias=0, bandwidth=0.75),
    dict(BASE, variant="abs_jumprelu", penalty="target", target_l0=3, window="post", param="clamped",
         bandwidth=2, mse="element"),
]
SPEC = ["penalty", "weight", "target_l0", "bandwidth", "param", "window", "pre_bias", "decoder", "mse"]
ONE_SIDED = ["tanh_scale", "pre_act", "dead"]


def solve(number, case):
    rnd = Inputs(100 + number)
    weights = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
               "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4),
               "theta": rnd.matrix(1, N, -3 if case["param"] in ("raw", "clamped") else -8, 10)}
    case = dict(case, x=rnd.matrix(B, D))
    p = {k: numbers(m) for k, m in weights.items()}
    t = forward(p, case, "train")
    grad(total(c * l for c, l in zip(t["coef"], t["loss"])))
    keys = SPEC + (ONE_SIDED if case["variant"] == "jumprelu" else [])
    return {
        "spec": case["variant"] + ":" + ",".join(f"{k}={case[k]}" for k in keys),
        "x": case["x"], "tensors": weights, "tokens": case["tokens"],
        "last_fired": case["last_fired"],
        "train": {"code": listing(t["code"]), "xhat": pairs(t["xhat"]), "loss": pairs([t["loss"]]),
                  "coef": pairs([t["coef"]]),
                  "grad": {k: grad_pairs(m) for k, m in p.items()}},
        "after": {"theta": pairs([levels(p, "clamped")[0]])} if case["param"] == "clamped" else {},
        "eval": {"code": listing(forward(p, case, "eval")["code"])},
    }


write("scripts/golden/jump_variants.py", B, D, N, [solve(i, c) for i, c in enumerate(CASES)])
