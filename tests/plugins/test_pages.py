"""The plugin's pages in Airflow's real FastAPI app, with its real authentication."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.airflow

PROGRAM = """
import os, time
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from starlette.routing import Mount
from starlette.testclient import TestClient

asked = json.loads(sys.argv[2])
app = create_app(apps="core")
mount = next(route for route in app.routes if isinstance(route, Mount) and route.path == "/airtune")
routes = [(method, route.path) for route in mount.app.routes for method in sorted(route.methods or ())]
found = {}
with TestClient(app, base_url="http://testserver", raise_server_exceptions=False) as client:
    def get(path, role, method="GET"):
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="someone", role=role or None))
        headers = {} if role is None else {"Authorization": f"Bearer {token}"}
        begun = time.monotonic()
        answer = client.request(method, path, headers=headers, follow_redirects=False)
        return {"status": answer.status_code, "text": answer.text, "headers": dict(answer.headers),
                "seconds": time.monotonic() - begun}
    for role in (None, "", "viewer", "admin"):
        for method, route in routes:
            found[f"{role} {method} {route}"] = get("/airtune" + route.replace("{run_id}", "good"), role, method)
    for path in asked:
        found[path] = get(path, "admin")
    os.environ["AIRTUNE_STORE"] = "s3://airtune"
    os.environ |= {"AWS_ENDPOINT_URL_S3": sys.argv[3], "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    found["away"] = get("/airtune/runs", "admin")
    found["away again"] = get("/airtune/runs", "admin")
    found["plugins"] = get("/api/v2/plugins", "admin")
    found["import errors"] = get("/api/v2/plugins/importErrors", "admin")
tell(routes=routes, found=found)
"""

HEAVY = ("airtune_airflow.api", "airtune_airflow.operators", "fastapi", "boto3", "torch", "kubernetes")
NASTY = "<script>alert('x')</script>"

PATHS = [
    "/airtune/runs/no-such-run",
    "/airtune/runs/..%2f..%2fetc%2fpasswd",
    "/airtune/runs/%2e%2e",
    "/airtune/runs/nasty",
    "/airtune/runs/broken",
]


def run_json(name: str, created: int, *, conditions: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A run.json with every text that the pages show."""
    blocks = [
        {"block": "dataset", "settings": {"projectKind": "vqa"}, "style": {}},
        {
            "block": "model",
            "settings": {"architecture": {"name": "qwen3vl", "size": "2B"}, "trainingMode": {"type": "LoRA"}},
            "style": {},
        },
    ]
    return {
        "spec": {"flow": {"name": name, "blocks": blocks}},
        "metadata": {"timeCreated": created},
        "status": {"log": f"log of {name}", "conditions": conditions or []},
    }


@pytest.fixture(scope="module")
def pages(module_airflow: Any) -> Any:
    """Every answer of the app, with a store of four runs."""
    from airtune.stores import open_store

    store = open_store(module_airflow.env["AIRTUNE_STORE"])
    done = [{"condition": "Finished", "status": "Reached", "reason": "publish"}]
    failed = [{"condition": "Finished", "status": "FailedReach", "reason": "train", "message": NASTY}]
    store.write("runs/good/run.json", json.dumps(run_json("the good one", 2_000, conditions=done)).encode())
    store.write("runs/nasty/run.json", json.dumps(run_json(NASTY, 3_000, conditions=failed)).encode())
    store.write(f"runs/nasty/{NASTY.replace('/', '')}.txt", b"x")
    store.write("runs/odd/run.json", json.dumps({"spec": [1], "status": {"conditions": "no"}, "metadata": 3}).encode())
    store.write("runs/broken/run.json", b"{ not json")
    metrics = {"tuned": {"greedy": {"exact_match": 0.975}}, "base": {"greedy": {"exact_match": 0.1}}}
    store.write("runs/good/evaluation/metrics.json", json.dumps(metrics).encode())
    result: dict[str, Any] = module_airflow.run(PROGRAM, json.dumps(PATHS), "http://127.0.0.1:9")
    return result


def test_every_route_answers_401_to_whoever_is_not_logged_in(pages: Any) -> None:
    assert len(pages["routes"]) >= 4
    assert {pages["found"][f"None {method} {path}"]["status"] for method, path in pages["routes"]} == {401}


def test_every_route_answers_403_to_a_user_without_a_role(pages: Any) -> None:
    assert {pages["found"][f" {method} {path}"]["status"] for method, path in pages["routes"]} == {403}


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_whoever_may_read_the_dags_runs_sees_the_pages(pages: Any, role: str) -> None:
    seen = {path: pages["found"][f"{role} {method} {path}"]["status"] for method, path in pages["routes"]}
    assert seen == {"/": 307, "/runs": 200, "/runs/{run_id}": 200, "/style.css": 200}


def test_no_route_describes_the_api_or_changes_anything(pages: Any) -> None:
    assert {method for method, _ in pages["routes"]} == {"GET"}
    assert not [path for _, path in pages["routes"] if "doc" in path or "openapi" in path]


def test_the_list_shows_every_run_newest_first_also_those_that_cannot_be_read(pages: Any) -> None:
    text = pages["found"]["admin GET /runs"]["text"]
    places = [text.index(f"/airtune/runs/{name}") for name in ("nasty", "good", "odd", "broken")]
    assert places == sorted(places)
    assert "4 in file:///" in text
    assert "qwen3vl 2B" in text
    assert text.count("unreadable") >= 1


def test_a_runs_page_shows_its_state_scores_log_and_files(pages: Any) -> None:
    text = pages["found"]["admin GET /runs/{run_id}"]["text"]
    for words in ("the good one", "state done", "0.975", "log of the good one", "evaluation/metrics.json"):
        assert words in text


def test_whatever_a_run_contains_is_shown_as_text(pages: Any) -> None:
    for text in (pages["found"]["/airtune/runs/nasty"]["text"], pages["found"]["admin GET /runs"]["text"]):
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_pages_forbid_scripts_and_foreign_frames(pages: Any) -> None:
    headers = pages["found"]["admin GET /runs"]["headers"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/airtune/runs/no-such-run", "/airtune/runs/..%2f..%2fetc%2fpasswd"])
def test_what_is_no_run_is_not_found(pages: Any, path: str) -> None:
    assert pages["found"][path]["status"] == 404
    assert "root:" not in pages["found"][path]["text"]


def test_a_run_whose_run_json_cannot_be_read_has_a_page_all_the_same(pages: Any) -> None:
    assert pages["found"]["/airtune/runs/broken"]["status"] == 200
    assert "unreadable" in pages["found"]["/airtune/runs/broken"]["text"]


def test_a_store_that_is_away_is_said_to_be_within_seconds(pages: Any) -> None:
    for answer in (pages["found"]["away"], pages["found"]["away again"]):
        assert answer["status"] == 503
        assert answer["seconds"] < 12
        assert "s3://airtune" in answer["text"]
        assert "store" in answer["text"]


def test_airflow_lists_the_plugin_with_its_page_and_link_and_without_errors(pages: Any) -> None:
    (plugin,) = json.loads(pages["found"]["plugins"]["text"])["plugins"]
    assert plugin["name"] == "airtune"
    assert [(view["destination"], view["href"]) for view in plugin["external_views"]] == [("nav", "/airtune/runs")]
    assert "RunDirectoryLink" in plugin["operator_extra_links"][0]
    assert json.loads(pages["found"]["import errors"]["text"])["total_entries"] == 0


def test_loading_the_plugin_imports_neither_the_pages_nor_anything_heavy(airflow: Any) -> None:
    told = airflow.run(
        """
from airflow import plugins_manager
import resource, time
import airflow.sdk.bases.operatorlink
before, begun = set(sys.modules), time.process_time()
plugins, errors = plugins_manager._get_plugins()
views = [view for plugin in plugins for view in plugin.external_views]
new = sorted(set(sys.modules) - before)
tell(new=new, seconds=time.process_time() - begun, errors=errors, views=len(views))
"""
    )
    assert told["errors"] == {}
    assert told["views"] == 1
    heavy = (
        "airtune_airflow.api",
        "airtune_airflow.operators",
        "fastapi",
        "jinja2.loaders",
        "boto3",
        "torch",
        "kubernetes",
    )
    assert [name for name in told["new"] if name.startswith(heavy)] == []
