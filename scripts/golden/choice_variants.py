#!/usr/bin/env python3
"""scripts/golden/choice_variants.py - golden vectors of mutual_choice and feature_choice.

From variants/mutual_choice.md and variants/feature_choice.md.

    scripts/golden/choice_variants.py > tests/golden/data/variants/choice.json
"""
import math

from number import listing, numbers, write
import sparse as s
from philox import philox

SEED, STREAM_NOISE = 1, 3
ZIPF = {"zipf": "fixed", "zipf_alpha": 1.0, "zipf_beta": 2.0, "zipf_start": 0.05, "rerank": 10,
        "half_life": 100.0, "hysteresis": 0.05, "dying": 0.5, "dying_soft": 1}


def quotas(weight, M, draw):
    """Of every feature: clamp(s weight, least, B) in whole numbers that add up to M."""
    least = 1.0 if M >= s.N else 0.0

    def shares(scale):
        return [min(max(scale * w, least), float(s.B)) for w in weight]
    lo, hi = 0.0, 1e9
    for _ in range(300):
        mid = (lo + hi) / 2
        lo, hi = (mid, hi) if sum(shares(mid)) < M else (lo, mid)
    t = shares(hi)
    if draw is not None:
        run, out = draw, []
        for v in t:
            out.append(math.floor(run + v) - math.floor(run))
            run += v
        return out
    out = [math.floor(v + 1e-9) for v in t]
    order = sorted(range(s.N), key=lambda j: (-round(t[j] - out[j], 9), j))
    for j in order[:M - sum(out)]:
        out[j] += 1
    return out


def by_column(pre, quota):
    kept = []
    for j in range(s.N):
        kept += s.ranked(pre, [(r, j) for r in range(s.B)])[:quota[j]]
    return s.code(pre, kept)


def curve(case):
    w = [(r + case["zipf_beta"]) ** -case["zipf_alpha"] for r in range(1, s.N + 1)]
    return case["k"] / sum(w), [case["k"] / sum(w) * v for v in w]


def densities(case, z):
    """density, ranked, expected, need after a step; the statistics' clock is not moved by hand."""
    keep = 2.0 ** (-s.B / case["half_life"])
    rate = min(1.0, (1 - keep) / (1 - 2.0 ** (-case["tokens"] / case["half_life"])))
    density = list(case["density"])
    for j in range(s.N):
        share = sum(1 for c in z if c[1] == j) / s.B
        density[j] += rate * (share - density[j])
    ranked, expected = list(case["ranked"]), list(case["expected"])
    done, first = case["step"] + 1, max(1, math.ceil(case["zipf_start"] * case["steps"]))
    if done == first or done % case["rerank"] == 0 or done == case.get("switch"):
        ranked = [d if abs(d - r) > case["hysteresis"] * r else r
                  for d, r in zip(density, ranked)]
        for place, j in enumerate(sorted(range(s.N), key=lambda j: (-ranked[j], j))):
            expected[j] = curve(case)[1][place]
    need = list(case["need"])
    if done >= math.ceil(case["zipf_start"] * case["steps"]):
        for j in range(s.N):
            least = case["dying"] * expected[j]
            lack = 1 - density[j] / least if density[j] < least else 0.0
            need[j] = lack if case["dying_soft"] else float(lack > 0)
    return density, ranked, expected, need


def thresholds(case, pre, z, quota, M):
    """(theta, cut, gain) after a step."""
    gain = 1.0
    if quota is not None and case["step"] > case["switch"]:
        listed = len(s.above(pre, case["theta"]))
        gain *= (listed / M) ** case["theta_rate"] if listed else 1.0
    cut = cuts(case, z, quota)
    return [gain * v if v > 0 else v for v in cut], cut, gain


def cuts(case, z, quota):
    if quota is None:
        common = min((v.v for v in z.values()), default=-1.0)
        targets = [common] * s.N
    else:
        targets = []
        for j in range(s.N):
            column = sorted(v.v for c, v in z.items() if c[1] == j)
            targets.append(-1.0 if quota[j] == 0 else 0.0 if len(column) < quota[j] else column[0])
    out = []
    for theta, target in zip(case["cut"], targets):
        if target < 0:
            out.append(theta)
        elif quota is not None and case["step"] == case["switch"]:
            out.append(target)
        else:
            theta = theta if theta >= 0 else target if case["theta_first"] == "set" else 0.0
            out.append(theta + case["theta_rate"] * (target - theta))
    return out


