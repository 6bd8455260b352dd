#!/usr/bin/env python3
"""scripts/golden/dictionary_variants.py - golden vectors of the baselines neuron, pca, kmeans, random
and oracle, and of itgp, from variants/*.md.

    scripts/golden/dictionary_variants.py > tests/golden/data/variants/dictionary.json
"""
import math

from number import Inputs, Num, listing, numbers, pairs, total, write
from pursuit import codes, decode, dot, mse, unit
import sparse as s
from philox import philox

B, D, N, SEED, STREAM_SHUFFLE = s.B, s.D, s.N, 1, 2
ZERO = [Num(0)] * D


def case_of(spec, x, tensors, z, xhat, after, evaluated, **more):
    return {"spec": spec, "x": x, "tensors": tensors, "tokens": 0, "last_fired": [0] * N,
            "train": {"code": listing(z), "xhat": pairs(xhat),
                      "loss": pairs([[mse(xhat, numbers(x))]]), "coef": [[1], [0]], "grad": {}},
            "after": {name: pairs(m) for name, m in after.items()},
            "eval": {"code": listing(evaluated)}, **more}


def largest(pre, k, positive=False):
    """The k largest magnitudes (or positive entries) of each row."""
    z = {}
    for r, row in enumerate(pre):
        ok = [j for j in range(len(row)) if (row[j].v > 0 if positive else row[j].v)]
        for j in sorted(ok, key=lambda j: (-abs(row[j].v), j))[:k]:
            z[r, j] = row[j]
    return z


def mean(x):
    return [total(row[i] for row in x) / len(x) for i in range(D)]


def project(x, atoms, offset, k, positive=False):
    xc = [[a - b for a, b in zip(row, offset)] for row in x]
    return largest([[dot(row, atom) for atom in atoms] for row in xc], k, positive)


# ---- neuron ---------------------------------------------------------------------------------------

def neuron(seed, k, positive, centre):
    rows = Inputs(seed).matrix(B, D)
    x = numbers(rows)
    atoms = [[Num(i == j) for i in range(D)] for j in range(D)]
    offset = mean(x) if centre else ZERO
    z = project(x, atoms, offset, k, positive)
    return case_of("neuron:k=%d,positive=%d,centre=%d" % (k, positive, centre), rows, {}, z,
                   decode(z, atoms, offset, B), {"W_dec": atoms}, z)


# ---- pca ------------------------------------------------------------------------------------------

def eigenvectors(a):
    """Rows: eigenvectors of a symmetric matrix of floats, largest eigenvalue first; eigenvalues."""
    a, n = [list(row) for row in a], len(a)
    v = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(50):
        for p in range(n):
            for q in range(p + 1, n):
                t = 0.5 * math.atan2(2 * a[p][q], a[q][q] - a[p][p])
                c, w = math.cos(t), math.sin(t)
                for m in (a, v):
                    m[p], m[q] = ([c * x - w * y for x, y in zip(m[p], m[q])],
                                  [w * x + c * y for x, y in zip(m[p], m[q])])
                for row in a:
                    row[p], row[q] = c * row[p] - w * row[q], w * row[p] + c * row[q]
    order = sorted(range(n), key=lambda i: -a[i][i])
    rows = []
    for i in order:
        big = max(range(n), key=lambda j: abs(v[i][j]))
        rows.append([x * math.copysign(1, v[i][big]) for x in v[i]])
    return rows, [a[i][i] for i in order]


def components(cross, sums, rows):
    """First order: a matrix off by u S moves eigenvector j by at most u |S| / gap in the direction
    of each of the others."""
    cov = [[cross[i][j] - sums[i] * sums[j] / rows for j in range(D)] for i in range(D)]
    vec, val = eigenvectors([[c.v for c in row] for row in cov])
    norm = math.sqrt(sum(c.s ** 2 for row in cov for c in row))
    return [[Num(vec[j][i], abs(vec[j][i]) + sum(abs(vec[k][i]) * norm / abs(val[j] - val[k])
                                                 for k in range(D) if k != j))
             for i in range(D)] for j in range(D)]


