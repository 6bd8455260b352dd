"""scripts/golden/metric_recovery.py - writes the golden file of that family from the definitions:
python3 scripts/golden/metric_recovery.py, in the repository's root. Matchings by enumeration."""
import itertools
import math
import random

from metric import cosine, entries, group, jackknife, norm, number, pursuit, unit, world, write

D, N, B, ATOMS = 4, 6, 30, 5
PARENT = [-1, 0, 0, -1, 3]


def agreement(truth, found, extra):
    """What two codes of a row say: {atom: value} each, and active features without an atom."""
    both = set(truth) & set(found)
    error = math.fsum((truth.get(a, 0) - found.get(a, 0)) ** 2 for a in set(truth) | set(found))
    return (len(found) + extra, len(truth), len(both), math.fsum(v * v for v in truth.values()),
            error, math.fsum(truth[a] ** 2 for a in both),
            math.fsum(truth[a] * found[a] for a in both))


def expect(case, threshold):
    w, dictionary, signed = case["W_dec"], case["truth"]["dict"], case["signed"]
    bias = case.get("b_dec", [[0.0] * D])[0]
    cos = [[cosine(u, v) for v in dictionary] for u in w]
    c = [[abs(v) if signed else v for v in row] for row in cos]
    match = max(itertools.permutations(range(N), ATOMS),
                key=lambda p: math.fsum(c[f][a] for a, f in enumerate(p)))
    of = {f: a for a, f in enumerate(match)}
    nearest = [max(range(ATOMS), key=lambda a: c[f][a]) for f in range(N)]
    turn = [-1 if signed and f in of and cos[f][of[f]] < 0 else 1 for f in range(N)]
    truths = [{a: v for a, v in row if v} for row in entries({**case, "code": case["truth"]["code"]})]
    rows, fired, hit = [], [0] * N, [0] * N
    for i, (code, truth) in enumerate(zip(entries(case), truths)):
        scale, shift = case["norm"][i] if "norm" in case else (case["scale"], 0.0)
        active = {f: v for f, v in code if v}
        found = {of[f]: turn[f] * scale * v * norm(w[f]) for f, v in active.items() if f in of}
        for f in active:
            fired[f] += 1
            hit[f] += nearest[f] in truth
        family = [0, 0, 0, 0]
        for a in truth:
            if a in PARENT:
                covered = any(PARENT[k] == a for k in truth)
                family[2 * covered] += 1
                family[2 * covered + 1] += a in found
        x = [v - shift - scale * b for v, b in zip(case["x"][i], bias)]
        ideal = pursuit(x, [unit(u) for u in w], len(truth))
        oracle = {of[f]: turn[f] * v for f, v in ideal.items() if f in of}
        rows.append((group(case["tok"][i][0]), agreement(truth, found, len(set(active) - set(of))),
                     agreement(truth, oracle, len(set(ideal) - set(of))), family))
    total = lambda r, k, j: math.fsum(v[k][j] for v in r)
    share = lambda k, a, b: lambda r: total(r, k, a) / total(r, k, b)
    f1 = lambda k: lambda r: 2 * total(r, k, 2) / (total(r, k, 0) + total(r, k, 1))
    alone, covered = share(3, 1, 0), share(3, 3, 2)
    pooled = {"support_precision": share(1, 2, 0), "support_recall": share(1, 2, 1),
              "support_f1": f1(1), "coefficient_error": share(1, 4, 3),
              "coefficient_slope": share(1, 6, 5),
              "true_l0": lambda r: total(r, 1, 1) / len(r),
              "parent_recall_alone": alone, "parent_recall_with_child": covered,
              "absorption": lambda r: alone(r) - covered(r),
              "oracle_f1": f1(2), "oracle_coefficient_error": share(2, 4, 3)}
    mean = lambda v: math.fsum(v) / len(v)
    best = [max(row[a] for row in c) for a in range(ATOMS)]
    good = [max(row) > threshold for row in c]
    present = [sum(a in t for t in truths) for a in range(ATOMS)]
    edges = [(k, PARENT[k]) for k in range(ATOMS) if PARENT[k] >= 0]
    held = lambda f, other, own: turn[f] * cos[f][other] - cosine(dictionary[own], dictionary[other])
    values = {
        "max_cosine": mean(best), "max_cosine_reverse": mean([max(row) for row in c]),
        "matched_cosine": mean([c[f][a] for a, f in enumerate(match)]),
        "share_recovered": mean([b > threshold for b in best]),
        "share_recovered_reverse": mean(good), "uniqueness": len(set(nearest)) / N,
        "splitting": sum(good) / len({a for a, g in zip(nearest, good) if g}),
        "latent_precision": mean([h / f if f else 0 for h, f in zip(hit, fired)]),
        "latent_recall": mean([hit[f] / present[nearest[f]] for f in range(N)]),
        "latent_f1": mean([2 * hit[f] / (fired[f] + present[nearest[f]]) for f in range(N)]),
        "child_holds_parent": mean([held(match[k], up, k) for k, up in edges]),
        "parent_holds_child": mean([held(match[up], k, up) for k, up in edges])}
    out = {key: number(v, 2, single=True) for key, v in values.items()}
    se = {}
    for key, f in pooled.items():
        float_path = key.startswith("oracle")
        size = 64 * (1 + abs(f(rows))) if float_path else 1 + abs(f(rows))
        out[key] = number(f(rows), size, single=float_path)
        if not float_path:
            se[key] = number(jackknife(rows, f), 64 * size)
    curve = [[p, number(mean([b > p / 100 for b in best]))] for p in range(50, 100)]
    return {"rows": out, "se": se, "series": {"share_recovered_at": curve}}


