"""scripts/golden/metric_quasi_orthogonality.py - writes the golden file of that family from the
definitions: python3 scripts/golden/metric_quasi_orthogonality.py, in the repository's root."""
import math

from metric import entries, group, jackknife, mix, number, quantile, quantile_se, world, write

D, N, B = 4, 6, 24


def lengths(case, scale):
    """Per row: |x|^2, |x - b|^2, |f|^2 in units of x, |b|^2, active features."""
    out = []
    bias = case.get("b_dec", [[0.0] * D])[0]
    for i, row in enumerate(entries(case)):
        s, shift = case["norm"][i] if "norm" in case else (scale, 0.0)
        x = [v - shift for v in case["x"][i]]
        b = [s * v for v in bias]
        f = [s * v * math.sqrt(sum(w * w for w in case["W_dec"][j])) for j, v in row]
        out.append((sum(v * v for v in x), sum((v - c) ** 2 for v, c in zip(x, b)),
                    sum(v * v for v in f), sum(v * v for v in b), sum(v != 0 for _, v in row)))
    return out


def hash_order(case):
    """The rows as the ZF plot lists them: by the hash of document and position."""
    def key(i):
        doc, pos, _ = case["tok"][i]
        d = mix(doc)
        return (d >> 56 << 56) | (mix(d ^ (pos + 1)) >> 8)
    return sorted(range(len(case["x"])), key=key)


def expect(case, scale):
    at = [group(t[0]) for t in case["tok"]]
    rows = lengths(case, scale)
    eps, active, centred, ratio, sums = [], [], [], [], []
    for g, (xx, cc, ff, bb, m) in zip(at, rows):
        F = ff + bb
        if F > 0:
            eps.append((g, abs(xx - F) / ((N - 1) * F)))
            if m + (bb > 0) > 1:
                active.append((g, abs(xx - F) / ((m + (bb > 0) - 1) * F)))
        if ff > 0:
            centred.append((g, abs(cc - ff) / ((N - 1) * ff)))
        x, f = math.sqrt(xx), math.sqrt(F)
        if x > 0:
            ratio.append((g, f / x))
        sums.append((g, f > x, (f - x) ** 2, x > 0, abs(f - x) / x if x > 0 else 0.0, x, f))
    big = max((xx + cc + ff + bb) / max(ff, 1e-3) for xx, cc, ff, bb, _ in rows)
    far = max((x + f) ** 2 for *_, x, f in sums)
    share = lambda k, m: lambda r: sum(v[k] for v in r) / sum(v[m] for v in r)
    mean = lambda k: lambda r: sum(v[k] for v in r) / len(r)
    out, se = {}, {}
    for key, pairs in (("epsilon_lbo", eps), ("epsilon_lbo_active", active),
                       ("epsilon_lbo_centred", centred), ("norm_ratio", ratio)):
        out[key] = number(quantile([v for _, v in pairs], 0.5), big)
        se[key] = number(quantile_se(pairs, 0.5), 64 * big)
    for key, f, size in (("over_share", mean(1), 1), ("afa_mse", mean(2), far),
                         ("afa_error", share(4, 3), big)):
        out[key] = number(f(sums), size)
        se[key] = number(jackknife(sums, f), 16 * size)
    order = hash_order(case)
    series = {"zf_x": [[i, number(math.sqrt(rows[r][0]))] for i, r in enumerate(order)],
              "zf_f": [[i, number(math.sqrt(rows[r][2] + rows[r][3]))] for i, r in enumerate(order)],
              "epsilon_lbo_percentile": [[i, number(quantile([v for _, v in eps], i / 100), big)]
                                         for i in range(1, 100)]}
    return {"rows": out, "se": se, "series": series}


def case(seed, spec, scale=1, **more):
    c = world(seed, B, D, N, signed=seed % 2 == 1)
    c.update(more)
    c["x"][3] = [0.0] * D
    c.update(metric=spec, scale=scale, **expect(
        c if "bias=0" not in spec else {k: v for k, v in c.items() if k != "b_dec"}, scale))
    return c


bias = [[0.5, -0.25, 0.125, 1.0]]
write("quasi_orthogonality", D, N, [
    case(1, "quasi_orthogonality", 2, b_dec=bias),
    case(2, "quasi_orthogonality:bias=0", 1, b_dec=bias),
    case(3, "quasi_orthogonality", 1, b_dec=bias,
         norm=[[0.5 + i % 3, 0.125 * (i % 5)] for i in range(B)])])
