#!/usr/bin/env python3
"""scripts/golden/variant_itda.py - golden vectors of itda, from variants/itda.md.

    scripts/golden/variant_itda.py > tests/golden/data/variants/itda.json

A case is the first batch of a run: seeds, codes, growth, codes again. tol ends a row that an atom
rebuilds before its residual is nothing but rounding.
"""
from number import Num, listing, numbers, pairs, write
from pursuit import codes, decode, dot, mse, unit

B, D, N = 4, 3, 8
TOL = 1e-3
ZERO = [Num(0)] * D
TOK = [[3, 0, 11], [3, 1, 12], [4, 0, 11], [5, 7, 13]]


def direction(row):
    return dot(row, row).sqrt().v >= 1e-6


def seeds(x, case):
    """Rows of the first batch: different ones, the most frequent first."""
    groups = {}
    for r, row in enumerate(x):
        if direction(row):
            groups.setdefault(tuple(v.v for v in row), []).append(r)
    order = sorted(groups.items(), key=lambda g: (-len(g[1]),
                                                  g[0] if case["order"] == "value" else g[1][0]))
    return [rows[0] for _, rows in order][:case["seeds"] or D]


def cosine(x, xhat):
    if not direction(x):
        return Num(1)
    h = dot(xhat, xhat)
    return dot(x, xhat) / (dot(x, x) * h).sqrt() if h.v else Num(0)


def rebuilt(x, atoms, case):
    z = codes(x, ZERO, atoms, case["k"], case["solver"], case["positive"], TOL)
    return z, decode(z, atoms, ZERO, len(x))


def grow(x, atoms, taken, case):
    kappa = 1 - case["tau"] * D / 2 if case["tau"] else case["kappa"]
    xhat, old = rebuilt(x, atoms, case)[1], len(atoms)
    for r, row in enumerate(x):
        if len(atoms) == N or cosine(row, xhat[r]).v >= kappa:
            continue
        fresh = atoms[old:]
        if case["add"] == "sequential" and fresh:
            if cosine(row, rebuilt([row], atoms, case)[1][0]).v >= kappa:
                continue
        if case["add"] == "dedup" and any(abs(cosine(row, a).v) > case["dedup"] for a in fresh):
            continue
        atoms.append(unit(row))
        taken.append(r)


def solve(case):
    case = dict(k=2, kappa=0.8464, tau=0, add="batch", dedup=0.9999, seeds=0, order="first",
                solver="mp", positive=0) | case
    x = numbers(case["x"])
    taken = seeds(x, case)
    atoms = [unit(x[r]) for r in taken]
    z, xhat = rebuilt(x, atoms, case)
    err = sum((2 - 2 * cosine(p, q) for p, q in zip(x, xhat)), Num(0)) / (B * D)
    grow(x, atoms, taken, case)
    labels = [v for r in taken for v in TOK[r]]
    spec = "itda:k=%d,kappa=%r,tau=%r,add=%s,dedup=%r,seeds=%d,seed_order=%s,solver=%s,positive=%d," \
           "tol=%r"
    return {"spec": spec % (case["k"], case["kappa"], case["tau"], case["add"], case["dedup"],
                            case["seeds"], case["order"], case["solver"], case["positive"], TOL),
            "x": case["x"], "tok": TOK, "tensors": {}, "tokens": 0, "last_fired": [0] * N,
            "train": {"code": listing(z), "xhat": pairs(xhat),
                      "loss": pairs([[mse(xhat, x), err]]), "coef": [[1, 0], [1, 0]], "grad": {}},
            "after": {"W_dec": pairs(atoms), "atom": [labels, labels]},
            "eval": {"code": listing(rebuilt(x, atoms, case)[0])}}


SPREAD = [[1.0, 0.25, 0.0], [0.125, 1.5, 0.5], [-0.5, 0.25, 2.0], [1.0, -1.0, 0.75]]
TWINS = [[0.5, 1.0, 0.25], [2.0, 0.125, -0.5], [0.5, 1.0, 0.25], [4.0, 0.375, -1.0]]
CASES = [
    dict(x=SPREAD, seeds=1),
    dict(x=SPREAD, seeds=2, add="sequential", k=1, kappa=0.7),
    dict(x=TWINS, seeds=1, order="value"),
    dict(x=TWINS, seeds=1, add="sequential", k=3),
    dict(x=TWINS, seeds=1, add="dedup", dedup=0.99),
    dict(x=SPREAD, order="value", k=3, solver="omp", kappa=0.99),
    dict(x=SPREAD, seeds=1, k=3, solver="gradient", positive=1, tau=0.05),
    dict(x=[[0.0] * 3, SPREAD[1], SPREAD[2], [0.0] * 3], seeds=2),
]

write("scripts/golden/variant_itda.py", B, D, N, [solve(case) for case in CASES])
