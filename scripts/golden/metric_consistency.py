"""scripts/golden/metric_consistency.py - writes the golden file of that family from the definitions:
python3 scripts/golden/metric_consistency.py, in the repository's root. Matchings by enumeration."""
import itertools
import math

from metric import cosine, entries, group, jackknife, norm, number, pursuit, unit, world, write

D, N, B = 4, 6, 24


def optimal(table):
    """Column of every row, the largest total."""
    best = max(itertools.permutations(range(N)),
               key=lambda p: math.fsum(table[i][j] for i, j in enumerate(p)))
    return list(best)


def greedy(table):
    pairs = sorted((-table[i][j], i, j) for i in range(N) for j in range(N))
    row, used = [-1] * N, set()
    for _, i, j in pairs:
        if row[i] < 0 and j not in used:
            row[i] = j
            used.add(j)
    return row


def agreement(f, g):
    on, other = {j for j, v in f.items() if v}, {j for j, v in g.items() if v}
    either = on | other
    return (bool(either), len(on & other) / len(either) if either else 0.0,
            norm(f.get(j, 0) - g.get(j, 0) for j in set(f) | set(g)),
            (norm(f.values()) + norm(g.values())) / 2)


def expect(case, threshold, exact):
    a, b, signed = case["W_dec"], case["peer"]["W_dec"], case["signed"]
    cos = [[cosine(u, v) for v in b] for u in a]
    table = [[abs(c) if signed else c for c in row] for row in cos]
    match = (optimal if exact else greedy)(table)
    back = {k: j for j, k in enumerate(match)}
    turn = [-1 if signed and cos[back[k]][k] < 0 else 1 for k in range(N)]
    bias = [m.get("b_dec", [[0.0] * D])[0] for m in (case, case["peer"])]
    ratio = case["peer"]["scale"] / case["scale"]
    sums, fired, peer_fired = [], set(), set()
    for i, (mine, other) in enumerate(zip(entries(case), entries({**case["peer"], "x": case["x"]}))):
        scale, shift = case["norm"][i] if "norm" in case else (case["scale"], 0.0)
        f = {j: scale * v * norm(a[j]) for j, v in mine}
        g = {back[k]: turn[k] * scale * ratio * v * norm(b[k]) for k, v in other}
        fired |= {j for j, v in f.items() if v}
        peer_fired |= {j for j, v in g.items() if v}
        steps = sum(v != 0 for _, v in mine)
        x = [[v - shift - s * c for v, c in zip(case["x"][i], o)]
             for s, o in zip((scale, scale * ratio), bias)]
        ideal = pursuit(x[0], [unit(u) for u in a], steps)
        other_ideal = pursuit(x[1], [unit(u) for u in b], steps)
        turned = {back[k]: turn[k] * v for k, v in other_ideal.items()}
        sums.append((group(case["tok"][i][0]), agreement(f, g), agreement(ideal, turned)))
    matched = [table[j][match[j]] for j in range(N)]
    alive = [matched[j] for j in range(N) if j in fired and j in peer_fired]
    mean = lambda v: math.fsum(v) / len(v)
    share = lambda k, p, q: lambda r: (math.fsum(v[k][p] for v in r) /
                                       math.fsum(v[k][q] for v in r))
    values = {"matched_cosine": mean(matched), "matched_cosine_active": mean(alive),
              "dcs": mean([abs(c) for c in matched]),
              "share_shared": mean([c > threshold for c in matched]),
              "max_cosine": mean([max(row) for row in table]),
              "max_cosine_reverse": mean([max(row[j] for row in table) for j in range(N)])}
    rows = {key: number(v, 1, single=True) for key, v in values.items()}
    se = {}
    for key, f in (("support_iou", share(1, 1, 0)), ("code_error", share(1, 2, 3))):
        rows[key] = number(f(sums), 1 + f(sums))
        se[key] = number(jackknife(sums, f), 64 * (1 + f(sums)))
    for key, f in (("oracle_iou", share(2, 1, 0)), ("oracle_code_error", share(2, 2, 3))):
        rows[key] = number(f(sums), 8 * (1 + f(sums)), single=True)
    bins = [0] * 40
    for c in matched:
        bins[min(39, math.floor((c + 1) * 20))] += 1
    series = {"matched_cosine_bin": [[i, number(v)] for i, v in enumerate(bins)]}
    return {"rows": rows, "se": se, "series": series}


def case(seed, spec, threshold=0.7, exact=True, **more):
    c = world(seed, B, D, N, signed=seed % 2 == 1)
    other = world(seed + 100, B, D, N, signed=seed % 2 == 1)
    c.update(signed=seed % 2 == 1, scale=2)
    # the same dictionary disturbed, in another order and, with signed codes, turned over
    turn = -1 if c["signed"] else 1
    atoms = [[turn * v + w / 4 for v, w in zip(u, e)]
             for u, e in zip(reversed(c["W_dec"]), other["W_dec"])]
    code = sorted([i, N - 1 - j, turn * v] for i, j, v in c["code"] if i % 3)
    code += [e for e in other["code"] if e[0] % 3 == 0]
    c["peer"] = {"W_dec": atoms, "code": sorted(code), "scale": 0.5}
    c["code"] = [e for e in c["code"] if e[0] != 6]
    c["peer"]["code"] = [e for e in c["peer"]["code"] if e[0] not in (6, 7)]
    c.update(more)
    c.update(metric=spec, **expect(c, threshold, exact))
    return c


write("consistency", D, N, [
    case(1, "consistency"),
    case(2, "consistency:threshold=0.9", 0.9, b_dec=[[0.5, -0.25, 0.125, 1.0]]),
    case(3, "consistency:exact=0", exact=False),
    case(4, "consistency:exact=0", exact=False,
         norm=[[0.5 + i % 3, 0.125 * (i % 5)] for i in range(B)])])
