"""The command of each stage."""

import importlib.util

import pytest

from airtune.errors import SettingsError
from airtune.stage_commands import ACCELERATED_STAGES, PLAIN_STAGES, STAGES, accelerate_argv, plain_argv


def test_a_plain_stage_is_one_command_of_airtune() -> None:
    assert plain_argv("resolve", "file:///x/runs/a") == ["airtune", "resolve", "file:///x/runs/a"]


def test_training_is_launched_by_accelerate_with_the_run_uri_last() -> None:
    argv = accelerate_argv("train", "s3://bucket/runs/a", gpus=4)
    assert argv[:2] == ["accelerate", "launch"]
    assert argv[-3:] == ["-m", "airtune.training", "s3://bucket/runs/a"]
    assert argv[argv.index("--num_processes") + 1] == "4"
    assert "--multi_gpu" in argv


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_device_needs_one_process_and_no_distributed_launcher(gpus: int) -> None:
    argv = accelerate_argv("evaluate", "file:///runs/a", gpus=gpus)
    assert "--multi_gpu" not in argv
    assert argv[argv.index("--num_processes") + 1] == "1"


def test_accelerates_own_parser_understands_the_options() -> None:
    from accelerate.commands.launch import launch_command_parser

    options = launch_command_parser().parse_args(accelerate_argv("train", "file:///runs/a", gpus=2)[2:])
    assert options.module is True
    assert options.training_script == "airtune.training"
    assert options.training_script_args == ["file:///runs/a"]
    assert (options.num_processes, options.num_machines, options.multi_gpu) == (2, 1, True)


def test_the_modules_that_accelerate_launches_exist() -> None:
    for module in ACCELERATED_STAGES.values():
        assert importlib.util.find_spec(module) is not None


def test_every_stage_has_exactly_one_kind_of_command() -> None:
    assert sorted([*PLAIN_STAGES, *ACCELERATED_STAGES]) == sorted(STAGES)


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="validate, resolve"):
        plain_argv("train", "file:///runs/a")
    with pytest.raises(SettingsError, match="train, evaluate"):
        accelerate_argv("publish", "file:///runs/a")
