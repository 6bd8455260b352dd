"""scripts/golden/metric_ravel.py - writes the golden file of that family from the definitions, the
learned mask included: python3 scripts/golden/metric_ravel.py, in the repository's root."""
import math
import random

from labelled import part_of
from metric import dot, logprob, mix, number, write

D, N, V = 4, 9, 6


def row_hash(tok):
    return mix(mix(tok[0]) ^ (tok[1] + 1))


class Case:
    def __init__(self, c, **options):
        self.c, self.o = c, {"features": 10, "stride": 4, "repeats": 1, "steps": 0,
                             "step_rows": 4096, "rate": 0.01, **options}
        self.rows = range(len(c["x"]))
        self.z = [[0.0] * N for _ in self.rows]
        for i, j, v in c["code"]:
            self.z[i][j] = v
        self.label = list(zip(*(l["of"] for l in c["labels"])))
        self.scale = [s for s, _ in c.get("norm", [(1, 0)] * len(c["x"]))]
        self.pool = sorted((i for i in self.rows if self.known(i) and not self.tests(i)),
                           key=lambda i: row_hash(c["tok"][i]))

    def known(self, i):
        return min(self.label[i]) >= 0

    def tests(self, i):
        return part_of(self.c["tok"][i][0]) == "test"

    def ranked(self, target):
        """Weights: 1 for the latents whose class means differ most, for their size."""
        score = []
        for j in range(N):
            on = [abs(self.z[i][j]) for i in self.pool if self.z[i][j]]
            mean = math.fsum(self.z[i][j] for i in self.pool) / len(self.pool)
            far = 0
            for k in {self.label[i][target] for i in self.pool}:
                of = [self.z[i][j] for i in self.pool if self.label[i][target] == k]
                far += abs(math.fsum(of) / len(of) - mean) * len(of) / len(self.pool)
            score.append(far * len(on) / math.fsum(on) if on else 0)
        best = sorted((j for j in range(N) if score[j] > 0), key=lambda j: (-score[j], j))
        return [float(j in best[:self.o["features"]]) for j in range(N)]

    def pair(self, i, turn):
        """(source, target, kind, token), or None."""
        u = mix(row_hash(self.c["tok"][i]) ^ (turn + 1))
        target, cause = u & 1, not u >> 1 & 1
        if not self.known(i) or (u >> 2) % self.o["stride"]:
            return None
        start, mine = (u >> 32) % len(self.pool), self.label[i]
        for s in self.pool[start:] + self.pool[:start]:
            of = self.label[s]
            if (of[target] == mine[target]) != cause and (of[1 - target] == mine[1 - target]) == cause:
                return s, target, cause, self.c["lm"]["next"][s if cause else i]
        return None

    def mixed(self, i, s, weight):
        x = list(self.c["x"][i])
        for j, w in enumerate(weight):
            by = self.scale[i] * w * (self.z[s][j] - self.z[i][j])
            x = [a + by * b for a, b in zip(x, self.c["W_dec"][j])]
        return x

    def learned(self):
        """Masks of both targets: cross-entropy of the pairs' tokens, Adam, falling temperature."""
        head, steps = self.c["lm"]["head"], self.o["steps"]
        m, mean, square = ([[0.0] * N for _ in range(2)] for _ in range(3))
        for step in range(steps):
            t = 10 ** (-4 * step / (steps - 1)) if steps > 1 else 1
            soft = [[1 / (1 + math.exp(-min(max(v / t, -700), 700))) for v in of] for of in m]
            slope = {(a, k): [[] for _ in range(N)] for a in (0, 1) for k in (False, True)}
            count = dict.fromkeys(slope, 0)
            for i in self.rows:
                p = self.pair(i, step + 1) if i < self.o["step_rows"] and not self.tests(i) else None
                if not p:
                    continue
                s, target, cause, token = p
                lp = logprob(head, self.mixed(i, s, soft[target]))
                g = [math.fsum(math.exp(q) * h[a] for q, h in zip(lp, head)) - head[token][a]
                     for a in range(D)]
                count[target, cause] += 1
                for j in range(N):
                    by = self.scale[i] * (self.z[s][j] - self.z[i][j])
                    slope[target, cause][j].append(by * dot(g, self.c["W_dec"][j]))
            for a in (0, 1):
                for j in range(N):
                    g = sum(math.fsum(slope[a, k][j]) / max(count[a, k], 1) for k in (False, True)) / 2
                    g *= soft[a][j] * (1 - soft[a][j]) / t
                    mean[a][j] = 0.9 * mean[a][j] + 0.1 * g
                    square[a][j] = 0.999 * square[a][j] + 0.001 * g * g
                    m[a][j] -= (self.o["rate"] * mean[a][j] / (1 - 0.9 ** (step + 1)) /
                                (math.sqrt(square[a][j] / (1 - 0.999 ** (step + 1))) + 1e-8))
        assert all(abs(v) > 1e-3 for of in m for v in of), m  # no rounding decides
        return [[float(v > 0) for v in of] for of in m]

    def values(self, weights, prefix):
        """Every key of one way to choose latents, with sizes; and the number of pairs."""
        head, lm = self.c["lm"]["head"], self.c["lm"]
        most = max(abs(v) for h in head for v in h)
        sums = {(a, k): [0, 0.0, 0.0, 0.0] for a in (0, 1) for k in (False, True)}
        for turn in range(self.o["repeats"]):
            for i in self.rows:
                p = self.pair(i, turn) if self.tests(i) else None
                if not p:
                    continue
                s, target, cause, token = p
                sum_, before = sums[target, cause], logprob(head, self.c["x"][i])[token]
                sum_[0] += 1
                for k, x in enumerate((self.mixed(i, s, weights[target]), self.c["x"][s])):
                    after = logprob(head, x)[token]
                    sum_[1 + k] += after - before
                    sum_[3] += abs(after) + abs(before) + 2 * most * sum(map(abs, x))
        share, size = {}, {}
        for at, (_, by, row, terms) in sums.items():
            share[at] = by / row if at[1] else 1 - by / row
            size[at] = terms * (1 + abs(by / row)) / abs(row)
        out, sizes = {}, {}
        for cause, kind in ((True, "cause"), (False, "isolation")):
            for a, name in enumerate(("_first", "_second")):
                out[kind + name], sizes[kind + name] = share[a, cause], size[a, cause]
            out[kind] = (share[0, cause] + share[1, cause]) / 2
            sizes[kind] = size[0, cause] + size[1, cause]
        out["disentanglement"] = (out["cause"] + out["isolation"]) / 2
        sizes["disentanglement"] = sizes["cause"] + sizes["isolation"]
        return ({prefix + k: number(v, sizes[k], True) for k, v in out.items()},
                sum(s[0] for s in sums.values()))


