"""What training refuses to begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import draw_dataset, resolved, write_run

from airtune.datasets.fingerprint import fingerprint
from airtune.errors import DataError
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.training.inputs import read_inputs


def test_other_samples_than_the_run_was_resolved_on_are_refused(tmp_path: Path) -> None:
    records = draw_dataset(tmp_path / "data")
    run = resolved()
    directory = write_run((tmp_path / "store").as_uri(), "one", run, records, tmp_path / "data")
    sealed = {
        "fingerprint": fingerprint(record.digest for record in records),
        "evaluation_set_digest": fingerprint(record.digest for record in records if record.split == "validation"),
    }
    for facts, passes in ((sealed, True), (sealed | {"fingerprint": "0" * 64}, False)):
        resolution = Resolution(run=run, entries=(), warnings=(), estimate={}, facts={"data": facts})
        directory.write_text(layout.RESOLUTION, resolution.to_json())
        if passes:
            assert len(read_inputs(directory, lambda line: None).records) == len(records)
        else:
            with pytest.raises(DataError, match="not those that the run was resolved on"):
                read_inputs(directory, lambda line: None)
