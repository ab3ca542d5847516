"""From a DAG run's conf to overrides, and from its name to the run's."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.airflow

PROGRAM = """
from airtune.errors import SettingsError
from airtune_airflow.intake import overrides, run_id
from airtune_airflow.trigger_form import names

def asked(conf):
    params = {name: conf.get(name) for name in names()} | conf
    try:
        return overrides(params, conf)
    except SettingsError as error:
        return str(error)

cases = json.loads(sys.argv[2])
tell(overrides=[asked(conf) for conf in cases["confs"]], run_ids=[run_id(name) for name in cases["names"]])
"""

CONFS: list[dict[str, Any]] = [
    {"run": {}, "epochs": 3, "mode": None},
    {"run": {}, "overrides": {"lora_rank": 8}, "epochs": 3},
    {"run": {}, "overrides": {"learning-rate": 0.1}, "learning_rate": 0.1},
    {"run": {}, "overrides": {"Learning_Rate": 0.1}, "learning_rate": 0.2},
    {"run": {}, "epoch": 3, "lora_rank": 4},
]
NAMES = [
    "my-run.1",
    "manual__2026-11-22T10:00:00.123456+00:00",
    "manual__2026-11-22T10:00:00.123457+00:00",
    "a/b",
    "a-b",
    "..",
    "x" * 300,
    "x" * 299 + "y",
    "äöü",
    "-a",
]


@pytest.fixture(scope="module")
def told(module_airflow: Any) -> dict[str, Any]:
    """What became of the cases above."""
    import json

    result: dict[str, Any] = module_airflow.run(PROGRAM, json.dumps({"confs": CONFS, "names": NAMES}))
    return result


def test_fields_that_are_empty_are_no_overrides(told: dict[str, Any]) -> None:
    assert told["overrides"][0] == {"epochs": 3}


def test_fields_and_the_overrides_object_are_put_together(told: dict[str, Any]) -> None:
    assert told["overrides"][1] == {"lora_rank": 8, "epochs": 3}


def test_one_setting_given_twice_alike_is_given_once(told: dict[str, Any]) -> None:
    assert told["overrides"][2] == {"learning-rate": 0.1}


def test_one_setting_given_twice_differently_is_refused_with_both_values(told: dict[str, Any]) -> None:
    assert "conf.learning_rate: is given twice, differently" in told["overrides"][3]
    assert "0.2" in told["overrides"][3]
    assert "0.1" in told["overrides"][3]


def test_names_that_mean_nothing_are_refused_all_at_once_with_the_nearest(told: dict[str, Any]) -> None:
    assert "conf.epoch: is nothing that this DAG knows; did you mean 'epochs'?" in told["overrides"][4]
    assert "conf.lora_rank" in told["overrides"][4]
    assert "'overrides'" in told["overrides"][4]


def test_every_name_of_a_dag_run_becomes_the_name_of_a_run(told: dict[str, Any]) -> None:
    from airtune.stores.layout import check_run_id

    for name in told["run_ids"]:
        assert check_run_id(name) == name
        assert ".." not in name


def test_a_name_that_is_one_already_is_kept(told: dict[str, Any]) -> None:
    assert told["run_ids"][0] == "my-run.1"
    assert told["run_ids"][4] == "a-b"


def test_two_dag_runs_never_share_a_run(told: dict[str, Any]) -> None:
    assert len(set(told["run_ids"])) == len(NAMES)
