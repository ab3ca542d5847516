"""A client of Airflow's REST API: what the commands need of it, and errors in words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from airtune.errors import AirtuneError, NotPermittedError, Problem, SettingsError, StoreError

ENDED: Final = frozenset({"success", "failed"})
"""States of a DAG run after which nothing more happens."""

_TRIES: Final = 4
_PAUSE_S: Final = 1.0


@dataclass(frozen=True)
class TaskState:
    """One task of a DAG run.

    Attributes:
        name: the task's id.
        state: Airflow's state; None before it is scheduled.
        seconds: how long its latest try has taken, as Airflow counts; None before it starts.
        tries: the number of the latest try.
        map_index: which one it is of a task that was mapped, counted from 0; -1 for any other task.
    """

    name: str
    state: str | None
    seconds: float | None
    tries: int
    map_index: int = -1

    def __str__(self) -> str:
        return self.name if self.map_index < 0 else f"{self.name} [{self.map_index + 1}]"


@dataclass(frozen=True)
class DagRunState:
    """A DAG run as it stands.

    Attributes:
        run_id: its id in Airflow.
        state: ``queued``, ``running``, ``success`` or ``failed``.
        seconds: from its start to its end; None while it runs.
        tasks: its tasks in the order in which Airflow has them.
    """

    run_id: str
    state: str
    seconds: float | None
    tasks: tuple[TaskState, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ENDED

    @property
    def failed_task(self) -> str | None:
        """The name of the first task that failed, or None."""
        return next((task.name for task in self.tasks if task.state == "failed"), None)


class AirflowClient:
    """Talks to one Airflow.

    Args:
        url: its address, without ``/api``.
        username: a user, where the address hands out tokens for passwords (``POST /auth/token``).
        password: that user's password.
        token: a token that is ready to use, instead of the two.
        timeout_s: how long one request may take.
    """

    def __init__(
        self, url: str, *, username: str = "", password: str = "", token: str = "", timeout_s: float = 30.0
    ) -> None:
        self.url = url.rstrip("/")
        self._username = username
        self._password = password
        self._token = token
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=not _is_loopback(self.url))

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def health(self) -> dict[str, str | None]:
        """The components and whether each is ``healthy``; empty where nothing answers yet."""
        try:
            answer = self._http.get("/api/v2/monitor/health")
            found = answer.json() if answer.status_code == httpx.codes.OK else {}
        except (httpx.HTTPError, ValueError):
            return {}
        return {name: part.get("status") for name, part in found.items() if isinstance(part, dict)}

    def warm_up(self) -> bool:
        """Has the API server build the part that tasks talk to, 3 to 5 s that the first task would wait for.

        Returns:
            Whether it answered.
        """
        try:
            return self._http.get("/execution/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow knows the DAG (it has been parsed)."""
        return self._request("GET", f"/api/v2/dags/{dag_id}", allow=(404,)).status_code == httpx.codes.OK

    def unpause(self, dag_id: str) -> None:
        """Lets the DAG's runs start."""
        self._request("PATCH", f"/api/v2/dags/{dag_id}", body={"is_paused": False})

    def import_errors(self) -> list[str]:
        """What went wrong when DAG files were parsed: one text per file, with its traceback."""
        found = self._request("GET", "/api/v2/importErrors").json()["import_errors"]
        return [f"{each['filename']}\n{each['stack_trace']}" for each in found]

    def trigger(self, dag_id: str, conf: Mapping[str, Any], *, run_id: str | None = None) -> str:
        """Starts a DAG run.

        Args:
            dag_id: the DAG.
            conf: the values of its params.
            run_id: the DAG run's id; None lets Airflow choose.

        Returns:
            The DAG run's id.

        Raises:
            SettingsError: Airflow refused the params, or the id is taken.
        """
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf)}
        if run_id is not None:
            body["dag_run_id"] = run_id
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body=body, again=False)
            except StoreError:
                # On SQLite, Airflow answers 500 after 5 s when a task writes at the same moment. Without a name of
                # our own nobody could say whether the run was made nevertheless.
                if run_id is None or attempt == _TRIES:
                    raise
                if self._has_run(dag_id, run_id):
                    return run_id
                time.sleep(_PAUSE_S * attempt)
            else:
                return str(answer.json()["dag_run_id"])
        raise AssertionError  # the loop returns or raises

    def _has_run(self, dag_id: str, run_id: str) -> bool:
        answer = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", allow=(404,))
        return answer.status_code == httpx.codes.OK

    def fail(self, dag_id: str, run_id: str) -> None:
        """Has a DAG run end as failed: what runs of it is stopped, and nothing of it starts again.

        Raises:
            SettingsError: there is no such run.
        """
        self._request("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", body={"state": "failed"})

    def dag_run(self, dag_id: str, run_id: str) -> DagRunState:
        """How a DAG run stands."""
        run = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
        found = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances").json()
        tasks = [
            TaskState(
                each["task_id"],
                each["state"],
                each.get("duration"),
                int(each.get("try_number") or 0),
                int(each.get("map_index", -1)),
            )
            for each in found["task_instances"]
        ]
        return DagRunState(str(run["dag_run_id"]), str(run["state"]), run.get("duration"), tuple(tasks))

    def xcom(self, dag_id: str, run_id: str, task: str, key: str = "return_value") -> Any:
        """What a task returned; None where it has returned nothing."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/{key}"
        answer = self._request("GET", path, allow=(404,))
        return answer.json().get("value") if answer.status_code == httpx.codes.OK else None

    def task_log(self, dag_id: str, run_id: str, task: str, *, tries: int = 1, map_index: int = -1) -> list[str]:
        """The lines of a task's log, the messages alone."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/logs/{tries}?map_index={map_index}"
        answer = self._request("GET", path, allow=(404,))
        content = answer.json().get("content", []) if answer.status_code == httpx.codes.OK else []
        return [str(each.get("event", "")) if isinstance(each, dict) else str(each) for each in content]

    def _request(
        self, method: str, path: str, *, body: Any = None, allow: tuple[int, ...] = (), again: bool = True
    ) -> httpx.Response:
        """One request with a token.

        Args:
            method: of HTTP.
            path: after the address.
            body: sent as JSON where it is not None.
            allow: statuses other than 2xx that the caller deals with.
            again: whether it is harmless to send it a second time when the connection breaks.
        """
        answer = self._send(method, path, body, again)
        # Airflow refuses an expired token with 403, as what is forbidden: another token tells the two apart.
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN) and self._username:
            self._token = ""
            answer = self._send(method, path, body, again)
        if answer.is_success or answer.status_code in allow:
            return answer
        raise _refusal(f"{method} {self.url}{path}", answer)

    def _send(self, method: str, path: str, body: Any, again: bool) -> httpx.Response:
        if not self._token:
            self._token = self._new_token()
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._connect(method, path, again=again, json=body, headers=headers)

    def _connect(self, method: str, path: str, *, again: bool, **options: Any) -> httpx.Response:
        for attempt in range(_TRIES):
            try:
                answer = self._http.request(method, path, **options)
            except httpx.ConnectError as error:
                if attempt == _TRIES - 1:
                    raise self._unreachable(error) from error
            except httpx.HTTPError as error:
                if attempt == _TRIES - 1 or not again:
                    raise self._unreachable(error) from error
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or not again or attempt == _TRIES - 1:
                    return answer
            time.sleep(_PAUSE_S * (attempt + 1))
        raise AssertionError  # the loop returns or raises

    def _new_token(self) -> str:
        credentials = {"username": self._username, "password": self._password}
        answer = self._connect("POST", "/auth/token", again=True, json=credentials)
        if not answer.is_success:
            raise _refusal(f"POST {self.url}/auth/token", answer)
        return str(answer.json()["access_token"])

    def _unreachable(self, error: httpx.HTTPError) -> StoreError:
        return StoreError(
            Problem(
                self.url,
                f"Airflow does not answer ({error or type(error).__name__})",
                fix="start it with `airtune up`, or set AIRTUNE_AIRFLOW_URL to the address of yours",
            )
        )


