#!/usr/bin/env python3
"""scripts/golden/variant_transcoder.py - golden vectors of transcoder.

Computed in float64 from the equations (variants/transcoder.md), not by running the C code. Needs
Python 3 only. Targets are narrower than inputs, so that no width can stand for the other; `same`
writes cases where the widths agree and only the target differs.

    scripts/golden/variant_transcoder.py > tests/golden/data/variants/transcoder.json
    scripts/golden/variant_transcoder.py same > tests/golden/data/variants/transcoder_same.json
"""
import sys

from number import Inputs, matmul, numbers, write
import sparse as s

B, D, N = s.B, s.D, s.N

CASES = [
    dict(seed=1, k=2),
    dict(seed=2, k=3, skip=1, mse="fvu"),
    dict(seed=3, k=1, skip=1, mse="element", auxk_norm="mse", auxk_scale=1, auxk_detach=0, k_aux=7),
    dict(seed=4, k=2, auxk_detach=0),
    dict(seed=5, k=1, skip=1, alpha=0, mse="fvu"),
]


def solve(seed, width, skip=0, **options):
    case = dict(s.DEFAULT) | options
    rnd = Inputs(seed)
    tensors = {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
               "W_dec": rnd.matrix(N, width), "b_dec": rnd.matrix(1, width, -4, 4),
               "W_skip": rnd.matrix(width, D)}
    rows, target = rnd.matrix(B, D), rnd.matrix(B, width)
    p, x, y = {name: numbers(m) for name, m in tensors.items()}, numbers(rows), numbers(target)
    pre = [[u + b for u, b in zip(row, p["b_enc"][0])] for row in matmul(x, p["W_enc"])]
    z = s.best_of_rows(pre, case["k"], range(N))
    xhat = s.decode(p, z)
    if skip:
        xhat = [[u + v for u, v in zip(*both)] for both in zip(xhat, matmul(x, p["W_skip"]))]
    resid, scale = s.minus(xhat, y), s.mse_scale(case["mse"], y)
    aux, aux_coef = s.auxk(p, case, pre, z, resid, scale)
    assert aux_coef.v > 0 or not case["alpha"]
    return {"spec": "transcoder:k=%d,skip=%d," % (case["k"], skip) + s.aux_options(case), "x": rows,
            "y": target, "tensors": tensors, "tokens": case["tokens"],
            "last_fired": case["last_fired"],
            "train": s.trained(p, z, xhat, [s.mean_square(resid), aux], [scale, aux_coef]),
            "after": {}, "eval": {"code": s.listing(z)}}


def main():
    width, cases = (D, CASES[:2]) if sys.argv[1:] == ["same"] else (2, CASES)
    write("scripts/golden/variant_transcoder.py", B, D, N,
          [solve(width=width, **case) for case in cases], d_out=width)


main()
