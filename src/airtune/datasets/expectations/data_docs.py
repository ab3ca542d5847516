"""Great Expectations' own pages about a validation (Data Docs), for those who know them.

They are optional: our own page (``validation/report.html``) says more, and needs no network, while these load their
styles and scripts from the internet.
"""

from __future__ import annotations

import copy
import html
from pathlib import Path
from typing import Any

_SITE = "airtune"


def write_data_docs(context: Any, suite: Any, results: Any, folder: Path) -> None:
    """Write the pages of one validation.

    Great Expectations puts values of the data into its pages as they are, so that a text with a tag in it would be
    obeyed by the browser: what is rendered is a copy whose texts are escaped.

    Args:
        context: the data context in which it was validated.
        suite: the suite.
        results: what came out; not changed.
        folder: where ``index.html`` goes.
    """
    from great_expectations.core import ExpectationSuite, RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    shown = copy.deepcopy(results)
    for result in shown.results:
        result.result = _escaped(result.result)
        result.expectation_config = _shown(result.expectation_config)
    context.suites.add(
        ExpectationSuite(name=suite.name, expectations=[_shown(e.configuration) for e in suite.expectations])
    )
    context.validation_results_store.set(
        ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(suite.name),
            run_id=RunIdentifier(run_name=suite.name),
            batch_identifier="records",
        ),
        shown,
    )
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": backend,
    }
    context.add_data_docs_site(site_name=_SITE, site_config=site)
    context.build_data_docs(site_names=[_SITE])


def _shown(configuration: Any) -> Any:
    """A copy of an expectation's configuration whose texts are escaped."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(
        type=configuration.type,
        kwargs=_escaped(configuration.kwargs),
        severity=configuration.severity,
        description=_escaped(configuration.description),
    )


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(inner) for inner in value]
    return value