def pca(seed, k, positive, step):
    rows = Inputs(seed).matrix(B, D)
    x, rnd = numbers(rows), Inputs(seed + 100)
    tensors, offset, atoms = {}, mean(x), [ZERO] * D
    shift, sums, cross, count = offset, ZERO, [[Num(0)] * D] * D, 0
    if step:
        old = {"W_dec": [[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]], "b_dec": rnd.matrix(1, D),
               "shift": rnd.matrix(1, D), "sum": rnd.matrix(1, D),
               "cross": [[40, 3, -2], [3, 20, 1], [-2, 1, 9]], "rows": [[8]]}
        tensors = old
        atoms, offset, shift = numbers(old["W_dec"]), numbers(old["b_dec"])[0], numbers(
            old["shift"])[0]
        sums, cross, count = numbers(old["sum"])[0], numbers(old["cross"]), 8
    z = project(x, atoms, offset, k, positive)
    xhat = decode(z, atoms, offset, B)
    xs = [[a - b for a, b in zip(row, shift)] for row in x]
    sums = [a + total(row[i] for row in xs) for i, a in enumerate(sums)]
    cross = [[cross[i][j] + total(row[i] * row[j] for row in xs) for j in range(D)]
             for i in range(D)]
    count += B
    if step & (step + 1) == 0:
        atoms = components(cross, sums, count)
        offset = [a + b / count for a, b in zip(shift, sums)]
    after = {"sum": [sums], "cross": cross, "rows": [[Num(count)]], "W_dec": atoms,
             "b_dec": [offset]}
    return case_of("pca:k=%d,positive=%d" % (k, positive), rows, tensors, z, xhat, after,
                   project(x, atoms, offset, k, positive), step=step)


# ---- kmeans ---------------------------------------------------------------------------------------

def permute(epoch, rows, i):
    """Four Feistel rounds over the smallest even number of bits that covers rows, walked until the
    image is in range."""
    half = 1
    while half < 32 and 1 << 2 * half < rows:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = i >> half, i & mask
        for k in range(4):
            f = philox(SEED, STREAM_SHUFFLE, right | epoch << 32, k)[0]
            left, right = right, (left ^ f) & mask
        i = left << half | right
        if i < rows:
            return i


def derived(centre):
    square = [dot(c, c) for c in centre]
    return {"W_dec": [unit(c) for c in centre], "square": [square],
            "norm": [[q.sqrt() for q in square]], "bias": [[-q / 2 for q in square]]}


def nearest(xc, centre):
    best = []
    for row in xc:
        far = [dot(diff, diff).v for diff in ([a - b for a, b in zip(row, c)] for c in centre)]
        best.append(far.index(min(far)))
    return best


def kmeans(seed, how, k, solver, step):
    rnd = Inputs(seed)
    rows, offset = rnd.matrix(B, D), rnd.matrix(1, D)
    centre = numbers(rnd.matrix(N, D))
    mass = [0, 3, 0, 1, 2, 5, 0, 8]
    x, b = numbers(rows), numbers(offset)[0]
    d = derived(centre)
    tensors = {name: [[v.v for v in row] for row in m] for name, m in d.items()}
    tensors |= {"b_dec": offset, "mass": [list(mass)], "centre": [[v.v for v in c] for c in centre]}
    xc = [[p - q for p, q in zip(row, b)] for row in x]
    best = nearest(xc, centre)
    z = {(r, j): d["norm"][0][j] for r, j in enumerate(best)}
    xhat = decode(z, d["W_dec"], b, B)
    for j in set(best):
        mine = [xc[r] for r in range(B) if best[r] == j]
        m = mass[j] + len(mine)
        centre[j] = [centre[j][i] * mass[j] / m + total(row[i] for row in mine) / m
                     for i in range(D)]
        mass[j] = m
    free = [j for j in range(N) if mass[j] == 0][:B]
    for i, j in enumerate(free):
        centre[j] = xc[permute(step, B, i)]
    after = derived(centre) | {"centre": centre, "mass": [[Num(m) for m in mass]]}
    if how == "nearest":
        code = {(r, j): after["norm"][0][j] for r, j in enumerate(nearest(xc, centre))}
    else:
        code = codes(x, b, after["W_dec"], k, solver, tol=1e-3)
    return case_of("kmeans:codes=%s,k=%d,solver=%s,tol=1e-3" % (how, k, solver), rows, tensors, z,
                   xhat, after, code, step=step)


