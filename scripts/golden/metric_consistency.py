"""scripts/golden/metric_consistency.py - writes the golden file of that family from the definitions:
python3 scripts/golden/metric_consistency.py, in the repository's root. Matchings by enumeration."""
import itertools
import math

from metric import entries, group, jackknife, number, world, write

D, N, B = 4, 6, 24


def norm(v):
    return math.sqrt(math.fsum(c * c for c in v))


def cosine(a, b):
    na, nb = norm(a), norm(b)
    return math.fsum(x * y for x, y in zip(a, b)) / (na * nb) if na > 0 and nb > 0 else 0.0


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


def expect(case, threshold, exact):
    a, b, signed = case["W_dec"], case["peer"]["W_dec"], case["signed"]
    cos = [[cosine(u, v) for v in b] for u in a]
    table = [[abs(c) if signed else c for c in row] for row in cos]
    match = (optimal if exact else greedy)(table)
    sums = []
    fired, peer_fired = set(), set()
    for i, (mine, other) in enumerate(zip(entries(case), entries({**case["peer"], "x": case["x"]}))):
        scale, peer_scale = case["scale"], case["peer"]["scale"]
        if "norm" in case:
            scale = peer_scale = case["norm"][i][0]
        z = {j: scale * v * norm(a[j]) for j, v in mine}
        turned = {}
        back = {k: j for j, k in enumerate(match)}
        for k, v in other:
            turn = -1 if signed and cos[back[k]][k] < 0 else 1
            turned[back[k]] = turn * peer_scale * v * norm(b[k])
        fired |= {j for j, v in mine if v}
        peer_fired |= {back[k] for k, v in other if v}
        on, other_on = {j for j, v in z.items() if v}, {j for j, v in turned.items() if v}
        either = on | other_on
        error = norm([z.get(j, 0) - turned.get(j, 0) for j in set(z) | set(turned)])
        length = (norm(z.values()) + norm(turned.values())) / 2
        sums.append((group(case["tok"][i][0]), bool(either),
                     len(on & other_on) / len(either) if either else 0.0, error, length))
    matched = [table[j][match[j]] for j in range(N)]
    alive = [matched[j] for j in range(N) if j in fired and j in peer_fired]
    mean = lambda v: math.fsum(v) / len(v)
    ratio = lambda k, m: lambda r: math.fsum(v[k] for v in r) / math.fsum(v[m] for v in r)
    values = {"matched_cosine": mean(matched), "matched_cosine_active": mean(alive),
              "dcs": mean([abs(c) for c in matched]),
              "share_shared": mean([c > threshold for c in matched]),
              "max_cosine": mean([max(row) for row in table]),
              "max_cosine_reverse": mean([max(row[j] for row in table) for j in range(N)])}
    rows = {key: number(v, 1, single=True) for key, v in values.items()}
    rows["support_iou"] = number(ratio(2, 1)(sums), 1)
    rows["code_error"] = number(ratio(3, 4)(sums), 1 + max(v[3] for v in sums))
    se = {"support_iou": number(jackknife(sums, ratio(2, 1)), 16),
          "code_error": number(jackknife(sums, ratio(3, 4)), 16 * (1 + max(v[3] for v in sums)))}
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
    case(2, "consistency:threshold=0.9", 0.9),
    case(3, "consistency:exact=0", exact=False),
    case(4, "consistency:exact=0", exact=False,
         norm=[[0.5 + i % 3, 0.125 * (i % 5)] for i in range(B)])])
