"""scripts/golden/metric_mdl.py - writes the golden file of the description lengths from their
definitions: python3 scripts/golden/metric_mdl.py, in the repository's root."""
import math
from collections import Counter

from metric import entries, group, jackknife, number, world, write

D, N, B = 4, 5, 40


def values(case, scale):
    """(row, feature, v) of every active entry, v its length in units of x."""
    norms = [math.sqrt(sum(w * w for w in row)) for row in case["W_dec"]]
    return [(i, j, (case["norm"][i][0] if "norm" in case else scale) * norms[j] * v)
            for i, row in enumerate(entries(case)) for j, v in row if v]


def bin_of(a, step):
    return math.floor(a / step + 0.5)


def added(case, v, step):
    """Mean squared length of the sum of the errors of a row's atoms."""
    sums = [[0.0] * D for _ in range(B)]
    for i, j, a in v:
        norm = math.sqrt(sum(w * w for w in case["W_dec"][j]))
        for k in range(D):
            sums[i][k] += (a - bin_of(a, step) * step) / norm * case["W_dec"][j][k]
    return sum(e * e for row in sums for e in row) / B


def find_step(case, v, target):
    """To a thousandth, along the path that the family's file describes."""
    lo, hi = 0.0, math.inf
    step = math.sqrt(12 * target * B / len(v))
    for _ in range(60):
        error = added(case, v, step)
        if abs(error - target) <= 1e-3 * target:
            break
        lo, hi = (step, hi) if error < target else (lo, step)
        by = math.sqrt(target / error) if error > 0 else 4
        step *= min(max(by, 0.25), 4)
        step = step if lo < step < hi else math.sqrt(lo * hi)
    return step


def h(p):
    return -p * math.log2(p) if p > 0 else 0.0


def lengths(v, step):
    """Bits of the support and of magnitudes, active features: of the rounded code."""
    support = bits = active = 0
    for j in range(N):
        bins = Counter(bin_of(a, step) for _, k, a in v if k == j and bin_of(a, step))
        n = sum(bins.values())
        support += h(n / B) + h(1 - n / B)
        active += n / B
        if n:
            bits += n / B * (sum(h(c / n) for c in bins.values()) +
                             (len(bins) - 1) / (2 * n * math.log(2)))
    return support, bits, active


def standard_error(case, v, step):
    symbol = [[0] * N for _ in range(B)]
    for i, j, a in v:
        symbol[i][j] = bin_of(a, step)
    count = Counter((j, row[j]) for row in symbol for j in range(N))
    rows = [(group(t[0]), -sum(math.log2(count[j, row[j]] / B) for j in range(N)))
            for t, row in zip(case["tok"], symbol)]
    return jackknife(rows, lambda r: sum(b for _, b in r) / len(r))


def expect(case, scale, share, fvu):
    v = values(case, scale)
    fired = Counter(j for _, j, _ in v)
    mean = [sum(row[k] for row in case["x"]) / B for k in range(D)]
    dev = sum((a - m) ** 2 for row in case["x"] for a, m in zip(row, mean))
    error = sum((a - b) ** 2 for x, y in zip(case["x"], case["xhat"]) for a, b in zip(x, y))
    step = find_step(case, v, share * dev / B)
    support, mag, active = lengths(v, step)
    out = {"bits": number(support + mag), "support_bits": number(support),
           "magnitude_bits": number(mag), "active": number(active),
           "bits_per_active": number((support + mag) / active),
           "bits_topafa": number(len(v) / B * (7 + math.log2(N))),
           "step": number(step, step, True),
           "added_fvu": number(added(case, v, step) * B / dev, 1, True)}
    if fvu:
        left = fvu * dev - error
        at = sum(lengths(v, find_step(case, v, left / B))[:2]) if left > 0 else math.nan
        out["bits_at_fvu"] = number(at)
    steps = [step * 2.0 ** (i - 4) for i in range(9)]
    series = {"curve_bits": [[i, number(sum(lengths(v, s)[:2]), support + mag)]
                             for i, s in enumerate(steps)],
              "curve_fvu": [[i, number((error + B * added(case, v, s)) / dev, 8, True)]
                            for i, s in enumerate(steps)]}
    se = standard_error(case, v, step)
    return {"rows": out, "se": {"bits": number(se, 16 * (support + mag))}, "series": series}


def case(seed, share, fvu, scale=1, **more):
    c = world(seed, B, D, N, signed=seed % 2 == 1)
    c.update(more)
    # norms 1, 2, 1.25, 2.5, 0.5: lengths are exact in float
    c["W_dec"] = [[1, 0, 0, 0], [0, 0, 2, 0], [0.75, 1, 0, 0], [0, 1.5, 0, 2], [.25, .25, .25, .25]]
    c.update(metric=f"mdl:share={share}" + (f",fvu={fvu}" if fvu else ""), scale=scale,
             **expect(c, scale, share, fvu))
    return c


write("mdl", D, N, [
    case(1, 0.01, 0), case(2, 0.0625, 0.5, 2), case(4, 0.5, 0.001),
    case(3, 0.01, 0, norm=[[1 + i % 2, 0.5] for i in range(B)])])
