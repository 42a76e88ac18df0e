"""What a server counts, in Prometheus' text format:
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format"""

from __future__ import annotations

from collections.abc import Mapping

from components.inference.serving.service import Service

TYPE = "text/plain; version=0.0.4"


def text(service: Service) -> str:
    model = service.model
    facts = {
        "bundle": model.identity or "",
        "version": (model.release or {}).get("version") or "",
        "strategy": model.predictor.facts.get("strategy", ""),
        "route": str(model.predictor.model.selection.route),
    }
    refused = int(service.refusal is not None)
    return "".join(
        [
            _metric("graft_bundle_info", "gauge", "The bundle that answers.", 1, facts),
            _metric("graft_bundle_refused", "gauge", "Whether another lies in its place and cannot.", refused),
            _metric("graft_reloads_total", "counter", "Bundles that took over.", service.reloads),
            _metric("graft_refused_reloads_total", "counter", "Bundles that could not.", service.refused_reloads),
            _metric("graft_answered_requests_total", "counter", "Requests that got a prediction.", service.answered),
            _metric("graft_waiting_images", "gauge", "Accepted and not answered yet.", service.waiting),
        ]
    )


def _metric(name: str, kind: str, what: str, value: int, labels: Mapping[str, str] | None = None) -> str:
    told = ",".join(f'{label}="{_escaped(str(content))}"' for label, content in (labels or {}).items())
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n{name}{f'{{{told}}}' if told else ''} {value}\n"


def _escaped(content: str) -> str:
    return content.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