def solve(seed, case):
    case = dict(s.DEFAULT, **ZIPF, step=3, steps=20, variant="mutual_choice", row0=40) | case
    tensors, x = s.tensors(seed)
    features = case["variant"] == "feature_choice"
    case.setdefault("theta", [0.25 * (j + 1) for j in range(s.N)] if features else [0.5])
    case.setdefault("cut", [v * 1.5 if v > 0 else v for v in case["theta"]])
    case.setdefault("density", [0.5, 0.25, 0.0, 0.5, 0.75, 0.125, 0.25, 1.0])
    case.setdefault("ranked", [0.5, 0.5, 0.0, 0.25, 0.75, 0.125, 0.25, 1.0])
    case.setdefault("expected", [0.5, 0.75, 0.25, 1.0, 0.5, 0.25, 1.5, 2.0])
    case.setdefault("need", [0.0, 0.25, 1.0, 0.0, 0.0, 0.5, 0.75, 0.0])
    p = {name: numbers(m) for name, m in tensors.items()}
    pre, quota, M = s.encode(p, x), None, int(min(case["k"], s.N) * s.B)
    if case["step"] < case.get("topk_share", 0) * case["steps"]:
        z = s.best_of_rows(pre, int(case["k"]), range(s.N))
    elif features and case["step"] >= case["switch"]:
        weight = case["expected"] if case["budget"] == "zipf" else [1.0] * s.N
        u = s.uniform(philox(SEED, STREAM_NOISE, case["row0"], 0))
        draw = u if M < s.N and case["rounding"] == "random" else None
        quota = quotas(weight, M, draw)
        assert sum(quota) == M, (quota, M)
        z = by_column(pre, quota)
    else:
        z = s.best_of_batch(pre, case["k"])
    xhat = s.decode(p, z)
    resid, scale = s.minus(xhat, x), s.mse_scale(case["mse"], x)
    aux, aux_coef = s.auxk(p, case, pre, z, resid, scale, case["need"])
    density, ranked, expected, need = densities(case, z)
    if features:
        theta, cut, gain = thresholds(case, pre, z, quota, M)
    else:
        theta = [s.theta_after(case, z, case["theta"][0])]
    names = ["k", "theta_first"] + sorted(ZIPF) + [n for n in ("topk_share", "mutual_share",
                                                               "budget", "rounding") if n in case]
    state = {n: [case[n]] for n in ("theta", "density", "ranked", "expected", "need")}
    C, after = curve(case)[0], {}
    if features:
        state["cut"] = [case["cut"]]
        after = {"cut": s.double(cut), "gain": s.double([gain])}
    at = theta if features else theta[0]
    train = s.trained(p, z, xhat, [s.mean_square(resid), aux], [scale, aux_coef])
    return {"spec": "%s:%s,%s" % (case["variant"], s.options(case, names), s.aux_options(case)),
            "x": x, "tensors": dict(tensors, **state), "step": case["step"],
            "steps": case["steps"], "row0": case["row0"], "tokens": case["tokens"],
            "last_fired": case["last_fired"], "train": train,
            "after": dict(after, **{"theta": s.double(theta), "density": s.double(density),
                      "ranked": s.double(ranked), "expected": s.double(expected),
                      "curve": s.double([case["zipf_alpha"], case["zipf_beta"], C, 0.0]),
                      "need": [need, [2 * v + 1 for v in need]]}),
            "eval": {"code": listing(s.above(pre, at))}}


FC = dict(variant="feature_choice", mutual_share=0.5, switch=10, budget="zipf", rounding="random")
CASES = [
    dict(k_aux=3),
    dict(k=3.0, step=9, dying_soft=0, mse="fvu", auxk_detach=0, k_aux=2),
    dict(k=2.0, topk_share=0.25, step=4, hysteresis=0.6, mse="element", auxk_norm="mse", k_aux=8),
    dict(dying=0, alpha=0.5, auxk_scale=1, half_life=10.0, tokens=8,
         last_fired=[8, 0, 1, 2, 8, 0, 4, 3], dead=11),
    dict(FC, k=2.5, step=9),                        # the last step before quotas: ranks
    dict(FC, k=2.5, step=10, k_aux=3),              # their first step: thresholds are set
    dict(FC, k=3.25, step=11, mse="fvu", auxk_detach=0),
    dict(FC, k=4.75, step=13, budget="uniform"),
    dict(FC, k=1.25, step=12),                      # fewer matches than features
    dict(FC, k=1.25, step=12, row0=77, mutual_share=0, switch=0, theta=[-1.0] * 8),
    dict(FC, k=1.25, step=14, rounding="largest", theta_first="zero", theta=[-1.0] * 8),
    dict(FC, k=2.0, topk_share=0.25, switch=15, step=3, alpha=0),
]

write("scripts/golden/choice_variants.py", s.B, s.D, s.N,
      [solve(40 + i, case) for i, case in enumerate(CASES)])
