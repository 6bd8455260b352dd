"""scripts/golden/pursuit.py - sparse codes over a dictionary by greedy selection, on number.py's
numbers, one row at a time: matching pursuit, orthogonal matching pursuit, gradient pursuit.

A code of a row is a dictionary feature -> Num. Atoms have unit norm.
"""
import math

from number import Num, total


def dot(a, b):
    return total(x * y for x, y in zip(a, b))


def unit(row):
    norm = dot(row, row).sqrt()
    return [v / norm for v in row] if norm.v else row


def minus(x, z, atoms):
    """x - z atoms."""
    r = list(x)
    for j, v in sorted(z.items()):
        r = [a - v * b for a, b in zip(r, atoms[j])]
    return r


def choose(r, atoms, positive, banned=()):
    """(feature, correlations): the lowest of the largest; feature None where all are 0."""
    corr = [dot(r, atom) for atom in atoms]
    score = [c.v if positive else abs(c.v) for c in corr]
    best = max((j for j in range(len(atoms)) if j not in banned),
               key=lambda j: (score[j], -j), default=None)
    return (best if best is not None and score[best] > 0 else None), corr


def mp(x, atoms, k, positive=False, tol=0.0):
    z, r = {}, list(x)
    for _ in range(k):
        j, corr = choose(r, atoms, positive)
        if j is None or math.sqrt(dot(r, r).v) <= tol:
            break
        z[j] = z.get(j, Num(0)) + corr[j]
        r = [a - corr[j] * b for a, b in zip(r, atoms[j])]
    return z


def solve(a, b):
    """Gauss-Jordan elimination without pivoting, for positive definite a."""
    a, b, n = [list(row) for row in a], list(b), len(b)
    for i in range(n):
        p = a[i][i]
        a[i], b[i] = [v / p for v in a[i]], b[i] / p
        for r in range(n):
            if r != i:
                f = a[r][i]
                a[r] = [v - f * w for v, w in zip(a[r], a[i])]
                b[r] = b[r] - f * b[i]
    return b


def omp(x, atoms, k, positive=False, tol=0.0):
    taken, z, r, banned = [], {}, list(x), set()
    while len(taken) < k and math.sqrt(dot(r, r).v) > tol:
        j, _ = choose(r, atoms, False, banned)
        if j is None:
            break
        banned.add(j)
        taken.append(j)
        gram = [[dot(atoms[a], atoms[b]) for b in taken] for a in taken]
        z = dict(zip(taken, solve(gram, [dot(x, atoms[a]) for a in taken])))
        r = minus(x, z, atoms)
    return z


def gradient(x, atoms, k, positive=True, tol=0.0):
    z, r = {}, list(x)
    for _ in range(k):
        j, corr = choose(r, atoms, positive)
        if j is None or math.sqrt(dot(r, r).v) <= tol:
            break
        active = set(z) | {j}
        c = [total(corr[a] * atoms[a][i] for a in sorted(active)) for i in range(len(x))]
        step = dot(c, r) / dot(c, c)
        z = {a: z.get(a, Num(0)) + step * corr[a] for a in active}
        z = {a: v for a, v in z.items() if v.v > 0 or (not positive and v.v)}
        r = minus(x, z, atoms)
    return z


SOLVERS = {"mp": mp, "omp": omp, "gradient": gradient}


def codes(x, offset, atoms, k, solver, positive=False, tol=0.0):
    """(row, feature) -> Num; k: steps, or a list of them by row."""
    out = {}
    for r, row in enumerate(x):
        xc = [a - b for a, b in zip(row, offset)]
        steps = k[r] if isinstance(k, list) else k
        for j, v in SOLVERS[solver](xc, atoms, steps, positive, tol).items():
            out[r, j] = v
    return out


def decode(z, atoms, offset, rows):
    out = [list(offset) for _ in range(rows)]
    for (r, j), v in sorted(z.items()):
        out[r] = [a + v * b for a, b in zip(out[r], atoms[j])]
    return out


def mse(xhat, x):
    return total((a - b) * (a - b) for p, q in zip(xhat, x) for a, b in zip(p, q)) / len(x)
