"""A stand-in for a Kubernetes API server with one node, for tests: ``python kubernetes_standin.py FOLDER``.

It speaks HTTP as the real one does, for pods only: create, get, list by label, patch, delete, events and logs. The node
runs a container's command as a real process on this machine, with the pod's environment. Deletion is graceful, as the
false success of airflow-notes.md needs it: the pod gets a deletionTimestamp, its process SIGTERM, and it stays until
the process has ended or the grace period is over (then SIGKILL), and is gone a little later.

What Kubernetes would refuse is refused: a request that is not valid (422), and a pod that breaks the "restricted" Pod
Security Standard (403).

Annotations of a pod steer what cannot happen by itself: ``standin/end: OOMKilled`` kills the container a second after
its start, ``standin/end: Evicted`` the pod. The address is written to FOLDER/kubeconfig; every request to
FOLDER/requests.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

AFTER_END_S = 2.0  # how long a deleted pod whose process has ended can still be seen
UNSCHEDULED_S = 0.3
VERSION = "1.33"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message


class Pod:
    """One pod and the process of its first container."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.body = spec
        meta = spec["metadata"]
        meta.update(uid=str(uuid.uuid4()), creationTimestamp=now(), resourceVersion="1")
        meta.setdefault("labels", {})
        self.name = meta["name"]
        self.log = folder / f"{self.name}.log"
        self.log.touch()
        self.process: subprocess.Popen[bytes] | None = None
        self.gone = False
        self.body["status"] = {"phase": "Pending", "conditions": [], "qosClass": "Burstable"}
        threading.Thread(target=self._live, daemon=True).start()

    @property
    def container(self) -> dict[str, Any]:
        return next(each for each in self.body["spec"]["containers"] if each["name"] == "base")

    @property
    def ended(self) -> bool:
        return self.body["status"]["phase"] in ("Succeeded", "Failed")

    def _live(self) -> None:
        time.sleep(UNSCHEDULED_S)
        if self.body["metadata"].get("deletionTimestamp"):
            self._finish(None, None)
            return
        variables = {each["name"]: each.get("value", "") for each in self.container.get("env", [])}
        home = self.log.parent / f"{self.name}-volumes"
        for name, value in list(variables.items()):  # the two volumes of a pod are folders here
            for mount, volume in (("/var/airtune", "home"), ("/tmp", "tmp")):
                if value == mount or value.startswith(f"{mount}/"):
                    variables[name] = str(home / volume) + value[len(mount) :]
                    Path(variables[name]).mkdir(parents=True, exist_ok=True)
        programs = str(Path(sys.executable).parent)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LANG": "C.UTF-8", **variables}
        command = [*self.container.get("command", []), *self.container.get("args", [])]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home.parent,
            )
        status = self.body["status"]
        status.update(phase="Running", startTime=now(), hostIP="10.0.0.1")
        status["conditions"] = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "Ready")]
        self._state({"running": {"startedAt": now()}})
        end = self.body["metadata"].get("annotations", {}).get("standin/end")
        if end:
            time.sleep(1)
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self._finish(128 - code if code < 0 else code, end)

    def _finish(self, code: int | None, end: str | None) -> None:
        status = self.body["status"]
        if code is not None:
            words = self.log.read_text(errors="replace")[-2048:] if code else ""
            reason = "OOMKilled" if end == "OOMKilled" else ("Completed" if code == 0 else "Error")
            self._state(
                {
                    "terminated": {
                        "exitCode": code,
                        "reason": reason,
                        "message": words,
                        "startedAt": status["startTime"],
                        "finishedAt": now(),
                    }
                }
            )
        if end == "Evicted":
            status.update(reason="Evicted", message="The node was low on resource: memory.")
        status["phase"] = "Succeeded" if code == 0 else "Failed"

    def _state(self, state: dict[str, Any]) -> None:
        self.body["status"]["containerStatuses"] = [
            {
                "name": "base",
                "image": self.container["image"],
                "imageID": "",
                "ready": "running" in state,
                "restartCount": 0,
                "started": "running" in state,
                "state": state,
            }
        ]

    def delete(self, grace_s: float) -> None:
        meta = self.body["metadata"]
        if "deletionTimestamp" not in meta:
            meta.update(deletionTimestamp=now(), deletionGracePeriodSeconds=int(grace_s))
            threading.Thread(target=self._end, args=(grace_s,), daemon=True).start()

    def _end(self, grace_s: float) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # to process 1 of the container, and to nobody else
            until = time.monotonic() + grace_s
            while self.process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        until = time.monotonic() + 5
        while not self.ended and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(AFTER_END_S)
        self.gone = True