def case(seed, spec, threshold, **more):
    signed = seed % 2 == 1
    r = random.Random(seed + 50)
    c = world(seed, B, D, N, signed=signed)
    c.update(signed=signed, scale=1, **more)
    # features near atoms 0, 1, 2, 0 and 3, of other lengths, the second turned over
    dictionary = [[r.randint(-8, 8) / 8 for _ in range(D)] for _ in range(ATOMS)]
    dictionary = [[v / norm(u) for v in u] for u in dictionary]
    dictionary = [[round(v * 4096) / 4096 for v in u] for u in dictionary]
    for f, a in enumerate([0, 1, 2, 0, 3]):
        sign = -1 if signed and f == 1 else 1
        c["W_dec"][f] = [sign * round(8 * v + r.randint(-1, 1) * 0.75) / 8 for v in dictionary[a]]
    code = []
    for i in range(B):
        on = sorted(a for a in range(ATOMS) if r.random() < (0.6 if a in (0, 3) else 0.5) and i != 4)
        on = [a for a in on if PARENT[a] < 0 or PARENT[a] in on][:D - 1]
        code += [[i, a, r.randint(1, 16) / 8] for a in on]
    own = {(i, a) for i, a, _ in code}
    c["truth"] = {"dict": dictionary, "parent": PARENT, "code": code}
    follow = [[i, f, v] for i, a, v in code for f, k in enumerate([0, 1, 2, 0, 3])
              if k == a and not (a == 0 and ((i, 1) in own or (i, 2) in own) and i % 2)]
    c["code"] = sorted({(i, f): [i, f, v] for i, f, v in c["code"][::3] + follow}.values())
    c.update(metric=spec, **expect(c, threshold))
    return c


write("recovery", D, N, [
    case(1, "recovery", 0.9, b_dec=[[0.5, -0.25, 0.125, 1.0]]),
    case(2, "recovery:threshold=0.8", 0.8),
    case(3, "recovery:oracle_rows=1000", 0.9,
         norm=[[0.5 + i % 3, 0.125 * (i % 5)] for i in range(B)], b_dec=[[0.5, -0.25, 0.125, 1.0]]),
    case(4, "recovery", 0.9)])
