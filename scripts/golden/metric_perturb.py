#!/usr/bin/env python3
"""Writes tests/golden/data/metrics/{tpp,scr}.json: targeted probe perturbation and spurious
correlation removal from their definitions, in float64."""
import json
import random

from labelled import case_of, dot, eighth, group_of, jackknife, lda, make_rows, order_of, part_of

BUDGETS, SHOWN, RIDGE, LEAST = [2, 5, 10, 20, 50, 100, 500], [2, 10, 20], 0.1, 8


class Rows:
    def __init__(self, rows, atoms):
        self.__dict__.update(rows)
        self.atoms, self.order = atoms, order_of(rows["tok"])
        self.group = [group_of(t[0]) for t in self.tok]
        self.test = [part_of(t[0]) == "test" for t in self.tok]

    def some(self, test, most, key, want):
        """Rows with key(row) == want, at most `most`, in random order."""
        return [r for r in self.order if self.test[r] == test and key(r) == want][:most]

    def probe(self, rows, on):
        return lda([self.x[r] for r in rows], on, RIDGE)

    def means(self, rows, on):
        """Mean code of the rows that are on and of the others."""
        out = []
        for side in (1, 0):
            mine = [self.z[r] for r, o in zip(rows, on) if o == side]
            out.append([sum(c) / len(mine) for c in zip(*mine)])
        return out

    def score(self, probe, r, taken, fill):
        """Score of the row after the codes of the latents `taken` became fill."""
        x = list(self.x[r])
        for i in taken:
            x = [a + (fill[i] - self.z[r][i]) * b for a, b in zip(x, self.atoms[i])]
        return dot(probe[0], x) + probe[1]


def ranking(effect):
    return [i for e, i in sorted((-e, i) for i, e in enumerate(effect)) if -e > 0]


def balanced(told, without):
    """told: {side: [(group, right)]}; mean over sides of the share that is right."""
    share = []
    for rows in told.values():
        kept = [right for g, right in rows if g != without]
        share.append(sum(kept) / len(kept))
    return sum(share) / len(share)


def tpp(rows, label, classes):
    of = rows.of[label]
    count = {c: len([r for r in rows.order if not rows.test[r] and of[r] == c])
             for c in range(classes)}
    probes = sorted(count, key=lambda c: (-count[c], c))
    train = [r for r in rows.order if not rows.test[r] and of[r] >= 0]
    test = [r for r in rows.order if rows.test[r] and of[r] >= 0]
    w = {c: rows.probe(train, [int(of[r] == c) for r in train]) for c in probes}

    def told(k, taken, fill):
        out = {0: [], 1: []}
        for r in test:
            on = int(of[r] == k)
            out[on].append((rows.group[r], (rows.score(w[k], r, taken, fill) > 0) == bool(on)))
        return out

    zero = [0.0] * len(rows.atoms)
    before = {k: told(k, [], zero) for k in probes}
    after = {}
    for c in probes:
        on, rest = rows.means(train, [int(of[r] == c) for r in train])
        gap = [a - b for a, b in zip(on, rest)]
        effect = [g * dot(w[c][0], atom) for g, atom in zip(gap, rows.atoms)]
        stock = [max(g, 0) * dot(w[c][0], atom) for g, atom in zip(gap, rows.atoms)]
        for mode, rank, fill in (("_stock", ranking(stock), zero), ("", ranking(effect), zero),
                                 ("_mean", ranking(effect), rest)):
            for b in BUDGETS:
                for k in probes:
                    after[mode, b, c, k] = told(k, rank[:b], fill)

    def value(mode, b, part):
        def at(without):
            total = 0
            for c in probes:
                loss = {k: balanced(before[k], without) - balanced(after[mode, b, c, k], without)
                        for k in probes}
                other = sum(v for k, v in loss.items() if k != c) / (len(probes) - 1)
                total += {"": loss[c] - other, "_intended": loss[c], "_unintended": other}[part]
            return total / len(probes)
        return at

    groups = {rows.group[r] for r in test}
    base = lambda g: sum(balanced(before[k], g) for k in probes) / len(probes)
    out, se = {"tasks": [len(probes), 0], "base_accuracy": [base(None), 1]}, {}
    series = {}
    for mode in ("_stock", "", "_mean"):
        for part in ("", "_intended", "_unintended"):
            series[f"n{part}{mode}"] = [[b, [value(mode, b, part)(None), 4]] for b in BUDGETS]
            for b in SHOWN:
                out[f"n{b}{part}{mode}"] = [value(mode, b, part)(None), 4]
                se[f"n{b}{part}{mode}"] = [jackknife(groups, value(mode, b, part)), 64]
    return out, se, series


