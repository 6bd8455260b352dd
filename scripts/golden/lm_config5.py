#!/usr/bin/env python3
"""scripts/golden/lm_config5.py - the config.json of the golden models as transformers 5 writes it.

    scripts/golden/lm_config5.py tests/golden/data/lm

Needs transformers 5 (without PyTorch); development only. Reads every config.json below the
directory, which is in the form of published checkpoints, and puts config5.json beside it.
"""
import os
import sys
import tempfile

from transformers import AutoConfig

for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    if not os.path.isdir(path):
        continue
    with tempfile.TemporaryDirectory() as out:
        AutoConfig.from_pretrained(path).save_pretrained(out)
        with open(os.path.join(out, "config.json")) as f, \
                open(os.path.join(path, "config5.json"), "w") as g:
            g.write(f.read())
