"""What Optuna reads in the journal of a study: a line of JSON for each trial, as `strobe study
trials --json` has them. With --write it leaves a user attribute of the study too, as a dashboard does.
usage: read_journal.py JOURNAL STUDY [--write]
"""
import argparse
import json

import optuna
from optuna.storages.journal import JournalFileBackend

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("journal")
parser.add_argument("study")
parser.add_argument("--write", action="store_true")
options = parser.parse_args()

optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.JournalStorage(JournalFileBackend(options.journal))
study = optuna.load_study(study_name=options.study, storage=storage)
if options.write:
    study.set_user_attr("note", "seen")
for trial in study.get_trials(deepcopy=False):
    print(
        json.dumps(
            {
                "trial": trial.number,
                "state": trial.state.name,
                "value": trial.value,
                "params": trial.params,
                "rungs": trial.intermediate_values,
                "attrs": trial.user_attrs,
            }
        )
    )
