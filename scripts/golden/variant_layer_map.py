#!/usr/bin/env python3
"""scripts/golden/variant_layer_map.py - golden vectors of layer_map.

From the equations (variants/layer_map.md), not by running the C code. Needs Python 3 only. Sums and
regression are rational numbers; the base's reconstruction is exact in float, as the base's code and
dictionary are small multiples of 1/8.

    scripts/golden/variant_layer_map.py > tests/golden/data/variants/layer_map.json
"""
from fractions import Fraction

from number import Inputs, Num, listing, matmul, numbers, pairs, write
from pursuit import decode, mse

B, D, OUT, N, STEPS = 4, 3, 2, 8, 10


def product(a, b):
    """a^T b."""
    return [[sum(p * q for p, q in zip(x, y)) for y in zip(*b)] for x in zip(*a)]


def sums(u, y):
    """What is accumulated over the rows seen."""
    u, y = ([[Fraction(v) for v in row] for row in m] for m in (u, y))
    ones = [[Fraction(1)]] * len(u)
    if not u:
        return {"gram": [[0] * D] * D, "cross": [[0] * OUT] * D, "sum_u": [[0] * D],
                "sum_y": [[0] * OUT], "rows": [[0]]}
    return {"gram": product(u, u), "cross": product(u, y), "sum_u": product(ones, u),
            "sum_y": product(ones, y), "rows": product(ones, ones)}


def solve(a, b):
    """a^-1 b by Gauss-Jordan elimination, for positive definite a."""
    both = [list(p) + list(q) for p, q in zip(a, b)]
    for i, row in enumerate(both):
        row[:] = [v / row[i] for v in row]
        for r, other in enumerate(both):
            if r != i:
                other[:] = [v - other[i] * w for v, w in zip(other, row)]
    return [row[len(a):] for row in both]


def norm(a):
    return max(sum(abs(v) for v in row) for row in a)


def regress(seen, bias, ridge):
    """W as numbers, and the means of u and y that count as the constant. Solving in double is off
    by cond(G) |W| 2^-53, that is 2^-29 cond(G) |W| of float's unit; rounding adds the entry."""
    rows = seen["rows"][0][0]
    u, y = ([v * bias / rows for v in seen[k][0]] for k in ("sum_u", "sum_y"))
    gram = [[v - rows * p * q for v, q in zip(row, u)] for row, p in zip(seen["gram"], u)]
    cross = [[v - rows * p * q for v, q in zip(row, y)] for row, p in zip(seen["cross"], u)]
    trace = sum(gram[i][i] for i in range(D))
    for i in range(D):
        gram[i][i] += Fraction(ridge) * trace / D if trace else 1
    w = solve(gram, cross)
    inverse = solve(gram, [[int(i == j) for j in range(D)] for i in range(D)])
    off = float(norm(gram) * norm(inverse) * norm(w)) * 2.0 ** -29
    return [[Num(v, abs(float(v)) + off) for v in row] for row in w], u, y


def double(m):
    """Exact in double up to its rounding."""
    flat = [float(v) for row in m for v in row]
    return [flat, [abs(v) for v in flat], True]


def case(seed, step=0, bias=1, rows=0, ridge=1e-9, codes=((0, 3), (1, 3, 6), (2, 5, 7), (4,))):
    rnd = Inputs(seed)
    x, y, dec, offset = (rnd.matrix(*size) for size in ((B, D), (B, OUT), (N, OUT), (1, OUT)))
    base_dec, base_offset = rnd.matrix(N, D), rnd.matrix(1, D, -4, 4)
    z = {(r, j): Num(rnd.next(1, 12) / 8) for r in range(B) for j in codes[r]}
    xhat = decode(z, numbers(dec), numbers(offset)[0], B)
    base_xhat = decode(z, numbers(base_dec), numbers(base_offset)[0], B)
    past = rnd.matrix(B * step, D), rnd.matrix(B * step, OUT)
    seen = sums(past[0] + [[v.v for v in row] for row in base_xhat], past[1] + y)
    after = {"W_dec": numbers(dec), "b_dec": numbers(offset)}
    if step + 1 == STEPS or 0 < rows <= B * (step + 1) or step & (step + 1) == 0:
        w, mean_u, mean_y = regress(seen, bias, ridge)
        columns = list(zip(*w))
        const = [[Num(b) - Num(m) for b, m in zip(base_offset[0], mean_u)]]
        after = {"W_dec": matmul(numbers(base_dec), columns),
                 "b_dec": [[a + Num(m) for a, m in zip(matmul(const, columns)[0], mean_y)]]}
    state = {k: [[float(v) for v in row] for row in m] for k, m in sums(*past).items()}
    return {"spec": "layer_map:bias=%d,rows=%d,ridge=%r" % (bias, rows, ridge), "x": x, "y": y,
            "base": {"W_dec": base_dec, "b_dec": base_offset,
                     "code": [[r, j, v.v] for (r, j), v in sorted(z.items())]},
            "tensors": {"W_dec": dec, "b_dec": offset} | state, "step": step, "steps": STEPS,
            "tokens": 0, "last_fired": [0] * N,
            "train": {"code": listing(z), "xhat": pairs(xhat),
                      "loss": pairs([[mse(xhat, numbers(y))]]), "coef": [[1], [0]], "grad": {}},
            "after": {k: pairs(m) for k, m in after.items()}
            | {k: double(m) for k, m in seen.items()},
            "eval": {"code": listing(z)}}


CASES = [
    case(81), case(82, step=1, bias=0), case(83, step=2), case(84, step=2, rows=11),
    case(85, step=9, ridge=0.5), case(86, step=3, bias=0, ridge=1e-3), case(87, codes=((),) * B),
]

write("scripts/golden/variant_layer_map.py", B, D, N, CASES, d_out=OUT)