def violations(pod: dict[str, Any]) -> list[str]:
    """What breaks the "restricted" Pod Security Standard, as Kubernetes documents it."""
    spec = pod["spec"]
    found = [f"{name} is true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    whole = spec.get("securityContext", {})
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in volume if kind != "name" and kind not in allowed]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        name = container["name"]
        if own.get("privileged"):
            found.append(f"{name}: privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: allowPrivilegeEscalation != false")
        if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
            found.append(f"{name}: runAsNonRoot != true")
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            found.append(f"{name}: runAsUser = 0")
        if "ALL" not in own.get("capabilities", {}).get("drop", []):
            found.append(f"{name}: capabilities.drop lacks ALL")
        if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append(f"{name}: capabilities.add")
        profile = own.get("seccompProfile", whole.get("seccompProfile", {})).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name}: seccompProfile {profile}")
        if any(port.get("hostPort") for port in container.get("ports", [])):
            found.append(f"{name}: hostPort")
    return found


def selected(pod: Pod, selector: str) -> bool:
    labels = pod.body["metadata"]["labels"]
    for term in filter(None, selector.split(",")):
        if "!=" in term:
            key, value = term.split("!=")
            fits = labels.get(key) != value
        elif "=" in term:
            key, value = term.split("=", 1)
            fits = labels.get(key) == value
        else:
            fits = (term.lstrip("!") in labels) != term.startswith("!")
        if not fits:
            return False
    return True


class Cluster:
    """All pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pods: dict[str, Pod] = {}
        self.lock = threading.Lock()

    def alive(self) -> list[Pod]:
        with self.lock:
            self.pods = {name: pod for name, pod in self.pods.items() if not pod.gone}
            return list(self.pods.values())

    def get(self, name: str) -> Pod:
        for pod in self.alive():
            if pod.name == name:
                return pod
        raise RefusedError(404, "NotFound", f'pods "{name}" not found')

    def create(self, body: dict[str, Any], namespace: str) -> Pod:
        import kubernetes_validate

        try:
            kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **body}, VERSION, strict=True)
        except Exception as error:
            raise RefusedError(422, "Invalid", f"{type(error).__name__}: {error}") from error
        broken = violations(body)
        if broken:
            text = f'violates PodSecurity "restricted:latest": {"; ".join(broken)}'
            raise RefusedError(403, "Forbidden", f'pods "{body["metadata"]["name"]}" is forbidden: {text}')
        body["metadata"]["namespace"] = namespace
        pod = Pod(body, self.folder)
        with self.lock:
            self.pods[pod.name] = pod
        (self.folder / f"{pod.name}.json").write_text(json.dumps(body, indent=1))
        return pod


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _route(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        with (self.cluster.folder / "requests.jsonl").open("a") as stream:
            stream.write(json.dumps({"method": self.command, "path": parts.path, "query": query}) + "\n")
        try:
            answer = self._answer(unquote(parts.path), query, body)
        except RefusedError as refused:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": refused.status}
            self._send(refused.status, {**status, "reason": refused.reason, "message": refused.message})
        else:
            if answer is not None:
                self._send(201 if self.command == "POST" else 200, answer)

    def _answer(self, path: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any] | None:
        if re.fullmatch(r"/api/v1/namespaces/[^/]+/events", path):
            return {"kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?(?:/(log))?", path)
        if not found:
            raise RefusedError(404, "NotFound", path)
        namespace, name, log = found.groups()
        if name is None and self.command == "POST":
            return self.cluster.create(body, namespace).body
        if name is None:
            chosen = [pod.body for pod in self.cluster.alive() if selected(pod, query.get("labelSelector", ""))]
            return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": chosen}
        pod = self.cluster.get(name)
        if log:
            self._log(pod, query)
            return None
        if self.command == "PATCH":
            pod.body["metadata"]["labels"].update(body.get("metadata", {}).get("labels", {}))
        if self.command == "DELETE":
            grace = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
            pod.delete(float(pod.body["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace))
        return pod.body

    def _log(self, pod: Pod, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        place = 0
        while True:
            ended = pod.ended or pod.gone
            with pod.log.open("rb") as stream:
                stream.seek(place)
                text = stream.read()
            place += len(text)
            if query.get("timestamps") == "true":
                stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
                text = b"".join(stamp + line for line in text.splitlines(keepends=True))
            if text:
                self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                self.wfile.flush()
            if ended or query.get("follow") != "true":
                break
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _route  # noqa: N815  what the base class calls

    def log_message(self, *_: Any) -> None:
        pass


def main(folder: Path) -> None:
    Handler.cluster = Cluster(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "standin",
        "contexts": [
            {"name": "standin", "context": {"cluster": "standin", "user": "standin", "namespace": "training"}}
        ],
        "clusters": [{"name": "standin", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "standin", "user": {"token": "standin"}}],
    }
    ready = folder / "kubeconfig.new"
    ready.write_text(json.dumps(config))
    ready.rename(folder / "kubeconfig")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    finally:
        for pod in Handler.cluster.pods.values():
            if pod.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pod.process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
