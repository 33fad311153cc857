#!/usr/bin/env python3
"""Runs the studies of docs/evidence.md on the GPUs of one machine, several at a time, and keeps their reports as JSON.

usage: run_evidence.py [--gpus 4] [--seconds 3600] [--only NAME ...] [--list] [--strobe build/strobe] [--out runs/evidence/reports]

Needs data/wiki and data/bert (articles in GPT-2's and BERT's vocabulary), data/wikitext-2-8k, data/glue and runs/minilm; the
headers of the recipes and docs/evidence.md say how each is made, and jobs whose data is missing are named and left out.
Whatever stopped goes on when called again, and what has its report is not run again. Small models share half of the GPUs, two or
three on each: their seconds mean nothing. Logs are in runs/evidence/log."""
import argparse
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib

RUNS = "runs/evidence"


@dataclasses.dataclass
class Job:
    name: str
    words: list  # strobe's
    after: tuple = ()
    data: tuple = ()
    share: float = 1.0  # of a GPU
    workers: int = 1  # processes of a study at the most, no more than it has runs; each has a share of a GPU to itself
    choose: object = None  # more words, once `after` has run


def report_file(name):
    return f"{args.out}/{name}.json"


def finished(name):
    return os.path.exists(report_file(name))


def report(name):
    return json.load(open(report_file(name)))


def best(arms, prefix=""):
    """The overrides of the arm of least outcome."""
    some = [a for a in arms if a["name"].startswith(prefix) and a["value"]["estimate"] is not None]
    return min(some, key=lambda a: a["value"]["estimate"])["overrides"]


def recipe_of(name, *arm):
    """The recipe that a study found best, or that of one arm of it."""
    file = f"{RUNS}/{'-'.join((name, *arm))}-best.toml"
    with open(file, "w") as out:
        words = [args.strobe, "study", "best", f"{RUNS}/{name}"]
        subprocess.run(words + (["--arm", *arm] if arm else []), check=True, stdout=out)
    return file


def ladder():
    """The study of the ladder, of the recipes that the contrast found."""
    ends = [recipe_of("contrast", arm) for arm in ("baseline", "optimised")]
    file = f"{RUNS}/ladder.toml"
    with open(file, "w") as out:
        subprocess.run([sys.executable, "tools/make_ladder.py", *ends], check=True, stdout=out)
    return [file, "--out", f"{RUNS}/ladder"]


def words_of(overrides):
    return [f"{key}={value}" for key, value in overrides.items()]


def level(name, words):
    return f"factors.recipe.{name}=" + json.dumps(words)


def rates(name, recipe, arms):
    """The study's level of this recipe, with the learning rates of a sweep's best arm."""
    with open(f"studies/{name}.toml", "rb") as file:
        words = dict(word.split("=", 1) for word in tomllib.load(file)["factors"]["recipe"][recipe])
    return level(recipe, words_of(words | {key: value for key, value in best(arms).items() if key.endswith("lr")}))


def study(name, file, *words, **more):
    return Job(name, ["study", "run", f"studies/{file}.toml", "--out", f"{RUNS}/{name}", *words], **more)


def evidence(name, **more):
    return study(name, f"evidence/{name}", data=more.pop("data", ("data/wiki",)), **more)


def of_task(task):
    return [f"texts.task={task}"] + (["model.head=regression"] if task == "stsb" else [])