def _is_loopback(url: str) -> bool:
    return httpx.URL(url).host in {"127.0.0.1", "localhost", "::1"}


def _refusal(what: str, answer: httpx.Response) -> AirtuneError:
    """The error for a status that is none of 2xx, with Airflow's own reason."""
    status = answer.status_code
    reason = _reason(answer)
    if status == httpx.codes.UNAUTHORIZED:
        fix = "check AIRTUNE_AIRFLOW_USERNAME and AIRTUNE_AIRFLOW_PASSWORD, or AIRTUNE_AIRFLOW_TOKEN"
        return NotPermittedError(Problem(what, f"Airflow refused the credentials: {reason}", fix=fix))
    if status == httpx.codes.FORBIDDEN:
        return NotPermittedError(Problem(what, f"Airflow does not permit this user to do it: {reason}"))
    if status == httpx.codes.CONFLICT:
        return SettingsError(
            Problem(what, f"it exists already: {reason}", fix="choose another name with --run-id, or leave it out")
        )
    if status == httpx.codes.NOT_FOUND:
        return SettingsError(Problem(what, f"Airflow does not have it: {reason}", fix="check the name of the run"))
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        return SettingsError(Problem(what, f"Airflow refused it with {status}: {reason}"))
    return StoreError(Problem(what, f"Airflow failed with {status}: {reason}", fix="see its log, and try again"))


def _reason(answer: httpx.Response) -> str:
    """What Airflow says, as one line: ``detail`` is a text, or a list of what the schema has against it."""
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        return answer.text.strip()[:500] or answer.reason_phrase
    if isinstance(detail, list):
        parts = [f"{'.'.join(map(str, each.get('loc', [])))}: {each.get('msg')}" for each in detail]
        return "; ".join(parts)
    if isinstance(detail, dict):
        return str(detail.get("reason") or detail)
    return " ".join(str(detail).split())[:2000]
