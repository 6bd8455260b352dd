#!/usr/bin/env python3
"""scripts/golden/variant_matryoshka.py - golden vectors of matryoshka, from variants/matryoshka.md.

    scripts/golden/variant_matryoshka.py > tests/golden/data/variants/matryoshka.json
"""
import math

from number import listing, numbers, total, write
import sparse as s
from philox import philox

SEED, STREAM_PREFIX = 1, 4


def prefixes(case):
    if case["random"]:
        lengths = []
        for i in range(case["random"]):
            u = s.uniform(philox(SEED, STREAM_PREFIX, case["step"], i))
            lengths.append(max(1, math.floor(s.N * u ** (1 / case["random_law"]))))
        return sorted(lengths) + [s.N]
    cut, end = [], 0
    for size in filter(None, case["groups"].split("+")):
        end += math.floor(float(size) * s.N) if float(size) < 1 else int(size)
        cut.append(min(end, s.N))
    return cut + [s.N]


def solve(seed, case):
    case = dict(s.DEFAULT, groups="", random=0, random_law=0.5, group_power=0, step=3) | case
    tensors, x = s.tensors(seed)
    p = {name: numbers(m) for name, m in tensors.items()}
    pre, cut = s.encode(p, x), prefixes(case)
    z = s.best_of_batch(pre, case["k"])
    xhats = [s.decode(p, z, True, range(end)) for end in cut]
    errs = [s.mean_square(s.minus(xhat, x)) for xhat in xhats]
    scale = s.mse_scale(case["mse"], x)
    aux, aux_coef = s.auxk(p, case, pre, z, s.minus(xhats[-1], x), scale)
    coef = scale / len(cut) ** case["group_power"]
    theta = s.theta_after(case, z, -1.0)
    spec = "matryoshka:k=%r,groups=%s,random=%d,random_law=%r,group_power=%d,theta_first=%s," % (
        case["k"], case["groups"] or '""', case["random"], case["random_law"],
        case["group_power"], case["theta_first"])
    return {"spec": spec + s.aux_options(case), "x": x, "tensors": tensors, "step": case["step"],
            "tokens": case["tokens"], "last_fired": case["last_fired"],
            "train": s.trained(p, z, xhats[-1], [errs[-1], aux, total(errs[:-1])],
                               [coef, aux_coef, coef]),
            "after": {"theta": s.double([theta])}, "eval": {"code": listing(s.above(pre, theta))}}


CASES = [
    dict(groups="0.25+0.25"),
    dict(groups="1+2+3", group_power=2, mse="fvu", k=3.0),
    dict(groups="", k=1.5),  # no proper prefix: BatchTopK
    dict(groups="0.1+4+9", group_power=1, auxk_detach=0, auxk_norm="mse", mse="element", k_aux=1),
    dict(random=3, k=4.0, theta_first="zero"),
    dict(random=9, random_law=2.0, group_power=1, alpha=0, step=7),
]

write("scripts/golden/variant_matryoshka.py", s.B, s.D, s.N,
      [solve(20 + i, case) for i, case in enumerate(CASES)])