def usual_of(task):
    """Batch and epochs of `strobe glue`."""
    words = [args.strobe, "glue", f"{RUNS}/bert-crammed", "--task", task, "--data", "data/glue", "--print-config"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    values = dict(line.split(maxsplit=1) for line in lines)
    return [f"{key}={values[key].split()[0]}" for key in ("train.micro_batch", "train.epochs")]


def glue(name, run, task, *more_words, seeds=5, **more):
    words = ["glue", run, "--task", task, "--data", "data/glue", "--seeds", str(seeds), "--out", f"{RUNS}/{name}"]
    return Job(name, [*words, *more_words], data=("data/glue",) + more.pop("data", ()), share=0.3, **more)


def jobs():
    """The longest chain first; one starts as soon as it can and there is room."""
    yield study("bert-crammed-sweep", "bert-crammed-sweep", data=("data/bert",), workers=4)
    whole = ["train.seconds=600", "eval.every=10 %", "checkpoint.every=50 %"]
    yield Job("bert-crammed", ["train"], data=("data/bert",), after=("bert-crammed-sweep",),
              choose=lambda: [recipe_of("bert-crammed-sweep"), "--run", f"{RUNS}/bert-crammed", *whole])
    for task in ("sst2", "cola", "mrpc", "stsb", "qnli", "rte"):
        tune, crammed = f"tune-glue-bert-crammed-{task}", f"{RUNS}/bert-crammed"
        seeds, workers = (["seeds=[1]"], 4) if task == "sst2" else ([], 1)
        yield study(tune, "tune-glue-bert-crammed", *of_task(task), f"init_from={crammed}", *seeds, after=("bert-crammed",),
                    data=("data/glue",), share=0.5, workers=workers, choose=lambda task=task: usual_of(task))
        yield glue(f"glue-bert-crammed-{task}", crammed, task, after=("bert-crammed", tune),
                   choose=lambda tune=tune: words_of(best(report(tune)["arms"])))
    yield from (evidence(name) for name in ("noise", "contrast", "optimizers", "stability"))
    yield from (evidence(name, workers=runs) for name, runs in (("large", 2), ("large-batch", 5), ("large-schedule", 4), ("large-optimizers", 3)))
    yield evidence("dropout-x-decay", data=("data/wikitext-2-8k",), workers=4)
    yield Job("ladder", ["study", "run"], after=("contrast",), data=("data/wiki",), choose=ladder)
    for name, data, words in (("attention-x-recipe", "data/wiki", ["budget.tokens=10000000"]), ("mlm-attention-x-recipe", "data/bert", [])):
        sweeps = {recipe: f"{name}-sweep-{recipe}" for recipe in ("baseline", "optimised")}
        for sweep in sweeps.values():
            yield study(sweep, sweep, *words, data=(data,))
        yield study(name, name, *words, after=tuple(sweeps.values()), data=(data,),
                    choose=lambda name=name, sweeps=sweeps: [rates(name, r, report(s)["arms"]) for r, s in sweeps.items()])
    yield study("attention-under-a-cap", "attention-under-a-cap", "budget.seconds=6", "budget.trials=6", data=("data/wiki",))
    yield Job("gpt2-124m-wiki", ["train", "recipes/gpt2-124m-wiki.toml", "--run", f"{RUNS}/gpt2-124m-wiki"], data=("data/wiki",))
    minilm = ("runs/minilm", "data/glue")
    yield glue("glue-minilm-mnli", "runs/minilm", "mnli", seeds=1, data=("runs/minilm",))
    for task in ("cola", "sst2", "mrpc", "stsb", "qnli", "rte"):
        yield glue(f"glue-minilm-{task}", "runs/minilm", task, data=("runs/minilm",))
    for task in ("mrpc", "stsb", "rte"):
        yield glue(f"glue-minilm-from-mnli-{task}", "runs/minilm", task, "--mnli", f"{RUNS}/glue-minilm-mnli/mnli-s1",
                   after=("glue-minilm-mnli",), data=("runs/minilm",))
    factorial = "glue-attention-x-recipe"
    for task in ("cola", "stsb", "sst2"):
        sweep = f"{factorial}-sweep-{task}"
        yield study(sweep, f"{factorial}-sweep", *of_task(task), data=minilm, share=0.3)
        yield study(f"{factorial}-{task}", factorial, *of_task(task), after=(sweep,), data=minilm, share=0.3,
                    choose=lambda sweep=sweep: [level(r, words_of(best(report(sweep)["arms"], r)))
                                                for r in ("baseline", "optimised")])
    for task in ("cola", "mrpc", "stsb", "rte"):
        yield study(f"tune-glue-{task}", "tune-glue", *of_task(task), data=minilm, share=0.3)
        yield glue(f"glue-minilm-tuned-{task}", "runs/minilm", task, after=(f"tune-glue-{task}",),
                   choose=lambda task=task: words_of(best(report(f"tune-glue-{task}")["arms"])))


def keep_report(job):
    """The job's JSON under its final name; of a study without what its charts draw, ten times the rest."""
    if job.words[0] == "study":
        command = [args.strobe, "study", "report", f"{RUNS}/{job.name}", "--json"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures.pop("charts", None)
        text = json.dumps(figures, ensure_ascii=False) + "\n"
    else:
        file = {"glue": "glue.json", "train": "result.json"}[job.words[0]]
        text = open(f"{RUNS}/{job.name}/{file}").read()
    partial = report_file(job.name) + ".partial"
    with open(partial, "w") as out:
        out.write(text)
    os.rename(partial, report_file(job.name))


def start(job, gpu):
    command = [args.strobe, *job.words, *(job.choose() if job.choose else [])]
    if job.words[0] == "train" and os.path.exists(f"{RUNS}/{job.name}"):
        command = [args.strobe, "resume", f"{RUNS}/{job.name}"]
    log = open(f"{RUNS}/log/{job.name}", "a")
    print(f"{time.time() - begin:5.0f} s  GPU {gpu}: {shlex.join(command)}", flush=True)
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES=devices[gpu])
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def is_ready(job):
    return all(map(finished, job.after))


def gpus_for(job, waiting):
    """Where there are small jobs and whole ones to start, each kind has half of the GPUs."""
    kinds = {other.share < 1 for other in waiting if is_ready(other)}
    if len(kinds) < 2 or args.gpus == 1:
        return range(args.gpus)
    half = (args.gpus + 1) // 2
    return range(half) if job.share == 1 else range(half, args.gpus)


def attempt(action):
    """What went wrong, or "": one job's trouble leaves the others going."""
    try:
        action()
    except (OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def run(waiting):
    """Until all have run, or the time is up; returns the names of those that failed."""
    failed, running, room = set(), [], [1.0] * args.gpus

    def say_end(job, wrong):
        print(f"{time.time() - begin:5.0f} s  {job.name}: {'failed: ' + wrong if wrong else 'done'}", flush=True)
        if wrong:
            failed.add(job.name)

    try:
        while (waiting or running) and time.time() - begin < args.seconds:
            for entry in [entry for entry in running if entry[2].poll() is not None]:
                job, gpu, process = entry
                running.remove(entry)
                room[gpu] += job.share
                waiting = [other for other in waiting if other is not job]  # what is left of a study's runs is under way
                wrong = f"exit status {process.returncode}" if process.returncode else ""
                last = all(other is not job for other, _, _ in running)
                if last and not wrong:
                    wrong = "another of its processes failed" if job.name in failed else attempt(lambda: keep_report(job))
                if last or wrong:
                    say_end(job, wrong)
            failed |= {job.name for job in waiting if failed & set(job.after)}
            waiting = [job for job in waiting if job.name not in failed]
            for job in filter(is_ready, list(waiting)):
                while job in waiting:
                    gpu = next((g for g in gpus_for(job, waiting) if room[g] > job.share - 1e-6), None)
                    if gpu is None:
                        break
                    wrong = attempt(lambda: running.append((job, gpu, start(job, gpu))))
                    if wrong:
                        say_end(job, wrong)
                    else:
                        room[gpu] -= job.share
                    if wrong or sum(other is job for other, _, _ in running) == job.workers:
                        waiting.remove(job)
            time.sleep(0.5)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for _, _, process in running:  # they save, and go on the next time
            os.killpg(process.pid, signal.SIGINT)
        for job, _, process in running:
            process.wait()
            print(f"stopped: {job.name}")
    return failed


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--seconds", type=float, default=float("inf"))
parser.add_argument("--only", nargs="+", default=[])
parser.add_argument("--list", action="store_true")
parser.add_argument("--strobe", default="build/strobe")
parser.add_argument("--out", default=f"{RUNS}/reports")
args = parser.parse_args()
begin = time.time()

everything = list(jobs())
unknown = set(args.only) - {job.name for job in everything}
if unknown:
    sys.exit(f"run_evidence: no job is called {', '.join(sorted(unknown))}; --list names them")
chosen = [job for job in everything if not args.only or job.name in args.only]
if args.list:
    print("\n".join(job.name for job in chosen))
    sys.exit()
visible = os.environ.get("CUDA_VISIBLE_DEVICES")
devices = visible.split(",") if visible else [str(gpu) for gpu in range(args.gpus)]
if len(devices) < args.gpus:
    sys.exit(f"run_evidence: --gpus {args.gpus} is more than CUDA_VISIBLE_DEVICES={visible} has")
os.makedirs(f"{RUNS}/log", exist_ok=True)
os.makedirs(args.out, exist_ok=True)
runnable = []
for job in (job for job in chosen if not finished(job.name)):  # a job comes after those that it needs
    missing = [path for path in job.data if not os.path.exists(path)]
    missing += [name for name in job.after if not finished(name) and name not in {other.name for other in runnable}]
    if missing:
        print(f"left out, {', '.join(missing)} is missing: {job.name}")
    else:
        runnable.append(job)
failed = run(runnable)
if failed:
    sys.exit(f"run_evidence: failed: {', '.join(sorted(failed))}; see {RUNS}/log")
