#!/usr/bin/env python3
"""scripts/quality.py - the table of scripts/quality: one line per run, SAE and seed.

usage: scripts/quality.py DIR RUN...   (run directories DIR/RUN; CSV on standard output)
"""
import csv
import json
import sys

METRICS = ["sparsity.l0", "reconstruction.fvu", "sparsity.dead_share", "downstream.ce_increase",
           "downstream.loss_recovered_zero", "recovery.max_cosine", "recovery.share_recovered"]


def rows(path):
    with open(path, newline="") as f:
        yield from csv.DictReader(f)


def seconds(path):
    with open(path + "/run.json") as f:
        return {(s["spec"], str(s["seed"])): s["train_seconds"] for s in json.load(f)["saes"]}


def number(text):
    return f"{float(text):.6g}" if text else ""


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["run", "variant", "spec", "seed", "steps", "ms_per_step"] + METRICS)
    for run in sys.argv[2:]:
        path = f"{sys.argv[1]}/{run}"
        value = {}
        for r in rows(path + "/metrics.csv"):
            value[r["spec"], r["seed"], r["metric"]] = r["value"]
        took = seconds(path)  # by label
        for s in rows(path + "/saes.csv"):
            key = s["spec"], s["seed"]
            ms = 1000 * took[s["label"], s["seed"]] / int(s["steps"])
            out.writerow([run, s["variant"], s["label"], s["seed"], s["steps"], f"{ms:.3g}"] +
                         [number(value.get(key + (m,), "")) for m in METRICS])


main()