def scr(rows, target, spurious, classes):
    t, s = rows.of[target], rows.of[spurious]
    train = [r for r in rows.order if not rows.test[r] and t[r] >= 0 and s[r] >= 0]
    overall = sum(s[r] for r in train) / len(train)
    side = {}
    for c in range(classes):
        mine = [s[r] for r in train if t[r] == c]
        side[c] = int(sum(mine) / len(mine) > overall)

    def cell(r):
        return (side[t[r]], s[r]) if t[r] >= 0 and s[r] >= 0 else None

    cells = [(a, b) for a in (0, 1) for b in (0, 1)]

    def chosen(which):
        most = min(len(rows.some(False, None, cell, c)) for c in which)
        return [r for c in which for r in rows.some(False, most, cell, c)]

    biased, clean = chosen([(0, 0), (1, 1)]), chosen(cells)
    probe = {"biased": rows.probe(biased, [cell(r)[0] for r in biased]),
             0: rows.probe(clean, [cell(r)[0] for r in clean]),
             1: rows.probe(clean, [cell(r)[1] for r in clean])}
    test = [r for c in cells for r in rows.some(True, None, cell, c)]
    zero = [0.0] * len(rows.atoms)

    def told(w, what, taken, fill):
        out = {c: [] for c in cells}
        for r in test:
            right = (rows.score(w, r, taken, fill) > 0) == bool(cell(r)[what])
            out[cell(r)].append((rows.group[r], right))
        return out

    base, oracle, after = {}, {}, {}
    for d in (0, 1):  # what the biased classifier is to tell; the other one is taken out
        base[d] = told(probe["biased"], d, [], zero)
        oracle[d] = told(probe[d], d, [], zero)
        on, off = rows.means(clean, [cell(r)[1 - d] for r in clean])
        effect = [abs((a - b) * dot(probe[1 - d][0], atom))
                  for a, b, atom in zip(on, off, rows.atoms)]
        for mode, fill in (("", zero), ("_mean", [(a + b) / 2 for a, b in zip(on, off)])):
            for b in BUDGETS:
                after[d, mode, b] = told(probe["biased"], d, ranking(effect)[:b], fill)

    def value(d, mode, b):
        def at(g):
            room = balanced(oracle[d], g) - balanced(base[d], g)
            gain = balanced(after[d, mode, b], g) - balanced(base[d], g)
            return gain / room if room >= 0.001 else 0.0
        return at

    worse = int(balanced(base[1], None) < balanced(base[0], None))
    room = min(abs(balanced(oracle[d], None) - balanced(base[d], None)) for d in (0, 1))
    size = 16 / max(room, 0.01)
    groups = {rows.group[r] for r in test}
    out, se, series = {"rows": [len(test), 0]}, {}, {}
    for d in (0, 1):
        for name, t in (("base", base), ("oracle", oracle)):
            out[f"{name}_accuracy_dir{d + 1}"] = [balanced(t[d], None), 1]
            se[f"{name}_accuracy_dir{d + 1}"] = [jackknife(groups, lambda g: balanced(t[d], g)), 16]
    for mode in ("", "_mean"):
        for part, d in (("", worse), ("_dir1", 0), ("_dir2", 1)):
            series[f"n{part}{mode}"] = [[b, [value(d, mode, b)(None), size]] for b in BUDGETS]
            for b in SHOWN:
                out[f"n{b}{part}{mode}"] = [value(d, mode, b)(None), size]
                se[f"n{b}{part}{mode}"] = [jackknife(groups, value(d, mode, b)), 64 * size]
    return out, se, series


def main():
    d, n, labels = 4, 12, [2, 3]
    files = {"tpp": [], "scr": []}
    for seed, negative in ((3, False), (4, True)):
        rng = random.Random(seed)
        atoms = [[eighth(rng.gauss(0, 1)) for _ in range(d)] for _ in range(n)]
        raw = make_rows(seed, 40, 8, d, n, labels, negative)
        rows = Rows(raw, atoms)
        spec = f"min_rows={LEAST},ridge={RIDGE}"
        for name, got in (("tpp", tpp(rows, 1, 3)), ("scr", scr(rows, 1, 0, 3))):
            options = spec + (",target=label1,spurious=label0" if name == "scr" else "")
            out, se, series = got
            files[name].append(case_of(f"{name}:{options}", raw, labels,
                                       {"W_dec": atoms, "rows": out, "se": se, "series": series}))
    for name, cases in files.items():
        with open(f"tests/golden/data/metrics/{name}.json", "w") as f:
            json.dump({"d": d, "n": n, "cases": cases}, f, separators=(",", ":"))
            f.write("\n")


main()