# ---- oracle, itgp, random -------------------------------------------------------------------------

def oracle(seed, k, solver, positive):
    rnd = Inputs(seed)
    rows = rnd.matrix(B, D)
    atoms = [unit(row) for row in numbers(rnd.matrix(N, D))]
    z = codes(numbers(rows), ZERO, atoms, k, solver, positive, 1e-3)
    return case_of("oracle:k=%d,solver=%s,positive=%d" % (k, solver, positive), rows, {}, z,
                   decode(z, atoms, ZERO, B), {"W_dec": atoms}, z,
                   truth=[[v.v for v in a] for a in atoms])


def itgp(seed, k, solver, positive, l0):
    rnd = Inputs(seed)
    rows, offset = rnd.matrix(B, D), rnd.matrix(1, D, -4, 4)
    atoms = [unit(row) for row in numbers(rnd.matrix(N, D))]
    b = numbers(offset)[0]
    z = codes(numbers(rows), b, atoms, k or l0, solver, positive)
    base = {"W_dec": [[v.v for v in a] for a in atoms], "b_dec": offset,
            "code": [[r, j, 1.5] for r in range(B) for j in range(l0[r])]}
    return case_of("itgp:k=%d,solver=%s,positive=%d" % (k, solver, positive), rows, {}, z,
                   decode(z, atoms, b, B), {"W_dec": atoms, "b_dec": [b]}, z, base=base)


def random(seed, **options):
    case = dict(s.DEFAULT, k=2) | options
    tensors, x = s.tensors(seed)
    p = {name: numbers(m) for name, m in tensors.items()}
    pre = s.encode(p, x)
    z = s.best_of_rows(pre, case["k"], range(N))
    xhat = s.decode(p, z)
    resid, scale = s.minus(xhat, x), s.mse_scale(case["mse"], x)
    aux, aux_coef = s.auxk(p, case, pre, z, resid, scale)
    out = {"spec": "random:k=%d," % case["k"] + s.aux_options(case), "x": x, "tensors": tensors,
           "tokens": case["tokens"], "last_fired": case["last_fired"],
           "train": s.trained(p, z, xhat, [s.mean_square(resid), aux], [scale, aux_coef]),
           "after": {"W_dec": pairs(p["W_dec"])}, "eval": {"code": listing(z)}}
    del out["train"]["grad"]["W_dec"]
    return out


CASES = [
    neuron(60, 2, 0, 0), neuron(61, 1, 1, 0), neuron(62, 9, 0, 1),
    pca(63, 2, 0, 0), pca(64, 1, 1, 3), pca(65, 9, 0, 2),
    kmeans(66, "pursuit", 2, "omp", 0), kmeans(67, "nearest", 2, "omp", 3),
    kmeans(68, "pursuit", 2, "mp", 1),
    oracle(69, 2, "omp", 0), oracle(70, 3, "mp", 1), oracle(71, 3, "gradient", 0),
    itgp(72, 0, "gradient", 1, [2, 1, 0, 3]), itgp(73, 2, "gradient", 1, [1, 1, 1, 1]),
    itgp(74, 0, "mp", 0, [0, 4, 2, 1]),
    random(75), random(76, k=3, mse="element", auxk_norm="mse", auxk_scale=1, auxk_detach=0),
]

write("scripts/golden/dictionary_variants.py", B, D, N, CASES)
