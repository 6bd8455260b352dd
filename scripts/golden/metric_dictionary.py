"""scripts/golden/metric_dictionary.py - writes the golden file of that family from the definitions
of metrics/dictionary.md: python3 scripts/golden/metric_dictionary.py, in the repository's root.

Entries are multiples of 1/8, whose products float adds exactly: a cosine is rounded to float once.
"""
import math
import random

from metric import dot, norm, number, world, write

D, N, BINS, ANTIPODAL = 4, 10, 50, 0.8


def rounded(value, size=1):
    """One rounding to float, of the 1024 that a size stands for."""
    return number(value, size / 512, True)


def parallel(a, b):
    """a = b or a = -b, or both are 0: their cosines with all are the same up to the sign."""
    return a == b or a == [-v for v in b]


def bin_of(c):
    at = (c + 1) * BINS / 2
    assert abs(c) in (0, 1) or abs(at - round(at)) > 2e-6  # float cannot move it
    return min(math.floor(at), BINS - 1)


def cosines(atoms, j):
    """With the others by number; exactly 0 or 1 where they are."""
    out = {}
    for i, w in enumerate(atoms):
        lengths = norm(atoms[j]) * norm(w)
        c = dot(atoms[j], w) / lengths if lengths else 0.0
        out[i] = round(c) if abs(abs(c) - 1) < 1e-12 else c
    del out[j]
    return out


def nearest(atoms, signed, row):
    """(largest cosine, its feature); -1: none is larger than the smallest possible."""
    size = {i: abs(c) if signed else c for i, c in row.items()}
    at = min(size, key=lambda i: (-size[i], i))
    rival = [v for i, v in size.items() if not parallel(atoms[i], atoms[at])]
    assert all(size[at] - v > 1e-6 or size[at] == v for v in rival)
    return (size[at], at) if size[at] > (0 if signed else -1) else (size[at], -1)


def case(metric, atoms, signed, shown):
    n = len(atoms)
    near, antipodes, absolute, bins = {}, {}, [], [0] * BINS
    for j in shown:
        row = cosines(atoms, j)
        near[j] = nearest(atoms, signed, row)
        assert all(abs(c + ANTIPODAL) > 1e-6 for c in row.values())
        antipodes[j] = sum(c < -ANTIPODAL for c in row.values())
        absolute += map(abs, row.values())
        for c in row.values():
            bins[bin_of(c)] += 1
    mean = lambda values: math.fsum(values) / len(shown)
    rows = {"decoder_norm": number(math.fsum(map(norm, atoms)) / n),
            "max_decoder_cosine": rounded(mean(v for v, _ in near.values())),
            "mean_abs_cosine": rounded(mean(absolute) / (n - 1)),
            "antipodal_share": number(mean(v > 0 for v in antipodes.values())),
            "antipodal_pairs": number(mean(antipodes.values()) * n / 2)}
    series = {"decoder_norm": [[j, number(norm(w))] for j, w in enumerate(atoms)],
              "max_decoder_cosine": [[j, rounded(near[j][0])] for j in shown],
              "nearest": [[j, number(near[j][1])] for j in shown],
              "cosine_histogram": [[b - BINS // 2, number(v)] for b, v in enumerate(bins)]}
    return {"metric": metric, "n": n, "signed": signed, "W_dec": atoms, "rows": rows,
            "se": dict.fromkeys(rows), "series": series}


def small(seed, signed):
    """With a row twice, its opposite, its double, and a row of zeros."""
    atoms = world(seed, 1, D, N)["W_dec"]
    atoms[2], atoms[4], atoms[7] = atoms[5], [-v for v in atoms[5]], [2 * v for v in atoms[5]]
    atoms[3] = [0.0] * D
    return case(f"dictionary:antipodal={ANTIPODAL}", atoms, signed, range(N))


def sampled(seed):
    """Two blocks of 256 of 520."""
    r = random.Random(seed)
    atoms = [[r.randint(-99, 99) / 8 for _ in range(D)] for _ in range(520)]
    shown = [b * 260 + i for b in range(2) for i in range(256)]
    return case(f"dictionary:antipodal={ANTIPODAL},features=257", atoms, False, shown)


def pair(second):
    return case(f"dictionary:antipodal={ANTIPODAL}", [[1.0, 0, 0, 0], second], False, range(2))


write("dictionary", D, N, [
    small(1, False), small(2, True), sampled(3), pair([-2.0, 0, 0, 0]), pair([-1.0, 2, 0, 0]),
    {"metric": "dictionary", "n": 1, "W_dec": [[1.0] * D], "rows": {}},
    {"metric": "dictionary", "rows": {}}])