def world(seed, docs, scales):
    """Latents 0 to 2 are the classes of one attribute, 3 and 4 those of the other, 5 is of both,
    the others of neither; rows are their atoms and an error."""
    r = random.Random(seed)
    eighth = lambda m: r.randint(-m, m) / 8
    atoms = [[eighth(8) for _ in range(D)] for _ in range(N)]
    c = {"x": [], "code": [], "tok": [], "W_dec": atoms, "norm": [],
         "lm": {"head": [[eighth(8) for _ in range(D)] for _ in range(V)], "next": []}}
    of = [[], []]
    for doc in range(docs):
        for pos in range(r.randint(1, 6)):
            a, b = r.randint(0, 2), r.randint(0, 1)
            z = {a: r.randint(6, 10) / 8, 3 + b: r.randint(6, 10) / 8}
            if a and b:
                z[5] = 1.0
            for j in (6, 7, 8):
                if r.random() < 0.4:
                    z[j] = r.randint(-6, 6) / 8
            scale = r.choice(scales)
            x = [scale * sum(v * atoms[j][k] for j, v in z.items()) + eighth(2) for k in range(D)]
            c["code"] += [[len(c["x"]), j, z[j]] for j in sorted(z)]
            c["x"].append(x)
            c["tok"].append([doc, pos, 0])
            c["norm"].append([scale, 0])
            lp = logprob(c["lm"]["head"], x)
            c["lm"]["next"].append(max(range(V), key=lambda v: lp[v]) if r.random() < 0.7
                                   else r.randrange(V))
            for k, v in enumerate((a, b)):
                of[k].append(v if r.random() < 0.95 else -1)
    c["labels"] = [{"name": name, "bidirectional": False, "classes": list(classes), "of": o}
                   for name, classes, o in zip(("kind", "side"), ("pqr", "lr"), of)]
    return c


def case(seed, docs, scales=(1,), **options):
    c = world(seed, docs, scales)
    spec = "".join(f",{k}={v}" for k, v in options.items())
    c["metric"] = "ravel:first=kind,second=side" + spec
    at = Case(c, **options)
    rows, pairs = at.values([at.ranked(0), at.ranked(1)], "")
    if at.o["steps"]:
        masks = at.learned()
        rows.update(at.values(masks, "learned_")[0])
        for mask, name in zip(masks, ("first", "second")):
            rows["learned_latents_" + name] = number(sum(mask), 0)
        assert masks[0] != masks[1] and masks != [at.ranked(0), at.ranked(1)]
    c["rows"] = {"pairs": number(pairs, 0), **rows}
    return c


if __name__ == "__main__":
    write("ravel", D, N, [case(1, 60, stride=1, features=3),
                          case(2, 60, stride=1, features=3, steps=12, rate=0.05),
                          case(3, 80, (1, 2), stride=2, features=2, repeats=2, steps=25,
                               step_rows=150)])
